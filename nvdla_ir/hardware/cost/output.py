"""How long a convolution computes, bound by its MACs or by the way of its sums out of CACC
(cycles.md section 1.1).

CSC works through the output of a kernel group in stripes of pixels, one block of the kernel (a tap,
and as many channels as one atomic operation takes) after another. Before a stripe's last block
there must be a credit for each of its pixels: there are twice as many as a kernel group has
kernels, and each comes back when the SDP has taken the pixel's sums. So a convolution with few
blocks waits for its output.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from functools import lru_cache

_CREDIT_RETURN = 38
"""Cycles from a pixel's last atomic operation until its credit is back, without the SDP's own."""

_STEADY = 4
"""Equal stripes after which each takes as long as the one before."""


@lru_cache(maxsize=8192)
def group_cycles(
    pixels: int, rows: int, blocks: int, atomic_k: int, pixel_cycles: int, *, rows_apart: bool
) -> tuple[float, float]:
    """Cycles of a first kernel group, from its first atomic operation to its last sum handed to
    the SDP, and of each further one.

    pixels, rows:   the output
    blocks:         of one kernel
    pixel_cycles:   that CACC takes to hand over a pixel's sums
    rows_apart:     stripes do not go on in the next row (image input)
    """
    stripes, skipped = _stripes(pixels if rows_apart else pixels * rows, atomic_k, rows_apart)
    first, step = _simulate(stripes, blocks, atomic_k, pixel_cycles)
    if skipped:
        width = 2 * atomic_k
        more = skipped * max(blocks * width, width * pixel_cycles + _CREDIT_RETURN)
        first, step = first + more, step + more
    if rows_apart:
        return first + (rows - 1) * step, rows * step
    return first, step


def _stripes(pixels: int, atomic_k: int, rows_apart: bool) -> tuple[list[int], int]:
    """The stripes of an output, without so many of the full ones as is said beside."""
    full = 2 * atomic_k
    short = full if rows_apart else atomic_k
    # full ones while two more are left, then short ones until the rest is at most a full one
    count = max(0, pixels // full - 1)
    skipped = max(0, count - _STEADY)
    stripes = [full] * (count - skipped)
    rest = pixels - count * full
    while rest > full:
        stripes.append(short)
        rest -= short
    return [*stripes, rest], skipped


def _simulate(
    stripes: list[int], blocks: int, atomic_k: int, pixel_cycles: int
) -> tuple[float, float]:
    """The time of the stripes of one kernel group, and what each repetition adds."""
    ends = _ends(stripes, blocks, atomic_k, pixel_cycles)
    first, second, third = (next(ends) for _ in range(3))
    return first, third - second


def _ends(stripes: list[int], blocks: int, atomic_k: int, pixel_cycles: int) -> Iterator[float]:
    """When the last sum of each repetition is handed over."""
    credits = 2 * atomic_k
    taken: deque[tuple[int, int]] = deque()
    """Stripes whose pixels are on their way: when the first is handed over, and how many."""
    free = delivered = 0
    while True:
        for size in stripes:
            # a block of weights takes as many cycles to load as there are kernels in a group
            block = max(size, atomic_k)
            last = free + (blocks - 1) * block
            while credits < size:
                begin, count = taken.popleft()
                needed = min(count, size - credits)
                last = max(last, begin + needed * pixel_cycles + _RETURN)
                if needed < count:
                    taken.appendleft((begin + needed * pixel_cycles, count - needed))
                credits += needed
            credits -= size
            begin = max(last + _CREDIT_RETURN - _RETURN, delivered)
            taken.append((begin, size))
            delivered = begin + size * pixel_cycles
            free = last + block
        yield delivered


_RETURN = 4
"""Of these, cycles from the last sum of a pixel until CSC has the credit."""
