"""Functions of each element.

A class states all there is to know of its function: the operation's name and fields, what ONNX
calls it, and what it computes. The interpreter, the importers and look-up tables go by that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from nvdla_ir.dialects.nn.base import SameShapeOp
from nvdla_ir.dialects.nn.shapes import ACTIVATION
from nvdla_ir.dialects.quant import UniformType
from nvdla_ir.ir.attribute_kinds import FLOAT, enumeration
from nvdla_ir.ir.definition import attribute, operand, optional_attribute, result
from nvdla_ir.ir.traits import Pure

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from nvdla_ir.arith.errors import Int8Array

    Array: TypeAlias = NDArray[np.floating[Any]]


class UnaryOp(SameShapeOp):
    """A function of each element. On int8 with one scale it makes the code nearest to the function
    of the number that a code stands for, halves away from zero, saturated.

    onnx_name: the operator of ONNX that is this one, whose attributes are called, and by default
               are, as the fields are here
    """

    traits = (Pure(),)
    onnx_name: ClassVar[str | None] = None

    input = operand(ACTIVATION)
    output = result(ACTIVATION)

    def function(self, x: Array) -> Array:
        """What the elements ``x`` (float32 or float64, any shape) become; infinite where they
        leave the type's range."""
        raise NotImplementedError

    def codes(self, source: UniformType, result: UniformType) -> Int8Array:
        """What the int8 codes of ``source``, from -128 on, become as codes of ``result``.

        Raises: OperandError where the function of no code is a number.
        """
        from nvdla_ir.arith.function_codes import CodeScale, function_codes

        return function_codes(
            self.function,
            CodeScale(source.scale, source.zero_point),
            CodeScale(result.scale, result.zero_point),
        )


class ReluOp(UnaryOp):
    """``max(x, 0)``"""

    name = "nn.relu"
    onnx_name = "Relu"

    def function(self, x: Array) -> Array:
        import numpy as np

        return np.maximum(x, 0)


class LeakyReluOp(UnaryOp):
    """``x`` where it is positive or 0, else ``alpha * x``."""

    name = "nn.leaky_relu"
    onnx_name = "LeakyRelu"

    alpha = attribute(FLOAT, default=0.01)

    def function(self, x: Array) -> Array:
        import numpy as np

        return np.minimum(x, 0) * self.alpha + np.maximum(x, 0)


class ClipOp(UnaryOp):
    """``min(max(x, minimum), maximum)``; a limit that is absent limits nothing. ReLU6 is
    ``minimum=0.0 maximum=6.0``."""

    name = "nn.clip"

    minimum = optional_attribute(FLOAT)
    maximum = optional_attribute(FLOAT)

    def verify(self) -> Iterable[str]:
        yield from super().verify()
        low, high = self.minimum, self.maximum
        if low is not None and high is not None and low > high:
            yield f"has 'minimum = {low}', which is above 'maximum = {high}'"

    def function(self, x: Array) -> Array:
        import numpy as np

        low, high = self.minimum, self.maximum
        return np.clip(x, -math.inf if low is None else low, math.inf if high is None else high)


class ThresholdedReluOp(UnaryOp):
    """``x`` where it is above ``alpha``, else 0."""

    name = "nn.thresholded_relu"
    onnx_name = "ThresholdedRelu"

    alpha = attribute(FLOAT, default=1.0)

    def function(self, x: Array) -> Array:
        import numpy as np

        return np.where(x > self.alpha, x, x.dtype.type(0))


class EluOp(UnaryOp):
    """``x`` where it is positive or 0, else ``alpha * (exp(x) - 1)``."""

    name = "nn.elu"
    onnx_name = "Elu"

    alpha = attribute(FLOAT, default=1.0)

    def function(self, x: Array) -> Array:
        import numpy as np

        return np.expm1(np.minimum(x, 0)) * self.alpha + np.maximum(x, 0)


class CeluOp(UnaryOp):
    """``max(x, 0) + min(alpha * (exp(x / alpha) - 1), 0)``"""

    name = "nn.celu"
    onnx_name = "Celu"

    alpha = attribute(FLOAT, default=1.0)

    def verify(self) -> Iterable[str]:
        yield from super().verify()
        if self.alpha == 0:
            yield "has 'alpha = 0.0', by which it divides"

    def function(self, x: Array) -> Array:
        import numpy as np

        with np.errstate(over="ignore"):
            curve = np.expm1(x / self.alpha) * self.alpha
        return np.maximum(x, 0) + np.minimum(curve, 0)


class SeluOp(UnaryOp):
    """``gamma * x`` where it is positive or 0, else ``gamma * alpha * (exp(x) - 1)``."""

    name = "nn.selu"
    onnx_name = "Selu"

    alpha = attribute(FLOAT, default=1.6732632423543772)
    gamma = attribute(FLOAT, default=1.0507009873554805)

    def function(self, x: Array) -> Array:
        import numpy as np

        return (np.expm1(np.minimum(x, 0)) * self.alpha + np.maximum(x, 0)) * self.gamma


