"""update_golden: rewrite the check lines of test files from what their RUN lines give now."""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TextIO

from nvdla_ir.files import read_text, write_atomically
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.location import UNKNOWN
from nvdla_ir.source_lines import SourceLines
from nvdla_ir.testing.golden import is_generated, updated
from nvdla_ir.testing.runner import RunLineError
from nvdla_ir.version import __version__

from .command_line import INPUT_AT_FAULT, SUCCESS, WRONG_USAGE, DiagnosticPrinter

_NO_TESTS_IN = frozenset({"Inputs", "Output"})


def main(
    argv: Sequence[str] | None = None,
    stdin: TextIO | None = None,
    stdout: TextIO | None = None,
    stderr: TextIO | None = None,
) -> int:
    """Run the tool with the arguments ``argv`` (without the program's name) on these streams;
    those of the process where they are not given.

    Returns: 0 on success, 1 if a file is at fault or ``--check`` found one that would change, 2
    for wrong usage.
    """
    sink, log = stdout or sys.stdout, stderr or sys.stderr
    try:
        with redirect_stdout(sink), redirect_stderr(log):
            arguments = _argument_parser().parse_args(sys.argv[1:] if argv is None else argv)
    except SystemExit as exit_:
        return exit_.code if isinstance(exit_.code, int) else WRONG_USAGE
    captures: bool | None = arguments.captures
    status = SUCCESS
    for file in _files(arguments.paths):
        try:
            changed = _update(file, captures, arguments.check, sink)
        except DiagnosticError as error:
            DiagnosticPrinter(log, SourceLines([file])).show(error.diagnostics)
            status = INPUT_AT_FAULT
        except RunLineError as error:
            print(error, file=log)
            status = INPUT_AT_FAULT
        else:
            if changed and arguments.check:
                status = INPUT_AT_FAULT
    return status


def _argument_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="update_golden",
        description="Rewrite the check lines of test files from what their RUN lines give now, and "
        "show what changes. All check lines of the prefix of each 'filecheck %s' are replaced.",
    )
    parser.add_argument(
        "paths",
        metavar="PATH",
        nargs="+",
        help="a test file, or a folder: its test files whose checks were generated before",
    )
    parser.add_argument(
        "--check",
        "--dry-run",
        action="store_true",
        help="write nothing; exit 1 if a file would change",
    )
    parser.add_argument(
        "--captures",
        action=argparse.BooleanOptionalAction,
        help="names of values become FileCheck's variables, or stand as they are; by default as "
        "the file was generated before, else as they are",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    return parser


def _files(paths: Iterable[str]) -> Iterator[str]:
    for path in paths:
        if not Path(path).is_dir():
            yield path
            continue
        for file in sorted(Path(path).rglob("*.ir")):
            if not _NO_TESTS_IN.isdisjoint(file.relative_to(path).parts[:-1]):
                continue
            if is_generated(file.read_text(encoding="utf-8", errors="replace")):
                yield os.fspath(file)


def _update(path: str, captures: bool | None, check: bool, stdout: TextIO) -> bool:
    """Bring a file up to date, unless it is only to be checked; whether that changes it."""
    if path == "-":
        raise DiagnosticError.at(UNKNOWN, "a test file is needed: '-' cannot be rewritten")
    old = read_text(path)
    new = updated(Path(path).resolve(), old, path, captures)
    if new == old:
        return False
    if not check:
        write_atomically(path, new)
    _show_difference(path, old, new, stdout)
    return True


def _show_difference(path: str, old: str, new: str, stdout: TextIO) -> None:
    rows = difflib.unified_diff(
        old.splitlines(), new.splitlines(), f"{path} (old)", f"{path} (new)", lineterm=""
    )
    if not stdout.isatty():
        stdout.writelines(f"{row}\n" for row in rows)
        return
    from rich.console import Console
    from rich.text import Text

    styles = {"+++": "bold", "---": "bold", "+": "green", "-": "red", "@": "cyan"}
    console = Console(file=stdout, soft_wrap=True, highlight=False)
    for row in rows:
        style = next((style for start, style in styles.items() if row.startswith(start)), "")
        console.print(Text(row, style))


if __name__ == "__main__":
    sys.exit(main())
