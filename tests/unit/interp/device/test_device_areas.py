"""The element at an address: the inverse of the layouts' index arithmetic."""

from __future__ import annotations

from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from nvdla_ir.interp.device.areas import CubeElement, LineByte, MemoryCube, MemoryLines

_BASE = 0x8000_0000


def _elements(cube: MemoryCube) -> dict[int, CubeElement]:
    """Every byte of a cube by address, in order of the writes, so that the last one stays."""
    found: dict[int, CubeElement] = {}
    columns = max(cube.width, cube.stored_columns)
    for n, s, y, x, lane in product(
        range(cube.batches),
        range(cube.surfaces),
        range(cube.height),
        range(columns),
        range(cube.atom_bytes),
    ):
        address = cube.base + n * cube.batch_stride + s * cube.surface_stride
        address += y * cube.line_stride + x * cube.atom_bytes + lane
        channel = (s * cube.atom_bytes + lane) // cube.element_bytes
        found[address] = CubeElement(
            s,
            channel,
            y,
            x,
            lane % cube.element_bytes,
            n,
            padding=channel >= cube.channels or x >= cube.width,
        )
    return found


@st.composite
def cubes(draw: st.DrawFn) -> MemoryCube:
    """Cubes with packed, gapped, interleaved, overlapping and zero strides; 1x1 ones too."""
    element_bytes = draw(st.sampled_from([1, 2, 4]))
    atom = draw(st.sampled_from([1, 2, 8])) * element_bytes
    channels, height, width = (draw(st.integers(1, limit)) for limit in (20, 4, 4))
    surfaces = -(-channels * element_bytes // atom)
    stored = draw(st.sampled_from([0, 0, width + 2]))
    line = max(width, stored) * atom
    interleaved = draw(st.booleans())
    gap = st.sampled_from([0, 0, 1, atom, 24])
    if interleaved:
        surface_stride = line + draw(gap)
        line_stride = surfaces * surface_stride + draw(gap)
    else:
        line_stride = line + draw(gap)
        surface_stride = height * line_stride + draw(gap)
    if draw(st.booleans()):
        anything = st.integers(0, 3 * line)
        line_stride, surface_stride = draw(anything), draw(anything)
    return MemoryCube(
        "output", "primary", _BASE, channels, height, width, line_stride, surface_stride, atom,
        element_bytes, draw(st.integers(1, 3)), draw(st.integers(0, 300)), stored,
    )  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(cube=cubes())
def test_every_address_of_a_cube(cube: MemoryCube) -> None:
    expected = _elements(cube)
    assert cube.end == max(expected) + 1
    for address in range(_BASE - 3, cube.end + 3):
        assert cube.locate(address) == expected.get(address)
        assert cube.contains(address) == (address in expected)


@settings(max_examples=200, deadline=None)
@given(
    sizes=st.tuples(*[st.integers(1, 5)] * 3),
    strides=st.tuples(st.integers(0, 40), st.integers(0, 12)),
)
def test_every_address_of_lines(sizes: tuple[int, int, int], strides: tuple[int, int]) -> None:
    blocks, lines, line_bytes = sizes
    area = MemoryLines("data", "primary", _BASE, line_bytes, lines, strides[1], blocks, strides[0])
    expected = {
        _BASE + k * strides[0] + line * strides[1] + byte: LineByte(k, line, byte)
        for k, line, byte in product(range(blocks), range(lines), range(line_bytes))
    }
    assert area.end == max(expected) + 1
    for address in range(_BASE - 3, area.end + 3):
        assert area.locate(address) == expected.get(address)
        assert area.contains(address) == (address in expected)


def test_a_large_cube_is_searched_at_once() -> None:
    cube = MemoryCube("output", "primary", _BASE, 8192, 8192, 8192, 8192 * 32, 8192 * 8192 * 32, 32)
    address = _BASE + 200 * cube.surface_stride + 8000 * cube.line_stride + 77 * 32 + 5
    assert cube.locate(address) == CubeElement(200, 6405, 8000, 77)
    assert cube.locate(cube.end) is None


def test_elements_are_told_in_words() -> None:
    assert str(CubeElement(1, 9, 2, 3)) == "surface 1, channel 9, row 2, column 3"
    padding = CubeElement(0, 7, 2, 3, byte=1, batch=2, padding=True)
    assert str(padding) == "cube 2, surface 0, channel 7, row 2, column 3, byte 1 (padding)"
    assert str(LineByte(1, 2, 3)) == "block 1, line 2, byte 3"
