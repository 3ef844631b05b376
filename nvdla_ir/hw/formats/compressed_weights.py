"""Compressed convolution weights (convolution.md section 2.6), for builds that have them.

A weight stream is split into a mask of one bit per element (WMB), the non-zero elements, and the
byte count of each kernel group's non-zero elements (WGS).
"""

from __future__ import annotations

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from nvdla_ir.hw.formats.sizes import LayoutError, align_up, ceil_div, require_bytes
from nvdla_ir.hw.formats.weights import WEIGHT_ALIGNMENT


@frozen(eq=False)
class CompressedWeights:
    """The three surfaces: ``data`` and ``mask`` padded to 128 bytes, ``group_bytes`` one 32-bit
    little-endian word a kernel group. Lengths of the first two are WEIGHT_BYTES and WMB_BYTES."""

    data: NDArray[np.int8]
    mask: NDArray[np.uint8]
    group_bytes: NDArray[np.uint32]


def compressed_sizes(
    weights: NDArray[np.int8], alignment: int = WEIGHT_ALIGNMENT
) -> tuple[int, int]:
    """The bytes of ``data`` and ``mask`` of weights in any order: WEIGHT_BYTES and WMB_BYTES.

    Data are never empty: the hardware waits for some.
    """
    data = align_up(max(int(np.count_nonzero(weights)), 1), alignment)
    return data, align_up(ceil_div(weights.size, 8), alignment)


def compress_weights(
    surface: NDArray[np.int8],
    kernels: int,
    kernel_bytes: int,
    kernels_per_group: int,
    alignment: int = WEIGHT_ALIGNMENT,
) -> CompressedWeights:
    """Compress an uncompressed weight surface of ``kernels`` x ``kernel_bytes`` elements.

    Only the mask's and the data's ends are padded; groups follow one another without alignment.
    """
    size = kernels * kernel_bytes
    require_bytes("weights", surface, 0, size)
    stream = surface.view(np.int8)[:size]
    present = stream != 0
    starts = np.arange(0, size, kernels_per_group * kernel_bytes)
    group_bytes = np.add.reduceat(present.astype(np.uint32), starts).astype("<u4")
    return CompressedWeights(
        _padded(stream[present], alignment).view(np.int8),
        _padded(np.packbits(present, bitorder="little"), alignment).view(np.uint8),
        group_bytes,
    )


def decompress_weights(
    data: NDArray[np.generic], mask: NDArray[np.generic], kernels: int, kernel_bytes: int
) -> NDArray[np.int8]:
    """Return the uncompressed stream of ``kernels`` x ``kernel_bytes`` elements, not padded.

    Raises LayoutError if the mask or the data is too short.
    """
    size = kernels * kernel_bytes
    require_bytes("weight mask", mask, 0, ceil_div(size, 8))
    present = np.unpackbits(mask.view(np.uint8), count=size, bitorder="little").astype(np.bool_)
    count = int(np.count_nonzero(present))
    if count > len(data):
        raise LayoutError(
            f"compressed weights: the mask has {count} elements, the data only {len(data)}"
        )
    stream = np.zeros(size, np.int8)
    stream[present] = data.view(np.int8)[:count]
    return stream


def _padded(stream: NDArray[np.generic], alignment: int) -> NDArray[np.generic]:
    surface = np.zeros(align_up(max(len(stream), 1), alignment), stream.dtype)
    surface[: len(stream)] = stream
    return surface
