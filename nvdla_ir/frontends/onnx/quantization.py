"""Quantized models: scales and integers are taken as they are.

A computed tensor between QuantizeLinear and DequantizeLinear gets the fake-quantized type of
exactly that scale and zero point (uint8 moved by 128 to int8): its rounding and saturation are part
of the network, and ``insert-converters`` makes its integers. Weights stay the integers that they
are.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nvdla_ir.dialects import nn
from nvdla_ir.dialects.quant import UniformType, uniform_i8
from nvdla_ir.frontends.onnx.constants import normalized
from nvdla_ir.frontends.onnx.faults import UnsupportedError
from nvdla_ir.frontends.onnx.layer import Layer, handler
from nvdla_ir.frontends.onnx.operands import (
    Activation,
    Array,
    Codes,
    Constant,
    QuantizedConstant,
    RawInput,
    Tensor,
)
from nvdla_ir.ir.operation import Value

CONTRIBUTED = "com.microsoft"
_MOVED_BY = {np.dtype(np.uint8): 128, np.dtype(np.int8): 0}


def codes_type(scale: float, zero_point: int, dtype: np.dtype[Any]) -> UniformType:
    """The int8 type of 8-bit codes of the model. Raises: UnsupportedError where there is none."""
    moved = _MOVED_BY.get(dtype)
    if moved is None:
        raise UnsupportedError(f"quantizes to {dtype.name}; only int8 and uint8 are supported")
    try:
        return uniform_i8(scale, zero_point - moved)
    except ValueError as error:
        raise UnsupportedError(f"has an impossible scale: {error}") from error


def parameters(layer: Layer, index: int, stored: np.dtype[Any]) -> tuple[Array, Array]:
    """Scales and zero points (0 of type ``stored`` where left out) of inputs ``index`` and
    ``index + 1``. A scale may be 0: then all codes stand for 0."""
    scales = layer.required_constant(index, "the scale")
    zero_points = layer.constant(index + 1, "the zero point")
    if zero_points is None:
        zero_points = np.zeros(scales.shape, stored)
    if scales.dtype.kind != "f" or not np.all(np.isfinite(scales) & (scales >= 0)):
        raise UnsupportedError("the scales must be finite and not negative")
    if zero_points.dtype.kind in "iu" and zero_points.size == 1:
        zero_points = np.broadcast_to(zero_points.reshape(()), scales.shape)
    if zero_points.dtype.kind not in "iu" or zero_points.size != scales.size:
        raise UnsupportedError("the zero points must be as many integers as there are scales")
    return scales, zero_points


_UINT8 = np.dtype(np.uint8)


def _positive(layer: Layer, index: int) -> tuple[Array, Array]:
    """The same of what is quantized, which a scale of 0 cannot do."""
    scales, zero_points = parameters(layer, index, _UINT8)
    if not np.all(scales):
        raise UnsupportedError("quantizes with a scale of 0")
    return scales, zero_points


def one_scale(layer: Layer, index: int) -> tuple[float, int, np.dtype[Any]]:
    scales, zero_points = _positive(layer, index)
    if scales.size != 1:
        raise UnsupportedError("quantizes what the network computes with a scale a channel")
    return float(scales.reshape(())), int(zero_points.reshape(())), zero_points.dtype


def _axis(layer: Layer, scales: Array, shape: tuple[int, ...]) -> int | None:
    """The axis of scales; None where there is one for all."""
    layer.require("block_size", 0)
    if scales.size == 1:
        layer.ignore("axis")
        return None
    axis = layer.axis(len(shape), 1)
    if scales.shape != (shape[axis],):
        raise UnsupportedError(
            f"has {scales.size} scales for {shape[axis]} slices along axis {axis}"
        )
    return axis


def quantized(layer: Layer, value: Value, index: int) -> Codes:
    """``value`` rounded to the codes of inputs ``index`` and ``index + 1``. The cast goes away
    again where nothing else reads ``value``."""
    scale, zero_point, dtype = one_scale(layer, index)
    element = codes_type(scale, zero_point, dtype)
    cast = layer.assembly.builder.create(
        nn.QuantizeOp,
        input=value,
        result_types=[nn.tensor_type(value).with_element(element)],
        location=layer.node.location,
    )
    return Codes(cast.output, scale, zero_point, dtype)


@handler("QuantizeLinear")
@handler("QuantizeLinear", domain=CONTRIBUTED)
def quantize_linear(layer: Layer) -> Tensor:
    layer.ignore("saturate")
    layer.require("output_dtype", 0)
    layer.require("precision", 0)
    tensor = layer.required(0)
    if not isinstance(tensor, Constant | QuantizedConstant):
        layer.ignore("axis")
        layer.require("block_size", 0)
        return quantized(layer, layer.activation(), 1)
    reals = layer.elements(tensor, "the input")
    scales, zero_points = _positive(layer, 1)
    axis = _axis(layer, scales, reals.shape)
    along = [1] * reals.ndim
    if axis is not None:
        along[axis] = -1
    limits = np.iinfo(zero_points.dtype)
    codes = np.rint(reals / scales.reshape(along)) + zero_points.reshape(along)
    stored = np.clip(codes, limits.min, limits.max).astype(zero_points.dtype)
    return Constant(stored, layer.input_name(0))


@handler("DequantizeLinear")
@handler("DequantizeLinear", domain=CONTRIBUTED)
def dequantize_linear(layer: Layer) -> Tensor:
    tensor = layer.required(0)
    if isinstance(tensor, Constant):
        return _constant(layer, tensor, 1)
    layer.ignore("axis")
    layer.require("block_size", 0)
    layer.ignore("output_dtype")
    return Activation(reals_of(layer, tensor, 1))


def _constant(layer: Layer, tensor: Constant, index: int) -> QuantizedConstant:
    layer.ignore("output_dtype")
    if tensor.array.dtype.kind not in "iu":
        raise UnsupportedError("dequantizes a constant that is no integers")
    scales, zero_points = parameters(layer, index, tensor.array.dtype)
    axis = _axis(layer, scales, tensor.shape)
    return QuantizedConstant(
        tensor.array, scales.astype(np.float32), zero_points.astype(np.int64), axis, tensor.name
    )


def reals_of(layer: Layer, tensor: Tensor, index: int) -> Value:
    """What codes stand for, by inputs ``index`` and ``index + 1``."""
    if isinstance(tensor, Codes):
        scale, zero_point, _ = one_scale(layer, index)
        if (np.float32(scale), zero_point) != (np.float32(tensor.scale), tensor.zero_point):
            raise UnsupportedError(
                "dequantizes with another scale or zero point than it quantized with"
            )
        return tensor.value
    if isinstance(tensor, RawInput):
        scale, zero_point, _ = one_scale(layer, index)
        value = normalized(layer, tensor, scale, zero_point)
        cast = layer.assembly.builder.create(
            nn.QuantizeOp,
            input=value,
            result_types=[
                nn.tensor_type(value).with_element(codes_type(scale, zero_point, tensor.dtype))
            ],
        )
        return cast.output
    raise UnsupportedError("dequantizes what is no 8-bit integers")
