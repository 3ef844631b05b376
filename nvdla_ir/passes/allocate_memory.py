"""The pass allocate-memory."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from attrs import define, frozen

from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.csb import MEMORY_BASE_ATTRIBUTE, MEMORY_BYTES_ATTRIBUTE
from nvdla_ir.dialects.layer import describe, layers_of
from nvdla_ir.dialects.nn.shapes import shape_of
from nvdla_ir.dialects.nvdla import (
    FEATURE,
    SECONDARY_MEMORY,
    ConstantOp,
    MemoryOp,
    SliceOp,
    StreamType,
    UploadOp,
    bind_buffers,
    configuration_of,
)
from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.hw.formats.feature import FeatureLayout
from nvdla_ir.hw.formats.sizes import align_up
from nvdla_ir.ir.attributes import IntegerAttr
from nvdla_ir.ir.diagnostics import Diagnostic, DiagnosticError
from nvdla_ir.ir.location import fuse_locations
from nvdla_ir.ir.operation import Block, Operation, Value
from nvdla_ir.passes.base import Pass, Session, option
from nvdla_ir.passes.conditions import has_hardware_layers
from nvdla_ir.passes.memory_planning import (
    Buffer,
    live_bytes,
    peak_bytes,
    plan_offsets,
    plan_within,
)
from nvdla_ir.passes.scheduling.footprints import Footprints
from nvdla_ir.passes.scheduling.in_place import InPlace, Place, sharing_places
from nvdla_ir.passes.scheduling.lifetimes import Lifetimes, Span
from nvdla_ir.passes.scheduling.traffic import Traffic
from nvdla_ir.passes.scheduling.walking import walk
from nvdla_ir.passes.settings.bound import Bound, bound_buffers, check_apart
from nvdla_ir.passes.settings.constants import (
    ConstantLayout,
    TableLayout,
    constant_layout,
    constant_of,
)
from nvdla_ir.passes.settings.memory import (
    buffer_bytes,
    buffer_of,
    packed_cube,
    packed_image,
    plane_stride,
)
from nvdla_ir.passes.settings.networks import Network, networks
from nvdla_ir.passes.settings.views import Views, transferred
from nvdla_ir.resources import EqualTensors

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

ALIGNMENT = 64
"""Every buffer starts at a multiple of this, or of the memory atom where that is larger: a burst
of the memory interface."""


@frozen
class AllocateMemory(Pass):
    """Gives every tensor in the memory of the hardware its place.

    Before:

        %w = nvdla.constant value=dense<1> : tensor<16x8x3x3xi8>
        %x = nvdla.upload %0 -> tensor<1x8x4x4xi8>

    After, for nv_small:

        %w = nvdla.constant value=dense<1> : tensor<16x8x3x3xi8> address=2147483648
        %x = nvdla.upload %0 address=2147484800 line_stride=32 surface_stride=128 -> …

    Constants come first, weights and then tables; each is there all the time, and equal ones are
    kept once, also those of different programs. Behind them activations share memory: a cube's
    bytes are free again when its readers and writers are done, as waits and the order of the units
    tell, be it in a later program. Arguments and results of programs are bound to their places
    (``nvdla.buffer``). What an argument or result of the host's function is bound to
    (``nvdla.address``) lies there alone, and nothing takes its place.
    What the SDP computes element by element takes the place of what it reads, of a residual branch
    for example, if nobody reads that later: both have one address.
    Slices and parts of concatenations lie inside the cube that they belong to. Cubes have no gaps,
    rows of images are padded to the memory atom, and the lanes that fill up the last atom of
    channels count.
    """

    name = "allocate-memory"
    subject = has_hardware_layers()

    base: int = option(0x8000_0000, help="address of the first byte")
    transfers: str = option(
        "shared",
        choices=("shared", "apart"),
        help="whether what the host writes and reads shares memory with other activations, or lies "
        "apart behind them, for runtimes that bind buffers",
    )
    second_base: int = option(0x5000_0000, help="address of the first byte in the second memory")
    second_bytes: int = option(
        0, help="bytes of the second memory (CVSRAM) that activations may take"
    )

    def run(self, module: ModuleOp, session: Session) -> None:
        hw = configuration_of(module)
        alignment = max(ALIGNMENT, hw.memory_atom)
        if self.base < 0 or self.base % alignment:
            raise DiagnosticError.at(
                module.location,
                f"option 'base' of '{self.name}' is {self.base:#x}, but it must be a multiple of "
                f"{alignment}",
            )
        end = self.base
        bound: list[Bound] = []
        second = self._second_memory(module, hw, alignment)
        for network in networks(module):
            apart = self.transfers == "apart"
            allocation = _Allocation(network, hw, alignment, end, session, bound, apart, second)
            end = allocation.run(self.name)
        check_apart(bound, self.base, end)
        module.attributes[MEMORY_BASE_ATTRIBUTE] = IntegerAttr(self.base)
        module.attributes[MEMORY_BYTES_ATTRIBUTE] = IntegerAttr(end - self.base)

    def _second_memory(
        self, module: ModuleOp, hw: HardwareConfiguration, alignment: int
    ) -> _SecondMemory:
        """What of it may be used. Raises: DiagnosticError where there is none such."""
        if not self.second_bytes:
            return _SecondMemory(0, 0)
        end = self.second_base + self.second_bytes
        fault = None
        if not hw.has_secondary_memory:
            fault = f"but {hw.name} has no second memory: leave 'second-bytes' away"
        elif self.second_bytes < 0:
            fault = "but it must be 0 or more"
        elif self.second_base < 0 or end > 1 << hw.address_bits:
            fault = (
                f"from {self.second_base:#x} on, but addresses of {hw.name} go from 0 to "
                f"{(1 << hw.address_bits) - 1:#x}"
            )
        elif self.second_base % alignment:
            fault = f"from {self.second_base:#x} on, but that must be a multiple of {alignment}"
        if fault is not None:
            raise DiagnosticError.at(
                module.location,
                f"option 'second-bytes' of '{self.name}' is {self.second_bytes}, {fault}",
            )
        return _SecondMemory(self.second_base, self.second_bytes)


@define(eq=False)
class _SecondMemory:
    """``free`` bytes of it from ``begin`` on."""

    begin: int
    free: int

    def take(self, count: int) -> None:
        """The first ``count`` of them are used."""
        self.begin, self.free = self.begin + count, self.free - count


@frozen(eq=False)
class _Allocation:
    """The work on one network, whose memory starts at ``base``."""

    network: Network
    hw: HardwareConfiguration
    alignment: int
    base: int
    session: Session
    bound: list[Bound]
    """What lies elsewhere, of all networks."""
    apart: bool
    """Whether what the host writes and reads lies behind all else."""
    second: _SecondMemory

    def run(self, pass_name: str) -> int:
        """Place everything; returns the address behind the last byte."""
        constants_end = self._place_constants()
        views = Views.of_network(self.network, self.hw)
        footprints = Footprints(views)
        lifetimes, in_place = Lifetimes(footprints), InPlace(footprints)
        traffic = Traffic(footprints, self.hw.memory_atom)
        walk(footprints, lifetimes, in_place, traffic)
        bound = {
            one.root: one for one in bound_buffers(self.network, views, self.hw, self.alignment)
        }
        self.bound.extend(bound.values())
        spans = {root: span for root, span in lifetimes.spans.items() if root not in bound}
        own = transferred(views) - bound.keys() if self.apart else set[Value]()
        replaced = {
            root: source
            for root, source in in_place.found().items()
            if not {root, source} & (bound.keys() | own)
        }
        places = sharing_places(spans, replaced)
        in_second = self._use_second_memory(places, traffic)
        places = [place for place in places if place not in in_second]
        spans = {root: spans[root] for place in places for root in place.roots}
        places.sort(key=lambda place: place.roots[0] in own)
        buffers = [self._buffer(place.roots[0], place.span) for place in places]
        shared = len(buffers) - sum(place.roots[0] in own for place in places)
        offsets = plan_offsets(buffers[:shared], self.alignment)
        peak = align_up(peak_bytes(buffers[:shared], offsets), self.alignment)
        for buffer in buffers[shared:]:
            offsets.append(peak)
            peak = align_up(peak + buffer.size, self.alignment)
        for place, offset in zip(places, offsets, strict=True):
            for root in place.roots:
                self._set_place(root, constants_end + offset)
        for one in bound.values():
            self._set_place(one.root, one.begin)
        self._place_views(views)
        self._bind_programs()
        end = constants_end + peak
        alone = [self._buffer(root, span) for root, span in spans.items()]
        if end > 1 << self.hw.address_bits:
            raise self._too_large(end, dict(zip(spans, alone, strict=True)))
        needed, constant_bytes = live_bytes(buffers), constants_end - self.base
        counts = {
            "bytes of constants": constant_bytes,
            "bytes of activations": peak,
            "bytes of activations needed at once": needed,
            "bytes needed at once if none were in place": live_bytes(alone),
            "activations": len(alone),
            "activations in place of others": len(alone) - len(buffers),
        }
        for what, amount in counts.items():
            self.session.count(pass_name, what, amount)
        self.session.diagnostics.remark(
            self.network.host.location,
            f"'@{self.network.host.sym_name}' takes {end - self.base} bytes of memory: "
            f"{constant_bytes} for constants, {peak} for {len(alone)} activations of "
            f"{sum(buffer.size for buffer in alone)} bytes in all, of which at most {needed} are "
            f"needed at once{_saved(alone, buffers)}{_elsewhere(bound.values())}"
            f"{self._told_of_second(in_second, traffic, pass_name)}",
        )
        return end

    # -------------------------------------------------------------- constants

    def _place_constants(self) -> int:
        """Give constants their addresses; returns the address behind them. Tables come behind all
        weights: they may start at any memory atom, so that nothing lies between them."""
        known: EqualTensors[list[ConstantOp]] = EqualTensors()
        weights: list[tuple[list[ConstantOp], int]] = []
        tables: list[tuple[list[ConstantOp], int]] = []
        for constant in list(self.network.operations()):
            if not isinstance(constant, ConstantOp):
                continue
            for copy, layout in self._by_layout(constant):
                tensor = self.session.resources.tensor(copy.value, copy.location)
                copies = known.find(tensor, layout)
                if copies is not None:
                    copies.append(copy)
                    continue
                copies = [copy]
                known.add(tensor, copies, layout)
                kind = tables if isinstance(layout, TableLayout) else weights
                kind.append((copies, layout.size_bytes(self.hw)))
        address = self.base
        for kind, alignment in ((weights, self.alignment), (tables, self.hw.memory_atom)):
            for copies, size in kind:
                _place_equal(copies, address)
                address = align_up(address + size, alignment)
        return align_up(address, self.alignment)

    def _by_layout(self, constant: ConstantOp) -> Iterable[tuple[ConstantOp, ConstantLayout]]:
        """The constant, and a copy of it for each further layout in which it is read."""
        uses: dict[ConstantLayout, list[tuple[Operation, int]]] = {}
        for use in constant.output.uses:
            uses.setdefault(constant_layout(use, self.hw), []).append(use)
        for number, (layout, readers) in enumerate(uses.items()):
            copy = constant
            if number:
                copy = constant.clone()
                assert isinstance(copy, ConstantOp) and constant.parent is not None
                constant.parent.insert_before(copy, constant)
                for operation, index in readers:
                    operation.set_operand(index, copy.output)
            yield copy, layout

    # -------------------------------------------------------------- activations

    def _buffer(self, root: Value, span: Span) -> Buffer:
        return Buffer(buffer_bytes(root, self.hw, self.alignment), *span)

    def _activations(self) -> list[Value]:
        return [
            operation.results[0]
            for operation in self.network.operations()
            if isinstance(operation, MemoryOp)
            and constant_of(operation.results[0]) is None
            and not isinstance(operation.results[0].type, StreamType)
        ]

    def _use_second_memory(self, places: list[Place], traffic: Traffic) -> list[Place]:
        """Put into the second memory what layers move most often there, for its bytes and time.

        Returns what is there."""
        if not self.second.free:
            return []
        fitting = [place for place in places if traffic.by_host.isdisjoint(place.roots)]
        buffers = [self._buffer(place.roots[0], place.span) for place in fitting]
        worth = [sum(traffic.moved.get(root, 0) for root in place.roots) for place in fitting]
        offsets = plan_within(buffers, worth, self.alignment, self.second.free)
        found: list[Place] = []
        taken = 0
        for place, buffer, offset in zip(fitting, buffers, offsets, strict=True):
            if offset is None:
                continue
            for root in place.roots:
                self._set_place(root, self.second.begin + offset, SECONDARY_MEMORY)
            found.append(place)
            taken = max(taken, align_up(offset + buffer.size, self.alignment))
        self.second.take(min(taken, self.second.free))
        return found

    def _told_of_second(self, places: list[Place], traffic: Traffic, pass_name: str) -> str:
        """What is in the second memory, for the remark."""
        if not places:
            return ""
        everything = sum(traffic.moved.values())
        moved = sum(traffic.moved.get(root, 0) for place in places for root in place.roots)
        self.session.count(pass_name, "bytes moved to and from the second memory", moved)
        self.session.count(pass_name, "bytes of activations moved in all", everything)
        count = sum(len(place.roots) for place in places)
        return (
            f"; {count} more in the second memory, to and from which go {moved} bytes of the "
            f"{everything} that layers move of activations"
        )

    def _set_place(self, root: Value, address: int, memory: str | None = None) -> None:
        operation = root.defining_operation
        assert isinstance(operation, MemoryOp)
        operation.address = address
        operation.memory = memory
        if isinstance(operation, UploadOp) and operation.format != FEATURE:
            image = packed_image(operation, self.hw)
            operation.line_stride = image.line_strides[0]
            if image.pixel_format.planes > 1:
                operation.surface_stride = plane_stride(image, self.alignment)
            return
        _set_strides(operation, packed_cube(root, self.hw))

    def _place_views(self, views: Views) -> None:
        """Place what lies inside other cubes, images and weights, which have their places by
        now."""
        for value in self._activations():
            view = views.place(value)
            buffer, operation = view.buffer.defining_operation, value.defining_operation
            if value is view.buffer or operation is None or buffer is None:
                continue
            assert isinstance(operation, MemoryOp) and isinstance(buffer, MemoryOp)
            assert buffer.address is not None
            if isinstance(buffer, UploadOp) and buffer.format != FEATURE:
                self._place_rows(operation, buffer, view.window.row)
                continue
            layout = packed_cube(view.buffer, self.hw)
            operation.address = buffer.address + (
                view.window.channel // self.hw.memory_atom * layout.surface_stride
                + view.window.row * layout.line_stride
                + view.window.column * self.hw.memory_atom
            )
            if view.window.column_step > 1:
                operation.column_stride = self.hw.memory_atom * view.window.column_step
            operation.memory = buffer.memory
            operation.line_stride = layout.line_stride * view.window.row_step
            operation.surface_stride = layout.surface_stride
        for operation in self.network.operations():
            if isinstance(operation, SliceOp):
                self._place_kernels(operation)

    def _place_rows(self, operation: MemoryOp, image: UploadOp, row: int) -> None:
        """Place rows of an image from ``row`` on."""
        strides = packed_image(image, self.hw).line_strides
        assert image.address is not None
        operation.address = image.address + row * strides[0]
        operation.line_stride = strides[0]
        if len(strides) > 1:
            assert image.surface_stride is not None
            operation.surface_stride = image.surface_stride + row * (strides[1] - strides[0])

    def _place_kernels(self, operation: SliceOp) -> None:
        """Place kernels inside weights; one kernel's bytes follow the other's."""
        constant = operation.input.defining_operation
        if isinstance(constant, ConstantOp) and constant.address is not None:
            kernel_bytes = math.prod(shape_of(operation.output)[1:])
            operation.address = constant.address + operation.begin * kernel_bytes

    def _bind_programs(self) -> None:
        """Say of each program where its arguments and results are."""
        for program in self.network.programs:
            bind_buffers(
                program,
                *(
                    [buffer_of(self.network.source(value), program) for value in values]
                    for values in (program.body.arguments, program.return_op.operands)
                ),
            )

    def _too_large(self, end: int, buffers: dict[Value, Buffer]) -> DiagnosticError:
        notes: list[Diagnostic] = []
        if buffers:
            root = max(buffers, key=lambda value: buffers[value].size)
            operation = root.defining_operation
            assert operation is not None
            notes.append(
                Diagnostic.note(
                    operation.location,
                    f"the largest activation is {describe(operation)}, of {buffers[root].size} "
                    "bytes",
                )
            )
        host = self.network.host
        return DiagnosticError.at(
            host.location,
            f"'@{host.sym_name}' needs memory from {self.base:#x} to {end - 1:#x}, but "
            f"addresses of {self.hw.name} end at {(1 << self.hw.address_bits) - 1:#x}: choose a "
            "lower 'base', or a smaller network",
            notes,
        )


def _saved(alone: Sequence[Buffer], shared: Sequence[Buffer]) -> str:
    """What is won by cubes in place of others, for the remark."""
    count, saved = len(alone) - len(shared), live_bytes(alone) - live_bytes(shared)
    if not count:
        return ""
    which = f", which saves {saved} of them" if saved else ""
    return f"; {count} in place of what they are computed from{which}"


def _elsewhere(bound: Collection[Bound]) -> str:
    """What is not counted, for the remark."""
    if not bound:
        return ""
    taken = sum(one.end - one.begin for one in bound)
    return f"; {len(bound)} bound to other addresses take {taken} bytes there"


def _set_strides(operation: MemoryOp, layout: FeatureLayout) -> None:
    operation.line_stride = layout.line_stride
    operation.surface_stride = layout.surface_stride


def _place_equal(copies: list[ConstantOp], address: int) -> None:
    """Let equal constants be one in each program, with one address for all."""
    kept: dict[Block | None, list[ConstantOp]] = {}
    for copy in copies:
        copy.address = address
        kept.setdefault(copy.parent, []).append(copy)
    for first, *duplicates in kept.values():
        if not duplicates:
            continue
        first.layers = layers_of(first, *duplicates)
        first.location = fuse_locations([op.location for op in (first, *duplicates)])
        for duplicate in duplicates:
            duplicate.output.replace_all_uses_with(first.output)
            duplicate.erase()
