"""Emits the steps of the 32-bit pipeline, and keeps account of what each stands for."""

from __future__ import annotations

import numpy as np
from attrs import define
from numpy.typing import ArrayLike, NDArray

from nvdla_ir.arith.fixed_point import (
    FixedPoint,
    FixedPointVector,
    fixed_point,
    fixed_point_vector,
    left_shift_for,
    rounded_half_away,
)
from nvdla_ir.dialects.fixed import OutputConverterOp, PReluOp, RescaleOp, ShiftAddOp
from nvdla_ir.dialects.layer import layers_of
from nvdla_ir.dialects.nn import ConstantOp, ReluOp, tensor_type
from nvdla_ir.dialects.quant import QuantizedType, UniformPerAxisType, UniformType
from nvdla_ir.ir.builder import Builder
from nvdla_ir.ir.operation import Operation, Value
from nvdla_ir.ir.types import F32, I32, IntegerType
from nvdla_ir.resources import ResourceStore

Reals = NDArray[np.float64]
"""One for all channels, or one a channel: two of them broadcast."""

Integers = NDArray[np.int64]
"""Likewise."""

I16 = IntegerType(16)
IDENTITY = FixedPoint(1, 0)
LARGEST_SUMMAND = (1 << 31) - 1


@define(eq=False)
class Bias:
    """A bias as the ALU adds it: ``stored << shift``, one a channel, for which it has 32 bits.
    (sdp.md section 4)"""

    stored: NDArray[np.int16]
    shift: int

    @staticmethod
    def nearest(values: Reals) -> Bias:
        """The 16 bits and common shift nearest to ``values``, which saturate at 32 bits."""
        saturated = np.clip(values, -LARGEST_SUMMAND, LARGEST_SUMMAND)
        rounded = rounded_half_away(saturated)
        shift = left_shift_for([int(rounded.min(initial=0)), int(rounded.max(initial=0))])
        return Bias(rounded_half_away(saturated / (1 << shift)).astype(np.int16), shift)

    @property
    def values(self) -> Reals:
        """What is added."""
        return self.stored.astype(np.float64) * (1 << self.shift)

    def errors(self, values: Reals) -> Reals:
        """By how much each channel is off."""
        return np.abs(self.values - values)

    @property
    def is_zero(self) -> bool:
        """Whether nothing is added."""
        return not self.stored.any()


