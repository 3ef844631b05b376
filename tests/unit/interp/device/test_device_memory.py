"""The byte memory against a dictionary of bytes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nvdla_ir.interp.device.errors import MemoryAccessError
from nvdla_ir.interp.device.memory import PAGE_BYTES, Memory

# Around page borders, close together and far apart, up to the last byte of the address space.
_ADDRESSES = st.builds(
    lambda page, offset: max(page * PAGE_BYTES + offset, 0),
    st.sampled_from([0, 1, 2, 3, 7, 1 << 20, (1 << 47) - 1]),
    st.integers(-40, 40),
)


def test_unwritten_bytes_read_as_zero() -> None:
    memory = Memory("test")
    assert not memory.read(0x1234, 100).any()
    memory.write(0x2000, b"\x01\x02")
    assert memory.read(0x1FFF, 4).tolist() == [0, 1, 2, 0]


@settings(deadline=None)
@given(writes=st.lists(st.tuples(_ADDRESSES, st.binary(min_size=1, max_size=60)), max_size=12))
def test_reads_what_was_written_last(writes: list[tuple[int, bytes]]) -> None:
    memory = Memory("test")
    expected: dict[int, int] = {}
    for address, data in writes:
        memory.write(address, data)
        expected |= {address + index: byte for index, byte in enumerate(data)}
    for address, _ in writes:
        start = max(address - 70, 0)
        found = memory.read(start, 200)
        assert found.tolist() == [expected.get(start + index, 0) for index in range(200)]


_STRIDES = st.sampled_from([0, 1, 3, 7, 16, 60, PAGE_BYTES - 5, 3 * PAGE_BYTES, 1 << 24])


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_strided_access_equals_access_byte_by_byte(data: st.DataObject) -> None:
    """Packed, gapped, interleaved and overlapping blocks; of the latter the last part stays."""
    shape = data.draw(st.tuples(*[st.integers(1, 4)] * 3))
    if data.draw(st.booleans()):
        gaps = st.sampled_from([0, 5, PAGE_BYTES, 1 << 24])
        line = shape[2] + data.draw(gaps)
        strides = (line * shape[1] + data.draw(gaps), line, 1)
    else:
        strides = (data.draw(_STRIDES), data.draw(_STRIDES), data.draw(st.sampled_from([1, 1, 3])))
    base = data.draw(_ADDRESSES.filter(lambda address: address < 1 << 40))
    values = np.arange(1, 1 + shape[0] * shape[1] * shape[2]).astype(np.uint8).reshape(shape)
    addresses = {
        index: base + sum(i * stride for i, stride in zip(index, strides, strict=True))
        for index in np.ndindex(*shape)
    }
    memory = Memory("test")
    memory.write_strided(base, strides, values)
    expected = {address: values[index] for index, address in addresses.items()}
    for address in addresses.values():
        found = memory.read(address - (address > 0), 3)
        around = range(address - (address > 0), address - (address > 0) + 3)
        assert found.tolist() == [expected.get(place, 0) for place in around]
    found = memory.read_strided(base, shape, strides)
    assert all(found[index] == expected[address] for index, address in addresses.items())
    assert memory.occupied_bytes <= (2 * 4 * 4 + 1) * 2 * max(PAGE_BYTES, 1 << 20)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_strided_reads_gather_from_anywhere(data: st.DataObject) -> None:
    """Blocks that lie partly in memory that was written, in several extents, and partly not."""
    memory = Memory("test")
    expected: dict[int, int] = {}
    for page in data.draw(st.lists(st.integers(0, 30), max_size=6, unique=True)):
        first = page * PAGE_BYTES
        memory.write(first, bytes([page + 1]) * PAGE_BYTES)
        expected[page] = page + 1
    strides = st.sampled_from([0, 1, 5, 1000, PAGE_BYTES // 3, PAGE_BYTES + 7, 5 * PAGE_BYTES])
    shape = data.draw(st.tuples(*[st.integers(1, 5)] * 3))
    chosen = data.draw(strides), data.draw(strides), data.draw(st.sampled_from([1, 1, 9]))
    base = data.draw(st.integers(0, 20 * PAGE_BYTES))
    found = memory.read_strided(base, shape, chosen)
    for index in np.ndindex(*shape):
        address = base + sum(i * stride for i, stride in zip(index, chosen, strict=True))
        assert found[index] == expected.get(address // PAGE_BYTES, 0)


def test_large_blocks_take_few_steps() -> None:
    """Blocks of millions of lines, as the registers of a copy can ask for."""
    memory = Memory("large", limit_bytes=1 << 26)
    memory.write(0, b"\x01")
    memory.write(1 << 40, b"\x02")
    lines = memory.read_strided(0, (1 << 20, 1, 32), (1 << 22, 0, 1))
    assert (lines[0, 0, 0], lines[1 << 18, 0, 0], int(lines.sum())) == (1, 2, 3)
    ones = np.ones((1 << 20, 1, 32), np.uint8)
    memory.write_strided(1 << 41, (0, 0, 1), ones)
    memory.write_strided(1 << 41, (16, 0, 1), ones[:, 0, np.newaxis])
    assert int(memory.read(1 << 41, 1 << 24).sum()) == 1 << 24
    with pytest.raises(MemoryAccessError, match="its limit is"):
        memory.write_strided(1 << 42, (1 << 20, 0, 1), ones)
    tall = np.broadcast_to(ones[0, 0, 0], (1 << 21, 2, 2))
    with pytest.raises(MemoryAccessError, match="2097152 parts that overlap"):
        memory.write_strided(1 << 42, (8, 9, 1), tall)


def test_appending_does_not_copy_everything_each_time() -> None:
    memory = Memory("test")
    sizes = set()
    for index in range(400):
        memory.write(index * PAGE_BYTES, b"\x07" * PAGE_BYTES)
        sizes.add(memory.occupied_bytes)
    assert memory.read(0, 400 * PAGE_BYTES).all()
    assert len(sizes) < 20


def test_an_address_outside_is_refused() -> None:
    memory = Memory("small", address_bits=32)
    memory.write((1 << 32) - 2, b"\x01\x02")
    for address, size in (((1 << 32) - 2, 3), (1 << 32, 1), (-1, 1)):
        with pytest.raises(MemoryAccessError, match="outside the small memory"):
            memory.read(address, size)
        with pytest.raises(MemoryAccessError, match="outside the small memory"):
            memory.write(address, bytes(size))
    with pytest.raises(MemoryAccessError, match="outside"):
        memory.read_strided(0, (2, 1), (1 << 32, 1))


def test_the_occupied_bytes_are_bounded() -> None:
    memory = Memory("tiny", limit_bytes=4 * PAGE_BYTES)
    for page in range(0, 8, 2):
        memory.write(page * PAGE_BYTES, b"\x01")
    with pytest.raises(MemoryAccessError, match="its limit is"):
        memory.write(100 * PAGE_BYTES, b"\x01")
    with pytest.raises(MemoryAccessError, match="holds at most"):
        memory.read(0, 5 * PAGE_BYTES)
    assert memory.occupied_bytes == 4 * PAGE_BYTES
    assert memory.read(6 * PAGE_BYTES, 1)[0] == 1


def test_zeros_take_no_place_where_nobody_wrote() -> None:
    memory = Memory("primary", limit_bytes=3 * PAGE_BYTES)
    memory.write(PAGE_BYTES, np.full(2 * PAGE_BYTES, 7, np.uint8))
    memory.fill(PAGE_BYTES // 2, PAGE_BYTES, 0)
    memory.fill(2 * PAGE_BYTES + 5, 1 << 40, 0)
    assert memory.occupied_bytes == 2 * PAGE_BYTES
    stored = memory.read(0, 3 * PAGE_BYTES)
    sevens = np.flatnonzero(stored)
    assert (sevens[0], sevens[-1], sevens.size) == (
        3 * PAGE_BYTES // 2,
        2 * PAGE_BYTES + 4,
        PAGE_BYTES // 2 + 5,
    )
