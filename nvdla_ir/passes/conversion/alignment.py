"""The common scale at which the pipeline adds an int8 tensor from memory to its own value."""

from __future__ import annotations

import numpy as np
from attrs import frozen

from nvdla_ir.arith.fixed_point import LARGEST_MULTIPLIER, round_half_away
from nvdla_ir.dialects.quant import UniformType
from nvdla_ir.passes.conversion.chain import Chain
from nvdla_ir.passes.conversion.pipeline import Reals

# A residual operand is shifted left by at most this: the multiplier has 15 bits anyway.
LARGEST_SHIFT = 20
# Values on the way stay below this; 32 bits hold twice as much.
HEADROOM = float(1 << 30)
INT8_SPAN = 256.0
# How far the output's zero point may be off, in its unit.
TOLERATED_ERROR = 0.25
_LOWEST_CODE = -128


@frozen
class Alignment:
    """Both sides of an addition in units of ``2^-shift`` of the residual operand's scale.
    (quantization.md section 3, item 1)"""

    residual: UniformType
    shift: int

    @property
    def scale(self) -> float:
        """The common scale."""
        return self.residual.scale / (1 << self.shift)

    @property
    def zero_point(self) -> int:
        """The residual operand's zero point in the common unit."""
        return self.residual.zero_point << self.shift


def align(
    scales: Reals,
    reach: float,
    residual: UniformType,
    output: UniformType,
) -> Alignment | None:
    """The finest common scale at which nothing overflows; None where there is none.

    scales: of the pipeline's value, one or one a channel; the sign counts as part of the value
    reach:  the largest magnitude of that value, a real, bias included
    """
    coarsest = float(np.abs(scales).max())
    for shift in range(LARGEST_SHIFT, -1, -1):
        found = Alignment(residual, shift)
        if (
            coarsest / found.scale <= LARGEST_MULTIPLIER
            and reach / found.scale + 2.0**residual.storage.width * (1 << shift) <= HEADROOM
            and abs(output.zero_point) * output.scale / found.scale <= HEADROOM
        ):
            return found
    return None


def rectifies_late(chain: Chain, output: UniformType) -> bool:
    """Whether the ReLU or slope behind the addition is a step of its own. A ReLU is not where the
    output's lowest code stands for 0: there saturation does it."""
    if chain.add is not None and chain.leaky is not None:
        return True
    return chain.late_relu is not None and output.zero_point > _LOWEST_CODE


def suits(alignment: Alignment, chain: Chain, scales: Reals, output: UniformType) -> bool:
    """Whether ``chain`` may add at the scale found, with all zero points taken out.

    Ahead of a late ReLU the residual operand's zero point must go with the bias, 16 bits in units
    of ``scales``; between two ReLUs there is no place for it at all.
    """
    residual = alignment.residual
    if residual.zero_point and rectifies_late(chain, output):
        zero = abs(residual.zero_point) * residual.scale
        tolerated = TOLERATED_ERROR * output.scale
        steps = np.abs(scales)
        if (
            chain.early_relu is not None
            or zero / float(steps.min()) > HEADROOM
            or max(zero * 2.0**-16, float(steps.max()) / 2) > tolerated
        ):
            return False
    unit = alignment.scale / output.scale
    exact = output.zero_point / unit
    return abs(round_half_away(exact) - exact) * unit <= TOLERATED_ERROR
