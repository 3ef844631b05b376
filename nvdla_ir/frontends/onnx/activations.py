"""Functions of each element, and what chooses among them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from nvdla_ir.dialects import nn
from nvdla_ir.frontends.onnx.faults import UnsupportedError
from nvdla_ir.frontends.onnx.layer import HandlerFunction, Layer, checked_axis, handler
from nvdla_ir.frontends.onnx.operands import Tensor
from nvdla_ir.ir.attribute_kinds import FLOAT
from nvdla_ir.ir.operation import Value


def unary(op_class: type[nn.UnaryOp], **defaults: float) -> HandlerFunction:
    """The handler of an operator that is ``op_class``, whose fields are its attributes."""
    fields = [field for field in op_class.definition.attributes.values() if not field.descriptive]

    def imported(layer: Layer) -> Value:
        stated: dict[str, Any] = {}
        for field in fields:
            default: Any = defaults.get(field.name, field.default)
            read = layer.real if field.kind is FLOAT else layer.string
            stated[field.name] = read(field.name, default)
        return layer.emit(op_class, input=layer.activation(), **stated)

    return imported


for _op_class in nn.UNARY_OPS:
    if _op_class.onnx_name is not None:
        handler(_op_class.onnx_name)(unary(_op_class))
handler("Gelu", domain="com.microsoft")(unary(nn.GeluOp))
handler("QuickGelu", domain="com.microsoft")(unary(nn.SwishOp, alpha=1.702))


@handler("PRelu")
def prelu(layer: Layer) -> Value:
    value, slope = layer.activation(), layer.required_constant(1, "the slope")
    shape = nn.shape_of(value)
    channels = shape[min(1, len(shape) - 1)] if shape else 1
    # Aligned at the last axis, so only the channels' axis may have an extent.
    padded = (1,) * (len(shape) - slope.ndim) + slope.shape
    per_channel = (1, channels, *[1] * (len(shape) - 2)) if len(shape) > 1 else (channels,)
    if slope.size == 1:
        slope = slope.reshape(1)
    elif padded == per_channel:
        slope = slope.reshape(channels)
    else:
        raise UnsupportedError(
            f"the slope of shape {list(slope.shape)} is neither one number nor one a channel of "
            f"{list(shape)}"
        )
    return layer.emit(
        nn.PReluOp, input=value, slope=layer.constant_value(slope, layer.input_name(1))
    )


@handler("Clip")
def clip(layer: Layer) -> Value:
    """Limits are attributes before operator set 11, inputs from then on."""
    if layer.opset < 11:
        limits = [
            layer.real(name, default) if layer.has(name) else None
            for name, default in (("min", 0.0), ("max", 0.0))
        ]
    else:
        limits = [_limit(layer, 1, "the minimum"), _limit(layer, 2, "the maximum")]
    return clipped(layer, layer.activation(), *limits)


def _limit(layer: Layer, index: int, what: str) -> float | None:
    array = layer.constant(index, what)
    if array is None:
        return None
    if array.size != 1:
        raise UnsupportedError(f"{what} must be one number")
    return float(array.reshape(()))


# Limits beyond these limit no float32.
_LARGEST = float(np.finfo(np.float32).max)


def clipped(layer: Layer, value: Value, minimum: float | None, maximum: float | None) -> Value:
    """``value`` within limits; itself where there are none."""
    for limit in (minimum, maximum):
        if limit is not None and math.isnan(limit):
            raise UnsupportedError("a limit is NaN")
    low = None if minimum is None or minimum <= -_LARGEST else minimum
    high = None if maximum is None or maximum >= _LARGEST else maximum
    if low is not None and high is not None and low > high:
        # ONNX applies the minimum first: everything becomes the maximum.
        low = high
    if low is None and high is None:
        return value
    if low == 0.0 and high is None:
        return layer.emit(nn.ReluOp, input=value)
    return layer.emit(nn.ClipOp, input=value, minimum=low, maximum=high)


@handler("Softmax")
def softmax(layer: Layer) -> Value:
    """Before operator set 13 over all axes from ``axis`` on together."""
    value = layer.activation()
    shape = nn.shape_of(value)
    axis = layer.integer("axis", 1 if layer.opset < 13 else -1)
    if layer.opset >= 13 or checked_axis(axis, len(shape)) == len(shape) - 1:
        return layer.emit(nn.SoftmaxOp, input=value, axis=checked_axis(axis, len(shape)))
    axis = checked_axis(axis, len(shape))
    if math.prod(shape[axis + 1 :]) == 1:
        return layer.emit(nn.SoftmaxOp, input=value, axis=axis)
    flat = layer.reshape(value, (math.prod(shape[:axis]), math.prod(shape[axis:])), "rows")
    return layer.reshape(layer.emit(nn.SoftmaxOp, "rows", input=flat, axis=1), shape)


@handler("ArgMax")
def argmax(layer: Layer) -> Value:
    layer.require("select_last_index", 0)
    value = layer.activation()
    return layer.emit(
        nn.ArgmaxOp,
        input=value,
        axis=layer.axis(len(nn.shape_of(value)), 0),
        keep_dims=bool(layer.integer("keepdims", 1)),
    )


@handler("Identity")
def identity(layer: Layer) -> Tensor:
    return layer.required(0)


@handler("Dropout")
def dropout(layer: Layer) -> Tensor:
    """Nothing in inference; the mask is not supported."""
    layer.ignore("ratio", "seed", "is_test")
    training = layer.constant(2, "the mode")
    if training is not None and bool(np.any(training)):
        raise UnsupportedError("drops out elements, which is for training only")
    return layer.required(0)
