"""Quick SDP: whole chains of units chunk by chunk, in float64."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvdla_ir.arith import reference
from nvdla_ir.arith.errors import Int64Array, IntegerArray, Operand, OperandError, check_integers
from nvdla_ir.arith.fast.chunks import CHUNK_ELEMENTS, Cut, cut_operand, cuts
from nvdla_ir.arith.fast.exact_float import (
    EXACT_PRODUCT,
    HIGHEST_32,
    LOWEST_32,
    Chunk,
    FloatOperand,
    as_float,
    clip_to_32,
    extremes,
    load,
)
from nvdla_ir.arith.fast.look_up import look_up
from nvdla_ir.arith.parameters import (
    AluAlgorithm,
    LookUpTable,
    OperandConverter,
    OutputConverter,
    SdpResult,
    XUnit,
    YUnit,
)
from nvdla_ir.arith.reference.sdp import check_layer, check_operand_shapes


def _apply_x(chunk: Chunk, unit: XUnit, cut: Cut) -> None:
    if unit.alu is not None:
        operand = as_float(cut_operand(unit.alu_operand, cut)) * 2.0**unit.alu_shift
        operand = clip_to_32(operand)
        if unit.alu is AluAlgorithm.MAX:
            chunk.maximum(operand)
        elif unit.alu is AluAlgorithm.MIN:
            chunk.minimum(operand)
        else:
            chunk.add(operand)
    shift = unit.mul_shift & 0x3F
    if unit.mul_operand is None:
        chunk.scale(1.0, shift)
        chunk.clip(LOWEST_32, HIGHEST_32)
    else:
        factor = as_float(cut_operand(unit.mul_operand, cut))
        if unit.prelu:
            _scale_negative(chunk, factor, shift, wrap=True)
        else:
            chunk.scale(factor, shift)
            chunk.clip(LOWEST_32, HIGHEST_32)
    if unit.relu:
        chunk.clip(0.0, HIGHEST_32)


def _scale_negative(chunk: Chunk, factor: FloatOperand, shift: int, *, wrap: bool) -> None:
    """PReLU: as `scale` and a clip to 32 bits, but elements >= 0 stay (and wrap to 32 bits)."""
    before = np.array(chunk.settle())
    low, high = chunk.low, chunk.high
    chunk.scale(factor, shift)
    chunk.clip(LOWEST_32, HIGHEST_32)
    positive = before >= 0
    if wrap and high > HIGHEST_32:
        before[before > HIGHEST_32] -= 2.0**32
        low, high = LOWEST_32, HIGHEST_32
    np.copyto(chunk.settle(), before, where=positive)
    chunk.low, chunk.high = min(chunk.low, low), max(chunk.high, high)


def _convert_operand(operand: Operand, converter: OperandConverter | None) -> FloatOperand:
    if converter is None:
        return as_float(operand)
    if isinstance(operand, int):
        return float(reference.convert_operand(operand, converter))
    chunk = load(operand)
    chunk.add(-float(converter.offset))
    chunk.scale(float(converter.scale), converter.truncate)
    chunk.clip(LOWEST_32, HIGHEST_32)
    return chunk.settle()


def _apply_y(chunk: Chunk, unit: YUnit, cut: Cut) -> None:
    if unit.mul_operand is not None:
        factor = _convert_operand(cut_operand(unit.mul_operand, cut), unit.mul_converter)
        largest = max(map(abs, extremes(factor))) * max(abs(chunk.low), abs(chunk.high))
        if largest > EXACT_PRODUCT:
            _multiply_wide(chunk, factor, unit)
        elif unit.prelu:
            _scale_negative(chunk, factor, unit.truncate, wrap=False)
        else:
            chunk.scale(factor, unit.truncate)
        chunk.clip(LOWEST_32, HIGHEST_32)
    if unit.alu is None:
        return
    operand = _convert_operand(cut_operand(unit.alu_operand, cut), unit.alu_converter)
    if unit.alu is AluAlgorithm.MAX:
        chunk.maximum(operand)
    elif unit.alu is AluAlgorithm.MIN:
        chunk.minimum(operand)
    elif unit.alu is AluAlgorithm.SUM:
        chunk.add(operand)
        chunk.clip(LOWEST_32, HIGHEST_32)
    else:
        chunk.values = np.asarray(chunk.settle() != operand, np.float64)
        chunk.low, chunk.high = 0.0, 1.0


def _multiply_wide(chunk: Chunk, factor: FloatOperand, unit: YUnit) -> None:
    """The Y unit's multiplier where products may need more bits than float64 has."""
    operand = factor.astype(np.int64) if isinstance(factor, np.ndarray) else int(factor)
    wide = YUnit(mul_operand=operand, truncate=unit.truncate, prelu=unit.prelu)
    product = reference.sdp_y(chunk.settle().astype(np.int64), wide)
    chunk.values = np.asarray(product, np.float64)
    chunk.low, chunk.high = LOWEST_32, HIGHEST_32


