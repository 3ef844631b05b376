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
