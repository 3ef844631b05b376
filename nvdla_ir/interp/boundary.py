"""Users' arrays at the edge of a function: reals and bytes to what the machine takes, and back."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvdla_ir.dialects.nn.shapes import text_of
from nvdla_ir.dialects.quant import GridType, QuantizedType
from nvdla_ir.interp.machine import Mode
from nvdla_ir.interp.quantization import dequantize, dtype_of, element_of, quantize
from nvdla_ir.ir.types import FloatType, TensorType, Type

Array = NDArray[Any]


def input_array(array: Array, type: Type, mode: Mode) -> Array:
    """``array`` as a machine in ``mode`` takes it for an input of ``type``.

    Floats become stored integers where the input is quantized and the mode computes on them;
    integers given for a quantized input are stored integers, and become reals where the mode
    computes on reals. A single image without a leading axis gets one.

    Raises: ValueError for another shape, and for NaN and infinite numbers: a sentence that
    completes "the input …".
    """
    if array.dtype.kind in "fc" and not np.isfinite(array).all():
        faulty = ~np.isfinite(array)
        first = [int(index) for index in np.argwhere(faulty)[0]]
        raise ValueError(
            f"holds {int(np.count_nonzero(faulty))} NaN or infinite numbers, the first at {first}"
        )
    if isinstance(type, TensorType):
        if type.shape[:1] == (1,) and array.shape == type.shape[1:]:
            array = array[None]
        if array.ndim != len(type.shape) or array.shape[1:] != type.shape[1:] or not array.size:
            raise ValueError(
                f"has shape {text_of(array.shape)}, but must have {text_of(type.shape)}, or more "
                "along the first axis"
            )
    element = element_of(type)
    if array.dtype == np.float16 or (
        isinstance(element, FloatType | GridType) and array.dtype.kind in "biu"
    ):
        # Ways to store numbers, pixels for example; networks compute in float32.
        array = array.astype(np.float32)
    if isinstance(element, QuantizedType):
        if mode is Mode.INTEGER and array.dtype.kind == "f":
            return quantize(array, element)
        if mode is not Mode.INTEGER and array.dtype.kind in "iu":
            return dequantize(array, element)
    return array


def output_array(array: Array, type: Type, mode: Mode) -> Array:
    """A machine's result as reals, where ``type`` ties its stored integers to reals."""
    element = element_of(type)
    if mode is Mode.INTEGER and isinstance(element, QuantizedType):
        return dequantize(array, element)
    return array


def array_of_bytes(data: bytes, type: Type) -> Array:
    """``data`` as the stored elements of an input of ``type``: row-major, little-endian, one or
    more batches.

    Raises: ValueError where the number of bytes does not fit: completes "the input …".
    """
    if not isinstance(type, TensorType):
        raise ValueError(f"is of type '{type}', which has no bytes")
    shape = type.static_shape
    dtype = _little_endian(dtype_of(type.element))
    batch = math.prod(shape) * dtype.itemsize
    if not data or len(data) % batch:
        raise ValueError(f"has {len(data)} bytes, but '{type}' takes a multiple of {batch}")
    rows = shape[0] * (len(data) // batch) if shape else 1
    return np.frombuffer(data, dtype).reshape((rows, *shape[1:]) if shape else ())


def bytes_of_array(array: Array) -> bytes:
    """The elements of ``array``: row-major, little-endian."""
    return array.astype(_little_endian(array.dtype), copy=False).tobytes()


def _little_endian(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype(f"<{dtype.str[1:]}")
