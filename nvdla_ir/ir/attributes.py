"""Builtin attributes, in MLIR's words and spellings. Attributes are frozen values."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import cached_property
from operator import ne
from types import MappingProxyType
from typing import Any, ClassVar

from attrs import field, frozen

from nvdla_ir.ir.float_bits import float64_bits, float_width, nonfinite_bits
from nvdla_ir.ir.types import F64, I64, FloatType, IntegerType, TensorType, Type


def _comparable(value: float) -> float | tuple[int]:
    """``value``, but a NaN by its bits: it is to equal itself."""
    return value if value == value else (float64_bits(value),)


def _all_comparable(values: tuple[int | float, ...]) -> tuple[object, ...]:
    return tuple(map(_comparable, values)) if any(map(ne, values, values)) else values


class Attribute:
    """Base of all attributes. ``str(attribute)`` parses back to an equal attribute."""

    __slots__ = ()


@frozen(cache_hash=True)
class IntegerAttr(Attribute):
    """``3``, ``3 : i8``; ``i64`` is the type that goes unsaid."""

    value: int
    type: Type = I64

    def __str__(self) -> str:
        unsaid = self.type is I64 or self.type == I64
        return str(self.value) if unsaid else f"{self.value} : {self.type}"


@frozen(cache_hash=True)
class FloatAttr(Attribute):
    """``0.5``, ``0.5 : f32``; ``f64`` is the type that goes unsaid. Infinities and NaN are written
    by their bits, ``0x7F800000 : f32``."""

    value: float = field(eq=_comparable)
    type: Type = F64

    def __str__(self) -> str:
        text = format_element(self.value, self.type)
        unsaid = self.type == F64 and math.isfinite(self.value)
        return text if unsaid else f"{text} : {self.type}"


@frozen(cache_hash=True)
class BoolAttr(Attribute):
    """``true``, ``false``"""

    value: bool

    def __str__(self) -> str:
        return "true" if self.value else "false"


@frozen(cache_hash=True)
class StringAttr(Attribute):
    """``"text"``, or ``"text" : type``"""

    value: str
    type: Type | None = None

    def __str__(self) -> str:
        return quote(self.value) + ("" if self.type is None else f" : {self.type}")


@frozen(cache_hash=True)
class UnitAttr(Attribute):
    """``unit``: present or absent."""

    def __str__(self) -> str:
        return "unit"


@frozen(cache_hash=True)
class ArrayAttr(Attribute):
    """``[1, "a", 2.0]``"""

    elements: tuple[Attribute, ...]

    @cached_property
    def resources(self) -> tuple[DenseResourceAttr, ...]:
        """What it refers to outside the text."""
        return resources_in(self.elements)

    @cached_property
    def values(self) -> tuple[Any, ...]:
        """The numbers, strings or truth values that the elements hold. Raises: AttributeError
        where one is something else."""
        return tuple([element.value for element in self.elements])  # pyright: ignore

    def __str__(self) -> str:
        return f"[{', '.join(map(str, self.elements))}]"


@frozen(cache_hash=True)
class DictAttr(Attribute):
    """``{a = 1, b = "x"}``; keeps the order it was written in."""

    entries: tuple[tuple[str, Attribute], ...]

    @cached_property
    def resources(self) -> tuple[DenseResourceAttr, ...]:
        """What it refers to outside the text."""
        return resources_in(value for _, value in self.entries)

    @cached_property
    def mapping(self) -> Mapping[str, Attribute]:
        """The entries by name."""
        return MappingProxyType(dict(self.entries))

    def __str__(self) -> str:
        entries = ", ".join(
            quote_key(name) if isinstance(value, UnitAttr) else f"{quote_key(name)} = {value}"
            for name, value in self.entries
        )
        return f"{{{entries}}}"


@frozen(cache_hash=True)
class DenseArrayAttr(Attribute):
    """``array<i32: 1, 2>``"""

    element: Type
    values: tuple[int | float, ...] = field(eq=_all_comparable)

    def __str__(self) -> str:
        if not self.values:
            return f"array<{self.element}>"
        return f"array<{self.element}: {', '.join(_elements(self.values, self.element))}>"


@frozen(cache_hash=True)
class DenseElementsAttr(Attribute):
    """``dense<[1.0, 2.0]> : tensor<2xf32>``.

    ``values`` has one number an element in row-major order, or a single one for a splat.
    """

    type: TensorType
    values: tuple[int | float, ...] = field(eq=_all_comparable)

    def __str__(self) -> str:
        shape = self.type.static_shape
        if len(self.values) == 1 and (not shape or self.type.element_count != 1):
            return f"dense<{format_element(self.values[0], self.type.element)}> : {self.type}"
        if not self.values:
            return f"dense<> : {self.type}"
        parts = _elements(self.values, self.type.element)
        for extent in reversed(shape):
            parts = [
                f"[{', '.join(parts[start : start + extent])}]"
                for start in range(0, len(parts), extent)
            ]
        return f"dense<{parts[0]}> : {self.type}"


@frozen
class Blob:
    """The bytes of a resource that stands in the text, and how they are aligned in memory."""

    alignment: int
    data: bytes


@frozen(cache_hash=True)
class DenseResourceAttr(Attribute):
    """``dense_resource<key> : tensor<64x3x7x7xf32>``: elements kept outside the text."""

    key: str
    type: TensorType

    def __str__(self) -> str:
        # Angle brackets delimit the token even inside a string.
        key = quote_key(self.key).replace("<", "\\3C").replace(">", "\\3E")
        return f"dense_resource<{key}> : {self.type}"


def resources_in(attributes: Iterable[Attribute]) -> tuple[DenseResourceAttr, ...]:
    """What ``attributes`` refer to outside the text."""
    found: list[DenseResourceAttr] = []
    # Each attribute of a module passes here after each pass: types are compared at the least cost,
    # and what consists of others is looked into once.
    for attribute in attributes:
        kind = attribute.__class__
        if kind is IntegerAttr or kind is StringAttr:
            continue
        if isinstance(attribute, ArrayAttr) or isinstance(attribute, DictAttr):  # noqa: SIM101
            found += attribute.resources
        elif isinstance(attribute, DenseResourceAttr):
            found.append(attribute)
    return tuple(found)


@frozen(cache_hash=True)
class SymbolRefAttr(Attribute):
    """``@name``, or ``@outer::@inner``: a symbol in the table of another."""

    name: str
    nested: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "::".join(map(_symbol, (self.name, *self.nested)))


@frozen(cache_hash=True)
class TypeAttr(Attribute):
    """A type used as an attribute."""

    type: Type

    def __str__(self) -> str:
        return str(self.type)


class StructureAttr(Attribute):
    """``#dialect.name<key = value, …>``: an attribute of a dialect, written as what it consists
    of. ``mnemonic`` is ``dialect.name``."""

    __slots__ = ()
    mnemonic: ClassVar[str]

    @property
    def entries(self) -> Iterable[tuple[str, Attribute]]:
        """What the dialect makes it of again (``Dialect.attribute_parsers``)."""
        raise NotImplementedError

    def __str__(self) -> str:
        return f"#{self.mnemonic}<{str(DictAttr(tuple(self.entries)))[1:-1]}>"


@frozen(cache_hash=True)
class OpaqueAttr(Attribute):
    """An attribute of a dialect that is not registered: kept as its text."""

    text: str

    def __str__(self) -> str:
        return self.text


def format_float(value: float) -> str:
    """The shortest text that reads back as ``value``, with the decimal point MLIR demands.

    Raises: ValueError if ``value`` is not finite.
    """
    if not math.isfinite(value):
        raise ValueError(f"{value} cannot be written: only finite numbers can")
    text = repr(value)
    if "." in text:
        return text
    mantissa, exponent, power = text.partition("e")
    return f"{mantissa}.0{exponent}{power}"


def format_element(value: int | float, type: Type) -> str:
    """``value`` as it stands where its ``type`` is known."""
    if not isinstance(value, float):
        return ("true" if value else "false") if _is_boolean(type) else str(value)
    if isinstance(type, FloatType) and not math.isfinite(value):
        return f"0x{nonfinite_bits(value, type.name):0{float_width(type.name) // 4}X}"
    return format_float(value)


def _elements(values: tuple[int | float, ...], type: Type) -> list[str]:
    if isinstance(type, IntegerType) and not _is_boolean(type):
        return list(map(str, values))
    return [format_element(value, type) for value in values]


def _is_boolean(type: Type) -> bool:
    return isinstance(type, IntegerType) and type.width == 1 and not type.signedness


def _symbol(name: str) -> str:
    return f"@{name}" if is_bare_identifier(name) else f"@{quote(name)}"


_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t"}


def quote(text: str) -> str:
    """``text`` as an MLIR string literal; control characters as two hexadecimal digits."""
    if text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    return '"{}"'.format(
        "".join(
            _ESCAPES.get(character)
            or (character if character.isprintable() else _hexadecimal(character))
            for character in text
        )
    )


def _hexadecimal(character: str) -> str:
    return "".join(f"\\{byte:02X}" for byte in character.encode("utf-8", "surrogateescape"))


def is_bare_identifier(text: str) -> bool:
    """Whether ``text`` can stand as a key without quotes."""
    return (
        text != ""
        and text.isascii()
        and text.replace("_", "a").replace(".", "a").replace("$", "a").isalnum()
        and (text[0].isalpha() or text[0] == "_")
    )


def quote_key(text: str) -> str:
    return text if is_bare_identifier(text) else quote(text)
