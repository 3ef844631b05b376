"""Parameters of the arithmetic units: frozen values that `reference` and `fast` share.

The names follow the register manual. A value is checked when it is made, so that the kernels
need not check it again. Objects that hold arrays compare by identity.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import numpy as np
from attrs import Attribute, field, frozen
from attrs.validators import instance_of, optional
from numpy.typing import NDArray

from nvdla_ir.arith.errors import (
    Int64Array,
    IntegerArray,
    Operand,
    OperandError,
    check_interval,
    check_signed,
)


class AluAlgorithm(IntEnum):
    """What an SDP ALU does; the numbers are those of the ALU_ALGO register fields."""

    MAX = 0
    MIN = 1
    SUM = 2
    EQL = 3
    """Compare: only in the Y unit. The X units add, as for SUM."""


class LookUpFunction(IntEnum):
    """How the LE table is indexed; the numbers are those of the LE_FUNCTION register fields."""

    EXPONENTIAL = 0
    LINEAR = 1


class LookUpPriority(IntEnum):
    """Which table answers; the numbers are those of the *_PRIORITY register fields."""

    LE = 0
    LO = 1


def _signed(bits: int) -> Any:
    def check(_: object, attribute: Attribute[Any], value: Operand | None) -> None:
        if value is not None:
            check_signed(attribute.name, value, bits)

    return check


def _between(low: int, high: int) -> Any:
    def check(_: object, attribute: Attribute[Any], value: int) -> None:
        check_interval(attribute.name, value, low, high)

    return check


@frozen(eq=False)
class XUnit:
    """One of the SDP's X units (BS or BN): ALU, multiplier, shift, ReLU. sdp.md section 4.

    A unit whose whole-unit bypass is set is not an XUnit at all: leave it out.
    """

    alu: AluAlgorithm | None = field(default=None, validator=optional(instance_of(AluAlgorithm)))
    """None: ALU bypassed."""
    alu_operand: Operand = field(default=0, validator=_signed(16))
    """Signed 16 bits, a number or an array that broadcasts to the data ([C, 1, 1], …)."""
    alu_shift: int = field(default=0, validator=_between(0, 63))
    """Left shift of the ALU operand, which saturates to 32 bits."""
    mul_operand: Operand | None = field(default=None, validator=_signed(16))
    """Signed 16 bits; None: multiplier bypassed. The right shift applies all the same."""
    mul_shift: int = field(default=0, validator=_between(0, 255))
    """Right shift; an 8-bit register field of which the hardware uses the low six bits."""
    prelu: bool = False
    """Elements >= 0 pass the multiplier and the shift unchanged (where it is not bypassed)."""
    relu: bool = False


@frozen
class OperandConverter:
    """Converter of a Y unit's memory operand. sdp.md section 5.1."""

    offset: int = field(default=0, validator=_signed(32))
    """Subtracted."""
    scale: int = field(default=1, validator=_signed(16))
    truncate: int = field(default=0, validator=_between(0, 63))


@frozen(eq=False)
class YUnit:
    """The SDP's Y unit (EW) without its look-up table. sdp.md section 5.

    With a converter an operand is signed 16 bits (from memory); without one it may have 32 bits
    (a register operand, or a memory operand whose converter is bypassed).
    """

    mul_operand: Operand | None = field(default=None, validator=_signed(32))
    """None: multiplier bypassed, and the shift with it."""
    mul_converter: OperandConverter | None = None
    truncate: int = field(default=0, validator=_between(0, 1023))
    prelu: bool = False
    alu: AluAlgorithm | None = field(default=None, validator=optional(instance_of(AluAlgorithm)))
    alu_operand: Operand = field(default=0, validator=_signed(32))
    alu_converter: OperandConverter | None = None

    def __attrs_post_init__(self) -> None:
        if self.mul_converter is not None and self.mul_operand is not None:
            check_signed("mul_operand with a converter", self.mul_operand, 16)
        if self.alu_converter is not None:
            check_signed("alu_operand with a converter", self.alu_operand, 16)


@frozen
class OutputConverter:
    """The SDP's output converter (C), which is never bypassed. sdp.md section 7."""

    offset: int = field(default=0, validator=_signed(32))
    """Subtracted."""
    scale: int = field(default=1, validator=_signed(16))
    shift: int = field(default=0, validator=_between(0, 63))


