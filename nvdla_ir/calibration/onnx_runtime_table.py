"""ONNX Runtime's calibration tables in text, as its TensorRT provider reads them
(``calibration.cache`` of ``write_calibration_table``): a line for each tensor, its name in the ONNX
file, a space and the largest magnitude of its range."""

from __future__ import annotations

import math
import re

from nvdla_ir.calibration.entry import INT8_MAXIMUM, CalibrationEntry
from nvdla_ir.ir.diagnostics import Diagnostic, DiagnosticCollector
from nvdla_ir.ir.location import FileLineCol

_NUMBER = re.compile(r"[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?")


def is_onnx_runtime_table(text: str) -> bool:
    """Whether the first line that is not empty is one of such a table."""
    lines = (line.strip() for line in text.split("\n"))
    return _split(next((line for line in lines if line), "")) is not None


def _split(line: str) -> tuple[str, float] | None:
    """Name and magnitude; None for what is no such line."""
    parts = line.rsplit(None, 1)
    if len(parts) != 2 or not _NUMBER.fullmatch(parts[1]):
        return None
    return parts[0].strip(), float(parts[1])


def read_entries(text: str, file: str, diagnostics: DiagnosticCollector) -> list[CalibrationEntry]:
    """The entries in file order; ``file`` is its name in messages. Faults go to ``diagnostics``. A
    tensor that was always zero is left out, with a warning."""
    entries: list[CalibrationEntry] = []
    begins: dict[str, FileLineCol] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        location = FileLineCol(file, number, len(line) - len(line.lstrip()) + 1)
        parts = _split(line)
        if parts is None:
            diagnostics.error(
                location, f"expected '<tensor> <largest magnitude>', found '{line.strip()[:60]}'"
            )
            continue
        name, peak = parts
        if name in begins:
            note = Diagnostic.note(begins[name], "the first one is here")
            diagnostics.error(location, f"a second entry for '{name}'", [note])
            continue
        begins[name] = location
        if peak == 0:
            message = f"the range of '{name}' is zero: the entry is left out"
            diagnostics.warning(location, message)
        elif peak < 0 or not math.isfinite(peak):
            diagnostics.error(location, f"the range of '{name}' must be positive, it is {peak}")
        else:
            try:
                scale = peak / INT8_MAXIMUM
                entries.append(CalibrationEntry.from_scale(name, scale, location=location))
            except ValueError as error:
                diagnostics.error(location, str(error))
    return entries


def line_of(name: str, scale: float) -> str:
    """The line of a table that states the ``scale`` of a tensor."""
    return f"{name} {scale * INT8_MAXIMUM!r}"
