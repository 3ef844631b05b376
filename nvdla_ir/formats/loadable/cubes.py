"""Data cubes of descriptors, placed and checked. Sources: loadable.md sections 4 and 6;
convolution.md section 2, sdp.md section 2."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from attrs import field, frozen

from nvdla_ir.formats.loadable.buffers import Buffer, Buffers, Place
from nvdla_ir.formats.loadable.network import Operation
from nvdla_ir.formats.loadable.structures import Record
from nvdla_ir.hardware.faults import Fault
from nvdla_ir.hardware.place import CubePlace, Memory
from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.hw.formats.feature import FeatureLayout
from nvdla_ir.hw.formats.sizes import LayoutError
from nvdla_ir.ir.diagnostics import Diagnostic, DiagnosticError

MAXIMUM_EXTENT = 8192
"""Width, height and channels of a cube, at most."""

_CV, FLYING = 1, 2
MEMORIES = (Memory.PRIMARY, Memory.SECONDARY)
"""By the types of cubes and the ends of transfers."""


@frozen(eq=False)
class ReadingContext:
    """What the programs of all units need: the hardware, and where tasks' addresses lie."""

    buffers: Buffers
    hw: HardwareConfiguration
    used: set[Buffer] = field(factory=set[Buffer])
    """The buffers that operations refer to."""

    def fault(self, operation: Operation, message: str) -> DiagnosticError:
        return DiagnosticError.at(operation.location, f"{operation.name} {message}")

    def require(self, holds: bool, operation: Operation, message: str) -> None:
        """Raises: DiagnosticError unless it ``holds``."""
        if not holds:
            raise self.fault(operation, message)

    def raise_faults(self, operation: Operation, messages: Sequence[str]) -> None:
        """Raises: DiagnosticError with all ``messages``, if there are any."""
        if messages:
            raise DiagnosticError(
                *(
                    Diagnostic.error(operation.location, f"{operation.name} {message}")
                    for message in messages
                )
            )

    def require_possible(self, operation: Operation, faults: Iterable[Fault]) -> None:
        """Raises: DiagnosticError with all that the hardware cannot do."""
        name = self.hw.name
        self.raise_faults(operation, [f"cannot run on {name}: it has {fault}" for fault in faults])

    def has_known(self, operation: Operation, name: str, value: int, allowed: int) -> None:
        """Raises: DiagnosticError where an enumerated field is not below ``allowed``."""
        self.require(
            value < allowed,
            operation,
            f"has '{name} = {value}', but it must be 0 to {allowed - 1}",
        )


@frozen(eq=False)
class Cube:
    """A data cube of an operation.

    ``place`` is None where it goes from unit to unit, without memory.
    """

    name: str
    operation: Operation
    record: Record
    place: Place | None

    @property
    def is_flying(self) -> bool:
        return self.place is None

    @property
    def address(self) -> int:
        """Its byte address; 0 where it is in no memory, as the firmware programs it."""
        return 0 if self.place is None else self.place.address

    @property
    def size(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        return self.record["channel"], self.record["height"], self.record["width"]

    @property
    def channels(self) -> int:
        return self.record["channel"]

    @property
    def height(self) -> int:
        return self.record["height"]

    @property
    def width(self) -> int:
        return self.record["width"]

    @property
    def line_stride(self) -> int:
        return self.record["line_stride"]

    @property
    def surface_stride(self) -> int:
        return self.record["surf_stride"]

    @property
    def plane_stride(self) -> int:
        return self.record["plane_stride"]

    @property
    def memory(self) -> Memory:
        """The memory that it is in; firmware tells the secondary one for what is in none."""
        return Memory.PRIMARY if self.record["type"] == 0 else Memory.SECONDARY

    def require_room(self, size: int, context: ReadingContext, offset: int = 0) -> None:
        """See that ``size`` bytes from ``offset`` behind its address on lie in its buffer."""
        if self.place is None:
            return
        place = Place(self.place.buffer, self.place.offset + offset)
        if size > place.room or place.offset < 0:
            raise context.fault(
                self.operation,
                f"takes {size} bytes for '{self.name}', but memory {place.buffer.index} has "
                f"{max(place.room, 0)} from {place.offset} on",
            )

    def cube_place(self, context: ReadingContext) -> CubePlace:
        """Where it lies as a feature cube. Raises: as ``layout``."""
        return CubePlace(self.address, self.layout(context), self.memory)

    def layout(self, context: ReadingContext) -> FeatureLayout:
        """Its layout as a feature cube, which lies in its buffer.

        Raises: DiagnosticError for strides that are misaligned, too short, or lead out of it.
        """
        atom = context.hw.memory_atom
        try:
            layout = FeatureLayout(*self.size, atom, self.line_stride, self.surface_stride)
        except LayoutError as error:
            raise context.fault(self.operation, f"has '{self.name}': {error}") from error
        line = self.width * atom
        if layout.overlaps and not self.is_flying:
            raise context.fault(
                self.operation,
                f"has '{self.name}' with line_stride = {self.line_stride} and surf_stride = "
                f"{self.surface_stride}, which make its lines of {line} bytes overlap",
            )
        self.require_room(layout.size_bytes, context)
        return layout


def cube_of(operation: Operation, name: str, context: ReadingContext, *, may_fly: bool) -> Cube:
    """The data cube ``name`` of an operation, which must have extents of 1 to 8192.

    Raises: DiagnosticError.
    """
    record = operation.surface.part(name)
    for extent in ("width", "height", "channel"):
        context.require(
            1 <= record[extent] <= MAXIMUM_EXTENT,
            operation,
            f"has '{name}' with {extent} = {record[extent]}, but it must be 1 to {MAXIMUM_EXTENT}",
        )
    if record["type"] == FLYING and may_fly:
        return Cube(name, operation, record, None)
    return Cube(name, operation, record, place_of(operation, name, record, context))


def place_of(operation: Operation, name: str, record: Record, context: ReadingContext) -> Place:
    """Where the cube ``record`` of an operation lies.

    Raises: DiagnosticError for memory types and addresses that do not exist, and for places that
    are not aligned to the memory atom.
    """
    type = record["type"]
    if type >= len(MEMORIES):
        raise context.fault(
            operation,
            f"has '{name}' with type = {type}, but it must be 0 (system memory) or 1 (SRAM)",
        )
    offset = record["offset"] if "offset" in record.values else 0
    return place_at(operation, name, type, record["address"], offset, context)


def place_at(
    operation: Operation, name: str, type: int, index: int, offset: int, context: ReadingContext
) -> Place:
    """The place ``offset`` bytes behind entry ``index`` of the task's addresses."""
    try:
        found = context.buffers.at(operation.task, index, f"'{name}'")
    except DiagnosticError as error:
        raise context.fault(operation, f"cannot run: {error.diagnostics[0].message}") from None
    place = Place(found.buffer, found.offset + offset)
    context.used.add(place.buffer)
    if place.buffer.in_sram != (type == _CV):
        raise context.fault(
            operation,
            f"has '{name}' in {MEMORIES[type].ram_type}, but memory {place.buffer.index} is in "
            f"{'SRAM' if place.buffer.in_sram else 'system memory'}",
        )
    if place.address % context.hw.memory_atom:
        raise context.fault(
            operation,
            f"has '{name}' at offset {place.offset} of memory {place.buffer.index}, but it must be "
            f"a multiple of {context.hw.memory_atom} bytes",
        )
    return place
