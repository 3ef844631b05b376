"""Which resources operations refer to."""

from __future__ import annotations

from collections.abc import Iterable

from nvdla_ir.ir.attributes import (
    ArrayAttr,
    Attribute,
    DenseResourceAttr,
    DictAttr,
    IntegerAttr,
    StringAttr,
)
from nvdla_ir.ir.operation import Operation, UnregisteredOp


def resources_of(operation: Operation) -> list[DenseResourceAttr]:
    """The resources that the attributes of ``operation`` refer to, not those of operations
    inside it."""
    found: list[DenseResourceAttr] = []
    _collect(operation.attributes.values(), found)
    if isinstance(operation, UnregisteredOp):
        _collect(operation.properties.values(), found)
    return found


# Each attribute of a module passes here several times in a compile: types are compared at the
# least cost.
def _collect(attributes: Iterable[Attribute], found: list[DenseResourceAttr]) -> None:
    for attribute in attributes:
        kind = type(attribute)
        if kind is IntegerAttr or kind is StringAttr:
            continue
        if isinstance(attribute, DenseResourceAttr):
            found.append(attribute)
        elif isinstance(attribute, ArrayAttr):
            _collect(attribute.elements, found)
        elif isinstance(attribute, DictAttr):
            _collect([value for _, value in attribute.entries], found)