@frozen
class Slope:
    """Extrapolation beyond one end of a table: a 16-bit scale and a signed 5-bit right shift."""

    scale: int = field(default=0, validator=_signed(16))
    shift: int = field(default=0, validator=_between(-16, 15))
    """Negative: a left shift."""


def _table(entries: int) -> Any:
    def check(_: object, attribute: Attribute[Any], value: Int64Array) -> None:
        if value.shape != (entries,):
            raise OperandError(
                f"{attribute.name} must have {entries} entries, not the shape {value.shape}"
            )
        check_signed(attribute.name, value, 16)

    return check


def _as_table(value: IntegerArray | list[int]) -> IntegerArray:
    return np.array(value)


@frozen(eq=False, kw_only=True)
class LookUpTable:
    """The two tables of the SDP's (sdp.md section 6) or the CDP's (cdp.md section 3) look-up.

    The registers are the same in both units but for the width of the starts and ends: signed 32
    bits in the SDP, signed 38 bits in the CDP.
    """

    le_table: IntegerArray = field(converter=_as_table, validator=_table(65))
    """65 entries of signed 16 bits, exponentially or linearly spaced."""
    lo_table: IntegerArray = field(converter=_as_table, validator=_table(257))
    """257 entries of signed 16 bits, linearly spaced."""
    le_function: LookUpFunction = field(
        default=LookUpFunction.EXPONENTIAL, validator=instance_of(LookUpFunction)
    )
    le_index_offset: int = field(default=0, validator=_signed(8))
    """Exponential LE only: log2 of the distance of entry 0 from the start."""
    le_index_select: int = field(default=0, validator=_signed(8))
    """Linear LE only: log2 of the spacing."""
    lo_index_select: int = field(default=0, validator=_signed(8))
    le_start: int = field(default=0, validator=_signed(38))
    le_end: int = field(default=0, validator=_signed(38))
    lo_start: int = field(default=0, validator=_signed(38))
    lo_end: int = field(default=0, validator=_signed(38))
    le_underflow: Slope = Slope()
    le_overflow: Slope = Slope()
    lo_underflow: Slope = Slope()
    lo_overflow: Slope = Slope()
    underflow_priority: LookUpPriority = LookUpPriority.LE
    overflow_priority: LookUpPriority = LookUpPriority.LE
    hybrid_priority: LookUpPriority = LookUpPriority.LE


@frozen
class LookUpCounters:
    """The five counters of a look-up unit, as numbers of elements.

    The units count differently: sdp.md section 10, cdp.md section 3.3.
    """

    underflow: int
    overflow: int
    hybrid: int
    le_hit: int
    lo_hit: int


@frozen(eq=False)
class LookUpResult:
    """Values and counters of one look-up."""

    values: NDArray[np.int64]
    counters: LookUpCounters


@frozen(eq=False)
class SdpResult:
    """Output of an SDP layer and its counters (sdp.md section 10)."""

    values: NDArray[Any]
    """int8 or int16."""
    look_up: LookUpCounters | None
    """None: no look-up took place."""
    saturated: int
    """OUT_SATURATION: elements that leave 17 bits in the output converter."""
    clipped: int
    """Elements that the last clamp, to 8 or 16 bits, changed. No register counts them."""


@frozen(eq=False, kw_only=True)
class Normalization:
    """One local response normalization layer of the CDP. cdp.md section 2."""

    size: int = field()
    """Channels under the window: 3, 5, 7 or 9."""
    table: LookUpTable
    input_offset: int = field(default=0, validator=_signed(8))
    """Subtracted."""
    input_scale: int = field(default=1, validator=_signed(16))
    input_shift: int = field(default=0, validator=_between(0, 31))
    output_offset: int = field(default=0, validator=_signed(25))
    """Subtracted."""
    output_scale: int = field(default=1, validator=_signed(16))
    output_shift: int = field(default=0, validator=_between(0, 63))
    bypass_square_sum: bool = False
    """The look-up sees the converted element itself."""
    bypass_multiply: bool = False
    """The look-up's answer is not multiplied by the element."""

    @size.validator  # pyright: ignore[reportUntypedFunctionDecorator, reportAttributeAccessIssue]
    def _check_size(self, _: Attribute[Any], value: int) -> None:
        if value not in (3, 5, 7, 9):
            raise OperandError(f"size must be 3, 5, 7 or 9, not {value}")


@frozen(eq=False)
class NormalizationResult:
    """Values, look-up counters and the number of outputs clipped to 8 bits (OUT_SATURATION)."""

    values: NDArray[np.int8]
    counters: LookUpCounters
    saturated: int
