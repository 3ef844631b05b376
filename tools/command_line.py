"""What all commands share: flags, help, streams, and how diagnostics are shown."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TextIO

from attrs import define, field, frozen

from nvdla_ir.files import decode_utf8, place_of, read_text
from nvdla_ir.interruption import Terminated, termination_raises
from nvdla_ir.ir.diagnostics import Diagnostic, DiagnosticError, Severity, render
from nvdla_ir.ir.dialect import did_you_mean
from nvdla_ir.ir.location import UNKNOWN, FileLineCol
from nvdla_ir.source_lines import SourceLines
from nvdla_ir.version import __version__

SUCCESS, INPUT_AT_FAULT, WRONG_USAGE = 0, 1, 2
"""Exit codes of all commands."""

STANDARD_STREAM = "-"
STANDARD_INPUT_NAME = "<stdin>"
COMMAND_LINE_NAME = "<command line>"


class UsageError(Exception):
    """The command line is wrong."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


@frozen(eq=False)
class Flag:
    """A flag of a command.

    value:   what its value is called in help; None if it takes none
    default: the value of the flag when it is given without one (``--quantize``); None if the
             flag must have a value, which may then also be the next argument
    choices: the values there are, if only some are allowed
    """

    name: str
    help: str
    group: str
    value: str | None = None
    default: str | None = None
    choices: tuple[str, ...] = ()

    @property
    def spelling(self) -> str:
        """As shown in help: ``--flag=VALUE``, ``--flag[=VALUE]``, ``-o FILE``."""
        dashes = "-" if len(self.name) == 1 else "--"
        if self.value is None:
            return f"{dashes}{self.name}"
        if self.default is not None:
            return f"{dashes}{self.name}[={self.value}]"
        return f"{dashes}{self.name}{' ' if len(self.name) == 1 else '='}{self.value}"


@frozen(eq=False)
class GivenFlag:
    """A flag as it was given, with the place of its value, or of the flag, on the command line."""

    flag: Flag
    value: str | None
    location: FileLineCol


@define(eq=False)
class Arguments:
    """A command line, read: flags in the order they were given, and the rest."""

    flags: list[GivenFlag] = field(factory=list[GivenFlag])
    positionals: list[str] = field(factory=list[str])

    @property
    def names(self) -> list[str]:
        return [given.flag.name for given in self.flags]

    def has(self, name: str) -> bool:
        return name in self.names

    def values(self, name: str) -> list[str]:
        return [given.value or "" for given in self.flags if given.flag.name == name]

    def value(self, name: str) -> str | None:
        """The value given last, None if the flag is not there."""
        values = self.values(name)
        return values[-1] if values else None

    def count(self, name: str, least: int = 0) -> int | None:
        """The value of a flag that takes a number from ``least`` on. Raises: UsageError"""
        text = self.value(name)
        if text is None:
            return None
        if not text.isdecimal() or int(text) < least:
            raise UsageError(f"'--{name}' takes a number from {least} on, not '{text}'")
        return int(text)

    def switch(self, name: str, default: bool = False) -> bool:
        """The value of a flag that takes true or false."""
        text = self.value(name)
        return default if text is None else text in ("true", "1", "")


def split_named(text: str, known: Collection[str]) -> tuple[str, str]:
    """NAME and FILE of ``NAME=FILE``. Both may have ``=`` in them: it is divided behind the first
    name that is ``known``, or else at the first ``=``."""
    parts = text.split("=")
    for count in range(1, len(parts)):
        name = "=".join(parts[:count])
        if name in known:
            return name, "=".join(parts[count:])
    return parts[0], "=".join(parts[1:])


BOOLEAN = ("true", "false", "1", "0")
"""The choices of a flag that ``Arguments.switch`` reads."""


def parse_arguments(
    argv: Sequence[str],
    find_flag: Callable[[str], Flag | None],
    known_names: Callable[[], Iterable[str]],
) -> Arguments:
    """Read a command line. Flags start with one dash or two; after ``--`` all is positional.

    Raises: UsageError for an unknown flag, a missing, wrong or superfluous value.
    """
    arguments = Arguments()
    rest = list(enumerate(argv, start=1))
    while rest:
        number, text = rest.pop(0)
        if text == "--":
            arguments.positionals += [following for _, following in rest]
            break
        if text == STANDARD_STREAM or not text.startswith("-"):
            arguments.positionals.append(text)
            continue
        written, equals, value_text = text.partition("=")
        value: str | None = value_text if equals else None
        name = written.lstrip("-")
        flag = find_flag(name)
        if flag is None:
            raise UsageError(f"unknown flag '{written}'{_suggestion(name, known_names())}")
        column = len(written) + 2 if equals else 1
        if flag.value is None:
            if value is not None:
                raise UsageError(f"'{written}' takes no value")
        elif value is None:
            if flag.default is None:
                if not rest:
                    raise UsageError(f"'{written}' needs a value: {flag.spelling}")
                number, value = rest.pop(0)
            else:
                value = flag.default
        if value == "" and flag.default is None:
            raise UsageError(f"'{written}' needs a value: {flag.spelling}")
        if value is not None and flag.choices:
            # Names of layouts, methods, …: their case tells nothing.
            choices = {choice.casefold(): choice for choice in flag.choices}
            if value.casefold() not in choices:
                raise UsageError(f"'{written}' takes {_or(flag.choices)}, not '{value}'")
            value = choices[value.casefold()]
        place = FileLineCol(COMMAND_LINE_NAME, number, column)
        arguments.flags.append(GivenFlag(flag, value, place))
    return arguments


