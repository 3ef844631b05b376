"""Registers of RUBIK and BDMA from an operation's descriptors. Sources: loadable.md section 4,
rubik-bdma-glb.md sections 2 and 3."""

from __future__ import annotations

from nvdla_ir.frontends.loadable.buffers import Place
from nvdla_ir.frontends.loadable.cubes import Context, Cube, Fields, cube_of, place_at
from nvdla_ir.frontends.loadable.network import Operation
from nvdla_ir.frontends.loadable.structures import Record
from nvdla_ir.hw.formats.sizes import align_up, ceil_div

_CONTRACT, _SPLIT, _MERGE = 0, 1, 2
_MODES = 3
_ATOM = 32
"""Bytes that RUBIK and BDMA move at once: addresses and strides are multiples of it."""

_LARGEST_DECONVOLUTION_STRIDE = 32
_LARGEST_REPEAT = 8192
_MOST_TRANSFERS = 20
_MEMORIES = {0: "MC", 1: "CVSRAM"}


def rubik_units(operation: Operation, context: Context) -> dict[str, Fields]:
    """The fields of RUBIK, whose registers are the block RBK.

    Raises: DiagnosticError for what the firmware or the hardware refuses.
    """
    op = operation.descriptor
    context.require(
        context.hw.has_rubik, operation, f"reshapes data, but {context.hw.name} has no RUBIK"
    )
    source = cube_of(operation, "src_data", context, may_fly=False)
    destination = cube_of(operation, "dst_data", context, may_fly=False)
    mode = op["mode"]
    context.has_known(operation, "mode", mode, _MODES)
    fields: Fields = {
        "RUBIK_MODE": mode,
        "IN_PRECISION": "INT8",
        "DATAIN_RAM_TYPE": source.interface,
        "DATAIN_WIDTH": source.width - 1,
        "DATAIN_HEIGHT": source.height - 1,
        "DATAIN_CHANNEL": source.channels - 1,
        **context.address_fields("DAIN_ADDR_LOW", "DAIN_ADDR_HIGH", source.address),
        "DAIN_LINE_STRIDE": source.line_stride,
        "DATAOUT_RAM_TYPE": destination.interface,
        "DATAOUT_CHANNEL": destination.channels - 1,
        **context.address_fields("DAOUT_ADDR_LOW", "DAOUT_ADDR_HIGH", destination.address),
        "DAOUT_LINE_STRIDE": destination.line_stride,
    }
    if mode == _MERGE:
        context.require(source.plane_stride > 0, operation, "merges planes with plane_stride = 0")
        fields["DAIN_PLANAR_STRIDE"] = source.plane_stride
    else:
        fields["DAIN_SURF_STRIDE"] = source.surface_stride
    if mode == _SPLIT:
        fields["DAOUT_PLANAR_STRIDE"] = destination.plane_stride
    else:
        fields["DAOUT_SURF_STRIDE"] = destination.surface_stride
    if mode == _CONTRACT:
        for name in ("stride_x", "stride_y"):
            context.require(
                1 <= op[name] <= _LARGEST_DECONVOLUTION_STRIDE,
                operation,
                f"has {name} = {op[name]}, but it must be 1 to {_LARGEST_DECONVOLUTION_STRIDE}",
            )
        surfaces = ceil_div(destination.channels, _ATOM)
        fields |= {
            "CONTRACT_STRIDE_0": surfaces * source.surface_stride,
            "CONTRACT_STRIDE_1": op["stride_y"] * destination.line_stride,
            "DECONV_X_STRIDE": op["stride_x"] - 1,
            "DECONV_Y_STRIDE": op["stride_y"] - 1,
        }
    for name, value in fields.items():
        if "STRIDE" in name and not name.startswith("DECONV"):
            context.require(
                isinstance(value, int) and value % _ATOM == 0,
                operation,
                f"needs {name} = {value}, but strides are multiples of {_ATOM} bytes",
            )
    for cube, planar in ((source, mode == _MERGE), (destination, mode == _SPLIT)):
        if planar:
            cube.require_room(_planar_bytes(cube), context)
        else:
            cube.layout(context)
    return {"RBK": fields}


def rubik_destination(
    operation: Operation, cube: Cube, context: Context
) -> tuple[int, Cube | None]:
    """How many bytes the operation writes, and the cube where they are a feature cube."""
    if operation.descriptor["mode"] == _SPLIT:
        return _planar_bytes(cube), None
    return cube.layout(context).size_bytes, cube


