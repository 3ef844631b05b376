"""The methods against their definitions, written down plainly, and against ONNX Runtime's."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nvdla_ir.calibration.histogram import Histogram
from nvdla_ir.calibration.methods import (
    FEWEST_BINS,
    METHODS,
    Entropy,
    GuardedEntropy,
    MeanSquaredError,
    Method,
    MinMax,
    Percentile,
    quality,
)

Reals = NDArray[np.float32]


def gaussian(rng: np.random.Generator) -> Reals:
    return rng.standard_normal(20_000).astype(np.float32)


def relu(rng: np.random.Generator) -> Reals:
    return np.maximum(gaussian(rng), 0)


def laplace_with_outliers(rng: np.random.Generator) -> Reals:
    values = rng.laplace(0, 0.3, 20_000).astype(np.float32)
    values[:3] = (9.0, -7.7, 5.1)
    return values


def one_signed_uniform(rng: np.random.Generator) -> Reals:
    return -rng.random(20_000, np.float32) * 3


def sparse(rng: np.random.Generator) -> Reals:
    values = np.zeros(5_000, np.float32)
    values[:40] = rng.random(40, np.float32) * 5
    return values


def few_values(rng: np.random.Generator) -> Reals:
    return rng.choice(np.array([-2.0, 0.0, 0.5, 1.5], np.float32), 1_000)


DISTRIBUTIONS = [gaussian, relu, laplace_with_outliers, one_signed_uniform, sparse, few_values]
Distribution = Callable[[np.random.Generator], Reals]


def histogram_of(values: Reals) -> Histogram:
    histogram = Histogram()
    histogram.add(values)
    return histogram


# -------------------------------------------------------------- what all of them do


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
@pytest.mark.parametrize("name", METHODS)
def test_thresholds_are_above_zero_and_at_most_the_peak(
    name: str, distribution: Distribution
) -> None:
    histogram = histogram_of(distribution(np.random.default_rng(3)))
    assert 0 < METHODS[name]().threshold(histogram) <= histogram.peak


@pytest.mark.parametrize("name", METHODS)
def test_a_tensor_of_zeros_has_no_threshold(name: str) -> None:
    assert METHODS[name]().threshold(histogram_of(np.zeros(9, np.float32))) == 0.0


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("value", [1.0, -3.0, 2.0**-90, 2.0**-110, 2.0**100])
def test_a_single_magnitude_is_its_own_threshold(name: str, value: float) -> None:
    histogram = histogram_of(np.full(100, value, np.float32))
    threshold = METHODS[name]().threshold(histogram)
    # Inside its bin nothing is known but the peak.
    assert threshold == pytest.approx(abs(value), abs=histogram.bin_width)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("exponent", [-40, 1, 60])
def test_powers_of_two_scale_the_threshold(name: str, exponent: int) -> None:
    values = laplace_with_outliers(np.random.default_rng(4))
    method = METHODS[name]()
    scaled = method.threshold(histogram_of(np.ldexp(values, exponent)))
    assert scaled == math.ldexp(method.threshold(histogram_of(values)), exponent)


def test_methods_leave_the_histogram_as_it_is() -> None:
    histogram = histogram_of(relu(np.random.default_rng(5)))
    before = histogram.counts.copy()
    for make in METHODS.values():
        make().threshold(histogram)
    assert np.array_equal(histogram.counts, before)


# -------------------------------------------------------------- each of them


def test_min_max_is_the_peak() -> None:
    assert MinMax().threshold(histogram_of(np.array([-3.25, 2.0], np.float32))) == 3.25


@settings(max_examples=50)
@given(
    st.floats(1.0, 100.0),
    st.lists(st.floats(-8.0, 8.0, width=32), min_size=1, max_size=60).filter(any),
)
def test_percentile_is_within_a_bin_of_the_sorted_magnitudes(
    percentile: float, numbers: list[float]
) -> None:
    values = np.array(numbers, np.float32)
    histogram = histogram_of(values)
    wanted = math.ceil(percentile / 100 * len(values) - 1e-9)
    exact = float(np.sort(np.abs(values))[max(wanted - 1, 0)])
    threshold = Percentile(percentile).threshold(histogram)
    assert threshold == pytest.approx(exact, abs=histogram.bin_width * 1.001)


def test_percentile_100_is_the_peak() -> None:
    histogram = histogram_of(gaussian(np.random.default_rng(6)))
    assert Percentile(100.0).threshold(histogram) == histogram.peak


def squared_error(histogram: Histogram, threshold: float) -> float:
    """The sum of squared errors at ``threshold``, each bin's elements at 64 even places."""
    counts = histogram.used_counts().astype(np.float64)
    counts[0] = 0.0
    width, step = histogram.bin_width, threshold / 127
    places = (np.arange(len(counts))[:, None] + (np.arange(64) + 0.5) / 64) * width
    rounded = np.minimum(np.floor(places / step + 0.5), 127) * step
    return float((counts * ((places - rounded) ** 2).mean(axis=1)).sum())


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_mean_squared_error_finds_the_least_error(distribution: Distribution) -> None:
    histogram = histogram_of(distribution(np.random.default_rng(7)))
    width, bins = histogram.bin_width, len(histogram.used_counts())
    errors = {n: squared_error(histogram, n * width) for n in range(FEWEST_BINS, bins + 1, 9)}
    threshold = MeanSquaredError().threshold(histogram)
    found = squared_error(histogram, math.ceil(threshold / width) * width)
    assert found <= min(errors.values()) * 1.001


