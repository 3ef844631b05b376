"""From casts at every quantized tensor to types: what is left of QuantizeLinear."""

from __future__ import annotations

from nvdla_ir.dialects import nn
from nvdla_ir.dialects.layer import LayerOp
from nvdla_ir.dialects.quant import UniformType
from nvdla_ir.frontends.onnx.layer import Assembly
from nvdla_ir.ir.builder import Builder, InsertionPoint
from nvdla_ir.ir.operation import Block, Operation, Value
from nvdla_ir.ir.types import FloatType, TensorType, Type

# Of these each result is one of the operands, or all are ordered alike: rounding before is
# rounding behind. A ReLU is among them, since 0 is on every grid.
_COMMUTING = (
    nn.RearrangementOp,
    nn.ReluOp,
    nn.MaxPoolOp,
    nn.GlobalMaxPoolOp,
    nn.SliceOp,
    nn.UpsampleOp,
)

# Rounding before and behind is rounding behind: these keep an order among numbers, and what comes
# between two codes is rounded to one of them.
_ROUNDED_BEHIND = (*_COMMUTING, nn.ClipOp)


def settle_types(assembly: Assembly, block: Block) -> None:
    """Replace casts by fake-quantized types, and spread those over what changes no grid.

    A cast stays where its operand is read by something else, too, as reals.
    """
    casts = [op for op in block.operations if isinstance(op, nn.QuantizeOp)]
    for cast in casts:
        _settle(assembly, cast)
    if not casts:
        return
    operations = [op for op in block.operations if isinstance(op, LayerOp)]
    for op in operations:
        if isinstance(op, _COMMUTING) or _joins_one_grid(op):
            _give(op.results[0], _fake_quantized(op.operands[0]))
    for op in reversed(operations):
        if isinstance(op, _ROUNDED_BEHIND) and op.operands[0].has_one_use:
            _give(op.operands[0], _fake_quantized(op.results[0]))


def _settle(assembly: Assembly, cast: nn.QuantizeOp) -> None:
    element = nn.tensor_type(cast.output).element
    assert isinstance(element, UniformType)
    wanted = nn.FakeQuantizedType.of(element)
    source = cast.input
    present = nn.tensor_type(source).element
    if isinstance(present, FloatType) and all(
        isinstance(user, nn.QuantizeOp) and user.output.type == cast.output.type
        for user in source.users
    ):
        _give(source, wanted)
        present = nn.tensor_type(source).element
    if present == wanted:
        cast.output.replace_all_uses_with(source)
        cast.erase()
    elif isinstance(present, nn.FakeQuantizedType):
        # From one grid to another.
        builder = Builder(InsertionPoint.before(cast), cast.location)
        _unit_scale(assembly, builder, cast, wanted)


def _unit_scale(
    assembly: Assembly, builder: Builder, cast: nn.QuantizeOp, wanted: nn.FakeQuantizedType
) -> None:
    import numpy as np

    source = cast.input
    shape = nn.shape_of(source)
    name = assembly.unique_name(f"{source.name_hint or 'tensor'}.requantized")
    assembly.builder, kept = builder, assembly.builder
    ones = assembly.constant(np.ones(shape[min(1, len(shape) - 1)], np.float32), f"{name}.ones")
    assembly.builder = kept
    op = builder.create(
        nn.ScaleOp,
        input=source,
        scale=ones,
        layers=[name],
        result_types=[nn.tensor_type(source).with_element(wanted)],
    )
    op.output.name_hint = name
    cast.output.replace_all_uses_with(op.output)
    cast.erase()


def _fake_quantized(value: Value) -> nn.FakeQuantizedType | None:
    element = value.type.element if isinstance(value.type, TensorType) else None
    return element if isinstance(element, nn.FakeQuantizedType) else None


def _give(value: Value, wanted: nn.FakeQuantizedType | None) -> None:
    """Make ``value`` fake-quantized, if it is plain floats and may be."""
    type = value.type
    if wanted is None or not isinstance(type, TensorType):
        return
    if not isinstance(type.element, FloatType) or not _accepts(value, type.with_element(wanted)):
        return
    value.type = type.with_element(wanted)


def _accepts(value: Value, type: Type) -> bool:
    op = value.defining_operation
    if op is None:
        return True
    return isinstance(op, LayerOp) and op.definition.results[0].constraint.accepts(type)


def _joins_one_grid(op: Operation) -> bool:
    if not isinstance(op, nn.ConcatOp):
        return False
    found = {_fake_quantized(value) for value in op.inputs}
    return len(found) == 1 and None not in found
