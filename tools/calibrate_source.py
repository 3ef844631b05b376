"""A network's text, as the processes that measure it open it."""

from __future__ import annotations

from pathlib import Path

from attrs import frozen

from nvdla_ir.dialects.func import FuncOp
from nvdla_ir.interp.machine import Mode
from nvdla_ir.resources import ResourceStore

from .loaded_program import Program
from .program_sources import TextSource


@frozen
class TextNetwork:
    """IR text; ``directory`` is what the name of its weights file is relative to."""

    text: str
    file: str
    directory: Path
    plugins: tuple[str, ...] = ()

    def open(self) -> tuple[FuncOp, ResourceStore]:
        """Raises: DiagnosticError for faults of the text, or no function to run."""
        source = TextSource(self.text, self.file, self.directory, self.plugins)
        program = Program.load(source, Mode.FLOAT)
        return program.func, program.machine.resources
