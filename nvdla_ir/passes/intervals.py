"""What values of a network can be, whatever comes in."""

from __future__ import annotations

import math
from typing import TypeAlias

from attrs import frozen

from nvdla_ir.dialects import nn
from nvdla_ir.dialects.quant import GridType, UniformType
from nvdla_ir.ir.operation import Value
from nvdla_ir.ir.rewriter import TensorStore

Interval: TypeAlias = "tuple[float, float]"
_EVERYTHING: Interval = (-math.inf, math.inf)

_OF_ALL: dict[type[nn.UnaryOp], Interval] = {
    nn.SigmoidOp: (0.0, 1.0),
    nn.HardSigmoidOp: (0.0, 1.0),
    nn.TanhOp: (-1.0, 1.0),
    nn.SoftplusOp: (0.0, math.inf),
    nn.ExpOp: (0.0, math.inf),
    nn.AbsOp: (0.0, math.inf),
    nn.ReluOp: (0.0, math.inf),
}
"""What functions give, whatever comes in."""

_OF_THE_SAME = (
    nn.MaxPoolOp,
    nn.GlobalMaxPoolOp,
    nn.GlobalAveragePoolOp,
    nn.RearrangementOp,
    nn.SliceOp,
    nn.UpsampleOp,
)
"""What gives elements of its input, or what is between them."""


@frozen
class Intervals:
    """What values can be, by what computes them and by their calibrated ranges, to which integers
    saturate."""

    tensors: TensorStore

    def of(self, value: Value) -> Interval:
        low, high = self._computed(value)
        element = nn.tensor_type(value).element
        if isinstance(element, GridType | UniformType):
            codes = element.quantized() if isinstance(element, GridType) else element
            ends = (codes.scale * (end - codes.zero_point) for end in codes.storage_range)
            lowest, highest = ends
            # Half a step for the rounding.
            low, high = max(low - codes.scale / 2, lowest), min(high + codes.scale / 2, highest)
        return low, high

    def _computed(self, value: Value) -> Interval:
        op = value.defining_operation
        if isinstance(op, nn.ConstantOp):
            numbers = self.tensors.elements(op.value, op.location)
            return float(numbers.min()), float(numbers.max())
        if isinstance(op, nn.AddOp):
            left, right = self.of(op.lhs), self.of(op.rhs)
            return left[0] + right[0], left[1] + right[1]
        if isinstance(op, nn.BiasAddOp | nn.ScaleOp):
            return self._affine(op)
        if isinstance(op, nn.MaxOp | nn.MinOp):
            left, right = self.of(op.lhs), self.of(op.rhs)
            choose = max if isinstance(op, nn.MaxOp) else min
            return choose(left[0], right[0]), choose(left[1], right[1])
        if isinstance(op, nn.ClipOp):
            low, high = self.of(op.input)
            low = low if op.minimum is None else max(low, op.minimum)
            return low, high if op.maximum is None else min(high, op.maximum)
        if isinstance(op, nn.MulOp) and op.lhs is op.rhs:
            return 0.0, math.inf
        if isinstance(op, nn.PowerOp):
            return self._power(op)
        if isinstance(op, nn.UnaryOp):
            return _OF_ALL.get(type(op), _EVERYTHING)
        if isinstance(op, _OF_THE_SAME):
            return self.of(op.input)
        if isinstance(op, nn.AveragePoolOp):
            low, high = self.of(op.input)  # and zeros
            return min(low, 0.0), max(high, 0.0)
        return _EVERYTHING

    def _power(self, op: nn.PowerOp) -> Interval:
        low, high = sorted(op.shift + op.scale * end for end in self.of(op.input))
        if op.power > 0 and low >= 0:
            return low**op.power, high**op.power
        return (0.0, math.inf) if op.power % 2 == 0 else _EVERYTHING

    def _affine(self, op: nn.BiasAddOp | nn.ScaleOp) -> Interval:
        low, high = self.of(op.input)
        if isinstance(op, nn.ScaleOp):
            products = [end * factor for end in (low, high) for factor in self.of(op.scale)]
            low, high = min(products), max(products)
        if op.bias is not None:
            bias = self.of(op.bias)
            low, high = low + bias[0], high + bias[1]
        return (low, high) if not math.isnan(low + high) else _EVERYTHING
