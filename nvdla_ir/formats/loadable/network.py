"""The network that a hardware task runs: its operations, as the firmware reads them. Source:
loadable.md sections 3 and 4."""

from __future__ import annotations

from enum import IntEnum

from attrs import frozen

from nvdla_ir.formats.loadable.buffers import Buffers, Place
from nvdla_ir.formats.loadable.container import Blob
from nvdla_ir.formats.loadable.structures import (
    LAST_MINOR_WITHOUT_OFFSET,
    OPERATION_BYTES,
    SURFACE_BYTES,
    Record,
    structure,
)
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.location import Location, NameLoc

INT8 = 0
PRECISIONS = ("INT8", "INT16", "FP16")
NONE = -1
"""An index that refers to nothing."""

_PRECISION_FIELDS = {
    "conv": ("in_precision", "out_precision"),
    "sdp": ("src_precision", "dst_precision"),
    "pdp": ("precision",),
    "cdp": ("in_precision", "out_precision"),
    "rubik": ("precision",),
}


class Kind(IntEnum):
    """The kinds of hardware operations."""

    BDMA = 0
    CONV = 1
    SDP = 2
    PDP = 3
    CDP = 4
    RUBIK = 5


_KINDS = frozenset(map(int, Kind))


@frozen(eq=False)
class Operation:
    """One hardware operation.

    ``dependency`` is its entry of the dependency graph, ``descriptor`` and ``surface`` say what it
    computes on what.
    """

    task: int
    index: int
    kind: Kind
    dependency: Record
    descriptor: Record
    surface: Record
    location: Location

    @property
    def name(self) -> str:
        """How messages call it."""
        return f"operation {self.index} ({self.kind.name})"


@frozen(eq=False)
class Network:
    """A hardware task: its operations in the order of the lists, and its look-up tables."""

    task: int
    location: Location
    operations: tuple[Operation, ...]
    heads: tuple[int, ...]
    tables: tuple[Record, ...]
    has_statistics: bool


def task_location(task: int, file: Location) -> Location:
    return NameLoc(f"task {task}", file)


def read_network(buffers: Buffers, task: int) -> Network:
    """Decode a hardware task.

    Raises: DiagnosticError for descriptors outside their memories, kinds that do not exist, what
    this tool does not run (INT16, FP16, regions of interest).
    """
    location = task_location(task, buffers.location)
    reader = _Reader(buffers, task, location)
    first = reader.place(0, "the network descriptor")
    blob = _blob_at(buffers, first)
    has_offset = blob is None or blob.version[1] > LAST_MINOR_WITHOUT_OFFSET
    (network,) = reader.records("network", 0, 1, "the network descriptor", has_offset)
    count = network["num_operations"]
    _check_network(network, count, location)
    if count == 0:
        return Network(task, location, (), network.array("op_head"), (), False)
    commons = reader.records(
        "common", network["dependency_graph_index"], count, "the dependency graph", has_offset
    )
    operations = tuple(
        reader.operation(network, index, common, has_offset) for index, common in enumerate(commons)
    )
    tables: tuple[Record, ...] = ()
    if network["num_luts"] or any(_uses_table(operation) for operation in operations):
        used = max([network["num_luts"], *(_table_of(op) + 1 for op in operations)])
        tables = reader.records(
            "lut", network["lut_data_index"], used, "the look-up tables", has_offset
        )
    return Network(
        task,
        location,
        operations,
        network.array("op_head"),
        tables,
        network["stat_list_index"] != NONE,
    )


def _check_network(network: Record, count: int, location: Location) -> None:
    if network["dynamic_roi"] or network["num_rois"] > 1 or network["roi_array_index"] != NONE:
        raise DiagnosticError.at(
            location,
            f"has {network['num_rois']} regions of interest: this tool runs networks without",
        )
    for kind, head in zip(Kind, network.array("op_head"), strict=True):
        if not NONE <= head < count:
            raise DiagnosticError.at(
                location,
                f"the first {kind.name} operation is said to be {head}, but there are {count} "
                "operations",
            )


def _table_of(operation: Operation) -> int:
    if operation.kind in (Kind.SDP, Kind.CDP):
        return operation.descriptor["lut_index"]
    return NONE


def _uses_table(operation: Operation) -> bool:
    return _table_of(operation) >= 0


def _blob_at(buffers: Buffers, place: Place) -> Blob | None:
    """The blob that the bytes at ``place`` come from."""
    for content in reversed(place.buffer.contents):
        if content.offset <= place.offset < content.offset + len(content.data):
            for blob in buffers.container.blobs:
                if blob.name == content.name:
                    return blob
    return None


@frozen(eq=False)
class _Reader:
    buffers: Buffers
    task: int
    location: Location

    def place(self, index: int, what: str) -> Place:
        return self.buffers.at(self.task, index, f"task {self.task}: {what}")

    def data(self, index: int, size: int, what: str) -> memoryview:
        """Bytes that must be constants of the loadable."""
        place = self.place(index, what)
        data = place.buffer.constant_bytes(place.offset, size)
        if data is None:
            raise DiagnosticError.at(
                self.location,
                f"{what} takes {size} bytes from {place.offset} on in memory "
                f"{place.buffer.index}, but the contents of that memory do not give them all",
            )
        return data

    def records(
        self, name: str, index: int, count: int, what: str, has_offset: bool
    ) -> tuple[Record, ...]:
        """An array of structures."""
        kind = structure(name, has_offset)
        data = self.data(index, count * kind.size, what)
        return tuple(kind.read(data, number * kind.size, what) for number in range(count))

    def operation(self, network: Record, index: int, common: Record, has_offset: bool) -> Operation:
        number = common["op_type"]
        if number not in _KINDS:
            raise DiagnosticError.at(
                self.location,
                f"operation {index} has the kind {number}, but there are "
                f"{', '.join(f'{kind.value} ({kind.name})' for kind in Kind)}",
            )
        kind = Kind(number)
        prefix = kind.name.lower()
        name = f"operation {index} ({kind.name})"
        descriptor = self._element(
            network["operation_desc_index"], index, OPERATION_BYTES, f"{prefix}_op", has_offset
        )
        surface = self._element(
            network["surface_desc_index"], index, SURFACE_BYTES, f"{prefix}_surface", has_offset
        )
        location = NameLoc(f"task {self.task}, {name}", self.buffers.location)
        operation = Operation(self.task, index, kind, common, descriptor, surface, location)
        _check_precision(operation)
        return operation

    def _element(
        self, list_index: int, index: int, stride: int, name: str, has_offset: bool
    ) -> Record:
        kind = structure(name, has_offset)
        what = f"descriptor {index} of {name.replace('_', ' ')}"
        data = self.data(list_index, index * stride + kind.size, what)
        return kind.read(data, index * stride, what)


def _check_precision(operation: Operation) -> None:
    for name in _PRECISION_FIELDS.get(operation.kind.name.lower(), ()):
        value = operation.descriptor[name]
        if value == INT8:
            continue
        if value < len(PRECISIONS):
            raise DiagnosticError.at(
                operation.location,
                f"{operation.name} has '{name} = {value}' ({PRECISIONS[value]}), but this tool "
                "runs INT8",
            )
        raise DiagnosticError.at(
            operation.location,
            f"{operation.name} has '{name} = {value}', but there are 0 (INT8), 1 (INT16), 2 (FP16)",
        )
