"""Real factors as multiplier and shift; rounding; the shift of a bias."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nvdla_ir.arith.errors import OperandError
from nvdla_ir.arith.fixed_point import (
    LARGEST_MULTIPLIER,
    LARGEST_SHIFT,
    FixedPoint,
    FixedPointVector,
    fixed_point,
    fixed_point_vector,
    left_shift_for,
    round_half_away,
    rounded_half_away,
)

FACTORS = st.floats(2.0**-62, 32767.0) | st.floats(-32767.0, -(2.0**-62))


def rounded(value: Fraction) -> int:
    magnitude = math.floor(abs(value) + Fraction(1, 2))
    return -magnitude if value < 0 else magnitude


@pytest.mark.parametrize(
    "value, expected",
    [(0.5, 1), (-0.5, -1), (1.5, 2), (-2.5, -3), (0.49, 0), (-0.49, 0), (3.0, 3), (0.0, 0)],
)
def test_ties_go_away_from_zero(value: float, expected: int) -> None:
    assert round_half_away(value) == expected


@given(
    st.lists(
        st.floats(-(2.0**62), 2.0**62)
        | st.floats(-1.0, 1.0)
        | st.integers(-(1 << 53), 1 << 53).map(lambda halves: halves / 2)
        | st.sampled_from([0.49999999999999994, -0.49999999999999994, 2.0**52 + 1, -0.0, 5e-324])
    )
)
def test_arrays_are_rounded_as_numbers_are(values: list[float]) -> None:
    expected = [rounded(Fraction(value)) for value in values]
    assert [round_half_away(value) for value in values] == expected
    assert rounded_half_away(np.array(values, np.float64)).tolist() == expected


@given(FACTORS)
def test_no_legal_pair_is_nearer(factor: float) -> None:
    found = fixed_point(factor)
    exact = Fraction(factor)
    error = abs(Fraction(found.multiplier, 1 << found.shift) - exact)
    assert abs(found.multiplier) <= LARGEST_MULTIPLIER
    assert Fraction(found.value) == Fraction(found.multiplier, 1 << found.shift)
    for shift in range(LARGEST_SHIFT + 1):
        multiplier = rounded(exact * (1 << shift))
        if abs(multiplier) <= LARGEST_MULTIPLIER:
            assert error <= abs(Fraction(multiplier, 1 << shift) - exact)


@given(st.lists(FACTORS, min_size=1, max_size=6))
def test_channels_share_the_shift_of_the_largest(factors: list[float]) -> None:
    try:
        found = fixed_point_vector(factors)
    except OperandError:
        shift = fixed_point(max(factors, key=abs)).shift
        assert any(rounded(Fraction(factor) * (1 << shift)) == 0 for factor in factors)
        return
    assert found.shift == fixed_point(max(factors, key=abs)).shift
    for factor, multiplier in zip(factors, found.multipliers, strict=True):
        assert multiplier == rounded(Fraction(factor) * (1 << found.shift)) != 0


@pytest.mark.parametrize(
    "factor, expected",
    [
        (1.0, FixedPoint(16384, 14)),
        (-1.0, FixedPoint(-16384, 14)),
        (32767.0, FixedPoint(32767, 0)),
        (32767.4, FixedPoint(32767, 0)),
        (16383.75, FixedPoint(16384, 0)),  # 32767.5 would be one too many
        (2.0**-63, FixedPoint(1, 63)),
        (0.0, FixedPoint(0, 0)),
    ],
)
def test_factors_at_the_edges(factor: float, expected: FixedPoint) -> None:
    assert fixed_point(factor) == expected


@pytest.mark.parametrize("factor", [32767.5, -40000.0, math.inf, math.nan])
def test_a_factor_above_the_largest_multiplier(factor: float) -> None:
    with pytest.raises(OperandError, match="above 32767, the largest multiplier"):
        fixed_point(factor)


def test_a_factor_below_the_largest_shift() -> None:
    message = "factor 1e-20 is too small: with a shift of 63, the largest, it becomes 0"
    with pytest.raises(OperandError, match=message):
        fixed_point(1e-20)
    with pytest.raises(OperandError, match=message):
        fixed_point_vector([1e-20, 0.0], may_vanish=True)


def test_a_factor_beside_a_much_larger_one() -> None:
    message = "factor 1e-06 is too small: with a shift of 14, that of the largest, 1, it becomes 0"
    with pytest.raises(OperandError, match=message):
        fixed_point_vector([1.0, 1e-6])
    assert fixed_point_vector([1.0, 1e-6], may_vanish=True) == FixedPointVector((16384, 0), 14)


def test_zeros_stay_zeros() -> None:
    assert fixed_point_vector([0.0, -0.5]) == FixedPointVector((0, -16384), 15)
    assert fixed_point_vector([0.0, 0.0]) == FixedPointVector((0, 0), 0)
    assert fixed_point_vector([]).multipliers == ()
    assert FixedPointVector((0, -16384), 15).values == (0.0, -0.5)


@given(st.lists(st.integers(-(1 << 40), 1 << 40), max_size=5), st.sampled_from([8, 16]))
def test_the_shift_of_a_bias_is_the_smallest_that_fits(values: list[int], bits: int) -> None:
    limit = (1 << (bits - 1)) - 1

    def fits(shift: int) -> bool:
        return all(abs(rounded(Fraction(value, 1 << shift))) <= limit for value in values)

    shift = left_shift_for(values, bits)
    assert fits(shift)
    assert shift == 0 or not fits(shift - 1)


@pytest.mark.parametrize(
    "value, shift", [(32767, 0), (32768, 1), (65534, 1), (65535, 2), (-32768, 1), (0, 0)]
)
def test_a_carry_takes_one_more(value: int, shift: int) -> None:
    assert left_shift_for([value]) == shift
