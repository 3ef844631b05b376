"""An evaluation as tables on the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, TextIO

from .figures import Cell, align, decibels, number, percent, shade

if TYPE_CHECKING:
    from nvdla_ir.evaluation.results import Errors, EvaluationResult, Layer, OtherRanges

_SHOWN_UNITS = 12


def tables_of(result: EvaluationResult, stream: TextIO) -> str:
    """Accuracy, layers, parts and the layers that cost most."""
    parts = [_accuracy(result, stream), _layers(result, stream)]
    if result["attribution"]:
        parts += [_attribution(result, stream), _sensitivity(result, stream)]
    if result["other_ranges"]:
        title = "Other ranges for the costliest, SQNR of the logits in dB\n"
        lines = [line for other in result["other_ranges"] for line in advice(other, result)]
        parts.append(title + "".join(f"{line}\n" for line in lines))
    return "\n".join(parts)


def _table(
    title: str,
    headings: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    stream: TextIO,
    texts: int = 1,
) -> str:
    """``texts`` columns of text, then columns of numbers; those without a number are left out."""
    from .tables import format_table

    kept = [i for i in range(len(headings)) if i < texts or any(row[i] for row in rows)]
    cells = align([[row[i] for i in kept] for row in rows], start=texts)
    return f"{title}\n" + format_table([headings[i] for i in kept], cells, stream)


def errors_db(errors: Errors) -> str:
    """Decibels of a tensor; ``exact`` without noise, ``-inf`` without a signal."""
    if errors["sqnr_db"] is None:
        return "exact" if errors["noise"] == 0 else "-inf" if errors["signal"] == 0 else "nan"
    return decibels(errors["sqnr_db"])


def _noise_db(sqnr: float | None, noise: float | None) -> str:
    if sqnr is None:
        return "exact" if noise == 0 else "-inf"
    return decibels(sqnr)


def _accuracy(result: EvaluationResult, stream: TextIO) -> str:
    rows = [
        [
            row["variant"],
            percent(row["top1"]),
            percent(row["top5"]),
            percent(row["agreement"]),
            "" if row["variant"] == "float" else errors_db(row["logits"]),
        ]
        for row in result["accuracy"]
    ]
    title = f"{result['network']}, {result['images']} images, {result['granularity']}"
    headings = ("network", "top-1", "top-5", "same class as float", "logits SQNR dB")
    return _table(title, headings, rows, stream)


def _layers(result: EvaluationResult, stream: TextIO) -> str:
    rows = [_layer(layer, stream.isatty()) for layer in result["layers"]]
    headings = (
        "layer",
        "operation",
        "fake-q. dB",
        "integer dB",
        "cosine",
        "max error",
        "saturated",
        "codes",
    )
    return _table("Layers, against the floats", headings, rows, stream, texts=2)


def _layer(layer: Layer, coloured: bool) -> list[Cell]:
    integer, codes = layer["integer"], layer["codes"]
    cosine = integer["cosine"]
    return [
        layer["name"],
        layer["operation"],
        errors_db(layer["fake_quantized"]),
        shade(errors_db(integer), integer["sqnr_db"], coloured),
        "nan" if cosine is None else f"{cosine:.6f}",
        number(integer["max_error"]),
        "" if codes is None else percent(codes["clipped"], 3),
        "" if codes is None else f"{codes['used']} of 256",
    ]


def _attribution(result: EvaluationResult, stream: TextIO) -> str:
    rows = [
        [
            part["part"],
            percent(part["share"], 1),
            "" if part["part"] == "multipliers" else _noise_db(part["sqnr_db"], part["noise"]),
            _noise_db(part["without_db"], 0 if part["without_db"] is None else None),
            percent(part["top1"]),
            percent(part["agreement"]),
        ]
        for part in result["attribution"]
    ]
    title = f"What costs the logits' accuracy ({result['part_images']} images)"
    headings = (
        "part",
        "of the noise",
        "alone dB",
        "all but it dB",
        "top-1 alone",
        "same class as float",
    )
    return _table(title, headings, rows, stream)


def _sensitivity(result: EvaluationResult, stream: TextIO) -> str:
    units = result["sensitivity"]
    rows = [
        [
            unit["name"],
            "+".join(unit["layers"]),
            percent(unit["share"], 1),
            _noise_db(unit["sqnr_db"], unit["noise"]),
            "" if unit["top1_change"] is None else f"{unit['top1_change']:+.2f}",
            percent(unit["agreement"]),
        ]
        for unit in units[:_SHOWN_UNITS]
    ]
    headings = ("output", "layers", "of the noise", "logits dB", "top-1", "same class as float")
    title = "Each alone in int8, the costliest first"
    if len(units) > _SHOWN_UNITS:
        title += f" ({_SHOWN_UNITS} of {len(units)})"
    return _table(title, headings, rows, stream, texts=2)


def advice(other: OtherRanges, result: EvaluationResult) -> list[str]:
    """What mends a costly tensor and what to write for it, or why nothing does, in lines."""
    tried = {attempt["method"]: attempt for attempt in other["tried"]}
    now = _exact_or(other["sqnr_db"])
    low, high = other["range_low"], other["range_high"]
    is_now = (
        f"{number(high)}" if abs(low + high) <= 0.01 * high else f"{number(low)} to {number(high)}"
    )
    name = f"'{other['name']}' ({percent(other['share'], 0)} of the noise)"
    if other["best"] is not None:
        best = tried[other["best"]]
        lines = [
            f"{name}: with {best['method']} (range {number(best['range'])} instead of {is_now}): "
            f"{_exact_or(best['sqnr_db'])} instead of {now}"
        ]
        if other["entry"]:
            lines.append(f"  in {result['calibration']}:")
            return lines + [f"    {line}" for line in other["entry"]]
        from nvdla_ir.ir.attributes import format_float

        reach = format_float(best["range"])
        return [*lines, f"  its type: !quant.calibrated<f32<-{reach}:{reach}>>"]
    best = max(tried.values(), key=lambda attempt: _number(attempt["sqnr_db"]))
    lines = [
        f"{name}: no range mends it: {_exact_or(best['sqnr_db'])} instead of {now} at best, with "
        f"{best['method']} (range {number(best['range'])} instead of {is_now})"
    ]
    if other["weights_to_blame"]:
        remedy = " (--granularity per-channel may help)" if _is_per_tensor(result) else ""
        exact = _exact_or(other["exact_weights_db"])
        lines.append(
            f"  the weights of its layers are to blame: {exact} with them in reals{remedy}"
        )
    else:
        lines.append(f"  with this tensor in reals: {_exact_or(other['in_reals_db'])}")
    return lines


def _is_per_tensor(result: EvaluationResult) -> bool:
    return result["granularity"] == "per-tensor"


def _number(sqnr: float | None) -> float:
    return math.inf if sqnr is None else sqnr


def _exact_or(sqnr: float | None) -> str:
    return "exact" if sqnr is None else decibels(sqnr)
