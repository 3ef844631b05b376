"""Renaming of TensorRT's names: the vendor's ResNet-50 cache gives the vendor's table."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from nvdla_ir.calibration.entry import CalibrationEntry
from nvdla_ir.calibration.table import CalibrationTable, TableFormat, read_table
from nvdla_ir.calibration.tensorrt_names import cache_names, rename_entries
from nvdla_ir.dialects import default_context
from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.func import FuncOp
from nvdla_ir.frontends.caffe import import_caffe
from nvdla_ir.ir.diagnostics import DiagnosticCollector, DiagnosticError
from nvdla_ir.resources import ResourceStore
from nvdla_ir.tools.module_files import load_module

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "examples" / "zoo"))

import numpy as np  # noqa: E402
from caffe_writer import CaffeLayer, caffemodel, prototxt  # noqa: E402

SHARED = ROOT.parent / "shared" / "nvidia"


class ResNet:
    """The published Caffe ResNet-50, all layers in place as there, with few channels."""

    def __init__(self) -> None:
        shape = {"input_param": {"shape": {"dim": [1, 3, 224, 224]}}}
        self.layers = [CaffeLayer("data", "Input", (), ("data",), shape)]
        self.channels = {"data": 3}
        self._conv("data", "conv1", "_conv1", 4, 7, 2, 3)
        self._add("conv1_relu", "ReLU", ("conv1",), "conv1")
        self._pool("conv1", "pool1", {"kernel_size": 3, "stride": 2})
        last = "pool1"
        for stage, (width, blocks) in enumerate([(1, 3), (2, 4), (4, 6), (8, 3)], start=2):
            for block in "abcdef"[:blocks]:
                last = self._block(last, f"{stage}{block}", width, 1 + (block == "a" and stage > 2))
        self._pool(last, "pool5", {"pool": "AVE", "kernel_size": 7, "stride": 1})
        weights = np.zeros((10, self.channels["pool5"]), np.float32), np.zeros(10, np.float32)
        p = {"inner_product_param": {"num_output": 10}}
        self._add("fc1000", "InnerProduct", ("pool5",), "fc1000", p, weights)
        self._add("prob", "Softmax", ("fc1000",), "prob")

    def _block(self, x: str, name: str, width: int, stride: int) -> str:
        branches = [x]
        if name.endswith("a"):
            branches = [f"res{name}_branch1"]
            self._conv(x, branches[0], f"{name}_branch1", 4 * width, 1, stride, 0, bias=False)
        y = x
        for part, (kernel, outputs) in zip(
            "abc", [(1, width), (3, width), (1, 4 * width)], strict=True
        ):
            branch = f"{name}_branch2{part}"
            step = stride if part == "a" else 1
            self._conv(y, f"res{branch}", branch, outputs, kernel, step, kernel // 2, bias=False)
            y = f"res{branch}"
            if part != "c":
                self._add(f"{y}_relu", "ReLU", (y,), y)
        self.channels[f"res{name}"] = 4 * width
        self._add(f"res{name}", "Eltwise", (*branches, y), f"res{name}")
        self._add(f"res{name}_relu", "ReLU", (f"res{name}",), f"res{name}")
        return f"res{name}"

    def _conv(
        self, x: str, name: str, suffix: str, outputs: int, kernel: int, stride: int, pad: int,
        bias: bool = True,
    ) -> None:  # fmt: skip
        p = {"num_output": outputs, "kernel_size": kernel, "stride": stride, "pad": pad}
        blobs = [np.zeros((outputs, self.channels[x], kernel, kernel), np.float32)]
        blobs += [np.zeros(outputs, np.float32)] * bias
        ones = np.ones(outputs, np.float32)
        p = {"convolution_param": {**p, "bias_term": bias}}
        self._add(name, "Convolution", (x,), name, p, tuple(blobs))
        self._add(f"bn{suffix}", "BatchNorm", (name,), name, {}, (ones, ones, ones[:1]))
        p = {"scale_param": {"bias_term": True}}
        self._add(f"scale{suffix}", "Scale", (name,), name, p, (ones, ones))
        self.channels[name] = outputs

    def _pool(self, x: str, name: str, parameters: dict[str, object]) -> None:
        self.channels[name] = self.channels[x]
        self._add(name, "Pooling", (x,), name, {"pooling_param": parameters})

    def _add(
        self, name: str, type: str, bottoms: tuple[str, ...], top: str,
        parameters: dict[str, object] | None = None, blobs: tuple[object, ...] = (),
    ) -> None:  # fmt: skip
        self.layers.append(CaffeLayer(name, type, bottoms, (top,), parameters or {}, blobs))


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> ModuleOp:
    directory = tmp_path_factory.mktemp("resnet")
    layers = ResNet().layers
    (directory / "net.prototxt").write_text(prototxt("ResNet-50", layers))
    (directory / "net.caffemodel").write_bytes(caffemodel("ResNet-50", layers))
    return import_caffe(
        directory / "net.prototxt",
        directory / "net.caffemodel",
        ResourceStore(),
        shapes={},
        diagnostics=DiagnosticCollector(),
    )


def function(module: ModuleOp) -> FuncOp:
    func = module.body.first_op
    assert isinstance(func, FuncOp)
    return func


def table_of(*names: str, format: TableFormat = TableFormat.TENSORRT_CACHE) -> CalibrationTable:
    entries = (CalibrationEntry.from_scale(name, 0.5 + i) for i, name in enumerate(names))
    return CalibrationTable(tuple(entries), format)


def renamed(
    module: ModuleOp, *names: str, format: TableFormat = TableFormat.TENSORRT_CACHE
) -> tuple[dict[str, int], list[str], list[str]]:
    """Which entry each new name has, what is said, and the names that belong to nothing."""
    diagnostics = DiagnosticCollector()
    table, lost = rename_entries(table_of(*names, format=format), module, diagnostics)
    numbers = {name: round(entry.scale - 0.5) for name, entry in table.items()}
    return numbers, [d.message for d in diagnostics.diagnostics], [entry.name for entry in lost]


def faults_of(module: ModuleOp, *names: str) -> list[str]:
    with pytest.raises(DiagnosticError) as caught:
        renamed(module, *names)
    return [diagnostic.message for diagnostic in caught.value.diagnostics]


def test_the_vendors_cache_gives_the_vendors_table(network: ModuleOp) -> None:
    if not SHARED.is_dir():
        pytest.skip("the vendor's calibration tables are not here")
    diagnostics = DiagnosticCollector()
    table, lost = rename_entries(read_table(SHARED / "resnet50.txt"), network, diagnostics)
    wanted = read_table(SHARED / "resnet50.json")
    assert not lost
    assert [d.message for d in diagnostics.diagnostics] == [
        "of 229 entries of the calibration table, 74 by tensor name, 0 by layer name, 155 by "
        "position belong to the network"
    ]
    assert [(e.name, e.scale, e.offset) for e in table.entries] == [
        (e.name, e.scale, e.offset) for e in wanted.entries
    ]


def test_written_caches_have_the_names_of_the_vendors(network: ModuleOp) -> None:
    if not SHARED.is_dir():
        pytest.skip("the vendor's calibration tables are not here")
    written = [name for names in cache_names(function(network)).values() for name in names]
    assert written == list(read_table(SHARED / "resnet50.txt"))


def test_the_vendors_table_stays_as_it_is(network: ModuleOp) -> None:
    if not SHARED.is_dir():
        pytest.skip("the vendor's calibration tables are not here")
    wanted = read_table(SHARED / "resnet50.json")
    diagnostics = DiagnosticCollector()
    table, lost = rename_entries(wanted, network, diagnostics)
    assert (table, lost, diagnostics.diagnostics) == (wanted, [], [])


def test_numbers_that_do_not_fit_are_errors(network: ModuleOp) -> None:
    faults = faults_of(
        network,
        "data",
        "(Unnamed Layer* 0) [Convolution]_output",
        "(Unnamed Layer* 1) [Pooling]_output",
        "(Unnamed Layer* 4) [Pooling]_output",
        "(Unnamed Layer* 4000) [Scale]_output",
        f"(Unnamed Layer* {'9' * 5000}) [Scale]_output",
    )
    assert [fault.partition(": ")[2].partition(";")[0] for fault in faults[:3]] == [
        "that is 'bn_conv1' (nn.batch_norm)",
        "that is 'pool1', whose tensor has the name 'pool1'",
        "the network has only 228",
    ]
    assert len(faults) == 4


def test_two_entries_of_one_tensor_are_an_error(network: ModuleOp) -> None:
    # Of the blob that two layers write, and of the layer that is the last of these.
    (fault,) = faults_of(network, "conv1", "conv1_relu")
    assert fault == (
        "'conv1_relu' (scale 1.5) and 'conv1' both seem to be the tensor 'conv1_relu': keep the "
        "one that is"
    )


def test_tensors_that_tensorrt_adds_are_no_layers(network: ModuleOp) -> None:
    names = ("data", "(Unnamed Layer* 1) [Constant]_output", "elsewhere")
    numbers, _, lost = renamed(network, *names)
    assert numbers == {name: i for i, name in enumerate(names)}
    assert lost == list(names[1:])


@pytest.mark.parametrize("format", TableFormat)
def test_a_table_that_has_the_layers_names_stays_as_it_is(
    network: ModuleOp, format: TableFormat
) -> None:
    layers = [op.layers[-1] for op in network.walk() if getattr(op, "layers", None)]
    numbers, said, lost = renamed(network, "data", *layers, format=format)
    assert numbers == {name: i for i, name in enumerate(["data", *layers])}
    assert lost == []
    # The input's name is a tensor's, too.
    assert said == [
        "of 229 entries of the calibration table, 0 by tensor name, 229 by layer name, 0 by "
        "position belong to the network"
    ] * (format is not TableFormat.NVDLA_JSON)


# -------------------------------------------------------------- ONNX

# An Identity in the end; 'b' is a node and another node's output.
GRAPH = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[1,2,4,4] x) => (float[1,2,4,4] y, float[1,4,4,4] z)
<float[2,2,1,1] w = {1,0,0,1}> {
    [b] a_out = Conv(x, w)
    [r] b = Relu(a_out)
    [cat] z = Concat<axis=1>(x, b)
    [i] y = Identity(b)
}
"""


