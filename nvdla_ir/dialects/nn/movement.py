"""Rearrangements moved to the edges of a function, where they meet and go away, or become the
host's.

Behind a function of each element everything that only moves elements may stand as well as before
it. Towards the inputs a transpose moves where all that is before it is such functions; else away
from them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from nvdla_ir.dialects.layer import LayerOp, layers_of
from nvdla_ir.dialects.nn.activations import SoftmaxOp
from nvdla_ir.dialects.nn.base import RearrangementOp
from nvdla_ir.dialects.nn.elementwise import BinaryOp
from nvdla_ir.dialects.nn.idioms import is_passing, replace_by
from nvdla_ir.dialects.nn.layers import BatchNormOp, BiasAddOp, ScaleOp
from nvdla_ir.dialects.nn.shapes import shape_of, tensor_type
from nvdla_ir.dialects.nn.structure import ConcatOp, ReshapeOp, TransposeOp, ViewOp
from nvdla_ir.dialects.nn.unary import UnaryOp
from nvdla_ir.ir.location import fuse_locations
from nvdla_ir.ir.operation import Operation, Value
from nvdla_ir.ir.rewriter import PatternRewriter, RewritePattern

RearrangementT = TypeVar("RearrangementT", bound=RearrangementOp)
_AFFINE = (ScaleOp, BiasAddOp, BatchNormOp)


def _moved_by(value: Value, op_class: type[RearrangementT]) -> RearrangementT | None:
    """The ``op_class`` that makes ``value`` for one reader, from what is no input of the function
    and what nothing rounds."""
    op = value.defining_operation
    if not isinstance(op, op_class) or not value.has_one_use or not is_passing(value):
        return None
    source = op.input
    if source.defining_operation is None or not is_passing(source):
        return None
    # What has a range of its own is rounded twice.
    return op if _element(source) == _element(value) else None


def _element(value: Value) -> Any:
    return tensor_type(value).element


def _move_behind(
    op: LayerOp, movers: Sequence[RearrangementOp], rewriter: PatternRewriter, **changed: Any
) -> None:
    """Let ``op`` read what ``movers`` read, and move its result instead; ``changed`` are fields of
    ``op`` that become others."""
    first, result = movers[0], op.results[0]
    fields: dict[str, Any] = {
        name: getattr(op, name) for name in op.definition.attributes if name != "layers"
    }
    sources: dict[Value, Value] = {mover.output: mover.input for mover in movers}
    for field in op.definition.operands:
        values = [sources.get(value, value) for value in field.values(op)]
        fields[field.name] = values if field.maximum is None else next(iter(values), None)
    inner = rewriter.create(
        type(op),
        **(fields | changed),
        layers=layers_of(*movers, op),
        location=fuse_locations([*(mover.location for mover in movers), op.location]),
        discardable=dict(op.discardable_attributes()),
    )
    inner.results[0].type = tensor_type(inner.results[0]).with_element(_element(result))
    inner.results[0].name_hint = first.output.name_hint
    moved = rewriter.create(
        type(first),
        input=inner.results[0],
        location=first.location,
        result_types=[result.type],
        **{name: getattr(first, name) for name in first.definition.attributes if name != "layers"},
    )
    # The name of an output of the function may be that of its value.
    moved.results[0].name_hint = result.name_hint
    rewriter.replace(op, moved)
    for mover in movers:
        rewriter.erase(mover)


class UnaryOfRearrangement(RewritePattern[UnaryOp]):
    """``f(move(x))`` is ``move(f(x))``."""

    root = UnaryOp

    def match_and_rewrite(self, op: UnaryOp, rewriter: PatternRewriter) -> bool:
        mover = _moved_by(op.input, RearrangementOp)
        if mover is None or not is_passing(op.output):
            return False
        _move_behind(op, [mover], rewriter)
        return True


class AffineOfRearrangement(RewritePattern[LayerOp]):
    """Channels that stay where they are can be scaled before."""

    root = LayerOp

    def match_and_rewrite(self, op: LayerOp, rewriter: PatternRewriter) -> bool:
        if not isinstance(op, _AFFINE):
            return False
        mover = _moved_by(op.input, RearrangementOp)
        if mover is None or not is_passing(op.output) or not _keeps_channels(mover):
            return False
        _move_behind(op, [mover], rewriter)
        return True


def _keeps_channels(mover: RearrangementOp) -> bool:
    before, after = shape_of(mover.input), shape_of(mover.output)
    if isinstance(mover, TransposeOp):
        return tuple(mover.permutation[:2]) == (0, 1)
    return isinstance(mover, ViewOp) and len(after) > 1 and before[:2] == after[:2]


class BinaryOfRearrangements(RewritePattern[BinaryOp]):
    """Two tensors that are moved in the same way, or one and a single number."""

    root = BinaryOp

    def match_and_rewrite(self, op: BinaryOp, rewriter: PatternRewriter) -> bool:
        left = _moved_by(op.lhs, RearrangementOp)
        if left is None or not is_passing(op.output):
            return False
        if len(set(shape_of(op.rhs))) <= 1 and shape_of(op.rhs)[:1] in ((), (1,)):
            if len(shape_of(op.rhs)) > len(shape_of(left.input)):
                return False
            _move_behind(op, [left], rewriter)
            return True
        right = _moved_by(op.rhs, type(left))
        if right is None or right is left or not _same_movement(left, right):
            return False
        _move_behind(op, [left, right], rewriter)
        return True


def _same_movement(one: RearrangementOp, other: RearrangementOp) -> bool:
    return (
        shape_of(one.input) == shape_of(other.input)
        and shape_of(one.output) == shape_of(other.output)
        and all(
            getattr(one, name) == getattr(other, name)
            for name in one.definition.attributes
            if name != "layers"
        )
    )


class ConcatOfTransposes(RewritePattern[ConcatOp]):
    """Tensors whose axes are turned in the same way are joined along the axis that it was."""

    root = ConcatOp

    def match_and_rewrite(self, op: ConcatOp, rewriter: PatternRewriter) -> bool:
        found = [_moved_by(value, TransposeOp) for value in op.inputs]
        movers = [mover for mover in found if mover is not None]
        if len(movers) != len(found) or len(movers) < 2 or not is_passing(op.output):
            return False
        orders = {tuple(mover.permutation) for mover in movers}
        elements = {_element(value) for value in (*op.inputs, op.output)}
        if len(orders) != 1 or len(elements) != 1:
            return False
        (order,) = orders
        _move_behind(op, movers, rewriter, axis=order[op.axis])
        return True


class SoftmaxOfTranspose(RewritePattern[SoftmaxOp]):
    """Along the axis that it was."""

    root = SoftmaxOp

    def match_and_rewrite(self, op: SoftmaxOp, rewriter: PatternRewriter) -> bool:
        mover = _moved_by(op.input, TransposeOp)
        if mover is None or not is_passing(op.output):
            return False
        _move_behind(op, [mover], rewriter, axis=mover.permutation[op.axis])
        return True


class TransposeOfTranspose(RewritePattern[TransposeOp]):
    """Two are one."""

    root = TransposeOp

    def match_and_rewrite(self, op: TransposeOp, rewriter: PatternRewriter) -> bool:
        inner = op.input.defining_operation
        if not isinstance(inner, TransposeOp) or not is_passing(inner.output):
            return False
        order = [inner.permutation[axis] for axis in op.permutation]
        replace_by(op, [inner], rewriter, TransposeOp, input=inner.input, permutation=order)
        return True


class TransposeOfOnes(RewritePattern[TransposeOp]):
    """Where only axes of extent 1 move, it is a view."""

    root = TransposeOp

    def match_and_rewrite(self, op: TransposeOp, rewriter: PatternRewriter) -> bool:
        shape = shape_of(op.input)
        moved = [axis for axis in op.permutation if shape[axis] != 1]
        if moved != sorted(moved) or list(op.permutation) == sorted(op.permutation):
            return False
        replace_by(op, [], rewriter, ReshapeOp, input=op.input)
        return True


class TransposeToInput(RewritePattern[TransposeOp]):
    """Of an input that functions of each element have changed: the input is transposed first."""

    root = TransposeOp

    def match_and_rewrite(self, op: TransposeOp, rewriter: PatternRewriter) -> bool:
        inner = op.input.defining_operation
        if not isinstance(inner, UnaryOp) or not inner.output.has_one_use:
            return False
        if not _is_changed_input(inner) or not is_passing(inner.output):
            return False
        if _element(inner.output) != _element(op.output):
            return False
        moved = rewriter.create(
            TransposeOp,
            input=inner.input,
            permutation=op.permutation,
            location=op.location,
        )
        fields = {
            name: getattr(inner, name) for name in inner.definition.attributes if name != "layers"
        }
        replace_by(op, [inner], rewriter, type(inner), input=moved.output, **fields)
        return True


def _is_changed_input(op: Operation | None) -> bool:
    while isinstance(op, UnaryOp):
        op = op.input.defining_operation
    return op is None


MOVEMENTS: Sequence[RewritePattern[Any]] = (
    UnaryOfRearrangement(),
    AffineOfRearrangement(),
    BinaryOfRearrangements(),
    ConcatOfTransposes(),
    SoftmaxOfTranspose(),
    TransposeOfTranspose(),
    TransposeOfOnes(),
    TransposeToInput(),
)
