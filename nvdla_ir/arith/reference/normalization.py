"""Channel Data Processor: local response normalization."""

from __future__ import annotations

import numpy as np

from nvdla_ir.arith.errors import Int8Array, Int64Array, IntegerArray, OperandError
from nvdla_ir.arith.parameters import (
    LookUpCounters,
    LookUpFunction,
    LookUpTable,
    Normalization,
    NormalizationResult,
    Slope,
)
from nvdla_ir.arith.reference.look_up import (
    LookUpClasses,
    TableIndex,
    answers_lo,
    split_leading_one,
)
from nvdla_ir.arith.reference.rounding import round_shift, saturate, shift_left_saturate

FRACTION_BITS = 16


def local_response_normalization(x: Int8Array, layer: Normalization) -> NormalizationResult:
    """The CDP's normalization of int8 `x[..., C, H, W]` across channels; INT8 arithmetic.

    Channels outside [0, C) count as 0 after the input converter. Lanes that fill the last atom
    are channels as any other here: a caller that models them appends channels that hold
    `input_offset`. Source: cdp.md section 2. Raises OperandError unless `x` is such an array.
    """
    check_normalization(x)
    converted = convert(x, layer)
    found = classify(square_sum(converted, layer), layer.table)
    counters = count_classes(
        x.size,
        int(np.count_nonzero(found.underflow)),
        int(np.count_nonzero(found.overflow)),
        int(np.count_nonzero(found.le_hit)),
        int(np.count_nonzero(found.lo_hit)),
    )
    product = found.values if layer.bypass_multiply else found.values * converted
    output = round_shift((product - layer.output_offset) * layer.output_scale, layer.output_shift)
    clipped = saturate(output, 8)
    return NormalizationResult(
        values=clipped.astype(np.int8),
        counters=counters,
        saturated=int(np.count_nonzero(clipped != output)),
    )


def check_normalization(x: Int8Array) -> None:
    """Raise OperandError unless `x` is int8 [..., C, H, W]."""
    if x.dtype != np.int8 or x.ndim < 3:
        raise OperandError(f"x must be int8 [..., C, H, W], not {x.dtype} {x.shape}")


def convert(x: Int8Array, layer: Normalization) -> Int64Array:
    """The elements after the input converter, signed 9 bits."""
    product = (x.astype(np.int64) - layer.input_offset) * layer.input_scale
    return saturate(round_shift(product, layer.input_shift), 9)


def square_sum(converted: Int64Array, layer: Normalization) -> Int64Array:
    """What the look-up sees: sums of squares over the window, or the elements themselves."""
    if layer.bypass_square_sum:
        return converted
    reach = layer.size // 2
    channels = converted.shape[-3]
    squares = converted * converted
    total = np.zeros_like(squares)
    for channel in range(channels):
        window = slice(max(channel - reach, 0), channel + reach + 1)
        total[..., channel, :, :] = np.sum(squares[..., window, :, :], axis=-3)
    return total


def count_classes(
    elements: int, underflow: int, overflow: int, le_hit: int, lo_hit: int
) -> LookUpCounters:
    """The CDP's counters. Unlike the SDP's they add up to all elements: `hybrid` is the rest."""
    hybrid = elements - underflow - overflow - le_hit - lo_hit
    return LookUpCounters(underflow, overflow, hybrid, le_hit, lo_hit)


def classify(data: Int64Array, table: LookUpTable) -> LookUpClasses:
    """The CDP's look-up: values of signed 16 bits, and classes. cdp.md section 3.

    `data` is a sum of squares of nine signed 9-bit numbers at most, or one such number. The
    classes are: both tables underflow; both overflow; LE alone hits; LO alone hits.
    """
    linear = table.le_function is LookUpFunction.LINEAR
    le = (
        _linear_index(data, table.le_start, table.le_index_select, 64)
        if linear
        else _exponential_index(data, table.le_start, table.le_index_offset)
    )
    lo = _linear_index(data, table.lo_start, table.lo_index_select, 256)
    bias = 0
    if not linear and table.le_index_offset >= 0:
        # Beyond 2**45 every slope but 0 saturates the 16-bit answer all the same.
        bias = 1 << min(table.le_index_offset, 45)
    le_values = _values(
        data, le, table.le_table, table.le_start + bias, table.le_end, table.le_underflow,
        table.le_overflow,
    )  # fmt: skip
    lo_values = _values(
        data, lo, table.lo_table, table.lo_start, table.lo_end, table.lo_underflow,
        table.lo_overflow,
    )  # fmt: skip
    return LookUpClasses(
        values=np.where(answers_lo(le, lo, table), lo_values, le_values),
        underflow=le.underflow & lo.underflow,
        overflow=le.overflow & lo.overflow,
        le_hit=le.hit & ~lo.hit,
        lo_hit=lo.hit & ~le.hit,
    )


def _linear_index(data: Int64Array, start: int, select: int, last: int) -> TableIndex:
    distance = data - start
    underflow = distance <= 0
    t: Int64Array = np.where(underflow, 0, distance)
    fraction: Int64Array = np.zeros(t.shape, np.int64)
    if select <= 0:
        index = shift_left_saturate(t, -select, 62)
    else:
        index = t >> min(select, 62)
        low = t & ((1 << min(select, 62)) - 1)
        fraction = _rescale(low, np.array(select))
    overflow = ~underflow & (index >= last)
    return TableIndex(
        np.where(overflow, last, index), np.where(overflow, 0, fraction), underflow, overflow
    )


def _exponential_index(data: Int64Array, start: int, offset: int) -> TableIndex:
    distance = data - start
    t: Int64Array = np.where(distance <= 0, 1, distance)
    exponent, rest = split_leading_one(t)
    index = exponent - offset
    underflow = (distance <= 0) | (index < 0)
    overflow = ~underflow & (index >= 64)
    hit = ~(underflow | overflow)
    fraction = _rescale(rest, exponent)
    return TableIndex(
        np.where(hit, index, np.where(overflow, 64, 0)),
        np.where(hit, fraction, 0),
        underflow,
        overflow,
    )


def _rescale(value: Int64Array, bits: Int64Array) -> Int64Array:
    """A fraction of `bits` bits as one of FRACTION_BITS; what does not fit is cut off."""
    return (value >> np.maximum(bits - FRACTION_BITS, 0)) << np.maximum(FRACTION_BITS - bits, 0)


def _values(
    data: Int64Array,
    at: TableIndex,
    table: IntegerArray,
    start: int,
    end: int,
    underflow: Slope,
    overflow: Slope,
) -> Int64Array:
    entries = table.astype(np.int64)
    entry = entries[at.index]
    following = entries[np.minimum(at.index + 1, len(entries) - 1)]
    interpolated = entry + round_shift((following - entry) * at.fraction, FRACTION_BITS)
    below = entries[0] + _slope(data - start, underflow)
    above = entries[-1] + _slope(data - end, overflow)
    return saturate(np.where(at.underflow, below, np.where(at.overflow, above, interpolated)), 16)


def _slope(distance: Int64Array, slope: Slope) -> Int64Array:
    product = distance * slope.scale
    if slope.shift < 0:
        return shift_left_saturate(product, -slope.shift, 56)
    return saturate(round_shift(product, slope.shift), 56)
