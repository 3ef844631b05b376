"""Sharing memory among buffers that are not needed at the same time."""

from __future__ import annotations

from bisect import bisect, insort
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, count, islice
from math import inf

from attrs import evolve, frozen

from nvdla_ir.hw.formats.sizes import align_up

_PLACED_AT_MOST = 8192
"""So many buffers are placed, in all plans together, where the first two are not good enough."""


@frozen
class Buffer:
    """``size`` bytes that are needed from step ``first``, 0 or later, to step ``last``, both
    included."""

    size: int
    first: int
    last: int

    @property
    def steps(self) -> int:
        """How many steps it is needed at."""
        return self.last - self.first + 1


class _Placed:
    """The buffers that have their places, found by the steps at which they are needed: those
    needed at one step in a segment tree, those first needed behind it in order of that."""

    def __init__(self, steps: int) -> None:
        self._leaves = 1 << max(steps - 1, 0).bit_length()
        self._covering: dict[int, list[int]] = {}
        self._starts: list[tuple[int, int]] = []

    def add(self, index: int, buffer: Buffer) -> None:
        """``index`` stands for ``buffer``."""
        insort(self._starts, (buffer.first, index))
        left, right = buffer.first + self._leaves, buffer.last + self._leaves + 1
        while left < right:
            if left & 1:
                self._covering.setdefault(left, []).append(index)
                left += 1
            if right & 1:
                right -= 1
                self._covering.setdefault(right, []).append(index)
            left, right = left >> 1, right >> 1

    def meeting(self, buffer: Buffer) -> list[int]:
        """Those that are needed at a step at which ``buffer`` is."""
        found: list[int] = []
        node = buffer.first + self._leaves
        while node:
            found += self._covering.get(node, ())
            node >>= 1
        position = bisect(self._starts, (buffer.first + 1,))
        for first, index in islice(self._starts, position, None):
            if first > buffer.last:
                break
            found.append(index)
        return found


def plan_offsets(buffers: Sequence[Buffer], alignment: int) -> list[int]:
    """An offset for each buffer, so that buffers needed at the same step do not overlap.

    Buffers are placed one after another, each into the smallest gap that takes it. This is done in
    several orders, by size and by time among them, until one takes no more than is needed at once;
    if none does, the best is changed so that those buffers come earlier that lie highest, as often
    as time allows, and the plan of the lowest peak is kept. The result depends on nothing but the
    arguments. Offsets are multiples of ``alignment``.
    """
    needed = live_bytes([evolve(one, size=align_up(one.size, alignment)) for one in buffers])
    best: list[int] = []
    best_peak = inf
    for plan in islice(_plans(buffers, alignment), max(2, _PLACED_AT_MOST // max(len(buffers), 1))):
        peak = peak_bytes(buffers, plan)
        if peak < best_peak:
            best, best_peak = plan, peak
        if peak <= needed:
            break
    return best


def _plans(buffers: Sequence[Buffer], alignment: int) -> Iterator[list[int]]:
    """Plans of different orders, without end; the more that are looked at, the better the best."""
    keys: list[Callable[[Buffer], tuple[int, ...]]] = [
        lambda one: (-one.size, one.first),
        lambda one: (one.first, -one.size),
        lambda one: (-one.size * one.steps, one.first),
        lambda one: (-one.steps, -one.size),
        lambda one: (-one.last, -one.size),
    ]
    best: tuple[int, list[int], list[int]] | None = None
    for key in keys:
        # sorted is stable: of equal ones the first comes first
        order = sorted(range(len(buffers)), key=lambda index, key=key: key(buffers[index]))
        plan = _place(buffers, order, alignment)
        yield plan
        peak = peak_bytes(buffers, plan)
        if best is None or peak < best[0]:
            best = peak, plan, order
    assert best is not None
    peak, plan, order = best
    for turn in count():
        highest = next(i for i in order if plan[i] + buffers[i].size == peak)
        position = order.index(highest)
        order.remove(highest)
        order.insert(position // 2 if turn % 2 else 0, highest)
        plan = _place(buffers, order, alignment)
        yield plan
        peak = peak_bytes(buffers, plan)


def plan_within(
    buffers: Sequence[Buffer], worth: Sequence[float], alignment: int, limit: int
) -> list[int | None]:
    """An offset for each buffer that gets one, as ``plan_offsets``, so that all end within
    ``limit`` bytes; None for the rest. Those of the most worth come first, for what they take: a
    byte at a step."""

    def rank(index: int) -> tuple[float, int]:
        buffer = buffers[index]
        return -worth[index] / max(buffer.size * buffer.steps, 1), index

    found: list[int | None] = [None] * len(buffers)
    placing = _Placing(buffers, alignment)
    for index in sorted(range(len(buffers)), key=rank):
        if placing.fit(index) + buffers[index].size <= limit:
            found[index] = placing.place(index)
    return found


def peak_bytes(buffers: Sequence[Buffer], offsets: Sequence[int]) -> int:
    """The end of the highest buffer."""
    return max(
        (offset + buffer.size for buffer, offset in zip(buffers, offsets, strict=True)), default=0
    )


def live_bytes(buffers: Sequence[Buffer]) -> int:
    """The most bytes that are needed at one step: no plan's peak is lower."""
    changes: dict[int, int] = {}
    for buffer in buffers:
        changes[buffer.first] = changes.get(buffer.first, 0) + buffer.size
        changes[buffer.last + 1] = changes.get(buffer.last + 1, 0) - buffer.size
    return max(accumulate(changes[step] for step in sorted(changes)), default=0)


class _Placing:
    """Buffers that get their places one after the other."""

    def __init__(self, buffers: Sequence[Buffer], alignment: int) -> None:
        self._buffers = buffers
        self._alignment = alignment
        self.offsets = [0] * len(buffers)
        self._placed = _Placed(max((buffer.last for buffer in buffers), default=0) + 1)

    def fit(self, index: int) -> int:
        """The offset that the buffer ``index`` would get."""
        buffers, offsets = self._buffers, self.offsets
        neighbours = sorted(
            (offsets[other], offsets[other] + buffers[other].size)
            for other in self._placed.meeting(buffers[index])
        )
        return _best_fit(neighbours, buffers[index].size, self._alignment)

    def place(self, index: int) -> int:
        """Give it that offset."""
        self.offsets[index] = self.fit(index)
        self._placed.add(index, self._buffers[index])
        return self.offsets[index]


def _place(buffers: Sequence[Buffer], order: Sequence[int], alignment: int) -> list[int]:
    placing = _Placing(buffers, alignment)
    for index in order:
        placing.place(index)
    return placing.offsets


def _best_fit(taken: Sequence[tuple[int, int]], size: int, alignment: int) -> int:
    """The start of the smallest gap between ``taken`` ranges, in order of their starts, that
    holds ``size`` bytes; behind them all if there is none."""
    end = 0
    best: tuple[int, int] | None = None
    for start, stop in taken:
        offset = align_up(end, alignment)
        gap = start - offset
        if gap >= size and (best is None or gap < best[0]):
            best = gap, offset
        end = max(end, stop)
    return align_up(end, alignment) if best is None else best[1]
