"""Layers that work element by element: activations, scales, sums."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvdla_ir.dialects import nn
from nvdla_ir.dialects.nn.base import NNOp
from nvdla_ir.dialects.nn.shapes import text_of
from nvdla_ir.frontends.caffe.context import (
    MOST_ELEMENTS,
    LayerContext,
    LayerError,
    UnsupportedError,
)
from nvdla_ir.ir.operation import Value
from nvdla_ir.ir.types import TensorType

Handler = Callable[[LayerContext], list[Value]]


def plain(op_class: type[NNOp], **attributes: Any) -> Handler:
    """A layer that is one operation without parameters."""
    return lambda context: [context.create(op_class, input=context.input, **attributes)]


def relu(context: LayerContext) -> list[Value]:
    slope = _finite("negative_slope", context.parameters("relu_param").negative_slope)
    if slope == 0:
        return [context.create(nn.ReluOp, input=context.input)]
    return [context.create(nn.LeakyReluOp, input=context.input, alpha=slope)]


def prelu(context: LayerContext) -> list[Value]:
    shared = context.parameters("prelu_param").channel_shared
    slope = context.blob("slopes", (1,) if shared else (_channels(context),))
    return [
        context.create(nn.PReluOp, input=context.input, slope=context.per_channel("slope", slope))
    ]


def elu(context: LayerContext) -> list[Value]:
    alpha = _finite("alpha", context.parameters("elu_param").alpha)
    return [context.create(nn.EluOp, input=context.input, alpha=alpha)]


def clip(context: LayerContext) -> list[Value]:
    p = context.parameters("clip_param")
    if not (p.HasField("min") and p.HasField("max")):
        raise LayerError("has no 'min' or no 'max'")
    low, high = _finite("min", p.min), _finite("max", p.max)
    return [context.create(nn.ClipOp, input=context.input, minimum=low, maximum=high)]


def power(context: LayerContext) -> list[Value]:
    """A power of one is a scale and a shift, the same for each channel."""
    p = context.parameters("power_param")
    exponent, scale, shift = (
        _finite(name, getattr(p, name)) for name in ("power", "scale", "shift")
    )
    if exponent != 1:
        return [
            context.create(
                nn.PowerOp, input=context.input, power=exponent, scale=scale, shift=shift
            )
        ]
    return [_line(context, scale, shift)]


def exponential(context: LayerContext) -> list[Value]:
    """``base ** (shift + scale * x)``; the base is e where it is stated as -1."""
    p = context.parameters("exp_param")
    base, scale, shift = (_finite(name, getattr(p, name)) for name in ("base", "scale", "shift"))
    if base != -1:
        if base <= 0:
            raise LayerError(f"has 'base: {base}', but it must be above 0, or -1 for e")
        scale, shift = scale * math.log(base), shift * math.log(base)
    exponent = context.input
    if (scale, shift) != (1, 0):
        exponent = _line(context, scale, shift, part="exponent")
    return [context.create(nn.ExpOp, input=exponent)]


def _line(context: LayerContext, scale: float, shift: float, part: str | None = None) -> Value:
    """The input times ``scale`` plus ``shift``."""
    channels = (_channels(context),)
    return context.create(
        nn.ScaleOp,
        part=part,
        input=context.input,
        scale=context.splat(scale, channels),
        bias=context.splat(shift, channels) if shift else None,
    )


def dropout(context: LayerContext) -> list[Value]:
    """Nothing is dropped in inference; some forks scale then and not in training."""
    p = context.parameters("dropout_param")
    if p.scale_train:
        context.check_blobs()
        return [context.input]
    scale = context.splat(1 - _finite("dropout_ratio", p.dropout_ratio), (_channels(context),))
    return [context.create(nn.ScaleOp, input=context.input, scale=scale)]


def lrn(context: LayerContext) -> list[Value]:
    p = context.parameters("lrn_param")
    if p.norm_region:
        raise UnsupportedError("has 'norm_region: WITHIN_CHANNEL'; ACROSS_CHANNELS is known")
    context.require_image()
    size: int = p.local_size
    if size % 2 == 0 or size > MOST_ELEMENTS:
        raise LayerError(f"has 'local_size: {size}', but it must be odd")
    return [
        context.create(
            nn.LrnOp,
            input=context.input,
            size=size,
            alpha=_finite("alpha", p.alpha),
            beta=_finite("beta", p.beta),
            k=_finite("k", p.k),
        )
    ]


def batch_norm(context: LayerContext) -> list[Value]:
    """Blobs: sums of means and of variances, and the factor that they are sums by."""
    channels = _channels(context)
    mean = context.blob("means", (channels,))
    variance = context.blob("variances", (channels,))
    factor = float(context.blob("a moving-average factor", (1,))[0])
    scale = np.float32(0 if factor == 0 else 1 / factor)
    epsilon = _finite("eps", context.parameters("batch_norm_param").eps)
    if epsilon < 0 or (variance.size and float((variance * scale).min()) + epsilon <= 0):
        if not context.faults:
            raise LayerError("has variances that are not positive, 'eps' added")
        epsilon = 1.0
    ones, zeros = context.splat(1, (channels,)), context.splat(0, (channels,))
    return [
        context.create(
            nn.BatchNormOp,
            input=context.input,
            gamma=ones,
            beta=zeros,
            mean=context.per_channel("mean", mean * scale),
            variance=context.per_channel("variance", variance * scale),
            epsilon=epsilon,
        )
    ]


def scale(context: LayerContext) -> list[Value]:
    p = context.parameters("scale_param")
    if len(context.inputs) == 2:
        if p.bias_term:
            raise UnsupportedError("has two inputs and 'bias_term: true'")
        return [_with_second_input(context, nn.MulOp, p.axis)]
    shape, fill = _covered(context, p)
    factors = context.blob("factors", shape)
    bias = context.blob("biases", shape) if p.bias_term else None
    channels = _channels(context)
    if _is_per_channel(context, fill):
        return [
            context.create(
                nn.ScaleOp,
                input=context.input,
                scale=context.per_channel("scale", _spread(factors, channels)),
                bias=None if bias is None else context.per_channel("bias", _spread(bias, channels)),
            )
        ]
    part = None if bias is None else "scaled"
    full = _full(context, factors, fill)
    value = context.create(
        nn.MulOp, part=part, lhs=context.input, rhs=context.constant("scale", full)
    )
    if bias is not None:
        full = _full(context, bias, fill)
        value = context.create(nn.AddOp, lhs=value, rhs=context.constant("bias", full))
    return [value]


def bias(context: LayerContext) -> list[Value]:
    p = context.parameters("bias_param")
    if len(context.inputs) == 2:
        return [_with_second_input(context, nn.AddOp, p.axis)]
    shape, fill = _covered(context, p)
    terms = context.blob("biases", shape)
    if _is_per_channel(context, fill):
        value = context.per_channel("bias", _spread(terms, _channels(context)))
        return [context.create(nn.BiasAddOp, input=context.input, bias=value)]
    full = _full(context, terms, fill)
    return [context.create(nn.AddOp, lhs=context.input, rhs=context.constant("bias", full))]


def _covered(context: LayerContext, p: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The shape of the blob of a Scale or Bias layer, and the same with as many ones around it
    that it has an axis for each of the input's."""
    shape = context.shape
    axis = context.axis(p.axis)
    count: int = p.num_axes
    if count < -1 or axis + count > len(shape):
        raise LayerError(
            f"has 'axis: {p.axis}' and 'num_axes: {count}', but its input is {text_of(shape)}"
        )
    end = len(shape) if count == -1 else axis + count
    blob = shape[axis:end]
    if axis == 0 and blob:
        raise UnsupportedError("has 'axis: 0', which makes a factor for each image of the batch")
    return blob, (*(1,) * axis, *blob, *(1,) * (len(shape) - end))


