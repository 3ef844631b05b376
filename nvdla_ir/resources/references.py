"""Which resources operations refer to."""

from __future__ import annotations

from nvdla_ir.ir.attributes import DenseResourceAttr, resources_in
from nvdla_ir.ir.operation import Operation, UnregisteredOp


def resources_of(operation: Operation) -> tuple[DenseResourceAttr, ...]:
    """The resources that the attributes of ``operation`` refer to, not those of operations
    inside it."""
    found = resources_in(operation.attributes.values())
    if isinstance(operation, UnregisteredOp):
        found += resources_in(operation.properties.values())
    return found
