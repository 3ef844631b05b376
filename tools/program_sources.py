"""Where a program to run comes from: IR text, a register trace, a loadable."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, TextIO

from attrs import frozen

from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.files import decode_utf8, is_directory, read_bytes
from nvdla_ir.ir.diagnostics import Diagnostic, DiagnosticCollector
from nvdla_ir.resources import ResourceStore

from .command_line import STANDARD_INPUT_NAME, STANDARD_STREAM, UsageError, refuse_foreign
from .module_files import load_module
from .plugin_files import context_with

TRACE_SUFFIXES = (".cfg", ".txn")
_LOADABLE_IDENTIFIER = b"NVDA"
_TEXT_START_BYTES = 64


@frozen(eq=False)
class OpenedProgram:
    """A module with its tensors, and what there is to remark about it."""

    module: ModuleOp
    resources: ResourceStore
    remarks: tuple[Diagnostic, ...] = ()


@frozen
class TextSource:
    """IR text; ``directory`` is what the name of its weights file is relative to, ``plugins`` are
    the files that bring its operations."""

    text: str
    file: str
    directory: Path
    plugins: tuple[str, ...] = ()

    def open(self) -> OpenedProgram:
        """Raises: DiagnosticError for faults of the text."""
        loaded = load_module(self.text, self.file, self.directory, context_with(self.plugins))
        return OpenedProgram(loaded.module, loaded.resources)


@frozen
class TraceSource:
    """A register trace: a ``.cfg`` or ``.txn`` file, or a directory with one."""

    path: Path
    target: str

    def open(self) -> OpenedProgram:
        """Raises: DiagnosticError for faults of the trace's files."""
        from nvdla_ir.formats.trace import import_trace

        resources = ResourceStore()
        return OpenedProgram(import_trace(self.path, self.target, resources), resources)


@frozen
class LoadableSource:
    """A loadable of the vendor's compiler.

    target:           the hardware; None: what the loadable was compiled for, as far as it shows
    raw_inputs, raw_outputs: the bound buffers that are given and taken as bytes
    hardware_only:    leave out what the runtime does on the CPU
    """

    data: bytes
    file: str
    target: str | None
    raw_inputs: frozenset[str] = frozenset()
    raw_outputs: frozenset[str] = frozenset()
    hardware_only: bool = False

    def open(self) -> OpenedProgram:
        """Raises: DiagnosticError for faults of the loadable."""
        from nvdla_ir.formats.loadable import import_loadable

        resources, diagnostics = ResourceStore(), DiagnosticCollector()
        resources.add_source(Path(self.file))
        module = import_loadable(
            self.data,
            self.file,
            resources,
            target=self.target,
            raw_inputs=self.raw_inputs,
            raw_outputs=self.raw_outputs,
            hardware_only=self.hardware_only,
            diagnostics=diagnostics,
        )
        return OpenedProgram(module, resources, tuple(diagnostics.diagnostics))


class ProgramSource(Protocol):
    """Anything that a program can be opened from, in this process and in others."""

    def open(self) -> OpenedProgram:
        """Raises: DiagnosticError"""
        ...


def trace_source(path: str, target: str | None) -> TraceSource:
    """Raises: UsageError where no target is given: a trace does not say what it is for."""
    if target is None:
        raise UsageError(f"'{path}' is a trace: '--target=T' must say which hardware it is for")
    return TraceSource(Path(path), target)


def is_trace(path: str) -> bool:
    """Whether the command line means a trace."""
    return path != STANDARD_STREAM and (
        path.endswith(TRACE_SUFFIXES) or (is_directory(path) and _holds_trace(Path(path)))
    )


def _holds_trace(directory: Path) -> bool:
    try:
        return any(entry.suffix in TRACE_SUFFIXES for entry in directory.iterdir())
    except OSError:
        return False


def is_loadable(data: bytes, path: str) -> bool:
    """Whether a file is a loadable: by its name, its identifier, or, for old ones without an
    identifier, by a start that is no text."""
    return (
        path.endswith(".nvdla")
        or data[4:8] == _LOADABLE_IDENTIFIER
        or b"\0" in data[:_TEXT_START_BYTES]
    )


def read_model(path: str, stdin: TextIO) -> tuple[str, bytes | str]:
    """The name in messages and the content of a file that is no trace: text, or a loadable's
    bytes.

    Raises: DiagnosticError where it cannot be read, or is text but not UTF-8.
    """
    refuse_foreign(path)
    if path != STANDARD_STREAM:
        data = read_bytes(path)
        return path, data if is_loadable(data, path) else decode_utf8(data, path)
    binary = getattr(stdin, "buffer", None)
    if binary is None:
        return STANDARD_INPUT_NAME, stdin.read()
    data = binary.read()
    if is_loadable(data, path):
        return STANDARD_INPUT_NAME, data
    return STANDARD_INPUT_NAME, decode_utf8(data, STANDARD_INPUT_NAME)
