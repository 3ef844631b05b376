"""Making operations at a place."""

from __future__ import annotations

from typing import Any, TypeVar

from attrs import frozen

from nvdla_ir.ir.definition import Op
from nvdla_ir.ir.location import UNKNOWN, Location
from nvdla_ir.ir.operation import Block, Operation

AnyOperation = TypeVar("AnyOperation", bound=Operation)
OpT = TypeVar("OpT", bound=Op)


@frozen(eq=False)
class InsertionPoint:
    """Before ``anchor``, or at the end of ``block``."""

    block: Block
    anchor: Operation | None = None

    @staticmethod
    def before(operation: Operation) -> InsertionPoint:
        """Raises: ValueError if ``operation`` is in no block."""
        if operation.parent is None:
            raise ValueError(f"'{operation.name}' is in no block")
        return InsertionPoint(operation.parent, operation)

    @staticmethod
    def after(operation: Operation) -> InsertionPoint:
        """Raises: ValueError if ``operation`` is in no block."""
        if operation.parent is None:
            raise ValueError(f"'{operation.name}' is in no block")
        return InsertionPoint(operation.parent, operation.next_op)

    @staticmethod
    def at_start(block: Block) -> InsertionPoint:
        return InsertionPoint(block, block.first_op)

    @staticmethod
    def at_end(block: Block) -> InsertionPoint:
        return InsertionPoint(block)


class Builder:
    """Inserts operations at ``point``, which stays behind what was inserted.

    ``location`` is given to operations created without one.
    """

    def __init__(self, point: InsertionPoint, location: Location = UNKNOWN) -> None:
        self.point = point
        self.location = location

    def insert(self, operation: AnyOperation) -> AnyOperation:
        if self.point.anchor is None:
            self.point.block.append(operation)
        else:
            self.point.block.insert_before(operation, self.point.anchor)
        return operation

    def create(self, op_class: type[OpT], **fields: Any) -> OpT:
        """``op_class.create(**fields)``, inserted."""
        fields.setdefault("location", self.location)
        return self.insert(op_class.create(**fields))
