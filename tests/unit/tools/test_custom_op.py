"""An operation of a user's, in one file outside the package: kernels, rules, golden test."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from opt_tool import opt

from nvdla_ir.dialects import default_context, nn
from nvdla_ir.passes.conversion import converts
from nvdla_ir.testing.commands import COMMANDS

EXAMPLE = Path(__file__).parents[3] / "examples" / "custom_op" / "absolute_value.py"

MODEL = """\
func.func @main(%x: tensor<1x3x6x5xf32>) -> tensor<1x4x6x5xf32> {
  %a = my.abs %x layers=["a"] -> tensor<1x3x6x5xf32>
  %w = nn.constant value=dense<[[[[0.5]], [[-1.0]], [[0.25]]], [[[1.0]], [[0.0]], [[0.0]]],
    [[[-1.0]], [[-1.0]], [[-1.0]]], [[[0.0]], [[0.5]], [[0.5]]]]> : tensor<4x3x1x1xf32>
  %c = nn.conv %a, %w layers=["c"] -> tensor<1x4x6x5xf32>
  %y = my.abs %c layers=["y"] -> tensor<1x4x6x5xf32>
  func.return %y
}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With the plug-in under another name, the model, and images: full range, one-signed, ties."""
    shutil.copy(EXAMPLE, tmp_path / "mine.py")
    (tmp_path / "model.ir").write_text(MODEL)
    rng = np.random.default_rng(3)
    images = rng.uniform(-2.0, 2.0, (6, 3, 6, 5)).astype(np.float32)
    images[1] = -2.0
    images[2] = 2.0
    images[3] = (rng.integers(-255, 256, (3, 6, 5)) + 0.5) / 127
    np.save(tmp_path / "x.npy", images)
    return tmp_path


def run(program: Path, folder: Path, *flags: str, result: str = "y") -> NDArray[Any]:
    """The one output of ``program`` on the images."""
    output = folder / f"{program.name}.npy"
    arguments = [program, "--load-pass-plugin", folder / "mine.py", "--input", f"x={folder}/x.npy"]
    succeed("nvdla-run", *arguments, "--output", f"{result}={output}", *flags)
    return np.load(output)


def succeed(command: str, *arguments: object) -> None:
    errors = io.StringIO()
    status = COMMANDS[command](list(map(str, arguments)), io.StringIO(), io.StringIO(), errors)
    assert status == 0, errors.getvalue()


@pytest.mark.parametrize("target", ["nv_small", "nv_large", "nv_full"])
def test_every_level_computes_it(folder: Path, target: str) -> None:
    """Floats as numpy has them; integers, hardware layers and registers the same bytes."""
    load, table, model = (
        f"--load-pass-plugin={folder}/mine.py",
        folder / "t.json",
        folder / "model.ir",
    )
    succeed("nvdla-calibrate", model, load, "--data", folder / "x.npy", "-o", table, "--jobs=1")
    import_table = f"--import-calib={table}"
    stages = {
        "calibrated": [import_table],
        "integers": [import_table, f"--target={target}", "--quantize"],
        "layers": [import_table, f"--target={target}", "--quantize", "--legalize-to-nvdla"],
        "registers": [import_table, "--quantize", f"--compile={target}"],
    }
    outputs = {"floats": run(model, folder)}
    for stage, flags in stages.items():
        program = folder / f"{stage}.ir"
        result = opt(load, *flags, model, "-o", program)
        assert result.status == 0, result.errors
        name = "y" if stage == "calibrated" else "y_f32"
        outputs[stage] = run(program, folder, result=name)
    weights = np.array([[0.5, -1, 0.25], [1, 0, 0], [-1, -1, -1], [0, 0.5, 0.5]])
    images = np.load(folder / "x.npy").astype(np.float64)
    expected = np.abs(np.einsum("kc,nchw->nkhw", weights, np.abs(images)))
    np.testing.assert_allclose(outputs["floats"], expected, rtol=1e-6)
    # Two roundings, of numbers up to 6.
    np.testing.assert_allclose(outputs["integers"], expected, atol=0.1)
    np.testing.assert_array_equal(outputs["integers"], outputs["layers"])
    np.testing.assert_array_equal(outputs["integers"], outputs["registers"])
    assert np.ptp(outputs["integers"]) > 5


def test_other_processes_know_it_too(folder: Path) -> None:
    alone = run(folder / "model.ir", folder)
    np.testing.assert_array_equal(run(folder / "model.ir", folder, "--jobs=2"), alone)


def test_traces_and_tables_of_networks_with_it(folder: Path) -> None:
    """nvdla-translate reads and executes it, too; here the host's, in floats."""
    load = f"--load-pass-plugin={folder}/mine.py"
    model, registers, trace = folder / "host.ir", folder / "registers.ir", folder / "trace"
    model.write_text(MODEL.replace('layers=["y"]', 'layers=["y"] attributes {nvdla.host}'))
    (folder / "cache.txt").write_text("TRT-8000-MinMaxCalibration\na: 3c010a14\n")
    table = folder / "t.json"
    succeed("nvdla-calibrate", model, load, "--data", folder / "x.npy", "-o", table, "--jobs=1")
    passes = (f"--import-calib={table}", "--quantize", "--compile=nv_small")
    succeed("nvdla-opt", load, *passes, model, "-o", registers)
    np.save(folder / "one.npy", np.load(folder / "x.npy")[:1])
    given = ("--export-trace", registers, "--input", f"x={folder}/one.npy", "-o", trace)
    succeed("nvdla-translate", *given, load)
    assert (trace / "trace.cfg").exists()
    converted = ("--calib-txt-to-json", folder / "cache.txt", "--model", model)
    succeed("nvdla-translate", *converted, load, "-o", folder / "converted.json")
    for command in (given, converted):
        errors = io.StringIO()
        arguments = [str(argument) for argument in command]
        assert COMMANDS["nvdla-translate"](arguments, io.StringIO(), io.StringIO(), errors) == 1
        assert "unknown operation 'my.abs'" in errors.getvalue()


