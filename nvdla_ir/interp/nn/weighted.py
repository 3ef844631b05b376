"""Layers with weights, on reals."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvdla_ir.dialects import nn
from nvdla_ir.interp.nn import windows
from nvdla_ir.interp.registry import Values, kernel

Array = NDArray[Any]


def along_channels(values: Array, rank: int) -> Array:
    """One number a channel, shaped to broadcast to [N, C, …] of ``rank`` dimensions."""
    return values.reshape(-1, *(1,) * (rank - 2)) if rank > 1 else values


@kernel(nn.ConvOp, any_batch=True)
def convolution(op: nn.ConvOp, values: Values) -> Array:
    output = _products(op, values[op.input], values[op.weight])
    if op.bias is not None:
        output += along_channels(values[op.bias], 4)
    return output


def _products(op: nn.ConvOp, x: Array, w: Array) -> Array:
    return windows.convolve(
        x, w, strides=op.strides, pads=op.pads, dilations=op.dilations, groups=op.groups
    )


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
@kernel(nn.ScaleOp, any_batch=True)
def affine(op: nn.BatchNormOp | nn.ScaleOp, values: Values) -> Array:
    x: Array = values[op.input]
    factor, summand = factor_and_summand(op, values)
    output = x * along_channels(factor.astype(x.dtype, copy=False), x.ndim)
    if summand is not None:
        output += along_channels(summand.astype(x.dtype, copy=False), x.ndim)
    return output


def factor_and_summand(
    op: nn.BatchNormOp | nn.ScaleOp, values: Values
) -> tuple[Array, Array | None]:
    """What a layer multiplies each channel by, and what it adds then."""
    if isinstance(op, nn.ScaleOp):
        return values[op.scale], values.get(op.bias)
    # In double precision, so that only the factor's product with the input is rounded.
    deviation = np.sqrt(values[op.variance].astype(np.float64) + op.epsilon)
    factor: Array = values[op.gamma] / deviation
    summand: Array = values[op.beta] - values[op.mean] * factor
    return factor, summand


@kernel(nn.BiasAddOp, any_batch=True)
def bias_add(op: nn.BiasAddOp, values: Values) -> Array:
    x: Array = values[op.input]
    return x + along_channels(values[op.bias], x.ndim)
