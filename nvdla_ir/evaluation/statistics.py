"""Sums over many images from which the figures of a comparison follow. They take constant memory,
and the sums of two parts of the data, merged, are those of all of it."""

# numpy's stubs leave parts of many overloads unknown.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from attrs import define, field
from numpy.typing import NDArray

Array = NDArray[Any]
Counts = NDArray[np.int64]

CODES = 256
"""How many codes an 8-bit tensor has."""
RANGE_BINS = 512
"""Bins of a histogram, over twice the calibrated range."""


@define(eq=False)
class ErrorSums:
    """How far one tensor is from another, its reference.

    elements:    how many were compared
    differing:   how many are not equal; None where the two cannot be equal bit for bit, since they
                 are of different types
    signal, noise: sums of squares of the reference and of the difference
    other, product: sums of squares of the compared tensor, and of the products with the reference
    largest:     the largest magnitude of a difference
    """

    elements: int = 0
    differing: int | None = None
    signal: float = 0.0
    noise: float = 0.0
    other: float = 0.0
    product: float = 0.0
    largest: float = 0.0

    def add(self, reference: Array, compared: Array, differing: int | None = None) -> None:
        """Add tensors with equally many elements, in the same order."""
        expected = np.ravel(reference).astype(np.float64)
        found = np.ravel(compared).astype(np.float64)
        difference = found - expected
        sums = ErrorSums(
            expected.size,
            differing,
            float(np.dot(expected, expected)),
            float(np.dot(difference, difference)),
            float(np.dot(found, found)),
            float(np.dot(expected, found)),
            float(np.abs(difference).max(initial=0.0)),
        )
        self.merge(sums)

    def merge(self, other: ErrorSums) -> None:
        """Add the sums of more images."""
        if other.differing is not None:
            self.differing = (self.differing or 0) + other.differing
        self.elements += other.elements
        self.signal += other.signal
        self.noise += other.noise
        self.other += other.other
        self.product += other.product
        # Unlike max, this keeps a NaN.
        self.largest = float(np.maximum(self.largest, other.largest))

    @property
    def sqnr(self) -> float:
        """Signal to quantization noise: 10 log10 (signal / noise), in dB; infinite where the two
        are equal, minus infinite where there is noise but no signal."""
        if self.noise == 0:
            return math.inf
        if self.signal == 0:
            return -math.inf
        return 10 * math.log10(self.signal / self.noise)

    @property
    def cosine(self) -> float:
        """The cosine of the angle between the two as vectors, -1 to 1: 1 where both are zero, 0
        where one is."""
        if self.signal == 0 or self.other == 0:
            return 1.0 if self.signal == self.other else 0.0
        cosine = self.product / math.sqrt(self.signal) / math.sqrt(self.other)
        return min(1.0, max(-1.0, cosine))

    @property
    def is_equal(self) -> bool | None:
        """Whether the two are equal bit for bit; None where their types differ."""
        return None if self.differing is None else self.differing == 0


def _no_code_counts() -> Counts:
    return np.zeros(CODES, np.int64)


def _no_range_counts() -> Counts:
    return np.zeros(RANGE_BINS, np.int64)


