"""Emits the steps of the 32-bit pipeline, and keeps account of what each stands for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from attrs import define

from nvdla_ir.arith.fixed_point import (
    FixedPoint,
    FixedPointVector,
    fixed_point,
    fixed_point_vector,
    left_shift_for,
    round_half_away,
)
from nvdla_ir.dialects.layer import layers_of
from nvdla_ir.dialects.nn import (
    ConstantOp,
    OutputConverterOp,
    ReluOp,
    RescaleOp,
    ShiftAddOp,
    tensor_type,
)
from nvdla_ir.dialects.quant import QuantizedType, UniformPerAxisType, UniformType
from nvdla_ir.ir.builder import Builder
from nvdla_ir.ir.operation import Operation, Value
from nvdla_ir.ir.types import F32, I32, IntegerType
from nvdla_ir.resources import ResourceStore

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

I16 = IntegerType(16)
PRECISION_REMARK_BELOW = 1 << 8
IDENTITY = FixedPoint(1, 0)


@define(eq=False)
class Bias:
    """A bias as the ALU adds it: ``stored << shift``, one a channel.

    error: how far the worst channel is off, in the unit of what it is added to
    """

    stored: NDArray[np.int16]
    shift: int

    @staticmethod
    def nearest(values: Sequence[float]) -> Bias:
        """The 16 bits and common shift nearest to ``values``."""
        import numpy as np

        shift = left_shift_for([round_half_away(value) for value in values])
        step = 1 << shift
        stored = [round_half_away(value / step) for value in values]
        return Bias(np.array(stored, np.int16), shift)

    def errors(self, values: Sequence[float]) -> NDArray[np.float64]:
        """By how much each channel is off."""
        import numpy as np

        return np.abs(self.stored.astype(np.float64) * (1 << self.shift) - np.array(values))

    @property
    def is_zero(self) -> bool:
        return not self.stored.any()


class Pipeline:
    """The value on its way through the pipeline, with the real value of one unit of it.

    scales: one for the whole tensor, or one a channel
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
        self.zero_points = tuple(zero_points)
        self.name = name

    def _element(self) -> QuantizedType:
        if len(set(self.scales)) == 1 and len(set(self.zero_points)) == 1:
            return UniformType(I32, F32, self.scales[0], self.zero_points[0])
        count = max(len(self.scales), len(self.zero_points))
        return UniformPerAxisType(
            I32,
            F32,
            1,
            self.scales * (count if len(self.scales) == 1 else 1),
            self.zero_points * (count if len(self.zero_points) == 1 else 1),
        )

    def _finish(self, op: Operation) -> None:
        self.value = op.results[0]

    def _result_types(self) -> list[object]:
        return [tensor_type(self.value).with_element(self._element())]

    def add_value(self, value: int, owner: Operation) -> None:
        """Add one number to all elements; it takes the zero point out."""
        self.zero_points = tuple(zero_point + value for zero_point in self.zero_points)
        self._finish(
            self.builder.create(
                ShiftAddOp,
                input=self.value,
                value=value,
                layers=layers_of(owner),
                result_types=self._result_types(),
            )
        )

    def add_bias(self, bias: Bias, owner: Operation) -> None:
        """Add a bias that also takes out the zero points."""
        scales = [scale * (1 << bias.shift) for scale in self.scales]
        if len(set(scales)) == 1:
            element: QuantizedType = UniformType(I16, F32, scales[0])
        else:
            element = UniformPerAxisType(I16, F32, 0, tuple(scales))
        table = self.constant("bias", bias.stored, element)
        self.zero_points = (0,)
        self._finish(
            self.builder.create(
                ShiftAddOp,
                input=self.value,
                addend=table,
                shift=bias.shift or None,
                layers=layers_of(owner),
                result_types=self._result_types(),
            )
        )

    def _spread(self, count: int) -> Sequence[int]:
        return self.zero_points if len(self.zero_points) == count else self.zero_points * count

    def add_cube(
        self, cube: Value, scale: float, zero_point: int, shift: int, owner: Operation
    ) -> None:
        """Add an int8 tensor from memory, shifted left to the pipeline's scale."""
        self.zero_points = tuple(z + (zero_point << shift) for z in self.zero_points)
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

    def rescale(
        self, factors: FixedPoint | FixedPointVector, scale: float, owner: Operation
    ) -> None:
        """Multiply, so that one unit stands for ``scale`` (but for the multipliers' rounding)."""
        import numpy as np

        values = factor_values(factors)
        count = max(len(values), len(self.zero_points))
        spread = values * (count if len(values) == 1 else 1)
        self.zero_points = tuple(
            round_half_away(zero_point * factor)
            for zero_point, factor in zip(self._spread(count), spread, strict=True)
        )
        self.scales = (scale,)
        fields: dict[str, object] = {"shift": factors.shift}
        if isinstance(factors, FixedPoint):
            fields["value"] = factors.multiplier
        else:
            table = np.array(factors.multipliers, np.int16)
            fields["multiplier"] = self.constant("multiplier", table, None)
        self._finish(
            self.builder.create(
                RescaleOp,
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


def multipliers_for(factors: Sequence[float]) -> FixedPoint | FixedPointVector:
    """One multiplier where there is one factor, else one a channel. Raises: OperandError."""
    return fixed_point(factors[0]) if len(factors) == 1 else fixed_point_vector(factors)


def factor_values(factors: FixedPoint | FixedPointVector) -> tuple[float, ...]:
    return (factors.value,) if isinstance(factors, FixedPoint) else factors.values
