"""The cost of hardware layers on one configuration with one memory."""

from __future__ import annotations

from attrs import define, field

from nvdla_ir.hardware.bdma import BdmaSetting
from nvdla_ir.hardware.cdp import CdpSetting
from nvdla_ir.hardware.cost.base import Cost, MemoryTiming
from nvdla_ir.hardware.cost.convolution import convolution_cost
from nvdla_ir.hardware.cost.planar import (
    bdma_cost,
    cdp_cost,
    pdp_cost,
    rubik_cost,
    sdp_cost,
)
from nvdla_ir.hardware.layer import Layer
from nvdla_ir.hardware.rubik import RubikSetting
from nvdla_ir.hw.configuration import HardwareConfiguration

HANDOVER_CYCLES = 46
"""From the end of one layer until the next is enabled, with a fast controller; software adds its
own."""

_MEASURED = {
    "atomic_c": 8,
    "atomic_k": 8,
    "memory_atom": 8,
    "memory_width_bytes": 8,
    "pdp_throughput": 1,
    "cdp_throughput": 1,
}


def is_measured(hw: HardwareConfiguration) -> bool:
    """Whether the model's numbers were measured on a build with the sizes of ``hw``."""
    return hw.sdp.throughput == 1 and all(
        getattr(hw, name) == value for name, value in _MEASURED.items()
    )


@define(eq=False)
class CostModel:
    """Prices layers; equal ones once."""

    hw: HardwareConfiguration
    memory: MemoryTiming = field(factory=MemoryTiming)
    _known: dict[Layer, Cost] = field(factory=dict[Layer, Cost], init=False)

    def cost(self, layer: Layer) -> Cost:
        """The cost of a layer that runs alone, without what passes between layers."""
        cost = self._known.get(layer)
        if cost is None:
            cost = self._known[layer] = self._cost(layer)
        return cost

    def _cost(self, layer: Layer) -> Cost:
        if isinstance(layer.alone, CdpSetting):
            return cdp_cost(layer.alone, self.hw, self.memory)
        if isinstance(layer.alone, RubikSetting):
            return rubik_cost(layer.alone, self.hw, self.memory)
        if isinstance(layer.alone, BdmaSetting):
            return bdma_cost(layer.alone, self.hw, self.memory)
        convolution, processor, pooling = layer.convolution, layer.processor, layer.pooling
        if convolution is not None:
            assert processor is not None, "the SDP takes what a convolution makes"
            return convolution_cost(convolution, processor, pooling, self.hw, self.memory)
        if processor is None:
            assert pooling is not None, "a layer has a unit"
            return pdp_cost(pooling, self.hw, self.memory)
        return sdp_cost(processor, pooling, self.hw, self.memory)
