"""From accumulators, or from int8 in memory, to int8 of the output's scale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from attrs import frozen

from nvdla_ir.arith.fixed_point import (
    LARGEST_MULTIPLIER,
    FixedPoint,
    FixedPointVector,
    fixed_point,
    round_half_away,
)
from nvdla_ir.dialects.layer import describe
from nvdla_ir.dialects.nn import ReluOp
from nvdla_ir.dialects.quant import UniformType
from nvdla_ir.ir.diagnostics import DiagnosticCollector, DiagnosticError
from nvdla_ir.ir.operation import Value
from nvdla_ir.passes.conversion.chain import Chain
from nvdla_ir.passes.conversion.pipeline import (
    IDENTITY,
    PRECISION_REMARK_BELOW,
    Bias,
    Pipeline,
    factor_values,
    multipliers_for,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Binary places kept below the output's unit where the bias is added after the multiplier.
FINE_BITS = 8
# A residual operand is shifted left by at most this: the multiplier has 15 bits anyway.
LARGEST_ALIGNMENT = 20
# Values on the way stay below this; 32 bits hold twice as much.
HEADROOM = float(1 << 30)
# The bias may be off by this much of the output's unit before its other place is taken.
TOLERATED_BIAS_ERROR = 0.25


@frozen(eq=False)
class Source:
    """What enters the pipeline.

    bound: the largest magnitude it can have, one a channel or one for all, in stored units
    bias:  real numbers to add, one a channel, or None
    bias_last: add the bias behind the factor in any case
    """

    bound: Sequence[float]
    bias: NDArray[np.float64] | None
    bias_last: bool = False


class Epilogue:
    """Emits the steps for one chain."""

    def __init__(
        self,
        pipeline: Pipeline,
        source: Source,
        chain: Chain,
        output: UniformType,
        diagnostics: DiagnosticCollector,
    ) -> None:
        self.pipeline = pipeline
        self.source = source
        self.chain = chain
        self.output = output
        self.diagnostics = diagnostics

    def emit(self, residual: Value | None, residual_type: UniformType | None) -> Value:
        """The int8 value. Raises: OperandError where a factor cannot be represented."""
        if residual is not None and residual_type is not None:
            return self._with_residual(residual, residual_type)
        if self.source.bias_last:
            return self._bias_after()
        if len(self.pipeline.scales) == 1:
            return self._per_tensor()
        return self._per_channel()

    # -------------------------------------------------------------- without residual

    def _per_channel(self) -> Value:
        """Bias, then the channel's factor: straight to the output's unit, rounding once."""
        pipe, output = self.pipeline, self.output
        factors = multipliers_for([scale / output.scale for scale in pipe.scales])
        self._remark_coarse(factors)
        values = self._bias_before(factor_values(factors), output.scale)
        bias = Bias.nearest(values)
        if self._worst(bias.errors(values), factor_values(factors)) > TOLERATED_BIAS_ERROR:
            return self._bias_after()
        if not bias.is_zero:
            pipe.add_bias(bias, self.chain.root)
        pipe.rescale(factors, output.scale, self.chain.root)
        self._relu(self.chain.early_relu)
        return pipe.convert(IDENTITY, -output.zero_point, output, self.chain.last).results[0]

    def _per_tensor(self) -> Value:
        """Bias; the output converter has the one factor."""
        pipe, output = self.pipeline, self.output
        factor = fixed_point(pipe.scales[0] / output.scale)
        if self.source.bias is not None or any(pipe.zero_points):
            values = self._bias_before((factor.value,), output.scale)
            bias = Bias.nearest(values)
            if self._worst(bias.errors(values), (factor.value,)) > TOLERATED_BIAS_ERROR:
                return self._bias_after()
            if not bias.is_zero:
                pipe.add_bias(bias, self.chain.root)
        self._relu(self.chain.early_relu)
        offset = round_half_away(-output.zero_point / factor.value)
        return pipe.convert(factor, offset, output, self.chain.last).results[0]

    def _bias_after(self) -> Value:
        """The factor first, to 2^-8 of the output's unit; there 16 bits hold any bias."""
        pipe, output = self.pipeline, self.output
        fine = output.scale / (1 << FINE_BITS)
        factors = multipliers_for([scale / fine for scale in pipe.scales])
        pipe.rescale(factors, fine, self.chain.root)
        zero_points = pipe.zero_points
        reals = self._reals(len(zero_points))
        spread = zero_points * (len(reals) if len(zero_points) == 1 else 1)
        values = [real / fine - zero for real, zero in zip(reals, spread, strict=True)]
        bias = Bias.nearest(values)
        self._remark_bias(bias.errors(values) / (1 << FINE_BITS))
        if not bias.is_zero:
            pipe.add_bias(bias, self.chain.root)
        self._relu(self.chain.early_relu)
        offset = -output.zero_point << FINE_BITS
        return pipe.convert(FixedPoint(1, FINE_BITS), offset, output, self.chain.last).results[0]

    # -------------------------------------------------------------- with residual

    def _with_residual(self, residual: Value, residual_type: UniformType) -> Value:
        """Bring the accumulator to ``2^-shift`` of the residual operand's unit, add, convert.
        (quantization.md section 3, item 1)"""
        pipe, output, chain = self.pipeline, self.output, self.chain
        assert chain.add is not None
        shift = self._alignment(residual_type)
        common = residual_type.scale / (1 << shift)
        factors = multipliers_for([scale / common for scale in pipe.scales])
        self._remark_coarse(factors)
        unit = common / output.scale
        # The residual's zero point goes with the bias, or, behind a ReLU, with the offset.
        early = chain.early_relu is not None
        if early and chain.late_relu is not None and residual_type.zero_point:
            raise DiagnosticError.at(
                chain.add.location,
                f"{describe(chain.add)} adds an operand with zero point "
                f"{residual_type.zero_point} between two ReLUs, which the pipeline cannot "
                "correct; give that operand a symmetric range (offset 0)",
            )
        with_bias = 0 if early else residual_type.zero_point << shift
        values = self._bias_before(factor_values(factors), common, with_bias)
        bias = Bias.nearest(values)
        self._remark_bias(
            bias.errors(values) * [abs(factor) * unit for factor in factor_values(factors)]
        )
        if not bias.is_zero:
            pipe.add_bias(bias, chain.root)
        pipe.rescale(factors, common, chain.root)
        pipe.zero_points = (-with_bias,)
        self._relu(chain.early_relu)
        pipe.add_cube(residual, residual_type.scale, residual_type.zero_point, shift, chain.add)
        self._relu(chain.late_relu)
        factor = fixed_point(unit)
        offset = pipe.zero_points[0] - round_half_away(output.zero_point / factor.value)
        return pipe.convert(factor, offset, output, chain.last).results[0]

    def _alignment(self, residual_type: UniformType) -> int:
        """The largest left shift of the residual at which nothing overflows."""
        scales = self.pipeline.scales
        bounds = self.source.bound
        pairs = zip(
            scales * (len(bounds) if len(scales) == 1 else 1),
            list(bounds) * (len(scales) if len(bounds) == 1 else 1),
            strict=True,
        )
        largest = max(scale * bound for scale, bound in pairs) / residual_type.scale
        for shift in range(LARGEST_ALIGNMENT, 0, -1):
            factor = max(scales) / residual_type.scale * (1 << shift)
            if factor <= LARGEST_MULTIPLIER and (largest + 256.0) * (1 << shift) <= HEADROOM:
                return shift
        return 0

    # -------------------------------------------------------------- parts

    def _reals(self, count: int) -> list[float]:
        bias = self.source.bias
        return [0.0] * count if bias is None else [float(value) for value in bias]

    def _bias_before(self, factors: Sequence[float], unit: float, constant: int = 0) -> list[float]:
        """The bias in the pipeline's stored units ahead of ``factors``: real numbers over
        ``unit``, less ``constant``, through the factors as they are after rounding, so that
        theirs do not matter to it; less the zero points."""
        zero_points = self.pipeline.zero_points
        count = max(len(factors), len(zero_points))
        reals = self._reals(count)
        count = len(reals)
        spread = list(factors) * (count if len(factors) == 1 else 1)
        zeros = list(zero_points) * (count if len(zero_points) == 1 else 1)
        return [
            (real / unit - constant) / factor - zero
            for real, factor, zero in zip(reals, spread, zeros, strict=True)
        ]

    @staticmethod
    def _worst(errors: NDArray[np.float64], factors: Sequence[float]) -> float:
        import numpy as np

        return float((errors * np.abs(np.array(factors))).max())

    def _relu(self, relu: ReluOp | None) -> None:
        if relu is not None:
            self.pipeline.relu(relu)

    def _remark_coarse(self, factors: FixedPoint | FixedPointVector) -> None:
        if isinstance(factors, FixedPointVector):
            coarse = [
                channel
                for channel, multiplier in enumerate(factors.multipliers)
                if abs(multiplier) < PRECISION_REMARK_BELOW
            ]
            if coarse:
                listed = ", ".join(map(str, coarse[:8])) + (" …" if len(coarse) > 8 else "")
                self.diagnostics.remark(
                    self.chain.root.location,
                    f"{describe(self.chain.root)}: {len(coarse)} of {len(factors.multipliers)} "
                    f"channels have a multiplier under 8 bits, beside much larger ones: {listed}",
                )

    def _remark_bias(self, errors: NDArray[np.float64]) -> None:
        """``errors`` are in units of the output."""
        worst = float(errors.max(initial=0.0))
        if worst > TOLERATED_BIAS_ERROR:
            self.diagnostics.remark(
                self.chain.root.location,
                f"{describe(self.chain.root)}: 16 bits of bias are off by up to {worst:.2f} of the "
                "output's unit",
            )
