"""A Network as an ONNX model."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import onnx
from network import INPUT, Layer, Network
from onnx import NodeProto, TensorProto, helper, numpy_helper

OPSET = 17


def onnx_model(network: Network, batch: int = 1) -> onnx.ModelProto:
    """Nodes are called as layers are, and so are their outputs."""
    nodes: list[NodeProto] = []
    initializers: list[TensorProto] = []
    for layer in network.layers:
        for name, weights in layer.weights.items() if layer.kind != "prelu" else ():
            initializers.append(numpy_helper.from_array(weights, f"{layer.name}.{name}"))
        made, constants = _WRITERS[layer.kind](layer)
        nodes += made
        initializers += constants
    shapes = {layer.name: layer.shape for layer in network.layers}
    graph = helper.make_graph(
        nodes,
        network.name,
        [_value(INPUT, (batch, *network.input_shape))],
        [_value(name, (batch, *shapes[name])) for name in network.outputs],
        initializers,
    )
    return helper.make_model(
        graph,
        producer_name="nvdla-ir zoo",
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=8,
    )


_Made = tuple[Sequence[NodeProto], Sequence[TensorProto]]


def _value(name: str, shape: Sequence[int]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def _node(layer: Layer, operator: str, *weights: str, **attributes: object) -> _Made:
    operands = [*layer.inputs, *(f"{layer.name}.{w}" for w in weights if w in layer.weights)]
    return [helper.make_node(operator, operands, [layer.name], layer.name, **attributes)], []


def _plain(operator: str, **attributes: object) -> Callable[[Layer], _Made]:
    return lambda layer: _node(layer, operator, **attributes)


def _conv(layer: Layer) -> _Made:
    p = layer.parameters
    attributes: dict[str, object] = {
        "kernel_shape": p["kernel"],
        "strides": [p["stride"]] * 2,
        "pads": [*p["pad"], *p["pad"]],
        "group": p["groups"],
    }
    if layer.kind == "deconv":
        return _node(layer, "ConvTranspose", "weight", "bias", **attributes)
    return _node(layer, "Conv", "weight", "bias", dilations=[p["dilation"]] * 2, **attributes)


def _pool(layer: Layer) -> _Made:
    p = layer.parameters
    attributes: dict[str, object] = {
        "kernel_shape": [p["kernel"]] * 2,
        "strides": [p["stride"]] * 2,
        "pads": [p["pad"]] * 4,
        "ceil_mode": int(p["ceil"]),
    }
    if layer.kind != "max_pool":
        counted = int(layer.kind == "average_pool")
        return _node(layer, "AveragePool", count_include_pad=counted, **attributes)
    return _node(layer, "MaxPool", **attributes)


def _fully_connected(layer: Layer) -> _Made:
    flat = f"{layer.name}.flat"
    operands = [flat, f"{layer.name}.weight", f"{layer.name}.bias"]
    return [
        helper.make_node("Flatten", layer.inputs, [flat], flat, axis=1),
        helper.make_node("Gemm", operands, [layer.name], layer.name, transB=1),
    ], []


def _batch_norm(layer: Layer) -> _Made:
    epsilon = layer.parameters["epsilon"]
    return _node(layer, "BatchNormalization", "gamma", "beta", "mean", "variance", epsilon=epsilon)


def _relu6(layer: Layer) -> _Made:
    limits = [helper.make_tensor(f"{layer.name}.{n}", TensorProto.FLOAT, [], [v])
              for n, v in (("low", 0.0), ("high", 6.0))]  # fmt: skip
    operands = [*layer.inputs, *(limit.name for limit in limits)]
    return [helper.make_node("Clip", operands, [layer.name], layer.name)], limits


def _upsample(layer: Layer) -> _Made:
    factor = float(layer.parameters["scale"])
    how = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
    if layer.kind == "upsample":
        how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric"}
        how |= {"nearest_mode": "floor"}
    scales = helper.make_tensor(
        f"{layer.name}.scales", TensorProto.FLOAT, [4], [1.0, 1.0, factor, factor]
    )
    node = helper.make_node(
        "Resize",
        [*layer.inputs, "", scales.name],
        [layer.name],
        layer.name,
        **how,
    )
    return [node], [scales]


def _prelu(layer: Layer) -> _Made:
    """Slopes lie along the last axes that there are, so that channels need two more."""
    slopes = numpy_helper.from_array(
        layer.weights["slope"].reshape(-1, 1, 1), f"{layer.name}.slopes"
    )
    node = helper.make_node("PRelu", [*layer.inputs, slopes.name], [layer.name], layer.name)
    return [node], [slopes]


def _scale(layer: Layer) -> _Made:
    factor = helper.make_tensor(
        f"{layer.name}.factor", TensorProto.FLOAT, [], [layer.parameters["factor"]]
    )
    node = helper.make_node("Mul", [*layer.inputs, factor.name], [layer.name], layer.name)
    return [node], [factor]


def _swish(layer: Layer) -> _Made:
    """As PyTorch writes it."""
    gate, (x,) = f"{layer.name}.sigmoid", layer.inputs
    return [
        helper.make_node("Sigmoid", [x], [gate], gate),
        helper.make_node("Mul", [x, gate], [layer.name], layer.name),
    ], []


def _integers(name: str, values: Sequence[int]) -> TensorProto:
    return helper.make_tensor(name, TensorProto.INT64, [len(values)], values)


def _slice(layer: Layer) -> _Made:
    start, size = layer.parameters["start"], layer.parameters["size"]
    bounds = {"starts": start, "ends": start + size, "axes": 1}
    constants = [_integers(f"{layer.name}.{name}", [n]) for name, n in bounds.items()]
    operands = [*layer.inputs, *(constant.name for constant in constants)]
    return [helper.make_node("Slice", operands, [layer.name], layer.name)], constants


def _channel_shuffle(layer: Layer) -> _Made:
    """As PyTorch writes it."""
    groups, (channels, *image) = layer.parameters["groups"], layer.shape
    grouped, turned = f"{layer.name}.grouped", f"{layer.name}.turned"
    shapes = [
        _integers(f"{grouped}.shape", [-1, groups, channels // groups, *image]),
        _integers(f"{layer.name}.shape", [-1, channels, *image]),
    ]
    return [
        helper.make_node("Reshape", [*layer.inputs, shapes[0].name], [grouped], grouped),
        helper.make_node("Transpose", [grouped], [turned], turned, perm=[0, 2, 1, 3, 4]),
        helper.make_node("Reshape", [turned, shapes[1].name], [layer.name], layer.name),
    ], shapes


def _depth_to_space(layer: Layer) -> _Made:
    return _node(layer, "DepthToSpace", blocksize=layer.parameters["block"], mode="CRD")


def _reshape(layer: Layer) -> _Made:
    shape = _integers(f"{layer.name}.shape", [-1, *layer.shape])
    node = helper.make_node("Reshape", [*layer.inputs, shape.name], [layer.name], layer.name)
    return [node], [shape]


def _transpose(layer: Layer) -> _Made:
    order = [0, *(axis + 1 for axis in layer.parameters["order"])]
    return _node(layer, "Transpose", perm=order)


def _along_axis(operator: str) -> Callable[[Layer], _Made]:
    return lambda layer: _node(layer, operator, axis=layer.parameters["axis"] + 1)


def _lrn(layer: Layer) -> _Made:
    p = layer.parameters
    return _node(layer, "LRN", size=p["size"], alpha=p["alpha"], beta=p["beta"], bias=p["k"])


_WRITERS: dict[str, Callable[[Layer], _Made]] = {
    "conv": _conv,
    "deconv": _conv,
    "fully_connected": _fully_connected,
    "batch_norm": _batch_norm,
    "relu": _plain("Relu"),
    "relu6": _relu6,
    "leaky_relu": lambda layer: _node(layer, "LeakyRelu", alpha=layer.parameters["slope"]),
    "prelu": _prelu,
    "scale": _scale,
    "sigmoid": _plain("Sigmoid"),
    "tanh": _plain("Tanh"),
    "dropout": _plain("Dropout"),
    "swish": _swish,
    "hard_swish": _plain("HardSwish"),
    "hard_sigmoid": _plain("HardSigmoid", alpha=1 / 6, beta=0.5),
    "softmax": _along_axis("Softmax"),
    "add": _plain("Add"),
    "mul": _plain("Mul"),
    "concat": _along_axis("Concat"),
    "slice": _slice,
    "channel_shuffle": _channel_shuffle,
    "depth_to_space": _depth_to_space,
    "transpose": _transpose,
    "reshape": _reshape,
    "lrn": _lrn,
    "upsample": _upsample,
    "bilinear": _upsample,
    "max_pool": _pool,
    "average_pool": _pool,
    "inner_average_pool": _pool,
    "same_max_pool": _plain("MaxPool", kernel_shape=[2, 2], strides=[1, 1], pads=[0, 0, 1, 1]),
    "global_average_pool": _plain("GlobalAveragePool"),
}