@define(eq=False)
class CodeCounts:
    """How often each code of an 8-bit tensor occurs; ``low`` is the smallest code there is."""

    low: int = -(CODES // 2)
    counts: Counts = field(factory=_no_code_counts)

    def add(self, stored: Array) -> None:
        self.counts += np.bincount(np.ravel(stored).astype(np.int64) - self.low, minlength=CODES)

    def merge(self, other: CodeCounts) -> None:
        self.counts += other.counts

    @property
    def used(self) -> int:
        """How many of the 256 codes occur."""
        return int(np.count_nonzero(self.counts))

    @property
    def span(self) -> tuple[int, int]:
        """The smallest and the largest code that occur; (0, 0) before any was added."""
        (present,) = np.nonzero(self.counts)
        if not present.size:
            return 0, 0
        return int(present[0]) + self.low, int(present[-1]) + self.low


@define(eq=False)
class RangeCounts:
    """How the reals of a tensor lie about the range that its codes can hold.

    low, high:     the reals of the smallest and the largest code
    counts:        of equal bins over the range twice as wide, ``2 * low`` to ``2 * high``
    below, above:  how many lie outside of that
    clipped:       how many are beyond the outermost code by more than half a step: saturation
    minimum, maximum: of all reals seen
    """

    low: float
    high: float
    elements: int = 0
    counts: Counts = field(factory=_no_range_counts)
    below: int = 0
    above: int = 0
    clipped: int = 0
    minimum: float = math.inf
    maximum: float = -math.inf

    def add(self, reals: Array) -> None:
        flat = np.ravel(reals)
        start, end = self.edges
        half_step = (self.high - self.low) / (CODES - 1) / 2
        self.elements += flat.size
        self.counts += np.histogram(flat, RANGE_BINS, (start, end))[0]
        self.below += int(np.count_nonzero(flat < start))
        self.above += int(np.count_nonzero(flat > end))
        beyond = (flat < self.low - half_step) | (flat >= self.high + half_step)
        self.clipped += int(np.count_nonzero(beyond))
        self.minimum = min(self.minimum, float(flat.min(initial=math.inf)))
        self.maximum = max(self.maximum, float(flat.max(initial=-math.inf)))

    def merge(self, other: RangeCounts) -> None:
        self.elements += other.elements
        self.counts += other.counts
        self.below += other.below
        self.above += other.above
        self.clipped += other.clipped
        self.minimum = min(self.minimum, other.minimum)
        self.maximum = max(self.maximum, other.maximum)

    @property
    def edges(self) -> tuple[float, float]:
        """Where the bins start and end."""
        return 2 * self.low, 2 * self.high

    @property
    def clipped_share(self) -> float:
        """The part of all elements that saturates, 0 to 1."""
        return self.clipped / self.elements if self.elements else 0.0


def places_of(scores: Array, labels: Array) -> Array:
    """How many classes come before the label of each image: ``scores`` [N, classes], ``labels``
    [N]. Of equal scores the one of the lower class comes first."""
    own: Array = np.take_along_axis(scores, labels.reshape(-1, 1), axis=1)
    earlier = np.arange(scores.shape[1]) < labels.reshape(-1, 1)
    return np.count_nonzero((scores > own) | ((scores == own) & earlier), axis=1)


@define(eq=False)
class HitCounts:
    """How often a classifier is right.

    top1, top5: images whose label is among the first one and five; ``labelled`` counts those that
                have one
    agreeing:   images of the same first class as the reference has; ``images`` counts all
    classes:    how many classes there are; of five and less, all are among the first five
    """

    images: int = 0
    labelled: int = 0
    top1: int = 0
    top5: int = 0
    agreeing: int = 0
    classes: int = 0

    def add(self, scores: Array, reference: Array, labels: Array | None) -> None:
        """Add scores [N, classes], those of the reference, and the labels [N] where there are
        any."""
        self.images += len(scores)
        self.classes = scores.shape[1]
        self.agreeing += int(np.count_nonzero(scores.argmax(1) == reference.argmax(1)))
        if labels is None:
            return
        places = places_of(scores, labels)
        self.labelled += len(scores)
        self.top1 += int(np.count_nonzero(places < 1))
        self.top5 += int(np.count_nonzero(places < 5))

    def merge(self, other: HitCounts) -> None:
        self.images += other.images
        self.labelled += other.labelled
        self.top1 += other.top1
        self.top5 += other.top5
        self.agreeing += other.agreeing
        self.classes = self.classes or other.classes

    def percentages(self) -> Mapping[str, float | None]:
        """``top1``, ``top5`` (None without labels, and of no use with five classes or less) and
        ``agreement``, in percent."""
        labelled = self.labelled
        return {
            "top1": 100 * self.top1 / labelled if labelled else None,
            "top5": 100 * self.top5 / labelled if labelled and self.classes > 5 else None,
            "agreement": 100 * self.agreeing / self.images if self.images else None,
        }
