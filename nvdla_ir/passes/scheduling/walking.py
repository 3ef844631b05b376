"""Networks step by step, as they run: layers, waits, and what the host does."""

from __future__ import annotations

from typing import Protocol

from nvdla_ir.dialects.nvdla import WaitOp
from nvdla_ir.ir.operation import Operation
from nvdla_ir.passes.scheduling.footprints import Footprint, Footprints
from nvdla_ir.passes.scheduling.in_flight import InFlight
from nvdla_ir.passes.settings.layers import LAYER_OPERATIONS, HardwareLayer, hardware_layers
from nvdla_ir.passes.settings.views import is_view


class Watcher(Protocol):
    """Finds something out on the way through a network.

    step:      an operation's place in its network; a layer runs at the place of its last operation
    in_flight: the layers that are enabled, and not waited for, before it
    """

    def run(self, layer: Footprint, step: int, in_flight: InFlight) -> None:
        """``layer`` is enabled."""
        ...

    def use_by_host(self, operation: Operation, step: int, in_flight: InFlight) -> None:
        """The host computes, uploads, or downloads."""
        ...


def walk(footprints: Footprints, *watchers: Watcher) -> None:
    """Show a network to ``watchers``.

    Raises: DiagnosticError where a layer reads what is not in memory.
    """
    network, in_flight = footprints.views.network, InFlight()
    layers: dict[Operation, HardwareLayer] = {
        layer.last: layer for program in network.programs for layer in hardware_layers(program.body)
    }
    for step, operation in enumerate(network.operations()):
        layer = layers.get(operation)
        if layer is not None:
            footprint = footprints.of_layer(layer)
            for watcher in watchers:
                watcher.run(footprint, step, in_flight)
            in_flight.start(footprint)
        elif isinstance(operation, WaitOp):
            in_flight.wait(operation)
        elif not is_view(operation) and not isinstance(operation, LAYER_OPERATIONS):
            for watcher in watchers:
                watcher.use_by_host(operation, step, in_flight)