def test_its_golden_test_runs_beside_it(folder: Path) -> None:
    (folder / "abs.ir").write_text(
        "// RUN: nvdla-opt %s --load-pass-plugin=%S/mine.py --quantize | filecheck %s\n"
        "!c = !quant.calibrated<f32<-1.0:1.0>>\n"
        "func.func @main(%x: tensor<1x2x2x2x!c>) -> tensor<1x2x2x2x!c> {\n"
        '  // CHECK: my.abs %x_int8 offset=0 scale=16384 shift=14 layers=["a"]\n'
        '  %y = my.abs %x layers=["a"] -> tensor<1x2x2x2x!c>\n'
        "  func.return %y\n"
        "}\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "abs.ir"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout


def test_no_program_without_its_file(folder: Path) -> None:
    errors = io.StringIO()
    assert (
        COMMANDS["nvdla-run"]([str(folder / "model.ir")], io.StringIO(), io.StringIO(), errors) == 1
    )
    assert "unknown operation 'my.abs'" in errors.getvalue()


def test_an_output_never_replaces_it(folder: Path) -> None:
    errors = io.StringIO()
    arguments = [
        "model.ir",
        "--load-pass-plugin=mine.py",
        "--input",
        "x=x.npy",
        "--raw-output",
        "y=mine.py",
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert COMMANDS["nvdla-run"](arguments, io.StringIO(), io.StringIO(), errors) == 1
    assert "mine.py" in errors.getvalue()
    assert (folder / "mine.py").read_text() == EXAMPLE.read_text()


# -------------------------------------------------------------- rules for operations of the package

TANH = """\
!c = !quant.calibrated<f32<-1.0:1.0>>
func.func @main(%x: tensor<1x2x2x2x!c>) -> tensor<1x2x2x2x!c> {
  %t = nn.tanh %x layers=["t"] -> tensor<1x2x2x2x!c>
  func.return %t
}
"""

RULE = """\
from nvdla_ir.dialects import nn
from nvdla_ir.passes.conversion import converts


@converts(nn.TanhOp)
def as_it_is(op, conversion):
    stored, _ = conversion.stored(op.input, op)
    return stored
"""


def test_a_plugin_of_rules_alone_holds_for_its_command(tmp_path: Path) -> None:
    """The command after it knows nothing of it, though it runs in the same process."""
    (tmp_path / "rule.py").write_text(RULE)
    (tmp_path / "model.ir").write_text(TANH)
    load = f"--load-pass-plugin={tmp_path}/rule.py"
    changed = opt(load, tmp_path / "model.ir", "--quantize")
    usual = opt(tmp_path / "model.ir", "--quantize")
    assert changed.status == usual.status == 0
    assert "nn.tanh" not in changed.output
    assert "nn.tanh %x_int8" in usual.output
    rule = converts.registry.find(nn.TanhOp)
    assert rule is not None and rule.function.__module__.startswith("nvdla_ir.passes.")


def test_a_users_kernel_holds_whenever_the_package_is_imported(tmp_path: Path) -> None:
    """The kernels of nn are imported when one is needed, behind the plug-in."""
    (tmp_path / "kernel.py").write_text(
        "import numpy as np\n"
        "from nvdla_ir.dialects import nn\n"
        "from nvdla_ir.interp.registry import kernel\n"
        "@kernel(nn.TransposeOp)\n"
        "def mine(op, values):\n    return values[op.input] + np.float32(2)\n"
    )
    (tmp_path / "m.ir").write_text(
        "func.func @main(%x: tensor<1x1xf32>) -> tensor<1x1xf32> {\n"
        "  %s = nn.sigmoid %x -> tensor<1x1xf32>\n"
        "  %t = nn.transpose %s permutation=[0, 1] -> tensor<1x1xf32>\n  func.return %t\n}\n"
    )
    np.save(tmp_path / "x.npy", np.zeros((1, 1), np.float32))
    code = (
        "import sys; from nvdla_ir.tools.nvdla_run import main; sys.exit(main("
        "['m.ir', '--load-pass-plugin=kernel.py', '--input', 'x=x.npy', '--output', 't=y.npy']))"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), [[2.5]])


def test_the_dialect_of_an_installed_package(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.metadata
    from importlib.metadata import EntryPoint

    from nvdla_ir.ir.diagnostics import DiagnosticError

    found = {
        "theirs": "nvdla_ir.dialects.nn:NN",
        "broken": "no_such_module:X",
        "other": "nvdla_ir.dialects.nn:ReluOp",
    }

    def entry_points(group: str, name: str) -> list[EntryPoint]:
        assert group == "nvdla_ir.dialects"
        return [EntryPoint(name, found[name], group)] if name in found else []

    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)
    context = default_context()
    assert context.dialect("theirs") is nn.NN
    assert context.dialect("none") is None
    with pytest.raises(DiagnosticError, match="dialect 'broken' of the installed package cannot"):
        context.dialect("broken")
    with pytest.raises(DiagnosticError, match="of 'other' is not a dialect"):
        context.dialect("other")


def test_the_walk_through_is_the_example() -> None:
    """What docs/custom-passes.md shows of the operation is what is tested here."""
    text = (EXAMPLE.parents[2] / "docs" / "custom-passes.md").read_text()
    section = text[text.index("## 5. An operation of your own") : text.index("## 6.")]
    blocks = [part.partition("```")[0] for part in section.split("```python\n")[1:]]
    assert len(blocks) == 4
    assert [block for block in blocks if block.strip() not in EXAMPLE.read_text()] == []
