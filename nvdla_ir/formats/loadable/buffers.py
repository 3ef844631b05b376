"""What the vendor's runtime keeps in memory: buffers, their contents and what is bound to them.
Source: loadable.md section 2."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from attrs import define, frozen

from nvdla_ir.formats.loadable.container import (
    Blob,
    Container,
    MemoryDomain,
    MemoryEntry,
    MemoryFlag,
    TensorEntry,
)
from nvdla_ir.formats.loadable.faults import Faults
from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.hw.formats.sizes import align_up
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.location import Location

MEMORY_BASE = 1 << 20
"""Where the first buffer is placed, in both memories."""

LIMIT_BYTES = 1 << 29
"""How much the buffers of a loadable may take in one memory."""

_PAGE_BYTES = 4096
_DOMAINS = frozenset(map(int, MemoryDomain))
_LARGEST_ALIGNMENT = 1 << 20
_MOST_ADDRESSES = 6144
"""Addresses that a task may have."""


class Content(NamedTuple):
    """Bytes that are in a buffer before the first task."""

    name: str
    offset: int
    data: memoryview


class Place(NamedTuple):
    """A position in a buffer."""

    buffer: Buffer
    offset: int

    @property
    def address(self) -> int:
        """Its byte address, in the memory of the buffer."""
        return self.buffer.address + self.offset

    @property
    def room(self) -> int:
        """Bytes from there to the buffer's end."""
        return self.buffer.size - self.offset


@define(eq=False)
class Buffer:
    """An allocated memory entry.

    ``tensor`` is what the application binds to it, if any. ``address`` is 0 until it is placed.
    """

    index: int
    entry: MemoryEntry
    size: int
    in_sram: bool
    contents: tuple[Content, ...]
    tensor: TensorEntry | None = None
    address: int = 0

    def constant_bytes(self, offset: int, size: int) -> memoryview | None:
        """Bytes that one content gives the buffer; None where it does not give them all."""
        for content in reversed(self.contents):
            start = offset - content.offset
            if start >= 0 and start + size <= len(content.data):
                return content.data[start : start + size]
        return None


@frozen(eq=False)
class Buffers:
    """All buffers of a loadable, and the addresses that tasks refer to them by."""

    container: Container
    location: Location
    by_memory: tuple[Buffer | None, ...]
    inputs: tuple[Buffer, ...]
    outputs: tuple[Buffer, ...]

    def at(self, task: int, index: int, what: str) -> Place:
        """What entry ``index`` of a task's address list refers to.

        Raises: DiagnosticError for an index outside the list, or of what was not allocated.
        """
        entries = self.container.task_list[task].address_list
        if not 0 <= index < len(entries):
            raise DiagnosticError.at(
                self.location,
                f"{what} has the address index {index}, but task {task} has {len(entries)} "
                "addresses",
            )
        address = self.container.address_list[entries[index]]
        buffer = self.by_memory[address.mem_id]
        if buffer is None:
            raise DiagnosticError.at(
                self.location,
                f"{what} refers to memory {address.mem_id}, which is not allocated: its flags lack "
                "ALLOC",
            )
        return Place(buffer, address.offset)

    def place(self, hw: HardwareConfiguration) -> None:
        """Give every buffer its address: aligned, disjoint, within what ``hw`` addresses.

        Raises: DiagnosticError where they do not fit.
        """
        ends = {False: MEMORY_BASE, True: MEMORY_BASE}
        for buffer in self._allocated():
            alignment = max(buffer.entry.alignment, _PAGE_BYTES, hw.memory_atom)
            buffer.address = align_up(ends[buffer.in_sram], alignment)
            ends[buffer.in_sram] = buffer.address + buffer.size
        for in_sram, end in ends.items():
            used = end - MEMORY_BASE
            room = min(LIMIT_BYTES, (1 << hw.address_bits) - MEMORY_BASE)
            if used > room:
                raise DiagnosticError.at(
                    self.location,
                    f"the buffers in {_memory_name(in_sram)} take {used} bytes, but must fit into "
                    f"{room} bytes",
                )
        if ends[True] > MEMORY_BASE and not hw.has_secondary_memory:
            raise DiagnosticError.at(
                self.location, f"there are buffers in SRAM, but {hw.name} has no secondary memory"
            )

    def used_bytes(self) -> int:
        """Bytes of the primary memory from MEMORY_BASE on."""
        ends = [buffer.address + buffer.size for buffer in self._allocated() if not buffer.in_sram]
        return max(ends, default=MEMORY_BASE) - MEMORY_BASE

    def _allocated(self) -> Iterable[Buffer]:
        return (buffer for buffer in self.by_memory if buffer is not None)

    def contents(self) -> Iterable[tuple[Buffer, Content]]:
        """All contents, each with its buffer."""
        return ((buffer, content) for buffer in self._allocated() for content in buffer.contents)


def _memory_name(in_sram: bool) -> str:
    return "SRAM" if in_sram else "system memory"


def allocate_buffers(container: Container, location: Location) -> Buffers:
    """Do what the runtime does when it loads ``container``.

    Raises: DiagnosticError with all that is wrong with the lists of tasks, memories, addresses,
    blobs, tensors and submissions.
    """
    faults = Faults(location)
    for name, entries in (
        ("submission", container.submit_list),
        ("task", container.task_list),
        ("memory", container.memory_list),
    ):
        if not entries:
            faults.add(f"has no {name}: the runtime needs one at least")
    _check_ids(container, faults)
    _check_references(container, faults)
    faults.raise_if_any()
    blobs = _blobs_by_name(container.blobs, faults)
    allocated = tuple(
        _allocate(index, entry, blobs, faults)
        if entry.has(MemoryFlag.ALLOC) or entry.is_bindable
        else None
        for index, entry in enumerate(container.memory_list)
    )
    inputs = _bound(container, allocated, MemoryFlag.INPUT, faults)
    outputs = _bound(container, allocated, MemoryFlag.OUTPUT, faults)
    for index, address in enumerate(container.address_list):
        buffer = allocated[address.mem_id]
        if buffer is not None and address.offset + address.size > buffer.size:
            faults.add(
                f"address {index} is for bytes {address.offset} to "
                f"{address.offset + address.size} of memory {address.mem_id}, which has "
                f"{buffer.size}"
            )
    faults.raise_if_any()
    return Buffers(container, location, allocated, inputs, outputs)


