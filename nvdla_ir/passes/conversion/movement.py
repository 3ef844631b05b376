"""Conversions of layers that only move elements: the same stored integers in other places.

What lies in no cube of the hardware (transposes, views that move bytes, images of a batch, and what
follows them until integers are computed again) the host moves.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from nvdla_ir.dialects import nn
from nvdla_ir.dialects.layer import LayerOp
from nvdla_ir.dialects.nn.shapes import is_same_cube
from nvdla_ir.ir.conversion import Replacement
from nvdla_ir.ir.operation import Value
from nvdla_ir.passes.conversion.chain import Chain
from nvdla_ir.passes.conversion.function import FunctionConversion
from nvdla_ir.passes.conversion.grids import output_type
from nvdla_ir.passes.conversion.layers import moved_result, requantized_to
from nvdla_ir.passes.conversion.rules import converts

MovingOp: TypeAlias = "nn.RearrangementOp | nn.SliceOp | nn.UpsampleOp | nn.PadOp"
_CHANNELS, _RANK = 1, 4


@converts(nn.RearrangementOp, nn.SliceOp, nn.UpsampleOp)
def convert_moving(op: MovingOp, conversion: FunctionConversion) -> Replacement | None:
    """The input's codes stay. What the host has in floats it moves as floats, but does not make it
    more ahead of the device."""
    if conversion.is_on_host_as_reals(op.input) and not isinstance(op, nn.UpsampleOp):
        conversion.leave_to_host(op)
        return None
    if conversion.find_stored(op.input) is None:
        return None
    stored, _ = conversion.stored(op.input, op)
    return _moved(op, stored, conversion)


@converts(nn.PadOp)
def convert_pad(op: nn.PadOp, conversion: FunctionConversion) -> Replacement | None:
    """The input's codes, with the code of ``value`` around; where they have none for it, those of
    the result."""
    if conversion.find_stored(op.input) is None:
        return None
    stored, element = conversion.stored(op.input, op)
    code = op.value / element.scale + element.zero_point
    if not -128.5 < code < 127.5:
        chain = Chain(op, operations=[op])
        stored = requantized_to(conversion, stored, output_type(op), chain)
    return _moved(op, stored, conversion)


def _moved(op: MovingOp, stored: Value, conversion: FunctionConversion) -> Replacement:
    chain = Chain(op, operations=[op])
    fields: dict[str, Any] = {
        name: getattr(op, name) for name in op.definition.attributes if name != "layers"
    }
    moved = conversion.builder(chain).create(
        type(op),
        input=stored,
        layers=op.layers,
        result_types=[nn.tensor_type(op.output).with_element(nn.tensor_type(stored).element)],
        **fields,
    )
    if stored in conversion.on_host or _leaves_the_cube(op, stored):
        conversion.on_host.add(moved.output)
    return moved_result(conversion, chain, moved.output)


def _leaves_the_cube(op: LayerOp, stored: Value) -> bool:
    if isinstance(op, nn.TransposeOp):
        return True
    if isinstance(op, nn.SliceOp) and op.axis == 0:
        return nn.shape_of(op.input)[0] > 1
    if not isinstance(op, nn.ViewOp):
        return False
    while isinstance(stored.defining_operation, nn.ViewOp):
        stored = stored.defining_operation.input
    return not is_same_cube(nn.shape_of(stored), nn.shape_of(op.output))


@converts(nn.ConcatOp, nn.InterleaveOp)
def convert_joining(
    op: nn.ConcatOp | nn.InterleaveOp, conversion: FunctionConversion
) -> Replacement | None:
    """Each input is brought to the output's scale, those that have it already excepted. What the
    host has moved it joins as floats."""
    output = output_type(op)
    stored = [conversion.stored(value, op)[0] for value in op.inputs]
    by_host = isinstance(op, nn.ConcatOp) and not _joins_cubes(op, stored, conversion)
    if by_host and any(nn.tensor_type(value).element != output for value in stored):
        conversion.leave_to_host(op)
        return None
    chain = Chain(op, operations=[op])
    requantized = {
        value: requantized_to(conversion, value, output, chain) for value in dict.fromkeys(stored)
    }
    fields: dict[str, Any] = {
        "inputs": [requantized[value] for value in stored],
        "axis": op.axis,
        "layers": op.layers,
        "result_types": [nn.tensor_type(op.output).with_element(output)],
    }
    new = conversion.builder(chain).create(type(op), **fields)
    if by_host:
        conversion.on_host.add(new.results[0])
    return chain.replaced_by(new.results[0])


def _joins_cubes(op: nn.ConcatOp, stored: list[Value], conversion: FunctionConversion) -> bool:
    """Whether the hardware does it: along an axis of cubes, of which it has one."""
    if all(value in conversion.on_host for value in stored):
        return False
    rank = len(nn.shape_of(op.output))
    return op.axis == _CHANNELS if rank == _CHANNELS + 1 else rank == _RANK and op.axis > 0
