"""Real factors as the hardware's multiplier and right shift: ``factor ≈ multiplier / 2^shift``.

Multipliers are signed 16 bits, shifts 0 to 63. Rounded to nearest, never truncated
(quantization.md section 3, item 2).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from nvdla_ir.arith.errors import OperandError

LARGEST_MULTIPLIER = (1 << 15) - 1
LARGEST_SHIFT = 63


@frozen
class FixedPoint:
    """One factor."""

    multiplier: int
    shift: int

    @property
    def value(self) -> float:
        """The factor after rounding."""
        return math.ldexp(self.multiplier, -self.shift)


@frozen
class FixedPointVector:
    """One factor a channel, with a common shift."""

    multipliers: tuple[int, ...]
    shift: int

    @property
    def values(self) -> tuple[float, ...]:
        """The factors after rounding."""
        return tuple(math.ldexp(multiplier, -self.shift) for multiplier in self.multipliers)


def round_half_away(value: float) -> int:
    """The nearest integer, ties away from zero."""
    whole = math.trunc(value)
    # Adding a half would itself be rounded, just below a half and above 2^52.
    if abs(value - whole) >= 0.5:
        whole += 1 if value > 0 else -1
    return whole


def rounded_half_away(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """``round_half_away`` of each of ``values``, which are below 2^63."""
    whole = np.trunc(values)
    return (whole + np.trunc(2 * (values - whole))).astype(np.int64)


def fixed_point(factor: float) -> FixedPoint:
    """The multiplier and shift nearest to ``factor``.

    Raises: OperandError where ``factor`` is above 32767 or too small for any shift.
    """
    vector = fixed_point_vector([factor])
    return FixedPoint(vector.multipliers[0], vector.shift)


def fixed_point_vector(
    factors: Sequence[float] | NDArray[np.float64], *, may_vanish: bool = False
) -> FixedPointVector:
    """Multipliers of all ``factors`` with the largest common shift: that of the largest factor.

    may_vanish: whether a factor may become zero beside a much larger one

    Raises: OperandError where the largest factor is above 32767, or one rounds to zero though it
    is not.
    """
    reals = np.array(factors, np.float64)
    magnitudes = np.abs(reals)
    largest = float(magnitudes.max(initial=0.0))
    if largest == 0:
        return FixedPointVector((0,) * len(factors), 0)
    if not largest < LARGEST_MULTIPLIER + 0.5:
        raise OperandError(
            f"the factor {largest:g} is above {LARGEST_MULTIPLIER}, the largest multiplier"
        )
    shift = min(LARGEST_SHIFT, 15 - math.frexp(largest)[1])
    if round_half_away(math.ldexp(largest, shift)) > LARGEST_MULTIPLIER:
        shift -= 1
    multipliers = rounded_half_away(np.ldexp(reals, shift))
    vanished = (multipliers == 0) & (magnitudes > 0)
    if may_vanish:
        vanished &= magnitudes == largest
    if vanished.any():
        raise OperandError(
            f"the factor {reals[vanished][0]:g} is too small: with a shift of {shift}, "
            + ("the largest, it becomes 0" if shift == LARGEST_SHIFT else _beside(largest))
        )
    return FixedPointVector(tuple(multipliers.tolist()), shift)


def _beside(largest: float) -> str:
    return f"that of the largest, {largest:g}, it becomes 0"


def left_shift_for(values: Sequence[int], bits: int = 16) -> int:
    """The smallest left shift at which every one of ``values``, rounded, fits ``bits`` signed
    bits. (quantization.md section 3, item 3)"""
    largest = max((abs(value) for value in values), default=0)
    limit = (1 << (bits - 1)) - 1
    shift = max(0, largest.bit_length() - (bits - 1))
    # Rounding may carry into one bit more.
    return shift if (largest + (1 << shift >> 1)) >> shift <= limit else shift + 1
