"""Weight surfaces against the loop nests of the specification."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from nvdla_ir.hw.formats.compressed_weights import compress_weights, decompress_weights
from nvdla_ir.hw.formats.sizes import LayoutError
from nvdla_ir.hw.formats.weights import (
    pack_image_weights,
    pack_weights,
    pack_winograd_weights,
    post_extension_fits,
    unpack_image_weights,
    unpack_weights,
    unpack_winograd_weights,
    weight_surface_bytes,
)

shapes = st.tuples(*(st.integers(1, n) for n in (20, 20, 4, 4)))
group_sizes = st.sampled_from([1, 2, 8])
block_sizes = st.sampled_from([1, 4, 8])


def random_weights(seed: int, shape: tuple[int, ...]) -> NDArray[np.int8]:
    return np.random.default_rng(seed).integers(-128, 128, shape, np.int8)


def chunks(total: int, step: int) -> Iterator[range]:
    for start in range(0, total, step):
        yield range(start, min(start + step, total))


def padded(values: list[int]) -> list[int]:
    return values + [0] * (-len(values) % 128)


@given(shapes, group_sizes, block_sizes, st.integers(0, 2**32))
def test_direct_weights(shape: tuple[int, ...], group: int, block: int, seed: int) -> None:
    weights = random_weights(seed, shape)
    kernels, channels, rows, columns = shape
    expected = [
        int(weights[k, c, r, s])
        for ks in chunks(kernels, group)
        for cs in chunks(channels, block)
        for r in range(rows)
        for s in range(columns)
        for k in ks
        for c in cs
    ]
    surface = pack_weights(weights, group, block)
    assert surface.tolist() == padded(expected)
    assert len(surface) == weight_surface_bytes((kernels, channels, rows, columns))
    restored = unpack_weights(surface, (kernels, channels, rows, columns), group, block)
    assert np.array_equal(restored, weights)


@given(
    st.tuples(*(st.integers(1, n) for n in (20, 4, 9, 4))),
    group_sizes,
    st.sampled_from([1, 2, 4]),
    st.integers(0, 2**32),
)
def test_image_weights(shape: tuple[int, ...], group: int, lines: int, seed: int) -> None:
    weights = random_weights(seed, shape)
    kernels, channels, rows, columns = shape
    block = channels * columns * lines if lines > 1 else 8
    # one extended channel block unless lines == 1, where the loop is that of direct weights
    taps = [(s, c) for s in range(columns) for c in range(channels)]
    if lines == 1:
        expected = [
            int(weights[k, taps[e][1], r, taps[e][0]])
            for ks in chunks(kernels, group)
            for es in chunks(len(taps), block)
            for r in range(rows)
            for k in ks
            for e in es
        ]
    else:
        expected = [
            int(weights[k, c, r, s])
            for ks in chunks(kernels, group)
            for rs in chunks(rows, lines)
            for k in ks
            for r in rs
            for s, c in taps
        ]
    surface = pack_image_weights(weights, group, block, lines)
    assert surface.tolist() == padded(expected)
    restored = unpack_image_weights(
        surface, (kernels, channels, rows, columns), group, block, lines
    )
    assert np.array_equal(restored, weights)


@given(st.integers(1, 20), st.integers(1, 5), group_sizes, st.integers(0, 2**32))
def test_winograd_weights(kernels: int, blocks: int, group: int, seed: int) -> None:
    shape = (kernels, 4 * blocks, 4, 4)
    weights = random_weights(seed, shape)
    expected = [
        int(weights[k, c, r, s])
        for ks in chunks(kernels, group)
        for cs in chunks(4 * blocks, 4)
        for k in ks
        for r in range(4)
        for s in range(4)
        for c in cs
    ]
    surface = pack_winograd_weights(weights, group)
    assert surface.tolist() == padded(expected)
    assert np.array_equal(unpack_winograd_weights(surface, shape, group), weights)


@given(
    st.integers(1, 40),
    st.integers(1, 40),
    group_sizes,
    st.floats(0, 1),
    st.integers(0, 2**32),
)
def test_compressed_weights(
    kernels: int, kernel_bytes: int, group: int, density: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    size = kernels * kernel_bytes
    stream = random_weights(seed, (size,)) * (rng.random(size) < density).astype(np.int8)
    surface = np.concatenate([stream, np.zeros(-size % 128, np.int8)])
    compressed = compress_weights(surface, kernels, kernel_bytes, group)
    bits = [int(value != 0) for value in stream.tolist()]
    mask = [
        sum(bit << position for position, bit in enumerate(bits[start : start + 8]))
        for start in range(0, size, 8)
    ]
    assert compressed.mask.tolist() == padded(mask)
    # never empty: the hardware waits for some
    assert compressed.data.tolist() == padded([value for value in stream.tolist() if value] or [0])
    assert compressed.group_bytes.tolist() == [
        sum(bits[k.start * kernel_bytes : k.stop * kernel_bytes]) for k in chunks(kernels, group)
    ]
    restored = decompress_weights(compressed.data, compressed.mask, kernels, kernel_bytes)
    assert np.array_equal(restored, stream)


def test_direct_weights_by_hand() -> None:
    """3 kernels in groups of 2, 3 channels in blocks of 2, one row of two columns."""
    weights = np.arange(18, dtype=np.int8).reshape(3, 3, 1, 2)  # value = 6k + 2c + s
    first = [0, 2, 6, 8, 1, 3, 7, 9, 4, 10, 5, 11]
    second = [12, 14, 13, 15, 16, 17]
    assert pack_weights(weights, 2, 2, alignment=1).tolist() == first + second


def test_post_extension_limits() -> None:
    assert post_extension_fits(channels=4, columns=4, x_stride=2, lines=2, channels_per_block=32)
    assert not post_extension_fits(4, 5, 2, 2, 32)
    assert not post_extension_fits(4, 2, 5, 2, 32)
    assert not post_extension_fits(4, 4, 2, 4, 32)
    with pytest.raises(LayoutError, match="by 2 lines allows 4 channels x columns, got 12"):
        pack_image_weights(np.zeros((1, 4, 2, 3), np.int8), 8, 8, lines=2)
    with pytest.raises(LayoutError, match="by 3 lines: must be 1, 2 or 4"):
        pack_image_weights(np.zeros((1, 1, 2, 1), np.int8), 8, 8, lines=3)


def test_weight_faults() -> None:
    with pytest.raises(LayoutError, match=r"expected \[K, C, R, S\], got shape \(3, 3\)"):
        pack_weights(np.zeros((3, 3), np.int8), 8, 8)
    with pytest.raises(LayoutError, match="C = 0: must be at least 1"):
        pack_weights(np.zeros((3, 0, 1, 1), np.int8), 8, 8)
    with pytest.raises(LayoutError, match="bytes 0 to 8 are outside the memory of 8 bytes"):
        unpack_weights(np.zeros(8, np.int8), (1, 9, 1, 1), 8, 8)
    with pytest.raises(LayoutError, match="Winograd weights: expected"):
        pack_winograd_weights(np.zeros((1, 3, 4, 4), np.int8), 8)
    with pytest.raises(LayoutError, match="the mask has 3 elements, the data only 2"):
        decompress_weights(np.ones(2, np.int8), np.array([7], np.uint8), 1, 8)
    with pytest.raises(LayoutError, match="weight mask: bytes 0 to 1 are outside"):
        decompress_weights(np.ones(2, np.int8), np.array([7], np.uint8), 1, 9)
