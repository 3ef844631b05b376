"""Layers of two operands, on reals."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvdla_ir.arith.errors import OperandError
from nvdla_ir.dialects import nn
from nvdla_ir.interp.registry import Values, kernel

Array = NDArray[Any]


_FUNCTIONS: dict[type[nn.BinaryOp], np.ufunc] = {
    nn.AddOp: np.add,
    nn.SubOp: np.subtract,
    nn.MulOp: np.multiply,
    nn.DivOp: np.divide,
    nn.MaxOp: np.maximum,
    nn.MinOp: np.minimum,
}


def keeps_images_apart(op: nn.BinaryOp) -> bool:
    """Whether numpy pairs the images of both operands: the axes are the same, or the second
    operand is one for all images."""
    ranks = {len(nn.shape_of(value)) for value in (op.lhs, op.rhs)}
    return len(ranks) == 1 or isinstance(op.rhs.defining_operation, nn.ConstantOp)


@kernel(nn.BinaryOp, any_batch=keeps_images_apart)
def binary(op: nn.BinaryOp, values: Values) -> Array:
    with np.errstate(all="ignore"):
        output: Array = _FUNCTIONS[type(op)](values[op.lhs], values[op.rhs])
    if isinstance(op, nn.DivOp) and not np.isfinite(output).all():
        raise OperandError("it divides by 0, or its quotient is too large for its type")
    return output
