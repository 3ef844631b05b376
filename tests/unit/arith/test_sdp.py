"""SDP: reference against unbounded integers, fast against the reference."""

from __future__ import annotations

from typing import Any

import exact_integers as exact
import numpy as np
import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from strategies import look_up_tables, signed, ties, x_units, y_units

from nvdla_ir.arith import fast, reference
from nvdla_ir.arith.errors import OperandError
from nvdla_ir.arith.parameters import (
    AluAlgorithm,
    LookUpFunction,
    LookUpTable,
    OperandConverter,
    OutputConverter,
    Slope,
    XUnit,
    YUnit,
)

both = pytest.mark.parametrize("module", [reference, fast])
words = st.lists(signed(32), min_size=1, max_size=24)


@both
@given(data=words, unit=x_units)
@settings(max_examples=200, deadline=None)
def test_x_unit(module: Any, data: list[int], unit: XUnit) -> None:
    expected = [exact.x_unit(d, unit, unit.alu_operand, unit.mul_operand) for d in data]
    result = module.sdp_x(np.array(data), unit)
    assert result.dtype == np.int64
    assert result.tolist() == expected


@both
@given(data=words, unit=y_units())
@settings(max_examples=200, deadline=None)
def test_y_unit(module: Any, data: list[int], unit: YUnit) -> None:
    expected = [exact.y_unit(d, unit, unit.alu_operand, unit.mul_operand) for d in data]
    result = module.sdp_y(np.array(data), unit)
    assert result.dtype == np.int64
    assert result.tolist() == expected


@st.composite
def multiplied_ties(draw: st.DrawFn) -> tuple[list[int], int, int]:
    """Data, multiplier and shift whose products are exact ties or next to one."""
    shift = draw(st.integers(1, 47))
    twos = draw(st.integers(0, min(shift - 1, 14)))
    sign = draw(st.sampled_from((-1, 1)))
    # odd * 2**twos times odd * 2**(shift - 1 - twos): an odd multiple of the half.
    odd = 2 * draw(st.integers(0, (1 << (14 - twos)) - 1)) + 1
    multiplier = sign * (odd << twos)
    data = draw(st.lists(ties(shift - twos, 32), min_size=1, max_size=24))
    return data, multiplier, shift


@both
@given(case=multiplied_ties())
@settings(max_examples=200, deadline=None)
def test_ties_of_products(module: Any, case: tuple[list[int], int, int]) -> None:
    data, multiplier, shift = case
    unit = XUnit(mul_operand=multiplier, mul_shift=shift)
    expected = [exact.x_unit(d, unit, 0, multiplier) for d in data]
    assert module.sdp_x(np.array(data), unit).tolist() == expected
    y_unit = YUnit(mul_operand=multiplier, truncate=shift)
    assert module.sdp_y(np.array(data), y_unit).tolist() == expected
    outputs = [exact.convert(d, 0, multiplier, shift, 8) for d in data]
    assert module.convert_output(np.array(data), 0, multiplier, shift).tolist() == outputs


@st.composite
def wide_products(draw: st.DrawFn) -> tuple[list[int], int, int]:
    """Data, multiplier of 32 bits and shift: products up to 2**62, many of them ties."""
    shift = draw(st.integers(1, 61))
    twos = draw(st.integers(max(0, shift - 31), min(shift - 1, 30)))
    odd = 2 * draw(st.integers(0, (1 << (30 - twos)) - 1)) + 1
    multiplier = draw(st.sampled_from((-1, 1))) * (odd << twos)
    data = draw(st.lists(ties(shift - twos, 32) | signed(32), min_size=1, max_size=24))
    return data, multiplier, shift


