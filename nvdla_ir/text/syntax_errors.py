"""Lark's errors as sentences for people."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import lark
from lark.exceptions import UnexpectedCharacters, UnexpectedEOF, UnexpectedInput, UnexpectedToken

from nvdla_ir.ir.diagnostics import Diagnostic
from nvdla_ir.ir.location import FileLineCol
from nvdla_ir.text.grammar import DEEPEST_BRACKETS

_TERMINALS = {
    "$END": "the end of the file",
    "RESULTS": "a result like '%x ='",
    "OPERAND_LIST": "operands like '%x, %y'",
    "OPERANDS": "operands in parentheses like '(%x, %y)'",
    "VALUE": "a value like '%x'",
    "BLOCK_LABEL": "a block label like '^bb0'",
    "OP_NAME": "an operation",
    "WORD": "a word",
    "SYMBOL": "a symbol like '@main'",
    "KEY_EQUALS": "an attribute like 'key ='",
    "KEY": "a key",
    "STRING": "a string",
    "NUMBER": "a number",
    "NUMBER_LIST": "a list of numbers",
    "FLAT": "an attribute value",
    "TYPE": "a type",
    "FUNCTION_TYPE": "a function type like '(tensor<4xf32>) -> tensor<4xf32>'",
    "RESULT_TYPES": "result types like '-> tensor<4xf32>'",
    "LOCATION": "a location like 'loc(\"name\")'",
    "RESOURCES": "resources like '{-# … #-}'",
    "INTEGER_TYPE": "an integer type",
    "FLOAT_TYPE": "a float type",
    "DIMENSIONS": "dimensions like '1x3x'",
    "LITERAL_NUMBER": "a number",
    "BOOL_LITERAL": "true or false",
    "RESOURCE_KEY": "a resource key",
    "OPAQUE_TYPE": "a dialect's type",
    "OPAQUE_ATTRIBUTE": "a dialect's attribute",
    "BRACE_OPEN": "'{'",
    "BRACKET_OPEN": "'['",
    "MODULE": "'module'",
    "LPAR": "'('",
    "RPAR": "')'",
    "LBRACE": "'{'",
    "RBRACE": "'}'",
    "LSQB": "'['",
    "RSQB": "']'",
    "LESSTHAN": "'<'",
    "MORETHAN": "'>'",
    "_COMMA": "','",
    "_COLON": "':'",
    "PROPERTIES_OPEN": "'<{'",
    "PROPERTIES_CLOSE": "'}>'",
    "ATTRIBUTES": "'attributes'",
}
_UNBALANCED = (
    f": no '>' belongs to it; strings must end, brackets nest at most {DEEPEST_BRACKETS} deep"
)
_AT_MOST = 4
_BESIDE_OPERATIONS = {"OP_NAME", "$END", "RBRACE", "BLOCK_LABEL"}


def syntax_error(error: UnexpectedInput, parser: lark.Lark, text: str, file: str) -> Diagnostic:
    """What ``error`` means, at its place in ``file``."""
    if isinstance(error, UnexpectedCharacters):
        place = FileLineCol(file, error.line, error.column)
        position = cast(int, cast(Any, error).pos_in_stream)
        found = _quoted_rest(text, position)
        if text[position] == '"':
            return Diagnostic.error(place, "unterminated string: it must end on its line")
        if text[position] == "<":
            return Diagnostic.error(place, f"unexpected '<'{_UNBALANCED}")
        return Diagnostic.error(place, f"unexpected {found}{_expectation(error.allowed, parser)}")
    if isinstance(error, UnexpectedToken):
        token = cast(lark.Token, cast(Any, error).token)
        expected = _expectation(error.accepts or error.expected, parser)
        if token.type == "$END":
            lines = text.count("\n") + 1
            last = len(text) - (text.rfind("\n") + 1)
            place = FileLineCol(file, lines, last + 1)
            return Diagnostic.error(place, f"unexpected end of the text{expected}")
        place = FileLineCol(file, error.line, error.column)
        if token.startswith('"') and _is_unterminated(token):
            return Diagnostic.error(place, "unterminated string: it must end on its line")
        if token.startswith("<") and token.type != "STRING":
            expected = _UNBALANCED
        return Diagnostic.error(place, f"unexpected '{_shortened(token.rstrip())}'{expected}")
    assert isinstance(error, UnexpectedEOF)
    return Diagnostic.error(FileLineCol(file, 1, 1), "unexpected end of the text")


def _is_unterminated(token: str) -> bool:
    return len(token) < 2 or token[-1] != '"'


def _quoted_rest(text: str, position: int) -> str:
    rest = text[position : position + 24].split("\n")[0].split(" ")[0]
    return f"'{rest}'" if rest.isprintable() and rest else repr(text[position])


def _shortened(text: str) -> str:
    first = text.split("\n")[0]
    return first if len(first) <= 40 and first == text else f"{first[:40]}…"


def _expectation(names: Iterable[str] | None, parser: lark.Lark) -> str:
    """``; expected a, b or c``, if that is few enough to help."""
    found = set(names or ())
    if "OP_NAME" in found:
        # Whatever may start one: results, a quoted name, a dialect's keyword.
        found = {name for name in found if name in _BESIDE_OPERATIONS}
    phrases = sorted({_phrase(name, parser) for name in found})
    if not phrases or len(phrases) > _AT_MOST:
        return ""
    if len(phrases) == 1:
        return f"; expected {phrases[0]}"
    return f"; expected {', '.join(phrases[:-1])} or {phrases[-1]}"


def _phrase(name: str, parser: lark.Lark) -> str:
    phrase = _TERMINALS.get(name)
    if phrase is not None:
        return phrase
    for terminal in parser.terminals:
        if terminal.name == name and terminal.pattern.type == "str":
            return f"'{terminal.pattern.value}'"
    return name.lower().replace("_", " ")
