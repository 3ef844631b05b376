"""Histograms of magnitudes that can be merged exactly.

The range of a histogram is always a power of two, and it is the least one above the largest
magnitude seen. It grows by merging neighbouring bins, which loses nothing but resolution: the bin
of x after growing, floor(floor(x / w) / 2), is floor(x / (2 w)). So the state depends on the
values alone: not on their order, nor on how they were divided among workers.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from attrs import define, field, frozen
from numpy.typing import NDArray

BINS = 2048
_BIN_BITS = 11

LEAST_EXPONENT = -100
"""Ranges below 2^-100 are not told apart: float32 must hold the factor from values to bins."""

_LARGEST_EXPONENT = 1024
"""Of the range of float64."""

_BLOCK = 1 << 16
"""How many elements are counted at a time, so that they stay in the cache."""


class NonFiniteError(ValueError):
    """A tensor has NaN or infinite elements."""


@frozen(eq=False)
class Counts:
    """What one array holds, by sign and magnitude, in the least range that covers it.

    bins: (4096,), int64; element 2048 + j counts the bin j of positive magnitudes, 2048 - j that of
          negative ones, and 2048 the bin 0 of both
    minimum, maximum: of the elements; +inf and -inf where there are none
    """

    exponent: int
    bins: NDArray[np.int64]
    minimum: float
    maximum: float

    def magnitudes(self) -> NDArray[np.int64]:
        """Elements a bin of either sign, (2048,)."""
        counts: NDArray[np.int64] = np.array(self.bins[BINS:])
        counts[1:] += self.bins[BINS - 1 : 0 : -1]
        return counts

    def rectified(self) -> Counts | None:
        """The counts of max(x, 0), exactly as ``count`` would find them; None where they are not
        known, because the positive elements alone have a smaller range."""
        if _exponent_above(max(self.maximum, 0.0)) != self.exponent:
            return None
        bins: NDArray[np.int64] = np.array(self.bins)
        bins[:BINS] = 0
        bins[BINS] += self.bins[:BINS].sum()
        return Counts(self.exponent, bins, max(self.minimum, 0.0), max(self.maximum, 0.0))


def count(values: NDArray[Any]) -> Counts:
    """Count the elements of ``values`` (real numbers of any type and shape; others than float64 as
    float32).

    Raises: NonFiniteError where some are NaN or infinite.
    """
    if values.dtype != np.float64:
        # Narrower floats could not hold the factor from values to bins.
        values = values.astype(np.float32, copy=False)
    total = np.zeros(2 * BINS, np.int64)
    if not values.size:
        return Counts(LEAST_EXPONENT, total, math.inf, -math.inf)
    # In the order of memory, which needs no copy where the axes are merely permuted.
    order: list[int] = np.argsort(values.strides)[::-1].tolist()
    flat: NDArray[Any] = np.ravel(np.transpose(values, order))
    low, high = float(flat.min()), float(flat.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise NonFiniteError
    exponent = _exponent_above(max(-low, high))
    factor = values.dtype.type(math.ldexp(1.0, _BIN_BITS - exponent))
    size = min(_BLOCK, flat.size)
    scaled, short = np.empty(size, values.dtype), np.empty(size, np.int32)
    index = np.empty(size, np.intp)
    for start in range(0, flat.size, _BLOCK):
        block: NDArray[Any] = flat[start : start + _BLOCK]
        if block.size < size:
            scaled, short, index = scaled[: block.size], short[: block.size], index[: block.size]
        np.multiply(block, factor, out=scaled)
        # Cut off towards zero, for both signs alike; to int32 first: quicker than to int64.
        np.copyto(short, scaled, casting="unsafe")
        short += BINS
        np.copyto(index, short)
        total += np.bincount(index, minlength=2 * BINS)
    return Counts(exponent, total, low, high)


def _no_counts() -> NDArray[np.int64]:
    return np.zeros(BINS, np.int64)


@define(eq=False)
class Histogram:
    """How often a tensor's elements have each magnitude, and its exact range.

    exponent: the range is 0 to 2^exponent, exclusive
    counts:   elements a bin, (2048,), int64; bin j holds j·w ≤ |x| < (j + 1)·w with w = 2^exponent
              / 2048
    minimum, maximum: of the elements with their signs; +inf and -inf before there are any
    """

    exponent: int = LEAST_EXPONENT
    counts: NDArray[np.int64] = field(factory=_no_counts)
    minimum: float = math.inf
    maximum: float = -math.inf

    @property
    def is_possible(self) -> bool:
        """Whether elements can have given this histogram."""
        if not LEAST_EXPONENT <= self.exponent <= _LARGEST_EXPONENT:
            return False
        if not self.total:
            return self.minimum == math.inf and self.maximum == -math.inf
        highest = (len(self.used_counts()) - 1) * self.bin_width
        return self.minimum <= self.maximum and highest <= self.peak < math.inf

    def copy(self) -> Histogram:
        counts: NDArray[np.int64] = np.array(self.counts)
        return Histogram(self.exponent, counts, self.minimum, self.maximum)

    @property
    def peak(self) -> float:
        """The largest magnitude; 0 before there are any elements."""
        return max(-self.minimum, self.maximum, 0.0)

    @property
    def bin_width(self) -> float:
        return math.ldexp(1.0, self.exponent - _BIN_BITS)

    @property
    def total(self) -> int:
        """How many elements were counted."""
        return int(self.counts.sum())

    def used_counts(self) -> NDArray[np.int64]:
        """The counts up to that of the largest magnitude."""
        filled = np.flatnonzero(self.counts)
        return self.counts[: filled[-1] + 1 if len(filled) else 0]

    def add(self, values: NDArray[np.floating[Any]]) -> None:
        """Count the elements of ``values``, see ``count``.

        Raises: NonFiniteError, with nothing counted, where some are NaN or infinite.
        """
        self.add_counts(count(values))

    def add_counts(self, counted: Counts) -> None:
        """Count what ``counted`` has counted."""
        self._widen(counted.minimum, counted.maximum)
        self.grow(counted.exponent)
        self.counts += _merged_bins(counted.magnitudes(), self.exponent - counted.exponent)

    def merge(self, other: Histogram) -> None:
        """Count what ``other`` has counted; ``other`` stays as it is."""
        self._widen(other.minimum, other.maximum)
        self.grow(other.exponent)
        self.counts += _merged_bins(other.counts, self.exponent - other.exponent)

    def grow(self, exponent: int) -> None:
        """Make the range at least 2^``exponent``."""
        if exponent > self.exponent:
            self.counts = _merged_bins(self.counts, exponent - self.exponent)
            self.exponent = exponent

    def _widen(self, low: float, high: float) -> None:
        # + 0.0: of two equal zeros the first would win, with its sign.
        self.minimum = min(self.minimum, low) + 0.0
        self.maximum = max(self.maximum, high) + 0.0


def _exponent_above(peak: float) -> int:
    """The least exponent whose power of two is above ``peak``."""
    return max(math.frexp(peak)[1], LEAST_EXPONENT) if peak > 0 else LEAST_EXPONENT


def _merged_bins(counts: NDArray[np.int64], doublings: int) -> NDArray[np.int64]:
    """The counts where the range is 2^``doublings`` times as wide."""
    if doublings == 0:
        return counts
    merged = _no_counts()
    run = 1 << min(doublings, _BIN_BITS)
    merged[: BINS // run] = counts.reshape(-1, run).sum(axis=1)
    return merged
