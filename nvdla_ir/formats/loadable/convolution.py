"""A convolution's descriptors: what they tell the hardware, and those that tell it a setting.
Sources: loadable.md section 4, convolution.md sections 2 to 4."""

from __future__ import annotations

from collections.abc import Mapping

from nvdla_ir.formats.loadable.cubes import Cube, ReadingContext, cube_of, place_of
from nvdla_ir.formats.loadable.descriptors import Descriptor, WritingContext
from nvdla_ir.formats.loadable.network import Kind, Operation
from nvdla_ir.formats.loadable.structures import Values
from nvdla_ir.hardware.convolution import MEANS, ConvolutionPlaces, ConvolutionSetting, UnusedPlane
from nvdla_ir.hardware.convolution_geometry import (
    Banks,
    CompressedWeights,
    ImageInput,
    InputConverter,
    Reuse,
    Window,
)
from nvdla_ir.hardware.fields import UnitFields
from nvdla_ir.hardware.place import BytesPlace, CubePlace, ImagePlace
from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.hw.formats.sizes import ceil_div
from nvdla_ir.hw.pixels import PIXEL_FORMATS_BY_CODE, PixelFormat

FEATURE_FORMATS = (36, 37)
"""Codes of feature cubes among the pixel formats: atoms of 32 bytes and of 8."""

_WINOGRAD = 1
_WINOGRAD_TAPS = 3
"""Rows and columns of a kernel whose stride is folded into channels."""
_CONVERTER_IDENTITY = (
    "has 'out_cvt' with scale = {scale} and offset = {offset}, but must be 1 and 0"
)
_SURFACE_ALIGNMENT = 128
_GROUP_SIZE_BYTES = 4


def convolution_units(
    operation: Operation, context: ReadingContext
) -> tuple[ConvolutionSetting, UnitFields]:
    """What the units of the convolution pipeline are told.

    Raises: DiagnosticError for what the firmware or the hardware refuses, and for sizes that do not
    follow from the cubes.
    """
    source = cube_of(operation, "src_data", context, may_fly=False)
    destination = cube_of(operation, "dst_data", context, may_fly=True)
    _check(operation, context)
    setting = _setting(operation, context, source, destination)
    context.require_possible(operation, setting.faults(context.hw))
    _check_sizes(operation, context, setting)
    return setting, setting.fields(context.hw, _places(operation, context, source, destination))


def _check(operation: Operation, context: ReadingContext) -> None:
    """What the firmware refuses."""
    op = operation.descriptor
    context.has_known(operation, "conv_mode", op["conv_mode"], 2)
    context.has_known(operation, "weight_format", op["weight_format"], 2)
    context.has_known(operation, "mean_format", op["mean_format"], 2)
    context.has_known(operation, "pixel_override", op["pixel_override"], 2)
    context.has_known(operation, "pixel_mapping", op["pixel_mapping"], 1)
    for name in ("data_reuse", "weight_reuse", "skip_data_rls", "skip_weight_rls"):
        context.has_known(operation, name, op[name], 2)
    converter = op.part("out_cvt")
    context.require(
        converter["scale"] == 1 and converter["offset"] == 0,
        operation,
        _CONVERTER_IDENTITY.format(scale=converter["scale"], offset=converter["offset"]),
    )


def pixel_format_of(operation: Operation, context: ReadingContext) -> PixelFormat | None:
    """The format of an image input; None for feature cubes.

    Raises: DiagnosticError for codes that do not exist.
    """
    code = operation.descriptor["data_format"]
    if code in FEATURE_FORMATS:
        return None
    pixel_format = PIXEL_FORMATS_BY_CODE.get(code)
    if pixel_format is None:
        raise context.fault(operation, f"has data_format = {code}, which does not exist")
    return pixel_format


# ---------------------------------------------------------------- setting


def _setting(
    operation: Operation, context: ReadingContext, source: Cube, destination: Cube
) -> ConvolutionSetting:
    op, surface = operation.descriptor, operation.surface
    pixel_format = pixel_format_of(operation, context)
    taps = _taps(operation, context, source, is_image=pixel_format is not None)
    image = None
    if pixel_format is not None:
        means = tuple(op[name.lower()] for name in MEANS) if op["mean_format"] else None
        image = ImageInput(pixel_format, bool(op["pixel_override"]), means)
    converter = op.part("in_cvt")
    weight_bytes = surface.part("weight_data")["size"]
    is_compressed = bool(op["weight_format"])
    return ConvolutionSetting(
        channels=source.channels,
        kernels=destination.channels,
        rows=Window(
            size=source.height,
            taps=taps[0],
            stride=op["conv_stride_y"],
            dilation=op["dilation_y"],
            before=op["pad_y_top"],
            after=op["pad_y_bottom"],
            outputs=destination.height,
        ),
        columns=Window(
            size=source.width,
            taps=taps[1],
            stride=op["conv_stride_x"],
            dilation=op["dilation_x"],
            before=op["pad_x_left"],
            after=op["pad_x_right"],
            outputs=destination.width,
        ),
        banks=Banks(op["data_bank"], op["weight_bank"]),
        image=image,
        converter=(
            InputConverter(converter["offset"], converter["scale"], converter["truncate"])
            if converter["enable"]
            else None
        ),
        pad_value=op["pad_val"],
        clip_truncate=op.part("out_cvt")["truncate"],
        reuse=_reuse(operation, source),
        winograd=op["conv_mode"] == _WINOGRAD,
        winograd_truncate=op["pra_truncate"],
        batch=op["batch"],
        post_extension=op["post_extension"],
        fetch_grain=op["fetch_grain"],
        compressed=(
            CompressedWeights(weight_bytes, surface.part("wmb_data")["size"])
            if is_compressed
            else None
        ),
        stated_weight_bytes=None if is_compressed else weight_bytes,
    )


