"""The part of a cube that a sliding window sees, with padding filled in."""

from __future__ import annotations

from typing import Any

import numpy as np
from attrs import frozen
from numpy.typing import DTypeLike, NDArray

from nvdla_ir.arith.errors import IntegerArray, OperandError


@frozen
class WindowAxis:
    """One spatial axis of a sliding window.

    Tap `t` of output `o` reads input element `o * stride + t * dilation - pad`; whatever lies
    outside [0, size) is padding. `pad` is the padding before the first element; the padding
    after the last one follows from `outputs`.
    """

    size: int
    taps: int
    stride: int
    dilation: int
    pad: int
    outputs: int

    def __attrs_post_init__(self) -> None:
        for name in ("size", "taps", "stride", "dilation", "outputs"):
            if getattr(self, name) < 1:
                raise OperandError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.pad < 0:
            raise OperandError(f"padding must be at least 0, not {self.pad}")

    @property
    def extent(self) -> int:
        """Padded elements from the first tap of the first output to the last of the last."""
        return (self.outputs - 1) * self.stride + (self.taps - 1) * self.dilation + 1

    def inside(self) -> tuple[slice, slice]:
        """(where in the padded extent, where in the input) the real elements are."""
        stop = max(0, min(self.size, self.extent - self.pad))
        return slice(min(self.pad, self.extent), min(self.pad, self.extent) + stop), slice(0, stop)

    def tap(self, index: int) -> slice:
        """Elements of the padded extent that tap `index` reads, one per output."""
        start = index * self.dilation
        return slice(start, start + (self.outputs - 1) * self.stride + 1, self.stride)


def gather_padded(
    x: IntegerArray,
    rows: WindowAxis,
    columns: WindowAxis,
    pad_value: int,
    pad_value_sides: int | None,
    dtype: DTypeLike,
) -> NDArray[Any]:
    """`x[..., H, W]` cut and padded to [..., rows.extent, columns.extent], as `dtype`.

    `pad_value_sides`, where it is not None, fills the left and right of real rows;
    `pad_value` fills everything else.
    """
    row_target, row_source = rows.inside()
    column_target, column_source = columns.inside()
    shape = (*x.shape[:-2], rows.extent, columns.extent)
    padded: NDArray[Any] = np.full(shape, pad_value, dtype)
    if pad_value_sides is not None:
        padded[..., row_target, :] = pad_value_sides
    padded[..., row_target, column_target] = x[..., row_source, column_source]
    return padded
