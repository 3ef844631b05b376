"""nvdla-opt --estimate: the table, the files, where estimates are made, and wrong options."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from device_programs import TWO_PROGRAMS
from opt_tool import DIGITS, opt

LENET = DIGITS / "lenet.ir"
TABLE = f"--import-calib={DIGITS / 'lenet.calib.json'}"
QUANTIZED = (TABLE, "--quantize")
FITTED = ("--target=nv_small", *QUANTIZED, "--legalize-to-nvdla", "--fit-convolution-buffer")


def test_a_network_in_a_table() -> None:
    result = opt(*QUANTIZED, "--compile=nv_small", "--estimate=frequency=1GHz", LENET)
    assert result.status == 0
    lines = result.errors.splitlines()
    rows = {line.split()[0]: line.split() for line in lines if "CONV" in line}
    assert rows["conv1+relu1+pool1"][1:4] == ["CONV+SDP+PDP", "1", "16,801"]
    assert rows["fc"][1:3] == ["CONV+SDP", "1"]
    assert any(line.startswith("all layers") and "51,6" in line for line in lines)
    assert any("138 between layers (3 x 46" in line for line in lines)
    assert any(line.startswith("0.052 ms at 1000 MHz") for line in lines)
    assert "checked on nv_small's RTL" in result.errors


def test_other_hardware_says_that_it_was_not_measured() -> None:
    result = opt(*QUANTIZED, "--compile=nv_large", "--estimate", LENET)
    assert "not measured on nv_large" in result.errors
    assert " MHz" not in result.errors


def test_a_narrow_terminal_shows_names_below_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    result = opt(*FITTED, "--estimate", LENET, "-o", "/dev/null", terminal=True)
    lines = result.errors.splitlines()
    start = next(index for index, line in enumerate(lines) if "conv1+" in line and "CONV" in line)
    assert lines[start + 1].split()[:2] == ["relu1", "SDP"]
    assert max(map(len, lines[start:-4])) <= 80


def test_the_same_at_each_level(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("fitted.json", "placed.json", "compiled.json")]
    levels = (
        (*FITTED, "--stream-to-pooling"),
        (
            *("--target=nv_small", *QUANTIZED, "--legalize-to-nvdla", "--outline-device-programs"),
            *("--fit-convolution-buffer", "--stream-to-pooling", "--allocate-memory"),
        ),
        (*QUANTIZED, "--compile=nv_small"),
    )
    for passes, file in zip(levels, files, strict=True):
        assert opt(*passes, f"--estimate-json={file}", LENET).status == 0
    assert len({file.read_text() for file in files}) == 1


def test_a_layer_in_pieces_is_one_row(tmp_path: Path) -> None:
    network = """\
