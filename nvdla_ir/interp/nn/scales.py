"""The scales and zero points of the values that stored integers belong to."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvdla_ir.dialects import nn
from nvdla_ir.dialects.layer import describe
from nvdla_ir.interp.quantization import element_of, scale_and_zero_point
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.operation import Operation, Value

Array = NDArray[Any]


def layer_fault(op: Operation, message: str) -> DiagnosticError:
    """An error at ``op`` that says what its layer cannot do."""
    return DiagnosticError.at(op.location, f"{describe(op)} {message}")


def scale_and_zero_point_of(value: Value) -> tuple[Array, Array]:
    """Both in double precision, shaped to broadcast to the quantized tensor ``value``."""
    rank = len(nn.tensor_type(value).shape)
    return scale_and_zero_point(nn.storage_of(value), rank, np.dtype(np.float64))


def require_equal_scales(op: Operation) -> None:
    """Raises: DiagnosticError where the operation would have to rescale, which it does not."""
    target, expected = op.results[0], scale_and_zero_point_of(op.results[0])
    for operand in op.operands:
        found = scale_and_zero_point_of(operand)
        if not all(_are_equal(a, b) for a, b in zip(found, expected, strict=True)):
            raise layer_fault(
                op,
                f"does not rescale, but makes '{element_of(target.type)}' of "
                f"'{element_of(operand.type)}'; 'insert-converters' aligns them",
            )


def _are_equal(left: Array, right: Array) -> bool:
    comparable = left.shape == right.shape or 1 in (left.size, right.size)
    return comparable and bool(np.all(left == right))
