"""nvdla-opt --verify-diagnostics and --split-input-file."""

from __future__ import annotations

from pathlib import Path

import pytest
from opt_tool import opt, opt_text

from nvdla_ir.ir.diagnostics import Diagnostic
from nvdla_ir.ir.location import UNKNOWN, FileLineCol
from nvdla_ir.tools.expected_diagnostics import ExpectedDiagnostics

VERIFY = "--verify-diagnostics"
SPLIT = "--split-input-file"
UNKNOWN_OP = '"t.x"() : () -> ()'
UNKNOWN_MESSAGE = "unknown operation 't.x'"
UNEXPECTED = f"error: unexpected error: {UNKNOWN_MESSAGE}: dialect 't' is not known"


# -------------------------------------------------------------- expected diagnostics


@pytest.mark.parametrize(
    "text",
    [
        f"{UNKNOWN_OP} // expected-error {{{{{UNKNOWN_MESSAGE}}}}}\n",
        f"// expected-error@+1 {{{{{UNKNOWN_MESSAGE}}}}}\n{UNKNOWN_OP}\n",
        f"{UNKNOWN_OP}\n// expected-error@-1 {{{{{UNKNOWN_MESSAGE}}}}}\n",
        f"// expected-error@below {{{{{UNKNOWN_MESSAGE}}}}}\n// expected-error @+1 {{{{'t'}}}}\n"
        f"{UNKNOWN_OP} {UNKNOWN_OP}\n",
        f"{UNKNOWN_OP}\n\n// expected-error@-2 {{{{{UNKNOWN_MESSAGE}}}}}\n",
        f"{UNKNOWN_OP}\n// expected-error@above {{{{{UNKNOWN_MESSAGE}}}}}\n",
        f"// expected-error-re@+1 {{{{unknown {{{{op.*n}}}} 't{{{{[.]}}}}x'}}}}\n{UNKNOWN_OP}\n",
    ],
)
def test_expected_errors_are_found(text: str) -> None:
    result = opt_text(text, VERIFY)
    assert (result.status, result.output, result.errors) == (0, "", "")


@pytest.mark.parametrize(
    ("comment", "messages"),
    [
        (
            "// expected-error@+1 {{other}}",
            [
                f"<stdin>:2:1: {UNEXPECTED}",
                '<stdin>:1:4: error: expected error "other" was not produced',
            ],
        ),
        (
            f"// expected-warning@+1 {{{{{UNKNOWN_MESSAGE}}}}}",
            [
                f"<stdin>:2:1: {UNEXPECTED}",
                f'<stdin>:1:4: error: expected warning "{UNKNOWN_MESSAGE}" was not produced',
            ],
        ),
        ("", ["<stdin>:2:1: error: unexpected error: "]),
    ],
)
def test_unexpected_and_missing_ones_are_told(comment: str, messages: list[str]) -> None:
    result = opt_text(f"{comment}\n{UNKNOWN_OP}\n", VERIFY)
    assert result.status == 1
    for message in messages:
        assert any(line.startswith(message) for line in result.messages), result.errors


def test_a_wrong_regular_expression_is_told() -> None:
    result = opt_text(f"// expected-error-re@+1 {{{{a{{{{(}}}}}}}}\n{UNKNOWN_OP}\n", VERIFY)
    assert "<stdin>:1:4: error: the regular expression is wrong: " in result.errors


def test_an_expectation_counts_once() -> None:
    text = f"// expected-error@+1 {{{{t.x}}}}\n{UNKNOWN_OP} {UNKNOWN_OP}\n"
    assert opt_text(text, VERIFY).messages == [f"<stdin>:2:20: {UNEXPECTED}"]


def test_notes_are_expected_too() -> None:
    text = (
        'module {{\n{note}\n%a = "builtin.x"() : () -> i8\n'
        "// expected-error@+1 {{{{redefinition of value '%a'}}}}\n"
        '%a = "builtin.x"() : () -> i8\n}}\n'
    )
    allow = "--allow-unregistered-dialect"
    text = text.replace("builtin.x", "t.x")
    note = "// expected-note@+1 {{previously defined here}}"
    assert opt_text(text.format(note=note), VERIFY, allow).errors == ""
    assert opt_text(text.format(note=""), VERIFY, allow).messages == [
        "<stdin>:3:1: error: unexpected note: previously defined here"
    ]
    assert opt_text(text.format(note=""), f"{VERIFY}=only-expected", allow).errors == ""


