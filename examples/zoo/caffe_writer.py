"""Writes Caffe networks: layers to the text of a prototxt and the bytes of a caffemodel.

layers = [
    CaffeLayer("data", "Input", (), ("data",), {"input_param": {"shape": {"dim": [1, 3, 8, 8]}}}),
    CaffeLayer(
        "conv1", "Convolution", ("data",), ("conv1",),
        {"convolution_param": {"num_output": 4, "kernel_size": [3]}}, (weight, bias),
    ),
]
Path("net.prototxt").write_text(prototxt("net", layers))
Path("net.caffemodel").write_bytes(caffemodel("net", layers))
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from attrs import field, frozen
from numpy.typing import NDArray

from nvdla_ir.frontends.caffe.schema import V1_TYPES, message_class


@frozen(eq=False)
class CaffeLayer:
    """``parameters`` are the layer's other fields as they stand in the text: a mapping is a
    message, a list a repeated field, a string the value of an enumeration. ``blobs`` are its
    weights in Caffe's order."""

    name: str
    type: str
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]
    parameters: Mapping[str, Any] = field(factory=dict)
    blobs: tuple[NDArray[np.float32], ...] = ()


_OLD_NAMES = {new: old for old, (_, new) in V1_TYPES.items()}


def prototxt(name: str, layers: Sequence[CaffeLayer], *, old: bool = False) -> str:
    """The text of a network; with ``old`` of ``layers`` messages, where the types have a number."""
    lines = [f"name: {_quoted(name)}"]
    for layer in layers:
        lines += [
            "layers {" if old else "layer {",
            f"  name: {_quoted(layer.name)}",
            f"  type: {_OLD_NAMES[layer.type] if old else _quoted(layer.type)}",
            *(f"  bottom: {_quoted(bottom)}" for bottom in layer.bottoms),
            *(f"  top: {_quoted(top)}" for top in layer.tops),
            *_fields(layer.parameters, "  "),
            "}",
        ]
    return "\n".join(lines) + "\n"


def caffemodel(
    name: str, layers: Sequence[CaffeLayer], *, old: bool = False, legacy_shapes: bool = False
) -> bytes:
    """The weights of ``layers``. ``legacy_shapes`` states them in four dimensions, as files from
    before 2014 do."""
    net: Any = message_class("WeightsNet")(name=name)
    for layer in layers:
        if not layer.blobs:
            continue
        if old:
            message = net.layers.add(name=layer.name, type=V1_TYPES[_OLD_NAMES[layer.type]][0])
        else:
            message = net.layer.add(name=layer.name, type=layer.type)
        for array in layer.blobs:
            blob = message.blobs.add(data=[np.ascontiguousarray(array, "<f4").tobytes()])
            if legacy_shapes:
                extents = (1,) * (4 - array.ndim) + array.shape
                blob.num, blob.channels, blob.height, blob.width = extents
            else:
                blob.shape.dim.extend(array.shape)
    return net.SerializeToString()


def _fields(fields: Mapping[str, Any], indent: str) -> Iterator[str]:
    for name, value in fields.items():
        for each in value if isinstance(value, list | tuple) else [value]:
            if isinstance(each, Mapping):
                yield f"{indent}{name} {{"
                yield from _fields(each, indent + "  ")
                yield f"{indent}}}"
            else:
                yield f"{indent}{name}: {_scalar(each)}"


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