@both
@given(case=wide_products(), prelu=st.booleans())
@settings(max_examples=200, deadline=None)
def test_products_that_float64_does_not_hold(
    module: Any, case: tuple[list[int], int, int], prelu: bool
) -> None:
    data, multiplier, shift = case
    unit = YUnit(mul_operand=multiplier, truncate=shift, prelu=prelu)
    expected = [exact.y_unit(d, unit, 0, multiplier) for d in data]
    assert module.sdp_y(np.array(data), unit).tolist() == expected


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("shift", [0, 1, 12])
def test_layers_of_everyday_use(bits: int, shift: int) -> None:
    """Bias, multiplier and ReLU per channel before a converter that has little to do."""
    rng = np.random.default_rng(0)
    bias = rng.integers(-50, 50, (4, 1, 1)).astype(np.int16)
    scale = rng.integers(-30, 31, (4, 1, 1)).astype(np.int16)
    addend = rng.integers(-128, 128, (4, 5, 6)).astype(np.int8)
    total = AluAlgorithm.SUM
    first = XUnit(
        alu=total, alu_operand=bias, alu_shift=2, mul_operand=scale, mul_shift=shift, relu=True
    )
    chains: list[tuple[XUnit, ...]] = [
        (first,),
        (evolve(first, relu=False), XUnit(alu=total, alu_operand=addend, relu=True)),
        (XUnit(relu=True), XUnit()),
        (XUnit(relu=True), XUnit(alu=AluAlgorithm.MIN, alu_operand=-3)),
        (XUnit(relu=True), XUnit(alu=AluAlgorithm.MAX, alu_operand=addend, relu=True)),
    ]
    for data in (
        rng.integers(-100, 100, (4, 5, 6)),
        rng.integers(-(1 << 20), 1 << 20, (4, 5, 6)),
        np.full((4, 5, 6), -100),
    ):
        for units in chains:
            for output in (OutputConverter(), OutputConverter(-3, 21, 5)):
                result = fast.sdp_layer(data, x_units=units, output=output, bits=bits)
                expected = reference.sdp_layer(data, x_units=units, output=output, bits=bits)
                np.testing.assert_array_equal(result.values, expected.values)
                assert result.saturated == expected.saturated
                assert result.clipped == expected.clipped


@given(multiplier=signed(16), shift=st.integers(0, 63))
@settings(max_examples=50, deadline=None)
def test_every_small_product_rounds_alike(multiplier: int, shift: int) -> None:
    data = np.arange(-20000, 20000)
    unit = XUnit(mul_operand=multiplier, mul_shift=shift)
    np.testing.assert_array_equal(fast.sdp_x(data, unit), reference.sdp_x(data, unit))


@both
@given(
    data=words,
    offset=signed(32) | st.integers(-300, 300),
    scale=signed(16),
    shift=st.integers(0, 63) | st.integers(0, 20),
    bits=st.sampled_from((8, 16)),
)
@settings(max_examples=200, deadline=None)
def test_output_converter(
    module: Any, data: list[int], offset: int, scale: int, shift: int, bits: int
) -> None:
    result = module.convert_output(np.array(data), offset, scale, shift, bits)
    assert result.dtype == (np.int8 if bits == 8 else np.int16)
    assert result.tolist() == [exact.convert(d, offset, scale, shift, bits) for d in data]
    count = module.count_output_saturation(np.array(data), offset, scale, shift)
    assert count == sum(exact.saturates_17_bits(d, offset, scale, shift) for d in data)
    layer = module.sdp_layer(
        np.array(data), output=OutputConverter(offset, scale, shift), bits=bits
    )
    assert layer.values.tolist() == result.tolist()
    assert layer.saturated == count
    exact_values = [exact.divide_rounded((d - offset) * scale, shift) for d in data]
    changed = (a != b for a, b in zip(layer.values.tolist(), exact_values, strict=True))
    assert layer.clipped == sum(changed)


@given(st.integers(1, 40), st.sampled_from((-1, 1)), st.integers(-3, 3))
def test_the_edge_of_the_saturation_counter(shift: int, scale: int, delta: int) -> None:
    # Products around -65536, -65536.5, 65535.5 and 65536 times 2**shift.
    for edge in (-131072, -131073, 131071, 131072):
        x = scale * ((edge << shift >> 1) + delta)
        if -(1 << 31) <= x < 1 << 31:
            expected = int(exact.saturates_17_bits(x, 0, scale, shift))
            data = np.array([x])
            assert reference.count_output_saturation(data, 0, scale, shift) == expected
            layer = fast.sdp_layer(data, output=OutputConverter(0, scale, shift))
            assert layer.saturated == expected


def look_up_inputs(table: LookUpTable, extra: list[int]) -> list[int]:
    """Inputs at and around every border of `table`, within 32 bits."""
    borders = [table.le_start, table.lo_start, table.le_end, table.lo_end]
    for start, select, last in (
        (table.le_start, table.le_index_select, 64),
        (table.lo_start, table.lo_index_select, 256),
        (table.le_start, table.le_index_offset, 1),
    ):
        if 0 <= select < 32:
            borders += [start + (last << select), start + (1 << select), start + (3 << select)]
    near = [border + delta for border in borders for delta in (-1, 0, 1)]
    return [v for v in (*near, *extra) if -(1 << 31) <= v < 1 << 31]


