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


@_selection(nn.TransposeOp, lambda op: op.permutation[0] == 0)
def transpose(op: nn.TransposeOp, values: Values) -> Array:
    return values[op.input].transpose(op.permutation)


@_selection(nn.SliceOp, lambda op: op.axis != 0)
def slice_(op: nn.SliceOp, values: Values) -> Array:
    before = (slice(None),) * op.axis
    return values[op.input][(*before, slice(op.start, op.start + op.size))]


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


@kernel(nn.PadOp, any_batch=True)
def pad(op: nn.PadOp, values: Values) -> Array:
    return windows.pad(values[op.input], op.pads, op.value)


@kernel(nn.PadOp, numbers=Numbers.STORED, any_batch=True)
def pad_stored(op: nn.PadOp, values: Values) -> Array:
    require_equal_scales(op)
    element = nn.storage_of(op.output)
    if not isinstance(element, UniformType):
        raise OperandError(f"it pads with one number, but has several scales: '{element}'")
    (value,) = quantize(np.array([op.value]), element)
    return windows.pad(values[op.input], op.pads, value)


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
