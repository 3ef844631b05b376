"""Quick pooling: whole planes at once, one axis after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvdla_ir.arith.errors import Int8Array
from nvdla_ir.arith.fast.look_up import value_span
from nvdla_ir.arith.reference.pooling import (
    check_pooling,
    check_reciprocals,
    divide_window_sums,
    sign_extended_pad_values,
    windows,
)
from nvdla_ir.arith.windows import WindowAxis, gather_padded


def pool_maximum(
    x: Int8Array,
    *,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    pad: tuple[int, int],
    output_size: tuple[int, int],
) -> Int8Array:
    """See `reference.pool_maximum`."""
    # Every window meets the input, so padding with the least value never decides.
    return _pool(np.maximum, -128, x, np.int8, kernel, stride, pad, output_size)


def pool_minimum(
    x: Int8Array,
    *,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    pad: tuple[int, int],
    output_size: tuple[int, int],
) -> Int8Array:
    """See `reference.pool_minimum`."""
    return _pool(np.minimum, 127, x, np.int8, kernel, stride, pad, output_size)


def pool_average(
    x: Int8Array,
    *,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    pad: tuple[int, int],
    output_size: tuple[int, int],
    reciprocals: tuple[int, int],
    pad_values: Sequence[int],
) -> Int8Array:
    """See `reference.pool_average`."""
    check_reciprocals(reciprocals)
    padding = sign_extended_pad_values(pad_values)
    # Sums of 64 int8 elements fit 16 bits; the wrap to 16 bits is modular anyway.
    total = _pool(np.add, 0, x, np.int16, kernel, stride, pad, output_size)
    rows = _padding_sums(x.shape[-2], kernel[0], stride[0], pad[0], output_size[0], padding)
    columns = _padding_sums(x.shape[-1], kernel[1], stride[1], pad[1], output_size[1], padding)
    # A row's padding is added once per row inside the input, a column's once per window.
    rows_inside = np.array(
        [
            inside.stop - inside.start
            for _, inside, _ in windows(x.shape[-2], kernel[0], stride[0], pad[0], output_size[0])
        ]
    )
    extra = rows[:, None] * kernel[1] + rows_inside[:, None] * columns[None, :]
    if np.any(extra):
        total = (total + extra).astype(np.int16)
    span = value_span(total)
    if span is None:
        return divide_window_sums(total.astype(np.int64), reciprocals)
    low, sums = span
    return divide_window_sums(sums, reciprocals)[total.astype(np.intp) - low]


def _padding_sums(
    size: int, kernel: int, stride: int, pad: int, outputs: int, padding: tuple[int, ...]
) -> NDArray[np.int64]:
    return np.array(
        [padding[outside] for _, _, outside in windows(size, kernel, stride, pad, outputs)],
        np.int64,
    )


def _pool(
    combine: Callable[..., Any],
    neutral: int,
    x: Int8Array,
    dtype: type[np.integer[Any]],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    pad: tuple[int, int],
    output_size: tuple[int, int],
) -> NDArray[Any]:
    """`combine` over all taps of each window; taps outside the input are `neutral`."""
    check_pooling(x, kernel, stride, pad, output_size)
    rows = WindowAxis(x.shape[-2], kernel[0], stride[0], 1, pad[0], output_size[0])
    columns = WindowAxis(x.shape[-1], kernel[1], stride[1], 1, pad[1], output_size[1])
    padded = gather_padded(x, rows, columns, neutral, None, dtype)
    # Rows first: their slices are contiguous, and fewer rows remain for the strided columns.
    tall: NDArray[Any] = np.array(padded[..., rows.tap(0), :])
    for tap in range(1, rows.taps):
        combine(tall, padded[..., rows.tap(tap), :], out=tall)
    result: NDArray[Any] = np.array(tall[..., columns.tap(0)])
    for tap in range(1, columns.taps):
        combine(result, tall[..., columns.tap(tap)], out=result)
    return result
