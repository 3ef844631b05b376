"""Layers that move or select elements, on reals and on stored integers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvdla_ir.arith.errors import OperandError
from nvdla_ir.dialects import nn
from nvdla_ir.dialects.quant import UniformType
from nvdla_ir.interp.nn import windows
from nvdla_ir.interp.nn.scales import require_equal_scales
from nvdla_ir.interp.quantization import quantize
from nvdla_ir.interp.registry import Numbers, Values, kernel
from nvdla_ir.ir.operation import Operation

Array = NDArray[Any]


Kernel = Callable[[Any, Values], Array]


def _selection(op_class: type[Operation], any_batch: Callable[[Any], bool] | bool = True) -> Any:
    """Makes the decorated function the kernel of ``op_class`` on reals, and on stored integers as
    long as their scale stays."""

    def register(function: Kernel) -> Kernel:
        def on_stored(op: Operation, values: Values) -> Array:
            require_equal_scales(op)
            return function(op, values)

        kernel(op_class, numbers=Numbers.STORED, any_batch=any_batch)(on_stored)
        return kernel(op_class, any_batch=any_batch)(function)

    return register


@_selection(nn.ConcatOp, lambda op: op.axis != 0)
def concat(op: nn.ConcatOp, values: Values) -> Array:
    return np.concatenate([values[value] for value in op.inputs], axis=op.axis)


@_selection(nn.InterleaveOp)
def interleave(op: nn.InterleaveOp, values: Values) -> Array:
    stacked: Array = np.stack([values[value] for value in op.inputs], axis=op.axis + 1)
    shape = nn.shape_of(op.output)
    return stacked.reshape(len(stacked), *shape[1:])


@_selection(nn.TransposeOp, lambda op: op.permutation[0] == 0)
def transpose(op: nn.TransposeOp, values: Values) -> Array:
    return values[op.input].transpose(op.permutation)


@_selection(nn.SliceOp, lambda op: op.axis != 0)
def slice_(op: nn.SliceOp, values: Values) -> Array:
    before = (slice(None),) * op.axis
    end = op.start + (op.size - 1) * op.step + 1
    return values[op.input][(*before, slice(op.start, end, op.step))]


@_selection(nn.UpsampleOp)
def upsample(op: nn.UpsampleOp, values: Values) -> Array:
    x: Array = values[op.input]
    n, c, height, width = x.shape
    rows, columns = op.scales
    shape = (n, c, height, rows, width, columns)
    repeated = np.broadcast_to(x[:, :, :, None, :, None], shape)
    return repeated.reshape(n, c, height * rows, width * columns)


@_selection(nn.GlobalMaxPoolOp)
def global_max_pool(op: nn.GlobalMaxPoolOp, values: Values) -> Array:
    return np.max(values[op.input], axis=(2, 3), keepdims=True)


@_selection(nn.ChannelShuffleOp)
def channel_shuffle(op: nn.ChannelShuffleOp, values: Values) -> Array:
    x: Array = values[op.input]
    grouped: Array = x.reshape(len(x), op.groups, x.shape[1] // op.groups, *x.shape[2:])
    return np.reshape(np.swapaxes(grouped, 1, 2), x.shape)


# Where the rows and columns of a block stand among the axes of the input in parts, by mode.
_DEPTH_FIRST = {"DCR": (0, 3, 4, 1, 5, 2), "CRD": (0, 1, 4, 2, 5, 3)}


@_selection(nn.DepthToSpaceOp)
def depth_to_space(op: nn.DepthToSpaceOp, values: Values) -> Array:
    x: Array = values[op.input]
    n, c, height, width = x.shape
    block = op.block_size
    channels = c // block**2
    inner = (block, block, channels) if op.mode == "DCR" else (channels, block, block)
    parts: Array = np.reshape(x, (n, *inner, height, width))
    parts = np.transpose(parts, _DEPTH_FIRST[op.mode])
    return parts.reshape(n, channels, height * block, width * block)


@_selection(nn.SpaceToDepthOp)
def space_to_depth(op: nn.SpaceToDepthOp, values: Values) -> Array:
    x: Array = values[op.input]
    n, c, height, width = x.shape
    block = op.block_size
    parts: Array = np.reshape(x, (n, c, height // block, block, width // block, block))
    parts = np.transpose(parts, np.argsort(_DEPTH_FIRST[op.mode]))
    return parts.reshape(n, c * block**2, height // block, width // block)


@kernel(nn.InterpolateOp, any_batch=True)
def interpolate(op: nn.InterpolateOp, values: Values) -> Array:
    x: Array = values[op.input]
    for axis, scale in zip((2, 3), op.scales, strict=True):
        x = _interpolated(x, axis, scale, op.coordinates)
    return x


def _interpolated(x: Array, axis: int, scale: int, coordinates: str) -> Array:
    size = x.shape[axis]
    if scale == 1:
        return x
    place = np.arange(size * scale, dtype=np.float64)
    if coordinates == "half_pixel":
        place = (place + 0.5) / scale - 0.5
    elif coordinates == "asymmetric":
        place /= scale
    else:
        place *= (size - 1) / (size * scale - 1)
    place = np.clip(place, 0, size - 1)
    first = np.minimum(place.astype(np.intp), max(0, size - 2))
    share = (place - first).astype(x.dtype).reshape(-1, *[1] * (x.ndim - 1 - axis))
    before = np.take(x, first, axis)
    behind = np.take(x, np.minimum(first + 1, size - 1), axis)
    return before * (1 - share) + behind * share


@kernel(nn.PadOp, any_batch=True)
def pad(op: nn.PadOp, values: Values) -> Array:
    return _padded(op, values[op.input], op.value)


@kernel(nn.PadOp, numbers=Numbers.STORED, any_batch=True)
def pad_stored(op: nn.PadOp, values: Values) -> Array:
    require_equal_scales(op)
    element = nn.storage_of(op.output)
    if not isinstance(element, UniformType):
        raise OperandError(f"it pads with one number, but has several scales: '{element}'")
    (value,) = quantize(np.array([op.value]), element)
    return _padded(op, values[op.input], value)


def _padded(op: nn.PadOp, x: Array, value: float) -> Array:
    if op.mode == "constant":
        return windows.pad(x, op.pads, value)
    top, left, bottom, right = op.pads
    padding = ((0, 0), (0, 0), (top, bottom), (left, right))
    return np.pad(x, padding, "edge" if op.mode == "edge" else "reflect")


@kernel(nn.ArgmaxOp, any_batch=lambda op: op.axis != 0)
def argmax(op: nn.ArgmaxOp, values: Values) -> Array:
    x: Array = values[op.input]
    return np.argmax(x, axis=op.axis, keepdims=op.keep_dims).astype(np.int64, copy=False)


# A view has the same stored integers under whatever type.


def _keeps_images_apart(op: nn.ReshapeOp | nn.FlattenOp) -> bool:
    source, target = nn.shape_of(op.input), nn.shape_of(op.output)
    return bool(source) and bool(target) and source[0] == target[0]


@kernel(nn.ReshapeOp, any_batch=_keeps_images_apart)
@kernel(nn.ReshapeOp, numbers=Numbers.STORED, any_batch=_keeps_images_apart)
@kernel(nn.FlattenOp, any_batch=_keeps_images_apart)
@kernel(nn.FlattenOp, numbers=Numbers.STORED, any_batch=_keeps_images_apart)
def reshape(op: nn.ReshapeOp | nn.FlattenOp, values: Values) -> Array:
    x: Array = values[op.input]
    shape = nn.shape_of(op.output)
    if _keeps_images_apart(op):
        shape = (len(x), *shape[1:])
    return x.reshape(shape)
