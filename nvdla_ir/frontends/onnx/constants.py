"""Nodes that make constants, of nothing or of shapes, and casts."""

from __future__ import annotations

import math

import numpy as np

from nvdla_ir.dialects import nn
from nvdla_ir.frontends.onnx.faults import UnsupportedError
from nvdla_ir.frontends.onnx.layer import Layer, handler
from nvdla_ir.frontends.onnx.operands import Activation, Array, RawInput, Tensor
from nvdla_ir.frontends.onnx.tensors import FLOAT_TYPES
from nvdla_ir.ir.operation import Value
from nvdla_ir.ir.types import F32


@handler("Constant")
def constant(layer: Layer) -> Array:
    """Its value, in one of the attributes that there are for it."""
    if layer.has("value"):
        array = layer.stored("value")
        assert array is not None
        return array
    if layer.has("value_float"):
        return np.array(layer.real("value_float", 0.0), np.float32)
    if layer.has("value_int"):
        return np.array(layer.integer("value_int", 0), np.int64)
    if layer.has("value_floats"):
        return np.array(layer.reals("value_floats"), np.float32)
    if layer.has("value_ints"):
        return np.array(layer.integers("value_ints"), np.int64)
    raise UnsupportedError("its value is neither numbers nor a tensor of them")


@handler("Shape")
def shape(layer: Layer) -> Array:
    extents = layer.required(0).shape
    start, end = layer.integer("start", 0), layer.integer("end", len(extents))
    return np.array(extents[slice(start, end)], np.int64)


@handler("Size")
def size(layer: Layer) -> Array:
    return np.array(math.prod(layer.required(0).shape), np.int64)


@handler("Cast")
def cast(layer: Layer) -> Tensor | Value:
    """From floats to floats nothing; from bytes of the input to the reals that they are."""
    layer.ignore("saturate", "round_mode")
    found = layer.required(0)
    if layer.integer("to", 0) in FLOAT_TYPES:
        if isinstance(found, Activation):
            return found
        if isinstance(found, RawInput):
            return normalized(layer, found, 1.0, 0)
    raise UnsupportedError("casts what the network computes to or from integers")


def normalized(layer: Layer, raw: RawInput, scale: float, zero_point: int) -> Value:
    """The reals ``scale * (pixel - zero_point)`` of an input of integers."""
    return layer.emit(
        nn.NormalizeOp,
        input=raw.value,
        mean=[float(zero_point)],
        scale=scale,
        result_types=[nn.tensor_type(raw.value).with_element(F32)],
    )
