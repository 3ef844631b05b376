"""Text to IR."""

from __future__ import annotations

import functools
import gc
import re
from collections.abc import Callable
from typing import Any

from attrs import frozen
from lark.exceptions import UnexpectedInput, VisitError

from nvdla_ir.ir.attributes import Blob
from nvdla_ir.ir.diagnostics import DiagnosticCollector, DiagnosticError
from nvdla_ir.ir.dialect import Context, Dialect
from nvdla_ir.ir.location import FileLineCol
from nvdla_ir.ir.operation import Operation
from nvdla_ir.ir.types import Type
from nvdla_ir.text import grammar
from nvdla_ir.text.leaves import LeafError, offset_in
from nvdla_ir.text.statements import StatementCallbacks
from nvdla_ir.text.syntax_errors import syntax_error


@frozen(eq=False)
class ParsedText:
    """The operations at top level, and what stood at the end of the text: resources by key, and
    the pass pipeline that a reproducer is to be run with."""

    operations: list[Operation]
    resources: dict[str, Blob]
    reproducer: str | None = None


class Parser:
    """A parser for the dialects of a context. Making one costs some 20 ms; reuse it."""

    def __init__(self, context: Context) -> None:
        fragments = grammar.fragments(context)
        self._callbacks = StatementCallbacks(context, fragments)
        # Lark's own types are incomplete.
        self._lark: Any = grammar.build(fragments, self._callbacks)
        self._callbacks.leaf = self._parse_leaf

    def parse(self, text: str, file: str, diagnostics: DiagnosticCollector) -> ParsedText:
        """Parse a whole file.

        Semantic faults are collected, a syntax error ends the parse; all come together.
        Raises: DiagnosticError with every fault found.
        """
        callbacks = self._callbacks
        callbacks.begin(file, diagnostics)
        # The IR is full of cycles that live on; collecting garbage while it grows only costs.
        collecting = gc.isenabled()
        gc.disable()
        try:
            self._lark.parse(text, start="file")
            callbacks.scope.report_undefined()
        except UnexpectedInput as error:
            diagnostics.emit(syntax_error(error, self._lark, text, file))
        except DiagnosticError as error:
            diagnostics.diagnostics.extend(error.diagnostics)
        finally:
            if collecting:
                gc.enable()
        diagnostics.raise_if_errors()
        operations = list(callbacks.top_level.operations)
        for operation in operations:
            operation.detach()
        resources = callbacks.resources
        callbacks.begin("", DiagnosticCollector())
        return ParsedText(operations, resources.blobs, resources.pipeline)

    def parse_type(self, text: str) -> Type:
        """Raises: DiagnosticError"""
        try:
            return self._parse_leaf("leaf_type", text)
        except LeafError as error:
            raise DiagnosticError.at(
                FileLineCol("<type>", 1, error.offset + 1), error.message
            ) from None

    def _parse_leaf(self, start: str, text: str) -> Any:
        try:
            return self._lark.parse(text, start=start)
        except UnexpectedInput as error:
            diagnostic = syntax_error(error, self._lark, text, "")
            place = diagnostic.location.file_position()
            assert place is not None
            offset = offset_in(text, place.line, place.column)
            raise LeafError(_unknown_type(text, offset) or diagnostic.message, offset) from None
        except VisitError as error:
            raise error.orig_exc from None


def _unknown_type(text: str, offset: int) -> str | None:
    """A better message where a word stands that is no builtin type."""
    word = re.match(r"[A-Za-z_]\w*", text[offset:])
    return f"unknown type or attribute '{word[0]}'" if word is not None else None


@functools.lru_cache(maxsize=4)
def _parser(
    table: tuple[tuple[str, str], ...],
    registered: tuple[Dialect, ...],
    allow_unregistered: bool,
    find_other: Callable[[str], Dialect | None],
) -> Parser:
    context = Context(dict(table), allow_unregistered, find_other)
    for dialect in registered:
        context.register(dialect)
    return Parser(context)


def parser_for(context: Context) -> Parser:
    """The parser for the dialects of ``context``: one for each set of dialects in a process."""
    table = tuple(context.table.items())
    registered = tuple(context.registered)
    return _parser(table, registered, context.allow_unregistered, context.find_other)


def parse(
    text: str,
    context: Context,
    file: str = "<stdin>",
    diagnostics: DiagnosticCollector | None = None,
) -> ParsedText:
    """Parse ``text``. Raises: DiagnosticError with every fault found."""
    collector = DiagnosticCollector() if diagnostics is None else diagnostics
    return parser_for(context).parse(text, file, collector)
