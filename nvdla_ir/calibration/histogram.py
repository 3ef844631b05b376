"""Histograms of magnitudes that can be merged exactly.

The range of a histogram is always a power of two, and it is the least one above the largest
magnitude seen. It grows by merging neighbouring bins, which loses nothing but resolution: the bin
of x after growing, floor(floor(x / w) / 2), is floor(x / (2 w)). So the state depends on the
values alone: not on their order, nor on how they were divided among workers.
"""

# numpy's stubs leave parts of many overloads unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import math
from typing import Any

import numpy as np
from attrs import define, field
from numpy.typing import NDArray

BINS = 2048
_BIN_BITS = 11

LEAST_EXPONENT = -100
"""Ranges below 2^-100 are not told apart: float32 must hold the factor from values to bins."""

_BLOCK = 1 << 15
"""How many elements are counted at a time, so that they stay in the cache."""


class NonFiniteError(ValueError):
    """A tensor has NaN or infinite elements."""


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
        """Count the elements of ``values`` (float32 or float64, any shape).

        Raises: NonFiniteError, with nothing counted, where some are NaN or infinite.
        """
        if not values.size:
            return
        low, high = float(values.min()), float(values.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise NonFiniteError
        self._widen(low, high)
        self.grow(_exponent_above(max(-low, high)))
        factor = values.dtype.type(math.ldexp(1.0, _BIN_BITS - self.exponent))
        flat = values.reshape(-1)
        size = min(_BLOCK, flat.size)
        magnitudes = np.empty(size, values.dtype)
        narrow, bins = np.empty(size, np.int32), np.empty(size, np.intp)
        for start in range(0, flat.size, _BLOCK):
            block = flat[start : start + _BLOCK]
            scaled, short, index = (
                magnitudes[: block.size],
                narrow[: block.size],
                bins[: block.size],
            )
            np.abs(block, out=scaled)
            np.multiply(scaled, factor, out=scaled)
            # To int32 first: quicker than to int64 at once.
            np.copyto(short, scaled, casting="unsafe")
            np.copyto(index, short)
            self.counts += np.bincount(index, minlength=BINS)

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
