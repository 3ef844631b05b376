"""Check lines rewritten: where they go, what they say, and that they accept what they are of."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nvdla_ir.ir.diagnostics import DiagnosticError, render
from nvdla_ir.testing.commands import COMMANDS
from nvdla_ir.testing.golden import is_generated, updated
from nvdla_ir.testing.runner import RunLineError, Runner
from nvdla_ir.testing.script import parse_script
from nvdla_ir.tools.update_golden import main

NOTE = "// NOTE: python -m nvdla_ir.tools.update_golden writes the checks of this file\n"


def update(file: Path, *flags: str) -> tuple[int, str, str]:
    stdout, stderr = io.StringIO(), io.StringIO()
    status = main([str(file), *flags], io.StringIO(), stdout, stderr)
    return status, stdout.getvalue(), stderr.getvalue()


def rewritten(file: Path, text: str, *flags: str) -> str:
    """The file with ``text`` after the tool ran; running it again must change nothing."""
    file.write_text(text)
    status, _, told = update(file, *flags)
    assert (status, told) == (0, "")
    result = file.read_text()
    assert update(file) == (0, "", "")
    assert file.read_text() == result
    return result


def faults(file: Path, text: str) -> str:
    file.write_text(text)
    status, shown, told = update(file)
    assert (status, shown) == (1, "")
    assert file.read_text() == text
    return told.replace(str(file), file.name)


def check(file: Path, text: str) -> None:
    """Run the RUN lines of ``text``."""
    file.write_text(text)
    runner = Runner(file, file.name, file.with_suffix(".tmp"))
    for run_line in parse_script(text, file.name).run_lines:
        runner.run(run_line)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "test.ir"


RUN = "// RUN: nvdla-opt %s | filecheck %s\n"
IDENTITY = "func.func @{}(%x: tensor<4xf32>) -> tensor<4xf32> {{\n  func.return %x\n}}\n"


# -------------------------------------------------------------- where checks go


def test_checks_of_one_function(file: Path) -> None:
    assert rewritten(file, f"{RUN}{IDENTITY.format('main')}") == (
        f"{NOTE}{RUN}\n"
        "// CHECK-LABEL: func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {\n"
        "// CHECK-NEXT:    func.return %x\n"
        "// CHECK-NEXT:  }\n"
        f"{IDENTITY.format('main')}"
    )


def test_old_checks_go_and_other_comments_stay(file: Path) -> None:
    text = (
        "// CHECK: above\n\n// All about identity.\n"
        f"{RUN}// REQUIRES: !windows\n\n// CHECK-LABEL: old\n\n// CHECK-SAME: older\n"
        "// OTHER-CHECK: stays\n// Says what follows.\n"
        "func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {\n"
        "  // CHECK-NOT: old\n  // Says more.\n  func.return %x\n}\n\n// CHECK-DAG{LITERAL}: [[\n"
    )
    assert rewritten(file, text) == (
        f"{NOTE}// All about identity.\n{RUN}// REQUIRES: !windows\n\n"
        "// OTHER-CHECK: stays\n// Says what follows.\n"
        "// CHECK-LABEL: func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {\n"
        "// CHECK-NEXT:    func.return %x\n"
        "// CHECK-NEXT:  }\n"
        "func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {\n"
        "  // Says more.\n  func.return %x\n}\n"
    )


def test_each_section_gets_its_own_checks(file: Path) -> None:
    run = RUN.replace("nvdla-opt", "nvdla-opt --split-input-file")
    one, two, three = (IDENTITY.format(name) for name in ("one", "two", "three"))
    result = rewritten(
        file,
        f"{run}\n{one}\n// -----\n\n// About two and three.\n{two}\n{three}"
        f"// -----\nmodule attributes {{x.a = 1}} {{\n{one}}}\n",
    )
    check_two, check_three = (
        f"// CHECK-LABEL: func.func @{name}(%x: tensor<4xf32>) -> tensor<4xf32> {{\n"
        "// CHECK-NEXT:    func.return %x\n// CHECK-NEXT:  }\n"
        for name in ("two", "three")
    )
    assert (
        f"\n// -----\n\n// About two and three.\n{check_two}{two}\n{check_three}{three}// -----\n"
        "// CHECK:       module attributes {x.a = 1} {\n"
        "// CHECK-LABEL:   func.func @one(%x: tensor<4xf32>) -> tensor<4xf32> {\n"
        "// CHECK-NEXT:      func.return %x\n"
        "// CHECK-NEXT:    }\n"
        "// CHECK-NEXT:  }\n"
        "module attributes {x.a = 1} {\n"
    ) in result


def test_each_prefix_gets_its_own_checks(file: Path) -> None:
    generic = "// RUN: nvdla-opt --mlir-print-op-generic %s | FileCheck %s --check-prefix=GENERIC\n"
    result = rewritten(file, f"{RUN}{generic}{IDENTITY.format('main')}")
    assert result == (
        f"{NOTE}{RUN}{generic}\n"
        "// CHECK-LABEL: func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {\n"
        "// CHECK-NEXT:    func.return %x\n"
        "// CHECK-NEXT:  }\n"
        "\n"
        '// GENERIC:       "builtin.module"() ({\n'
        '// GENERIC-NEXT:    "func.func"() <{sym_name = "main", function_type = '
        "(tensor<4xf32>) -> tensor<4xf32>}> ({\n"
        "// GENERIC-NEXT:    ^bb0(%x: tensor<4xf32>):\n"
        '// GENERIC-NEXT:      "func.return"(%x) : (tensor<4xf32>) -> ()\n'
        "// GENERIC-NEXT:    }) : () -> ()\n"
        "// GENERIC-NEXT:  }) : () -> ()\n"
        f"{IDENTITY.format('main')}"
    )


def test_checks_stay_clear_of_expected_diagnostics(file: Path) -> None:
    code = f"// About main.\n// expected-remark@+1 {{{{text}}}}\n{IDENTITY.format('main')}"
    result = rewritten(file, f"{RUN}\n{code}")
    assert result.endswith(f"// CHECK-NEXT:  }}\n{code}")


def test_a_file_without_operations(file: Path) -> None:
    assert rewritten(file, "// RUN: echo a | filecheck %s\n\n// CHECK: b\n") == (
        f"{NOTE}// RUN: echo a | filecheck %s\n\n// CHECK:       a\n"
    )


def test_line_ends_of_windows_are_kept(file: Path) -> None:
    file.write_bytes(b"// RUN: echo a | filecheck %s\r\n// CHECK: b\r\nmodule {}\r\n")
    assert update(file)[0] == 0
    lines = file.read_bytes().split(b"\r\n")
    assert b"// CHECK:       a" in lines
    assert not any(b"\n" in line for line in lines)


# -------------------------------------------------------------- what checks say


def test_values_become_variables_and_stay_so(file: Path) -> None:
    code = (
        "func.func @main(%data: tensor<2xf32>, %0: tensor<2xf32>) -> tensor<2xf32> {\n"
        "  %DATA = nn.add %data, %0 -> tensor<2xf32>\n  func.return %DATA\n}\n"
    )
    result = rewritten(file, f"{RUN}{code}", "--captures")
    assert [line for line in result.splitlines() if "CHECK" in line] == [
        "// CHECK-LABEL: func.func @main(",
        "// CHECK-SAME:  [[DATA:%[^ ,:)#]+]]: tensor<2xf32>, "
        "[[V0:%[^ ,:)#]+]]: tensor<2xf32>) -> tensor<2xf32> {",
        "// CHECK-NEXT:    [[DATA_2:%[^ ,:)#]+]] = nn.add [[DATA]], [[V0]] -> tensor<2xf32>",
        "// CHECK-NEXT:    func.return [[DATA_2]]",
        "// CHECK-NEXT:  }",
    ]
    # The checks accept other names, but not another use of them.
    check(file, result.replace("%DATA", "%sum").replace("%0", "%one"))
    with pytest.raises(RunLineError):
        check(file, result.replace("add %data, %0", "add %data, %data"))
    assert "[[" not in rewritten(file, result, "--no-captures")


def test_brackets_that_filecheck_would_read_are_escaped(file: Path) -> None:
    output = "a [[X]] b {{c}} dense<[[1.0]]>"
    text = f"// RUN: echo '{output}' | filecheck %s\n"
    assert f"// CHECK{{LITERAL}}: {output}\n" in rewritten(file, text)
    result = rewritten(file, f"// RUN: echo '{output}' %s | filecheck %s\n")
    assert r"// CHECK:       a {{\[\[}}X]] b {{\{\{}}c}} dense<{{\[\[}}1.0]]>" in result


def test_paths_and_own_line_numbers_become_patterns(file: Path) -> None:
    text = (
        "// RUN: not nvdla-opt %s 2>&1 | filecheck %s\n"
        "// RUN: echo 'loc(\"%s\":7:1)' %t %S/a/b | filecheck %s --check-prefix=PATHS\n"
        "func.func @main() {\n  func.return %x\n}\n"
    )
    result = rewritten(file, text)
    assert "// CHECK:       {{.*}}test.ir:{{[0-9]+}}:15: error: use of undefined value" in result
    assert (
        '// PATHS:       loc("{{.*}}test.ir":{{[0-9]+}}:1) {{.*}}test.ir.tmp {{.*}}a/b\n' in result
    )
    assert str(file.parent) not in result


def test_empty_lines_and_options_of_filecheck(file: Path) -> None:
    def tool(argv: Sequence[str], stdin: TextIO, stdout: TextIO, stderr: TextIO) -> int:
        stdout.write("a  b\n  c [[d]]\n\n  e\n  \nf\n")
        return 0

    for options in ("", " --match-full-lines", " --strict-whitespace --match-full-lines"):
        text = f"// RUN: tool | filecheck %s{options}\n"
        file.write_text(text)
        result = updated(file, text, "test.ir", None, {**COMMANDS, "tool": tool})
        assert result.count("CHECK") == 6
        assert "// CHECK-EMPTY:\n" in result


def test_files_that_filecheck_reads_itself(file: Path) -> None:
    text = (
        "// RUN: echo a > %t\n// RUN: filecheck %s < %t\n"
        "// RUN: echo b > %t && filecheck %s --input-file=%t --check-prefix=B\n"
    )
    result = rewritten(file, text)
    assert "// CHECK:       a\n" in result
    assert "// B:       b\n" in result


@given(st.text(st.sampled_from('[]{}<>%:=x1 .*()\\|"^$,-'), min_size=1, max_size=40))
def test_checks_accept_the_output_they_are_made_from(output: str) -> None:
    def tool(argv: Sequence[str], stdin: TextIO, stdout: TextIO, stderr: TextIO) -> int:
        stdout.write(f"first\n{output}\nfunc.func @f(%a: i1) {{\n{output}\n}}\n")
        return 0

    file = Path("/nowhere/test.ir")
    for flags in ("", " --match-full-lines"):
        text = f"// RUN: tool | filecheck %s{flags}\n"
        for captures in (False, True):
            # The function itself checks it.
            updated(file, text, "test.ir", captures, {"tool": tool, "cat": COMMANDS["cat"]})


# -------------------------------------------------------------- the command


def test_the_difference_is_shown(file: Path) -> None:
    text = "// RUN: echo new | filecheck %s\n// CHECK: old\n"
    file.write_text(text)
    status, shown, told = update(file, "--check")
    assert (status, told, file.read_text()) == (1, "", text)
    assert shown == (
        f"--- {file} (old)\n+++ {file} (new)\n@@ -1,2 +1,4 @@\n{NOTE.replace('//', '+//')}"
        " // RUN: echo new | filecheck %s\n-// CHECK: old\n+\n+// CHECK:       new\n"
    )
    assert update(file) == (0, shown, "")
    assert update(file, "--dry-run") == (0, "", "")


def test_a_folder_stands_for_its_generated_tests(tmp_path: Path) -> None:
    texts = {
        "a/generated.ir": f"{NOTE}// RUN: echo b | filecheck %s\n// CHECK: old\n",
        "a/written.ir": "// RUN: echo b | filecheck %s\n// CHECK: old\n",
        "a/Inputs/generated.ir": f"{NOTE}// RUN: echo b | filecheck %s\n// CHECK: old\n",
    }
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert update(tmp_path)[0] == 0
    changed = [name for name, text in texts.items() if (tmp_path / name).read_text() != text]
    assert changed == ["a/generated.ir"]
    assert is_generated((tmp_path / "a/generated.ir").read_text())


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colours_on_a_terminal(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    file.write_text("// RUN: echo '[b]new' | filecheck %s\n// CHECK: old\n")
    stdout = Terminal()
    assert main([str(file)], io.StringIO(), stdout, io.StringIO()) == 0
    assert "\x1b[31m-// CHECK: old\x1b[0m" in stdout.getvalue()
    assert "\x1b[32m+// CHECK:       [b]new\x1b[0m" in stdout.getvalue()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "module {}\n",
            "test.ir:1:1: error: no RUN line ends in 'filecheck %s': there are no checks to make",
        ),
        (
            "\n// RUN: nvdla-opt %s > %t && filecheck %s < %S/none\n",
            "test.ir:2:1: error: cannot redirect to or from",
        ),
        (
            "// RUN: echo a | filecheck %s --check-prefixes=A,B\n",
            "test.ir:1:1: error: checks are made for one prefix of a filecheck, and this one has "
            "A, B",
        ),
        (
            "// RUN: echo a | filecheck %s --unheard-of\n",
            "test.ir:1:1: error: filecheck: Unconsumed arguments: ['test.ir', '--unheard-of'",
        ),
        (
            "// RUN: echo a | filecheck %s\n// RUN: echo b | filecheck %s\n",
            "test.ir:2:1: error: the prefix CHECK is for two different outputs; use another with "
            "--check-prefix\n// RUN: echo b | filecheck %s\n^\ntest.ir:1:1: note: the other output "
            "is of this line",
        ),
        (
            "// RUN: cp %s %t | filecheck %s\n",
            "test.ir:1:1: error: there is no output to be checked",
        ),
        (
            "// RUN: sed %s | filecheck %s\n",
            "test.ir:1:1: error: unknown command 'sed'",
        ),
        (
            "// RUN: nvdla-opt %s | filecheck %s\nfunc.func @main() {\n  func.return %x\n}\n",
            "test.ir:1: RUN: nvdla-opt %s | filecheck %s",
        ),
    ],
)
def test_faults_are_told_and_the_file_stays(file: Path, text: str, message: str) -> None:
    assert message in faults(file, text)


def test_faults_of_one_file_do_not_keep_others_from_being_updated(tmp_path: Path) -> None:
    bad, good = tmp_path / "bad.ir", tmp_path / "good.ir"
    bad.write_text("module {}\n")
    good.write_text("// RUN: echo a | filecheck %s\n")
    status, shown, told = update(bad, str(good), str(tmp_path / "none.ir"))
    assert status == 1
    assert "good.ir (new)" in shown
    assert "bad.ir:1:1: error" in told
    assert "cannot read" in told


def test_wrong_usage(file: Path) -> None:
    stderr = io.StringIO()
    assert main([], io.StringIO(), io.StringIO(), stderr) == 2
    assert "usage: update_golden" in stderr.getvalue()
    assert update(Path("-"))[0] == 1


def test_errors_are_of_the_runner(file: Path) -> None:
    with pytest.raises(RunLineError):
        updated(file, "// RUN: cat none | filecheck %s\n", "shown.ir")
    with pytest.raises(DiagnosticError) as error:
        updated(file, "// RUN: cat none |\n", "shown.ir")
    assert render(error.value.diagnostics[0]).startswith("shown.ir:1:1: error: a command is miss")
