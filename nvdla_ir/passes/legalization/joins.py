"""Cubes one after another along the channels."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from nvdla_ir.dialects import nn, nvdla
from nvdla_ir.ir.builder import Builder
from nvdla_ir.ir.operation import Value
from nvdla_ir.passes.legalization.constants import Constants


def _offsets(op: nn.ConcatOp) -> list[int]:
    """The channel at which each part begins, and how many channels there are."""
    return list(accumulate((nn.shape_of(value)[1] for value in op.inputs), initial=0))


def joins_whole_atoms(op: nn.ConcatOp, atom: int) -> bool:
    """Whether each part begins at a memory atom, so that it can be written in place."""
    return all(offset % atom == 0 for offset in _offsets(op)[:-1])


def join_in_place(op: nn.ConcatOp, cubes: Sequence[Value], builder: Builder) -> Value:
    """A view of parts that are written where they belong."""
    parts = [
        _own_part(cube, value, op, builder) for cube, value in zip(cubes, op.inputs, strict=True)
    ]
    return builder.create(
        nvdla.ConcatOp, inputs=parts, layers=op.layers, result_types=[op.output.type]
    ).output


def _own_part(cube: Value, value: Value, user: nn.ConcatOp, builder: Builder) -> Value:
    """A cube that is written for this join alone: its producer's, or a copy."""
    producer = cube.defining_operation
    if isinstance(producer, nvdla.SdpOp | nvdla.PdpOp) and value.has_one_use and not cube.is_used:
        return cube
    return builder.create(
        nvdla.SdpOp, input=cube, layers=user.layers, result_types=[cube.type]
    ).output


def join_by_convolution(
    op: nn.ConcatOp, cubes: Sequence[Value], constants: Constants, builder: Builder
) -> Value:
    """Parts that begin inside a memory atom: each is moved to its channels by a 1x1 convolution,
    the others being zero, and what came before is added. These are integers: nothing is lost."""
    import numpy as np

    offsets = _offsets(op)
    total = offsets[-1]
    joined: Value | None = None
    for cube, offset in zip(cubes, offsets, strict=False):
        channels = nvdla.cube_shape(cube.type)[1]
        weights = np.zeros((total, channels, 1, 1), np.int8)
        weights[range(offset, offset + channels), range(channels)] = 1
        stream = builder.create(
            nvdla.ConvOp,
            input=cube,
            weight=constants.make(weights, f"channels.{offset}.of.{total}", builder),
            layers=op.layers,
        ).output
        joined = builder.create(
            nvdla.SdpOp,
            input=stream,
            bn=None if joined is None else nvdla.SdpUnit(alu="sum").to_attribute(),
            bn_operand=joined,
            layers=op.layers,
            result_types=[op.output.type],
        ).output
    assert joined is not None
    return joined
