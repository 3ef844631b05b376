"""Pooling, and means and maxima over whole channels."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from nvdla_ir.dialects import nn
from nvdla_ir.frontends.onnx.faults import UnsupportedError
from nvdla_ir.frontends.onnx.layer import Layer, checked_axes, handler
from nvdla_ir.frontends.onnx.windows import Windows, pair, windows
from nvdla_ir.ir.operation import Value


def _windows(layer: Layer, size: tuple[int, ...]) -> tuple[Windows, tuple[int, int] | None]:
    """The windows, and the rows and columns that they need behind the padding."""
    if not layer.has("kernel_shape"):
        raise UnsupportedError("attribute 'kernel_shape' is missing")
    found = windows(layer, size, pair(layer, "kernel_shape"))
    if found.dilations != (1, 1):
        raise UnsupportedError(f"attribute 'dilations = {list(found.dilations)}' is not supported")
    if not layer.integer("ceil_mode", 0) or found.auto_pad.startswith("SAME"):
        return found, None
    extension = found.ceil_extension(size)
    return found, extension if any(extension) else None


@handler("MaxPool")
def max_pool(layer: Layer) -> Value:
    # The order of the indices, which are not supported.
    layer.ignore("storage_order")
    image = layer.image_or_line()
    found, extension = _windows(layer, nn.shape_of(image)[2:])
    return layer.emit_windows(
        nn.MaxPoolOp,
        input=image,
        kernel=found.kernel,
        strides=found.strides,
        pads=found.pads,
        ceil_extension=extension,
    )


@handler("AveragePool")
def average_pool(layer: Layer) -> Value:
    image = layer.image_or_line()
    found, extension = _windows(layer, nn.shape_of(image)[2:])
    return layer.emit_windows(
        nn.AveragePoolOp,
        input=image,
        kernel=found.kernel,
        strides=found.strides,
        pads=found.pads,
        count_include_pad=bool(layer.integer("count_include_pad", 0)),
        ceil_extension=extension,
    )


@handler("GlobalAveragePool")
def global_average_pool(layer: Layer) -> Value:
    return layer.emit_windows(nn.GlobalAveragePoolOp, input=layer.image_or_line())


@handler("GlobalMaxPool")
def global_max_pool(layer: Layer) -> Value:
    return layer.emit_windows(nn.GlobalMaxPoolOp, input=layer.image_or_line())


@handler("ReduceMean")
def reduce_mean(layer: Layer) -> Value:
    return _reduced(layer, _mean, since_input=18)


@handler("ReduceMax")
def reduce_max(layer: Layer) -> Value:
    return _reduced(layer, _maximum, since_input=18)


@handler("ReduceSum")
def reduce_sum(layer: Layer) -> Value:
    return _reduced(layer, _total, since_input=13)


def _reduced(
    layer: Layer, reduce: Callable[[Layer, Value, tuple[int, ...], str], Value], since_input: int
) -> Value:
    """Over rows or columns or both, or over channels. The axes are an attribute before operator set
    ``since_input``, then an input."""
    value = layer.activation()
    shape = nn.shape_of(value)
    rank = len(shape)
    as_input = layer.opset >= since_input
    axes = layer.integer_list(1, "the axes") if as_input else layer.integers("axes")
    keeps_without_axes = layer.integer("noop_with_empty_axes", 0)
    if not axes and keeps_without_axes:
        return value
    found = checked_axes(axes or range(rank), rank)
    kept = layer.integer("keepdims", 1)
    if rank not in (3, 4) or 0 in found or (1 in found and len(found) > 1):
        raise UnsupportedError(
            f"reduces axes {list(found)} of {rank} dimensions; only rows and columns (2 and 3 of "
            "4), those of lines (2 of 3), or channels (1) are supported"
        )
    result = tuple(1 if axis in found else extent for axis, extent in enumerate(shape))
    if not kept:
        result = tuple(extent for axis, extent in enumerate(shape) if axis not in found)
    image = layer.image_or_line()
    # The last axis of a line is that of the columns.
    of_image = tuple(4 - rank + axis if axis > 1 else axis for axis in found)
    wanted = tuple(1 if a in of_image else n for a, n in enumerate(nn.shape_of(image)))
    reduced = reduce(layer, image, of_image, "" if wanted == result else "kept")
    return layer.reshape(reduced, result)


def _windows_over(image: Value, axes: tuple[int, ...]) -> tuple[int, int]:
    height, width = nn.shape_of(image)[2:]
    return height if 2 in axes else 1, width if 3 in axes else 1


def _mean(layer: Layer, image: Value, axes: tuple[int, ...], part: str) -> Value:
    if axes == (1,):
        return _sum_of_channels(layer, image, 1 / nn.shape_of(image)[1], part)
    if axes == (2, 3):
        return layer.emit(nn.GlobalAveragePoolOp, part, input=image)
    kernel = _windows_over(image, axes)
    return layer.emit(nn.AveragePoolOp, part, input=image, kernel=kernel)


def _maximum(layer: Layer, image: Value, axes: tuple[int, ...], part: str) -> Value:
    if axes == (1,):
        raise UnsupportedError("takes the maximum over channels, which is not supported")
    if axes == (2, 3):
        return layer.emit(nn.GlobalMaxPoolOp, part, input=image)
    return layer.emit(nn.MaxPoolOp, part, input=image, kernel=_windows_over(image, axes))


def _total(layer: Layer, image: Value, axes: tuple[int, ...], part: str) -> Value:
    if axes == (1,):
        return _sum_of_channels(layer, image, 1.0, part)
    mean = _mean(layer, image, axes, "mean")
    channels = nn.shape_of(image)[1]
    factors = np.full(channels, math.prod(_windows_over(image, axes)), np.float32)
    name = f"{layer.name}.count"
    return layer.emit(nn.ScaleOp, part, input=mean, scale=layer.constant_value(factors, name))


def _sum_of_channels(layer: Layer, image: Value, share: float, part: str) -> Value:
    weights = np.full((1, nn.shape_of(image)[1], 1, 1), share, np.float32)
    weight = layer.constant_value(weights, f"{layer.name}.shares")
    return layer.emit(nn.ConvOp, part, input=image, weight=weight)
