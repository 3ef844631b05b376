"""Winograd convolution: against direct convolution, single elements, and fast against reference."""

from __future__ import annotations

from typing import Any

import exact_integers as exact
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nvdla_ir.arith import fast, reference
from nvdla_ir.arith.errors import OperandError

both = pytest.mark.parametrize("module", [reference, fast])

_WEIGHT_TRANSFORM = np.array([[2, 0, 0], [1, 1, 1], [1, -1, 1], [0, 0, 2]])
"""Twice the transform of a 3x3 kernel, so that it stays an integer."""


@both
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 1000), channels=st.integers(1, 5), kernels=st.integers(1, 4))
def test_it_is_a_convolution_where_nothing_is_clamped(
    module: Any, seed: int, channels: int, kernels: int
) -> None:
    rng = np.random.default_rng(seed)
    w = rng.integers(-7, 8, (kernels, channels, 3, 3)).astype(np.int8)
    x = rng.integers(-31, 32, (channels, 10, 14)).astype(np.int8)
    transformed = (_WEIGHT_TRANSFORM @ w @ _WEIGHT_TRANSFORM.T).astype(np.int8)
    expected = reference.convolve(
        x, w, stride=(1, 1), dilation=(1, 1), pad_top=0, pad_left=0, output_size=(8, 12),
        pad_value=0,
    )  # fmt: skip
    found = module.winograd_convolve(x, transformed, truncate=0, output_size=(8, 12))
    assert np.array_equal(found, 4 * expected)


def _one_tile(x: list[Any], w: list[Any], truncate: int) -> list[list[int]]:
    """2x2 outputs of lists [C][4][4], element by element in unbounded integers."""
    forward = [[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]]
    backward = [[1, 1, 1, 0], [0, 1, -1, -1]]
    products = [[0] * 4 for _ in range(4)]
    for plane, kernel in zip(x, w, strict=True):
        for i in range(4):
            for j in range(4):
                total = sum(
                    forward[i][r] * plane[r][s] * forward[j][s] for r in range(4) for s in range(4)
                )
                products[i][j] += exact.convert(total, 0, 1, truncate, 8) * kernel[i][j]
    return [
        [
            sum(
                backward[i][r] * products[r][s] * backward[j][s] for r in range(4) for s in range(4)
            )
            for j in range(2)
        ]
        for i in range(2)
    ]


@st.composite
def operands(draw: st.DrawFn) -> tuple[NDArray[np.int8], NDArray[np.int8], int, tuple[int, int]]:
    """Full-range and one-signed data with a row and column that no tile sees."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    low, high = draw(st.sampled_from([(-128, 128), (0, 128), (-128, 0), (127, 128), (-128, -127)]))
    size = 2 * draw(st.integers(1, 4)), 2 * draw(st.integers(1, 4))
    channels, kernels = draw(st.integers(1, 40)), draw(st.integers(1, 5))
    extra = draw(st.integers(0, 2))
    x = rng.integers(low, high, (channels, size[0] + 2 + extra, size[1] + 2 + extra))
    low, high = draw(st.sampled_from([(-128, 128), (0, 128), (-128, 0), (-128, -127)]))
    w = rng.integers(low, high, (kernels, channels, 4, 4))
    return x.astype(np.int8), w.astype(np.int8), draw(st.integers(0, 3)), size


@settings(max_examples=30, deadline=None)
@given(case=operands())
def test_the_reference_is_right_element_by_element(
    case: tuple[NDArray[np.int8], NDArray[np.int8], int, tuple[int, int]],
) -> None:
    x, w, truncate, size = case
    found = reference.winograd_convolve(x, w, truncate=truncate, output_size=size)
    assert found.dtype == np.int64
    for top, left, k in {(0, 0, 0), (size[0] - 2, size[1] - 2, len(w) - 1)}:
        tile = x[:, top : top + 4, left : left + 4].tolist()
        expected = _one_tile(tile, w[k].tolist(), truncate)
        assert found[k, top : top + 2, left : left + 2].tolist() == expected


@settings(max_examples=100, deadline=None)
@given(case=operands())
def test_fast_equals_the_reference(
    case: tuple[NDArray[np.int8], NDArray[np.int8], int, tuple[int, int]],
) -> None:
    x, w, truncate, size = case
    before = x.copy(), w.copy()
    found = fast.winograd_convolve(x, w, truncate=truncate, output_size=size)
    expected = reference.winograd_convolve(x, w, truncate=truncate, output_size=size)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)
    assert np.array_equal(x, before[0])
    assert np.array_equal(w, before[1])


@both
def test_operands_that_do_not_fit(module: Any) -> None:
    x, w = np.zeros((2, 6, 8), np.int8), np.zeros((3, 2, 4, 4), np.int8)
    faults: list[tuple[Any, Any, int, tuple[int, int], str]] = [
        (x.astype(int), w, 0, (4, 6), "int8"),
        (x, w[:, :1], 0, (4, 6), "same C"),
        (x, w[..., :3], 0, (4, 6), "same C"),
        (x, w, 4, (4, 6), r"truncate must be in \[0, 3\]"),
        (x, w, 0, (3, 6), "even"),
        (x, w, 0, (4, 8), "two rows and columns"),
    ]
    for data, weights, truncate, size, message in faults:
        with pytest.raises(OperandError, match=message):
            module.winograd_convolve(data, weights, truncate=truncate, output_size=size)
