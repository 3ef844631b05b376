"""TensorRT's calibration caches: scales as hexadecimal float32, one a line (quantization.md
section 1).

The first line is ``TRT-<version>-<algorithm>``, the others ``name: hex``. A name may contain colons
and spaces; the number is the float32's bits, big-endian, without leading zeros.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterable, Mapping, Sequence

from nvdla_ir.arith.float32 import float32
from nvdla_ir.calibration.entry import INT8_MAXIMUM, CalibrationEntry
from nvdla_ir.ir.diagnostics import Diagnostic, DiagnosticCollector
from nvdla_ir.ir.location import FileLineCol

_HEADER = re.compile(r"TRT-\d+-\w+")
_BITS = re.compile(r"[0-9a-fA-F]{1,8}")

WRITTEN_VERSION = 8601
"""The version that written caches state, in TensorRT's digits: 8.6.1."""


def read_entries(text: str, file: str, diagnostics: DiagnosticCollector) -> list[CalibrationEntry]:
    """The entries of the cache ``text`` in file order; ``file`` is its name in messages.

    Faults go to ``diagnostics``, and an entry at fault is left out. So is one whose scale is zero,
    with a warning: TensorRT writes it for a tensor that was zero in every image, and it matters
    only if the model has that layer.
    """
    lines = [line.rstrip("\r") for line in text.split("\n")]
    if not _HEADER.fullmatch(lines[0].rstrip()):
        diagnostics.error(
            FileLineCol(file, 1, 1),
            "the first line of a TensorRT calibration cache must be "
            f"TRT-<version>-<algorithm>, it is '{_shortened(lines[0])}'",
        )
    entries: dict[str, CalibrationEntry] = {}
    begins: dict[str, FileLineCol] = {}
    # A file without its header line still gets all its faults reported.
    first = 2 if lines[0].startswith("TRT") or _split(lines[0]) is None else 1
    for number, line in enumerate(lines[first - 1 :], start=first):
        if not line.strip():
            continue
        location = FileLineCol(file, number, len(line) - len(line.lstrip()) + 1)
        parts = _split(line)
        if parts is None:
            message = f"expected '<name>: <hexadecimal float32>', found '{_shortened(line)}'"
            diagnostics.error(location, message)
            continue
        name, digits, column = parts
        if name in begins:
            note = Diagnostic.note(begins[name], "the first one is here")
            diagnostics.error(location, f"a second entry for '{name}'", [note])
            continue
        begins[name] = location
        scale = _scale(name, digits, FileLineCol(file, number, column), diagnostics)
        if scale is not None:
            entries[name] = CalibrationEntry.from_scale(name, scale, location=location)
    if not begins:
        diagnostics.error(FileLineCol(file, 1, 1), "the calibration cache has no entries")
    elif not entries and not diagnostics.errors:
        diagnostics.error(FileLineCol(file, 1, 1), "all scales of the calibration cache are zero")
    return list(entries.values())


def write_entries(
    entries: Iterable[CalibrationEntry], algorithm: str, names: Mapping[str, Sequence[str]]
) -> str:
    """The entries' scales as the text of a cache; ``algorithm`` is a calibrator's name as TensorRT
    spells it, such as ``EntropyCalibration2``, and ``names`` what TensorRT calls the tensor of an
    entry. Offsets have no place in a cache."""
    lines = [f"TRT-{WRITTEN_VERSION}-{algorithm}"]
    for entry in entries:
        lines += [line_of(name, entry.scale) for name in names.get(entry.name, (entry.name,))]
    return "\n".join(lines) + "\n"


def line_of(name: str, scale: float) -> str:
    """The line of a cache that states the ``scale`` of a tensor."""
    (bits,) = struct.unpack(">I", struct.pack(">f", scale))
    return f"{name}: {bits:x}"


def _split(line: str) -> tuple[str, str, int] | None:
    """Name, digits and the column of the digits; None for a line that has no name or no colon."""
    name, colon, rest = line.rpartition(":")
    name = name.strip()
    if not colon or not name:
        return None
    return name, rest.strip(), len(line) - len(rest.lstrip()) + 1


def _scale(
    name: str, digits: str, location: FileLineCol, diagnostics: DiagnosticCollector
) -> float | None:
    """The scale that ``digits`` stand for, or None, reported, if it cannot be used."""
    if not _BITS.fullmatch(digits):
        diagnostics.error(
            location,
            f"the scale of '{name}' must be a float32 as 1 to 8 hexadecimal digits, "
            f"it is '{_shortened(digits)}'",
        )
        return None
    (scale,) = struct.unpack(">f", int(digits, 16).to_bytes(4, "big"))
    assert isinstance(scale, float)
    if scale == 0.0:
        diagnostics.warning(
            location,
            f"the scale of '{name}' is zero: the tensor was zero in all calibration images; "
            "the entry is left out",
        )
    elif not math.isfinite(scale):
        diagnostics.error(location, f"the scale of '{name}' is not finite: {digits} is {scale}")
    elif scale < 0:
        diagnostics.error(location, f"the scale of '{name}' is negative: {digits} is {scale}")
    elif math.isinf(float32(scale * INT8_MAXIMUM)):
        diagnostics.error(
            location,
            f"the scale of '{name}' is too large: its range ±127·{scale!r} exceeds float32",
        )
    else:
        return scale
    return None


def _shortened(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."
