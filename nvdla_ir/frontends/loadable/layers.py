"""Hardware layers: what must be programmed for operations that run as one. Source: loadable.md
sections 3 and 4."""

from __future__ import annotations

from attrs import frozen

from nvdla_ir.frontends.loadable.buffers import Place
from nvdla_ir.frontends.loadable.convolution import convolution_units
from nvdla_ir.frontends.loadable.cubes import Context, Cube, Fields, cube_of
from nvdla_ir.frontends.loadable.look_up_tables import TableProgram, table_program
from nvdla_ir.frontends.loadable.movement import (
    bdma_destination,
    bdma_transfers,
    rubik_destination,
    rubik_units,
)
from nvdla_ir.frontends.loadable.network import Kind, Network, Operation
from nvdla_ir.frontends.loadable.planar import cdp_units, pdp_units
from nvdla_ir.frontends.loadable.scheduling import FusedGroup
from nvdla_ir.frontends.loadable.sdp import sdp_units
from nvdla_ir.hw.registers import RegisterError, register_map

_UNITS = {
    Kind.CONV: convolution_units,
    Kind.SDP: sdp_units,
    Kind.PDP: pdp_units,
    Kind.CDP: cdp_units,
    Kind.RUBIK: rubik_units,
}


@frozen(eq=False)
class Destination:
    """Where a layer writes: ``size`` bytes from ``place`` on; ``cube`` where they are a feature
    cube."""

    place: Place
    size: int
    cube: Cube | None


@frozen(eq=False)
class LayerProgram:
    """What one hardware layer needs.

    units:       the fields of each unit, from the first in the data flow to the last
    transfers:   the fields of BDMA for each of its transfers
    tables:      look-up tables that must be there
    interrupts:  the units whose interrupts say that it is done, in the order in which they come
    destination: None where nothing is written
    """

    operations: FusedGroup
    units: dict[str, Fields]
    transfers: tuple[Fields, ...]
    tables: tuple[TableProgram, ...]
    interrupts: tuple[str, ...]
    destination: Destination | None


def layer_program(group: FusedGroup, network: Network, context: Context) -> LayerProgram:
    """Program the operations of one layer.

    Raises: DiagnosticError for what the firmware or the hardware refuses, at the operation.
    """
    _check_fusion(group, context)
    units: dict[str, Fields] = {}
    transfers: tuple[Fields, ...] = ()
    tables: list[TableProgram] = []
    for operation in group:
        if operation.kind == Kind.BDMA:
            transfers = bdma_transfers(operation, context)
            for transfer in transfers:
                _check_fields("BDMA", transfer, operation, context)
            continue
        for unit, fields in _UNITS[operation.kind](operation, context).items():
            _check_fields(unit, fields, operation, context)
            units[unit] = fields
        if operation.kind in (Kind.SDP, Kind.CDP):
            table = table_program(operation, network, operation.kind.name, context)
            if table is not None:
                _check_fields(table.unit, table.fields, operation, context)
                tables.append(table)
    interrupts = tuple(operation.kind.name for operation in group if operation.kind != Kind.CONV)
    if group[0].kind == Kind.BDMA and not transfers:
        interrupts = ()
    return LayerProgram(
        group, units, transfers, tuple(tables), interrupts, _destination(group[-1], context)
    )


def _check_fields(unit: str, fields: Fields, operation: Operation, context: Context) -> None:
    """See that the unit's registers can hold the values."""
    hw = context.hw
    try:
        register_map(hw.register_map).block(unit).encode(fields, alignment=hw.memory_atom)
    except RegisterError as error:
        raise context.fault(operation, f"cannot run on {hw.name}: {error}") from error


def _check_fusion(group: FusedGroup, context: Context) -> None:
    """What flies from unit to unit has both ends, of one size."""
    for operation, follower in zip(group, (*group[1:], None), strict=True):
        if operation.kind in (Kind.BDMA, Kind.RUBIK, Kind.CDP):
            continue
        destination = cube_of(operation, "dst_data", context, may_fly=True)
        flies = destination.is_flying or operation.kind == Kind.CONV
        if follower is None:
            context.require(
                not flies,
                operation,
                "hands its result to another unit, but no operation takes it as fused parent",
            )
            continue
        source = cube_of(follower, "src_data", context, may_fly=True)
        context.require(
            flies and source.is_flying,
            follower,
            f"has {operation.name} as fused parent, but takes its data from memory",
        )
        context.require(
            destination.size == source.size,
            follower,
            f"takes a cube of another size than {operation.name} makes",
        )
    first = group[0]
    if first.kind in (Kind.SDP, Kind.PDP):
        source = cube_of(first, "src_data", context, may_fly=True)
        context.require(
            not source.is_flying, first, "takes its data from another unit, but has no fused parent"
        )


def _destination(operation: Operation, context: Context) -> Destination | None:
    if operation.kind == Kind.BDMA:
        found = bdma_destination(operation, context)
        return None if found is None else Destination(*found, None)
    cube = cube_of(operation, "dst_data", context, may_fly=False)
    assert cube.place is not None
    if operation.kind == Kind.RUBIK:
        return Destination(cube.place, *rubik_destination(operation, cube, context))
    return Destination(cube.place, cube.layout(context).size_bytes, cube)
