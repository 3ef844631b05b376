"""Convolution, deconvolution, inner product, pooling."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from nvdla_ir.dialects import nn
from nvdla_ir.frontends.caffe.context import LayerContext, LayerError, UnsupportedError
from nvdla_ir.ir.operation import Value

_LARGEST_WINDOW = 2**20
"""Kernels, strides, pads and dilations beyond have no meaning for tensors that fit memory."""


def convolution(context: LayerContext) -> list[Value]:
    p = context.parameters("convolution_param")
    _, channels, _, _ = context.require_image()
    return [_convolution(context, p, channels, p.group)]


def depthwise_convolution(context: LayerContext) -> list[Value]:
    """A type of forks: one group a channel, whatever ``group`` says."""
    p = context.parameters("convolution_param")
    _, channels, _, _ = context.require_image()
    return [_convolution(context, p, channels, channels)]


def _convolution(context: LayerContext, p: Any, channels: int, groups: int) -> Value:
    kernels = _kernels(context, p, channels, groups)
    shape = kernels, channels // groups
    return _weighted(context, p, nn.ConvOp, shape, kernels, groups)


def deconvolution(context: LayerContext) -> list[Value]:
    p = context.parameters("convolution_param")
    _, channels, _, _ = context.require_image()
    groups: int = p.group
    kernels = _kernels(context, p, channels, groups)
    shape = channels, kernels // groups
    return [_weighted(context, p, nn.ConvTransposeOp, shape, kernels, groups)]


def _weighted(
    context: LayerContext,
    p: Any,
    op_class: type[nn.ConvOp | nn.ConvTransposeOp],
    shape: tuple[int, int],
    kernels: int,
    groups: int,
) -> Value:
    """A layer of windows whose weights have ``shape`` before height and width."""
    weight = context.blob("weights", (*shape, *_pair(p, "kernel_size", "kernel", None)))
    bias = context.blob("biases", (kernels,)) if p.bias_term else None
    return context.create(
        op_class,
        input=context.input,
        weight=context.constant("weight", weight),
        bias=None if bias is None else context.constant("bias", bias),
        strides=_pair(p, "stride", "stride", 1),
        pads=_pads(p),
        dilations=_pair(p, "dilation", None, 1),
        groups=groups,
    )


def _kernels(context: LayerContext, p: Any, channels: int, groups: int) -> int:
    """How many kernels there are, once the layer's plain numbers make sense."""
    if context.axis(p.axis) != 1:
        raise UnsupportedError(f"has 'axis: {p.axis}'; channels are axis 1 here")
    kernels: int = p.num_output
    if kernels < 1:
        raise LayerError("has no 'num_output'")
    if groups < 1 or kernels % groups:
        raise LayerError(f"has {groups} groups, which do not divide its {kernels} outputs")
    if channels % groups:
        raise LayerError(f"has {groups} groups, which do not divide its {channels} channels")
    return kernels


def _pair(p: Any, name: str, axis_name: str | None, default: int | None) -> tuple[int, int]:
    """Height and width of what is stated once, once an axis, or by ``…_h`` and ``…_w``."""
    values: Sequence[int] = list(getattr(p, name))
    if axis_name is not None and (p.HasField(f"{axis_name}_h") or p.HasField(f"{axis_name}_w")):
        if values:
            raise LayerError(f"has both '{name}' and '{axis_name}_h' or '{axis_name}_w'")
        values = [getattr(p, f"{axis_name}_h"), getattr(p, f"{axis_name}_w")]
    if not values:
        if default is None:
            raise LayerError(f"has no '{name}'")
        values = [default]
    if len(values) > 2:
        raise UnsupportedError(f"has {len(values)} times '{name}'; images have two axes here")
    low = 0 if name == "pad" else 1
    if not all(low <= value <= _LARGEST_WINDOW for value in values):
        raise LayerError(
            f"has '{name}' {' and '.join(map(str, values))}, but it must be from {low} to "
            f"{_LARGEST_WINDOW}"
        )
    return values[0], values[-1]


def _pads(p: Any) -> tuple[int, int, int, int]:
    rows, columns = _pair(p, "pad", "pad", 0)
    return rows, columns, rows, columns


def inner_product(context: LayerContext) -> list[Value]:
    p, shape = context.parameters("inner_product_param"), context.shape
    if context.axis(p.axis) != 1:
        raise UnsupportedError(f"has 'axis: {p.axis}'; all axes from 1 on are summed here")
    kernels: int = p.num_output
    if kernels < 1:
        raise LayerError("has no 'num_output'")
    features = math.prod(shape[1:])
    if p.transpose:
        stored: Any = context.blob("weights", (features, kernels))
        weight: Any = np.ascontiguousarray(stored.T)
    else:
        weight = context.blob("weights", (kernels, features))
    bias = context.blob("biases", (kernels,)) if p.bias_term else None
    return [
        context.create(
            nn.FullyConnectedOp,
            input=context.input,
            weight=context.constant("weight", weight),
            bias=None if bias is None else context.constant("bias", bias),
        )
    ]


def pooling(context: LayerContext) -> list[Value]:
    """Caffe rounds the number of windows up, and then drops one that would begin in the padding
    behind the input. Its mean divides by the part of the window that lies on the padded input."""
    p = context.parameters("pooling_param")
    _, _, height, width = context.require_image()
    methods = p.DESCRIPTOR.fields_by_name["pool"].enum_type.values_by_number
    method: str = methods[p.pool].name
    if method == "STOCHASTIC":
        raise UnsupportedError("has 'pool: STOCHASTIC'; MAX and AVE are known")
    if any(dilation != 1 for dilation in p.dilation):
        raise UnsupportedError(f"has 'dilation: {p.dilation[0]}' in its pooling")
    is_mean = method == "AVE"
    pads, strides = _pads(p), _pair(p, "stride", "stride", 1)
    if p.global_pooling:
        if any(pads) or strides != (1, 1):
            raise LayerError("has 'global_pooling' with a pad or a stride")
        op = nn.GlobalAveragePoolOp if is_mean else nn.GlobalMaxPoolOp
        return [context.create(op, input=context.input)]
    kernel = _pair(p, "kernel_size", "kernel", None)
    rounds_up: bool = p.round_mode == 0 and p.ceil_mode
    extension = (0, 0)
    if rounds_up:
        extension = (
            _extension(height, kernel[0], strides[0], pads[0]),
            _extension(width, kernel[1], strides[1], pads[1]),
        )
    op = nn.AveragePoolOp if is_mean else nn.MaxPoolOp
    return [
        context.create(
            op,
            input=context.input,
            kernel=kernel,
            strides=strides,
            pads=pads,
            ceil_extension=extension if any(extension) else None,
        )
    ]


def _extension(size: int, window: int, stride: int, pad: int) -> int:
    """The rows behind the padded input that the last window covers."""
    windows = -(-(size + 2 * pad - window) // stride) + 1
    if pad and (windows - 1) * stride >= size + pad:
        windows -= 1
    return max(0, (windows - 1) * stride + window - size - 2 * pad)
