"""Rewrites the check lines of a test file from what its RUN lines give now.

For each RUN line whose pipeline ends in ``filecheck %s``, all lines of its prefix are replaced:
those of a function stand directly above the function of that name in the file, others above the
first operation. With ``--split-input-file``, each section of the file gets the checks of its own
part of the output. A comment at the top of the file says that its checks are generated.
"""

from __future__ import annotations

import io
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from attrs import evolve, frozen

from nvdla_ir.ir.diagnostics import Diagnostic, DiagnosticError
from nvdla_ir.ir.location import FileLineCol

from .check_lines import Block, Style, blocks, function_name
from .commands import COMMANDS, Command
from .runner import Runner
from .script import RunLine, parse_script
from .shell import Stage

_MARKER = "// NOTE: python -m nvdla_ir.tools.update_golden writes the checks of this file"
_CAPTURES = " (with --captures)"
_SEPARATOR = re.compile(r"// -----[ \t]*")
_FILECHECK = ("filecheck", "FileCheck")
_CHECK = r"[ \t]*//[ \t]*(?:{})(?:-(?:NEXT|SAME|EMPTY|NOT|DAG|LABEL|COUNT-\d+))?(?:\{{LITERAL\}})?:"
_KEYWORD_COMMENT = re.compile(r"[ \t]*//[ \t]*(?:NOTE|RUN|REQUIRES|UNSUPPORTED|XFAIL|[\w-]+):")


@frozen
class _Output:
    """What a filecheck of a RUN line is given.

    command: the filecheck, with its options
    split:   the output has a part for each section of the file
    """

    run_line: RunLine
    command: Stage
    style: Style
    text: str
    split: bool


def is_generated(text: str) -> bool:
    """Whether a test file says that its checks are generated."""
    return any(line.startswith(_MARKER) for line in text.splitlines())


def updated(
    file: Path,
    text: str,
    shown_file: str,
    captures: bool | None = None,
    commands: Mapping[str, Command] = COMMANDS,
) -> str:
    """The text of the test file ``file`` with its checks made anew; ``text`` is what it has now.

    captures: names of values become FileCheck's variables; None leaves that as the file has it

    Raises: RunLineError for a RUN line that fails; DiagnosticError for a file without checks to
    make, for output that is empty, for several prefixes in one filecheck, and for one prefix with
    several outputs.
    """
    if captures is None:
        captures = any(line == _MARKER + _CAPTURES for line in text.splitlines())
    line_end = "\r\n" if "\r\n" in text else "\n"
    lines = text.replace("\r\n", "\n").removesuffix("\n").split("\n")
    with tempfile.TemporaryDirectory(prefix="nvdla-golden-") as folder:
        temporary = Path(folder) / f"{file.name}.tmp"
        runner = Runner(file, shown_file, temporary, commands)
        outputs = _outputs(runner, text, captures)
        lines = [line for line in lines if not line.startswith(_MARKER)]
        lines = _without_checks(lines, [output.style.prefix for output in outputs])
        for output in _one_for_each_prefix(outputs, shown_file):
            lines = _with_checks(lines, output, runner)
        lines.insert(0, _MARKER + (_CAPTURES if captures else ""))
        result = line_end.join([*lines, ""])
        for output in outputs:
            _verify(result, output, file, shown_file)
    return result


# -------------------------------------------------------------- running


def _outputs(runner: Runner, text: str, captures: bool) -> list[_Output]:
    outputs: list[_Output] = []
    for run_line in parse_script(text, runner.shown_file).run_lines:
        for pipeline in runner.parse(run_line):
            *before, last = pipeline
            if last.words[0] not in _FILECHECK or str(runner.file) not in last.words:
                runner.require_success(run_line, runner.run_pipeline(pipeline, run_line))
                continue
            style, source = _read_options(last, run_line, runner.shown_file, captures)
            # In its place, cat shows what filecheck would read.
            cat = evolve(last, words=("cat", source))
            results = runner.run_pipeline([*before, cat], run_line)
            runner.require_success(run_line, results)
            output = results[-1].stdout.decode("utf-8", "surrogateescape").replace("\r\n", "\n")
            if not output.strip():
                raise _error(runner.shown_file, run_line, "there is no output to be checked")
            split = any("--split-input-file" in stage.words for stage in before)
            outputs.append(_Output(run_line, last, style, output, split))
    if not outputs:
        raise DiagnosticError.at(
            FileLineCol(runner.shown_file, 1, 1),
            "no RUN line ends in 'filecheck %s': there are no checks to make",
        )
    return outputs


def _read_options(
    command: Stage, run_line: RunLine, shown_file: str, captures: bool
) -> tuple[Style, str]:
    """How checks are written for a filecheck, and the file it reads, ``-`` for its input."""
    from filecheck.options import parse_argv_options

    try:
        options = parse_argv_options(list(command.words))
    except RuntimeError as error:
        raise _error(shown_file, run_line, f"filecheck: {error}") from None
    if len(options.check_prefixes) != 1:
        raise _error(
            shown_file,
            run_line,
            "checks are made for one prefix of a filecheck, and this one has "
            f"{', '.join(options.check_prefixes)}",
        )
    whole_lines = options.match_full_lines
    exact_spaces = whole_lines and options.strict_whitespace
    style = Style(options.check_prefixes[0], captures, exact_spaces, whole_lines)
    return style, options.input_file


