"""nvdla-translate: formats to IR and back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from device_programs import Command, in_directory, opt, run, translate

from nvdla_ir.dialects import default_context
from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.text.parser import parse


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_directory(tmp_path, monkeypatch)


def test_a_trace_becomes_ir_and_a_trace_again() -> None:
    result = translate("--import-trace", "conv_trace", "--target=nv_small", "-o", "back.ir")
    assert (result.status, result.output, result.errors) == (0, "", "")
    assert Path("back.safetensors").is_file()
    assert opt("back.ir").status == 0
    assert run("back.ir").output.endswith("1 check: 1 passed, 0 failed\n")
    assert translate("--export-trace", "back.ir", "-o", "again").status == 0
    again = run("--target=nv_small", "again")
    assert again.status == 0
    crc = run("--target=nv_small", "conv_trace").output.splitlines()[0].rpartition(" ")[2]
    assert crc in again.output


def test_a_trace_on_standard_output_carries_its_bytes() -> None:
    result = translate("--import-trace=conv_trace/conv_trace.cfg", "--target=nv_small")
    assert result.status == 0
    Path("alone.ir").write_text(result.output)
    assert run("alone.ir").output.endswith("1 check: 1 passed, 0 failed\n")
    located = translate("--import-trace=conv_trace", "--target=nv_small", "--mlir-print-debuginfo")
    assert 'loc("conv_trace/conv_trace.cfg":' in located.output


def test_an_exported_trace_checks_what_the_program_computes() -> None:
    x = np.arange(144, dtype=np.int8).reshape(1, 9, 4, 4)
    np.save("x.npy", x)
    result = translate("--export-trace", "conv.ir", "-o", "given", "--input=data=x.npy")
    assert (result.status, result.errors) == (0, "")
    assert sorted(path.suffix for path in Path("given").iterdir()) == [".cfg", ".dat", ".dat"]
    played = run("--target=nv_small", "given", "--dump=pri:0x80000180:128:y.bin")
    assert played.status == 0
    assert run("conv.ir", "--input=data=x.npy", "--raw-output=sum=sum.bin").status == 0
    atoms = np.fromfile("y.bin", np.int8).reshape(16, 8)
    np.testing.assert_array_equal(atoms[:, :3].T.ravel(), np.fromfile("sum.bin", np.int8))
    # The check can fail: the data of another input under the same program.
    np.save("x.npy", -x)
    assert translate("--export-trace", "conv.ir", "-o", "other", "--input=data=x.npy").status == 0
    Path("given/given_x.dat").write_bytes(Path("other/other_x.dat").read_bytes())
    assert run("--target=nv_small", "given").status == 1


def test_random_inputs_are_the_same_each_time() -> None:
    result = translate("--export-trace", "conv.ir", "-o", "conv_trace")
    assert "the input 'data' is random: --input data=FILE" in result.errors
    before = {p.name: p.read_bytes() for p in Path("conv_trace").iterdir()}
    translate("--export-trace", "conv.ir", "-o", "conv_trace")
    assert {p.name: p.read_bytes() for p in Path("conv_trace").iterdir()} == before


def test_a_calibration_cache_becomes_a_table() -> None:
    Path("cache.txt").write_text("TRT-5105-EntropyCalibration2\ndata: 3f800000\nprob: 3c010a14\n")
    result = translate("--calib-txt-to-json", "cache.txt", "-o", "calib.json")
    assert (result.status, result.output, result.errors) == (0, "", "")
    table = json.loads(Path("calib.json").read_text())
    assert list(table) == ["data", "prob"]
    printed = translate("--calib-txt-to-json=cache.txt")
    assert json.loads(printed.output) == table


def test_a_cache_gets_the_names_of_the_model() -> None:
    Path("cache.txt").write_text(
        "TRT-5105-EntropyCalibration2\ndata: 3f800000\n"
        "(Unnamed Layer* 0) [Activation]_output: 3c010a14\n"
    )
    Path("relu.ir").write_text(
        'func.func @main(%x: tensor<1x2x1x1xf32> {nvdla_ir.name = "data"})\n'
        "    -> tensor<1x2x1x1xf32> {\n"
        '  %y = nn.relu %x layers=["relu1"] -> tensor<1x2x1x1xf32>\n  func.return %y\n}\n'
    )
    result = translate("--calib-txt-to-json", "cache.txt", "--model=relu.ir")
    assert result.status == 0, result.errors
    assert list(json.loads(result.output)) == ["data", "relu1"]
    # A table of another network is an error, and nothing is written.
    Path("other.txt").write_text("TRT-5105-EntropyCalibration2\ndata: 3f800000\nr: 3c010a14\n")
    result = translate("--calib-txt-to-json", "other.txt", "--model=relu.ir", "-o", "calib.json")
    assert result.status == 1
    assert "other.txt:2:1: error: none of the 2 entries" in result.errors
    assert "It has 'data', 'r', the network 'relu1'" in result.errors
    assert not Path("calib.json").exists()


def test_onnx_runtimes_table_is_one_of_tensors() -> None:
    Path("calibration.cache").write_text("data 2.54\nrelu1 0.635\n")
    Path("relu.ir").write_text(
        'func.func @main(%x: tensor<1x2x1x1xf32> {nvdla_ir.name = "data"})\n'
        "    -> tensor<1x2x1x1xf32> {\n"
        '  %y = nn.relu %x layers=["node"] attributes {nvdla_ir.tensors = ["relu1"]}\n'
        "      -> tensor<1x2x1x1xf32>\n  func.return %y\n}\n"
    )
    result = translate("--calib-txt-to-json", "calibration.cache", "--model=relu.ir")
    assert result.status == 0, result.errors
    scales = {name: entry["scale"] for name, entry in json.loads(result.output).items()}
    assert scales == {"data": pytest.approx(0.02), "node": pytest.approx(0.005)}
    Path("calibration.cache").write_text("data 2.54\ndata 1\nx -3\ny 1e999\nz\nzero 0\n")
    result = translate("--calib-txt-to-json", "calibration.cache")
    assert result.status == 1
    for message in (
        "2:1: error: a second",
        "3:1: error: the range",
        "4:1: error",
        "5:1: error: ex",
    ):
        assert f"calibration.cache:{message}" in result.errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give one of --import-onnx"),
        (("x.ir",), "give one of --import-onnx"),
        (("--import-trace=a", "x.ir"), "'--import-trace' has no use for 'x.ir'"),
        (("--import-caffe=a", "b", "c"), "'--import-caffe' has no use for 'c'"),
        (("--import-onnx=a", "--shape=data=1x3xwide"), "'--shape' takes NAME=SHAPE"),
        (
            ("--import-trace=a", "--export-trace=b"),
            "'--export-trace' and '--import-trace' are given",
        ),
        (("--import-onnx=a", "--import-onnx=b"), "'--import-onnx' is given 2 times"),
        (("--import-trace=conv_trace",), "'--target=T' must say which hardware it is for"),
        (("--export-trace=conv.ir",), "'-o DIRECTORY' must say where they go"),
        (("--export-trace=conv.ir", "-o", "d", "--target=nv_small"), "'--target' means nothing to"),
        (("--export-trace=conv.ir", "-o", "d", "--input=data"), "'--input' takes NAME=FILE"),
        (("--import-onx=m",), "unknown flag '--import-onx'"),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...], message: str) -> None:
    result = translate(*arguments)
    assert result.status == 2
    assert message in result.errors
    assert not Path("d").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--import-trace=no.cfg", "--target=nv_small"), "no.cfg"),
        (("--import-loadable=no.nvdla",), "cannot read 'no.nvdla': there is no such file"),
        (("--export-trace=no.ir", "-o", "d"), "cannot read 'no.ir'"),
        (("--export-trace=conv.ir", "-o", "conv.ir"), "cannot make 'conv.ir'"),
        (("--export-trace=conv.ir", "-o", "d", "--input=dat=x.npy"), "there is no input 'dat'"),
        (("--export-trace=conv.ir", "-o", "d", "--input=data=x.npy"), "cannot read 'x.npy'"),
        (("--export-trace=layers.ir", "-o", "d"), "emit-registers"),
        (("--calib-txt-to-json=conv.ir",), "conv.ir:1"),
    ],
)
def test_faults_of_the_input(arguments: tuple[str, ...], message: str) -> None:
    Path("layers.ir").write_text(
        "func.func @main(%x: tensor<1x2x1x1xf32>) -> tensor<1x2x1x1xf32> {\n"
        "  %y = nn.relu %x -> tensor<1x2x1x1xf32>\n  func.return %y\n}\n"
    )
    result = translate(*arguments)
    assert result.status == 1, result.output
    assert message in result.errors
    assert not Path("d").exists()


def test_help_and_version() -> None:
    assert translate("--help").output.startswith("usage: nvdla-translate --import-…")
    assert translate("--version").output.startswith("nvdla-translate ")


@pytest.mark.parametrize(("name", "flag"), [("m.onnx", "onnx"), ("m.prototxt", "caffe")])
@pytest.mark.parametrize("command", [opt, run])
def test_a_network_that_is_not_ir_is_told_how_it_becomes_ir(
    command: Command, name: str, flag: str
) -> None:
    Path(name).write_bytes(b"\x08\xcc")
    result = command(name)
    assert result.status == 1
    expected = f"error: '{name}' is no IR: 'nvdla-translate --import-{flag}' makes IR of it\n"
    assert result.errors == expected


@pytest.mark.parametrize("command", [opt, run])
def test_arrays_are_no_program(command: Command) -> None:
    np.save("x.npy", np.zeros(3, np.float32))
    result = command("x.npy")
    assert result.status == 1
    assert result.errors.startswith("error: 'x.npy' holds arrays, but stands where the program")


def test_names_may_have_equals_signs_and_files_too() -> None:
    """They are divided where the network has the name."""
    Path("net.ir").write_text(
        'func.func @main(%x: tensor<1x2xf32> {nvdla_ir.name = "a=b"})\n'
        '    -> (tensor<1x2xf32> {nvdla_ir.name = "y=z"}) {\n'
        "  %y = nn.relu %x -> tensor<1x2xf32>\n  func.return %y\n}\n"
    )
    np.save("in=1.npy", np.float32([[-1, 2]]))
    result = run("net.ir", "--input", "a=b=in=1.npy", "--output", "y=z=out=1.npy")
    assert (result.status, result.errors) == (0, "")
    np.testing.assert_array_equal(np.load("out=1.npy"), [[0, 2]])
    assert "no input 'a'; it has 'a=b'" in run("net.ir", "--input=a=in=1.npy").errors


def test_parts_of_a_network() -> None:
    onnx = pytest.importorskip("onnx", reason="the package 'onnx' is not installed")
    helper = onnx.helper
    info = helper.make_tensor_value_info
    nodes = [helper.make_node("Relu", ["a=b"], ["r"], name="act")]
    nodes.append(helper.make_node("Tanh", ["r"], ["y"]))
    graph = helper.make_graph(nodes, "g", [info("a=b", 1, ("n", 2))], [info("y", 1, None)])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
    Path("net.onnx").write_bytes(proto.SerializeToString())
    listed = translate("--import-onnx", "net.onnx", "--list-tensors", "--shape", "a=b=3x2")
    assert [line.split() for line in listed.output.splitlines()] == [
        ["tensor", "shape", "type", "producer"],
        ["a=b", "3x2", "float32", "input"],
        ["r", "3x2", "float32", "Relu", "'act'"],
        ["y", "3x2", "float32", "Tanh", "'y'"],
    ]
    result = translate("--import-onnx", "net.onnx", "--outputs=act")
    assert "nn.relu" in result.output and "nn.tanh" not in result.output
    assert "is taken one image at a time" in result.errors
    result = translate("--import-onnx", "net.onnx", "--list-tensors", "--outputs=r")
    assert result.status == 2 and "has no use" in result.errors


@pytest.mark.parametrize("to_file", [True, False])
def test_what_would_be_refused_on_reading_is_not_written(
    to_file: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (
        "func.func @main(%x: tensor<1x4xf32>) -> tensor<1x5xf32> {\n"
        "  %y = nn.relu %x -> tensor<1x5xf32>\n  func.return %y\n}"
    )
    module = ModuleOp.of(parse(text, default_context(), "model").operations)
    monkeypatch.setattr("nvdla_ir.frontends.onnx.import_onnx", lambda *_, **__: module)
    result = translate("--import-onnx", "model.onnx", *(("-o", "bad.ir") if to_file else ()))
    assert (result.status, result.output) == (1, "")
    assert "'nn.relu' has a result of shape 1x5, but its operands make 1x4" in result.errors
    assert not Path("bad.ir").exists()