def test_valid_text_is_printed() -> None:
    result = opt_text("module {\n}\n", VERIFY)
    assert (result.status, result.output) == (0, "module {\n}\n")


def test_places_without_a_line_in_the_input() -> None:
    expected = ExpectedDiagnostics.read("// expected-remark@unknown {{a}}\n", "x.ir")
    assert expected.check([Diagnostic.remark(FileLineCol("other.json", 1, 1), "ab")]) == []
    expected = ExpectedDiagnostics.read("// expected-remark@unknown {{a}}\n", "x.ir")
    assert expected.check([Diagnostic.remark(UNKNOWN, "ab")]) == []
    expected = ExpectedDiagnostics.read("// expected-remark {{a}}\n", "x.ir")
    assert len(expected.check([Diagnostic.remark(UNKNOWN, "ab")])) == 2


@pytest.mark.parametrize("designator", ["above", "below"])
def test_a_comment_with_no_line_to_refer_to(designator: str) -> None:
    expected = ExpectedDiagnostics.read(f"// expected-error@{designator} {{{{a}}}}", "x.ir")
    faults = [fault.message for fault in expected.check([])]
    assert f"there is no line {designator} this comment" in faults


# -------------------------------------------------------------- split inputs


def test_parts_are_inputs_of_their_own() -> None:
    text = "module @a {\n}\n// -----\nmodule @b {\n}\n"
    assert opt_text(text, SPLIT).output == "module @a {\n}\n\n// -----\nmodule @b {\n}\n"
    # What is printed can be split again.
    assert opt_text(opt_text(text, SPLIT).output, SPLIT).output == opt_text(text, SPLIT).output


def test_lines_are_those_of_the_whole_file() -> None:
    text = f"module {{}}\n\n// -----\n\n{UNKNOWN_OP}\n\n// -----\n\n{UNKNOWN_OP}\n"
    result = opt_text(text, SPLIT)
    assert (result.status, result.output) == (1, "")
    assert [line.split(": ")[0] for line in result.messages] == ["<stdin>:5:1", "<stdin>:9:1"]
    assert result.errors.splitlines()[1] == UNKNOWN_OP


def test_a_name_may_be_used_again_in_another_part() -> None:
    text = "func.func @f() {\n  func.return\n}\n"
    assert opt_text(f"{text}{text}").status == 1
    assert opt_text(f"{text}// -----\n{text}", SPLIT).status == 0


def test_each_part_has_its_expectations() -> None:
    part = f"// expected-error@+1 {{{{t.x}}}}\n{UNKNOWN_OP}\n"
    assert opt_text(f"{part}\n// -----\n\n{part}", SPLIT, VERIFY).errors == ""
    assert opt_text(f"{part}\n// -----\n\n{UNKNOWN_OP}", SPLIT, VERIFY).status == 1


def test_a_part_may_be_empty() -> None:
    result = opt_text("module @a {\n}\n// -----\n// nothing\n", SPLIT)
    assert result.output == "module @a {\n}\n\n// -----\nmodule {\n}\n"


def test_resources_of_parts_stay_apart(tmp_path: Path) -> None:
    module = 'module {{\n  "t.a"() {{x = dense_resource<k> : tensor<1xi8>}} : () -> ()\n}}\n'
    entry = 'dialect_resources: {{\n    builtin: {{\n      k: "0x01000000{0}"\n    }}\n  }}'
    part = f"{module}\n{{{{-#\n  {entry}\n#-}}}}\n"
    text = f"{part.format('01')}\n// -----\n{part.format('02')}"
    flags = (SPLIT, "--allow-unregistered-dialect")
    assert opt_text(text, *flags).output == text
    assert opt_text(text, *flags, "-o", tmp_path / "out.ir").status == 0
    assert (tmp_path / "out.ir").read_text() == text
    assert list(tmp_path.iterdir()) == [tmp_path / "out.ir"]


def test_a_file_with_calibration_faults(tmp_path: Path) -> None:
    """Diagnostics about another file are expected without a line."""
    table = tmp_path / "table.json"
    table.write_text("{\n")
    comments = (
        "// expected-error@unknown {{the text ends}}\n// expected-note@unknown {{begins here}}\n"
    )
    result = opt("-", VERIFY, f"--import-calib={table}", stdin=f"{comments}module {{}}\n")
    assert (result.status, result.errors) == (0, "")
