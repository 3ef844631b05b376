"""The words of trace files: commands of ``.cfg`` files, and the numbers in them.

A command is ``name(argument, …);`` on a line of its own, with free spaces and an optional comment
from ``//`` on (convolution.md section 1.1).
"""

from __future__ import annotations

import re

from attrs import field, frozen

from nvdla_ir.formats.trace.faults import Faults, place
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.location import FileLineCol

_COMMAND = re.compile(
    r"""\s*(?P<name>[A-Za-z_]\w*)\s*
    \((?P<arguments>(?:"[^"]*"|[^"()])*)\)\s*
    ;\s*(?://.*)?$""",
    re.VERBOSE,
)
_ARGUMENT = re.compile(r'\s*("[^"]*"|[\w.]+)\s*(,|$)')
_NUMBER = re.compile(r"0[xX][0-9a-fA-F]{1,32}|[0-9]{1,39}")
_COMMENT = "//"


@frozen
class Argument:
    """One argument as it is written, and the column that it starts at."""

    text: str
    column: int

    @property
    def is_string(self) -> bool:
        """Whether it stands in quotation marks."""
        return self.text.startswith('"')

    @property
    def string(self) -> str:
        """The text without quotation marks."""
        return self.text.strip('"')


@frozen
class Command:
    """One line of a ``.cfg`` file: ``name(arguments);`` at ``line``, ``column``."""

    name: str
    arguments: tuple[Argument, ...]
    file: str = field(repr=False)
    line: int
    column: int

    @property
    def location(self) -> FileLineCol:
        """Where the command starts."""
        return place(self.file, self.line, self.column)

    def location_of(self, argument: Argument) -> FileLineCol:
        """Where one of its arguments starts."""
        return place(self.file, self.line, argument.column)

    def number(self, index: int, maximum: int, rule: str) -> int:
        """The number that is argument ``index``; ``rule`` says why it is at most ``maximum``.

        Raises: DiagnosticError at the argument for what is no number, or too large.
        """
        argument = self.arguments[index]
        number = read_number(argument.text)
        if number is None:
            message = f"expected a number, found '{argument.text}'"
        elif number > maximum:
            message = f"{argument.text} is too large: {rule}"
        else:
            return number
        raise DiagnosticError.at(self.location_of(argument), message)


def read_number(text: str) -> int | None:
    """A decimal or hexadecimal (``0x``) number, or None for anything else."""
    if _NUMBER.fullmatch(text) is None:
        return None
    return int(text, 16) if text[:2] in ("0x", "0X") else int(text)


def lex(text: str, file: str, faults: Faults) -> list[Command]:
    """The commands of the ``.cfg`` file ``file`` that holds ``text``.

    Lines that are no commands are noted in ``faults`` and left out.
    """
    commands: list[Command] = []
    for number, line in enumerate(text.split("\n"), 1):
        match = _COMMAND.match(line)
        if match is None:
            if line.strip() and not line.lstrip().startswith(_COMMENT):
                column, message = _diagnosis(line)
                faults.error(place(file, number, column), message)
            continue
        start = match.start("arguments")
        arguments = _arguments(match["arguments"], start + 1)
        if isinstance(arguments, int):
            message = "expected an argument: a name, a number or a file name in quotation marks"
            faults.error(place(file, number, arguments), message)
            continue
        commands.append(
            Command(match["name"], tuple(arguments), file, number, match.start("name") + 1)
        )
    return commands


def _arguments(text: str, column: int) -> list[Argument] | int:
    """The arguments in ``text``, which starts at ``column``; the column of the first fault where
    there is one."""
    if not text.strip():
        return []
    found: list[Argument] = []
    position = 0
    while True:
        match = _ARGUMENT.match(text, position)
        if match is None:
            rest = text[position:]
            return column + position + len(rest) - len(rest.lstrip())
        found.append(Argument(match[1], column + match.start(1)))
        position = match.end()
        if not match[2]:
            return found


def _diagnosis(line: str) -> tuple[int, str]:
    """The column from which ``line`` is no command, and what is expected there."""
    name = re.match(r"\s*([A-Za-z_]\w*)?", line)
    assert name is not None
    column = len(line) - len(line.lstrip()) + 1
    if name[1] is None:
        return column, "expected a command, such as 'reg_write(NVDLA_SDP.S_POINTER_0, 0x0);'"
    opened = re.compile(r"\s*\(").match(line, name.end())
    if opened is None:
        return name.end() + 1, f"expected '(' after '{name[1]}'"
    closed = re.compile(r'(?:"[^"]*"|[^"()])*').match(line, opened.end())
    assert closed is not None
    end = closed.end()
    if end == len(line) or line[end] != ")":
        what = "a closing quotation mark" if line[end : end + 1] == '"' else "')'"
        return end + 1, f"expected {what}"
    rest = re.compile(r"\s*").match(line, end + 1)
    assert rest is not None
    if line[rest.end() : rest.end() + 1] != ";":
        return rest.end() + 1, "expected ';' after the command"
    behind = line[rest.end() + 1 :]
    column = len(line) - len(behind.lstrip()) + 1
    return column, "expected the end of the line or a comment: one command a line"
