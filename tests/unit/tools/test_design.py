"""The table "where a thing is added" of docs/architecture.md, row by row: each thing is added here
from outside, touching no more than its row says, and goes all the way to the device."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from opt_tool import PROJECT, Result, opt

from nvdla_ir.hardware import fitting
from nvdla_ir.hw.configuration import names
from nvdla_ir.testing.commands import COMMANDS

CODES = "!quant.calibrated<f32<-1.0:1.0>>"


def run(program: Path, x: NDArray[Any], *flags: str) -> NDArray[Any]:
    """The one output of ``program`` on ``x``."""
    inputs, output = program.with_suffix(".x.npy"), program.with_suffix(".y.npy")
    np.save(inputs, x)
    errors = io.StringIO()
    name = program.read_text().rpartition("func.return %")[2].split()[0]
    arguments = [str(program), "--input", f"x={inputs}", "--output", f"{name}={output}", *flags]
    status = COMMANDS["nvdla-run"](arguments, io.StringIO(), io.StringIO(), errors)
    assert status == 0, errors.getvalue()
    return np.load(output)


def levels(
    folder: Path, text: str, x: NDArray[Any], target: str, plugin: str | None = None
) -> dict[str, NDArray[Any]]:
    """What each level makes of ``x``."""
    load = [] if plugin is None else [f"--load-pass-plugin={folder / plugin}"]
    model = folder / "model.ir"
    model.write_text(text)
    stages = {
        "integers": [f"--target={target}", "--quantize"],
        "layers": [f"--target={target}", "--quantize", "--legalize-to-nvdla"],
        "registers": [f"--target={target}", "--quantize", "--compile"],
    }
    found = {"floats": run(model, x, "--mode=float", *load)}
    for stage, flags in stages.items():
        program = folder / f"{stage}.ir"
        result = opt(*load, *flags, model, "-o", program)
        assert result.status == 0, result.errors
        found[stage] = run(program, x, *load)
    for stage in ("layers", "registers"):
        np.testing.assert_array_equal(found[stage], found["integers"], stage)
    return found


FUNCTION = """\
import numpy as np

from nvdla_ir.dialects import nn
from nvdla_ir.ir.dialect import Dialect


class CubeRootOp(nn.UnaryOp):
    name = "my.cube_root"

    def function(self, x):
        return np.cbrt(x)


MY = Dialect.of("my", "operations of mine", [CubeRootOp])
"""


@pytest.mark.parametrize("target", ["nv_small", "nv_full"])
def test_a_function_of_one_element(tmp_path: Path, target: str) -> None:
    """Its class and what it computes: kernel, rules, tables, registers and estimates follow."""
    (tmp_path / "function.py").write_text(FUNCTION)
    text = (
        f"func.func @main(%x: tensor<1x8x4x8x{CODES}>) -> tensor<1x8x4x8x{CODES}> {{\n"
        f'  %y = my.cube_root %x layers=["root"] -> tensor<1x8x4x8x{CODES}>\n'
        "  func.return %y\n}\n"
    )
    x = (np.arange(-128, 128) / 127).astype(np.float32).reshape(1, 8, 4, 8)
    found = levels(tmp_path, text, x, target, "function.py")
    np.testing.assert_allclose(found["floats"], np.cbrt(x), rtol=1e-6)
    np.testing.assert_allclose(found["integers"], np.cbrt(x.clip(-1, 1)), atol=0.5 / 127 + 1e-6)
    load = f"--load-pass-plugin={tmp_path}/function.py"
    estimated = opt(
        load, f"--target={target}", "--quantize", "--compile", "--estimate", tmp_path / "model.ir"
    )
    assert "root" in estimated.errors


DECOMPOSITION = """\
import numpy as np

from nvdla_ir.dialects import nn
from nvdla_ir.dialects.layer import LayerOp
from nvdla_ir.dialects.nn.shapes import ACTIVATION
from nvdla_ir.interp.registry import kernel
from nvdla_ir.ir.definition import operand, result
from nvdla_ir.ir.dialect import Dialect
from nvdla_ir.ir.traits import Pure
from nvdla_ir.passes.decomposition.rules import decomposes


class RangeOp(LayerOp):
    # the larger one of two by two, rectified
    name = "my.peak"
    traits = (Pure(),)
    input = operand(ACTIVATION)
    output = result(ACTIVATION)


MY = Dialect.of("my", "operations of mine", [RangeOp])


