"""The LALR tables of the grammar as data in the package: reading them takes some 10 ms, building
them some 100. Nothing outside the package is read or written.

After a change of the grammar: ``python -m nvdla_ir.tools.update_grammar_tables``
"""

from __future__ import annotations

import hashlib
import importlib
import json
from pathlib import Path
from typing import Any, cast

import lark
from lark.grammar import Rule
from lark.lexer import TerminalDef

FILE = Path(importlib.import_module("nvdla_ir.grammar").__file__ or "").parent / "tables.json"
# What Lark's own options are when the tables are made; those that concern only the making, and
# differ between its versions, are left out.
_OPTIONS = (
    "start",
    "parser",
    "lexer",
    "g_regex_flags",
    "maybe_placeholders",
    "propagate_positions",
    "priority",
)
# Versions of Lark whose tables are of one form. Others build theirs.
_READERS = ("1.1.", "1.2.", "1.3.")


def load(grammar: str, callbacks: object) -> lark.Lark | None:
    """The parser for the text ``grammar``, made of the package's tables; None where they are of
    another grammar, or this version of Lark may not read them."""
    if not lark.__version__.startswith(_READERS) or not FILE.is_file():
        return None
    stored = json.loads(FILE.read_text(encoding="utf-8"), object_hook=_with_numbers)
    if stored["grammar"] != _digest(grammar):
        return None
    # What the parsers do that Lark generates; its stubs leave it out.
    make = cast(Any, lark.Lark)._load_from_dict
    return make(stored["data"], stored["memo"], transformer=callbacks)


def tables_of(parser: lark.Lark, grammar: str) -> str:
    """The text of the file with the tables of ``parser``, which was built of ``grammar``."""
    made: Any = parser  # Lark's stubs are incomplete.
    for terminal in made.terminals:
        terminal.pattern.raw = None  # how it is written, which nobody asks for
    _put_in_order(made.parser.parser._parse_table)
    data, memo = made.memo_serialize([TerminalDef, Rule])
    data["options"] = {name: data["options"][name] for name in _OPTIONS}
    content = {"grammar": _digest(grammar), "data": data, "memo": memo}
    return json.dumps(content, separators=(",", ":"), sort_keys=True) + "\n"


def _digest(grammar: str) -> str:
    return hashlib.sha256(grammar.encode()).hexdigest()


def _with_numbers(entries: dict[str, Any]) -> dict[Any, Any]:
    """Numbers are keys in Lark's tables, but texts in JSON."""
    return {int(key) if key.isdigit() else key: value for key, value in entries.items()}


def _put_in_order(table: Any) -> None:
    """Number the states as they are met from the start: Lark's numbers differ from run to run."""
    numbers: dict[int, int] = {}
    waiting = [state for _, state in sorted(table.start_states.items())]
    ordered: dict[int, dict[str, Any]] = {}
    while waiting:
        state = waiting.pop()
        if state in numbers:
            continue
        numbers[state] = len(numbers)
        ordered[state] = dict(sorted(table.states[state].items()))
        waiting += [target for _, target in ordered[state].values() if isinstance(target, int)]
    table.states = {
        numbers[state]: {
            token: (action, numbers[target] if isinstance(target, int) else target)
            for token, (action, target) in actions.items()
        }
        for state, actions in ordered.items()
    }
    for ends in (table.start_states, table.end_states):
        ends.update({start: numbers[state] for start, state in ends.items()})
