"""The reference against published vectors of the hardware's behaviour (sdp.md appendix A)."""

from __future__ import annotations

import numpy as np
import pytest

from nvdla_ir.arith import reference
from nvdla_ir.arith.parameters import (
    AluAlgorithm,
    LookUpCounters,
    LookUpFunction,
    LookUpPriority,
    LookUpTable,
    OperandConverter,
    Slope,
    XUnit,
    YUnit,
)


@pytest.mark.parametrize(
    ("value", "shift", "expected"),
    [(5, 1, 3), (-5, 1, -3), (-3, 1, -2), (-6, 2, -2), (-2, 2, -1), (-1, 2, 0)],
)
def test_round_shift(value: int, shift: int, expected: int) -> None:
    assert reference.round_shift(value, shift) == expected


# d, ALU bypassed, algorithm, operand, shift, MUL bypassed, operand, shift, PReLU, ReLU bypassed
X_VECTORS = [
    ((100, 0, 2, -50, 3, 1, 0, 0, 0, 1), -300),
    ((5, 1, 0, 0, 0, 1, 0, 1, 0, 1), 3),
    ((-5, 1, 0, 0, 0, 1, 0, 1, 0, 1), -3),
    ((-6, 1, 0, 0, 0, 1, 0, 2, 0, 1), -2),
    ((7, 0, 0, 9, 1, 0, 3, 2, 0, 1), 14),
    ((7, 0, 1, -9, 1, 0, 3, 2, 0, 0), 0),
    ((-100, 1, 0, 0, 0, 0, 13, 4, 1, 1), -81),
    ((100, 1, 0, 0, 0, 0, 13, 4, 1, 1), 100),
    ((2147483647, 0, 2, 5, 0, 0, 13, 4, 1, 1), -2147483644),
    ((2147483647, 0, 2, 5, 0, 1, 0, 0, 0, 1), 2147483647),
    ((123456789, 0, 2, 32767, 31, 0, -32768, 16, 0, 1), -1135470218),
    ((-2147483648, 0, 2, -1, 0, 0, 32767, 15, 0, 1), -2147418113),
    ((12345, 0, 3, 1000, 0, 0, 1, 0, 0, 1), 13345),
]


@pytest.mark.parametrize(("arguments", "expected"), X_VECTORS)
def test_x_unit(arguments: tuple[int, ...], expected: int) -> None:
    d, alu_bypass, algorithm, alu, alu_shift, mul_bypass, mul, shift, prelu, relu_bypass = arguments
    unit = XUnit(
        alu=None if alu_bypass else AluAlgorithm(algorithm),
        alu_operand=alu,
        alu_shift=alu_shift,
        mul_operand=None if mul_bypass else mul,
        mul_shift=shift,
        prelu=bool(prelu),
        relu=not relu_bypass,
    )
    assert reference.sdp_x(np.array([d]), unit).tolist() == [expected]


@pytest.mark.parametrize(
    ("operand", "offset", "scale", "truncate", "expected"),
    [
        (100, -28, 3, 1, 192),
        (-7, 0, 1, 1, -4),
        (-128, 127, -32768, 10, 8160),
        (32767, -2147483648, 32767, 0, 2147483647),
        (-3, 0, 1, 2, -1),
    ],
)
def test_operand_converter(
    operand: int, offset: int, scale: int, truncate: int, expected: int
) -> None:
    converter = OperandConverter(offset, scale, truncate)
    assert reference.convert_operand(operand, converter) == expected
    unit = YUnit(alu=AluAlgorithm.MAX, alu_operand=operand, alu_converter=converter)
    lowest = np.array([-(1 << 31)])
    assert reference.sdp_y(lowest, unit).tolist() == [expected]


# d, MUL bypassed, operand, truncate, PReLU, ALU bypassed, algorithm, operand
Y_VECTORS = [
    ((1000, 0, -3, 1, 0, 1, 0, 0), -1500),
    ((1000, 0, -3, 1, 1, 0, 2, 5), 1005),
    ((-1000, 0, 3, 4, 1, 0, 2, 5), -183),
    ((2147483647, 1, 0, 9, 0, 0, 2, 1), 2147483647),
    ((-2147483648, 0, -2147483648, 62, 0, 1, 0, 0), 1),
    ((-2147483648, 0, -2147483648, 63, 0, 1, 0, 0), 1),
    ((-2147483648, 0, -2147483648, 64, 0, 1, 0, 0), 0),
    ((5, 1, 0, 0, 0, 0, 3, 5), 0),
    ((5, 1, 0, 0, 0, 0, 3, 6), 1),
]


