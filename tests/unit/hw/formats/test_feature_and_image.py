"""Feature cubes and pixel images against the address formulas, written as plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from nvdla_ir.hw.formats.feature import FeatureLayout, from_atoms, to_atoms
from nvdla_ir.hw.formats.image import ImageLayout
from nvdla_ir.hw.formats.sizes import LayoutError, align_up, ceil_div
from nvdla_ir.hw.pixels import EIGHT_BIT_FORMATS, PIXEL_FORMATS

atoms = st.sampled_from([8, 16, 32])


def random_bytes(seed: int, *shape: int) -> NDArray[np.int8]:
    return np.random.default_rng(seed).integers(-128, 128, shape, np.int8)


@given(st.integers(0, 10**6), st.integers(1, 10**6))
def test_rounding_of_sizes(value: int, divisor: int) -> None:
    up = ceil_div(value, divisor)
    assert (up - 1) * divisor < value <= up * divisor
    assert align_up(value, divisor) == up * divisor


@st.composite
def feature_layouts(draw: st.DrawFn) -> FeatureLayout:
    atom = draw(atoms)
    channels, height, width = (draw(st.integers(1, n)) for n in (70, 6, 7))
    line = (width + draw(st.integers(0, 3))) * atom
    surface = height * line + draw(st.integers(0, 3)) * atom
    return FeatureLayout(channels, height, width, atom, line, surface)


@given(feature_layouts(), st.integers(0, 2**32), st.integers(0, 40))
def test_feature_cube_against_the_address_formula(
    layout: FeatureLayout, seed: int, offset: int
) -> None:
    cube = random_bytes(seed, layout.channels, layout.height, layout.width)
    packed = layout.pack(cube)
    assert len(packed) == layout.size_bytes
    expected = np.zeros(layout.size_bytes, np.int8)
    for c in range(layout.channels):
        for y in range(layout.height):
            for x in range(layout.width):
                address = (
                    (c // layout.atom) * layout.surface_stride
                    + y * layout.line_stride
                    + x * layout.atom
                    + c % layout.atom
                )
                expected[address] = cube[c, y, x]
    assert np.array_equal(packed, expected)
    memory = np.concatenate([random_bytes(seed, offset), packed])
    assert np.array_equal(layout.unpack(memory, offset), cube)
    assert np.array_equal(layout.unpack(memory.view(np.uint8), offset), cube)
    assert not layout.overlaps


@given(feature_layouts(), st.integers(0, 2**32))
def test_whole_atoms_are_a_view_of_memory(layout: FeatureLayout, seed: int) -> None:
    before = random_bytes(seed, layout.size_bytes + 16)
    memory = before.copy()
    view = layout.atoms(memory, 16)
    assert view.shape == (layout.surfaces, layout.height, layout.width, layout.atom)
    view[...] = values = random_bytes(seed + 1, *view.shape)
    touched = np.zeros(len(memory), np.bool_)
    for s, y, x in np.ndindex(*view.shape[:3]):
        address = 16 + s * layout.surface_stride + y * layout.line_stride + x * layout.atom
        touched[address : address + layout.atom] = True
        assert np.array_equal(memory[address : address + layout.atom], values[s, y, x])
    assert np.array_equal(memory[~touched], before[~touched])


@given(st.integers(1, 70), st.integers(1, 4), st.integers(1, 4), atoms)
def test_atoms_and_cubes_are_inverse(channels: int, height: int, width: int, atom: int) -> None:
    cube = random_bytes(channels, channels, height, width)
    whole = to_atoms(cube, atom)
    assert np.array_equal(from_atoms(whole, channels), cube)
    lanes = np.transpose(whole, (0, 3, 1, 2)).reshape(-1, height, width)[channels:]
    assert not lanes.any()


def test_feature_cube_by_hand() -> None:
    """Two surfaces of a 10-channel 1x2 cube, atom 8, a line gap of one atom."""
    layout = FeatureLayout(10, 1, 2, 8, 24, 24)
    cube = np.arange(20, dtype=np.int8).reshape(10, 1, 2)
    first = [0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15]
    second = [16, 18, 0, 0, 0, 0, 0, 0, 17, 19, 0, 0, 0, 0, 0, 0]
    assert layout.pack(cube).tolist() == first + [0] * 8 + second


def test_packed_feature_layout() -> None:
    layout = FeatureLayout.packed(33, 5, 7, 32)
    assert (layout.line_stride, layout.surface_stride, layout.size_bytes) == (224, 1120, 2240)
    assert layout.line_packed and layout.surface_packed
    point = FeatureLayout.packed(33, 1, 1, 32, line_alignment=64)
    assert (point.line_stride, point.surface_stride, point.size_bytes) == (32, 32, 64)
    aligned = FeatureLayout.packed(33, 5, 7, 32, line_alignment=64)
    assert (aligned.line_stride, aligned.surface_stride) == (256, 1280)
    assert not aligned.line_packed and not aligned.surface_packed


def test_feature_faults() -> None:
    with pytest.raises(LayoutError, match=r"height = 0, width = -1: must be at least 1"):
        FeatureLayout(8, 0, -1, 8, 8, 8)
    with pytest.raises(LayoutError, match=r"line_stride = 20: must be a multiple.*8 bytes"):
        FeatureLayout(8, 2, 2, 8, 20, 40)
    with pytest.raises(LayoutError, match=r"surface_stride = 36: must be a multiple"):
        FeatureLayout(9, 2, 2, 8, 16, 36)
    # strides that address nothing may hold anything
    assert FeatureLayout(8, 1, 2, 8, 3, -5).size_bytes == 16
    layout = FeatureLayout.packed(8, 2, 2, 8)
    with pytest.raises(LayoutError, match=r"expected shape \(8, 2, 2\), got \(8, 2, 3\)"):
        layout.pack(np.zeros((8, 2, 3), np.int8))
    with pytest.raises(LayoutError, match=r"bytes 1 to 32 are outside the memory of 32 bytes"):
        layout.unpack(np.zeros(32, np.int8), 1)
    with pytest.raises(LayoutError, match="outside the memory"):
        layout.unpack(np.zeros(32, np.int8), -1)
    with pytest.raises(LayoutError, match="one-dimensional byte array"):
        layout.unpack(np.zeros(32, np.int16))


@pytest.mark.parametrize(
    ("line", "surface", "overlaps"),
    [
        (16, 32, False),
        (8, 32, True),
        (16, 24, True),
        (16, 16, True),
        # surfaces interleaved within lines: unusual, but no byte is shared
        (32, 16, False),
        (24, 16, True),
    ],
)
def test_overlap(line: int, surface: int, overlaps: bool) -> None:
    layout = FeatureLayout(16, 2, 2, 8, line, surface)
    assert layout.overlaps == overlaps
    cube = random_bytes(1, 16, 2, 2)
    if overlaps:
        with pytest.raises(LayoutError, match="overlap"):
            layout.pack(cube)
    else:
        assert np.array_equal(layout.unpack(layout.pack(cube)), cube)


@st.composite
def image_layouts(draw: st.DrawFn) -> ImageLayout:
    pixel_format = PIXEL_FORMATS[draw(st.sampled_from(EIGHT_BIT_FORMATS))]
    atom = draw(atoms)
    height, width = draw(st.integers(1, 5)), draw(st.integers(1, 9))
    x_offset = draw(st.integers(0, atom // pixel_format.bytes_per_pixel[0] - 1))
    least = ImageLayout.packed(pixel_format, height, width, atom, x_offset)
    strides = tuple(s + atom * draw(st.integers(0, 2)) for s in least.line_strides)
    return ImageLayout(pixel_format, height, width, atom, strides, x_offset)


def memory_component(name: str, channel: int) -> tuple[int, int]:
    """Plane and byte of a canonical channel, read off the format's name.

    Components are named from most to least significant, the last one at the lowest address.
    """
    planes = name.removeprefix("T_").removesuffix("_N444").split("___")
    canonical = "RGBA" if "R" in name.removeprefix("T_") else "YUVA"
    for plane, components in enumerate(planes):
        letters = [letter for letter in reversed(components) if letter.isalpha()]
        letters = ["A" if letter == "X" else letter for letter in letters]
        if canonical[channel] in letters:
            return plane, letters.index(canonical[channel])
    raise AssertionError(name)


@given(image_layouts(), st.integers(0, 2**32))
def test_image_against_the_address_formula(layout: ImageLayout, seed: int) -> None:
    pixel_format = layout.pixel_format
    image = random_bytes(seed, pixel_format.channels, layout.height, layout.width)
    planes = layout.pack(image)
    assert [len(plane) for plane in planes] == [
        layout.size_bytes(plane) for plane in range(pixel_format.planes)
    ]
    expected = [np.zeros_like(plane) for plane in planes]
    for channel in range(pixel_format.channels):
        plane, component = memory_component(pixel_format.name, channel)
        size = pixel_format.bytes_per_pixel[plane]
        skipped = layout.x_offset if plane == 0 else layout.x_offset % (layout.atom // size)
        for y in range(layout.height):
            for x in range(layout.width):
                address = y * layout.line_strides[plane] + (skipped + x) * size + component
                expected[plane][address] = image[channel, y, x].view(np.uint8)
    for plane, wanted in zip(planes, expected, strict=True):
        assert np.array_equal(plane, wanted)
    assert np.array_equal(layout.unpack(planes), image.view(np.uint8))


def test_image_faults() -> None:
    bgra = PIXEL_FORMATS["T_A8R8G8B8"]
    with pytest.raises(LayoutError, match=r"x_offset = 2: must be 0 to 1 with a memory atom of 8"):
        ImageLayout(bgra, 2, 2, 8, (32,), 2)
    with pytest.raises(LayoutError, match=r"stride 8 of plane 0: must be .* at least 12"):
        ImageLayout(bgra, 2, 2, 8, (8,), 1)
    with pytest.raises(LayoutError, match=r"stride 12 of plane 0: must be a multiple"):
        ImageLayout(bgra, 2, 2, 8, (12,), 0)
    with pytest.raises(LayoutError, match="needs 2 line strides, got 1"):
        ImageLayout(PIXEL_FORMATS["T_Y8___U8V8_N444"], 2, 2, 8, (8,))
    with pytest.raises(LayoutError, match="only formats of 8-bit components"):
        ImageLayout(PIXEL_FORMATS["T_R16"], 2, 2, 8, (8,))
    with pytest.raises(LayoutError, match="pixels must be bytes, got int16"):
        ImageLayout.packed(bgra, 2, 2, 8).pack(np.zeros((4, 2, 2), np.int16))
