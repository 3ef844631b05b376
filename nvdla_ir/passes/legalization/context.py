"""What the legalizations of one function's layers share."""

from __future__ import annotations

from attrs import frozen

from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.passes.base import Session
from nvdla_ir.passes.legalization.boundary import Cubes
from nvdla_ir.passes.legalization.constants import Constants


@frozen(eq=False)
class FunctionContext:
    """The hardware, the function's cubes and constants, and where remarks go."""

    hw: HardwareConfiguration
    session: Session
    cubes: Cubes
    constants: Constants

    @staticmethod
    def of_function(hw: HardwareConfiguration, session: Session) -> FunctionContext:
        return FunctionContext(hw, session, Cubes(), Constants(session.resources))
