"""The flatbuffer container of a loadable, checked. Source: loadable.md section 1.

Every access is checked against the file's end, and the bytes that are read in all are bounded by a
small multiple of its size: tables may share their parts, and a garbled file would otherwise name
the same large vector again and again.
"""

# flatbuffers has neither stubs nor types of its own
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

from enum import IntEnum
from typing import Any, TypeVar

from attrs import Attribute, define, field, fields, frozen
from flatbuffers import encode, number_types
from flatbuffers.table import Table

from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.location import Location, NameLoc

_OFFSET_BYTES = 4
_VTABLE_HEADER_BYTES = 4
_VERSION_BYTES = 3
_MOST_REREADING = 4
_LEAST_BUDGET = 1 << 12

_SCALARS: dict[str, Any] = {
    "u8": number_types.Uint8Flags,
    "u16": number_types.Uint16Flags,
    "s16": number_types.Int16Flags,
    "u32": number_types.Uint32Flags,
    "s32": number_types.Int32Flags,
    "u64": number_types.Uint64Flags,
}

VERSION = (0, 7)
"""Major and minor version of the container that this package knows."""

IDENTIFIER = b"NVDA"
"""Of the file, behind its first offset."""

T = TypeVar("T")


class Interface(IntEnum):
    """Who runs a task."""

    NONE = 0
    HARDWARE = 1
    HOST = 2


class SubInterface(IntEnum):
    """What a blob is to the firmware."""

    NETWORK = 1
    DEPENDENCIES = 2
    OPERATIONS = 3
    SURFACES = 4
    TABLES = 5

    @property
    def blob_name(self) -> str:
        """What the name of its blob ends with. That of dependencies counts: the runtime writes
        them anew before each run."""
        return ("addr0", "dep_graph", "op_list", "surf_list", "lut_list")[self - 1]


class MemoryDomain(IntEnum):
    """Which memory a buffer lies in."""

    SYSTEM = 0
    SRAM = 1


class MemoryFlag(IntEnum):
    """Bits of a memory entry's flags."""

    ALLOC = 1
    SET = 2
    INPUT = 4
    OUTPUT = 8
    DEBUG = 16


def _column(kind: str, table: type[Any] | None = None) -> Any:
    """A field of a flatbuffer table; its place among the fields is its id."""
    return field(metadata={"kind": kind, "table": table})


@frozen
class TaskEntry:
    """TaskListEntry"""

    id: int = _column("u16")
    interface: int = _column("u32")
    instance: int = _column("s16")
    address_list: tuple[int, ...] = _column("[u16]")
    pre_actions: tuple[int, ...] = _column("[u16]")
    post_actions: tuple[int, ...] = _column("[u16]")


@frozen
class MemoryEntry:
    """MemoryListEntry"""

    id: int = _column("u16")
    domain: int = _column("u8")
    flags: int = _column("u16")
    size: int = _column("u64")
    alignment: int = _column("u32")
    contents: tuple[str, ...] = _column("[string]")
    offsets: tuple[int, ...] = _column("[u64]")
    bind_id: int = _column("u16")
    tensor_desc_id: int = _column("u16")

    def has(self, flag: MemoryFlag) -> bool:
        return bool(self.flags & flag)

    @property
    def is_bindable(self) -> bool:
        """Whether the application supplies the buffer."""
        return bool(self.flags & (MemoryFlag.INPUT | MemoryFlag.OUTPUT | MemoryFlag.DEBUG))


@frozen
class AddressEntry:
    """AddressListEntry"""

    id: int = _column("u16")
    mem_id: int = _column("u16")
    offset: int = _column("u64")
    size: int = _column("u64")


@frozen
class EventEntry:
    """EventListEntry"""

    id: int = _column("u16")
    type: int = _column("u8")
    target: int = _column("u16")
    val: int = _column("u32")
    op: int = _column("u8")


