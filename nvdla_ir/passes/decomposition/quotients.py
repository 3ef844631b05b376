"""Quotients of two tensors, as products with reciprocals."""

from __future__ import annotations

import math

from nvdla_ir.dialects import nn
from nvdla_ir.dialects.layer import describe
from nvdla_ir.dialects.quant import CalibratedType
from nvdla_ir.ir.diagnostics import DiagnosticCollector
from nvdla_ir.ir.rewriter import PatternRewriter, RewritePattern
from nvdla_ir.passes.decomposition.parts import Parts, codes_of
from nvdla_ir.passes.intervals import Intervals

_LARGEST_RATIO = 64.0
"""Of denominators, for 8 bits of their reciprocals to say something about the largest."""
_CODES = 255


class Reciprocals(RewritePattern[nn.DivOp]):
    """Where denominators keep away from 0, by what computes them: a table of their reciprocals, and
    a product."""

    root = nn.DivOp

    def __init__(self, diagnostics: DiagnosticCollector) -> None:
        self._diagnostics = diagnostics

    def match_and_rewrite(self, op: nn.DivOp, rewriter: PatternRewriter) -> bool:
        output = nn.tensor_type(op.output).element
        codes = codes_of(nn.tensor_type(op.rhs).element)
        if (
            isinstance(op.rhs.defining_operation, nn.ConstantOp)
            or codes is None
            or codes_of(output) is None
        ):
            return False
        if rewriter.tensors is None:
            return False
        low, high = Intervals(rewriter.tensors).of(op.rhs)
        if low <= 0 <= high or not math.isfinite(low) or not math.isfinite(high):
            return False
        least, most = sorted((abs(low), abs(high)))
        if most / least > _LARGEST_RATIO:
            return False
        ends = (0.0, 1 / least) if low > 0 else (-1 / least, 0.0)
        parts = Parts(op, rewriter, op.layers)
        inverse = parts.create(
            nn.PowerOp, CalibratedType(codes.expressed, *ends), input=op.rhs, power=-1.0
        )
        parts.replace(parts.create(nn.MulOp, output, lhs=op.lhs, rhs=inverse))
        self._diagnostics.remark(
            op.location,
            f"{describe(op)} multiplies by reciprocals of {low:g} to {high:g}, in 8 bits: "
            f"quotients are off by up to {most / least / _CODES / 2:.2g} of themselves, ahead of "
            "rounding",
        )
        return True
