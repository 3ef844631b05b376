"""The steps between an accumulator, or int8 in memory, and the output converter, matched onto the
SDP's units."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

from attrs import evolve, frozen

from nvdla_ir.dialects import fixed, nn
from nvdla_ir.dialects.layer import describe
from nvdla_ir.dialects.nvdla import XStageAttr
from nvdla_ir.dialects.quant import QuantizedType, UniformPerAxisType, UniformType
from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.operation import Operation, Value
from nvdla_ir.passes.refusals import refused

Weighted: TypeAlias = "nn.ConvOp | nn.FullyConnectedOp"
_LARGEST_OPERAND = (1 << 15) - 1


def unit_names(hw: HardwareConfiguration) -> tuple[str, ...]:
    """The X units that ``hw`` has, in order of the data flow."""
    present = {"bs": hw.sdp.has_bs, "bn": hw.sdp.has_bn}
    return tuple(name for name in present if present[name])


@frozen(eq=False)
class Unit:
    """One X unit, ``bs`` or ``bn``, with the values its operands come from."""

    name: str
    setting: XStageAttr
    alu_operand: Value | None = None
    mul_operand: Value | None = None


@frozen(eq=False)
class Chain:
    """One run of the SDP.

    source:     the layer whose accumulators stream in, or None
    input:      the int8 value that is read from memory, where there is no source
    operations: all from the source on, in order
    excess:     what the output converter is to subtract, beside its own offset
    """

    source: Weighted | None
    input: Value
    units: tuple[Unit, ...]
    converter: fixed.OutputConverterOp
    operations: tuple[Operation, ...]
    excess: int = 0

    @property
    def result(self) -> Value:
        return self.converter.output


def chain_ending_at(converter: fixed.OutputConverterOp, hw: HardwareConfiguration) -> Chain:
    """Walk back from the output converter.

    Raises: DiagnosticError where a value inside is used elsewhere too, or the steps do not fit
    the units of ``hw``.
    """
    steps: list[Operation] = []
    value = converter.input
    source: Weighted | None = None
    while True:
        definer = value.defining_operation
        if isinstance(definer, nn.ConvOp | nn.FullyConnectedOp):
            source = definer
        elif not isinstance(
            definer, fixed.ShiftAddOp | fixed.RescaleOp | fixed.PReluOp | nn.ReluOp | nn.MulOp
        ):
            break
        elif nn.storage_of(definer.output).storage.width == 8:
            break  # a layer of its own, with its result in memory
        if not value.has_one_use:
            raise DiagnosticError.at(
                definer.location,
                f"{describe(definer)}: its 32-bit result has {value.use_count} uses, but it exists "
                "only on the way from unit to unit",
            )
        if source is not None:
            break
        steps.append(definer)
        value = definer.operands[0]
    steps.reverse()
    operations = (*([source] if source is not None else []), *steps, converter)
    return Chain(source, value, _units(steps, hw), converter, operations, _excess(steps))


_ALU, _MUL, _RELU = range(3)


@frozen(eq=False)
class _Part:
    """What a step asks of a unit: the stage's fields, and what these come from."""

    owner: Operation
    position: int
    fields: dict[str, Any]
    alu_operand: Value | None = None
    mul_operand: Value | None = None


def _units(steps: list[Operation], hw: HardwareConfiguration) -> tuple[Unit, ...]:
    """A unit adds (or takes a maximum), multiplies, rectifies, in this order; what comes out of
    order goes to the next."""
    names = unit_names(hw)
    units: list[Unit] = []
    position = _RELU
    for part in (part for step in steps for part in _parts(step)):
        if part.position <= position:
            if len(units) == len(names):
                raise refused(
                    part.owner.location,
                    f"{describe(part.owner)} is one step too many: the SDP of {hw.name} has "
                    f"{', '.join(names).upper() or 'no units'}, each of which adds, multiplies and "
                    "rectifies once, in this order. Let an output converter come between",
                )
            units.append(Unit(names[len(units)], XStageAttr()))
        position = part.position
        unit = units[-1]
        units[-1] = Unit(
            unit.name,
            evolve(unit.setting, **part.fields),
            unit.alu_operand if part.alu_operand is None else part.alu_operand,
            unit.mul_operand if part.mul_operand is None else part.mul_operand,
        )
    return tuple(units)