def _or(choices: Sequence[str]) -> str:
    return " or ".join(f"'{choice}'" for choice in choices)


def _suggestion(name: str, known: Iterable[str]) -> str:
    hint = did_you_mean(name, known)
    return hint.replace("'", "'--", 1) if hint else "; '--help' lists them all"


# -------------------------------------------------------------- help


def format_help(usage: str, description: str, flags: Iterable[Flag], width: int = 100) -> str:
    """The text of ``--help``: flags by group, in the order given."""
    import textwrap

    groups: dict[str, list[Flag]] = {}
    for flag in flags:
        groups.setdefault(flag.group, []).append(flag)
    lines = [f"usage: {usage}", "", *textwrap.wrap(description, width)]
    for group, members in groups.items():
        lines += ["", f"{group}:"]
        for flag in members:
            lines += _described(flag.spelling, flag.help, width)
    return "\n".join(lines) + "\n"


_HELP_COLUMN = 40


def _described(term: str, text: str, width: int) -> list[str]:
    import textwrap

    wrapped = [
        row
        for paragraph in text.split("\n")
        for row in textwrap.wrap(paragraph, width - _HELP_COLUMN, break_on_hyphens=False)
    ]
    head = f"  {term}"
    if len(head) >= _HELP_COLUMN:
        return [head, *(" " * _HELP_COLUMN + row for row in wrapped)]
    first, *others = wrapped or [""]
    return [head.ljust(_HELP_COLUMN) + first, *(" " * _HELP_COLUMN + row for row in others)]


def informed(
    arguments: Arguments,
    command: str,
    usage: str,
    description: str,
    flags: Iterable[Flag],
    stdout: TextIO,
) -> bool:
    """Whether the command line only asks for ``--help`` or ``--version``, which is then printed."""
    if arguments.has("help"):
        write_output(format_help(usage, description, flags), stdout)
    elif arguments.has("version"):
        write_output(f"{command} {__version__}\n", stdout)
    else:
        return False
    return True


def use_one_thread() -> None:
    """Keep numpy, which must not be loaded yet, to one thread a process unless the user wants
    more: that is quickest, and ``--jobs`` uses the other cores."""
    for variable in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"):
        os.environ.setdefault(variable, "1")


# -------------------------------------------------------------- streams


_IMPORTED = {".onnx": "onnx", ".caffemodel": "caffe", ".prototxt": "caffe"}
"""What ``nvdla-translate`` makes IR of, by the end of its name."""


def refuse_foreign(path: str) -> None:
    """Raises: DiagnosticError for a file that is no IR: a network of another format, arrays."""
    format = _IMPORTED.get(Path(path).suffix)
    if format is not None:
        raise DiagnosticError.at(
            UNKNOWN, f"'{path}' is no IR: 'nvdla-translate --import-{format}' makes IR of it"
        )
    if path.endswith((".npy", ".npz")):
        raise DiagnosticError.at(
            UNKNOWN,
            f"'{path}' holds arrays, but stands where the program does; arrays are given with "
            f"'--input NAME={path}' to nvdla-run, with '--data {path}' to nvdla-calibrate",
        )


def read_input(path: str, stdin: TextIO) -> tuple[str, str]:
    """The name in messages and the text of the input ``path``; ``-`` is ``stdin``.

    Raises: DiagnosticError where it cannot be read, is not UTF-8 or not IR.
    """
    refuse_foreign(path)
    if path != STANDARD_STREAM:
        return path, read_text(path)
    binary = getattr(stdin, "buffer", None)
    if binary is None:
        return STANDARD_INPUT_NAME, stdin.read()
    return STANDARD_INPUT_NAME, decode_utf8(binary.read(), STANDARD_INPUT_NAME)


