"""Cubes one after another along the channels."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from nvdla_ir.dialects import nn, nvdla
from nvdla_ir.dialects.layer import describe
from nvdla_ir.ir.builder import Builder
from nvdla_ir.ir.operation import Value
from nvdla_ir.ir.types import TensorType
from nvdla_ir.passes.legalization.chains import unit_names
from nvdla_ir.passes.legalization.copies import Copies
from nvdla_ir.passes.legalization.function import FunctionLegalization
from nvdla_ir.passes.legalization.limits import check_convolution
from nvdla_ir.passes.refusals import refused


def join(op: nn.ConcatOp, parts: Sequence[Value], copies: Copies) -> Value:
    """The cube of ``op``, whose inputs are ``parts``.

    Parts that begin at a memory atom are written in place; else convolutions move them.

    Raises: DiagnosticError where they need convolutions, and the hardware cannot add.
    """
    context, hw = copies.context, copies.context.hw
    shape = nvdla.cube_shape(parts[0].type)
    offsets = list(accumulate((nvdla.cube_shape(p.type)[1] for p in parts), initial=0))
    type = TensorType((shape[0], offsets[-1], *shape[2:]), nn.storage_of(op.output))
    if all(offset % hw.memory_atom == 0 for offset in offsets[:-1]):
        own = [
            copies.own(part, value, nvdla.CHANNELS)
            for part, value in zip(parts, op.inputs, strict=True)
        ]
        return copies.builder.create(
            nvdla.ConcatOp, inputs=own, layers=op.layers, result_types=[type]
        ).output
    counts = ", ".join(str(nvdla.cube_shape(part.type)[1]) for part in parts)
    names = unit_names(hw)
    if not names:
        raise refused(
            op.location,
            f"{describe(op)} joins {counts} channels, but parts must begin at multiples of "
            f"{hw.memory_atom}, the memory atom, and the SDP of {hw.name} cannot add",
        )
    context.session.diagnostics.remark(
        op.location,
        f"{describe(op)} joins {counts} channels inside memory atoms of {hw.memory_atom}; "
        f"{len(parts)} convolutions move them",
    )
    return _join_by_convolution(op, parts, offsets, type, names[-1], context, copies.builder)


def _join_by_convolution(
    op: nn.ConcatOp,
    parts: Sequence[Value],
    offsets: Sequence[int],
    type: TensorType,
    unit: str,
    context: FunctionLegalization,
    builder: Builder,
) -> Value:
    """Each part is moved to its channels by a 1x1 convolution, the others being zero, and what
    came before is added. These are integers: nothing is lost."""
    import numpy as np

    total = offsets[-1]
    joined: Value | None = None
    for part, offset in zip(parts, offsets, strict=False):
        channels = nvdla.cube_shape(part.type)[1]
        weights = np.zeros((total, channels, 1, 1), np.int8)
        weights[range(offset, offset + channels), range(channels)] = 1
        convolution = builder.create(
            nvdla.ConvOp,
            input=part,
            weight=context.constants.make(weights, f"channels.{offset}.of.{total}", builder),
            layers=op.layers,
        )
        check_convolution(convolution, context.hw)
        fields: dict[str, Any] = {}
        if joined is not None:
            fields = {unit: nvdla.XStageAttr(alu="sum"), f"{unit}_operand": joined}
        joined = builder.create(
            nvdla.SdpOp,
            input=convolution.output,
            layers=op.layers,
            result_types=[type],
            **fields,
        ).output
    assert joined is not None
    return joined