def _taps(
    operation: Operation, context: ReadingContext, source: Cube, *, is_image: bool
) -> tuple[int, int]:
    """Rows and columns of the kernels, before they are laid out for the mode."""
    op = operation.descriptor
    if op["conv_mode"] == _WINOGRAD:
        return _WINOGRAD_TAPS * op["conv_stride_y"], _WINOGRAD_TAPS * op["conv_stride_x"]
    if not is_image:
        return op["kernel_height_csc"], op["kernel_width_csc"]
    columns, rest = divmod(op["kernel_channel_csc"], source.channels)
    context.require(
        rest == 0,
        operation,
        f"has kernel_channel_csc = {op['kernel_channel_csc']}, but with an image of "
        f"{source.channels} channels it must be a multiple of them",
    )
    return op["kernel_height_csc"], columns


def _reuse(operation: Operation, source: Cube) -> Reuse:
    op = operation.descriptor
    # what is reused lies above the lines that are fetched (convolution.md section 3.6)
    leftover = max(op["input_height_csc"] - source.height, 0)
    has_leftover = op["data_reuse"] and op["conv_mode"] != _WINOGRAD
    return Reuse(
        data=bool(op["data_reuse"]),
        weights=bool(op["weight_reuse"]),
        keep_data=bool(op["skip_data_rls"]),
        keep_weights=bool(op["skip_weight_rls"]),
        leftover=leftover if has_leftover else 0,
        released=op["release"],
    )


def _check_sizes(
    operation: Operation, context: ReadingContext, setting: ConvolutionSetting
) -> None:
    """See that the descriptor says of sizes what follows from cubes and kernels."""
    op, hw = operation.descriptor, context.hw
    context.raise_faults(
        operation,
        [
            f"has {name} = {op[name]}, but on {hw.name} its cubes and kernels make it {value}"
            for name, value in _sizes(setting, hw).items()
            if op[name] != value
        ],
    )


def _sizes(setting: ConvolutionSetting, hw: HardwareConfiguration) -> Mapping[str, int]:
    """What follows from cubes and kernels, by field of the descriptor."""
    channels, rows, columns = setting.extended(hw)
    kernel_rows, kernel_columns, kernel_channels = setting.taps
    return {
        "input_channel_csc": channels,
        "input_height_csc": rows,
        "input_width_csc": columns,
        "kernel_channel_csc": channels if setting.winograd else kernel_channels,
        "kernel_height_csc": kernel_rows,
        "kernel_width_csc": kernel_columns,
        "input_height_cmac": setting.rows.outputs,
        "input_width_cmac": setting.columns.outputs,
        "entry_per_slice": setting.entries(hw),
        "bytes_per_kernel": setting.kernel_bytes(hw),
    }


# ---------------------------------------------------------------- places


def _places(
    operation: Operation, context: ReadingContext, source: Cube, destination: Cube
) -> ConvolutionPlaces:
    op, surface = operation.descriptor, operation.surface
    weights = _weights(operation, "weight_data", context.hw.memory_atom, context)
    mask = group_sizes = None
    if op["weight_format"]:
        mask = _weights(operation, "wmb_data", _SURFACE_ALIGNMENT, context)
        group_sizes = _weights(operation, "wgs_data", _GROUP_SIZE_BYTES, context)
    second = source.address + surface["offset_u"]
    context.require(
        0 <= second < 1 << context.hw.address_bits,
        operation,
        f"has offset_u = {surface['offset_u']}, which leads out of memory",
    )
    return ConvolutionPlaces(
        input=_input(operation, context, source, second),
        weights=weights,
        destination=destination.cube_place(context),
        mask=mask,
        group_sizes=group_sizes,
        batch_stride=op["batch_stride"],
        unused=UnusedPlane(second, surface["in_line_uv_stride"], bool(op["pixel_override"])),
    )


def _input(
    operation: Operation, context: ReadingContext, source: Cube, second: int
) -> CubePlace | ImagePlace:
    pixel_format = pixel_format_of(operation, context)
    if pixel_format is None:
        return source.cube_place(context)
    addresses = (source.address, second)
    strides = (source.line_stride, operation.surface["in_line_uv_stride"])
    for plane, pixel_bytes in enumerate(pixel_format.bytes_per_pixel):
        size = (source.height - 1) * strides[plane] + source.width * pixel_bytes
        source.require_room(size, context, addresses[plane] - source.address)
    planes = pixel_format.planes
    return ImagePlace(addresses[:planes], strides[:planes], source.memory)


