"""The commands that RUN lines may use: the project's tools, filecheck, and a few of Unix's.

A command is a function ``(argv, stdin, stdout, stderr) -> int``: ``argv`` is without the name, the
streams are text over binary buffers, and the result is the exit status.
"""

from __future__ import annotations

import difflib
import importlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr
from importlib.util import find_spec
from pathlib import Path
from typing import TextIO

Command = Callable[[Sequence[str], TextIO, TextIO, TextIO], int]

FAILURE, WRONG_USAGE = 1, 2


def _tools(names: Sequence[str]) -> dict[str, Command]:
    """Those of the tools ``names`` that are installed, by the names of their programs."""
    modules = {name: f"nvdla_ir.tools.{name.replace('-', '_')}" for name in names}
    return {name: _tool(modules[name]) for name in names if find_spec(modules[name])}


def _tool(module: str) -> Command:
    """The tool whose ``main`` is in ``module``, imported when it is first run."""

    def run(argv: Sequence[str], stdin: TextIO, stdout: TextIO, stderr: TextIO) -> int:
        main: Command = importlib.import_module(module).main
        return main(argv, stdin, stdout, stderr)

    return run


def _filecheck(argv: Sequence[str], stdin: TextIO, stdout: TextIO, stderr: TextIO) -> int:
    """The PyPI package ``filecheck``: its options and messages."""
    try:
        from filecheck.finput import FInput
        from filecheck.matcher import Matcher
        from filecheck.options import parse_argv_options
        from filecheck.parser import Parser
    except ImportError:
        print("the package 'filecheck' is not installed; 'nvdla-ir[test]' has it", file=stderr)
        return WRONG_USAGE
    try:
        options = parse_argv_options(["filecheck", *argv])
        if options.input_file == "-":
            text = stdin.read()
        else:
            text = Path(options.input_file).read_text(encoding="utf-8")
        found = FInput(options.input_file, FInput.canonicalize_line_ends(text))
        # It writes to the process's standard error.
        with redirect_stderr(stderr):
            return Matcher(options, found, Parser.from_opts(options)).run()
    except (RuntimeError, OSError, UnicodeDecodeError) as error:
        # RuntimeError is also how the package says that it does not know an option.
        print(f"filecheck: {error}", file=stderr)
        return WRONG_USAGE


# -------------------------------------------------------------- of Unix's


class _UsageError(Exception):
    """A flag or a number of arguments that a command does not know."""


def _unix(name: str, flags: str, run: Callable[[list[str], str, TextIO, TextIO], int]) -> Command:
    """A command that knows the one-letter ``flags`` and tells failures as Unix's commands do.

    run: gets the arguments that are not flags, the flags given, standard input and output
    """

    def command(argv: Sequence[str], stdin: TextIO, stdout: TextIO, stderr: TextIO) -> int:
        given = "".join(text[1:] for text in argv if text.startswith("-") and text != "-")
        arguments = [text for text in argv if text == "-" or not text.startswith("-")]
        try:
            for letter in given:
                if letter not in flags:
                    raise _UsageError(f"unknown flag '-{letter}'")
            return run(arguments, given, stdin, stdout)
        except OSError as error:
            print(f"{name}: {error.filename}: {error.strerror}", file=stderr)
            return FAILURE
        except _UsageError as error:
            print(f"{name}: {error}", file=stderr)
            return WRONG_USAGE

    return command


def _read(path: str, stdin: TextIO) -> bytes:
    return stdin.buffer.read() if path == "-" else Path(path).read_bytes()


def _cat(paths: list[str], flags: str, stdin: TextIO, stdout: TextIO) -> int:
    for path in paths or ["-"]:
        stdout.buffer.write(_read(path, stdin))
    return 0


def _copy(paths: list[str], flags: str, stdin: TextIO, stdout: TextIO) -> int:
    if len(paths) != 2:
        raise _UsageError("a file and its copy's path are needed")
    source, target = map(Path, paths)
    if source.is_dir() and "r" in flags:
        shutil.copytree(source, target / source.name if target.is_dir() else target)
    else:
        shutil.copy(source, target)
    return 0


def _diff(paths: list[str], flags: str, stdin: TextIO, stdout: TextIO) -> int:
    if len(paths) != 2:
        raise _UsageError("two files are needed")
    old, new = (_read(path, stdin) for path in paths)
    if old == new:
        return 0
    before, after = (data.decode("utf-8", "backslashreplace").splitlines() for data in (old, new))
    for line in difflib.unified_diff(before, after, paths[0], paths[1], lineterm=""):
        print(line, file=stdout)
    return FAILURE


def _echo(argv: Sequence[str], stdin: TextIO, stdout: TextIO, stderr: TextIO) -> int:
    print(" ".join(argv), file=stdout)
    return 0


def _make_directories(paths: list[str], flags: str, stdin: TextIO, stdout: TextIO) -> int:
    for path in paths:
        Path(path).mkdir(parents="p" in flags, exist_ok="p" in flags)
    return 0


def _remove(paths: list[str], flags: str, stdin: TextIO, stdout: TextIO) -> int:
    for path in map(Path, paths):
        if path.is_dir() and not path.is_symlink() and "r" in flags:
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok="f" in flags)
    return 0


COMMANDS: Mapping[str, Command] = {
    **_tools(["nvdla-opt", "nvdla-run", "nvdla-translate", "nvdla-calibrate"]),
    "filecheck": _filecheck,
    "FileCheck": _filecheck,
    "cat": _unix("cat", "", _cat),
    "cp": _unix("cp", "r", _copy),
    "diff": _unix("diff", "u", _diff),
    "echo": _echo,
    "mkdir": _unix("mkdir", "p", _make_directories),
    "rm": _unix("rm", "fr", _remove),
}
"""Every command that is there without a hook that adds others."""
