"""Planar Data Processor: maximum, minimum and average pooling."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvdla_ir.arith.errors import Int8Array, OperandError, check_interval
from nvdla_ir.arith.reference.rounding import round_shift, wrap

PAD_VALUE_SIGN_BITS = (7, 8, 9, 9, 10, 10, 10)
"""Bit from which the hardware extends the sign of PAD_VALUE_1X … PAD_VALUE_7X, INT8."""

MAXIMUM_KERNEL = 8


def check_pooling(
    x: Int8Array,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    pad: tuple[int, int],
    output_size: tuple[int, int],
) -> None:
    """Raise OperandError unless the PDP can run this; every window must meet the input."""
    if x.dtype != np.int8 or x.ndim < 2:
        raise OperandError(f"x must be int8 [..., H, W], not {x.dtype} {x.shape}")
    for axis in (0, 1):
        name = ("vertical", "horizontal")[axis]
        check_interval(f"{name} kernel", kernel[axis], 1, MAXIMUM_KERNEL)
        check_interval(f"{name} stride", stride[axis], 1, 16)
        check_interval(f"{name} padding", pad[axis], 0, kernel[axis] - 1)
        check_interval(f"{name} output size", output_size[axis], 1, 8192)
        last = (output_size[axis] - 1) * stride[axis] - pad[axis]
        size = x.shape[x.ndim - 2 + axis]
        if last >= size:
            raise OperandError(
                f"the last {name} window starts at {last}, outside the input of {size}"
            )


def sign_extended_pad_values(pad_values: Sequence[int]) -> tuple[int, ...]:
    """What the pooling adds for 0 to 7 padded elements, of the seven raw 19-bit registers.

    The register must hold n times the value of one padded element in two's complement.
    Source: pdp.md section 3. Raises OperandError for a wrong number or range.
    """
    if len(pad_values) != len(PAD_VALUE_SIGN_BITS):
        raise OperandError(f"there are seven pad values, not {len(pad_values)}")
    result = [0]
    for raw, sign_bit in zip(pad_values, PAD_VALUE_SIGN_BITS, strict=True):
        check_interval("a raw pad value", raw, 0, (1 << 19) - 1)
        extended = raw | -(1 << sign_bit) if raw >> sign_bit & 1 else raw
        result.append(int(wrap(extended, 16)))
    return tuple(result)


def windows(
    size: int, kernel: int, stride: int, pad: int, outputs: int
) -> Iterator[tuple[int, slice, int]]:
    """(output index, elements inside the input, number of elements outside) of each window."""
    for output in range(outputs):
        start = output * stride - pad
        inside = slice(max(start, 0), min(start + kernel, size))
        yield output, inside, kernel - (inside.stop - inside.start)


def pool_maximum(
    x: Int8Array,
    *,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    pad: tuple[int, int],
    output_size: tuple[int, int],
) -> Int8Array:
    """Maximum over each window of int8 `x[..., H, W]`; int8 [..., OH, OW].

    Pairs are (vertical, horizontal); `pad` is the padding at the (top, left), and that at the
    bottom and right follows from `output_size`. Padding takes no part in the comparison.
    Kernel 1 to 8, stride 1 to 16. Source: pdp.md section 3.
    Raises OperandError for what the unit cannot run.
    """
    return _pool_extremum(np.max, x, kernel, stride, pad, output_size)


def pool_minimum(
    x: Int8Array,
    *,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    pad: tuple[int, int],
    output_size: tuple[int, int],
) -> Int8Array:
    """As `pool_maximum`, but the minimum."""
    return _pool_extremum(np.min, x, kernel, stride, pad, output_size)


def _pool_extremum(
    extremum: Callable[..., Any],
    x: Int8Array,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    pad: tuple[int, int],
    output_size: tuple[int, int],
) -> Int8Array:
    check_pooling(x, kernel, stride, pad, output_size)
    height, width = x.shape[-2:]
    result: NDArray[np.int8] = np.empty((*x.shape[:-2], *output_size), np.int8)
    for oy, rows, _ in windows(height, kernel[0], stride[0], pad[0], output_size[0]):
        for ox, columns, _ in windows(width, kernel[1], stride[1], pad[1], output_size[1]):
            result[..., oy, ox] = extremum(x[..., rows, columns], axis=(-2, -1))
    return result


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
    """Average over each window of int8 `x[..., H, W]`; int8 [..., OH, OW].

    Shapes, pairs and limits are those of `pool_maximum`. `reciprocals` are (RECIP_KERNEL_HEIGHT,
    RECIP_KERNEL_WIDTH), unsigned 17 bits, 65536 // kernel in ordinary use; `pad_values` are the
    seven raw registers PAD_VALUE_1X … 7X, unsigned 19 bits: entry n - 1 must hold n times the
    padding value. The divisor always counts the padding. The result keeps the low eight bits: it
    wraps. Source: pdp.md section 3. Raises OperandError for what the unit cannot run.
    """
    check_pooling(x, kernel, stride, pad, output_size)
    check_reciprocals(reciprocals)
    padding = sign_extended_pad_values(pad_values)
    height, width = x.shape[-2:]
    elements = x.astype(np.int64)
    total = np.empty((*x.shape[:-2], *output_size), np.int64)
    for oy, rows, rows_outside in windows(height, kernel[0], stride[0], pad[0], output_size[0]):
        for ox, columns, columns_outside in windows(
            width, kernel[1], stride[1], pad[1], output_size[1]
        ):
            lines = np.sum(elements[..., rows, columns], axis=-1) + padding[columns_outside]
            total[..., oy, ox] = np.sum(lines, axis=-1) + padding[rows_outside] * kernel[1]
    return divide_window_sums(total, reciprocals)


def check_reciprocals(reciprocals: tuple[int, int]) -> None:
    """Raise OperandError unless both are unsigned 17 bits."""
    for value in reciprocals:
        check_interval("a reciprocal", value, 0, (1 << 17) - 1)


def divide_window_sums(total: NDArray[np.int64], reciprocals: tuple[int, int]) -> Int8Array:
    """Window sums (wrapped to 16 bits) times both reciprocals, width first, each rounded."""
    across = round_shift(wrap(total, 16) * reciprocals[1], 16)
    return wrap(round_shift(across * reciprocals[0], 16), 8).astype(np.int8)
