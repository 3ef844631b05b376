"""How a threshold is chosen from a histogram: min-max, percentile, mean squared error, entropy.

A threshold t becomes the symmetric scale t/127: magnitudes above it saturate. All methods work in
time that does not depend on the number of elements; none looks at data again.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from nvdla_ir.calibration.entry import INT8_MAXIMUM
from nvdla_ir.calibration.histogram import Histogram

FEWEST_BINS = 128
"""The least threshold that entropy and mean squared error consider, in bins: a bin a code."""
DEFAULT_PERCENTILE = 99.99


class Method(Protocol):
    """A way to choose thresholds."""

    def threshold(self, histogram: Histogram) -> float:
        """The magnitude that code 127 is to stand for: above 0 and at most the histogram's peak;
        0 if all elements are 0."""
        ...


@frozen
class MinMax:
    """The largest magnitude: nothing saturates."""

    def threshold(self, histogram: Histogram) -> float:
        return histogram.peak


@frozen
class Percentile:
    """The magnitude that ``percentile`` percent of all elements, zeros included, do not exceed;
    elements are taken to be spread evenly inside their bin."""

    percentile: float = DEFAULT_PERCENTILE
    """Above 0, at most 100."""

    def threshold(self, histogram: Histogram) -> float:
        counts = histogram.used_counts()
        below = np.concatenate(([0], np.cumsum(counts)))
        wanted = self.percentile / 100 * float(below[-1])
        index = min(int(np.searchsorted(below[1:], wanted)), len(counts) - 1)
        share = (wanted - float(below[index])) / float(counts[index])
        return min((index + share) * histogram.bin_width, histogram.peak)


@frozen
class MeanSquaredError:
    """The threshold at which rounding to ±127 steps and saturation do the least harm to the sum of
    squares.

    Elements are taken to be spread evenly inside their bin; those of the first bin, where the zeros
    of a ReLU are, to be zero. Candidates are whole numbers of bins.
    """

    def threshold(self, histogram: Histogram) -> float:
        counts = histogram.used_counts()
        candidates = _candidates(counts)
        if candidates is None:
            return histogram.peak
        errors = _squared_errors(counts, candidates)
        return _magnitude(histogram, int(candidates[np.argmin(errors)]))


def _squared_errors(counts: NDArray[np.int64], candidates: NDArray[Any]) -> NDArray[np.float64]:
    """The sum of squared errors, in squared bin widths, for thresholds of so many bins, which need
    not be whole.

    In the interval of code l the error is ∫ (x - l·s)² = M2 - 2·l·s·M1 + (l·s)²·M0, of the
    distribution's moments over the interval; they are differences of cumulative moments.
    """
    weights = counts.astype(np.float64)
    weights[0] = 0.0
    edges = np.arange(len(counts) + 1, dtype=np.float64)
    moments = [
        np.concatenate(([0.0], np.cumsum(weights * (edges[1:] ** k - edges[:-1] ** k) / k)))
        for k in (1, 2, 3)
    ]
    levels = np.arange(INT8_MAXIMUM + 1)
    steps = candidates[:, None] / INT8_MAXIMUM
    bounds = np.empty((len(candidates), len(levels) + 1))
    bounds[:, 0] = 0.0
    bounds[:, 1:-1] = (levels[:-1] + 0.5) * steps
    bounds[:, -1] = len(counts)
    bounds = np.minimum(bounds, len(counts))
    index = np.minimum(bounds.astype(np.int64), len(counts) - 1)
    m0, m1, m2 = (
        np.diff(cumulative[index] + weights[index] * (bounds**k - edges[index] ** k) / k, axis=1)
        for k, cumulative in enumerate(moments, start=1)
    )
    values = levels * steps
    return (m2 - 2 * values * m1 + values**2 * m0).sum(axis=1)


@frozen
class Entropy:
    """The threshold whose int8 distribution diverges least from the real one (Kullback-Leibler).

    The algorithm is TensorRT's as NVIDIA published it (S. Migacz, "8-bit inference with TensorRT",
    2017), with the details of NVIDIA's later open implementation for PyTorch. For each threshold of
    i bins, from 128 to all:

    * P is the first i bins, with the counts of all bins above added to the last of them;
    * Q is the first i bins, without these, in 128 levels: bin j belongs to level floor(128 j / i);
      a level's count is divided evenly among those of its bins that are not empty;
    * both are normalized, and the divergence is the sum of P·log(P/Q). It is infinite where Q is 0
      and P is not: the last bin is empty, and there are bins above.

    The count of the first bin, where the zeros of a ReLU are, is replaced by that of the second.
    Of equal divergences the one with the largest threshold wins.

    ONNX Runtime follows MXNet's variant over signed histograms, which differs in this: its slices
    have one bin more on the right; levels are of floor(bins / levels) bins each, and the last one
    takes the remainder; where P has outliers alone counts as filled; the counts of Q are truncated
    to integers and stand in empty bins, too; zeros of P and Q are raised by 0.0001; the zeros of a
    ReLU stay. The second matters: only whole multiples of 128 bins leave no remainder, so it
    chooses these. (``tests/unit/calibration/test_methods.py`` turns the differences on one by one.)
    """

    def threshold(self, histogram: Histogram) -> float:
        counts: NDArray[np.int64] = np.array(histogram.used_counts())
        candidates = _candidates(counts)
        if candidates is None:
            return histogram.peak
        counts[0] = counts[1]
        return _least(histogram, candidates, _divergences(counts, candidates))


def _divergences(counts: NDArray[np.int64], candidates: NDArray[np.int64]) -> NDArray[np.float64]:
    """KL(P‖Q) for thresholds of so many bins.

    With N the count of all bins, S that of the first i and A = N - S that of those above::

        N·KL = Σ P·log P - N·log N  -  Σ_levels c·log(c / bins)  -  A·log(Q of the last bin)
               + N·log S

    so prefix sums of the counts, of the filled bins and of c·log c make each threshold cost its
    levels only.
    """
    total = float(counts.sum())
    below = np.concatenate(([0], np.cumsum(counts)))
    filled_below = np.concatenate(([0], np.cumsum(counts > 0)))
    logs_below = np.concatenate(([0.0], np.cumsum(_times_log(counts.astype(np.float64)))))
    # Bin j belongs to level floor(128 j / i): level l starts with bin ceil(l i / 128).
    starts = -(-np.arange(FEWEST_BINS + 1) * candidates[:, None] // FEWEST_BINS)
    levels = np.diff(below[starts], axis=1).astype(np.float64)
    filled = np.diff(filled_below[starts], axis=1)
    mean = levels / np.maximum(filled, 1)
    inside = below[candidates].astype(np.float64)
    above = total - inside
    last = counts[candidates - 1].astype(np.float64)
    reference = logs_below[candidates - 1] + _times_log(last + above)
    expanded = (levels * _log(mean)).sum(axis=1) + above * _log(mean[:, -1])
    divergences = (reference - expanded) / total + _log(inside) - np.log(total)
    divergences[(inside == 0) | ((last == 0) & (above > 0))] = np.inf
    return divergences


def _log(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logarithms; 0 for 0, which has no weight wherever it occurs."""
    return np.log(np.where(values > 0, values, 1.0))


