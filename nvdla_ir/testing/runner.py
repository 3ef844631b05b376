"""Runs RUN lines in the process: no process is started, so a line costs milliseconds."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import traceback
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path

from attrs import evolve, frozen

from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.location import FileLineCol

from .commands import COMMANDS, FAILURE, Command
from .script import RunLine
from .shell import Pipeline, ShellSyntaxError, Stage, parse_command_line

_SUBSTITUTION = re.compile("%[%sSt]")


class RunLineError(Exception):
    """A RUN line failed. The text says which, where, and what its commands said."""


@frozen
class StageResult:
    """How a command of a pipeline ended.

    stdout, stderr: what it wrote and nothing redirected; empty where that went to a file
    crash:          the traceback of an exception that the command did not handle
    """

    stage: Stage
    status: int
    stdout: bytes
    stderr: bytes
    crash: str | None = None


@frozen
class Runner:
    """Runs the RUN lines of one test file.

    file:       the test file: ``%s``, and its folder ``%S``; absolute
    shown_file: its name in messages
    temporary:  ``%t``; commands run in its folder; absolute
    commands:   the commands there are, by name
    """

    file: Path
    shown_file: str
    temporary: Path
    commands: Mapping[str, Command] = COMMANDS

    def run(self, run_line: RunLine) -> None:
        """Run a line; its pipelines one after the other until one fails.

        Raises: RunLineError; DiagnosticError for a line that cannot be run.
        """
        for pipeline in self.parse(run_line):
            self.require_success(run_line, self.run_pipeline(pipeline, run_line))

    def parse(self, run_line: RunLine) -> tuple[Pipeline, ...]:
        """The pipelines of a line, substitutions made.

        Raises: DiagnosticError for one that is not in the language of ``shell``.
        """
        try:
            pipelines = parse_command_line(run_line.text)
        except ShellSyntaxError as error:
            raise self._error(run_line, str(error)) from None
        if "%T" in run_line.text.replace("%%", ""):
            raise self._error(run_line, "lit has %T no more; use names that begin with %t")
        return tuple(tuple(map(self._substituted, pipeline)) for pipeline in pipelines)

    def run_pipeline(self, pipeline: Sequence[Stage], run_line: RunLine) -> list[StageResult]:
        """Run the commands one after the other, each on what the one before wrote.

        Raises: DiagnosticError for an unknown command or an input file that cannot be read.
        """
        for stage in pipeline:
            self._find(stage.words, run_line)
        results: list[StageResult] = []
        data = b""
        with _working_directory(self.temporary.parent):
            for stage in pipeline:
                try:
                    if stage.stdin is not None:
                        data = Path(stage.stdin).read_bytes()
                    result = self._run_stage(stage, data, run_line)
                except OSError as error:
                    message = f"cannot redirect to or from '{error.filename}': {error.strerror}"
                    raise self._error(run_line, message) from error
                results.append(result)
                data = result.stdout
        return results

    def require_success(self, run_line: RunLine, results: Sequence[StageResult]) -> None:
        """Raises: RunLineError if one of a pipeline's commands failed."""
        if any(result.status != 0 for result in results):
            raise RunLineError(self._failure_text(run_line, results))

    def _run_stage(self, stage: Stage, data: bytes, run_line: RunLine) -> StageResult:
        stdin = io.TextIOWrapper(io.BytesIO(data), "utf-8", "surrogateescape", newline="")
        out, err = io.BytesIO(), io.BytesIO()
        stdout = _writer(out)
        stderr = stdout if stage.merge else _writer(err)
        status, crash = FAILURE, None
        command, argv, negated = self._find(stage.words, run_line)
        with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
            try:
                status = command(argv, stdin, stdout, stderr) or 0
            except SystemExit as exit_:
                status = exit_.code if isinstance(exit_.code, int) else int(exit_.code is not None)
            except Exception:
                crash = _traceback_of_command()
        if negated and crash is None:
            if status == 0:
                print("not: the command succeeded, but has to fail", file=stderr)
            status = int(status == 0)
        written, told = out.getvalue(), err.getvalue()
        if stage.stdout is not None:
            with Path(stage.stdout).open("ab" if stage.append else "wb") as file:
                file.write(written)
            written = b""
        if stage.stderr is not None:
            Path(stage.stderr).write_bytes(told)
            told = b""
        return StageResult(stage, status, written, told, crash)

    def _find(self, words: Sequence[str], run_line: RunLine) -> tuple[Command, Sequence[str], bool]:
        """The command that ``words`` call, its arguments, and whether it has to fail."""
        negated = words[0] == "not"
        words = words[1:] if negated else words
        if not words or words[0].startswith("-"):
            raise self._error(run_line, "'not' takes a command that has to fail, and no flags")
        command = self.commands.get(words[0])
        if command is None:
            known = ", ".join(sorted({*self.commands, "not"}))
            message = f"unknown command '{words[0]}'; commands in the process are {known}"
            raise self._error(run_line, message)
        return command, words[1:], negated

    def _substituted(self, stage: Stage) -> Stage:
        def words(text: str) -> str:
            return _SUBSTITUTION.sub(lambda match: values[match[0]], text)

        values = {
            "%%": "%",
            "%s": str(self.file),
            "%S": str(self.file.parent),
            "%t": str(self.temporary),
        }
        return evolve(
            stage,
            words=tuple(map(words, stage.words)),
            stdin=None if stage.stdin is None else words(stage.stdin),
            stdout=None if stage.stdout is None else words(stage.stdout),
            stderr=None if stage.stderr is None else words(stage.stderr),
        )

    def _error(self, run_line: RunLine, message: str) -> DiagnosticError:
        return DiagnosticError.at(FileLineCol(self.shown_file, run_line.line, 1), message)

    def _failure_text(self, run_line: RunLine, results: Sequence[StageResult]) -> str:
        lines = [f"{self.shown_file}:{run_line.line}: RUN: {run_line.text}", ""]
        lines.append("which ran " + "\n        | ".join(str(result.stage) for result in results))
        for result in results:
            told = (result.crash or "") + result.stderr.decode("utf-8", "backslashreplace")
            if result.status == 0 and not told:
                continue
            name = result.stage.words[0]
            if name == "not":
                name = " ".join(result.stage.words[:2])
            ending = "crashed" if result.crash else f"ended with exit status {result.status}"
            lines += ["", f"'{name}' {ending}{':' if told.strip() else ''}", told.rstrip("\n")]
            if result.status != 0 and result.stage.merge:
                lines.append(result.stdout.decode("utf-8", "backslashreplace").rstrip("\n"))
        last = results[-1]
        if last.status != 0 and last.stdout and not last.stage.merge:
            lines.append(last.stdout.decode("utf-8", "backslashreplace").rstrip("\n"))
        return "\n".join(lines)


def _writer(buffer: io.BytesIO) -> io.TextIOWrapper:
    return io.TextIOWrapper(buffer, "utf-8", "surrogateescape", newline="\n", write_through=True)


def _traceback_of_command() -> str:
    """The traceback of the exception being handled, from the command's own code on."""
    kind, error, trace = sys.exc_info()
    return "".join(traceback.format_exception(kind, error, trace and trace.tb_next))


@contextlib.contextmanager
def _working_directory(path: Path) -> Generator[None]:
    path.mkdir(parents=True, exist_ok=True)
    before = Path.cwd()
    os.chdir(path)
    try:
        yield
    finally:
        os.chdir(before)