def _is_per_channel(context: LayerContext, fill: Sequence[int]) -> bool:
    """Whether there is one number a channel, or one for all."""
    return all(extent == 1 for axis, extent in enumerate(fill) if axis != 1)


def _spread(numbers: NDArray[np.float32], channels: int) -> NDArray[np.float32]:
    return np.broadcast_to(numbers.reshape(-1), (channels,))


def _full(
    context: LayerContext, numbers: NDArray[np.float32], fill: Sequence[int]
) -> NDArray[np.float32]:
    return np.ascontiguousarray(np.broadcast_to(numbers.reshape(tuple(fill)), context.shape))


def _with_second_input(context: LayerContext, op_class: type[NNOp], axis: int) -> Value:
    """A factor or term that is computed: of the same shape, or one a channel."""
    left, right = context.shape, nn.shape_of(context.inputs[1])
    start = context.axis(axis)
    fill = (*(1,) * start, *right, *(1,) * (len(left) - start - len(right)))
    if left[start : start + len(right)] != right:
        raise LayerError(
            f"has inputs of {text_of(left)} and {text_of(right)}, which do not meet from axis "
            f"{start} on"
        )
    if fill != left and any(extent != 1 for axis, extent in enumerate(fill) if axis > 1):
        raise UnsupportedError(
            f"has inputs of {text_of(left)} and {text_of(right)}; the second must be as the first "
            "or have one element a channel"
        )
    second = context.inputs[1]
    if fill != right:
        type = TensorType(fill, nn.tensor_type(second).element)
        second = context.create(nn.ReshapeOp, part="view", input=second, result_types=[type])
    return context.create(op_class, lhs=context.input, rhs=second)


