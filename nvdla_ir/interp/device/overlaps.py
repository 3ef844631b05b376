"""Whether areas of memory share bytes, exactly: strides may make parts interleave."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from attrs import evolve
from numpy.typing import NDArray

from nvdla_ir.interp.device.areas import MemoryArea, MemoryCube
from nvdla_ir.interp.device.memory import may_overlap

MAXIMUM_LINES = 1 << 22
"""Areas of more lines are taken to overlap where that is not ruled out at once."""


def overlaps_itself(area: MemoryArea) -> bool:
    """Whether two parts of ``area`` share a byte."""
    counts, strides, line_bytes = _nest(area)
    if not may_overlap((*counts, line_bytes), (*strides, 1)):
        return False
    if np.prod(counts) > MAXIMUM_LINES:
        return True
    starts = np.sort(_line_starts(area, 0))
    return bool(np.any(np.diff(starts) < line_bytes))


def first_overlap(area: MemoryArea, others: Iterable[MemoryArea]) -> MemoryArea | None:
    """The first of ``others`` that shares a byte with ``area``."""
    return next((other for other in others if _share(area, other)), None)


def same_place(one: MemoryArea, other: MemoryArea) -> bool:
    """Whether both are the same bytes in the same order."""
    return evolve(one, purpose="") == evolve(other, purpose="")


def _share(one: MemoryArea, other: MemoryArea) -> bool:
    if one.memory != other.memory or one.end <= other.base or other.end <= one.base:
        return False
    if max(np.prod(_nest(area)[0]) for area in (one, other)) > MAXIMUM_LINES:
        return True
    base = min(one.base, other.base)
    starts, beginnings = np.sort(_line_starts(one, base)), _line_starts(other, base)
    # A line at b of n bytes meets one at s of m bytes where b - m < s < b + n.
    first = np.searchsorted(starts, beginnings - _nest(one)[2], side="right")
    last = np.searchsorted(starts, beginnings + _nest(other)[2], side="left")
    return bool(np.any(first < last))


def _nest(area: MemoryArea) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    """Counts and strides of the loops around a line, outermost first, and a line's bytes."""
    if isinstance(area, MemoryCube):
        counts = area.batches, area.surfaces, area.height
        strides = area.batch_stride, area.surface_stride, area.line_stride
        return counts, strides, area.line_bytes
    return (area.blocks, area.lines), (area.block_stride, area.line_stride), area.line_bytes


def _line_starts(area: MemoryArea, base: int) -> NDArray[np.int64]:
    """Where each line begins, relative to ``base``."""
    starts = np.array([area.base - base if base else 0], np.int64)
    counts, strides, _ = _nest(area)
    for count, stride in zip(counts, strides, strict=True):
        offsets = np.arange(count, dtype=np.int64) * stride
        starts = (starts[:, np.newaxis] + offsets).ravel()
    return starts
