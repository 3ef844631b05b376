"""``nvdla-opt --estimate``: what the hardware layers of a module will cost, as tables and files."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TextIO, get_args

from attrs import define, field, frozen

from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.evaluation.estimate import Estimate, LayerEstimate, estimate
from nvdla_ir.hardware.cost.base import Client, Cost, MemoryTiming, Span
from nvdla_ir.hardware.cost.model import HANDOVER_CYCLES
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.dialect import did_you_mean
from nvdla_ir.resources import ResourceStore
from nvdla_ir.text.pipeline_syntax import PassOption, parse_options

from .command_line import STANDARD_STREAM, Arguments, UsageError
from .reports import AheadOfRegisters, ReportWatcher
from .tables import format_table

if TYPE_CHECKING:
    from nvdla_ir.evaluation.saturation import Saturation

_FILES = ("estimate-csv", "estimate-json", "report")
_HERTZ = {"": 1.0, "hz": 1.0, "khz": 1e3, "mhz": 1e6, "ghz": 1e9}
_NUMBER = re.compile(r"(\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)\s*([a-zA-Z]*)")


@frozen
class EstimateOptions:
    """What is asked for.

    table:     whether to show one
    frequency: of the accelerator's clock in Hz
    files:     by the flags that name them
    inputs:    names of the network's inputs, and the files with their elements
    """

    table: bool
    memory: MemoryTiming
    frequency: float | None
    files: Mapping[str, str]
    inputs: Mapping[str, str]

    @staticmethod
    def of(arguments: Arguments) -> EstimateOptions | None:
        """None where nothing is asked for. Raises: UsageError, DiagnosticError"""
        inputs = _inputs(arguments)
        files = {name: value for name in _FILES if (value := arguments.value(name)) is not None}
        if not files and not arguments.has("estimate"):
            return None
        for name, file in files.items():
            if file == STANDARD_STREAM:
                raise UsageError(f"'--{name}' takes the name of a file: standard output has the IR")
        values: dict[str, float] = {}
        for given in arguments.flags:
            if given.flag.name == "estimate":
                for option in parse_options(given.value or "", given.location):
                    values[option.key] = _number(option)
        bandwidth = {"bytes_per_cycle": values["bandwidth"]} if "bandwidth" in values else {}
        latency = {"latency": values["latency"]} if "latency" in values else {}
        return EstimateOptions(
            arguments.has("estimate"),
            MemoryTiming(**latency, **bandwidth),
            values.get("frequency"),
            files,
            inputs,
        )


def _inputs(arguments: Arguments) -> dict[str, str]:
    """Raises: UsageError"""
    found: dict[str, str] = {}
    for text in arguments.values("report-input"):
        name, _, file = text.partition("=")
        if not (name and file):
            raise UsageError(f"'--report-input' takes NAME=FILE, not '{text}'")
        if name in found:
            raise UsageError(f"'--report-input' is given twice for '{name}'")
        found[name] = file
    if found and not arguments.has("report"):
        raise UsageError("'--report-input' says nothing without '--report'")
    return found


_KEYS = {
    "bandwidth": "bytes a cycle, above 0",
    "latency": "cycles, from 0 on",
    "frequency": "above 0, as 1e9, 800MHz or 1GHz",
}


def _number(option: PassOption) -> float:
    """Raises: DiagnosticError at the option for what it cannot be."""
    if option.key not in _KEYS:
        raise DiagnosticError.at(
            option.location,
            f"'--estimate' has no option '{option.key}'{did_you_mean(option.key, _KEYS)} "
            f"(it has {', '.join(_KEYS)})",
        )
    value = option.value or ""
    match = _NUMBER.fullmatch(value)
    unit = match[2].lower() if match else ""
    known = _HERTZ if option.key == "frequency" else {"": 1.0}
    if match is None or unit not in known or (option.key != "latency" and not float(match[1])):
        raise DiagnosticError.at(
            option.location,
            f"'{option.key}' of '--estimate' is a number ({_KEYS[option.key]}), not '{value}'",
        )
    return float(match[1]) * known[unit]


@define(eq=False)
class EstimateReport:
    """The table and the files that are asked for."""

    options: EstimateOptions
    _found: list[Estimate] = field(factory=list[Estimate], init=False)
    _saturated: list[Saturation] = field(factory=list["Saturation"], init=False)

    @staticmethod
    def of(arguments: Arguments) -> EstimateReport | None:
        """None where nothing is asked for. Raises: UsageError, DiagnosticError"""
        options = EstimateOptions.of(arguments)
        return None if options is None else EstimateReport(options)

    def watch(self) -> ReportWatcher:
        look = partial(estimate, memory=self.options.memory)
        return _Watcher(look, self._found.append, self.options.inputs, self._saturated.append)

    def files(self) -> dict[str, str]:
        writers = {"estimate-csv": _csv, "estimate-json": _json}
        return {
            file: _report(self._found, self._saturated, self.options)
            if name == "report"
            else writers[name](self._found, self.options)
            for name, file in self.options.files.items()
        }

    def text(self, stream: TextIO) -> str:
        if not self.options.table:
            return ""
        return "".join(_estimate_table(found, self.options, stream) for found in self._found)


@define(eq=False)
class _Watcher(AheadOfRegisters[Estimate]):
    """Finds out as well what saturates, where inputs are given."""

    _inputs: Mapping[str, str]
    _take_saturated: Callable[[Saturation], None]

    def finish(self, module: ModuleOp, resources: ResourceStore) -> None:
        super().finish(module, resources)
        if self._inputs:
            from .report_inputs import saturation_of

            self._take_saturated(saturation_of(module, resources, self._inputs))


def _report(found: list[Estimate], saturated: list[Saturation], options: EstimateOptions) -> str:
    from .compile_report import compile_report

    return compile_report(found, options.frequency, saturated)


# -------------------------------------------------------------- the table


def _estimate_table(found: Estimate, options: EstimateOptions, stream: TextIO) -> str:
    """Layers, their sum, and what the estimate rests on."""
    everything = LayerEstimate("all layers", "", found.pieces, found.total)
    layers = (*found.layers, everything)
    headings, rows = _by_program(_WIDE, [_wide_row(layer, found) for layer in layers], found)
    if stream.isatty() and _width(headings, rows) > shutil.get_terminal_size().columns:
        rows = [_narrow_row(layer, found) for layer in layers]
        headings, rows = _by_program(_NARROW, rows, found)
    return format_table(headings, rows, stream) + "".join(
        f"{line}\n" for line in _summary(found, options)
    )


def _by_program(
    headings: Sequence[str], rows: Sequence[Sequence[str]], found: Estimate
) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    """With a column of device programs ahead, where there are several."""
    if len(found.programs) < 2:
        return headings, rows
    programs = [*(layer.program for layer in found.layers), ""]
    return ("program", *headings), [(p, *row) for p, row in zip(programs, rows, strict=True)]


_WIDE = ("layer", "units", "runs", "cycles", "MACs", "spent on", "read", "written")
_NARROW = ("layer", "units", "cycles", "MACs", "spent on", "memory")
_COLUMN_GAP = 3


def _width(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    """Columns of the terminal that a table takes without line breaks in its cells."""
    return sum(max(map(len, column)) + _COLUMN_GAP for column in zip(headings, *rows, strict=True))


def _wide_row(layer: LayerEstimate, found: Estimate) -> tuple[str, ...]:
    cost = layer.cost
    return (
        layer.name,
        layer.units,
        str(layer.pieces),
        f"{round(cost.cycles):,}",
        _use(cost, found),
        ", ".join(_spent(cost)),
        _size(sum(cost.read.values())),
        _size(sum(cost.written.values())),
    )


def _narrow_row(layer: LayerEstimate, found: Estimate) -> tuple[str, ...]:
    """Names, units and spans below each other; traffic in one."""
    cost = layer.cost
    runs = f"\n({layer.pieces} runs)" if layer.pieces > 1 else ""
    return (
        layer.name.replace("+", "+\n") + runs,
        layer.units.replace("+", "\n"),
        f"{round(cost.cycles):,}",
        _use(cost, found),
        "\n".join(_spent(cost)),
        _size(cost.memory_bytes),
    )


def _use(cost: Cost, found: Estimate) -> str:
    """Of the MAC array; empty where nothing is multiplied."""
    return f"{100 * cost.mac_utilisation(found.hw):.0f} %" if cost.macs else ""


def _spent(cost: Cost) -> list[str]:
    """What takes the most, in percent: ``MAC 90``, ``data 8``."""
    shares = sorted(cost.spans.items(), key=lambda item: -item[1])
    shown = [(span, 100 * amount / cost.cycles) for span, amount in shares[:3]]
    return [f"{span} {share:.0f}" for span, share in shown if share >= 1]


def _size(count: int) -> str:
    return f"{count / 1024:,.1f} K"


def _summary(found: Estimate, options: EstimateOptions) -> Iterator[str]:
    moved = found.memory.bytes_per_cycle
    width = found.hw.memory_width_bytes
    yield (
        f"{found.hw.name}, memory of {min(moved, width):g} bytes a cycle and "
        f"{found.memory.latency:g} cycles latency; MACs: use of the array; spent on: % of cycles; "
        "K: 1024 bytes"
    )
    gaps = found.pieces - 1
    yield (
        f"{round(found.total.cycles):,} cycles, and {found.handover_cycles:,} between layers "
        f"({gaps} x {HANDOVER_CYCLES} with a fast controller)"
    )
    if found.scheduled is not None:
        saved = 100 * (1 - found.scheduled / found.sequential)
        yield (
            f"{round(found.scheduled):,} cycles as layers run beside each other, {saved:.1f} % less"
        )
    if options.frequency is not None:
        seconds = found.cycles / options.frequency
        yield (
            f"{seconds * 1e3:.3f} ms at {options.frequency / 1e6:g} MHz, "
            f"{1 / seconds:.1f} inferences a second; the host's operations are not counted"
        )
    if found.measured:
        yield (
            "checked on nv_small's RTL: of layers of 1,000 cycles and more nine in ten within 1 %, "
            "all within 4 %"
        )
    else:
        yield (
            f"not measured on {found.hw.name}: what was found on nv_small's RTL, carried over by "
            "sizes and widths"
        )


# -------------------------------------------------------------- files

_SPANS: tuple[Span, ...] = get_args(Span)
_CLIENTS: tuple[Client, ...] = get_args(Client)
_WRITERS: tuple[Client, ...] = ("SDP", "PDP", "CDP")


def _csv(found: list[Estimate], options: EstimateOptions) -> str:
    """One line a layer, with the cycles and bytes of each kind; no sum, which readers make."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    by_program = any(len(one.programs) > 1 for one in found)
    writer.writerow(
        [
            *(("program",) if by_program else ()),
            *("layer", "units", "runs", "cycles", "macs", "mac_utilisation", "limit"),
            *(f"cycles_{_key(span)}" for span in _SPANS),
            *(f"read_{_key(client)}" for client in _CLIENTS),
            *(f"written_{_key(client)}" for client in _WRITERS),
        ]
    )
    for one in found:
        for layer in one.layers:
            cost = layer.cost
            writer.writerow(
                [
                    *((layer.program,) if by_program else ()),
                    *(layer.name, layer.units, layer.pieces, round(cost.cycles), cost.macs),
                    *(f"{cost.mac_utilisation(one.hw):.4f}", cost.limit),
                    *(round(cost.spans.get(span, 0)) for span in _SPANS),
                    *(cost.read.get(client, 0) for client in _CLIENTS),
                    *(cost.written.get(client, 0) for client in _WRITERS),
                ]
            )
    return stream.getvalue()