class SigmoidOp(UnaryOp):
    """``1 / (1 + exp(-x))``"""

    name = "nn.sigmoid"
    onnx_name = "Sigmoid"

    def function(self, x: Array) -> Array:
        return _sigmoid(x)


class HardSigmoidOp(UnaryOp):
    """``min(max(alpha * x + beta, 0), 1)``"""

    name = "nn.hard_sigmoid"
    onnx_name = "HardSigmoid"

    alpha = attribute(FLOAT, default=0.2)
    beta = attribute(FLOAT, default=0.5)

    def function(self, x: Array) -> Array:
        import numpy as np

        return np.clip(x * self.alpha + self.beta, 0, 1)


class SwishOp(UnaryOp):
    """``x / (1 + exp(-alpha * x))``; SiLU has an ``alpha`` of 1."""

    name = "nn.swish"
    onnx_name = "Swish"

    alpha = attribute(FLOAT, default=1.0)

    def function(self, x: Array) -> Array:
        return x * _sigmoid(x * self.alpha)


class HardSwishOp(UnaryOp):
    """``x * min(max(x / 6 + 1/2, 0), 1)``"""

    name = "nn.hard_swish"
    onnx_name = "HardSwish"

    def function(self, x: Array) -> Array:
        import numpy as np

        return x * np.clip(x * (1 / 6) + 0.5, 0, 1)


class GeluOp(UnaryOp):
    """``x * Phi(x)``, where ``Phi(x) = (1 + erf(x / sqrt(2))) / 2``, or with ``approximate =
    "tanh"`` is ``(1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x ** 3))) / 2``."""

    name = "nn.gelu"
    onnx_name = "Gelu"

    approximate = attribute(enumeration("none", "tanh"), default="none")

    def function(self, x: Array) -> Array:
        import numpy as np

        if self.approximate == "tanh":
            with np.errstate(over="ignore"):
                inner = (x + x * x * x * 0.044715) * math.sqrt(2 / math.pi)
            return x * (np.tanh(inner) + 1) * 0.5
        return x * _each(math.erfc, x * -math.sqrt(0.5)) * 0.5


class MishOp(UnaryOp):
    """``x * tanh(log(1 + exp(x)))``"""

    name = "nn.mish"
    onnx_name = "Mish"

    def function(self, x: Array) -> Array:
        import numpy as np

        return x * np.tanh(_softplus(x))


class SoftplusOp(UnaryOp):
    """``log(1 + exp(x))``"""

    name = "nn.softplus"
    onnx_name = "Softplus"

    def function(self, x: Array) -> Array:
        return _softplus(x)


class SoftsignOp(UnaryOp):
    """``x / (1 + abs(x))``"""

    name = "nn.softsign"
    onnx_name = "Softsign"

    def function(self, x: Array) -> Array:
        import numpy as np

        return x / (np.abs(x) + 1)


class TanhOp(UnaryOp):
    """``tanh(x)``"""

    name = "nn.tanh"
    onnx_name = "Tanh"

    def function(self, x: Array) -> Array:
        import numpy as np

        return np.tanh(x)


class ErfOp(UnaryOp):
    """The Gauss error function."""

    name = "nn.erf"
    onnx_name = "Erf"

    def function(self, x: Array) -> Array:
        return _each(math.erf, x)


class ExpOp(UnaryOp):
    """``exp(x)``"""

    name = "nn.exp"
    onnx_name = "Exp"

    def function(self, x: Array) -> Array:
        import numpy as np

        with np.errstate(over="ignore"):
            return np.exp(x)


class AbsOp(UnaryOp):
    """``abs(x)``"""

    name = "nn.abs"
    onnx_name = "Abs"

    def function(self, x: Array) -> Array:
        import numpy as np

        return np.abs(x)


UNARY_OPS: tuple[type[UnaryOp], ...] = (
    ReluOp,
    LeakyReluOp,
    ClipOp,
    ThresholdedReluOp,
    EluOp,
    CeluOp,
    SeluOp,
    SigmoidOp,
    HardSigmoidOp,
    SwishOp,
    HardSwishOp,
    GeluOp,
    MishOp,
    SoftplusOp,
    SoftsignOp,
    TanhOp,
    ErfOp,
    ExpOp,
    AbsOp,
)


def _sigmoid(x: Array) -> Array:
    import numpy as np

    with np.errstate(over="ignore"):  # exp(-x) infinite: the sigmoid is 0
        return np.reciprocal(np.exp(-x) + 1)


def _softplus(x: Array) -> Array:
    import numpy as np

    return np.logaddexp(x, x.dtype.type(0))


def _each(function: Callable[[float], float], x: Array) -> Array:
    """A function that numpy has not, in double precision."""
    import numpy as np

    results = np.fromiter(map(function, x.ravel().tolist()), np.float64, x.size)
    return results.reshape(x.shape)
