"""Emits the steps of the 32-bit pipeline, and keeps account of what each stands for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

from attrs import define

from nvdla_ir.arith.fixed_point import (
    FixedPoint,
    FixedPointVector,
    fixed_point,
    fixed_point_vector,
    left_shift_for,
    round_half_away,
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

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

A = TypeVar("A")
B = TypeVar("B")

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
    def nearest(values: Sequence[float]) -> Bias:
        """The 16 bits and common shift nearest to ``values``, which saturate at 32 bits."""
        import numpy as np

        saturated = np.clip(np.array(values, np.float64), -LARGEST_SUMMAND, LARGEST_SUMMAND)
        shift = left_shift_for(rounded_half_away(saturated).tolist())
        return Bias(rounded_half_away(saturated / (1 << shift)).astype(np.int16), shift)

    @property
    def values(self) -> list[float]:
        """What is added."""
        return [float(value * (1 << self.shift)) for value in self.stored.tolist()]

    def errors(self, values: Sequence[float]) -> NDArray[np.float64]:
        """By how much each channel is off."""
        import numpy as np

        return np.abs(np.array(self.values) - np.array(values))

    @property
    def is_zero(self) -> bool:
        """Whether nothing is added."""
        return not self.stored.any()


class Pipeline:
    """The value on its way through the pipeline, with the real value of one unit of it.

    scales: one for the whole tensor, or one a channel
    gains:  what a layer multiplies by that the multiplier is still to apply, likewise; they may be
        negative or zero
    """

    def __init__(
        self,
        builder: Builder,
        resources: ResourceStore,
        value: Value,
        scales: Sequence[float],
        zero_points: Sequence[int],
        name: str,
    ) -> None:
        self.builder = builder
        self.resources = resources
        self.value = value
        self.scales = tuple(scales)
        self.gains: tuple[float, ...] = (1.0,)
        self.zero_points = tuple(zero_points)
        self.name = name

    @property
    def units(self) -> tuple[float, ...]:
        """What one unit stands for behind the gains."""
        return tuple(scale * gain for scale, gain in same_length(self.scales, self.gains))

    @property
    def has_gains(self) -> bool:
        """Whether the multiplier is more than a ratio of scales."""
        return self.gains != (1.0,)

    def _finish(self, op: Operation) -> None:
        self.value = op.results[0]

    def _result_types(self) -> list[object]:
        return [tensor_type(self.value).with_element(pipeline_type(self.scales, self.zero_points))]

    def add_bias(self, bias: Bias, owner: Operation, zero_points: Sequence[int] = (0,)) -> None:
        """Add a bias, after which the real 0 is stored as ``zero_points``."""
        self.zero_points = tuple(zero_points)
        stored: list[int] = bias.stored.tolist()
        fields: dict[str, object] = {}
        if len(set(stored)) == 1:
            fields["value"] = stored[0]
        else:
            scales = [scale * (1 << bias.shift) for scale in self.scales]
            element: QuantizedType = (
                UniformType(I16, F32, scales[0])
                if len(set(scales)) == 1
                else UniformPerAxisType(I16, F32, 0, tuple(scales))
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
        self.zero_points = tuple(zero + zero_point for zero in self.zero_points)
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

    def rescaled_zero_points(self, factors: FixedPoint | FixedPointVector) -> tuple[int, ...]:
        """What the zero points become behind ``factors``, rounded."""
        return tuple(
            round_half_away(zero_point * factor)
            for zero_point, factor in same_length(self.zero_points, factor_values(factors))
        )

    def rescale(
        self,
        factors: FixedPoint | FixedPointVector,
        scale: float,
        owner: Operation,
        zero_points: Sequence[int],
    ) -> None:
        """Multiply, so that one unit stands for ``scale`` (but for the multipliers' rounding), with
        the gains applied, and the real 0 is stored as ``zero_points``."""
        self.zero_points = tuple(zero_points)
        self.scales, self.gains = (scale,), (1.0,)
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
        import numpy as np

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


def pipeline_type(scales: Sequence[float], zero_points: Sequence[int]) -> QuantizedType:
    """The type of a tensor in the pipeline; each is one for all, or one a channel."""
    if len(set(scales)) == 1 and len(set(zero_points)) == 1:
        return UniformType(I32, F32, scales[0], zero_points[0])
    pairs = same_length(scales, zero_points)
    return UniformPerAxisType(
        I32, F32, 1, tuple(scale for scale, _ in pairs), tuple(zero for _, zero in pairs)
    )


def same_length(first: Sequence[A], second: Sequence[B]) -> list[tuple[A, B]]:
    """Pairs a channel, where either may be one for all channels."""
    count = max(len(first), len(second))
    return list(
        zip(
            [*first] * (count if len(first) == 1 else 1),
            [*second] * (count if len(second) == 1 else 1),
            strict=True,
        )
    )


def multipliers_for(
    factors: Sequence[float], *, may_vanish: bool = False
) -> FixedPoint | FixedPointVector:
    """One multiplier where there is one factor, else one a channel. Raises: OperandError."""
    if len(factors) == 1:
        return fixed_point(factors[0])
    return fixed_point_vector(factors, may_vanish=may_vanish)


def factor_values(factors: FixedPoint | FixedPointVector) -> tuple[float, ...]:
    """The factors after rounding: one for all channels, or one a channel."""
    return (factors.value,) if isinstance(factors, FixedPoint) else factors.values
