"""Quick rounding shift."""

from __future__ import annotations

from nvdla_ir.arith import reference
from nvdla_ir.arith.errors import Int64Array, IntegerArray, Operand, as_int64, check_interval


def round_shift(value: Operand, shift: int) -> Int64Array:
    """See `reference.round_shift`."""
    if isinstance(value, int) or not 1 <= shift <= 62:
        return reference.round_shift(value, shift)
    value = as_int64("value", value)
    # floor((v + half - (v < 0)) / 2**shift); neither |v| <= 2**62 nor the half of 2**61 at most
    # lets the sum overflow.
    result = value >> 63
    result += value
    result += 1 << (shift - 1)
    result >>= shift
    return result


def truncate_accumulator(acc: IntegerArray, truncate: int) -> Int64Array:
    """See `reference.truncate_accumulator`. Where nothing changes, the result is `acc` itself."""
    check_interval("truncate", truncate, 0, 31)
    rounded = round_shift(acc, truncate)
    return reference.saturate(rounded, 32) if _exceeds_32_bits(rounded) else rounded


def count_accumulator_saturation(acc: IntegerArray, truncate: int) -> int:
    """See `reference.count_accumulator_saturation`."""
    check_interval("truncate", truncate, 0, 31)
    # What fits 32 bits before the shift fits after it, so that the extremes decide most cases.
    if not _exceeds_32_bits(as_int64("acc", acc)):
        return 0
    return reference.count_accumulator_saturation(acc, truncate)


def _exceeds_32_bits(value: Int64Array) -> bool:
    return value.size > 0 and (int(value.min()) < -(1 << 31) or int(value.max()) >= 1 << 31)
