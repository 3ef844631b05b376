"""``.txn`` traces, as the first generation of the hardware has them (convolution.md section 1.5).

One command a line, executed in order: ``load_mem address size file``, ``write_reg A word``,
``read_reg A mask expected``, ``wait``, ``dump_mem address size file``. ``#`` starts a comment.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from attrs import define, field

from nvdla_ir.dialects.csb import PRIMARY, SECONDARY
from nvdla_ir.files import read_text
from nvdla_ir.formats.trace.commands import Argument, Command
from nvdla_ir.formats.trace.data import Bytes, read_hexadecimal_bytes
from nvdla_ir.formats.trace.faults import Faults
from nvdla_ir.formats.trace.files import data_file
from nvdla_ir.formats.trace.memory import InitialMemory
from nvdla_ir.formats.trace.steps import (
    BytesStep,
    ExpectStep,
    LoadStep,
    Step,
    WaitAnyStep,
    WriteStep,
)
from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.hw.registers import WORD_MASK, Block, Register, register_map
from nvdla_ir.hw.suggestion import nearest
from nvdla_ir.ir.diagnostics import DiagnosticError

_WORD = re.compile(r"\S+")
_CSB_WORDS = 0xFFFF
"""The low bits of a register's number are its word address on the CSB."""

_SECONDARY_FIRST, _SECONDARY_END = 0x5000_0000, 0x8000_0000
"""The addresses that such traces keep in the secondary memory, where there is one."""

_FORMS = {
    "load_mem": "load_mem address size file",
    "dump_mem": "dump_mem address size file",
    "write_reg": "write_reg register word",
    "read_reg": "read_reg register mask expected",
    "wait": "wait",
}


def read_txn(
    path: Path, configuration: HardwareConfiguration, note: Callable[[Path], None]
) -> list[Step]:
    """The steps of the trace ``path``, in order. ``note`` is told the data files that are read.

    Raises: DiagnosticError with all faults of the file and of its data files (the first 20).
    """
    faults = Faults()
    reader = _Reader(path, configuration, note)
    for number, line in enumerate(read_text(path).split("\n"), 1):
        words = [Argument(m[0], m.start() + 1) for m in _WORD.finditer(line.partition("#")[0])]
        if not words:
            continue
        command = Command(words[0].text, tuple(words[1:]), str(path), number, words[0].column)
        try:
            reader.read(command)
        except DiagnosticError as error:
            faults.take(error)
    faults.raise_if_any()
    return reader.steps


@define
class _Reader:
    path: Path
    configuration: HardwareConfiguration
    note: Callable[[Path], None]
    steps: list[Step] = field(factory=list["Step"])
    _files: dict[str, Bytes] = field(factory=dict[str, Bytes])

    def read(self, command: Command) -> None:
        """Take over one command; raises DiagnosticError where it is wrong."""
        form = _FORMS.get(command.name)
        if form is None:
            hint = nearest(command.name, _FORMS)
            raise DiagnosticError.at(
                command.location, f"there is no command '{command.name}'{hint}"
            )
        if len(command.arguments) != form.count(" "):
            raise DiagnosticError.at(
                command.location,
                f"'{command.name}' has {len(command.arguments)} arguments; it is written '{form}'",
            )
        if command.name == "wait":
            self.steps.append(WaitAnyStep(command.location))
        elif command.name == "write_reg":
            block, register = self._register(command)
            word = self._number(command, 1, WORD_MASK)
            self.steps.append(WriteStep(command.location, block, register, word))
        elif command.name == "read_reg":
            block, register = self._register(command)
            mask, value = self._number(command, 1, WORD_MASK), self._number(command, 2, WORD_MASK)
            self.steps.append(ExpectStep(command.location, block, register, value, mask))
        else:
            self._memory(command)

    def _memory(self, command: Command) -> None:
        address = self._number(command, 0, (1 << self.configuration.address_bits) - 1)
        size = self._number(command, 1, 1 << 32)
        name = command.arguments[2]
        data = self._bytes(command, name)
        InitialMemory(self.configuration.address_bits).check(command.location, address, size)
        in_secondary = _SECONDARY_FIRST <= address < _SECONDARY_END
        has_secondary = self.configuration.has_secondary_memory
        memory = SECONDARY if in_secondary and has_secondary else PRIMARY
        key = Path(name.text).stem
        if command.name == "dump_mem":
            if data.size != size or not size:
                raise DiagnosticError.at(
                    command.location_of(name),
                    f"'{name.text}' holds {data.size} bytes to compare with, but size is {size}",
                )
            self.steps.append(BytesStep(command.location, memory, address, None, data, key))
        elif data.size > size:
            raise DiagnosticError.at(
                command.location_of(name),
                f"'{name.text}' holds {data.size} bytes, but size is {size}",
            )
        elif data.size:
            self.steps.append(LoadStep(command.location, memory, address, data, key))

    def _bytes(self, command: Command, name: Argument) -> Bytes:
        data = self._files.get(name.text)
        if data is None:
            path = data_file(self.path.parent, name.text, command.location_of(name))
            self.note(path)
            data = self._files[name.text] = read_hexadecimal_bytes(path)
        return data

    def _register(self, command: Command) -> tuple[Block, Register]:
        number = self._number(command, 0, WORD_MASK)
        address = (number & _CSB_WORDS) * 4
        registers = register_map(self.configuration.register_map)
        found = registers.at(address)
        if found is None:
            raise DiagnosticError.at(
                command.location_of(command.arguments[0]),
                f"there is no register at the byte address {address:#x} of the "
                f"{registers.generation} register map",
            )
        return found

    def _number(self, command: Command, index: int, maximum: int) -> int:
        return command.number(index, maximum, f"it must be at most {maximum:#x}")
