"""Composes the grammar from the core and the dialects' fragments, and keeps the tables Lark
makes of it in a cache file: building them takes some 100 ms, loading them 10."""

from __future__ import annotations

import hashlib
import importlib
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

import lark

from nvdla_ir.ir.dialect import Context

_DIRECTORY = Path(importlib.import_module("nvdla_ir.grammar").__file__ or "").parent

STARTS = ["file", "leaf_type", "leaf_attribute", "leaf_location", "leaf_resources"]

# Angle brackets nest at most five deep in a flat token. Unrolled, so that a text without its
# closing bracket fails in linear time.
_FLAT = r"[^<>]*"


def _nested(depth: int) -> str:
    inner = f"<{_FLAT}>" if depth == 1 else _nested(depth - 1)
    return f"<{_FLAT}(?:{inner}{_FLAT})*>" if depth > 1 else inner


_NESTED = f"(?:{_nested(5)})?"


def _parenthesized(depth: int) -> str:
    inner = f"|{_parenthesized(depth - 1)}" if depth > 1 else ""
    return rf'\((?:[^()"]|"(?:[^"\\\n]|\\.)*"{inner})*\)'


# Locations nest at most five deep.
_LOCATION = _parenthesized(5)
_TYPE = rf"!?[A-Za-z_][\w.$]*{_NESTED}"


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
        ("@NESTED@", _NESTED),
        ("@TYPE@", _TYPE),
        ("@LOCATION@", _LOCATION),
    ):
        composed = composed.replace(placeholder, pattern)
    return composed


def build(fragments: Mapping[str, str], callbacks: object) -> lark.Lark:
    """A parser for the core and the given fragments that calls ``callbacks.<rule>(children)`` as
    it goes."""
    text = compose(fragments)
    cache_file = _cache_file(text)
    return lark.Lark(
        text,
        start=STARTS,
        parser="lalr",
        lexer="contextual",
        transformer=callbacks,  # pyright: ignore[reportArgumentType]
        maybe_placeholders=True,
        propagate_positions=False,
        cache=str(cache_file) if cache_file is not None else False,
    )


def _cache_file(text: str) -> Path | None:
    """Where the tables for ``text`` are kept; None where no place can be written."""
    root = os.environ.get("XDG_CACHE_HOME")
    directory = (Path(root) if root else Path.home() / ".cache") / "nvdla-ir"
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):
        return None
    version = f"{sys.version_info.major}.{sys.version_info.minor}-{lark.__version__}"
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return directory / f"grammar-{version}-{digest}.pickle"
