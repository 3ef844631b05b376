"""The quant dialect: MLIR's quantized types, and the casts between reals and integers.

``real = scale * (stored - zero_point)``
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from attrs import Factory, field, frozen

from nvdla_ir.arith.float32 import float32
from nvdla_ir.ir.attributes import format_float
from nvdla_ir.ir.constraints import FLOAT_TENSOR, tensor_of
from nvdla_ir.ir.definition import Op, operand, result
from nvdla_ir.ir.dialect import Dialect
from nvdla_ir.ir.rewriter import PatternRewriter, RewritePattern
from nvdla_ir.ir.traits import Pure
from nvdla_ir.ir.types import F32, DialectType, FloatType, IntegerType, TensorType, Type
from nvdla_ir.text.elements import parse_integer, parse_number

_INT8_MINIMUM = -128
_INT8_MAXIMUM = 127
# As in MLIR.
_WIDEST_STORAGE = 32
# The digits a decimal needs to name a float32's neighbourhood, and a float64 exactly.
_FEWEST_DIGITS = 6
_MOST_DIGITS = 17


class GridType(DialectType):
    """Base of the types of reals that have a code of 8 bits each: what integers will compute."""

    __slots__ = ()
    expressed: Type

    def quantized(self) -> UniformType:
        """The int8 type of the codes."""
        raise NotImplementedError


@frozen(cache_hash=True)
class CalibratedType(GridType):
    """``!quant.calibrated<f32<-3.2:3.2>>``: reals that were seen in a range.

    That is an observation, not a limit: layers may be computed together without rounding or
    saturation at the range. What limits is an ``nn.fake_quantized`` type.

    The range is what the int8 codes of the tensor stand for, so scale and zero point follow from
    it alone (quantization.md section 1):

    * Symmetric (``minimum == -maximum``): the codes -127 to 127, ``scale = maximum / 127``, zero
      point 0. The code -128 exists but is not part of the range.
    * Asymmetric: the codes -128 to 127, ``scale = (maximum - minimum) / 255``, and zero has the
      exact code ``zero_point = -128 - minimum / scale``, rounded.

    Scales are float32, as in calibration tables and in the vendor's compiler.

    Raises: ValueError on a range that is empty, not finite, without zero, or too small or too
    large for a float32 scale.
    """

    mnemonic = "quant.calibrated"

    expressed: Type
    minimum: float
    maximum: float

    def __attrs_post_init__(self) -> None:
        if not isinstance(self.expressed, FloatType):
            raise ValueError(f"a calibrated type expresses floats, not '{self.expressed}'")
        if not (math.isfinite(self.minimum) and math.isfinite(self.maximum)):
            raise ValueError("the calibrated range must be finite")
        if not self.minimum < self.maximum:
            raise ValueError(f"the calibrated range {self.minimum} to {self.maximum} is empty")
        if not self.minimum <= 0 <= self.maximum:
            raise ValueError(
                f"the calibrated range {self.minimum} to {self.maximum} must contain zero"
            )
        if not 0 < self.scale < math.inf:
            raise ValueError(
                f"the calibrated range {self.minimum} to {self.maximum} has no float32 scale"
            )

    def __str__(self) -> str:
        low, high = format_float(self.minimum), format_float(self.maximum)
        return f"!quant.calibrated<{self.expressed}<{low}:{high}>>"

    @staticmethod
    def of_scale(scale: float, zero_point: int = 0, expressed: Type = F32) -> CalibratedType:
        """The type whose ``scale`` and ``zero_point`` are these, the scale rounded to float32.

        A zero point of 0 means symmetric, others are from -128 to 127. The range is written with
        as few digits as tell it from its neighbours.

        Raises: ValueError where there is no such type.
        """
        scale = float32(scale)
        # A float32 times a number of 9 bits is exact in float64.
        low, high = (
            (scale * (_INT8_MINIMUM - zero_point), scale * (_INT8_MAXIMUM - zero_point))
            if zero_point
            else (-scale * _INT8_MAXIMUM, scale * _INT8_MAXIMUM)
        )
        for digits in range(_FEWEST_DIGITS, _MOST_DIGITS + 1):
            ends = (float(f"{low:.{digits}g}") + 0.0, float(f"{high:.{digits}g}") + 0.0)
            if _scale_of(*ends) == scale and _zero_point_of(*ends) == zero_point:
                return CalibratedType(expressed, *ends)
        raise ValueError(f"there is no range of float32 scale {scale} and zero point {zero_point}")

    @property
    def scale(self) -> float:
        """The real value of one int8 step, rounded to float32."""
        return _scale_of(self.minimum, self.maximum)

    @property
    def zero_point(self) -> int:
        """The int8 code of the real value 0, from -128 to 127."""
        return _zero_point_of(self.minimum, self.maximum)

    def quantized(self) -> UniformType:
        """The int8 type with this scale and zero point."""
        return UniformType(IntegerType(8), self.expressed, self.scale, self.zero_point)


def _scale_of(minimum: float, maximum: float) -> float:
    if minimum == -maximum:
        return float32(maximum / _INT8_MAXIMUM)
    return float32((maximum - minimum) / (_INT8_MAXIMUM - _INT8_MINIMUM))


def _zero_point_of(minimum: float, maximum: float) -> int:
    if minimum == -maximum:
        return 0
    step = (maximum - minimum) / (_INT8_MAXIMUM - _INT8_MINIMUM)
    return math.floor(_INT8_MINIMUM - minimum / step + 0.5)


class QuantizedType(DialectType):
    """Base of the types whose values are stored as integers."""

    __slots__ = ()
    storage: IntegerType
    expressed: Type

    @property
    def storage_range(self) -> tuple[int, int]:
        """The smallest and largest stored integer."""
        return full_range(self.storage)


def full_range(storage: IntegerType) -> tuple[int, int]:
    """The smallest and largest integer of a storage type."""
    if storage.signedness == "u":
        return 0, (1 << storage.width) - 1
    return -(1 << (storage.width - 1)), (1 << (storage.width - 1)) - 1


def _storage_text(storage: IntegerType) -> str:
    return f"{'u' if storage.signedness == 'u' else 'i'}{storage.width}"


def _scale_text(scale: float, zero_point: int) -> str:
    return f"{format_float(scale)}:{zero_point}" if zero_point else format_float(scale)


def _check(
    expressed: Type, storage: IntegerType, scales: Iterable[float], zero_points: Iterable[int]
) -> None:
    if not isinstance(expressed, FloatType):
        raise ValueError(f"a quantized type expresses floats, not '{expressed}'")
    low, high = full_range(storage)
    for scale in scales:
        if not 0 < scale < math.inf:
            raise ValueError(f"the scale {scale} must be positive and finite")
    for zero_point in zero_points:
        if not low <= zero_point <= high:
            raise ValueError(f"the zero point {zero_point} is outside {low} to {high}")


@frozen(cache_hash=True)
class UniformType(QuantizedType):
    """``!quant.uniform<i8:f32, 0.025:3>``: one scale and zero point for the whole tensor.

    Raises: ValueError on a scale that is not positive, or a zero point out of the storage range.
    """

    mnemonic = "quant.uniform"

    storage: IntegerType
    expressed: Type
    scale: float
    zero_point: int = 0

    def __attrs_post_init__(self) -> None:
        _check(self.expressed, self.storage, [self.scale], [self.zero_point])

    def __str__(self) -> str:
        scale = _scale_text(self.scale, self.zero_point)
        return f"!quant.uniform<{_storage_text(self.storage)}:{self.expressed}, {scale}>"


@frozen(cache_hash=True)
class UniformPerAxisType(QuantizedType):
    """``!quant.uniform<i8:f32:0, {0.01, 0.02}>``: one scale a slice along ``axis``."""

    mnemonic = "quant.uniform"

    storage: IntegerType
    expressed: Type
    axis: int
    scales: tuple[float, ...]
    zero_points: tuple[int, ...] = field(
        default=Factory(lambda type: (0,) * len(type.scales), takes_self=True)
    )

    def __attrs_post_init__(self) -> None:
        _check(self.expressed, self.storage, self.scales, self.zero_points)
        if self.axis < 0:
            raise ValueError(f"the axis {self.axis} is negative")

    def __str__(self) -> str:
        scales = ", ".join(map(_scale_text, self.scales, self.zero_points))
        return (
            f"!quant.uniform<{_storage_text(self.storage)}:{self.expressed}:{self.axis}, "
            f"{{{scales}}}>"
        )


def uniform_i8(scale: float, zero_point: int = 0) -> UniformType:
    return UniformType(IntegerType(8), F32, scale, zero_point)


def scales_of(type: QuantizedType) -> tuple[float, ...]:
    """One scale, or one a slice."""
    if isinstance(type, UniformPerAxisType):
        return type.scales
    assert isinstance(type, UniformType)
    return (type.scale,)


def zero_points_of(type: QuantizedType) -> tuple[int, ...]:
    """One zero point, or one a slice."""
    if isinstance(type, UniformPerAxisType):
        return type.zero_points
    assert isinstance(type, UniformType)
    return (type.zero_point,)


def is_quantized(element: Type) -> bool:
    return isinstance(element, QuantizedType)


def per_axis_faults(type: TensorType) -> Iterable[str]:
    """What is wrong with the per-axis element type of a tensor type, if it has one."""
    element = type.element
    if isinstance(element, UniformPerAxisType):
        if element.axis >= len(type.shape):
            yield f"has type '{type}', whose axis {element.axis} does not exist"
        elif type.shape[element.axis] != len(element.scales):
            yield (
                f"has type '{type}' with {len(element.scales)} scales for an extent of "
                f"{type.shape[element.axis]}"
            )


QUANTIZED_TENSOR = tensor_of("quantized integers", is_quantized)
REAL_TENSOR = tensor_of(
    "floats, calibrated or fake-quantized floats",
    lambda element: isinstance(element, FloatType | GridType),
)


class _CastOp(Op):
    def _shape_faults(self) -> Iterable[str]:
        source, target = self.operands[0].type, self.results[0].type
        if isinstance(source, TensorType) and isinstance(target, TensorType):
            if source.shape != target.shape:
                yield f"changes the shape from '{source}' to '{target}'"
            yield from per_axis_faults(source)
            yield from per_axis_faults(target)

    def verify(self) -> Iterable[str]:
        return self._shape_faults()


class QuantizeCastOp(_CastOp):
    """``quant.qcast``: reals to stored integers, rounding to nearest (halves away from zero, as the
    hardware does), saturating."""

    name = "quant.qcast"
    traits = (Pure(),)
    input = operand(REAL_TENSOR)
    output = result(QUANTIZED_TENSOR)


class DequantizeCastOp(_CastOp):
    """``quant.dcast``: stored integers to the reals they stand for."""

    name = "quant.dcast"
    traits = (Pure(),)
    input = operand(QUANTIZED_TENSOR)
    output = result(FLOAT_TENSOR)

    def infer_result_types(self) -> Sequence[Type] | None:
        source = self.operands[0].type
        if isinstance(source, TensorType) and isinstance(source.element, QuantizedType):
            return [source.with_element(source.element.expressed)]
        return None


class QuantizeOfDequantize(RewritePattern[QuantizeCastOp]):
    """``qcast(dcast(x))`` of one type is ``x``: what a code stands for has that code. The other
    way round rounds, so ``dcast(qcast(x))`` stays."""

    root = QuantizeCastOp

    def match_and_rewrite(self, op: QuantizeCastOp, rewriter: PatternRewriter) -> bool:
        inner = op.input.defining_operation
        if not isinstance(inner, DequantizeCastOp) or inner.input.type != op.output.type:
            return False
        rewriter.replace(op, [inner.input])
        return True


def _storage(name: str, low: str | None, high: str | None) -> IntegerType:
    width = parse_integer(name[1:])
    if not 0 < width <= _WIDEST_STORAGE:
        raise ValueError(f"the storage of '{name}' has more than {_WIDEST_STORAGE} bits")
    storage = IntegerType(width, "u" if name[0] == "u" else "")
    if low is None or high is None:
        return storage
    if (parse_integer(low), parse_integer(high)) != full_range(storage):
        raise ValueError(f"only the full storage range of '{name}' is supported")
    return storage


def _scale(scale: str, zero_point: str | None) -> tuple[float, int]:
    value = parse_number(scale)
    if isinstance(value, int):
        raise ValueError(f"the scale {scale} needs a decimal point")
    return value, 0 if zero_point is None else parse_integer(zero_point)


def _calibrated(expressed: Type, low: str, high: str) -> Type:
    return CalibratedType(expressed, float(parse_number(low)), float(parse_number(high)))


def _uniform(storage: IntegerType, expressed: Type, scale: tuple[float, int]) -> Type:
    return UniformType(storage, expressed, *scale)


def _per_axis(storage: IntegerType, expressed: Type, axis: str, *scales: tuple[float, int]) -> Type:
    return UniformPerAxisType(
        storage,
        expressed,
        parse_integer(axis),
        tuple(scale for scale, _ in scales),
        tuple(zero_point for _, zero_point in scales),
    )


QUANT = Dialect.of(
    "quant",
    "quantized types and casts",
    [QuantizeCastOp, DequantizeCastOp],
    grammar="quant",
    type_parsers={
        "quant_type_calibrated": _calibrated,
        "quant_type_uniform": _uniform,
        "quant_type_uniform_per_axis": _per_axis,
        "quant_storage": _storage,
        "quant_scale": _scale,
    },
    canonicalization=lambda: (QuantizeOfDequantize(),),
)
