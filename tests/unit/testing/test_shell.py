"""The language of RUN lines."""

from __future__ import annotations

import pytest

from nvdla_ir.testing.shell import ShellSyntaxError, Stage, parse_command_line


def test_words_lose_their_quotes() -> None:
    ((stage,),) = parse_command_line(r"""a --b='c d{e="f"}' "g \" h" i\ j 'k'"l" '' """)
    assert stage.words == ("a", '--b=c d{e="f"}', 'g " h', "i j", "kl", "")


def test_pipes_join_stages_and_ands_join_pipelines() -> None:
    assert parse_command_line("a|b 1 && c | d") == (
        (Stage(("a",)), Stage(("b", "1"))),
        (Stage(("c",)), Stage(("d",))),
    )


def test_redirections_stand_anywhere_among_the_words() -> None:
    assert parse_command_line("a < 'in 1' b >out 2> err") == (
        (Stage(("a", "b"), stdin="in 1", stdout="out", stderr="err"),),
    )
    assert parse_command_line(">> out a 2>&1") == (
        (Stage(("a",), stdout="out", append=True, merge=True),),
    )


def test_signs_in_quotes_are_words() -> None:
    assert parse_command_line("a '|' \"&&\" '2>&1' \\>") == (
        (Stage(("a", "|", "&&", "2>&1", ">")),),
    )


def test_a_stage_prints_so_that_it_can_be_run_again() -> None:
    text = "a '--b={c d}' < in >> 'o t' 2>&1"
    ((stage,),) = parse_command_line(text)
    assert str(stage) == text
    assert parse_command_line(str(stage)) == ((stage,),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a command is missing on the line"),
        ("a |", "a command is missing after '|'"),
        ("| a", "a command is missing before '|'"),
        ("a && && b", "a command is missing before '&&'"),
        ("a >", "a file name is missing after '>'"),
        ("a 2> | b", "a file name is missing after '2>'"),
        ("a || b", "'||' is not supported; join commands by '|' or '&&'"),
        ("a ; b", "';' is not supported; join commands by '|' or '&&'"),
        ("a & b", "'&' is not supported; join commands by '|' or '&&'"),
        ("a 'b c", "an unclosed quote or a lone '\\' in: 'b c"),
        ('a "b', "an unclosed quote or a lone '\\' in: \"b"),
        ("a b\\", "an unclosed quote or a lone '\\' in: \\"),
    ],
)
def test_what_is_not_in_the_language_is_told(text: str, message: str) -> None:
    with pytest.raises(ShellSyntaxError) as error:
        parse_command_line(text)
    assert str(error.value) == message
