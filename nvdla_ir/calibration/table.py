"""Calibration tables: the range of each layer's output, read from and written to files.

Formats are told apart by content: NVDLA's JSON, TensorRT's calibration cache (quantization.md
section 1) and ONNX Runtime's table.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum

from attrs import Factory, field, frozen

from nvdla_ir.calibration import nvdla_json, onnx_runtime_table, tensorrt_cache
from nvdla_ir.calibration.entry import INT8_MAXIMUM, CalibrationEntry
from nvdla_ir.files import StrPath, read_text
from nvdla_ir.ir.diagnostics import Diagnostic, DiagnosticCollector, DiagnosticError
from nvdla_ir.ir.location import FileLineCol

__all__ = [
    "CalibrationEntry",
    "CalibrationTable",
    "TableFormat",
    "lines_of",
    "parse_table",
    "read_table",
    "write_json",
]

# When scales look inverted (127/peak stored for peak/127). The two readings of a scale s, peaks of
# 127·s and of 127/s, can only be told apart by what tensors usually hold: trained networks have
# peaks between 0.1 and a few hundred, so most scales are far below 1; larger ones come from raw
# pixels (255/127 = 2) and from networks without normalization, which still end in small scales.
_USUAL_MEDIAN = 4.0
_SMALL_SCALE = 1 / 16
_LARGE_SCALE = 16.0
_OUTLIER = 256.0
_LIKE_THE_OTHERS = 32.0
_FEWEST_FOR_OUTLIERS = 4


class TableFormat(Enum):
    """The file formats of calibration tables."""

    NVDLA_JSON = "NVDLA JSON"
    TENSORRT_CACHE = "TensorRT calibration cache"
    ONNX_RUNTIME = "ONNX Runtime calibration table"


def _index_by_name(entries: Iterable[CalibrationEntry]) -> dict[str, CalibrationEntry]:
    by_name: dict[str, CalibrationEntry] = {}
    for entry in entries:
        if entry.name in by_name:
            raise ValueError(f"two entries are named '{entry.name}'")
        by_name[entry.name] = entry
    return by_name


@frozen
class CalibrationTable(Mapping[str, CalibrationEntry]):
    """The entries by name, in file order.

    Raises: ValueError if two entries have the same name.
    """

    entries: tuple[CalibrationEntry, ...]
    format: TableFormat = TableFormat.NVDLA_JSON
    """The format it was read from."""
    warnings: tuple[Diagnostic, ...] = field(default=(), eq=False)
    """What is odd about the table but no error, for the user to see."""
    _by_name: dict[str, CalibrationEntry] = field(
        init=False,
        eq=False,
        repr=False,
        default=Factory(lambda table: _index_by_name(table.entries), takes_self=True),
    )

    def __getitem__(self, name: str) -> CalibrationEntry:
        return self._by_name[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)

    def nearest(self, name: str) -> str | None:
        """The name in the table most like ``name``, for a suggestion; None if none is like it."""
        from difflib import get_close_matches

        by_folded = {known.casefold(): known for known in reversed(self._by_name)}
        matches = get_close_matches(name.casefold(), list(by_folded), n=1)
        return by_folded[matches[0]] if matches else None


def read_table(path: StrPath) -> CalibrationTable:
    """The calibration table in the file ``path``.

    Raises: DiagnosticError with every fault of the table, each at its line and column, or if the
    file cannot be read.
    """
    return parse_table(read_text(path), str(path))


def parse_table(text: str, file: str = "<string>") -> CalibrationTable:
    """The calibration table ``text``; ``file`` is its name in messages.

    Raises: DiagnosticError with every fault of the table, each at its line and column.
    """
    diagnostics = DiagnosticCollector()
    form = _format_of(text, file)
    entries = _READERS[form](text, file, diagnostics)
    diagnostics.raise_if_errors()
    _warn_of_inverted_scales(entries, diagnostics)
    return CalibrationTable(tuple(entries), form, tuple(diagnostics.diagnostics))


def write_json(table: CalibrationTable) -> str:
    """``table`` as NVDLA JSON text, in the vendor's layout."""
    return nvdla_json.write_entries(table.entries)


def lines_of(names: Iterable[str], scale: float, form: TableFormat) -> list[str]:
    """What a table of this format says of tensors with a symmetric ``scale``, a line each."""
    if form is TableFormat.TENSORRT_CACHE:
        return [tensorrt_cache.line_of(name, scale) for name in names]
    if form is TableFormat.ONNX_RUNTIME:
        return [onnx_runtime_table.line_of(name, scale) for name in names]
    return [nvdla_json.line_of(CalibrationEntry.from_scale(name, scale)) for name in names]


_READERS = {
    TableFormat.NVDLA_JSON: nvdla_json.read_entries,
    TableFormat.TENSORRT_CACHE: tensorrt_cache.read_entries,
    TableFormat.ONNX_RUNTIME: onnx_runtime_table.read_entries,
}


def _format_of(text: str, file: str) -> TableFormat:
    start = text.lstrip()
    if start.startswith(("{", "[")):
        return TableFormat.NVDLA_JSON
    if start.startswith("TRT") or re.match(r"[^\n\"]*:[ \t]*[0-9a-fA-F]{1,8}\s*$", start, re.M):
        return TableFormat.TENSORRT_CACHE
    if onnx_runtime_table.is_onnx_runtime_table(text):
        return TableFormat.ONNX_RUNTIME
    message = "the calibration table is empty"
    if start:
        message = (
            "neither an NVDLA JSON table, which begins with '{', nor a TensorRT calibration cache, "
            "which begins with 'TRT-', nor an ONNX Runtime calibration table, whose lines are a "
            "tensor's name and a number"
        )
    raise DiagnosticError.at(FileLineCol(file, 1, 1), message)


def _warn_of_inverted_scales(
    entries: list[CalibrationEntry], diagnostics: DiagnosticCollector
) -> None:
    """Warn of scales that are probably 127/peak.

    The whole table is suspect if its median scale is above 4 (peaks of 508) and none is below 1/16;
    else a single entry if its scale is above 16 (a peak of 2,032) and at least 256 times the median
    of four or more, while its inverse is at most 32 times more or less than that.
    """
    scales = [entry.scale for entry in entries]
    if not scales:
        return
    middle = sorted(scales)[len(scales) // 2]
    if middle > _USUAL_MEDIAN and min(scales) >= _SMALL_SCALE:
        diagnostics.warning(
            entries[0].location,
            f"the scales look inverted: their median is {middle:.4g}, which means a range of "
            f"±{middle * INT8_MAXIMUM:.4g}; a scale is peak/127, not 127/peak",
        )
        return
    if len(scales) < _FEWEST_FOR_OUTLIERS:
        return
    for entry in entries:
        inverse = 1 / entry.scale / middle
        if (
            entry.scale > _LARGE_SCALE
            and entry.scale >= _OUTLIER * middle
            and 1 / _LIKE_THE_OTHERS <= inverse <= _LIKE_THE_OTHERS
        ):
            diagnostics.warning(
                entry.location,
                f"the scale {entry.scale:.4g} of '{entry.name}' looks inverted: it means a range "
                f"of ±{entry.scale * INT8_MAXIMUM:.4g}, {entry.scale / middle:.0f} times the "
                "table's median; a scale is peak/127, not 127/peak",
            )
