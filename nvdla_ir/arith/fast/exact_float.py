"""Integers in float64, exact to the last bit: the arithmetic of converters and SDP units.

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

from __future__ import annotations

import numpy as np
from attrs import define
from numpy.typing import NDArray

from nvdla_ir.arith.errors import IntegerArray, Operand, check_signed

Float64Array = NDArray[np.float64]
FloatOperand = float | Float64Array

TIE_BREAK = 1 + 2.0**-50
EXACT_PRODUCT = 2.0**48
"""Largest magnitude of a product that `Chunk.scale` rounds exactly."""
HIGHEST_32 = 2.0**31 - 1
LOWEST_32 = -(2.0**31)


@define(eq=False)
class Chunk:
    """Integers in float64 between two stages, and the interval that they lie in.

    `unsettled`: the values have yet to be clipped to that interval. Clips that follow each other
    become one, and one that changes nothing none.
    """

    values: Float64Array
    low: float
    high: float
    unsettled: bool = False

    def clip(self, low: float, high: float) -> None:
        """values = clamp(values, low, high)."""
        inside = low <= self.low and self.high <= high
        self.unsettled = self.unsettled or not inside
        self.low = min(max(self.low, low), high)
        self.high = min(max(self.high, low), high)

    def settle(self) -> Float64Array:
        """The values, after all clips."""
        if self.unsettled:
            np.clip(self.values, self.low, self.high, out=self.values)
            self.unsettled = False
        return self.values

    def add(self, operand: FloatOperand) -> None:
        """values = values + operand."""
        self.values = np.add(self.settle(), operand, out=self.values)
        least, most = extremes(operand)
        self.low += least
        self.high += most

    def maximum(self, operand: FloatOperand) -> None:
        """values = max(values, operand)."""
        self.values = np.maximum(self.settle(), operand, out=self.values)
        least, most = extremes(operand)
        self.low, self.high = max(self.low, least), max(self.high, most)

    def minimum(self, operand: FloatOperand) -> None:
        """values = min(values, operand)."""
        self.values = np.minimum(self.settle(), operand, out=self.values)
        least, most = extremes(operand)
        self.low, self.high = min(self.low, least), min(self.high, most)

    def scale(self, operand: FloatOperand, shift: int) -> None:
        """values = round(values * operand / 2**shift), ties away from zero.

        No product may exceed EXACT_PRODUCT in magnitude.
        """
        least, most = extremes(operand)
        if shift == 0 and least == most == 1:
            return
        # 2**-64 of any product rounds to 0, as does every smaller part.
        step = 2.0 ** -min(shift, 64)
        corners = [a * b * step for a in (self.low, self.high) for b in (least, most)]
        values = self.settle()
        if shift == 0:
            np.multiply(values, operand, out=values)
            self.low, self.high = min(corners), max(corners)
        else:
            np.multiply(values, operand * (step * TIE_BREAK), out=values)
            np.rint(values, out=values)
            # Rounding moves by a half at most.
            self.low, self.high = min(corners) - 1, max(corners) + 1


def extremes(operand: FloatOperand) -> tuple[float, float]:
    """(least, most) element."""
    if isinstance(operand, np.ndarray):
        return float(operand.min()), float(operand.max())
    return operand, operand


def as_float(operand: Operand) -> FloatOperand:
    """`operand` in float64."""
    return float(operand) if isinstance(operand, int) else operand.astype(np.float64)


def clip_to_32(operand: FloatOperand) -> FloatOperand:
    """`operand` clamped to signed 32 bits."""
    if isinstance(operand, np.ndarray):
        return np.clip(operand, LOWEST_32, HIGHEST_32)
    return min(max(operand, LOWEST_32), HIGHEST_32)


def load(data: IntegerArray) -> Chunk:
    """A chunk of `data`, not empty. Raises OperandError unless it fits signed 32 bits."""
    values = data.astype(np.float64)
    if data.dtype.itemsize * 8 <= 16:
        limits = np.iinfo(data.dtype)
        return Chunk(values, float(limits.min), float(limits.max))
    chunk = Chunk(values, float(values.min()), float(values.max()))
    if chunk.low < LOWEST_32 or chunk.high > HIGHEST_32:
        check_signed("data", data, 32)
    return chunk
