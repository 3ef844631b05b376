"""Image input: what a convolution reads as pixels, integers as they are or through the input
converter."""

from __future__ import annotations

from typing import Any

from nvdla_ir.dialects import fixed, nn
from nvdla_ir.dialects.layer import describe
from nvdla_ir.dialects.quant import UniformType
from nvdla_ir.hardware.convolution import ConvolutionSetting
from nvdla_ir.hardware.convolution_geometry import ImageInput, Window
from nvdla_ir.hardware.fitting import fits
from nvdla_ir.hw import pixels
from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.operation import Value
from nvdla_ir.ir.types import I8, IntegerType
from nvdla_ir.passes.refusals import refused

_RANK = 4

# By the number of channels: one pixel of the image is what the model's channels are, in order.
# Three channels lie in two planes, the first channel in one.
PIXEL_FORMATS = {1: "T_R8", 3: "T_Y8___V8U8_N444", 4: "T_A8B8G8R8"}


def pixel_format(op: fixed.InputConverterOp, hw: HardwareConfiguration) -> str:
    """The pixel format that ``op`` reads. Raises: DiagnosticError where there is none."""
    type = nn.tensor_type(op.input)
    batch, channels = type.static_shape[:2]
    element = type.element
    if batch != 1 or not isinstance(element, IntegerType) or element.width != 8:
        raise DiagnosticError.at(
            op.location,
            f"{describe(op)} reads pixels of type '{type}', but the hardware takes one image of "
            "8-bit integers at a time",
        )
    name = PIXEL_FORMATS.get(channels)
    if name is None:
        *others, last = map(str, PIXEL_FORMATS)
        raise refused(
            op.location,
            f"{describe(op)} reads pixels of {channels} channels; the hardware's image formats "
            f"have {', '.join(others)} or {last}. Add channels with zero weights, or normalize on "
            "the host and give the network floats",
        )
    if not hw.supports_pixel_format(pixels.PIXEL_FORMATS[name]):
        raise refused(
            op.location,
            f"{describe(op)} reads pixels of {channels} channels, but {hw.name} has no pixel "
            f"format {name}: normalize on the host and give the network floats",
        )
    return name


def converter_fields(op: fixed.InputConverterOp, hw: HardwareConfiguration) -> dict[str, Any]:
    """What the convolution needs to know about its image."""
    fields: dict[str, Any] = {
        "pixel_format": pixel_format(op, hw),
        "cvt_scale": op.scale,
        "cvt_truncate": op.truncate,
    }
    if len(op.means) == 1:
        fields["cvt_offset"] = op.means[0]
    else:
        fields["means"] = op.means
    return fields


def read_as_image(value: Value, hw: HardwareConfiguration) -> str | None:
    """The pixel format in which convolutions read ``value``, int8 of few channels that the host
    has; None where something else reads it, or where it does not fit so.

    A kernel's row is then as many channels as it has columns times channels, where those of a cube
    leave most multipliers idle, and a pixel takes a byte a channel, not a memory atom.
    """
    type = nn.tensor_type(value)
    element, shape = type.element, type.static_shape
    name = PIXEL_FORMATS.get(shape[1]) if len(shape) == _RANK and shape[0] == 1 else None
    if name is None or not isinstance(element, UniformType) or element.storage != I8:
        return None
    format = pixels.PIXEL_FORMATS[name]
    if not hw.supports_pixel_format(format):
        return None
    return name if can_be_read_as_image(value, ImageInput(format, signed=True), hw) else None


def can_be_read_as_image(value: Value, image: ImageInput, hw: HardwareConfiguration) -> bool:
    """Whether only convolutions read ``value``, all of which can take it as ``image``."""
    for user, index in value.uses:
        if not isinstance(user, nn.ConvOp) or index != 0 or user.groups != 1:
            return False
        setting = _setting(user, image)
        if setting.faults(hw) or not fits(setting, hw):
            return False
    return True


def _setting(op: nn.ConvOp, image: ImageInput) -> ConvolutionSetting:
    (_, channels, *sizes), weights = nn.shape_of(op.input), nn.shape_of(op.weight)
    rows, columns = (
        Window.exact(
            taps=weights[2 + axis],
            stride=op.strides[axis],
            dilation=op.dilations[axis],
            before=op.pads[axis],
            size=size,
            outputs=nn.shape_of(op.output)[2 + axis],
        )
        for axis, size in enumerate(sizes)
    )
    return ConvolutionSetting(channels, weights[0], rows, columns, image=image)
