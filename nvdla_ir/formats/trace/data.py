"""The data files of traces: ``.dat`` packets, and the bytes of ``.txn`` traces.

Sources: convolution.md sections 1.3 and 1.5.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from attrs import define, field, frozen
from numpy.typing import NDArray

from nvdla_ir.files import read_text
from nvdla_ir.formats.trace.commands import read_number
from nvdla_ir.formats.trace.faults import Faults, place
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.location import Location

MAXIMUM_FILE_BYTES = 1 << 28
"""How many bytes of memory one data file may describe."""

MAXIMUM_OFFSET = 1 << 48
"""Offsets of packets lie below it."""

Bytes = NDArray[np.uint8]

# A packet as generators write it; all other spellings take the slower way.
_USUAL_PACKET = re.compile(
    r"""\{\ ?'?offset'?:\ ?(0x[0-9a-fA-F]{1,12}),
    \ ?'?size'?:\ ?([0-9]{1,8}),
    \ ?'?(?:payload|value)'?:\ ?((?:0x[0-9a-fA-F]{2}\ )*0x[0-9a-fA-F]{2})\ ?
    \}\ ?,?\r?$""",
    re.VERBOSE,
)
_PART = re.compile(r"""\s*'?(?P<key>\w+)'?\s*:(?P<value>[^:]*)$""")
_HEADER = re.compile(r"\s*\w+\s*=")
_BYTE = re.compile(r"\S+", re.ASCII)
_HEXADECIMAL_BYTES = re.compile(r"\s*(?:[0-9a-fA-F]{2}\s+)*(?:[0-9a-fA-F]{2})?\s*", re.ASCII)


@frozen(eq=False)
class Run:
    """Bytes without a gap from ``offset`` on (relative to where the file is loaded)."""

    offset: int
    data: Bytes

    @property
    def end(self) -> int:
        """The offset behind the last byte."""
        return self.offset + self.data.size


@define
class _Packets:
    """Gathers packets; those that follow each other without a gap become one run."""

    total: int = 0
    _runs: list[Run] = field(factory=list[Run])
    _offset: int = 0
    _end: int = -1
    _pieces: list[str] = field(factory=list[str])

    def add(self, offset: int, size: int, digits: str) -> None:
        """A packet; ``digits`` are the two digits of each of its bytes, possibly spaced."""
        if offset != self._end:
            self._close()
            self._offset = offset
        self._pieces.append(digits)
        self._end = offset + size
        self.total += size

    def runs(self) -> list[Run]:
        """All runs, in order of the file; later ones overwrite."""
        self._close()
        return self._runs

    def _close(self) -> None:
        if self._pieces:
            data = np.frombuffer(bytes.fromhex("".join(self._pieces)), np.uint8)
            self._runs.append(Run(self._offset, data))
            self._pieces = []


def read_packets(path: Path, faults: Faults) -> list[Run]:
    """The packets of a ``.dat`` file; bytes that a packet has no payload for are 0.

    Lines that are no packets are skipped. Wrong packets are noted in ``faults``: numbers that are
    none or too large, more payload than ``size``, more than MAXIMUM_FILE_BYTES in all.

    Raises: DiagnosticError for files that cannot be read.
    """
    packets = _Packets()
    file = str(path)
    for number, line in enumerate(read_text(path).split("\n"), 1):
        usual = _USUAL_PACKET.match(line)
        if usual is not None:
            payload = usual[3]
            size = int(usual[2])
            if 5 * size == len(payload) + 1 and packets.total + size <= MAXIMUM_FILE_BYTES:
                packets.add(int(usual[1], 16), size, payload.replace("0x", ""))
                continue
        try:
            packet = _packet(line, place(file, number, len(line) - len(line.lstrip()) + 1))
        except DiagnosticError as error:
            faults.take(error)
            continue
        if packet is None:
            continue
        offset, size, payload = packet
        if packets.total + size > MAXIMUM_FILE_BYTES:
            message = f"size {size} makes this file describe more than {MAXIMUM_FILE_BYTES} bytes"
            faults.error(place(file, number), message)
            break
        packets.add(offset, size, payload.ljust(size, b"\0").hex())
    return packets.runs()


def _packet(line: str, location: Location) -> tuple[int, int, bytes] | None:
    """Offset, size and payload of a packet; None for a line that is none.

    Raises: DiagnosticError for a packet that is wrong.
    """
    text = line.partition("#")[0].strip()
    if not text.strip("{}, \t"):
        return None
    parts = text.rstrip(", \t").removeprefix("{").removesuffix("}").split(",")
    if len(parts) != 3:
        if "offset" not in text:
            return None
        raise DiagnosticError.at(
            location,
            f"a packet has three parts, 'offset', 'size' and 'payload', not {len(parts)}: is the "
            "file cut off?",
        )
    values: list[str] = []
    for part, keys in zip(parts, (("offset",), ("size",), ("payload", "value")), strict=True):
        match = _PART.match(part)
        if match is None or match["key"] not in keys:
            raise DiagnosticError.at(
                location, f"expected '{keys[0]}:' with a value, found '{_short(part)}'"
            )
        values.append(match["value"].strip())
    offset = _number(values[0], "offset", MAXIMUM_OFFSET - 1, location)
    size = _number(values[1], "size", MAXIMUM_FILE_BYTES, location)
    words = values[2].split()
    if len(words) > size:
        raise DiagnosticError.at(
            location, f"the payload has {len(words)} bytes, but the packet's size is {size}"
        )
    return offset, size, bytes(_number(word, "payload", 0xFF, location) for word in words)


def _number(text: str, what: str, maximum: int, location: Location) -> int:
    number = read_number(text)
    if number is None:
        raise DiagnosticError.at(location, f"'{_short(text)}' in '{what}' is no number")
    if number > maximum:
        raise DiagnosticError.at(
            location, f"{text} in '{what}' is too large: it must be at most {maximum:#x}"
        )
    return number


def read_hexadecimal_bytes(path: Path) -> Bytes:
    """The bytes of a data file of a ``.txn`` trace: two hexadecimal digits each, with spaces or
    line ends between, after header lines ``KEY=value``.

    Raises: DiagnosticError for files that cannot be read, and at the first thing that is no byte.
    """
    lines = read_text(path).split("\n")
    first = 0
    while first < len(lines) and (not lines[first].strip() or _HEADER.match(lines[first])):
        first += 1
    text = "\n".join(lines[first:]).replace("0x", "")
    if _HEXADECIMAL_BYTES.fullmatch(text):
        data = np.frombuffer(bytes.fromhex(text), np.uint8)
        if data.size > MAXIMUM_FILE_BYTES:
            raise DiagnosticError.at(
                place(str(path), first + 1),
                f"the file holds {data.size} bytes, more than the {MAXIMUM_FILE_BYTES} allowed",
            )
        return data
    for number, line in enumerate(lines[first:], first + 1):
        for word in _BYTE.finditer(line):
            if not re.fullmatch("(?:0x)?[0-9a-fA-F]{2}", word[0]):
                raise DiagnosticError.at(
                    place(str(path), number, word.start() + 1),
                    f"'{_short(word[0])}' is no byte of two hexadecimal digits",
                )
    raise DiagnosticError.at(place(str(path), first + 1), "the file holds no bytes")


def _short(text: str) -> str:
    stripped = text.strip()
    return stripped if len(stripped) <= 40 else f"{stripped[:40]}…"
