"""Values, operations, blocks and regions: SSA with use lists.

A block is a doubly linked list of operations, so that insertion and removal cost the same
everywhere. A region is a list of blocks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import ClassVar, NamedTuple

from nvdla_ir.ir.attributes import Attribute
from nvdla_ir.ir.location import UNKNOWN, Location
from nvdla_ir.ir.types import Type


class Use(NamedTuple):
    """One operand slot that reads a value."""

    operation: Operation
    operand_index: int


class Value:
    """Something operations can read: a result or a block argument."""

    __slots__ = ("_users", "name_hint", "type")

    def __init__(self, type: Type, name_hint: str | None = None) -> None:
        self.type = type
        self.name_hint = name_hint
        # How many operand slots of each operation read this value.
        self._users: dict[Operation, int] = {}

    @property
    def users(self) -> tuple[Operation, ...]:
        """The operations that read this value, each once, in order of their first use."""
        return tuple(self._users)

    @property
    def uses(self) -> tuple[Use, ...]:
        return tuple(
            Use(user, index)
            for user in self._users
            for index, operand in enumerate(user.operands)
            if operand is self
        )

    @property
    def use_count(self) -> int:
        return sum(self._users.values())

    @property
    def has_one_use(self) -> bool:
        return self.use_count == 1

    @property
    def is_used(self) -> bool:
        return bool(self._users)

    @property
    def owner(self) -> Operation | Block:
        raise NotImplementedError

    @property
    def defining_operation(self) -> Operation | None:
        """The operation this is a result of, or None for a block argument."""
        return None

    def replace_all_uses_with(self, other: Value) -> None:
        if other is self:
            return
        for user, index in self.uses:
            user.set_operand(index, other)
        if other.name_hint is None:
            other.name_hint = self.name_hint


class Result(Value):
    """A value an operation computes."""

    __slots__ = ("index", "operation")

    def __init__(
        self, operation: Operation, index: int, type: Type, name_hint: str | None = None
    ) -> None:
        self.type = type
        self.name_hint = name_hint
        self._users = {}
        self.operation = operation
        self.index = index

    @property
    def owner(self) -> Operation:
        return self.operation

    @property
    def defining_operation(self) -> Operation:
        return self.operation


class BlockArgument(Value):
    """A value a block receives."""

    __slots__ = ("block", "index", "location")

    def __init__(
        self,
        block: Block,
        index: int,
        type: Type,
        name_hint: str | None = None,
        location: Location = UNKNOWN,
    ) -> None:
        super().__init__(type, name_hint)
        self.block = block
        self.index = index
        self.location = location

    @property
    def owner(self) -> Block:
        return self.block


class Trait:
    """Base of all traits (``nvdla_ir.ir.traits``)."""

    def verify(self, op: Operation) -> Iterable[str]:
        """What is wrong with ``op``, one sentence each."""
        return ()


class Operation:
    """One operation. Registered operations are subclasses that state their fields as attributes
    of the class (see ``nvdla_ir.ir.definition``); you read ``op.strides``, not a dictionary.
    """

    __slots__ = (
        "_operands",
        "attributes",
        "location",
        "next_op",
        "parent",
        "previous_op",
        "regions",
        "results",
    )

    name: ClassVar[str] = ""
    traits: ClassVar[tuple[Trait, ...]] = ()

    def __init__(
        self,
        operands: Sequence[Value] = (),
        result_types: Sequence[Type] = (),
        attributes: Mapping[str, Attribute] | None = None,
        regions: Sequence[Region] = (),
        location: Location = UNKNOWN,
    ) -> None:
        self._operands = list(operands)
        for operand in self._operands:
            users = operand._users  # pyright: ignore[reportPrivateUsage]
            users[self] = users.get(self, 0) + 1
        self.results = [Result(self, index, type) for index, type in enumerate(result_types)]
        self.attributes: dict[str, Attribute] = dict(attributes) if attributes else {}
        self.regions = list(regions)
        for region in self.regions:
            region.parent = self
        self.location = location
        self.parent: Block | None = None
        self.previous_op: Operation | None = None
        self.next_op: Operation | None = None

    def __repr__(self) -> str:
        return f"<{self.name} at {self.location}>"

    @property
    def operands(self) -> Sequence[Value]:
        return self._operands

    @property
    def result(self) -> Result:
        """The only result. Raises: ValueError if there is not exactly one."""
        if len(self.results) != 1:
            raise ValueError(f"'{self.name}' has {len(self.results)} results, not one")
        return self.results[0]

    @property
    def parent_op(self) -> Operation | None:
        region = self.parent.parent if self.parent is not None else None
        return region.parent if region is not None else None

    def set_operand(self, index: int, value: Value) -> None:
        old = self._operands[index]
        if old is value:
            return
        self._release(old)
        self._operands[index] = value
        users = value._users  # pyright: ignore[reportPrivateUsage]
        users[self] = users.get(self, 0) + 1

    def set_operands(self, values: Sequence[Value]) -> None:
        new = list(values)
        self.drop_operands()
        self._operands = new
        for value in new:
            users = value._users  # pyright: ignore[reportPrivateUsage]
            users[self] = users.get(self, 0) + 1

    def drop_operands(self) -> None:
        for operand in self._operands:
            self._release(operand)
        self._operands = []

    def _release(self, operand: Value) -> None:
        users = operand._users  # pyright: ignore[reportPrivateUsage]
        count = users[self] - 1
        if count:
            users[self] = count
        else:
            del users[self]

    def walk(self) -> Iterator[Operation]:
        """This operation and all inside it, outer before inner. The operation last given out
        may be erased or replaced while walking; what was inside it is then left out."""
        parent = self.parent
        yield self
        if self.parent is not parent:
            return
        for region in self.regions:
            for block in region.blocks:
                operation = block.first_op
                while operation is not None:
                    following = operation.next_op
                    yield from operation.walk()
                    operation = following

    def detach(self) -> None:
        """Take this operation out of its block, leaving its uses as they are."""
        if self.parent is not None:
            self.parent._unlink(self)  # pyright: ignore[reportPrivateUsage]

    def erase(self) -> None:
        """Remove this operation and all inside it.

        Raises: ValueError if a result is still used.
        """
        for result in self.results:
            if result.is_used:
                raise ValueError(f"'{self.name}' cannot be erased: a result is still used")
        self.detach()
        self.drop_all_references()

    def drop_all_references(self) -> None:
        """Release the operands of this operation and of all inside it."""
        for operation in self.walk():
            operation.drop_operands()

    def is_before_in_block(self, other: Operation) -> bool:
        """Whether this comes before ``other``, both in the same block. Linear in the distance."""
        operation = self.next_op
        while operation is not None:
            if operation is other:
                return True
            operation = operation.next_op
        return False

    def is_ancestor_of(self, other: Operation) -> bool:
        ancestor: Operation | None = other
        while ancestor is not None:
            if ancestor is self:
                return True
            ancestor = ancestor.parent_op
        return False

    def clone(self, mapping: dict[Value, Value] | None = None) -> Operation:
        """A copy of this operation and all inside it, outside any block.

        ``mapping`` replaces operands by others, and receives old results → new results.
        """
        mapping = {} if mapping is None else mapping
        copy = self._blank_copy()
        Operation.__init__(
            copy,
            [mapping.get(operand, operand) for operand in self._operands],
            [result.type for result in self.results],
            self.attributes,
            [],
            self.location,
        )
        for old, new in zip(self.results, copy.results, strict=True):
            new.name_hint = old.name_hint
            mapping[old] = new
        for region in self.regions:
            copy.regions.append(region.clone(mapping))
            copy.regions[-1].parent = copy
        return copy

    def _blank_copy(self) -> Operation:
        return type(self).__new__(type(self))


class UnregisteredOp(Operation):
    """An operation of which only the name is known. ``properties`` is what stood in ``<{…}>``;
    which of its attributes belong to the operation otherwise is unknown."""

    __slots__ = ("_name", "properties")

    def __init__(
        self,
        name: str,
        operands: Sequence[Value] = (),
        result_types: Sequence[Type] = (),
        attributes: Mapping[str, Attribute] | None = None,
        regions: Sequence[Region] = (),
        location: Location = UNKNOWN,
        properties: Mapping[str, Attribute] | None = None,
    ) -> None:
        super().__init__(operands, result_types, attributes, regions, location)
        self._name = name
        self.properties: dict[str, Attribute] = dict(properties) if properties else {}

    @property
    def name(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self._name

    def _blank_copy(self) -> Operation:
        copy = UnregisteredOp.__new__(UnregisteredOp)
        copy._name = self._name
        copy.properties = dict(self.properties)
        return copy


class Block:
    """A list of operations with arguments."""

    __slots__ = ("arguments", "first_op", "last_op", "parent")

    def __init__(self, argument_types: Iterable[Type] = ()) -> None:
        self.arguments: list[BlockArgument] = []
        self.first_op: Operation | None = None
        self.last_op: Operation | None = None
        self.parent: Region | None = None
        for type in argument_types:
            self.add_argument(type)

    def add_argument(
        self, type: Type, name_hint: str | None = None, location: Location = UNKNOWN
    ) -> BlockArgument:
        argument = BlockArgument(self, len(self.arguments), type, name_hint, location)
        self.arguments.append(argument)
        return argument

    @property
    def operations(self) -> Iterator[Operation]:
        """The operations in order. The one last given out may be erased meanwhile."""
        operation = self.first_op
        while operation is not None:
            following = operation.next_op
            yield operation
            operation = following

    @property
    def is_empty(self) -> bool:
        return self.first_op is None

    @property
    def parent_op(self) -> Operation | None:
        return self.parent.parent if self.parent is not None else None

    def append(self, operation: Operation) -> None:
        if operation.parent is not None:
            operation.detach()
        operation.parent = self
        last = self.last_op
        operation.previous_op = last
        if last is None:
            self.first_op = operation
        else:
            last.next_op = operation
        self.last_op = operation

    def insert_before(self, operation: Operation, anchor: Operation) -> None:
        """Raises: ValueError if ``anchor`` is not in this block, or is ``operation``."""
        if anchor.parent is not self or anchor is operation:
            raise ValueError(f"'{operation.name}' cannot be inserted before '{anchor.name}'")
        if operation.parent is not None:
            operation.detach()
        operation.parent = self
        operation.next_op = anchor
        operation.previous_op = anchor.previous_op
        if anchor.previous_op is None:
            self.first_op = operation
        else:
            anchor.previous_op.next_op = operation
        anchor.previous_op = operation

    def _unlink(self, operation: Operation) -> None:
        if operation.previous_op is None:
            self.first_op = operation.next_op
        else:
            operation.previous_op.next_op = operation.next_op
        if operation.next_op is None:
            self.last_op = operation.previous_op
        else:
            operation.next_op.previous_op = operation.previous_op
        operation.parent = operation.previous_op = operation.next_op = None


class Region:
    """A list of blocks that belongs to an operation."""

    __slots__ = ("blocks", "parent")

    def __init__(self, blocks: Sequence[Block] = ()) -> None:
        self.blocks: list[Block] = []
        self.parent: Operation | None = None
        for block in blocks:
            self.append(block)

    def append(self, block: Block) -> None:
        block.parent = self
        self.blocks.append(block)

    @property
    def block(self) -> Block:
        """The only block. Raises: ValueError if there is not exactly one."""
        if len(self.blocks) != 1:
            raise ValueError(f"the region has {len(self.blocks)} blocks, not one")
        return self.blocks[0]

    def clone(self, mapping: dict[Value, Value]) -> Region:
        copy = Region()
        for block in self.blocks:
            new = Block()
            for argument in block.arguments:
                mapping[argument] = new.add_argument(
                    argument.type, argument.name_hint, argument.location
                )
            copy.append(new)
        for block, new in zip(self.blocks, copy.blocks, strict=True):
            for operation in block.operations:
                new.append(operation.clone(mapping))
        return copy
