"""Element-wise work cut into pieces that stay in the processor's cache."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from nvdla_ir.arith.errors import Operand

CHUNK_ELEMENTS = 1 << 16

Cut = tuple[slice, ...]


def cuts(shape: tuple[int, ...], limit: int) -> Iterator[Cut]:
    """Boxes that cover an array of `shape`, of `limit` elements at most, along outer axes."""
    if prod(shape) <= limit or not shape:
        yield (slice(None),) * len(shape)
        return
    inner = prod(shape[1:])
    step = max(1, limit // inner)
    for start in range(0, shape[0], step):
        outer = slice(start, min(start + step, shape[0]))
        for rest in cuts(shape[1:], limit):
            yield (outer, *rest)


def cut_operand(operand: Operand, cut: Cut) -> Operand:
    """The part of `operand`, which broadcasts to the data, that belongs to the data's `cut`."""
    if isinstance(operand, int):
        return operand
    own = cut[len(cut) - operand.ndim :]
    parts = [
        slice(None) if size == 1 else part for size, part in zip(operand.shape, own, strict=True)
    ]
    return operand[(*parts, ...)]
