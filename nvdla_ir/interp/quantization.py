"""Between reals and the integers that quantized tensors are stored as.

``real = scale * (stored - zero_point)``; rounding is to nearest, half away from zero, as the
hardware's is, or half to even, as ONNX has it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvdla_ir.dialects.nn.types import FakeQuantizedType
from nvdla_ir.dialects.quant import (
    CalibratedType,
    GridType,
    QuantizedType,
    UniformPerAxisType,
    UniformType,
)
from nvdla_ir.ir.types import FloatType, IntegerType, TensorType, Type
from nvdla_ir.resources import dtype_name

RealArray = NDArray[np.floating[Any]]
_LOWEST_SYMMETRIC_CODE = -127


def element_of(type: Type) -> Type | None:
    """The element type of a tensor type, None for others."""
    return type.element if isinstance(type, TensorType) else None


def is_quantized_tensor(type: Type) -> bool:
    return isinstance(element_of(type), QuantizedType)


def dtype_of(element: Type) -> np.dtype[Any]:
    """How numpy holds elements of this type: quantized ones as stored, those on a grid as floats.

    float32 stands for f16 and bf16, too: layers are computed with at least its precision.
    Raises: ValueError for types that numpy cannot hold.
    """
    if isinstance(element, GridType):
        element = element.expressed
    if isinstance(element, FloatType):
        return np.dtype(np.float64 if element.name == "f64" else np.float32)
    if isinstance(element, QuantizedType):
        storage = element.storage
        unsigned = storage.signedness == "u"
        element = IntegerType(storage.width, "u" if unsigned else "")
    name = dtype_name(element)
    if name is None:
        raise ValueError(f"elements of type '{element}' cannot be computed with")
    return np.dtype(name)


def scale_and_zero_point(
    element: QuantizedType, rank: int, dtype: np.dtype[Any]
) -> tuple[RealArray, RealArray]:
    """Scale and zero point as floats that broadcast to a tensor of ``rank`` dimensions."""
    if isinstance(element, UniformPerAxisType):
        shape = [1] * rank
        shape[element.axis] = -1
        return (
            np.asarray(element.scales, dtype).reshape(shape),
            np.asarray(element.zero_points, dtype).reshape(shape),
        )
    assert isinstance(element, UniformType)
    return np.asarray(element.scale, dtype), np.asarray(element.zero_point, dtype)


def round_half_away(values: RealArray) -> RealArray:
    """``values`` rounded to integers in place, halves away from zero."""
    # trunc(x + copysign(0.5, x)) would round the number just below a half up.
    floor = np.floor(np.abs(values))
    fraction = np.abs(values) - floor
    floor += fraction >= 0.5
    return np.copysign(floor, values, out=values)


def dequantize(stored: NDArray[Any], element: QuantizedType) -> RealArray:
    """The reals that stored integers of type ``element`` stand for, of its expressed type."""
    dtype = dtype_of(element.expressed)
    scale, zero_point = scale_and_zero_point(element, stored.ndim, dtype)
    reals = stored.astype(dtype)
    if np.any(zero_point):
        reals -= zero_point
    reals *= scale
    return reals


def quantize(
    reals: NDArray[Any], element: QuantizedType, *, ties_to_even: bool = False
) -> NDArray[Any]:
    """The integers of type ``element`` nearest to ``reals``, saturated to its storage."""
    codes = _codes(reals, element, *element.storage_range, ties_to_even=ties_to_even)
    return codes.astype(dtype_of(element))


def round_to_grid(
    reals: NDArray[Any], element: QuantizedType | GridType, *, ties_to_even: bool = False
) -> RealArray:
    """``reals`` each replaced by the nearest one that an int8 code stands for.

    A symmetric calibrated range reaches from code -127 to 127, as calibration tables define it;
    other types have all codes of their storage. Those of fake-quantized types round halves to even
    in any case.
    """
    stored = element.quantized() if isinstance(element, GridType) else element
    low, high = stored.storage_range
    if isinstance(element, CalibratedType) and element.minimum == -element.maximum:
        low = _LOWEST_SYMMETRIC_CODE
    ties_to_even = ties_to_even or isinstance(element, FakeQuantizedType)
    element = stored
    codes = _codes(reals, element, low, high, ties_to_even=ties_to_even)
    scale, zero_point = scale_and_zero_point(element, codes.ndim, codes.dtype)
    codes -= zero_point
    codes *= scale
    return codes


def _codes(
    reals: NDArray[Any], element: QuantizedType, low: int, high: int, *, ties_to_even: bool
) -> RealArray:
    """The codes ``low`` to ``high`` nearest to ``reals``, as floats of their precision."""
    dtype = np.dtype(reals.dtype if reals.dtype.kind == "f" else np.float64)
    scale, zero_point = scale_and_zero_point(element, reals.ndim, dtype)
    codes = np.asarray(reals / scale, dtype)
    codes = np.rint(codes, out=codes) if ties_to_even else round_half_away(codes)
    codes += zero_point
    return np.clip(codes, low, high, out=codes)
