"""Single Data Processor: X units, Y unit, output converter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvdla_ir.arith.errors import (
    Int64Array,
    IntegerArray,
    Operand,
    OperandError,
    as_int64,
    check_broadcasts,
    check_signed,
)
from nvdla_ir.arith.parameters import (
    AluAlgorithm,
    LookUpTable,
    OperandConverter,
    OutputConverter,
    SdpResult,
    XUnit,
    YUnit,
)
from nvdla_ir.arith.reference.look_up import look_up
from nvdla_ir.arith.reference.rounding import round_shift, saturate, shift_left_saturate, wrap


def sdp_x(data: IntegerArray, unit: XUnit) -> Int64Array:
    """One X unit (BS or BN): ALU, multiplier, shift, ReLU, in this order.

    `data` is any integer type with values of signed 32 bits; the operands of `unit` broadcast to
    it. Returns int64 with values of signed 32 bits. Source: sdp.md section 4.
    Raises OperandError for data out of range.
    """
    check_signed("data", data, 32)
    check_operand_shapes(unit, data.shape)
    a = as_int64("data", data)
    if unit.alu is not None:
        operand = shift_left_saturate(unit.alu_operand, unit.alu_shift)
        if unit.alu is AluAlgorithm.MAX:
            a = np.maximum(a, operand)
        elif unit.alu is AluAlgorithm.MIN:
            a = np.minimum(a, operand)
        else:
            a = a + operand  # 33 bits, not saturated
    shift = unit.mul_shift & 0x3F
    if unit.mul_operand is None:
        result = saturate(round_shift(a, shift), 32)  # the shift applies all the same
    else:
        result = saturate(round_shift(a * as_int64("mul_operand", unit.mul_operand), shift), 32)
        if unit.prelu:
            result = np.where(a >= 0, wrap(a, 32), result)
    return np.maximum(result, 0) if unit.relu else result


def convert_operand(operand: Operand, converter: OperandConverter) -> Int64Array:
    """A memory operand of the Y unit after its converter, int64 with values of 32 bits.

    `operand` is signed 16 bits. Source: sdp.md section 5.1.
    """
    check_signed("operand", operand, 16)
    product = (as_int64("operand", operand) - converter.offset) * converter.scale
    return saturate(round_shift(product, converter.truncate), 32)


def sdp_y(data: IntegerArray, unit: YUnit) -> Int64Array:
    """The Y unit (EW) up to its look-up table: multiplier, shift, ALU, in this order.

    `data` is any integer type with values of signed 32 bits; the operands of `unit` broadcast to
    it. Returns int64 with values of signed 32 bits (0 or 1 for EQL: 1 where the two differ).
    Source: sdp.md section 5.2. Raises OperandError for data out of range.
    """
    check_signed("data", data, 32)
    check_operand_shapes(unit, data.shape)
    d = as_int64("data", data)
    m = d
    if unit.mul_operand is not None:
        mul_operand = _converted("mul_operand", unit.mul_operand, unit.mul_converter)
        m = saturate(round_shift(d * mul_operand, unit.truncate), 32)
        if unit.prelu:
            m = np.where(d >= 0, d, m)
    if unit.alu is None:
        return m
    operand = _converted("alu_operand", unit.alu_operand, unit.alu_converter)
    if unit.alu is AluAlgorithm.MAX:
        return np.maximum(m, operand)
    if unit.alu is AluAlgorithm.MIN:
        return np.minimum(m, operand)
    if unit.alu is AluAlgorithm.SUM:
        return saturate(m + operand, 32)
    return (m != operand).astype(np.int64)


def check_operand_shapes(unit: XUnit | YUnit, shape: tuple[int, ...]) -> None:
    """Raise OperandError unless the operands of `unit` broadcast to data of `shape`."""
    check_broadcasts("alu_operand", unit.alu_operand, shape)
    if unit.mul_operand is not None:
        check_broadcasts("mul_operand", unit.mul_operand, shape)


def _converted(name: str, operand: Operand, converter: OperandConverter | None) -> Int64Array:
    return as_int64(name, operand) if converter is None else convert_operand(operand, converter)


def convert_output(
    x: IntegerArray, offset: int, scale: int, shift: int, bits: int = 8
) -> NDArray[Any]:
    """The output converter: `(x - offset) * scale / 2**shift`, rounded and clamped to `bits`.

    `x` is any integer type with values of signed 32 bits, `offset` signed 32 bits, `scale`
    signed 16 bits, `shift` 0 to 63, `bits` 8 or 16. Returns int8 or int16.
    Source: sdp.md section 7. Raises OperandError for values out of range.
    """
    converter = OutputConverter(offset, scale, shift)
    if bits not in (8, 16):
        raise OperandError(f"bits must be 8 or 16, not {bits}")
    product = _output_product(x, converter)
    # The hardware's clamp to 17 bits in between never changes what is left after this one.
    result = saturate(round_shift(product, converter.shift), bits)
    return result.astype(np.int8 if bits == 8 else np.int16)


def count_output_saturation(x: IntegerArray, offset: int, scale: int, shift: int) -> int:
    """How many elements leave 17 bits in the output converter (SDP's OUT_SATURATION counter).

    Follows the register-transfer level, whose edge differs from that of the functional model;
    the final clamp to 8 bits is never counted. That a shift of 49 and more counts nothing needs
    no mention: products have fewer bits. Source: sdp.md section 10.
    """
    converter = OutputConverter(offset, scale, shift)
    product = _output_product(x, converter)
    floor = product >> shift
    outside = (floor < -65536) | (floor > 65535) | (round_shift(product, shift) > 65535)
    return int(np.count_nonzero(outside))


def _output_product(x: IntegerArray, converter: OutputConverter) -> Int64Array:
    check_signed("x", x, 32)
    return (as_int64("x", x) - converter.offset) * converter.scale


def sdp_layer(
    data: IntegerArray,
    *,
    x_units: Sequence[XUnit] = (),
    y_unit: YUnit | None = None,
    look_up_table: LookUpTable | None = None,
    output: OutputConverter,
    bits: int = 8,
) -> SdpResult:
    """A whole SDP layer: the active X units (BS, BN), the Y unit, its look-up, the converter.

    `data` is any integer type with values of signed 32 bits; `bits` is 8 or 16, and the values
    of the result are int8 or int16 accordingly. The same as `sdp_x`, `sdp_y`, `look_up` and
    `convert_output` one after the other. Source: sdp.md section 1.
    Raises OperandError as these do, and for a comparing Y unit, whose layer writes nothing:
    take `sdp_x` and `sdp_y`, and look whether any element is 1.
    """
    check_layer(y_unit, look_up_table)
    for unit in x_units:
        data = sdp_x(data, unit)
    if y_unit is not None:
        data = sdp_y(data, y_unit)
    counters = None
    if look_up_table is not None:
        found = look_up(data, look_up_table)
        data, counters = found.values, found.counters
    values = convert_output(data, output.offset, output.scale, output.shift, bits)
    exact = round_shift(_output_product(data, output), output.shift)
    return SdpResult(
        values=values,
        look_up=counters,
        saturated=count_output_saturation(data, output.offset, output.scale, output.shift),
        clipped=int(np.count_nonzero(values != exact)),
    )


def check_layer(y_unit: YUnit | None, look_up_table: LookUpTable | None) -> None:
    """Raise OperandError for what is no layer with an output."""
    if y_unit is not None and y_unit.alu is AluAlgorithm.EQL:
        raise OperandError("a layer whose Y unit compares (EQL) has no output")
    if look_up_table is not None and y_unit is None:
        raise OperandError("the look-up table belongs to the Y unit: give a y_unit, empty at least")
