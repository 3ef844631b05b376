"""Rounding that is part of a network, and what integers a tensor is stored as."""

from __future__ import annotations

from nvdla_ir.dialects.quant import (
    QUANTIZED_TENSOR,
    REAL_TENSOR,
    QuantizeCastOp,
    QuantizedType,
)
from nvdla_ir.ir.definition import operand, result
from nvdla_ir.ir.operation import Value
from nvdla_ir.ir.types import TensorType


class QuantizeOp(QuantizeCastOp):
    """``nn.quantize``: ONNX's QuantizeLinear: reals to stored integers, halves to even, saturating.

    Other than that of a ``quant.qcast``, its rounding is part of the network in every mode.
    """

    name = "nn.quantize"
    input = operand(REAL_TENSOR)
    output = result(QUANTIZED_TENSOR)


def storage_of(value: Value) -> QuantizedType:
    """The quantized element type of ``value``. Raises: ValueError where it has none."""
    type = value.type
    if isinstance(type, TensorType) and isinstance(type.element, QuantizedType):
        return type.element
    raise ValueError(f"'{type}' is not a tensor of quantized integers")
