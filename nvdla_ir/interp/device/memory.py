"""A byte memory with 64-bit addresses that occupies only what was written.

Bytes are kept in extents: numpy buffers that cover disjoint, page-aligned address ranges. A cube
that lies in one extent is read and written through one strided view; anything else is handled
piece by piece. Bytes that nobody wrote read as 0.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from nvdla_ir.interp.device.errors import MemoryAccessError

Bytes = NDArray[np.uint8]

PAGE_BYTES = 1 << 16
DEFAULT_LIMIT_BYTES = 1 << 32
MAXIMUM_OVERLAPS = 1 << 20
"""Parts of one strided write that may overlap; each takes a step of its own."""


class Memory:
    """One memory space of the device.

    :param name: how messages call it, e.g. ``"primary"``.
    :param address_bits: addresses lie in ``[0, 2**address_bits)``; at most 64.
    :param limit_bytes: how much the written pages may occupy in all.
    """

    def __init__(
        self, name: str, *, address_bits: int = 64, limit_bytes: int = DEFAULT_LIMIT_BYTES
    ) -> None:
        self.name = name
        self.end = 1 << address_bits
        self.limit_bytes = limit_bytes
        self._bases: list[int] = []
        self._buffers: list[Bytes] = []
        self._occupied = 0

    @property
    def occupied_bytes(self) -> int:
        """Size of all pages that hold data; at most ``limit_bytes``."""
        return self._occupied

    def reserve(self, address: int, size: int) -> None:
        """Make ``[address, address + size)`` one extent, so that every access in it is fast."""
        if size:
            self._extent(address, size)

    def read(self, address: int, size: int) -> Bytes:
        """A copy of ``size`` bytes from ``address``."""
        return np.array(self.view(address, size))

    def view(self, address: int, size: int) -> Bytes:
        """``size`` bytes from ``address``, to be read before the next write."""
        return self.read_strided(address, (size,), (1,))

    def write(self, address: int, data: bytes | bytearray | memoryview | Bytes) -> None:
        """Store ``data`` at ``address``."""
        flat = np.frombuffer(data, np.uint8) if not isinstance(data, np.ndarray) else data.ravel()
        if flat.size:
            self._view(address, flat.size)[:] = flat

    def fill(self, address: int, size: int, value: int) -> None:
        """Set ``size`` bytes to ``value`` (0..255). Zeros take no place where nobody wrote."""
        if value and size:
            self._view(address, size)[:] = value
            return
        self._check(address, size)
        for base, buffer in self._touched(address, size):
            buffer[max(address - base, 0) : max(address + size - base, 0)] = 0

    def read_strided(self, address: int, shape: Sequence[int], strides: Sequence[int]) -> Bytes:
        """Bytes at ``address + sum(index * stride)`` as an array of ``shape``.

        The result may be a view of the memory: use it before the next write, and do not write
        into it. Strides are at least 0; every dimension is at least 1.
        """
        span = _span(shape, strides)
        self._check(address, span)
        if math.prod(shape) > self.limit_bytes:
            raise MemoryAccessError(
                f"a read of {math.prod(shape)} bytes from the {self.name} memory at {address:#x}, "
                f"which holds at most {self.limit_bytes}"
            )
        found = self._find(address, span)
        if found is not None:
            return as_strided(found, tuple(shape), tuple(strides), writeable=False)
        result = np.zeros(tuple(shape), np.uint8)
        for base, buffer in self._touched(address, span):
            _copy_extent(buffer, base - address, strides, result)
        return result

    def write_strided(self, address: int, strides: Sequence[int], data: Bytes) -> None:
        """Store ``data[index]`` at ``address + sum(index * stride)``; later indices win.

        Raises MemoryAccessError for more than `MAXIMUM_OVERLAPS` parts that overlap.
        """
        strides = tuple(strides)
        span = _span(data.shape, strides)
        self._check(address, span)
        if may_overlap(data.shape, strides):
            self._write_overlapping(address, strides, data)
        elif _gapless(data.shape, strides) or self._find(address, span) is not None:
            target = self._view(address, span)
            as_strided(target, data.shape, tuple(strides))[...] = data
        else:
            # The widest gaps outermost: each part has pages of its own, so that the limit bounds
            # their number.
            order = sorted(range(data.ndim), key=lambda axis: -strides[axis])
            inner = [strides[axis] for axis in order[1:]]
            for index, part in enumerate(np.transpose(data, order)):
                self.write_strided(address + index * strides[order[0]], inner, part)

    def _write_overlapping(self, address: int, strides: Sequence[int], data: Bytes) -> None:
        strides = tuple(s for s, n in zip(strides, data.shape, strict=True) if n > 1)
        data = data.squeeze()
        while data.ndim > 1 and strides[-2:] == (data.shape[-1], 1):
            strides = (*strides[:-2], 1)
            data = data.reshape(*data.shape[:-2], -1)
        count, stride = data.shape[0], strides[0]
        if stride == 0:
            self.write_strided(address, strides[1:], data[-1])
            return
        if data.ndim == 2 and strides[1] == 1:
            # Of each line but the last, what the next does not overwrite stays.
            self.write_strided(address, strides, data[:-1, :stride])
            self.write_strided(address + (count - 1) * stride, strides[1:], data[-1])
            return
        if count > MAXIMUM_OVERLAPS:
            raise MemoryAccessError(
                f"a write to the {self.name} memory at {address:#x} has {count} parts that overlap"
            )
        for index in range(count):
            self.write_strided(address + index * stride, strides[1:], data[index])

    def _check(self, address: int, span: int) -> None:
        if address < 0 or address + span > self.end:
            raise MemoryAccessError(
                f"bytes [{address:#x}, {address + span:#x}) lie outside the {self.name} memory, "
                f"which ends at {self.end:#x}"
            )

    def _find(self, address: int, size: int) -> Bytes | None:
        """The bytes from ``address`` to their extent's end if it holds ``size`` of them."""
        index = bisect_right(self._bases, address) - 1
        if index < 0:
            return None
        offset = address - self._bases[index]
        buffer = self._buffers[index]
        return buffer[offset:] if offset + size <= buffer.size else None

    def _touched(self, address: int, size: int) -> Iterator[tuple[int, Bytes]]:
        """Extents that hold some of the ``size`` bytes from ``address``: base and bytes."""
        first = max(bisect_right(self._bases, address) - 1, 0)
        last = bisect_right(self._bases, address + size - 1)
        yield from zip(self._bases[first:last], self._buffers[first:last], strict=True)

    def _view(self, address: int, size: int) -> Bytes:
        found = self._find(address, size)
        return found[:size] if found is not None else self._extent(address, size)[:size]

    def _extent(self, address: int, size: int) -> Bytes:
        """Grow the extents so that one covers the range; its bytes from ``address`` on."""
        self._check(address, size)
        first = address // PAGE_BYTES * PAGE_BYTES
        last = -(-(address + size) // PAGE_BYTES) * PAGE_BYTES
        low = high = bisect_right(self._bases, first)
        if low and self._bases[low - 1] + self._buffers[low - 1].size >= first:
            low -= 1
        while high < len(self._bases) and self._bases[high] <= last:
            high += 1
        merged = list(zip(self._bases[low:high], self._buffers[low:high], strict=True))
        start = min([first, *(base for base, _ in merged)])
        stop = max([last, *(base + buffer.size for base, buffer in merged)])
        released = sum(buffer.size for _, buffer in merged)
        # Growing by at least half keeps a sequence of appends linear in its length.
        if released and stop > merged[-1][0] + merged[-1][1].size:
            ceiling = self._bases[high] if high < len(self._bases) else self.end
            roomy = stop + released // 2 // PAGE_BYTES * PAGE_BYTES
            room = self.limit_bytes - self._occupied + released
            if roomy <= ceiling and roomy - start <= room:
                stop = roomy
        occupied = self._occupied - released + stop - start
        if occupied > self.limit_bytes:
            raise MemoryAccessError(
                f"the {self.name} memory would hold {occupied} bytes after a write to "
                f"[{address:#x}, {address + size:#x}); its limit is {self.limit_bytes}"
            )
        buffer = np.zeros(stop - start, np.uint8)
        for base, old in merged:
            buffer[base - start : base - start + old.size] = old
        self._bases[low:high] = [start]
        self._buffers[low:high] = [buffer]
        self._occupied = occupied
        return buffer[address - start :]


def _span(shape: Sequence[int], strides: Sequence[int]) -> int:
    """Bytes from the first to behind the last element."""
    return sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True)) + 1


