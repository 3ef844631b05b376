"""Random networks, quantized by ONNX Runtime's ``quantize_static``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx_models import model, node, onnx

INPUT_SHAPE = (1, 3, 8, 8)
CALIBRATION_IMAGES = 4


class Floats:
    """Nodes and weights of a float network that grows at its end."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}
        self.channels = {"x": INPUT_SHAPE[1]}

    def add(self, op_type: str, inputs: list[str], channels: int, **attributes: Any) -> str:
        name = f"{op_type.lower()}{len(self.nodes)}"
        self.nodes.append(node(op_type, inputs, [name], name=f"{name}_node", **attributes))
        self.channels[name] = channels
        return name

    def constant(self, name: str, array: Any) -> str:
        self.constants[name] = np.asarray(array, np.float32)
        return name

    def conv(self, source: str, channels: int, size: int = 3) -> str:
        """The scales of its channels differ, and one channel in eight is dead."""
        rng, index = self.rng, len(self.nodes)
        shape = (channels, self.channels[source], size, size)
        spread = rng.uniform(0.2, 1.0, channels) * (rng.random(channels) > 0.12)
        weights = rng.normal(rng.normal(0, 0.3), 1, shape) / np.sqrt(np.prod(shape[1:]))
        weights *= spread[:, None, None, None]
        inputs = [
            source,
            self.constant(f"w{index}", weights),
            self.constant(f"b{index}", rng.normal(0, 0.3, channels)),
        ]
        return self.add("Conv", inputs, channels, pads=[size // 2] * 4)

    def batch_norm(self, source: str) -> str:
        channels, index = self.channels[source], len(self.nodes)
        numbers = {
            "gamma": self.rng.normal(0, 1, channels),
            "beta": self.rng.normal(0, 0.3, channels),
            "mean": self.rng.normal(0, 0.3, channels),
            "variance": self.rng.uniform(0.3, 2, channels),
        }
        names = [self.constant(f"{key}{index}", array) for key, array in numbers.items()]
        return self.add("BatchNormalization", [source, *names], channels)

    def relu(self, source: str) -> str:
        return self.add("Relu", [source], self.channels[source])


def float_network(rng: np.random.Generator) -> Any:
    """Convolutions with some of: ReLU, clip, batch norm, residual addition of either kind,
    concat, pools; a mean or a maximum; a fully connected layer."""
    net = Floats(rng)
    value = net.relu(net.conv("x", 6))
    for kind in rng.permutation(["residual", "rectified", "concat", "norm", "max", "mean"])[:4]:
        channels = net.channels[value]
        if kind == "residual":
            value = net.add("Add", [net.conv(value, channels), value], channels)
            value = net.relu(value) if rng.random() < 0.5 else value
        elif kind == "rectified":
            sides = [net.conv(value, channels), net.relu(net.conv(value, channels, 1))]
            value = net.add("Add", sides, channels)
        elif kind == "concat":
            sides = [net.relu(net.conv(value, 3, 1)), net.conv(value, 5)]
            value = net.add("Concat", sides, 8, axis=1)
        elif kind == "norm":
            value = net.batch_norm(net.relu(net.conv(value, channels)))
        elif kind == "max":
            value = net.add("MaxPool", [value], channels, kernel_shape=[3, 3], pads=[1] * 4)
        else:
            value = net.add("AveragePool", [value], channels, kernel_shape=[2, 2], pads=[0] * 4)
    channels = net.channels[value]
    value = net.add("GlobalAveragePool", [value], channels)
    value = net.add("Flatten", [value], channels)
    weights = net.constant("w", rng.normal(0, 1, (5, channels)))
    value = net.add("Gemm", [value, weights, net.constant("b", rng.normal(0, 0.5, 5))], 5, transB=1)
    return model(net.nodes, {"x": INPUT_SHAPE}, [value], net.constants)


def images(rng: np.random.Generator) -> Any:
    """One image with bright channels, so that ranges are not symmetric."""
    bright = np.array([0.0, 0.5, 1.0]).reshape(1, 3, 1, 1)
    return (rng.normal(0, 1, INPUT_SHAPE) + bright).astype(np.float32)


def quantized_network(
    folder: Path,
    seed: int,
    *,
    activations: str,
    weights: str,
    per_channel: bool,
    operators: bool = False,
) -> Any:
    """A random network as ``quantize_static`` makes it: QDQ, or with operators on integers."""
    quantization = pytest.importorskip(
        "onnxruntime.quantization", reason="'onnxruntime' is not installed"
    )
    rng = np.random.default_rng(seed)
    proto = float_network(rng)
    (folder / "float.onnx").write_bytes(proto.SerializeToString())
    data = [images(rng) for _ in range(CALIBRATION_IMAGES)]

    class Reader(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self._left: Iterator[Any] = iter(data)

        def get_next(self) -> Any:
            image = next(self._left, None)
            return None if image is None else {"x": image}

    formats = quantization.QuantFormat
    quantization.quantize_static(
        str(folder / "float.onnx"),
        str(folder / "quantized.onnx"),
        Reader(),
        quant_format=formats.QOperator if operators else formats.QDQ,
        activation_type=quantization.QuantType[activations],
        weight_type=quantization.QuantType[weights],
        per_channel=per_channel,
        # Without a dot product of bytes, ONNX Runtime's operators on integers saturate sums of two
        # products of uint8 and int8 at 16 bits; 7 bits cannot.
        reduce_range=operators,
    )
    return onnx.load(str(folder / "quantized.onnx"))


def with_all_tensors(proto: Any) -> tuple[Any, dict[str, float]]:
    """``proto`` with each dequantized tensor that it computes as an output, and their scales."""
    constants = {t.name: onnx.numpy_helper.to_array(t) for t in proto.graph.initializer}
    scales: dict[str, float] = {}
    for found in proto.graph.node:
        if found.op_type == "DequantizeLinear" and found.input[0] not in constants:
            scales[found.output[0]] = float(constants[found.input[1]])
    del proto.graph.output[:]
    proto.graph.output.extend(onnx.helper.make_tensor_value_info(name, 1, None) for name in scales)
    return proto, scales


def layer_by_layer(proto: Any, shapes: Mapping[str, tuple[int, ...]] | None = None) -> Any:
    """``proto`` cut at each dequantized tensor that it computes: the layers read it as an input of
    the model, and what they make of it is an output called ``….model``."""
    shapes = shapes or {}
    constants = {t.name for t in proto.graph.initializer}
    cut = onnx.ModelProto.FromString(proto.SerializeToString())
    del cut.graph.output[:]
    for found in cut.graph.node:
        if found.op_type == "DequantizeLinear" and found.input[0] not in constants:
            name = found.output[0]
            found.output[0] = f"{name}.model"
            info = onnx.helper.make_tensor_value_info
            cut.graph.input.append(info(name, 1, shapes.get(name)))
            cut.graph.output.append(info(f"{name}.model", 1, None))
    return cut


def reals_before(proto: Any) -> dict[str, str]:
    """By each dequantized tensor that ``proto`` computes, the reals that QuantizeLinear makes codes
    of."""
    makers = {name: found for found in proto.graph.node for name in found.output}
    found: dict[str, str] = {}
    for name, maker in makers.items():
        if maker.op_type == "DequantizeLinear" and maker.input[0] in makers:
            found[name] = makers[maker.input[0]].input[0]
    return found
