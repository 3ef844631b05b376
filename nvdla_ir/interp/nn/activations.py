"""Activation functions, and what normalizes across channels, on reals."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvdla_ir.arith.errors import OperandError
from nvdla_ir.dialects import nn
from nvdla_ir.interp.nn import blocks
from nvdla_ir.interp.nn.weighted import along_channels
from nvdla_ir.interp.registry import Values, kernel

Array = NDArray[Any]


@kernel(nn.UnaryOp, any_batch=True)
def unary(op: nn.UnaryOp, values: Values) -> Array:
    x: Array = values[op.input]
    return np.asarray(op.function(x), x.dtype)


@kernel(nn.ExpOp, any_batch=True)
def exponential(op: nn.ExpOp, values: Values) -> Array:
    x: Array = values[op.input]
    output = np.asarray(op.function(x), x.dtype)
    if not np.isfinite(output).all():
        raise OperandError(
            f"exp(x) is too large for its type: x is up to {np.max(x)}; give it smaller numbers"
        )
    return output


# The most frequent ones in blocks that stay in the cache.


@kernel(nn.ReluOp, any_batch=True)
def relu(op: nn.ReluOp, values: Values) -> Array:
    return blocks.clipped(values[op.input], 0.0, None)


@kernel(nn.ClipOp, any_batch=True)
def clip(op: nn.ClipOp, values: Values) -> Array:
    return blocks.clipped(values[op.input], op.minimum, op.maximum)


@kernel(nn.PReluOp, any_batch=True)
def prelu(op: nn.PReluOp, values: Values) -> Array:
    x, slope = values[op.input], values[op.slope]
    output: Array = np.minimum(x, 0)
    output *= along_channels(slope, x.ndim) if slope.size > 1 else slope
    output += blocks.clipped(x, 0.0, None)
    return output


@kernel(nn.LrnOp, any_batch=True)
def lrn(op: nn.LrnOp, values: Values) -> Array:
    return normalized(values[op.input], op.size, op.alpha, op.beta, op.k)


def normalized(x: Array, size: int, alpha: float, beta: float, k: float) -> Array:
    """Local response normalization of reals. Raises: OperandError where it is not finite."""
    squares: Array = x * x
    sums: Array = np.array(squares)
    channels = x.shape[1]
    for distance in range(1, min(size // 2, channels - 1) + 1):
        sums[:, :-distance] += squares[:, distance:]
    for distance in range(1, min((size - 1) // 2, channels - 1) + 1):
        sums[:, distance:] += squares[:, :-distance]
    sums *= x.dtype.type(alpha / size)
    sums += x.dtype.type(k)
    with np.errstate(all="ignore"):
        output = x * np.power(sums, x.dtype.type(-beta))
    if not np.isfinite(output).all():
        raise OperandError("what it divides by is not positive; check k, alpha and beta")
    return output


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
    raised = np.asarray(op.function(x), x.dtype)
    if not np.isfinite(raised).all():
        raise OperandError(
            f"(shift + scale * x) ** {op.power} of its input is not finite: shift = {op.shift}, "
            f"scale = {op.scale}, x from {np.min(x)} to {np.max(x)}"
        )
    return raised
