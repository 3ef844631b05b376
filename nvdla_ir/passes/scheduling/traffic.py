"""What layers move to and from each cube in memory."""

from __future__ import annotations

from attrs import define, field

from nvdla_ir.dialects.nvdla import UploadOp
from nvdla_ir.hw.formats.sizes import align_up
from nvdla_ir.ir.operation import Operation, Value
from nvdla_ir.passes.scheduling.footprints import Footprint, Footprints, Region
from nvdla_ir.passes.scheduling.in_flight import InFlight


@define(eq=False)
class Traffic:
    """Bytes read and written, by the cube or image that lies in no other. It watches a walk.

    atom:    bytes of the memory atom
    moved:   by layers, each piece for itself
    by_host: what the host reads or writes, too, or another device program
    """

    footprints: Footprints
    atom: int
    moved: dict[Value, int] = field(factory=dict[Value, int], init=False)
    by_host: set[Value] = field(factory=set[Value], init=False)

    def run(self, layer: Footprint, step: int, in_flight: InFlight) -> None:
        for region in (*layer.reads, layer.writes):
            self.moved[region.buffer] = self.moved.get(region.buffer, 0) + self._bytes(region)

    def use_by_host(self, operation: Operation, step: int, in_flight: InFlight) -> None:
        self.by_host.update(region.buffer for region in self.footprints.reads(operation))
        if isinstance(operation, UploadOp):
            self.by_host.add(self.footprints.region(operation.output).buffer)

    def _bytes(self, region: Region) -> int:
        return align_up(len(region.channels), self.atom) * len(region.rows) * len(region.columns)
