"""A hardware layer: units that run as one, because each hands its results to the next."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import frozen

from nvdla_ir.hardware.bdma import BdmaSetting
from nvdla_ir.hardware.cdp import CdpSetting
from nvdla_ir.hardware.convolution import ConvolutionSetting
from nvdla_ir.hardware.faults import Fault
from nvdla_ir.hardware.pdp import PdpSetting
from nvdla_ir.hardware.rubik import RubikSetting
from nvdla_ir.hardware.sdp import SdpSetting
from nvdla_ir.hw.configuration import HardwareConfiguration

AloneSetting = CdpSetting | RubikSetting | BdmaSetting
"""What a unit is told that is a layer of its own."""

Setting = ConvolutionSetting | SdpSetting | PdpSetting | AloneSetting
"""What one unit is told."""


def interrupts_of(settings: Iterable[Setting]) -> tuple[str, ...]:
    """The units whose interrupts say that a layer is done, in the order in which they come."""
    found = (setting.interrupt for setting in settings)
    return tuple(interrupt for interrupt in found if interrupt is not None)


@frozen(cache_hash=True)
class Layer:
    """The settings of a layer's units: a chain convolution, SDP, PDP, or a part of it, or a unit
    ``alone``."""

    convolution: ConvolutionSetting | None = None
    processor: SdpSetting | None = None
    pooling: PdpSetting | None = None
    alone: AloneSetting | None = None

    @property
    def settings(self) -> tuple[Setting, ...]:
        """Those that there are, in the order of the data flow."""
        chain = (self.convolution, self.processor, self.pooling, self.alone)
        return tuple(setting for setting in chain if setting is not None)

    @property
    def interrupts(self) -> tuple[str, ...]:
        """The units whose interrupts say that the layer is done, in the order in which they
        come."""
        return interrupts_of(self.settings)

    def faults(self, hw: HardwareConfiguration) -> list[Fault]:
        """Every limit of the hardware that the layer breaks."""
        return [fault for setting in self.settings for fault in setting.faults(hw)]