def _weights(
    operation: Operation, name: str, alignment: int, context: ReadingContext
) -> BytesPlace:
    """Where weights lie; there is room for as many bytes as their surface says."""
    record = operation.surface.part(name)
    cube = Cube(name, operation, record, place_of(operation, name, record, context))
    context.require(
        record["size"] % alignment == 0,
        operation,
        f"has '{name}' of {record['size']} bytes, but it must be a multiple of {alignment}",
    )
    context.require(
        record["type"] == operation.surface.part("weight_data")["type"],
        operation,
        f"has '{name}' in another memory than 'weight_data', but one register tells both",
    )
    cube.require_room(record["size"], context)
    return BytesPlace(cube.address, cube.memory)


# ---------------------------------------------------------------- writing


def convolution_descriptor(
    setting: ConvolutionSetting, places: ConvolutionPlaces, context: WritingContext
) -> Descriptor:
    """The descriptors that tell the pipeline ``setting``: the inverse of ``convolution_units``."""
    reuse, image = setting.reuse, setting.image
    rows, columns, banks = setting.rows, setting.columns, setting.banks
    assert banks is not None, "the setting is fitted into the buffer"
    released = setting.extended(context.hw)[1] if reuse.released is None else reuse.released
    operation: dict[str, int | Values] = {
        **_sizes(setting, context.hw),
        "conv_mode": _WINOGRAD if setting.winograd else 0,
        "data_reuse": reuse.data,
        "weight_reuse": reuse.weights,
        "skip_data_rls": reuse.keep_data,
        "skip_weight_rls": reuse.keep_weights,
        "data_format": FEATURE_FORMATS[0] if image is None else image.pixel_format.code,
        "pixel_override": image is not None and image.signed,
        "fetch_grain": setting.fetch_grain,
        "batch": setting.batch,
        "batch_stride": places.batch_stride,
        "weight_format": setting.compressed is not None,
        "data_bank": banks.data,
        "weight_bank": banks.weights,
        "post_extension": setting.post_extension,
        "release": released,
        "conv_stride_x": columns.stride,
        "conv_stride_y": rows.stride,
        "dilation_x": columns.dilation,
        "dilation_y": rows.dilation,
        "pad_x_left": columns.before,
        "pad_x_right": columns.after,
        "pad_y_top": rows.before,
        "pad_y_bottom": rows.after,
        "pad_val": setting.pad_value,
        "pra_truncate": setting.winograd_truncate,
        "in_cvt": _input_converter(setting.converter),
        "out_cvt": {"scale": 1, "enable": 1, "truncate": setting.clip_truncate},
    }
    if image is not None and image.means is not None:
        operation |= {"mean_format": 1}
        operation |= {name.lower(): mean for name, mean in zip(MEANS, image.means, strict=False)}
    return Descriptor(Kind.CONV, operation, _surface(setting, places, context))


def _input_converter(converter: InputConverter | None) -> Values:
    if converter is None:
        return {"scale": 1}
    return {
        "scale": converter.scale,
        "truncate": converter.truncate,
        "offset": converter.offset,
        "enable": 1,
    }


def _surface(
    setting: ConvolutionSetting, places: ConvolutionPlaces, context: WritingContext
) -> Values:
    """Where input, weights and results lie."""
    extents = setting.channels, setting.rows.size, setting.columns.size
    made = setting.kernels, setting.rows.outputs, setting.columns.outputs
    kernel = setting.channels, setting.rows.taps, setting.columns.taps
    weights = places.weights
    layout = None if places.destination is None else places.destination.layout
    surface: dict[str, int | Values] = {
        "src_data": _source(places.input, extents, context),
        "dst_data": context.flying(
            made, None if layout is None else (layout.line_stride, layout.surface_stride)
        ),
        "weight_data": context.block(
            weights.address, setting.weight_bytes(context.hw), kernel, memory=weights.memory
        ),
    }
    if setting.compressed is not None:
        assert places.mask is not None and places.group_sizes is not None
        groups = ceil_div(setting.kernels, context.hw.atomic_k)
        for name, place, size in (
            ("wmb_data", places.mask, setting.compressed.mask_bytes),
            ("wgs_data", places.group_sizes, groups * _GROUP_SIZE_BYTES),
        ):
            surface[name] = context.block(place.address, size, kernel, memory=place.memory)
    if isinstance(places.input, ImagePlace) and len(places.input.addresses) > 1:
        first, second = places.input.addresses
        surface |= {
            "offset_u": second - first,
            "in_line_uv_stride": places.input.line_strides[1],
        }
    return surface


def _source(
    place: CubePlace | ImagePlace, extents: tuple[int, int, int], context: WritingContext
) -> Values:
    if isinstance(place, CubePlace):
        return context.cube(place, extents)
    line = place.line_strides[0]
    return context.block(place.addresses[0], extents[1] * line, extents, (line, 0), place.memory)
