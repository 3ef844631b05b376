"""The limits of hardware layers as faults of the network's: each as soon as its layer is made."""

from __future__ import annotations

from collections.abc import Iterable

from nvdla_ir.dialects.layer import LayerOp, describe
from nvdla_ir.dialects.nvdla import CdpOp, ConvOp, PdpOp, SdpOp
from nvdla_ir.hardware.faults import Fault
from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.passes.refusals import refused
from nvdla_ir.passes.settings.cdp import cdp_setting
from nvdla_ir.passes.settings.convolution import convolution_setting
from nvdla_ir.passes.settings.pdp import pdp_setting
from nvdla_ir.passes.settings.sdp import sdp_setting


def check_convolution(op: ConvOp, hw: HardwareConfiguration) -> None:
    """Raises: DiagnosticError with every limit that ``op`` exceeds."""
    _raise(op, convolution_setting(op, hw).faults(hw))


def check_processor(op: SdpOp, hw: HardwareConfiguration) -> None:
    """Raises: DiagnosticError with every limit that ``op`` exceeds."""
    _raise(op, sdp_setting(op, hw).faults(hw))


def check_pooling(op: PdpOp, hw: HardwareConfiguration) -> None:
    """Raises: DiagnosticError with every limit that ``op`` exceeds."""
    if not hw.has_pdp and op.method == "average":
        raise DiagnosticError.at(
            op.location,
            f"{describe(op)} has windows to pool, but {hw.name} has no pooling unit: run "
            "'set-target' before 'insert-converters', which then does without",
        )
    _raise(op, pdp_setting(op).faults(hw))


def check_normalization(op: CdpOp, hw: HardwareConfiguration) -> None:
    """Raises: DiagnosticError with every limit that ``op`` exceeds."""
    _raise(op, cdp_setting(op, hw).faults(hw))


def _raise(op: LayerOp, faults: Iterable[Fault]) -> None:
    found = [f"{describe(op)} has {fault}" for fault in faults]
    if found:
        raise refused(op.location, *found)
