"""Makes FileCheck's check lines of a command's output.

Every line of the output becomes a check line of the same line: the first of a function a
``CHECK-LABEL``, others a ``CHECK-NEXT``. What differs from machine to machine becomes a pattern.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from attrs import define, field, frozen

_FUNCTION = re.compile(r"\s*func\.func (?:\w+ )?@(?P<name>[\w.$-]+|\"[^\"]*\")\(")
_VALUE = r"%[a-zA-Z0-9_$.-]+"
_CAPTURED = "%[^ ,:)#]+"
_SPECIAL = re.compile(r"\[\[|\{\{")


@frozen
class Style:
    """How check lines are written.

    prefix:       ``CHECK``, or another that filecheck is told to look for
    captures:     names of values become FileCheck's variables instead of standing as they are
    exact_spaces: filecheck is told to compare whole lines with all their spaces
    whole_lines:  filecheck is told to compare whole lines
    """

    prefix: str
    captures: bool = False
    exact_spaces: bool = False
    whole_lines: bool = False


@frozen
class Block:
    """Check lines of one function of the output, with what is between it and the one before.

    function: its name; None for output that is not of a function
    """

    function: str | None
    lines: tuple[str, ...]


def function_name(line: str) -> str | None:
    """The name of the function whose first line is ``line``; None if none starts there."""
    match = _FUNCTION.match(line)
    return match["name"] if match else None


def blocks(text: str, style: Style, file: Path, temporary: Path) -> list[Block]:
    """The check lines for the output ``text``, function by function.

    file, temporary: the test file and the path of its temporary files; both are in folders of this
    machine, and line numbers in the test file change when check lines do
    """
    found: list[Block] = []
    names = _Names()
    function: str | None = None
    lines: list[str] = []
    for row in _without_plain_module(text.split("\n")):
        name = function_name(row)
        if name is not None:
            if function is not None:
                found.append(Block(function, tuple(lines)))
                lines = []
            function = name
            names = _Names()
        kind = "LABEL" if name is not None else "NEXT" if lines else ""
        lines += _check(row, kind, style, _Patterns(style, file, temporary, names))
    return [*found, Block(function, tuple(lines))] if lines else found


def _without_plain_module(rows: Sequence[str]) -> list[str]:
    """The rows without blank ones around, and without a module that says nothing."""
    while rows and not rows[0].strip():
        rows = rows[1:]
    while rows and not rows[-1].strip():
        rows = rows[:-1]
    if len(rows) > 2 and rows[0] == "module {" and rows[-1] == "}":
        return [row.removeprefix("  ") for row in rows[1:-1]]
    return list(rows)


def _check(row: str, kind: str, style: Style, patterns: _Patterns) -> list[str]:
    if not row:
        return [f"// {style.prefix}-EMPTY:"]
    if not row.strip():
        return [_line(kind, f"{{{{^{row}$}}}}", style)]
    if kind == "LABEL" and style.captures:
        if style.whole_lines:
            # A label cannot define variables, and it would have to be the whole line.
            return [_line("", patterns.of(row), style)]
        label = _FUNCTION.match(row)
        assert label is not None
        rest = row[label.end() :]
        head = _line("LABEL", patterns.of(label[0]), style)
        return [head, _line("SAME", patterns.of(rest), style)] if rest else [head]
    if patterns.is_literal(row) and _SPECIAL.search(row):
        return [_line(kind, row, style, literal=True)]
    return [_line(kind, patterns.of(row), style)]


def _line(kind: str, pattern: str, style: Style, literal: bool = False) -> str:
    kind = f"-{kind}" if kind else ""
    head = f"// {style.prefix}{kind}{'{LITERAL}' if literal else ''}:"
    if style.exact_spaces:
        return head + pattern
    # Lines of all kinds are aligned, so that the output's indentation is seen.
    return f"{head} ".ljust(len(f"// {style.prefix}-LABEL: ")) + pattern.rstrip()


@define
class _Names:
    """FileCheck's variables for the values of a function, in the order they are met."""

    variables: dict[str, str] = field(factory=dict[str, str])

    def of(self, value: str) -> tuple[str, bool]:
        """The variable for the value named ``value``, and whether it is met the first time."""
        known = self.variables.get(value)
        if known is not None:
            return known, False
        stem = re.sub(r"\W", "_", value[1:]).upper()
        stem = stem if stem[0].isalpha() else f"V{stem}"
        taken = set(self.variables.values())
        variable = next(
            name
            for name in (stem, *(f"{stem}_{number}" for number in range(2, len(taken) + 3)))
            if name not in taken
        )
        self.variables[value] = variable
        return variable, True


class _Patterns:
    """Turns text of the output into FileCheck's patterns."""

    def __init__(self, style: Style, file: Path, temporary: Path, names: _Names) -> None:
        position = rf"{re.escape(str(file))}(?P<quote>\"?):(?P<line>\d+)"
        folders = "|".join(
            re.escape(f"{folder}{os.sep}") for folder in (temporary.parent, file.parent)
        )
        values = rf"|(?P<value>{_VALUE})" if style.captures else ""
        self._changing = re.compile(rf"(?P<position>{position})|(?P<folder>{folders}){values}")
        self._file = file
        self._names = names

    def is_literal(self, text: str) -> bool:
        """Whether nothing in ``text`` becomes a pattern."""
        return self._changing.search(text) is None

    def of(self, text: str) -> str:
        """The pattern for ``text``."""
        parts: list[str] = []
        end = 0
        for match in self._changing.finditer(text):
            parts += [_escaped(text[end : match.start()]), self._replaced(match)]
            end = match.end()
        return "".join([*parts, _escaped(text[end:])])

    def _replaced(self, match: re.Match[str]) -> str:
        if match["position"]:
            return f"{{{{.*}}}}{self._file.name}{match['quote']}:{{{{[0-9]+}}}}"
        if match["folder"]:
            return "{{.*}}"
        variable, is_new = self._names.of(match["value"])
        return f"[[{variable}:{_CAPTURED}]]" if is_new else f"[[{variable}]]"


def _escaped(text: str) -> str:
    return _SPECIAL.sub(lambda match: "{{" + re.escape(match[0]) + "}}", text)
