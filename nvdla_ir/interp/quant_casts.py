"""Kernels of the casts between reals and stored integers, the nn dialect's included."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvdla_ir.dialects.nn.quantize import QuantizeOp
from nvdla_ir.dialects.quant import DequantizeCastOp, QuantizeCastOp, QuantizedType
from nvdla_ir.interp.quantization import element_of, quantize, round_to_grid
from nvdla_ir.interp.registry import Numbers, Values, kernel


@kernel(QuantizeCastOp, any_batch=True)
@kernel(DequantizeCastOp, any_batch=True)
def same_reals(op: QuantizeCastOp | DequantizeCastOp, values: Values) -> NDArray[Any]:
    """Both sides stand for the same reals; the machine rounds where its mode asks for it."""
    return values[op.input]


@kernel(QuantizeCastOp, numbers=Numbers.STORED, any_batch=True)
def quantize_cast(op: QuantizeCastOp, values: Values) -> NDArray[Any]:
    reals = np.asarray(values[op.input])
    return quantize(reals, _element(op), ties_to_even=isinstance(op, QuantizeOp))


@kernel(QuantizeOp, any_batch=True)
def rounded_reals(op: QuantizeOp, values: Values) -> NDArray[Any]:
    return round_to_grid(values[op.input], _element(op), ties_to_even=True)


def _element(op: QuantizeCastOp) -> QuantizedType:
    element = element_of(op.output.type)
    assert isinstance(element, QuantizedType)
    return element
