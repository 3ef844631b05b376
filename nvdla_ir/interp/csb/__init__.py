"""Kernels of the csb dialect: register programs on the device model."""

from nvdla_ir.interp.csb import memory, units
from nvdla_ir.interp.csb.run import (
    CheckResult,
    ExecutedLayer,
    checks_of,
    device_of,
    executed_layers,
    remarks_of,
)

__all__ = [
    "CheckResult",
    "ExecutedLayer",
    "checks_of",
    "device_of",
    "executed_layers",
    "memory",
    "remarks_of",
    "units",
]
