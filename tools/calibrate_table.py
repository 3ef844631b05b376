"""A calibration as a table: what each tensor's range does to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TextIO

from .figures import align, decibels, number, percent, shade
from .tables import format_table

if TYPE_CHECKING:
    from nvdla_ir.calibration.report import TensorReport

_HEADINGS = ("tensor", "least", "largest", "threshold", "saturated", "SQNR dB", "")
_LONGEST_NAME = 48


def table_text(tensors: Sequence[TensorReport], stream: TextIO) -> str:
    """One line a tensor; on a terminal long names are cut in the middle."""
    coloured = stream.isatty()
    rows = [
        [
            _shortened(tensor.name) if coloured else tensor.name,
            number(tensor.minimum),
            number(tensor.maximum),
            number(tensor.threshold),
            percent(100 * tensor.saturated, 3),
            shade(decibels(tensor.sqnr), tensor.sqnr, coloured),
            "!" if tensor.suspicion else "",
        ]
        for tensor in tensors
    ]
    return format_table(_HEADINGS, align(rows, start=1), stream)


def _shortened(name: str) -> str:
    if len(name) <= _LONGEST_NAME:
        return name
    half = (_LONGEST_NAME - 1) // 2
    return f"{name[:half]}…{name[-half:]}"
