"""Pooling layers, on reals."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvdla_ir.dialects import nn
from nvdla_ir.interp.nn import windows
from nvdla_ir.interp.registry import Values, kernel

Array = NDArray[Any]


@kernel(nn.MaxPoolOp, any_batch=True)
def max_pool(op: nn.MaxPoolOp, values: Values) -> Array:
    padded = windows.pad(values[op.input], op.extended_pads, -np.inf)
    return windows.pool(np.maximum, padded, op.kernel, op.strides)


@kernel(nn.AveragePoolOp, any_batch=True)
def average_pool(op: nn.AveragePoolOp, values: Values) -> Array:
    x: Array = values[op.input]
    padded = windows.pad(x, op.extended_pads, 0.0)
    output = windows.pool(np.add, padded, op.kernel, op.strides)
    counted = op.pads if op.count_include_pad else (0, 0, 0, 0)
    if counted == op.extended_pads:
        output /= op.kernel[0] * op.kernel[1]
    else:
        counts = windows.window_counts(
            x.shape[2:], op.kernel, op.strides, op.extended_pads, counted
        )
        output /= counts.astype(x.dtype)
    return output


@kernel(nn.GlobalAveragePoolOp, any_batch=True)
def global_average_pool(op: nn.GlobalAveragePoolOp, values: Values) -> Array:
    return np.mean(values[op.input], axis=(2, 3), keepdims=True)
