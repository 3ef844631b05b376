"""Resizing and padding."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from nvdla_ir.dialects import nn
from nvdla_ir.frontends.onnx.faults import UnsupportedError
from nvdla_ir.frontends.onnx.layer import Layer, checked_axis, handler
from nvdla_ir.frontends.onnx.limits import require_size
from nvdla_ir.frontends.onnx.structure import sliced
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
    if mode == "linear":
        return layer.emit(nn.InterpolateOp, input=image, scales=scales, coordinates="asymmetric")
    _require_nearest(mode)
    return layer.emit(nn.UpsampleOp, input=image, scales=scales)


def _require_nearest(mode: str) -> None:
    if mode != "nearest":
        raise UnsupportedError(
            f"attribute 'mode = {mode}' is not supported, only nearest and linear"
        )


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
    shape = nn.shape_of(layer.activation())
    image = layer.image_or_line()
    layer.ignore("cubic_coeff_a", "exclude_outside", "extrapolation_value", "antialias")
    mode = layer.string("mode", "nearest")
    default = "half_pixel" if layer.opset >= 11 else "asymmetric"
    coordinates = layer.string("coordinate_transformation_mode", default)
    rounding = "floor" if layer.opset < 11 else "round_prefer_floor"
    rounding = layer.string("nearest_mode", rounding)
    policy = layer.string("keep_aspect_ratio_policy", "stretch")
    rank = len(shape)
    axes = [checked_axis(axis, rank) for axis in layer.integers("axes") or range(rank)]
    factors = _factors(layer, [shape[axis] for axis in axes], policy)
    # The last axis of a line is that of the columns.
    scales = _image_scales(factors, [4 - rank + axis if axis > 1 else axis for axis in axes])
    if scales == (1, 1):
        return layer.activation()
    if mode == "linear":
        return _interpolated(layer, image, scales, coordinates)
    _require_nearest(mode)
    for size, scale in zip(nn.shape_of(image)[2:], scales, strict=True):
        if scale > 1 and not _repeats(size, scale, coordinates, rounding):
            raise UnsupportedError(
                f"'{coordinates}' coordinates with '{rounding}' do not repeat each element "
                f"{scale} times"
            )
    return layer.emit_windows(nn.UpsampleOp, input=image, scales=scales)


def _interpolated(layer: Layer, image: Value, scales: tuple[int, int], coordinates: str) -> Value:
    """PyTorch's half pixels and symmetric ones are half pixels where the factor is whole and more
    than one element comes out."""
    if coordinates in ("half_pixel_symmetric", "pytorch_half_pixel"):
        coordinates = "half_pixel"
    return layer.emit_windows(nn.InterpolateOp, input=image, scales=scales, coordinates=coordinates)


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
    """Pads and value are attributes before operator set 11, then inputs. Negative pads take
    elements away, of what the others have made."""
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
    if mode not in ("constant", "edge", "reflect"):
        raise UnsupportedError(
            f"attribute 'mode = {mode}' is not supported, only constant, edge and reflect"
        )
    if not np.isfinite(filler):
        raise UnsupportedError(f"pads with {filler}; only finite numbers are supported")
    before, behind = [0] * rank, [0] * rank
    for axis, first, last in zip(found, pads[: len(found)], pads[len(found) :], strict=True):
        before[axis], behind[axis] = first, last
    if rank == 3 and not any((*before[:2], *behind[:2])):
        line = _padded_line(layer, before[2], behind[2], mode, filler)
        extent = nn.shape_of(line)[2]
        return sliced(
            layer, line, [(2, range(extent)[max(0, -before[2]) : extent + min(0, behind[2])])]
        )
    crops = any(pad < 0 for pad in pads)
    value = _padded(layer, value, before, behind, mode, filler, "padded" if crops else "")
    kept = [
        (axis, range(extent)[max(0, -before[axis]) : extent - max(0, -behind[axis])])
        for axis, extent in enumerate(nn.shape_of(value))
    ]
    return sliced(layer, value, kept)


def _padded_line(layer: Layer, before: int, behind: int, mode: str, filler: float) -> Value:
    image = layer.emit(
        nn.PadOp,
        "windows",
        input=layer.image_or_line(),
        pads=[0, max(0, before), 0, max(0, behind)],
        mode=mode,
        value=filler if mode == "constant" else 0.0,
    )
    n, channels, _, width = nn.shape_of(image)
    return layer.reshape(image, (n, channels, width), "padded" if min(before, behind) < 0 else "")


def _padded(
    layer: Layer,
    value: Value,
    before: Sequence[int],
    behind: Sequence[int],
    mode: str,
    filler: float,
    part: str,
) -> Value:
    """``value`` with the pads that are not negative; other axes than rows and columns get a
    constant in front or behind."""
    rank = len(before)
    image = [axis for axis in (2, 3) if axis < rank == 4]
    for axis in range(rank):
        if axis in image or (before[axis] <= 0 and behind[axis] <= 0):
            continue
        if mode != "constant":
            raise UnsupportedError(
                f"pads axis {axis} of {rank} dimensions with mode '{mode}'; only rows and columns "
                "of images can be"
            )
        shape = list(nn.shape_of(value))
        parts = [value]
        for extent, place in ((before[axis], 0), (behind[axis], 2)):
            if extent > 0:
                shape[axis] = extent
                require_size(math.prod(shape))
                full = np.full(shape, filler, np.float32)
                name = f"{layer.name}.axis{axis}.{'before' if place == 0 else 'behind'}"
                parts.insert(place, layer.constant_value(full, name))
        rest = any(pad > 0 for pads in (before, behind) for pad in pads[axis + 1 :])
        label = f"axis{axis}" if rest else part
        value = layer.emit(nn.ConcatOp, label, inputs=parts, axis=axis)
    pads = [max(0, pads[axis]) for pads in (before, behind) for axis in image]
    if not any(pads):
        return value
    filler = filler if mode == "constant" else 0.0
    return layer.emit(nn.PadOp, part, input=value, pads=pads, mode=mode, value=filler)
