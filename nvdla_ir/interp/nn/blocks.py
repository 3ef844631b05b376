"""Elementwise steps on floats block by block, so that each block stays in the cache between them.

Limits are arrays of a block's size: numpy compares two arrays several times as fast as an array
and a number.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating[Any]]

BLOCK_ELEMENTS = 1 << 15
"""About how many numbers a block has."""


def clipped(x: FloatArray, minimum: float | None, maximum: float | None) -> FloatArray:
    """``x`` with what is below ``minimum`` or above ``maximum`` replaced by the limit."""
    result = np.empty(x.shape, x.dtype)
    source, target = x.reshape(-1), result.reshape(-1)
    limits = _Limits(minimum, maximum, min(BLOCK_ELEMENTS, x.size), x.dtype)
    for first in range(0, x.size, BLOCK_ELEMENTS):
        block = slice(first, first + BLOCK_ELEMENTS)
        limits.apply(source[block], target[block])
    return result


def finish(
    x: FloatArray,
    summand: FloatArray | None,
    addend: FloatArray | None,
    minimum: float | None,
    maximum: float | None,
) -> None:
    """Changes ``x`` [N, K, H, W], a contiguous array, in place: a ``summand`` a channel is added,
    then ``addend`` (the shape of ``x``, or that of one image), and the sum is clipped."""
    plane = x.shape[2] * x.shape[3]
    step = max(1, BLOCK_ELEMENTS // plane)
    limits = _Limits(minimum, maximum, min(step, x.shape[1]) * plane, x.dtype)
    for image in range(len(x)):
        other = None if addend is None else addend[image if len(addend) > 1 else 0]
        for first in range(0, x.shape[1], step):
            channels = slice(first, first + step)
            part: FloatArray = x[image, channels]
            if summand is not None:
                part += summand[channels, None, None]
            if other is not None:
                part += other[channels]
            flat = part.reshape(-1)
            limits.apply(flat, flat)


class _Limits:
    """A lower and an upper limit, either may be absent, for up to ``size`` numbers at once."""

    def __init__(
        self, minimum: float | None, maximum: float | None, size: int, dtype: np.dtype[Any]
    ) -> None:
        self._minimum = None if minimum is None else np.full(size, minimum, dtype)
        self._maximum = None if maximum is None else np.full(size, maximum, dtype)

    def apply(self, source: FloatArray, target: FloatArray) -> None:
        """Write the clipped ``source`` to ``target``, which may be the same array."""
        current = source
        if self._minimum is not None:
            current = np.maximum(current, self._minimum[: current.size], out=target)
        if self._maximum is not None:
            current = np.minimum(current, self._maximum[: current.size], out=target)
        if current is not target:
            target[...] = current