module attributes {nvdla.target = "nv_small"} {
  func.func @main(%x: tensor<1x64x96x96xi8>) -> tensor<1x16x96x96xi8> {
    %a = nvdla.upload %x -> tensor<1x64x96x96xi8>
    %w = nvdla.constant value=dense<1> : tensor<16x64x3x3xi8> -> tensor<16x64x3x3xi8>
    %c = nvdla.conv %a, %w pads=[1, 1, 1, 1] layers=["big"] -> !nvdla.stream<1x16x96x96xi32>
    %y = nvdla.sdp %c layers=["big"] -> tensor<1x16x96x96xi8>
    %z = nvdla.download %y -> tensor<1x16x96x96xi8>
    func.return %z
  }
}
"""
    file = tmp_path / "estimate.csv"
    result = opt("--fit-convolution-buffer", f"--estimate-csv={file}", stdin=network)
    assert result.status == 0, result.errors
    (row,) = csv.DictReader(io.StringIO(file.read_text()))
    assert row["layer"] == "big" and int(row["runs"]) > 1
    spans = sum(int(value) for key, value in row.items() if key.startswith("cycles_"))
    assert spans == pytest.approx(int(row["cycles"]), abs=5)
    assert int(row["macs"]) == 96 * 96 * 16 * 64 * 9
    # rows that windows share are read again
    assert int(row["read_cdma_data"]) > 64 * 96 * 96
    assert int(row["written_sdp"]) == 16 * 96 * 96


def test_layers_of_one_name_stand_by_program(tmp_path: Path) -> None:
    lines, document = tmp_path / "estimate.csv", tmp_path / "estimate.json"
    flags = ("--estimate", f"--estimate-csv={lines}", f"--estimate-json={document}")
    result = opt("--outline-device-programs", *flags, stdin=TWO_PROGRAMS)
    assert result.status == 0, result.errors
    names = ["main_program_0", "main_program_1"]
    heading, *rows, total = [line.split() for line in result.errors.splitlines()[:4]]
    assert heading[:3] == ["program", "layer", "units"]
    assert [row[:4] for row in rows] == [[name, "same", "SDP", "1"] for name in names]
    assert total[:3] == ["all", "layers", "2"]
    assert [row["program"] for row in csv.DictReader(io.StringIO(lines.read_text()))] == names
    assert [layer["program"] for layer in json.loads(document.read_text())["layers"]] == names


def test_json_holds_all_that_the_table_says(tmp_path: Path) -> None:
    file = tmp_path / "estimate.json"
    options = "--estimate=bandwidth=2,latency=200,frequency=500MHz"
    assert opt(*FITTED, options, f"--estimate-json={file}", LENET).status == 0
    data = json.loads(file.read_text())
    assert data["hardware"] == "nv_small" and data["measured"] is True
    assert data["memory"] == {"bytes_per_cycle": 2, "latency": 200}
    total = data["total"]["cycles"] + data["cycles_between_layers"]
    assert data["seconds"] == pytest.approx(total / 500e6, rel=1e-4)
    assert [layer["layer"] for layer in data["layers"]][-1] == "fc"
    assert data["layers"][0]["read"]["CDMA data"] > 0


def test_a_slower_memory_takes_more(tmp_path: Path) -> None:
    cycles: list[int] = []
    for options in ("bandwidth=8,latency=50", "bandwidth=1,latency=50", "bandwidth=1,latency=500"):
        file = tmp_path / "estimate.json"
        opt(*FITTED, f"--estimate={options}", f"--estimate-json={file}", LENET)
        cycles.append(json.loads(file.read_text())["total"]["cycles"])
    assert cycles == sorted(cycles) and len(set(cycles)) == 3


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("bandwith=3", "no option 'bandwith'; did you mean 'bandwidth'?"),
        (
            "bandwidth=0",
            "'bandwidth' of '--estimate' is a number (bytes a cycle, above 0), not '0'",
        ),
        ("latency", "'latency' of '--estimate' is a number (cycles, from 0 on), not ''"),
        ("latency=-5", "(cycles, from 0 on), not '-5'"),
        ("latency=1GHz", "(cycles, from 0 on), not '1GHz'"),
        ("frequency=1THz", "(above 0, as 1e9, 800MHz or 1GHz), not '1THz'"),
    ],
)
def test_wrong_options(option: str, message: str) -> None:
    result = opt(f"--estimate={option}", LENET)
    assert result.status == 2
    assert message in result.errors
    assert not result.output


@pytest.mark.parametrize(
    ("passes", "message"),
    [
        ((), "there is nothing to estimate, it has no hardware layers"),
        (QUANTIZED, "there is nothing to estimate, it has no hardware layers"),
        (FITTED[:-1], "layer 'conv1+relu1' has no share of the convolution buffer"),
    ],
)
def test_too_early(passes: tuple[str, ...], message: str, tmp_path: Path) -> None:
    output, file = tmp_path / "out.ir", tmp_path / "estimate.csv"
    result = opt(*passes, "--estimate", f"--estimate-csv={file}", LENET, "-o", output)
    assert result.status == 1
    assert message in result.errors
    assert not output.exists() and not file.exists()


def test_too_late(tmp_path: Path) -> None:
    program = tmp_path / "program.ir"
    assert opt(*QUANTIZED, "--compile=nv_small", LENET, "-o", program).status == 0
    result = opt("--estimate", program)
    assert result.status == 1
    assert "the module is a register program already" in result.errors


def test_files_replace_no_input(tmp_path: Path) -> None:
    source = tmp_path / "net.ir"
    assert opt(*FITTED, LENET, "-o", source).status == 0
    before = source.read_bytes()
    for file in (source, tmp_path / "net.safetensors", tmp_path / "out.ir"):
        result = opt(f"--estimate-json={file}", source, "-o", tmp_path / "out.ir")
        assert result.status == 1, file
    assert source.read_bytes() == before
    assert opt("--estimate-json=-", source).status == 2
