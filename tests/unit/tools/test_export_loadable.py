"""--export-loadable of nvdla-opt and nvdla-translate: files written whole or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from device_programs import run, translate
from opt_tool import opt

INT8 = "tensor<1x8x4x4x!quant.uniform<i8:f32, 0.5>>"
NETWORK = f"""\
func.func @main(%x: {INT8}) -> ({INT8} {{nvdla_ir.name = "y"}}) {{
  %y = nn.relu %x layers=["relu"] -> {INT8}
  func.return %y
}}
"""


@pytest.fixture(autouse=True)
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.ir").write_text(NETWORK)


def test_a_network_becomes_a_loadable_that_runs() -> None:
    result = opt("--target=nv_small", "--export-loadable=net.nvdla", "net.ir")
    assert (result.status, result.output) == (0, "")
    assert (
        "input 'x' is int8 of shape 1x8x4x4, a feature cube, real = 0.5 * stored" in result.errors
    )
    x = np.random.default_rng(1).integers(-128, 128, (1, 8, 4, 4), np.int8)
    np.save("x.npy", x)
    assert run("net.nvdla", "--input=x=x.npy", "--output=y=y.npy").status == 0
    np.testing.assert_array_equal(np.load("y.npy"), np.maximum(x, 0))


def test_both_commands_write_the_same() -> None:
    given = ["--loadable-firmware=0.11"]
    result = opt("--target=nv_small", "--export-loadable=a.nvdla", *given, "net.ir", "-o", "hw.ir")
    assert result.status == 0
    assert Path("hw.ir").read_text().count("nvdla.sdp") == 1
    assert translate("--export-loadable", "hw.ir", "-o", "b.nvdla", *given).status == 0
    assert translate("--export-loadable", "hw.ir", "-o", "c.nvdla").status == 0
    assert Path("a.nvdla").read_bytes() == Path("b.nvdla").read_bytes()
    assert Path("a.nvdla").read_bytes() != Path("c.nvdla").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--export-loadable=nowhere/a.nvdla"], 1, "there is no directory 'nowhere'"),
        (["--export-loadable=net.ir"], 1, "its contents are read here"),
        (["--export-loadable=a.nvdla", "-o", "a.nvdla"], 1, "its contents are read here"),
        (["--export-loadable=-"], 2, "a loadable is no text"),
        (["--export-loadable="], 2, "'--export-loadable' needs a value"),
        (["--export-loadable=a.nvdla", "--compile"], 2, "leave that out"),
        (["--export-loadable=a.nvdla", "--split-input-file"], 2, "takes one module"),
        (["--export-loadable=a.nvdla", "--export-loadable=b.nvdla"], 2, "is given 2 times"),
        (["--loadable-firmware=0.11"], 2, "beside '--export-loadable' alone"),
        (["--export-loadable=a.nvdla", "--loadable-firmware=0.13"], 2, "0.13"),
    ],
)
def test_faults_of_the_command_line(arguments: list[str], status: int, message: str) -> None:
    result = opt("--target=nv_small", *arguments, "net.ir")
    assert result.status == status
    assert message in result.errors
    assert sorted(path.name for path in Path().iterdir()) == ["net.ir"]
    assert Path("net.ir").read_text() == NETWORK


def test_a_refused_network_leaves_the_old_file() -> None:
    Path("old.nvdla").write_bytes(b"old")
    Path("net.ir").write_text(NETWORK.replace("{nvdla_ir", "{nvdla.address = 3 : i64, nvdla_ir"))
    assert opt("--target=nv_small", "--export-loadable=old.nvdla", "net.ir").status == 1
    assert Path("old.nvdla").read_bytes() == b"old"
    assert translate("--export-loadable", "net.ir", "-o", "old.nvdla").status == 1
    assert Path("old.nvdla").read_bytes() == b"old"


def test_translate_needs_a_file() -> None:
    result = translate("--export-loadable", "net.ir")
    assert result.status == 2
    assert "the name of a file must say where it goes" in result.errors
