"""What ``nvdla-run A --compare B`` prints."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from attrs import evolve

from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.tools.command_line import DiagnosticPrinter, UsageError, parse_arguments
from nvdla_ir.tools.compare_command import compare
from nvdla_ir.tools.loaded_program import Program
from nvdla_ir.tools.nvdla_opt import main as opt
from nvdla_ir.tools.program_sources import TextSource
from nvdla_ir.tools.run_options import FLAGS, Options, checked_options

DIGITS = Path(__file__).resolve().parents[3] / "examples" / "digits"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """lenet as int8, as hardware layers and as registers, and ten images."""
    folder = tmp_path_factory.mktemp("compare")
    lenet, table = str(DIGITS / "lenet.ir"), str(DIGITS / "lenet.calib.json")
    steps = [
        ([f"--import-calib={table}", "--quantize", lenet], "int8.ir"),
        (["--target=nv_small", "--legalize-to-nvdla", str(folder / "int8.ir")], "layers.ir"),
        (["--compile=nv_small", str(folder / "int8.ir")], "registers.ir"),
    ]
    for arguments, output in steps:
        assert opt([*arguments, "-o", str(folder / output)], stderr=io.StringIO()) == 0
    with np.load(DIGITS / "test_images.npz") as file:
        np.save(folder / "images.npy", file["images"][:10].astype(np.float32) / np.float32(255))
    return folder


def load(path: Path) -> Program:
    return Program.load(TextSource(path.read_text(), str(path), path.parent))


def options(folder: Path, *more: str) -> Options:
    argv = ["first.ir", "--input", f"data={folder / 'images.npy'}", *more]
    return checked_options(parse_arguments(argv, FLAGS.get, lambda: FLAGS))


def report(first: Path, second: Path, given: Options) -> str:
    output, errors = io.StringIO(), io.StringIO()
    code = compare(load(first), load(second), given, sys.stdin, output, DiagnosticPrinter(errors))
    assert code == 0
    assert errors.getvalue() == ""
    return output.getvalue()


def test_floats_against_int8(folder: Path) -> None:
    lines = report(DIGITS / "lenet.ir", folder / "int8.ir", options(folder)).splitlines()
    assert lines[0].split() == ["layer", "first", "second", "SQNR", "dB", "cosine", "max", "error"]
    cells = {line.split()[0]: line.split()[1:] for line in lines[1:13]}
    assert list(cells)[-2:] == ["fc", "prob"]
    assert cells["fc"][:2] == ["nn.fully_connected", "fixed.output_converter"]
    assert 33 < float(cells["fc"][2]) < 42
    assert lines[13:] == ["12 layers compared on 10 images"]
    # The numbers end below each other.
    assert len({len(line) for line in lines[1:13]}) == 1


def test_registers_against_int8(folder: Path) -> None:
    text = report(folder / "int8.ir", folder / "registers.ir", options(folder))
    assert "equal bit for bit" in text
    assert "first layer that differs" not in text
    assert "only in the first: conv1, relu1" in text
    (row,) = [line for line in text.splitlines() if line.startswith("pool2 ")]
    assert row.split() == [
        "pool2",
        "nn.max_pool",
        "memory",
        "exact",
        "1.000000",
        "0",
        "0",
        "of",
        "8000",
    ]


def test_the_first_difference_is_named(folder: Path) -> None:
    other = folder / "other.ir"
    text = (folder / "layers.ir").read_text()
    shifted = text.replace('alu = "sum", mul,', 'alu = "sum", alu_shift = 1, mul,')
    assert shifted != text
    other.write_text(shifted)
    found = report(folder / "layers.ir", other, options(folder))
    assert "first layer that differs: relu1 (" in found
    assert "equal bit for bit" not in found


def test_what_means_nothing_here(folder: Path) -> None:
    float_program = load(DIGITS / "lenet.ir")
    printer = DiagnosticPrinter(io.StringIO())
    for more in (["--output", "prob=x.npy"], ["--labels", "x.npy"], ["--raw-input", "b=x.bin"]):
        with pytest.raises(UsageError, match="--compare"):
            compare(
                float_program, float_program, options(folder, *more), sys.stdin, io.StringIO(),
                printer,
            )  # fmt: skip
    with pytest.raises(DiagnosticError, match=r"input \'data\' is missing.*--input data=FILE"):
        compare(
            float_program,
            float_program,
            evolve(options(folder), inputs=()),
            sys.stdin,
            io.StringIO(),
            printer,
        )


def test_a_wrong_shape_is_told_once(folder: Path) -> None:
    np.save(folder / "wrong.npy", np.zeros((3, 5), np.float32))
    given = options(folder)
    given = evolve(given, inputs=(evolve(given.inputs[0], file=str(folder / "wrong.npy")),))
    with pytest.raises(DiagnosticError, match="has shape 3x5, but must have 1x1x32x32") as caught:
        report(DIGITS / "lenet.ir", folder / "int8.ir", given)
    (diagnostic,) = caught.value.diagnostics
    position = diagnostic.location.file_position()
    assert position is not None
    assert position.line == 2