def _check_ids(container: Container, faults: Faults) -> None:
    """The runtime finds entries by their place in the list."""
    for name, entries in (
        ("task", container.task_list),
        ("memory", container.memory_list),
        ("address", container.address_list),
        ("tensor", container.tensor_desc_list),
    ):
        for index, entry in enumerate(entries):
            if entry.id != index:
                faults.add(f"entry {index} of the {name} list has the id {entry.id}, not {index}")


def _check_references(container: Container, faults: Faults) -> None:
    addresses, memories = len(container.address_list), len(container.memory_list)
    for index, task in enumerate(container.task_list):
        if len(task.address_list) > _MOST_ADDRESSES:
            faults.add(
                f"task {index} has {len(task.address_list)} addresses, but may have "
                f"{_MOST_ADDRESSES}"
            )
        for address in task.address_list:
            if address >= addresses:
                faults.add(f"task {index} uses address {address}, but there are {addresses}")
                break
    for index, address in enumerate(container.address_list):
        if address.mem_id >= memories:
            faults.add(f"address {index} is in memory {address.mem_id}, but there are {memories}")
    tasks = len(container.task_list)
    for index, submission in enumerate(container.submit_list):
        for task in submission.task_id:
            if task >= tasks:
                faults.add(f"submission {index} runs task {task}, but there are {tasks}")
                break


def _blobs_by_name(blobs: Sequence[Blob], faults: Faults) -> dict[str, Blob]:
    found: dict[str, Blob] = {}
    for blob in blobs:
        if blob.name in found:
            faults.add(f"has two blobs named '{blob.name}'")
        if blob.size != len(blob.data):
            faults.add(f"blob '{blob.name}' says {blob.size} bytes, but holds {len(blob.data)}")
        found[blob.name] = blob
    return found


def _allocate(index: int, entry: MemoryEntry, blobs: dict[str, Blob], faults: Faults) -> Buffer:
    alignment = entry.alignment
    if alignment & (alignment - 1) or alignment > _LARGEST_ALIGNMENT:
        faults.add(
            f"memory {index} has the alignment {alignment}, but it must be a power of two up to "
            f"{_LARGEST_ALIGNMENT}"
        )
    if entry.domain not in _DOMAINS:
        faults.add(f"memory {index} has the domain {entry.domain}, but there are 0 and 1")
    if entry.size > LIMIT_BYTES:
        faults.add(f"memory {index} has {entry.size} bytes, but {LIMIT_BYTES} are the limit")
    contents: tuple[Content, ...] = ()
    if entry.has(MemoryFlag.SET) and not entry.is_bindable:
        contents = tuple(_contents(index, entry, blobs, faults))
    return Buffer(index, entry, entry.size, entry.domain == MemoryDomain.SRAM, contents)


def _contents(
    index: int, entry: MemoryEntry, blobs: dict[str, Blob], faults: Faults
) -> Iterable[Content]:
    if len(entry.contents) != len(entry.offsets):
        faults.add(
            f"memory {index} has {len(entry.contents)} contents, but {len(entry.offsets)} offsets"
        )
        return
    for name, offset in zip(entry.contents, entry.offsets, strict=True):
        blob = blobs.get(name)
        if blob is None:
            faults.add(f"memory {index} holds blob '{name}', but there is none of that name")
        elif offset + len(blob.data) > entry.size:
            faults.add(
                f"blob '{name}' of {len(blob.data)} bytes does not fit into memory {index} at "
                f"{offset}: it has {entry.size} bytes"
            )
        else:
            yield Content(name, offset, blob.data)


def _bound(
    container: Container,
    allocated: Sequence[Buffer | None],
    flag: MemoryFlag,
    faults: Faults,
) -> tuple[Buffer, ...]:
    """The buffers of bound inputs or outputs by bind id, each with its tensor."""
    what = flag.name.lower()
    by_id: dict[int, Buffer] = {}
    for buffer in allocated:
        if buffer is None or not buffer.entry.has(flag):
            continue
        entry = buffer.entry
        if entry.bind_id in by_id:
            faults.add(f"two memories are {what} {entry.bind_id}")
        by_id[entry.bind_id] = buffer
        if entry.tensor_desc_id >= len(container.tensor_desc_list):
            faults.add(
                f"memory {buffer.index} is for tensor {entry.tensor_desc_id}, but there are "
                f"{len(container.tensor_desc_list)}"
            )
            continue
        tensor = container.tensor_desc_list[entry.tensor_desc_id]
        if tensor.mem_id != buffer.index:
            faults.add(
                f"memory {buffer.index} is for tensor {entry.tensor_desc_id}, which says memory "
                f"{tensor.mem_id}"
            )
        if tensor.offset + tensor.size > buffer.size:
            faults.add(
                f"tensor {tensor.id} takes {tensor.size} bytes from {tensor.offset} on, but its "
                f"memory has {buffer.size}"
            )
        buffer.tensor = tensor
    for number in range(len(by_id)):
        if number not in by_id:
            faults.add(f"{what} {number} of {len(by_id)} has no memory: bind ids count from 0")
    return tuple(buffer for _, buffer in sorted(by_id.items()))
