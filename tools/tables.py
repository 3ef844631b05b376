"""Tables on the terminal, and the same as aligned columns elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TextIO

from .figures import Cell, Shaded

if TYPE_CHECKING:
    from rich.text import Text

_LONGEST_LINE = 4096


def format_table(headings: Sequence[str], rows: Iterable[Sequence[Cell]], stream: TextIO) -> str:
    """``rows`` under ``headings`` as text for ``stream``: columns of numbers stand to the right;
    on a terminal with lines and colours, and long words over several lines; elsewhere one line a
    row, however long."""
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    cells = [list(row) for row in rows]
    terminal = stream.isatty()
    table = Table(box=SIMPLE if terminal else None, pad_edge=terminal)
    for index, heading in enumerate(headings):
        numeric = all(not row[index] or str(row[index])[0].isdigit() for row in cells)
        # Long names differ at their ends as often as not: they are folded, and nothing is cut.
        table.add_column(
            heading,
            justify="right" if numeric else "left",
            no_wrap=numeric or not terminal,
            overflow="fold",
        )
    for row in cells:
        table.add_row(*map(_rendered, row))
    width = None if terminal else _LONGEST_LINE
    console = Console(file=stream, force_terminal=terminal, width=width, highlight=False)
    with console.capture() as capture:
        console.print(table)
    lines = capture.get().splitlines()
    return "".join(f"{line.rstrip()}\n" for line in lines)


def _rendered(cell: Cell) -> Text:
    """A cell for rich, in which nothing is markup."""
    from rich.text import Text

    return Text(cell.text, cell.colour) if isinstance(cell, Shaded) else Text(cell)
