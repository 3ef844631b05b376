"""A device that does everything but compute: which layer runs when, and which interrupts come.

The player of the format runs the command streams of all blocks at once. To put their commands in
one order, one must know when an interrupt comes, and that depends on the registers: on the chain
of units that a layer needs.
"""

from __future__ import annotations

from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.hw.registers import Block, Register, RegisterMap
from nvdla_ir.interp.device.bdma import LAUNCHES
from nvdla_ir.interp.device.environment import Environment
from nvdla_ir.interp.device.errors import Rules
from nvdla_ir.interp.device.global_control import GlobalControl, Interrupt, InterruptSource
from nvdla_ir.interp.device.memory import Memory
from nvdla_ir.interp.device.pipelines import Pipelines
from nvdla_ir.interp.device.record import LayerNotes, LayerRecord
from nvdla_ir.interp.device.registers import RegisterFile, UnitRegisters

_FLUSH_STATUS = "S_CBUF_FLUSH_STATUS"


class _IdlePipelines(Pipelines):
    """Starts and finishes layers without computing them."""

    def _execute(self, head: str, units: dict[str, UnitRegisters], notes: LayerNotes) -> int:
        return 0


class Rehearsal:
    """Takes the register writes of a trace in the order in which they are to be executed."""

    def __init__(self, configuration: HardwareConfiguration, registers: RegisterMap) -> None:
        self._registers = registers
        self._control = GlobalControl(registers["GLB"])
        self._files: dict[str, RegisterFile] = {"GLB": self._control}
        environment = Environment(
            configuration, Memory("primary"), Memory("secondary"), Rules(lenient=True)
        )
        self._order: list[Interrupt] = []
        self._pipelines = _IdlePipelines(environment, self._file, self._occur, _ignore)

    def write(self, block: Block, register: Register, word: int) -> bool:
        """A register write; returns whether it may have changed what other registers read."""
        file = self._file(block.name)
        if isinstance(file, UnitRegisters) and register.grouped and file.armed[file.producer]:
            return False
        file.write(register, word)
        if block.name == "GLB":
            return True
        if register.name in LAUNCHES and word & 1:
            self._occur(Interrupt(InterruptSource.BDMA, LAUNCHES[register.name]))
            return True
        if register.name == "D_OP_ENABLE" and isinstance(file, UnitRegisters):
            self._pipelines.advance(block.name)
            return True
        return False

    def reads(self, block: Block, register: Register, value: int) -> bool:
        """Whether a register reads ``value`` now, as far as that can be told."""
        if register.name == _FLUSH_STATUS:
            return True
        return self._file(block.name).read(register) == value

    def age(self, interrupt: Interrupt) -> int | None:
        """How many interrupts came before this one; None if it is not there, or masked."""
        if interrupt not in self._control.pending():
            return None
        return self._order.index(interrupt) if interrupt in self._order else -1

    def take(self, interrupt: Interrupt) -> None:
        """Clear an interrupt that is there."""
        self._control.take(interrupt)
        if interrupt in self._order:
            self._order.remove(interrupt)

    def waiting_report(self, interrupt: Interrupt) -> str:
        """Why an interrupt does not come."""
        if self._control.masked(interrupt):
            return "it is masked in GLB.S_INTR_MASK"
        return "; ".join(self._pipelines.waiting()) or "no unit is enabled"

    def _occur(self, interrupt: Interrupt) -> None:
        self._order.append(interrupt)
        self._control.occur(interrupt)

    def _file(self, name: str) -> RegisterFile:
        file = self._files.get(name)
        if file is None:
            block = self._registers[name]
            has_groups = "S_POINTER" in block.registers
            file = UnitRegisters(block) if has_groups else RegisterFile(block)
            self._files[name] = file
        return file


def _ignore(record: LayerRecord) -> None:
    del record
