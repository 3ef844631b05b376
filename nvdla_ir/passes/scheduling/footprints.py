"""What hardware layers and the host read and write in memory."""

from __future__ import annotations

from attrs import define, field, frozen

from nvdla_ir.dialects.nvdla import MemoryOp, StreamType, cube_shape
from nvdla_ir.hardware.program import Tables
from nvdla_ir.ir.operation import Operation, Value
from nvdla_ir.passes.settings.constants import constant_of
from nvdla_ir.passes.settings.layers import LAYER_OPERATIONS, HardwareLayer
from nvdla_ir.passes.settings.memory import in_memory
from nvdla_ir.passes.settings.programs import layer_tables
from nvdla_ir.passes.settings.views import Views


@frozen
class Region:
    """A part of a cube or image that lies in no other."""

    buffer: Value
    channels: range
    rows: range
    columns: range

    def meets(self, other: Region) -> bool:
        """Whether both have an element."""
        return (
            self.buffer is other.buffer
            and _meet(self.channels, other.channels)
            and _meet(self.columns, other.columns)
            and _meet(self.rows, other.rows)
        )


def _every(begin: int, count: int, step: int) -> range:
    """``count`` numbers that are ``step`` apart."""
    return range(begin, begin + (count - 1) * step + 1, step)


def _meet(one: range, other: range) -> bool:
    """Whether two ranges, which may have steps, have a number in common."""
    if one.start >= other.stop or other.start >= one.stop:
        return False
    return one.step == other.step == 1 or any(number in other for number in one)


@frozen(eq=False)
class Footprint:
    """A hardware layer and what it touches.

    units:  those whose interrupts tell its end, the one that writes to memory last
    reads:  activations; constants stay as they are
    tables: what look-up tables hold while it runs
    """

    layer: HardwareLayer
    units: tuple[str, ...]
    reads: tuple[Region, ...]
    writes: Region
    tables: tuple[Tables, ...] = ()

    @property
    def buffers(self) -> set[Value]:
        """The cubes and images that it touches."""
        return {self.writes.buffer, *(region.buffer for region in self.reads)}

    def needs(self, other: Footprint) -> bool:
        """Whether it reads what ``other`` writes."""
        return any(region.meets(other.writes) for region in self.reads)


@define(eq=False)
class Footprints:
    """Makes those of a network, whose views are given."""

    views: Views
    _regions: dict[Value, Region] = field(factory=dict[Value, Region])

    def of_layer(self, layer: HardwareLayer) -> Footprint:
        """Raises: DiagnosticError where it reads what is not in memory."""
        return Footprint(
            layer,
            layer.interrupts,
            tuple(region for op in layer.operations for region in self.reads(op)),
            self.region(layer.last.results[0]),
            layer_tables(layer),
        )

    def reads(self, operation: Operation) -> tuple[Region, ...]:
        """The activations in memory that an operation of a layer reads, or the host.

        Raises: DiagnosticError where a layer reads what is not in memory.
        """
        return tuple(
            self.region(value)
            for value in operation.operands
            if not isinstance(value.type, StreamType)
            and constant_of(value) is None
            and self._is_in_memory(value, operation)
        )

    def _is_in_memory(self, value: Value, reader: Operation) -> bool:
        if isinstance(reader, LAYER_OPERATIONS):
            in_memory(value, reader)
            return True
        return isinstance(self.views.network.source(value).defining_operation, MemoryOp)

    def region(self, value: Value) -> Region:
        """Where ``value`` lies."""
        found = self._regions.get(value)
        if found is None:
            view = self.views.place(value)
            window = view.window
            # what is no cube lies in a buffer of its own
            channels, rows, columns = (1, 1, *cube_shape(value.type))[-3:]
            found = self._regions[value] = Region(
                view.buffer,
                range(window.channel, window.channel + channels),
                _every(window.row, rows, window.row_step),
                _every(window.column, columns, window.column_step),
            )
        return found
