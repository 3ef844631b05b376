"""Registers of CDMA, CSC, CMAC and CACC from a convolution's descriptors. Sources: loadable.md
section 4, convolution.md sections 3 to 6."""

from __future__ import annotations

from nvdla_ir.frontends.loadable.cubes import Context, Cube, Fields, cube_of, place_of
from nvdla_ir.frontends.loadable.network import Operation
from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.hw.formats.buffer import (
    entries_per_slice,
    image_entries_per_slice,
    winograd_entries_per_slice,
)
from nvdla_ir.hw.pixels import PIXEL_FORMATS_BY_CODE, PixelFormat

FEATURE_FORMATS = (36, 37)
"""Codes of feature cubes among the pixel formats: atoms of 32 bytes and of 8."""

_WINOGRAD = 1
_ADDRESS_LIMIT = 1 << 32
_CONVERTER_IDENTITY = (
    "has 'out_cvt' with scale = {scale} and offset = {offset}, but must be 1 and 0"
)
_SURFACE_ALIGNMENT = 128
_GROUP_SIZE_BYTES = 4

Units = dict[str, Fields]


def convolution_units(operation: Operation, context: Context) -> Units:
    """The fields of every unit of the convolution pipeline, in the order of the data flow.

    Raises: DiagnosticError for what the firmware or the hardware refuses.
    """
    source = cube_of(operation, "src_data", context, may_fly=False)
    destination = cube_of(operation, "dst_data", context, may_fly=True)
    _check(operation, context, source)
    mode = _mode(operation)
    return {
        "CDMA": _cdma(operation, context, source, destination),
        "CSC": _csc(operation, destination),
        "CMAC_A": dict(mode),
        "CMAC_B": dict(mode),
        "CACC": _cacc(operation, destination),
    }


def _check(operation: Operation, context: Context, source: Cube) -> None:
    op, hw = operation.descriptor, context.hw
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
    context.require(
        1 <= op["batch"] <= hw.max_batch,
        operation,
        f"has batch = {op['batch']}, but {hw.name} takes 1 to {hw.max_batch}",
    )
    context.require(
        op["conv_mode"] != _WINOGRAD or hw.has_winograd,
        operation,
        f"is a Winograd convolution, which {hw.name} does not have",
    )
    context.require(
        not op["weight_format"] or hw.has_weight_compression,
        operation,
        f"has compressed weights, which {hw.name} does not have",
    )
    entries = _entries_per_slice(operation, hw)
    context.require(
        op["entry_per_slice"] == entries,
        operation,
        f"has entry_per_slice = {op['entry_per_slice']}, but a line takes {entries} entries of the "
        f"convolution buffer of {hw.name}",
    )
    banks, usable = (
        (op["data_bank"], op["weight_bank"]),
        hw.usable_banks(compressed=bool(op["weight_format"])),
    )
    context.require(
        min(banks) >= 1 and sum(banks) <= usable,
        operation,
        f"has {banks[0]} banks for data and {banks[1]} for weights, but {hw.name} has {usable}",
    )
    pixel_format = pixel_format_of(operation, context)
    if pixel_format is None:
        source.layout(context)
        return
    rows = (source.height - 1) * source.line_stride
    source.require_room(rows + source.width * pixel_format.bytes_per_pixel[0], context)


def pixel_format_of(operation: Operation, context: Context) -> PixelFormat | None:
    """The format of an image input; None for feature cubes.

    Raises: DiagnosticError for codes that do not exist or that the hardware does not fetch.
    """
    code = operation.descriptor["data_format"]
    if code in FEATURE_FORMATS:
        return None
    pixel_format = PIXEL_FORMATS_BY_CODE.get(code)
    if pixel_format is None:
        raise context.fault(operation, f"has data_format = {code}, which does not exist")
    context.require(
        context.hw.supports_pixel_format(pixel_format),
        operation,
        f"reads {pixel_format.name}, which {context.hw.name} does not fetch",
    )
    return pixel_format


