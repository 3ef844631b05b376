"""Layers without weights, on reals; views also on stored integers."""

# numpy's stubs leave parts of many overloads unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvdla_ir.arith.errors import OperandError
from nvdla_ir.dialects import nn
from nvdla_ir.dialects.quant import QuantizedType
from nvdla_ir.interp.machine import Values
from nvdla_ir.interp.nn import windows
from nvdla_ir.interp.nn.weighted import along_channels
from nvdla_ir.interp.quantization import dequantize, dtype_of, element_of
from nvdla_ir.interp.registry import Numbers, kernel

Array = NDArray[Any]


@kernel(nn.ConstantOp, any_batch=True, constant=True)
def constant(op: nn.ConstantOp, values: Values) -> Array:
    stored = constant_elements(op, values)
    element = element_of(op.output.type)
    return dequantize(stored, element) if isinstance(element, QuantizedType) else stored


@kernel(nn.ConstantOp, numbers=Numbers.STORED, any_batch=True, constant=True)
def constant_elements(op: nn.ConstantOp, values: Values) -> Array:
    return values.machine.resources.array(op.value, op.location)


@kernel(nn.NormalizeOp, any_batch=True)
def normalize(op: nn.NormalizeOp, values: Values) -> Array:
    x: Array = values[op.input]
    dtype = dtype_of(nn.tensor_type(op.output).element)
    output = x.astype(dtype)
    output -= along_channels(np.asarray(op.mean, dtype), x.ndim)
    output *= op.scale
    return output


@kernel(nn.ReluOp, any_batch=True)
def relu(op: nn.ReluOp, values: Values) -> Array:
    return np.maximum(values[op.input], 0)


@kernel(nn.AddOp, any_batch=True)
def add(op: nn.AddOp, values: Values) -> Array:
    return values[op.lhs] + values[op.rhs]


@kernel(nn.MaxPoolOp, any_batch=True)
def max_pool(op: nn.MaxPoolOp, values: Values) -> Array:
    padded = windows.pad(values[op.input], op.pads, -np.inf)
    return windows.pool(np.maximum, padded, op.kernel, op.strides)


@kernel(nn.AveragePoolOp, any_batch=True)
def average_pool(op: nn.AveragePoolOp, values: Values) -> Array:
    x: Array = values[op.input]
    output = windows.pool(np.add, windows.pad(x, op.pads, 0.0), op.kernel, op.strides)
    if op.count_include_pad or not any(op.pads):
        output /= op.kernel[0] * op.kernel[1]
    else:
        counts = windows.window_counts(x.shape[2:], op.kernel, op.strides, op.pads)
        output /= counts.astype(x.dtype)
    return output


@kernel(nn.GlobalAveragePoolOp, any_batch=True)
def global_average_pool(op: nn.GlobalAveragePoolOp, values: Values) -> Array:
    return np.mean(values[op.input], axis=(2, 3), keepdims=True)


@kernel(nn.SoftmaxOp, any_batch=lambda op: op.axis != 0)
def softmax(op: nn.SoftmaxOp, values: Values) -> Array:
    x: Array = values[op.input]
    # The largest exponent is 0, so that nothing overflows.
    exponentials = np.exp(x - np.max(x, axis=op.axis, keepdims=True))
    exponentials /= np.sum(exponentials, axis=op.axis, keepdims=True)
    return exponentials


@kernel(nn.PowerOp, any_batch=True)
def power(op: nn.PowerOp, values: Values) -> Array:
    x: Array = values[op.input]
    with np.errstate(all="ignore"):
        raised = np.power(op.shift + op.scale * x, op.power).astype(x.dtype, copy=False)
    if not np.isfinite(raised).all():
        raise OperandError(
            f"(shift + scale * x) ** {op.power} of its input is not finite: shift = {op.shift}, "
            f"scale = {op.scale}, x from {np.min(x)} to {np.max(x)}"
        )
    return raised


@kernel(nn.ConcatOp, any_batch=lambda op: op.axis != 0)
def concat(op: nn.ConcatOp, values: Values) -> Array:
    return np.concatenate([values[value] for value in op.inputs], axis=op.axis)


# A view is the same on reals and on stored integers.


def _keeps_images_apart(op: nn.ReshapeOp | nn.FlattenOp) -> bool:
    source, target = nn.shape_of(op.input), nn.shape_of(op.output)
    return bool(source) and bool(target) and source[0] == target[0]


@kernel(nn.ReshapeOp, any_batch=_keeps_images_apart)
@kernel(nn.ReshapeOp, numbers=Numbers.STORED, any_batch=_keeps_images_apart)
@kernel(nn.FlattenOp, any_batch=_keeps_images_apart)
@kernel(nn.FlattenOp, numbers=Numbers.STORED, any_batch=_keeps_images_apart)
def reshape(op: nn.ReshapeOp | nn.FlattenOp, values: Values) -> Array:
    x: Array = values[op.input]
    shape = nn.shape_of(op.output)
    if _keeps_images_apart(op):
        shape = (len(x), *shape[1:])
    return x.reshape(shape)
