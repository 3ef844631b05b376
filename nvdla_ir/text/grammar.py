"""Composes the grammar from the core and the dialects' fragments, and makes a parser of it."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from pathlib import Path

import lark

from nvdla_ir.ir.dialect import Context
from nvdla_ir.text import tables

_DIRECTORY = Path(importlib.import_module("nvdla_ir.grammar").__file__ or "").parent

STARTS = ["file", "leaf_type", "leaf_attribute", "leaf_value", "leaf_location", "leaf_resources"]

# Flat tokens are regular expressions that fail, where they fail, in linear time and without a
# stack: a repetition begins with what the one inside it cannot begin with.
STRING_PATTERN = r'"[^"\\\n]*(?:\\.[^"\\\n]*)*"'
# Brackets of either kind nest this deep inside a flat token.
DEEPEST_BRACKETS = 5


def _nested(depth: int) -> str:
    """What stands in angle brackets: strings, ``->``, others in angle brackets."""
    inner = f"|{_nested(depth - 1)}" if depth > 1 else ""
    return rf'<[^<>"]*(?:(?:{STRING_PATTERN}|(?<=-)>{inner})[^<>"]*)*(?<!-)>'


def _parenthesized(depth: int) -> str:
    inner = f"|{_parenthesized(depth - 1)}" if depth > 1 else ""
    return rf'\([^()"]*(?:(?:{STRING_PATTERN}{inner})[^()"]*)*\)'


_ANGLED = _nested(DEEPEST_BRACKETS)
_NESTED = f"(?:{_ANGLED})?"
_PARENTHESIZED = _parenthesized(DEEPEST_BRACKETS)
_TYPE = rf"(?:!\d+|!?[A-Za-z_][\w.$]*{_NESTED})"
# A name for a value, block or alias: a number, or what does not begin with a digit.
_NAME = r"(?:\d+(?![\w$.-])|[A-Za-z_$.-][\w$.-]*)"
_NUMBER = r"-?(?:0x[0-9A-Fa-f]+|\d+(?:\.\d*(?:[eE][-+]?\d+)?)?)"


_RULE = re.compile(r"^([a-z]\w*)\s*:|->\s*([a-z]\w*)", re.MULTILINE)


def fragments(context: Context) -> dict[str, str]:
    """The grammar fragment of each dialect of ``context`` that has one, by the dialect's name.

    Dialects of the context's table are not imported for it: their fragments bear their names.
    """
    stems = {name: name for name in context.table}
    for dialect in context.registered:
        stems[dialect.name] = dialect.grammar or ""
    found: dict[str, str] = {}
    for name in sorted(stems):
        file = _DIRECTORY / f"{stems[name]}.lark"
        if stems[name] and file.is_file():
            found[name] = file.read_text(encoding="utf-8")
    return found


def rules_of(fragment: str) -> list[str]:
    """The rules of a fragment, by the names that their callbacks have."""
    return [rule or alias for rule, alias in _RULE.findall(fragment)]


def compose(fragments: Mapping[str, str]) -> str:
    """The whole grammar as Lark text."""
    parts = [(_DIRECTORY / "core.lark").read_text(encoding="utf-8"), *fragments.values()]
    rules = [(name, rule) for name, text in fragments.items() for rule in rules_of(text)]
    types = [rule for name, rule in rules if rule.startswith(f"{name}_type_")]
    statements = [rule for name, rule in rules if rule.startswith(f"{name}_statement_")]
    parts.append(f"?dialect_type: {' | '.join(types) or 'OPAQUE_TYPE'}")
    parts.append(f"statement: {' | '.join(statements) or 'WORD'}")
    composed = "\n".join(parts)
    for placeholder, pattern in (
        ("@STRING@", STRING_PATTERN),
        ("@ANGLED@", _ANGLED),
        ("@NESTED@", _NESTED),
        ("@PARENTHESIZED@", _PARENTHESIZED),
        ("@TYPE@", _TYPE),
        ("@NUMBER@", _NUMBER),
        ("@NAME@", _NAME),
    ):
        composed = composed.replace(placeholder, pattern)
    return composed


def build(fragments: Mapping[str, str], callbacks: object) -> lark.Lark:
    """A parser for the core and the given fragments that calls ``callbacks.<rule>(children)`` as
    it goes: from the package's tables, or anew where they are of other fragments."""
    text = compose(fragments)
    return tables.load(text, callbacks) or build_anew(text, callbacks)


def build_anew(text: str, callbacks: object) -> lark.Lark:
    """A parser for the whole grammar ``text``."""
    return lark.Lark(
        text,
        start=STARTS,
        parser="lalr",
        lexer="contextual",
        transformer=callbacks,  # pyright: ignore[reportArgumentType]
        g_regex_flags=re.ASCII,
        maybe_placeholders=True,
        propagate_positions=False,
    )
