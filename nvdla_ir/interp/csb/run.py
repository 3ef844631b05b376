"""One run of a register program: its device, the layers it ran and the checks it made.

Each run has a device of its own, reset and with empty memory, of the configuration that the module
names. What can be made once (register words, the bytes of constants) is kept in the machine's
cache, so that running a program again, on the next image, costs its layers and little else.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager

from attrs import define, field, frozen

from nvdla_ir.dialects import csb
from nvdla_ir.dialects.func import FuncOp
from nvdla_ir.dialects.layer import describe
from nvdla_ir.dialects.nvdla import configuration_of
from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.hw.formats.sizes import LayoutError
from nvdla_ir.interp.device.device import Device
from nvdla_ir.interp.device.errors import DeadlockError, DeviceError, MemoryAccessError
from nvdla_ir.interp.device.memory import Memory
from nvdla_ir.interp.device.record import LayerRecord
from nvdla_ir.interp.registry import MachineBase
from nvdla_ir.ir.attributes import IntegerAttr
from nvdla_ir.ir.diagnostics import Diagnostic, DiagnosticError
from nvdla_ir.ir.operation import Operation

_STATE = "csb"


@frozen(eq=False)
class CheckResult:
    """A check that a program made.

    op:               the check
    passed:           whether it holds
    expected, found:  as people read them
    first_difference: the address of the first byte that differs, where that can be known
    """

    op: Operation
    passed: bool
    expected: str
    found: str
    first_difference: int | None = None


@frozen(eq=False)
class ExecutedLayer:
    """A hardware layer that ran, the network's layers that it stands for, and the operation that
    started it."""

    names: tuple[str, ...]
    op: Operation
    record: LayerRecord

    @property
    def program(self) -> str:
        """The function that started it."""
        function = self.op.parent_op
        return function.sym_name if isinstance(function, FuncOp) else ""


@define(eq=False)
class Run:
    """What the kernels of one run share.

    names: whose layers are programmed, by unit and register group
    """

    device: Device
    names: dict[tuple[str, int], tuple[str, ...]] = field(
        factory=dict["tuple[str, int]", "tuple[str, ...]"]
    )
    layers: list[ExecutedLayer] = field(factory=list[ExecutedLayer])
    checks: list[CheckResult] = field(factory=list[CheckResult])
    remarks: list[Diagnostic] = field(factory=list[Diagnostic])

    def memory(self, op: csb.AddressOp) -> Memory:
        """The memory that ``op`` is about."""
        return self.device.secondary if op.memory == csb.SECONDARY else self.device.primary

    def take_notes(self, op: Operation) -> None:
        """Take over what the device noted about the layers that ``op`` started."""
        for remark in self.device.remarks[len(self.remarks) :]:
            self.remarks.append(Diagnostic.remark(op.location, str(remark)))
        for record in self.device.records[len(self.layers) :]:
            names = self._names_of(record.units)
            self.layers.append(ExecutedLayer(names, op, record))

    def _names_of(self, units: Mapping[str, int]) -> tuple[str, ...]:
        named = [name for unit in units.items() for name in self.names.get(unit, ())]
        return tuple(dict.fromkeys(named))


def device_of(machine: MachineBase) -> Device | None:
    """The device of the machine's latest run; None if that was no register program."""
    run = machine.state.get(_STATE)
    return run.device if isinstance(run, Run) else None


def executed_layers(machine: MachineBase) -> list[ExecutedLayer]:
    """The hardware layers of the machine's latest run, in order."""
    run = machine.state.get(_STATE)
    return run.layers if isinstance(run, Run) else []


def checks_of(machine: MachineBase) -> list[CheckResult]:
    """The checks of the machine's latest run, in order."""
    run = machine.state.get(_STATE)
    return run.checks if isinstance(run, Run) else []


def remarks_of(machine: MachineBase) -> list[Diagnostic]:
    """What the device ignored in the machine's latest run, where its program asks for it."""
    run = machine.state.get(_STATE)
    return run.remarks if isinstance(run, Run) else []


def run_of(op: Operation, machine: MachineBase) -> Run:
    """The run that ``op`` belongs to; its first operation starts it."""
    run = machine.state.get(_STATE)
    if run is None:
        device = Device(_configuration(op, machine), lenient=machine.lenient)
        module = op.parent_op.parent_op if op.parent_op is not None else None
        if module is not None:
            base = module.attributes.get(csb.MEMORY_BASE_ATTRIBUTE)
            size = module.attributes.get(csb.MEMORY_BYTES_ATTRIBUTE)
            if isinstance(base, IntegerAttr) and isinstance(size, IntegerAttr):
                with faults_of(op):
                    device.primary.reserve(base.value, size.value)
        run = machine.state[_STATE] = Run(device)
    return run


def _configuration(op: Operation, machine: MachineBase) -> HardwareConfiguration:
    found = machine.cache.get(_STATE)
    if found is None:
        found = machine.cache[_STATE] = configuration_of(op)
    return found


@contextmanager
def faults_of(op: Operation, layers: tuple[str, ...] = ()) -> Generator[None]:
    """Turn what the device refuses into a diagnostic at ``op``, that names ``layers``."""
    try:
        yield
    except (DeviceError, MemoryAccessError, LayoutError) as error:
        what = f"layer '{'+'.join(layers)}'" if layers else describe(op)
        verb = "never finishes" if isinstance(error, DeadlockError) else "cannot run"
        raise DiagnosticError.at(op.location, f"{what} {verb}: {error}") from error
