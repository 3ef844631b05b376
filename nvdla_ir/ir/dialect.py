"""Dialects and the context that knows which ones exist."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

from attrs import define, field, frozen

from nvdla_ir.ir.attributes import Attribute
from nvdla_ir.ir.definition import Op
from nvdla_ir.ir.rewriter import RewritePattern


@frozen(eq=False)
class Dialect:
    """A named set of operations, types and attributes.

    grammar:      the stem of its grammar fragment ``grammar/<stem>.lark``, if it has types or a
                  syntax of its own
    type_parsers: for each rule of the fragment that is part of a type, the function that makes
                  its value from the values of the rule's children (ValueError: what is wrong)
    statement_parsers: for each rule that is part of an operation's own syntax, the function that
                  is called with the parser's state and the children
    attribute_parsers: for each attribute ``#dialect.name<key = value, …>``, by its name, the
                  function that makes it from its entries (ValueError: what is wrong)
    canonicalization: gives the patterns that bring operations into their simplest form
    """

    name: str
    description: str
    operations: Mapping[str, type[Op]]
    grammar: str | None = None
    type_parsers: Mapping[str, Callable[..., Any]] = field(factory=dict[str, Callable[..., Any]])
    statement_parsers: Mapping[str, Callable[[Any, list[Any]], Any]] = field(
        factory=dict[str, Callable[[Any, "list[Any]"], Any]]
    )
    attribute_parsers: Mapping[str, Callable[[Mapping[str, Attribute]], Attribute]] = field(
        factory=dict[str, Callable[["Mapping[str, Attribute]"], Attribute]]
    )
    canonicalization: Callable[[], Iterable[RewritePattern[Any]]] = tuple

    @staticmethod
    def of(
        name: str,
        description: str,
        operations: Iterable[type[Op]],
        grammar: str | None = None,
        type_parsers: Mapping[str, Callable[..., Any]] | None = None,
        statement_parsers: Mapping[str, Callable[[Any, list[Any]], Any]] | None = None,
        attribute_parsers: Mapping[str, Callable[[Mapping[str, Attribute]], Attribute]]
        | None = None,
        canonicalization: Callable[[], Iterable[RewritePattern[Any]]] = tuple,
    ) -> Dialect:
        return Dialect(
            name,
            description,
            {op.name: op for op in operations},
            grammar,
            type_parsers or {},
            statement_parsers or {},
            attribute_parsers or {},
            canonicalization,
        )


def _no_dialect(name: str) -> Dialect | None:
    return None


@define(eq=False)
class Context:
    """Which dialects are known. Each is imported the first time a name of it is met.

    ``table`` maps a dialect's name to ``module:attribute``; ``find_other`` is asked for a name that
    it has not.
    """

    table: dict[str, str]
    allow_unregistered: bool = False
    find_other: Callable[[str], Dialect | None] = _no_dialect
    _loaded: dict[str, Dialect] = field(factory=dict[str, Dialect], init=False)
    _registered: dict[str, Dialect] = field(factory=dict[str, Dialect], init=False)
    _unknown: set[str] = field(factory=set[str], init=False)

    @property
    def dialect_names(self) -> list[str]:
        return sorted({*self.table, *self._loaded})

    def register(self, dialect: Dialect) -> None:
        """Make an already imported dialect known, replacing one of the same name."""
        self._registered[dialect.name] = self._loaded[dialect.name] = dialect

    @property
    def registered(self) -> list[Dialect]:
        """The dialects that ``register`` has made known."""
        return list(self._registered.values())

    def dialect(self, name: str) -> Dialect | None:
        """The dialect called ``name``, imported if need be, or None."""
        dialect = self._loaded.get(name)
        if dialect is None and name in self.table:
            module, _, attribute = self.table[name].partition(":")
            dialect = cast(Dialect, getattr(importlib.import_module(module), attribute))
            self._loaded[name] = dialect
        elif dialect is None and name not in self._unknown:
            dialect = self.find_other(name)
            if dialect is None:
                self._unknown.add(name)
            else:
                self._loaded[name] = dialect
        return dialect

    def dialects(self) -> list[Dialect]:
        """All known dialects, imported, by name."""
        found = (self.dialect(name) for name in self.dialect_names)
        return [dialect for dialect in found if dialect is not None]

    def operation_class(self, name: str) -> type[Op] | None:
        """The class of the operation called ``name``, or None."""
        dialect = self.dialect(name.partition(".")[0])
        return dialect.operations.get(name) if dialect is not None else None

    def nearest_operation(self, name: str) -> str | None:
        """A known operation whose name looks like ``name``."""
        dialect = self.dialect(name.partition(".")[0])
        pool: list[str] = []
        for candidate in [dialect] if dialect is not None else self.dialects():
            pool.extend(candidate.operations)
        return nearest(name, pool)


def nearest(name: str, candidates: Iterable[str]) -> str | None:
    """The candidate that looks most like ``name``, or None if none does."""
    matches: list[Any] = difflib.get_close_matches(name, list(candidates), n=1)
    return cast(str, matches[0]) if matches else None


def did_you_mean(name: str, candidates: Iterable[str]) -> str:
    """``; did you mean 'x'?`` or nothing: to end an error message with."""
    match = nearest(name, candidates)
    return f"; did you mean '{match}'?" if match is not None else ""
