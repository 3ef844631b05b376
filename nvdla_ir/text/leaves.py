"""What stands inside flat tokens: types, attribute values, locations, resources."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import lark
from attrs import frozen

from nvdla_ir.ir.attributes import (
    ArrayAttr,
    Attribute,
    Blob,
    BoolAttr,
    DenseArrayAttr,
    DenseElementsAttr,
    DenseResourceAttr,
    DictAttr,
    FloatAttr,
    IntegerAttr,
    OpaqueAttr,
    TypeAttr,
    UnitAttr,
)
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.dialect import Context, Dialect, did_you_mean
from nvdla_ir.ir.location import (
    UNKNOWN,
    CallSiteLoc,
    FileLineCol,
    FusedLoc,
    Location,
    LocationAttr,
    NameLoc,
)
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
from nvdla_ir.text.elements import (
    LeafError,
    Number,
    element_of,
    elements_of,
    elements_of_bytes,
    parse_bytes,
    parse_integer,
    parse_number,
)
from nvdla_ir.text.grammar import STRING_PATTERN, rules_of

# A literal's shape and its numbers in row-major order.
Literal: TypeAlias = "tuple[tuple[int, ...], tuple[Number, ...]]"

BUILTIN_TYPES = ("tensor", "index", "none", "f16", "bf16", "f32", "f64", "i1", "i8", "i32", "i64")


_ResourceOwner: TypeAlias = "tuple[lark.Token, list[tuple[lark.Token, lark.Token]]]"


@frozen
class ResourceSection:
    """What ``{-# … #-}`` holds: resources by key, and the pass pipeline of a reproducer.

    ignored: what else it has, with its place in the text of the section
    """

    blobs: dict[str, Blob]
    pipeline: str | None = None
    ignored: tuple[tuple[str, int], ...] = ()


# As in MLIR.
_WIDEST_INTEGER = (1 << 24) - 1
# The first bytes of a resource state how it is aligned in memory.
_ALIGNMENT_BYTES = 4
# What mlir-opt states of a run besides the pipeline: it changes no result.
_OF_THE_RUN = ("disable_threading", "verify_each")


def _extent(text: str) -> int | None:
    return None if text == "?" else parse_integer(text)


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


class LeafCallbacks:
    """One method a rule of the grammar's leaf part, called with the rule's children."""

    def __init__(self, context: Context, fragments: Mapping[str, str]) -> None:
        # Parses a text from a start rule of the grammar.
        self.leaf: Callable[[str, str], Any]
        self._context = context
        # What the text has given names to, ``!t = …`` and ``#a = …``, by the name with its sign.
        self.aliases: dict[str, Type | Attribute] = {}
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
        width = parse_integer(digits)
        if not 0 < width <= _WIDEST_INTEGER:
            raise LeafError(f"integers have at most {_WIDEST_INTEGER} bits, not {width}")
        return IntegerType(width, signedness)

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

    def type_alias(self, children: list[lark.Token]) -> Type:
        found = self._alias(children[0])
        if not isinstance(found, Type):
            raise LeafError(f"'{children[0]}' is no type", _offset(children[0]))
        return found

    def _alias(self, token: lark.Token) -> Type | Attribute:
        found = self.aliases.get(str(token))
        if found is None:
            hint = did_you_mean(token, self.aliases)
            raise LeafError(f"'{token}' is not defined before this{hint}", _offset(token))
        return found

    def _check_opaque(self, text: lark.Token, what: str) -> None:
        head, bracket, body = text[1:].partition("<")
        namespace, _, name = head.partition(".")
        if bracket:
            unbalanced = _unbalanced(bracket + body)
            if unbalanced is not None:
                place = _offset(text) + 1 + len(head) + unbalanced
                raise LeafError(
                    f"'{(bracket + body)[unbalanced]}' has no bracket that belongs to it", place
                )
        dialect = self._context.dialect(namespace)
        if dialect is not None:
            known = (
                dialect.attribute_parsers
                if what == "attribute"
                else filter(None, (rule.partition("_type_")[2] for rule in dialect.type_parsers))
            )
            raise LeafError(
                f"unknown {what} '{text[0]}{namespace}.{name}' in dialect '{namespace}'"
                f"{did_you_mean(name, known)}",
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

    def opaque_attribute(self, children: list[Any]) -> Attribute:
        text, type = children
        head = text[1:].partition("<")[0]
        namespace, _, name = head.partition(".")
        dialect = self._context.dialect(namespace)
        if dialect is not None and name in dialect.attribute_parsers:
            if type is not None:
                raise LeafError(f"'#{head}' has no type behind it")
            return self._structure(text, head, dialect.attribute_parsers[name])
        self._check_opaque(text, "attribute")
        return OpaqueAttr(str(text) if type is None else f"{text} : {type}")

    def _structure(
        self, text: lark.Token, head: str, make: Callable[[Mapping[str, Attribute]], Attribute]
    ) -> Attribute:
        """``#dialect.name<key = value, …>``, whose entries are those of a dictionary."""
        begin = 1 + len(head)
        inside = text[begin + 1 : -1] if len(text) > begin else ""
        # Blanks ahead, so that offsets are those in the token.
        dictionary = f"{' ' * begin}{{{inside}}}"
        place = _offset(text)
        try:
            entries = self.leaf("leaf_value", dictionary)
        except LeafError as error:
            raise LeafError(error.message, place + error.offset) from None
        except DiagnosticError as error:
            (fault,) = error.diagnostics
            found = fault.location.file_position()
            offset = 0 if found is None else offset_in(dictionary, found.line, found.column)
            raise LeafError(fault.message, place + offset) from None
        assert isinstance(entries, DictAttr)
        try:
            return make(entries.mapping)
        except ValueError as error:
            raise LeafError(f"'#{head}': {error}", place) from None

    def attribute_alias(self, children: list[lark.Token]) -> Attribute:
        found = self._alias(children[0])
        assert isinstance(found, Attribute)
        return found

    def literal(self, children: list[Any]) -> Literal:
        child = children[0]
        return ((), (_parse_element(child),)) if isinstance(child, lark.Token) else child

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
        return ArrayAttr(
            tuple(
                FloatAttr(n) if isinstance(n, float) else IntegerAttr(int(element_of(n, I64)))
                for n in numbers
            )
        )

    def dense_array(self, children: list[Any]) -> Attribute:
        element, *literals = children
        numbers = [_parse_element(text) for text in literals if text is not None]
        if not isinstance(element, FloatType | IntegerType):
            raise LeafError(f"array<…> holds numbers, not '{element}'")
        if isinstance(element, IntegerType) and element.width != 1 and element.width % 8:
            raise LeafError(f"array<…> holds i1 and integers of whole bytes, not '{element}'")
        return DenseArrayAttr(element, elements_of(numbers, element))

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
        return DenseElementsAttr(type, elements_of(numbers, type.element))

    def dense_bytes(self, children: list[Any]) -> Attribute:
        literal, tensor = children
        type = self._tensor(tensor, "dense<…>")
        return DenseElementsAttr(type, elements_of_bytes(parse_bytes(literal), type))

    def _tensor(self, type: Type, what: str) -> TensorType:
        if not isinstance(type, TensorType) or not type.has_static_shape:
            raise LeafError(f"{what} needs a tensor type of known shape, not '{type}'")
        return type

    # -------------------------------------------------------------- locations

    def leaf_location(self, children: list[Location]) -> Location:
        return children[0]

    def file_location(self, children: list[lark.Token]) -> Location:
        line, column = map(parse_integer, children[1:])
        return FileLineCol(unquote(children[0]), line, column)

    def name_location(self, children: list[Any]) -> Location:
        return NameLoc(unquote(children[0]), children[1])

    def callsite_location(self, children: list[Location]) -> Location:
        return CallSiteLoc(*children)

    def fused_location(self, children: list[Any]) -> Location:
        metadata, *locations = children
        if metadata is None:
            return FusedLoc(tuple(locations))
        return FusedLoc(tuple(locations), self.leaf("leaf_value", metadata[1:-1]))

    def location_alias(self, children: list[lark.Token]) -> Location:
        found = self._alias(children[0])
        if not isinstance(found, LocationAttr):
            raise LeafError(f"'{children[0]}' is no location", _offset(children[0]))
        return found.location

    def leaf_value(self, children: list[Attribute]) -> Attribute:
        return children[0]

    def unknown_location(self, children: list[object]) -> Location:
        return UNKNOWN

    # -------------------------------------------------------------- resources

    def leaf_resources(self, children: list[ResourceSection | None]) -> ResourceSection:
        merged = ResourceSection({})
        for section in children:
            if section is not None:
                merged = ResourceSection(
                    {**merged.blobs, **section.blobs},
                    section.pipeline or merged.pipeline,
                    (*merged.ignored, *section.ignored),
                )
        return merged

    def dialect_resources(self, children: list[list[_ResourceOwner]]) -> ResourceSection:
        blobs: dict[str, Blob] = {}
        for owner, entries in children[0]:
            if owner != "builtin":
                raise LeafError(f"resources belong to 'builtin', not '{owner}'", _offset(owner))
            for key, value in entries:
                blobs[unquote(key) if key.startswith('"') else str(key)] = _blob(key, value)
        return ResourceSection(blobs)

    def external_resources(self, children: list[list[_ResourceOwner]]) -> ResourceSection:
        pipeline: str | None = None
        ignored: list[tuple[str, int]] = []
        for owner, entries in children[0]:
            if owner != "mlir_reproducer":
                message = f"resources of '{owner}' mean nothing here and are left out"
                ignored.append((message, _offset(owner)))
                continue
            for key, value in entries:
                if key == "pipeline":
                    pipeline = unquote(value)
                elif key not in _OF_THE_RUN:
                    message = f"'{key}' of a reproducer means nothing here and is left out"
                    ignored.append((message, _offset(key)))
        return ResourceSection({}, pipeline, tuple(ignored))

    def resource_owners(self, children: list[_ResourceOwner | None]) -> list[_ResourceOwner]:
        return [child for child in children if child is not None]

    def resource_owner(self, children: list[Any]) -> _ResourceOwner:
        return children[0], [child for child in children[1:] if child is not None]

    def resource(self, children: list[lark.Token]) -> tuple[lark.Token, lark.Token]:
        return children[0], children[1]


def _blob(key: lark.Token, value: lark.Token) -> Blob:
    try:
        data = parse_bytes(value)
    except LeafError as error:
        raise LeafError(f"resource '{key}': {error.message}", _offset(value)) from None
    alignment = int.from_bytes(data[:_ALIGNMENT_BYTES], "little")
    if len(data) < _ALIGNMENT_BYTES or alignment.bit_count() != 1:
        raise LeafError(
            f"resource '{key}' must begin with its alignment, a power of two in "
            f"{_ALIGNMENT_BYTES} bytes",
            _offset(value),
        )
    return Blob(alignment, data[_ALIGNMENT_BYTES:])


def _parse_element(literal: lark.Token) -> Number:
    return literal == "true" if literal in ("true", "false") else parse_number(literal)


_BRACKETS = re.compile(rf"{STRING_PATTERN}|->|[<>()\[\]{{}}]")
_PARTNERS = {">": "<", ")": "(", "]": "[", "}": "{"}


def _unbalanced(text: str) -> int | None:
    """Where in ``text`` a bracket stands that has no partner; None where all have."""
    open_brackets: list[re.Match[str]] = []
    for match in _BRACKETS.finditer(text):
        if match[0] in _PARTNERS.values():
            open_brackets.append(match)
        elif match[0] in _PARTNERS:
            if not open_brackets or open_brackets[-1][0] != _PARTNERS[match[0]]:
                return (open_brackets[-1] if open_brackets else match).start()
            open_brackets.pop()
    return open_brackets[-1].start() if open_brackets else None


def offset_in(text: str, line: int, column: int) -> int:
    """How many characters of ``text`` stand before a place, both of which count from 1."""
    return sum(len(before) + 1 for before in text.split("\n")[: line - 1]) + column - 1


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
