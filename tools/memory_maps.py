"""``nvdla-opt --memory-map``: what lies where in memory while which layers run."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TextIO

from attrs import define, field

from nvdla_ir.evaluation.memory_map import (
    ACTIVATION,
    INPUT,
    OUTPUT,
    TABLE,
    WEIGHTS,
    MemoryMap,
    Placed,
    memory_maps,
)

from .command_line import STANDARD_STREAM, Arguments, UsageError
from .html_template import page
from .reports import AheadOfRegisters, ReportWatcher

MEMORY_MAP = "memory-map"
_WRITERS = {".csv": "csv", ".html": "html"}


@define(eq=False)
class MemoryMapReport:
    """The files that are asked for, by name."""

    files_by_kind: Mapping[str, str]
    _found: list[MemoryMap] = field(factory=list[MemoryMap], init=False)

    @staticmethod
    def of(arguments: Arguments) -> MemoryMapReport | None:
        """None where nothing is asked for. Raises: UsageError"""
        files: dict[str, str] = {}
        for file in arguments.values(MEMORY_MAP):
            kind = _WRITERS.get(Path(file).suffix.lower())
            if file == STANDARD_STREAM or kind is None:
                raise UsageError(f"'--{MEMORY_MAP}' writes FILE.html or FILE.csv, not '{file}'")
            files[file] = kind
        return MemoryMapReport(files) if files else None

    def watch(self) -> ReportWatcher:
        return AheadOfRegisters(memory_maps, self._found.extend)

    def files(self) -> dict[str, str]:
        writers = {"csv": memory_map_csv, "html": memory_map_html}
        return {file: writers[kind](self._found) for file, kind in self.files_by_kind.items()}

    def text(self, stream: TextIO) -> str:
        return ""


# -------------------------------------------------------------- CSV


def memory_map_csv(maps: Sequence[MemoryMap]) -> str:
    """One line a buffer; layers are counted from 0, and named."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    several = len(maps) > 1
    layers = ("first_layer", "last_layer")
    headings = ("name", "kind", "first_byte", "bytes", *layers, "in_place", "memory")
    writer.writerow([*(("network",) if several else ()), *headings, "first_name", "last_name"])
    for one in maps:
        for placed in one.placed:
            writer.writerow(
                [
                    *((one.network,) if several else ()),
                    placed.name,
                    placed.kind,
                    f"{placed.begin:#x}",
                    placed.end - placed.begin,
                    placed.first,
                    placed.last,
                    "yes" if placed.in_place else "no",
                    "secondary" if placed.second else "primary",
                    *(_layer_name(one, number) for number in (placed.first, placed.last)),
                ]
            )
    return stream.getvalue()


def _layer_name(one: MemoryMap, number: int) -> str:
    return one.layers[number] if number < len(one.layers) else ""


# -------------------------------------------------------------- the picture

_WIDTH, _LEFT, _RIGHT, _TOP, _BOTTOM = 1120, 92, 8, 20, 40
_HEIGHT = 460
_STRIP = 34
_TICKS = 6
_CHARACTER = 6.4
"""Width of a character of a label, about."""

_STYLE = """
.map .box { stroke: var(--surface); stroke-width: 0.8; }
.map .box:hover { stroke: var(--ink); stroke-width: 1.6; }
.map .input, .key.input { fill: var(--second); background: var(--second); }
.map .output, .key.output { fill: var(--warn); background: var(--warn); }
.map .activation, .key.activation { fill: var(--accent); background: var(--accent); }
.map .placed, .key.placed { fill: color-mix(in srgb, var(--accent) 55%, var(--surface));
  background: color-mix(in srgb, var(--accent) 55%, var(--surface)); }
.map .weights, .key.weights { fill: var(--muted); background: var(--muted); }
.map .table, .key.table { fill: color-mix(in srgb, var(--muted) 50%, var(--surface));
  background: color-mix(in srgb, var(--muted) 50%, var(--surface)); }
.map .layer { fill: transparent; } .map .layer:hover { fill: var(--grid); }
.map text { fill: var(--muted); font-size: 11px; }
.map text.name { fill: var(--surface); font-size: 10.5px; pointer-events: none; }
.map .axis, .map .tick { stroke: var(--grid); }
.map .peak { stroke: var(--warn); stroke-width: 1.4; } .map .peak-text { fill: var(--warn); }
.map .bound { stroke: var(--ink); stroke-width: 1.4; stroke-dasharray: 5 4; }
.map .bound-text { fill: var(--ink); }
.legend { display: flex; flex-wrap: wrap; gap: 4px 16px; color: var(--muted); font-size: 13px;
  margin: 0 0 10px; } .legend span { display: inline-flex; align-items: center; gap: 6px; }
.key { width: 14px; height: 14px; border-radius: 3px; }
"""

