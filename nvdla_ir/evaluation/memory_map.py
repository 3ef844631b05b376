"""What lies where in the memory of the hardware, and while which layers run."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence

from attrs import frozen

from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.csb import MEMORY_BASE_ATTRIBUTE, MEMORY_BYTES_ATTRIBUTE
from nvdla_ir.dialects.layer import describe, layers_of
from nvdla_ir.dialects.nvdla import ConstantOp, DownloadOp, UploadOp, configuration_of
from nvdla_ir.hardware.place import Memory
from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.ir.attributes import IntegerAttr
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.operation import Operation, Value
from nvdla_ir.passes.memory_planning import Buffer, live_bytes
from nvdla_ir.passes.scheduling.footprints import Footprints
from nvdla_ir.passes.scheduling.in_place import sharing_places
from nvdla_ir.passes.scheduling.lifetimes import Lifetimes, Span
from nvdla_ir.passes.scheduling.walking import walk
from nvdla_ir.passes.settings.constants import TableLayout, constant_layout
from nvdla_ir.passes.settings.layers import hardware_layers
from nvdla_ir.passes.settings.memory import Extent, extent_of, in_memory
from nvdla_ir.passes.settings.networks import Network, networks
from nvdla_ir.passes.settings.views import Views

WEIGHTS, TABLE = "weights", "table"
INPUT, OUTPUT, ACTIVATION = "input", "output", "activation"


@frozen
class Placed:
    """Bytes in memory from ``begin`` to ``end``, excluded.

    kind:     ``WEIGHTS``, ``TABLE``, ``INPUT`` (the host uploads it), ``OUTPUT`` (it downloads it),
              or ``ACTIVATION``
    first:    the number of the first layer while which they are needed, from 0 on
    last:     that of the last layer
    in_place: whether it takes the bytes of what it is computed from, while layer ``first`` runs
    second:   whether it is in the second memory
    """

    name: str
    kind: str
    begin: int
    end: int
    first: int
    last: int
    in_place: bool = False
    second: bool = False

    @property
    def is_constant(self) -> bool:
        return self.kind in (WEIGHTS, TABLE)


@frozen
class MemoryMap:
    """The memory of one network.

    network:    the host's function
    layers:     the hardware layers in the order in which they are enabled, by name
    placed:     by memory, by address, then by time
    begin, end: what ``allocate-memory`` took; what is bound to other addresses is not in it
    needed:     bytes of activations there that are needed at once: no plan takes less
    """

    network: str
    layers: tuple[str, ...]
    placed: tuple[Placed, ...]
    begin: int
    end: int
    needed: int

    def is_inside(self, placed: Placed) -> bool:
        """Whether it is where everything is that is not bound elsewhere."""
        return not placed.second and self.begin <= placed.begin and placed.end <= self.end

    @property
    def activations(self) -> tuple[Placed, ...]:
        """Those that are not bound elsewhere."""
        return tuple(one for one in self.placed if not one.is_constant and self.is_inside(one))

    @property
    def in_second(self) -> tuple[Placed, ...]:
        """What is in the second memory."""
        return tuple(one for one in self.placed if one.second)

    @property
    def activations_begin(self) -> int:
        """The first byte behind constants."""
        return min((one.begin for one in self.activations), default=self.end)

    @property
    def peak(self) -> int:
        """The byte behind the last one that an activation takes."""
        return max((one.end for one in self.activations), default=self.end)


def memory_maps(module: ModuleOp) -> list[MemoryMap]:
    """One for each network of a module, between ``allocate-memory`` and ``emit-registers``.

    Raises: DiagnosticError where nothing has a place in memory.
    """
    hw = configuration_of(module)
    base, size = (
        module.attributes.get(name) for name in (MEMORY_BASE_ATTRIBUTE, MEMORY_BYTES_ATTRIBUTE)
    )
    if not isinstance(base, IntegerAttr) or not isinstance(size, IntegerAttr):
        raise DiagnosticError.at(
            module.location,
            "nothing has a place in memory here: run 'allocate-memory', and look ahead of "
            "'emit-registers'",
        )
    return [
        _map_of(network, hw, base.value, base.value + size.value) for network in networks(module)
    ]


def _map_of(network: Network, hw: HardwareConfiguration, begin: int, end: int) -> MemoryMap:
    views = Views.of_network(network, hw)
    lifetimes = Lifetimes(Footprints(views))
    walk(lifetimes.footprints, lifetimes)
    steps: dict[Operation, int] = {
        operation: step for step, operation in enumerate(network.operations())
    }
    layers = sorted(
        (layer for program in network.programs for layer in hardware_layers(program.body)),
        key=lambda layer: steps[layer.last],
    )
    written: dict[Value, str] = {
        layer.last.results[0]: "+".join(layer.names) for layer in layers if layer.names
    }
    timeline = _Timeline([steps[layer.last] for layer in layers])
    extents = {root: extent_of(root, hw) for root in lifetimes.spans}
    downloaded = {views.place(op.input).buffer for op in steps if isinstance(op, DownloadOp)}
    replaced = _replaced(lifetimes.spans, extents)
    buffers = [
        Buffer(extent.end - extent.begin, *place.span)
        for place in sharing_places(lifetimes.spans, replaced)
        if (extent := extents[place.roots[0]]).memory is Memory.PRIMARY
        and begin <= extent.begin < end
    ]
    placed = list(_constants(network, hw, len(layers)))
    for root, span in lifetimes.spans.items():
        first, last = timeline.layers(span)
        source = root.defining_operation
        kind = INPUT if isinstance(source, UploadOp) else ACTIVATION
        placed.append(
            Placed(
                written.get(root) or _name(root),
                OUTPUT if root in downloaded and kind is ACTIVATION else kind,
                extents[root].begin,
                extents[root].end,
                first,
                last,
                root in replaced,
                extents[root].memory is Memory.SECONDARY,
            )
        )
    placed.sort(key=lambda one: (one.second, one.begin, one.first, one.end, one.name))
    return MemoryMap(
        network.host.sym_name,
        tuple("+".join(layer.names or (layer.last.name,)) for layer in layers),
        tuple(placed),
        begin,
        end,
        live_bytes(buffers),
    )


@frozen
class _Timeline:
    """``steps``: those of the layers, in order."""

    steps: Sequence[int]

    def layers(self, span: Span) -> tuple[int, int]:
        """The first layer and the last one that run in it; the next one where none does."""
        first = min(bisect_left(self.steps, span[0]), max(len(self.steps) - 1, 0))
        return first, max(first, bisect_right(self.steps, span[1]) - 1)


def _constants(network: Network, hw: HardwareConfiguration, layers: int) -> Iterator[Placed]:
    """Each once; they are there all the time."""
    found: dict[int, Placed] = {}
    for op in network.operations():
        if not isinstance(op, ConstantOp) or not op.output.is_used:
            continue
        layout = constant_layout(next(iter(op.output.uses)), hw)
        address = in_memory(op.output, op).address
        found.setdefault(
            address,
            Placed(
                _name(op.output),
                TABLE if isinstance(layout, TableLayout) else WEIGHTS,
                address,
                address + layout.size_bytes(hw),
                0,
                max(layers - 1, 0),
            ),
        )
    yield from found.values()


def _replaced(spans: Mapping[Value, Span], extents: Mapping[Value, Extent]) -> dict[Value, Value]:
    """What begins in place of another that is still needed then, and that one."""
    found: dict[Value, Value] = {}
    latest: dict[tuple[int, int, Memory], Value] = {}
    for root in spans:
        place = extents[root].begin, extents[root].end, extents[root].memory
        other = latest.get(place)
        if other is not None and spans[root][0] <= spans[other][1]:
            found[root] = other
        latest[place] = root
    return found


def _name(value: Value) -> str:
    """The layers' names, else the name in the text."""
    operation = value.defining_operation
    assert operation is not None
    names = layers_of(operation)
    if names:
        return "+".join(names)
    return value.name_hint or describe(operation)
