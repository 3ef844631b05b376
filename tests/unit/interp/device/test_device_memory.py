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


@settings(deadline=None)
@given(data=st.data())
def test_strided_access_equals_access_byte_by_byte(data: st.DataObject) -> None:
    shape = data.draw(st.tuples(*[st.integers(1, 4)] * 3))
    gaps = st.sampled_from([0, 5, PAGE_BYTES, 1 << 24])
    line = shape[2] + data.draw(gaps)
    strides = (line * shape[1] + data.draw(gaps), line, 1)
    base = data.draw(_ADDRESSES.filter(lambda address: address < 1 << 40))
    values = np.arange(1, 1 + shape[0] * shape[1] * shape[2]).astype(np.uint8).reshape(shape)
    memory = Memory("test")
    memory.write_strided(base, strides, values)
    for index in np.ndindex(*shape):
        address = base + sum(i * stride for i, stride in zip(index, strides, strict=True))
        assert memory.read(address, 1)[0] == values[index]
    assert np.array_equal(memory.read_strided(base, shape, strides), values)
    assert memory.occupied_bytes <= (2 * 4 * 4 + 1) * 2 * max(PAGE_BYTES, 1 << 20)


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
