"""Keywords in test files."""

from __future__ import annotations

import pytest

from nvdla_ir.ir.diagnostics import DiagnosticError, render
from nvdla_ir.testing.script import RunLine, Script, parse_script


def test_run_lines_with_continuation() -> None:
    text = (
        "// RUN: a %s \\\n// RUN:   | b \\\n// something else\n//RUN: --c\nmodule {}\n// RUN: d\n"
    )
    assert parse_script(text, "t.ir").run_lines == (RunLine(1, "a %s | b --c"), RunLine(6, "d"))


@pytest.mark.parametrize(
    "text", ["", "module {}\n", "// the RUN: word\n", "// PRE-RUN: a\n", '"RUN: a"\n', "# RUN: a\n"]
)
def test_a_file_without_run_lines_is_no_test(text: str) -> None:
    assert parse_script(text, "t.ir") == Script()


def test_line_ends_of_windows() -> None:
    assert parse_script("// RUN: a \\\r\n// RUN: b\r\n", "t.ir").run_lines == (RunLine(1, "a b"),)


def test_conditions() -> None:
    text = (
        "// RUN: a\n// REQUIRES: onnx, !windows\n// REQUIRES: big-memory\n"
        "// UNSUPPORTED: slow\n// XFAIL: broken-gcc, !net\n"
    )
    script = parse_script(text, "t.ir")
    assert script.skip_reason({"onnx", "big-memory"}) is None
    assert script.skip_reason({"onnx", "big-memory", "windows"}) == "requires !windows"
    assert script.skip_reason(set()) == "requires onnx, big-memory"
    assert script.skip_reason({"onnx", "big-memory", "slow"}) == "unsupported with slow"
    assert script.xfail_reason({"net"}) is None
    assert script.xfail_reason({"net", "broken-gcc"}) == "XFAIL: broken-gcc"
    assert script.xfail_reason(set()) == "XFAIL: !net"
    assert parse_script("// RUN: a\n// XFAIL: *\n", "t.ir").xfail_reason(set()) == "XFAIL: *"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "// RUN: a\n// RUN: b \\\nmodule {}\n",
            "t.ir:2:1: error: the RUN line ends in '\\', but no other RUN line follows that would "
            "continue it",
        ),
        (
            "// RUN: a\n  // REQUIRES: b && c\n",
            "t.ir:2:15: error: REQUIRES takes a list of features, 'name' or '!name' separated by "
            "commas; 'b && c' is not one",
        ),
        (
            "// RUN: a\n// UNSUPPORTED: *\n",
            "t.ir:2:16: error: UNSUPPORTED takes a list of features, 'name' or '!name' separated "
            "by commas; '*' is not one",
        ),
    ],
)
def test_mistakes_are_told_with_their_place(text: str, message: str) -> None:
    with pytest.raises(DiagnosticError) as error:
        parse_script(text, "t.ir")
    assert [render(diagnostic) for diagnostic in error.value.diagnostics] == [message]
