"""What a module of register programs says about itself: its hardware and its memory."""

from __future__ import annotations

from nvdla_ir.dialects.nvdla import TARGET_ATTRIBUTE, target_of
from nvdla_ir.hw.configuration import (
    ConfigurationError,
    HardwareConfiguration,
    load_configuration,
)
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.operation import Operation

MEMORY_BASE_ATTRIBUTE = "nvdla.memory_base"
"""Of a module: the address of the first byte of memory that its programs use."""

MEMORY_BYTES_ATTRIBUTE = "nvdla.memory_bytes"
"""Of a module: how many bytes its programs use from there on."""


def configuration_of(operation: Operation) -> HardwareConfiguration:
    """The hardware configuration that the module around ``operation`` is for.

    Raises: DiagnosticError where the module names none, or one that cannot be loaded.
    """
    target = target_of(operation)
    if target is None:
        raise DiagnosticError.at(
            operation.location,
            f"the module has no '{TARGET_ATTRIBUTE}': run 'legalize-to-nvdla{{target=…}}' first",
        )
    try:
        return load_configuration(target)
    except ConfigurationError as error:
        raise DiagnosticError.at(operation.location, str(error)) from error
