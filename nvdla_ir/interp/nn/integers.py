"""The nn dialect on stored integers, bit for bit as the hardware.

Tensors of 8 bits are int8 arrays, those of the pipeline int32 arrays (but see ``saturated``).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvdla_ir.arith import fast
from nvdla_ir.dialects import nn
from nvdla_ir.dialects.nn.shapes import window_shape
from nvdla_ir.dialects.quant import UniformType
from nvdla_ir.interp.nn.elementwise import keeps_images_apart
from nvdla_ir.interp.nn.scales import layer_fault, require_equal_scales, scale_and_zero_point_of
from nvdla_ir.interp.quantization import dtype_of, element_of
from nvdla_ir.interp.registry import Numbers, Values, kernel
from nvdla_ir.ir.operation import Operation, Value

Array = NDArray[Any]
_DENSE_CHANNELS = 16
_LOWEST = -128


def zero_point_of(op: Operation, value: Value) -> int:
    """The one zero point of a tensor. Raises: DiagnosticError where it has one a slice."""
    element = element_of(value.type)
    if not isinstance(element, UniformType):
        raise layer_fault(op, f"takes one zero point for all of '{value.type}'")
    return element.zero_point


def saturated(pipeline: Array) -> Array:
    """What a step of the 32-bit pipeline hands to the next one."""
    return fast.saturate(pipeline, 32) if pipeline.dtype == np.int64 else pipeline


# -------------------------------------------------------------- layers


@kernel(nn.ConvOp, numbers=Numbers.STORED, any_batch=True)
def convolution(op: nn.ConvOp, values: Values) -> Array:
    """Sums of products; the accumulator's output saturates to 32 bits (convolution.md 4.2)."""
    _require_no_bias(op, op.bias)
    x = values[op.input]
    w, groups = _dense_blocks(values[op.weight], op.groups)
    output_size = window_shape(x.shape, w.shape[2:], op.strides, op.pads, op.dilations)
    sums = [
        fast.convolve(
            part,
            kernels,
            stride=pair(op.strides),
            dilation=pair(op.dilations),
            pad_top=op.pads[0],
            pad_left=op.pads[1],
            output_size=output_size,
            pad_value=zero_point_of(op, op.input),
        )
        for part, kernels in zip(
            np.split(x, groups, axis=1), np.split(w, groups, axis=0), strict=True
        )
    ]
    return _accumulated(sums[0] if groups == 1 else np.concatenate(sums, axis=1))


def _dense_blocks(w: Array, groups: int) -> tuple[Array, int]:
    """Weights and groups with small groups joined, zeros between them: a few multiplications by
    zero cost less than a convolution of its own for each group."""
    channels, kernels = w.shape[1], w.shape[0] // groups
    joined = max(
        (n for n in range(1, groups + 1) if groups % n == 0 and n * channels <= _DENSE_CHANNELS),
        default=1,
    )
    if joined == 1:
        return w, groups
    blocks = np.zeros((groups // joined, joined, kernels, joined, *w.shape[1:]), w.dtype)
    split = w.reshape(groups // joined, joined, kernels, *w.shape[1:])
    for member in range(joined):
        blocks[:, member, :, member] = split[:, member]
    return blocks.reshape(-1, joined * channels, *w.shape[2:]), groups // joined


@kernel(nn.FullyConnectedOp, numbers=Numbers.STORED, any_batch=True)
def fully_connected(op: nn.FullyConnectedOp, values: Values) -> Array:
    """A convolution whose kernel covers its input."""
    _require_no_bias(op, op.bias)
    x, w = values[op.input], values[op.weight]
    sums = fast.convolve(
        x.reshape(len(x), -1, 1, 1),
        w[:, :, None, None],
        stride=(1, 1),
        dilation=(1, 1),
        pad_top=0,
        pad_left=0,
        output_size=(1, 1),
        pad_value=0,
    )
    return _accumulated(sums[:, :, 0, 0])


def _require_no_bias(op: Operation, bias: Value | None) -> None:
    if bias is not None:
        raise layer_fault(op, "has a bias, which 'insert-converters' makes a step of its own")


def _accumulated(sums: Array) -> Array:
    return fast.truncate_accumulator(sums, 0).astype(np.int32)


@kernel(nn.ReluOp, numbers=Numbers.STORED, any_batch=True)
def relu(op: nn.ReluOp, values: Values) -> Array:
    """The pipeline may take int8 from memory, and makes 32 bits of it."""
    require_equal_scales(op)
    _, zero_point = scale_and_zero_point_of(op.output)
    x = saturated(values[op.input])
    dtype = dtype_of(nn.storage_of(op.output))
    return np.maximum(x, zero_point.astype(x.dtype)).astype(dtype, copy=False)


@kernel(nn.UnaryOp, numbers=Numbers.STORED, any_batch=True)
def unary(op: nn.UnaryOp, values: Values) -> Array:
    """From int8 to int8, by a table."""
    codes = op.codes(_int8_of(op, op.input), _int8_of(op, op.output))
    return codes[values[op.input].astype(np.int64) - _LOWEST]


def _int8_of(op: Operation, value: Value) -> UniformType:
    element = element_of(value.type)
    if not isinstance(element, UniformType) or element.storage.width != 8:
        raise layer_fault(op, f"takes int8 with one scale, not '{value.type}'")
    return element


@kernel(nn.MulOp, numbers=Numbers.STORED, any_batch=keeps_images_apart)
def multiply(op: nn.MulOp, values: Values) -> Array:
    """Products of what is stored, less its zero points: exact in the 32-bit pipeline."""
    left, right = (
        values[value].astype(np.int32) - np.int32(zero_point_of(op, value))
        for value in (op.lhs, op.rhs)
    )
    return left * right


@kernel(nn.MaxOp, numbers=Numbers.STORED, any_batch=keeps_images_apart)
def maximum(op: nn.MaxOp, values: Values) -> Array:
    require_equal_scales(op)
    return np.maximum(values[op.lhs], values[op.rhs])


@kernel(nn.MinOp, numbers=Numbers.STORED, any_batch=keeps_images_apart)
def minimum(op: nn.MinOp, values: Values) -> Array:
    require_equal_scales(op)
    return np.minimum(values[op.lhs], values[op.rhs])


@kernel(nn.MaxPoolOp, numbers=Numbers.STORED, any_batch=True)
def max_pool(op: nn.MaxPoolOp, values: Values) -> Array:
    require_equal_scales(op)
    x = values[op.input]
    return fast.pool_maximum(
        x,
        kernel=pair(op.kernel),
        stride=pair(op.strides),
        pad=pair(op.pads),
        output_size=window_shape(x.shape, op.kernel, op.strides, op.extended_pads),
    )


def pair(numbers: Any) -> tuple[int, int]:
    """The first two numbers: of pads, top and left."""
    return numbers[0], numbers[1]
