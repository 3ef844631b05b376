"""The files of a trace: which one to read, and data files beside it."""

from __future__ import annotations

from pathlib import Path

from nvdla_ir.files import is_directory
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.location import UNKNOWN, Location

SUFFIXES = (".cfg", ".txn")


def trace_file(path: Path) -> Path:
    """``path`` if it is no directory, else the only trace file in it.

    Raises: DiagnosticError where there is none or there are several, and for other names.
    """
    if is_directory(path):
        try:
            found = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES)
        except OSError as error:
            raise DiagnosticError.at(
                UNKNOWN, f"cannot read '{path}': {error.strerror or error}"
            ) from error
        if len(found) != 1:
            names = f": {', '.join(file.name for file in found[:8])}" if found else ""
            raise DiagnosticError.at(
                UNKNOWN,
                f"'{path}' must hold exactly one .cfg or .txn file, but holds {len(found)}{names}",
            )
        return found[0]
    if path.suffix not in SUFFIXES:
        raise DiagnosticError.at(
            UNKNOWN, f"'{path}' is no trace: trace files end in {' or '.join(SUFFIXES)}"
        )
    return path


def data_file(directory: Path, name: str, location: Location) -> Path:
    """The data file ``name`` of a trace in ``directory``.

    Raises: DiagnosticError at ``location`` where there is no such regular file, and for names that
    lead out of the directory.
    """
    try:
        path = directory / name
        inside = path.resolve().is_relative_to(directory.resolve())
        exists = path.is_file()
    except (OSError, ValueError, RuntimeError):
        inside, exists, path = True, False, directory
    if not inside:
        raise DiagnosticError.at(
            location, f"'{name}' leads out of the directory of the trace, which is not allowed"
        )
    if not exists:
        raise DiagnosticError.at(location, f"there is no file '{name}' beside the trace")
    return path
