"""Types of the nvdla dialect."""

from __future__ import annotations

from attrs import frozen

from nvdla_ir.dialects.quant import QuantizedType
from nvdla_ir.ir.constraints import TypeConstraint, tensor_of
from nvdla_ir.ir.types import DialectType, IntegerType, TensorType, Type


@frozen(cache_hash=True)
class StreamType(DialectType):
    """``!nvdla.stream<1x16x32x32xi32>``: what one unit hands to the next without memory between.

    CACC→SDP streams have elements of 32 bits, SDP→PDP streams of 8. A value of this type is
    read exactly once.
    """

    mnemonic = "nvdla.stream"

    shape: tuple[int, ...]
    element: Type

    def __str__(self) -> str:
        return f"!nvdla.stream<{''.join(f'{extent}x' for extent in self.shape)}{self.element}>"


def parse_stream(dimensions: str, element: Type) -> Type:
    extents = dimensions[:-1].split("x")
    if "?" in extents:
        raise ValueError("a stream has no dynamic extents")
    return StreamType(tuple(map(int, extents)), element)


def _is_int8(element: Type) -> bool:
    if isinstance(element, QuantizedType):
        return element.storage.width == 8
    return isinstance(element, IntegerType) and element.width == 8


CUBE = tensor_of("8-bit integers in memory", _is_int8)
ACCUMULATOR_STREAM = TypeConstraint(
    "a stream of 32-bit integers from the convolution",
    lambda type: isinstance(type, StreamType) and type.element == IntegerType(32),
)
INT8_STREAM = TypeConstraint(
    "a stream of 8-bit integers from the SDP",
    lambda type: isinstance(type, StreamType) and _is_int8(type.element),
)
INTEGER_TABLE = tensor_of(
    "8- or 16-bit integers",
    lambda element: _is_int8(element) or (isinstance(element, IntegerType) and element.width == 16),
)


def cube_shape(type: Type) -> tuple[int, ...]:
    """The NCHW shape of a cube or a stream. Raises: ValueError for other types."""
    if isinstance(type, StreamType):
        return type.shape
    if isinstance(type, TensorType):
        return type.static_shape
    raise ValueError(f"'{type}' is neither a tensor nor a stream")
