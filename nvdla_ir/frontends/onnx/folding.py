"""Nodes on known elements, computed on the way in: mostly what makes shapes."""

# numpy's stubs leave parts of many overloads unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from nvdla_ir.frontends.onnx.faults import UnsupportedError
from nvdla_ir.frontends.onnx.layer import LARGEST_MADE_CONSTANT, Layer, checked_axis
from nvdla_ir.frontends.onnx.operands import Array, Constant, QuantizedConstant, Tensor
from nvdla_ir.frontends.onnx.structure import (
    axes_of,
    permutation,
    reshaped,
    squeezed,
    unsqueezed,
)

Folder: TypeAlias = "Callable[[Layer, Sequence[Array]], Array | Sequence[Array]]"

FOLDERS: dict[str, Folder] = {}
"""By ONNX operator, what computes it on arrays."""

# onnx.proto, TensorProto.DataType, as what it becomes here: floats of all widths are float32.
_CAST_TYPES: dict[int, type[Any]] = {
    1: np.float32,
    2: np.uint8,
    3: np.int8,
    4: np.uint16,
    5: np.int16,
    6: np.int32,
    7: np.int64,
    9: np.bool_,
    10: np.float32,
    11: np.float32,
    12: np.uint32,
    13: np.uint64,
    16: np.float32,
}
FLOAT_TYPES = frozenset(number for number, dtype in _CAST_TYPES.items() if dtype is np.float32)


def fold(layer: Layer, tensors: Sequence[Tensor | None]) -> list[Tensor] | None:
    """What ``layer`` makes of known tensors; None where a tensor is not known or there is nothing
    here that computes the operator.

    Raises: UnsupportedError where it cannot be computed.
    """
    if layer.node.domain or not tensors:
        return None
    op_type = layer.node.op_type
    if isinstance(tensors[0], QuantizedConstant):
        kept = _moved(layer, tensors[0])
        if kept is not None:
            return [kept]
    folder = FOLDERS.get(op_type)
    arrays: list[Array] = []
    for tensor in tensors:
        if tensor is None:
            continue
        if isinstance(tensor, QuantizedConstant):
            arrays.append(tensor.reals())
        elif isinstance(tensor, Constant):
            arrays.append(tensor.array)
        else:
            return None
    if folder is None:
        return None
    try:
        with np.errstate(all="ignore"):
            found = folder(layer, arrays)
    except (ValueError, TypeError, IndexError, OverflowError, MemoryError) as error:
        raise UnsupportedError(f"cannot be computed from its constants: {error}") from error
    results = [found] if isinstance(found, np.ndarray | np.generic) else list(found)
    return [
        Constant(_settled(np.asarray(result)), name)
        for result, name in zip(results, layer.node.outputs, strict=False)
    ]


def _settled(array: Array) -> Array:
    return array.astype(np.float32) if array.dtype.kind == "f" else array


def _moved(layer: Layer, tensor: QuantizedConstant) -> QuantizedConstant | None:
    """Quantized weights under another order of axes or shape keep their integers."""
    stored, axis = tensor.stored, tensor.axis
    if layer.node.op_type == "Identity":
        return tensor
    if layer.node.op_type == "Transpose":
        order = permutation(layer, stored.ndim)
        stored, axis = stored.transpose(order), None if axis is None else order.index(axis)
    elif layer.node.op_type == "Reshape" and axis is None:
        wanted = layer.integer_list(1, "the shape") or ()
        allow_zero = bool(layer.integer("allowzero", 0))
        stored = stored.reshape(reshaped(stored.shape, wanted, allow_zero))
    else:
        return None
    return QuantizedConstant(stored, tensor.scales, tensor.zero_points, axis, tensor.name)


def _folds(*op_types: str) -> Callable[[Folder], Folder]:
    def register(folder: Folder) -> Folder:
        for op_type in op_types:
            FOLDERS[op_type] = folder
        return folder

    return register


def require_size(count: int) -> None:
    """Raises: UnsupportedError where a constant would be made that is too large."""
    if not 0 <= count <= LARGEST_MADE_CONSTANT:
        raise UnsupportedError(f"makes a constant of {count} elements")


# -------------------------------------------------------------- elementwise

_UNARY: dict[str, Callable[[Array], Any]] = {
    "Abs": np.abs,
    "Ceil": np.ceil,
    "Exp": np.exp,
    "Floor": np.floor,
    "Log": np.log,
    "Neg": np.negative,
    "Not": np.logical_not,
    "Reciprocal": lambda x: np.float32(1) / x,
    "Relu": lambda x: np.maximum(x, 0),
    "Round": np.rint,
    "Sign": np.sign,
    "Sqrt": np.sqrt,
    "Tanh": np.tanh,
}


