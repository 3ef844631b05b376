"""Rounding, saturation, wrapping against unbounded integers."""

from __future__ import annotations

from typing import Any

import exact_integers as exact
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import signed, ties

from nvdla_ir.arith import fast, reference
from nvdla_ir.arith.errors import OperandError

both = pytest.mark.parametrize("module", [reference, fast])
LARGEST = 1 << 62


@st.composite
def shifted(draw: st.DrawFn) -> tuple[list[int], int]:
    shift = draw(st.integers(0, 70))
    value = signed(63) | ties(min(shift, 62), 63) | st.sampled_from((-LARGEST, LARGEST))
    return draw(st.lists(value, min_size=1, max_size=20)), shift


@both
@given(case=shifted())
def test_round_shift(module: Any, case: tuple[list[int], int]) -> None:
    values, shift = case
    expected = [exact.divide_rounded(v, shift) for v in values]
    result = module.round_shift(np.array(values), shift)
    assert result.dtype == np.int64
    assert result.tolist() == expected
    assert module.round_shift(values[0], shift) == expected[0]


@both
@pytest.mark.parametrize("shift", [1, 61, 62, 63, 64])
def test_round_shift_of_the_largest_values(module: Any, shift: int) -> None:
    values = [LARGEST, LARGEST - 1, LARGEST >> 1, -LARGEST, 1 - LARGEST]
    expected = [exact.divide_rounded(v, shift) for v in values]
    assert module.round_shift(np.array(values), shift).tolist() == expected


@both
def test_round_shift_leaves_its_operand_alone(module: Any) -> None:
    values = np.array([5, -5])
    assert module.round_shift(values, 1).tolist() == [3, -3]
    assert values.tolist() == [5, -5]


@given(st.lists(signed(63), min_size=1, max_size=20), st.integers(1, 63))
def test_saturate_and_wrap(values: list[int], bits: int) -> None:
    array = np.array(values)
    assert reference.saturate(array, bits).tolist() == [exact.clamp(v, bits) for v in values]
    assert reference.wrap(array, bits).tolist() == [exact.low_bits(v, bits) for v in values]


@given(
    st.lists(signed(16) | signed(49) | signed(63), min_size=1, max_size=20),
    st.integers(0, 80),
    st.integers(1, 63) | st.just(32),
)
def test_shift_left_saturate(values: list[int], shift: int, bits: int) -> None:
    result = reference.shift_left_saturate(np.array(values), shift, bits)
    assert result.tolist() == [exact.clamp(v << shift, bits) for v in values]


@both
def test_what_is_no_shift_or_no_integer_is_refused(module: Any) -> None:
    with pytest.raises(OperandError, match="at least 0, not -1"):
        module.round_shift(np.array([1]), -1)
    with pytest.raises(OperandError, match="at least 0, not -2"):
        module.shift_left_saturate(np.array([1]), -2)
    with pytest.raises(OperandError, match="float64"):
        module.round_shift(np.array([1.5]), 1)
    with pytest.raises(OperandError, match=r"bits must be in \[1, 64\], not 65"):
        module.saturate(np.array([1]), 65)
