"""Diagnostics: what is wrong, where, and what to do, collected rather than thrown one by one.

Form and spelling are MLIR's: ``file:line:col: error: message``, the source line with a caret,
then notes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum

from attrs import define, field, frozen

from nvdla_ir.ir.location import UNKNOWN, Location


class Severity(Enum):
    """How grave a diagnostic is. Only errors make a run fail."""

    ERROR = "error"
    WARNING = "warning"
    REMARK = "remark"
    NOTE = "note"


@frozen
class Diagnostic:
    """One message at one place, with notes that explain it."""

    severity: Severity
    location: Location
    message: str
    notes: tuple[Diagnostic, ...] = ()

    @staticmethod
    def error(location: Location, message: str, notes: Iterable[Diagnostic] = ()) -> Diagnostic:
        return Diagnostic(Severity.ERROR, location, message, tuple(notes))

    @staticmethod
    def warning(location: Location, message: str, notes: Iterable[Diagnostic] = ()) -> Diagnostic:
        return Diagnostic(Severity.WARNING, location, message, tuple(notes))

    @staticmethod
    def remark(location: Location, message: str, notes: Iterable[Diagnostic] = ()) -> Diagnostic:
        return Diagnostic(Severity.REMARK, location, message, tuple(notes))

    @staticmethod
    def note(location: Location, message: str) -> Diagnostic:
        return Diagnostic(Severity.NOTE, location, message)


class DiagnosticError(Exception):
    """The input is at fault. Carries every diagnostic found; never empty."""

    def __init__(self, *diagnostics: Diagnostic) -> None:
        super().__init__("; ".join(d.message for d in diagnostics))
        self.diagnostics = diagnostics

    @staticmethod
    def at(location: Location, message: str, notes: Iterable[Diagnostic] = ()) -> DiagnosticError:
        """One error at one place."""
        return DiagnosticError(Diagnostic.error(location, message, notes))


@define
class DiagnosticCollector:
    """Gathers diagnostics; ``raise_if_errors`` ends the stage with all of them.

    stack_traces: whether those of exceptions in passes and rules tell every call
    """

    diagnostics: list[Diagnostic] = field(factory=list[Diagnostic])
    stack_traces: bool = False

    def emit(self, diagnostic: Diagnostic) -> None:
        self.diagnostics.append(diagnostic)

    def error(self, location: Location, message: str, notes: Iterable[Diagnostic] = ()) -> None:
        self.emit(Diagnostic.error(location, message, notes))

    def remark(self, location: Location, message: str, notes: Iterable[Diagnostic] = ()) -> None:
        self.emit(Diagnostic.remark(location, message, notes))

    def warning(self, location: Location, message: str, notes: Iterable[Diagnostic] = ()) -> None:
        self.emit(Diagnostic.warning(location, message, notes))

    @property
    def errors(self) -> list[Diagnostic]:
        return [d for d in self.diagnostics if d.severity is Severity.ERROR]

    def raise_if_errors(self) -> None:
        """Raises: DiagnosticError with all errors gathered so far, if there are any."""
        errors = self.errors
        if errors:
            raise DiagnosticError(*errors)


# The line of that number, from 1, of a file; None where it is not to be shown.
LineLookup = Callable[[str, int], "str | None"]


def _no_line(file: str, line: int) -> str | None:
    return None


def render(diagnostic: Diagnostic, line_of: LineLookup = _no_line) -> str:
    """``diagnostic`` as text of one or more lines, without a trailing line feed.

    Files are not opened for it: a location can name any, since the IR's text states it.
    """
    position = diagnostic.location.file_position()
    prefix = f"{position.file}:{position.line}:{position.column}: " if position is not None else ""
    if not prefix and diagnostic.location != UNKNOWN:
        prefix = f"loc({diagnostic.location}): "
    lines = [f"{prefix}{diagnostic.severity.value}: {diagnostic.message}"]
    if position is not None:
        row = line_of(position.file, position.line)
        if row is not None:
            lines += _excerpt(row, position.column)
    lines += [render(note, line_of) for note in diagnostic.notes]
    return "\n".join(lines)


_WIDTH = 160


def _excerpt(row: str, column: int) -> list[str]:
    """The source line and a caret below its column; long lines are cut around the column."""
    row = row.rstrip("\r")
    if not row.strip():
        return []
    start = max(0, column - 1 - _WIDTH // 2) if len(row) > _WIDTH else 0
    shown = row[start : start + _WIDTH]
    before = shown[: max(0, column - 1 - start)]
    indent = "".join("\t" if character == "\t" else " " for character in before)
    return [shown, indent + "^"]