def _entries_per_slice(operation: Operation, hw: HardwareConfiguration) -> int:
    """Entries of the convolution buffer that a line takes (convolution.md section 3.4)."""
    op = operation.descriptor
    width, channels = max(op["input_width_csc"], 1), max(op["input_channel_csc"], 1)
    if op["conv_mode"] == _WINOGRAD:
        return winograd_entries_per_slice(hw, width, channels)
    if op["data_format"] in FEATURE_FORMATS:
        return entries_per_slice(hw, width, channels)
    return image_entries_per_slice(hw, width, channels, op["pad_x_left"], op["pad_x_right"])


def _mode(operation: Operation) -> Fields:
    return {"CONV_MODE": operation.descriptor["conv_mode"], "PROC_PRECISION": "INT8"}


def _shared(operation: Operation) -> Fields:
    """What CDMA and CSC must both be told."""
    op = operation.descriptor
    return {
        **_mode(operation),
        "IN_PRECISION": "INT8",
        "DATA_REUSE": op["data_reuse"],
        "WEIGHT_REUSE": op["weight_reuse"],
        "SKIP_DATA_RLS": op["skip_data_rls"],
        "SKIP_WEIGHT_RLS": op["skip_weight_rls"],
        "DATAIN_FORMAT": "FEATURE" if op["data_format"] in FEATURE_FORMATS else "PIXEL",
        "DATAIN_WIDTH_EXT": op["input_width_csc"] - 1,
        "DATAIN_HEIGHT_EXT": op["input_height_csc"] - 1,
        "BATCHES": op["batch"] - 1,
        "ENTRIES": op["entry_per_slice"] - 1,
        "WEIGHT_FORMAT": op["weight_format"],
        "WEIGHT_BYTES": operation.surface.part("weight_data")["size"],
        "PAD_VALUE": op["pad_val"],
        "DATA_BANK": op["data_bank"] - 1,
        "WEIGHT_BANK": op["weight_bank"] - 1,
    }


def _cdma(operation: Operation, context: Context, source: Cube, destination: Cube) -> Fields:
    op, surface, atom = operation.descriptor, operation.surface, context.hw.memory_atom
    pixel_format = pixel_format_of(operation, context)
    second_plane = source.address + surface["offset_u"]
    context.require(
        0 <= second_plane < 1 << context.hw.address_bits,
        operation,
        f"has offset_u = {surface['offset_u']}, which leads out of memory",
    )
    line_packed = source.line_stride == source.width * atom
    surface_packed = source.surface_stride == source.width * source.height * atom
    return {
        **_shared(operation),
        "PIXEL_FORMAT": 0 if pixel_format is None else pixel_format.name,
        "PIXEL_MAPPING": op["pixel_mapping"],
        "PIXEL_SIGN_OVERRIDE": op["pixel_override"],
        "DATAIN_WIDTH": source.width - 1,
        "DATAIN_HEIGHT": source.height - 1,
        "DATAIN_CHANNEL": source.channels - 1,
        "DATAIN_RAM_TYPE": source.interface,
        **context.address_fields("DATAIN_ADDR_LOW_0", "DATAIN_ADDR_HIGH_0", source.address),
        **context.address_fields("DATAIN_ADDR_LOW_1", "DATAIN_ADDR_HIGH_1", second_plane),
        "LINE_STRIDE": source.line_stride,
        "SURF_STRIDE": source.surface_stride,
        "UV_LINE_STRIDE": surface["in_line_uv_stride"],
        "LINE_PACKED": int(line_packed),
        "SURF_PACKED": int(surface_packed),
        "BATCH_STRIDE": op["batch_stride"],
        "GRAINS": op["fetch_grain"] - 1,
        "BYTE_PER_KERNEL": op["bytes_per_kernel"] - 1,
        "WEIGHT_KERNEL": destination.channels - 1,
        **_weights(operation, context),
        **_converter(operation),
        "CONV_X_STRIDE": op["conv_stride_x"] - 1,
        "CONV_Y_STRIDE": op["conv_stride_y"] - 1,
        "PAD_LEFT": op["pad_x_left"],
        "PAD_RIGHT": op["pad_x_right"],
        "PAD_TOP": op["pad_y_top"],
        "PAD_BOTTOM": op["pad_y_bottom"],
    }


