"""Canonicalization patterns of the nn dialect: layers that do nothing, and repeated ones.

An operation whose layer goes away leaves its layers' names to the operation that computes the
same tensor, before that operation's own: the last name goes on naming the tensor.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Generic, TypeVar

from nvdla_ir.dialects.layer import LayerOp, layers_of
from nvdla_ir.dialects.nn.layers import BiasAddOp, ConstantOp, ScaleOp
from nvdla_ir.dialects.nn.pooling import AveragePoolOp, MaxPoolOp, PoolOp
from nvdla_ir.dialects.nn.structure import ConcatOp, FlattenOp, ReshapeOp, ViewOp
from nvdla_ir.dialects.nn.types import is_fake_quantized
from nvdla_ir.dialects.nn.unary import ReluOp
from nvdla_ir.dialects.quant import is_quantized
from nvdla_ir.ir.attributes import DenseElementsAttr
from nvdla_ir.ir.location import fuse_locations
from nvdla_ir.ir.operation import Operation, Value
from nvdla_ir.ir.rewriter import PatternRewriter, RewritePattern
from nvdla_ir.ir.types import TensorType, Type

LayerT = TypeVar("LayerT", bound=LayerOp)


class DropIdentity(RewritePattern[LayerT], Generic[LayerT]):
    """Replaces a layer that passes its first operand on unchanged by that operand."""

    def is_identity(self, op: LayerT) -> bool:
        """Whether ``op`` computes nothing, given that its types do not change."""
        return True

    def match_and_rewrite(self, op: LayerT, rewriter: PatternRewriter) -> bool:
        source, result = op.operands[0], op.results[0]
        if source.type != result.type or not self.is_identity(op):
            return False
        definer = source.defining_operation
        if isinstance(definer, LayerOp):
            definer.layers = layers_of(op, definer)
        rewriter.replace(op, [source])
        return True


class DropIdentityView(DropIdentity[ViewOp]):
    """A reshape or flatten to the shape that is there already."""

    root = ViewOp


class DropConcatOfOne(DropIdentity[ConcatOp]):
    """A concat of one tensor."""

    root = ConcatOp

    def is_identity(self, op: ConcatOp) -> bool:
        return len(op.inputs) == 1


class DropMaxPoolOfOne(DropIdentity[MaxPoolOp]):
    """Windows of one element at each element."""

    root = MaxPoolOp

    def is_identity(self, op: MaxPoolOp) -> bool:
        return has_windows_of_one(op)


class DropAveragePoolOfOne(DropIdentity[AveragePoolOp]):
    """Windows of one element at each element."""

    root = AveragePoolOp

    def is_identity(self, op: AveragePoolOp) -> bool:
        return has_windows_of_one(op)


def has_windows_of_one(op: PoolOp) -> bool:
    """Whether each element is the window of itself."""
    return op.kernel == (1, 1) and op.strides == (1, 1) and op.extended_pads == (0, 0, 0, 0)


class DropZeroBias(DropIdentity[BiasAddOp]):
    """Adding zeros. Only constants that stand in the text are looked at."""

    root = BiasAddOp

    def is_identity(self, op: BiasAddOp) -> bool:
        return _is_filled_with(op.bias, 0.0)


class DropUnitScale(DropIdentity[ScaleOp]):
    """Multiplying by ones and adding nothing. Only constants that stand in the text are looked
    at."""

    root = ScaleOp

    def is_identity(self, op: ScaleOp) -> bool:
        bias = op.bias
        return _is_filled_with(op.scale, 1.0) and (bias is None or _is_filled_with(bias, 0.0))


def _is_filled_with(value: Value, number: float) -> bool:
    definer = value.defining_operation
    if not isinstance(definer, ConstantOp) or not isinstance(definer.value, DenseElementsAttr):
        return False
    values = definer.value.values
    return bool(values) and all(element == number for element in values)


class _SkipInner(RewritePattern[LayerT], Generic[LayerT]):
    """Lets a layer read past the layer before it, whose work it does as well."""

    inner: ClassVar[tuple[type[LayerOp], ...]]

    def match_and_rewrite(self, op: LayerT, rewriter: PatternRewriter) -> bool:
        inner = op.operands[0].defining_operation
        if not isinstance(inner, self.inner) or not _loses_nothing(inner, op):
            return False
        self.rewrite(op, inner, rewriter)
        return True

    def rewrite(self, op: LayerT, inner: LayerOp, rewriter: PatternRewriter) -> None:
        op.layers = layers_of(inner, op)
        op.location = fuse_locations([inner.location, op.location])
        op.set_operand(0, inner.operands[0])
        rewriter.modified(op)
        if not inner.results[0].is_used:
            rewriter.erase(inner)


def _loses_nothing(inner: Operation, op: Operation) -> bool:
    """Whether the element type stays the same, or is a float all along: a change between
    quantized types would be lost with the operation that makes it. Where the inner layer rounds
    and saturates, the outer one must do the same: what these layers do to codes makes codes, so
    that once is enough."""
    if is_fake_quantized(inner.results[0].type):
        return _element(inner.results[0]) == _element(op.results[0])
    elements = {
        _element(value) for part in (inner, op) for value in (part.operands[0], part.results[0])
    }
    return len(elements) == 1 or not any(map(is_quantized, elements))


def _element(value: Value) -> Type:
    return value.type.element if isinstance(value.type, TensorType) else value.type


class ReluOfRelu(_SkipInner[ReluOp]):
    """``relu(relu(x))`` is ``relu(x)``."""

    root = ReluOp
    inner = (ReluOp,)


class ReshapeOfView(_SkipInner[ReshapeOp]):
    """A reshape of a view is a reshape of what the view is of."""

    root = ReshapeOp
    inner = (ReshapeOp, FlattenOp)


class FlattenOfFlatten(_SkipInner[FlattenOp]):
    """The outer axis is at most the inner one, so the outer flattens as much by itself."""

    root = FlattenOp
    inner = (FlattenOp,)


class FlattenOfReshape(_SkipInner[FlattenOp]):
    """A flatten of a reshape is a reshape."""

    root = FlattenOp
    inner = (ReshapeOp,)

    def rewrite(self, op: FlattenOp, inner: LayerOp, rewriter: PatternRewriter) -> None:
        new = rewriter.create(
            ReshapeOp,
            input=inner.operands[0],
            layers=layers_of(inner, op),
            location=fuse_locations([inner.location, op.location]),
            result_types=[op.output.type],
            discardable=dict(op.discardable_attributes()),
        )
        rewriter.replace(op, new)
        if not inner.results[0].is_used:
            rewriter.erase(inner)


PATTERNS: Sequence[RewritePattern[Any]] = (
    DropIdentityView(),
    DropConcatOfOne(),
    DropMaxPoolOfOne(),
    DropAveragePoolOfOne(),
    DropZeroBias(),
    DropUnitScale(),
    ReluOfRelu(),
    ReshapeOfView(),
    FlattenOfFlatten(),
    FlattenOfReshape(),
)
