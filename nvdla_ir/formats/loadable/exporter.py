"""From a module of hardware layers to a loadable. Source: loadable.md sections 1, 2 and 6."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import attrs
from attrs import define, field

from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.csb import ConfigureOp
from nvdla_ir.dialects.layer import describe
from nvdla_ir.dialects.nvdla import MemoryOp, StreamType, UploadOp, configuration_of
from nvdla_ir.formats.loadable.container import (
    VERSION,
    AddressEntry,
    Blob,
    Container,
    EventEntry,
    Interface,
    MemoryDomain,
    MemoryEntry,
    MemoryFlag,
    SubInterface,
    SubmitEntry,
    TaskEntry,
    TensorEntry,
)
from nvdla_ir.formats.loadable.container_writer import write_container
from nvdla_ir.formats.loadable.descriptors import Addresses, Region
from nvdla_ir.formats.loadable.structures import LAST_MINOR_WITHOUT_OFFSET, structure
from nvdla_ir.formats.loadable.tasks import CONTEXT, Task, task_of
from nvdla_ir.formats.loadable.tensors import tensor_entry
from nvdla_ir.formats.loadable.transfers import Transfer, network_transfers
from nvdla_ir.hardware.place import Memory
from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.hw.formats.sizes import align_up
from nvdla_ir.ir.diagnostics import DiagnosticCollector, DiagnosticError
from nvdla_ir.ir.operation import Value
from nvdla_ir.passes.settings.constants import constant_of
from nvdla_ir.passes.settings.loads import loads
from nvdla_ir.passes.settings.memory import extent_of
from nvdla_ir.passes.settings.networks import Network, networks
from nvdla_ir.passes.settings.views import Views
from nvdla_ir.resources import ResourceStore

FIRMWARE_VERSIONS: Mapping[str, tuple[int, int, int]] = {"0.12": (0, 12, 5), "0.11": (0, 11, 0)}
"""The firmware's interfaces: data cubes with an offset, and without."""

CURRENT_FIRMWARE = "0.12"

_PAGE_BYTES = 4096
_MOST_ADDRESSES = 6144
_NO_VERSION = (0, 0, 0)
_EVENT_WAIT, _EVENT_SIGNAL = 0, 1
_ANY_INSTANCE = -1


def export_loadable(
    module: ModuleOp,
    resources: ResourceStore,
    *,
    firmware: str = CURRENT_FIRMWARE,
    diagnostics: DiagnosticCollector | None = None,
) -> bytes:
    """The loadable that does what the device programs of ``module`` do, one task for each.

    The module holds one network, of hardware layers with places in memory; inputs and outputs have
    bytes of their own ('allocate-memory=transfers=apart'). Layers run one after the other. What the
    host does before and behind is left to the application; it is told to ``diagnostics``, with the
    shape and scale of each input and output.

    Raises: DiagnosticError with everything that the vendor's runtime or firmware cannot do.
    """
    collector = DiagnosticCollector() if diagnostics is None else diagnostics
    network = _network(module)
    return _Export(
        network,
        configuration_of(module),
        resources,
        FIRMWARE_VERSIONS[firmware],
        collector,
        Views.of_network(network, configuration_of(module)),
    ).run()


def _network(module: ModuleOp) -> Network:
    if any(isinstance(op, ConfigureOp) for op in module.walk()):
        raise DiagnosticError.at(
            module.location,
            "the module is a register program already: a loadable is written of hardware layers, "
            "ahead of 'emit-registers'",
        )
    found = [network for network in networks(module) if network.programs]
    if not found:
        raise DiagnosticError.at(
            module.location,
            "there are no device programs of hardware layers here, of which a loadable is written: "
            "'nvdla-opt --export-loadable' makes them, unless the host does everything",
        )
    if len(found) > 1:
        listed = ", ".join(f"'@{network.host.sym_name}'" for network in found)
        raise DiagnosticError.at(
            found[1].host.location, f"a loadable is one network, but there are {listed}"
        )
    return found[0]


