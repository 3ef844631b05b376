"""Checks diagnostics against comments in the input, as MLIR's --verify-diagnostics does.

    // expected-error@+1 {{'nn.relu' takes 1 operand}}
    %r = nn.relu -> tensor<4xf32>

After the kind (error, warning, remark, note) may come ``-re``: what stands in ``{{…}}`` inside
the text is then a regular expression; and the line: ``@+N``, ``@-N``, ``@above``, ``@below`` (the
nearest line without such a comment) or ``@unknown`` (a diagnostic about no line of the input).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from attrs import define, field

from nvdla_ir.ir.diagnostics import Diagnostic, Severity
from nvdla_ir.ir.location import FileLineCol, Location

_COMMENT = re.compile(
    r"expected-(?P<kind>error|warning|remark|note)(?P<regex>-re)?\s*"
    r"(?:@(?P<line>[+-]\d+|above|below|unknown))?\s*\{\{(?P<text>.*)\}\}\s*$"
)
_REGEX_PART = re.compile(r"\{\{(.*?)\}\}")


@define
class Expectation:
    """A diagnostic that a comment at ``location`` announces; ``line`` is None for @unknown."""

    kind: str
    line: int | None
    pattern: re.Pattern[str]
    text: str
    location: FileLineCol
    found: bool = False

    def matches(self, kind: str, line: int | None, message: str) -> bool:
        return (
            not self.found
            and self.kind == kind
            and self.line == line
            and self.pattern.search(message) is not None
        )


@define
class ExpectedDiagnostics:
    """The expectations of one input.

    file:       its name in locations
    only_expected: let diagnostics pass that no comment announces
    """

    file: str
    expectations: list[Expectation]
    only_expected: bool = False
    faults: list[Diagnostic] = field(factory=list[Diagnostic])

    @staticmethod
    def read(text: str, file: str, only_expected: bool = False) -> ExpectedDiagnostics:
        """Find the comments in ``text``, in which lines are counted from 1."""
        found = ExpectedDiagnostics(file, [], only_expected)
        last_plain: int | None = None
        waiting: list[Expectation] = []
        for number, line in enumerate(text.split("\n"), start=1):
            match = _COMMENT.search(line)
            if match is None:
                last_plain = number
                for expectation in waiting:
                    expectation.line = number
                waiting = []
                continue
            place = FileLineCol(file, number, match.start() + 1)
            found._add(match, place, last_plain, waiting)
        for expectation in waiting:
            found._fault(expectation.location, "there is no line below this comment")
        return found

    def _add(
        self,
        match: re.Match[str],
        place: FileLineCol,
        last_plain: int | None,
        waiting: list[Expectation],
    ) -> None:
        designator = match["line"]
        line: int | None = place.line
        if designator == "unknown":
            line = None
        elif designator == "above":
            if last_plain is None:
                self._fault(place, "there is no line above this comment")
                return
            line = last_plain
        elif designator not in (None, "below"):
            line = place.line + int(designator)
        try:
            pattern = _pattern(match["text"], match["regex"] is not None)
        except re.error as error:
            self._fault(place, f"the regular expression is wrong: {error}")
            return
        expectation = Expectation(match["kind"], line, pattern, match["text"], place)
        self.expectations.append(expectation)
        if designator == "below":
            waiting.append(expectation)

    def check(self, diagnostics: Iterable[Diagnostic]) -> list[Diagnostic]:
        """The faults: what was not expected, and what was but did not come."""
        for diagnostic in diagnostics:
            self._check_one(diagnostic)
        for expectation in self.expectations:
            if not expectation.found:
                self._fault(
                    expectation.location,
                    f'expected {expectation.kind} "{expectation.text}" was not produced',
                )
        return self.faults

    def _check_one(self, diagnostic: Diagnostic) -> None:
        kind = diagnostic.severity.value
        line = self._line_of(diagnostic.location)
        for expectation in self.expectations:
            if expectation.matches(kind, line, diagnostic.message):
                expectation.found = True
                break
        else:
            if not self.only_expected:
                self._fault(diagnostic.location, f"unexpected {kind}: {diagnostic.message}")
        for note in diagnostic.notes:
            self._check_one(note)

    def _line_of(self, location: Location) -> int | None:
        position = location.file_position()
        return position.line if position is not None and position.file == self.file else None

    def _fault(self, location: Location, message: str) -> None:
        self.faults.append(Diagnostic(Severity.ERROR, location, message))


def _pattern(text: str, is_regex: bool) -> re.Pattern[str]:
    if not is_regex:
        return re.compile(re.escape(text))
    # re.split gives the literal parts and the expressions between them in turn.
    parts = _REGEX_PART.split(text)
    return re.compile(
        "".join(f"(?:{part})" if i % 2 else re.escape(part) for i, part in enumerate(parts))
    )
