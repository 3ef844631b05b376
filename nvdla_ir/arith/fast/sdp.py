"""Quick SDP: element-wise arithmetic in float64, chunk by chunk, exact to the last bit.

Why float64 is exact here. Values between stages are integers of at most 2**32 in magnitude,
operands signed 16 bits: sums stay below 2**34 and products within 2**48, far inside the 2**53 up
to which float64 holds every integer; and a power of two changes nothing but the exponent.

Why `rint` rounds as the hardware does. Let q = p / 2**k be a product p, |p| <= 2**48, after a
right shift by k. The hardware rounds to nearest with ties away from zero, `rint` with ties to
even, so the two differ in exact ties alone. The multiplier is therefore enlarged by the factor
1 + 2**-50: with the rounding errors of the enlarged multiplier and of the product (2**-53 each,
relative), what `rint` sees is q * (1 + d) with 2**-51 < d < 2**-49. A tie is moved away from zero
and is no tie any more. Anything else is at least 2**-k away from the next tie and is moved by less
than |q| * 2**-49 = |p| * 2**-49 / 2**k <= 2**-k / 2, so it does not reach it.
"""

# numpy's stubs leave parts of many overloads unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from attrs import define
from numpy.typing import NDArray

from nvdla_ir.arith import reference
from nvdla_ir.arith.errors import (
    Int64Array,
    IntegerArray,
    Operand,
    OperandError,
    check_integers,
    check_signed,
)
from nvdla_ir.arith.fast.chunks import CHUNK_ELEMENTS, Cut, cut_operand, cuts
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

Float64Array = NDArray[np.float64]
FloatOperand = float | Float64Array

TIE_BREAK = 1 + 2.0**-50
EXACT_PRODUCT = 2.0**48
HIGHEST_32 = 2.0**31 - 1
LOWEST_32 = -(2.0**31)


@define(eq=False)
class _Chunk:
    """Integers in float64 between two stages, and the interval that they lie in.

    `unsettled`: the values have yet to be clipped to that interval. Clips that follow each other
    become one, and one that changes nothing none.
    """

    values: Float64Array
    low: float
    high: float
    unsettled: bool = False

    def clip(self, low: float, high: float) -> None:
        inside = low <= self.low and self.high <= high
        self.unsettled = self.unsettled or not inside
        self.low = min(max(self.low, low), high)
        self.high = min(max(self.high, low), high)

    def settle(self) -> Float64Array:
        if self.unsettled:
            np.clip(self.values, self.low, self.high, out=self.values)
            self.unsettled = False
        return self.values

    def add(self, operand: FloatOperand) -> None:
        self.values = np.add(self.settle(), operand, out=self.values)
        least, most = _extremes(operand)
        self.low += least
        self.high += most

    def maximum(self, operand: FloatOperand) -> None:
        self.values = np.maximum(self.settle(), operand, out=self.values)
        least, most = _extremes(operand)
        self.low, self.high = max(self.low, least), max(self.high, most)

    def minimum(self, operand: FloatOperand) -> None:
        self.values = np.minimum(self.settle(), operand, out=self.values)
        least, most = _extremes(operand)
        self.low, self.high = min(self.low, least), min(self.high, most)

    def scale(self, operand: FloatOperand, shift: int) -> None:
        """values = round(values * operand / 2**shift); products of 2**48 at most."""
        least, most = _extremes(operand)
        corners = [a * b for a in (self.low, self.high) for b in (least, most)]
        if shift == 0:
            if least == most == 1:
                return
            factor = operand
        else:
            # 2**-64 of any product rounds to 0, as does every smaller part.
            factor = operand * (2.0 ** -min(shift, 64) * TIE_BREAK)
        np.multiply(self.settle(), factor, out=self.values)
        if shift:
            np.rint(self.values, out=self.values)
        # Rounding is monotonic and moves by a half at most.
        slack = 0.0 if shift == 0 else 1.0
        step = 2.0 ** -min(shift, 64)
        self.low = min(corners) * step - slack
        self.high = max(corners) * step + slack


def _extremes(operand: FloatOperand) -> tuple[float, float]:
    if isinstance(operand, np.ndarray):
        return float(operand.min()), float(operand.max())
    return operand, operand


