"""Running RUN lines: streams, exit statuses, the commands of Unix, and what failures say."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TextIO

import pytest

from nvdla_ir.ir.diagnostics import DiagnosticError, render
from nvdla_ir.testing.commands import COMMANDS
from nvdla_ir.testing.runner import RunLineError, Runner
from nvdla_ir.testing.script import RunLine

Run = Callable[[str], None]

CONTENT = "// RUN: …\n// CHECK: text\n// TWO: second\n// NOT-THERE: nothing\nsome text\nsecond\n"


def fake_tool(argv: Sequence[str], stdin: TextIO, stdout: TextIO, stderr: TextIO) -> int:
    """Writes what it is told to: ``out:…``, ``err:…``, ``print:…``; ends as it is told to."""
    status = 0
    for argument in argv:
        kind, _, text = argument.partition(":")
        if kind == "out":
            stdout.write(f"{text}\n")
        elif kind == "bytes":
            stdout.buffer.write(bytes.fromhex(text))
        elif kind == "err":
            stderr.write(f"{text}\n")
        elif kind == "print":
            print(text)
            print(text, file=sys.stderr)
        elif kind == "upper":
            stdout.write(stdin.read().upper())
        elif kind == "raise":
            raise ValueError(text)
        elif kind == "exit":
            sys.exit(int(text))
        else:
            status = int(kind)
    return status


@pytest.fixture
def run(tmp_path: Path) -> Run:
    file = tmp_path / "dir with spaces" / "test.ir"
    file.parent.mkdir()
    file.write_text(CONTENT, encoding="utf-8")
    temporary = tmp_path / "exec" / "test.ir.tmp"
    runner = Runner(file, "shown.ir", temporary, {**COMMANDS, "tool": fake_tool})
    return lambda text: runner.run(RunLine(7, text))


def failure(run: Run, text: str) -> str:
    with pytest.raises(RunLineError) as error:
        run(text)
    return str(error.value)


def mistake(run: Run, text: str) -> str:
    with pytest.raises(DiagnosticError) as error:
        run(text)
    (diagnostic,) = error.value.diagnostics
    return render(diagnostic)


# -------------------------------------------------------------- streams


def test_pipe_substitutions_and_filecheck(run: Run) -> None:
    run("cat %s | filecheck %s")
    run("cat < %s | FileCheck %S/test.ir --check-prefix=TWO")
    run("filecheck %s --input-file=%s --check-prefixes=CHECK,TWO")


def test_files_of_a_line_are_there_in_the_next(run: Run, tmp_path: Path) -> None:
    run("tool out:%%a err:b > %t 2> err")
    run("tool out:c >> %t && cat %t > copy")
    assert (tmp_path / "exec" / "copy").read_text() == "%a\nc\n"
    assert (tmp_path / "exec" / "err").read_text() == "b\n"


def test_commands_run_in_the_folder_of_temporary_files(run: Run, tmp_path: Path) -> None:
    before = Path.cwd()
    run("tool out:a > relative")
    assert (tmp_path / "exec" / "relative").is_file()
    assert Path.cwd() == before


def test_merged_streams_keep_their_order(run: Run, tmp_path: Path) -> None:
    run("tool out:1 err:2 bytes:330a print:4 2>&1 | tool upper: > all")
    assert (tmp_path / "exec" / "all").read_text() == "1\n2\n3\n4\n4\n"


def test_bytes_pass_unchanged(run: Run, tmp_path: Path) -> None:
    run("tool bytes:ff000d0a80 | cat | cat - > all")
    assert (tmp_path / "exec" / "all").read_bytes() == bytes.fromhex("ff000d0a80")


def test_nothing_is_written_to_the_streams_of_the_process(
    run: Run, capfd: pytest.CaptureFixture[str]
) -> None:
    run("tool out:1 err:2 print:3")
    assert capfd.readouterr() == ("", "")


# -------------------------------------------------------------- exit statuses


def test_a_stage_that_fails_fails_the_line(run: Run) -> None:
    text = failure(run, "tool out:text 'err:what is wrong' 3 | filecheck %s")
    assert "shown.ir:7: RUN: tool out:text 'err:what is wrong' 3 | filecheck %s" in text
    assert "'tool' ended with exit status 3:\nwhat is wrong" in text


def test_and_stops_at_the_first_failure(run: Run, tmp_path: Path) -> None:
    assert "exit status 2" in failure(run, "tool 2 && tool out:a > %t")
    assert not (tmp_path / "exec" / "test.ir.tmp").exists()


def test_not_wants_a_failure(run: Run) -> None:
    run("not tool 1 'err:text' 2>&1 | filecheck %s")
    run("not tool exit:2")
    run("echo text | not filecheck %s --check-prefix=NOT-THERE")
    text = failure(run, "not tool out:a")
    assert "'not tool' ended with exit status 1" in text
    assert "the command succeeded, but has to fail" in text


def test_a_crash_is_no_expected_failure(run: Run) -> None:
    text = failure(run, "not tool raise:oops")
    assert "'not tool' crashed" in text
    assert "ValueError: oops" in text
    assert "in fake_tool" in text
    assert "testing/runner.py" not in text


def test_filecheck_says_which_check_failed(run: Run) -> None:
    text = failure(run, "cat %s | filecheck --check-prefix=NOT-THERE --match-full-lines %s")
    assert 'test.ir:4: error: Couldn\'t match "nothing"' in text
    assert "'filecheck' ended with exit status 1" in text
    assert "Traceback" not in text


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("tool | filecheck %s", "'<stdin>' is empty"),
        ("cat %s | filecheck %s --check-prefix=NONE", "No check strings found with prefix NONE"),
        ("cat %s | filecheck", "Missing argument: check-file"),
        ("cat %s | filecheck %s --implicit-check-not=x", "--implicit-check-not"),
        ("cat %s | filecheck %t", "No such file"),
    ],
)
def test_wrong_use_of_filecheck(run: Run, line: str, message: str) -> None:
    text = failure(run, line)
    assert message in text
    assert "Traceback" not in text


# -------------------------------------------------------------- lines that cannot be run


def test_an_unknown_command_is_named_with_its_place(run: Run) -> None:
    text = mistake(run, "cat %s | sed s/a/b/")
    assert text.startswith(
        "shown.ir:7:1: error: unknown command 'sed'; commands in the process are"
    )
    assert "nvdla-opt" in text
    assert mistake(run, "not sed a").startswith("shown.ir:7:1: error: unknown command 'sed'")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("cat %s |", "a command is missing after '|'"),
        ("not", "'not' takes a command that has to fail, and no flags"),
        ("not --crash cat", "'not' takes a command that has to fail, and no flags"),
        ("cat %T/a %%T", "lit has %T no more; use names that begin with %t"),
        ("cat < %t", "No such file or directory"),
        ("cat %s > none/file", "No such file or directory"),
    ],
)
def test_other_mistakes(run: Run, line: str, message: str) -> None:
    text = mistake(run, line)
    assert text.startswith("shown.ir:7:1: error: ")
    assert message in text


# -------------------------------------------------------------- commands


def test_commands_of_unix(run: Run, tmp_path: Path) -> None:
    run("mkdir -p %t/a/b && echo one  'two  three' > %t/a/b/file")
    run("cp %t/a/b/file %t/copy && diff %t/copy %t/a/b/file && cp -r %t/a %t/c")
    assert (tmp_path / "exec/test.ir.tmp/c/b/file").read_text() == "one two  three\n"
    text = failure(run, "echo one | diff -u %t/copy -")
    assert "'diff' ended with exit status 1" in text
    assert "-one two  three\n+one" in text
    run("rm -rf %t && rm -f %t && not cat %t")
    assert not (tmp_path / "exec/test.ir.tmp").exists()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("rm none", "rm: none: No such file or directory"),
        ("cat none", "cat: none: No such file or directory"),
        ("mkdir a/b", "mkdir: a/b: No such file or directory"),
        ("cat -n %s", "cat: unknown flag '-n'"),
        ("cp %s", "cp: a file and its copy's path are needed"),
        ("diff %s", "diff: two files are needed"),
    ],
)
def test_failures_of_commands_of_unix(run: Run, line: str, message: str) -> None:
    assert message in failure(run, line)


def test_every_tool_of_the_project_is_a_command() -> None:
    folder = Path(__file__).resolve().parents[3] / "tools"
    tools = {file.stem.replace("_", "-") for file in folder.glob("nvdla_*.py")}
    assert {name for name in COMMANDS if name.startswith("nvdla-")} == tools
    assert {"nvdla-opt", "nvdla-run"} <= tools
