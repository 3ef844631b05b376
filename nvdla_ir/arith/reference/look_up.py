"""The SDP's look-up table, in the Y unit."""

from __future__ import annotations

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from nvdla_ir.arith.errors import Int64Array, IntegerArray, as_int64, check_signed
from nvdla_ir.arith.parameters import (
    LookUpCounters,
    LookUpFunction,
    LookUpPriority,
    LookUpResult,
    LookUpTable,
    Slope,
)
from nvdla_ir.arith.reference.rounding import round_shift, saturate, shift_left_saturate

FRACTION_BITS = 35
LARGEST_INDEX = 511


@frozen(eq=False)
class LookUpClasses:
    """Values of a look-up and the class of each element: boolean arrays of the data's shape."""

    values: Int64Array
    underflow: NDArray[np.bool_]
    overflow: NDArray[np.bool_]
    le_hit: NDArray[np.bool_]
    lo_hit: NDArray[np.bool_]


@frozen(eq=False)
class TableIndex:
    """Where the data falls in one table; neither flag set: a hit."""

    index: Int64Array
    fraction: Int64Array
    """Unsigned fixed point; the number of fraction bits is the unit's."""
    underflow: NDArray[np.bool_]
    overflow: NDArray[np.bool_]

    @property
    def hit(self) -> NDArray[np.bool_]:
        return ~(self.underflow | self.overflow)


def answers_lo(le: TableIndex, lo: TableIndex, table: LookUpTable) -> NDArray[np.bool_]:
    """True where the LO table answers (sdp.md section 6.2, cdp.md section 3.3).

    Where one table alone hits, it answers. Where both miss in the same way, both hit, or they
    miss in opposite ways, a priority decides.
    """
    use_lo = np.full(le.index.shape, table.hybrid_priority is LookUpPriority.LO)
    use_lo[le.underflow & lo.underflow] = table.underflow_priority is LookUpPriority.LO
    use_lo[le.overflow & lo.overflow] = table.overflow_priority is LookUpPriority.LO
    use_lo[le.hit & ~lo.hit] = False
    use_lo[lo.hit & ~le.hit] = True
    return use_lo


def look_up(data: IntegerArray, table: LookUpTable) -> LookUpResult:
    """The Y unit's look-up of every element, and the five counters.

    `data` is any integer type with values of signed 32 bits; the values are int64 with values of
    signed 32 bits. `underflow`, `overflow` and `hybrid` count elements by how their answer came
    about and add up to all of them; `le_hit` and `lo_hit` count hits in each table, answering or
    not. Source: sdp.md sections 6 and 10. Raises OperandError for values out of range.
    """
    classes = classify(data, table)
    underflow = int(np.count_nonzero(classes.underflow))
    overflow = int(np.count_nonzero(classes.overflow))
    counters = LookUpCounters(
        underflow=underflow,
        overflow=overflow,
        hybrid=classes.values.size - underflow - overflow,
        le_hit=int(np.count_nonzero(classes.le_hit)),
        lo_hit=int(np.count_nonzero(classes.lo_hit)),
    )
    return LookUpResult(classes.values, counters)


def classify(data: IntegerArray, table: LookUpTable) -> LookUpClasses:
    """Values and classes of every element, from which `look_up` counts."""
    check_signed("data", data, 32)
    for name in ("le_start", "le_end", "lo_start", "lo_end"):
        check_signed(name, getattr(table, name), 32)
    x = as_int64("data", data)
    linear = table.le_function is LookUpFunction.LINEAR
    le = (
        _linear_index(x, table.le_start, table.le_index_select, 64)
        if linear
        else _exponential_index(x, table.le_start, table.le_index_offset)
    )
    lo = _linear_index(x, table.lo_start, table.lo_index_select, 256)

    use_lo = answers_lo(le, lo, table)
    offset = table.le_index_offset
    bias = 1 << offset if not linear and 0 <= offset <= 31 else 0
    le_values = _values(
        x, le, table.le_table, table.le_start + bias, table.le_end, table.le_underflow,
        table.le_overflow,
    )  # fmt: skip
    lo_values = _values(
        x, lo, table.lo_table, table.lo_start, table.lo_end, table.lo_underflow, table.lo_overflow
    )
    return LookUpClasses(
        values=np.where(use_lo, lo_values, le_values),
        underflow=np.where(use_lo, lo.underflow, le.underflow),
        overflow=np.where(use_lo, lo.overflow, le.overflow),
        le_hit=le.hit,
        lo_hit=lo.hit,
    )


def _linear_index(x: Int64Array, start: int, select: int, last: int) -> TableIndex:
    underflow = x <= start
    u: Int64Array = np.where(underflow, 0, x - start)  # unsigned 32 bits
    fraction: Int64Array = np.zeros(u.shape, np.int64)
    if select < 0:
        index = shift_left_saturate(u, -select, 62)
    else:
        # From a shift of 32 on, all of u is fraction.
        index = u >> min(select, 32)
        low: Int64Array = u & ((1 << min(select, 32)) - 1)
        if select <= FRACTION_BITS:
            fraction = low << (FRACTION_BITS - select)
        else:
            fraction = low >> min(select - FRACTION_BITS, 63)
    index = np.minimum(index, LARGEST_INDEX)
    overflow = ~underflow & (index >= last)
    return TableIndex(
        np.where(overflow, last, index), np.where(overflow, 0, fraction), underflow, overflow
    )


def _exponential_index(x: Int64Array, start: int, offset: int) -> TableIndex:
    below = x <= start
    u: Int64Array = np.where(below, 1, x - start)
    exponent, rest = split_leading_one(u)
    underflow = below | (exponent < offset)
    index = exponent - offset
    overflow = ~underflow & (index >= 64)
    hit = ~(underflow | overflow)
    fraction = rest << (FRACTION_BITS - exponent)
    return TableIndex(
        np.where(hit, index, np.where(overflow, 64, 0)),
        np.where(hit, fraction, 0),
        underflow,
        overflow,
    )


def split_leading_one(u: Int64Array) -> tuple[Int64Array, Int64Array]:
    """(e, u - 2**e) with e = floor(log2(u)), for 0 < u < 2**53, which float64 holds exactly."""
    exponent = np.frexp(u.astype(np.float64))[1].astype(np.int64) - 1
    return exponent, u - np.left_shift(np.ones_like(exponent), exponent)


def _values(
    x: Int64Array,
    at: TableIndex,
    table: IntegerArray,
    start: int,
    end: int,
    underflow: Slope,
    overflow: Slope,
) -> Int64Array:
    entries = table.astype(np.int64)
    following = entries[np.minimum(at.index + 1, len(entries) - 1)]
    one = 1 << FRACTION_BITS
    interpolated = round_shift(
        entries[at.index] * (one - at.fraction) + following * at.fraction, FRACTION_BITS
    )
    below = saturate(entries[0] + _slope(x - start, underflow), 32)
    above = saturate(entries[-1] + _slope(x - end, overflow), 32)
    return np.where(at.underflow, below, np.where(at.overflow, above, interpolated))


def _slope(distance: Int64Array, slope: Slope) -> Int64Array:
    product = distance * slope.scale
    if slope.shift < 0:
        return shift_left_saturate(product, -slope.shift)
    return saturate(round_shift(product, slope.shift), 32)
