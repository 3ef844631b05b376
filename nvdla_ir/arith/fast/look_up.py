"""Quick look-up: each distinct input is looked up once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from nvdla_ir.arith.errors import Int64Array, IntegerArray, as_int64, check_signed
from nvdla_ir.arith.fast.chunks import CHUNK_ELEMENTS, cuts
from nvdla_ir.arith.parameters import LookUpCounters, LookUpResult, LookUpTable
from nvdla_ir.arith.reference.look_up import LookUpClasses, classify


@frozen(eq=False)
class TabulatedLookUp:
    """Values of a look-up and the number of elements with each flag of LookUpClasses."""

    values: Int64Array
    underflow: int
    overflow: int
    le_hit: int
    lo_hit: int


def look_up(data: IntegerArray, table: LookUpTable) -> LookUpResult:
    """See `reference.look_up`."""
    check_signed("data", data, 32)
    x = as_int64("data", data)
    found = tabulate(x, lambda inputs: classify(inputs, table))
    counters = LookUpCounters(
        underflow=found.underflow,
        overflow=found.overflow,
        hybrid=x.size - found.underflow - found.overflow,
        le_hit=found.le_hit,
        lo_hit=found.lo_hit,
    )
    return LookUpResult(found.values, counters)


def tabulate(x: Int64Array, classify_all: Callable[[Int64Array], LookUpClasses]) -> TabulatedLookUp:
    """`classify_all` of every element of `x`, computed once per distinct value where that pays."""
    span = value_span(x)
    if span is None:
        return _in_chunks(x, classify_all)
    low, inputs = span
    classes = classify_all(inputs)
    position = x - low
    occurrences = np.bincount(position.ravel(), minlength=inputs.size)

    def count(flags: NDArray[np.bool_]) -> int:
        return int(occurrences[flags].sum())

    return TabulatedLookUp(
        classes.values[position],
        count(classes.underflow),
        count(classes.overflow),
        count(classes.le_hit),
        count(classes.lo_hit),
    )


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


def _in_chunks(
    x: Int64Array, classify_all: Callable[[Int64Array], LookUpClasses]
) -> TabulatedLookUp:
    values = np.empty(x.shape, np.int64)
    counts = [0, 0, 0, 0]
    for cut in cuts(x.shape, CHUNK_ELEMENTS):
        part = classify_all(x[(*cut, ...)])
        values[(*cut, ...)] = part.values
        for number, flags in enumerate((part.underflow, part.overflow, part.le_hit, part.lo_hit)):
            counts[number] += int(np.count_nonzero(flags))
    return TabulatedLookUp(values, *counts)
