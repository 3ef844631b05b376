"""What the comments of a test file say: what to run, and when not to.

Keywords and their meaning are lit's: ``RUN:``, ``REQUIRES:``, ``UNSUPPORTED:``, ``XFAIL:``. They
stand in line comments (``// RUN: …``).
"""

from __future__ import annotations

import re
from collections.abc import Collection

from attrs import frozen

from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.location import FileLineCol

_KEYWORD = re.compile(r"//[^\S\n]*(?P<keyword>RUN|REQUIRES|UNSUPPORTED|XFAIL):(?P<text>[^\n]*)")
_FEATURE = re.compile(r"!?[\w.+=-]+")


@frozen
class RunLine:
    """A ``RUN:`` line, continuation lines joined.

    line: number of its first line in the file, from 1
    text: the command as written, substitutions (``%s``) not yet made
    """

    line: int
    text: str


@frozen
class Script:
    """The test in a file. ``run_lines`` is empty in a file that is not a test."""

    run_lines: tuple[RunLine, ...] = ()
    requires: tuple[str, ...] = ()
    unsupported: tuple[str, ...] = ()
    xfail: tuple[str, ...] = ()

    def skip_reason(self, features: Collection[str]) -> str | None:
        """Why the test does not run where only ``features`` are there; None if it does."""
        missing = [name for name in self.requires if not _holds(name, features)]
        if missing:
            return f"requires {', '.join(missing)}"
        present = [name for name in self.unsupported if _holds(name, features)]
        return f"unsupported with {', '.join(present)}" if present else None

    def xfail_reason(self, features: Collection[str]) -> str | None:
        """Why the test is expected to fail where ``features`` are there; None if it is not."""
        reasons = [name for name in self.xfail if name == "*" or _holds(name, features)]
        return f"XFAIL: {', '.join(reasons)}" if reasons else None


def _holds(condition: str, features: Collection[str]) -> bool:
    return (condition.removeprefix("!") in features) != condition.startswith("!")


def parse_script(text: str, file: str) -> Script:
    """Read the keywords in ``text``; ``file`` is its name in messages.

    Raises: DiagnosticError for a last ``RUN:`` line that asks for continuation and for a condition
    that is not a comma-separated list of features (``name`` or ``!name``; for XFAIL also ``*``).
    """
    if "RUN:" not in text:
        return Script()
    run_lines: list[RunLine] = []
    conditions: dict[str, list[str]] = {"REQUIRES": [], "UNSUPPORTED": [], "XFAIL": []}
    continued: RunLine | None = None
    for match in _KEYWORD.finditer(text):
        keyword, said = match["keyword"], match["text"].strip()
        line = text.count("\n", 0, match.start()) + 1
        if keyword != "RUN":
            column = match.start("text") - text.rfind("\n", 0, match.start())
            conditions[keyword] += _features(keyword, said, FileLineCol(file, line, column))
            continue
        run_line = RunLine(continued.line, continued.text + said) if continued else None
        run_line = run_line or RunLine(line, said)
        if said.endswith("\\"):
            continued = RunLine(run_line.line, run_line.text[:-1])
            continue
        continued = None
        run_lines.append(run_line)
    if continued is not None:
        raise DiagnosticError.at(
            FileLineCol(file, continued.line, 1),
            "the RUN line ends in '\\', but no other RUN line follows that would continue it",
        )
    return Script(
        tuple(run_lines),
        tuple(conditions["REQUIRES"]),
        tuple(conditions["UNSUPPORTED"]),
        tuple(conditions["XFAIL"]),
    )


def _features(keyword: str, text: str, location: FileLineCol) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if not (_FEATURE.fullmatch(name) or (keyword == "XFAIL" and name == "*")):
            raise DiagnosticError.at(
                location,
                f"{keyword} takes a list of features, 'name' or '!name' separated by commas; "
                f"'{name}' is not one",
            )
    return names
