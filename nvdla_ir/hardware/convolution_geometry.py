"""Sizes and modes of the convolution pipeline. Sources: convolution.md sections 2 to 4 and 8.3."""

from __future__ import annotations

from functools import cached_property

from attrs import define, field, frozen

from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.hw.formats.buffer import (
    entries_per_slice,
    fetched_weight_bytes,
    image_entries_per_slice,
    winograd_entries_per_slice,
)
from nvdla_ir.hw.formats.sizes import align_up
from nvdla_ir.hw.pixels import PixelFormat

_WINOGRAD_TAPS = 4


@frozen(cache_hash=True)
class Window:
    """One axis of a convolution.

    ``size`` elements of the input are read, with ``before`` and ``after`` of padding around them;
    ``taps`` of the kernel lie ``dilation`` apart, and it moves by ``stride``.
    """

    size: int
    taps: int
    stride: int
    dilation: int
    before: int
    after: int
    outputs: int

    @property
    def extent(self) -> int:
        """Elements from a kernel's first tap to its last."""
        return (self.taps - 1) * self.dilation + 1

    @staticmethod
    def exact(
        *, taps: int, stride: int, dilation: int, before: int, size: int, outputs: int
    ) -> Window:
        """Pad after the input just as far as the last window goes, or read less of the input:
        windows and padded input end at the same element (section 4.1)."""
        after = (outputs - 1) * stride + (taps - 1) * dilation + 1 - before - size
        size += min(after, 0)
        return Window(size, taps, stride, dilation, before, max(after, 0), outputs)


@frozen
class InputConverter:
    """``sat8(round_half_away((x - offset) * scale / 2^truncate))`` (section 3.2)."""

    offset: int
    scale: int
    truncate: int


@frozen
class ImageInput:
    """How the pixels of an image are read. ``means`` replace the converter's offset."""

    pixel_format: PixelFormat
    signed: bool
    means: tuple[int, ...] | None = None


@frozen(cache_hash=True)
class Banks:
    """How a convolution shares out the banks of the convolution buffer."""

    data: int
    weights: int


@frozen
class CompressedWeights:
    """Weights without their zeros, a bit mask that tells where these are, and the bytes of each
    kernel group (section 2.6). Only nv_full reads them."""

    data_bytes: int
    mask_bytes: int


@frozen(cache_hash=True)
class Reuse:
    """What is taken over from the layer before and left for the next (section 3.6).

    ``data`` and ``weights``: what the buffer holds is used; ``keep_data`` and ``keep_weights``: it
    stays there. ``leftover`` lines of what is used lie above those that are fetched. ``released``
    input lines are freed at the end; None: all.
    """

    data: bool = False
    weights: bool = False
    keep_data: bool = False
    keep_weights: bool = False
    leftover: int = 0
    released: int | None = None


@define(frozen=True, slots=False, cache_hash=True)
class ConvolutionGeometry:
    """Sizes and modes of one run, and what follows from them. Without ``banks`` it is not fitted
    into the convolution buffer yet."""

    channels: int
    kernels: int
    rows: Window
    columns: Window
    banks: Banks | None = None
    image: ImageInput | None = None
    converter: InputConverter | None = None
    pad_value: int = 0
    clip_truncate: int = 0
    reuse: Reuse = field(factory=Reuse)
    winograd: bool = False
    winograd_truncate: int = 0
    batch: int = 1
    post_extension: int = 0
    fetch_grain: int = 1
    compressed: CompressedWeights | None = None
    stated_weight_bytes: int | None = None
    """WEIGHT_BYTES of who packed the weights otherwise; None: whole entries of the buffer."""

    @property
    def taps(self) -> tuple[int, int, int]:
        """Rows, columns and channels of a kernel as CSC counts them (sections 2.5 and 2.8)."""
        if self.winograd:
            return _WINOGRAD_TAPS, _WINOGRAD_TAPS, 0
        if self.image is not None:
            return self.rows.taps, 1, self.channels * self.columns.taps
        return self.rows.taps, self.columns.taps, self.channels

    def extended(self, hw: HardwareConfiguration) -> tuple[int, int, int]:
        """Channels, rows and columns of the input as CSC counts them (section 4.7)."""
        if not self.winograd:
            return self.channels, self.reuse.leftover + self.rows.size, self.columns.size
        channels = align_up(self.channels, hw.memory_atom) * self.rows.stride * self.columns.stride
        rows, columns = (
            (axis.before + axis.size + axis.after) // axis.stride
            for axis in (self.rows, self.columns)
        )
        return channels, rows, columns

    def kernel_bytes(self, hw: HardwareConfiguration) -> int:
        """BYTE_PER_KERNEL + 1, in bytes."""
        rows, columns, channels = self.taps
        return rows * columns * (self.extended(hw)[0] if self.winograd else channels)

    def entries(self, hw: HardwareConfiguration) -> int:
        """Entries of the buffer that one line of the input takes (section 3.4)."""
        channels, _, width = self.extended(hw)
        if self.winograd:
            return winograd_entries_per_slice(hw, width, channels)
        if self.image is None:
            return entries_per_slice(hw, width, channels)
        return image_entries_per_slice(hw, width, channels, self.columns.before, self.columns.after)

    def weight_bytes(self, hw: HardwareConfiguration) -> int:
        """What CDMA fetches, in bytes (section 8.3)."""
        if self.compressed is not None:
            return self.compressed.data_bytes
        if self.stated_weight_bytes is not None:
            return self.stated_weight_bytes
        return fetched_weight_bytes(hw, self.kernels, self.kernel_bytes(hw))

    @cached_property
    def is_single(self) -> bool:
        """Whether the output is one pixel."""
        return self.rows.outputs == self.columns.outputs == 1
