"""What a register program can do wrong, told with block, register, value and rule."""

from __future__ import annotations

from attrs import define, field, frozen


class DeviceError(ValueError):
    """A register program asks for something that the hardware forbids or lacks.

    ``block`` and ``register`` name the register at fault (``register`` is ``""`` where the fault
    is not in one register), ``value`` is what it holds, ``rule`` says what must hold.
    """

    def __init__(self, block: str, register: str, value: int | None, rule: str) -> None:
        where = f"{block}.{register}" if register else block
        shown = "" if value is None else f" = {value:#x} ({value})"
        super().__init__(f"{where}{shown}: {rule}")
        self.block = block
        self.register = register
        self.value = value
        self.rule = rule


class DeadlockError(DeviceError):
    """An interrupt is awaited that can never come; the rule tells which unit waits for what."""


class MemoryAccessError(ValueError):
    """An access outside a memory, or beyond the bytes that it may occupy."""


@frozen
class Remark:
    """Something that the hardware ignores, but that its programmer would want to know."""

    block: str
    register: str
    value: int | None
    message: str

    def __str__(self) -> str:
        where = f"{self.block}.{self.register}" if self.register else self.block
        shown = "" if self.value is None else f" = {self.value:#x} ({self.value})"
        return f"{where}{shown}: {self.message}"


@define
class Rules:
    """Where units report violated rules: errors, or remarks when ``lenient``.

    A lenient device goes on as the hardware would; what the hardware cannot do at all (an access
    outside memory, a feature that this device does not model) stays an error.
    """

    lenient: bool = False
    remarks: list[Remark] = field(factory=list[Remark])

    def require(self, holds: bool, block: str, register: str, value: int | None, rule: str) -> None:
        """Report ``rule`` unless it ``holds``. Raises `DeviceError` unless lenient."""
        if holds:
            return
        if not self.lenient:
            raise DeviceError(block, register, value, rule)
        self.remark(block, register, value, rule)

    def remark(self, block: str, register: str, value: int | None, message: str) -> None:
        """Note something harmless."""
        self.remarks.append(Remark(block, register, value, message))