_KEYS = {
    INPUT: "input",
    OUTPUT: "output",
    ACTIVATION: "activation",
    "placed": "activation in place of what it is computed from",
    WEIGHTS: "weights",
    TABLE: "table",
}


def memory_map_html(maps: Sequence[MemoryMap]) -> str:
    """One page, which loads nothing: a picture of each network's memory, and a table."""
    title = "Memory of " + ", ".join(f"@{one.network}" for one in maps)
    body = [f"<style>{_STYLE}</style>\n<h1>{escape(title)}</h1>\n"]
    for one in maps:
        body += [_tiles(one), _activations(one), _in_second(one), _constants(one)]
        body += [_elsewhere(one), _table(one)]
    return page(escape(title), "".join(body))


def _bytes(count: int) -> str:
    if count < 1 << 10:
        return f"{count} bytes"
    unit, shift = ("MiB", 20) if count >= 1 << 20 else ("KiB", 10)
    return f"{count / (1 << shift):.1f} {unit}"


def _tiles(one: MemoryMap) -> str:
    peak, constants = one.peak - one.activations_begin, one.activations_begin - one.begin
    replaced = sum(placed.in_place for placed in one.activations)
    ratio = f"{peak / one.needed:.3f} times" if one.needed else "nothing"
    tiles = (
        ("Activations, at most", _bytes(peak), f"{peak} bytes, {ratio} what is needed at once"),
        ("Needed at once", _bytes(one.needed), f"{one.needed} bytes: no plan takes less"),
        ("Constants", _bytes(constants), f"{constants} bytes, there all the time"),
        ("Activations", str(len(one.activations)), f"{replaced} in place of others"),
    )
    shown = "".join(
        f'<div class="tile"><div class="label">{escape(label)}</div><div class="value">'
        f'{escape(value)}</div><div class="detail">{escape(detail)}</div></div>\n'
        for label, value, detail in tiles
    )
    return f'<div class="tiles">\n{shown}</div>\n'


def _section(title: str, note: str, content: str) -> str:
    return (
        f'<section>\n<h2>{escape(title)}</h2>\n<p class="note">{escape(note)}</p>\n'
        f"{content}\n</section>\n"
    )


def _svg(height: float, label: str, content: Sequence[str]) -> str:
    return (
        f'<svg class="map" viewBox="0 0 {_WIDTH} {height:g}" role="img" '
        f'aria-label="{escape(label)}">\n{chr(10).join(content)}\n</svg>'
    )


def _legend(kinds: Sequence[str]) -> str:
    keys = "".join(
        f'<span><i class="key {kind}"></i>{escape(_KEYS[kind])}</span>' for kind in kinds
    )
    return f'<div class="legend">{keys}</div>\n'


def _kind(placed: Placed) -> str:
    return "placed" if placed.in_place and placed.kind == ACTIVATION else placed.kind


def _tip(one: MemoryMap, placed: Placed) -> str:
    lines = [
        f"{placed.name}: {_KEYS[_kind(placed)]}",
        f"{placed.begin:#x} to {placed.end - 1:#x}, {placed.end - placed.begin} bytes",
    ]
    if not placed.is_constant:
        first, last = (_layer_name(one, number) for number in (placed.first, placed.last))
        lines.append(f"from layer {placed.first} ({first}) to layer {placed.last} ({last})")
    return f"<title>{escape(chr(10).join(lines))}</title>"


