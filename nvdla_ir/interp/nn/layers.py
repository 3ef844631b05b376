"""Constants and the image, on reals."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvdla_ir.dialects import nn
from nvdla_ir.dialects.quant import QuantizedType
from nvdla_ir.interp.nn.weighted import along_channels
from nvdla_ir.interp.quantization import dequantize, dtype_of, element_of
from nvdla_ir.interp.registry import Numbers, Values, kernel

Array = NDArray[Any]


@kernel(nn.ConstantOp, any_batch=True, constant=True)
def constant(op: nn.ConstantOp, values: Values) -> Array:
    stored = constant_elements(op, values)
    element = element_of(op.output.type)
    return dequantize(stored, element) if isinstance(element, QuantizedType) else stored


@kernel(nn.ConstantOp, numbers=Numbers.STORED, any_batch=True, constant=True)
def constant_elements(op: nn.ConstantOp, values: Values) -> Array:
    return values.machine.resources.array(op.value, op.location)


@kernel(nn.NormalizeOp, any_batch=True)
def normalize(op: nn.NormalizeOp, values: Values) -> Array:
    x: Array = values[op.input]
    dtype = dtype_of(nn.tensor_type(op.output).element)
    output = x.astype(dtype)
    output -= along_channels(np.asarray(op.mean, dtype), x.ndim)
    output *= op.scale
    return output
