"""Hypothesis strategies of hardware numbers that favour borders and exact ties."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

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


def signed(bits: int) -> st.SearchStrategy[int]:
    """Signed integers of `bits` bits: any, near a power of two of either sign, or extreme."""
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    near_power = st.builds(
        lambda sign, exponent, delta: max(low, min(high, sign * (1 << exponent) + delta)),
        st.sampled_from((-1, 1)),
        st.integers(0, bits - 1),
        st.integers(-2, 2),
    )
    return st.integers(low, high) | near_power | st.sampled_from((low, low + 1, high, -1, 0, 1))


def ties(shift: int, bits: int) -> st.SearchStrategy[int]:
    """Integers of `bits` bits on and beside the ties of a right shift by `shift`."""
    half = 1 << max(shift - 1, 0)
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    return st.builds(
        lambda n, delta: max(low, min(high, (2 * n + 1) * half + delta)),
        st.integers(low // (2 * half), high // (2 * half)),
        st.integers(-1, 1),
    )


algorithms = st.none() | st.sampled_from(AluAlgorithm)
x_units = st.builds(
    XUnit,
    alu=algorithms,
    alu_operand=signed(16),
    alu_shift=st.integers(0, 63) | st.just(0),
    mul_operand=st.none() | signed(16),
    mul_shift=st.integers(0, 255) | st.integers(0, 32),
    prelu=st.booleans(),
    relu=st.booleans(),
)

converters = st.builds(
    OperandConverter, offset=signed(32), scale=signed(16), truncate=st.integers(0, 63)
)


@st.composite
def y_units(draw: st.DrawFn) -> YUnit:
    mul_converter = draw(st.none() | converters)
    alu_converter = draw(st.none() | converters)
    return YUnit(
        mul_operand=draw(st.none() | signed(16 if mul_converter else 32)),
        mul_converter=mul_converter,
        truncate=draw(st.integers(0, 70) | st.integers(0, 1023)),
        prelu=draw(st.booleans()),
        alu=draw(algorithms),
        alu_operand=draw(signed(16 if alu_converter else 32)),
        alu_converter=alu_converter,
    )


slopes = st.builds(Slope, scale=signed(16), shift=st.integers(-16, 15))


@st.composite
def look_up_tables(draw: st.DrawFn, bits: int, largest_select: int) -> LookUpTable:
    """Tables for starts and ends of signed `bits` bits; entries and registers at random."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    number = signed(bits) | st.integers(-1000, 1000)
    select = st.integers(-8, 24) | st.integers(-32, largest_select)
    parameters: dict[str, Any] = {
        name: draw(number) for name in ("le_start", "le_end", "lo_start", "lo_end")
    }
    return LookUpTable(
        le_table=rng.integers(-(1 << 15), 1 << 15, 65),
        lo_table=rng.integers(-(1 << 15), 1 << 15, 257),
        le_function=draw(st.sampled_from(LookUpFunction)),
        le_index_offset=draw(st.integers(-64, 33) | st.integers(29, 33) | signed(8)),
        le_index_select=draw(select),
        lo_index_select=draw(select),
        le_underflow=draw(slopes),
        le_overflow=draw(slopes),
        lo_underflow=draw(slopes),
        lo_overflow=draw(slopes),
        underflow_priority=draw(st.sampled_from(LookUpPriority)),
        overflow_priority=draw(st.sampled_from(LookUpPriority)),
        hybrid_priority=draw(st.sampled_from(LookUpPriority)),
        **parameters,
    )
