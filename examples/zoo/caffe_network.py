"""A Network as a Caffe prototxt and caffemodel."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from caffe_writer import CaffeLayer, caffemodel, prototxt
from network import INPUT, Layer, Network


def caffe_files(network: Network, batch: int = 1) -> tuple[str, bytes]:
    """The text of the prototxt and the bytes of the caffemodel.

    Raises: ValueError for layers that Caffe has no word for.
    """
    shape = {"shape": {"dim": [batch, *network.input_shape]}}
    layers = [CaffeLayer(INPUT, "Input", (), (INPUT,), {"input_param": shape})]
    for layer in network.layers:
        if layer.kind not in _WRITERS:
            raise ValueError(f"Caffe has no layer for '{layer.name}' ({layer.kind})")
        layers += _WRITERS[layer.kind](layer)
    return prototxt(network.name, layers), caffemodel(network.name, layers)


def _layer(
    layer: Layer, type: str, parameters: Mapping[str, Any] | None = None, *weights: str
) -> Sequence[CaffeLayer]:
    blobs = tuple(layer.weights[name] for name in weights if name in layer.weights)
    return [CaffeLayer(layer.name, type, layer.inputs, (layer.name,), parameters or {}, blobs)]


def _plain(type: str) -> Callable[[Layer], Sequence[CaffeLayer]]:
    return lambda layer: _layer(layer, type)


def _conv(layer: Layer) -> Sequence[CaffeLayer]:
    p = layer.parameters
    parameters: dict[str, Any] = {
        "num_output": layer.shape[0],
        "kernel_size": [*p["kernel"]],
        "stride": [p["stride"]],
        "pad": [*p["pad"]],
        "group": p["groups"],
        "bias_term": "bias" in layer.weights,
    }
    if layer.kind == "conv":
        parameters["dilation"] = [p["dilation"]]
    type = "Convolution" if layer.kind == "conv" else "Deconvolution"
    return _layer(layer, type, {"convolution_param": parameters}, "weight", "bias")


def _fully_connected(layer: Layer) -> Sequence[CaffeLayer]:
    parameters = {"inner_product_param": {"num_output": layer.shape[0]}}
    return _layer(layer, "InnerProduct", parameters, "weight", "bias")


def _batch_norm(layer: Layer) -> Sequence[CaffeLayer]:
    """Two layers; the statistics are stated for a moving-average factor of one half."""
    import numpy as np

    name, factor = layer.parameters["statistics_name"], np.float32(0.5)
    scale_name = layer.name if layer.name != name else f"{name}/scale"
    statistics = (
        layer.weights["mean"] * factor,
        layer.weights["variance"] * factor,
        np.array([factor]),
    )
    epsilon = {"batch_norm_param": {"eps": layer.parameters["epsilon"]}}
    top = f"{name}/normalized"
    return [
        CaffeLayer(name, "BatchNorm", layer.inputs, (top,), epsilon, statistics),
        CaffeLayer(
            scale_name,
            "Scale",
            (top,),
            (layer.name,),
            {"scale_param": {"bias_term": True}},
            (layer.weights["gamma"], layer.weights["beta"]),
        ),
    ]


def _pool(layer: Layer) -> Sequence[CaffeLayer]:
    p = layer.parameters
    pool = "AVE" if layer.kind == "average_pool" else "MAX"
    parameters = {
        "pool": pool,
        "kernel_size": p["kernel"],
        "stride": p["stride"],
        "pad": p["pad"],
    }
    if not p["ceil"]:
        parameters["round_mode"] = "FLOOR"
    return _layer(layer, "Pooling", {"pooling_param": parameters})


def _global_average_pool(layer: Layer) -> Sequence[CaffeLayer]:
    return _layer(layer, "Pooling", {"pooling_param": {"pool": "AVE", "global_pooling": True}})


def _lrn(layer: Layer) -> Sequence[CaffeLayer]:
    p = layer.parameters
    names = {"local_size": "size", "alpha": "alpha", "beta": "beta", "k": "k"}
    return _layer(layer, "LRN", {"lrn_param": {new: p[old] for new, old in names.items()}})


def _along_axis(layer: Layer, type: str) -> Sequence[CaffeLayer]:
    return _layer(layer, type, {f"{type.lower()}_param": {"axis": layer.parameters["axis"] + 1}})


def _reshape(layer: Layer) -> Sequence[CaffeLayer]:
    return _layer(layer, "Reshape", {"reshape_param": {"shape": {"dim": [0, *layer.shape]}}})


def _transpose(layer: Layer) -> Sequence[CaffeLayer]:
    order = [0, *(axis + 1 for axis in layer.parameters["order"])]
    return _layer(layer, "Permute", {"permute_param": {"order": order}})


def _channel_shuffle(layer: Layer) -> Sequence[CaffeLayer]:
    parameters = {"shuffle_channel_param": {"group": layer.parameters["groups"]}}
    return _layer(layer, "ShuffleChannel", parameters)


def _leaky_relu(layer: Layer) -> Sequence[CaffeLayer]:
    return _layer(layer, "ReLU", {"relu_param": {"negative_slope": layer.parameters["slope"]}})


_WRITERS: dict[str, Callable[[Layer], Sequence[CaffeLayer]]] = {
    "conv": _conv,
    "deconv": _conv,
    "fully_connected": _fully_connected,
    "batch_norm": _batch_norm,
    "relu": _plain("ReLU"),
    "relu6": _plain("ReLU6"),
    "leaky_relu": _leaky_relu,
    "sigmoid": _plain("Sigmoid"),
    "tanh": _plain("TanH"),
    "dropout": _plain("Dropout"),
    "softmax": lambda layer: _along_axis(layer, "Softmax"),
    "add": _plain("Eltwise"),
    "concat": lambda layer: _along_axis(layer, "Concat"),
    "reshape": _reshape,
    "transpose": _transpose,
    "channel_shuffle": _channel_shuffle,
    "lrn": _lrn,
    "max_pool": _pool,
    "average_pool": _pool,
    "global_average_pool": _global_average_pool,
}
