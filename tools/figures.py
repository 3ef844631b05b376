"""Figures in cells of tables."""

from __future__ import annotations

import math
from collections.abc import Sequence

from attrs import evolve, frozen

_POOR_DB, _FAIR_DB = 20.0, 30.0
"""Below the first the layer is likely at fault, above the second hardly."""


@frozen
class Shaded:
    """The text of a cell in a colour."""

    text: str
    colour: str

    def __str__(self) -> str:
        return self.text

    def __len__(self) -> int:
        return len(self.text)


Cell = str | Shaded


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


def shade(text: str, value: float | None, coloured: bool) -> Cell:
    """A number of decibels in red where it is poor, in yellow where it is fair."""
    if not coloured or value is None or value >= _FAIR_DB:
        return text
    return Shaded(text, "red" if value < _POOR_DB else "yellow")


def align(rows: Sequence[Sequence[Cell]], start: int) -> list[list[Cell]]:
    """``rows`` with the columns from ``start`` on to the right, whatever is in them."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        [
            cell if index < start else _to_the_right(cell, widths[index])
            for index, cell in enumerate(row)
        ]
        for row in rows
    ]


def _to_the_right(cell: Cell, width: int) -> Cell:
    if isinstance(cell, Shaded):
        return evolve(cell, text=cell.text.rjust(width))
    return cell.rjust(width)