def _parts(step: Operation) -> Iterator[_Part]:
    if isinstance(step, fixed.ShiftAddOp):
        fields = {"alu": "sum", "alu_value": step.value, "alu_shift": step.shift}
        yield _Part(step, _ALU, fields, alu_operand=step.addend)
    elif isinstance(step, fixed.RescaleOp | fixed.PReluOp):
        fields = {"mul": True, "mul_value": step.value, "mul_shift": step.shift}
        if isinstance(step, fixed.PReluOp):
            fields["prelu"] = True
        yield _Part(step, _MUL, fields, mul_operand=step.multiplier)
    elif isinstance(step, nn.MulOp):
        yield from _product_parts(step)
    else:
        assert isinstance(step, nn.ReluOp)
        fields = _rectifying_fields(step)
        yield _Part(step, _RELU if "relu" in fields else _ALU, fields)


def _product_parts(product: nn.MulOp) -> Iterator[_Part]:
    """``(a - za) * b``, and where the second operand's zero point is ``-2^k``, ``a << k`` more:
    what comes out is too high by ``za << k`` then."""
    first, _ = _product_zero_points(product)
    if first:
        yield _Part(product, _ALU, {"alu": "sum", "alu_value": -first})
    yield _Part(product, _MUL, {"mul": True}, mul_operand=product.rhs)
    shift = _second_shift(product)
    if shift is not None:
        yield _Part(product, _ALU, {"alu": "sum", "alu_shift": shift}, alu_operand=product.lhs)


def _second_shift(product: nn.MulOp) -> int | None:
    """``k`` where the second operand's zero point is ``-2^k``; None where it is 0."""
    _, second = _product_zero_points(product)
    if not second:
        return None
    shift = (-second).bit_length() - 1
    if second != -(1 << shift):
        raise DiagnosticError.at(
            product.location,
            f"{describe(product)} multiplies by codes with the zero point {second}; the SDP takes "
            "out 0 and -1, -2, -4, … -128. Let a copy move it: run 'insert-converters'",
        )
    return shift


def _product_zero_points(product: nn.MulOp) -> tuple[int, int]:
    elements = [nn.storage_of(value) for value in (product.lhs, product.rhs)]
    found = [e.zero_point for e in elements if isinstance(e, UniformType)]
    if len(found) != len(elements) or elements[0].storage.width != 8:
        raise DiagnosticError.at(
            product.location,
            f"{describe(product)} multiplies '{elements[0]}' by '{elements[1]}'; the SDP "
            "multiplies int8 from memory by what has one scale",
        )
    return found[0], found[1]


def _excess(steps: list[Operation]) -> int:
    """By how much what comes out of ``steps`` is too high; the output converter subtracts it."""
    excess = 0
    for step in steps:
        if isinstance(step, nn.MulOp):
            shift = _second_shift(step)
            excess = 0 if shift is None else _product_zero_points(step)[0] << shift
        elif excess and isinstance(step, fixed.RescaleOp) and step.value and not step.shift:
            excess *= step.value
        elif excess:
            raise DiagnosticError.at(
                step.location,
                f"{describe(step)} follows a product whose zero points only the output converter "
                "can take out. Let one come between",
            )
    return excess


def rectifying(setting: XStageAttr, relu: nn.ReluOp) -> XStageAttr:
    """``setting`` with ``relu``, too: a maximum by the ALU where the zero point is not 0."""
    return evolve(setting, **_rectifying_fields(relu))


def _rectifying_fields(relu: nn.ReluOp) -> dict[str, Any]:
    zero = zero_of_relu(relu)
    if zero == 0:
        return {"relu": True}
    shift = 0
    while abs(zero) > _LARGEST_OPERAND and zero % 2 == 0:
        zero //= 2
        shift += 1
    if abs(zero) > _LARGEST_OPERAND:
        raise DiagnosticError.at(
            relu.location,
            f"{describe(relu)} rectifies at the zero point {zero_of_relu(relu)}, but the SDP's "
            "operand has 16 bits and a left shift",
        )
    return {"alu": "max", "alu_value": zero, "alu_shift": shift}


def zero_of_relu(relu: nn.ReluOp) -> int:
    """The stored integer below which ``relu`` clamps.

    Raises: DiagnosticError where that is not one number, or the scale changes.
    """
    before, after = (_grid(nn.storage_of(value)) for value in (relu.input, relu.output))
    if before != after:
        raise DiagnosticError.at(
            relu.location,
            f"{describe(relu)} changes the scale or the zero point; run 'insert-converters' first",
        )
    zero_points = set(after[1])
    if len(zero_points) > 1:
        raise DiagnosticError.at(
            relu.location,
            f"{describe(relu)} rectifies at a zero point a channel; the hardware takes one for "
            "all. Add them before",
        )
    return zero_points.pop()


def _grid(element: QuantizedType) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """Scales and zero points, one for all or one a channel."""
    if isinstance(element, UniformPerAxisType):
        return element.scales, element.zero_points
    assert isinstance(element, UniformType)
    return (element.scale,), (element.zero_point,)
