"""Networks as ``quantize_static`` makes them, against ONNX Runtime on every level."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx_models import Imported, model, node, onnx, runtime_outputs
from quantized_levels import outputs_of_levels
from quantized_networks import (
    images,
    layer_by_layer,
    quantized_network,
    reals_before,
    with_all_tensors,
)

from nvdla_ir.interp.machine import Mode

# How activations and weights are stored, and whether weights have a scale a channel.
# ``quantize_static`` knows no uint8 weights beside int8 activations.
FORMATS = [
    (activations, weights, per_channel)
    for activations, weights in (("QInt8", "QInt8"), ("QUInt8", "QInt8"), ("QUInt8", "QUInt8"))
    for per_channel in (False, True)
]
_FLOATS = ("float", "fake-quantized")


def steps(found: Any, expected: Any, scale: float) -> Any:
    return np.abs(found - expected) / scale


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(("activations", "weights", "per_channel"), FORMATS)
def test_every_tensor(
    activations: str, weights: str, per_channel: bool, seed: int, tmp_path: Path
) -> None:
    """As reals, every tensor on the way is ONNX Runtime's to the code, but where a sum lies so
    close to a half that the order of its terms decides. As integers, each layer is within one
    step of what ONNX Runtime makes of the same inputs; registers make the same bytes.

    Weights with zero points of their own (uint8, one scale for all) are quantized again for the
    hardware: three steps.
    """
    proto = quantized_network(
        tmp_path, seed, activations=activations, weights=weights, per_channel=per_channel
    )
    proto, scales = with_all_tensors(proto)
    inputs = {"x": images(np.random.default_rng(seed + 1000))}
    expected = runtime_outputs(proto, inputs)
    again = weights == "QUInt8" and not per_channel
    levels = dict(outputs_of_levels(Imported(proto, tmp_path), inputs))
    for level in _FLOATS:
        for found, wanted, (name, scale) in zip(
            levels[level], expected, scales.items(), strict=True
        ):
            off = steps(found, wanted, scale)
            assert off.max() <= 1.01 and (off > 0.5).mean() <= 0.01, (level, name)
    of_integers = {
        name: array.astype(np.float32)
        for name, array in zip(scales, levels["integers"], strict=True)
    }
    by_layer = runtime_outputs(layer_by_layer(proto), inputs | of_integers)
    for wanted, (name, scale) in zip(by_layer, scales.items(), strict=True):
        assert steps(of_integers[name], wanted, scale).max() <= (3.01 if again else 1.01), name
    for found, wanted in zip(levels["registers"], levels["integers"], strict=True):
        assert np.array_equal(found, wanted)
    assert all(len(np.unique(array)) > 3 for array in expected)


NEAR_HALF = 2e-5


@pytest.mark.parametrize(("activations", "weights", "per_channel"), FORMATS)
def test_reals_differ_at_halves_only(
    activations: str, weights: str, per_channel: bool, tmp_path: Path
) -> None:
    """Of the same inputs each layer makes the same codes as ONNX Runtime, or neighbours where the
    sum lies within ``NEAR_HALF`` of a step of a half."""
    proto = quantized_network(
        tmp_path, 4, activations=activations, weights=weights, per_channel=per_channel
    )
    before = reals_before(proto)
    proto, scales = with_all_tensors(proto)
    inputs = {"x": images(np.random.default_rng(1004))}
    tensors = dict(zip(scales, runtime_outputs(proto, inputs), strict=True))
    cut = layer_by_layer(proto, {name: array.shape for name, array in tensors.items()})
    found = Imported(cut, tmp_path).run(inputs | tensors, Mode.FAKE_QUANTIZED)
    proto.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, 1, None)
        for name in set(before.values()) - set(scales) - {"x"}
    )
    names = [output.name for output in proto.graph.output]
    reals = inputs | dict(zip(names, runtime_outputs(proto, inputs), strict=True))
    for name, scale in scales.items():
        off = steps(found[f"{name}.model"], tensors[name], scale)
        codes = reals[before[name]][off > 0.5] / np.float64(scale)
        assert off.max() <= 1.01, name
        assert np.all(np.abs(codes - np.floor(codes) - 0.5) <= NEAR_HALF), name


@pytest.mark.parametrize(("activations", "weights", "per_channel"), FORMATS)
def test_operators_on_integers(
    activations: str, weights: str, per_channel: bool, tmp_path: Path
) -> None:
    """Their sums are exact in ONNX Runtime, too. On the way to an output are up to ten layers of
    one step each, which later ones make larger or smaller."""
    proto = quantized_network(
        tmp_path,
        3,
        activations=activations,
        weights=weights,
        per_channel=per_channel,
        operators=True,
    )
    assert {"QLinearConv", "QGemm"} <= {found.op_type for found in proto.graph.node}
    proto, scales = with_all_tensors(proto)
    inputs = {"x": images(np.random.default_rng(1003))}
    expected = runtime_outputs(proto, inputs)
    levels = dict(outputs_of_levels(Imported(proto, tmp_path), inputs))
    for level, outputs in levels.items():
        for found, wanted, (name, scale) in zip(outputs, expected, scales.items(), strict=True):
            off = steps(found, wanted, scale)
            assert off.max() <= (1.01 if level in _FLOATS else 3.01), (level, name)


CODES = {"s": np.float32(0.05), "z": np.uint8(100), "t": np.float32(0.02), "u": np.uint8(30)}
X, Y = ["q", "s", "z"], ["t", "u"]
OPERATORS: dict[str, Any] = {
    "QLinearAdd": ([*X, *X, *Y], {}),
    "QLinearMul": ([*X, *X, *Y], {}),
    "QLinearConcat": ([*Y, *X, *X], {"axis": 1}),
    "QLinearAveragePool": ([*X, *Y], {"kernel_shape": [2, 2], "strides": [2, 2]}),
    "QLinearGlobalAveragePool": ([*X, *Y], {}),
    "QLinearLeakyRelu": ([*X, *Y], {"alpha": 0.3}),
    "QLinearSigmoid": ([*X, *Y], {}),
    "QLinearSoftmax": ([*X, *Y], {"axis": 1, "opset": 13}),
}


@pytest.mark.parametrize("operator", OPERATORS)
def test_one_operator_on_integers(operator: str, tmp_path: Path) -> None:
    inputs, attributes = OPERATORS[operator]
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        node(operator, inputs, ["r"], domain="com.microsoft", **attributes),
        node("DequantizeLinear", ["r", *Y], ["y"]),
    ]
    proto = model(nodes, {"x": (1, 3, 4, 4)}, constants=CODES)
    x = np.random.default_rng(0).uniform(-6, 8, (1, 3, 4, 4)).astype(np.float32)
    (expected,) = runtime_outputs(proto, {"x": x})
    found = Imported(proto, tmp_path).run({"x": x})["y"]
    assert steps(found, expected, 0.02).max() <= 1.01
    assert len(np.unique(expected)) > 1


def test_bytes_that_are_no_image(tmp_path: Path) -> None:
    """The host brings them to int8; QGemm without a scale of its output makes reals."""
    constants = CODES | {
        "w": np.int8([[1, -2, 3, 4], [-100, 127, 0, 1]]),
        "ws": np.array([0.1, 0.02], np.float32),
        "wz": np.int8([0, 0]),
        "b": np.int32([7, -100]),
    }
    gemm = node(
        "QGemm",
        ["x", "s", "z", "w", "ws", "wz", "b", *Y],
        ["r"],
        domain="com.microsoft",
        transB=1,
    )
    nodes = [gemm, node("DequantizeLinear", ["r", *Y], ["y"])]
    x = np.array([[0, 255, 120, 101]], np.uint8)
    proto = model(nodes, {"x": (1, 4)}, constants=constants, element=2)
    (expected,) = runtime_outputs(proto, {"x": x})
    for level, (found,) in outputs_of_levels(Imported(proto, tmp_path), {"x": x}):
        assert np.allclose(found, expected, atol=1e-5), level
    del gemm.input[7:]
    gemm.output[0] = "y"
    proto = model([gemm], {"x": (1, 4)}, constants=constants, element=2)
    (expected,) = runtime_outputs(proto, {"x": x})
    assert np.allclose(Imported(proto, tmp_path).run({"x": x})["y"], expected, atol=1e-4)
