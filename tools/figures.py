"""Figures in cells of tables."""

from __future__ import annotations

import math
from collections.abc import Sequence

_POOR_DB, _FAIR_DB = 20.0, 30.0
"""Below the first the layer is likely at fault, above the second hardly."""


def decibels(value: float | None) -> str:
    """One decimal place; ``exact`` where there is no noise at all."""
    if value is None or math.isnan(value):
        return "nan"
    if math.isinf(value):
        return "exact" if value > 0 else "-inf"
    return f"{value:.1f}"


def number(value: float | None) -> str:
    """Four digits that count."""
    return "nan" if value is None else f"{value:.4g}"


def percent(value: float | None, places: int = 2) -> str:
    """A percentage; empty where there is none."""
    return "" if value is None else f"{value:.{places}f} %"


def shade(text: str, value: float | None, coloured: bool) -> str:
    """A number of decibels in red where it is poor, in yellow where it is fair."""
    if not coloured or value is None or value >= _FAIR_DB:
        return text
    colour = "red" if value < _POOR_DB else "yellow"
    return f"[{colour}]{text}[/{colour}]"


def align(rows: Sequence[Sequence[str]], start: int) -> list[list[str]]:
    """``rows`` with the columns from ``start`` on to the right, whatever is in them."""
    widths = [max(map(_width, column)) for column in zip(*rows, strict=True)]
    return [
        [
            cell if index < start else " " * (widths[index] - _width(cell)) + cell
            for index, cell in enumerate(row)
        ]
        for row in rows
    ]


def _width(cell: str) -> int:
    """How wide a cell is, without the colours of ``shade``."""
    return len(cell.rpartition("[/")[0].partition("]")[2] if cell.endswith("]") else cell)