def _planar_bytes(cube: Cube) -> int:
    """Bytes from the first to behind the last of planes whose lines are of whole atoms."""
    return (
        (cube.channels - 1) * cube.plane_stride
        + (cube.height - 1) * cube.line_stride
        + align_up(cube.width, _ATOM)
    )


def bdma_transfers(operation: Operation, context: Context) -> tuple[Fields, ...]:
    """The fields of BDMA for each of the operation's transfers.

    Raises: DiagnosticError for what the firmware or the hardware refuses.
    """
    surface = operation.surface
    context.require(
        context.hw.has_bdma, operation, f"copies memory, but {context.hw.name} has no BDMA"
    )
    count = surface["num_transfers"]
    context.require(
        count <= _MOST_TRANSFERS,
        operation,
        f"has {count} transfers, but may have {_MOST_TRANSFERS}",
    )
    for name in ("source_type", "destination_type"):
        context.has_known(operation, name, surface[name], len(_MEMORIES))
    return tuple(
        _transfer(operation, context, transfer) for transfer in surface.each("transfers")[:count]
    )


def bdma_destination(operation: Operation, context: Context) -> tuple[Place, int] | None:
    """Where the last transfer writes, and how many bytes from there on; None without transfers."""
    count = operation.surface["num_transfers"]
    if not count:
        return None
    transfer = operation.surface.each("transfers")[count - 1]
    return _end(operation, context, transfer, "destination"), _extent(transfer, "destination")


def _transfer(operation: Operation, context: Context, transfer: Record) -> Fields:
    size = transfer["line_size"]
    context.require(
        size > 0 and size % _ATOM == 0,
        operation,
        f"has line_size = {size}, but it must be a multiple of {_ATOM}",
    )
    for name in ("line_repeat", "surface_repeat"):
        context.require(
            1 <= transfer[name] <= _LARGEST_REPEAT,
            operation,
            f"has {name} = {transfer[name]}, but it must be 1 to {_LARGEST_REPEAT}",
        )
    fields: Fields = {}
    for end, prefix in (("source", "SRC"), ("destination", "DST")):
        line, plane = transfer[f"{end}_line"], transfer[f"{end}_surface"]
        context.require(
            line >= size, operation, f"has {end}_line = {line}, less than a line of {size} bytes"
        )
        context.require(
            plane >= line * transfer["line_repeat"],
            operation,
            f"has {end}_surface = {plane}, less than {transfer['line_repeat']} lines of {line} "
            "bytes",
        )
        context.require(
            line % _ATOM == 0 and plane % _ATOM == 0,
            operation,
            f"has {end}_line = {line} and {end}_surface = {plane}, but they must be multiples of "
            f"{_ATOM}",
        )
        place, extent = _end(operation, context, transfer, end), _extent(transfer, end)
        context.require(
            extent <= place.room,
            operation,
            f"moves {extent} bytes, but memory {place.buffer.index} has {max(place.room, 0)} from "
            f"{place.offset} on",
        )
        fields |= context.address_fields(
            f"CFG_{prefix}_ADDR_LOW.V32", f"CFG_{prefix}_ADDR_HIGH.V8", place.address
        )
        fields[f"{prefix}_RAM_TYPE"] = _MEMORIES[operation.surface[f"{end}_type"]]
        fields[f"CFG_{prefix}_LINE.STRIDE"] = line
        fields[f"CFG_{prefix}_SURF.STRIDE"] = plane
    return {
        **fields,
        "CFG_LINE.SIZE": size // _ATOM - 1,
        "CFG_LINE_REPEAT.NUMBER": transfer["line_repeat"] - 1,
        "CFG_SURF_REPEAT.NUMBER": transfer["surface_repeat"] - 1,
        "CFG_OP.EN": "ENABLE",
    }


def _end(operation: Operation, context: Context, transfer: Record, end: str) -> Place:
    type = operation.surface[f"{end}_type"]
    return place_at(operation, end, type, transfer[f"{end}_address"], 0, context)


def _extent(transfer: Record, end: str) -> int:
    """Bytes from the first to behind the last that one end of a transfer touches."""
    return (
        (transfer["surface_repeat"] - 1) * transfer[f"{end}_surface"]
        + (transfer["line_repeat"] - 1) * transfer[f"{end}_line"]
        + transfer["line_size"]
    )
