"""Parts of HTML pages that reports share: sections, figures at a glance, tables to search."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from attrs import frozen


def section(title: str, note: str, content: str) -> str:
    """``content`` is HTML already."""
    return (
        f"<section>\n<h2>{html.escape(title)}</h2>\n"
        f'<p class="note">{html.escape(note)}</p>\n{content}\n</section>\n'
    )


def tiles_of(tiles: Iterable[tuple[str, str, str]]) -> str:
    """Labels, values and details."""
    return (
        '<div class="tiles">\n'
        + "".join(
            f'<div class="tile"><div class="label">{html.escape(label)}</div>'
            f'<div class="value">{html.escape(value)}</div>'
            f'<div class="detail">{html.escape(detail)}</div></div>\n'
            for label, value, detail in tiles
        )
        + "</div>\n"
    )


def search_box(label: str) -> str:
    """A field that leaves of all searchable tables the rows with what is typed."""
    return (
        f'<p class="search"><input type="search" placeholder="{html.escape(label)}" '
        f'aria-label="{html.escape(label)}"> <span role="status"></span></p>\n'
    )


@frozen
class Cell:
    """``value`` is what the table is sorted by; ``share`` (0 to 1) draws a bar behind the text;
    ``name``: a long name, broken where it must be."""

    text: str
    value: float | str | None
    poor: bool = False
    share: float | None = None
    name: bool = False


def kind(numeric: bool, poor: bool = False, *, name: bool = False) -> str:
    """The class attribute of a cell."""
    classes = (("number", numeric), ("poor", poor), ("name", name))
    names = " ".join(text for text, on in classes if on)
    return f' class="{names}"' if names else ""


def sortable_table(
    headings: Sequence[tuple[str, bool]],
    rows: Iterable[Sequence[Cell]],
    *,
    searchable: bool = False,
) -> str:
    """``headings``, and whether their columns have numbers; a click on one sorts."""
    head = "".join(
        f'<th scope="col"{kind(numeric)}><button type="button">{html.escape(text)}</button></th>'
        for text, numeric in headings
    )
    body = "".join(
        "<tr>"
        + "".join(_cell(cell, numeric) for cell, (_, numeric) in zip(row, headings, strict=True))
        + "</tr>\n"
        for row in rows
    )
    classes = "sortable searchable" if searchable else "sortable"
    return (
        f'<div class="scroll"><table class="{classes}">\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}</tbody>\n</table></div>"
    )


def _cell(cell: Cell, numeric: bool) -> str:
    value = "" if cell.value is None else str(cell.value)
    bar = "" if cell.share is None else f' style="--share: {100 * cell.share:.1f}%"'
    return (
        f'<td{kind(numeric, cell.poor, name=cell.name)} data-value="{html.escape(value)}"{bar}>'
        f"{html.escape(cell.text)}</td>"
    )
