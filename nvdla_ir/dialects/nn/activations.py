"""Activations with operands, what normalizes across channels, and powers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from nvdla_ir.dialects.nn.base import SameShapeOp
from nvdla_ir.dialects.nn.shapes import ACTIVATION, shape_of, tensor_type, text_of
from nvdla_ir.dialects.nn.unary import UnaryOp
from nvdla_ir.ir.attribute_kinds import FLOAT, INT
from nvdla_ir.ir.constraints import FLOAT_TENSOR
from nvdla_ir.ir.definition import attribute, operand, result
from nvdla_ir.ir.traits import Pure

if TYPE_CHECKING:
    from nvdla_ir.dialects.nn.unary import Array


class PReluOp(SameShapeOp):
    """``x`` where it is positive or 0, else ``slope * x``: one slope a channel, or one for all."""

    name = "nn.prelu"
    traits = (Pure(),)

    input = operand(ACTIVATION)
    slope = operand(FLOAT_TENSOR)
    output = result(ACTIVATION)

    def verify(self) -> Iterable[str]:
        yield from super().verify()
        shape, channels = tensor_type(self.slope).shape, self.channels()
        if shape not in ((1,), (channels,)):
            yield (
                f"has operand 'slope' of shape {text_of(shape)}, but it takes one a channel "
                f"({channels}) or one for all (1)"
            )


class LrnOp(SameShapeOp):
    """Local response normalization across channels, as ONNX defines it:
    ``x / (k + alpha / size * sum(x[c']^2)) ^ beta`` over the ``size`` channels ``c'`` around each
    one: ``(size - 1) // 2`` before it and ``size // 2`` behind it, as far as there are any."""

    name = "nn.lrn"
    traits = (Pure(),)

    input = operand(ACTIVATION)
    size = attribute(INT)
    alpha = attribute(FLOAT, default=1e-4)
    beta = attribute(FLOAT, default=0.75)
    k = attribute(FLOAT, default=1.0)
    output = result(ACTIVATION)

    def verify(self) -> Iterable[str]:
        yield from super().verify()
        rank = len(shape_of(self.input))
        if rank < 2:
            yield f"has an input of {rank} dimensions, which has no channels"
        if self.size < 1:
            yield f"has 'size = {self.size}', but it must be at least 1"


class SoftmaxOp(SameShapeOp):
    """``exp(x) / sum(exp(x))`` along ``axis``: runs on the host, in floats."""

    name = "nn.softmax"
    traits = (Pure(),)

    input = operand(ACTIVATION)
    axis = attribute(INT, default=1)
    output = result(FLOAT_TENSOR)

    def verify(self) -> Iterable[str]:
        yield from super().verify()
        rank = len(shape_of(self.input))
        if not 0 <= self.axis < rank:
            yield f"has 'axis = {self.axis}', but its input has {rank} dimensions"


class PowerOp(UnaryOp):
    """``(shift + scale * x) ** power``"""

    name = "nn.power"

    power = attribute(FLOAT, default=1.0)
    scale = attribute(FLOAT, default=1.0)
    shift = attribute(FLOAT, default=0.0)

    def function(self, x: Array) -> Array:
        import numpy as np

        with np.errstate(all="ignore"):
            return np.power(self.shift + self.scale * x, self.power)
