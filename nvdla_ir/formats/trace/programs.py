"""Device programs by themselves: what each reads is in memory when it starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen
from numpy.typing import NDArray

from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.csb import (
    BYTES,
    DownloadOp,
    FillOp,
    InputOp,
    LoadOp,
    OutputOp,
    UnitOp,
    UploadOp,
)
from nvdla_ir.dialects.func import FuncOp, ReturnOp
from nvdla_ir.dialects.layer import describe
from nvdla_ir.dialects.nvdla import called_program, configuration_of
from nvdla_ir.formats.trace.recording import Region, read_region, regions_of
from nvdla_ir.interp.csb.run import ExecutedLayer, executed_layers
from nvdla_ir.interp.machine import Machine, Mode
from nvdla_ir.ir.attributes import IntegerAttr
from nvdla_ir.ir.builder import Builder, InsertionPoint
from nvdla_ir.ir.diagnostics import DiagnosticCollector
from nvdla_ir.ir.operation import Block, Operation
from nvdla_ir.ir.operation import Region as BodyRegion
from nvdla_ir.ir.types import I8, FunctionType, TensorType
from nvdla_ir.resources import ResourceStore

Array = NDArray[Any]
_GROUP = "group"
_QUEUE = "BDMA"
"""It has a queue and no register groups: its layers may begin with either."""


@frozen(eq=False)
class SeparateProgram:
    """A device program as a function of its own, in a module of its own: it takes the bytes of
    what the host and earlier programs hand to it, and loads its constants.

    inputs: these bytes, by argument
    """

    function: FuncOp
    inputs: dict[str, Array]


def separate_programs(
    host: FuncOp,
    resources: ResourceStore,
    inputs: Mapping[str, Array],
    lenient: bool,
) -> list[SeparateProgram]:
    """The programs that ``host`` calls and that have hardware layers, in order; empty where it
    calls none. The whole network is run on the device once with ``inputs``.

    Raises: DiagnosticError for what stands outside of the programs and belongs to one, and for
    whatever the device refuses.
    """
    programs = [p for op in host.body.operations if (p := called_program(op)) is not None]
    if not programs:
        return []
    _check_host(host)
    handed_over: dict[Operation, list[tuple[Region, Array]]] = {}
    names: dict[Operation, str] = {}
    uploaded: dict[tuple[str, int], str | None] = {}
    configuration = configuration_of(host)

    def observe(op: Operation, results: Sequence[Any]) -> None:
        del results
        if isinstance(op, UploadOp):
            uploaded[op.memory, op.address] = op.input.name_hint
        elif isinstance(op, OutputOp):
            uploaded.pop((op.memory, op.address), None)
        elif isinstance(op, InputOp):
            # what the host calls it, or else the program
            names[op] = uploaded.get((op.memory, op.address)) or op.label or "input"
            handed_over[op] = [
                (region, read_region(machine, region)) for region in regions_of(op, configuration)
            ]

    machine = Machine(resources, Mode.INTEGER, observe, lenient=lenient)
    machine.run(host, inputs)
    layers: dict[Operation | None, list[ExecutedLayer]] = {}
    for layer in executed_layers(machine):
        layers.setdefault(layer.op.parent_op, []).append(layer)
    return [
        _separate(program, host, handed_over, names, layers[program])
        for program in programs
        if program in layers
    ]


def _check_host(host: FuncOp) -> None:
    """Raises: DiagnosticError for register operations beside the programs."""
    faults = DiagnosticCollector()
    for op in host.body.operations:
        if op.name.startswith("csb.") and not isinstance(
            op, LoadOp | FillOp | UploadOp | DownloadOp
        ):
            faults.error(
                op.location,
                f"{describe(op)} stands outside of the device programs that '@{host.sym_name}' "
                "calls, but each of these becomes a trace: put it into one of them",
            )
    faults.raise_if_errors()


def _separate(
    program: FuncOp,
    host: FuncOp,
    handed_over: Mapping[Operation, list[tuple[Region, Array]]],
    names: Mapping[Operation, str],
    layers: Sequence[ExecutedLayer],
) -> SeparateProgram:
    block = Block()
    builder = Builder(InsertionPoint.at_end(block), program.location)
    arrays: dict[str, Array] = {}
    for op in host.body.operations:
        if isinstance(op, FillOp) or (isinstance(op, LoadOp) and _is_read(op, layers)):
            builder.insert(op.clone())
    groups: dict[str, int] = {}
    for op in program.body.operations:
        if isinstance(op, InputOp):
            for region, data in handed_over[op]:
                name = _new_name(names[op], arrays)
                arrays[name] = data
                argument = block.add_argument(TensorType((len(data),), I8), name, op.location)
                builder.create(
                    UploadOp,
                    input=argument,
                    address=region.address,
                    memory=region.memory,
                    format=BYTES,
                    location=op.location,
                )
        elif not isinstance(op, ReturnOp):
            builder.insert(_from_reset(op.clone(), groups))
    builder.insert(ReturnOp())
    function = FuncOp.create(
        sym_name=program.sym_name,
        function_type=FunctionType(tuple(each.type for each in block.arguments), ()),
        regions=[BodyRegion([block])],
        location=program.location,
    )
    module = ModuleOp.of([function])
    assert host.parent_op is not None
    module.attributes.update(host.parent_op.attributes)
    return SeparateProgram(function, arrays)


def _from_reset(op: Operation, groups: dict[str, int]) -> Operation:
    """``op`` of a program that is the first after a reset: each unit begins with group 0.
    ``groups`` has the first group of each unit."""
    group = op.attributes.get(_GROUP)
    if isinstance(op, UnitOp) and op.unit != _QUEUE and isinstance(group, IntegerAttr):
        first = groups.setdefault(op.unit, group.value)
        op.attributes[_GROUP] = IntegerAttr(group.value ^ first)
    return op


def _is_read(load: LoadOp, layers: Sequence[ExecutedLayer]) -> bool:
    """Whether one of the layers reads some of it."""
    loaded = Region(load.memory, load.address, load.value.type.element_count)
    return any(
        area.memory == loaded.memory and area.base < loaded.end and loaded.address < area.end
        for layer in layers
        for area in layer.record.reads
    )


def _new_name(name: str, used: Mapping[str, Array]) -> str:
    number, found = 0, name
    while found in used:
        number += 1
        found = f"{name}_{number}"
    return found
