"""Networks of hardware layers, written as loadables and read back: what both ways tell the
hardware, and what comes out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.csb import (
    INTERRUPT_CONTROL,
    ConfigureOp,
    DownloadOp,
    LoadOp,
    UploadOp,
    WriteTableOp,
)
from nvdla_ir.dialects.func import CallOp, FuncOp, called_function
from nvdla_ir.dialects.nvdla import configuration_of
from nvdla_ir.formats.loadable import export_loadable, import_loadable
from nvdla_ir.formats.loadable.container import MemoryFlag, read_container
from nvdla_ir.interp.machine import Machine, Mode
from nvdla_ir.ir.diagnostics import DiagnosticCollector
from nvdla_ir.ir.location import FileLineCol
from nvdla_ir.ir.operation import Operation, Value
from nvdla_ir.ir.verifier import verify
from nvdla_ir.passes.base import Session
from nvdla_ir.passes.pipeline import Pipeline
from nvdla_ir.passes.registry import PassRegistry
from nvdla_ir.resources import ResourceStore
from nvdla_ir.text.pipeline_syntax import parse_pipeline

QUANTIZE = "fold-batch-norm,canonicalize,decompose-layers,quantize-weights,insert-converters"
PLACE = (
    "legalize-to-nvdla,outline-device-programs,compress-weights,fit-convolution-buffer,"
    "stream-to-pooling,schedule-layers,pair-operands,allocate-memory{transfers=apart}"
)


def run_passes(module: ModuleOp, session: Session, text: str) -> None:
    registry = PassRegistry()
    steps = parse_pipeline(text, FileLineCol("<pipeline>", 1, 1))
    Pipeline([registry.create(step) for step in steps]).run(module, session)


@frozen(eq=False)
class RoundTrip:
    """``own`` is the register program of the compiler, ``read`` that of the loadable."""

    data: bytes
    own: ModuleOp
    own_resources: ResourceStore
    read: ModuleOp
    read_resources: ResourceStore
    remarks: tuple[str, ...]


def round_trip(module: ModuleOp, session: Session, firmware: str = "0.12") -> RoundTrip:
    """``module`` is of hardware layers with their places; it becomes the register program."""
    target = configuration_of(module).name
    collector = DiagnosticCollector()
    data = export_loadable(module, session.resources, firmware=firmware, diagnostics=collector)
    resources = ResourceStore()
    read = import_loadable(data, "net.nvdla", resources, target=target)
    verify(read)
    run_passes(module, session, "emit-registers")
    remarks = tuple(diagnostic.message for diagnostic in collector.diagnostics)
    return RoundTrip(data, module, session.resources, read, resources, remarks)


# -------------------------------------------------------------- registers

# What only pairs up the cubes of a batch; the firmware knows no address of what flies.
_BATCHES = {"CACC": {"DATAOUT_ADDR", "LINE_STRIDE", "SURF_STRIDE"}}

# What the firmware writes, and the layer has no use for.
_UNUSED = {
    # those of images where the input is a cube, of a second plane where there is one
    "CDMA": {"PIXEL_FORMAT", "PIXEL_MAPPING", "PIXEL_SIGN_OVERRIDE", "UV_LINE_STRIDE"}
    | {"DATAIN_ADDR_LOW_1", "DATAIN_ADDR_HIGH_1"},
    # of streams that are off; lines of a table, which has none
    "SDP_RDMA": {
        f"{prefix}_{name}"
        for prefix in ("BRDMA", "NRDMA", "ERDMA")
        for name in ("DATA_USE", "DATA_SIZE", "DATA_MODE", "RAM_TYPE")
    }
    | {f"{s}_{n}_STRIDE" for s in ("BS", "BN", "EW") for n in ("LINE", "SURFACE")},
    # operands of an ALU or a multiplier that does not act
    "SDP": {f"{s}_{p}_OPERAND" for s in ("BS", "BN") for p in ("ALU", "MUL")},
    # PDP_RDMA alone uses strides of the source; an average alone the others
    "PDP": {"SRC_LINE_STRIDE", "SRC_SURFACE_STRIDE", "RECIP_KERNEL_HEIGHT", "RECIP_KERNEL_WIDTH"}
    | {f"PAD_VALUE_{number}X" for number in range(1, 8)},
}


def programmed(module: ModuleOp) -> Iterator[tuple[str, dict[str, Any]]]:
    """What is written to each unit, in order; tables by their entries."""
    for op in _executed(module):
        if isinstance(op, WriteTableOp):
            yield op.unit, {op.table: tuple(op.values)}
        elif isinstance(op, ConfigureOp) and op.unit != INTERRUPT_CONTROL:
            yield op.unit, op.field_values()


def _executed(module: ModuleOp) -> Iterator[Operation]:
    """The operations of ``@main``, those of the programs that it calls among them."""
    for op in main_of(module).body.operations:
        program = called_function(op) if isinstance(op, CallOp) else None
        yield from [op] if program is None else program.body.operations


def main_of(module: ModuleOp) -> FuncOp:
    found = [op for op in module.body.operations if isinstance(op, FuncOp)]
    return next(op for op in found if op.sym_name == "main")


def require_same_registers(trip: RoundTrip) -> int:
    """See that every register that a layer uses has the same value both ways, addresses those of
    the same bytes. Returns how many layers' units there were."""
    own, read = list(programmed(trip.own)), list(programmed(trip.read))
    assert [unit for unit, _ in own] == [unit for unit, _ in read]
    moved = _Moves(trip)
    for (unit, expected), (_, found) in zip(own, read, strict=True):
        require_same_fields(unit, expected, found, moved.require)
    return len(own)


