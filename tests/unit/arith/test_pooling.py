"""Pooling: reference against unbounded integers, fast against the reference."""

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
from nvdla_ir.arith.reference.pooling import sign_extended_pad_values

Case = tuple[NDArray[np.int8], dict[str, Any]]


@st.composite
def pools(draw: st.DrawFn, largest: int = 12) -> Case:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    low, high = draw(st.sampled_from([(-128, 127), (0, 127), (-128, -1), (-128, -128), (127, 127)]))
    batch = draw(st.sampled_from([(), (3,), (2, 1)]))
    axes: list[tuple[int, int, int, int, int]] = []
    for _ in range(2):
        size, kernel = draw(st.integers(1, largest)), draw(st.integers(1, 8))
        stride, pad = draw(st.integers(1, 4)), draw(st.integers(0, kernel - 1))
        most = (size - 1 + pad) // stride + 1
        axes.append((size, kernel, stride, pad, draw(st.integers(1, most))))
    sizes, kernels, strides, pads, outputs = zip(*axes, strict=True)
    x = rng.integers(low, high + 1, (*batch, *sizes)).astype(np.int8)
    return x, {"kernel": kernels, "stride": strides, "pad": pads, "output_size": outputs}


@st.composite
def averages(draw: st.DrawFn) -> dict[str, Any]:
    reciprocal = st.sampled_from([(1 << 16) // k for k in range(1, 9)]) | st.integers(
        0, (1 << 17) - 1
    )
    pad = draw(st.integers(-128, 127))
    consistent = st.just([n * pad & 0x7FFFF for n in range(1, 8)])
    anything = st.lists(st.integers(0, 0x7FFFF), min_size=7, max_size=7)
    return {
        "reciprocals": (draw(reciprocal), draw(reciprocal)),
        "pad_values": draw(consistent | anything),
    }


def windows(x: NDArray[np.int8], parameters: dict[str, Any]) -> list[Any]:
    """(lines inside the input, rows outside, columns outside) of every window."""
    (kh, kw), (sy, sx) = parameters["kernel"], parameters["stride"]
    (top, left), (oh, ow) = parameters["pad"], parameters["output_size"]
    height, width = x.shape
    found: list[Any] = []
    for oy in range(oh):
        rows = [y for y in range(oy * sy - top, oy * sy - top + kh) if 0 <= y < height]
        for ox in range(ow):
            columns = [c for c in range(ox * sx - left, ox * sx - left + kw) if 0 <= c < width]
            lines = [[int(x[y, c]) for c in columns] for y in rows]
            found.append((lines, kh - len(rows), kw - len(columns)))
    return found


@given(case=pools(), average=averages())
@settings(max_examples=100, deadline=None)
def test_reference_equals_unbounded_integers(case: Case, average: dict[str, Any]) -> None:
    x, parameters = case
    highest = reference.pool_maximum(x, **parameters)
    lowest = reference.pool_minimum(x, **parameters)
    mean = reference.pool_average(x, **parameters, **average)
    assert highest.dtype == lowest.dtype == mean.dtype == np.int8
    for batch in np.ndindex(*x.shape[:-2]):
        seen = windows(x[batch], parameters)
        assert highest[batch].ravel().tolist() == [max(map(max, lines)) for lines, _, _ in seen]
        assert lowest[batch].ravel().tolist() == [min(map(min, lines)) for lines, _, _ in seen]
        assert mean[batch].ravel().tolist() == [
            exact.average(
                lines,
                rows,
                columns,
                parameters["kernel"][1],
                average["reciprocals"],
                average["pad_values"],
            )
            for lines, rows, columns in seen
        ]


@given(case=pools(largest=40), average=averages())
@settings(max_examples=200, deadline=None)
def test_fast_equals_reference(case: Case, average: dict[str, Any]) -> None:
    x, parameters = case
    for name, more in (("pool_maximum", {}), ("pool_minimum", {}), ("pool_average", average)):
        result = getattr(fast, name)(x, **parameters, **more)
        expected = getattr(reference, name)(x, **parameters, **more)
        assert result.dtype == np.int8
        np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("entry", range(7))
@given(raw=st.integers(0, 0x7FFFF))
def test_each_pad_value_has_its_own_sign_bit(entry: int, raw: int) -> None:
    for value in (raw, 1 << (raw % 19), (1 << (raw % 19)) - 1):
        pad_values = [0] * 7
        pad_values[entry] = value
        assert list(sign_extended_pad_values(pad_values)) == exact.pad_sums(pad_values)


def test_many_averages_are_tabulated() -> None:
    x = np.random.default_rng(0).integers(-128, 128, (20, 100, 100)).astype(np.int8)
    parameters: dict[str, Any] = {
        "kernel": (3, 2),
        "stride": (1, 1),
        "pad": (1, 1),
        "output_size": (100, 100),
        "reciprocals": (0x5555, 0x8000),
        "pad_values": [n * -5 & 0x7FFFF for n in range(1, 8)],
    }
    np.testing.assert_array_equal(
        fast.pool_average(x, **parameters), reference.pool_average(x, **parameters)
    )


def test_the_average_of_a_constant_keeps_it() -> None:
    x = np.full((1, 3, 3), 100, np.int8)
    for module in (reference, fast):
        result = module.pool_average(
            x,
            kernel=(3, 3),
            stride=(1, 1),
            pad=(0, 0),
            output_size=(1, 1),
            reciprocals=(0x5555, 0x5555),
            pad_values=[0] * 7,
        )
        assert result.tolist() == [[[100]]]


@pytest.mark.parametrize("module", [reference, fast])
def test_what_the_unit_cannot_run_is_refused(module: Any) -> None:
    x = np.zeros((1, 4, 4), np.int8)
    good: dict[str, Any] = {
        "kernel": (2, 2),
        "stride": (2, 2),
        "pad": (0, 0),
        "output_size": (2, 2),
    }
    with pytest.raises(OperandError, match=r"horizontal kernel must be in \[1, 8\], not 9"):
        module.pool_maximum(x, **{**good, "kernel": (2, 9)})
    with pytest.raises(OperandError, match=r"vertical padding must be in \[0, 1\], not 2"):
        module.pool_minimum(x, **{**good, "pad": (2, 0)})
    with pytest.raises(OperandError, match="the last vertical window starts at 4"):
        module.pool_maximum(x, **{**good, "output_size": (3, 2)})
    with pytest.raises(OperandError, match="int8"):
        module.pool_maximum(x.astype(int), **good)
    with pytest.raises(OperandError, match="seven pad values"):
        module.pool_average(x, **good, reciprocals=(1, 1), pad_values=[0])
    with pytest.raises(OperandError, match="a reciprocal must be"):
        module.pool_average(x, **good, reciprocals=(1 << 17, 1), pad_values=[0] * 7)
