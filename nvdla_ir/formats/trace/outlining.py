"""Programs of one function with work of the host between layers, such as loadables with tasks of
the CPU, as one that calls device programs.

What crosses the border of a program is found by running the function: the bytes that its layers
read and somebody wrote before, and those they write and somebody reads later.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from attrs import define, field
from numpy.typing import NDArray

from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.csb import (
    BYTES,
    ConfigureOp,
    DownloadOp,
    EnableOp,
    FillOp,
    InputOp,
    LoadOp,
    OutputOp,
    UploadOp,
    WriteTableOp,
)
from nvdla_ir.dialects.func import CallOp, FuncOp, ReturnOp
from nvdla_ir.dialects.nvdla import (
    PROGRAM,
    PROGRAM_ATTRIBUTE,
    called_program,
    configuration_of,
)
from nvdla_ir.formats.trace.recording import Region, regions_of
from nvdla_ir.interp.csb.run import executed_layers
from nvdla_ir.interp.machine import Machine, Mode
from nvdla_ir.ir.builder import Builder, InsertionPoint
from nvdla_ir.ir.operation import Block, Operation, Value
from nvdla_ir.ir.operation import Region as BodyRegion
from nvdla_ir.ir.types import I8, FunctionType, TensorType
from nvdla_ir.resources import ResourceStore

_BY_HOST = (UploadOp, DownloadOp, LoadOp, FillOp)
_INTERRUPTS = "GLB"


def host_computes_between(function: FuncOp) -> bool:
    """Whether something is stored to memory that was computed of what came from there, though there
    are no device programs."""
    if any(called_program(op) is not None for op in function.body.operations):
        return False
    computed: set[Value] = set()
    for op in function.body.operations:
        follows = any(operand in computed for operand in op.operands)
        if isinstance(op, UploadOp) and follows:
            return True
        if isinstance(op, DownloadOp) or follows:
            computed.update(op.results)
    return False


def outlined(
    function: FuncOp, resources: ResourceStore, inputs: Mapping[str, NDArray[Any]], lenient: bool
) -> FuncOp:
    """A copy of ``function`` in a module of its own, whose layers between the host's transfers are
    device programs that it calls.

    Raises: DiagnosticError for whatever the device refuses.
    """
    stretches = list(_stretches(function))
    _find_traffic(function, stretches, resources, inputs, lenient)
    programs: list[FuncOp] = []
    for index, stretch in enumerate(stretches):
        before, behind = stretches[:index], stretches[index + 1 :]
        earlier = _merged(region for other in before for region in other.writes)
        known = _merged([*earlier, *stretch.stored])
        later = [region for other in behind for region in other.reads]
        program = _program(
            stretch,
            f"{function.sym_name}_program_{index}",
            _common(_merged(stretch.reads), known),
            _common(_merged(stretch.writes), _merged([*later, *stretch.fetched])),
            [op for other in before for op in other.operations if _lasts(op)],
        )
        programs.append(program)
    host = _host(function, stretches, programs)
    module = ModuleOp.of([host, *programs])
    assert function.parent_op is not None
    module.attributes.update(function.parent_op.attributes)
    return host


@define(eq=False)
class _Stretch:
    """Register operations without a transfer of the host's between its first layer and its last.

    stored:  what the host has stored ahead of it, constants aside
    fetched: what the host reads behind it
    """

    operations: list[Operation] = field(factory=list[Operation])
    reads: list[Region] = field(factory=list[Region])
    writes: list[Region] = field(factory=list[Region])
    stored: list[Region] = field(factory=list[Region])
    fetched: list[Region] = field(factory=list[Region])

    @property
    def start(self) -> Operation:
        """Where it begins: at its first layer, behind what is stored ahead of that."""
        enables = (op for op in self.operations if isinstance(op, EnableOp))
        return next(enables, self.operations[0])


def _stretches(function: FuncOp) -> Iterator[_Stretch]:
    stretch, runs = _Stretch(), False
    for op in function.body.operations:
        if isinstance(op, _BY_HOST):
            if runs:
                yield stretch
                stretch, runs = _Stretch(), False
        elif op.name.startswith("csb."):
            stretch.operations.append(op)
            runs = runs or isinstance(op, EnableOp)
    if stretch.operations:
        yield stretch


def _find_traffic(
    function: FuncOp,
    stretches: Sequence[_Stretch],
    resources: ResourceStore,
    inputs: Mapping[str, NDArray[Any]],
    lenient: bool,
) -> None:
    machine = Machine(resources, Mode.INTEGER, lenient=lenient)
    machine.run(function, inputs)
    by_operation = {op: stretch for stretch in stretches for op in stretch.operations}
    for layer in executed_layers(machine):
        stretch = by_operation[layer.op]
        stretch.reads += [Region(a.memory, a.base, a.end - a.base) for a in layer.record.reads]
        stretch.writes += [Region(a.memory, a.base, a.end - a.base) for a in layer.record.writes]
    hw = configuration_of(function)
    starts = {stretch.start: stretch for stretch in stretches}
    stored: list[Region] = []
    started: list[_Stretch] = []
    for op in function.body.operations:
        if op in starts:
            starts[op].stored = list(stored)
            started.append(starts[op])
        elif isinstance(op, UploadOp):
            stored += regions_of(op, hw)
        elif isinstance(op, DownloadOp):
            for stretch in started:
                stretch.fetched += regions_of(op, hw)


def _lasts(op: Operation) -> bool:
    """Whether what ``op`` sets up holds in later programs, which begin with a reset here."""
    masks = isinstance(op, ConfigureOp) and op.unit == _INTERRUPTS
    return masks or isinstance(op, WriteTableOp)


# -------------------------------------------------------------- functions


def _program(
    stretch: _Stretch,
    name: str,
    inputs: Iterable[Region],
    outputs: Iterable[Region],
    prelude: Iterable[Operation],
) -> FuncOp:
    block = Block()
    location = stretch.start.location
    builder = Builder(InsertionPoint.at_end(block), location)
    for region in inputs:
        builder.create(InputOp, **_bytes(region))
    for op in (*prelude, *stretch.operations):
        builder.insert(op.clone())
    for region in outputs:
        builder.create(OutputOp, **_bytes(region))
    builder.insert(ReturnOp())
    return FuncOp.create(
        sym_name=name,
        function_type=FunctionType((), ()),
        sym_visibility="private",
        regions=[BodyRegion([block])],
        discardable={PROGRAM_ATTRIBUTE: PROGRAM},
        location=location,
    )


def _bytes(region: Region) -> dict[str, Any]:
    return {
        "address": region.address,
        "memory": region.memory,
        "type": TensorType((region.size,), I8),
        "format": BYTES,
    }


def _host(function: FuncOp, stretches: Sequence[_Stretch], programs: Sequence[FuncOp]) -> FuncOp:
    copy = function.clone()
    assert isinstance(copy, FuncOp)
    twins = dict(zip(function.body.operations, list(copy.body.operations), strict=True))
    for stretch, program in zip(stretches, programs, strict=True):
        call = CallOp.create(
            callee=program.sym_name, arguments=[], result_types=[], location=program.location
        )
        copy.body.insert_before(call, twins[stretch.start])
        for op in stretch.operations:
            twins[op].erase()
    return copy


# -------------------------------------------------------------- regions


def _merged(regions: Iterable[Region]) -> list[Region]:
    """The same bytes as few regions, in order."""
    found: list[Region] = []
    for region in sorted(regions, key=lambda one: (one.memory, one.address)):
        last = found[-1] if found else None
        if last is not None and last.memory == region.memory and region.address <= last.end:
            end = max(last.end, region.end)
            found[-1] = Region(last.memory, last.address, end - last.address)
        else:
            found.append(region)
    return found


def _common(ours: Iterable[Region], others: Sequence[Region]) -> list[Region]:
    """The bytes that are in both, each of which has no overlap in itself."""
    found: list[Region] = []
    for region in ours:
        for other in others:
            begin = max(region.address, other.address)
            end = min(region.end, other.end)
            if region.memory == other.memory and begin < end:
                found.append(Region(region.memory, begin, end - begin))
    return found
