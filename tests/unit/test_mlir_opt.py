"""LLVM's mlir-opt reads the generic form of every golden test's IR, and of the digits networks at
every stage of compilation. Skipped where mlir-opt (Debian: mlir-19-tools) is not installed."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nvdla_ir.text.printer import PrintOptions
from nvdla_ir.tools import nvdla_opt
from nvdla_ir.tools.module_files import text_with_resources

ROOT = Path(__file__).resolve().parents[2]
MLIR_OPT = shutil.which("mlir-opt-19") or shutil.which("mlir-opt")
GENERIC = PrintOptions(generic=True, locations=True)

pytestmark = pytest.mark.skipif(MLIR_OPT is None, reason="mlir-opt is not installed")


def golden_files() -> list[Path]:
    """The golden tests whose IR is correct."""
    files = sorted((ROOT / "tests" / "lit").rglob("*.ir"))
    return [
        file
        for file in files
        if "Inputs" not in file.parts and "expected-error" not in file.read_text(encoding="utf-8")
    ]


def accepted_by_mlir(text: str, *flags: str) -> None:
    done = subprocess.run(
        [str(MLIR_OPT), "--allow-unregistered-dialect", *flags, "-"],
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[:2000]


@pytest.mark.parametrize("file", golden_files(), ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_golden_ir(file: Path) -> None:
    stdout, stderr = io.StringIO(), io.StringIO()
    status = nvdla_opt.main(
        [
            str(file),
            "--split-input-file",
            "--mlir-print-op-generic",
            "--mlir-print-debuginfo",
            "--allow-unregistered-dialect",
        ],
        io.StringIO(),
        stdout,
        stderr,
    )
    if status != 0:
        pytest.skip("the file's IR is not correct by itself: its commands expect an error")
    accepted_by_mlir(stdout.getvalue(), "--split-input-file")


@pytest.mark.parametrize("network", ["lenet", "resnet"])
@pytest.mark.parametrize("target", ["nv_small", "nv_large", "nv_full"])
def test_every_stage_of_the_digits_networks(network: str, target: str) -> None:
    sys.path.insert(0, str(ROOT / "examples" / "digits"))
    try:
        from digits import compile_stages
    finally:
        sys.path.pop(0)
    stages = 0
    for stage in compile_stages(network, target):
        accepted_by_mlir(text_with_resources(stage.module, stage.resources, GENERIC))
        stages += 1
    assert stages == 5
