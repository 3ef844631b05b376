"""Histograms: what they count, and that order and division of the data change nothing."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nvdla_ir.calibration.histogram import BINS, LEAST_EXPONENT, Histogram, NonFiniteError, count

Reals = NDArray[np.floating[Any]]

# Powers of two and their neighbours are the edges of bins; the extremes are float32's.
EDGES = [0.0, -0.0, 1.0, -1.0, 0.5, 2.0**-120, 1e-45, 2.0**127, np.nextafter(np.float32(1), 0)]
numbers = st.one_of(
    st.floats(width=32, allow_nan=False, allow_infinity=False),
    st.floats(-4.0, 4.0, width=32),
    st.sampled_from([float(edge) for edge in EDGES]),
)
parts_of_values = st.lists(st.lists(numbers, max_size=12), min_size=1, max_size=6)


def histogram_of(*parts: Reals) -> Histogram:
    histogram = Histogram()
    for part in parts:
        histogram.add(part)
    return histogram


def state(histogram: Histogram) -> tuple[Any, ...]:
    ends = (histogram.minimum, histogram.maximum)
    signs = tuple(math.copysign(1.0, end) for end in ends)
    return histogram.exponent, histogram.counts.tolist(), ends, signs


def expected(values: Reals) -> tuple[int, list[int]]:
    """Exponent and counts from the definition, in Python's exact integers and fractions."""
    peak = max(abs(float(value)) for value in values)
    exponent = LEAST_EXPONENT
    while 2.0**exponent <= peak and exponent < 128:
        exponent += 1
    counts = [0] * BINS
    for value in values:
        numerator, denominator = abs(float(value)).as_integer_ratio()
        shift = 11 - exponent
        scaled = (numerator << shift, denominator) if shift >= 0 else (numerator, denominator)
        counts[scaled[0] // (scaled[1] << max(-shift, 0))] += 1
    return exponent, counts


@given(st.lists(numbers, min_size=1, max_size=40), st.sampled_from([np.float32, np.float64]))
def test_bins_are_those_of_the_definition(values: list[float], dtype: type[Any]) -> None:
    array = np.array(values, dtype)
    histogram = histogram_of(array)
    assert (histogram.exponent, histogram.counts.tolist()) == expected(array)
    assert (histogram.minimum, histogram.maximum) == (array.min(), array.max())
    assert histogram.total == len(values)


@settings(max_examples=200)
@given(parts_of_values, st.data())
def test_any_order_and_any_division_give_the_same_state(
    parts: list[list[float]], data: st.DataObject
) -> None:
    arrays = [np.array(part, np.float32) for part in parts]
    whole = histogram_of(np.concatenate(arrays))
    shuffled = data.draw(st.permutations(arrays))
    assert state(histogram_of(*shuffled)) == state(whole)
    # Some parts are counted by one worker, some by others, and merged as a tree or as a chain.
    workers = [histogram_of(array) for array in shuffled]
    while len(workers) > 1:
        first = data.draw(st.integers(0, len(workers) - 2))
        absorbed = workers.pop(first + 1)
        before = state(absorbed)
        workers[first].merge(absorbed)
        assert state(absorbed) == before
    assert state(workers[0]) == state(whole)


def test_more_elements_than_a_block_are_all_counted() -> None:
    values = np.random.default_rng(1).standard_normal((3, 41, 1000)).astype(np.float32)
    assert state(histogram_of(values)) == state(histogram_of(*values))
    assert histogram_of(values).total == values.size


def test_views_with_gaps_are_counted_as_their_elements() -> None:
    values = np.arange(24, dtype=np.float32).reshape(4, 6)
    assert state(histogram_of(values[::2, 1::2].T)) == state(histogram_of(values[::2, 1::2].copy()))


def test_an_empty_array_changes_nothing() -> None:
    histogram = histogram_of(np.zeros((0, 3), np.float32))
    assert state(histogram) == state(Histogram())
    assert histogram.peak == 0.0


def test_the_range_is_the_least_power_of_two_above_the_peak() -> None:
    assert histogram_of(np.array([4.0], np.float32)).exponent == 3
    assert histogram_of(np.array([-3.999], np.float32)).exponent == 2


@settings(max_examples=200)
@given(st.lists(numbers, min_size=1, max_size=30), st.booleans())
def test_a_relu_counted_from_its_input_is_as_counted_itself(
    values: list[float], negative: bool
) -> None:
    array = np.array(values, np.float32)
    array = -np.abs(array) if negative else array
    known = count(array).rectified()
    direct = histogram_of(np.maximum(array, 0))
    if known is None:
        assert direct.exponent < histogram_of(array).exponent
    else:
        derived = Histogram()
        derived.add_counts(known)
        assert state(derived) == state(direct)


@pytest.mark.parametrize("fault", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_none_are_refused_and_nothing_is_counted(fault: float) -> None:
    histogram = histogram_of(np.array([1.0, -2.0], np.float32))
    before = state(histogram)
    with pytest.raises(NonFiniteError):
        histogram.add(np.array([0.0, fault, 9.0], np.float32))
    assert state(histogram) == before
