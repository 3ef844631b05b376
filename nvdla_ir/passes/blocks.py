"""Large arrays computed block by block, so that what lies between is small and stays in caches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BLOCK_ELEMENTS = 1 << 16
"""So many at once: half a megabyte of float64."""

Block = tuple[slice, slice]


def blocks(rows: int, columns: int) -> Iterator[Block]:
    """Blocks that cover ``rows`` of ``columns``, in order: of whole rows, unless these are too
    long."""
    height = max(BLOCK_ELEMENTS // max(columns, 1), 1)
    for row in range(0, rows, height):
        for column in range(0, columns, BLOCK_ELEMENTS):
            yield slice(row, row + height), slice(column, column + BLOCK_ELEMENTS)


def largest_magnitudes(rows: NDArray[np.floating]) -> NDArray[np.float64]:
    """Of each row; NaN where there is one."""
    import numpy as np

    found = np.zeros(len(rows))
    for block in blocks(*rows.shape):
        magnitudes = np.abs(rows[block])
        np.maximum(found[block[0]], magnitudes.max(axis=1), out=found[block[0]])
    return found


def sums(rows: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The sum of each row, and that of its magnitudes."""
    import numpy as np

    # Sums of 8 bits over a block have 24, which float32 adds exactly, and quickest.
    dtype = np.float32 if rows.itemsize == 1 else np.int64
    total, magnitudes = np.zeros((2, len(rows)), np.int64)
    for block in blocks(*rows.shape):
        some = rows[block].astype(dtype)
        total[block[0]] += some.sum(axis=1).astype(np.int64)
        magnitudes[block[0]] += np.abs(some, out=some).sum(axis=1).astype(np.int64)
    return total, magnitudes
