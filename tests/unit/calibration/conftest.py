from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import pytest

from nvdla_ir.calibration.table import parse_table
from nvdla_ir.ir.diagnostics import DiagnosticError, Severity
from nvdla_ir.ir.location import FileLineCol

Faults: TypeAlias = Callable[[str], list[tuple[int, int, str]]]


@pytest.fixture
def faults() -> Faults:
    """Line, column and message of every error in a table's text, notes after their error."""

    def of(text: str) -> list[tuple[int, int, str]]:
        with pytest.raises(DiagnosticError) as error:
            parse_table(text, "t")
        found: list[tuple[int, int, str]] = []
        for diagnostic in error.value.diagnostics:
            assert diagnostic.severity is Severity.ERROR
            for each in (diagnostic, *diagnostic.notes):
                assert isinstance(each.location, FileLineCol)
                assert each.location.file == "t"
                found.append((each.location.line, each.location.column, each.message))
        return found

    return of