@pytest.fixture(scope="module")
def onnx_network(tmp_path_factory: pytest.TempPathFactory) -> ModuleOp:
    onnx: Any = pytest.importorskip("onnx")
    file = tmp_path_factory.mktemp("onnx") / "g.onnx"
    onnx.save(onnx.parser.parse_model(GRAPH), file)
    from nvdla_ir.frontends.onnx import import_onnx

    return import_onnx(file, ResourceStore(), shapes={}, diagnostics=DiagnosticCollector())


@pytest.mark.parametrize("format", TableFormat)
def test_names_of_onnx_tensors_are_matched_in_any_order(
    onnx_network: ModuleOp, format: TableFormat
) -> None:
    names = ("b", "(Unnamed Layer* 1) [Activation]_output", "z", "a_out", "x")
    numbers, (summary,), lost = renamed(onnx_network, *names, format=format)
    assert numbers == {"r": 0, names[1]: 1, "cat": 2, "b": 3, "x": 4}
    assert lost == [names[1]]
    assert "4 by tensor name, 0 by layer name, 0 by position" in summary


def test_a_json_table_by_layers_is_read_so(onnx_network: ModuleOp) -> None:
    names = ("x", "b", "r", "cat")
    numbers, said, lost = renamed(onnx_network, *names, format=TableFormat.NVDLA_JSON)
    assert (numbers, said, lost) == ({name: i for i, name in enumerate(names)}, [], [])