@frozen(eq=False)
class Blob:
    """Blob"""

    name: str = _column("string")
    size: int = _column("u64")
    interface: int = _column("u32")
    sub_interface: int = _column("u32")
    version: tuple[int, int, int] = _column("version")
    data: memoryview = _column("[u8]")  # noqa: RUF009


@frozen
class TensorEntry:
    """TensorDescListEntry"""

    name: str = _column("string")
    id: int = _column("u16")
    mem_id: int = _column("u16")
    size: int = _column("u64")
    offset: int = _column("u64")
    data_format: int = _column("u8")
    data_type: int = _column("u8")
    data_category: int = _column("u8")
    pixel_format: int = _column("u8")
    pixel_mapping: int = _column("u8")
    n: int = _column("s32")
    c: int = _column("s32")
    h: int = _column("s32")
    w: int = _column("s32")
    stride_0: int = _column("u32")
    stride_1: int = _column("u32")
    stride_2: int = _column("u32")
    stride_3: int = _column("u32")
    stride_4: int = _column("u32")
    stride_5: int = _column("u32")
    stride_6: int = _column("u32")
    stride_7: int = _column("u32")


@frozen
class RelocationEntry:
    """RelocListEntry"""

    address_id: int = _column("u16")
    write_id: int = _column("u16")
    offset: int = _column("u64")
    interface: int = _column("u32")
    sub_interface: int = _column("u32")
    reloc_type: int = _column("u8")


@frozen
class SubmitEntry:
    """SubmitListEntry"""

    id: int = _column("u16")
    task_id: tuple[int, ...] = _column("[u16]")


@frozen(eq=False)
class Container:
    """Loadable: the root table."""

    version: tuple[int, int, int] = _column("version")
    task_list: tuple[TaskEntry, ...] = _column("[table]", TaskEntry)
    memory_list: tuple[MemoryEntry, ...] = _column("[table]", MemoryEntry)
    address_list: tuple[AddressEntry, ...] = _column("[table]", AddressEntry)
    event_list: tuple[EventEntry, ...] = _column("[table]", EventEntry)
    blobs: tuple[Blob, ...] = _column("[table]", Blob)
    tensor_desc_list: tuple[TensorEntry, ...] = _column("[table]", TensorEntry)
    reloc_list: tuple[RelocationEntry, ...] = _column("[table]", RelocationEntry)
    submit_list: tuple[SubmitEntry, ...] = _column("[table]", SubmitEntry)


def read_container(data: bytes, file: str) -> Container:
    """The tables of a loadable. Blobs are views of ``data``; absent scalars and vectors are 0 and
    empty.

    Raises: DiagnosticError, that names byte offset, table and field, for every reference that
    leaves the file, and for versions other than 0.7.
    """
    reader = _Reader(memoryview(data), NameLoc(file))
    root = reader.reference(0, "the root")
    container = reader.table(Container, root, "Loadable")
    if container.version[:2] != VERSION:
        version = ".".join(map(str, container.version))
        raise DiagnosticError.at(
            reader.location,
            f"has version {version} of the loadable container, but this reader knows "
            f"{'.'.join(map(str, VERSION))}",
        )
    return container


