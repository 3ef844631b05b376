"""The bit patterns of floating-point types: MLIR writes what is no finite number by its bits."""

from __future__ import annotations

import math
import struct

# The bits of exponent and fraction.
_FIELDS = {"f16": (5, 10), "bf16": (8, 7), "f32": (8, 23), "f64": (11, 52)}
_F64_FRACTION = _FIELDS["f64"][1]


def float_width(name: str) -> int:
    """The bits of a value of the float type ``name``."""
    return 1 + sum(_FIELDS[name])


def float_from_bits(bits: int, name: str) -> float:
    """The value whose bits are ``bits``, exactly; a NaN keeps its sign and payload."""
    exponent_bits, fraction_bits = _FIELDS[name]
    sign = bits >> (exponent_bits + fraction_bits)
    exponent = bits >> fraction_bits & ((1 << exponent_bits) - 1)
    fraction = bits & ((1 << fraction_bits) - 1)
    if exponent == (1 << exponent_bits) - 1:
        wide = fraction << (_F64_FRACTION - fraction_bits)
        return _from_f64(sign << 63 | 0x7FF << _F64_FRACTION | wide)
    if exponent:
        fraction |= 1 << fraction_bits
    value = math.ldexp(fraction, max(exponent, 1) - (1 << (exponent_bits - 1)) + 1 - fraction_bits)
    return -value if sign else value


def nonfinite_bits(value: float, name: str) -> int:
    """The bits of an infinity or a NaN in the float type ``name``."""
    exponent_bits, fraction_bits = _FIELDS[name]
    wide = float64_bits(value)
    fraction = (wide & ((1 << _F64_FRACTION) - 1)) >> (_F64_FRACTION - fraction_bits)
    if math.isnan(value):
        fraction = fraction or 1 << (fraction_bits - 1)
    exponent = ((1 << exponent_bits) - 1) << fraction_bits
    return (wide >> 63) << (exponent_bits + fraction_bits) | exponent | fraction


def float64_bits(value: float) -> int:
    return int.from_bytes(struct.pack("<d", value), "little")


def _from_f64(bits: int) -> float:
    (value,) = struct.unpack("<d", bits.to_bytes(8, "little"))
    return value
