"""What nvdla-opt says about faulty texts: the message and the place."""

from __future__ import annotations

from pathlib import Path

import pytest
from opt_tool import RELU, Stream, opt, opt_text

from nvdla_ir.tools.nvdla_opt import main

HEAD = "func.func @main(%x: tensor<1x8x4x4xf32>) -> tensor<1x8x4x4xf32> {\n"
TYPE = "tensor<1x8x4x4xf32>"

FAULTY = [
    pytest.param(
        f"%a = nn.rellu %x -> {TYPE}",
        "2:6: error: unknown operation 'nn.rellu'; did you mean 'nn.relu'?",
        id="operation",
    ),
    pytest.param(
        f"%a = mm.relu %x -> {TYPE}",
        "2:6: error: unknown operation 'mm.relu': dialect 'mm' is not known",
        id="dialect",
    ),
    pytest.param(
        "%a = nn.relu %x -> tensr<1x8x4x4xf32>",
        "2:20: error: unknown type or attribute 'tensr'",
        id="type",
    ),
    pytest.param(
        "%a = nn.relu %x -> tensor<1x8x4x4x!quant.unifrm<i8:f32, 0.1>>",
        "2:35: error: unknown type '!quant.unifrm' in dialect 'quant'; did you mean 'uniform'?",
        id="type of a dialect",
    ),
    pytest.param(
        f'%a = nn.relu %x layrs=["a"] -> {TYPE}',
        "2:17: error: 'nn.relu' has no attribute 'layrs'; did you mean 'layers'?",
        id="attribute",
    ),
    pytest.param(
        "%a = nn.constant value=#foo.bar",
        "2:24: error: unknown attribute '#foo.bar': dialect 'foo' is not known",
        id="attribute of a dialect",
    ),
    pytest.param(
        f"%a = nn.relu %x, %x -> {TYPE}",
        "2:6: error: 'nn.relu' takes 1 operand (input), but has 2",
        id="operand count",
    ),
    pytest.param(
        f'%a = "nn.relu"(%x) : (tensor<4xf32>) -> {TYPE}',
        "2:15: error: operand 0 has type 'tensor<1x8x4x4xf32>', but the operation's type says "
        "'tensor<4xf32>'",
        id="operand type that differs",
    ),
    pytest.param(
        '%w = "foo.t"() : () -> i8\n%a = nn.relu %w -> tensor<4xf32>',
        "3:6: error: 'nn.relu' has operand 'input' of type 'i8', but it must be ",
        id="operand type that is not taken",
    ),
    pytest.param(
        f"%a = nn.relu %b -> {TYPE}\n%b = nn.relu %x -> {TYPE}",
        "2:14: error: value '%b' is used before its definition",
        id="use before definition",
    ),
    pytest.param(
        f"%a = nn.relu %b -> {TYPE}", "2:14: error: use of undefined value '%b'", id="undefined"
    ),
    pytest.param(
        f"%a = nn.relu %x -> {TYPE}\n%a = nn.relu %x -> {TYPE}",
        "3:1: error: redefinition of value '%a'",
        id="redefinition",
    ),
    pytest.param(
        f'%a = nn.relu %x layers=["a] -> {TYPE}',
        "2:25: error: unterminated string: it must end on its line",
        id="unterminated string",
    ),
    pytest.param("(" * 10_000, "2:1: error: unexpected '('", id="parentheses"),
    pytest.param("%a = nn.relu " + "(" * 10_000, "2:14: error: unexpected '('", id="in an operand"),
    pytest.param(
        f"%a = nn.relu %x -> {'(' * 10_000}", "2:17: error: unexpected '->'", id="in a type"
    ),
]


@pytest.mark.parametrize(("statement", "message"), FAULTY)
def test_faults_are_told_at_their_place(statement: str, message: str) -> None:
    flags = ["--allow-unregistered-dialect"] if "foo.t" in statement else []
    result = opt_text(f"{HEAD}{statement}\nfunc.return %x\n}}\n", *flags)
    assert result.status == 1
    assert result.output == ""
    assert any(line.startswith(f"<stdin>:{message}") for line in result.messages), result.errors


