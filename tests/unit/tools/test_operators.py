"""docs/operators.md says what the compiler does now."""

from __future__ import annotations

import difflib
import importlib
from pathlib import Path
from typing import Any

UPDATE: Any = importlib.import_module("nvdla_ir.tools.update_operators")


def test_the_table_is_current() -> None:
    file: Path = UPDATE.FILE
    found: str = UPDATE.document()
    written = file.read_text(encoding="utf-8")
    changes = difflib.unified_diff(written.splitlines(), found.splitlines(), "written", "found")
    assert written == found, "\n".join(["python -m nvdla_ir.tools.update_operators", *changes])
