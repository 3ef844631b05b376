"""The descriptors of RUBIK and BDMA operations: what they tell the hardware, and those that tell it
a setting. Sources: loadable.md section 4, rubik-bdma-glb.md sections 2 and 3."""

from __future__ import annotations

from collections.abc import Sequence

from nvdla_ir.formats.loadable.buffers import Place
from nvdla_ir.formats.loadable.cubes import MEMORIES, Cube, ReadingContext, cube_of, place_at
from nvdla_ir.formats.loadable.descriptors import Descriptor, WritingContext
from nvdla_ir.formats.loadable.network import Kind, Operation
from nvdla_ir.formats.loadable.structures import Record, Values
from nvdla_ir.hardware.bdma import BdmaSetting, Transfer, TransferPlaces
from nvdla_ir.hardware.fields import Fields, UnitFields
from nvdla_ir.hardware.place import BlockPlace, CubePlace, PlanesPlace
from nvdla_ir.hardware.rubik import Mode, RubikPlaces, RubikSetting
from nvdla_ir.hw.formats.sizes import align_up

_MODES: tuple[Mode, ...] = ("CONTRACT", "SPLIT", "MERGE")
_LARGEST_REPEAT = 8192
_MOST_TRANSFERS = 20


def rubik_units(operation: Operation, context: ReadingContext) -> tuple[RubikSetting, UnitFields]:
    """What RUBIK is told.

    Raises: DiagnosticError for what the firmware or the hardware refuses.
    """
    op = operation.descriptor
    source = cube_of(operation, "src_data", context, may_fly=False)
    destination = cube_of(operation, "dst_data", context, may_fly=False)
    context.has_known(operation, "mode", op["mode"], len(_MODES))
    mode = _MODES[op["mode"]]
    setting = RubikSetting(
        mode=mode,
        channels=source.channels,
        height=source.height,
        width=source.width,
        output_channels=destination.channels,
        strides=(op["stride_y"], op["stride_x"]),
    )
    context.require_possible(operation, setting.faults(context.hw))
    context.require(
        mode != "MERGE" or source.plane_stride > 0,
        operation,
        "merges planes with plane_stride = 0",
    )
    context.require(
        destination.size == setting.output,
        operation,
        f"has 'dst_data' of {destination.size} (channels, height, width), but it makes "
        f"{setting.output}",
    )
    ends = ((source, mode == "MERGE"), (destination, mode == "SPLIT"))
    places = RubikPlaces(*(_rubik_place(cube, context, planar) for cube, planar in ends))
    context.require_possible(operation, setting.place_faults(places, context.hw))
    for cube, planar in ends:
        if planar:
            cube.require_room(_planar_bytes(cube, context), context)
    return setting, setting.fields(context.hw, places)


def _rubik_place(cube: Cube, context: ReadingContext, planar: bool) -> CubePlace | PlanesPlace:
    if planar:
        return PlanesPlace(cube.address, cube.line_stride, cube.plane_stride, cube.memory)
    return cube.cube_place(context)


def rubik_destination(
    operation: Operation, cube: Cube, context: ReadingContext
) -> tuple[int, Cube | None]:
    """How many bytes the operation writes, and the cube where they are a feature cube."""
    if _MODES[operation.descriptor["mode"]] == "SPLIT":
        return _planar_bytes(cube, context), None
    return cube.layout(context).size_bytes, cube


def _planar_bytes(cube: Cube, context: ReadingContext) -> int:
    """Bytes from the first to behind the last of planes whose lines are of whole atoms."""
    return (
        (cube.channels - 1) * cube.plane_stride
        + (cube.height - 1) * cube.line_stride
        + align_up(cube.width, context.hw.memory_atom)
    )


# ---------------------------------------------------------------- BDMA


def bdma_transfers(
    operation: Operation, context: ReadingContext
) -> tuple[BdmaSetting, tuple[Fields, ...]]:
    """What BDMA is told for each of the operation's transfers.

    Raises: DiagnosticError for what the firmware or the hardware refuses.
    """
    surface = operation.surface
    count = surface["num_transfers"]
    context.require(
        count <= _MOST_TRANSFERS,
        operation,
        f"has {count} transfers, but may have {_MOST_TRANSFERS}",
    )
    transfers = surface.each("transfers")[:count]
    setting = BdmaSetting(
        tuple(
            Transfer(transfer["line_size"], transfer["line_repeat"], transfer["surface_repeat"])
            for transfer in transfers
        )
    )
    context.require_possible(operation, setting.faults(context.hw))
    for name in ("source_type", "destination_type"):
        context.has_known(operation, name, surface[name], len(MEMORIES))
    for transfer in transfers:
        _check_transfer(operation, context, transfer)
    places = tuple(
        TransferPlaces(
            _block(operation, context, transfer, "source"),
            _block(operation, context, transfer, "destination"),
        )
        for transfer in transfers
    )
    context.require_possible(operation, setting.place_faults(places))
    for transfer in transfers:
        for end in ("source", "destination"):
            _require_room(operation, context, transfer, end)
    return setting, setting.fields(context.hw, places)


