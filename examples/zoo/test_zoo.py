"""The zoo's networks: shapes, sizes, and that ONNX files of them are sound."""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from network import Builder, Network
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
    "mobilenet_v3_small": [(1000,)],
    "mobilenet_v3_large": [(1000,)],
    "shufflenet_v2": [(1000,)],
    "efficientnet_lite0": [(1000,)],
    "densenet121": [(1000,)],
    "inception_v3": [(1000,)],
    "yolo_v5": [(3, 80, 80, 85), (3, 40, 40, 85), (3, 20, 20, 85)],
    "ssd_mobilenet_v1": [(1917, 4), (1917, 21)],
    "unet": [(2, 128, 128)],
    "espcn": [(1, 216, 216)],
    "resnext50": [(1000,)],
    "se_resnet50": [(1000,)],
    "efficientnet_b0": [(1000,)],
    "xception": [(1000,)],
    "nasnet": [(1000,)],
    "inception_resnet_v2": [(1000,)],
    "fcn8s": [(21, 256, 256)],
    "deeplab_v3": [(21, 256, 256)],
    "pose": [(17, 64, 64)],
    "fsrcnn": [(1, 128, 128)],
    "autoencoder": [(1, 64, 64)],
    "ds_cnn": [(12,)],
    "wave": [(8,)],
    "mlp": [(10,)],
}
# Large images that would take the tests' time.
SMALLER = {"inception_v3": 107, "yolo_v5": 128, "ssd_mobilenet_v1": 160, "densenet121": 96}
SMALLER |= {"xception": 96, "inception_resnet_v2": 107, "nasnet": 64, "efficientnet_b0": 64}
SMALLER |= {"resnext50": 64, "se_resnet50": 64, "fcn8s": 64, "deeplab_v3": 64, "pose": 64}
PARAMETERS = {
    # As published, plus the batch norms' running statistics, which ours are counted with.
    "alexnet": 60_965_224,
    "resnet50": 25_557_032 + 53_120 + 64,  # the Caffe model's first convolution has a bias
    "resnext50": 25_028_904 + 68_224 + 64,
    "se_resnet50": 28_088_024 + 53_120 + 64,
    "xception": 22_855_952 + 54_528,
    "efficientnet_b0": 5_288_548 + 42_016,
    "squeezenet": 1_235_496,
    "mobilenet_v1": 4_231_976 + 21_888,
    "mobilenet_v2": 3_504_872 + 34_112,
    "densenet121": 7_978_856 + 83_648,
    "shufflenet_v2": 2_278_604 + 16_180,
    "inception_v3": 23_834_568 + 34_432,
    "mobilenet_v3_small": 2_542_856 + 12_112,
    "mobilenet_v3_large": 5_483_032 + 24_400,
    "efficientnet_lite0": 4_652_008 + 42_016,
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
    size: dict[str, int] = {"size": SMALLER[name]} if name in SMALLER else {}
    runtime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    from zoo import write

    from nvdla_ir.frontends.onnx import import_onnx
    from nvdla_ir.interp.machine import Machine
    from nvdla_ir.ir.diagnostics import DiagnosticCollector
    from nvdla_ir.resources import ResourceStore

    network, file = TOPOLOGIES[name](width=0.125, **size), tmp_path / "net.onnx"
    write(network, file)
    onnx.checker.check_model(str(file), full_check=True)
    session = runtime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    x = np.random.default_rng(0).standard_normal((1, *network.input_shape), np.float32)
    expected = session.run(None, {"data": x})
    shapes = {layer.name: layer.shape for layer in network.layers}
    assert [output.shape[1:] for output in expected] == [shapes[name] for name in network.outputs]
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


NOT_IN_CAFFE = ("yolo", "mobilenet_v3", "inception", "shufflenet", "espcn", "nasnet", "deeplab")
NOT_IN_CAFFE += ("se_resnet50", "efficientnet_b0", "fsrcnn", "autoencoder", "wave")
LIKE_OTHERS = ("resnext50", "xception", "fcn8s", "pose")
"""Which have no layers that others have not."""


@pytest.mark.parametrize(
    "name",
    [name for name in TOPOLOGIES if not any(part in name for part in NOT_IN_CAFFE + LIKE_OTHERS)],
)
def test_caffe_and_onnx_files_are_the_same_network(name: str, tmp_path: Path) -> None:
    pytest.importorskip("google.protobuf", reason="the package protobuf is not installed")
    from zoo import write

    from nvdla_ir.frontends.caffe import import_caffe
    from nvdla_ir.frontends.onnx import import_onnx
    from nvdla_ir.interp.machine import Machine
    from nvdla_ir.ir.diagnostics import DiagnosticCollector
    from nvdla_ir.ir.verifier import verify
    from nvdla_ir.resources import ResourceStore

    size: dict[str, int] = {"size": SMALLER[name]} if name in SMALLER else {}
    network = TOPOLOGIES[name](width=0.125, **size)
    write(network, tmp_path / "net.onnx")
    write(network, tmp_path / "net.prototxt")
    x = np.random.default_rng(1).standard_normal((1, *network.input_shape), np.float32)
    outputs: list[list[np.ndarray]] = []
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
        found = Machine(resources).run(module.body.first_op, {"data": x}).values()
        # Caffe's outputs are those that nothing reads, in the order of the layers.
        outputs.append(sorted((output.ravel() for output in found), key=len))
    for one, other in zip(*outputs, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5 * max(1, np.abs(one).max()))


def test_what_caffe_cannot_say_is_told(tmp_path: Path) -> None:
    from zoo import write

    with pytest.raises(ValueError, match="Caffe has no layer for 'pool6'"):
        write(TOPOLOGIES["tiny_yolo_v2"](width=0.125), tmp_path / "yolo.prototxt")


@pytest.mark.parametrize("name", ["resnet18", "yolo_v5"])
def test_batch_norms_with_the_statistics_of_images(name: str) -> None:
    """What comes in is normalized: its mean is 0, and its variance 1."""
    from batch_norms import photos, with_statistics

    network = TOPOLOGIES[name](width=0.0625, size=64)
    settled = with_statistics(network, photos(network, 2))
    changed = [
        new
        for old, new in zip(network.layers, settled.layers, strict=True)
        if any((old.weights[key] != new.weights[key]).any() for key in old.weights)
    ]
    assert {layer.kind for layer in changed} == {"batch_norm"}
    again = with_statistics(settled, photos(settled, 2))
    for one, other in zip(settled.layers, again.layers, strict=True):
        for key, weights in one.weights.items():
            np.testing.assert_allclose(weights, other.weights[key], rtol=1e-3, atol=1e-4)


def test_the_matrix_says_what_compiles_and_why_the_rest_does_not(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import matrix

    monkeypatch.setattr(matrix, "WIDTH", 0.0625)
    monkeypatch.setattr(matrix, "SMALL", 32)
    monkeypatch.setitem(matrix.TOPOLOGIES, "unknown", _with_a_softmax_inside)
    asked = ["lenet5", "unknown", "--target", "nv_small", "--run"]
    asked += ["--results", str(tmp_path / "cells.jsonl")]
    assert matrix.main(asked) == 0
    printed = capsys.readouterr().out
    for line in (
        "1 of 2 compile.",
        "1 of 1 compute the int8 IR's bytes as hardware layers and registers.",
        "refused: 1",
        "unknown: all",
    ):
        assert line in printed
    assert re.search(r"^lenet5 +nv_small .* equal on 2 images$", printed, re.MULTILINE)
    monkeypatch.setattr(matrix, "compiled", None)  # what is in the file is not done again
    assert matrix.main(asked) == 0
    assert capsys.readouterr().out == printed
    for wrong, told in (
        (["resnet19"], "there is no network 'resnet19'; there are lenet5"),
        (["--target", "nv_tiny"], "there is no configuration 'nv_tiny'; there are nv_small"),
    ):
        with pytest.raises(SystemExit):
            matrix.main(wrong)
        assert told in capsys.readouterr().err


def test_the_matrix_tells_a_level_whose_bytes_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    import matrix

    results = iter(([np.zeros(2)], [np.zeros(2)], [np.ones(2)]))
    monkeypatch.setattr(matrix, "_outputs", lambda *_: next(results))
    network = Builder("tiny", (3, 8, 8), 1)
    network = network.finish(network.conv(network.input, "conv", 4, 3))
    with tempfile.TemporaryDirectory() as folder:
        subject = matrix.Subject.of(network, Path(folder))
        cell = matrix.compiled(subject, "nv_small", matrix.MemoryTiming(8.0), run=True)
    assert cell.different == ("registers",)
    assert "DIFFERENT: registers" in cell.line()


def _with_a_softmax_inside(seed: int = 0, width: float = 1.0, size: int = 32) -> Network:
    """Which has no form on the device, whatever is added to it."""
    net = Builder("unknown", (3, size, size), seed)
    x = net.softmax(net.conv(net.input, "conv1", 4, 3), "inside")
    return net.finish(net.conv(x, "conv2", 4, 3))
