"""Normalization over as many channels as the CDP does not sum."""

from __future__ import annotations

from nvdla_ir.dialects import nn
from nvdla_ir.dialects.layer import describe
from nvdla_ir.dialects.quant import CalibratedType, UniformType
from nvdla_ir.hardware.cdp import WINDOWS
from nvdla_ir.ir.diagnostics import DiagnosticCollector
from nvdla_ir.ir.rewriter import PatternRewriter, RewritePattern
from nvdla_ir.passes.decomposition.parts import Parts, codes_of

_CODES = 255
_IMAGE_RANK = 4


class OtherWindows(RewritePattern[nn.LrnOp]):
    """``x / (k + alpha / size * sum(x^2)) ^ beta``: squares by a table, their sums by a convolution
    with a band of ones, the factor by a table, and a product. Each is 8 bits over its whole range;
    a remark tells what that may cost."""

    root = nn.LrnOp

    def __init__(self, diagnostics: DiagnosticCollector) -> None:
        self._diagnostics = diagnostics

    def match_and_rewrite(self, op: nn.LrnOp, rewriter: PatternRewriter) -> bool:
        import numpy as np

        output = nn.tensor_type(op.output).element
        codes, result = codes_of(nn.tensor_type(op.input).element), codes_of(output)
        if (
            op.size in WINDOWS
            or min(op.k, op.alpha, op.beta) <= 0
            or codes is None
            or result is None
            or rewriter.tensors is None
            or len(nn.shape_of(op.input)) != _IMAGE_RANK
        ):
            return False
        parts = Parts(op, rewriter, op.layers)
        channels, share = nn.shape_of(op.input)[1], op.alpha / op.size
        low, high = codes.storage_range
        reach = codes.scale * max(high - codes.zero_point, codes.zero_point - low)
        most = min(op.size, channels)
        square, largest = reach**2, share * most * reach**2
        factor = op.k**-op.beta
        squares = parts.create(nn.PowerOp, _positive(codes, square), input=op.input, power=2.0)
        places = np.arange(channels)
        behind = places[None, :] - places[:, None]
        band = ((behind <= op.size // 2) & (-behind <= (op.size - 1) // 2)).astype(float)
        sums = parts.create(
            nn.ConvOp,
            _positive(codes, largest),
            input=squares,
            weight=parts.constant(band.reshape(channels, channels, 1, 1), "band", share),
        )
        factors = parts.create(
            nn.PowerOp, _positive(codes, factor), input=sums, power=-op.beta, shift=op.k
        )
        parts.replace(parts.create(nn.MulOp, output, lhs=op.input, rhs=factors))
        # Half a step of the squares and of their sum, by the factor's slope; half a step of it.
        of_sums = (share * most * square + largest) / _CODES / 2
        error = op.beta * factor / op.k * of_sums + factor / _CODES / 2
        self._diagnostics.remark(
            op.location,
            f"{describe(op)} normalizes over {op.size} channels, where the CDP sums "
            f"{', '.join(map(str, WINDOWS))}: computed by a convolution, in 8 bits between, which "
            f"is off by up to {reach * error / result.scale:.2g} of the output's unit, "
            "ahead of rounding",
        )
        return True


def _positive(codes: UniformType, largest: float) -> CalibratedType:
    """The range from 0 to ``largest``."""
    return CalibratedType(codes.expressed, 0.0, largest)
