"""A second evaluation of the arithmetic: one element at a time, in Python's unbounded integers.

Written from the formulas alone, and from the text of the definitions rather than from the code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from math import floor

from nvdla_ir.arith.parameters import (
    AluAlgorithm,
    LookUpFunction,
    LookUpPriority,
    LookUpTable,
    Normalization,
    OperandConverter,
    Slope,
    XUnit,
    YUnit,
)


def divide_rounded(value: int, shift: int) -> int:
    """value / 2**shift to the nearest integer, ties away from zero, by exact fractions."""
    quotient = Fraction(abs(value), 2**shift)
    magnitude = floor(quotient + Fraction(1, 2))
    return -magnitude if value < 0 else magnitude


def clamp(value: int, bits: int) -> int:
    return max(-(2 ** (bits - 1)), min(2 ** (bits - 1) - 1, value))


def low_bits(value: int, bits: int) -> int:
    value %= 2**bits
    return value - 2**bits if value >= 2 ** (bits - 1) else value


def convert(value: int, offset: int, scale: int, shift: int, bits: int) -> int:
    return clamp(divide_rounded((value - offset) * scale, shift), bits)


def convolve_at(
    read: Callable[[int, int, int], int],
    kernel: Sequence[Sequence[Sequence[int]]],
    top: int,
    left: int,
    dilation: tuple[int, int],
) -> int:
    """One accumulator: `read(c, y, x)` under `kernel[c][r][s]` placed at (top, left)."""
    return sum(
        weight * read(c, top + r * dilation[0], left + s * dilation[1])
        for c, plane in enumerate(kernel)
        for r, line in enumerate(plane)
        for s, weight in enumerate(line)
    )


def x_unit(d: int, unit: XUnit, alu_operand: int, mul_operand: int | None) -> int:
    a = d
    if unit.alu is not None:
        operand = clamp(alu_operand * 2**unit.alu_shift, 32)
        if unit.alu is AluAlgorithm.MAX:
            a = max(d, operand)
        elif unit.alu is AluAlgorithm.MIN:
            a = min(d, operand)
        else:
            a = d + operand
    shift = unit.mul_shift % 64
    if mul_operand is None:
        t = clamp(divide_rounded(a, shift), 32)
    elif unit.prelu and a >= 0:
        t = low_bits(a, 32)
    else:
        t = clamp(divide_rounded(a * mul_operand, shift), 32)
    return max(t, 0) if unit.relu else t


def converted(operand: int, converter: OperandConverter | None) -> int:
    if converter is None:
        return operand
    return convert(operand, converter.offset, converter.scale, converter.truncate, 32)


def y_unit(d: int, unit: YUnit, alu_operand: int, mul_operand: int | None) -> int:
    m = d
    if mul_operand is not None and not (unit.prelu and d >= 0):
        factor = converted(mul_operand, unit.mul_converter)
        m = clamp(divide_rounded(d * factor, unit.truncate), 32)
    operand = converted(alu_operand, unit.alu_converter)
    if unit.alu is None:
        return m
    return {
        AluAlgorithm.MAX: max(m, operand),
        AluAlgorithm.MIN: min(m, operand),
        AluAlgorithm.SUM: clamp(m + operand, 32),
        AluAlgorithm.EQL: int(m != operand),
    }[unit.alu]


def saturates_17_bits(x: int, offset: int, scale: int, shift: int) -> bool:
    product = (x - offset) * scale
    down = product // 2**shift
    return shift < 49 and (down < -65536 or down > 65535 or divide_rounded(product, shift) > 65535)


def linear_index(x: int, start: int, select: int, last: int) -> tuple[str, int, int]:
    """(how it falls, index, fraction in units of 2**-35)."""
    if x <= start:
        return "underflow", 0, 0
    position = Fraction(x - start) / Fraction(2) ** select
    index = min(floor(position), 511)
    if index >= last:
        return "overflow", last, 0
    fraction = floor((position - index) * 2**35) if select >= 0 else 0
    return "hit", index, fraction


def exponential_index(x: int, start: int, offset: int) -> tuple[str, int, int]:
    if x <= start:
        return "underflow", 0, 0
    u = x - start
    exponent = u.bit_length() - 1
    if exponent < offset:
        return "underflow", 0, 0
    if exponent - offset >= 64:
        return "overflow", 64, 0
    return "hit", exponent - offset, floor(Fraction(u - 2**exponent, 2**exponent) * 2**35)


def slope(distance: int, parameters: Slope) -> int:
    product = distance * parameters.scale
    if parameters.shift < 0:
        return clamp(product * 2**-parameters.shift, 32)
    return clamp(divide_rounded(product, parameters.shift), 32)


def look_up(x: int, table: LookUpTable) -> tuple[int, str, bool, bool]:
    """(value, how the selected table answered, LE hit, LO hit)."""
    offset = table.le_index_offset
    bias = 0
    if table.le_function is LookUpFunction.LINEAR:
        le = linear_index(x, table.le_start, table.le_index_select, 64)
    else:
        le = exponential_index(x, table.le_start, offset)
        bias = 2**offset if 0 <= offset <= 31 else 0
    lo = linear_index(x, table.lo_start, table.lo_index_select, 256)
    kinds = (le[0], lo[0])
    if kinds == ("underflow", "underflow"):
        selected = table.underflow_priority
    elif kinds == ("overflow", "overflow"):
        selected = table.overflow_priority
    elif kinds == ("hit", "hit") or "hit" not in kinds:
        selected = table.hybrid_priority
    else:
        selected = LookUpPriority.LE if kinds[0] == "hit" else LookUpPriority.LO
    if selected is LookUpPriority.LE:
        kind, index, fraction = le
        entries = [int(v) for v in table.le_table]
        start, end = table.le_start + bias, table.le_end
        below, above = table.le_underflow, table.le_overflow
    else:
        kind, index, fraction = lo
        entries = [int(v) for v in table.lo_table]
        start, end = table.lo_start, table.lo_end
        below, above = table.lo_underflow, table.lo_overflow
    if kind == "underflow":
        value = clamp(entries[0] + slope(x - start, below), 32)
    elif kind == "overflow":
        value = clamp(entries[-1] + slope(x - end, above), 32)
    else:
        value = divide_rounded(
            entries[index] * (2**35 - fraction) + entries[index + 1] * fraction, 35
        )
    return value, kind, le[0] == "hit", lo[0] == "hit"


def pad_sums(raw: Sequence[int]) -> list[int]:
    """PAD_VALUE_1X … 7X after sign extension, with the 0 of no padding in front."""
    sums = [0]
    for value, sign_bit in zip(raw, (7, 8, 9, 9, 10, 10, 10), strict=True):
        if value & 2**sign_bit:
            # Ones are ORed into every higher bit.
            value = low_bits(value, sign_bit + 1)
        sums.append(low_bits(value, 16))
    return sums


def average(
    lines: Sequence[Sequence[int]],
    rows_outside: int,
    columns_outside: int,
    kernel_width: int,
    reciprocals: tuple[int, int],
    pad_values: Sequence[int],
) -> int:
    """One average: `lines` are the elements of the window that lie inside the input."""
    padding = pad_sums(pad_values)
    total = sum(sum(line) + padding[columns_outside] for line in lines)
    total = low_bits(total + padding[rows_outside] * kernel_width, 16)
    across = divide_rounded(total * reciprocals[1], 16)
    return low_bits(divide_rounded(across * reciprocals[0], 16), 8)


def cdp_linear_index(value: int, start: int, select: int, last: int) -> tuple[str, int, int]:
    """(how it falls, index, fraction in units of 2**-16)."""
    t = value - start
    if t <= 0:
        return "underflow", 0, 0
    position = Fraction(t) / Fraction(2) ** select
    index = floor(position)
    if index >= last:
        return "overflow", last, 0
    return "hit", index, floor((position - index) * 2**16) if select > 0 else 0


def cdp_exponential_index(value: int, start: int, offset: int) -> tuple[str, int, int]:
    t = value - start
    if t <= 0 or t.bit_length() - 1 < offset:
        return "underflow", 0, 0
    exponent = t.bit_length() - 1
    if exponent - offset >= 64:
        return "overflow", 64, 0
    return "hit", exponent - offset, floor(Fraction(t - 2**exponent, 2**exponent) * 2**16)


def cdp_slope(distance: int, parameters: Slope) -> int:
    product = distance * parameters.scale
    if parameters.shift < 0:
        return clamp(product * 2**-parameters.shift, 56)
    return clamp(divide_rounded(product, parameters.shift), 56)


def cdp_look_up(value: int, table: LookUpTable) -> tuple[int, str]:
    """(value, the counter that it belongs to)."""
    bias = 0
    if table.le_function is LookUpFunction.LINEAR:
        le = cdp_linear_index(value, table.le_start, table.le_index_select, 64)
    else:
        le = cdp_exponential_index(value, table.le_start, table.le_index_offset)
        bias = 0 if table.le_index_offset < 0 else 2**table.le_index_offset
    lo = cdp_linear_index(value, table.lo_start, table.lo_index_select, 256)
    kinds = (le[0], lo[0])
    if kinds == ("underflow", "underflow"):
        counter, selected = "underflow", table.underflow_priority
    elif kinds == ("overflow", "overflow"):
        counter, selected = "overflow", table.overflow_priority
    elif kinds.count("hit") == 1:
        counter = "le_hit" if kinds[0] == "hit" else "lo_hit"
        selected = LookUpPriority.LE if kinds[0] == "hit" else LookUpPriority.LO
    else:
        counter, selected = "hybrid", table.hybrid_priority
    if selected is LookUpPriority.LE:
        kind, index, fraction = le
        entries = [int(v) for v in table.le_table]
        start, end = table.le_start + bias, table.le_end
        below, above = table.le_underflow, table.le_overflow
    else:
        kind, index, fraction = lo
        entries = [int(v) for v in table.lo_table]
        start, end = table.lo_start, table.lo_end
        below, above = table.lo_underflow, table.lo_overflow
    if kind == "underflow":
        result = entries[0] + cdp_slope(value - start, below)
    elif kind == "overflow":
        result = entries[-1] + cdp_slope(value - end, above)
    else:
        step = (entries[index + 1] - entries[index]) * fraction
        result = entries[index] + divide_rounded(step, 16)
    return clamp(result, 16), counter


def normalize(channels: Sequence[int], layer: Normalization) -> list[tuple[int, str, bool]]:
    """(output, look-up counter, whether it was clipped) of the channels of one position."""
    converted = [
        convert(q, layer.input_offset, layer.input_scale, layer.input_shift, 9) for q in channels
    ]
    reach = layer.size // 2
    results: list[tuple[int, str, bool]] = []
    for c, own in enumerate(converted):
        window = converted[max(0, c - reach) : c + reach + 1]
        seen = own if layer.bypass_square_sum else sum(v * v for v in window)
        answer, counter = cdp_look_up(seen, layer.table)
        product = answer if layer.bypass_multiply else answer * own
        output = divide_rounded(
            (product - layer.output_offset) * layer.output_scale, layer.output_shift
        )
        results.append((clamp(output, 8), counter, clamp(output, 8) != output))
    return results
