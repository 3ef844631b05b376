"""``nvdla.host`` on a layer: the host computes it, in reals, between device programs."""

from __future__ import annotations

from nvdla_ir.ir.attributes import UnitAttr
from nvdla_ir.ir.operation import Operation

HOST_ATTRIBUTE = "nvdla.host"


def is_on_host(operation: Operation) -> bool:
    """Whether ``operation`` is marked as the host's."""
    return HOST_ATTRIBUTE in operation.attributes


def mark_for_host(operation: Operation) -> None:
    """Leave ``operation`` to the host."""
    operation.attributes[HOST_ATTRIBUTE] = UnitAttr()
