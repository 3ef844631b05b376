"""A pass of one's own in one file: average pooling as a depthwise convolution.

    nvdla-opt --load-pass-plugin=pool_to_conv.py --pool-to-conv=largest-window=9 model.ir

docs/custom-passes.md walks through it.
"""

from __future__ import annotations

from math import prod

from attrs import frozen

from nvdla_ir.dialects import nn
from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.ir.attributes import DenseElementsAttr
from nvdla_ir.ir.rewriter import PatternRewriter, RewritePattern, apply_patterns_greedily
from nvdla_ir.ir.types import F32, TensorType
from nvdla_ir.passes.base import Pass, Session, option


class AveragePoolToConv(RewritePattern[nn.AveragePoolOp]):
    """``nn.average_pool`` becomes ``nn.conv`` with equal weights, one group a channel."""

    root = nn.AveragePoolOp

    def __init__(self, largest_window: int) -> None:
        self.largest_window = largest_window

    def match_and_rewrite(self, op: nn.AveragePoolOp, rewriter: PatternRewriter) -> bool:
        window = prod(op.kernel)
        if window > self.largest_window or (any(op.pads) and not op.count_include_pad):
            return False
        channels = nn.shape_of(op.input)[1]
        weight_type = TensorType((channels, 1, *op.kernel), F32)
        weight = rewriter.create(
            nn.ConstantOp, value=DenseElementsAttr(weight_type, (1.0 / window,))
        )
        rewriter.replace_with(
            op,
            nn.ConvOp,
            input=op.input,
            weight=weight.output,
            strides=op.strides,
            pads=op.pads,
            groups=channels,
            layers=op.layers,
            result_types=[op.output.type],
        )
        return True


@frozen
class PoolToConv(Pass):
    """Replace average pooling by depthwise convolutions, for hardware without a pooling unit.

    Before::

        %y = nn.average_pool %x kernel=[2, 2] strides=[2, 2] -> tensor<1x8x4x4xf32>

    After::

        %w = nn.constant value=dense<0.25> : tensor<8x1x2x2xf32>
        %y = nn.conv %x, %w strides=[2, 2] groups=8 -> tensor<1x8x4x4xf32>
    """

    name = "pool-to-conv"

    largest_window: int = option(64, help="pools over more elements than this stay")

    def run(self, module: ModuleOp, session: Session) -> None:
        changed = apply_patterns_greedily(module, [AveragePoolToConv(self.largest_window)])
        session.count(self.name, "modules changed", int(changed))
