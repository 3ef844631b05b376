"""From accumulators, or from int8 in memory, to int8 of the output's scale."""

from __future__ import annotations

import numpy as np
from attrs import field, frozen
from numpy.typing import ArrayLike

from nvdla_ir.arith.fixed_point import (
    LARGEST_MULTIPLIER,
    FixedPoint,
    FixedPointVector,
    fixed_point,
    round_half_away,
    rounded_half_away,
)
from nvdla_ir.dialects.layer import describe
from nvdla_ir.dialects.nn import AddOp, ReluOp, SubOp
from nvdla_ir.dialects.quant import UniformType
from nvdla_ir.ir.diagnostics import DiagnosticCollector
from nvdla_ir.ir.operation import Value
from nvdla_ir.passes.conversion.alignment import (
    HEADROOM,
    INT8_SPAN,
    Alignment,
    rectifies_late,
)
from nvdla_ir.passes.conversion.chain import Chain
from nvdla_ir.passes.conversion.pipeline import (
    IDENTITY,
    LARGEST_SUMMAND,
    Bias,
    Integers,
    Pipeline,
    Reals,
    factor_values,
    multipliers_for,
)

# Binary places kept below the output's unit where the bias is added after the multiplier.
FINE_BITS = 8
# The bias may be off by this much of the output's unit before its other place is taken.
TOLERATED_BIAS_ERROR = 0.25
# Multipliers of fewer bits lose precision. (quantization.md section 3, item 2)
PRECISION_REMARK_BELOW = 1 << 8
_ZERO: Integers = np.zeros(1, np.int64)


def _reals(values: ArrayLike) -> Reals:
    return np.array(values, np.float64)


@frozen(eq=False)
class Source:
    """What enters the pipeline.

    bounds: the largest magnitude it can have, in stored units
    bias:   real numbers to add behind the pipeline's gains, one a channel, or None
    """

    bounds: Reals = field(converter=_reals)
    bias: Reals | None = None

    def reach(self, scales: Reals) -> float:
        """The largest magnitude of the sum, a real; ``scales``: what one unit stands for."""
        bias = 0.0 if self.bias is None else np.abs(self.bias)
        return float((np.abs(scales) * self.bounds + bias).max())


@frozen(eq=False)
class Residual:
    """A tensor that ``owner`` adds in the pipeline; ``negated``: the sum is then negated."""

    owner: AddOp | SubOp
    value: Value
    alignment: Alignment
    negated: bool = False


