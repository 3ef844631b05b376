"""Resizing and padding of images."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from nvdla_ir.dialects import nn
from nvdla_ir.frontends.onnx.faults import UnsupportedError
from nvdla_ir.frontends.onnx.layer import Layer, checked_axis, handler
from nvdla_ir.ir.operation import Value

Reals = NDArray[np.float64]

# How Resize finds the place in the input of element x of the output, for a whole scale.
_COORDINATES: dict[str, Callable[[Reals, int, int], Reals]] = {
    "asymmetric": lambda x, scale, size: x / scale,
    "half_pixel": lambda x, scale, size: (x + 0.5) / scale - 0.5,
    "half_pixel_symmetric": lambda x, scale, size: (x + 0.5) / scale - 0.5,
    "pytorch_half_pixel": lambda x, scale, size: (
        (x + 0.5) / scale - 0.5 if size * scale > 1 else np.zeros_like(x)
    ),
    "align_corners": lambda x, scale, size: (
        x * (size - 1) / (size * scale - 1) if size * scale > 1 else np.zeros_like(x)
    ),
}

_ROUNDINGS: dict[str, Callable[[Reals], Reals]] = {
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}

_LARGEST_EXTENT = 1 << 20


@handler("Upsample")
def upsample(layer: Layer) -> Value:
    """The factors are an attribute before operator set 9, then an input."""
    image = layer.image()
    mode = layer.string("mode", "nearest")
    if layer.opset < 9:
        factors = layer.reals("scales")
    else:
        array = layer.required_constant(1, "the factors")
        factors = tuple(array.reshape(-1).tolist())
    scales = _image_scales(factors or (), range(4))
    if scales == (1, 1):
        return image
    if mode != "nearest":
        raise UnsupportedError(f"attribute 'mode = {mode}' is not supported, only nearest")
    return layer.emit(nn.UpsampleOp, input=image, scales=scales)


def _image_scales(factors: Sequence[float], axes: Sequence[int]) -> tuple[int, int]:
    """Whole factors of rows and columns."""
    if len(factors) != len(axes):
        raise UnsupportedError(f"has {len(factors)} factors for {len(axes)} axes")
    scales = [1, 1, 1, 1]
    for axis, factor in zip(axes, factors, strict=True):
        if not np.isfinite(factor) or factor < 1 or factor != int(factor):
            raise UnsupportedError(
                f"resizes axis {axis} by {factor:g}; only whole factors are supported"
            )
        scales[axis] = int(factor)
    if scales[:2] != [1, 1]:
        raise UnsupportedError("resizes images or channels; only rows and columns can be")
    return scales[2], scales[3]


@handler("Resize")
def resize(layer: Layer) -> Value:
    """Every way to find and round coordinates that repeats each element."""
    image = layer.image()
    shape = nn.shape_of(image)
    layer.ignore("cubic_coeff_a", "exclude_outside", "extrapolation_value", "antialias")
    mode = layer.string("mode", "nearest")
    default = "half_pixel" if layer.opset >= 11 else "asymmetric"
    coordinates = layer.string("coordinate_transformation_mode", default)
    rounding = "floor" if layer.opset < 11 else "round_prefer_floor"
    rounding = layer.string("nearest_mode", rounding)
    policy = layer.string("keep_aspect_ratio_policy", "stretch")
    axes = [checked_axis(axis, 4) for axis in layer.integers("axes") or range(4)]
    scales = _image_scales(_factors(layer, [shape[axis] for axis in axes], policy), axes)
    if scales == (1, 1):
        return image
    if mode != "nearest":
        raise UnsupportedError(f"attribute 'mode = {mode}' is not supported, only nearest")
    for size, scale in zip(shape[2:], scales, strict=True):
        if scale > 1 and not _repeats(size, scale, coordinates, rounding):
            raise UnsupportedError(
                f"'{coordinates}' coordinates with '{rounding}' do not repeat each element "
                f"{scale} times"
            )
    return layer.emit(nn.UpsampleOp, input=image, scales=scales)


def _factors(layer: Layer, extents: Sequence[int], policy: str) -> Sequence[float]:
    """The factors, stated or from the sizes."""
    factors_index, sizes_index = (1, 4) if layer.opset < 11 else (2, 3)
    factors = layer.constant(factors_index, "the factors")
    if factors is not None and factors.size:
        return [float(factor) for factor in factors.reshape(-1)]
    sizes = layer.integer_list(sizes_index, "the sizes")
    if not sizes:
        raise UnsupportedError("has neither factors nor sizes")
    if policy != "stretch":
        raise UnsupportedError(f"attribute 'keep_aspect_ratio_policy = {policy}' is not supported")
    if len(sizes) != len(extents):
        raise UnsupportedError(f"has {len(sizes)} sizes for {len(extents)} axes")
    return [size / extent for size, extent in zip(sizes, extents, strict=True)]


def _repeats(size: int, scale: int, coordinates: str, rounding: str) -> bool:
    """Whether element x of the output is element x // scale of the input."""
    place, rounded = _COORDINATES.get(coordinates), _ROUNDINGS.get(rounding)
    if place is None or rounded is None:
        raise UnsupportedError(f"'{coordinates}' coordinates with '{rounding}' are not supported")
    if size * scale > _LARGEST_EXTENT:
        raise UnsupportedError(f"makes {size * scale} rows or columns")
    x = np.arange(size * scale, dtype=np.float64)
    found = np.clip(rounded(place(x, scale, size)), 0, size - 1)
    return bool(np.array_equal(found, x // scale))


@handler("Pad")
def pad(layer: Layer) -> Value:
    """Pads and value are attributes before operator set 11, then inputs."""
    value = layer.activation()
    rank = len(nn.shape_of(value))
    mode = layer.string("mode", "constant")
    if layer.opset < 11:
        pads, filler = layer.integers("pads"), layer.real("value", 0.0)
        axes = None
    else:
        pads = layer.integer_list(1, "the pads")
        number = layer.constant(2, "the value")
        if number is not None and number.size not in (0, 1):
            raise UnsupportedError("the value must be one number")
        filler = 0.0 if number is None or not number.size else float(number.reshape(()))
        axes = layer.integer_list(3, "the axes")
    found = [checked_axis(axis, rank) for axis in (range(rank) if axes is None else axes)]
    if pads is None or len(pads) != 2 * len(found):
        raise UnsupportedError(f"needs {2 * len(found)} pads")
    if not any(pads):
        return value
    if mode != "constant":
        raise UnsupportedError(f"attribute 'mode = {mode}' is not supported, only constant")
    if min(pads) < 0:
        raise UnsupportedError(f"pads {list(pads)} take something away, which is not supported")
    if not np.isfinite(filler):
        raise UnsupportedError(f"pads with {filler}; only finite numbers are supported")
    before, behind = dict.fromkeys(range(rank), 0), dict.fromkeys(range(rank), 0)
    before.update(zip(found, pads[: len(found)], strict=True))
    behind.update(zip(found, pads[len(found) :], strict=True))
    if rank != 4 or any(before[axis] or behind[axis] for axis in (0, 1)):
        raise UnsupportedError(f"pads {list(pads)} are not of rows and columns only")
    return layer.emit(
        nn.PadOp, input=value, pads=[before[2], before[3], behind[2], behind[3]], value=filler
    )
