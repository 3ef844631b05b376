"""Rounding, saturation, wrapping: the primitives of all other units."""

from __future__ import annotations

import numpy as np

from nvdla_ir.arith.errors import Int64Array, Operand, OperandError, as_int64, check_interval


def round_shift(value: Operand, shift: int) -> Int64Array:
    """`value / 2**shift` rounded to the nearest integer, ties away from zero, as int64.

    The only rounding shift of the hardware (sdp.md section 0). Exact for every |value| <= 2**62
    and every shift >= 0. Raises OperandError for a negative shift.
    """
    if shift < 0:
        raise OperandError(f"a rounding shift must be at least 0, not {shift}")
    value = as_int64("value", value)
    if shift == 0:
        return value
    if shift >= 64:
        return np.zeros_like(value)
    # Magnitudes are unsigned: 2**62 plus a half of 2**62 would overflow int64.
    magnitude = np.abs(value).astype(np.uint64)
    rounded = (magnitude + np.uint64(1 << (shift - 1))) >> np.uint64(shift)
    signed = rounded.astype(np.int64)
    return np.where(value < 0, -signed, signed)


def saturate(value: Operand, bits: int) -> Int64Array:
    """`value` clamped to signed integers of `bits` bits (1 to 64), as int64."""
    check_interval("bits", bits, 1, 64)
    limit = 1 << (bits - 1)
    return np.clip(as_int64("value", value), -limit, limit - 1)


def wrap(value: Operand, bits: int) -> Int64Array:
    """The low `bits` bits (1 to 64) of `value`, read as a signed integer, as int64."""
    check_interval("bits", bits, 1, 64)
    value = as_int64("value", value)
    return (value << (64 - bits)) >> (64 - bits)


def shift_left_saturate(value: Operand, shift: int, bits: int = 32) -> Int64Array:
    """`value * 2**shift` clamped to signed integers of `bits` bits (1 to 63), as int64.

    Exact for every shift >= 0. Raises OperandError for a negative shift.
    """
    check_interval("bits", bits, 1, 63)
    if shift < 0:
        raise OperandError(f"a left shift must be at least 0, not {shift}")
    value = as_int64("value", value)
    # Beyond 63 nothing changes: whatever is not 0 has left every range long before.
    shift = min(shift, 63)
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    too_high = value > high >> shift
    too_low = value < -(-low >> shift)
    inside = np.where(too_high | too_low, 0, value) << shift
    return np.where(too_high, high, np.where(too_low, low, inside))
