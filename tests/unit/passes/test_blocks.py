"""Large arrays computed block by block: exact, whatever the blocks."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from nvdla_ir.passes.blocks import BLOCK_ELEMENTS, largest_magnitudes, sums
from nvdla_ir.passes.quantize_weights import quantize

LONG = 2 * BLOCK_ELEMENTS + 3


@pytest.mark.parametrize(
    "rows",
    [
        np.full((2, LONG), -128, np.int8),
        np.full((2, LONG), 255, np.uint8),
        np.resize(np.array([127, -128, -128], np.int8), (3, LONG)),
        np.arange(-600, 600).reshape(400, 3) * 1_000_003,
    ],
    ids=["lowest", "largest", "mixed", "wide"],
)
def test_sums_are_exact(rows: NDArray[np.integer]) -> None:
    total, magnitudes = sums(rows)
    exact = [[int(value) for value in row] for row in rows]
    assert total.tolist() == list(map(sum, exact))
    assert magnitudes.tolist() == [sum(map(abs, row)) for row in exact]


def test_the_largest_magnitude_is_that_of_a_negative_number() -> None:
    rows = np.zeros((2, LONG), np.float32)
    rows[0, -1], rows[1, 0] = -3.5, np.nan
    assert largest_magnitudes(rows)[0] == 3.5
    assert np.isnan(largest_magnitudes(rows)[1])


@pytest.mark.parametrize("least_squares", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_ties_of_weights_go_away_from_zero(dtype: type[np.floating], least_squares: bool) -> None:
    halves = np.arange(-254, 255)
    weights: NDArray[np.floating] = np.resize(halves * 0.5, (2, len(halves))).astype(dtype)
    stored, _ = quantize(weights, True, least_squares=least_squares)
    if not least_squares:
        expected = [int(np.sign(h)) * ((abs(int(h)) + 1) // 2) for h in halves]
        assert stored[0].tolist() == expected
    assert stored.min() == -127 and stored.max() == 127


def test_weights_too_small_for_their_scale_saturate() -> None:
    """A scale of subnormal numbers does not cover the largest weight."""
    ulp = 5e-324
    stored, _ = quantize(np.array([[164 * ulp, -164 * ulp, ulp]]), per_channel=False)
    assert stored.tolist() == [[127, -127, 1]]
