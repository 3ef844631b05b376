"""Kernels of the operations on registers."""

from __future__ import annotations

from nvdla_ir.dialects import csb
from nvdla_ir.hw.registers import WORD_MASK, RegisterError, register_map
from nvdla_ir.interp.csb.run import CheckResult, Run, faults_of, run_of
from nvdla_ir.interp.device.device import Device
from nvdla_ir.interp.device.errors import DeviceError, MemoryAccessError
from nvdla_ir.interp.registry import MachineBase, Numbers, Values, kernel
from nvdla_ir.ir.diagnostics import DiagnosticError


@kernel(csb.ConfigureOp, numbers=Numbers.STORED)
def configure(op: csb.ConfigureOp, values: Values) -> None:
    run = run_of(op, values.machine)
    if op.group is not None:
        run.names[op.unit, op.group] = op.layers or ()
    _write(op, run, values.machine)


@kernel(csb.EnableOp, numbers=Numbers.STORED)
def enable(op: csb.EnableOp, values: Values) -> None:
    _write(op, run_of(op, values.machine), values.machine)


@kernel(csb.WriteTableOp, numbers=Numbers.STORED)
def write_table(op: csb.WriteTableOp, values: Values) -> None:
    _write(op, run_of(op, values.machine), values.machine)


@kernel(csb.WaitOp, numbers=Numbers.STORED)
def wait(op: csb.WaitOp, values: Values) -> None:
    run = run_of(op, values.machine)
    with faults_of(op, _layers_of(op, run)):
        run.device.wait(op.unit, op.group)


@kernel(csb.WaitAnyOp, numbers=Numbers.STORED)
def wait_any(op: csb.WaitAnyOp, values: Values) -> None:
    with faults_of(op):
        run_of(op, values.machine).device.wait_any()


@kernel(csb.PollOp, numbers=Numbers.STORED)
def poll(op: csb.PollOp, values: Values) -> None:
    run = run_of(op, values.machine)
    _write(op, run, values.machine)
    with faults_of(op, _layers_of(op, run)):
        run.device.poll(op.unit, op.register, op.value, op.mask)


@kernel(csb.ExpectOp, numbers=Numbers.STORED)
def expect(op: csb.ExpectOp, values: Values) -> None:
    run = run_of(op, values.machine)
    _write(op, run, values.machine)
    with faults_of(op):
        found = run.device.read(op.unit, op.register)
    passed = (found ^ op.value) & op.mask == 0
    masked = "" if op.mask == WORD_MASK else f" (bits {op.mask:#x})"
    run.checks.append(
        CheckResult(op, passed, f"{op.value:#x}{masked}", f"{found & op.mask:#x}{masked}")
    )


def _write(op: csb.UnitOp, run: Run, machine: MachineBase) -> None:
    writes: list[tuple[int, int]] | None = machine.cache.get(op)
    if writes is None:
        writes = machine.cache[op] = _encoded(op, run.device)
    write_register = run.device.write_register
    try:
        for address, word in writes:
            write_register(address, word)
    except (DeviceError, MemoryAccessError) as error:
        with faults_of(op, _layers_of(op, run)):
            raise error
    run.take_notes(op)


def _layers_of(op: csb.UnitOp, run: Run) -> tuple[str, ...]:
    """The layers that ``op`` is about, for messages."""
    group = getattr(op, "group", None)
    return op.layers or (() if group is None else run.names.get((op.unit, group), ()))


def _encoded(op: csb.UnitOp, device: Device) -> list[tuple[int, int]]:
    """The writes of ``op``: byte addresses on the CSB, and words."""
    registers = register_map(device.configuration.register_map)
    try:
        return [(write.address, write.word) for write in op.register_writes(registers)]
    except RegisterError as error:
        raise DiagnosticError.at(op.location, f"'{op.name}': {error}") from error
