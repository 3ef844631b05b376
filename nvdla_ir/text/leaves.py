"""What stands inside flat tokens: types, attribute values, locations, resources."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import lark
from attrs import frozen

from nvdla_ir.ir.attributes import (
    ArrayAttr,
    Attribute,
    BoolAttr,
    DenseArrayAttr,
    DenseElementsAttr,
    DenseResourceAttr,
    FloatAttr,
    IntegerAttr,
    OpaqueAttr,
    TypeAttr,
    UnitAttr,
)
from nvdla_ir.ir.dialect import Context, Dialect, did_you_mean
from nvdla_ir.ir.location import UNKNOWN, FileLineCol, FusedLoc, Location, NameLoc
from nvdla_ir.ir.types import (
    I64,
    INDEX,
    FloatType,
    FunctionType,
    IntegerType,
    NoneType,
    OpaqueType,
    TensorType,
    Type,
)
from nvdla_ir.text.grammar import rules_of

Number: TypeAlias = "int | float"
# A literal's shape and its numbers in row-major order.
Literal: TypeAlias = "tuple[tuple[int, ...], tuple[Number, ...]]"

BUILTIN_TYPES = ("tensor", "index", "none", "f16", "bf16", "f32", "f64", "i1", "i8", "i32", "i64")


_ResourceOwner: TypeAlias = "tuple[lark.Token, list[tuple[lark.Token, lark.Token]]]"


@frozen
class ResourceSection:
    """What ``{-# … #-}`` holds: the bytes of resources by key, and the pass pipeline of a
    reproducer."""

    blobs: dict[str, bytes]
    pipeline: str | None = None


# Lark's and Python's own limits lie above; no honest number comes near.
_LONGEST_NUMBER = 1000
# As in MLIR.
_WIDEST_INTEGER = (1 << 24) - 1


class LeafError(Exception):
    """Something inside a flat token is wrong, ``offset`` characters into it."""

    def __init__(self, message: str, offset: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.offset = offset


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
    return int(text, 16) if "x" in text else int(text)


def _extent(text: str) -> int | None:
    return None if text == "?" else int(parse_number(text))


def integer_fault(values: Sequence[Number], type: Type) -> str | None:
    """Which of ``values`` is no integer of ``type``, and why, if one is none. Signless ones may be
    written as signed or as unsigned."""
    if not values or not isinstance(type, IntegerType):
        return None
    low = 0 if type.signedness == "u" else -(1 << (type.width - 1))
    high = (1 << (type.width - (type.signedness == "s"))) - 1
    for value in (min(values), max(values)):
        if not low <= value <= high:
            return f"{value} does not fit '{type}'"
    return None


_ESCAPE = re.compile(r"\\(?:([0-9A-Fa-f]{2})|(.))", re.DOTALL)
_NAMED_ESCAPES = {"n": "\n", "t": "\t", '"': '"', "\\": "\\"}


def unquote(literal: str) -> str:
    """The text a string literal stands for. Raises: LeafError on an unknown escape."""
    body = literal[1:-1]
    if "\\" not in body:
        return body
    pieces = bytearray()
    position = 0
    for match in _ESCAPE.finditer(body):
        pieces += body[position : match.start()].encode()
        position = match.end()
        if match[1] is not None:
            pieces.append(int(match[1], 16))
        elif match[2] in _NAMED_ESCAPES:
            pieces += _NAMED_ESCAPES[match[2]].encode()
        else:
            raise LeafError(f"unknown escape '\\{match[2]}' in a string", match.start() + 1)
    pieces += body[position:].encode()
    return pieces.decode("utf-8", "surrogateescape")


def _check_integers(values: Sequence[Number], type: Type) -> None:
    fault = integer_fault(values, type)
    if fault is not None:
        raise LeafError(fault)


class LeafCallbacks:
    """One method a rule of the grammar's leaf part, called with the rule's children."""

    def __init__(self, context: Context, fragments: Mapping[str, str]) -> None:
        self._context = context
        for name, fragment in fragments.items():
            for rule in rules_of(fragment):
                setattr(self, rule, self._dialect_callback(name, rule))

    def _dialect_callback(self, name: str, rule: str) -> Callable[[list[Any]], Any]:
        """Calls what the dialect called ``name`` has for ``rule``; the dialect is imported when
        the rule is met for the first time."""
        found: Callable[[list[Any]], Any] | None = None

        def callback(children: list[Any]) -> Any:
            nonlocal found
            if found is None:
                dialect = self._context.dialect(name)
                assert dialect is not None
                found = self._find_callback(dialect, rule)
            return found(children)

        return callback

    def _find_callback(self, dialect: Dialect, rule: str) -> Callable[[list[Any]], Any]:
        return _guarded(dialect.type_parsers[rule])

    # -------------------------------------------------------------- types

    def leaf_type(self, children: list[Type]) -> Type:
        return children[0]

    def integer_type(self, children: list[lark.Token]) -> Type:
        signedness, _, digits = children[0].partition("i")
        width = parse_number(digits)
        if not 0 < width <= _WIDEST_INTEGER:
            raise LeafError(f"integers have at most {_WIDEST_INTEGER} bits, not {width}")
        return IntegerType(int(width), signedness)

    def float_type(self, children: list[lark.Token]) -> Type:
        return FloatType(str(children[0]))

    def index_type(self, children: list[lark.Token]) -> Type:
        return INDEX

    def none_type(self, children: list[lark.Token]) -> Type:
        return NoneType()

    def tensor_type(self, children: list[Any]) -> Type:
        dimensions, element = children
        shape = (
            tuple(_extent(extent) for extent in dimensions[:-1].split("x")) if dimensions else ()
        )
        if isinstance(element, TensorType | FunctionType):
            raise LeafError(f"'{element}' cannot be the element type of a tensor")
        return TensorType(shape, element)

    def function_type(self, children: list[Any]) -> Type:
        *inputs, results = children
        return FunctionType(tuple(type for type in inputs if type is not None), results)

    def function_result(self, children: list[Type]) -> tuple[Type, ...]:
        return (children[0],)

    def function_results(self, children: list[Type | None]) -> tuple[Type, ...]:
        return tuple(type for type in children if type is not None)

    def opaque_type(self, children: list[lark.Token]) -> Type:
        self._check_opaque(children[0], "type")
        return OpaqueType(str(children[0]))

    def _check_opaque(self, text: lark.Token, what: str) -> None:
        namespace, _, rest = text[1:].partition(".")
        name = re.split(r"[<\s]", rest, maxsplit=1)[0]
        dialect = self._context.dialect(namespace)
        if dialect is not None:
            types = (rule.partition("_type_")[2] for rule in dialect.type_parsers)
            raise LeafError(
                f"unknown {what} '{text[0]}{namespace}.{name}' in dialect '{namespace}'"
                f"{did_you_mean(name, filter(None, types))}",
                _offset(text),
            )
        if not self._context.allow_unregistered:
            raise LeafError(
                f"unknown {what} '{text[0]}{namespace}.{name}': dialect '{namespace}' is not known"
                f"{did_you_mean(namespace, self._context.dialect_names)}",
                _offset(text),
            )

    # -------------------------------------------------------------- attributes

    def leaf_attribute(self, children: list[Attribute]) -> Attribute:
        return children[0]

    def true(self, children: list[object]) -> Attribute:
        return BoolAttr(True)

    def false(self, children: list[object]) -> Attribute:
        return BoolAttr(False)

    def unit(self, children: list[object]) -> Attribute:
        return UnitAttr()

    def type_attribute(self, children: list[Type]) -> Attribute:
        return TypeAttr(children[0])

    def opaque_attribute(self, children: list[lark.Token]) -> Attribute:
        self._check_opaque(children[0], "attribute")
        return OpaqueAttr(str(children[0]))

    def literal(self, children: list[Any]) -> Literal:
        child = children[0]
        if isinstance(child, lark.Token):
            if child in ("true", "false"):
                return (), (int(child == "true"),)
            return (), (parse_number(child),)
        return child

    def literal_list(self, children: list[Literal | None]) -> Literal:
        items = [child for child in children if child is not None]
        if not items:
            return (0,), ()
        shape = items[0][0]
        numbers: list[Number] = []
        for item_shape, item_numbers in items:
            if item_shape != shape:
                raise LeafError("the rows of these elements differ in length")
            numbers.extend(item_numbers)
        return (len(items), *shape), tuple(numbers)

    def literal_attribute(self, children: list[Literal]) -> Attribute:
        shape, numbers = children[0]
        if len(shape) != 1:
            raise LeafError("nested lists of numbers need dense<…> or array<…>")
        _check_integers([n for n in numbers if isinstance(n, int)], I64)
        return ArrayAttr(
            tuple(FloatAttr(n) if isinstance(n, float) else IntegerAttr(n) for n in numbers)
        )

    def dense_array(self, children: list[Any]) -> Attribute:
        element, *literals = children
        numbers = tuple(parse_number(text) for text in literals if text is not None)
        if not isinstance(element, FloatType | IntegerType):
            raise LeafError(f"array<…> holds numbers, not '{element}'")
        if any(isinstance(n, float) != isinstance(element, FloatType) for n in numbers):
            raise LeafError(f"the numbers of an array of '{element}' are written otherwise")
        _check_integers(numbers, element)
        return DenseArrayAttr(element, numbers)

    def dense_resource(self, children: list[Any]) -> Attribute:
        key, type = children
        name = unquote(key) if key.startswith('"') else str(key)
        return DenseResourceAttr(name, self._tensor(type, "dense_resource<…>"))

    def dense(self, children: list[Any]) -> Attribute:
        literal: Literal | None = children[0]
        type = self._tensor(children[1], "dense<…>")
        shape, numbers = ((0,), ()) if literal is None else literal
        if shape and shape != type.shape and not (not numbers and type.element_count == 0):
            raise LeafError(f"elements of shape {'x'.join(map(str, shape))} do not fit '{type}'")
        is_float = isinstance(type.element, FloatType)
        wrong = [n for n in numbers if isinstance(n, float) != is_float]
        if wrong:
            wanted = "a decimal point" if is_float else "no decimal point"
            raise LeafError(f"element {wrong[0]} of '{type}' must have {wanted}")
        _check_integers(numbers, type.element)
        return DenseElementsAttr(type, numbers)

    def _tensor(self, type: Type, what: str) -> TensorType:
        if not isinstance(type, TensorType) or not type.has_static_shape:
            raise LeafError(f"{what} needs a tensor type of known shape, not '{type}'")
        return type

    # -------------------------------------------------------------- locations

    def leaf_location(self, children: list[Location]) -> Location:
        return children[0]

    def file_location(self, children: list[lark.Token]) -> Location:
        line, column = (int(parse_number(child)) for child in children[1:])
        return FileLineCol(unquote(children[0]), line, column)

    def name_location(self, children: list[Any]) -> Location:
        return NameLoc(unquote(children[0]), children[1])

    def fused_location(self, children: list[Location]) -> Location:
        return FusedLoc(tuple(children))

    def unknown_location(self, children: list[object]) -> Location:
        return UNKNOWN

    # -------------------------------------------------------------- resources

    def leaf_resources(self, children: list[ResourceSection | None]) -> ResourceSection:
        merged = ResourceSection({})
        for section in children:
            if section is not None:
                merged = ResourceSection(
                    {**merged.blobs, **section.blobs}, section.pipeline or merged.pipeline
                )
        return merged

    def dialect_resources(self, children: list[list[_ResourceOwner]]) -> ResourceSection:
        blobs: dict[str, bytes] = {}
        for owner, entries in children[0]:
            if owner != "builtin":
                raise LeafError(f"resources belong to 'builtin', not '{owner}'", _offset(owner))
            for key, value in entries:
                blobs[unquote(key) if key.startswith('"') else str(key)] = _blob(key, value)
        return ResourceSection(blobs)

    def external_resources(self, children: list[list[_ResourceOwner]]) -> ResourceSection:
        for owner, entries in children[0]:
            for key, value in entries:
                if owner == "mlir_reproducer" and key == "pipeline":
                    return ResourceSection({}, unquote(value))
        return ResourceSection({})

    def resource_owners(self, children: list[_ResourceOwner | None]) -> list[_ResourceOwner]:
        return [child for child in children if child is not None]

    def resource_owner(self, children: list[Any]) -> _ResourceOwner:
        return children[0], [child for child in children[1:] if child is not None]

    def resource(self, children: list[lark.Token]) -> tuple[lark.Token, lark.Token]:
        return children[0], children[1]


def _blob(key: lark.Token, value: lark.Token) -> bytes:
    try:
        # The first four bytes state the alignment.
        return bytes.fromhex(value[1:-1].removeprefix("0x"))[4:]
    except ValueError as error:
        raise LeafError(f"resource '{key}' is not hexadecimal: {error}", _offset(value)) from None


def _offset(token: lark.Token) -> int:
    return token.start_pos or 0


def _guarded(make: Callable[..., Type]) -> Callable[[list[Any]], Any]:
    """A dialect's ``make`` as a callback; its ValueErrors are faults of the text."""

    def callback(children: list[Any]) -> Any:
        try:
            return make(*children)
        except ValueError as error:
            raise LeafError(str(error)) from error

    return callback
