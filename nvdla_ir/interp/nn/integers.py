"""The nn dialect on stored integers, bit for bit as the hardware.

Tensors of 8 bits are int8 arrays. Tensors of the 32-bit pipeline are int32 arrays, but for what a
``shift_add`` makes: its 33 bits stay an int64 array until the next step saturates them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvdla_ir.arith import fast
from nvdla_ir.arith.parameters import XUnit
from nvdla_ir.dialects import nn
from nvdla_ir.dialects.nn.shapes import window_shape
from nvdla_ir.dialects.quant import UniformType
from nvdla_ir.interp.nn.scales import layer_fault, require_equal_scales, scale_and_zero_point_of
from nvdla_ir.interp.nn.weighted import along_channels
from nvdla_ir.interp.quantization import dtype_of, element_of
from nvdla_ir.interp.registry import Numbers, Values, kernel
from nvdla_ir.ir.operation import Operation, Value

Array = NDArray[Any]
_DENSE_CHANNELS = 16
_PAD_VALUE_REGISTERS = 7
_PAD_VALUE_MASK = (1 << 19) - 1


def _zero_point(op: Operation, value: Value) -> int:
    """The one zero point of a tensor. Raises: DiagnosticError where it has one a slice."""
    element = element_of(value.type)
    if not isinstance(element, UniformType):
        raise layer_fault(op, f"takes one zero point for all of '{value.type}'")
    return element.zero_point


def _saturated(pipeline: Array) -> Array:
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
            stride=_pair(op.strides),
            dilation=_pair(op.dilations),
            pad_top=op.pads[0],
            pad_left=op.pads[1],
            output_size=output_size,
            pad_value=_zero_point(op, op.input),
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
    x = _saturated(values[op.input])
    dtype = dtype_of(nn.storage_of(op.output))
    return np.maximum(x, zero_point.astype(x.dtype)).astype(dtype, copy=False)


@kernel(nn.MaxPoolOp, numbers=Numbers.STORED, any_batch=True)
def max_pool(op: nn.MaxPoolOp, values: Values) -> Array:
    require_equal_scales(op)
    x = values[op.input]
    return fast.pool_maximum(
        x,
        kernel=_pair(op.kernel),
        stride=_pair(op.strides),
        pad=_pair(op.pads),
        output_size=window_shape(x.shape, op.kernel, op.strides, op.extended_pads),
    )


@kernel(nn.AveragePoolOp, numbers=Numbers.STORED, any_batch=True)
def average_pool(op: nn.AveragePoolOp, values: Values) -> Array:
    """The divisor is always the whole window; padding counts as the zero point."""
    reciprocals = op.reciprocals
    if reciprocals is None:
        raise layer_fault(op, "needs 'reciprocals' on integers; 'insert-converters' chooses them")
    if any(op.pads) and not op.count_include_pad:
        raise layer_fault(
            op, "leaves padding out of the divisor, which integers cannot do in one step"
        )
    if any(op.ceil_extension):
        raise layer_fault(op, "has a 'ceil_extension', whose divisor integers cannot make")
    x, zero_point = values[op.input], _zero_point(op, op.input)
    return fast.pool_average(
        x,
        kernel=_pair(op.kernel),
        stride=_pair(op.strides),
        pad=_pair(op.pads),
        output_size=window_shape(x.shape, op.kernel, op.strides, op.extended_pads),
        reciprocals=_pair(reciprocals),
        pad_values=[
            count * zero_point & _PAD_VALUE_MASK for count in range(1, _PAD_VALUE_REGISTERS + 1)
        ],
    )


def _pair(numbers: Any) -> tuple[int, int]:
    """The first two numbers: of pads, top and left."""
    return numbers[0], numbers[1]


# -------------------------------------------------------------- converters


@kernel(nn.InputConverterOp, numbers=Numbers.STORED, any_batch=True)
def input_converter(op: nn.InputConverterOp, values: Values) -> Array:
    x = values[op.input]
    means = along_channels(np.asarray(op.means, np.int64), x.ndim)
    return fast.convert_input(x, means, op.scale, op.truncate)


@kernel(nn.ShiftAddOp, numbers=Numbers.STORED, any_batch=True)
def shift_add(op: nn.ShiftAddOp, values: Values) -> Array:
    x = _saturated(values[op.input])
    operand = _operand(op.value, values.get(op.addend), x.ndim)
    return np.add(x, _shifted(operand, op.shift), dtype=np.int64)


def _shifted(operand: int | Array, shift: int) -> Array:
    if not isinstance(operand, int) and operand.dtype.itemsize * 8 + shift <= 32:
        return operand.astype(np.int32) << shift  # too narrow to saturate
    return fast.shift_left_saturate(operand, shift)


@kernel(nn.RescaleOp, numbers=Numbers.STORED, any_batch=True)
def rescale(op: nn.RescaleOp, values: Values) -> Array:
    x = values[op.input]
    multiplier = _operand(op.value, values.get(op.multiplier), x.ndim)
    if _has_33_bits(x):
        product = x * np.asarray(multiplier, np.int64)
        return fast.saturate(fast.round_shift(product, op.shift), 32).astype(np.int32)
    return fast.sdp_x(x, XUnit(mul_operand=multiplier, mul_shift=op.shift)).astype(np.int32)


@kernel(nn.OutputConverterOp, numbers=Numbers.STORED, any_batch=True)
def output_converter(op: nn.OutputConverterOp, values: Values) -> Array:
    return fast.convert_output(_saturated(values[op.input]), op.offset, op.scale, op.shift)


def _operand(value: int | None, tensor: Array | None, rank: int) -> int | Array:
    """A step's operand: one number, or an array that broadcasts to ``rank`` dimensions."""
    if tensor is None:
        assert value is not None
        return value
    return along_channels(tensor, rank) if tensor.ndim == 1 else tensor


def _has_33_bits(x: Array) -> bool:
    if x.dtype != np.int64 or x.size == 0:
        return False
    return int(x.min()) < -(1 << 31) or int(x.max()) >= 1 << 31
