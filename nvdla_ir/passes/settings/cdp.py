"""The CDP's setting, from ``nvdla.cdp``."""

from __future__ import annotations

from nvdla_ir.dialects.nvdla import CdpOp
from nvdla_ir.hardware.cdp import CdpConverter, CdpPlaces, CdpSetting
from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.passes.settings.memory import channels_height_width, placed_cube


def cdp_setting(op: CdpOp) -> CdpSetting:
    """What ``op`` tells the CDP. Raises: DiagnosticError for batches of several cubes."""
    channels, height, width = channels_height_width(op.input)
    return CdpSetting(
        channels=channels,
        height=height,
        width=width,
        window=op.window,
        input_converter=CdpConverter(op.input_offset, op.input_scale, op.input_shift),
        output_converter=CdpConverter(op.output_offset, op.output_scale, op.output_shift),
        square_sum=op.square_sum,
        multiply=op.multiply,
    )


def cdp_places(op: CdpOp, hw: HardwareConfiguration) -> CdpPlaces:
    """Where source and destination lie. Raises: DiagnosticError where they have no place."""
    return CdpPlaces(placed_cube(op.input, op, hw), placed_cube(op.output, op, hw))
