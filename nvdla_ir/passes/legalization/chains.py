"""The steps between an accumulator, or int8 in memory, and the output converter, matched onto the
SDP's units."""

from __future__ import annotations

from typing import TypeAlias

from attrs import evolve, frozen

from nvdla_ir.dialects import nn
from nvdla_ir.dialects.layer import describe
from nvdla_ir.dialects.nvdla import SdpUnit
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.operation import Operation, Value

Weighted: TypeAlias = "nn.ConvOp | nn.FullyConnectedOp"
UNITS = ("bs", "bn")


@frozen(eq=False)
class Unit:
    """One X unit with the values its operands come from."""

    setting: SdpUnit
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
    converter: nn.OutputConverterOp
    operations: tuple[Operation, ...]

    @property
    def result(self) -> Value:
        return self.converter.output


def chain_ending_at(converter: nn.OutputConverterOp) -> Chain:
    """Walk back from the output converter.

    Raises: DiagnosticError where a value inside is used elsewhere too, or the steps do not fit
    two units.
    """
    steps: list[Operation] = []
    value = converter.input
    source: Weighted | None = None
    while True:
        definer = value.defining_operation
        if isinstance(definer, nn.ConvOp | nn.FullyConnectedOp):
            source = definer
        elif not isinstance(definer, nn.ShiftAddOp | nn.RescaleOp | nn.ReluOp):
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
    return Chain(source, value, _units(steps), converter, operations)


_ALU, _MUL, _RELU = range(3)


def _units(steps: list[Operation]) -> tuple[Unit, ...]:
    """A unit adds, multiplies, rectifies, in this order; what comes out of order goes to the
    next."""
    units: list[Unit] = []
    position = _RELU
    for step in steps:
        if isinstance(step, nn.ShiftAddOp):
            following = _ALU
        else:
            following = _MUL if isinstance(step, nn.RescaleOp) else _RELU
        if following <= position:
            units.append(Unit(SdpUnit()))
        position = following
        if len(units) > len(UNITS):
            raise DiagnosticError.at(
                step.location,
                f"{describe(step)} is one step too many: the {len(UNITS)} units of the SDP add, "
                "multiply and rectify once each",
            )
        units[-1] = _with_step(units[-1], step)
    return tuple(units)


def _with_step(unit: Unit, step: Operation) -> Unit:
    setting = unit.setting
    if isinstance(step, nn.ShiftAddOp):
        added = evolve(setting, alu="sum", alu_value=step.value, alu_shift=step.shift)
        return evolve(unit, setting=added, alu_operand=step.addend)
    if isinstance(step, nn.RescaleOp):
        multiplied = evolve(setting, mul=True, mul_value=step.value, mul_shift=step.shift)
        return evolve(unit, setting=multiplied, mul_operand=step.multiplier)
    return evolve(unit, setting=evolve(setting, relu=True))
