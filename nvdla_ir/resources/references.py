"""Which resources operations refer to."""

from __future__ import annotations

from collections.abc import Iterator

from nvdla_ir.ir.attributes import ArrayAttr, Attribute, DenseResourceAttr, DictAttr
from nvdla_ir.ir.operation import Operation, UnregisteredOp


def resources_of(operation: Operation) -> Iterator[DenseResourceAttr]:
    """The resources that the attributes of ``operation`` refer to, not those of operations
    inside it."""
    properties = operation.properties if isinstance(operation, UnregisteredOp) else {}
    for attribute in (*operation.attributes.values(), *properties.values()):
        yield from _resources_in(attribute)


def _resources_in(attribute: Attribute) -> Iterator[DenseResourceAttr]:
    if isinstance(attribute, DenseResourceAttr):
        yield attribute
    elif isinstance(attribute, ArrayAttr):
        for element in attribute.elements:
            yield from _resources_in(element)
    elif isinstance(attribute, DictAttr):
        for _, value in attribute.entries:
            yield from _resources_in(value)
