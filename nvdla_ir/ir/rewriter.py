"""Pattern rewriting: small patterns, one worklist driver."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from nvdla_ir.ir.attributes import DenseElementsAttr, DenseResourceAttr
from nvdla_ir.ir.builder import Builder, InsertionPoint
from nvdla_ir.ir.definition import Op
from nvdla_ir.ir.location import Location, fuse_locations
from nvdla_ir.ir.operation import Operation, Value
from nvdla_ir.ir.traits import Pure, has_trait
from nvdla_ir.ir.types import Type

AnyOperation = TypeVar("AnyOperation", bound=Operation)
OpT = TypeVar("OpT", bound=Op)


class RewritePattern(Generic[AnyOperation]):
    """Rewrites one kind of operation.

    root:    the operation class to look at, subclasses included, or None for every operation
    benefit: patterns of higher benefit are tried first
    """

    root: ClassVar[type[Operation] | None] = None
    benefit: ClassVar[int] = 1

    def match_and_rewrite(self, op: AnyOperation, rewriter: PatternRewriter) -> bool:
        """Rewrite ``op`` if it fits, through ``rewriter``. Return whether anything changed;
        on False nothing may have been changed."""
        raise NotImplementedError


class TensorStore(Protocol):
    """Keeps the elements of constants, as arrays."""

    def elements(
        self, attribute: DenseResourceAttr | DenseElementsAttr, location: Location
    ) -> Any: ...

    def attribute_for(self, key: str, elements: Any, element: Type) -> DenseResourceAttr: ...


class PatternRewriter(Builder):
    """Changes the IR on behalf of a pattern and tells the driver what to look at again.

    The insertion point is before the operation that is being rewritten. ``tensors`` keeps the
    elements of constants; without it patterns leave alone what depends on them.
    """

    def __init__(
        self, worklist: _Worklist, operation: Operation, tensors: TensorStore | None = None
    ) -> None:
        super().__init__(InsertionPoint.before(operation), operation.location)
        self._worklist = worklist
        self.tensors = tensors

    def insert(self, operation: AnyOperation) -> AnyOperation:
        super().insert(operation)
        for inner in operation.walk():
            self._worklist.push(inner)
        return operation

    def replace(
        self, old: Operation, new: Operation | Sequence[Value], *, merge_locations: bool = False
    ) -> None:
        """Let the users of ``old`` read ``new`` instead, and erase ``old``."""
        values = new.results if isinstance(new, Operation) else new
        if isinstance(new, Operation) and merge_locations:
            new.location = fuse_locations([new.location, old.location])
        for result, value in zip(old.results, values, strict=True):
            for user in result.users:
                self._worklist.push(user)
            result.replace_all_uses_with(value)
        self.erase(old)

    def replace_with(self, old: Operation, op_class: type[OpT], **fields: Any) -> OpT:
        """Create an operation before ``old`` and let it take the place of ``old``."""
        new = self.create(op_class, **fields)
        self.replace(old, new)
        return new

    def erase(self, op: Operation) -> None:
        """Raises: ValueError if a result is still used."""
        self._worklist.erase(op)

    def modified(self, op: Operation) -> None:
        """Say that ``op`` was changed in place."""
        self._worklist.push(op)
        for result in op.results:
            for user in result.users:
                self._worklist.push(user)


class _Worklist:
    """Operations to look at, each at most once, last in first out."""

    def __init__(self) -> None:
        self._stack: dict[Operation, None] = {}

    def push(self, op: Operation) -> None:
        self._stack[op] = None

    def pop(self) -> Operation | None:
        return self._stack.popitem()[0] if self._stack else None

    def erase(self, op: Operation) -> None:
        """Erase ``op``; look again at what it and all inside it have read."""
        inside = list(op.walk())
        definers = [operand.defining_operation for inner in inside for operand in inner.operands]
        op.erase()
        for definer in definers:
            if definer is not None:
                self.push(definer)
        for inner in inside:
            self._stack.pop(inner, None)


class RewriteLimitError(RuntimeError):
    """Patterns kept on changing the IR: at least two of them undo each other's work."""


def is_trivially_dead(op: Operation) -> bool:
    return has_trait(op, Pure) and not any(result.is_used for result in op.results)


def apply_patterns_greedily(
    root: Operation,
    patterns: Iterable[RewritePattern[Any]],
    *,
    tensors: TensorStore | None = None,
    remove_dead: bool = False,
    limit_per_operation: int = 100,
) -> bool:
    """Apply ``patterns`` inside ``root`` until none fits; return whether anything changed.

    Operations are visited in order; what a rewrite touches is visited again. From ``tensors``
    patterns may read elements of constants. With ``remove_dead`` pure operations without users are
    erased on the way.

    Raises: RewriteLimitError after ``limit_per_operation`` rewrites for each operation.
    """
    ordered = sorted(patterns, key=lambda pattern: -pattern.benefit)
    by_class: dict[type[Operation], list[RewritePattern[Any]]] = {}
    worklist = _Worklist()
    operations = [op for op in root.walk() if op is not root]
    for op in reversed(operations):
        worklist.push(op)
    budget = limit_per_operation * max(len(operations), 10)
    changed = False
    while (op := worklist.pop()) is not None:
        if op.parent is None:
            continue  # erased or taken out
        if remove_dead and is_trivially_dead(op):
            worklist.erase(op)
            changed = True
            continue
        op_class = type(op)
        fitting = by_class.get(op_class)
        if fitting is None:
            fitting = [p for p in ordered if p.root is None or issubclass(op_class, p.root)]
            by_class[op_class] = fitting
        for pattern in fitting:
            if pattern.match_and_rewrite(op, PatternRewriter(worklist, op, tensors)):
                changed = True
                budget -= 1
                worklist.push(op)
                break
        if budget < 0:
            raise RewriteLimitError(f"patterns do not settle; the last one rewrote '{op.name}'")
    return changed
