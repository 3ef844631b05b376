"""What hardware layers cost: cycles, what they wait for, and bytes of memory traffic.

Measured on the RTL of nv_small at two memory settings (cycles.md); other configurations follow the
same structure with their own sizes and widths.
"""

from nvdla_ir.hardware.cost.cost import Client, Cost, MemoryTiming, Span, total
from nvdla_ir.hardware.cost.model import HANDOVER_CYCLES, CostModel, is_measured
from nvdla_ir.hardware.cost.planar import cdp_cost

__all__ = [
    "HANDOVER_CYCLES",
    "Client",
    "Cost",
    "CostModel",
    "MemoryTiming",
    "Span",
    "cdp_cost",
    "is_measured",
    "total",
]
