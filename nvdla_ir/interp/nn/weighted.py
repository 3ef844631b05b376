"""Layers with weights, on reals."""

# numpy's stubs leave parts of many overloads unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvdla_ir.dialects import nn
from nvdla_ir.interp.machine import Values
from nvdla_ir.interp.nn import windows
from nvdla_ir.interp.registry import kernel

Array = NDArray[Any]


def along_channels(values: Array, rank: int) -> Array:
    """One number a channel, shaped to broadcast to [N, C, …] of ``rank`` dimensions."""
    return values.reshape(-1, *(1,) * (rank - 2)) if rank > 1 else values


@kernel(nn.ConvOp, any_batch=True)
def convolution(op: nn.ConvOp, values: Values) -> Array:
    output = windows.convolve(
        values[op.input],
        values[op.weight],
        strides=op.strides,
        pads=op.pads,
        dilations=op.dilations,
        groups=op.groups,
    )
    if op.bias is not None:
        output += along_channels(values[op.bias], 4)
    return output


@kernel(nn.ConvTransposeOp, any_batch=True)
def transposed_convolution(op: nn.ConvTransposeOp, values: Values) -> Array:
    output = windows.scatter(
        values[op.input],
        values[op.weight],
        strides=op.strides,
        pads=op.pads,
        dilations=op.dilations,
        groups=op.groups,
        outputs=nn.shape_of(op.output)[2:],
    )
    if op.bias is not None:
        output += along_channels(values[op.bias], 4)
    return output


@kernel(nn.FullyConnectedOp, any_batch=True)
def fully_connected(op: nn.FullyConnectedOp, values: Values) -> Array:
    x: Array = values[op.input]
    output = np.matmul(x.reshape(len(x), -1), values[op.weight].T)
    if op.bias is not None:
        output += values[op.bias]
    return output


@kernel(nn.BatchNormOp, any_batch=True)
def batch_norm(op: nn.BatchNormOp, values: Values) -> Array:
    x: Array = values[op.input]
    # Factors in double precision, so that only their product with the input is rounded.
    deviation = np.sqrt(values[op.variance].astype(np.float64) + op.epsilon)
    factor = values[op.gamma] / deviation
    summand = values[op.beta] - values[op.mean] * factor
    return _affine(x, factor.astype(x.dtype), summand.astype(x.dtype))


@kernel(nn.ScaleOp, any_batch=True)
def scale(op: nn.ScaleOp, values: Values) -> Array:
    return _affine(values[op.input], values[op.scale], values.get(op.bias))


@kernel(nn.BiasAddOp, any_batch=True)
def bias_add(op: nn.BiasAddOp, values: Values) -> Array:
    x: Array = values[op.input]
    return x + along_channels(values[op.bias], x.ndim)


def _affine(x: Array, factor: Array, summand: Array | None) -> Array:
    output = x * along_channels(factor, x.ndim)
    if summand is not None:
        output += along_channels(summand, x.ndim)
    return output