def published_divergence(counts: list[int], bins: int) -> float:
    """KL(P‖Q) for a threshold of ``bins``, step by step as it was published."""
    p = [float(count) for count in counts[:bins]]
    p[-1] += sum(counts[bins:])
    level_of = [FEWEST_BINS * j // bins for j in range(bins)]
    level_count = [0.0] * FEWEST_BINS
    filled = [0] * FEWEST_BINS
    for j in range(bins):
        level_count[level_of[j]] += counts[j]
        filled[level_of[j]] += counts[j] > 0
    q = [level_count[level_of[j]] / filled[level_of[j]] if counts[j] else 0.0 for j in range(bins)]
    total_p, total_q = sum(p), sum(q)
    divergence = 0.0
    for pj, qj in zip(p, q, strict=True):
        if pj > 0 and qj == 0:
            return math.inf
        if pj > 0:
            divergence += pj / total_p * math.log(pj / total_p * total_q / qj)
    return divergence


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_entropy_is_the_published_algorithm(distribution: Distribution) -> None:
    from nvdla_ir.calibration.methods import _divergences  # pyright: ignore[reportPrivateUsage]

    histogram = histogram_of(distribution(np.random.default_rng(8)))
    counts = histogram.used_counts().copy()
    counts[0] = counts[1]
    candidates = np.arange(FEWEST_BINS, len(counts) + 1, 7)
    published = [published_divergence(counts.tolist(), int(bins)) for bins in candidates]
    assert _divergences(counts, candidates) == pytest.approx(published, rel=1e-7, abs=1e-9)


def test_entropy_clips_outliers_and_keeps_the_body() -> None:
    values = laplace_with_outliers(np.random.default_rng(9))
    threshold = Entropy().threshold(histogram_of(values))
    assert np.quantile(np.abs(values), 0.99) < threshold < 7.0


def onnxruntime_threshold(histogram: Histogram) -> float:
    """What ONNX Runtime's entropy calibrator says about the same counts, mirrored to both signs,
    with as many levels for each sign as we have."""
    calibrate: Any = pytest.importorskip(
        "onnxruntime.quantization.calibrate", reason="onnxruntime is not installed"
    )
    collector = calibrate.HistogramCollector("entropy", True, 128, 2 * FEWEST_BINS, 99.99, "same")
    both = mirrored(histogram.used_counts())
    edges = np.arange(-len(both) // 2, len(both) // 2 + 1) * histogram.bin_width
    ends = collector.get_entropy_threshold((both, edges, edges[0], edges[-1]), 2 * FEWEST_BINS)
    return float(ends[1])


def mirrored(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    counts = counts.copy()
    counts[0] = counts[1]
    return np.concatenate((counts[::-1], counts))


def divergence_of_both_signs(
    both: NDArray[np.int64], bins: int, differences: frozenset[str]
) -> float:
    """The published divergence over a signed histogram, with some of ONNX Runtime's differences."""
    middle, levels = len(both) // 2, 2 * FEWEST_BINS
    start, end = middle - bins, middle + bins
    if "one bin longer" in differences:
        end = min(end + 1, len(both))
    inside = both[start:end]
    p = inside.astype(np.float64)
    p[0] += both[:start].sum()
    p[-1] += both[end:].sum()
    size = len(inside)
    if "levels of equal size" in differences:
        level_of = np.minimum(np.arange(size) // (size // levels), levels - 1)
    else:
        level_of = levels * np.arange(size) // size
    level_counts = np.bincount(level_of, inside, levels)
    expanded = np.arange(size) < size
    if "levels of equal size" in differences:
        # What remains is counted in the last level but not expanded again.
        expanded = np.arange(size) < levels * (size // levels)
    filled = expanded & ((p if "filled where P is" in differences else inside) > 0)
    bins_filled = np.bincount(level_of, filled, levels)
    q = np.where(expanded, (level_counts / np.maximum(bins_filled, 1))[level_of], 0.0)
    q[bins_filled[level_of] == 0] = 0.0
    if "truncated counts" in differences:
        q = np.trunc(q)
    if "expanded to empty bins" not in differences:
        q[inside == 0] = 0.0
    if "smoothed" in differences:
        p, q = smoothed(p), smoothed(q)
    positive = p > 0
    if not q.any() or (q[positive] == 0).any():
        return math.inf
    p, q = p / p.sum(dtype=p.dtype), q / q.sum(dtype=q.dtype)
    return float((p[positive] * np.log(p[positive] / q[positive])).sum())


def smoothed(values: NDArray[np.float64]) -> NDArray[Any]:
    empty = values == 0
    taken = 1e-4 * empty.sum() / max((~empty).sum(), 1)
    return np.where(empty, values + 1e-4, values - taken).astype(np.float32)


DIFFERENCES = (
    "one bin longer",
    "levels of equal size",
    "filled where P is",
    "truncated counts",
    "expanded to empty bins",
    "smoothed",
)


def best_of_both_signs(histogram: Histogram, differences: frozenset[str]) -> float:
    both = mirrored(histogram.used_counts())
    candidates = range(FEWEST_BINS, len(both) // 2 + 1)
    divergences = [divergence_of_both_signs(both, bins, differences) for bins in candidates]
    if "one bin longer" in differences:
        best = int(np.argmin(divergences))
        return min(candidates[best] + 1, len(both) // 2) * histogram.bin_width
    best = len(divergences) - 1 - int(np.argmin(divergences[::-1]))
    return candidates[best] * histogram.bin_width


@pytest.mark.parametrize("distribution", [gaussian, relu, laplace_with_outliers])
def test_entropy_differs_from_onnxruntime_in_what_is_said_and_nothing_else(
    distribution: Distribution,
) -> None:
    histogram = histogram_of(distribution(np.random.default_rng(10)))
    histogram.grow(histogram.exponent + 2)
    theirs = onnxruntime_threshold(histogram)
    assert best_of_both_signs(histogram, frozenset()) == Entropy().threshold(histogram)
    assert best_of_both_signs(histogram, frozenset(DIFFERENCES)) == pytest.approx(theirs)


def test_levels_of_equal_size_are_why_onnxruntime_chooses_other_thresholds() -> None:
    histogram = histogram_of(gaussian(np.random.default_rng(10)))
    histogram.grow(histogram.exponent + 2)
    bins = best_of_both_signs(histogram, frozenset({"levels of equal size"}))
    # Three bins a level: no remainder makes the last level too large.
    assert bins == 3 * FEWEST_BINS * histogram.bin_width
    assert onnxruntime_threshold(histogram) == bins + histogram.bin_width


def heavy_tails(rng: np.random.Generator) -> Reals:
    return rng.standard_t(2.0, 20_000).astype(np.float32)


def background(rng: np.random.Generator) -> Reals:
    """An image of which most is one colour."""
    values = np.full(20_000, 0.3, np.float32)
    values[:4_000] = rng.random(4_000, np.float32)
    return values


@pytest.mark.parametrize("distribution", [*DISTRIBUTIONS, heavy_tails, background])
def test_guarded_entropy_does_little_harm(distribution: Distribution) -> None:
    histogram = histogram_of(distribution(np.random.default_rng(11)))
    guard = GuardedEntropy()
    threshold = guard.threshold(histogram)
    least = squared_error(histogram, MeanSquaredError().threshold(histogram))
    values = np.abs(distribution(np.random.default_rng(11)))
    assert (values > threshold + histogram.bin_width).mean() <= guard.saturated
    if (values > 0).mean() > 0.5 and distribution is not heavy_tails:
        assert squared_error(histogram, threshold) <= guard.factor * least * 1.01


def test_the_guard_changes_nothing_where_entropy_does_no_harm() -> None:
    loose = GuardedEntropy(saturated=1.0, factor=math.inf)
    for distribution in DISTRIBUTIONS:
        histogram = histogram_of(distribution(np.random.default_rng(12)))
        assert loose.threshold(histogram) == Entropy().threshold(histogram)


@pytest.mark.parametrize("distribution", [heavy_tails, background])
def test_unguarded_entropy_does_harm(distribution: Distribution) -> None:
    histogram = histogram_of(distribution(np.random.default_rng(11)))
    errors = [
        squared_error(histogram, method.threshold(histogram))
        for method in (Entropy(), GuardedEntropy())
    ]
    assert errors[0] > 4 * errors[1]


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
@pytest.mark.parametrize("part", [1.0, 0.7, 0.31])
def test_quality_is_what_a_threshold_does_to_the_elements(
    distribution: Distribution, part: float
) -> None:
    values = distribution(np.random.default_rng(13)).astype(np.float64)
    histogram = histogram_of(values.astype(np.float32))
    threshold = part * histogram.peak
    found = quality(histogram, threshold)
    assert found.saturated == pytest.approx((np.abs(values) > threshold).mean(), abs=2e-3)
    step = threshold / 127
    rounded = np.clip(np.floor(np.abs(values) / step + 0.5), 0, 127) * step
    noise = float(((np.abs(values) - rounded) ** 2).sum())
    sqnr = 10 * math.log10(float((values**2).sum()) / noise)
    # Single values may lie on a code, which a bin's elements together do not.
    assert found.sqnr == pytest.approx(sqnr, abs=0.3) or distribution in (few_values, sparse)


def test_methods_are_found_by_name() -> None:
    methods: list[Method] = [make() for make in METHODS.values()]
    assert list(METHODS) == ["minmax", "mse", "percentile", "entropy"]
    assert methods == [MinMax(), MeanSquaredError(), Percentile(), GuardedEntropy()]
