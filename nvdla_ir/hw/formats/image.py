"""Pixel images (convolution.md sections 2.2 and 2.3), the formats of 8-bit components.

Rows are pitch-linear: row y of plane p starts at ``base_p + y * stride_p``, and its first pixel
follows the skipped ones of PIXEL_X_OFFSET.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from attrs import frozen
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from nvdla_ir.hw.formats.sizes import (
    LayoutError,
    align_up,
    require_bytes,
    require_positive,
    require_shape,
)
from nvdla_ir.hw.pixels import PixelFormat


@frozen
class ImageLayout:
    """Where an image of ``height`` x ``width`` pixels lies, in one plane or two (Y, UV).

    ``line_strides`` are bytes, one a plane, multiples of ``atom`` (the memory atom in bytes).
    ``x_offset`` is PIXEL_X_OFFSET, 0 to atom / bytes-per-pixel of plane 0, exclusive. Raises
    LayoutError for what the hardware cannot fetch, and for formats that are not of 8 bits.
    """

    pixel_format: PixelFormat
    height: int
    width: int
    atom: int
    line_strides: tuple[int, ...]
    x_offset: int = 0

    def __attrs_post_init__(self) -> None:
        name = self.pixel_format.name
        require_positive(name, height=self.height, width=self.width, atom=self.atom)
        if self.pixel_format.component_bits != 8:
            raise LayoutError(f"{name}: only formats of 8-bit components are supported")
        if len(self.line_strides) != self.pixel_format.planes:
            raise LayoutError(
                f"{name}: needs {self.pixel_format.planes} line strides, "
                f"got {len(self.line_strides)}"
            )
        offset_limit = self.atom // self.pixel_format.bytes_per_pixel[0]
        if not 0 <= self.x_offset < offset_limit:
            raise LayoutError(
                f"{name}: x_offset = {self.x_offset}: must be 0 to {offset_limit - 1} with a "
                f"memory atom of {self.atom} bytes"
            )
        for plane, stride in enumerate(self.line_strides):
            if stride % self.atom or (self.height > 1 and stride < self.row_bytes(plane)):
                raise LayoutError(
                    f"{name}: line stride {stride} of plane {plane}: must be a multiple of the "
                    f"memory atom, {self.atom} bytes, and at least {self.row_bytes(plane)}"
                )

    @classmethod
    def packed(
        cls, pixel_format: PixelFormat, height: int, width: int, atom: int, x_offset: int = 0
    ) -> ImageLayout:
        """Return the layout whose lines have the least strides."""
        strides = tuple(
            align_up((_plane_offset(x_offset, atom, size) + width) * size, atom)
            for size in pixel_format.bytes_per_pixel
        )
        return cls(pixel_format, height, width, atom, strides, x_offset)

    def plane_x_offset(self, plane: int) -> int:
        """Pixels skipped at the start of each row of a plane (convolution.md section 2.2)."""
        return _plane_offset(self.x_offset, self.atom, self.pixel_format.bytes_per_pixel[plane])

    def row_bytes(self, plane: int) -> int:
        """Bytes from the start of a row to the end of its last pixel."""
        return (self.plane_x_offset(plane) + self.width) * self.pixel_format.bytes_per_pixel[plane]

    def size_bytes(self, plane: int) -> int:
        """Bytes from the base of a plane to the end of its last pixel."""
        return (self.height - 1) * self.line_strides[plane] + self.row_bytes(plane)

    def pixels(self, plane: int, memory: NDArray[np.generic], offset: int = 0) -> NDArray[np.uint8]:
        """Return a view ``[height, width, bytes_per_pixel]`` of a plane at ``memory[offset:]``."""
        size = self.pixel_format.bytes_per_pixel[plane]
        require_bytes(self.pixel_format.name, memory, offset, self.size_bytes(plane))
        return as_strided(
            memory.view(np.uint8)[offset + self.plane_x_offset(plane) * size :],
            shape=(self.height, self.width, size),
            strides=(self.line_strides[plane], size, 1),
        )

    def unpack(self, planes: Sequence[NDArray[np.generic]]) -> NDArray[np.uint8]:
        """Return the image as ``[channels, height, width]`` bytes in canonical channel order.

        ``planes`` holds each plane's bytes from its base. Whether a byte is signed is up to
        PIXEL_SIGN_OVERRIDE, so raw bytes are returned.
        """
        components = self.pixels(self.pixel_format.planes - 1, planes[-1])
        ordered = components[:, :, list(self.pixel_format.order)]
        if self.pixel_format.planes == 2:
            ordered = np.concatenate([self.pixels(0, planes[0]), ordered], axis=2)
        return np.ascontiguousarray(np.transpose(ordered, (2, 0, 1)))

    def pack(self, image: NDArray[np.generic]) -> tuple[NDArray[np.uint8], ...]:
        """Return each plane's bytes for an image ``[channels, height, width]`` of bytes.

        Skipped pixels and gaps between rows are zero.
        """
        name = self.pixel_format.name
        require_shape(name, image, (self.pixel_format.channels, self.height, self.width))
        if image.itemsize != 1:
            raise LayoutError(f"{name}: pixels must be bytes, got {image.dtype}")
        channels = np.transpose(image.view(np.uint8), (1, 2, 0))
        planes = tuple(
            np.zeros(self.size_bytes(plane), np.uint8) for plane in range(self.pixel_format.planes)
        )
        if self.pixel_format.planes == 2:
            self.pixels(0, planes[0])[...] = channels[:, :, :1]
            channels = channels[:, :, 1:]
        last = self.pixel_format.planes - 1
        self.pixels(last, planes[last])[:, :, list(self.pixel_format.order)] = channels
        return planes


def _plane_offset(x_offset: int, atom: int, bytes_per_pixel: int) -> int:
    return x_offset % (atom // bytes_per_pixel)
