"""Waits of the host for hardware layers."""

from __future__ import annotations

from collections.abc import Iterable

from nvdla_ir.dialects.nvdla.memory_units import BdmaOp, CdpOp, RubikOp
from nvdla_ir.dialects.nvdla.operations import PdpOp, SdpOp
from nvdla_ir.dialects.nvdla.types import CUBE
from nvdla_ir.ir.definition import Op, operand


class WaitOp(Op):
    """``nvdla.wait %y``: the host waits until the hardware layer that writes ``%y`` has ended.

    A layer runs from its place on beside what follows it, until the wait for its result. Each is
    waited for once: before what reads it, before a unit of it needs the register group again, and
    before the program ends.
    """

    name = "nvdla.wait"

    input = operand(CUBE)

    def verify(self) -> Iterable[str]:
        if not isinstance(self.input.defining_operation, SdpOp | PdpOp | CdpOp | RubikOp | BdmaOp):
            yield "waits for a value that no hardware layer writes"
        elif sum(isinstance(user, WaitOp) for user in self.input.users) > 1:
            yield "is one of several waits for the same layer: its interrupt comes once"
