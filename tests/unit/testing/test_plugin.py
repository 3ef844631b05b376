"""The pytest plug-in in projects of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest_plugins = ["pytester"]

PASSES = "// RUN: cat %s | filecheck %s\n// CHECK: text\nsome text\n"
FAILS = "\n// RUN: cat %s \\\n// RUN:   | filecheck %s\n// CHECK: other {{x}}\nsome text\n"


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A project with a test that passes in ``tests/lit/a/passes.ir``."""
    # Loading hypothesis takes longer than all else here.
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:hypothesispytest")
    folder = pytester.mkdir("tests") / "lit" / "a"
    folder.mkdir(parents=True)
    (folder / "passes.ir").write_text(PASSES)
    return pytester


def write(project: pytest.Pytester, path: str, text: str) -> None:
    file = project.path / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def test_tests_are_collected_where_they_are(project: pytest.Pytester) -> None:
    write(project, "tests/lit/module.ir", "module {}\n")
    write(project, "tests/lit/other.txt", PASSES)
    write(project, "tests/lit/a/Inputs/input.ir", PASSES)
    write(project, "tests/lit/a/Output/passes.ir.tmp.ir", PASSES)
    write(project, "elsewhere/passes.ir", PASSES)
    result = project.runpytest_inprocess("--collect-only", "-q")
    result.assert_outcomes()
    assert [line for line in result.outlines if "::" in line] == ["tests/lit/a/passes.ir::RUN"]


def test_a_file_named_on_the_command_line_is_a_test_anywhere(project: pytest.Pytester) -> None:
    write(project, "elsewhere/Inputs/passes.ir", PASSES)
    project.runpytest_inprocess("elsewhere/Inputs/passes.ir").assert_outcomes(passed=1)


def test_folders_are_an_option(project: pytest.Pytester) -> None:
    write(project, "golden/one.ir", PASSES)
    write(project, "more/two.ir", PASSES)
    write(project, "pytest.ini", "[pytest]\nnvdla_lit_paths = golden more\n")
    project.runpytest_inprocess().assert_outcomes(passed=2)


def test_files_that_are_not_utf8_are_tests(project: pytest.Pytester) -> None:
    file = project.path / "tests/lit/bytes.ir"
    file.write_bytes(b"// RUN: not filecheck %s < %s\n\xff\xfe\n")
    project.runpytest_inprocess(str(file)).assert_outcomes(passed=1)


def test_a_failure_is_told_without_a_traceback(project: pytest.Pytester) -> None:
    write(project, "tests/lit/a/fails.ir", FAILS)
    result = project.runpytest_inprocess()
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            "*tests/lit/a/fails.ir*",
            "tests/lit/a/fails.ir:2: RUN: cat %s | filecheck %s",
            "which ran cat *fails.ir",
            "*| filecheck *fails.ir",
            "'filecheck' ended with exit status 1:",
            '*fails.ir:4: error: Couldn\'t match "other {{x}}".',
            "FAILED tests/lit/a/fails.ir::RUN*",
        ]
    )
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*runner.py*")


def test_an_unknown_command_is_told_with_its_place(project: pytest.Pytester) -> None:
    write(project, "tests/lit/a/unknown.ir", "\n// RUN: grep a %s\n")
    result = project.runpytest_inprocess("tests/lit/a/unknown.ir")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["tests/lit/a/unknown.ir:2:1: error: unknown command 'grep'*", "// RUN: grep a %s", "^"]
    )


def test_a_wrong_keyword_is_told_when_tests_are_collected(project: pytest.Pytester) -> None:
    write(project, "tests/lit/a/wrong.ir", "// RUN: cat %s\n// REQUIRES: a || b\n")
    result = project.runpytest_inprocess()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["tests/lit/a/wrong.ir:2:13: error: REQUIRES takes a list of*"])


def test_a_project_adds_commands_and_features(project: pytest.Pytester) -> None:
    project.makeconftest(
        """
        def shout(argv, stdin, stdout, stderr):
            print(stdin.read().upper(), file=stdout)
            return 0

        def pytest_nvdla_lit_commands(config):
            return {"shout": shout}

        def pytest_nvdla_lit_features(config):
            return ["voice"]
        """
    )
    write(project, "tests/lit/b/shout.ir", "// RUN: shout < %s | filecheck %s\n// CHECK: HI\nhi\n")
    write(project, "tests/lit/b/requires.ir", f"// REQUIRES: ears\n{FAILS}")
    write(project, "tests/lit/b/unsupported.ir", f"// UNSUPPORTED: voice\n{FAILS}")
    write(project, "tests/lit/b/expected.ir", f"// XFAIL: voice\n{FAILS}")
    write(project, "tests/lit/b/unexpected.ir", f"// XFAIL: *\n{PASSES}")
    result = project.runpytest_inprocess("tests/lit/b", "-rs")
    result.assert_outcomes(passed=1, skipped=2, xfailed=1, failed=1)
    result.stdout.fnmatch_lines(["*XPASS(strict)*XFAIL: [*]*"])
    result.stdout.fnmatch_lines_random(["*requires ears*", "*unsupported with voice*"])


def test_temporary_files_are_apart_and_kept_with_those_of_pytest(project: pytest.Pytester) -> None:
    for name in ("one", "two"):
        write(project, f"tests/lit/b/{name}.ir", "// RUN: cat %s > %t && cp %t same\n")
    base = project.path / "base"
    project.runpytest_inprocess("tests/lit/b", f"--basetemp={base}").assert_outcomes(passed=2)
    found = sorted(path.name for path in base.rglob("*") if path.is_file())
    assert found == ["one.ir.tmp", "same", "same", "two.ir.tmp"]


def test_tests_run_in_several_processes(project: pytest.Pytester) -> None:
    pytest.importorskip("xdist")
    for number in range(6):
        write(project, f"tests/lit/b/{number}.ir", f"// RUN: cat %s > %t\n{PASSES}")
    write(project, "tests/lit/b/fails.ir", FAILS)
    project.runpytest_inprocess("-n", "2").assert_outcomes(passed=7, failed=1)


def test_loading_the_plugin_loads_nothing_else_of_the_project() -> None:
    code = (
        "import sys, pytest; before = set(sys.modules); import nvdla_ir.testing.plugin; "
        "print(*sorted(set(sys.modules) - before))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == ["nvdla_ir", "nvdla_ir.testing", "nvdla_ir.testing.plugin"]
