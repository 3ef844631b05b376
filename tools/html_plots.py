"""The plots of an evaluation as SVG that stands in an HTML page and follows its colours."""

# matplotlib's own types leave much unknown.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportMissingTypeStubs=false

from __future__ import annotations

import html
import io
import math
import re
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from .figures import decibels, number, percent
from .html_template import ACCENT, GRID, INK, MUTED, SECOND, VARIABLES, WARN

if TYPE_CHECKING:
    from nvdla_ir.evaluation.results import Codes, EvaluationResult, Layer, Part, Sensitivity

_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "nvdla-ir",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": GRID,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "legend.frameon": False,
}
_LABELLED_LAYERS = 40
_SHOWN_UNITS = 15
_HISTOGRAM_BINS = 128
_LONGEST_LABEL = 26


@contextmanager
def _figure(width: float, height: float) -> Generator[Any]:
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        yield Figure(figsize=(width, height), layout="constrained")


def _svg(figure: Any, key: str, label: str, tips: Mapping[str, str]) -> str:
    """``figure`` as an element of a page: ids that no other plot has, colours of the page's style,
    and the ``tips``, by id, as tooltips."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r'\s(xmlns(:\w+)?|version)="[^"]*"', "", text)
    text = text.replace("xlink:href", "href")
    text = re.sub(r'(<svg[^>]*?) (?:width|height)="[^"]*"', r"\1", text)
    text = re.sub(r'(<svg[^>]*?) (?:width|height)="[^"]*"', r"\1", text)
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    for name, tip in tips.items():
        text = text.replace(
            f'<g id="{name}">', f'<g id="{name}"><title>{html.escape(tip)}</title>', 1
        )
    text = re.sub(r'\bid="', f'id="{key}-', text)
    text = re.sub(r'(url\(|href=")#', rf"\1#{key}-", text)
    return text.replace("<svg", f'<svg role="img" aria-label="{html.escape(label)}"', 1)


def sqnr_along_network(layers: Sequence[Layer]) -> str:
    """SQNR of each layer's output, as integers and fake-quantized."""
    tips: dict[str, str] = {}
    with _figure(11, 3.7) as figure:
        axes = figure.subplots()
        for key, colour, name, size in (
            ("fake_quantized", SECOND, "fake-quantized", 3.5),
            ("integer", ACCENT, "integer", 5),
        ):
            # Without noise there are no decibels: the line has a gap there.
            values = [layer[key]["sqnr_db"] for layer in layers]
            heights = [math.nan if value is None else value for value in values]
            axes.plot(range(len(layers)), heights, color=colour, linewidth=1.6, label=name)
            for index, layer in enumerate(layers):
                (point,) = axes.plot([index], [heights[index]], "o", color=colour, markersize=size)
                point.set_gid(f"{key}-{index}")
                tips[f"{key}-{index}"] = (
                    f"{layer['name']} ({layer['operation']}), {name}: {decibels(values[index])} dB"
                )
        axes.set_ylabel("SQNR, dB")
        _layer_axis(axes, [layer["name"] for layer in layers])
        axes.legend(loc="lower right", ncols=2, bbox_to_anchor=(1, 1))
        return _svg(figure, "sqnr", "SQNR along the network", tips)


