"""Operations on the hardware's registers. One programs a unit's register group by named fields;
``register_writes`` expands it to single writes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING

from attrs import frozen

from nvdla_ir.dialects.layer import LayerOp
from nvdla_ir.dialects.nvdla import configuration_of, target_of
from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.hw.registers import WORD_MASK, RegisterError, RegisterMap, register_map
from nvdla_ir.ir.attribute_kinds import DICT, INT, INTS, STRING, enumeration
from nvdla_ir.ir.attributes import Attribute, IntegerAttr, StringAttr
from nvdla_ir.ir.definition import attribute, optional_attribute
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.operation import Operation

if TYPE_CHECKING:
    from nvdla_ir.text.printer import Printer

INTERRUPT_CONTROL = "GLB"
"""The unit without register groups that masks and reports interrupts."""

_FIELD_VALUES = (IntegerAttr, StringAttr)
_GROUP_FIELD = "PRODUCER"

_LINE_WIDTH = 100
_INDENT = "  "


@frozen
class RegisterWrite:
    """A word for a register: ``RegisterWrite("SDP", "D_CVT_SCALE", 0x68, 21)``.

    ``address`` is the register's byte address on the CSB.
    """

    unit: str
    register: str
    address: int
    word: int


class UnitOp(LayerOp):
    """An operation on one unit of the hardware."""

    verified_by_signature = True

    unit = attribute(STRING)

    def register_writes(self, registers: RegisterMap) -> list[RegisterWrite]:
        """The single writes that this operation stands for, in order.

        Raises: RegisterError for units, registers, fields and values that ``registers`` has not.
        """
        raise NotImplementedError

    def surroundings(self) -> HardwareConfiguration | None:
        try:
            return target_of(self)
        except DiagnosticError:
            return None  # reported by whoever asks for the target

    def verify(self) -> Iterable[str]:
        hw = self.surroundings()
        if hw is None:
            return
        registers = register_map(hw.register_map)
        if not self._names_block(registers):
            yield f"names the unit '{self.unit}', which '{hw.name}' does not have"
            return
        try:
            self._check_registers(registers)
        except RegisterError as error:
            yield f"programs '{self.unit}' wrongly: {error}"

    def _check_registers(self, registers: RegisterMap) -> None:
        """Raises: RegisterError as ``register_writes``."""
        self.register_writes(registers)

    def _names_block(self, registers: RegisterMap) -> bool:
        return self.unit in registers


class ConfigureOp(UnitOp):
    """``csb.configure SDP group=0 {CVT_SCALE = 21, CVT_SHIFT = 14}``

    Writes the registers of the group that hold the named fields; other fields of these registers
    get their reset value. Enumerated fields may be named by a string. Addresses and strides are
    in bytes. Units without groups, such as GLB, have no ``group``.
    """

    name = "csb.configure"
    positional = ("unit",)
    trailing = "fields"
    verified_by_signature = False  # each has fields of its own

    group = optional_attribute(INT)
    fields = attribute(DICT)

    def field_values(self) -> dict[str, int | str]:
        """The fields by name, with a number or the name of an enumerated value."""
        return {name: value.value for name, value in self.fields.items()}  # pyright: ignore

    def _check_registers(self, registers: RegisterMap) -> None:
        block = registers.block(self.unit)
        block.encode(self.field_values())
        if self.group is not None:
            block.field(_GROUP_FIELD)

    def register_writes(self, registers: RegisterMap) -> list[RegisterWrite]:
        words = registers.block(self.unit).encode(self.field_values())
        writes = [_write(registers, self.unit, name, word) for name, word in words.items()]
        if self.group is None:
            return writes
        return [_select(registers, self.unit, self.group), *writes]

    def verify(self) -> Iterable[str]:
        faults = [
            f"has '{name} = {value}', but a field takes a number or a name"
            for name, value in self.fields.items()
            if value.__class__ not in _FIELD_VALUES
        ]
        if self.group is not None:
            faults += _group_faults(self.group)
        yield from faults
        if not faults:
            yield from super().verify()

    def print_pretty(self, printer: Printer) -> None:
        head = f"{self.name} {self.unit}"
        if self.group is not None:
            head += f" group={self.group}"
        layers = self.attributes.get("layers")
        if layers is not None:
            head += f" layers={printer.attribute(layers)}"
        entries = [
            f"{name} = {_hexadecimal(value) if '_ADDR' in name else value}"
            for name, value in self.fields.items()
        ]
        indent = _INDENT * _depth(self)
        line = f"{head} {{{', '.join(entries)}}}"
        if len(indent) + len(line) > _LINE_WIDTH:
            lines = _lines(entries, _LINE_WIDTH - len(indent) - len(_INDENT))
            body = "".join(f"{indent}{_INDENT}{line}\n" for line in lines)
            line = f"{head} {{\n{body}{indent}}}"
        printer.write(line)
        printer.discardable(self)


def _depth(operation: Operation) -> int:
    parent = operation.parent_op
    return 0 if parent is None else 1 + _depth(parent)


def _lines(entries: Sequence[str], width: int) -> list[str]:
    """``entries`` joined by commas, in lines of at most ``width`` characters where possible."""
    lines: list[str] = []
    line: list[str] = []
    length, last = 0, len(entries) - 1
    for index, entry in enumerate(entries):
        text = entry if index == last else f"{entry},"
        if line and length + len(text) > width:
            lines.append(" ".join(line))
            line, length = [], 0
        line.append(text)
        length += len(text) + 1
    return [*lines, " ".join(line)]


def _hexadecimal(value: Attribute) -> str:
    return f"{value.value:#x}" if isinstance(value, IntegerAttr) else str(value)


class _GroupOp(UnitOp):
    """An operation on one register group of a unit."""

    positional = ("unit",)

    group = attribute(INT)

    def verify(self) -> Iterable[str]:
        faults = _group_faults(self.group)
        yield from faults or super().verify()


def _group_faults(group: int) -> list[str]:
    if group in (0, 1):
        return []
    return [f"has 'group = {group}', but there are groups 0 and 1"]


class EnableOp(_GroupOp):
    """Sets OP_EN of a unit's register group: it runs when it is the group's turn."""

    name = "csb.enable"

    def register_writes(self, registers: RegisterMap) -> list[RegisterWrite]:
        return [*_enable(registers.generation, self.unit, self.group)]


class WaitOp(_GroupOp):
    """Waits for the interrupt that says a unit has finished its group, and clears it. Units are
    named as their interrupts are: SDP, PDP, CDP, BDMA, RUBIK, CDMA_DAT, CDMA_WT, CACC."""

    name = "csb.wait"

    def register_writes(self, registers: RegisterMap) -> list[RegisterWrite]:
        """The write that clears the interrupt, after it has come."""
        return [*_clear(registers.generation, self.unit, self.group)]

    def _names_block(self, registers: RegisterMap) -> bool:
        return True  # whether there is such an interrupt shows when its write is made


class WaitAnyOp(LayerOp):
    """Waits until any interrupt is there that is not masked. Clears nothing."""

    name = "csb.wait_any"


class WriteTableOp(UnitOp):
    """``csb.write_table SDP table="LE" first=0 values=[0, 17, …]``: entries of a unit's look-up
    table, from entry ``first`` on, through S_LUT_ACCESS_CFG and S_LUT_ACCESS_DATA (sdp.md
    section 11). Entries are signed, of 16 bits.
    """

    name = "csb.write_table"
    positional = ("unit",)

    table = attribute(enumeration("LE", "LO"))
    first = attribute(INT, default=0)
    values = attribute(INTS)

    def register_writes(self, registers: RegisterMap) -> list[RegisterWrite]:
        block = registers.block(self.unit)
        access = block.encode(
            {"LUT_ADDR": self.first, "LUT_TABLE_ID": self.table, "LUT_ACCESS_TYPE": "WRITE"}
        )
        words = [*access.items()]
        for value in self.values:
            words += block.encode({"LUT_DATA": value}).items()
        return [_write(registers, self.unit, name, word) for name, word in words]


class ReadOp(UnitOp):
    """An operation that reads a register, of ``group`` where it is given, and looks at the bits
    of ``mask``."""

    positional = ("unit",)

    group = optional_attribute(INT)
    register = attribute(STRING)
    value = attribute(INT)
    mask = attribute(INT, default=WORD_MASK)

    def register_writes(self, registers: RegisterMap) -> list[RegisterWrite]:
        """The write that selects the group."""
        registers.block(self.unit).register(self.register)
        return [] if self.group is None else [_select(registers, self.unit, self.group)]

    def verify(self) -> Iterable[str]:
        faults = [] if self.group is None else _group_faults(self.group)
        faults += [
            f"has '{name} = {word:#x}', but registers have 32 bits"
            for name, word in (("value", self.value), ("mask", self.mask))
            if not 0 <= word <= WORD_MASK
        ]
        yield from faults or super().verify()

    def print_pretty(self, printer: Printer) -> None:
        printer.write(f"{self.name} {self.unit}")
        for name, value in self.inherent_attributes():
            if name in ("value", "mask") and isinstance(value, IntegerAttr):
                printer.write(f" {name}={value.value:#x}")
            elif name != "unit":
                printer.write(f" {name}={printer.attribute(value)}")
        printer.discardable(self)


class PollOp(ReadOp):
    """``csb.poll CDMA register="S_CBUF_FLUSH_STATUS" value=0x1``: waits until the register
    reads ``value``."""

    name = "csb.poll"


class ExpectOp(ReadOp):
    """``csb.expect SDP register="S_STATUS" value=0x0``: a check that the register reads
    ``value`` now."""

    name = "csb.expect"


def _select(registers: RegisterMap, unit: str, group: int) -> RegisterWrite:
    """The write after which the unit's registers are those of ``group``."""
    words = registers.block(unit).encode({_GROUP_FIELD: group})
    ((name, word),) = words.items()
    return _write(registers, unit, name, word)


