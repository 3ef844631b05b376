"""Makes attribute values while Lark reads a file: the callbacks of what statements are made of."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import lark

from nvdla_ir.ir.attributes import (
    ArrayAttr,
    Attribute,
    DictAttr,
    FloatAttr,
    IntegerAttr,
    StringAttr,
    SymbolRefAttr,
    UnitAttr,
)
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.dialect import Context
from nvdla_ir.ir.location import FileLineCol, LocationAttr
from nvdla_ir.ir.types import I64, FloatType, IndexType, IntegerType, NoneType, Type
from nvdla_ir.text.elements import LeafError, element_of, parse_number
from nvdla_ir.text.grammar import STRING_PATTERN
from nvdla_ir.text.leaves import LeafCallbacks, unquote
from nvdla_ir.text.locations import token_location

MAXIMUM_DEPTH = 64
_SYMBOL_NAME = re.compile(rf"@({STRING_PATTERN}|[\w.$-]+)")


class ValueCallbacks(LeafCallbacks):
    """Flat tokens and attribute values. What a flat token stands for is kept, since equal texts
    recur in every operation."""

    def __init__(self, context: Context, fragments: Mapping[str, str]) -> None:
        super().__init__(context, fragments)
        self.file = ""
        self._leaves: dict[tuple[str, str], Any] = {}
        self._depth = 0

    def parse_leaf(self, start: str, token: lark.Token) -> Any:
        """What ``token`` stands for. Raises: DiagnosticError at the place inside it."""
        key = (start, str(token))
        value = self._leaves.get(key)
        if value is None:
            try:
                value = self.leaf(start, str(token))
            except LeafError as error:
                raise self.error(token, error.message, error.offset) from None
            self._leaves[key] = value
        return value

    def type_of(self, token: lark.Token) -> Type:
        return self.parse_leaf("leaf_type", token)

    def location_of(self, token: lark.Token) -> FileLineCol:
        return FileLineCol(self.file, token.line or 1, token.column or 1)

    def error(self, token: lark.Token, message: str, offset: int = 0) -> DiagnosticError:
        return DiagnosticError.at(token_location(token, self.file, offset), message)

    # -------------------------------------------------------------- attributes

    def number(self, children: list[Any]) -> Attribute:
        literal, type_token = children
        if type_token is not None:
            return self._number(literal, type_token)
        # Equal texts become one attribute, as those of flat tokens do.
        key = ("number", str(literal))
        attribute = self._leaves.get(key)
        if attribute is None:
            attribute = self._leaves[key] = self._number(literal, None)
        return attribute

    def _number(self, literal: lark.Token, type_token: lark.Token | None) -> Attribute:
        try:
            value = parse_number(literal)
        except LeafError as error:
            raise self.error(literal, error.message) from None
        if type_token is None and isinstance(value, float):
            return FloatAttr(value)
        type: Type = I64 if type_token is None else self.type_of(type_token)
        if not isinstance(type, FloatType | IntegerType | IndexType):
            raise self.error(literal, f"a number cannot be of type '{type}'")
        try:
            value = element_of(value, type)
        except LeafError as error:
            raise self.error(literal, error.message) from None
        if isinstance(value, float):
            return FloatAttr(value, type)
        return IntegerAttr(value, type)

    def string(self, children: list[lark.Token | None]) -> Attribute:
        literal, type_token = children
        assert literal is not None
        type = None if type_token is None else self.type_of(type_token)
        # As in MLIR, where every string has a type.
        return StringAttr(self.unquote_token(literal), None if type == NoneType() else type)

    def flat(self, children: list[lark.Token]) -> Attribute:
        return self.parse_leaf("leaf_attribute", children[0])

    def symbol(self, children: list[lark.Token]) -> SymbolRefAttr:
        token = children[0]
        first, *nested = [
            self.unquote_token(name, token) if name[0] == '"' else name
            for name in _SYMBOL_NAME.findall(token)
        ]
        return SymbolRefAttr(first, tuple(nested))

    def symbol_name(self, token: lark.Token) -> str:
        """The name ``token`` states, where it cannot be a nested one."""
        symbol = self.symbol([token])
        if symbol.nested:
            raise self.error(token, f"'{token}' refers to a symbol; a single name is needed here")
        return symbol.name

    def location_attribute(self, children: list[lark.Token]) -> Attribute:
        return LocationAttr(self.parse_leaf("leaf_location", children[0]))

    def list_open(self, children: list[lark.Token]) -> None:
        self._nest(children[0])

    def list(self, children: list[Any]) -> Attribute:
        self._depth -= 1
        return ArrayAttr(tuple(child for child in children[1:] if child is not None))

    def dictionary_open(self, children: list[lark.Token]) -> None:
        self._nest(children[0])

    def attribute_dict(self, children: list[Any]) -> dict[str, Attribute]:
        self._depth -= 1
        return self.dictionary_entries(children[1:])

    def _nest(self, token: lark.Token) -> None:
        self._depth += 1
        if self._depth > MAXIMUM_DEPTH:
            raise self.error(token, f"attributes nest deeper than {MAXIMUM_DEPTH}")

    def entry(self, children: list[Any]) -> tuple[lark.Token, str, Attribute]:
        key, value = children
        return key, self._key_name(key.rstrip("= \t\r\n"), key), value

    def unit_entry(self, children: list[lark.Token]) -> tuple[lark.Token, str, Attribute]:
        key = children[0]
        return key, self._key_name(key, key), UnitAttr()

    def _key_name(self, text: str, key: lark.Token) -> str:
        name = self.unquote_token(text, key) if text[0] == '"' else str(text)
        if not name:
            raise self.error(key, "an attribute needs a name")
        return name

    def dictionary_entries(
        self, children: list[tuple[lark.Token, str, Attribute] | None]
    ) -> dict[str, Attribute]:
        entries: dict[str, Attribute] = {}
        for child in children:
            if child is not None:
                key, name, value = child
                if name in entries:
                    raise self.error(key, f"attribute '{name}' is given twice")
                entries[name] = value
        return entries

    def dictionary(self, children: list[dict[str, Attribute]]) -> Attribute:
        return DictAttr(tuple(children[0].items()))

    def properties(self, children: list[Any]) -> dict[str, Attribute]:
        return self.dictionary_entries(children[1:-1])

    def discardable(self, children: list[dict[str, Attribute]]) -> dict[str, Attribute]:
        return children[0]

    def unquote_token(self, literal: str, token: lark.Token | None = None) -> str:
        """What a literal in ``token``, or the token, stands for. Raises: DiagnosticError"""
        try:
            return unquote(literal)
        except LeafError as error:
            place = token if token is not None else literal
            assert isinstance(place, lark.Token)
            raise self.error(place, error.message, error.offset) from None
