"""Convolution pipeline: input converter, multiply-accumulate, accumulator output."""

from __future__ import annotations

import numpy as np

from nvdla_ir.arith.errors import (
    Int8Array,
    Int64Array,
    IntegerArray,
    Operand,
    OperandError,
    as_int64,
    check_broadcasts,
    check_interval,
    check_signed,
)
from nvdla_ir.arith.reference.rounding import round_shift, saturate
from nvdla_ir.arith.windows import WindowAxis, gather_padded


def convert_input(x: IntegerArray, offset: Operand, scale: int, truncate: int) -> Int8Array:
    """The CDMA's input converter: `(x - offset) * scale / 2**truncate`, rounded and clamped.

    `x` holds the elements as they are in memory, 8 or 16 bits, signed (features, signed pixels)
    or unsigned (pixels); `offset` is signed 16 bits and broadcasts to `x` (a mean per channel:
    [C, 1, 1]); `scale` is signed 16 bits; `truncate` is 0 to 63. Returns int8.
    Source: convolution.md section 3.2. Raises OperandError for values out of range.
    """
    check_input_converter(x, offset, scale, truncate)
    product = (as_int64("x", x) - as_int64("offset", offset)) * scale
    return saturate(round_shift(product, truncate), 8).astype(np.int8)


def check_input_converter(x: IntegerArray, offset: Operand, scale: int, truncate: int) -> None:
    """Raise OperandError unless `convert_input` takes these."""
    check_signed("x", x, 17)
    check_signed("offset", offset, 16)
    check_broadcasts("offset", offset, x.shape)
    check_signed("scale", scale, 16)
    check_interval("truncate", truncate, 0, 63)


def convolution_axes(
    x: IntegerArray,
    w: IntegerArray,
    stride: tuple[int, int],
    dilation: tuple[int, int],
    pad_top: int,
    pad_left: int,
    output_size: tuple[int, int],
) -> tuple[WindowAxis, WindowAxis]:
    """(rows, columns) of a convolution. Raises OperandError where operands do not fit."""
    if x.dtype != np.int8 or w.dtype != np.int8:
        raise OperandError(f"x and w must be int8, not {x.dtype} and {w.dtype}")
    if x.ndim < 3 or w.ndim != 4 or x.shape[-3] != w.shape[1]:
        raise OperandError(
            f"x and w must be [..., C, H, W] and [K, C, R, S] with the same C, "
            f"not {x.shape} and {w.shape}"
        )
    rows = WindowAxis(x.shape[-2], w.shape[2], stride[0], dilation[0], pad_top, output_size[0])
    columns = WindowAxis(x.shape[-1], w.shape[3], stride[1], dilation[1], pad_left, output_size[1])
    return rows, columns


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
    """Exact accumulators of a convolution (a cross-correlation: the kernel is not flipped).

    `x` is int8 [..., C, H, W] (leading axes are batches), `w` int8 [K, C, R, S]; pairs are
    (vertical, horizontal); the result is int64 [..., K, OH, OW] for `output_size` (OH, OW), from
    which the padding at the right and bottom follows. `pad_value` (signed 8 bits) stands for all
    taps outside the input; `pad_value_sides`, where it is not None, for those left and right of
    a real row (image mode). Nothing saturates: the hardware's 34-bit accumulators differ only
    for sums of 2**33 and more. Source: convolution.md sections 3.3 and 4.1.
    Raises OperandError for operands that do not fit together.
    """
    rows, columns = convolution_axes(x, w, stride, dilation, pad_top, pad_left, output_size)
    check_signed("pad_value", pad_value, 8)
    if pad_value_sides is not None:
        check_signed("pad_value_sides", pad_value_sides, 8)
    padded = gather_padded(x, rows, columns, pad_value, pad_value_sides, np.int64)
    weights = w.astype(np.int64)
    total = np.zeros((*x.shape[:-3], w.shape[0], *output_size), np.int64)
    for r in range(rows.taps):
        for s in range(columns.taps):
            taps = padded[..., rows.tap(r), columns.tap(s)]
            total += np.einsum("kc,...chw->...khw", weights[:, :, r, s], taps)
    return total


def truncate_accumulator(acc: IntegerArray, truncate: int) -> Int64Array:
    """What the CACC hands to the SDP: `acc / 2**truncate`, rounded, clamped to 32 bits; int64.

    `truncate` is CLIP_TRUNCATE, 0 to 31 (the hardware's datapath allows up to 16).
    Source: convolution.md section 4.2.
    """
    check_interval("truncate", truncate, 0, 31)
    return saturate(round_shift(acc, truncate), 32)


def count_accumulator_saturation(acc: IntegerArray, truncate: int) -> int:
    """How many elements `truncate_accumulator` clamps (CACC's OUT_SATURATION counter)."""
    rounded = round_shift(acc, truncate)
    return int(np.count_nonzero(saturate(rounded, 32) != rounded))