class Epilogue:
    """Emits the steps for one chain."""

    def __init__(
        self,
        pipeline: Pipeline,
        source: Source,
        chain: Chain,
        output: UniformType,
        diagnostics: DiagnosticCollector,
        slopes: Reals | None = None,
    ) -> None:
        self.pipeline = pipeline
        self.source = source
        self.chain = chain
        self.output = output
        self.diagnostics = diagnostics
        self.slopes = slopes

    def emit(self, residual: Residual | None) -> Value:
        """The int8 value. Raises: OperandError where a factor cannot be represented."""
        if residual is not None:
            return self._with_residual(residual)
        # Gains may be zero, so that only behind them is place; slopes need places to round to.
        if self.pipeline.has_gains or self.slopes is not None:
            return self._factor_first()
        return self._bias_first()

    # -------------------------------------------------------------- without residual

    def _bias_first(self) -> Value:
        """Bias, then the factor straight to the output's unit, rounding once. The output
        converter has the factor, unless there is one a channel."""
        pipe, output = self.pipeline, self.output
        factors = multipliers_for(pipe.units / output.scale)
        values = self._bias_before(factor_values(factors), output.scale)
        bias = Bias.nearest(values)
        if _worst(bias.errors(values), factor_values(factors)) > TOLERATED_BIAS_ERROR:
            return self._factor_first()
        converter, exact = IDENTITY, float(-output.zero_point)
        if isinstance(factors, FixedPoint):
            converter, exact = factors, -output.zero_point / factors.value
        offset = round_half_away(exact)
        if (
            abs(offset) > LARGEST_SUMMAND
            or abs(offset - exact) * converter.value > TOLERATED_BIAS_ERROR
        ):
            return self._factor_first()
        self._add_bias(bias)
        if isinstance(factors, FixedPointVector):
            self._remark_coarse(factors)
            pipe.rescale(factors, output.scale, self.chain.root, (0,))
        self._relu(self.chain.early_relu)
        return pipe.convert(converter, offset, output, self.chain.last).output

    def _factor_first(self) -> Value:
        """The factor first, to 2^-8 of the output's unit; there 16 bits hold most biases. Where
        they do not, the coarse part of the bias comes before the factor. (quantization.md
        section 3, item 3)"""
        pipe, output, root = self.pipeline, self.output, self.chain.root
        largest = float(np.abs(pipe.units).max()) / output.scale
        reach = 0.0
        if self.slopes is not None:  # What is positive wraps around at 32 bits.
            reach = self.source.reach(pipe.units) / output.scale
        bits = FINE_BITS
        while (
            bits
            and max(largest * (1 << bits) / LARGEST_MULTIPLIER, reach * (1 << bits) / HEADROOM) > 1
        ):
            bits -= 1
        fine = output.scale / (1 << bits)
        factors = multipliers_for(pipe.units / fine, may_vanish=self.pipeline.has_gains)
        self._remark_coarse(factors)
        zero_points = pipe.rescaled_zero_points(factors)
        values = self._bias_behind(factor_values(factors), fine) - zero_points
        bias = Bias.nearest(values)
        tolerated = TOLERATED_BIAS_ERROR * (1 << bits)
        if not self.pipeline.has_gains and bias.errors(values).max(initial=0.0) > tolerated:
            coarse = Bias.nearest(values / factor_values(factors))
            pipe.add_bias(coarse, root, pipe.zero_points)
            values = values - coarse.values * factor_values(factors)
            bias = Bias.nearest(values)
        self._remark_bias(bias.errors(values) / (1 << bits))
        pipe.rescale(factors, fine, root, zero_points)
        self._add_bias(bias)
        self._relu(self.chain.early_relu)
        self._slope()
        offset = -output.zero_point << bits
        return pipe.convert(FixedPoint(1, bits), offset, output, self.chain.last).output

    # -------------------------------------------------------------- with residual

    def _with_residual(self, residual: Residual) -> Value:
        """Bring the accumulator to the common scale, add, convert. (quantization.md section 3,
        item 1)"""
        pipe, output, chain = self.pipeline, self.output, self.chain
        alignment = residual.alignment
        common = alignment.scale
        factors = multipliers_for(pipe.units / common)
        self._remark_coarse(factors)
        factor = fixed_point(common / output.scale * (-1 if residual.negated else 1))
        # The residual's zero point goes with the converter's offset, which has 32 bits, unless a
        # ReLU or slope comes before that.
        late = rectifies_late(chain, output)
        with_bias = alignment.zero_point if late else 0
        if isinstance(residual.owner, SubOp) and not late:  # of int8: the zero point can stay
            pipe.rescale(factors, common, chain.root, pipe.rescaled_zero_points(factors))
        else:
            values = self._bias_before(factor_values(factors), common, with_bias)
            bias = Bias.nearest(values)
            errors = bias.errors(values)
            self._remark_bias(errors * (np.abs(factor_values(factors)) * factor.value))
            self._add_bias(bias, rounded_half_away(-with_bias / factor_values(factors)))
            pipe.rescale(factors, common, chain.root, (-with_bias,))
        self._relu(chain.early_relu)
        pipe.add_cube(residual.value, alignment.zero_point, alignment.shift, residual.owner)
        if late:
            self._relu(chain.late_relu)
            self._slope()
        offset = int(pipe.zero_points[0]) - round_half_away(output.zero_point / factor.value)
        return pipe.convert(factor, offset, output, chain.last).output

    # -------------------------------------------------------------- parts

    def _bias_behind(self, factors: Reals, unit: float) -> Reals:
        """The bias as it should come out of ``factors``, in units of ``unit``.

        One that the output can hold comes out exact, whatever the factors' rounding. A larger one
        must be cancelled by the rest of the sum, so it is off by as much as that; where the factor
        has vanished there is no rest.
        """
        reals = self.source.bias
        if reals is None:
            return np.zeros(max(len(factors), len(self.pipeline.zero_points)))
        reals, scales, factors = np.broadcast_arrays(reals, self.pipeline.units, factors)
        large = (np.abs(reals) > INT8_SPAN * self.output.scale) & (factors != 0)
        behind = reals / unit
        behind[large] = reals[large] / scales[large] * factors[large]
        return behind

    def _bias_before(self, factors: Reals, unit: float, constant: int = 0) -> Reals:
        """The bias in the pipeline's stored units ahead of ``factors``, which lead to ``unit``;
        there, ``constant`` is subtracted. The zero points are taken out."""
        behind = self._bias_behind(factors, unit)
        return (behind - constant) / factors - self.pipeline.zero_points

    def _add_bias(self, bias: Bias, zero_points: Integers = _ZERO) -> None:
        """Add a bias that leaves the zero points at ``zero_points``. One of zeros is left out
        where they are there already."""
        if not bias.is_zero or (self.pipeline.zero_points != zero_points).any():
            self.pipeline.add_bias(bias, self.chain.root, zero_points)

    def _relu(self, relu: ReluOp | None) -> None:
        if relu is not None:
            self.pipeline.relu(relu)

    def _slope(self) -> None:
        if self.slopes is not None and self.chain.leaky is not None:
            self.pipeline.prelu(_multipliers_of(self.slopes), self.chain.leaky)

    def _remark_coarse(self, factors: FixedPoint | FixedPointVector) -> None:
        """Channels whose multiplier has few bits; where nothing but zeros enters, none matter."""
        if not isinstance(factors, FixedPointVector):
            return
        few_bits = np.abs(np.array(factors.multipliers)) < PRECISION_REMARK_BELOW
        matters = (self.source.bounds != 0) & (self.pipeline.units != 0)
        coarse: list[int] = np.flatnonzero(few_bits & matters).tolist()
        if coarse:
            listed = ", ".join(map(str, coarse[:8])) + (" …" if len(coarse) > 8 else "")
            self.diagnostics.remark(
                self.chain.root.location,
                f"{describe(self.chain.root)}: {len(coarse)} of {len(factors.multipliers)} "
                f"channels have a multiplier under 8 bits, beside much larger ones: {listed}",
            )

    def _remark_bias(self, errors: Reals) -> None:
        """``errors`` are in units of the output."""
        worst = float(errors.max(initial=0.0))
        if worst > TOLERATED_BIAS_ERROR:
            self.diagnostics.remark(
                self.chain.root.location,
                f"{describe(self.chain.root)}: 16 bits of bias are off by up to {worst:.2f} of the "
                "output's unit",
            )


def _multipliers_of(slopes: Reals) -> FixedPoint | FixedPointVector:
    if not slopes.any():
        return FixedPoint(0, 0)
    return multipliers_for(slopes, may_vanish=True)


def _worst(errors: Reals, factors: Reals) -> float:
    return float((errors * np.abs(factors)).max(initial=0.0))
