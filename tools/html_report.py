"""An evaluation as one HTML page that needs nothing else: plots first, then the table."""

from __future__ import annotations

import html
import importlib.util
from collections.abc import Sequence
from typing import TYPE_CHECKING

from nvdla_ir.evaluation.evaluation import MULTIPLIERS
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.location import UNKNOWN

from .evaluate_tables import advice, errors_db
from .figures import number, percent
from .html_parts import Cell, kind, section, sortable_table, tiles_of
from .html_template import page

if TYPE_CHECKING:
    from nvdla_ir.evaluation.results import EvaluationResult, Layer

_POOR_DB = 20.0
_FIRST_HISTOGRAMS = 12


def require_matplotlib() -> None:
    """Raises: DiagnosticError that says what to install, where matplotlib is missing."""
    if importlib.util.find_spec("matplotlib") is None:
        raise DiagnosticError.at(
            UNKNOWN,
            "the HTML report needs matplotlib: install 'nvdla-ir[report]' (--json needs nothing)",
        )


def html_report(result: EvaluationResult) -> str:
    """The page. Raises: DiagnosticError where matplotlib is missing."""
    require_matplotlib()
    from . import html_plots

    body = [
        _header(result),
        _tiles(result),
        section(
            "SQNR along the network",
            "Each layer's output against the float network. Below 20 dB a layer is likely at "
            "fault; a sudden fall shows where.",
            html_plots.sqnr_along_network(result["layers"]),
        ),
    ]
    if result["attribution"]:
        images = _images(result["part_images"])
        parts = section(
            "What costs accuracy",
            f"Noise of the logits when only this is quantized ({images}). Multipliers: what "
            "integer arithmetic adds to the rest.",
            html_plots.attribution(result["attribution"]) + _parts_table(result),
        )
        units = section(
            "Which layers cost most",
            f"Noise of the logits with one pipeline alone in int8 ({images}).",
            html_plots.sensitivity(result["sensitivity"]),
        )
        body.append(f'<div class="pair">{parts}{units}</div>\n')
    if result["other_ranges"]:
        lines = [line for other in result["other_ranges"] for line in advice(other, result)]
        body.append(
            section(
                "Other ranges for the costliest",
                "SQNR of the logits in dB, fake-quantized, where the range of this tensor is "
                "another, with the ranges above it mended.",
                f"<pre>{html.escape(chr(10).join(lines))}</pre>",
            )
        )
    body += [
        section(
            "Codes used and saturation",
            "How many of the 256 codes each tensor uses, and how much of it lies beyond them. Few "
            "codes: the range is too wide. Much saturation: it is too narrow.",
            html_plots.saturation(result),
        ),
        _histograms(result["layers"]),
        section(
            "All layers",
            "Click a heading to sort.",
            sortable_table(
                _HEADINGS,
                [_cells(index, layer) for index, layer in enumerate(result["layers"])],
            ),
        ),
    ]
    return page(html.escape(f"INT8 evaluation of {result['network']}"), "".join(body))


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count} images"


def _header(result: EvaluationResult) -> str:
    calibration = result["calibration"]
    words = [_images(result["images"]), f"weights {result['granularity']}"]
    if calibration is not None:
        words.append(f"calibration {calibration}")
    return (
        f"<h1>What INT8 costs: {html.escape(result['network'])}</h1>\n"
        f'<p class="sub">{html.escape(" · ".join(words))}</p>\n'
    )


# -------------------------------------------------------------- figures at a glance


def _tiles(result: EvaluationResult) -> str:
    accuracy = {row["variant"]: row for row in result["accuracy"]}
    floats, fake, integer = (accuracy[name] for name in ("float", "fake-quantized", "integer"))
    tiles: list[tuple[str, str, str]] = []
    if integer["top1"] is not None and floats["top1"] is not None:
        change = integer["top1"] - floats["top1"]
        top5 = "" if integer["top5"] is None else f", top-5 {percent(integer['top5'])}"
        detail = f"float {percent(floats['top1'])} ({change:+.2f} points){top5}"
        tiles.append(("Top-1 in INT8", percent(integer["top1"]), detail))
    if integer["agreement"] is not None:
        tiles.append(("Same class as float", percent(integer["agreement"]), "of the images"))
    detail = f"fake-quantized {errors_db(fake['logits'])} dB"
    tiles.append(("SQNR of the logits", f"{errors_db(integer['logits'])} dB", detail))
    noisy = [layer for layer in result["layers"] if layer["integer"]["sqnr_db"] is not None]
    if noisy:
        worst = min(noisy, key=lambda layer: layer["integer"]["sqnr_db"] or 0.0)
        value = f"{errors_db(worst['integer'])} dB"
        tiles.append(("Noisiest layer", value, f"{worst['name']} ({worst['operation']})"))
    parts = result["attribution"]
    if parts:
        costliest = max(parts, key=lambda part: part["share"] or 0.0)
        if costliest["share"]:
            detail = f"{percent(costliest['share'], 0)} of the noise"
            tiles.append(("Costs most", costliest["part"], detail))
    return tiles_of(tiles)


