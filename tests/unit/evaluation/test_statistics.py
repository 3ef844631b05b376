"""Sums and counts against what numpy says of all the data at once."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nvdla_ir.evaluation.statistics import CodeCounts, ErrorSums, HitCounts, RangeCounts


def test_errors_of_parts_are_those_of_the_whole() -> None:
    generator = np.random.default_rng(3)
    reference = generator.normal(size=(50, 7)).astype(np.float32)
    compared = reference + generator.normal(scale=0.01, size=(50, 7)).astype(np.float32)
    sums = ErrorSums()
    for start in range(0, 50, 13):
        sums.add(reference[start : start + 13], compared[start : start + 13])
    exact, found = reference.astype(np.float64).ravel(), compared.astype(np.float64).ravel()
    noise = found - exact
    assert sums.elements == 350
    assert sums.sqnr == pytest.approx(10 * np.log10((exact**2).sum() / (noise**2).sum()))
    norms = np.linalg.norm(exact) * np.linalg.norm(found)
    assert sums.cosine == pytest.approx(float(exact @ found / norms))
    assert sums.largest == np.abs(noise).max()
    assert sums.is_equal is None


@pytest.mark.parametrize(
    ("reference", "compared", "sqnr", "cosine"),
    [
        ([0.0, 0.0], [0.0, 0.0], math.inf, 1.0),
        ([0.0, 0.0], [1.0, 0.0], -math.inf, 0.0),
        ([1.0, 2.0], [0.0, 0.0], 0.0, 0.0),
        ([1.0, 2.0], [-1.0, -2.0], 10 * math.log10(1 / 4), -1.0),
        ([1e-300, 0.0], [1e-300, 0.0], math.inf, 1.0),
    ],
)
def test_errors_at_the_extremes(
    reference: list[float], compared: list[float], sqnr: float, cosine: float
) -> None:
    sums = ErrorSums()
    sums.add(np.array(reference), np.array(compared))
    assert sums.sqnr == pytest.approx(sqnr)
    assert sums.cosine == pytest.approx(cosine)


def test_integers_do_not_overflow() -> None:
    sums = ErrorSums()
    sums.add(np.full(4, -128, np.int8), np.full(4, 127, np.int8), 4)
    assert (sums.largest, sums.noise) == (255.0, 4 * 255.0**2)
    assert sums.is_equal is False


def test_bits_of_parts() -> None:
    sums = ErrorSums()
    sums.add(np.ones(3), np.ones(3), 0)
    assert sums.is_equal is True
    sums.add(np.ones(3), np.zeros(3), 3)
    assert sums.differing == 3


def test_codes() -> None:
    codes = CodeCounts()
    assert codes.used == 0
    codes.add(np.array([[-128, 0, 0, 5]], np.int8))
    codes.add(np.array([[5, 5, 5, 7]], np.int8))
    assert codes.used == 4
    assert codes.span == (-128, 7)
    assert codes.counts[5 + 128] == 4


@pytest.mark.parametrize("sign", [1, -1])
def test_ranges_of_one_signed_data(sign: int) -> None:
    """Codes -128 to 127 of scale 0.1; what rounds to a code outside is clipped."""
    data = sign * np.linspace(0, 40, 4001)
    counts = RangeCounts(-12.8, 12.7)
    for part in np.split(data, [100, 4000]):
        counts.add(part)
    codes = np.sign(data / 0.1) * np.floor(np.abs(data / 0.1) + 0.5)
    wanted = np.count_nonzero((codes < -128) | (codes > 127))
    # Exactly half a step beyond is rounded away from zero or not, by the last bit of 0.1.
    assert abs(counts.clipped - wanted) <= 1
    assert counts.clipped_share == counts.clipped / 4001
    assert counts.counts.sum() + counts.below + counts.above == 4001
    assert counts.below == (np.count_nonzero(data < -25.6))
    assert counts.above == (np.count_nonzero(data > 25.4))
    assert (counts.minimum, counts.maximum) == (data.min(), data.max())


def test_hits() -> None:
    scores = np.array([[3, 2, 1, 0, 0, 0, 0], [0, 1, 1, 9, 8, 7, 6], [1, 1, 1, 1, 1, 1, 1.0]])
    reference = np.array([[9, 0, 0, 0, 0, 0, 0], [9, 0, 0, 0, 0, 0, 0], [9, 0, 0, 0, 0, 0, 0.0]])
    hits = HitCounts()
    hits.add(scores[:1], reference[:1], np.array([0]))
    hits.add(scores[1:], reference[1:], np.array([2, 5]))
    # Second image: class 2 is behind 3, 4, 5, 6 and, at equal score, 1. Third: all equal.
    assert hits.percentages() == {
        "top1": pytest.approx(100 / 3),
        "top5": pytest.approx(100 / 3),
        "agreement": pytest.approx(200 / 3),
    }


def test_hits_without_labels_and_with_few_classes() -> None:
    hits = HitCounts()
    hits.add(np.eye(3), np.eye(3), None)
    assert hits.percentages() == {"top1": None, "top5": None, "agreement": 100.0}
    hits.add(np.eye(3), np.eye(3), np.array([0, 1, 0]))
    assert hits.percentages()["top5"] is None
    assert hits.percentages()["top1"] == pytest.approx(200 / 3)


def test_counts_merge() -> None:
    generator = np.random.default_rng(5)
    data = generator.normal(size=(6, 30))
    whole, first, second = (RangeCounts(-1.0, 1.0) for _ in range(3))
    whole.add(data)
    first.add(data[:2])
    second.add(data[2:])
    first.merge(second)
    assert first.clipped == whole.clipped
    np.testing.assert_array_equal(first.counts, whole.counts)
    assert (first.minimum, first.maximum) == (whole.minimum, whole.maximum)
