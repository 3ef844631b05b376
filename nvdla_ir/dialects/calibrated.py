"""Which tensors a calibration table has entries for."""

from __future__ import annotations

from nvdla_ir.dialects.layer import LayerOp
from nvdla_ir.dialects.quant import CalibratedType, GridType
from nvdla_ir.ir.operation import Operation, Value
from nvdla_ir.ir.types import F32, FloatType, TensorType

_ANY_RANGE = CalibratedType(F32, -1.0, 1.0)


def float_element(value: Value) -> FloatType | None:
    """The float type in which the elements of ``value`` are expressed, on a grid or not; None where
    they are integers."""
    element = value.type.element if isinstance(value.type, TensorType) else None
    if isinstance(element, GridType):
        element = element.expressed
    return element if isinstance(element, FloatType) else None


def takes_calibrated_result(op: Operation) -> bool:
    """Whether ``op`` is a layer with one float result that may have a calibrated range. What the
    host computes in floats may not."""
    if not isinstance(op, LayerOp) or len(op.results) != 1:
        return False
    result = op.results[0]
    if float_element(result) is None or not isinstance(result.type, TensorType):
        return False
    return op.definition.results[0].constraint.accepts(result.type.with_element(_ANY_RANGE))