# Enables and waits are the same few all over a program.


@cache
def _enable(generation: str, unit: str, group: int) -> tuple[RegisterWrite, ...]:
    registers = register_map(generation)
    words = registers.block(unit).encode({"OP_EN": 1})
    writes = (_write(registers, unit, name, word) for name, word in words.items())
    return _select(registers, unit, group), *writes


@cache
def _clear(generation: str, unit: str, group: int) -> tuple[RegisterWrite, ...]:
    registers = register_map(generation)
    words = registers.block(INTERRUPT_CONTROL).encode({f"{unit}_DONE_STATUS{group}": 1})
    return tuple(_write(registers, INTERRUPT_CONTROL, name, word) for name, word in words.items())


def _write(registers: RegisterMap, unit: str, register: str, word: int) -> RegisterWrite:
    block = registers.block(unit)
    return RegisterWrite(unit, register, block.base + block.register(register).offset, word)


def count_register_writes(operation: Operation) -> int:
    """How many single register writes the csb operations inside ``operation`` stand for.

    Raises: DiagnosticError where no target is named, RegisterError as ``register_writes``.
    """
    units = [inner for inner in operation.walk() if isinstance(inner, UnitOp)]
    if not units:
        return 0
    registers = register_map(configuration_of(units[0]).register_map)
    return sum(len(unit.register_writes(registers)) for unit in units)
