"""The fixed dialect on reals: integer formulas without rounding and saturation, and with the exact
ratio of scales in place of multiplier and shift.

An element type ties reals to stored integers: ``real = scale * (stored - zero_point)``. Where a
step changes the stored integer by a constant, the types around it say what that means for the
real: ``real_out = real_in + scale_in * zero_point_in - scale_out * zero_point_out + …``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvdla_ir.dialects import fixed, nn
from nvdla_ir.interp.nn import windows
from nvdla_ir.interp.nn.activations import normalized
from nvdla_ir.interp.nn.scales import scale_and_zero_point_of
from nvdla_ir.interp.nn.weighted import along_channels
from nvdla_ir.interp.quantization import dtype_of
from nvdla_ir.interp.registry import Values, kernel
from nvdla_ir.ir.operation import Value

Array = NDArray[Any]
_MEMORY_WIDTH = 8


def _zero(value: Value) -> Array:
    """What the stored integer 0 is below the real 0: scale times zero point."""
    scale, zero_point = scale_and_zero_point_of(value)
    return scale * zero_point


def _moved(x: Array, summand: Array) -> Array:
    return x + summand.astype(x.dtype) if np.any(summand) else x


@kernel(fixed.InputConverterOp, any_batch=True)
def input_converter(op: fixed.InputConverterOp, values: Values) -> Array:
    pixels: Array = values[op.input]
    dtype = dtype_of(nn.storage_of(op.output).expressed)
    scale, zero_point = scale_and_zero_point_of(op.output)
    centred = pixels.astype(dtype)
    centred -= along_channels(np.asarray(op.means, dtype), pixels.ndim)
    centred *= (scale * op.scale * 2.0**-op.truncate).astype(dtype)
    return _moved(centred, -scale * zero_point)


@kernel(fixed.ShiftAddOp, any_batch=True)
def shift_add(op: fixed.ShiftAddOp, values: Values) -> Array:
    x: Array = values[op.input]
    summand = _zero(op.input) - _zero(op.output)
    addend = op.addend
    if addend is None:
        assert op.value is not None
        scale, _ = scale_and_zero_point_of(op.output)
        return _moved(x, summand + scale * (op.value * 2.0**op.shift))
    reals: Array = values[addend] + _zero(addend).astype(x.dtype)
    return _moved(x + (along_channels(reals, x.ndim) if reals.ndim == 1 else reals), summand)


@kernel(fixed.RescaleOp, any_batch=True)
def rescale(op: fixed.RescaleOp, values: Values) -> Array:
    """On the 32-bit pipeline the reals stay what they are. On int8 from memory the multiplier may
    be more than a ratio of scales: an ``nn.scale`` puts its factors there, so it is taken as it
    is."""
    x: Array = values[op.input]
    if nn.storage_of(op.input).storage.width > _MEMORY_WIDTH:
        return _moved(x, _zero(op.input) - _zero(op.output))
    factor: Any = _operand(op.value, values.get(op.multiplier), x.ndim)
    (scale, _), (unit, _) = scale_and_zero_point_of(op.input), scale_and_zero_point_of(op.output)
    ratio = factor * 2.0**-op.shift * unit / scale
    summand = _zero(op.input) * ratio - _zero(op.output)
    return _moved(x * ratio.astype(x.dtype), summand)


@kernel(fixed.PReluOp, any_batch=True)
def prelu(op: fixed.PReluOp, values: Values) -> Array:
    x: Array = values[op.input]
    factor: Any = _operand(op.value, values.get(op.multiplier), x.ndim)
    return np.where(x >= 0, x, x * np.asarray(factor * 2.0**-op.shift, x.dtype))


@kernel(fixed.OutputConverterOp, any_batch=True)
def output_converter(op: fixed.OutputConverterOp, values: Values) -> Array:
    """A negative factor is more than a ratio of scales: a difference comes negated."""
    scale, zero_point = scale_and_zero_point_of(op.input)
    x = _moved(values[op.input], scale * (zero_point - op.offset))
    return _moved(-x if op.scale < 0 else x, -_zero(op.output))


def _operand(value: int | None, tensor: Array | None, rank: int) -> int | Array:
    """A step's multiplier: one number, or an array that broadcasts to ``rank`` dimensions."""
    if tensor is None:
        assert value is not None
        return value
    return along_channels(tensor, rank) if tensor.ndim == 1 else tensor


@kernel(fixed.AveragePoolOp, any_batch=True)
def average_pool(op: fixed.AveragePoolOp, values: Values) -> Array:
    padded = windows.pad(values[op.input], op.pads, 0.0)
    output = windows.pool(np.add, padded, op.kernel, op.strides)
    output /= op.kernel[0] * op.kernel[1]
    return output


@kernel(fixed.LrnOp, any_batch=True)
def lrn(op: fixed.LrnOp, values: Values) -> Array:
    return normalized(values[op.input], op.size, op.alpha, op.beta, op.k)
