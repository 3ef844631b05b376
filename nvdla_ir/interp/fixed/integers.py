"""The fixed dialect on stored integers, bit for bit as the hardware.

Tensors of 8 bits are int8 arrays. Tensors of the 32-bit pipeline are int32 arrays, but for what a
``shift_add`` makes: its 33 bits stay an int64 array until the next step saturates them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvdla_ir.arith import fast
from nvdla_ir.arith.parameters import Normalization, XUnit
from nvdla_ir.dialects import fixed
from nvdla_ir.dialects.nn.shapes import window_shape
from nvdla_ir.dialects.nvdla import arithmetic_table
from nvdla_ir.interp.nn.integers import pair, saturated, zero_point_of
from nvdla_ir.interp.nn.weighted import along_channels
from nvdla_ir.interp.registry import Numbers, Values, kernel

Array = NDArray[Any]
_PAD_VALUE_REGISTERS = 7
_PAD_VALUE_MASK = (1 << 19) - 1


@kernel(fixed.AveragePoolOp, numbers=Numbers.STORED, any_batch=True)
def average_pool(op: fixed.AveragePoolOp, values: Values) -> Array:
    x, zero_point = values[op.input], zero_point_of(op, op.input)
    return fast.pool_average(
        x,
        kernel=pair(op.kernel),
        stride=pair(op.strides),
        pad=pair(op.pads),
        output_size=window_shape(x.shape, op.kernel, op.strides, op.pads),
        reciprocals=pair(op.reciprocals),
        pad_values=[
            count * zero_point & _PAD_VALUE_MASK for count in range(1, _PAD_VALUE_REGISTERS + 1)
        ],
    )


@kernel(fixed.LrnOp, numbers=Numbers.STORED, any_batch=True)
def lrn(op: fixed.LrnOp, values: Values) -> Array:
    layer = Normalization(
        size=op.size,
        table=arithmetic_table(op.tables),
        input_offset=op.input_offset,
        output_offset=op.output_offset,
        output_scale=op.output_scale,
        output_shift=op.output_shift,
    )
    return fast.local_response_normalization(values[op.input], layer).values


@kernel(fixed.InputConverterOp, numbers=Numbers.STORED, any_batch=True)
def input_converter(op: fixed.InputConverterOp, values: Values) -> Array:
    x = values[op.input]
    means = along_channels(np.asarray(op.means, np.int64), x.ndim)
    return fast.convert_input(x, means, op.scale, op.truncate)


@kernel(fixed.ShiftAddOp, numbers=Numbers.STORED, any_batch=True)
def shift_add(op: fixed.ShiftAddOp, values: Values) -> Array:
    x = saturated(values[op.input])
    operand = _operand(op.value, values.get(op.addend), x.ndim)
    return np.add(x, _shifted(operand, op.shift), dtype=np.int64)


def _shifted(operand: int | Array, shift: int) -> Array:
    if not isinstance(operand, int) and operand.dtype.itemsize * 8 + shift <= 32:
        return operand.astype(np.int32) << shift  # too narrow to saturate
    return fast.shift_left_saturate(operand, shift)


@kernel(fixed.RescaleOp, numbers=Numbers.STORED, any_batch=True)
def rescale(op: fixed.RescaleOp, values: Values) -> Array:
    x = values[op.input]
    multiplier = _operand(op.value, values.get(op.multiplier), x.ndim)
    if _has_33_bits(x):
        product = x * np.asarray(multiplier, np.int64)
        return fast.saturate(fast.round_shift(product, op.shift), 32).astype(np.int32)
    return fast.sdp_x(x, XUnit(mul_operand=multiplier, mul_shift=op.shift)).astype(np.int32)


@kernel(fixed.PReluOp, numbers=Numbers.STORED, any_batch=True)
def prelu(op: fixed.PReluOp, values: Values) -> Array:
    x = values[op.input].astype(np.int64)
    multiplier = _operand(op.value, values.get(op.multiplier), x.ndim)
    product = x * np.asarray(multiplier, np.int64)
    negative = fast.saturate(fast.round_shift(product, op.shift), 32)
    return np.where(x >= 0, x, negative).astype(np.int32)


@kernel(fixed.OutputConverterOp, numbers=Numbers.STORED, any_batch=True)
def output_converter(op: fixed.OutputConverterOp, values: Values) -> Array:
    return fast.convert_output(saturated(values[op.input]), op.offset, op.scale, op.shift)


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
