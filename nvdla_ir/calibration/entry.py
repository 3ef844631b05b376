"""One line of a calibration table: the range of a tensor and the int8 step that covers it.

Values are float32, as the vendor's compiler holds them, kept in Python floats (quantization.md
section 1). A real value r and its int8 code q are tied by ``r = scale * (q - offset)``.

* Symmetric (offset 0): the range is ±127·scale, and ``scale = max(|min|, |max|) / 127``. The code
  -128 exists but is not part of the range.
* Asymmetric (offset not 0): all 256 codes count. The range is ``scale * (-128 - offset)`` to
  ``scale * (127 - offset)``, and ``scale = (max - min) / 255`` with the range widened to contain
  zero, since zero must have an exact code (padding, ReLU). An offset is always stated by the table,
  never guessed from the range: a table with min 0, max 6 and offset 0 stays symmetric.
"""

from __future__ import annotations

import math

from attrs import field, frozen

from nvdla_ir.arith.float32 import float32
from nvdla_ir.ir.location import UNKNOWN, Location

INT8_MINIMUM = -128
INT8_MAXIMUM = 127

# Two units in the last place of float32: the scale, and the range made of it, are each rounded once
# or twice.
_FLOAT32_ROUNDING = 2.0**-22
# Six significant digits, as C's %g and C++ streams print.
_DECIMAL_ROUNDING = 1e-5
# One step, and half a step for the rounding of the offset: programs divide by 254, 255 or 256.
_END_TOLERANCE_STEPS = 1.5


def range_of_scale(scale: float, offset: int = 0) -> tuple[float, float]:
    """The least and the greatest real value that ``scale`` and ``offset`` stand for (float32)."""
    if offset == 0:
        peak = float32(scale * INT8_MAXIMUM)
        return -peak, peak
    return float32(scale * (INT8_MINIMUM - offset)), float32(scale * (INT8_MAXIMUM - offset))


def scale_of_range(minimum: float, maximum: float, offset: int = 0) -> float:
    """The scale (float32) that covers ``minimum`` to ``maximum``; 0 if both are 0."""
    if offset == 0:
        return float32(max(abs(minimum), abs(maximum)) / INT8_MAXIMUM)
    return float32((max(maximum, 0.0) - min(minimum, 0.0)) / (INT8_MAXIMUM - INT8_MINIMUM))


def offset_of_range(minimum: float, maximum: float) -> int:
    """The zero point at which the codes -128 to 127 cover ``minimum`` to ``maximum`` and zero."""
    low = min(minimum, 0.0)
    scale = (max(maximum, 0.0) - low) / (INT8_MAXIMUM - INT8_MINIMUM)
    return math.floor(INT8_MINIMUM - low / scale + 0.5) if scale > 0 else 0


def scales_disagree(scale: float, minimum: float, maximum: float) -> str | None:
    """How a symmetric ``scale`` and a range that were both given differ.

    Returns: None if they differ by float32 rounding at most, "rounding" if by no more than numbers
    printed with six digits do, else "contradiction".
    """
    difference = abs(scale_of_range(minimum, maximum) - scale)
    if difference <= scale * _FLOAT32_ROUNDING:
        return None
    return "rounding" if difference <= scale * _DECIMAL_ROUNDING else "contradiction"


def codes_cover_range(scale: float, offset: int, minimum: float, maximum: float) -> bool:
    """Whether an asymmetric ``scale`` and ``offset`` stand for this range.

    Both ends, widened to contain zero, must lie within one and a half steps of the ends of the int8
    codes.
    """
    low, high = range_of_scale(scale, offset)
    tolerance = _END_TOLERANCE_STEPS * scale
    return abs(low - min(minimum, 0.0)) <= tolerance and abs(high - max(maximum, 0.0)) <= tolerance


def _without_negative_zero(value: float) -> float:
    return value + 0.0


@frozen
class CalibrationEntry:
    """The calibrated range of one tensor: a layer's output or a network input.

    Raises: ValueError for values that no reader would accept: a scale that is not positive and
    finite, ``minimum`` above ``maximum``, an ``offset`` outside int8.
    """

    name: str
    """Name of the layer whose output this is, or of the network input."""
    minimum: float = field(converter=_without_negative_zero)
    maximum: float = field(converter=_without_negative_zero)
    scale: float
    """Real value of one int8 step; positive."""
    offset: int = 0
    """Zero point: the int8 code of the real value 0; -128 to 127, 0 if symmetric."""
    location: Location = field(default=UNKNOWN, eq=False)
    """Where in the table the entry stands."""

    def __attrs_post_init__(self) -> None:
        if not 0 < self.scale < math.inf:
            raise ValueError(f"the scale of '{self.name}' must be positive, it is {self.scale}")
        if not -math.inf < self.minimum <= self.maximum < math.inf:
            raise ValueError(
                f"the range of '{self.name}' is not one: {self.minimum} to {self.maximum}"
            )
        if not INT8_MINIMUM <= self.offset <= INT8_MAXIMUM:
            raise ValueError(f"the offset of '{self.name}' must be int8, it is {self.offset}")

    @classmethod
    def from_scale(
        cls, name: str, scale: float, offset: int = 0, location: Location = UNKNOWN
    ) -> CalibrationEntry:
        """The entry whose range is what ``scale`` (rounded to float32) and ``offset`` cover."""
        scale = float32(scale)
        minimum, maximum = range_of_scale(scale, offset)
        return cls(name, minimum, maximum, scale, offset, location)

    @classmethod
    def from_range(
        cls,
        name: str,
        minimum: float,
        maximum: float,
        offset: int = 0,
        location: Location = UNKNOWN,
    ) -> CalibrationEntry:
        """The entry whose scale covers the range (rounded to float32).

        Raises: ValueError if the range is too small for a float32 scale, or if ``offset`` is not 0
        and not the zero point of this range.
        """
        minimum, maximum = float32(minimum), float32(maximum)
        scale = scale_of_range(minimum, maximum, offset)
        if offset != 0 and scale > 0 and not codes_cover_range(scale, offset, minimum, maximum):
            fitting = offset_of_range(minimum, maximum)
            raise ValueError(
                f"the offset {offset} of '{name}' does not fit the range {minimum} to {maximum}, "
                f"whose zero point is {fitting}"
            )
        return cls(name, minimum, maximum, scale, offset, location)

    def representable_range(self) -> tuple[float, float]:
        """The reals that the int8 codes reach: ±127·scale, or with an offset all 256 codes."""
        return range_of_scale(self.scale, self.offset)
