"""Sums, products and the like, of tensors and of constants."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from nvdla_ir.dialects import nn
from nvdla_ir.dialects.nn import BinaryOp
from nvdla_ir.frontends.onnx.activations import clipped
from nvdla_ir.frontends.onnx.faults import UnsupportedError
from nvdla_ir.frontends.onnx.layer import Layer, handler
from nvdla_ir.frontends.onnx.limits import require_size
from nvdla_ir.frontends.onnx.operands import Activation, Array, Constant, QuantizedConstant, Tensor
from nvdla_ir.ir.operation import Value


def _known(tensor: Tensor) -> Array | None:
    """The floats of a constant; None for what the network computes."""
    if isinstance(tensor, QuantizedConstant):
        return tensor.reals()
    return tensor.array if isinstance(tensor, Constant) else None


def _broadcast(shapes: Sequence[Sequence[int]]) -> tuple[int, ...]:
    try:
        return np.broadcast_shapes(*map(tuple, shapes))
    except ValueError:
        listed = " and ".join(str(list(shape)) for shape in shapes)
        raise UnsupportedError(f"shapes {listed} do not broadcast to each other") from None


def per_channel(array: Array, shape: Sequence[int]) -> Array | None:
    """``array`` as one number a channel of a tensor of ``shape`` that it broadcasts to; None where
    it differs along another axis than that of channels."""
    rank = len(shape)
    if not rank or array.ndim > rank:
        return None
    channel_axis = min(1, rank - 1)
    padded = array.reshape((1,) * (rank - array.ndim) + array.shape)
    if any(extent != 1 for axis, extent in enumerate(padded.shape) if axis != channel_axis):
        return None
    return np.broadcast_to(padded.reshape(-1), shape[channel_axis])


def _full(layer: Layer, array: Array, shape: Sequence[int], name: str) -> Value:
    """A constant of ``shape``."""
    require_size(math.prod(shape))
    return layer.constant_value(np.broadcast_to(array, tuple(shape)), name)


def _operand(layer: Layer, array: Array, shape: Sequence[int], name: str) -> Value:
    """A constant as the second operand of a tensor of ``shape``, which it broadcasts to."""
    return layer.constant_value(array.reshape((1,) * (len(shape) - array.ndim) + array.shape), name)


def combine(
    layer: Layer, op_class: type[BinaryOp], left: Value, right: Value, part: str = ""
) -> Value:
    """An operation on two computed tensors. The smaller one must come second, so operands are
    exchanged where the operation allows it."""
    shapes = nn.shape_of(left), nn.shape_of(right)
    if _broadcast(shapes) == shapes[0]:
        rank = len(shapes[0])
        if len(shapes[1]) != rank:
            right = layer.reshape(right, (1,) * (rank - len(shapes[1])) + shapes[1], "wide")
        return layer.emit(op_class, part, lhs=left, rhs=right)
    if _broadcast(shapes) == shapes[1] and op_class in _COMMUTATIVE:
        return combine(layer, op_class, right, left, part)
    if _broadcast(shapes) == shapes[1] and op_class is nn.SubOp:
        negative = combine(layer, nn.SubOp, right, left, "negative")
        return _scaled(layer, negative, np.float32(-1.0))
    raise UnsupportedError(
        f"broadcasts shapes {list(shapes[0])} and {list(shapes[1])}; one of them must be that of "
        "the result, and the second one of a quotient smaller"
    )


_COMMUTATIVE = (nn.AddOp, nn.MulOp, nn.MaxOp, nn.MinOp)


def _scaled(
    layer: Layer, value: Value, factor: Array | np.float32, bias: Array | None = None
) -> Value:
    """``value * factor + bias`` with numbers for each channel."""
    shape = nn.shape_of(value)
    if not shape:
        assert bias is None
        return layer.emit(
            nn.MulOp, lhs=value, rhs=_full(layer, np.asarray(factor), (), f"{layer.name}.scale")
        )
    channels = shape[min(1, len(shape) - 1)]
    factors = np.broadcast_to(np.asarray(factor, np.float32), channels)
    return layer.emit(
        nn.ScaleOp,
        input=value,
        scale=layer.constant_value(factors, f"{layer.name}.scale"),
        bias=None if bias is None else layer.constant_value(bias, f"{layer.name}.bias"),
    )


def _combined(layer: Layer, op_class: type[BinaryOp]) -> Value:
    """Both operands are computed."""
    return combine(layer, op_class, layer.activation(0), layer.activation(1))


def _with_constant(layer: Layer) -> tuple[Value, int, Array] | None:
    """The computed operand, its index, and the constant one, if there is one of each and the
    result has the computed one's shape."""
    if layer.input_count != 2:
        raise UnsupportedError(f"has {layer.input_count} inputs instead of 2")
    tensors = layer.required(0), layer.required(1)
    known = [_known(tensor) for tensor in tensors]
    for index in range(2):
        array, other = known[1 - index], tensors[index]
        if array is not None and isinstance(other, Activation):
            if array.dtype.kind != "f":
                raise UnsupportedError("combines reals and integers, which is not supported")
            if _broadcast((other.shape, array.shape)) != other.shape:
                raise UnsupportedError(
                    f"broadcasts its input of shape {list(other.shape)} to a constant of shape "
                    f"{list(array.shape)}"
                )
            return other.value, index, array
    return None


def _constant_name(layer: Layer, index: int) -> str:
    return layer.input_name(1 - index)


@handler("Add")
def add(layer: Layer) -> Value:
    found = _with_constant(layer)
    if found is None:
        return _combined(layer, nn.AddOp)
    value, index, array = found
    shape, name = nn.shape_of(value), _constant_name(layer, index)
    channels = per_channel(array, shape)
    if channels is not None:
        return layer.emit(nn.BiasAddOp, input=value, bias=layer.constant_value(channels, name))
    return layer.emit(nn.AddOp, lhs=value, rhs=_operand(layer, array, shape, name))


