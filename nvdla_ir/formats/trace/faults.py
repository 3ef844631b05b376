"""Collecting the faults of a trace: all at once, but no more than people read."""

from __future__ import annotations

from attrs import define, field

from nvdla_ir.ir.diagnostics import Diagnostic, DiagnosticError
from nvdla_ir.ir.location import FileLineCol, Location

MAXIMUM_SHOWN = 20
"""How many faults of one stage are shown; the others are counted."""


@define
class Faults:
    """What is wrong with a trace, in order of discovery."""

    _shown: list[Diagnostic] = field(factory=list[Diagnostic])
    _hidden: int = 0
    _last: Location | None = None

    def error(self, location: Location, message: str) -> None:
        """Note one fault."""
        if len(self._shown) < MAXIMUM_SHOWN:
            self._shown.append(Diagnostic.error(location, message))
        else:
            self._hidden += 1
            self._last = self._last or location

    def take(self, error: DiagnosticError) -> None:
        """Note what ``error`` carries."""
        for diagnostic in error.diagnostics:
            self.error(diagnostic.location, diagnostic.message)

    def raise_if_any(self) -> None:
        """Raises: DiagnosticError with the faults so far, if there are any."""
        if not self._shown:
            return
        shown = list(self._shown)
        if self._hidden and self._last is not None:
            more = "1 more fault" if self._hidden == 1 else f"{self._hidden} more faults"
            shown.append(Diagnostic.error(self._last, f"and {more}, from here on"))
        raise DiagnosticError(*shown)


def place(file: str, line: int, column: int = 1) -> FileLineCol:
    """A place in a file of the trace; line and column count from 1."""
    return FileLineCol(file, line, column)