def _times_log(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values * _log(values)


def _candidates(counts: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """Thresholds to be considered, in bins; None where the peak is the only one."""
    if len(counts) <= FEWEST_BINS:
        return None
    return np.arange(FEWEST_BINS, len(counts) + 1)


def _least(histogram: Histogram, candidates: NDArray[np.int64], harm: NDArray[np.float64]) -> float:
    """The threshold that does the least harm; of equals the largest."""
    best = len(harm) - 1 - int(np.argmin(harm[::-1]))
    return _magnitude(histogram, int(candidates[best]))


def _magnitude(histogram: Histogram, bins: int) -> float:
    return min(bins * histogram.bin_width, histogram.peak)


@frozen
class GuardedEntropy:
    """The threshold of the least divergence among those that do little harm: of a tensor's elements
    at most ``saturated`` saturate, and the squared error is at most ``factor`` times the least one.

    The divergence compares two shapes of one total: it does not see that the few large elements
    that are cut off carry most of the signal.
    """

    saturated: float = 1e-3
    factor: float = 2.0

    def threshold(self, histogram: Histogram) -> float:
        counts: NDArray[np.int64] = np.array(histogram.used_counts())
        candidates = _candidates(counts)
        if candidates is None:
            return histogram.peak
        errors = _squared_errors(counts, candidates)
        above = float(counts.sum()) - np.cumsum(counts)[candidates - 1]
        few = above <= self.saturated * float(counts.sum())
        small = errors <= self.factor * errors.min()
        counts[0] = counts[1]
        divergences = _divergences(counts, candidates)
        if not (few & small).any():
            # All that saturate little round coarsely.
            divergences = errors
            small = few
        divergences[~(few & small)] = np.inf
        return _least(histogram, candidates, divergences)


@frozen
class ThresholdQuality:
    """What a threshold does to the elements that were counted.

    saturated: the share of elements above it, 0 to 1
    sqnr:      of the tensor itself, in dB; infinite where nothing is lost
    """

    saturated: float
    sqnr: float


def quality(histogram: Histogram, threshold: float) -> ThresholdQuality:
    """Of a ``threshold`` above 0. Elements are taken to be spread evenly inside their bin."""
    counts = histogram.used_counts()
    if not len(counts) or histogram.peak == 0:
        return ThresholdQuality(0.0, math.inf)
    bins = threshold / histogram.bin_width
    edges = np.arange(len(counts) + 1, dtype=np.float64)
    inside = np.clip(edges[1:] - bins, 0.0, 1.0)
    if threshold >= histogram.peak:
        inside[:] = 0.0
    noise = float(_squared_errors(counts, np.array([bins]))[0])
    signal = float((counts * (edges[1:] ** 3 - edges[:-1] ** 3) / 3)[1:].sum())
    sqnr = 10 * math.log10(signal / noise) if signal > 0 and noise > 0 else math.inf
    return ThresholdQuality(float((counts * inside).sum()) / float(counts.sum()), sqnr)


METHODS: dict[str, Callable[[], Method]] = {
    "minmax": MinMax,
    "mse": MeanSquaredError,
    "percentile": Percentile,
    "entropy": GuardedEntropy,
}
"""The methods by the names that users call them."""