def test_a_tensor_may_have_two_names(onnx_network: ModuleOp) -> None:
    assert cache_names(function(onnx_network)) == {
        "x": ("x",),
        "b": ("a_out",),
        "r": ("b", "y"),
        "cat": ("z",),
    }
    # Their entries must agree.
    (fault,) = faults_of(onnx_network, "x", "a_out", "b", "y", "z")
    assert "'y' (scale 3.5) and 'b' both seem to be the tensor 'r'" in fault


STEPS = """
func.func @main(%x: tensor<1x2x4x4xf32> {nvdla_ir.name = "data"}) -> tensor<1x2xf32> {
  %r = nn.relu %x layers=["relu"] attributes {nvdla_ir.tensors = ["r"]} -> tensor<1x2x4x4xf32>
  %k = nn.global_average_pool %r layers=["mean.kept"] -> tensor<1x2x1x1xf32>
  %m = nn.reshape %k layers=["mean"] attributes {nvdla_ir.tensors = ["m"]} -> tensor<1x2xf32>
  func.return %m
}
"""


def steps() -> ModuleOp:
    return load_module(STEPS, "steps.ir", Path(), default_context()).module


def test_a_step_inside_a_node_has_the_range_of_its_view() -> None:
    """A cache of TensorRT has the tensors of the ONNX file alone."""
    found, said, lost = renamed(steps(), "data", "r", "m")
    assert (found, lost) == ({"data": 0, "relu": 1, "mean": 2, "mean.kept": 2}, [])
    assert said[0].endswith("; 'mean.kept' without an entry has that of its view")
    found, said, _ = renamed(steps(), "data", "r", "mean.kept", "m")
    assert (found["mean.kept"], found["mean"]) == (2, 3)
    assert "view" not in said[0]


def test_what_is_written_for_steps_inside_a_node_is_read_back() -> None:
    names = cache_names(function(steps()))
    assert names == {"data": ("data",), "relu": ("r",), "mean.kept": ("mean.kept", "m")}
    written = [name for each in names.values() for name in each]
    assert set(renamed(steps(), *written)[0]) == {"data", "relu", "mean.kept", "mean"}
