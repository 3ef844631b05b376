"""Texts of several inputs: ``--split-input-file``."""

from __future__ import annotations

import re

from nvdla_ir.ir.diagnostics import Diagnostic, DiagnosticError
from nvdla_ir.ir.location import FileLineCol

_SEPARATOR = re.compile(r"// -----[ \t]*\r?$", re.MULTILINE)
# What looks like one: other dashes, or more on its line.
_NEAR_MISS = re.compile(r"^[ \t]*(//[ \t]*---+.*)$", re.MULTILINE)
PRINTED_SEPARATOR = "\n// -----\n"


def check_not_empty(text: str, file: str) -> None:
    """MLIR reads an empty file as an empty module; here it is taken for a mistake.

    Raises: DiagnosticError where there is nothing in ``text``.
    """
    if not text.strip():
        raise DiagnosticError.at(FileLineCol(file, 1, 1), "the file is empty")


def check_separators(text: str, file: str) -> None:
    """Raises: DiagnosticError for lines that look like separators and are none."""
    faults: list[Diagnostic] = []
    for match in _NEAR_MISS.finditer(text):
        if _SEPARATOR.search(match[1]) is None:
            line = text.count("\n", 0, match.start(1)) + 1
            column = match.start(1) - match.start() + 1
            message = "inputs are separated by '// -----' at the end of a line, and no more dashes"
            faults.append(Diagnostic.error(FileLineCol(file, line, column), message))
    if faults:
        raise DiagnosticError(*faults)


def split_input(text: str) -> list[str]:
    """The inputs in ``text``, each after as many line feeds as it had lines before it."""
    parts: list[str] = []
    start = 0
    for separator in _SEPARATOR.finditer(text):
        parts.append(_at_its_line(text, start, separator.start()))
        start = separator.end()
    parts.append(_at_its_line(text, start, len(text)))
    return parts


def _at_its_line(text: str, start: int, end: int) -> str:
    return "\n" * text.count("\n", 0, start) + text[start:end]
