"""Properties that hold for every instance of an operation class, and are verified."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import frozen

from nvdla_ir.ir.operation import Operation, Trait


@frozen
class Pure(Trait):
    """No effect besides the results: dead instances may be removed."""


@frozen
class Terminator(Trait):
    """Ends a block."""

    def verify(self, op: Operation) -> Iterable[str]:
        if op.next_op is not None:
            yield "must be the last operation of its block"


@frozen
class IsolatedFromAbove(Trait):
    """Operations inside do not use values from outside. The verifier enforces it."""


@frozen
class SingleBlock(Trait):
    """Each region has exactly one block."""

    def verify(self, op: Operation) -> Iterable[str]:
        for region in op.regions:
            if len(region.blocks) != 1:
                yield f"must have regions of one block, but one has {len(region.blocks)}"


@frozen
class SymbolTable(Trait):
    """Operations inside that have a ``sym_name`` have different ones."""

    def verify(self, op: Operation) -> Iterable[str]:
        seen: set[object] = set()
        for region in op.regions:
            for block in region.blocks:
                for inner in block.operations:
                    name = inner.attributes.get("sym_name")
                    if name is not None:
                        if name in seen:
                            yield f"has two symbols named {name}"
                        seen.add(name)


@frozen
class HasParent(Trait):
    """Only stands directly inside an operation of one of these names."""

    parents: tuple[str, ...]

    def verify(self, op: Operation) -> Iterable[str]:
        parent = op.parent_op
        if parent is not None and parent.name not in self.parents:
            yield f"must stand inside {' or '.join(repr(name) for name in self.parents)}"


@frozen
class SingleUseResults(Trait):
    """Each result is read exactly once: a hardware stream cannot be replayed or dropped."""

    def verify(self, op: Operation) -> Iterable[str]:
        for result in op.results:
            if result.use_count != 1:
                yield f"has a stream result with {result.use_count} uses; it must have one"


def has_trait(op: Operation, trait: type[Trait]) -> bool:
    return any(isinstance(candidate, trait) for candidate in op.traits)
