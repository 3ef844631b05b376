"""The small part of the shell's language that RUN lines use.

Commands with words in quotes, pipes, ``&&``, and the redirections ``<``, ``>``, ``>>``, ``2>`` and
``2>&1``. Variables, patterns of file names and everything else of a shell are not there.
"""

from __future__ import annotations

import re
import shlex

from attrs import evolve, frozen


class ShellSyntaxError(ValueError):
    """A command line that is not in the language."""


@frozen
class Stage:
    """One command of a pipeline.

    words:  the program's name and its arguments, quotes removed
    stdin:  file that standard input comes from, instead of the stage before
    stdout: file that standard output goes to, instead of the next stage
    append: standard output goes to the end of that file
    stderr: file that standard error goes to
    merge:  standard error goes where standard output goes
    """

    words: tuple[str, ...] = ()
    stdin: str | None = None
    stdout: str | None = None
    append: bool = False
    stderr: str | None = None
    merge: bool = False

    def __str__(self) -> str:
        parts = [shlex.join(self.words)]
        for sign, target in (
            ("<", self.stdin),
            (">>" if self.append else ">", self.stdout),
            ("2>", self.stderr),
        ):
            if target is not None:
                parts.append(f"{sign} {shlex.quote(target)}")
        return " ".join([*parts, "2>&1"] if self.merge else parts)


Pipeline = tuple[Stage, ...]

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<operator> 2>&1 | 2> | >> | > | < | && | \|\| | \| | & | ; )
      | (?P<word> (?: [^\s'"\\|&;<>] | '[^']*' | "(?:[^"\\]|\\.)*" | \\. )+ )
    )\s*""",
    re.VERBOSE,
)
_QUOTE = re.compile(r"""['"\\]""")


def parse_command_line(text: str) -> tuple[Pipeline, ...]:
    """The pipelines of ``text``, to be run one after the other until one fails.

    Raises: ShellSyntaxError
    """
    tokens = _tokens(text)
    pipelines: list[Pipeline] = []
    stages: list[Stage] = []
    stage = Stage()
    position = 0
    while position < len(tokens):
        kind, token = tokens[position]
        position += 1
        if kind == "word":
            stage = evolve(stage, words=(*stage.words, token))
        elif token == "2>&1":
            stage = evolve(stage, merge=True)
        elif token in ("<", ">", ">>", "2>"):
            if position == len(tokens) or tokens[position][0] != "word":
                raise ShellSyntaxError(f"a file name is missing after '{token}'")
            stage = _redirected(stage, token, tokens[position][1])
            position += 1
        elif token in ("|", "&&"):
            stages.append(_complete(stage, f"before '{token}'"))
            stage = Stage()
            if token == "&&":
                pipelines.append(tuple(stages))
                stages = []
        else:
            raise ShellSyntaxError(f"'{token}' is not supported; join commands by '|' or '&&'")
    end = f"after '{tokens[-1][1]}'" if tokens else "on the line"
    stages.append(_complete(stage, end))
    return (*pipelines, tuple(stages))


def _redirected(stage: Stage, operator: str, file: str) -> Stage:
    if operator == "<":
        return evolve(stage, stdin=file)
    if operator == "2>":
        return evolve(stage, stderr=file)
    return evolve(stage, stdout=file, append=operator == ">>")


def _complete(stage: Stage, place: str) -> Stage:
    if not stage.words:
        raise ShellSyntaxError(f"a command is missing {place}")
    return stage


def _tokens(text: str) -> list[tuple[str, str]]:
    """Operators, and words without their quotes, each with its kind."""
    tokens: list[tuple[str, str]] = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            rest = text[position:].strip()
            if not rest:
                break
            raise ShellSyntaxError(f"an unclosed quote or a lone '\\' in: {rest}")
        position = match.end()
        if match["operator"] is not None:
            tokens.append(("operator", match["operator"]))
        else:
            tokens.append(("word", _unquoted(match["word"])))
    return tokens


def _unquoted(word: str) -> str:
    if _QUOTE.search(word) is None:
        return word
    return "".join(shlex.split(word))