@both
@given(table=look_up_tables(bits=32, largest_select=127), extra=words)
@settings(max_examples=150, deadline=None)
def test_look_up(module: Any, table: LookUpTable, extra: list[int]) -> None:
    data = look_up_inputs(table, extra)
    expected = [exact.look_up(x, table) for x in data]
    result = module.look_up(np.array(data), table)
    assert result.values.tolist() == [value for value, _, _, _ in expected]
    counters = result.counters
    assert counters.underflow == sum(kind == "underflow" for _, kind, _, _ in expected)
    assert counters.overflow == sum(kind == "overflow" for _, kind, _, _ in expected)
    assert counters.hybrid == sum(kind == "hit" for _, kind, _, _ in expected)
    assert counters.le_hit == sum(le for _, _, le, _ in expected)
    assert counters.lo_hit == sum(lo for _, _, _, lo in expected)


@both
@pytest.mark.parametrize("offset", [-128, -1, 0, 1, 30, 31, 32, 33, 127])
def test_exponential_underflow_starts_from_the_first_entry(module: Any, offset: int) -> None:
    table = LookUpTable(
        le_table=list(range(65)),
        lo_table=[0] * 257,
        le_index_offset=offset,
        le_start=-1000,
        le_underflow=Slope(3, 5),
    )
    data = [-(1 << 31), -2000, -1001, -1000, -999, -998, 0, (1 << 30) - 1000, (1 << 31) - 1]
    expected = [exact.look_up(x, table)[0] for x in data]
    assert module.look_up(np.array(data), table).values.tolist() == expected


@given(
    table=look_up_tables(bits=32, largest_select=31),
    low=st.integers(-2000, 2000),
    width=st.integers(1, 3000),
)
@settings(max_examples=50, deadline=None)
def test_look_up_of_many_alike(table: LookUpTable, low: int, width: int) -> None:
    data = np.random.default_rng(0).integers(low, low + width, (3, 40, 50))
    result, expected = fast.look_up(data, table), reference.look_up(data, table)
    np.testing.assert_array_equal(result.values, expected.values)
    assert result.counters == expected.counters


def random_array(rng: np.random.Generator, bits: int, shape: tuple[int, ...]) -> NDArray[Any]:
    """Full-range, small, one-signed or constant integers of `bits` bits."""
    limit = 1 << (bits - 1)
    kind = rng.integers(6)
    if kind == 0:
        return rng.integers(-limit, limit, shape)
    if kind == 1:
        return rng.integers(-min(limit, 3000), min(limit, 3000), shape)
    if kind == 2:
        return rng.integers(0, limit, shape)
    if kind == 3:
        return rng.integers(-limit, 0, shape)
    return np.full(shape, -limit if kind == 4 else limit - 1)


@st.composite
def layers(draw: st.DrawFn) -> tuple[NDArray[Any], dict[str, Any]]:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = draw(st.sampled_from([(5, 7, 6), (2, 5, 3, 4), (64, 30, 20), (2, 190, 91), (9,), ()]))
    channels = (*shape[-3:-2], 1, 1) if len(shape) >= 3 else (1,) * len(shape)
    data_bits = draw(st.sampled_from((8, 16, 24, 32)))
    data = random_array(rng, data_bits, shape)
    if data_bits == 8 and draw(st.booleans()):
        data = data.astype(np.int8)
    elif draw(st.booleans()):
        data = data.astype(np.int32)

    def operand(bits: int) -> Any:
        kind = draw(st.sampled_from(("number", "channel", "element")))
        if kind == "number":
            return int(random_array(rng, bits, ()))
        array = random_array(rng, bits, channels if kind == "channel" else shape)
        return array.astype(np.int16) if bits == 16 else array

    units = tuple(
        evolve(
            draw(x_units),
            alu_operand=operand(16),
            mul_operand=draw(st.sampled_from((None, 1))) and operand(16),
        )
        for _ in range(draw(st.integers(0, 2)))
    )
    y_unit = draw(st.none() | y_units())
    if y_unit is not None:
        y_unit = evolve(
            y_unit,
            alu=None if y_unit.alu is AluAlgorithm.EQL else y_unit.alu,
            alu_operand=operand(16 if y_unit.alu_converter else 32),
            mul_operand=draw(st.sampled_from((None, 1)))
            and operand(16 if y_unit.mul_converter else 32),
        )
    table = (
        draw(look_up_tables(bits=32, largest_select=31)) if y_unit and draw(st.booleans()) else None
    )
    output = OutputConverter(
        draw(signed(32) | st.just(0)), draw(signed(16) | st.just(1)), draw(st.integers(0, 63))
    )
    return data, {
        "x_units": units,
        "y_unit": y_unit,
        "look_up_table": table,
        "output": output,
        "bits": draw(st.sampled_from((8, 16))),
    }


