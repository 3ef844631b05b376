"""Layers that the hardware does not have, as several that it has."""

from __future__ import annotations

from attrs import frozen

from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.nvdla import target_of
from nvdla_ir.ir.rewriter import apply_patterns_greedily
from nvdla_ir.passes.base import Pass, Session
from nvdla_ir.passes.decomposition.by_rule import ByRule
from nvdla_ir.passes.decomposition.kernels import LargeKernel, LargePlane, LargeStride
from nvdla_ir.passes.decomposition.phases import LinearInterpolation, TransposedConvolution
from nvdla_ir.passes.decomposition.pooling import (
    GlobalMaximum,
    LargeMaximum,
    LargeMean,
    MeansInParts,
)


@frozen
class DecomposeLayers(Pass):
    """Replace layers that the hardware does not have by several that it has, and that compute the
    same: transposed convolutions and linear interpolation by convolutions whose results are
    interleaved, means that leave out padding by a pool for each border, windows above 8 by pools of
    pools, kernels above 32 by their parts, strides above the largest by some of the elements.

    Before::

        %y = nn.conv_transpose %x, %w strides=[1, 2] layers=["up"] -> tensor<1x8x4x8xf32>

    After::

        %0 = nn.conv %x, %w0 layers=["up"] -> tensor<1x8x4x4xf32>
        %1 = nn.conv %x, %w1 layers=["up"] -> tensor<1x8x4x4xf32>
        %y = nn.interleave %0, %1 axis=3 layers=["up"] -> tensor<1x8x4x8xf32>

    Only a mean over more than 32 rows or columns is not the same to the last bit: it is a mean of
    rounded means, which a remark tells. Calibrated ranges stay; what only moves elements has that
    of its input. Plug-ins add rules (``@decomposes``).
    """

    name = "decompose-layers"

    def run(self, module: ModuleOp, session: Session) -> None:
        patterns = [
            ByRule(target_of(module), session.diagnostics),
            MeansInParts(),
            GlobalMaximum(),
            LargeMaximum(),
            LargeMean(session.diagnostics),
            TransposedConvolution(),
            LinearInterpolation(),
            LargePlane(),
            LargeKernel(),
            LargeStride(),
        ]
        apply_patterns_greedily(module, patterns, tensors=session.resources, remove_dead=True)