def _key(name: str) -> str:
    return name.lower().replace(" ", "_")


def _json(found: list[Estimate], options: EstimateOptions) -> str:
    """All that is known; a list of estimates where the input was split."""
    documents = [_document(one, options) for one in found]
    return json.dumps(documents[0] if len(documents) == 1 else documents, indent=2) + "\n"


def _document(one: Estimate, options: EstimateOptions) -> dict[str, Any]:
    seconds = None if options.frequency is None else one.cycles / options.frequency
    return {
        "hardware": one.hw.name,
        "measured": one.measured,
        "memory": {
            "bytes_per_cycle": min(one.memory.bytes_per_cycle, one.hw.memory_width_bytes),
            "latency": one.memory.latency,
        },
        "frequency": options.frequency,
        "layers": [_layer_document(layer, one) for layer in one.layers],
        "total": _cost_document(one.total, one),
        "cycles_between_layers": one.handover_cycles,
        "cycles": round(one.cycles),
        "seconds": seconds,
    }


def _layer_document(layer: LayerEstimate, one: Estimate) -> dict[str, Any]:
    program = {"program": layer.program} if len(one.programs) > 1 else {}
    return {
        **program,
        "layer": layer.name,
        "units": layer.units,
        "runs": layer.pieces,
        **_cost_document(layer.cost, one),
    }


def _cost_document(cost: Cost, one: Estimate) -> dict[str, Any]:
    return {
        "cycles": round(cost.cycles),
        "macs": cost.macs,
        "mac_utilisation": round(cost.mac_utilisation(one.hw), 4),
        "limit": cost.limit,
        "spans": {span: round(amount) for span, amount in cost.spans.items()},
        "read": {client: count for client, count in cost.read.items() if count},
        "written": {client: count for client, count in cost.written.items() if count},
    }