@kernel(RangeOp, any_batch=True)
def peak(op, values):
    x = values[op.input]
    n, c, h, w = x.shape
    return np.maximum(x.reshape(n, c, h // 2, 2, w // 2, 2).max((3, 5)), 0)


@decomposes(RangeOp)
def decompose_peak(op, rewriter, hw):
    assert hw.name == "nv_small"
    pooled = rewriter.create(
        nn.MaxPoolOp, input=op.input, kernel=(2, 2), strides=(2, 2), layers=op.layers,
        result_types=[op.output.type],
    )
    relu = rewriter.create(nn.ReluOp, input=pooled.output, layers=op.layers)
    return relu.output
"""


def test_a_layer_made_of_others(tmp_path: Path) -> None:
    (tmp_path / "peak.py").write_text(DECOMPOSITION)
    text = (
        f"func.func @main(%x: tensor<1x8x4x8x{CODES}>) -> tensor<1x8x2x4x{CODES}> {{\n"
        f'  %y = my.peak %x layers=["peak"] -> tensor<1x8x2x4x{CODES}>\n'
        "  func.return %y\n}\n"
    )
    x = np.random.default_rng(1).uniform(-1, 1, (1, 8, 4, 8)).astype(np.float32)
    found = levels(tmp_path, text, x, "nv_small", "peak.py")
    np.testing.assert_allclose(found["integers"], found["floats"], atol=0.5 / 127 + 1e-6)


FAULTY_DECOMPOSITIONS = {
    "raises": ("    return 1 / 0\n", "failed on 'nn.tanh': ZeroDivisionError: division by zero"),
    "returns no value": (
        "    return 3\n",
        "returned a 'int' for 'nn.tanh', where it takes a value",
    ),
    "returns another type": (
        "    return rewriter.create(\n"
        "        nn.FlattenOp, input=op.input, result_types=[op.output.type.with_shape((1, 8))]\n"
        "    ).output\n",
        "returned 'tensor<1x8xf32>' for 'nn.tanh', which is 'tensor<1x2x2x2xf32>'",
    ),
}


@pytest.mark.parametrize("name", FAULTY_DECOMPOSITIONS)
def test_a_faulty_decomposition(tmp_path: Path, name: str) -> None:
    """Told with rule, stage and operation; the fault of one layer hides none of another."""
    body, message = FAULTY_DECOMPOSITIONS[name]
    (tmp_path / "rule.py").write_text(
        "from nvdla_ir.dialects import nn\n"
        "from nvdla_ir.passes.decomposition.rules import decomposes\n"
        f"@decomposes(nn.TanhOp)\ndef mine(op, rewriter, hw):\n{body}"
    )
    (tmp_path / "m.ir").write_text(
        "func.func @main(%x: tensor<1x2x2x2xf32>) -> tensor<1x2x2x2xf32> {\n"
        "  %a = nn.tanh %x -> tensor<1x2x2x2xf32>\n"
        "  %b = nn.tanh %a -> tensor<1x2x2x2xf32>\n  func.return %b\n}\n"
    )
    result = opt(f"--load-pass-plugin={tmp_path}/rule.py", "--decompose-layers", tmp_path / "m.ir")
    errors = [line for line in result.messages if ": error: " in line]
    assert [line.split(":")[1] for line in errors] == ["2", "3"]
    assert all(f"rule 'mine' of 'decompose-layers' {message}" in line for line in errors)
    assert "Traceback" not in result.errors


DIVIDED = f"""\
!sums = tensor<1x8x64x64x!quant.calibrated<f32<-9.0:9.0>>>
func.func @main(%x: tensor<1x48x64x64x{CODES}>) -> !sums {{
  %w = nn.constant value=dense<0.125> : tensor<8x48x3x3xf32>
  %y = nn.conv %x, %w pads=[1, 1, 1, 1] layers=["c"] -> !sums
  func.return %y
}}
"""


def test_a_way_to_divide_a_convolution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another division from hardware/fitting is in the IR, the estimate and the registers."""
    flags = ["--target=nv_small", "--quantize", "--legalize-to-nvdla", "--fit-convolution-buffer"]
    model = tmp_path / "model.ir"
    model.write_text(DIVIDED)

    def pieces() -> tuple[int, int]:
        """In the IR, and in the estimate."""
        fitted: Result = opt(*flags, "--estimate-csv", tmp_path / "e.csv", model)
        assert fitted.status == 0, fitted.errors
        rows = csv.DictReader((tmp_path / "e.csv").read_text().splitlines())
        (estimated,) = [row["runs"] for row in rows if row["layer"] == "c"]
        return fitted.output.count("nvdla.conv "), int(estimated)

    usual = pieces()
    original = fitting._grid  # pyright: ignore[reportPrivateUsage]

    def finer(whole: Any, hw: Any, banks: int) -> Any:
        return original(whole, hw, max(banks // 3, 1))

    monkeypatch.setattr(fitting, "_grid", finer)
    other = pieces()
    assert 1 < usual[0] == usual[1] < other[0] == other[1]
    x = np.random.default_rng(2).uniform(-1, 1, (1, 48, 64, 64)).astype(np.float32)
    found = levels(tmp_path, DIVIDED, x, "nv_small")
    assert found["registers"].std() > 0.1


def test_a_hardware_configuration(tmp_path: Path) -> None:
    """One TOML file, in any folder."""
    target = tmp_path / "mine.toml"
    target.write_text(
        'name = "mine"\nbase = "nv_small"\natomic_c = 16\natomic_k = 16\n[cbuf]\nentry_bytes = 16\n'
    )
    text = (
        f"func.func @main(%x: tensor<1x19x5x6x{CODES}>) -> tensor<1x5x5x6x{CODES}> {{\n"
        "  %w = nn.constant value=dense<0.02> : tensor<5x19x3x3xf32>\n"
        f'  %y = nn.conv %x, %w pads=[1, 1, 1, 1] layers=["c"] -> tensor<1x5x5x6x{CODES}>\n'
        "  func.return %y\n}\n"
    )
    x = np.random.default_rng(3).uniform(-1, 1, (1, 19, 5, 6)).astype(np.float32)
    assert "mine" not in names()
    found = levels(tmp_path, text, x, str(target))
    np.testing.assert_allclose(found["integers"], found["floats"], atol=0.05)


def test_every_row_names_what_is_there() -> None:
    """Files, folders and flags of the table exist."""
    text = (PROJECT / "docs" / "architecture.md").read_text()
    table = text[text.index("## Where a thing is added") : text.index("## The central pieces")]
    named = [part for part in table.split("`")[1::2] if "/" in part and "<" not in part]
    places = [part.removesuffix("/") for part in named if not part.startswith("-")]
    missing = [
        place
        for place in places
        if not (PROJECT / place).exists() and not (PROJECT / "nvdla_ir" / place).exists()
    ]
    assert missing == []
    assert len(places) > 8
