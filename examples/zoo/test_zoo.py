"""The zoo's networks: shapes, sizes, and that ONNX files of them are sound."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from zoo import TOPOLOGIES, main

onnx = pytest.importorskip("onnx", reason="the package onnx is not installed")

OUTPUTS = {
    "lenet5": [(10,)],
    "alexnet": [(1000,)],
    "vgg16": [(1000,)],
    "googlenet": [(1000,)],
    "resnet18": [(1000,)],
    "resnet50": [(1000,)],
    "squeezenet": [(1000, 1, 1)],
    "mobilenet_v1": [(1000, 1, 1)],
    "mobilenet_v2": [(1000, 1, 1)],
    "tiny_yolo_v2": [(125, 13, 13)],
    "tiny_yolo_v3": [(255, 13, 13), (255, 26, 26)],
    "unet": [(2, 128, 128)],
}
PARAMETERS = {
    # As published, plus the batch norms' running statistics, which ours are counted with.
    "alexnet": 60_965_224,
    "resnet50": 25_557_032 + 53_120 + 64,  # the Caffe model's first convolution has a bias
    "squeezenet": 1_235_496,
    "mobilenet_v1": 4_231_976 + 21_888,
    "mobilenet_v2": 3_504_872 + 34_112,
}


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_outputs_have_the_known_shapes(name: str) -> None:
    network = TOPOLOGIES[name](width=0.125)
    shapes = {layer.name: layer.shape for layer in network.layers}
    assert [shapes[output] for output in network.outputs] == OUTPUTS[name]


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_are_as_many_as_published(name: str) -> None:
    assert TOPOLOGIES[name]().parameter_count == PARAMETERS[name]


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_imported_networks_compute_what_onnx_runtime_does(name: str, tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    from zoo import write

    from nvdla_ir.frontends.onnx import import_onnx
    from nvdla_ir.interp.machine import Machine
    from nvdla_ir.ir.diagnostics import DiagnosticCollector
    from nvdla_ir.resources import ResourceStore

    network, file = TOPOLOGIES[name](width=0.125), tmp_path / "net.onnx"
    write(network, file)
    onnx.checker.check_model(str(file), full_check=True)
    session = runtime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    x = np.random.default_rng(0).standard_normal((1, *network.input_shape), np.float32)
    expected = session.run(None, {"data": x})
    assert [output.shape[1:] for output in expected] == OUTPUTS[name]
    resources = ResourceStore()
    module = import_onnx(file, resources, shapes={}, diagnostics=DiagnosticCollector())
    found = Machine(resources).run(module.body.first_op, {"data": x})
    for output, reference in zip(found.values(), expected, strict=True):
        assert reference.std() > 1e-5
        np.testing.assert_allclose(output, reference, atol=1e-4 * np.abs(reference).max())


def test_weights_depend_on_seed_and_layer_alone() -> None:
    first, again, other = (TOPOLOGIES["lenet5"](seed=seed) for seed in (0, 0, 1))
    for a, b, c in zip(first.layers, again.layers, other.layers, strict=True):
        for name, weights in a.weights.items():
            np.testing.assert_array_equal(weights, b.weights[name])
            assert (weights != c.weights[name]).any()


def test_the_script_writes_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lenet5", str(tmp_path / "lenet.onnx")]) == 0
    assert len(onnx.load(tmp_path / "lenet.onnx").graph.node) == 14
    assert main([]) == 0
    assert "resnet50" in capsys.readouterr().out


@pytest.mark.parametrize("name", [name for name in TOPOLOGIES if "yolo" not in name])
def test_caffe_and_onnx_files_are_the_same_network(name: str, tmp_path: Path) -> None:
    pytest.importorskip("google.protobuf", reason="the package protobuf is not installed")
    from zoo import write

    from nvdla_ir.frontends.caffe import import_caffe
    from nvdla_ir.frontends.onnx import import_onnx
    from nvdla_ir.interp.machine import Machine
    from nvdla_ir.ir.diagnostics import DiagnosticCollector
    from nvdla_ir.ir.verifier import verify
    from nvdla_ir.resources import ResourceStore

    network = TOPOLOGIES[name](width=0.125)
    write(network, tmp_path / "net.onnx")
    write(network, tmp_path / "net.prototxt")
    x = np.random.default_rng(1).standard_normal((1, *network.input_shape), np.float32)
    outputs: list[np.ndarray] = []
    for kind in ("onnx", "caffe"):
        resources, diagnostics = ResourceStore(), DiagnosticCollector()
        if kind == "onnx":
            file = tmp_path / "net.onnx"
            module = import_onnx(file, resources, shapes={}, diagnostics=diagnostics)
        else:
            files = tmp_path / "net.prototxt", tmp_path / "net.caffemodel"
            module = import_caffe(*files, resources, shapes={}, diagnostics=diagnostics)
        verify(module)
        assert not diagnostics.diagnostics
        (output,) = Machine(resources).run(module.body.first_op, {"data": x}).values()
        outputs.append(output)
    np.testing.assert_allclose(outputs[0].ravel(), outputs[1].ravel(), atol=1e-5)


def test_what_caffe_cannot_say_is_told(tmp_path: Path) -> None:
    from zoo import write

    with pytest.raises(ValueError, match="Caffe has no layer for 'pool6'"):
        write(TOPOLOGIES["tiny_yolo_v2"](width=0.125), tmp_path / "yolo.prototxt")