def require_same_fields(
    unit: str,
    expected: Mapping[str, Any],
    found: Mapping[str, Any],
    require_moved: Callable[[int, int, str], None] | None = None,
) -> None:
    """See that ``found`` says what ``expected`` does, and beside it what no layer uses."""
    for name, value in expected.items():
        if name in _BATCHES.get(unit, ()):
            continue
        if name.endswith("_MUL_SRC") and expected[name.replace("SRC", "BYPASS")] == "YES":
            continue
        if "ADDR_LOW" in name and require_moved is not None:
            require_moved(value, found[name], f"{unit}.{name}")
        else:
            assert found[name] == value, f"{unit}.{name}: {value} became {found[name]}"
    extra = found.keys() - expected.keys() - _UNUSED.get(unit, set())
    assert not extra, f"{unit}: {sorted(extra)}"


class _Moves:
    """By how much each part of memory has moved: constants, inputs and outputs, all else."""

    def __init__(self, trip: RoundTrip) -> None:
        container = read_container(trip.data, "net.nvdla")
        ends: list[tuple[str, int, int]] = []
        for kind, flag in ((UploadOp, MemoryFlag.INPUT), (DownloadOp, MemoryFlag.OUTPUT)):
            bound = [memory for memory in container.memory_list if memory.has(flag)]
            ops = [op for op in _executed(trip.own) if isinstance(op, kind)]
            for op, memory in zip(ops, bound, strict=True):
                begin = op.address - container.tensor_desc_list[memory.tensor_desc_id].offset
                ends.append((f"memory {memory.id}", begin, begin + memory.size))
        for op in _executed(trip.own):
            if isinstance(op, LoadOp):
                size = trip.own_resources.tensor(op.value).nbytes
                ends.append(("constants", op.address, op.address + size))
        self.ends = ends
        self.moves: dict[str, int] = {}

    def require(self, own: int, found: int, what: str) -> None:
        part = next((name for name, begin, end in self.ends if begin <= own < end), "pool")
        assert self.moves.setdefault(part, found - own) == found - own, f"{what} in {part}"


# -------------------------------------------------------------- results


def require_same_bytes(trip: RoundTrip, inputs: dict[str, NDArray[Any]]) -> None:
    """See that the loadable computes what the register program reads back."""
    stored: dict[Value, NDArray[Any]] = {}
    downloaded: list[NDArray[Any]] = []

    def observe(op: Operation, results: Sequence[Any]) -> None:
        stored.update(zip(op.results, results, strict=True))
        if isinstance(op, DownloadOp):
            downloaded.append(np.array(results[0]))

    main = main_of(trip.own)
    for argument in main.body.arguments:
        stored[argument] = inputs[main.argument_name(argument)]
    Machine(trip.own_resources, Mode.INTEGER, observe).run(main, inputs)
    uploads = [op for op in main.body.operations if isinstance(op, UploadOp)]
    function = main_of(trip.read)
    names = [function.argument_name(argument) for argument in function.body.arguments]
    handed = {name: stored[op.input] for name, op in zip(names, uploads, strict=True)}
    found = Machine(trip.read_resources, Mode.INTEGER).run(function, handed)
    for array, expected in zip(found.values(), downloaded, strict=True):
        np.testing.assert_array_equal(array, expected)
