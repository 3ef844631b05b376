"""Pass pipelines as text: ``a,b{x=1,y=per-channel},c{file="with, comma.json"}``.

MLIR's form reads, too: options with spaces between them, and the whole inside
``builtin.module(…)``; this is what ``print_pipeline`` writes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from attrs import field, frozen

from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.location import UNKNOWN, FileLineCol, Location

MODULE_ANCHORS = ("builtin.module", "module", "any")
"""What a pipeline may be nested in: passes run on whole modules."""

# Far more than a person writes; keeps the recursion within Python's own limit.
_DEEPEST_NESTING = 16

_NAME = re.compile(r"[A-Za-z_][\w.-]*")
_KEY = re.compile(r"[A-Za-z_][\w-]*")
_BARE_VALUE = re.compile(r"""[^\s,{}"']+""")
_QUOTED_VALUE = re.compile(r""""((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)'""", re.DOTALL)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_SPACE = re.compile(r"\s*")


@frozen
class PassOption:
    """``key=value``, or ``key`` alone (value None): a switch that is turned on."""

    key: str
    value: str | None
    location: Location = field(default=UNKNOWN, eq=False)


@frozen
class PassSpecification:
    """A pass by name, with its options as text."""

    name: str
    options: tuple[PassOption, ...] = ()
    location: Location = field(default=UNKNOWN, eq=False)


def parse_pipeline(text: str, start: FileLineCol) -> list[PassSpecification]:
    """The passes of ``text`` in order; ``start`` is where its first character stands.

    Raises: DiagnosticError at the place of a syntax error.
    """
    reader = _Reader(text, start)
    if not text.strip():
        raise reader.error("the pipeline is empty")
    passes = reader.passes(0)
    reader.skip_space()
    if not reader.at_end:
        raise reader.error(f"unexpected '{reader.rest[0]}'; expected ',' or the end")
    return passes


def parse_options(text: str, start: FileLineCol) -> tuple[PassOption, ...]:
    """The options of one pass: ``x=1,y=2`` or ``x=1 y=2``, with or without braces around them.

    Raises: DiagnosticError at the place of a syntax error.
    """
    reader = _Reader(text, start)
    reader.skip_space()
    braces = reader.take("{")
    options = reader.options()
    if braces:
        reader.expect("}")
    reader.skip_space()
    if not reader.at_end:
        raise reader.error(f"unexpected '{reader.rest[0]}' in the options")
    return options


def print_pipeline(passes: Iterable[PassSpecification]) -> str:
    """The text of ``passes`` in MLIR's form. ``parse_pipeline`` reads it back."""
    return f"builtin.module({','.join(map(_print_pass, passes))})"


def _print_pass(specification: PassSpecification) -> str:
    if not specification.options:
        return specification.name
    options = " ".join(
        option.key if option.value is None else f"{option.key}={_quoted(option.value)}"
        for option in specification.options
    )
    return f"{specification.name}{{{options}}}"


def _quoted(value: str) -> str:
    if _BARE_VALUE.fullmatch(value):
        return value
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


class _Reader:
    """Reads a pipeline from left to right."""

    def __init__(self, text: str, start: FileLineCol) -> None:
        self._text = text
        self._start = start
        self._position = 0

    @property
    def at_end(self) -> bool:
        return self._position == len(self._text)

    @property
    def rest(self) -> str:
        return self._text[self._position :]

    def location(self, position: int) -> FileLineCol:
        return FileLineCol(self._start.file, self._start.line, self._start.column + position)

    def error(self, message: str, position: int | None = None) -> DiagnosticError:
        place = self.location(self._position if position is None else position)
        return DiagnosticError.at(place, message)

    def skip_space(self) -> None:
        self._match(_SPACE)

    def take(self, character: str) -> bool:
        """Step over ``character`` if it comes next."""
        if not self._text.startswith(character, self._position):
            return False
        self._position += 1
        return True

    def expect(self, character: str) -> None:
        self.skip_space()
        if not self.take(character):
            raise self.error(f"unexpected {self._found()}; expected '{character}'")

    def _found(self) -> str:
        return f"'{self.rest[0]}'" if self.rest else "end of the text"

    def _match(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        match = pattern.match(self._text, self._position)
        if match is not None:
            self._position = match.end()
        return match

    def passes(self, depth: int) -> list[PassSpecification]:
        """Passes with commas between them; none where a ``)`` comes first."""
        found: list[PassSpecification] = []
        self.skip_space()
        if depth and self.rest.startswith(")"):
            return found
        while True:
            found += self._item(depth)
            self.skip_space()
            if not self.take(","):
                return found

    def _item(self, depth: int) -> list[PassSpecification]:
        self.skip_space()
        start = self._position
        name = self._match(_NAME)
        if name is None:
            raise self.error(f"unexpected {self._found()}; expected the name of a pass")
        self.skip_space()
        if self.take("("):
            if name[0] not in MODULE_ANCHORS:
                raise self.error(
                    f"passes run on 'builtin.module', they cannot be nested in '{name[0]}'", start
                )
            if depth == _DEEPEST_NESTING:
                raise self.error(f"pipelines nest at most {_DEEPEST_NESTING} deep", start)
            nested = self.passes(depth + 1)
            self.expect(")")
            return nested
        options: tuple[PassOption, ...] = ()
        if self.take("{"):
            options = self.options()
            self.expect("}")
        return [PassSpecification(name[0], options, self.location(start))]

    def options(self) -> tuple[PassOption, ...]:
        """Options up to a ``}`` or the end."""
        found: dict[str, PassOption] = {}
        self.skip_space()
        while self.rest and self.rest[0] != "}":
            option = self._option()
            if option.key in found:
                raise DiagnosticError.at(option.location, f"option '{option.key}' is given twice")
            found[option.key] = option
            self.skip_space()
            if self.take(","):
                self.skip_space()
        return tuple(found.values())

    def _option(self) -> PassOption:
        start = self._position
        key = self._match(_KEY)
        if key is None:
            raise self.error(f"unexpected '{self.rest[0]}'; expected an option like 'key=value'")
        value = self._value() if self.take("=") else None
        return PassOption(key[0], value, self.location(start))

    def _value(self) -> str:
        if self.rest[:1] in ('"', "'"):
            quoted = self._match(_QUOTED_VALUE)
            if quoted is None:
                raise self.error("unterminated string")
            return _ESCAPE.sub(r"\1", quoted[quoted.lastindex or 1])
        bare = self._match(_BARE_VALUE)
        if bare is None:
            raise self.error("expected a value after '='")
        return bare[0]