def _as_float(operand: Operand) -> FloatOperand:
    return float(operand) if isinstance(operand, int) else operand.astype(np.float64)


def _clipped(operand: FloatOperand) -> FloatOperand:
    if isinstance(operand, np.ndarray):
        return np.clip(operand, LOWEST_32, HIGHEST_32)
    return min(max(operand, LOWEST_32), HIGHEST_32)


def _load(data: IntegerArray) -> _Chunk:
    values = data.astype(np.float64)
    if data.dtype.itemsize * 8 <= 16:
        limits = np.iinfo(data.dtype)
        return _Chunk(values, float(limits.min), float(limits.max))
    chunk = _Chunk(values, float(values.min()), float(values.max()))
    if chunk.low < LOWEST_32 or chunk.high > HIGHEST_32:
        check_signed("data", data, 32)
    return chunk


def _apply_x(chunk: _Chunk, unit: XUnit, cut: Cut) -> None:
    if unit.alu is not None:
        operand = _as_float(cut_operand(unit.alu_operand, cut)) * 2.0**unit.alu_shift
        operand = _clipped(operand)
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
        factor = _as_float(cut_operand(unit.mul_operand, cut))
        if unit.prelu:
            _scale_negative(chunk, factor, shift, wrap=True)
        else:
            chunk.scale(factor, shift)
            chunk.clip(LOWEST_32, HIGHEST_32)
    if unit.relu:
        chunk.clip(0.0, HIGHEST_32)


def _scale_negative(chunk: _Chunk, factor: FloatOperand, shift: int, *, wrap: bool) -> None:
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
        return _as_float(operand)
    if isinstance(operand, int):
        return float(reference.convert_operand(operand, converter))
    chunk = _load(operand)
    chunk.add(-float(converter.offset))
    chunk.scale(float(converter.scale), converter.truncate)
    chunk.clip(LOWEST_32, HIGHEST_32)
    return chunk.settle()


def _apply_y(chunk: _Chunk, unit: YUnit, cut: Cut) -> None:
    if unit.mul_operand is not None:
        factor = _convert_operand(cut_operand(unit.mul_operand, cut), unit.mul_converter)
        largest = max(map(abs, _extremes(factor))) * max(abs(chunk.low), abs(chunk.high))
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


def _multiply_wide(chunk: _Chunk, factor: FloatOperand, unit: YUnit) -> None:
    """The Y unit's multiplier where products may need more bits than float64 has."""
    operand = factor.astype(np.int64) if isinstance(factor, np.ndarray) else int(factor)
    wide = YUnit(mul_operand=operand, truncate=unit.truncate, prelu=unit.prelu)
    product = reference.sdp_y(chunk.settle().astype(np.int64), wide)
    chunk.values = np.asarray(product, np.float64)
    chunk.low, chunk.high = LOWEST_32, HIGHEST_32


def _apply_output(chunk: _Chunk, converter: OutputConverter) -> None:
    if converter.offset:
        chunk.add(-float(converter.offset))
    chunk.scale(float(converter.scale), converter.shift)


def _count_saturation(chunk: _Chunk, converter: OutputConverter) -> int:
    step = converter.scale * 2.0**-converter.shift
    corners = [(v - converter.offset) * step for v in (chunk.low, chunk.high)]
    if min(corners) >= -65536 and max(corners) < 65535:
        return 0
    values = chunk.settle().astype(np.int64)
    return reference.count_output_saturation(
        values, converter.offset, converter.scale, converter.shift
    )


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
) -> Iterator[tuple[Cut, _Chunk]]:
    """Each cut of the data with its chunk after the units."""
    check_integers("data", data)
    for unit in (*x_units, *((y_unit,) if y_unit else ())):
        check_operand_shapes(unit, data.shape)
    if data.size == 0:
        return
    for cut in cuts(data.shape, CHUNK_ELEMENTS):
        chunk = _load(data[(*cut, ...)])
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
    saturated = 0
    for cut, chunk in _computed(data, x_units, y_unit):
        saturated += _count_saturation(chunk, output)
        _apply_output(chunk, output)
        chunk.clip(-highest - 1, highest)
        np.copyto(values[(*cut, ...)], chunk.settle(), casting="unsafe")
    return SdpResult(values, counters, saturated)
