"""The error and the checks that all arithmetic shares."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

IntegerArray = NDArray[np.integer[Any]]
"""An array of any integer type."""
Int64Array = NDArray[np.int64]
Int8Array = NDArray[np.int8]
Operand = int | IntegerArray
"""A value for all elements, or an array that broadcasts to the data."""


class OperandError(ValueError):
    """An operand that the hardware's arithmetic cannot take: wrong type, shape or range."""


def as_int64(name: str, value: Operand) -> Int64Array:
    """`value` as an int64 array (no copy where it is one already).

    Raises OperandError for anything but integers; uint64 is refused because it does not fit.
    """
    array = np.asarray(value)
    check_integers(name, array)
    return array.astype(np.int64, copy=False)


def check_integers(name: str, array: NDArray[Any]) -> None:
    """Raise OperandError unless `array` has an integer type whose values int64 holds."""
    if array.dtype.kind not in "iu" or array.dtype == np.uint64:
        raise OperandError(f"{name} must hold integers that fit int64, not {array.dtype}")


def check_signed(name: str, value: Operand, bits: int) -> None:
    """Raise OperandError unless every element of `value` is a signed integer of `bits` bits."""
    if isinstance(value, int):
        check_interval(name, value, -(1 << (bits - 1)), (1 << (bits - 1)) - 1)
        return
    array = np.asarray(value)
    check_integers(name, array)
    narrow = array.dtype.itemsize * 8 + (array.dtype.kind == "u") <= bits
    if narrow or array.size == 0:
        return
    low, high = int(array.min()), int(array.max())
    limit = 1 << (bits - 1)
    if low < -limit or high >= limit:
        raise OperandError(
            f"{name} must be in [{-limit}, {limit - 1}] ({bits} bits signed), "
            f"but spans [{low}, {high}]"
        )


def check_interval(name: str, value: int, low: int, high: int) -> None:
    """Raise OperandError unless low <= value <= high."""
    if not low <= value <= high:
        raise OperandError(f"{name} must be in [{low}, {high}], not {value}")


def check_broadcasts(name: str, operand: Operand, shape: tuple[int, ...]) -> None:
    """Raise OperandError unless `operand` broadcasts to the data's `shape`."""
    if isinstance(operand, int):
        return
    own = operand.shape
    aligned = zip(reversed(own), reversed(shape), strict=False)
    if len(own) > len(shape) or any(size not in (1, whole) for size, whole in aligned):
        raise OperandError(f"{name} of shape {own} does not broadcast to the data's {shape}")
