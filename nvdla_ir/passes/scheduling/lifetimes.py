"""How long memory is needed: until no layer in flight touches it any more."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import define, field

from nvdla_ir.dialects.nvdla import UploadOp
from nvdla_ir.hardware.overlap import ends_with, has_read_before
from nvdla_ir.ir.operation import Operation, Value
from nvdla_ir.passes.scheduling.footprints import Footprint, Footprints, Region
from nvdla_ir.passes.scheduling.in_flight import InFlight

Span = tuple[int, int]
"""The first step and the last one."""


@define(eq=False)
class Lifetimes:
    """From when to when each cube or image of a network that lies in no other must keep its bytes:
    ``spans``, in order of their first steps. It watches a walk.

    Bytes may go to another at the next step: what is enabled then, or written by the host, touches
    them when all are done with them, by a wait or by the order of a unit's layers.
    """

    footprints: Footprints
    spans: dict[Value, Span] = field(factory=dict[Value, Span], init=False)

    def run(self, layer: Footprint, step: int, in_flight: InFlight) -> None:
        for other in in_flight.layers:
            if not has_read_before(other.units, layer.units):
                self._extend(other.reads, step)
            if not ends_with(other.units, layer.units):
                self._extend((other.writes,), step)
        self._extend((*layer.reads, layer.writes), step)

    def use_by_host(self, operation: Operation, step: int, in_flight: InFlight) -> None:
        if isinstance(operation, UploadOp):
            for other in in_flight.layers:
                self._extend((*other.reads, other.writes), step)
            self._extend((self.footprints.region(operation.output),), step)
        self._extend(self.footprints.reads(operation), step)

    def _extend(self, regions: Iterable[Region], step: int) -> None:
        for region in regions:
            first, _ = self.spans.get(region.buffer, (step, step))
            self.spans[region.buffer] = first, step
