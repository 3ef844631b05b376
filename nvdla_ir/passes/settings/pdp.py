"""The PDP's setting, from ``nvdla.pdp``."""

from __future__ import annotations

from typing import Literal, cast

from nvdla_ir.dialects.nvdla import PdpOp, StreamType
from nvdla_ir.hardware.pdp import (
    PAD_VALUES,
    Method,
    PdpPlaces,
    PdpSetting,
    PoolWindow,
    width_split,
)
from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.hw.formats.sizes import LayoutError
from nvdla_ir.passes.settings.memory import channels_height_width, placed_cube


def pdp_setting(op: PdpOp) -> PdpSetting:
    """What ``op`` tells the PDP. Raises: DiagnosticError for batches of several cubes."""
    flying = isinstance(op.input.type, StreamType)
    channels, height, width = channels_height_width(op.input)
    _, output_height, output_width = channels_height_width(op.output)
    rows = _window(op, 0, height, output_height, flying)
    columns = _window(op, 1, width, output_width, flying)
    try:
        split = width_split(rows, columns)
    except LayoutError:
        split = None  # the setting's faults tell
    is_average = op.reciprocals is not None
    return PdpSetting(
        channels=channels,
        rows=rows,
        columns=columns,
        method=cast("Method", op.method.upper()),
        flying=flying,
        split=split,
        reciprocals=None if op.reciprocals is None else (op.reciprocals[0], op.reciprocals[1]),
        pad_values=(
            tuple(count * op.pad_value for count in range(1, PAD_VALUES + 1))
            if is_average
            else None
        ),
    )


def _window(op: PdpOp, axis: Literal[0, 1], size: int, outputs: int, flying: bool) -> PoolWindow:
    return PoolWindow.exact(
        kernel=op.kernel[axis],
        stride=op.strides[axis],
        before=op.pads[axis],
        size=size,
        outputs=outputs,
        flying=flying,
    )


def pdp_places(op: PdpOp, hw: HardwareConfiguration) -> PdpPlaces:
    """Where source and destination lie. Raises: DiagnosticError where they have no place."""
    source = None if isinstance(op.input.type, StreamType) else placed_cube(op.input, op, hw)
    return PdpPlaces(source, placed_cube(op.output, op, hw))
