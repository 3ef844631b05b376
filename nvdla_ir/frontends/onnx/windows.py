"""Kernels, strides and padding as ONNX states them."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from nvdla_ir.frontends.onnx.faults import UnsupportedError
from nvdla_ir.frontends.onnx.layer import Layer

_LARGEST = 1 << 31


@frozen
class Windows:
    """Height and width of each; pads are top, left, bottom and right."""

    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    pads: tuple[int, int, int, int]
    auto_pad: str

    @property
    def extents(self) -> tuple[int, int]:
        """Of a dilated kernel."""
        (kernel_rows, kernel_columns), (row_step, column_step) = self.kernel, self.dilations
        return (kernel_rows - 1) * row_step + 1, (kernel_columns - 1) * column_step + 1

    def ceil_extension(self, size: Sequence[int]) -> tuple[int, int]:
        """The rows and columns behind the padding that windows need where their number is rounded
        up. A window that would begin behind the input and its first padding is left out."""
        rows, columns = (
            _extension(size[axis], extent, self.strides[axis], self.pads[axis], self.pads[2 + axis])
            for axis, extent in enumerate(self.extents)
        )
        return rows, columns


def _extension(size: int, extent: int, stride: int, before: int, after: int) -> int:
    padded = size + before + after
    if padded < extent:
        raise UnsupportedError(f"a kernel of {extent} is larger than its padded input of {padded}")
    count = -(-(padded - extent) // stride) + 1
    if (count - 1) * stride >= size + before:
        count -= 1
    return max(0, (count - 1) * stride + extent - padded)


def pair(layer: Layer, name: str, default: int = 1) -> tuple[int, int]:
    """Attribute ``name``, one number for rows and one for columns."""
    numbers = _numbers(layer, name, 1, least=1)
    if numbers is None:
        return default, default
    return (1, numbers[0]) if layer.is_line else (numbers[0], numbers[1])


def stated_pads(layer: Layer) -> tuple[int, int, int, int]:
    """Attribute ``pads``."""
    numbers = _numbers(layer, "pads", 2, least=0)
    if numbers is None:
        return 0, 0, 0, 0
    if layer.is_line:
        return 0, numbers[0], 0, numbers[1]
    return numbers[0], numbers[1], numbers[2], numbers[3]


def _numbers(layer: Layer, name: str, for_each: int, *, least: int) -> tuple[int, ...] | None:
    """Attribute ``name``, so many numbers for each axis that windows slide along."""
    numbers = layer.integers(name)
    if numbers is None:
        return None
    count = for_each if layer.is_line else 2 * for_each
    if len(numbers) != count:
        what = "a line" if layer.is_line else "an image"
        raise UnsupportedError(
            f"attribute '{name} = {list(numbers)}' must be {count} numbers for {what}"
        )
    if min(numbers) < least or max(numbers) > _LARGEST:
        raise UnsupportedError(
            f"attribute '{name} = {list(numbers)}' must be at least {least} each"
        )
    return numbers


def windows(layer: Layer, size: Sequence[int], kernel: tuple[int, int]) -> Windows:
    """The windows of a convolution or pooling over an input of ``size`` rows and columns."""
    strides, dilations = pair(layer, "strides"), pair(layer, "dilations")
    auto_pad = layer.string("auto_pad", "NOTSET")
    pads = stated_pads(layer)
    found = Windows(kernel, strides, dilations, pads, auto_pad)
    if auto_pad == "NOTSET":
        return found
    if auto_pad == "VALID":
        return Windows(kernel, strides, dilations, (0, 0, 0, 0), auto_pad)
    if auto_pad not in ("SAME_UPPER", "SAME_LOWER"):
        raise UnsupportedError(f"attribute 'auto_pad = {auto_pad}' is not known")
    totals = [
        max((-(-size[axis] // strides[axis]) - 1) * strides[axis] + extent - size[axis], 0)
        for axis, extent in enumerate(found.extents)
    ]
    return Windows(kernel, strides, dilations, split_pads(totals, auto_pad), auto_pad)


def split_pads(totals: Sequence[int], auto_pad: str) -> tuple[int, int, int, int]:
    """Half of each total before and half behind; the odd one behind, or before with
    SAME_LOWER."""
    small = [total // 2 for total in totals]
    large = [total - half for total, half in zip(totals, small, strict=True)]
    before, behind = (large, small) if auto_pad == "SAME_LOWER" else (small, large)
    return before[0], before[1], behind[0], behind[1]
