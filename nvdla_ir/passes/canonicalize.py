"""Bring a module into its simplest form."""

from __future__ import annotations

from typing import Any, TypeAlias

from attrs import frozen

from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.ir.attributes import Attribute
from nvdla_ir.ir.dialect import Context
from nvdla_ir.ir.operation import Block, Operation
from nvdla_ir.ir.rewriter import RewritePattern, apply_patterns_greedily
from nvdla_ir.ir.traits import Pure, has_trait
from nvdla_ir.ir.types import Type
from nvdla_ir.passes.base import Pass, Session

_Identity: TypeAlias = (
    "tuple[Block | None, type[Operation], tuple[tuple[str, Attribute], ...], tuple[Type, ...]]"
)


@frozen
class Canonicalize(Pass):
    """Apply the canonicalization patterns of all dialects, merge equal constants, and remove
    what nobody uses.

    Before::

        %a = nn.relu %x layers=["a"] -> tensor<1x8x4x4xf32>
        %b = nn.relu %a layers=["b"] -> tensor<1x8x4x4xf32>
        %unused = nn.constant value=dense<1.0> : tensor<8xf32>

    After::

        %b = nn.relu %x layers=["a", "b"] -> tensor<1x8x4x4xf32>

    The patterns belong to the dialects (``Dialect.canonicalization``); of those that are not known,
    operations are left alone.
    """

    name = "canonicalize"

    def run(self, module: ModuleOp, session: Session) -> None:
        before = _count(module)
        merged = _merge_constants(module)
        apply_patterns_greedily(
            module,
            _patterns_for(module, session.context),
            tensors=session.resources,
            remove_dead=True,
        )
        session.count(self.name, "constants merged", merged)
        session.count(self.name, "operations removed", before - _count(module))


def _patterns_for(module: ModuleOp, context: Context) -> list[RewritePattern[Any]]:
    """Those of the dialects that ``module`` has operations of, in order of their names."""
    names = {op.name.partition(".")[0] for op in module.walk()}
    dialects = map(context.dialect, sorted(names))
    return [
        pattern
        for dialect in dialects
        if dialect is not None
        for pattern in dialect.canonicalization()
    ]


def _merge_constants(module: ModuleOp) -> int:
    """Let users of equal pure operations without operands read the first one in their block;
    return how many lost their users."""
    first: dict[_Identity, Operation] = {}
    merged = 0
    for op in list(module.walk()):
        if op.operands or op.regions or not op.results or not has_trait(op, Pure):
            continue
        types = tuple(result.type for result in op.results)
        kept = first.setdefault((op.parent, type(op), tuple(op.attributes.items()), types), op)
        # Equal numbers may still be written differently: 0.0 and -0.0.
        if kept is op or str(kept.attributes) != str(op.attributes):
            continue
        for old, new in zip(op.results, kept.results, strict=True):
            old.replace_all_uses_with(new)
        op.erase()
        merged += 1
    return merged


def _count(module: ModuleOp) -> int:
    return sum(1 for _ in module.walk())
