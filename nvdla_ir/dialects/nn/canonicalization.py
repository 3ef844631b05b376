"""Canonicalization patterns of the nn dialect: layers that do nothing, and repeated ones.

An operation whose layer goes away leaves its layers' names to the operation that computes the
same tensor, before that operation's own: the last name goes on naming the tensor.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Generic, TypeVar

from nvdla_ir.dialects.layer import LayerOp, layers_of
from nvdla_ir.dialects.nn.base import NNOp
from nvdla_ir.dialects.nn.folds import FOLDS
from nvdla_ir.dialects.nn.idioms import IDIOMS, loses_nothing
from nvdla_ir.dialects.nn.layers import BiasAddOp, ConstantOp, ScaleOp
from nvdla_ir.dialects.nn.movement import MOVEMENTS
from nvdla_ir.dialects.nn.pooling import AveragePoolOp, MaxPoolOp, PoolOp
from nvdla_ir.dialects.nn.rearrangement import ChannelShuffleOp, DepthToSpaceOp, SpaceToDepthOp
from nvdla_ir.dialects.nn.resampling import InterpolateOp, PadOp, UpsampleOp
from nvdla_ir.dialects.nn.shapes import shape_of
from nvdla_ir.dialects.nn.structure import (
    ConcatOp,
    FlattenOp,
    ReshapeOp,
    SliceOp,
    TransposeOp,
    ViewOp,
)
from nvdla_ir.dialects.nn.unary import ClipOp
from nvdla_ir.ir.attributes import DenseElementsAttr
from nvdla_ir.ir.location import fuse_locations
from nvdla_ir.ir.operation import Value
from nvdla_ir.ir.rewriter import PatternRewriter, RewritePattern

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


class DropIdentityTranspose(DropIdentity[TransposeOp]):
    """All axes where they are."""

    root = TransposeOp

    def is_identity(self, op: TransposeOp) -> bool:
        return list(op.permutation) == sorted(op.permutation)


class DropIdentityShuffle(DropIdentity[ChannelShuffleOp]):
    """One group, or one channel in each."""

    root = ChannelShuffleOp

    def is_identity(self, op: ChannelShuffleOp) -> bool:
        return op.groups in (1, shape_of(op.input)[1])


class DropSameShape(DropIdentity[NNOp]):
    """What leaves its input alone where it leaves its shape: a slice of everything, no padding,
    factors and blocks of one."""

    root = NNOp

    def is_identity(self, op: NNOp) -> bool:
        return isinstance(op, _UNCHANGING)


_UNCHANGING = (SliceOp, PadOp, UpsampleOp, InterpolateOp, DepthToSpaceOp, SpaceToDepthOp)


class DropUnlimitedClip(DropIdentity[ClipOp]):
    """No limits."""

    root = ClipOp

    def is_identity(self, op: ClipOp) -> bool:
        return op.minimum is None and op.maximum is None


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
        if not isinstance(inner, self.inner) or not loses_nothing(inner, op):
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
    *IDIOMS,
    *MOVEMENTS,
    *FOLDS,
    DropIdentityView(),
    DropIdentityTranspose(),
    DropIdentityShuffle(),
    DropSameShape(),
    DropUnlimitedClip(),
    DropConcatOfOne(),
    DropMaxPoolOfOne(),
    DropAveragePoolOfOne(),
    DropZeroBias(),
    DropUnitScale(),
    ReshapeOfView(),
    FlattenOfFlatten(),
    FlattenOfReshape(),
)
