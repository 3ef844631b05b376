"""Layers that the hardware does not have, as several that it has."""

from __future__ import annotations

from attrs import frozen

from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.func import entry_functions
from nvdla_ir.dialects.nvdla import target_of
from nvdla_ir.ir.rewriter import apply_patterns_greedily
from nvdla_ir.passes.base import Pass, Session
from nvdla_ir.passes.decomposition.batches import RowsOfMatrix, one_image_at_a_time
from nvdla_ir.passes.decomposition.by_rule import ByRule
from nvdla_ir.passes.decomposition.kernels import (
    LargeGroupedKernel,
    LargeKernel,
    LargePads,
    LargePlane,
    LargeStride,
)
from nvdla_ir.passes.decomposition.normalization import OtherWindows
from nvdla_ir.passes.decomposition.operands import ConstantChannels, LinesAsImages, RepeatedOperand
from nvdla_ir.passes.decomposition.phases import (
    AlignedInterpolation,
    LinearInterpolation,
    TransposedConvolution,
)
from nvdla_ir.passes.decomposition.pooling import (
    GlobalMaximum,
    LargeMaximum,
    LargeMean,
    MeansInParts,
)
from nvdla_ir.passes.decomposition.quotients import Reciprocals


@frozen
class DecomposeLayers(Pass):
    """Replace layers that the hardware does not have by several that it has, and that compute the
    same: transposed convolutions and linear interpolation by convolutions whose results are
    interleaved, means that leave out padding by a pool for each border, windows above 8 by pools of
    pools, kernels above 32 by their parts, strides above the largest by some of the elements. A
    second operand of one channel, row or column is repeated by a convolution with ones.

    Before::

        %y = nn.conv_transpose %x, %w strides=[1, 2] layers=["up"] -> tensor<1x8x4x8xf32>

    After::

        %0 = nn.conv %x, %w0 layers=["up"] -> tensor<1x8x4x4xf32>
        %1 = nn.conv %x, %w1 layers=["up"] -> tensor<1x8x4x4xf32>
        %y = nn.interleave %0, %1 axis=3 layers=["up"] -> tensor<1x8x4x8xf32>

    The images of a batch are computed one after the other, with the same weights.

    Not the same to the last bit are large means of many channels (means of rounded means),
    normalization over other than 3, 5, 7 or 9 channels, and quotients of tensors, whose
    denominators must keep away from 0: remarks tell by how much. Calibrated ranges stay; what only
    moves elements has that of its input. Plug-ins add rules (``@decomposes``).
    """

    name = "decompose-layers"

    def run(self, module: ModuleOp, session: Session) -> None:
        for func in entry_functions(module):
            one_image_at_a_time(func)
        patterns = [
            ByRule(target_of(module), session.diagnostics),
            MeansInParts(),
            GlobalMaximum(),
            LargeMaximum(),
            LargeMean(session.diagnostics),
            TransposedConvolution(),
            LinearInterpolation(),
            AlignedInterpolation(),
            OtherWindows(session.diagnostics),
            Reciprocals(session.diagnostics),
            LinesAsImages(),
            RepeatedOperand(),
            ConstantChannels(),
            RowsOfMatrix(),
            LargePlane(),
            LargeGroupedKernel(),
            LargeKernel(),
            LargePads(),
            LargeStride(),
        ]
        apply_patterns_greedily(module, patterns, tensors=session.resources, remove_dead=True)
