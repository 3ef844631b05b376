"""Kernels of the quant dialect: casts between reals and stored integers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvdla_ir.dialects.quant import DequantizeCastOp, QuantizeCastOp, QuantizedType
from nvdla_ir.interp.machine import Values
from nvdla_ir.interp.quantization import element_of, quantize, round_to_grid
from nvdla_ir.interp.registry import Numbers, kernel


@kernel(QuantizeCastOp, any_batch=True)
@kernel(DequantizeCastOp, any_batch=True)
def same_reals(op: QuantizeCastOp | DequantizeCastOp, values: Values) -> NDArray[Any]:
    """Both sides stand for the same reals; the machine rounds where its mode asks for it, a model
    of ONNX by itself."""
    reals = values[op.input]
    if isinstance(op, QuantizeCastOp) and op.ties_to_even:
        return round_to_grid(reals, _element(op), ties_to_even=True)
    return reals


@kernel(QuantizeCastOp, numbers=Numbers.STORED, any_batch=True)
def quantize_cast(op: QuantizeCastOp, values: Values) -> NDArray[Any]:
    reals = np.asarray(values[op.input])
    return quantize(reals, _element(op), ties_to_even=op.ties_to_even)


def _element(op: QuantizeCastOp) -> QuantizedType:
    element = element_of(op.output.type)
    assert isinstance(element, QuantizedType)
    return element
