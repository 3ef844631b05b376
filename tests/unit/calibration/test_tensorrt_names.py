"""Renaming of TensorRT's names: the vendor's ResNet-50 cache gives the vendor's table."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from nvdla_ir.calibration.entry import CalibrationEntry
from nvdla_ir.calibration.table import CalibrationTable, read_table
from nvdla_ir.calibration.tensorrt_names import rename_entries
from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.layer import BLOB_ATTRIBUTE
from nvdla_ir.frontends.caffe import import_caffe
from nvdla_ir.ir.diagnostics import DiagnosticCollector
from nvdla_ir.resources import ResourceStore

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


def table_of(*names: str) -> CalibrationTable:
    return CalibrationTable(
        tuple(CalibrationEntry.from_scale(name, 0.5 + i) for i, name in enumerate(names))
    )


def renamed(module: ModuleOp, *names: str) -> tuple[dict[str, int], list[str]]:
    """Which entry each new name has, and the warnings."""
    diagnostics = DiagnosticCollector()
    table = rename_entries(table_of(*names), module, diagnostics)
    numbers = {name: round(entry.scale - 0.5) for name, entry in table.items()}
    return numbers, [d.message for d in diagnostics.diagnostics]


@pytest.mark.parametrize("with_blobs", [True, False])
def test_the_vendors_cache_gives_the_vendors_table(network: ModuleOp, with_blobs: bool) -> None:
    if not SHARED.is_dir():
        pytest.skip("the vendor's calibration tables are not here")
    module = network
    attributes = [
        (op, op.attributes[BLOB_ATTRIBUTE])
        for op in module.walk()
        if BLOB_ATTRIBUTE in op.attributes
    ]
    assert len(attributes) == 69
    if not with_blobs:
        for op, _ in attributes:
            del op.attributes[BLOB_ATTRIBUTE]
    diagnostics = DiagnosticCollector()
    try:
        table = rename_entries(read_table(SHARED / "resnet50.txt"), module, diagnostics)
    finally:
        for op, attribute in attributes:
            op.attributes[BLOB_ATTRIBUTE] = attribute
    wanted = read_table(SHARED / "resnet50.json")
    assert diagnostics.diagnostics == []
    assert len(table) == 229
    assert [(e.name, e.scale, e.offset) for e in table.entries] == [
        (e.name, e.scale, e.offset) for e in wanted.entries
    ]


def test_what_cannot_be_mapped_is_listed(network: ModuleOp) -> None:
    names, warnings = renamed(
        network,
        "data",
        "(Unnamed Layer* 0) [Convolution]_output",
        "conv1",
        "(Unnamed Layer* 1) [Pooling]_output",
        "(Unnamed Layer* 4000) [Scale]_output",
        f"(Unnamed Layer* {'9' * 5000}) [Scale]_output",
        "elsewhere",
    )
    assert {"data": 0, "conv1": 1, "conv1_relu": 2}.items() <= names.items()
    assert len(warnings) == 1
    assert warnings[0].startswith("4 entries of the cache belong to no layer of the network: ")
    assert "'(Unnamed Layer* 1) [Pooling]_output'" in warnings[0]
    assert "'elsewhere'" in warnings[0]


def test_a_table_that_has_the_layers_names_stays_as_it_is(network: ModuleOp) -> None:
    layers = [op.layers[-1] for op in network.walk() if getattr(op, "layers", None)]
    names, warnings = renamed(network, "data", *layers)
    assert names == {name: i for i, name in enumerate(["data", *layers])}
    assert warnings == []