def may_overlap(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether two elements of a strided block may share a byte.

    False is certain; True is wrong only for strides that interleave without one containing the
    other.
    """
    reach = 0
    for stride, count in sorted((s, n) for s, n in zip(strides, shape, strict=True) if n > 1):
        if stride <= reach:
            return True
        reach += stride * (count - 1)
    return False


def _gapless(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether a block that does not overlap touches every page between its ends."""
    reach = 0
    for stride, count in sorted((s, n) for s, n in zip(strides, shape, strict=True) if n > 1):
        if stride - reach > PAGE_BYTES:
            return False
        reach += stride * (count - 1)
    return True


def _copy_extent(buffer: Bytes, base: int, strides: Sequence[int], result: Bytes) -> None:
    """Fill ``result[index]`` from the byte ``sum(index * stride) - base`` of ``buffer``.

    What lies outside the buffer is left as it is.
    """
    span = _span(result.shape, strides)
    if base >= span or base + buffer.size <= 0:
        return
    if base <= 0 and base + buffer.size >= span:
        result[...] = as_strided(buffer[-base:], result.shape, tuple(strides))
        return
    count, stride = result.shape[0], strides[0]
    if len(strides) == 1 and stride == 1:
        first, last = max(base, 0), min(base + buffer.size, count)
        result[first:last] = buffer[first - base : last - base]
        return
    inner = _span(result.shape[1:], strides[1:])
    if stride == 0:
        one = np.zeros((1, *result.shape[1:]), np.uint8)
        _copy_extent(buffer, base, (inner, *strides[1:]), one)
        result[...] |= one
        return
    # The indices whose parts the buffer holds some of, and those that it holds completely.
    some = range(max(0, -(-(base - inner + 1) // stride)), count)
    some = range(some.start, min(count, (base + buffer.size - 1) // stride + 1))
    whole = range(max(0, -(-base // stride)), (base + buffer.size - inner) // stride + 1)
    whole = range(whole.start, min(count, max(whole.start, whole.stop)))
    if whole:
        part = (len(whole), *result.shape[1:])
        result[whole.start : whole.stop] = as_strided(
            buffer[whole.start * stride - base :], part, tuple(strides)
        )
    for index in some:
        if index not in whole and result.ndim > 1:
            _copy_extent(buffer, base - index * stride, strides[1:], result[index])
