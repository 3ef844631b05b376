"""What a trace puts into memory before its first register write."""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np
from attrs import define, field

from nvdla_ir.formats.trace.data import Bytes, Run
from nvdla_ir.formats.trace.steps import FillStep, LoadStep
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.location import FileLineCol

_JOINED_GAP_BYTES = 1024
"""Runs of packets this close are loaded as one: generators leave out words that are zero."""

_RANDOM_PIECE = 1 << 20

_PATTERN_BYTES = {"ALL_ZERO": 0x00, "ONES": 0xFF, "AFIVE": 0xA5, "FIVEA": 0x5A}

MAXIMUM_DATA_BYTES = 1 << 30
"""How many bytes all loads of a trace, and fills that are no zeros, may store together."""

PATTERNS = (*_PATTERN_BYTES, "ADDR", "RANDOM", "X")


def _random_bytes(seed: int, size: int) -> bytes:
    """As ``Random(seed).randbytes(size)``, for which 2^28 bytes are too many."""
    source = random.Random(seed)
    # Whole words of the generator, so that the pieces go on where the last one ended.
    pieces = (min(_RANDOM_PIECE, size - start) for start in range(0, size, _RANDOM_PIECE))
    return b"".join(map(source.randbytes, pieces))


@define
class InitialMemory:
    """The memory commands so far, in order; later ones overwrite earlier ones.

    Bytes that nothing was stored to are 0, as on the device.
    """

    address_bits: int
    steps: list[LoadStep | FillStep] = field(factory=list["LoadStep | FillStep"])
    _stored: int = 0

    def check(self, location: FileLineCol, address: int, size: int) -> None:
        """Raises: DiagnosticError where there is no such memory."""
        end = 1 << self.address_bits
        if address + size > end:
            raise DiagnosticError.at(
                location,
                f"bytes [{address:#x}, {address + size:#x}) lie outside memory, which ends at "
                f"{end:#x}",
            )

    def load(
        self,
        location: FileLineCol,
        memory: str,
        base: int,
        runs: list[Run],
        name: str,
        *,
        later: bool = False,
    ) -> Iterator[LoadStep]:
        """Steps that store ``runs`` at ``base``: one for all that are close together.

        Loads that happen ``later``, when layers have run, leave alone what is between the runs.
        """
        group: list[Run] = []
        for run in runs:
            self.check(location, base + run.offset, run.data.size)
            near = bool(group) and 0 <= run.offset - group[-1].end <= _JOINED_GAP_BYTES
            if group and (later or not near):
                yield self._step(location, memory, base, group, runs, name, later)
                group = []
            group.append(run)
        if group:
            yield self._step(location, memory, base, group, runs, name, later)

    def _step(
        self,
        location: FileLineCol,
        memory: str,
        base: int,
        group: list[Run],
        runs: list[Run],
        name: str,
        later: bool,
    ) -> LoadStep:
        first = group[0].offset
        size = group[-1].end - first
        self._count(location, size)
        if len(group) == 1:
            data = group[0].data
        else:
            data = self._image(memory, base + first, size)
            for run in group:
                data[run.offset - first : run.end - first] = run.data
        part = name if len(group) == len(runs) else f"{name}_{first:x}"
        step = LoadStep(location, memory, base + first, data, part)
        if not later:
            self.steps.append(step)
        return step

    def fill(
        self,
        location: FileLineCol,
        memory: str,
        address: int,
        size: int,
        pattern: str,
        *,
        later: bool = False,
    ) -> LoadStep | FillStep:
        """The step that stores ``size`` bytes of a pattern.

        RANDOM is a sequence of bytes that follows from the address alone; X, bytes that a program
        must not depend on, is AFIVE.
        """
        self.check(location, address, size)
        step: LoadStep | FillStep
        if pattern != "ALL_ZERO":
            self._count(location, size)
        if pattern == "RANDOM":
            data = np.frombuffer(_random_bytes(address, size), np.uint8)
            step = LoadStep(location, memory, address, data, f"random_{address:x}")
        else:
            kind = "AFIVE" if pattern == "X" else pattern
            step = FillStep(location, memory, address, size, kind)
        if not later:
            self.steps.append(step)
        return step

    def _count(self, location: FileLineCol, size: int) -> None:
        self._stored += size
        if self._stored > MAXIMUM_DATA_BYTES:
            raise DiagnosticError.at(
                location,
                f"with {size} bytes more, the trace stores more than the {MAXIMUM_DATA_BYTES} "
                "bytes allowed",
            )

    def _image(self, memory: str, address: int, size: int) -> Bytes:
        """The bytes of memory after the commands so far."""
        image = np.zeros(size, np.uint8)
        for step in self.steps:
            length = step.size if isinstance(step, FillStep) else step.data.size
            first = max(step.address, address)
            last = min(step.address + length, address + size)
            if step.memory != memory or first >= last:
                continue
            target = image[first - address : last - address]
            if isinstance(step, LoadStep):
                target[:] = step.data[first - step.address : last - step.address]
            elif step.pattern == "ADDR":
                bytes_of_a_page = (np.arange(256) + (first & 0xFF)).astype(np.uint8)
                target[:] = np.resize(bytes_of_a_page, target.shape)
            else:
                target[:] = _PATTERN_BYTES[step.pattern]
        return image
