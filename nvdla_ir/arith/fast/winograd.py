"""Quick Winograd convolution: all tiles at once, one matrix product for each place in a tile."""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.lib.stride_tricks import as_strided

from nvdla_ir.arith.errors import Int8Array, Int64Array
from nvdla_ir.arith.fast.convolution import convolve
from nvdla_ir.arith.fast.rounding import round_shift
from nvdla_ir.arith.reference.rounding import saturate
from nvdla_ir.arith.reference.winograd import (
    INPUT_TRANSFORM,
    OUTPUT_TRANSFORM,
    STEP,
    TILE,
    check_winograd,
)


def winograd_convolve(
    x: Int8Array, w: Int8Array, *, truncate: int, output_size: tuple[int, int]
) -> Int64Array:
    """See `reference.winograd_convolve`."""
    check_winograd(x, w, truncate, output_size)
    rows, columns = output_size[0] // STEP, output_size[1] // STEP
    plane, row, column = x.strides
    tiles = as_strided(
        x,
        shape=(len(x), rows, columns, TILE, TILE),
        strides=(plane, STEP * row, STEP * column, row, column),
        writeable=False,
    ).astype(np.int64)
    spectrum: Int64Array = np.matmul(
        np.matmul(INPUT_TRANSFORM, tiles), np.transpose(INPUT_TRANSFORM)
    )
    data = saturate(round_shift(spectrum, truncate), 8).astype(np.int8)
    products = np.empty((len(w), rows, columns, TILE, TILE), np.int64)
    for r, s in product(range(TILE), range(TILE)):
        products[..., r, s] = convolve(
            data[..., r, s],
            w[:, :, r : r + 1, s : s + 1],
            stride=(1, 1),
            dilation=(1, 1),
            pad_top=0,
            pad_left=0,
            output_size=(rows, columns),
            pad_value=0,
        )
    outputs: Int64Array = np.matmul(
        np.matmul(OUTPUT_TRANSFORM, products), np.transpose(OUTPUT_TRANSFORM)
    )
    return np.transpose(outputs, (0, 1, 3, 2, 4)).reshape(len(w), *output_size)
