"""The same files under LLVM's lit: what passes and fails there passes and fails here."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("lit")
pytest_plugins = ["pytester"]

CONFIGURATION = Path(__file__).resolve().parents[2] / "lit" / "lit.cfg.py"
MODULE = "func.func @main(%a: i32) {\n  func.return\n}\n"

PASS = {
    "pipes": "// RUN: nvdla-opt %s | nvdla-opt - | filecheck %s\n// CHECK: func.func @main\n",
    "files": "// RUN: mkdir -p %t && nvdla-opt %s -o %t/a \\\n// RUN: && nvdla-opt < %t/a > %t/b\n"
    "// RUN: diff %t/a %t/b && cp %t/a %t/c\n// RUN: FileCheck --input-file=%t/c %s\n"
    "// CHECK: func.func @main\n",
    "errors": "// RUN: not nvdla-opt --unheard-of %s 2>&1 | filecheck %s\n// CHECK: unheard-of\n",
    "quotes": "// RUN: echo 'a | b' \"%%s\" | filecheck %s\n// CHECK: a | b %{{s}}\n",
    "folder": "// RUN: cat %S/Inputs/input.ir > copy.ir && nvdla-opt copy.ir\n",
    "Inputs/input": "",
}
FAIL = {
    "check": "// RUN: nvdla-opt %s | filecheck %s\n// CHECK: func.func @other\n",
    "status": "// RUN: not nvdla-opt %s\n",
    "first": "// RUN: not nvdla-opt %s && echo a\n// RUN: echo b\n",
    "pipe": "// RUN: nvdla-opt --unheard-of %s | echo a\n",
}
SKIP = {"requires": "// RUN: nvdla-opt --unheard-of\n// REQUIRES: unheard-of\n"}


def test_lit_and_pytest_agree(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:hypothesispytest")
    folder = pytester.path / "tests" / "lit"
    (folder / "Inputs").mkdir(parents=True)
    shutil.copy(CONFIGURATION, folder)
    for name, text in {**PASS, **FAIL, **SKIP}.items():
        (folder / f"{name}.ir").write_text(text + MODULE)
    tests = len(PASS) - 1

    result = pytester.runpytest_inprocess()
    result.assert_outcomes(passed=tests, failed=len(FAIL), skipped=len(SKIP))
    failed = {line.split("/")[-1].split(".")[0] for line in result.outlines if "FAILED" in line}
    assert failed == set(FAIL)

    report = pytester.path / "report.json"
    run_lit = "from lit.main import main; main()"
    subprocess.run(
        [sys.executable, "-c", run_lit, "-q", "--output", str(report), str(folder)],
        capture_output=True,
        check=False,
    )
    codes = {
        Path(test["name"].split(" :: ")[1]).stem: test["code"]
        for test in json.loads(report.read_text())["tests"]
    }
    assert codes == {
        **{name: "PASS" for name in PASS if "/" not in name},
        **dict.fromkeys(FAIL, "FAIL"),
        **dict.fromkeys(SKIP, "UNSUPPORTED"),
    }
