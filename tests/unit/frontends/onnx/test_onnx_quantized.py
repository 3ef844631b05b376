"""Quantized models: what is taken over, and integers against ONNX Runtime's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx_models import Imported, messages, model, node, runtime_outputs

from nvdla_ir.dialects import nn
from nvdla_ir.dialects.quant import UniformPerAxisType, UniformType
from nvdla_ir.interp.machine import Mode
from nvdla_ir.passes.base import Session
from nvdla_ir.passes.insert_converters import InsertConverters


def step_of(reals: Any) -> np.float32:
    return np.float32(np.abs(reals).max() / 127)


class Builder:
    """Nodes and constants of a QDQ model."""

    def __init__(self, dtype: Any, zero_point: int) -> None:
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}
        self.dtype, self.zero_point = dtype, zero_point

    def qdq(self, name: str, scale: float) -> str:
        self.constants |= {
            f"{name}.s": np.float32(scale),
            f"{name}.z": np.array(self.zero_point, self.dtype),
        }
        parameters = [f"{name}.s", f"{name}.z"]
        self.nodes += [
            node("QuantizeLinear", [name, *parameters], [f"{name}.q"]),
            node("DequantizeLinear", [f"{name}.q", *parameters], [f"{name}.d"]),
        ]
        return f"{name}.d"

    def weights(self, name: str, reals: Any, axis: int | None) -> tuple[str, Any]:
        """Per tensor, or per slice along ``axis``; and their scales."""
        if axis is None:
            scales = np.asarray(step_of(reals))
            stored = np.rint(reals / scales)
        else:
            others = tuple(other for other in range(reals.ndim) if other != axis)
            peaks = np.abs(reals).max(axis=others, keepdims=True)
            scales = (peaks / 127).astype(np.float32)
            stored, scales = np.rint(reals / scales), scales.reshape(-1)
        self.constants |= {
            name: stored.astype(np.int8),
            f"{name}.s": scales,
            f"{name}.z": np.zeros(scales.shape, np.int8),
        }
        more = {} if axis is None else {"axis": axis}
        inputs = [name, f"{name}.s", f"{name}.z"]
        self.nodes.append(node("DequantizeLinear", inputs, [f"{name}.d"], **more))
        return f"{name}.d", scales

    def bias(self, name: str, reals: Any, scales: Any) -> str:
        scales = np.asarray(scales, np.float32)
        if scales.ndim and scales.size == 1:
            scales = scales.reshape(())
        self.constants |= {name: np.rint(reals / scales).astype(np.int32), f"{name}.s": scales}
        more = {"axis": 0} if scales.ndim else {}
        self.nodes.append(node("DequantizeLinear", [name, f"{name}.s"], [f"{name}.d"], **more))
        return f"{name}.d"


def network(rng: Any, dtype: Any, zero_point: int, per_channel: bool) -> Any:
    """conv, relu, residual conv, add, pool, gemm."""
    b = Builder(dtype, zero_point)
    w1, w2, w3 = (
        rng.normal(size=shape).astype(np.float32)
        for shape in ((8, 3, 3, 3), (8, 8, 3, 3), (10, 8 * 4 * 4))
    )
    scales = {"x": 0.02, "r1": 0.08, "c2": 0.4, "a": 0.4, "p": 0.4, "f": 0.4, "y": 1.5}
    axis = 0 if per_channel else None
    x = b.qdq("x", scales["x"])
    name, steps = b.weights("w1", w1, axis)
    bias = b.bias("b1", rng.normal(size=8), scales["x"] * steps)
    b.nodes += [
        node("Conv", [x, name, bias], ["c1"], name="conv1", pads=[1, 1, 1, 1]),
        node("Relu", ["c1"], ["r1"], name="relu1"),
    ]
    r1 = b.qdq("r1", scales["r1"])
    name, steps = b.weights("w2", w2, axis)
    bias = b.bias("b2", rng.normal(size=8), scales["r1"] * steps)
    b.nodes.append(node("Conv", [r1, name, bias], ["c2"], name="conv2", pads=[1, 1, 1, 1]))
    c2 = b.qdq("c2", scales["c2"])
    b.nodes.append(node("Add", [c2, r1], ["a"], name="add"))
    a = b.qdq("a", scales["a"])
    b.nodes.append(node("MaxPool", [a], ["p"], name="pool", kernel_shape=[2, 2], strides=[2, 2]))
    p = b.qdq("p", scales["p"])
    b.nodes.append(node("Flatten", [p], ["f"], name="flat"))
    f = b.qdq("f", scales["f"])
    name, steps = b.weights("w3", w3, axis)
    bias = b.bias("b3", rng.normal(size=10), scales["f"] * steps)
    b.nodes.append(node("Gemm", [f, name, bias], ["y"], name="fc", transB=1))
    output = b.qdq("y", scales["y"])
    return model(b.nodes, {"x": (1, 3, 8, 8)}, [output], b.constants), b.constants, scales


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize(("dtype", "zero_point"), [(np.int8, 0), (np.uint8, 128), (np.uint8, 100)])
def test_integers_are_those_of_the_model(
    dtype: Any, zero_point: int, per_channel: bool, tmp_path: Path
) -> None:
    """Scales, zero points (128 lower) and weights to the bit.

    Outputs are near, not equal: the pipeline does not round between a convolution and an addition
    that follows, multiplies by 16 bits and rounds halves away from zero, where ONNX Runtime
    computes each layer on reals and rounds halves to even. A step of one layer is several of the
    last one, after 128 products.
    """
    rng = np.random.default_rng(zero_point)
    proto, constants, scales = network(rng, dtype, zero_point, per_channel)
    imported = Imported(proto, tmp_path)
    moved = zero_point - (128 if dtype is np.uint8 else 0)
    seen: set[str] = set()
    for op in imported.main.body.operations:
        if isinstance(op, nn.ConstantOp):
            name = op.output.name_hint
            element = nn.tensor_type(op.output).element
            if name in ("w1", "w2", "w3"):
                assert np.array_equal(imported.resources.array(op.value), constants[name])
                stated = constants[f"{name}.s"].astype(np.float64).reshape(-1).tolist()
                if per_channel:
                    assert isinstance(element, UniformPerAxisType)
                    assert list(element.scales) == stated and element.axis == 0
                else:
                    assert isinstance(element, UniformType) and [element.scale] == stated
                seen.add(name)
            continue
        for result in op.results:
            element = nn.tensor_type(result).element
            assert isinstance(element, nn.FakeQuantizedType), op.name
            key = {"conv1": "r1", "relu1": "r1", "conv2": "c2", "add": "a"}.get(
                result.name_hint or "",
                {"pool": "p", "flat": "f", "fc": "y"}.get(result.name_hint or "", ""),
            )
            assert element.quantized() == UniformType(
                element.quantized().storage,
                element.expressed,
                float(np.float32(scales[key])),
                moved,
            )
            seen.add(key)
    assert seen == {"w1", "w2", "w3", "r1", "c2", "a", "p", "f", "y"}
    InsertConverters().run(imported.module, session := Session(imported.resources))
    session.diagnostics.raise_if_errors()
    x = rng.normal(size=(1, 3, 8, 8)).astype(np.float32)
    (expected,) = runtime_outputs(proto, {"x": x})
    (found,) = imported.run({"x": x}, Mode.INTEGER).values()
    noise = np.square(found - expected).mean() / np.square(expected).mean()
    assert -10 * np.log10(max(noise, 1e-12)) >= 30
    assert np.abs(expected).max() > 20 * scales["y"]


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize(("dtype", "zero_point"), [(np.int8, 0), (np.uint8, 128), (np.uint8, 100)])
@pytest.mark.parametrize("layer", ["conv", "relu", "gemm", "add", "pool", "mean"])
def test_one_layer_is_within_one_step(
    layer: str, dtype: Any, zero_point: int, per_channel: bool, tmp_path: Path
) -> None:
    rng = np.random.default_rng(zero_point)
    b = Builder(dtype, zero_point)
    shape, scale = (1, 3, 8, 8), 0.05
    x = b.qdq("x", 0.02)
    if layer in ("conv", "relu"):
        weights = rng.normal(size=(8, 3, 3, 3)).astype(np.float32)
        name, steps = b.weights("w", weights, 0 if per_channel else None)
        bias = b.bias("b", rng.normal(size=8), np.float32(0.02) * steps)
        b.nodes.append(node("Conv", [x, name, bias], ["c"], strides=[2, 2]))
        if layer == "relu":
            b.nodes.append(node("Relu", ["c"], ["y"]))
        else:
            b.nodes[-1].output[0] = "y"
        scale = 0.15
    elif layer == "gemm":
        shape, scale = (2, 40), 0.2
        weights = rng.normal(size=(40, 9)).astype(np.float32)
        name, steps = b.weights("w", weights, 1 if per_channel else None)
        bias = b.bias("b", rng.normal(size=9), np.float32(0.02) * steps)
        b.nodes.append(node("Gemm", [x, name, bias], ["y"]))
    elif layer == "add":
        b.nodes.append(node("Relu", [x], ["r"]))
        b.nodes.append(node("Add", [x, b.qdq("r", 0.03)], ["y"]))
    elif layer == "pool":
        b.nodes.append(node("MaxPool", [x], ["y"], kernel_shape=[3, 3], strides=[2, 2]))
        scale = 0.02
    else:
        b.nodes.append(node("GlobalAveragePool", [x], ["y"]))
        scale = 0.004
    proto = model(b.nodes, {"x": shape}, [b.qdq("y", scale)], b.constants)
    imported = Imported(proto, tmp_path)
    InsertConverters().run(imported.module, session := Session(imported.resources))
    session.diagnostics.raise_if_errors()
    inputs = {"x": rng.normal(size=shape).astype(np.float32)}
    (expected,) = runtime_outputs(proto, inputs)
    (found,) = imported.run(inputs, Mode.INTEGER).values()
    assert np.abs(found - expected).max() / scale <= 1.01
    assert len(np.unique(expected)) > 2


def test_fake_quantized_equals_the_runtime(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    proto, _, scales = network(rng, np.uint8, 120, True)
    x = rng.normal(size=(1, 3, 8, 8)).astype(np.float32)
    (expected,) = runtime_outputs(proto, {"x": x})
    (found,) = Imported(proto, tmp_path).run({"x": x}, Mode.FAKE_QUANTIZED).values()
    assert np.abs(found - expected).max() / scales["y"] <= 1.01


def qlinear(rng: Any, dtype: Any, zero_point: int) -> Any:
    """QuantizeLinear, QLinearConv, MaxPool and Reshape on integers, QLinearMatMul,
    DequantizeLinear.

    Weights have 7 bits: where the processor has no dot product of bytes, ONNX Runtime's sums of
    two products of uint8 and int8 saturate at 16 bits.
    """
    scales = {"x": 0.02, "c": 0.1, "m": 1.0}
    constants: dict[str, Any] = {
        **{f"{name}.s": np.float32(scale) for name, scale in scales.items()},
        "z": np.array(zero_point, dtype),
        "w": rng.integers(-64, 64, (6, 3, 3, 3)).astype(np.int8),
        "w.s": rng.uniform(0.005, 0.02, 6).astype(np.float32),
        "w.z": np.zeros(6, np.int8),
        "b": rng.integers(-1000, 1000, 6).astype(np.int32),
        "v": rng.integers(-64, 64, (6 * 4 * 4, 5)).astype(np.int8),
        "v.s": np.float32(0.01),
        "v.z": np.int8(0),
        "flat": np.array([1, -1]),
    }
    nodes = [
        node("QuantizeLinear", ["x", "x.s", "z"], ["xq"]),
        node(
            "QLinearConv",
            ["xq", "x.s", "z", "w", "w.s", "w.z", "c.s", "z", "b"],
            ["cq"],
            pads=[1, 1, 1, 1],
        ),
        node("MaxPool", ["cq"], ["pq"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Reshape", ["pq", "flat"], ["fq"]),
        node("QLinearMatMul", ["fq", "c.s", "z", "v", "v.s", "v.z", "m.s", "z"], ["mq"]),
        node("DequantizeLinear", ["mq", "m.s", "z"], ["y"]),
    ]
    return model(nodes, {"x": (1, 3, 8, 8)}, ["y"], constants)


@pytest.mark.parametrize(("dtype", "zero_point"), [(np.int8, 3), (np.uint8, 128), (np.uint8, 60)])
def test_operators_on_integers(dtype: Any, zero_point: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(zero_point)
    proto = qlinear(rng, dtype, zero_point)
    imported = Imported(proto, tmp_path)
    InsertConverters().run(imported.module, session := Session(imported.resources))
    session.diagnostics.raise_if_errors()
    x = rng.normal(size=(1, 3, 8, 8)).astype(np.float32)
    (expected,) = runtime_outputs(proto, {"x": x})
    found = imported.run({"x": x}, Mode.INTEGER)["y"]
    assert np.abs(found - expected).max() <= 1.01
    assert len(np.unique(expected)) > 3


def test_bytes_as_input(tmp_path: Path) -> None:
    """A graph that takes uint8 subtracts its zero point on the way in, exactly."""
    rng = np.random.default_rng(0)
    constants = {"s": np.float32(0.05), "z": np.uint8(7), "c": rng.normal(size=(3, 1, 1))}
    constants["c"] = constants["c"].astype(np.float32)
    nodes = [node("DequantizeLinear", ["x", "s", "z"], ["d"]), node("Add", ["d", "c"], ["y"])]
    proto = model(nodes, {"x": (1, 3, 4, 4)}, constants=constants, element=2)
    x = rng.integers(0, 256, (1, 3, 4, 4)).astype(np.uint8)
    imported = Imported(proto, tmp_path)
    assert imported.operations == ["nn.normalize", "nn.bias_add"]
    (expected,) = runtime_outputs(proto, {"x": x})
    assert np.allclose(imported.run({"x": x})["y"], expected, rtol=1e-6, atol=1e-6)


def test_scales_along_another_axis_become_floats_and_that_is_told(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    constants = {
        "w": rng.integers(0, 256, (4, 3, 1, 1)).astype(np.uint8),
        "s": np.array([0.1, 0.2, 0.3], np.float32),
        "z": np.array([100, 128, 3], np.uint8),
    }
    nodes = [
        node("DequantizeLinear", ["w", "s", "z"], ["d"], axis=1),
        node("Conv", ["x", "d"], ["y"]),
    ]
    proto = model(nodes, {"x": (1, 3, 4, 4)}, constants=constants)
    imported = Imported(proto, tmp_path)
    assert "'w' are not of 8 bits, or have scales" in imported.diagnostics.diagnostics[0].message
    x = rng.normal(size=(1, 3, 4, 4)).astype(np.float32)
    (expected,) = runtime_outputs(proto, {"x": x})
    assert np.allclose(imported.run({"x": x})["y"], expected, rtol=1e-4, atol=1e-4)


def test_a_tensor_read_as_reals_too_keeps_its_cast(tmp_path: Path) -> None:
    b = Builder(np.uint8, 128)
    b.nodes.append(node("Relu", ["x"], ["r"]))
    b.nodes.append(node("Add", ["r", b.qdq("r", 0.1)], ["y"]))
    imported = Imported(model(b.nodes, {"x": (1, 3, 4, 4)}, constants=b.constants), tmp_path)
    assert imported.operations == ["nn.relu", "nn.quantize", "nn.add"]


def test_codes_to_other_codes(tmp_path: Path) -> None:
    b = Builder(np.uint8, 128)
    first = b.qdq("x", 0.1)
    b.nodes.append(node("Identity", [first], ["again"]))
    proto = model(b.nodes, {"x": (1, 3, 4, 4)}, [b.qdq("again", 0.3)], b.constants)
    imported = Imported(proto, tmp_path)
    assert imported.operations == ["nn.scale"]
    x = np.random.default_rng(0).normal(size=(1, 3, 4, 4)).astype(np.float32)
    (expected,) = runtime_outputs(proto, {"x": x})
    (found,) = imported.run({"x": x}, Mode.FAKE_QUANTIZED).values()
    assert np.abs(found - expected).max() <= 0.31


def test_what_quantization_cannot_be(tmp_path: Path) -> None:
    constants = {
        "s": np.float32(0.1),
        "t": np.float32(0.2),
        "z": np.uint8(3),
        "z16": np.int16(0),
        "zero": np.float32(0),
        "many": np.full(3, 0.1, np.float32),
        "zeros": np.zeros(3, np.uint8),
    }
    cases = {
        "another scale": [
            node("QuantizeLinear", ["x", "s", "z"], ["q"]),
            node("DequantizeLinear", ["q", "t", "z"], ["y"]),
        ],
        "only int8 and uint8": [
            node("QuantizeLinear", ["x", "s", "z16"], ["q"]),
            node("DequantizeLinear", ["q", "s", "z16"], ["y"]),
        ],
        "quantizes with a scale of 0": [
            node("QuantizeLinear", ["x", "zero", "z"], ["q"]),
            node("DequantizeLinear", ["q", "zero", "z"], ["y"]),
        ],
        "a scale a channel": [
            node("QuantizeLinear", ["x", "many", "zeros"], ["q"]),
            node("DequantizeLinear", ["q", "many", "zeros"], ["y"]),
        ],
    }
    for message, nodes in cases.items():
        proto = model(nodes, {"x": (1, 3, 4, 4)}, constants=constants, opset=21)
        assert any(message in found for found in messages(proto, tmp_path)), message