def _divide(a: Array, b: Array) -> Array:
    """Integers are divided towards zero."""
    if a.dtype.kind == "f":
        return a / b
    if not np.all(b):
        raise ValueError("division by zero")
    quotient = np.abs(a) // np.abs(b)
    return np.where((a < 0) == (b < 0), quotient, -quotient).astype(a.dtype)


_BINARY: dict[str, Callable[[Array, Array], Any]] = {
    "Add": np.add,
    "And": np.logical_and,
    "Div": _divide,
    "Equal": np.equal,
    "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal,
    "Less": np.less,
    "LessOrEqual": np.less_equal,
    "Max": np.maximum,
    "Min": np.minimum,
    "Mul": np.multiply,
    "Or": np.logical_or,
    "Pow": lambda a, b: np.power(a.astype(np.float64), b).astype(a.dtype),
    "Sub": np.subtract,
    "Sum": np.add,
}


def _fold_unary(layer: Layer, arrays: Sequence[Array]) -> Array:
    (x,) = arrays
    return np.asarray(_UNARY[layer.node.op_type](x), x.dtype)


def _fold_binary(layer: Layer, arrays: Sequence[Array]) -> Array:
    """From left to right: Max, Min and Sum take any number."""
    function = _BINARY[layer.node.op_type]
    result = arrays[0]
    for array in arrays[1:]:
        require_size(math.prod(np.broadcast_shapes(result.shape, array.shape)))
        result = function(result, array)
    return result


_folds(*_UNARY)(_fold_unary)
_folds(*_BINARY)(_fold_binary)


@_folds("Mod")
def _mod(layer: Layer, arrays: Sequence[Array]) -> Array:
    a, b = arrays
    if not np.all(b):
        raise ValueError("division by zero")
    return np.fmod(a, b) if layer.integer("fmod", 0) else np.mod(a, b)


@_folds("Where")
def _where(layer: Layer, arrays: Sequence[Array]) -> Array:
    condition, a, b = arrays
    require_size(math.prod(np.broadcast_shapes(condition.shape, a.shape, b.shape)))
    return np.where(condition, a, b)


@_folds("Clip")
def _clip(layer: Layer, arrays: Sequence[Array]) -> Array:
    if len(arrays) < layer.input_count or layer.opset < 11 or len(arrays) != 3:
        raise ValueError("a clip with limits left out")
    return np.minimum(np.maximum(arrays[0], arrays[1]), arrays[2])


@_folds("Cast")
def _cast(layer: Layer, arrays: Sequence[Array]) -> Array:
    layer.ignore("saturate", "round_mode")
    target = _CAST_TYPES.get(layer.integer("to", 0))
    if target is None:
        raise UnsupportedError(
            f"casts to the type number {layer.integer('to', 0)}, which is not read"
        )
    return arrays[0].astype(target)


@_folds("CastLike")
def _cast_like(layer: Layer, arrays: Sequence[Array]) -> Array:
    layer.ignore("saturate", "round_mode")
    return arrays[0].astype(arrays[1].dtype)


@_folds("Identity", "Dropout")
def _same(layer: Layer, arrays: Sequence[Array]) -> Array:
    layer.ignore("ratio", "seed")
    return arrays[0]


# -------------------------------------------------------------- structure


@_folds("Shape")
def _shape(layer: Layer, arrays: Sequence[Array]) -> Array:
    return shape_array(layer, arrays[0].shape)


def shape_array(layer: Layer, shape: Sequence[int]) -> Array:
    """What Shape makes of a tensor of ``shape``."""
    start, end = layer.integer("start", 0), layer.integer("end", len(shape))
    return np.array(shape[slice(start, end)], np.int64)


@_folds("Size")
def _size(layer: Layer, arrays: Sequence[Array]) -> Array:
    return np.array(arrays[0].size, np.int64)


@_folds("Gather")
def _gather(layer: Layer, arrays: Sequence[Array]) -> Array:
    data, indices = arrays
    axis = layer.axis(data.ndim, 0)
    require_size(indices.size * data.size)
    return np.take(data, indices, axis)


@_folds("Concat")
def _concat(layer: Layer, arrays: Sequence[Array]) -> Array:
    return np.concatenate(arrays, layer.axis(arrays[0].ndim, 1))


@_folds("Unsqueeze")
def _unsqueeze(layer: Layer, arrays: Sequence[Array]) -> Array:
    return arrays[0].reshape(unsqueezed(arrays[0].shape, axes_of(layer)))