def check_distinct(outputs: Iterable[tuple[str, str | None]]) -> None:
    """See that nothing is written twice.

    outputs: files, by any of the names that they have, and the keys of those that are archives,
             else None

    Raises: UsageError
    """
    keys: dict[str, set[str | None]] = {}
    for file, key in outputs:
        place = file if file == STANDARD_STREAM else place_of(file)
        known = keys.setdefault(place, set())
        if known and (None in known or key is None or key in known):
            raise UsageError(f"'{file}{f':{key}' if key else ''}' would be written twice")
        known.add(key)


def write_output(text: str, stdout: TextIO) -> None:
    """Write ``text`` as UTF-8, whatever encoding the stream has otherwise.

    Raises: DiagnosticError where it cannot be written, but BrokenPipeError if nobody reads.
    """
    binary = getattr(stdout, "buffer", None)
    try:
        if binary is None:
            stdout.write(text)
            return
        stdout.flush()
        binary.write(text.encode("utf-8", "surrogateescape"))
        binary.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        discard_output(stdout)
        raise DiagnosticError.at(
            UNKNOWN, f"cannot write standard output: {error.strerror or error}"
        ) from error


# -------------------------------------------------------------- diagnostics


# Who has more to mend looks at the first ones first.
_MOST_DIAGNOSTICS = 100


@frozen(eq=False)
class DiagnosticPrinter:
    """Shows diagnostics with the source lines they are about, coloured on a terminal.

    sources: the lines that may be shown: of the command's inputs, and of nothing else
    """

    stderr: TextIO
    sources: SourceLines = field(factory=SourceLines)

    @property
    def texts(self) -> dict[str, str]:
        """What the command has read, by the name it has in locations."""
        return self.sources.texts

    def show(self, diagnostics: Iterable[Diagnostic]) -> None:
        told = list(diagnostics)
        for diagnostic in told[:_MOST_DIAGNOSTICS]:
            self._show(render(diagnostic, self.sources.line))
        left = told[_MOST_DIAGNOSTICS:]
        if left:
            failed = any(diagnostic.severity is Severity.ERROR for diagnostic in left)
            severity = Severity.ERROR if failed else Severity.REMARK
            self._show(f"{severity.value}: {len(left)} more messages are not shown")

    def _show(self, text: str) -> None:
        if self.stderr.isatty():
            _print_coloured(text, self.stderr)
        else:
            print(text, file=self.stderr)


def run_handled(
    body: Callable[[], int], printer: DiagnosticPrinter, command: str, stdout: TextIO
) -> int:
    """The exit code of ``body``; exceptions that may end a command, and SIGTERM, become messages
    and a code."""
    with termination_raises():
        try:
            return _handled(body, printer, command, stdout)
        finally:
            _forget_plugins()


def _forget_plugins() -> None:
    if "nvdla_ir.passes.plugins" in sys.modules:
        from nvdla_ir.passes.plugins import forget_plugins

        forget_plugins()


def _handled(
    body: Callable[[], int], printer: DiagnosticPrinter, command: str, stdout: TextIO
) -> int:
    try:
        return body()
    except UsageError as error:
        print(f"{command}: error: {error.message}", file=printer.stderr)
        return WRONG_USAGE
    except DiagnosticError as error:
        printer.show(error.diagnostics)
    except BrokenPipeError:
        # Whoever read the output has had enough. Python flushes once more when it ends.
        discard_output(stdout)
    except (KeyboardInterrupt, Terminated) as stop:
        return stopped(stop, command, "nothing was written", printer.stderr)
    return INPUT_AT_FAULT


def stopped(
    stop: KeyboardInterrupt | Terminated, command: str, consequence: str, stderr: TextIO
) -> int:
    """Tell that a command was stopped from outside; returns its exit code."""
    if isinstance(stop, Terminated):
        print(f"{command}: ended by {stop.name}; {consequence}", file=stderr)
        return stop.exit_code
    print(f"{command}: interrupted; {consequence}", file=stderr)
    return INPUT_AT_FAULT


def discard_output(stdout: TextIO) -> None:
    """Let what is still to be written to ``stdout`` vanish."""
    try:
        descriptor = stdout.fileno()
    except (OSError, ValueError):
        return  # in memory
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)


_COLOURS: Mapping[str, str] = {
    "error: ": "bold red",
    "warning: ": "bold magenta",
    "remark: ": "bold blue",
    "note: ": "bold cyan",
}


def _print_coloured(text: str, stream: TextIO) -> None:
    from rich.console import Console
    from rich.text import Text

    rich_text = Text(text)
    for word, style in _COLOURS.items():
        rich_text.highlight_regex(rf"(?m)^(?:[^\s].*?: )?{word}", style)
    rich_text.highlight_regex(r"(?m)^\s*\^$", "bold green")
    Console(file=stream, soft_wrap=True, highlight=False).print(rich_text)


def command_line_text(argv: Sequence[str]) -> str:
    """The command line as a source text for diagnostics: a line an argument."""
    return "\n".join(argument.replace("\n", " ") for argument in argv)