def eltwise(context: LayerContext) -> list[Value]:
    p = context.parameters("eltwise_param")
    values = list(context.inputs)
    if len({nn.shape_of(value) for value in values}) > 1:
        shapes = ", ".join(text_of(nn.shape_of(value)) for value in values)
        raise LayerError(f"combines shapes {shapes}, which must be equal")
    operations = p.DESCRIPTOR.fields_by_name["operation"].enum_type.values_by_number
    operation: str = operations[p.operation].name
    coefficients = [_finite("coeff", number) for number in p.coeff]
    if operation != "SUM":
        if coefficients:
            raise LayerError(f"has 'coeff' with 'operation: {operation}': they belong to a SUM")
        return [_chain(context, nn.MulOp if operation == "PROD" else nn.MaxOp, values)]
    if coefficients and len(coefficients) != len(values):
        raise LayerError(f"has {len(coefficients)} times 'coeff' for {len(values)} inputs")
    return [_weighted_sum(context, values, coefficients or [1.0] * len(values))]


def _weighted_sum(
    context: LayerContext, values: Sequence[Value], coefficients: Sequence[float]
) -> Value:
    """Terms of factor 1 are added as they are, those of -1 subtracted once there is something to
    subtract from."""
    ordered = sorted(zip(coefficients, values, strict=True), key=lambda term: term[0] != 1)
    total: Value | None = None
    for index, (factor, value) in enumerate(ordered):
        part = None if index == len(ordered) - 1 else "sum"
        op_class = nn.SubOp if factor == -1 and total is not None else nn.AddOp
        if factor not in (1, -1) or (factor == -1 and total is None):
            factors = context.splat(factor, (_channels(context),))
            is_all = total is None and part is None
            value = context.create(
                nn.ScaleOp, part=None if is_all else "scaled", input=value, scale=factors
            )
        if total is None:
            total = value
        else:
            total = context.create(op_class, part=part, lhs=total, rhs=value)
    assert total is not None
    return total


def _chain(context: LayerContext, op_class: type[NNOp], values: Sequence[Value]) -> Value:
    last = len(values) - 2

    def combine(left: Value, indexed: tuple[int, Value]) -> Value:
        index, right = indexed
        part = None if index == last else "part"
        return context.create(op_class, part=part, lhs=left, rhs=right)

    return reduce(combine, enumerate(values[1:]), values[0])


def _channels(context: LayerContext) -> int:
    """Raises: UnsupportedError where the input has no channels."""
    shape = context.shape
    if len(shape) < 2:
        raise UnsupportedError(f"has an input of shape {text_of(shape)}, which has no channels")
    return shape[1]


def _finite(name: str, number: float) -> float:
    if not math.isfinite(number):
        raise LayerError(f"has '{name}: {number}', but it must be finite")
    # The text says 0.1; protobuf's float32 of it must not become 0.10000000149 in the IR.
    return float(np.format_float_positional(np.float32(number), unique=True))