def _parts_table(result: EvaluationResult) -> str:
    """The logits with each part alone, and with all but it."""
    rows = [
        (
            part["part"],
            "" if part["part"] == MULTIPLIERS else _decibels(part["sqnr_db"]),
            _decibels(part["without_db"]),
            percent(part["agreement"]),
        )
        for part in result["attribution"]
    ]
    rows.append(("all", _decibels(result["part_sqnr_db"]), "", ""))
    headings = ("part", "alone", "all but it", "same class, alone")
    head = "".join(f"<th{kind(index > 0)}>{text}</th>" for index, text in enumerate(headings))
    body = "".join(
        "<tr>"
        + "".join(f"<td{kind(index > 0)}>{cell}</td>" for index, cell in enumerate(row))
        + "</tr>\n"
        for row in rows
    )
    return (
        f'<table class="plain">\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>'
    )


def _decibels(value: float | None) -> str:
    return "no noise" if value is None else f"{value:.1f} dB"


# -------------------------------------------------------------- histograms


def _histograms(layers: Sequence[Layer]) -> str:
    """Those of the noisiest layers first; the rest folded away."""
    from .html_plots import histogram

    order = sorted(
        range(len(layers)),
        key=lambda i: (layers[i]["integer"]["sqnr_db"] is None, layers[i]["integer"]["sqnr_db"]),
    )
    figures: list[str] = []
    for index in order:
        layer, codes = layers[index], layers[index]["codes"]
        if codes is None:
            continue
        figures.append(
            f"<figure><figcaption><b>{html.escape(layer['name'])}</b> "
            f"<span>{errors_db(layer['integer'])} dB, {percent(codes['clipped'], 3)} saturated"
            f"</span></figcaption>{histogram(index, layer['name'], codes)}</figure>\n"
        )
    if not figures:
        return ""
    content = f'<div class="histograms">\n{"".join(figures[:_FIRST_HISTOGRAMS])}</div>\n'
    rest = figures[_FIRST_HISTOGRAMS:]
    if rest:
        content += (
            f"<details><summary>{len(rest)} more</summary>\n"
            f'<div class="histograms">\n{"".join(rest)}</div>\n</details>\n'
        )
    return section(
        "Activations and the chosen ranges",
        "Float values (logarithmic counts), the noisiest layers first; between the lines is what "
        "the codes can hold, beyond them values saturate.",
        content,
    )


# -------------------------------------------------------------- table


_HEADINGS = (
    ("#", True),
    ("layer", False),
    ("operation", False),
    ("fake-q. dB", True),
    ("integer dB", True),
    ("cosine", True),
    ("max error", True),
    ("saturated", True),
    ("codes", True),
    ("scale", True),
    ("zero point", True),
)
"""Headings, and whether the column has numbers."""


def _cells(index: int, layer: Layer) -> list[Cell]:
    integer, codes = layer["integer"], layer["codes"]
    sqnr, cosine = integer["sqnr_db"], integer["cosine"]
    cells = [
        Cell(str(index), index),
        Cell(layer["name"], layer["name"]),
        Cell(layer["operation"], layer["operation"]),
        Cell(errors_db(layer["fake_quantized"]), layer["fake_quantized"]["sqnr_db"]),
        Cell(errors_db(integer), sqnr, poor=sqnr is not None and sqnr < _POOR_DB),
        Cell("" if cosine is None else f"{cosine:.6f}", cosine),
        Cell(number(integer["max_error"]), integer["max_error"]),
    ]
    if codes is None:
        return cells + [Cell("", None)] * 4
    return [
        *cells,
        Cell(percent(codes["clipped"], 4), codes["clipped"]),
        Cell(str(codes["used"]), codes["used"]),
        Cell(f"{codes['scale']:.6g}", codes["scale"]),
        Cell(str(codes["zero_point"]), codes["zero_point"]),
    ]
