"""``nvdla-opt --report``: which layer of the network became which hardware layers, and what they
cost, as one HTML page that needs nothing else."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from nvdla_ir.dialects.nn.shapes import text_of

from .html_parts import Cell, search_box, section, sortable_table, tiles_of
from .html_template import page
from .saturation import MUCH_SATURATED

if TYPE_CHECKING:
    from nvdla_ir.evaluation.estimate import Estimate, LayerEstimate
    from nvdla_ir.evaluation.runs import HardwareRun
    from nvdla_ir.evaluation.saturation import Saturation
    from nvdla_ir.hardware.cost.base import Cost

_LAYER_HEADINGS = (
    ("#", True),
    ("layer", False),
    ("units", False),
    ("runs", True),
    ("cycles", True),
    ("share", True),
    ("MACs used", True),
    ("spent on", False),
    ("read", True),
    ("written", True),
    ("scale in", True),
    ("scale out", True),
    ("zero point", True),
)
_RUN_HEADINGS = (
    ("#", True),
    ("layer", False),
    ("units", False),
    ("reads", False),
    ("window", False),
    ("writes", False),
    ("banks", False),
    ("SDP", False),
    ("multiplier", True),
    ("shift", True),
    ("offset", True),
    ("address", False),
    ("bytes", True),
    ("cycles", True),
    ("spent on", False),
)


def compile_report(
    found: Sequence[Estimate], frequency: float | None, saturated: Sequence[Saturation] = ()
) -> str:
    """The page; of several modules one below the other.

    frequency: of the clock in Hz, where it is known
    saturated: of each module what saturates, where inputs were given
    """
    search = search_box("Search layers, units, shapes, addresses")
    heads = [_head(one, frequency) for one in found]
    shares = saturated or [None] * len(found)
    tables = [_tables(one, its) for one, its in zip(found, shares, strict=True)]
    # one field searches all
    parts = [heads[0], search, tables[0]]
    parts += [part for both in zip(heads[1:], tables[1:], strict=True) for part in both]
    return page(html.escape(_title(found[0])), "".join(parts))


def _title(found: Estimate) -> str:
    return f"Hardware layers on {found.hw.name}"


def _head(found: Estimate, frequency: float | None) -> str:
    names = "device program" if len(found.programs) == 1 else "device programs"
    memory = (
        f"{len(found.programs)} {names}; memory of {_bandwidth(found):g} bytes a cycle after "
        f"{found.memory.latency:g} cycles"
    )
    return (
        f'<h1>{html.escape(_title(found))}</h1>\n<p class="sub">{html.escape(memory)}</p>\n'
        + tiles_of(_tiles(found, frequency))
    )


def _tables(found: Estimate, saturated: Saturation | None) -> str:
    headings = _LAYER_HEADINGS if saturated is None else (*_LAYER_HEADINGS, ("saturated", True))
    rows = _layer_rows(found, saturated)
    return section(
        "Layers of the network",
        "Each with what the hardware computes together with it. Cycles as if it ran alone, by "
        "the estimate; read and written: bytes of memory traffic. Click a heading to sort.",
        sortable_table(_headings(headings, found), rows, searchable=True),
    ) + section(
        "Hardware layers",
        "In the order of the program, pieces of a layer beside each other. Banks of the "
        "convolution buffer: data + weights. SDP: what its stages do, then its output "
        "converter: (x - offset) * multiplier >> shift, rounded, clamped to 8 bits.",
        sortable_table(_headings(_RUN_HEADINGS, found), _run_rows(found), searchable=True),
    )


def _bandwidth(found: Estimate) -> float:
    return min(found.memory.bytes_per_cycle, found.hw.memory_width_bytes)


def _tiles(found: Estimate, frequency: float | None) -> Iterator[tuple[str, str, str]]:
    total = found.total
    detail = f"{found.sequential:,.0f} one after the other"
    yield "Cycles", f"{found.cycles:,.0f}", detail if found.scheduled is not None else ""
    if frequency is not None:
        rate = frequency / found.cycles
        yield (
            "Inferences a second",
            f"{rate:,.1f}",
            f"at {frequency / 1e6:g} MHz, without the host's work",
        )
    split = sum(layer.pieces > 1 for layer in found.layers)
    detail = f"for {len(found.layers)} layers, {split} of them in pieces"
    yield "Hardware layers", f"{found.pieces:,}", detail
    use = f"{100 * total.mac_utilisation(found.hw):.0f} %" if total.macs else "none"
    yield "MACs used", use, f"{total.macs:,} products"
    read, written = sum(total.read.values()), sum(total.written.values())
    yield "Memory traffic", _size(read + written), f"{_size(read)} read, {_size(written)} written"
    costliest = max(found.layers, key=lambda layer: layer.cost.cycles)
    share = costliest.cost.cycles / total.cycles
    yield "Costs most", f"{100 * share:.0f} %", costliest.name


def _size(count: float) -> str:
    for unit, size in (("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count:,.0f} B"


# -------------------------------------------------------------- rows


def _headings(headings: Sequence[tuple[str, bool]], found: Estimate) -> Sequence[tuple[str, bool]]:
    return headings if len(found.programs) < 2 else (*headings, ("program", False))


def _by_program(cells: list[Cell], layer: LayerEstimate, found: Estimate) -> list[Cell]:
    if len(found.programs) < 2:
        return cells
    return [*cells, Cell(layer.program, layer.program, name=True)]


def _layer_rows(found: Estimate, saturated: Saturation | None) -> Iterator[list[Cell]]:
    total = found.total.cycles
    most = max(layer.cost.cycles for layer in found.layers) / total
    for index, layer in enumerate(found.layers):
        cost, last = layer.cost, layer.runs[-1]
        share, use = cost.cycles / total, cost.mac_utilisation(found.hw)
        read, written = sum(cost.read.values()), sum(cost.written.values())
        cells = [
            Cell(str(index), index),
            Cell(layer.name, layer.name, name=True),
            Cell(layer.units, layer.units),
            Cell(f"{layer.pieces:,}", layer.pieces),
            Cell(f"{cost.cycles:,.0f}", cost.cycles),
            Cell(f"{100 * share:.1f} %", share, share=share / most),
            Cell(f"{100 * use:.0f} %" if cost.macs else "", use if cost.macs else None),
            _spent(cost),
            Cell(_size(read), read),
            Cell(_size(written), written),
            _scale(layer.runs[0].scales[0]),
            _scale(last.scales[1]),
            _integer(last.zero_point),
        ]
        if saturated is not None:
            part = saturated.get((layer.program, layer.name))
            much = part is not None and part > MUCH_SATURATED
            cells.append(Cell("" if part is None else f"{100 * part:.3g} %", part, poor=much))
        yield _by_program(cells, layer, found)


def _run_rows(found: Estimate) -> Iterator[list[Cell]]:
    index = 0
    for layer in found.layers:
        for number, run in enumerate(layer.runs, start=1):
            piece = f" ({number} of {layer.pieces})" if layer.pieces > 1 else ""
            cells = [
                Cell(str(index), index),
                Cell(f"{layer.name}{piece}", layer.name, name=True),
                Cell(run.units, run.units),
                *_work(run),
                _integer(run.multiplier),
                _integer(run.shift),
                _integer(run.offset),
                Cell("" if run.address is None else f"{run.address:#010x}", run.address),
                Cell(f"{run.written_bytes:,}", run.written_bytes),
                Cell(f"{run.cost.cycles:,.0f}", run.cost.cycles),
                _spent(run.cost),
            ]
            index += 1
            yield _by_program(cells, layer, found)


def _work(run: HardwareRun) -> Iterator[Cell]:
    source, target = text_of(run.source), text_of(run.target)
    yield Cell(source, source)
    yield Cell(run.window, run.window)
    yield Cell(target, target)
    banks = "" if run.banks is None else f"{run.banks[0]} + {run.banks[1]}"
    banks += f", {run.reuse}" if run.reuse else ""
    yield Cell(banks, banks)
    yield Cell(run.stages, run.stages)


def _spent(cost: Cost) -> Cell:
    shares = sorted(((100 * n / cost.cycles, name) for name, n in cost.spans.items()), reverse=True)
    text = ", ".join(f"{name} {share:.0f} %" for share, name in shares[:2] if share >= 1)
    return Cell(text, text)


def _scale(scale: float | None) -> Cell:
    return Cell("" if scale is None else f"{scale:.4g}", scale)


def _integer(number: int | None) -> Cell:
    return Cell("" if number is None else f"{number:,}", number)
