"""Sharing memory among buffers that are not needed at the same time."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from nvdla_ir.hw.formats.sizes import align_up


@frozen
class Buffer:
    """``size`` bytes that are needed from step ``first`` to step ``last``, both included."""

    size: int
    first: int
    last: int

    def meets(self, other: Buffer) -> bool:
        """Whether there is a step at which both are needed."""
        return self.first <= other.last and other.first <= self.last


def plan_offsets(buffers: Sequence[Buffer], alignment: int) -> list[int]:
    """An offset for each buffer, so that buffers needed at the same step do not overlap.

    Buffers are placed one after another, each into the smallest gap that takes it; this is done
    in order of size and in order of time, and the plan of the lower peak is kept. The result
    depends on nothing but the arguments. Offsets are multiples of ``alignment``.
    """

    def by_size(index: int) -> tuple[int, ...]:
        return -buffers[index].size, buffers[index].first, index

    def by_time(index: int) -> tuple[int, ...]:
        return buffers[index].first, -buffers[index].size, index

    plans = [
        _place(buffers, sorted(range(len(buffers)), key=key), alignment)
        for key in (by_size, by_time)
    ]
    return min(plans, key=lambda plan: peak_bytes(buffers, plan))


def peak_bytes(buffers: Sequence[Buffer], offsets: Sequence[int]) -> int:
    """The end of the highest buffer."""
    return max(
        (offset + buffer.size for buffer, offset in zip(buffers, offsets, strict=True)), default=0
    )


def live_bytes(buffers: Sequence[Buffer]) -> int:
    """The most bytes that are needed at one step: no plan's peak is lower."""
    return max(
        (
            sum(other.size for other in buffers if other.first <= buffer.first <= other.last)
            for buffer in buffers
        ),
        default=0,
    )


def _place(buffers: Sequence[Buffer], order: Sequence[int], alignment: int) -> list[int]:
    offsets = [0] * len(buffers)
    placed: list[int] = []
    for index in order:
        buffer = buffers[index]
        neighbours = sorted(
            (offsets[other], offsets[other] + buffers[other].size)
            for other in placed
            if buffer.meets(buffers[other])
        )
        offsets[index] = _best_fit(neighbours, buffer.size, alignment)
        placed.append(index)
    return offsets


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
