# pyright: basic
# onnx and onnxruntime state no types.
"""The float interpreter on a network of the size of real ones, beside ONNX Runtime."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from measure import Row, best_seconds
from numpy.typing import NDArray

from nvdla_ir.dialects import nn
from nvdla_ir.dialects.func import FuncOp, ReturnOp
from nvdla_ir.interp.machine import Machine
from nvdla_ir.ir.builder import Builder, InsertionPoint
from nvdla_ir.ir.operation import Block, Region, Value
from nvdla_ir.ir.types import F32, FunctionType, TensorType
from nvdla_ir.resources import ResourceStore

Array = NDArray[np.float32]

IMAGE = (1, 3, 224, 224)
STAGES = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))
"""Channels inside a block, blocks, stride of the first one."""
CLASSES = 1000
REPEATS = 9


def rows() -> Iterator[Row]:
    image = np.random.default_rng(0).normal(size=IMAGE).astype(np.float32)
    network = Network()
    resnet50(network)
    function, machine = network.function(), Machine(network.resources)
    machine.run(function, {"data": image})
    if importlib.util.find_spec("onnxruntime") is None or importlib.util.find_spec("onnx") is None:
        ours = best_seconds(
            lambda: machine.run(function, {"data": image}), time.process_time, REPEATS
        )
        yield Row("floats", "ResNet-50, an image", ours, "s", None, "lower")
        return
    session = _onnxruntime_session(network)
    (expected,) = session.run(None, {"data": image})
    (result,) = machine.run(function, {"data": image}).values()
    error = float(np.abs(result - expected).max() / np.abs(expected).max())
    if error > 1e-4:
        raise RuntimeError(f"ResNet-50 differs from ONNX Runtime by {error:.2g}")
    ours, theirs = _in_turns(
        lambda: machine.run(function, {"data": image}), lambda: session.run(None, {"data": image})
    )
    yield Row("floats", "ResNet-50, an image", ours, "s", None, "lower")
    yield Row("floats", "ResNet-50, of ONNX Runtime's time", ours / theirs, "times", 1.6, "lower")


def _in_turns(first: Any, second: Any) -> tuple[float, float]:
    """The least time of each, measured in turns so that both meet the same machine."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(REPEATS):
        for run, found in zip((first, second), times, strict=True):
            found.append(best_seconds(run, time.process_time, 1))
    return min(times[0]), min(times[1])


class Network:
    """One network written down twice: as operations, and as the nodes of an ONNX graph."""

    def __init__(self) -> None:
        self.resources = ResourceStore()
        self.nodes: list[tuple[str, list[str], str, dict[str, Any]]] = []
        self.weights: dict[str, Array] = {}
        self._rng = np.random.default_rng(1)
        self._block = Block()
        self._builder = Builder(InsertionPoint.at_end(self._block))
        self.input = self._block.add_argument(TensorType(IMAGE, F32), "data")
        self.names: dict[Value, str] = {self.input: "data"}
        self.output = self.input

    def constant(self, array: Array) -> Value:
        name = f"w{len(self.weights)}"
        self.weights[name] = array
        attribute = self.resources.attribute_for(name, array, F32)
        value = self._builder.create(nn.ConstantOp, value=attribute).output
        self.names[value] = name
        return value

    def add(self, op_class: Any, kind: str, inputs: list[Value], **fields: Any) -> Value:
        """An operation; ``fields`` are its attributes, ``kind`` is ONNX's name for it."""
        onnx_attributes: dict[str, Any] = fields.pop("onnx", {})
        names = [field.name for field in op_class.definition.operands]
        operands = dict(zip(names, inputs, strict=False))
        value = self._builder.create(op_class, **operands, **fields).result
        self.names[value] = f"t{len(self.nodes)}"
        self.nodes.append(
            (kind, [self.names[v] for v in inputs], self.names[value], onnx_attributes)
        )
        self.output = value
        return value

    def convolution(self, x: Value, kernels: int, taps: int, stride: int, pad: int) -> Value:
        """A convolution without bias, and a batch normalization."""
        rng, channels = self._rng, nn.shape_of(x)[1]
        deviation = (2 / (channels * taps * taps)) ** 0.5
        weight = rng.normal(size=(kernels, channels, taps, taps)) * deviation
        y = self.add(
            nn.ConvOp,
            "Conv",
            [x, self.constant(weight.astype(np.float32))],
            strides=(stride, stride),
            pads=(pad,) * 4,
            onnx={"kernel_shape": [taps] * 2, "strides": [stride] * 2, "pads": [pad] * 4},
        )
        gamma, spread = rng.uniform(0.4, 0.8, kernels), rng.uniform(0.5, 1.5, kernels)
        beta, mean = rng.normal(size=(2, kernels)) * 0.1
        parameters = [self.constant(p.astype(np.float32)) for p in (gamma, beta, mean, spread)]
        return self.add(
            nn.BatchNormOp, "BatchNormalization", [y, *parameters], onnx={"epsilon": 1e-5}
        )

    def relu(self, x: Value) -> Value:
        return self.add(nn.ReluOp, "Relu", [x])

    def classifier(self, x: Value) -> Value:
        pooled = self.add(nn.GlobalAveragePoolOp, "GlobalAveragePool", [x])
        flat = self.add(nn.FlattenOp, "Flatten", [pooled])
        weight = self._rng.normal(size=(CLASSES, nn.shape_of(flat)[1])).astype(np.float32) * 0.02
        bias = self._rng.normal(size=CLASSES).astype(np.float32)
        parameters = [self.constant(weight), self.constant(bias)]
        return self.add(nn.FullyConnectedOp, "Gemm", [flat, *parameters], onnx={"transB": 1})

    def function(self) -> FuncOp:
        self._builder.create(ReturnOp, values=[self.output])
        types = FunctionType((self.input.type,), (self.output.type,))
        return FuncOp.create(sym_name="main", function_type=types, regions=[Region([self._block])])


def resnet50(network: Network) -> None:
    x = network.relu(network.convolution(network.input, 64, 7, 2, 3))
    x = network.add(
        nn.MaxPoolOp,
        "MaxPool",
        [x],
        kernel=(3, 3),
        strides=(2, 2),
        pads=(1, 1, 1, 1),
        onnx={"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1] * 4},
    )
    for channels, blocks, stride in STAGES:
        for block in range(blocks):
            step, shortcut = (stride if block == 0 else 1), x
            y = network.relu(network.convolution(x, channels, 1, 1, 0))
            y = network.relu(network.convolution(y, channels, 3, step, 1))
            y = network.convolution(y, channels * 4, 1, 1, 0)
            if block == 0:
                shortcut = network.convolution(x, channels * 4, 1, step, 0)
            x = network.relu(network.add(nn.AddOp, "Add", [y, shortcut]))
    network.classifier(x)


def _onnxruntime_session(network: Network) -> Any:
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        [
            helper.make_node(kind, inputs, [output], **attributes)
            for kind, inputs, output, attributes in network.nodes
        ],
        "resnet50",
        [helper.make_tensor_value_info("data", TensorProto.FLOAT, IMAGE)],
        [
            helper.make_tensor_value_info(
                network.names[network.output], TensorProto.FLOAT, (1, CLASSES)
            )
        ],
        [numpy_helper.from_array(array, name) for name, array in network.weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