@define
class _Plane:
    """Where layers and addresses are in the picture."""

    layers: int
    begin: int
    end: int

    def x(self, layer: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * layer / max(self.layers, 1)

    def y(self, address: int) -> float:
        share = (address - self.begin) / max(self.end - self.begin, 1)
        return _TOP + _HEIGHT * (1 - share)


def _activations(one: MemoryMap) -> str:
    begin = one.activations_begin
    plane = _Plane(len(one.layers), begin, max(one.peak, begin + one.needed))
    return _section(
        f"Activations of @{one.network}: layers from left to right, addresses upwards",
        "Each box is a tensor: as long as some layer in flight reads or writes it or will do so, "
        "as high as its bytes. Point at a box or a column for names.",
        _picture(one, one.activations, plane, _bound_lines(one, plane)),
    )


def _in_second(one: MemoryMap) -> str:
    """What is in the second memory."""
    found = one.in_second
    if not found:
        return ""
    plane = _Plane(len(one.layers), min(p.begin for p in found), max(p.end for p in found))
    return _section(
        f"The second memory of @{one.network}",
        f"{len(found)} activations that layers hand to each other, in "
        f"{_bytes(plane.end - plane.begin)} from {plane.begin:#x} on.",
        _picture(one, found, plane, ()),
    )


def _picture(
    one: MemoryMap, activations: Sequence[Placed], plane: _Plane, lines: Sequence[str]
) -> str:
    """Time from left to right, addresses upwards."""
    content = [*_layer_columns(one, plane), *_address_ticks(plane)]
    ends = _ends_in_place(activations)
    for placed in activations:
        start = placed.first + (0.5 if placed.in_place else 0.0)
        content.append(_box(one, placed, plane, start, ends.get(placed, placed.last + 1.0)))
    kinds = [kind for kind in _KEYS if any(_kind(each) == kind for each in activations)]
    height = _TOP + _HEIGHT + _BOTTOM
    return _legend(kinds) + _svg(height, "activations in memory", [*content, *lines])


def _ends_in_place(activations: Sequence[Placed]) -> dict[Placed, float]:
    """Where those end that others take the place of: in the middle of a layer."""
    ends: dict[Placed, float] = {}
    latest: dict[tuple[int, int], Placed] = {}
    for placed in sorted(activations, key=lambda placed: placed.first):
        place = placed.begin, placed.end
        if placed.in_place and place in latest:
            ends[latest[place]] = placed.first + 0.5
        latest[place] = placed
    return ends


def _box(one: MemoryMap, placed: Placed, plane: _Plane, start: float, end: float) -> str:
    left, right = plane.x(start), plane.x(end)
    top, bottom = plane.y(placed.end), plane.y(placed.begin)
    width, height = right - left, bottom - top
    text = (
        f'<rect class="{_outline(width, height)}{_kind(placed)}" x="{left:.2f}" y="{top:.2f}" '
        f'width="{width:.2f}" height="{height:.2f}">{_tip(one, placed)}</rect>'
    )
    if height >= 13 and len(placed.name) * _CHARACTER <= width - 6:
        text += (
            f'<text class="name" x="{left + 4:.2f}" y="{(top + bottom) / 2 + 4:.2f}">'
            f"{escape(placed.name)}</text>"
        )
    return text


def _outline(width: float, height: float) -> str:
    """The class of boxes that an outline leaves something of."""
    return "box " if min(width, height) > 3 else ""


def _layer_columns(one: MemoryMap, plane: _Plane) -> list[str]:
    """A column for each layer, with its name, and numbers below some."""
    step = _round_up(max(1.0, len(one.layers) / 20))
    bottom = _TOP + _HEIGHT
    found: list[str] = []
    for number, name in enumerate(one.layers):
        left, width = plane.x(number), plane.x(number + 1) - plane.x(number)
        found.append(
            f'<rect class="layer" x="{left:.2f}" y="{_TOP}" width="{width:.2f}" '
            f'height="{_HEIGHT}"><title>{escape(f"layer {number}: {name}")}</title></rect>'
        )
        if number % step == 0:
            found.append(
                f'<text x="{left + width / 2:.2f}" y="{bottom + 16}" text-anchor="middle">'
                f"{number}</text>"
            )
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    found.append(f'<text x="{middle:.0f}" y="{bottom + 34}" text-anchor="middle">layer</text>')
    return found


def _address_ticks(plane: _Plane) -> list[str]:
    step = 64
    while (plane.end - plane.begin) / step > _TICKS:
        step *= 2
    first = -(-plane.begin // step) * step
    found: list[str] = []
    for address in range(first, plane.end + 1, step):
        y = plane.y(address)
        found.append(
            f'<line class="tick" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.2f}" y2="{y:.2f}"/>'
            f'<text x="{_LEFT - 6}" y="{y + 4:.2f}" text-anchor="end">{address:#x}</text>'
        )
    return found


def _bound_lines(one: MemoryMap, plane: _Plane) -> list[str]:
    """The peak, and what no plan can be below of."""
    bound = one.activations_begin + one.needed
    texts = (
        ("peak, as much as is needed at once", "")
        if one.peak == bound
        else ("peak", "needed at once")
    )
    found: list[str] = []
    for kind, address, text, below in (
        ("peak", one.peak, texts[0], -5),
        ("bound", bound, texts[1], 13),
    ):
        y = plane.y(address)
        found.append(
            f'<line class="{kind}" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.2f}" y2="{y:.2f}"/>'
            f'<text class="{kind}-text" x="{_WIDTH - _RIGHT - 4}" y="{y + below:.2f}" '
            f'text-anchor="end">{text}</text>'
        )
    return found


def _round_up(number: float) -> int:
    """To 1, 2 or 5 times a power of 10."""
    power = 1
    while True:
        for factor in (1, 2, 5):
            if factor * power >= number:
                return factor * power
        power *= 10


def _constants(one: MemoryMap) -> str:
    constants = [placed for placed in one.placed if placed.is_constant]
    if not constants:
        return ""
    begin, end = one.begin, max(placed.end for placed in constants)
    content = _strip(one, constants, begin, end)
    kinds = [kind for kind in (WEIGHTS, TABLE) if any(one.kind == kind for one in constants)]
    return _section(
        f"Constants of @{one.network}, there all the time: addresses from left to right",
        f"{len(constants)} constants, {_bytes(end - begin)} from {begin:#x} on.",
        _legend(kinds) + _svg(_STRIP + 24, "constants in memory", content),
    )


def _strip(one: MemoryMap, placed: Sequence[Placed], begin: int, end: int) -> list[str]:
    scale = (_WIDTH - _LEFT - _RIGHT) / max(end - begin, 1)
    found: list[str] = []
    for each in placed:
        left, width = _LEFT + (each.begin - begin) * scale, (each.end - each.begin) * scale
        found.append(
            f'<rect class="{_outline(width, _STRIP)}{_kind(each)}" x="{left:.2f}" y="2" '
            f'width="{width:.2f}" '
            f'height="{_STRIP}">{_tip(one, each)}</rect>'
        )
        if len(each.name) * _CHARACTER <= width - 6:
            found.append(
                f'<text class="name" x="{left + 4:.2f}" y="{_STRIP / 2 + 6:g}">'
                f"{escape(each.name)}</text>"
            )
    found += [
        f'<text x="{_LEFT}" y="{_STRIP + 18}">{begin:#x}</text>',
        f'<text x="{_WIDTH - _RIGHT}" y="{_STRIP + 18}" text-anchor="end">{end:#x}</text>',
    ]
    return found


def _elsewhere(one: MemoryMap) -> str:
    """What is bound to other addresses, each by itself."""
    bound = [
        each for each in one.placed if not (each.is_constant or each.second or one.is_inside(each))
    ]
    if not bound:
        return ""
    strips = "".join(
        _svg(_STRIP + 24, each.name, _strip(one, [each], each.begin, each.end)) for each in bound
    )
    kinds = [kind for kind in _KEYS if any(_kind(each) == kind for each in bound)]
    return _section(
        f"Bound to other addresses by @{one.network}",
        "Nothing else lies there.",
        _legend(kinds) + strips,
    )


_HEADINGS = (
    ("name", False),
    ("kind", False),
    ("first byte", True),
    ("bytes", True),
    ("first layer", True),
    ("last layer", True),
)


def _table(one: MemoryMap) -> str:
    head = "".join(
        f'<th scope="col"{_number(numeric)}><button type="button">{text}</button></th>'
        for text, numeric in _HEADINGS
    )
    ordered = sorted(one.placed, key=lambda placed: placed.is_constant)
    rows = "".join(f"<tr>{_row(placed)}</tr>\n" for placed in ordered)
    table = (
        f'<div class="scroll"><table class="sortable"><thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{rows}</tbody></table></div>"
    )
    return _section("All of it", "Layers are counted from 0.", table)


def _number(numeric: bool) -> str:
    return ' class="number"' if numeric else ""


def _row(placed: Placed) -> str:
    size = placed.end - placed.begin
    layers = ("", "") if placed.is_constant else (str(placed.first), str(placed.last))
    kind = placed.kind + (", in place" if placed.in_place else "")
    kind += ", second memory" if placed.second else ""
    cells = (
        (placed.name, placed.name),
        (kind, kind),
        (str(placed.begin), f"{placed.begin:#x}"),
        (str(size), f"{size:,}"),
        *((layer, layer) for layer in layers),
    )
    return "".join(
        f'<td{_number(numeric)} data-value="{escape(value)}">{escape(shown)}</td>'
        for (value, shown), (_, numeric) in zip(cells, _HEADINGS, strict=True)
    )
