"""How an operation's attribute is seen from Python: ``op.strides`` is a tuple of ints, in the
text it is ``strides = [1, 1]``."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from attrs import fields_dict, frozen

from nvdla_ir.ir.attributes import (
    ArrayAttr,
    Attribute,
    BoolAttr,
    DenseElementsAttr,
    DenseResourceAttr,
    DictAttr,
    FloatAttr,
    IntegerAttr,
    StringAttr,
    SymbolRefAttr,
    TypeAttr,
)
from nvdla_ir.ir.types import FunctionType, Type

T = TypeVar("T")


@frozen(eq=False)
class AttributeKind(Generic[T]):
    """``description`` completes the sentence "attribute must be …".

    plain: a class of attributes whose ``value`` is what Python sees, so that fields are read
           without a call
    """

    description: str
    accepts: Callable[[Attribute], bool]
    to_python: Callable[[Attribute], T]
    from_python: Callable[[T], Attribute]
    plain: type[Attribute] | None = None


def _kind(
    description: str,
    attribute_class: type[Attribute],
    to_python: Callable[[Attribute], T],
    from_python: Callable[[T], Attribute],
) -> AttributeKind[T]:
    return AttributeKind(
        description,
        lambda attr: isinstance(attr, attribute_class),
        to_python,
        from_python,
        attribute_class if "value" in fields_dict(attribute_class) else None,
    )


def _array(
    description: str, accepted: Callable[[Attribute], bool], from_python: Callable[[T], Attribute]
) -> AttributeKind[tuple[T, ...]]:
    def accepts(attr: Attribute) -> bool:
        if not isinstance(attr, ArrayAttr):
            return False
        return all([accepted(item) for item in attr.elements])  # noqa: C419

    def to_python(attr: Attribute) -> tuple[T, ...]:
        return _checked(attr, ArrayAttr).values

    return AttributeKind(
        description,
        accepts,
        to_python,
        lambda values: ArrayAttr(tuple(from_python(value) for value in values)),
    )


A = TypeVar("A", bound=Attribute)


def _checked(attr: Attribute, attribute_class: type[A]) -> A:
    if not isinstance(attr, attribute_class):
        raise ValueError(f"'{attr}' is no {attribute_class.__name__}")
    return attr


def _is(attribute_class: type[Attribute]) -> Callable[[Attribute], bool]:
    return lambda attr: isinstance(attr, attribute_class)


def _is_finite(attr: Attribute) -> bool:
    return isinstance(attr, FloatAttr) and math.isfinite(attr.value)


def _integer(attr: Attribute) -> int:
    return _checked(attr, IntegerAttr).value


def _float(attr: Attribute) -> float:
    return _checked(attr, FloatAttr).value


def _bool(attr: Attribute) -> bool:
    return _checked(attr, BoolAttr).value


def _string(attr: Attribute) -> str:
    return _checked(attr, StringAttr).value


def _symbol(attr: Attribute) -> str:
    return _checked(attr, SymbolRefAttr).name


def _type(attr: Attribute) -> Type:
    return _checked(attr, TypeAttr).type


def _function_type(attr: Attribute) -> FunctionType:
    type = _checked(attr, TypeAttr).type
    if not isinstance(type, FunctionType):
        raise ValueError(f"'{type}' is not a function type")
    return type


def _mapping(attr: Attribute) -> Mapping[str, Attribute]:
    return _checked(attr, DictAttr).mapping


def _elements(attr: Attribute) -> DenseElementsAttr | DenseResourceAttr:
    if not isinstance(attr, DenseElementsAttr | DenseResourceAttr):
        raise ValueError(f"'{attr}' is not dense<…> or dense_resource<…>")
    return attr


def _same(attr: Attribute) -> Attribute:
    return attr


def _from_mapping(values: Mapping[str, Attribute] | DictAttr) -> Attribute:
    return values if isinstance(values, DictAttr) else DictAttr(tuple(values.items()))


INT = _kind("an integer", IntegerAttr, _integer, IntegerAttr)
FLOAT = AttributeKind[float](
    "a finite number with a decimal point", _is_finite, _float, FloatAttr, FloatAttr
)
BOOL = _kind("true or false", BoolAttr, _bool, BoolAttr)
STRING = _kind("a string", StringAttr, _string, StringAttr)
SYMBOL = AttributeKind[str](
    "a symbol like @main",
    lambda attr: isinstance(attr, SymbolRefAttr) and not attr.nested,
    _symbol,
    SymbolRefAttr,
)
TYPE = _kind("a type", TypeAttr, _type, TypeAttr)
INTS = _array("an array of integers", _is(IntegerAttr), IntegerAttr)
FLOATS = _array("an array of finite numbers with a decimal point", _is_finite, FloatAttr)
STRINGS = _array("an array of strings", _is(StringAttr), StringAttr)
DICT = _kind("a dictionary", DictAttr, _mapping, _from_mapping)
DICTS = AttributeKind[tuple[Mapping[str, Attribute], ...]](
    "an array of dictionaries",
    lambda attr: (
        isinstance(attr, ArrayAttr) and all(isinstance(item, DictAttr) for item in attr.elements)
    ),
    lambda attr: tuple(_mapping(item) for item in attr.elements),  # pyright: ignore
    lambda values: ArrayAttr(tuple(_from_mapping(value) for value in values)),
)
FUNCTION_TYPE = AttributeKind[FunctionType](
    "a function type",
    lambda attr: isinstance(attr, TypeAttr) and isinstance(attr.type, FunctionType),
    _function_type,
    TypeAttr,
)
ELEMENTS = AttributeKind[DenseElementsAttr | DenseResourceAttr](
    "dense<…> or dense_resource<…> elements",
    lambda attr: isinstance(attr, DenseElementsAttr | DenseResourceAttr),
    _elements,
    _same,
)
ANY_ATTRIBUTE = AttributeKind[Attribute]("any attribute", lambda attr: True, _same, _same)


def enumeration(*values: str) -> AttributeKind[str]:
    """A string out of ``values``."""
    quoted = ", ".join(f'"{value}"' for value in values)
    known = [StringAttr(value) for value in values]
    return AttributeKind(
        f"one of {quoted}",
        lambda attr: isinstance(attr, StringAttr) and attr in known,
        _string,
        StringAttr,
        StringAttr,
    )
