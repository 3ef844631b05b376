"""The steps between an accumulator, or int8 in memory, and the output converter, matched onto the
SDP's units."""

from __future__ import annotations

from typing import TypeAlias

from attrs import evolve, frozen

from nvdla_ir.dialects import fixed, nn
from nvdla_ir.dialects.layer import describe
from nvdla_ir.dialects.nvdla import XStageAttr
from nvdla_ir.dialects.quant import QuantizedType, UniformPerAxisType, UniformType
from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.operation import Operation, Value

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
    """

    source: Weighted | None
    input: Value
    units: tuple[Unit, ...]
    converter: fixed.OutputConverterOp
    operations: tuple[Operation, ...]

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
        elif not isinstance(definer, fixed.ShiftAddOp | fixed.RescaleOp | nn.ReluOp):
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
    return Chain(source, value, _units(steps, hw), converter, operations)


_ALU, _MUL, _RELU = range(3)


def _units(steps: list[Operation], hw: HardwareConfiguration) -> tuple[Unit, ...]:
    """A unit adds (or takes a maximum), multiplies, rectifies, in this order; what comes out of
    order goes to the next."""
    names = unit_names(hw)
    units: list[Unit] = []
    position = _RELU
    for step in steps:
        following = _position(step)
        if following <= position:
            if len(units) == len(names):
                raise DiagnosticError.at(
                    step.location,
                    f"{describe(step)} is one step too many: the {len(names)} units of the SDP "
                    f"of {hw.name} add, multiply and rectify once each, in this order. Let an "
                    "output converter come between",
                )
            units.append(Unit(names[len(units)], XStageAttr()))
        position = following
        units[-1] = _with_step(units[-1], step)
    return tuple(units)


def _position(step: Operation) -> int:
    if isinstance(step, fixed.RescaleOp):
        return _MUL
    return _RELU if isinstance(step, nn.ReluOp) and zero_of_relu(step) == 0 else _ALU


def _with_step(unit: Unit, step: Operation) -> Unit:
    setting = unit.setting
    if isinstance(step, fixed.ShiftAddOp):
        added = evolve(setting, alu="sum", alu_value=step.value, alu_shift=step.shift)
        return evolve(unit, setting=added, alu_operand=step.addend)
    if isinstance(step, fixed.RescaleOp):
        multiplied = evolve(setting, mul=True, mul_value=step.value, mul_shift=step.shift)
        return evolve(unit, setting=multiplied, mul_operand=step.multiplier)
    assert isinstance(step, nn.ReluOp)
    return evolve(unit, setting=rectifying(setting, step))


def rectifying(setting: XStageAttr, relu: nn.ReluOp) -> XStageAttr:
    """``setting`` with ``relu``, too: a maximum by the ALU where the zero point is not 0."""
    zero = zero_of_relu(relu)
    if zero == 0:
        return evolve(setting, relu=True)
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
    return evolve(setting, alu="max", alu_value=zero, alu_shift=shift)


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
