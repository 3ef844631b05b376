"""Shape arithmetic of the nn dialect. Shapes are NCHW; kernels KCRS; pads top, left, bottom,
right as in ONNX."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from nvdla_ir.dialects.quant import GridType, QuantizedType, per_axis_faults
from nvdla_ir.ir.constraints import tensor_of
from nvdla_ir.ir.operation import Value
from nvdla_ir.ir.types import FloatType, TensorType, Type

ACTIVATION = tensor_of(
    "floats, calibrated or fake-quantized floats, or quantized integers",
    lambda element: isinstance(element, FloatType | GridType | QuantizedType),
)


def tensor_type(value: Value) -> TensorType:
    """Raises: ValueError where ``value`` is no tensor."""
    if not isinstance(value.type, TensorType):
        raise ValueError(f"'{value.type}' is not a tensor type")
    return value.type


def shape_of(value: Value) -> tuple[int, ...]:
    """Raises: ValueError where ``value`` is no tensor of known shape."""
    return tensor_type(value).static_shape


def window_extent(size: int, window: int, stride: int, before: int, after: int) -> int:
    """How many windows fit. Raises: ValueError for a stride below 1."""
    if stride < 1:
        raise ValueError(f"a stride must be at least 1, not {stride}")
    return (size + before + after - window) // stride + 1


def window_shape(
    input_shape: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    pads: Sequence[int],
    dilations: Sequence[int] = (1, 1),
) -> tuple[int, int]:
    """Height and width of what a sliding window makes of an NCHW shape."""
    height = window_extent(
        input_shape[2], (kernel[0] - 1) * dilations[0] + 1, strides[0], pads[0], pads[2]
    )
    width = window_extent(
        input_shape[3], (kernel[1] - 1) * dilations[1] + 1, strides[1], pads[1], pads[3]
    )
    return height, width


def like(value: Value, shape: Sequence[int]) -> list[Type]:
    """One result type: ``shape`` with the element type of ``value``."""
    return [TensorType(tuple(shape), tensor_type(value).element)]


def shape_faults(result: Value, expected: Sequence[int]) -> Iterable[str]:
    """A sentence if ``result`` has not the ``expected`` shape."""
    type = result.type
    if isinstance(type, TensorType) and type.shape != tuple(expected):
        yield (
            f"has a result of shape {text_of(type.shape)}, but its operands make "
            f"{text_of(expected)}"
        )
    if isinstance(type, TensorType):
        yield from per_axis_faults(type)


def is_same_cube(shape: Sequence[int], target: Sequence[int]) -> bool:
    """Whether a tensor viewed as ``target`` still lies in memory as one viewed as ``shape``: only
    extents of 1 differ, or all behind the first are one (NxCxHxW as Nx(C·H·W))."""
    kept = tuple(target[: len(shape)]) == tuple(shape[: len(target)]) and all(
        extent == 1 for extent in (*shape[len(target) :], *target[len(shape) :])
    )
    return kept or (len(target) == 2 and target[0] == shape[0])


def text_of(shape: Iterable[int | None]) -> str:
    return "x".join("?" if extent is None else str(extent) for extent in shape) or "scalar"


def rank_faults(name: str, value: Value, rank: int) -> Iterable[str]:
    """A sentence if ``value`` has not ``rank`` dimensions of known extent."""
    type = value.type
    if not isinstance(type, TensorType):
        return
    if not type.has_static_shape:
        yield f"has operand '{name}' of type '{type}' with a dynamic extent; give it a number"
    elif len(type.shape) != rank:
        yield f"has operand '{name}' of type '{type}', but it must have {rank} dimensions"


def channel_faults(name: str, value: Value, channels: int) -> Iterable[str]:
    """A sentence if ``value`` has not one element a channel."""
    shape = tensor_type(value).shape
    if shape != (channels,):
        yield (f"has operand '{name}' of shape {text_of(shape)}, but there are {channels} channels")


def window_faults(
    kernel: Sequence[int], strides: Sequence[int], pads: Sequence[int], dilations: Sequence[int]
) -> Iterable[str]:
    """What is wrong with a sliding window's attributes."""
    for name, values, length, minimum in (
        ("kernel", kernel, 2, 1),
        ("strides", strides, 2, 1),
        ("pads", pads, 4, 0),
        ("dilations", dilations, 2, 1),
    ):
        if len(values) != length:
            yield f"has '{name}' of {len(values)} numbers, but it takes {length}"
        elif min(values) < minimum:
            yield f"has '{name} = {list(values)}', but each must be at least {minimum}"