def bdma_destination(operation: Operation, context: ReadingContext) -> tuple[Place, int] | None:
    """Where the last transfer writes, and how many bytes from there on; None without transfers."""
    count = operation.surface["num_transfers"]
    if not count:
        return None
    transfer = operation.surface.each("transfers")[count - 1]
    return _end(operation, context, transfer, "destination"), _extent(transfer, "destination")


def _check_transfer(operation: Operation, context: ReadingContext, transfer: Record) -> None:
    """What the firmware refuses."""
    size = transfer["line_size"]
    for name in ("line_repeat", "surface_repeat"):
        context.require(
            transfer[name] <= _LARGEST_REPEAT,
            operation,
            f"has {name} = {transfer[name]}, but it must be 1 to {_LARGEST_REPEAT}",
        )
    for end in ("source", "destination"):
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


def _block(operation: Operation, context: ReadingContext, transfer: Record, end: str) -> BlockPlace:
    address = _end(operation, context, transfer, end).address
    memory = MEMORIES[operation.surface[f"{end}_type"]]
    return BlockPlace(address, transfer[f"{end}_line"], transfer[f"{end}_surface"], memory)


def _require_room(
    operation: Operation, context: ReadingContext, transfer: Record, end: str
) -> None:
    """See that what one end of a transfer touches lies in its buffer."""
    place, extent = _end(operation, context, transfer, end), _extent(transfer, end)
    context.require(
        extent <= place.room,
        operation,
        f"moves {extent} bytes, but memory {place.buffer.index} has {max(place.room, 0)} from "
        f"{place.offset} on",
    )


def _end(operation: Operation, context: ReadingContext, transfer: Record, end: str) -> Place:
    type = operation.surface[f"{end}_type"]
    return place_at(operation, end, type, transfer[f"{end}_address"], 0, context)


def _extent(transfer: Record, end: str) -> int:
    """Bytes from the first to behind the last that one end of a transfer touches."""
    return (
        (transfer["surface_repeat"] - 1) * transfer[f"{end}_surface"]
        + (transfer["line_repeat"] - 1) * transfer[f"{end}_line"]
        + transfer["line_size"]
    )


# ---------------------------------------------------------------- writing


def rubik_descriptor(
    setting: RubikSetting, places: RubikPlaces, context: WritingContext
) -> Descriptor:
    """The descriptors that tell RUBIK ``setting``: the inverse of ``rubik_units``."""
    down, across = setting.strides
    operation: Values = {
        "mode": _MODES.index(setting.mode),
        "stride_x": across,
        "stride_y": down,
    }
    extents = setting.channels, setting.height, setting.width
    surface: Values = {
        "src_data": _rubik_cube(places.source, extents, context),
        "dst_data": _rubik_cube(places.destination, setting.output, context),
    }
    return Descriptor(Kind.RUBIK, operation, surface)


def _rubik_cube(
    place: CubePlace | PlanesPlace, extents: tuple[int, int, int], context: WritingContext
) -> Values:
    if isinstance(place, CubePlace):
        return context.cube(place, extents)
    size, strides = extents[0] * place.plane_stride, (place.line_stride, 0)
    block = context.block(place.address, size, extents, strides, place.memory)
    return {**block, "plane_stride": place.plane_stride}


def bdma_descriptor(
    setting: BdmaSetting, places: Sequence[TransferPlaces], context: WritingContext
) -> Descriptor:
    """The descriptors that tell BDMA ``setting``: the inverse of ``bdma_transfers``."""
    transfers: list[Values] = []
    memories: dict[str, set[int]] = {"source": set(), "destination": set()}
    for transfer, place in zip(setting.transfers, places, strict=True):
        values: dict[str, int] = {
            "line_size": transfer.line_bytes,
            "line_repeat": transfer.lines,
            "surface_repeat": transfer.surfaces,
        }
        for name in ("line_repeat", "surface_repeat"):
            context.require(
                values[name] <= _LARGEST_REPEAT,
                f"a copy with {name} = {values[name]}, of which the firmware takes up to "
                f"{_LARGEST_REPEAT}",
            )
        for end, block in (("source", place.source), ("destination", place.destination)):
            index, _ = context.addresses.of(block.address, without_offset=True)
            memories[end].add(MEMORIES.index(block.memory))
            values |= {
                f"{end}_address": index,
                f"{end}_line": block.line_stride,
                f"{end}_surface": block.surface_stride,
            }
        transfers.append(values)
    for end, used in memories.items():
        context.require(len(used) < 2, f"copies with a {end} in both memories")
    count = len(transfers)
    types = {f"{end}_type": min(used, default=0) for end, used in memories.items()}
    surface: Values = {**types, "num_transfers": count, "transfers": transfers}
    return Descriptor(Kind.BDMA, {"num_transfers": count}, surface)
