"""Winograd convolution F(2x2, 3x3) as the hardware computes it, INT8.

Source: convolution.md sections 2.8 and 4.7.
"""

# numpy's stubs leave members such as view partly untyped
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.lib.stride_tricks import as_strided

from nvdla_ir.arith import fast
from nvdla_ir.arith.errors import Int8Array, Int64Array

TILE = 4
STEP = 2
_INPUT_TRANSFORM: Int64Array = np.array(
    [[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]], dtype=np.int64
)
_OUTPUT_TRANSFORM: Int64Array = np.array([[1, 1, 1, 0], [0, 1, -1, -1]], dtype=np.int64)


def extend_input(
    cube: Int8Array,
    *,
    lanes: int,
    padding: tuple[int, int],
    pad_value: int,
    stride: tuple[int, int],
    size: tuple[int, int],
) -> Int8Array:
    """What the CDMA puts into the buffer: padded, with strides folded into channels.

    ``cube`` is ``[channel, row, column]``; zeros fill it up to ``lanes`` channels. ``padding`` is
    that at the top and left, ``size`` the extended height and width. Extended channel
    ``(i * sx + j) * lanes + c`` at (y, x) is channel c at (y * sy + i, x * sx + j).
    """
    channels, height, width = cube.shape
    rows, columns = size[0] * stride[0], size[1] * stride[1]
    padded = np.full((lanes, rows, columns), pad_value, np.int8)
    bottom, right = min(height, rows - padding[0]), min(width, columns - padding[1])
    target = padded[:, padding[0] :, padding[1] :]
    target[:channels, :bottom, :right] = cube[:, :bottom, :right]
    padded[channels:] = 0
    folded = padded.reshape(lanes, size[0], stride[0], size[1], stride[1])
    return np.transpose(folded, (2, 4, 0, 1, 3)).reshape(-1, *size)


def winograd_convolve(
    x: Int8Array, weights: Int8Array, truncate: int, output_size: tuple[int, int]
) -> Int64Array:
    """Exact accumulators ``[kernel, row, column]`` of extended input ``[channel, row, column]``.

    ``weights`` are the transformed ones, ``[kernel, channel, 4, 4]``; ``truncate`` is
    PRA_TRUNCATE, the shift of the input transform, whose result is rounded and clamped to 8 bits.
    """
    channels = x.shape[0]
    rows, columns = output_size[0] // STEP, output_size[1] // STEP
    plane, row, column = x.strides
    tiles = as_strided(
        x,
        shape=(channels, rows, columns, TILE, TILE),
        strides=(plane, STEP * row, STEP * column, row, column),
        writeable=False,
    ).astype(np.int64)
    spectrum: Int64Array = np.matmul(
        np.matmul(_INPUT_TRANSFORM, tiles), np.transpose(_INPUT_TRANSFORM)
    )
    data = fast.saturate(fast.round_shift(spectrum, truncate), 8).astype(np.int8)
    products = np.empty((len(weights), rows, columns, TILE, TILE), np.int64)
    for r, s in product(range(TILE), range(TILE)):
        products[..., r, s] = fast.convolve(
            data[..., r, s],
            weights[:, :, r : r + 1, s : s + 1],
            stride=(1, 1),
            dilation=(1, 1),
            pad_top=0,
            pad_left=0,
            output_size=(rows, columns),
            pad_value=0,
        )
    outputs: Int64Array = np.matmul(
        np.matmul(_OUTPUT_TRANSFORM, products), np.transpose(_OUTPUT_TRANSFORM)
    )
    return np.transpose(outputs, (0, 1, 3, 2, 4)).reshape(len(weights), *output_size)