@define
class _Reader:
    """Checked reading. ``budget`` is how many bytes may still be read, repetitions counted."""

    data: memoryview
    location: Location
    budget: int = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.budget = max(_MOST_REREADING * len(self.data), _LEAST_BUDGET)

    def fault(self, offset: int, where: str, what: str) -> DiagnosticError:
        return DiagnosticError.at(
            self.location, f"is no valid loadable: at byte {offset:#x}, {where}: {what}"
        )

    def require(self, offset: int, size: int, where: str, what: str = "it") -> None:
        """See that the bytes are in the file, and count them as read."""
        if offset < 0 or offset + size > len(self.data):
            raise self.fault(
                offset, where, f"{what} takes {size} bytes, but the file ends at {len(self.data)}"
            )
        self.budget -= size
        if self.budget < 0:
            raise self.fault(
                offset, where, "too many tables and vectors share the same bytes of the file"
            )

    def scalar(self, kind: str, offset: int, where: str) -> int:
        flags = _SCALARS[kind]
        self.require(offset, flags.bytewidth, where)
        return int(encode.Get(flags.packer_type, self.data, offset))

    def reference(self, offset: int, where: str) -> int:
        """The place that an unsigned offset at ``offset`` refers to."""
        distance = self.scalar("u32", offset, where)
        target = offset + distance
        if distance == 0 or target >= len(self.data):
            raise self.fault(
                offset,
                where,
                f"the offset {distance} leads to byte {target:#x}, but must lead to one between "
                f"itself and the file's end, {len(self.data):#x}",
            )
        return target

    def vector(self, offset: int, element_bytes: int, where: str) -> tuple[int, int]:
        """Start and length of the vector that ``offset`` refers to."""
        start = self.reference(offset, where)
        length = self.scalar("u32", start, where)
        self.require(
            start + _OFFSET_BYTES, length * element_bytes, where, f"a vector of {length} elements"
        )
        return start + _OFFSET_BYTES, length

    def bytes_at(self, offset: int, where: str) -> memoryview:
        start, length = self.vector(offset, 1, where)
        return self.data[start : start + length]

    def string(self, offset: int, where: str) -> str:
        text = bytes(self.bytes_at(offset, where))
        try:
            return text.decode()
        except UnicodeDecodeError as error:
            raise self.fault(offset, where, f"the string is not UTF-8: {error.reason}") from None

    def table(self, columns: type[T], position: int, where: str) -> T:
        """The table at ``position``."""
        distance = self._signed(position, where)
        vtable = position - distance
        self.require(vtable, _VTABLE_HEADER_BYTES, where, "its vtable")
        size = self.scalar("u16", vtable, where)
        if size < _VTABLE_HEADER_BYTES or size % 2:
            raise self.fault(vtable, where, f"its vtable is malformed: it has {size} bytes")
        self.require(vtable, size, where, "its vtable")
        # the table's own size, which follows that of the vtable, is wrong in some files
        found = Table(self.data, position)
        columns_: tuple[Attribute[Any], ...] = fields(columns)
        values: dict[str, Any] = {}
        for index, column in enumerate(columns_):
            place: int = found.Offset(_VTABLE_HEADER_BYTES + 2 * index)
            values[column.name] = self._value(
                column, position + place if place else None, f"{where}, field '{column.name}'"
            )
        return columns(**values)

    def _signed(self, offset: int, where: str) -> int:
        self.require(offset, _OFFSET_BYTES, where)
        return int(encode.Get(number_types.SOffsetTFlags.packer_type, self.data, offset))

    def _value(self, column: Attribute[Any], offset: int | None, where: str) -> Any:
        """The value of one field; ``offset`` is None where the table leaves it out."""
        kind: str = column.metadata["kind"]
        if kind in _SCALARS:
            return 0 if offset is None else self.scalar(kind, offset, where)
        if kind == "string":
            return "" if offset is None else self.string(offset, where)
        if kind == "[u8]":
            return self.data[:0] if offset is None else self.bytes_at(offset, where)
        if kind == "version":
            if offset is None:
                return (0, 0, 0)
            self.require(offset, _VERSION_BYTES, where)
            return tuple(self.data[offset : offset + _VERSION_BYTES])
        return () if offset is None else self._elements(column, kind[1:-1], offset, where)

    def _elements(self, column: Attribute[Any], kind: str, offset: int, where: str) -> Any:
        flags = _SCALARS.get(kind)
        width: int = _OFFSET_BYTES if flags is None else flags.bytewidth
        start, length = self.vector(offset, width, where)
        places = range(start, start + length * width, width)
        if flags is not None:
            return tuple(self.scalar(kind, place, where) for place in places)
        elements: list[Any] = []
        for index, place in enumerate(places):
            here = f"{where}[{index}]"
            if kind == "string":
                elements.append(self.string(place, here))
            else:
                table: type[Any] = column.metadata["table"]
                elements.append(self.table(table, self.reference(place, here), here))
        return tuple(elements)
