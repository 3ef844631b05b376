"""What patterns ask of constants."""

from __future__ import annotations

from typing import Any

from nvdla_ir.dialects.nn.layers import ConstantOp
from nvdla_ir.ir.attributes import DenseElementsAttr
from nvdla_ir.ir.operation import Value
from nvdla_ir.ir.rewriter import TensorStore
from nvdla_ir.ir.types import FloatType, TensorType

_MOST_ELEMENTS = 1 << 16
"""Of a constant that is looked through."""


def elements_of(value: Value, tensors: TensorStore | None) -> Any:
    """The elements of a constant of floats as an array; None where ``value`` is another one, or
    where they are not known."""
    constant = value.defining_operation
    if tensors is None or not isinstance(constant, ConstantOp):
        return None
    type = constant.output.type
    if not isinstance(type, TensorType) or not isinstance(type.element, FloatType):
        return None
    return tensors.elements(constant.value, constant.location)


def splat_of(value: Value, tensors: TensorStore | None) -> float | None:
    """The number that all elements of the constant ``value`` are, in its shortest decimals; None
    where they differ, or are not known."""
    constant = value.defining_operation
    if not isinstance(constant, ConstantOp):
        return None
    if isinstance(constant.value, DenseElementsAttr):
        first, *others = constant.value.values or (None,)
        return float(first) if first is not None and all(o == first for o in others) else None
    if not 0 < constant.value.type.element_count <= _MOST_ELEMENTS:
        return None
    array = elements_of(value, tensors)
    if array is None or not (array == array.flat[0]).all():
        return None
    return float(str(array.flat[0]))
