"""Numbers in texts, and what they stand for as elements of a type: written in decimal, by their
bits, or all together as a string of bytes."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import TypeAlias

from nvdla_ir.ir.float_bits import float_from_bits, float_width
from nvdla_ir.ir.types import FloatType, IndexType, IntegerType, TensorType, Type

Number: TypeAlias = "int | float"

# Lark's and Python's own limits lie above; no honest number comes near.
_LONGEST_NUMBER = 1000
_INDEX_WIDTH = 64


class LeafError(Exception):
    """Something inside a flat token is wrong, ``offset`` characters into it."""

    def __init__(self, message: str, offset: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.offset = offset


class Hexadecimal(int):
    """An integer that is written in hexadecimal: where a float is expected, its bits."""


def parse_number(text: str) -> Number:
    """``12``, ``0x1F``, ``1.5e-3``: a float exactly where there is a decimal point.

    Raises: LeafError where it is too large or too long.
    """
    if len(text) > _LONGEST_NUMBER:
        raise LeafError(f"a number of {len(text)} characters is too long")
    if "." in text:
        value = float(text)
        if math.isinf(value):
            raise LeafError(f"the number {text} is too large for 64 bits")
        return value
    return Hexadecimal(text, 16) if "x" in text else int(text)


def parse_integer(text: str) -> int:
    """Raises: LeafError where ``text`` is no integer, or too long."""
    value = parse_number(text)
    if isinstance(value, float):
        raise LeafError(f"{text} must be an integer")
    return int(value)


def element_of(value: Number, type: Type) -> Number:
    """What ``value`` stands for as a number of ``type``. Raises: LeafError where it is none."""
    if isinstance(type, FloatType):
        if isinstance(value, Hexadecimal):
            return _from_bits(value, type)
        if not isinstance(value, float):
            raise LeafError(f"{value} needs a decimal point to be of type '{type}'")
        return value
    if isinstance(value, float):
        raise LeafError(f"{value} must have no decimal point to be of type '{type}'")
    if isinstance(value, bool) and type != IntegerType(1):
        raise LeafError(f"true and false are of type 'i1', not '{type}'")
    _check_range([value], type)
    return int(value)


def elements_of(values: Sequence[Number], type: Type) -> tuple[Number, ...]:
    """What each of ``values`` stands for as a number of ``type``. Raises: LeafError"""
    kinds = set(map(_class_of, values))
    if kinds <= {float} and isinstance(type, FloatType):
        return tuple(values)
    if kinds <= {int} and not isinstance(type, FloatType):
        _check_range(values, type)
        return tuple(values)
    return tuple([element_of(value, type) for value in values])


def _class_of(value: Number) -> type[Number]:
    return value.__class__


def _from_bits(value: int, type: FloatType) -> float:
    if value < 0:
        raise LeafError("the bits of a float have no sign in front")
    width = float_width(type.name)
    if value >> width:
        raise LeafError(f"0x{value:X} has more than the {width} bits of '{type}'")
    return float_from_bits(value, type.name)


def _check_range(values: Sequence[Number], type: Type) -> None:
    """Signless integers may be written as signed or as unsigned."""
    if isinstance(type, IndexType):
        low, high = -(1 << (_INDEX_WIDTH - 1)), (1 << _INDEX_WIDTH) - 1
    elif isinstance(type, IntegerType):
        low = 0 if type.signedness == "u" else -(1 << (type.width - 1))
        high = (1 << (type.width - (type.signedness == "s"))) - 1
    else:
        return
    for value in (min(values), max(values)) if values else ():
        if not low <= value <= high:
            raise LeafError(f"{int(value)} does not fit '{type}'")


# -------------------------------------------------------------- strings of bytes


def parse_bytes(literal: str) -> bytes:
    """The bytes that ``"0x0A0B"`` states. Raises: LeafError"""
    digits = literal[1:-1]
    if not digits.startswith("0x"):
        raise LeafError("a string of bytes is hexadecimal and begins with 0x")
    try:
        return bytes.fromhex(digits[2:])
    except ValueError:
        raise LeafError("a string of bytes is two hexadecimal digits for each") from None


# What the struct module reads at once.
_CODES = {
    **{("f", width): code for width, code in ((16, "e"), (32, "f"), (64, "d"))},
    **{("s", width): code for width, code in ((8, "b"), (16, "h"), (32, "i"), (64, "q"))},
    **{("u", width): code for width, code in ((8, "B"), (16, "H"), (32, "I"), (64, "Q"))},
}


def elements_of_bytes(data: bytes, type: TensorType) -> tuple[Number, ...]:
    """The elements of ``type``, or the one that all are equal to: little-endian, each in as many
    whole bytes as it needs, those of ``i1`` one bit each.

    Raises: LeafError where ``data`` is of another size.
    """
    element, count = type.element, type.element_count
    if element == IntegerType(1):
        return _bits(data, type)
    if isinstance(element, FloatType):
        width, kind = float_width(element.name), "f"
    elif isinstance(element, IndexType):
        width, kind = _INDEX_WIDTH, "s"
    elif isinstance(element, IntegerType):
        width, kind = element.width, "u" if element.signedness == "u" else "s"
    else:
        raise LeafError(f"elements of type '{element}' cannot be written as bytes")
    size = (width + 7) // 8
    if len(data) not in (size, size * count):
        raise _wrong_size(data, type, size * count)
    code = _CODES.get((kind, width)) if element != FloatType("bf16") else None
    if code is not None:
        values = struct.unpack(f"<{len(data) // size}{code}", data)
        if kind != "f" or all(map(math.isfinite, values)):
            return values
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    bits = [int.from_bytes(piece, "little") & ((1 << width) - 1) for piece in pieces]
    if isinstance(element, FloatType):
        return tuple([float_from_bits(value, element.name) for value in bits])
    if kind == "u":
        return tuple(bits)
    return tuple([value - (value >> (width - 1) << width) for value in bits])


def _bits(data: bytes, type: TensorType) -> tuple[int, ...]:
    count = type.element_count
    if len(data) == 1 and data[0] in (0x00, 0xFF):
        return (data[0] & 1,)
    if len(data) != (count + 7) // 8:
        raise _wrong_size(data, type, (count + 7) // 8)
    return tuple([data[index >> 3] >> (index & 7) & 1 for index in range(count)])


def _wrong_size(data: bytes, type: TensorType, wanted: int) -> LeafError:
    return LeafError(f"'{type}' takes {wanted} bytes, or those of one element, not {len(data)}")
