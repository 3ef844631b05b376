"""The result of an evaluation as data: what JSON files hold and reports show.

``null`` stands for numbers that do not exist: decibels without noise, accuracy without labels,
codes of a tensor that is not kept in 8 bits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypedDict

from nvdla_ir.evaluation.evaluation import (
    ACTIVATIONS,
    BIAS,
    FAKE_QUANTIZED,
    FLOAT,
    INTEGER,
    MULTIPLIERS,
    VARIANTS,
    WEIGHTS,
    Evaluation,
    LayerSums,
    LogitsSums,
)
from nvdla_ir.evaluation.remedies import Remedy
from nvdla_ir.evaluation.statistics import ErrorSums

_NO_ENTRIES: Mapping[str, Sequence[str]] = {}
SCHEMA = "nvdla-ir-evaluation/1"


class Errors(TypedDict):
    """How far a tensor is from that of the float network.

    sqnr_db:   10 log10 (signal / noise); null where there is no noise, or no signal
    cosine:    of the angle between the two, -1 to 1
    max_error: the largest magnitude of a difference
    signal, noise: sums of squares of the float tensor and of the difference
    """

    sqnr_db: float | None
    cosine: float | None
    max_error: float | None
    signal: float | None
    noise: float | None


class Accuracy(TypedDict):
    """One variant of the network on all images.

    variant:   "float", "fake-quantized" or "integer"
    top1, top5: percent of images classified rightly; top5 of more than five classes
    agreement: percent of images of the same first class as the float network has
    logits:    what decides the class, against the floats
    """

    variant: str
    top1: float | None
    top5: float | None
    agreement: float | None
    logits: Errors


class Histogram(TypedDict):
    """Of the float values: ``counts`` in equal bins from ``low`` to ``high``, which is twice the
    range of the codes; ``below`` and ``above`` lie outside."""

    low: float
    high: float
    counts: list[int]
    below: int
    above: int


class Codes(TypedDict):
    """A tensor that is kept in 8 bits.

    scale, zero_point: real = scale * (code - zero_point)
    range_low, range_high: the reals of the codes -128 and 127
    minimum, maximum: of the float values
    clipped:   percent of the float values that no code is near to: they saturate
    used:      how many of the 256 codes occur
    code_low, code_high: the smallest and the largest that occur
    histogram: of the float values
    """

    scale: float
    zero_point: int
    range_low: float
    range_high: float
    minimum: float
    maximum: float
    clipped: float
    used: int
    code_low: int
    code_high: int
    histogram: Histogram


class Layer(TypedDict):
    """One layer's output: its name, the operation that computes it, int8 as reals and as integers
    against the floats; ``codes`` is null inside a pipeline."""

    name: str
    operation: str
    fake_quantized: Errors
    integer: Errors
    codes: Codes | None


class Part(TypedDict):
    """What one part of the quantization costs.

    part:          "weights", "activations", "bias" or "multipliers"
    noise:         of the logits, with this part alone; for multipliers what they add to the rest
    share:         percent of the parts' noise
    sqnr_db:       of the logits, with this part alone
    top1, agreement: with this part alone; null for multipliers
    without_db:    SQNR of the logits with all but this part
    """

    part: str
    noise: float | None
    share: float | None
    sqnr_db: float | None
    top1: float | None
    agreement: float | None
    without_db: float | None


class Sensitivity(TypedDict):
    """What it costs to have one pipeline alone in int8: ``layers`` are computed in it, ``name`` is
    that of its output. ``share``: percent of the noise of all units; ``top1_change`` in points."""

    name: str
    layers: list[str]
    noise: float | None
    share: float | None
    sqnr_db: float | None
    top1_change: float | None
    agreement: float | None


class Tried(TypedDict):
    """A range for a tensor, -``range`` to ``range``, by one of the methods of calibration, and the
    SQNR of the fake-quantized logits with it."""

    method: str
    range: float
    sqnr_db: float | None


class OtherRanges(TypedDict):
    """What other ranges do for a tensor that costs much.

    name:        of the tensor, which is the key of a table
    share:       percent of the noise of all units, as in Sensitivity
    range_low, range_high: the reals of the codes -128 and 127 as it is
    sqnr_db:     of the fake-quantized logits with this range, and the best of those before it
    tried:       by method
    best:        the method whose range mends the logits; null where none does
    entry:       what states that range in the table; empty where there is none
    in_reals_db: with this tensor in reals
    exact_weights_db: with the weights of its layers in reals
    weights_to_blame: whether the latter mends what no range does
    """

    name: str
    share: float
    range_low: float
    range_high: float
    sqnr_db: float | None
    tried: list[Tried]
    best: str | None
    entry: list[str]
    in_reals_db: float | None
    exact_weights_db: float | None
    weights_to_blame: bool


class EvaluationResult(TypedDict):
    """All of it.

    schema:       "nvdla-ir-evaluation/1"
    network, calibration, granularity: what was evaluated
    images:       how many
    part_images:  on how many of them parts and single layers were measured
    part_sqnr_db: SQNR of the integers' logits on these
    layers:       in the order of the network
    sensitivity:  the unit that costs most first
    other_ranges: for units that alone leave the logits with little; the costliest first
    """

    schema: str
    network: str
    calibration: str | None
    granularity: str
    images: int
    part_images: int
    part_sqnr_db: float | None
    accuracy: list[Accuracy]
    layers: list[Layer]
    attribution: list[Part]
    sensitivity: list[Sensitivity]
    other_ranges: list[OtherRanges]


def result_of(
    evaluation: Evaluation,
    remedies: Sequence[Remedy] = (),
    entries: Mapping[str, Sequence[str]] = _NO_ENTRIES,
    *,
    network: str,
    calibration: str | None,
    granularity: str,
) -> EvaluationResult:
    """The figures that follow from the sums of ``evaluation``, and the ``remedies`` that were
    tried after it, with the entries of a table that state them, by name."""
    integers = evaluation.base.get(INTEGER)
    return EvaluationResult(
        schema=SCHEMA,
        network=network,
        calibration=calibration,
        granularity=granularity,
        images=evaluation.images,
        part_images=evaluation.part_images,
        part_sqnr_db=None if integers is None else _finite(integers.errors.sqnr),
        accuracy=[_accuracy(variant, evaluation.logits[variant]) for variant in VARIANTS],
        layers=[_layer(name, sums) for name, sums in evaluation.layers.items()],
        attribution=_attribution(evaluation),
        sensitivity=_sensitivity(evaluation),
        other_ranges=[_other_ranges(remedy, entries) for remedy in remedies],
    )


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


def _errors(sums: ErrorSums) -> Errors:
    return Errors(
        sqnr_db=_finite(sums.sqnr),
        cosine=_finite(sums.cosine),
        max_error=_finite(sums.largest),
        signal=_finite(sums.signal),
        noise=_finite(sums.noise),
    )


def _accuracy(variant: str, sums: LogitsSums) -> Accuracy:
    shares = sums.hits.percentages()
    return Accuracy(
        variant=variant,
        top1=shares["top1"],
        top5=shares["top5"],
        agreement=shares["agreement"],
        logits=_errors(sums.errors),
    )


def _layer(name: str, sums: LayerSums) -> Layer:
    return Layer(
        name=name,
        operation=sums.operation,
        fake_quantized=_errors(sums.fake_quantized),
        integer=_errors(sums.integer),
        codes=_codes(sums),
    )


def _codes(sums: LayerSums) -> Codes | None:
    codes, ranges = sums.codes, sums.ranges
    if codes is None or ranges is None or sums.scale is None or sums.zero_point is None:
        return None
    low, high = ranges.edges
    code_low, code_high = codes.span
    return Codes(
        scale=sums.scale,
        zero_point=sums.zero_point,
        range_low=ranges.low,
        range_high=ranges.high,
        minimum=ranges.minimum,
        maximum=ranges.maximum,
        clipped=100 * ranges.clipped_share,
        used=codes.used,
        code_low=code_low,
        code_high=code_high,
        histogram=Histogram(
            low=low,
            high=high,
            counts=ranges.counts.tolist(),
            below=ranges.below,
            above=ranges.above,
        ),
    )


def _attribution(evaluation: Evaluation) -> list[Part]:
    if not evaluation.part_images:
        return []
    fake = evaluation.base[FAKE_QUANTIZED].errors
    integer = evaluation.base[INTEGER].errors
    parts: list[Part] = []
    for name in (WEIGHTS, ACTIVATIONS, BIAS):
        alone = evaluation.alone[name]
        shares = alone.hits.percentages()
        parts.append(
            Part(
                part=name,
                noise=_finite(alone.errors.noise),
                share=None,
                sqnr_db=_finite(alone.errors.sqnr),
                top1=shares["top1"],
                agreement=shares["agreement"],
                without_db=_finite(evaluation.without[name].errors.sqnr),
            )
        )
    added = ErrorSums(signal=integer.signal, noise=max(0.0, integer.noise - fake.noise))
    parts.append(
        Part(
            part=MULTIPLIERS,
            noise=_finite(added.noise),
            share=None,
            sqnr_db=_finite(added.sqnr),
            top1=None,
            agreement=None,
            without_db=_finite(fake.sqnr),
        )
    )
    total = math.fsum(part["noise"] or 0.0 for part in parts)
    for part in parts:
        part["share"] = _share(part["noise"], total)
    return parts


def _sensitivity(evaluation: Evaluation) -> list[Sensitivity]:
    total = math.fsum(sums.errors.noise for sums in evaluation.sensitivity.values())
    float_top1 = (
        evaluation.base[FLOAT].hits.percentages()["top1"] if evaluation.part_images else None
    )
    found: list[Sensitivity] = []
    for name, sums in evaluation.sensitivity.items():
        shares = sums.hits.percentages()
        top1 = shares["top1"]
        found.append(
            Sensitivity(
                name=name,
                layers=list(evaluation.unit_layers[name]),
                noise=_finite(sums.errors.noise),
                share=_share(sums.errors.noise, total),
                sqnr_db=_finite(sums.errors.sqnr),
                top1_change=None if top1 is None or float_top1 is None else top1 - float_top1,
                agreement=shares["agreement"],
            )
        )
    return sorted(found, key=lambda unit: -(unit["noise"] or 0.0))


def _other_ranges(remedy: Remedy, entries: Mapping[str, Sequence[str]]) -> OtherRanges:
    low, high = remedy.range
    return OtherRanges(
        name=remedy.name,
        share=100 * remedy.share,
        range_low=low,
        range_high=high,
        sqnr_db=_finite(remedy.sqnr),
        tried=[
            Tried(method=t.method, range=t.threshold, sqnr_db=_finite(t.sqnr)) for t in remedy.tried
        ],
        best=remedy.best.method if remedy.mends else None,
        entry=list(entries.get(remedy.name, ())),
        in_reals_db=_finite(remedy.in_reals),
        exact_weights_db=_finite(remedy.exact_weights),
        weights_to_blame=remedy.blames_weights,
    )


def _share(noise: float | None, total: float) -> float | None:
    if noise is None or not math.isfinite(total):
        return None
    return 100 * noise / total if total else 0.0
