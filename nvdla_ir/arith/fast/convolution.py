"""Quick convolution: int8 products added up exactly by floating-point matrix multiplication."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nvdla_ir.arith.errors import Int8Array, Int64Array, IntegerArray, Operand, check_signed
from nvdla_ir.arith.fast.chunks import CHUNK_ELEMENTS, cut_operand, cuts
from nvdla_ir.arith.fast.exact_float import as_float, load
from nvdla_ir.arith.reference.convolution import check_input_converter, convolution_axes
from nvdla_ir.arith.windows import WindowAxis, gather_padded

EXACT_FLOAT32 = 1 << 24
"""Every integer of at most this magnitude is a float32."""

COLUMN_BYTES = 4 << 20
"""About the largest matrix of input windows that is built at once; larger ones leave the cache."""

SEGMENT = 128
"""Taps that are never separated: 128 products of at most 2**14 stay exact by far."""

KERNELS_AT_ONCE = 16
"""Kernels whose magnitudes are summed at a time, to stay in the cache."""

Float32Array = NDArray[np.float32]


def convert_input(x: IntegerArray, offset: Operand, scale: int, truncate: int) -> Int8Array:
    """See `reference.convert_input`."""
    check_input_converter(x, offset, scale, truncate)
    result = np.empty(x.shape, np.int8)
    for cut in cuts(x.shape, CHUNK_ELEMENTS) if x.size else ():
        chunk = load(x[(*cut, ...)])
        chunk.add(-as_float(cut_operand(offset, cut)))
        chunk.scale(float(scale), truncate)
        chunk.clip(-128.0, 127.0)
        np.copyto(result[(*cut, ...)], chunk.settle(), casting="unsafe")
    return result


def convolve(
    x: Int8Array,
    w: Int8Array,
    *,
    stride: tuple[int, int],
    dilation: tuple[int, int],
    pad_top: int,
    pad_left: int,
    output_size: tuple[int, int],
    pad_value: int,
    pad_value_sides: int | None = None,
) -> Int64Array:
    """See `reference.convolve`."""
    rows, columns = convolution_axes(x, w, stride, dilation, pad_top, pad_left, output_size)
    check_signed("pad_value", pad_value, 8)
    if pad_value_sides is not None:
        check_signed("pad_value_sides", pad_value_sides, 8)
    padded: Float32Array = gather_padded(x, rows, columns, pad_value, pad_value_sides, np.float32)
    weights = w.reshape(w.shape[0], -1).astype(np.float32)
    blocks = exact_blocks(weights, float(padded.min()), float(padded.max()))
    result = np.empty((*x.shape[:-3], w.shape[0], *output_size), np.int64)
    cubes = padded.reshape(-1, *padded.shape[-3:])
    for cube, target in zip(cubes, result.reshape(-1, *result.shape[-3:]), strict=True):
        _convolve_one(cube, weights, blocks, rows, columns, target)
    return result


def exact_blocks(weights: Float32Array, low: float, high: float) -> list[slice]:
    """Cuts of the taps of `weights` [K, taps] so that float32 adds up each block exactly.

    The weights are int8 values, `low` and `high` bound the input. Whatever the order in which a
    matrix multiplication adds, each intermediate value is the sum of some subset of one output's
    products. It lies between the sum of all negative and the sum of all positive products; where
    both are at most 2**24 in magnitude, every intermediate is an integer that float32
    represents, so nothing is rounded. A block is a multiple of SEGMENT taps.
    """
    low, high = min(low, 0.0), max(high, 0.0)
    taps = weights.shape[1]
    largest = max(-low, high)
    if taps * 128 * largest <= EXACT_FLOAT32:
        return [slice(0, taps)]
    starts: NDArray[np.intp] = np.arange(0, taps, SEGMENT, dtype=np.intp)
    # Sums over a segment are below 2**15, hence exact in float32.
    magnitudes = np.empty((len(weights), len(starts)), np.float64)
    for first in range(0, len(weights), KERNELS_AT_ONCE):
        kernels = slice(first, first + KERNELS_AT_ONCE)
        magnitudes[kernels] = np.add.reduceat(np.abs(weights[kernels]), starts, axis=1)
    if float(magnitudes.sum(axis=1).max()) * largest <= EXACT_FLOAT32:
        return [slice(0, taps)]
    sums = np.add.reduceat(weights, starts, axis=1).astype(np.float64)
    positive = (magnitudes + sums) / 2
    negative = (magnitudes - sums) / 2
    most = positive * high - negative * low
    least = negative * high - positive * low
    running = np.cumsum(np.concatenate((most, least)), axis=1)
    blocks: list[slice] = []
    start = 0
    base = np.zeros((len(running), 1))
    while start < len(starts):
        worst = np.max(running[:, start:] - base, axis=0)
        stop = start + int(np.searchsorted(worst, EXACT_FLOAT32, side="right"))
        blocks.append(slice(start * SEGMENT, stop * SEGMENT))
        base = running[:, stop - 1 : stop]
        start = stop
    return blocks


def _convolve_one(
    padded: Float32Array,
    weights: Float32Array,
    blocks: list[slice],
    rows: WindowAxis,
    columns: WindowAxis,
    result: Int64Array,
) -> None:
    """One batch element: `padded` [C, rows.extent, columns.extent] into `result` [K, OH, OW]."""
    row_bytes = weights.shape[1] * columns.outputs * padded.itemsize
    step = max(1, COLUMN_BYTES // row_bytes)
    for top in range(0, rows.outputs, step):
        bottom = min(top + step, rows.outputs)
        taps = _window_matrix(padded, rows, columns, top, bottom)
        target = result[:, top:bottom]
        for number, block in enumerate(blocks):
            partial = (weights[:, block] @ taps[block]).reshape(target.shape)
            if number == 0:
                target[...] = partial
            else:
                target += partial.astype(np.int64)


def _window_matrix(
    padded: Float32Array, rows: WindowAxis, columns: WindowAxis, top: int, bottom: int
) -> Float32Array:
    """[C * R * S, (bottom - top) * OW]: what each tap reads for the output rows in between."""
    channels = padded.shape[0]
    first = top * rows.stride
    one_tap = rows.taps == columns.taps == rows.stride == columns.stride == 1
    if one_tap:
        return padded[:, first : first + bottom - top].reshape(channels, -1)
    channel_step, row_step, column_step = padded.strides
    view = np.lib.stride_tricks.as_strided(
        padded[:, first:],
        shape=(channels, rows.taps, columns.taps, bottom - top, columns.outputs),
        strides=(
            channel_step,
            rows.dilation * row_step,
            columns.dilation * column_step,
            rows.stride * row_step,
            columns.stride * column_step,
        ),
        writeable=False,
    )
    return view.reshape(channels * rows.taps * columns.taps, -1)