def test_the_source_line_and_a_caret_are_shown() -> None:
    result = opt_text(f"{HEAD}  %a = nn.rellu %x -> {TYPE}\n  func.return %x\n}}\n")
    assert result.errors.splitlines()[1:] == [f"  %a = nn.rellu %x -> {TYPE}", "       ^"]


def test_all_faults_are_told_at_once() -> None:
    result = opt_text(f"{HEAD}%a = nn.rellu %y -> {TYPE}\n%b = nn.reshap %x\nfunc.return %x\n}}\n")
    assert len([line for line in result.messages if "unknown operation" in line]) == 2


def test_notes_point_to_the_other_place() -> None:
    text = f"{HEAD}%a = nn.relu %x -> {TYPE}\n%a = nn.relu %x -> {TYPE}\nfunc.return %x\n}}\n"
    assert "<stdin>:2:1: note: previously defined here" in opt_text(text).messages


def test_bytes_that_are_not_utf_8() -> None:
    result = opt("-", stdin=b"module {\n  // \xff\n}\n")
    assert result.status == 1
    assert result.messages == ["<stdin>:2:6: error: the byte 0xff at offset 14 is not UTF-8"]


def test_bytes_that_are_not_utf_8_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "x.ir"
    file.write_bytes(b"module {}\n\xc3")
    assert opt(file).messages == [f"{file}:2:1: error: the byte 0xc3 at offset 10 is not UTF-8"]


@pytest.mark.parametrize("text", ["", " \n\t\n"])
def test_an_empty_file(text: str) -> None:
    result = opt_text(text)
    assert (result.status, result.output) == (1, "")
    assert result.errors == "<stdin>:1:1: error: the file is empty\n"


def test_a_missing_file(tmp_path: Path) -> None:
    result = opt(tmp_path / "none.ir")
    assert result.status == 1
    assert result.errors == f"error: cannot read '{tmp_path}/none.ir': there is no such file\n"


def test_standard_input_is_read_without_a_file() -> None:
    assert opt(stdin="module @a {\n}\n").output == "module @a {\n}\n"


def test_a_terminal_is_not_waited_for() -> None:
    errors = Stream()
    assert main([], Stream(tty=True), Stream(), errors) == 2
    assert errors.text() == (
        "nvdla-opt: error: there is no input: name a file, or '-' for what you type\n"
    )


def test_a_directory(tmp_path: Path) -> None:
    assert opt(tmp_path).errors == f"error: cannot read '{tmp_path}': it is a directory\n"


def test_unregistered_operations_are_taken_if_allowed() -> None:
    text = 'module {\n  %0 = "foo.bar"() {a = #foo.x<1>} : () -> !foo.type<2>\n}\n'
    assert opt_text(text).status == 1
    assert opt_text(text, "--allow-unregistered-dialect").output == text


def test_operations_at_top_level_get_a_module() -> None:
    result = opt_text(RELU)
    indented = "".join(f"  {line}\n" for line in RELU.splitlines())
    assert result.output == f"module {{\n{indented}}}\n"


def test_a_module_gets_no_other() -> None:
    text = "module @name {\n}\n"
    assert opt_text(text).output == text


# -------------------------------------------------------------- separators


@pytest.mark.parametrize("separator", ["// -----", "  // -----", "\t// -----  ", "// -----\r"])
def test_separators_may_be_indented(separator: str) -> None:
    text = f'"u.a"() : () -> ()\n{separator}\n"u.b"() : () -> ()\n'
    result = opt_text(text, "--split-input-file", "--allow-unregistered-dialect")
    assert (result.status, result.output.count("// -----")) == (0, 1)


@pytest.mark.parametrize("line", ["// ----- second", "  // ------", "// ----", "//-----"])
def test_what_only_looks_like_a_separator_is_told(line: str) -> None:
    text = f'"u.a"() : () -> ()\n{line}\n"u.b"() : () -> ()\n'
    result = opt_text(text, "--split-input-file", "--allow-unregistered-dialect")
    assert result.status == 1
    assert result.messages[0].startswith(f"<stdin>:2:{line.index('/') + 1}: error: inputs are sep")
    assert opt_text(text, "--allow-unregistered-dialect").status == 0