class Pipeline:
    """The value on its way through the pipeline, with the real value of one unit of it.

    scales: of the stored integers
    gains:  what a layer multiplies by that the multiplier is still to apply; they may be negative
        or zero
    """

    def __init__(
        self,
        builder: Builder,
        resources: ResourceStore,
        value: Value,
        scales: ArrayLike,
        zero_points: ArrayLike,
        name: str,
        gains: ArrayLike = (1.0,),
    ) -> None:
        self.builder = builder
        self.resources = resources
        self.value = value
        self.scales: Reals = np.array(scales, np.float64)
        self.gains: Reals = np.array(gains, np.float64)
        self.zero_points: Integers = np.array(zero_points, np.int64)
        self.name = name

    @property
    def units(self) -> Reals:
        """What one unit stands for behind the gains."""
        return self.scales * self.gains

    @property
    def has_gains(self) -> bool:
        """Whether the multiplier is more than a ratio of scales."""
        return self.gains.tolist() != [1.0]

    def _finish(self, op: Operation) -> None:
        self.value = op.results[0]

    def _result_types(self) -> list[object]:
        return [tensor_type(self.value).with_element(pipeline_type(self.scales, self.zero_points))]

    def add_bias(self, bias: Bias, owner: Operation, zero_points: Integers) -> None:
        """Add a bias, after which the real 0 is stored as ``zero_points``."""
        self.zero_points = zero_points
        fields: dict[str, object] = {}
        if _is_one(bias.stored):
            fields["value"] = int(bias.stored[0])
        else:
            scales = self.scales * float(1 << bias.shift)
            element: QuantizedType = (
                UniformType(I16, F32, float(scales[0]))
                if _is_one(scales)
                else UniformPerAxisType(I16, F32, 0, tuple(scales.tolist()))
            )
            fields["addend"] = self.constant("bias", bias.stored, element)
        self._finish(
            self.builder.create(
                ShiftAddOp,
                input=self.value,
                shift=bias.shift or None,
                layers=layers_of(owner),
                result_types=self._result_types(),
                **fields,
            )
        )

    def add_cube(self, cube: Value, zero_point: int, shift: int, owner: Operation) -> None:
        """Add an int8 tensor from memory, shifted left to the pipeline's scale, in which its zero
        point is ``zero_point``."""
        self.zero_points = self.zero_points + zero_point
        self._finish(
            self.builder.create(
                ShiftAddOp,
                input=self.value,
                addend=cube,
                shift=shift or None,
                layers=layers_of(owner),
                result_types=self._result_types(),
            )
        )

    def rescaled_zero_points(self, factors: FixedPoint | FixedPointVector) -> Integers:
        """What the zero points become behind ``factors``, rounded."""
        return rounded_half_away(self.zero_points * factor_values(factors))

    def rescale(
        self,
        factors: FixedPoint | FixedPointVector,
        scale: float,
        owner: Operation,
        zero_points: ArrayLike,
    ) -> None:
        """Multiply, so that one unit stands for ``scale`` (but for the multipliers' rounding), with
        the gains applied, and the real 0 is stored as ``zero_points``."""
        self.zero_points = np.array(zero_points, np.int64)
        self.scales, self.gains = np.array([scale]), np.ones(1)
        self._multiply(RescaleOp, factors, "multiplier", owner)

    def prelu(self, slopes: FixedPoint | FixedPointVector, owner: Operation) -> None:
        """Multiply what is negative."""
        self._multiply(PReluOp, slopes, "slope", owner)

    def _multiply(
        self,
        op_class: type[RescaleOp | PReluOp],
        factors: FixedPoint | FixedPointVector,
        role: str,
        owner: Operation,
    ) -> None:
        fields: dict[str, object] = {"shift": factors.shift}
        if isinstance(factors, FixedPoint):
            fields["value"] = factors.multiplier
        else:
            table = np.array(factors.multipliers, np.int16)
            fields["multiplier"] = self.constant(role, table, None)
        self._finish(
            self.builder.create(
                op_class,
                input=self.value,
                layers=layers_of(owner),
                result_types=self._result_types(),
                **fields,
            )
        )

    def relu(self, owner: ReluOp) -> None:
        self._finish(
            self.builder.create(
                ReluOp,
                input=self.value,
                layers=layers_of(owner),
                result_types=self._result_types(),
            )
        )

    def convert(
        self, factor: FixedPoint, offset: int, element: UniformType, owner: Operation
    ) -> OutputConverterOp:
        """Leave the pipeline as int8 of type ``element``."""
        op = self.builder.create(
            OutputConverterOp,
            input=self.value,
            offset=offset or None,
            scale=factor.multiplier if factor != IDENTITY else None,
            shift=factor.shift or None,
            layers=layers_of(owner),
            result_types=[tensor_type(self.value).with_element(element)],
        )
        self._finish(op)
        return op

    def constant(
        self, role: str, values: NDArray[np.int16], element: QuantizedType | None
    ) -> Value:
        """A table of 16-bit numbers, kept under the layer's name."""
        key = f"{self.name}.{role}"
        attribute = self.resources.attribute_for(key, values, I16)
        types = [attribute.type if element is None else attribute.type.with_element(element)]
        op = self.builder.create(ConstantOp, value=attribute, result_types=types)
        op.output.name_hint = key.replace("/", "_").replace(".", "_")
        return op.output


def pipeline_type(scales: ArrayLike, zero_points: ArrayLike) -> QuantizedType:
    """The type of a tensor in the pipeline; each is one for all channels, or one a channel."""
    reals, zeros = np.broadcast_arrays(np.array(scales, np.float64), np.array(zero_points))
    if _is_one(reals) and _is_one(zeros):
        return UniformType(I32, F32, float(reals[0]), int(zeros[0]))
    return UniformPerAxisType(I32, F32, 1, tuple(reals.tolist()), tuple(zeros.tolist()))


def _is_one(values: NDArray[np.generic]) -> bool:
    """Whether all channels have the same."""
    return bool((values == values[0]).all())


def multipliers_for(factors: Reals, *, may_vanish: bool = False) -> FixedPoint | FixedPointVector:
    """One multiplier where there is one factor, else one a channel. Raises: OperandError."""
    if len(factors) == 1:
        return fixed_point(float(factors[0]))
    return fixed_point_vector(factors, may_vanish=may_vanish)


def factor_values(factors: FixedPoint | FixedPointVector) -> Reals:
    """The factors after rounding."""
    multipliers = factors.multiplier if isinstance(factors, FixedPoint) else factors.multipliers
    return np.ldexp(np.array(multipliers, np.float64, ndmin=1), -factors.shift)
