"""Loadables that nvdla-opt and nvdla-translate write."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import frozen

from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.files import StrPath, check_outputs, write_atomically
from nvdla_ir.ir.diagnostics import DiagnosticCollector
from nvdla_ir.resources import ResourceStore

from .command_line import STANDARD_STREAM, Arguments, UsageError

EXPORT = "export-loadable"
FIRMWARE = "loadable-firmware"
FIRMWARE_HELP = (
    "the firmware that a loadable is for: 0.12 takes data cubes with an offset, 0.11 such without"
)
FIRMWARES = ("0.12", "0.11")
"""The first is the default."""


@frozen
class LoadableOutput:
    """Where a loadable goes, and the firmware that it is for."""

    path: str
    firmware: str

    @staticmethod
    def of(arguments: Arguments) -> LoadableOutput | None:
        """What nvdla-opt is asked for. Raises: UsageError"""
        if not arguments.has(EXPORT):
            if arguments.has(FIRMWARE):
                raise UsageError(f"'--{FIRMWARE}' means something beside '--{EXPORT}' alone")
            return None
        paths = arguments.values(EXPORT)
        if len(paths) > 1:
            raise UsageError(
                f"'--{EXPORT}' is given {len(paths)} times: one loadable is made a run"
            )
        if arguments.has("compile"):
            raise UsageError(
                f"'--{EXPORT}' compiles as '--compile' does, but ends ahead of the registers: "
                "leave that out, its target goes to '--target'"
            )
        if arguments.has("split-input-file"):
            raise UsageError(f"'--{EXPORT}' takes one module: leave '--split-input-file' out")
        return LoadableOutput.to(paths[0], arguments)

    @staticmethod
    def to(path: str | None, arguments: Arguments) -> LoadableOutput:
        """Raises: UsageError where there is no file for it."""
        if not path or path == STANDARD_STREAM:
            raise UsageError("a loadable is no text: the name of a file must say where it goes")
        return LoadableOutput(path, arguments.value(FIRMWARE) or FIRMWARES[0])

    def check(self, read: Iterable[StrPath]) -> None:
        """Raises: DiagnosticError where it cannot be written, or would replace what is ``read``."""
        check_outputs([self.path], read)

    def make(
        self, module: ModuleOp, resources: ResourceStore, diagnostics: DiagnosticCollector
    ) -> bytes:
        """The loadable of a module of hardware layers that have their places.

        Raises: DiagnosticError
        """
        from nvdla_ir.formats.loadable import export_loadable

        return export_loadable(module, resources, firmware=self.firmware, diagnostics=diagnostics)

    def write(self, data: bytes, read: Iterable[StrPath]) -> None:
        """Raises: DiagnosticError; an old file is then as it was."""
        write_atomically(self.path, data, read)
