"""Files with bytes of the device's memories: dumps, and what memory is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from nvdla_ir.dialects import csb
from nvdla_ir.dialects.func import ReturnOp, entry_functions
from nvdla_ir.interp.device.device import Device
from nvdla_ir.interp.device.errors import MemoryAccessError
from nvdla_ir.ir.builder import Builder, InsertionPoint
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.location import UNKNOWN
from nvdla_ir.ir.types import I8

from .array_files import read_raw
from .program_sources import OpenedProgram, ProgramSource
from .run_options import MemoryFile


@frozen(eq=False)
class CheckedSource:
    """``source`` with checks of memory behind its programs.

    expected: where, and the bytes that must be there
    """

    source: ProgramSource
    expected: tuple[tuple[MemoryFile, NDArray[np.int8]], ...]

    @staticmethod
    def of(source: ProgramSource, checks: Sequence[MemoryFile], stdin: TextIO) -> CheckedSource:
        """Raises: DiagnosticError for files that cannot be read or have no bytes."""
        expected: list[tuple[MemoryFile, NDArray[np.int8]]] = []
        for check in checks:
            data = np.frombuffer(read_raw(check.file, stdin), np.int8)
            if not data.size:
                raise DiagnosticError.at(UNKNOWN, f"'{check.file}' has no bytes to compare with")
            expected.append((check, data))
        return CheckedSource(source, tuple(expected))

    def open(self) -> OpenedProgram:
        """Raises: DiagnosticError as ``source`` does."""
        opened = self.source.open()
        for function in entry_functions(opened.module):
            last = function.body.last_op
            if not isinstance(last, ReturnOp):
                continue
            end = Builder(InsertionPoint.before(last), UNKNOWN)
            for check, data in self.expected:
                end.create(
                    csb.CheckBytesOp,
                    address=check.address,
                    memory=check.memory,
                    value=opened.resources.attribute_for(f"check.{check.file}", data, I8),
                    event=Path(check.file).name,
                )
        return opened


def memory_dumps(device: Device, dumps: Sequence[MemoryFile]) -> dict[str, bytes]:
    """The contents of files with what is in memory now, by name.

    Raises: DiagnosticError for bytes outside the memory.
    """
    contents: dict[str, bytes] = {}
    for dump in dumps:
        assert dump.size is not None
        memory = device.secondary if dump.memory == csb.SECONDARY else device.primary
        try:
            contents[dump.file] = memory.read(dump.address, dump.size).tobytes()
        except MemoryAccessError as error:
            raise DiagnosticError.at(UNKNOWN, f"cannot dump to '{dump.file}': {error}") from error
    return contents
