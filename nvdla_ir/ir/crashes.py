"""What to tell of an exception in somebody's pass or rule: where its own code raised it."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable
from typing import Any

from nvdla_ir.ir.diagnostics import Diagnostic
from nvdla_ir.ir.location import FileLineCol, Location


def crash(
    what: str,
    location: Location,
    error: BaseException,
    code: Callable[..., Any],
    *,
    stack_trace: bool = False,
) -> Diagnostic:
    """``what`` failed with ``error``, seen at ``location``. A note names the innermost line in the
    file of ``code``, else the innermost of all; with ``stack_trace`` there is one a call."""
    frames = list(traceback.walk_tb(error.__traceback__))
    own = inspect.getsourcefile(code)
    if stack_trace:
        notes = [
            Diagnostic.note(_place(frame.f_code.co_filename, line), f"in '{frame.f_code.co_name}'")
            for frame, line in frames
        ]
    else:
        inside = [entry for entry in frames if entry[0].f_code.co_filename == own]
        frame, line = (inside or frames)[-1]
        notes = [Diagnostic.note(_place(frame.f_code.co_filename, line), "raised here")]
    return Diagnostic.error(location, f"{what}: {described(error)}", notes)


def described(error: BaseException) -> str:
    """The kind and the text of an exception."""
    return "".join(traceback.format_exception_only(type(error), error)).strip()


def _place(file: str, line: int) -> FileLineCol:
    import linecache

    text = linecache.getline(file, line)
    return FileLineCol(file, line, len(text) - len(text.lstrip()) + 1)