def _apply_output(chunk: Chunk, converter: OutputConverter) -> None:
    if converter.offset:
        chunk.add(-float(converter.offset))
    chunk.scale(float(converter.scale), converter.shift)


def _count_saturation(chunk: Chunk, converter: OutputConverter) -> int:
    step = converter.scale * 2.0**-converter.shift
    corners = [(v - converter.offset) * step for v in (chunk.low, chunk.high)]
    if min(corners) >= -65536 and max(corners) < 65535:
        return 0
    values = chunk.settle().astype(np.int64)
    return reference.count_output_saturation(
        values, converter.offset, converter.scale, converter.shift
    )


def _count_outside(chunk: Chunk, low: float, high: float) -> int:
    """How many elements lie outside [low, high]."""
    values, count = chunk.settle(), 0
    if chunk.low < low:
        count += int(np.count_nonzero(values < low))
    if chunk.high > high:
        count += int(np.count_nonzero(values > high))
    return count


def sdp_x(data: IntegerArray, unit: XUnit) -> Int64Array:
    """See `reference.sdp_x`."""
    return _chain(data, (unit,), None)


def sdp_y(data: IntegerArray, unit: YUnit) -> Int64Array:
    """See `reference.sdp_y`."""
    return _chain(data, (), unit)


def _chain(data: IntegerArray, x_units: Sequence[XUnit], y_unit: YUnit | None) -> Int64Array:
    result = np.empty(data.shape, np.int64)
    for cut, chunk in _computed(data, x_units, y_unit):
        result[cut] = chunk.settle()
    return result


def _computed(
    data: IntegerArray, x_units: Sequence[XUnit], y_unit: YUnit | None
) -> Iterator[tuple[Cut, Chunk]]:
    """Each cut of the data with its chunk after the units."""
    check_integers("data", data)
    for unit in (*x_units, *((y_unit,) if y_unit else ())):
        check_operand_shapes(unit, data.shape)
    if data.size == 0:
        return
    for cut in cuts(data.shape, CHUNK_ELEMENTS):
        chunk = load(data[(*cut, ...)])
        for unit in x_units:
            _apply_x(chunk, unit, cut)
        if y_unit is not None:
            _apply_y(chunk, y_unit, cut)
        yield cut, chunk


def convert_output(
    x: IntegerArray, offset: int, scale: int, shift: int, bits: int = 8
) -> NDArray[Any]:
    """See `reference.convert_output`."""
    return sdp_layer(x, output=OutputConverter(offset, scale, shift), bits=bits).values


def sdp_layer(
    data: IntegerArray,
    *,
    x_units: Sequence[XUnit] = (),
    y_unit: YUnit | None = None,
    look_up_table: LookUpTable | None = None,
    output: OutputConverter,
    bits: int = 8,
) -> SdpResult:
    """See `reference.sdp_layer`."""
    check_layer(y_unit, look_up_table)
    if bits not in (8, 16):
        raise OperandError(f"bits must be 8 or 16, not {bits}")
    counters = None
    if look_up_table is not None:
        found = look_up(_chain(data, x_units, y_unit), look_up_table)
        data, counters = found.values, found.counters
        x_units, y_unit = (), None
    highest = 2.0 ** (bits - 1) - 1
    values: NDArray[Any] = np.empty(data.shape, np.int8 if bits == 8 else np.int16)
    saturated = clipped = 0
    for cut, chunk in _computed(data, x_units, y_unit):
        saturated += _count_saturation(chunk, output)
        _apply_output(chunk, output)
        clipped += _count_outside(chunk, -highest - 1, highest)
        chunk.clip(-highest - 1, highest)
        np.copyto(values[(*cut, ...)], chunk.settle(), casting="unsafe")
    return SdpResult(values, counters, saturated, clipped)
