"""GLB: interrupt mask, set and status. Sources: convolution.md section 5, rubik-bdma-glb.md 5."""

from __future__ import annotations

from enum import IntEnum

from attrs import frozen

from nvdla_ir.hw.registers import Block, Register
from nvdla_ir.interp.device.registers import GROUPS, RegisterFile


class InterruptSource(IntEnum):
    """Who raises interrupts; bit ``2 * source + group`` of the GLB registers is its own."""

    SDP = 0
    CDP = 1
    PDP = 2
    BDMA = 3
    RUBIK = 4
    CDMA_DAT = 8
    CDMA_WT = 9
    CACC = 10


INTERRUPTS = {
    "CDMA": (InterruptSource.CDMA_WT, InterruptSource.CDMA_DAT),
    "CACC": (InterruptSource.CACC,),
    "SDP": (InterruptSource.SDP,),
    "PDP": (InterruptSource.PDP,),
    "CDP": (InterruptSource.CDP,),
    "RBK": (InterruptSource.RUBIK,),
    "BDMA": (InterruptSource.BDMA,),
}
"""The interrupts that each unit raises at the end of a layer."""


@frozen
class Interrupt:
    """A unit's "layer done" of one register group."""

    source: InterruptSource
    group: int

    @property
    def bit(self) -> int:
        """The bit that stands for it in S_INTR_MASK, S_INTR_SET and S_INTR_STATUS."""
        return 1 << (2 * self.source + self.group)

    def __str__(self) -> str:
        return f"{self.source.name}_{self.group}"


ALL_INTERRUPTS = tuple(Interrupt(source, group) for source in InterruptSource for group in GROUPS)


class GlobalControl(RegisterFile):
    """The GLB block.

    An interrupt that occurs again before its status bit was cleared is counted, so that
    `take` finds it once per occurrence, as a host that reacts at once would.
    """

    def __init__(self, block: Block) -> None:
        super().__init__(block)
        self._occurrences = dict.fromkeys(ALL_INTERRUPTS, 0)

    @property
    def _status(self) -> int:
        return sum(i.bit for i in self.occurred())

    def write(self, register: Register, word: int) -> None:
        if register.name == "S_INTR_SET":
            for interrupt in ALL_INTERRUPTS:
                if word & interrupt.bit:
                    self.occur(interrupt)
        elif register.name == "S_INTR_STATUS":
            for interrupt in ALL_INTERRUPTS:
                if word & interrupt.bit:
                    self._occurrences[interrupt] = 0
        else:
            super().write(register, word)

    def read(self, register: Register) -> int:
        if register.name == "S_INTR_STATUS":
            return self._status
        return 0 if register.name == "S_INTR_SET" else super().read(register)

    def occur(self, interrupt: Interrupt) -> None:
        """Set the status bit, masked or not."""
        self._occurrences[interrupt] += 1

    def masked(self, interrupt: Interrupt) -> bool:
        """Whether the interrupt does not reach the interrupt line."""
        return bool(self.single["S_INTR_MASK"] & interrupt.bit)

    def occurred(self) -> tuple[Interrupt, ...]:
        """Interrupts that are set, masked or not."""
        return tuple(i for i, count in self._occurrences.items() if count)

    def pending(self) -> tuple[Interrupt, ...]:
        """Interrupts that are set and not masked."""
        return tuple(i for i in self.occurred() if not self.masked(i))

    def take(self, interrupt: Interrupt) -> bool:
        """Consume one occurrence if the interrupt is pending; clears the bit with the last."""
        if not self._occurrences[interrupt] or self.masked(interrupt):
            return False
        self._occurrences[interrupt] -= 1
        return True
