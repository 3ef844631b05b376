"""Convolution: reference against unbounded integers, fast against the reference."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import exact_integers as exact
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nvdla_ir.arith import fast, reference
from nvdla_ir.arith.errors import OperandError
from nvdla_ir.arith.fast.convolution import EXACT_FLOAT32, SEGMENT, exact_blocks

Case = tuple[NDArray[np.int8], NDArray[np.int8], dict[str, Any]]


@st.composite
def convolutions(draw: st.DrawFn) -> Case:
    def size(low: int, high: int) -> int:
        return draw(st.integers(low, high))

    channels, height, width = size(1, 5), size(1, 9), size(1, 9)
    kernels, taps = size(1, 4), (size(1, 4), size(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    low, high = draw(st.sampled_from([(-128, 127), (0, 127), (-128, 0), (-128, -128), (127, 127)]))
    batch = draw(st.sampled_from([(), (2,), (2, 1)]))
    x = rng.integers(low, high + 1, (*batch, channels, height, width)).astype(np.int8)
    w = rng.integers(low, high + 1, (kernels, channels, *taps)).astype(np.int8)
    parameters = {
        "stride": (size(1, 3), size(1, 3)),
        "dilation": (size(1, 3), size(1, 3)),
        "pad_top": size(0, 5),
        "pad_left": size(0, 5),
        "output_size": (size(1, 8), size(1, 8)),
        "pad_value": size(-128, 127),
        "pad_value_sides": draw(st.none() | st.integers(-128, 127)),
    }
    return x, w, parameters


def convolve_exactly(
    x: NDArray[np.int8], w: NDArray[np.int8], parameters: dict[str, Any]
) -> list[Any]:
    if x.ndim > 3:
        return [convolve_exactly(cube, w, parameters) for cube in x]
    values, kernels = x.tolist(), w.tolist()
    height, width = x.shape[1:]

    def read(c: int, y: int, column: int) -> int:
        if not 0 <= y < height:
            return parameters["pad_value"]
        if not 0 <= column < width:
            sides = parameters["pad_value_sides"]
            return parameters["pad_value"] if sides is None else sides
        return values[c][y][column]

    (sy, sx), (oh, ow) = parameters["stride"], parameters["output_size"]
    return [
        [
            [
                exact.convolve_at(
                    read,
                    kernel,
                    oy * sy - parameters["pad_top"],
                    ox * sx - parameters["pad_left"],
                    parameters["dilation"],
                )
                for ox in range(ow)
            ]
            for oy in range(oh)
        ]
        for kernel in kernels
    ]


@given(convolutions())
@settings(max_examples=60, deadline=None)
def test_reference_equals_unbounded_integers(case: Case) -> None:
    x, w, parameters = case
    result = reference.convolve(x, w, **parameters)
    assert result.dtype == np.int64
    assert result.tolist() == convolve_exactly(x, w, parameters)


@given(convolutions())
@settings(max_examples=200, deadline=None)
def test_fast_equals_reference(case: Case) -> None:
    x, w, parameters = case
    result = fast.convolve(x, w, **parameters)
    assert result.dtype == np.int64
    np.testing.assert_array_equal(result, reference.convolve(x, w, **parameters))


POINTWISE: dict[str, Any] = {
    "stride": (1, 1),
    "dilation": (1, 1),
    "pad_top": 0,
    "pad_left": 0,
    "output_size": (2, 3),
    "pad_value": 0,
}


@pytest.mark.parametrize("channels", [1023, 1024, 1025, 1152, 2048, 5000])
@pytest.mark.parametrize(
    ("data", "weight"), [(-128, -128), (127, 127), (-128, 127), (127, -128), (-1, -128)]
)
def test_fast_is_exact_beyond_the_reach_of_float32(channels: int, data: int, weight: int) -> None:
    x = np.full((channels, 2, 3), data, np.int8)
    # An odd last tap makes the sum odd: above 2**24 float32 would lose it.
    x[-1] = 1
    w = np.full((3, channels, 1, 1), weight, np.int8)
    w[1, -1] = 1
    w[2, ::2] = 0
    result = fast.convolve(x, w, **POINTWISE)
    odd = data * weight * (channels - 1) + 1
    assert set(result[1].ravel().tolist()) == {odd}
    np.testing.assert_array_equal(result, reference.convolve(x, w, **POINTWISE))


@pytest.mark.parametrize("channels", [2048, 5000])
@pytest.mark.parametrize(("low", "high"), [(-128, 128), (0, 128), (-128, 1), (100, 128)])
def test_fast_is_exact_for_long_random_sums(channels: int, low: int, high: int) -> None:
    rng = np.random.default_rng(channels)
    x = rng.integers(low, high, (channels, 2, 3)).astype(np.int8)
    w = rng.integers(low, high, (4, channels, 1, 1)).astype(np.int8)
    np.testing.assert_array_equal(
        fast.convolve(x, w, **POINTWISE), reference.convolve(x, w, **POINTWISE)
    )


@given(
    taps=st.integers(1, 3000),
    weight=st.integers(-128, 127),
    other=st.integers(-128, 127),
    bounds=st.tuples(st.integers(-128, 127), st.integers(-128, 127)).map(sorted),
)
@settings(max_examples=200, deadline=None)
def test_every_block_stays_within_float32(
    taps: int, weight: int, other: int, bounds: list[int]
) -> None:
    low, high = bounds
    w = np.full((2, taps), weight, np.int8)
    w[1] = np.where(np.arange(taps) % 3, weight, other)
    blocks = exact_blocks(w.astype(np.float32), low, high)
    assert blocks[0].start == 0
    assert blocks[-1].stop >= taps
    for before, after in pairwise(blocks):
        assert before.stop == after.start
        assert after.start % SEGMENT == 0
    for block in blocks:
        part = w[:, block].astype(np.int64)
        products = np.stack((part * min(low, 0), part * max(high, 0)))
        assert np.maximum(products, 0).max(axis=0).sum(axis=1).max() <= EXACT_FLOAT32
        assert np.minimum(products, 0).min(axis=0).sum(axis=1).min() >= -EXACT_FLOAT32


def test_one_block_up_to_the_border() -> None:
    # 1024 products of 2**14 make exactly 2**24, which float32 still represents.
    border = np.full((1, 1024), -128, np.float32)
    assert len(exact_blocks(border, -128, -128)) == 1
    assert len(exact_blocks(np.full((1, 1025), -128, np.float32), -128, -128)) == 2
    # Halves of opposite sign: each sign's sum counts for itself.
    mixed = np.where(np.arange(2048) % 2, -128, 127).astype(np.float32)[None]
    assert len(exact_blocks(mixed, 0, 127)) == 1
    assert len(exact_blocks(mixed, -128, 127)) == 2


@pytest.mark.parametrize("stride", [(1, 1), (1, 2), (2, 1), (2, 3)])
@pytest.mark.parametrize("pad", [0, 1])
@pytest.mark.parametrize("taps", [(1, 1), (1, 2), (2, 1)])
def test_few_taps(stride: tuple[int, int], pad: int, taps: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(-128, 128, (3, 7, 8)).astype(np.int8)
    w = rng.integers(-128, 128, (2, 3, *taps)).astype(np.int8)
    parameters: dict[str, Any] = {
        "stride": stride,
        "dilation": (1, 1),
        "pad_top": pad,
        "pad_left": pad,
        "output_size": (3, 2),
        "pad_value": 5,
    }
    np.testing.assert_array_equal(
        fast.convolve(x, w, **parameters), reference.convolve(x, w, **parameters)
    )


def test_rows_are_cut_into_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(-128, 128, (3, 11, 9)).astype(np.int8)
    w = rng.integers(-128, 128, (4, 3, 3, 2)).astype(np.int8)
    parameters: dict[str, Any] = {
        "stride": (2, 1),
        "dilation": (1, 2),
        "pad_top": 1,
        "pad_left": 2,
        "output_size": (6, 9),
        "pad_value": -7,
    }
    expected = reference.convolve(x, w, **parameters)
    for size in (1, 2000, 3000):
        monkeypatch.setattr("nvdla_ir.arith.fast.convolution.COLUMN_BYTES", size)
        np.testing.assert_array_equal(fast.convolve(x, w, **parameters), expected)


@pytest.mark.parametrize("module", [reference, fast])
def test_operands_that_do_not_fit_are_refused(module: Any) -> None:
    x, w = np.zeros((2, 3, 4), np.int8), np.zeros((1, 2, 1, 1), np.int8)
    with pytest.raises(OperandError, match="same C"):
        module.convolve(x, w[:, :1], **POINTWISE)
    with pytest.raises(OperandError, match="int8"):
        module.convolve(x.astype(np.int16), w, **POINTWISE)
    with pytest.raises(OperandError, match=r"pad_value must be in \[-128, 127\]"):
        module.convolve(x, w, **{**POINTWISE, "pad_value": 128})
    with pytest.raises(OperandError, match="stride must be at least 1"):
        module.convolve(x, w, **{**POINTWISE, "stride": (0, 1)})


int16 = st.integers(-(1 << 15), (1 << 15) - 1)


@given(
    x=st.lists(st.integers(-(1 << 15), (1 << 16) - 1), min_size=1, max_size=20),
    offset=int16,
    scale=int16,
    truncate=st.integers(0, 63),
)
def test_convert_input(x: list[int], offset: int, scale: int, truncate: int) -> None:
    expected = [exact.convert(v, offset, scale, truncate, 8) for v in x]
    for module in (reference, fast):
        result = module.convert_input(np.array(x), offset, scale, truncate)
        assert result.dtype == np.int8
        assert result.tolist() == expected


def test_convert_input_takes_a_mean_per_channel() -> None:
    pixels = np.array([[[0, 255]], [[128, 1]]], np.uint8)
    means = np.array([[[128]], [[1]]])
    assert reference.convert_input(pixels, means, 1, 0).tolist() == [[[-128, 127]], [[127, 0]]]


accumulators = st.integers(-(1 << 62), 1 << 62) | st.builds(
    lambda sign, magnitude, odd: sign * (magnitude << 31) + odd,
    st.sampled_from([-1, 1]),
    st.integers(0, 1 << 20),
    st.integers(-2, 2),
)


@given(st.lists(accumulators, min_size=1, max_size=20), st.integers(0, 31))
def test_truncate_accumulator(acc: list[int], truncate: int) -> None:
    rounded = [exact.divide_rounded(v, truncate) for v in acc]
    clamped = [exact.clamp(v, 32) for v in rounded]
    saturated = sum(a != b for a, b in zip(rounded, clamped, strict=True))
    for module in (reference, fast):
        assert module.truncate_accumulator(np.array(acc), truncate).tolist() == clamped
        assert module.count_accumulator_saturation(np.array(acc), truncate) == saturated
