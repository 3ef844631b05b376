"""Convolution weights in memory, INT8 (convolution.md sections 2.4, 2.5 and 2.8).

Weights are arrays ``[K, C, R, S]``: kernels, channels, rows, columns. A surface is the stream of
their bytes in fetch order, zero-padded to ``alignment`` (128 bytes in every configuration). How
many of them the hardware is told to fetch is another matter: ``buffer.fetched_weight_bytes``.
``kernels_per_group`` is ``atomic_k`` and ``channels_per_block`` is ``atomic_c`` of a configuration.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from nvdla_ir.hw.formats.sizes import LayoutError, align_up, require_bytes, require_positive

WEIGHT_ALIGNMENT = 128
"""Bytes that a weight surface is padded to (convolution.md section 2.4)."""

# What is rearranged at once: it stays in caches.
_PART_BYTES = 1 << 18

WINOGRAD_CHANNELS_PER_BLOCK = 4
"""Channels that a Winograd weight block interleaves (convolution.md section 2.8)."""

_Shape = tuple[int, int, int, int]
# from the stream of some kernel groups and their shape [groups, kernels, C, R, S] to that array
_Unpacker = Callable[[NDArray[np.int8], tuple[int, ...]], NDArray[np.int8]]


def weight_surface_bytes(shape: _Shape, alignment: int = WEIGHT_ALIGNMENT) -> int:
    """Return the bytes of a surface of uncompressed weights ``[K, C, R, S]`` in memory."""
    return align_up(int(np.prod(shape)), alignment)


def pack_weights(
    weights: NDArray[np.int8],
    kernels_per_group: int,
    channels_per_block: int,
    alignment: int = WEIGHT_ALIGNMENT,
) -> NDArray[np.int8]:
    """Return the surface of direct-convolution weights ``[K, C, R, S]`` (section 2.4).

    Order, outermost first: kernel group, channel block, row, column, kernel, channel.
    """
    return np.concatenate(
        list(packed_weight_parts(weights, kernels_per_group, channels_per_block, alignment))
    )


def packed_weight_parts(
    weights: NDArray[np.int8],
    kernels_per_group: int,
    channels_per_block: int,
    alignment: int = WEIGHT_ALIGNMENT,
) -> Iterator[NDArray[np.int8]]:
    """Yield the surface that ``pack_weights`` returns in parts that follow one another: some
    kernel groups each, and the padding."""
    _require_weights(weights.shape)
    for groups in _split_groups(weights, kernels_per_group):
        at_once = max(_PART_BYTES // groups[0].size, 1)
        for first in range(0, len(groups), at_once):
            yield _pack_groups(groups[first : first + at_once], channels_per_block)
    yield np.zeros(-weights.size % alignment, np.int8)


def unpack_weights(
    data: NDArray[np.generic],
    shape: _Shape,
    kernels_per_group: int,
    channels_per_block: int,
) -> NDArray[np.int8]:
    """Return weights ``[K, C, R, S]`` from a surface that begins at ``data[0]``."""
    return _unpack(
        data,
        shape,
        kernels_per_group,
        lambda stream, part: _unpack_groups(stream, part, channels_per_block),
    )


def extend_image_weights(weights: NDArray[np.int8]) -> NDArray[np.int8]:
    """Merge columns into channels for image input: ``[K, C, R, S]`` to ``[K, S*C, R, 1]``.

    Extended channel ``s * C + c`` is tap (c, s) (pre-extension, section 2.5).
    """
    kernels, channels, rows, columns = weights.shape
    extended = np.transpose(weights, (0, 3, 1, 2)).reshape(kernels, columns * channels, rows, 1)
    return np.ascontiguousarray(extended)


def restore_image_weights(extended: NDArray[np.int8], channels: int) -> NDArray[np.int8]:
    """Undo extend_image_weights, for ``channels`` channels per pixel."""
    kernels, merged, rows, _ = extended.shape
    if merged % channels:
        raise LayoutError(
            f"image weights: {merged} extended channels are not a multiple of {channels} channels"
        )
    split = extended.reshape(kernels, merged // channels, channels, rows)
    return np.ascontiguousarray(np.transpose(split, (0, 2, 3, 1)))


def post_extension_fits(
    channels: int, columns: int, x_stride: int, lines: int, channels_per_block: int
) -> bool:
    """Whether image weights may be post-extended by 2 or 4 ``lines`` (section 2.5)."""
    slot = channels_per_block // lines
    return channels * columns <= slot and channels * x_stride <= slot


def pack_image_weights(
    weights: NDArray[np.int8],
    kernels_per_group: int,
    channels_per_block: int,
    lines: int = 1,
    alignment: int = WEIGHT_ALIGNMENT,
) -> NDArray[np.int8]:
    """Return the surface of image-input weights ``[K, C, R, S]`` (section 2.5).

    ``lines`` is 1 without post-extension, else 2 or 4 rows that the MAC takes together. Order with
    post-extension: kernel group, row group, kernel, row, extended channel.
    """
    extended = extend_image_weights(weights)
    if lines == 1:
        return pack_weights(extended, kernels_per_group, channels_per_block, alignment)
    _require_weights(weights.shape)
    _require_post_extension(extended.shape[1], lines, channels_per_block)
    parts = [_pack_rows(groups, lines) for groups in _split_groups(extended, kernels_per_group)]
    return _padded(np.concatenate(parts), alignment)


def unpack_image_weights(
    data: NDArray[np.generic],
    shape: _Shape,
    kernels_per_group: int,
    channels_per_block: int,
    lines: int = 1,
) -> NDArray[np.int8]:
    """Return image-input weights ``[K, C, R, S]`` from a surface that begins at ``data[0]``."""
    kernels, channels, rows, columns = shape
    extended = (kernels, columns * channels, rows, 1)
    if lines == 1:
        merged = unpack_weights(data, extended, kernels_per_group, channels_per_block)
    else:
        _require_post_extension(extended[1], lines, channels_per_block)
        merged = _unpack(
            data,
            extended,
            kernels_per_group,
            lambda stream, part: _unpack_rows(stream, part, lines),
        )
    return restore_image_weights(merged, channels)


def pack_winograd_weights(
    weights: NDArray[np.int8], kernels_per_group: int, alignment: int = WEIGHT_ALIGNMENT
) -> NDArray[np.int8]:
    """Return the surface of transformed Winograd weights ``[K, C, 4, 4]`` (section 2.8).

    Order: kernel group, block of 4 channels, kernel, row, column, channel.
    """
    _require_winograd(weights.shape)
    parts: list[NDArray[np.int8]] = []
    for groups in _split_groups(weights, kernels_per_group):
        count, kernels, channels, rows, columns = groups.shape
        blocks = groups.reshape(count, kernels, channels // 4, 4, rows, columns)
        parts.append(np.transpose(blocks, (0, 2, 1, 4, 5, 3)).reshape(-1))
    return _padded(np.concatenate(parts), alignment)


def unpack_winograd_weights(
    data: NDArray[np.generic], shape: _Shape, kernels_per_group: int
) -> NDArray[np.int8]:
    """Return Winograd weights ``[K, C, 4, 4]`` from a surface that begins at ``data[0]``."""
    _require_winograd(shape)

    def unpack(stream: NDArray[np.int8], part: tuple[int, ...]) -> NDArray[np.int8]:
        count, kernels, channels, rows, columns = part
        blocks = stream.reshape(count, channels // 4, kernels, rows, columns, 4)
        return np.transpose(blocks, (0, 2, 1, 5, 3, 4)).reshape(part)

    return _unpack(data, shape, kernels_per_group, unpack)


def _require_weights(shape: tuple[int, ...]) -> None:
    if len(shape) != 4:
        raise LayoutError(f"weights: expected [K, C, R, S], got shape {shape}")
    require_positive("weights", **dict(zip(("K", "C", "R", "S"), shape, strict=True)))


def _require_post_extension(extended_channels: int, lines: int, channels_per_block: int) -> None:
    if lines not in (2, 4):
        raise LayoutError(f"image weights: post-extension by {lines} lines: must be 1, 2 or 4")
    slot = channels_per_block // lines
    if extended_channels > slot:
        raise LayoutError(
            f"image weights: post-extension by {lines} lines allows {slot} channels x columns, "
            f"got {extended_channels}"
        )


def _require_winograd(shape: tuple[int, ...]) -> None:
    _require_weights(shape)
    if shape[2:] != (4, 4) or shape[1] % WINOGRAD_CHANNELS_PER_BLOCK:
        raise LayoutError(
            f"Winograd weights: expected [K, multiple of {WINOGRAD_CHANNELS_PER_BLOCK}, 4, 4], "
            f"got shape {shape}"
        )


def _padded(stream: NDArray[np.int8], alignment: int) -> NDArray[np.int8]:
    surface = np.zeros(align_up(len(stream), alignment), np.int8)
    surface[: len(stream)] = stream
    return surface


# Kernels come as full groups and at most one short group, channels and rows likewise. Each of the
# two parts of an axis is a plain reshape and transpose, so nothing is looped over but the parts.


def _parts(size: int, per_part: int) -> list[tuple[int, int, int]]:
    """Cut an axis: (start, count, length) for the full parts together, then for the short one."""
    full = size // per_part
    cut = [(0, full, per_part), (full * per_part, 1, size % per_part)]
    return [(start, count, length) for start, count, length in cut if count and length]


def _split_groups(weights: NDArray[np.int8], kernels_per_group: int) -> list[NDArray[np.int8]]:
    """Return ``[groups, kernels, C, R, S]`` of the full groups, and of the short one."""
    return [
        weights[start : start + count * length].reshape(count, length, *weights.shape[1:])
        for start, count, length in _parts(len(weights), kernels_per_group)
    ]


def _unpack(
    data: NDArray[np.generic],
    shape: tuple[int, ...],
    kernels_per_group: int,
    unpack: _Unpacker,
) -> NDArray[np.int8]:
    _require_weights(shape)
    kernel_bytes = int(np.prod(shape[1:]))
    require_bytes("weights", data, 0, shape[0] * kernel_bytes)
    stream = data.view(np.int8)
    weights = np.empty(shape, np.int8)
    for start, count, length in _parts(shape[0], kernels_per_group):
        stop = start + count * length
        part = unpack(
            stream[start * kernel_bytes : stop * kernel_bytes], (count, length, *shape[1:])
        )
        weights[start:stop] = part.reshape(-1, *shape[1:])
    return weights


def _pack_groups(groups: NDArray[np.int8], channels_per_block: int) -> NDArray[np.int8]:
    """``[G, K, C, R, S]`` to the stream of G groups: block, row, column, kernel, channel."""
    count, kernels, channels, rows, columns = groups.shape
    streams = np.empty((count, groups[0].size), np.int8)
    taken = 0
    for start, blocks, length in _parts(channels, channels_per_block):
        part = groups[:, :, start : start + blocks * length]
        part = part.reshape(count, kernels, blocks, length, rows, columns)
        size = blocks * length * rows * columns * kernels
        stream = streams[:, taken : taken + size]
        stream.reshape(count, blocks, rows, columns, kernels, length)[...] = np.transpose(
            part, (0, 2, 4, 5, 1, 3)
        )
        taken += size
    return streams.reshape(-1)


def _unpack_groups(
    stream: NDArray[np.int8], shape: tuple[int, ...], channels_per_block: int
) -> NDArray[np.int8]:
    count, kernels, channels, rows, columns = shape
    by_group = stream.reshape(count, -1)
    groups = np.empty(shape, np.int8)
    taken = 0
    for start, blocks, length in _parts(channels, channels_per_block):
        size = blocks * length * rows * columns * kernels
        part = by_group[:, taken : taken + size]
        part = part.reshape(count, blocks, rows, columns, kernels, length)
        groups[:, :, start : start + blocks * length] = np.transpose(
            part, (0, 4, 1, 5, 2, 3)
        ).reshape(count, kernels, blocks * length, rows, columns)
        taken += size
    return groups


def _pack_rows(groups: NDArray[np.int8], lines: int) -> NDArray[np.int8]:
    """``[G, K, E, R, 1]`` to the stream of G groups: row group, kernel, row, extended channel."""
    count, kernels, extended, rows, _ = groups.shape
    streams: list[NDArray[np.int8]] = []
    for start, row_groups, length in _parts(rows, lines):
        part = groups[:, :, :, start : start + row_groups * length, 0]
        part = part.reshape(count, kernels, extended, row_groups, length)
        streams.append(np.transpose(part, (0, 3, 1, 4, 2)).reshape(count, -1))
    return np.concatenate(streams, axis=1).reshape(-1)


def _unpack_rows(stream: NDArray[np.int8], shape: tuple[int, ...], lines: int) -> NDArray[np.int8]:
    count, kernels, extended, rows, _ = shape
    by_group = stream.reshape(count, -1)
    groups = np.empty(shape, np.int8)
    taken = 0
    for start, row_groups, length in _parts(rows, lines):
        size = row_groups * length * kernels * extended
        part = by_group[:, taken : taken + size]
        part = part.reshape(count, row_groups, kernels, length, extended)
        groups[:, :, :, start : start + row_groups * length, 0] = np.transpose(
            part, (0, 2, 4, 1, 3)
        ).reshape(count, kernels, extended, row_groups * length)
        taken += size
    return groups
