"""Pooling, and means and maxima over whole channels."""

from __future__ import annotations

from nvdla_ir.dialects import nn
from nvdla_ir.dialects.layer import LayerOp
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
    return _reduced(layer, nn.GlobalAveragePoolOp)


@handler("ReduceMax")
def reduce_max(layer: Layer) -> Value:
    return _reduced(layer, nn.GlobalMaxPoolOp)


def _reduced(layer: Layer, op_class: type[LayerOp]) -> Value:
    """Over rows and columns. The axes are an attribute before operator set 18, then an input."""
    value = layer.activation()
    shape = nn.shape_of(value)
    axes = layer.integers("axes") if layer.opset < 18 else layer.integer_list(1, "the axes")
    keeps_without_axes = layer.integer("noop_with_empty_axes", 0)
    if not axes and keeps_without_axes:
        return value
    found = checked_axes(axes or range(len(shape)), len(shape))
    kept = layer.integer("keepdims", 1)
    if found != tuple(range(2, len(shape))) or len(shape) not in (3, 4):
        raise UnsupportedError(
            f"reduces axes {list(found)} of {len(shape)} dimensions; only rows and columns (2 and "
            "3 of 4), or those of lines (2 of 3), are supported"
        )
    if kept:
        return layer.emit_windows(op_class, input=layer.image_or_line())
    image = layer.image_or_line()
    return layer.reshape(layer.emit(op_class, "kept", input=image), shape[:2])