@_folds("Squeeze")
def _squeeze(layer: Layer, arrays: Sequence[Array]) -> Array:
    return arrays[0].reshape(squeezed(arrays[0].shape, axes_of(layer)))


@_folds("Reshape")
def _reshape(layer: Layer, arrays: Sequence[Array]) -> Array:
    allow_zero = bool(layer.integer("allowzero", 0))
    return arrays[0].reshape(reshaped(arrays[0].shape, arrays[1].reshape(-1).tolist(), allow_zero))


@_folds("Flatten")
def _flatten(layer: Layer, arrays: Sequence[Array]) -> Array:
    axis = layer.integer("axis", 1)
    shape = arrays[0].shape
    return arrays[0].reshape(math.prod(shape[:axis]), -1)


@_folds("Transpose")
def _transpose(layer: Layer, arrays: Sequence[Array]) -> Array:
    return arrays[0].transpose(permutation(layer, arrays[0].ndim))


@_folds("Slice")
def _slice(layer: Layer, arrays: Sequence[Array]) -> Array:
    data = arrays[0]
    if layer.opset < 10:
        starts, ends, axes = (layer.integers(name) for name in ("starts", "ends", "axes"))
        steps = None
    else:
        starts, ends, axes, steps = (layer.integer_list(index, "a bound") for index in range(1, 5))
    if starts is None or ends is None:
        raise UnsupportedError("needs starts and ends")
    chosen = [slice(None)] * data.ndim
    for position, (start, end) in enumerate(zip(starts, ends, strict=True)):
        axis = checked_axis(position if axes is None else axes[position], data.ndim)
        step = 1 if steps is None else steps[position]
        # A negative step may go beyond the first element.
        stop = None if step < 0 and end < -data.shape[axis] else end
        chosen[axis] = slice(start, stop, step)
    return data[tuple(chosen)]


@_folds("Split")
def _split(layer: Layer, arrays: Sequence[Array]) -> Sequence[Array]:
    axis = layer.axis(arrays[0].ndim, 0)
    sizes = layer.integers("split") if layer.opset < 13 else layer.integer_list(1, "the sizes")
    layer.ignore("num_outputs")
    count = len(layer.node.outputs)
    if sizes is None:
        size = -(-arrays[0].shape[axis] // count)
        bounds = [size * index for index in range(1, count)]
    else:
        bounds = np.cumsum(sizes)[:-1].tolist()
    return np.split(arrays[0], bounds, axis)


@_folds("ConstantOfShape")
def _constant_of_shape(layer: Layer, arrays: Sequence[Array]) -> Array:
    shape = tuple(arrays[0].reshape(-1).tolist())
    require_size(math.prod(shape))
    value = layer.stored("value")
    return np.full(shape, np.float32(0) if value is None else value.reshape(-1)[0])


@_folds("Expand")
def _expand(layer: Layer, arrays: Sequence[Array]) -> Array:
    shape = np.broadcast_shapes(arrays[0].shape, tuple(arrays[1].reshape(-1).tolist()))
    require_size(math.prod(shape))
    return np.broadcast_to(arrays[0], shape)


@_folds("Tile")
def _tile(layer: Layer, arrays: Sequence[Array]) -> Array:
    repeats = arrays[1].reshape(-1).tolist()
    require_size(arrays[0].size * math.prod(repeats))
    return np.tile(arrays[0], repeats)


@_folds("Range")
def _range(layer: Layer, arrays: Sequence[Array]) -> Array:
    start, limit, step = (array.item() for array in arrays)
    if not step:
        raise ValueError("a step of 0")
    require_size(max(0, math.ceil((float(limit) - float(start)) / float(step))))
    return np.arange(start, limit, step, dtype=arrays[0].dtype)


@_folds("ReduceProd", "ReduceSum", "ReduceMax", "ReduceMin")
def _reduce(layer: Layer, arrays: Sequence[Array]) -> Array:
    layer.ignore("noop_with_empty_axes")
    axes = layer.integers("axes")
    if axes is None and len(arrays) > 1:
        axes = tuple(arrays[1].reshape(-1).tolist())
    function = {
        "ReduceProd": np.prod,
        "ReduceSum": np.sum,
        "ReduceMax": np.max,
        "ReduceMin": np.min,
    }[layer.node.op_type]
    keep = bool(layer.integer("keepdims", 1))
    return np.asarray(function(arrays[0], axis=axes or None, keepdims=keep), arrays[0].dtype)
