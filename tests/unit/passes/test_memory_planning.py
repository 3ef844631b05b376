"""Plans keep buffers apart that are needed at the same time, and waste little."""

from __future__ import annotations

import random
from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from nvdla_ir.passes.memory_planning import (
    Buffer,
    live_bytes,
    peak_bytes,
    plan_offsets,
    plan_within,
)


@st.composite
def buffers(draw: st.DrawFn) -> Buffer:
    first = draw(st.integers(0, 20))
    return Buffer(draw(st.integers(1, 1000)), first, first + draw(st.integers(0, 8)))


@settings(deadline=None)
@given(st.lists(buffers(), max_size=25), st.sampled_from([1, 32, 64]))
def test_plans(found: list[Buffer], alignment: int) -> None:
    offsets = plan_offsets(found, alignment)
    assert offsets == plan_offsets(found, alignment)
    assert all(offset >= 0 and offset % alignment == 0 for offset in offsets)
    steps = [set(range(buffer.first, buffer.last + 1)) for buffer in found]
    for a, b in combinations(range(len(found)), 2):
        if steps[a] & steps[b]:
            assert offsets[a] + found[a].size <= offsets[b] or (
                offsets[b] + found[b].size <= offsets[a]
            )
    peak = peak_bytes(found, offsets)
    assert live_bytes(found) <= peak <= sum(buffer.size + alignment for buffer in found)


def test_live_bytes_counts_what_is_needed_at_one_step() -> None:
    assert live_bytes([Buffer(10, 0, 1), Buffer(20, 1, 2), Buffer(5, 2, 3)]) == 30
    assert live_bytes([]) == 0


def test_a_chain_takes_two_buffers() -> None:
    """Each step reads the buffer before and writes the next."""
    chain = [Buffer(64, step, step + 1) for step in range(10)]
    assert peak_bytes(chain, plan_offsets(chain, 64)) == 128


def test_order_of_time_wins_where_order_of_size_fragments() -> None:
    found = [Buffer(4, 0, 0), Buffer(6, 0, 1), Buffer(5, 1, 2), Buffer(3, 2, 3), Buffer(7, 3, 3)]
    assert peak_bytes(found, plan_offsets(found, 1)) <= live_bytes(found) + 1


def test_plans_that_take_no_more_than_is_needed_at_once() -> None:
    """Neither order of size nor of time is enough for all of these, which have a plan so good."""
    for seed in range(8):
        draw = random.Random(seed)
        firsts = [draw.randrange(50) for _ in range(50)]
        found = [
            Buffer(64 * draw.randrange(1, 300), first, first + 1 + int(draw.expovariate(1 / 3)))
            for first in firsts
        ]
        assert peak_bytes(found, plan_offsets(found, 64)) == live_bytes(found), seed


@settings(deadline=None)
@given(st.lists(buffers(), max_size=25), st.integers(0, 3000))
def test_plans_within_a_limit(found: list[Buffer], limit: int) -> None:
    offsets = plan_within(found, [buffer.size for buffer in found], 32, limit)
    placed = [(b, offset) for b, offset in zip(found, offsets, strict=True) if offset is not None]
    assert all(offset % 32 == 0 and offset + b.size <= limit for b, offset in placed)
    for (a, at_a), (b, at_b) in combinations(placed, 2):
        if a.first <= b.last and b.first <= a.last:
            assert at_a + a.size <= at_b or at_b + b.size <= at_a
    # What is left out did not fit beside what is there.
    assert bool(placed) == any(buffer.size <= limit for buffer in found)


def test_the_limit_is_for_what_is_worth_the_most() -> None:
    found = [Buffer(64, 0, 3), Buffer(64, 0, 3), Buffer(32, 0, 3)]
    assert plan_within(found, [1, 2, 3], 32, 96) == [None, 32, 0]
