"""The text of pass pipelines."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.location import FileLineCol
from nvdla_ir.text.pipeline_syntax import (
    PassOption,
    PassSpecification,
    parse_options,
    parse_pipeline,
    print_pipeline,
)

START = FileLineCol("p", 1, 1)


def spec(name: str, **options: str | None) -> PassSpecification:
    return PassSpecification(name, tuple(PassOption(k, v) for k, v in options.items()))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a", [spec("a")]),
        ("a,b-c.d", [spec("a"), spec("b-c.d")]),
        (" a , b ", [spec("a"), spec("b")]),
        ("a{x=1,y=per-channel}", [spec("a", x="1", y="per-channel")]),
        ("a{x=1 y=2}", [spec("a", x="1", y="2")]),
        ("a{ x=1 , y=2 }", [spec("a", x="1", y="2")]),
        ("a{x}", [spec("a", x=None)]),
        ("a{}", [spec("a")]),
        ('a{f="with, comma {}.json"}', [spec("a", f="with, comma {}.json")]),
        ("a{f='with \"quotes\"'}", [spec("a", f='with "quotes"')]),
        (r'a{f="\"\\"}', [spec("a", f='"\\')]),
        ("a{f=/x/y=z.json}", [spec("a", f="/x/y=z.json")]),
        ('a{f=""}', [spec("a", f="")]),
        ("builtin.module(a,b{x=1})", [spec("a"), spec("b", x="1")]),
        ("builtin.module(a,builtin.module(b)),any(c)", [spec("a"), spec("b"), spec("c")]),
        ("builtin.module()", []),
    ],
)
def test_pipelines(text: str, expected: list[PassSpecification]) -> None:
    assert parse_pipeline(text, START) == expected
    assert parse_pipeline(print_pipeline(expected), START) == expected


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("", 1, "the pipeline is empty"),
        ("  ", 1, "the pipeline is empty"),
        ("a,", 3, "unexpected end of the text; expected the name of a pass"),
        ("a,,b", 3, "unexpected ','; expected the name of a pass"),
        ("a b", 3, "unexpected 'b'; expected ',' or the end"),
        ("a{x=1", 6, "unexpected end of the text; expected '}'"),
        ("a{x=}", 5, "expected a value after '='"),
        ("a{=1}", 3, "unexpected '='; expected an option like 'key=value'"),
        ("a{x=1,x=2}", 7, "option 'x' is given twice"),
        ('a{x="1}', 5, "unterminated string"),
        ("func.func(a)", 1, "they cannot be nested in 'func.func'"),
        ("builtin.module(a", 17, "unexpected end of the text; expected ')'"),
        ("a)", 2, "unexpected ')'; expected ',' or the end"),
        ("module(" * 10_000, 113, "pipelines nest at most 16 deep"),
        ("a" + "{" * 10_000, 3, "unexpected '{'; expected an option"),
    ],
)
def test_faults(text: str, column: int, message: str) -> None:
    with pytest.raises(DiagnosticError) as raised:
        parse_pipeline(text, START)
    (diagnostic,) = raised.value.diagnostics
    assert diagnostic.location == FileLineCol("p", 1, column)
    assert message in diagnostic.message


def test_places_count_from_the_start_given() -> None:
    (first, second) = parse_pipeline("a,b{x=1}", FileLineCol("<command line>", 3, 17))
    assert first.location == FileLineCol("<command line>", 3, 17)
    assert second.location == FileLineCol("<command line>", 3, 19)
    assert second.options[0].location == FileLineCol("<command line>", 3, 21)


@pytest.mark.parametrize("text", ["x=1,y=a b", "{x=1 y=a,b}", "x=1 , y=a b"])
def test_options_alone(text: str) -> None:
    expected = (PassOption("x", "1"), PassOption("y", "a"), PassOption("b", None))
    assert parse_options(text, START) == expected


@pytest.mark.parametrize("text", ["x=1}", "{x=1", "{x=1} y"])
def test_faulty_options_alone(text: str) -> None:
    with pytest.raises(DiagnosticError):
        parse_options(text, START)


NAMES = st.from_regex(r"[A-Za-z_][\w.-]{0,8}", fullmatch=True)
KEYS = st.from_regex(r"[A-Za-z_][\w-]{0,8}", fullmatch=True)
VALUES = st.none() | st.text(max_size=20)


@given(
    st.lists(
        st.builds(
            lambda name, options: PassSpecification(
                name, tuple(PassOption(*item) for item in options.items())
            ),
            NAMES,
            st.dictionaries(KEYS, VALUES, max_size=3),
        ),
        max_size=4,
    )
)
def test_what_is_printed_reads_back(passes: list[PassSpecification]) -> None:
    assert parse_pipeline(print_pipeline(passes), START) == passes


@given(st.text(alphabet="ab{}(),= \"'\\-.x1", max_size=30))
def test_no_text_makes_it_fail_otherwise(text: str) -> None:
    try:
        passes = parse_pipeline(text, START)
    except DiagnosticError as error:
        place = error.diagnostics[0].location.file_position()
        assert place is not None and 1 <= place.column <= len(text) + 1
    else:
        assert parse_pipeline(print_pipeline(passes), START) == passes
