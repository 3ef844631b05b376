"""The pass schedule-layers."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import define, field, frozen

from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.nvdla import WaitOp, configuration_of
from nvdla_ir.hardware.cost.model import CostModel
from nvdla_ir.ir.builder import Builder, InsertionPoint
from nvdla_ir.ir.operation import Block, Operation
from nvdla_ir.passes.base import Pass, Session, option
from nvdla_ir.passes.conditions import has_hardware_layers
from nvdla_ir.passes.scheduling.footprints import Footprint, Footprints
from nvdla_ir.passes.scheduling.in_flight import InFlight
from nvdla_ir.passes.scheduling.reordering import reorder
from nvdla_ir.passes.settings.layers import HardwareLayer, hardware_layers
from nvdla_ir.passes.settings.networks import networks
from nvdla_ir.passes.settings.views import Views

_ON, _IN_ORDER, _OFF = "on", "in-order", "off"


@frozen
class ScheduleLayers(Pass):
    """Says what hardware layers wait for.

    Before::

        %a = nvdla.sdp %c -> tensor<1x16x32x32xi8>
        %b = nvdla.pdp max %x kernel=[3, 3] -> tensor<1x8x30x30xi8>
        %d = nvdla.conv %a, %w -> !nvdla.stream<1x8x32x32xi32>
        %y = nvdla.sdp %d -> tensor<1x8x32x32xi8>
        func.return %y, %b

    After::

        %a = nvdla.sdp %c -> tensor<1x16x32x32xi8>
        %b = nvdla.pdp max %x kernel=[3, 3] -> tensor<1x8x30x30xi8>
        nvdla.wait %a
        %d = nvdla.conv %a, %w -> !nvdla.stream<1x8x32x32xi32>
        %y = nvdla.sdp %d -> tensor<1x8x32x32xi8>
        nvdla.wait %b
        nvdla.wait %y
        func.return %y, %b

    A layer runs beside those before it, but for those that it waits for: the ones that write what
    it reads, and of each of its units the one before the last, as a unit has two groups of
    registers. Of a layer in pieces, only those count that make what is read.

    Layers that do not depend on each other change places where they end sooner by estimate, and
    need hardly more memory at a time. All have ended when their program ends. Convolutions that run
    beside each other get the same banks of the convolution buffer, so that one's input is fetched
    while the other computes.
    """

    name = "schedule-layers"
    subject = has_hardware_layers()

    overlap: str = option(
        _ON,
        choices=(_ON, _IN_ORDER, _OFF),
        help="let independent layers run at the same time, in the order and with the banks that "
        "cost least or as they are written, or let each wait for the one before",
    )

    def run(self, module: ModuleOp, session: Session) -> None:
        hw = configuration_of(module)
        for network in networks(module):
            footprints = Footprints(Views.of_network(network, hw))
            for program in network.programs:
                block = program.body
                for operation in tuple(block.operations):
                    if isinstance(operation, WaitOp):
                        operation.erase()
                if self.overlap == _ON:
                    moved = reorder(block, footprints, CostModel(hw))
                    session.count(self.name, "layers moved", moved)
                waits = _Waits(block, footprints, self.overlap != _OFF)
                session.count(self.name, "waits", waits.write())


@define(eq=False)
class _Waits:
    """Writes the waits of one program."""

    block: Block
    footprints: Footprints
    overlaps: bool
    _count: int = 0
    _in_flight: InFlight = field(factory=InFlight)

    def write(self) -> int:
        """Returns how many there are."""
        block = self.block
        layers: dict[Operation, HardwareLayer] = {
            layer.last: layer for layer in hardware_layers(block)
        }
        # what came since the last layer
        recent: set[Operation] = set()
        for operation in tuple(block.operations):
            recent.add(operation)
            layer = layers.get(operation)
            if layer is not None:
                footprint = self.footprints.of_layer(layer)
                first = next(one for one in layer.operations if one in recent)
                awaited = self._in_flight.awaited_by(footprint)
                self._wait(awaited if self.overlaps else self._all, first)
                self._in_flight.start(footprint)
            elif operation is block.last_op:
                self._wait(self._all, operation)
            else:
                continue
            recent.clear()
        return self._count

    @property
    def _all(self) -> list[Footprint]:
        return list(self._in_flight.layers)

    def _wait(self, layers: Iterable[Footprint], operation: Operation) -> None:
        """Wait for ``layers`` ahead of ``operation``."""
        for layer in layers:
            builder = Builder(InsertionPoint.before(operation), layer.layer.location)
            builder.create(WaitOp, input=layer.layer.last.results[0])
            self._in_flight.end(layer)
            self._count += 1