@pytest.mark.parametrize(("arguments", "expected"), Y_VECTORS)
def test_y_unit(arguments: tuple[int, ...], expected: int) -> None:
    d, mul_bypass, mul, truncate, prelu, alu_bypass, algorithm, alu = arguments
    unit = YUnit(
        mul_operand=None if mul_bypass else mul,
        truncate=truncate,
        prelu=bool(prelu),
        alu=None if alu_bypass else AluAlgorithm(algorithm),
        alu_operand=alu,
    )
    assert reference.sdp_y(np.array([d]), unit).tolist() == [expected]


@pytest.mark.parametrize(
    ("x", "offset", "scale", "shift", "bits", "expected"),
    [
        (300, 0, 1, 1, 8, 127),
        (-3, 0, 1, 1, 8, -2),
        (255, 0, 1, 1, 8, 127),
        (253, 0, 1, 1, 8, 127),
        (65536, 0, 1, 0, 16, 32767),
        (65537, 0, 1, 0, 16, 32767),
        (40000, 0, 1, 0, 16, 32767),
        (-70000, 5, 1, 0, 8, -128),
        (1000, -24, 1638, 14, 8, 102),
        (0, 1036199147, -23501, 33, 8, 127),
    ],
)
def test_output_converter(
    x: int, offset: int, scale: int, shift: int, bits: int, expected: int
) -> None:
    result = reference.convert_output(np.array([x]), offset, scale, shift, bits)
    assert result.tolist() == [expected]
    assert result.dtype == (np.int8 if bits == 8 else np.int16)


def test_output_saturation_counts_the_17_bit_stage_only() -> None:
    x = np.array([300, 65535, 65536, -65536, -65537, 70000])
    assert reference.count_output_saturation(x, 0, 1, 0) == 3
    assert reference.count_output_saturation(x, 0, 1, 49) == 0
    # 131071 / 2 is 65535.5: it rounds out of 17 bits, though its floor is inside.
    assert reference.count_output_saturation(np.array([131070, 131071]), 0, 1, 1) == 1
    # -131073 / 2 is -65536.5: its floor is outside.
    assert reference.count_output_saturation(np.array([-131072, -131073]), 0, 1, 1) == 1


def appendix_table(le_function: LookUpFunction) -> LookUpTable:
    return LookUpTable(
        le_table=[7 * i * i - 1000 for i in range(65)],
        lo_table=[(251 * i) % 4001 - 2000 for i in range(257)],
        le_function=le_function,
        le_index_offset=2,
        le_index_select=4,
        lo_index_select=1,
        le_start=-64,
        le_end=960,
        lo_start=0,
        lo_end=512,
        le_underflow=Slope(-300, 4),
        le_overflow=Slope(77, -2),
        lo_underflow=Slope(5, 0),
        lo_overflow=Slope(-9, 3),
        underflow_priority=LookUpPriority.LE,
        overflow_priority=LookUpPriority.LO,
        hybrid_priority=LookUpPriority.LO,
    )


LOOK_UP_INPUTS = (
    [-200, -65, -64, -63, -61, -60, -59, -7, 0, 1, 2, 37, 511, 512, 513, 959, 960, 5000]
)  # fmt: skip


@pytest.mark.parametrize(
    ("le_function", "expected", "counters"),
    [
        (
            LookUpFunction.LINEAR,
            [1550, -981, -1000, -1000, -999, -998, -998, -909, -888, -1875, -1749, -1358, 115,
             8072, 8104, 27616, -2264, -6809],
            LookUpCounters(underflow=3, overflow=2, hybrid=13, le_hit=13, lo_hit=4),
        ),
        (
            LookUpFunction.EXPONENTIAL,
            [1625, -906, -925, -944, -981, -1000, -998, -899, -888, -1875, -1749, -1358, 115,
             -644, -644, -552, -552, -265],
            LookUpCounters(underflow=5, overflow=0, hybrid=13, le_hit=13, lo_hit=4),
        ),
    ],
)  # fmt: skip
def test_look_up(
    le_function: LookUpFunction, expected: list[int], counters: LookUpCounters
) -> None:
    result = reference.look_up(np.array(LOOK_UP_INPUTS), appendix_table(le_function))
    assert result.values.tolist() == expected
    assert result.counters == counters