def _weights(operation: Operation, context: Context) -> Fields:
    """Where the weights lie; the least is checked that the surface's size promises."""
    fields: Fields = {}
    for name, prefix, alignment in (
        ("weight_data", "WEIGHT", context.hw.memory_atom),
        ("wmb_data", "WMB", _SURFACE_ALIGNMENT),
        ("wgs_data", "WGS", _GROUP_SIZE_BYTES),
    ):
        record = operation.surface.part(name)
        if name != "weight_data" and not operation.descriptor["weight_format"]:
            continue
        place = place_of(operation, name, record, context)
        cube = Cube(name, operation, record, place)
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
        fields |= context.address_fields(f"{prefix}_ADDR_LOW", f"{prefix}_ADDR_HIGH", cube.address)
        if name == "weight_data":
            fields["WEIGHT_RAM_TYPE"] = cube.interface
        elif name == "wmb_data":
            fields["WMB_BYTES"] = record["size"]
    return fields


def _converter(operation: Operation) -> Fields:
    """The input converter and the means (convolution.md section 3.2)."""
    op = operation.descriptor
    fields: Fields = {"MEAN_FORMAT": op["mean_format"]}
    if op["mean_format"]:
        fields |= {name: op[name.lower()] for name in ("MEAN_RY", "MEAN_GU", "MEAN_BV", "MEAN_AX")}
    converter = op.part("in_cvt")
    if not converter["enable"]:
        return {**fields, "CVT_EN": "DISABLE"}
    return {
        **fields,
        "CVT_EN": "ENABLE",
        "CVT_TRUNCATE": converter["truncate"],
        "CVT_OFFSET": converter["offset"],
        "CVT_SCALE": converter["scale"],
    }


def _csc(operation: Operation, destination: Cube) -> Fields:
    op = operation.descriptor
    winograd = op["conv_mode"] == _WINOGRAD
    return {
        **_shared(operation),
        "DATAIN_CHANNEL_EXT": op["input_channel_csc"] - 1,
        "Y_EXTENSION": op["post_extension"],
        "WEIGHT_WIDTH_EXT": op["kernel_width_csc"] - 1,
        "WEIGHT_HEIGHT_EXT": op["kernel_height_csc"] - 1,
        "WEIGHT_CHANNEL_EXT": op["kernel_channel_csc"] - 1,
        "WEIGHT_KERNEL": destination.channels - 1,
        "WMB_BYTES": operation.surface.part("wmb_data")["size"],
        "DATAOUT_WIDTH": op["input_width_cmac"] - 1,
        "DATAOUT_HEIGHT": op["input_height_cmac"] - 1,
        "DATAOUT_CHANNEL": destination.channels - 1,
        "ATOMICS": destination.width * destination.height - 1,
        "RLS_SLICES": op["release"] - 1,
        # CDMA applies strides and padding of a Winograd convolution (convolution.md section 4.7)
        "CONV_X_STRIDE_EXT": 0 if winograd else op["conv_stride_x"] - 1,
        "CONV_Y_STRIDE_EXT": 0 if winograd else op["conv_stride_y"] - 1,
        "X_DILATION_EXT": op["dilation_x"] - 1,
        "Y_DILATION_EXT": op["dilation_y"] - 1,
        "PAD_LEFT": 0 if winograd else op["pad_x_left"],
        "PAD_TOP": 0 if winograd else op["pad_y_top"],
        "PRA_TRUNCATE": op["pra_truncate"],
    }


def _cacc(operation: Operation, destination: Cube) -> Fields:
    op = operation.descriptor
    is_single = int(destination.width == destination.height == 1)
    return {
        **_mode(operation),
        "DATAOUT_WIDTH": destination.width - 1,
        "DATAOUT_HEIGHT": destination.height - 1,
        "DATAOUT_CHANNEL": destination.channels - 1,
        "DATAOUT_ADDR": destination.address % _ADDRESS_LIMIT,
        "BATCHES": op["batch"] - 1,
        "LINE_STRIDE": destination.line_stride,
        "SURF_STRIDE": destination.surface_stride,
        "LINE_PACKED": is_single,
        "SURF_PACKED": is_single,
        "CLIP_TRUNCATE": op.part("out_cvt")["truncate"],
    }
