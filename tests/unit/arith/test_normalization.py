"""Local response normalization: reference against unbounded integers, fast against it."""

from __future__ import annotations

from typing import Any

import exact_integers as exact
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from strategies import look_up_tables, signed

from nvdla_ir.arith import fast, reference
from nvdla_ir.arith.errors import OperandError
from nvdla_ir.arith.parameters import (
    LookUpFunction,
    LookUpPriority,
    LookUpTable,
    Normalization,
    Slope,
)


@st.composite
def normalizations(draw: st.DrawFn) -> Normalization:
    bits = draw(st.sampled_from((10, 20, 38)))
    return Normalization(
        size=draw(st.sampled_from((3, 5, 7, 9))),
        table=draw(look_up_tables(bits=bits, largest_select=31)),
        input_offset=draw(signed(8)),
        input_scale=draw(signed(16) | st.just(1)),
        input_shift=draw(st.integers(0, 31) | st.just(0)),
        output_offset=draw(signed(25) | st.just(0)),
        output_scale=draw(signed(16)),
        output_shift=draw(st.integers(0, 63) | st.integers(0, 30)),
        bypass_square_sum=draw(st.booleans()),
        bypass_multiply=draw(st.booleans()),
    )


@st.composite
def cubes(draw: st.DrawFn) -> NDArray[np.int8]:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    low, high = draw(st.sampled_from([(-128, 127), (0, 127), (-128, -1), (-128, -128), (127, 127)]))
    channels = draw(st.integers(1, 12))
    return rng.integers(low, high + 1, (channels, 2, 3)).astype(np.int8)


@given(x=cubes(), layer=normalizations())
@settings(max_examples=100, deadline=None)
def test_reference_equals_unbounded_integers(x: NDArray[np.int8], layer: Normalization) -> None:
    result = reference.local_response_normalization(x, layer)
    assert result.values.dtype == np.int8
    kinds: list[str] = []
    saturated = 0
    for y in range(x.shape[1]):
        for column in range(x.shape[2]):
            expected = exact.normalize(x[:, y, column].tolist(), layer)
            assert result.values[:, y, column].tolist() == [value for value, _, _ in expected]
            kinds += [kind for _, kind, _ in expected]
            saturated += sum(clipped for _, _, clipped in expected)
    for name in ("underflow", "overflow", "hybrid", "le_hit", "lo_hit"):
        assert getattr(result.counters, name) == kinds.count(name)
    assert result.saturated == saturated


@given(x=cubes(), layer=normalizations(), repeat=st.sampled_from((1, 30)))
@settings(max_examples=100, deadline=None)
def test_fast_equals_reference(x: NDArray[np.int8], layer: Normalization, repeat: int) -> None:
    x = np.stack([np.tile(x, (1, repeat, 2)), np.tile(x[::-1], (1, repeat, 2))])
    result = fast.local_response_normalization(x, layer)
    expected = reference.local_response_normalization(x, layer)
    assert result.values.dtype == np.int8
    np.testing.assert_array_equal(result.values, expected.values)
    assert result.counters == expected.counters
    assert result.saturated == expected.saturated


@pytest.mark.parametrize("offset", [-128, -1, 0, 1, 14, 15, 20, 37, 38, 44, 45, 46, 127])
@pytest.mark.parametrize("slope", [Slope(-3, 15), Slope(1, 15), Slope(7, -16), Slope()])
@pytest.mark.parametrize("start", [-(1 << 37), -1000, 0, 60, 1 << 20])
def test_exponential_underflow(offset: int, slope: Slope, start: int) -> None:
    table = LookUpTable(
        le_table=list(range(65)),
        lo_table=[0] * 257,
        le_index_offset=offset,
        le_start=start,
        le_underflow=slope,
        lo_start=(1 << 37) - 1,
    )
    layer = Normalization(size=3, table=table, bypass_multiply=True, output_scale=3, output_shift=8)
    x = np.array([0, 1, 7, 8, -128, 127], np.int8).reshape(6, 1, 1)
    expected = [value for value, _, _ in exact.normalize(x.ravel().tolist(), layer)]
    for module in (reference, fast):
        result = module.local_response_normalization(x, layer)
        assert result.values.ravel().tolist() == expected


def test_a_lossless_pass_through() -> None:
    table = LookUpTable(
        le_table=list(range(65)),
        lo_table=list(range(257)),
        le_function=LookUpFunction.LINEAR,
        underflow_priority=LookUpPriority.LO,
        overflow_priority=LookUpPriority.LO,
        hybrid_priority=LookUpPriority.LO,
    )
    layer = Normalization(
        size=3,
        table=table,
        input_offset=-128,
        output_offset=128,
        bypass_square_sum=True,
        bypass_multiply=True,
    )
    x = np.arange(-128, 128).astype(np.int8).reshape(4, 8, 8)
    for module in (reference, fast):
        result = module.local_response_normalization(x, layer)
        np.testing.assert_array_equal(result.values, x)
        assert result.saturated == 0


@pytest.mark.parametrize("module", [reference, fast])
def test_what_is_no_cube_is_refused(module: Any) -> None:
    table = LookUpTable(le_table=[0] * 65, lo_table=[0] * 257)
    with pytest.raises(OperandError, match="int8"):
        module.local_response_normalization(
            np.zeros((1, 1, 1), int), Normalization(size=3, table=table)
        )
    with pytest.raises(OperandError, match="size must be 3, 5, 7 or 9, not 4"):
        Normalization(size=4, table=table)
