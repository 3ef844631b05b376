"""Winograd convolution F(2x2, 3x3) as the hardware computes it."""

from __future__ import annotations

import numpy as np

from nvdla_ir.arith.errors import Int8Array, Int64Array, OperandError, check_interval
from nvdla_ir.arith.reference.rounding import round_shift, saturate

TILE = 4
"""Rows and columns of the input that one tile sees, and of a transformed kernel."""

STEP = 2
"""Rows and columns of the output that one tile makes."""

INPUT_TRANSFORM: Int64Array = np.array(
    [[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]], dtype=np.int64
)
OUTPUT_TRANSFORM: Int64Array = np.array([[1, 1, 1, 0], [0, 1, -1, -1]], dtype=np.int64)


def winograd_convolve(
    x: Int8Array, w: Int8Array, *, truncate: int, output_size: tuple[int, int]
) -> Int64Array:
    """Exact accumulators of a 3x3 convolution with stride 1, by tiles of 4x4.

    `x` is int8 [C, H, W], padded, `w` int8 [K, C, 4, 4], transformed already; the result is int64
    [K, OH, OW] for `output_size` (OH, OW), both even, of which x needs two rows and columns more.
    The transformed input is shifted by `truncate` (PRA_TRUNCATE, 0 to 3), rounded and clamped to
    8 bits: the one place where Winograd mode is not exact. Source: convolution.md section 4.7.
    Raises OperandError for operands that do not fit together.
    """
    check_winograd(x, w, truncate, output_size)
    result = np.empty((len(w), *output_size), np.int64)
    elements, weights = x.astype(np.int64), w.astype(np.int64)
    for top in range(0, output_size[0], STEP):
        for left in range(0, output_size[1], STEP):
            tile = elements[:, top : top + TILE, left : left + TILE]
            spectrum: Int64Array = INPUT_TRANSFORM @ tile @ np.transpose(INPUT_TRANSFORM)
            data = saturate(round_shift(spectrum, truncate), 8)
            products: Int64Array = np.sum(data * weights, axis=1)
            outputs: Int64Array = OUTPUT_TRANSFORM @ products @ np.transpose(OUTPUT_TRANSFORM)
            result[:, top : top + STEP, left : left + STEP] = outputs
    return result


def check_winograd(x: Int8Array, w: Int8Array, truncate: int, output_size: tuple[int, int]) -> None:
    """Raise OperandError unless `winograd_convolve` takes these."""
    if x.dtype != np.int8 or w.dtype != np.int8:
        raise OperandError(f"x and w must be int8, not {x.dtype} and {w.dtype}")
    if x.ndim != 3 or w.shape[1:] != (len(x), TILE, TILE):
        raise OperandError(
            f"x and w must be [C, H, W] and [K, C, 4, 4] with the same C, "
            f"not {x.shape} and {w.shape}"
        )
    check_interval("truncate", truncate, 0, 3)
    for outputs, inputs in zip(output_size, x.shape[1:], strict=True):
        if outputs < STEP or outputs % STEP or inputs < outputs + TILE - STEP:
            raise OperandError(
                f"an output of {output_size} must be even, and needs two rows and columns of "
                f"input more, not {x.shape[1:]}"
            )