@handler("Sub")
def sub(layer: Layer) -> Value:
    found = _with_constant(layer)
    if found is None:
        return _combined(layer, nn.SubOp)
    value, index, array = found
    shape, name = nn.shape_of(value), _constant_name(layer, index)
    channels = per_channel(array, shape)
    if channels is not None and index == 0:
        bias = layer.constant_value(-channels, f"{name}.negative")
        return layer.emit(nn.BiasAddOp, input=value, bias=bias)
    if channels is not None:
        return _scaled(layer, value, np.float32(-1.0), channels)
    if index == 0:
        return layer.emit(nn.SubOp, lhs=value, rhs=_operand(layer, array, shape, name))
    return layer.emit(nn.SubOp, lhs=_full(layer, array, shape, name), rhs=value)


@handler("Mul")
def mul(layer: Layer) -> Value:
    found = _with_constant(layer)
    if found is None:
        return _combined(layer, nn.MulOp)
    value, index, array = found
    shape, name = nn.shape_of(value), _constant_name(layer, index)
    channels = per_channel(array, shape)
    if channels is not None:
        return layer.emit(nn.ScaleOp, input=value, scale=layer.constant_value(channels, name))
    return layer.emit(nn.MulOp, lhs=value, rhs=_operand(layer, array, shape, name))


@handler("Div")
def div(layer: Layer) -> Value:
    found = _with_constant(layer)
    if found is None:
        return _combined(layer, nn.DivOp)
    value, index, array = found
    shape, name = nn.shape_of(value), _constant_name(layer, index)
    if index == 1:
        return layer.emit(nn.DivOp, lhs=_full(layer, array, shape, name), rhs=value)
    if not np.all(array):
        raise UnsupportedError(f"divides by the constant '{name}', which has zeros")
    channels = per_channel(array, shape)
    if channels is None:
        return layer.emit(nn.DivOp, lhs=value, rhs=_operand(layer, array, shape, name))
    inverse = layer.constant_value(np.reciprocal(channels), f"{name}.inverse")
    return layer.emit(nn.ScaleOp, input=value, scale=inverse)


def _fold(layer: Layer, op_class: type[BinaryOp]) -> Value:
    """A function of any number of operands, two by two. The constants come last: where they are
    one number, they limit the rest."""
    tensors = [layer.required(index) for index in range(layer.input_count)]
    computed = [tensor for tensor in tensors if isinstance(tensor, Activation)]
    arrays = [array for array in map(_known, tensors) if array is not None]
    if not computed or len(computed) + len(arrays) != len(tensors):
        raise UnsupportedError("takes tensors of integers, which it cannot compute with")
    # Larger ones first: the second operand is the one that broadcasts.
    computed.sort(key=lambda tensor: -math.prod(tensor.shape))
    steps = len(computed) - 1 + bool(arrays)
    value = computed[0].value
    for step, other in enumerate(computed[1:], start=1):
        part = "" if step == steps else f"step{step}"
        value = combine(layer, op_class, value, other.value, part)
    return _with_constants(layer, op_class, value, arrays) if arrays else value


def _with_constants(
    layer: Layer, op_class: type[BinaryOp], value: Value, arrays: Sequence[Array]
) -> Value:
    joined = arrays[0]
    for array in arrays[1:]:
        joined = _FUNCTIONS[op_class](joined, array)
    shape = nn.shape_of(value)
    if _broadcast((shape, joined.shape)) != shape:
        raise UnsupportedError(
            f"broadcasts its input of shape {list(shape)} to a constant of shape "
            f"{list(joined.shape)}"
        )
    if joined.size == 1 and op_class is not nn.AddOp:
        limit = float(joined.reshape(()))
        low, high = (limit, None) if op_class is nn.MaxOp else (None, limit)
        return clipped(layer, value, low, high)
    name = f"{layer.name}.constant"
    channels = per_channel(joined, shape)
    if op_class is nn.AddOp and channels is not None:
        return layer.emit(nn.BiasAddOp, input=value, bias=layer.constant_value(channels, name))
    return layer.emit(op_class, lhs=value, rhs=_operand(layer, joined, shape, name))


_FUNCTIONS: dict[type[BinaryOp], Callable[[Array, Array], Array]] = {
    nn.MaxOp: np.maximum,
    nn.MinOp: np.minimum,
    nn.AddOp: np.add,
}


@handler("Max")
def maximum(layer: Layer) -> Value:
    return _fold(layer, nn.MaxOp)


@handler("Min")
def minimum(layer: Layer) -> Value:
    return _fold(layer, nn.MinOp)


@handler("Sum")
def total(layer: Layer) -> Value:
    return _fold(layer, nn.AddOp)


@handler("Neg")
def negative(layer: Layer) -> Value:
    return _scaled(layer, layer.activation(), np.float32(-1.0))


@handler("Pow")
def power(layer: Layer) -> Value:
    exponent = layer.required_constant(1, "the exponent")
    if exponent.size != 1:
        raise UnsupportedError("the exponent must be one number")
    return _power(layer, float(exponent.reshape(())))


def _power(layer: Layer, exponent: float) -> Value:
    if not math.isfinite(exponent):
        raise UnsupportedError(f"the exponent is {exponent}, but it must be finite")
    return layer.emit(nn.PowerOp, input=layer.activation(), power=exponent)


@handler("Sqrt")
def square_root(layer: Layer) -> Value:
    return _power(layer, 0.5)


@handler("Reciprocal")
def reciprocal(layer: Layer) -> Value:
    return _power(layer, -1.0)