def _one_for_each_prefix(outputs: Sequence[_Output], shown_file: str) -> list[_Output]:
    found: dict[str, _Output] = {}
    for output in outputs:
        first = found.setdefault(output.style.prefix, output)
        if first.text != output.text:
            other = FileLineCol(shown_file, first.run_line.line, 1)
            raise DiagnosticError.at(
                FileLineCol(shown_file, output.run_line.line, 1),
                f"the prefix {output.style.prefix} is for two different outputs; "
                "use another with --check-prefix",
                [Diagnostic.note(other, "the other output is of this line")],
            )
    return list(found.values())


def _verify(text: str, output: _Output, file: Path, shown_file: str) -> None:
    """Raises: DiagnosticError if the checks in ``text`` do not accept what they are made from."""
    with tempfile.TemporaryDirectory(prefix="nvdla-golden-") as folder:
        candidate = Path(folder) / file.name
        candidate.write_bytes(text.encode("utf-8", "surrogateescape"))
        name, *words = output.command.words
        argv = [str(candidate) if word == str(file) else word for word in words]
        said = io.StringIO()
        if COMMANDS[name](argv, io.StringIO(output.text), said, said) != 0:
            message = "no checks can be made that this filecheck accepts; it says:\n"
            raise _error(shown_file, output.run_line, message + said.getvalue().rstrip())


def _error(shown_file: str, run_line: RunLine, message: str) -> DiagnosticError:
    return DiagnosticError.at(FileLineCol(shown_file, run_line.line, 1), message)


# -------------------------------------------------------------- rewriting


def _without_checks(lines: Sequence[str], prefixes: Sequence[str]) -> list[str]:
    """``lines`` without the check lines of ``prefixes``, and without a blank line that only stood
    beside them."""
    check = re.compile(_CHECK.format("|".join(map(re.escape, prefixes))))
    kept: list[str] = []
    blank_after_check: list[str] = []
    after_check = False
    for line in lines:
        if check.match(line):
            after_check, blank_after_check = True, []
        elif after_check and not line.strip():
            blank_after_check.append(line)
        else:
            if kept and kept[-1].strip():
                kept += blank_after_check
            kept.append(line)
            after_check, blank_after_check = False, []
    if after_check and kept and not kept[-1].strip():
        kept.pop()
    return kept


def _with_checks(lines: Sequence[str], output: _Output, runner: Runner) -> list[str]:
    """``lines`` with the check lines for ``output``."""
    sections, texts = [list(lines)], [output.text]
    if output.split:
        parts = _sections(output.text.split("\n"))
        own = _sections(lines)
        if len(parts) == len(own):
            texts = ["\n".join(row for row in part if not _is_separator(row)) for part in parts]
            sections = own
    result: list[str] = []
    for section, text in zip(sections, texts, strict=True):
        checks = blocks(text, output.style, runner.file, runner.temporary)
        result += _placed(section, checks)
    return result


def _sections(lines: Sequence[str]) -> list[list[str]]:
    """``lines`` cut before each separator."""
    sections: list[list[str]] = [[]]
    for line in lines:
        if _is_separator(line):
            sections.append([])
        sections[-1].append(line)
    return sections


def _is_separator(line: str) -> bool:
    return _SEPARATOR.fullmatch(line) is not None


def _placed(lines: list[str], checks: Sequence[Block]) -> list[str]:
    """``lines`` with each of ``checks`` above the function it is of."""
    if not checks:
        return lines
    code = [number for number, line in enumerate(lines) if _is_code(line)]
    functions = [number for number in code if function_name(lines[number]) is not None]
    first = code[0] if code else len(lines)
    places = [first] * len(checks)
    if [function_name(lines[number]) for number in functions] == [b.function for b in checks]:
        places = [first, *functions[1:]]
    # From the last on, so that places stay where they are.
    for place, block in reversed(list(zip(places, checks, strict=True))):
        _insert(lines, place, block.lines)
    return lines


def _is_code(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("//")


def _insert(lines: list[str], place: int, block: Sequence[str]) -> None:
    """Insert ``block`` above the operation at ``place``, or at the end, indented alike."""
    indent = ""
    if place < len(lines):
        indent = lines[place][: len(lines[place]) - len(lines[place].lstrip())]
        place = _above_expectations(lines, place)
    else:
        while place > 0 and not lines[place - 1].strip():
            place -= 1
    before = lines[place - 1] if place > 0 else ""
    apart = before.strip() and (_is_code(before) or _KEYWORD_COMMENT.match(before))
    lines[place:place] = [*([""] if apart else []), *(indent + line for line in block)]


def _above_expectations(lines: Sequence[str], place: int) -> int:
    """Above the comments directly above ``place`` if they count lines (``expected-error@+1``)."""
    top = place
    while top > 0 and lines[top - 1].lstrip().startswith("//"):
        top -= 1
    return top if any("expected-" in line for line in lines[top:place]) else place
