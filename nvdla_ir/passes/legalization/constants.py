"""Weights and operand tables of hardware layers; equal ones are shared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nvdla_ir.dialects import nn, nvdla
from nvdla_ir.dialects.layer import describe
from nvdla_ir.ir.builder import Builder
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.operation import Operation, Value
from nvdla_ir.ir.types import I8, IntegerType
from nvdla_ir.resources import ArrayTensor, EqualTensors, ResourceStore, Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

I16 = IntegerType(16)


class Constants:
    """Makes ``nvdla.constant``, each array once."""

    def __init__(self, resources: ResourceStore) -> None:
        self._resources = resources
        self._made: EqualTensors[Value] = EqualTensors()

    def tensor(self, value: Value, user: Operation) -> Tensor:
        """A constant operand. Raises: DiagnosticError where it is not constant."""
        constant = value.defining_operation
        if not isinstance(constant, nn.ConstantOp):
            raise DiagnosticError.at(
                user.location, f"{describe(user)} needs constant weights and parameters"
            )
        return self._resources.tensor(constant.value, constant.location)

    def make(self, elements: NDArray[Any] | Tensor, key: str, builder: Builder) -> Value:
        """The value of int8 or int16 numbers; ``key`` names it where it is new."""
        tensor = elements if isinstance(elements, Tensor) else ArrayTensor(elements)
        found = self._made.find(tensor)
        if found is None:
            element = I8 if tensor.dtype == "int8" else I16
            attribute = self._resources.attribute_for(key, tensor, element)
            op = builder.create(nvdla.ConstantOp, value=attribute)
            op.output.name_hint = key.replace(".", "_").replace("/", "_")
            found = op.output
            self._made.add(tensor, found)
        return found


def resource_key(value: Value, fallback: str) -> str:
    """What a constant is called in the resources."""
    constant = value.defining_operation
    if isinstance(constant, nn.ConstantOp):
        return str(getattr(constant.value, "key", constant.output.name_hint or fallback))
    return fallback
