"""Hardware layers: what operations that run as one tell the hardware. Source: loadable.md
sections 3 and 4."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from attrs import frozen

from nvdla_ir.formats.loadable.buffers import Place
from nvdla_ir.formats.loadable.convolution import convolution_units
from nvdla_ir.formats.loadable.cubes import Cube, ReadingContext, cube_of
from nvdla_ir.formats.loadable.look_up_tables import tables_of
from nvdla_ir.formats.loadable.movement import (
    bdma_destination,
    bdma_transfers,
    rubik_destination,
    rubik_units,
)
from nvdla_ir.formats.loadable.network import Kind, Network, Operation
from nvdla_ir.formats.loadable.planar import cdp_units, pdp_units
from nvdla_ir.formats.loadable.scheduling import FusedGroup
from nvdla_ir.formats.loadable.sdp import sdp_units
from nvdla_ir.hardware.fields import Fields, UnitFields
from nvdla_ir.hardware.layer import Setting, interrupts_of
from nvdla_ir.hardware.look_up_tables import table_fields
from nvdla_ir.hardware.program import LayerProgram, Tables, encoded
from nvdla_ir.hw.look_up_tables import TableUnit
from nvdla_ir.hw.registers import RegisterError

_UNITS: Mapping[Kind, Callable[[Operation, ReadingContext], tuple[Setting, UnitFields]]] = {
    Kind.CONV: convolution_units,
    Kind.SDP: sdp_units,
    Kind.PDP: pdp_units,
    Kind.CDP: cdp_units,
    Kind.RUBIK: rubik_units,
}

_TABLE_UNITS: Mapping[Kind, TableUnit] = {Kind.SDP: "SDP", Kind.CDP: "CDP"}


@frozen(eq=False)
class Destination:
    """Where a layer writes: ``size`` bytes from ``place`` on; ``cube`` where they are a feature
    cube."""

    place: Place
    size: int
    cube: Cube | None


@frozen(eq=False)
class Layer:
    """A hardware layer's program, and where it writes; None where nothing is written."""

    program: LayerProgram
    destination: Destination | None


def layer_of(group: FusedGroup, network: Network, context: ReadingContext) -> Layer:
    """What the operations of one layer tell the hardware.

    Raises: DiagnosticError for what the firmware or the hardware refuses, at the operation.
    """
    _check_fusion(group, context)
    settings: list[Setting] = []
    units: UnitFields = {}
    transfers: tuple[Fields, ...] = ()
    tables: list[Tables] = []
    for operation in group:
        if operation.kind == Kind.BDMA:
            setting, transfers = bdma_transfers(operation, context)
            found = [("BDMA", fields) for fields in transfers]
        else:
            setting, made = _UNITS[operation.kind](operation, context)
            units |= made
            found = list(made.items())
        settings.append(setting)
        unit = _TABLE_UNITS.get(operation.kind)
        needed = None if unit is None else tables_of(operation, network, unit, context)
        if needed is not None:
            tables.append(needed)
            found.append((needed.unit, table_fields(needed.contents, needed.unit)))
        for name, fields in found:
            _check_fields(name, fields, operation, context)
    program = LayerProgram(
        units,
        interrupts_of(settings),
        _names(group, context),
        group[0].location,
        transfers,
        tuple(tables),
    )
    return Layer(program, _destination(group[-1], context))


def _names(group: FusedGroup, context: ReadingContext) -> tuple[str, ...]:
    """What reports call a layer: its operations, by kind and index."""
    has_tasks = len(context.buffers.container.task_list) > 1
    return tuple(
        f"{f'task{operation.task}.' if has_tasks else ''}{operation.kind.name.lower()}"
        f"{operation.index}"
        for operation in group
    )


def _check_fields(unit: str, fields: Fields, operation: Operation, context: ReadingContext) -> None:
    """See that the unit's registers can hold the values."""
    try:
        encoded(unit, fields, context.hw)
    except RegisterError as error:
        raise context.fault(operation, f"cannot run on {context.hw.name}: {error}") from error


def _check_fusion(group: FusedGroup, context: ReadingContext) -> None:
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


def _destination(operation: Operation, context: ReadingContext) -> Destination | None:
    if operation.kind == Kind.BDMA:
        found = bdma_destination(operation, context)
        return None if found is None else Destination(*found, None)
    cube = cube_of(operation, "dst_data", context, may_fly=False)
    assert cube.place is not None
    if operation.kind == Kind.RUBIK:
        return Destination(cube.place, *rubik_destination(operation, cube, context))
    return Destination(cube.place, cube.layout(context).size_bytes, cube)
