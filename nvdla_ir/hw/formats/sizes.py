"""Rounding of sizes, and the error of every format that cannot be."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class LayoutError(ValueError):
    """A tensor, size or stride that does not fit a memory format; the message has the numbers."""


def ceil_div(value: int, divisor: int) -> int:
    """Return ``value / divisor`` rounded up; both positive (value may be 0)."""
    return -(-value // divisor)


def align_up(value: int, alignment: int) -> int:
    """Return the least multiple of ``alignment`` that is not below ``value``."""
    return ceil_div(value, alignment) * alignment


def require_positive(what: str, **sizes: int) -> None:
    """Raise LayoutError that names every size below 1."""
    faults = [f"{name} = {size}" for name, size in sizes.items() if size < 1]
    if faults:
        raise LayoutError(f"{what}: {', '.join(faults)}: must be at least 1")


def require_shape(what: str, array: NDArray[np.generic], shape: tuple[int, ...]) -> None:
    """Raise LayoutError unless the array has exactly this shape."""
    if array.shape != shape:
        raise LayoutError(f"{what}: expected shape {shape}, got {array.shape}")


def require_bytes(what: str, memory: NDArray[np.generic], offset: int, size: int) -> None:
    """Raise LayoutError unless ``memory`` is a 1-D byte array holding [offset, offset + size)."""
    if memory.ndim != 1 or memory.itemsize != 1 or not memory.flags.c_contiguous:
        raise LayoutError(
            f"{what}: memory must be a contiguous one-dimensional byte array, "
            f"got shape {memory.shape} of {memory.dtype}"
        )
    if offset < 0 or offset + size > len(memory):
        raise LayoutError(
            f"{what}: bytes {offset} to {offset + size - 1} are outside the memory of "
            f"{len(memory)} bytes"
        )
