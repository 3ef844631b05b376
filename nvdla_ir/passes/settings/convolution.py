"""The convolution pipeline's setting, from ``nvdla.conv``."""

from __future__ import annotations

from attrs import evolve

from nvdla_ir.dialects.layer import describe
from nvdla_ir.dialects.nn.shapes import shape_of
from nvdla_ir.dialects.nvdla import ConvOp
from nvdla_ir.hardware.convolution import ConvolutionPlaces, ConvolutionSetting
from nvdla_ir.hardware.convolution_geometry import (
    Banks,
    ImageInput,
    InputConverter,
    Reuse,
    Window,
)
from nvdla_ir.hardware.place import BytesPlace, CubePlace, ImagePlace
from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.interp.quantization import dtype_of, element_of
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.passes.settings.constants import compression_of, placed_weights
from nvdla_ir.passes.settings.memory import (
    channels_height_width,
    image_format,
    pixel_format_of,
    placed_cube,
    placed_image,
)


def convolution_setting(op: ConvOp, hw: HardwareConfiguration) -> ConvolutionSetting:
    """What ``op`` tells the pipeline; without banks where it has none yet.

    Raises: DiagnosticError for what no register can say.
    """
    channels, height, width = channels_height_width(op.input)
    _, output_height, output_width = channels_height_width(op.output)
    kernels, _, kernel_rows, kernel_columns = shape_of(op.weight)
    rows, columns = (
        Window.exact(
            taps=taps,
            stride=op.strides[axis],
            dilation=op.dilations[axis],
            before=op.pads[axis],
            size=size,
            outputs=outputs,
        )
        for axis, (taps, size, outputs) in enumerate(
            ((kernel_rows, height, output_height), (kernel_columns, width, output_width))
        )
    )
    if op.each_surface:
        _require_atoms(op, kernels, hw)
        surfaces, channels = channels // kernels, kernels
        rows = evolve(rows, size=surfaces * height, stride=height, outputs=surfaces)
    return ConvolutionSetting(
        channels=channels,
        kernels=kernels,
        rows=rows,
        columns=columns,
        banks=_banks(op),
        image=_image(op, hw),
        converter=_converter(op),
        pad_value=op.pad_value,
        clip_truncate=op.clip_truncate,
        reuse=Reuse(
            data=op.reuse_data,
            weights=op.reuse_weights,
            keep_data=op.keep_data,
            keep_weights=op.keep_weights,
        ),
        compressed=compression_of(op),
    )


def _require_atoms(op: ConvOp, kernels: int, hw: HardwareConfiguration) -> None:
    if kernels != hw.memory_atom:
        raise DiagnosticError.at(
            op.location,
            f"{describe(op)} has {kernels} kernels for 'each_surface', but a surface has "
            f"{hw.memory_atom} channels on {hw.name}",
        )


def convolution_places(
    op: ConvOp, destination: CubePlace | None, hw: HardwareConfiguration
) -> ConvolutionPlaces:
    """Where input and weights lie; ``destination`` is the SDP's.

    Raises: DiagnosticError where something has no place in memory.
    """
    weights, compressed = placed_weights(op, hw), compression_of(op)
    if compressed is None:
        return ConvolutionPlaces(_source(op, hw), weights, destination)
    mask = weights.address + compressed.data_bytes
    return ConvolutionPlaces(
        _source(op, hw),
        weights,
        destination,
        mask=BytesPlace(mask),
        group_sizes=BytesPlace(mask + compressed.mask_bytes),
    )


def _surfaces_as_rows(op: ConvOp, place: CubePlace, hw: HardwareConfiguration) -> CubePlace:
    """One surface, in which those of ``place`` follow each other."""
    layout = place.layout
    if layout.surfaces > 1 and layout.surface_stride != layout.height * layout.line_stride:
        raise DiagnosticError.at(
            op.location,
            f"{describe(op)} has 'each_surface', but its input's surfaces are "
            f"{layout.surface_stride} bytes apart, and {layout.height} rows of "
            f"{layout.line_stride} bytes follow each other: a copy must come between",
        )
    rows = evolve(layout, channels=hw.memory_atom, height=layout.surfaces * layout.height)
    return evolve(place, layout=rows)


def _banks(op: ConvOp) -> Banks | None:
    if op.data_banks is None and op.weight_banks is None:
        return None
    if op.data_banks is None or op.weight_banks is None:
        raise DiagnosticError.at(
            op.location,
            f"{describe(op)} has half a share of the convolution buffer: 'data_banks' and "
            "'weight_banks' go together",
        )
    return Banks(op.data_banks, op.weight_banks)


def _image(op: ConvOp, hw: HardwareConfiguration) -> ImageInput | None:
    if op.pixel_format is None:
        return None
    element = element_of(op.input.type)
    return ImageInput(
        pixel_format_of(op, op.pixel_format, hw),
        signed=element is not None and dtype_of(element).kind == "i",
        means=None if op.means is None else tuple(op.means),
    )


def _converter(op: ConvOp) -> InputConverter | None:
    if op.cvt_scale is not None:
        return InputConverter(op.cvt_offset or 0, op.cvt_scale, op.cvt_truncate or 0)
    if op.cvt_offset is not None or op.means is not None:
        raise DiagnosticError.at(
            op.location,
            f"{describe(op)} has no 'cvt_scale', without which the input converter subtracts "
            "nothing: give it, and 'cvt_truncate'",
        )
    return None


def _source(op: ConvOp, hw: HardwareConfiguration) -> CubePlace | ImagePlace:
    if op.pixel_format is None:
        place = placed_cube(op.input, op, hw)
        return _surfaces_as_rows(op, place, hw) if op.each_surface else place
    format = image_format(op.input)
    if format != op.pixel_format:
        found = "a feature cube" if format is None else f"'{format}'"
        raise DiagnosticError.at(
            op.location,
            f"{describe(op)} reads an image of format '{op.pixel_format}', but its input is "
            f"{found}",
        )
    return placed_image(op.input, op, hw)