@given(layers())
@settings(max_examples=150, deadline=None)
def test_fast_layers_equal_the_reference(case: tuple[NDArray[Any], dict[str, Any]]) -> None:
    data, parameters = case
    before = data.copy()
    result = fast.sdp_layer(data, **parameters)
    expected = reference.sdp_layer(data, **parameters)
    assert result.values.dtype == expected.values.dtype
    np.testing.assert_array_equal(result.values, expected.values)
    assert result.look_up == expected.look_up
    assert result.saturated == expected.saturated
    assert result.clipped == expected.clipped
    np.testing.assert_array_equal(data, before)
    for unit in parameters["x_units"]:
        np.testing.assert_array_equal(fast.sdp_x(data, unit), reference.sdp_x(data, unit))
    if parameters["y_unit"] is not None:
        y_unit = evolve(parameters["y_unit"], alu=AluAlgorithm.EQL)
        np.testing.assert_array_equal(fast.sdp_y(data, y_unit), reference.sdp_y(data, y_unit))


@both
def test_operands_out_of_range_are_refused(module: Any) -> None:
    too_large = np.array([1 << 31])
    with pytest.raises(OperandError, match="data must be in"):
        module.sdp_x(too_large, XUnit())
    with pytest.raises(OperandError, match="data must be in"):
        module.sdp_y(too_large, YUnit())
    with pytest.raises(OperandError, match="must be in"):
        module.convert_output(too_large, 0, 1, 0)
    with pytest.raises(OperandError, match="float64"):
        module.sdp_x(np.array([1.0]), XUnit())
    with pytest.raises(OperandError, match="does not broadcast"):
        module.sdp_x(np.zeros((2, 1, 1), int), XUnit(mul_operand=np.ones((3, 1, 1), int)))
    with pytest.raises(OperandError, match="bits must be 8 or 16"):
        module.convert_output(np.array([1]), 0, 1, 0, 9)
    compare = YUnit(alu=AluAlgorithm.EQL)
    with pytest.raises(OperandError, match="has no output"):
        module.sdp_layer(np.array([1]), y_unit=compare, output=OutputConverter())
    table = LookUpTable(le_table=[0] * 65, lo_table=[0] * 257)
    with pytest.raises(OperandError, match="belongs to the Y unit"):
        module.sdp_layer(np.array([1]), look_up_table=table, output=OutputConverter())
    with pytest.raises(OperandError, match="lo_end must be in"):
        module.look_up(np.array([1]), evolve(table, lo_end=1 << 32))


def test_parameters_out_of_range_are_refused() -> None:
    with pytest.raises(OperandError, match="alu_operand"):
        XUnit(alu_operand=1 << 15)
    with pytest.raises(OperandError, match="mul_operand"):
        XUnit(mul_operand=np.array([0, 1 << 15]))
    with pytest.raises(OperandError, match="alu_shift"):
        XUnit(alu_shift=64)
    with pytest.raises(OperandError, match="65 entries"):
        LookUpTable(le_table=[0] * 64, lo_table=[0] * 257)
    with pytest.raises(OperandError, match="scale"):
        OutputConverter(scale=1 << 15)
    unit = YUnit(mul_operand=1 << 20)
    assert unit.mul_operand == 1 << 20
    with pytest.raises(OperandError, match="with a converter"):
        YUnit(mul_operand=1 << 20, mul_converter=OperandConverter())
    assert LookUpFunction(1) is LookUpFunction.LINEAR
    assert list(AluAlgorithm) == [0, 1, 2, 3]
