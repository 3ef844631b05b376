"""The CDP's setting, from ``nvdla.cdp``."""

from __future__ import annotations

from nvdla_ir.dialects.nvdla import CdpOp
from nvdla_ir.hardware.cdp import CdpConverter, CdpPlaces, CdpSetting
from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.passes.settings.columns import Arrangement, arrangement


def _arrangement(op: CdpOp, hw: HardwareConfiguration) -> Arrangement:
    """Sums of squares go from channel to channel, so that each is something else."""
    return arrangement(op, [op.input, op.output], hw, per_channel=op.square_sum)


def cdp_setting(op: CdpOp, hw: HardwareConfiguration) -> CdpSetting:
    """What ``op`` tells the CDP.

    Raises: DiagnosticError for batches of several cubes, and for columns that it cannot take.
    """
    channels, height, width = _arrangement(op, hw).extents
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
    arranged = _arrangement(op, hw)
    return CdpPlaces(arranged.place(op.input, op, hw), arranged.place(op.output, op, hw))