def _layer_axis(axes: Any, names: Sequence[str]) -> None:
    """Names below; with many layers only some of them."""
    step = max(1, -(-len(names) // _LABELLED_LAYERS))
    axes.set_xticks(range(0, len(names), step))
    axes.set_xticklabels(
        [_short(name) for name in names[::step]], rotation=55, ha="right", rotation_mode="anchor"
    )
    axes.tick_params(axis="x", labelsize=8)
    axes.set_xlim(-0.7, len(names) - 0.3)
    axes.grid(visible=False, axis="x")


def _short(name: str) -> str:
    half = _LONGEST_LABEL // 2
    return name if len(name) <= _LONGEST_LABEL else f"{name[:half]}…{name[-half:]}"


def _bars(
    key: str, label: str, axis: str, rows: Sequence[tuple[str, float, str, str]], colour: str
) -> str:
    """Horizontal bars: name, length, what stands behind the bar, tooltip."""
    tips: dict[str, str] = {}
    with _figure(5.6, 0.75 + 0.3 * max(len(rows), 1)) as figure:
        axes = figure.subplots()
        bars = axes.barh(
            range(len(rows)), [length for _, length, _, _ in rows], height=0.68, color=colour
        )
        for index, (bar, (_, length, text, tip)) in enumerate(zip(bars, rows, strict=True)):
            bar.set_gid(f"bar-{index}")
            tips[f"bar-{index}"] = tip
            axes.annotate(
                text, (length, index), (5, 0), textcoords="offset points", va="center", fontsize=9
            )
        axes.set_yticks(range(len(rows)))
        axes.set_yticklabels([_short(name) for name, _, _, _ in rows])
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        axes.invert_yaxis()
        axes.margins(x=0.3, y=0.02)
        axes.set_xlim(left=0)
        axes.set_xlabel(axis)
        axes.grid(visible=False, axis="y")
        return _svg(figure, key, label, tips)


def attribution(parts: Sequence[Part]) -> str:
    """The share of each part in the noise."""
    rows = [
        (
            part["part"],
            part["share"] or 0.0,
            f"{percent(part['share'], 1)}, {_alone(part)}",
            f"{part['part']} alone: {_alone(part)}, noise {number(part['noise'])}",
        )
        for part in parts
    ]
    return _bars("parts", "Error attribution", "share of the parts' noise, %", rows, ACCENT)


def sensitivity(units: Sequence[Sensitivity]) -> str:
    """The units that cost most, each alone in int8."""
    rows = [
        (
            unit["name"],
            unit["share"] or 0.0,
            f"{percent(unit['share'], 1)}, {_alone(unit)}",
            f"{' + '.join(unit['layers'])} alone in int8: {_alone(unit)}",
        )
        for unit in units[:_SHOWN_UNITS]
    ]
    return _bars("units", "Sensitivity ranking", "share of the units' noise, %", rows, ACCENT)


def _alone(figures: Part | Sensitivity) -> str:
    """Decibels; without noise there are none."""
    return "no noise" if figures["sqnr_db"] is None else f"{figures['sqnr_db']:.1f} dB"


def saturation(result: EvaluationResult) -> str:
    """Above, how many of the 256 codes each tensor uses; below, how much of it saturates."""
    layers = [(layer["name"], layer["codes"]) for layer in result["layers"]]
    kept: list[tuple[str, Codes]] = [(name, codes) for name, codes in layers if codes is not None]
    tips: dict[str, str] = {}
    with _figure(11, 4.4) as figure:
        upper, lower = figure.subplots(2, 1, sharex=True)
        spans = [codes["code_high"] - codes["code_low"] + 1 for _, codes in kept]
        upper.bar(range(len(kept)), spans, color=GRID, width=0.75, label="spanned")
        used = upper.bar(
            range(len(kept)), [c["used"] for _, c in kept], color=SECOND, width=0.75, label="used"
        )
        upper.set_ylim(0, 256)
        upper.set_yticks([0, 64, 128, 192, 256])
        upper.set_ylabel("codes of 256")
        upper.legend(loc="lower right", ncols=2, bbox_to_anchor=(1, 1))
        upper.grid(visible=False, axis="x")
        clipped = lower.bar(
            range(len(kept)), [c["clipped"] for _, c in kept], color=WARN, width=0.75
        )
        most = max([c["clipped"] for _, c in kept], default=0.0)
        lower.set_ylim(0, most * 1.1 or 1.0)
        if not most:
            lower.text(0.5, 0.5, "no value saturates", transform=lower.transAxes, ha="center")
        lower.set_ylabel("saturated, %")
        for kind, bars in (("used", used), ("clipped", clipped)):
            for index, (bar, (name, codes)) in enumerate(zip(bars, kept, strict=True)):
                bar.set_gid(f"{kind}-{index}")
                tips[f"{kind}-{index}"] = (
                    f"{name}: {codes['used']} codes from {codes['code_low']} to "
                    f"{codes['code_high']}, {percent(codes['clipped'], 4)} saturated"
                )
        _layer_axis(lower, [name for name, _ in kept])
        return _svg(figure, "codes", "Codes used and saturation", tips)


def histogram(index: int, name: str, codes: Codes) -> str:
    """The float values of a tensor, on a logarithmic scale, with the range that its codes hold."""
    with _figure(3.1, 1.7) as figure:
        axes = figure.subplots()
        found = codes["histogram"]
        counts = np.array(found["counts"]).reshape(_HISTOGRAM_BINS, -1).sum(axis=1)
        edges = np.linspace(found["low"], found["high"], _HISTOGRAM_BINS + 1)
        axes.stairs(counts, edges, fill=True, color=ACCENT, alpha=0.75, baseline=0.5)
        for end in (codes["range_low"], codes["range_high"]):
            axes.axvline(end, color=WARN, linewidth=1.4)
        low, high = _shown_range(codes)
        axes.axvspan(low, codes["range_low"], color=WARN, alpha=0.09, linewidth=0)
        axes.axvspan(codes["range_high"], high, color=WARN, alpha=0.09, linewidth=0)
        axes.set_xlim(low, high)
        axes.set_yscale("log")
        axes.set_ylim(0.5, max(2.0, float(counts.max(initial=1)) * 2))
        axes.minorticks_off()
        axes.tick_params(labelsize=7.5)
        axes.locator_params(axis="x", nbins=5)
        axes.grid(visible=False, axis="x")
        return _svg(figure, f"histogram-{index}", f"Values of {name}", {})


def _shown_range(codes: Codes) -> tuple[float, float]:
    """The codes' range and a margin; more where there are values beyond it."""
    low, high = codes["range_low"], codes["range_high"]
    margin = (high - low) * 0.06
    found = codes["histogram"]
    low = max(min(low, codes["minimum"]), found["low"])
    high = min(max(high, codes["maximum"]), found["high"])
    return low - margin, high + margin