@define(eq=False)
class _Export:
    network: Network
    hw: HardwareConfiguration
    resources: ResourceStore
    version: tuple[int, int, int]
    diagnostics: DiagnosticCollector
    views: Views
    memories: list[MemoryEntry] = field(factory=list[MemoryEntry])
    blobs: list[Blob] = field(factory=list[Blob])
    tensors: list[TensorEntry] = field(factory=list[TensorEntry])

    def run(self) -> bytes:
        inputs, outputs = network_transfers(self.network, self.diagnostics)
        # index 0 of a task's addresses is the network descriptor: of memories, a page for nothing
        self._memory(_PAGE_BYTES)
        regions = [*self._constants(), *self._activations(inputs, outputs)]
        addresses = Addresses(regions, has_offset=self.version[1] > LAST_MINOR_WITHOUT_OFFSET)
        tasks = self._tasks(addresses)
        surfaces = len(addresses.entries) - 1
        task_list: list[TaskEntry] = []
        entries = list(addresses.entries)
        for number, task in enumerate(tasks):
            first, *others = self._context(number, task, surfaces, entries)
            listed = (first, *range(1, surfaces + 1), *others)
            actions = ((2 * number - 1,) if number else ()), (2 * number,)
            task_list.append(TaskEntry(number, Interface.HARDWARE, _ANY_INSTANCE, listed, *actions))
        return write_container(
            Container(
                version=(*VERSION, 0),
                task_list=tuple(task_list),
                memory_list=tuple(self.memories),
                address_list=tuple(entries),
                event_list=tuple(_events(len(tasks))),
                blobs=tuple(sorted(self.blobs, key=lambda blob: blob.name)),
                tensor_desc_list=tuple(self.tensors),
                reloc_list=(),
                submit_list=tuple(SubmitEntry(task, (task,)) for task in range(len(tasks))),
            )
        )

    # -------------------------------------------------------------- memory

    def _memory(
        self, size: int, flags: int = MemoryFlag.ALLOC, contents: Sequence[tuple[Blob, int]] = ()
    ) -> int:
        """Another entry of the memory list; returns its index."""
        if contents:
            flags |= MemoryFlag.SET
        self.memories.append(
            MemoryEntry(
                id=len(self.memories),
                domain=MemoryDomain.SYSTEM,
                flags=flags,
                size=size,
                alignment=_PAGE_BYTES,
                contents=tuple(blob.name for blob, _ in contents),
                offsets=tuple(offset for _, offset in contents),
                bind_id=0,
                tensor_desc_id=0,
            )
        )
        self.blobs += [blob for blob, _ in contents]
        return len(self.memories) - 1

    def _constants(self) -> Iterator[Region]:
        """All constants in one memory, where they are."""
        found: list[tuple[Blob, int]] = []
        end = 0
        for number, load in enumerate(loads(self.network, self.hw, self.resources)):
            data = b"".join(part.tobytes() for part in load.parts(self.hw))
            name = f"tb-{number}"
            blob = Blob(name, len(data), Interface.NONE, 0, _NO_VERSION, memoryview(data))
            found.append((blob, load.address))
            end = max(end, load.address + len(data))
        if found:
            begin = min(address for _, address in found)
            contents = [(blob, address - begin) for blob, address in found]
            size = align_up(end - begin, _PAGE_BYTES)
            yield Region(begin, begin + size, self._memory(size, contents=contents))

    def _activations(
        self, inputs: Sequence[Transfer], outputs: Sequence[Transfer]
    ) -> Iterator[Region]:
        """One memory for what the hardware keeps to itself, and one for each input and output."""
        roots = {
            transfer: self.views.place(transfer.value).buffer for transfer in (*inputs, *outputs)
        }
        self._check_transfers(roots)
        owners = {root: transfer for transfer, root in roots.items()}
        extents = {root: extent_of(root, self.hw) for root in self._roots()}
        for root, extent in extents.items():
            source = root.defining_operation
            if extent.memory is not Memory.PRIMARY and source is not None:
                raise DiagnosticError.at(
                    source.location,
                    f"{describe(source)} is in the second memory, but loadables are written for "
                    "the primary one: run 'allocate-memory' without 'second-bytes'",
                )
        pool = [extent for root, extent in extents.items() if root not in owners]
        if pool:
            begin, end = min(one.begin for one in pool), max(one.end for one in pool)
            size = align_up(end - begin, _PAGE_BYTES)
            for root, transfer in owners.items():
                extent = extents[root]
                if extent.begin < end and begin < extent.end:
                    raise DiagnosticError.at(
                        transfer.location,
                        f"{transfer.title} lies among other activations, but the application "
                        "binds a buffer of its own to it: run 'allocate-memory=transfers=apart'",
                    )
            yield Region(begin, end, self._memory(size))
        for transfers, flag in ((inputs, MemoryFlag.INPUT), (outputs, MemoryFlag.OUTPUT)):
            for bind_id, transfer in enumerate(transfers):
                extent = extents[roots[transfer]]
                index = self._memory(extent.end - extent.begin, MemoryFlag.ALLOC | flag)
                self.memories[index] = attrs.evolve(
                    self.memories[index], bind_id=bind_id, tensor_desc_id=len(self.tensors)
                )
                entry = tensor_entry(transfer, len(self.tensors), index, extent.begin, self.hw)
                self.tensors.append(entry)
                yield Region(extent.begin, extent.end, index)

    def _roots(self) -> list[Value]:
        """The cubes and images that lie in no other."""
        found: dict[Value, None] = {}
        for operation in self.network.operations():
            if not isinstance(operation, MemoryOp):
                continue
            value = operation.results[0]
            is_idle = isinstance(operation, UploadOp) and not value.is_used
            if is_idle or isinstance(value.type, StreamType) or constant_of(value) is not None:
                continue
            found[self.views.place(value).buffer] = None
        return list(found)

    def _check_transfers(self, roots: Mapping[Transfer, Value]) -> None:
        """See that no two inputs or outputs are one buffer."""
        faults = DiagnosticCollector()
        known: dict[Value, Transfer] = {}
        for transfer, root in roots.items():
            other = known.setdefault(root, transfer)
            if other is not transfer:
                faults.error(
                    transfer.location,
                    f"{transfer.title} and {other.title} lie in one tensor of the hardware's "
                    "memory, but the application binds one buffer to each: let a layer copy one of "
                    "them, or leave one out",
                )
        faults.raise_if_errors()

    # -------------------------------------------------------------- tasks

    def _tasks(self, addresses: Addresses) -> list[Task]:
        faults = DiagnosticCollector()
        tasks: list[Task] = []
        for program in self.network.programs:
            try:
                tasks.append(task_of(program, self.hw, addresses))
            except DiagnosticError as error:
                faults.diagnostics += error.diagnostics
        faults.raise_if_errors()
        used = len(addresses.entries) + len(CONTEXT) + 1
        if used > _MOST_ADDRESSES:
            advice = "" if addresses.has_offset else ": firmware of version 0.12 takes fewer"
            raise DiagnosticError.at(
                self.network.host.location,
                f"a task takes {used} addresses, but may have {_MOST_ADDRESSES}{advice}",
            )
        return tasks

    def _context(
        self, number: int, task: Task, surfaces: int, entries: list[AddressEntry]
    ) -> list[int]:
        """The memories of what the firmware reads of a task: their addresses, that of its network
        descriptor first, that of a page for nothing last."""
        descriptor = structure("network").write(task.network_values(surfaces))
        contents = {
            SubInterface.NETWORK: descriptor,
            **{kind: task.lists[kind] for kind in CONTEXT},
        }
        found: list[int] = []
        for kind, data in contents.items():
            name = f"task-{number}-{kind.blob_name}"
            blob = Blob(name, len(data), Interface.HARDWARE, kind, self.version, memoryview(data))
            found.append(self._memory(len(data), contents=[(blob, 0)]))
        found.append(self._memory(_PAGE_BYTES))
        addresses = range(len(entries), len(entries) + len(found))
        entries += [
            AddressEntry(address, memory, 0, self.memories[memory].size)
            for address, memory in zip(addresses, found, strict=True)
        ]
        return list(addresses)


def _events(tasks: int) -> Iterator[EventEntry]:
    """Each task signals its end, and all but the first wait for the one before."""
    for number in range(tasks):
        if number:
            yield EventEntry(2 * number - 1, 0, number - 1, number, _EVENT_WAIT)
        yield EventEntry(2 * number, 0, number, number + 1, _EVENT_SIGNAL)
