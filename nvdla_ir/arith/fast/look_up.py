"""Quick look-up: each distinct input is looked up once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nvdla_ir.arith import reference
from nvdla_ir.arith.errors import Int64Array, IntegerArray, as_int64, check_signed
from nvdla_ir.arith.fast.chunks import CHUNK_ELEMENTS, cuts
from nvdla_ir.arith.parameters import LookUpCounters, LookUpResult, LookUpTable
from nvdla_ir.arith.reference.look_up import classify


def look_up(data: IntegerArray, table: LookUpTable) -> LookUpResult:
    """See `reference.look_up`."""
    check_signed("data", data, 32)
    x = as_int64("data", data)
    span = value_span(x)
    if span is None:
        return _in_chunks(x, table)
    low, inputs = span
    classes = classify(inputs, table)
    position = x - low
    occurrences = np.bincount(position.ravel(), minlength=inputs.size)

    def count(flags: NDArray[np.bool_]) -> int:
        return int(occurrences[flags].sum())

    underflow, overflow = count(classes.underflow), count(classes.overflow)
    counters = LookUpCounters(
        underflow=underflow,
        overflow=overflow,
        hybrid=x.size - underflow - overflow,
        le_hit=count(classes.le_hit),
        lo_hit=count(classes.lo_hit),
    )
    return LookUpResult(classes.values[position], counters)


def value_span(x: IntegerArray) -> tuple[int, Int64Array] | None:
    """(lowest, all integers from the lowest to the highest element of x).

    None where x has fewer elements than these, so that tabulating a function of one element
    would not pay.
    """
    if x.size == 0:
        return None
    low, high = int(x.min()), int(x.max())
    if high - low >= x.size:
        return None
    return low, np.arange(low, high + 1, dtype=np.int64)


def _in_chunks(x: Int64Array, table: LookUpTable) -> LookUpResult:
    values = np.empty(x.shape, np.int64)
    total = np.zeros(5, np.int64)
    for cut in cuts(x.shape, CHUNK_ELEMENTS):
        part = reference.look_up(x[cut], table)
        values[cut] = part.values
        c = part.counters
        total += (c.underflow, c.overflow, c.hybrid, c.le_hit, c.lo_hit)
    underflow, overflow, hybrid, le_hit, lo_hit = (int(n) for n in total)
    return LookUpResult(values, LookUpCounters(underflow, overflow, hybrid, le_hit, lo_hit))
