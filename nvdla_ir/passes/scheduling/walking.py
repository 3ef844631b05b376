"""Networks step by step, as they run: layers, waits, and what the host does."""

from __future__ import annotations

from attrs import define, field

from nvdla_ir.dialects.nvdla import WaitOp
from nvdla_ir.ir.operation import Operation
from nvdla_ir.passes.scheduling.footprints import Footprint, Footprints
from nvdla_ir.passes.scheduling.in_flight import InFlight
from nvdla_ir.passes.settings.layers import LAYER_OPERATIONS, HardwareLayer, hardware_layers
from nvdla_ir.passes.settings.views import Views, is_view


@define(eq=False)
class Walk:
    """Something that is found out on the way through a network.

    A step is an operation's place in its network; a layer runs at the place of its last operation.
    """

    footprints: Footprints
    in_flight: InFlight = field(factory=InFlight, init=False)
    """The layers that are enabled, and not waited for, before the step."""

    def run(self, layer: Footprint, step: int) -> None:
        """``layer`` is enabled."""
        raise NotImplementedError

    def use_by_host(self, operation: Operation, step: int) -> None:
        """The host computes, uploads, or downloads."""
        raise NotImplementedError

    def walk(self, views: Views) -> None:
        """Go through the network whose views are given."""
        network = views.network
        layers: dict[Operation, HardwareLayer] = {
            layer.last: layer
            for program in network.programs
            for layer in hardware_layers(program.body)
        }
        for step, operation in enumerate(network.operations()):
            layer = layers.get(operation)
            if layer is not None:
                footprint = self.footprints.of_layer(layer)
                self.run(footprint, step)
                self.in_flight.start(footprint)
            elif isinstance(operation, WaitOp):
                self.in_flight.wait(operation)
            elif not is_view(operation) and not isinstance(operation, LAYER_OPERATIONS):
                self.use_by_host(operation, step)
