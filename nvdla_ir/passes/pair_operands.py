"""The pass pair-operands."""

from __future__ import annotations

import numpy as np
from attrs import evolve, frozen

from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.nn.shapes import shape_of
from nvdla_ir.dialects.nvdla import ConstantOp, SdpOp, StageAttr
from nvdla_ir.ir.attributes import DenseResourceAttr
from nvdla_ir.ir.builder import Builder, InsertionPoint
from nvdla_ir.ir.operation import Value
from nvdla_ir.ir.types import IntegerType
from nvdla_ir.passes.base import Pass, Session
from nvdla_ir.passes.conditions import has_hardware_layers
from nvdla_ir.passes.settings.constants import constant_of
from nvdla_ir.passes.settings.layers import device_functions

_INT16 = IntegerType(16)
_NUMBERS = range(-(1 << 15), 1 << 15)


@frozen
class PairOperands(Pass):
    """Lets the SDP's stages read both operands from memory, where one comes from there.

    Before:

        %y = nvdla.sdp %c bs_operand=%bias bs=#nvdla.x_stage<alu = "sum", mul, mul_value = 7>

    After, with 7 behind each channel's bias:

        %y = nvdla.sdp %c bs_operand=%pairs bs=#nvdla.x_stage<alu = "sum", mul>

    Registers can say that one operand is a number and the other one in memory. Descriptors of the
    vendor's firmware say one place for both, so a loadable needs it. Of tables with one entry a
    channel; what is computed stays as it is.
    """

    name = "pair-operands"
    subject = has_hardware_layers()

    def run(self, module: ModuleOp, session: Session) -> None:
        for function in device_functions(module):
            for op in list(function.body.operations):
                if isinstance(op, SdpOp):
                    self._run_on(op, session)

    def _run_on(self, op: SdpOp, session: Session) -> None:
        read = [(name, value) for name, _, value in op.stages if value is not None]
        for index, (name, value) in enumerate(read, 1):
            field = name.lower()
            stage: StageAttr = getattr(op, field)
            paired = _paired(stage)
            constant = constant_of(value)
            is_table = constant is not None and len(shape_of(value)) == 1
            if paired is None or constant is None or not is_table:
                continue
            number = stage.alu_value if stage.mul_from_memory else stage.mul_value
            assert number is not None
            op.set_operand(index, self._table(op, constant, stage, number, session))
            setattr(op, field, paired)
            if not constant.output.is_used:
                constant.erase()
            session.count(self.name, "operands paired")

    def _table(
        self,
        op: SdpOp,
        constant: ConstantOp,
        stage: StageAttr,
        number: int,
        session: Session,
    ) -> Value:
        """A table of both operands, that of the ALU first."""
        elements = session.resources.elements(constant.value, constant.location)
        numbers = np.full(elements.shape, number)
        columns = (elements, numbers) if stage.alu_from_memory else (numbers, elements)
        table = np.stack(columns, axis=1).astype(np.int16)
        value = constant.value
        key = value.key if isinstance(value, DenseResourceAttr) else "operands"
        builder = Builder(InsertionPoint.before(op), constant.location)
        made = builder.create(
            ConstantOp,
            value=session.resources.attribute_for(f"{key}.pairs", table, _INT16),
            layers=constant.layers,
        )
        return made.output


def _paired(stage: StageAttr) -> StageAttr | None:
    """The stage with both operands from memory; None where that is so already, or not one of both
    is, or the number has no place in a table."""
    if stage.alu is None or not stage.mul or stage.alu_from_memory == stage.mul_from_memory:
        return None
    number = stage.alu_value if stage.mul_from_memory else stage.mul_value
    if number not in _NUMBERS:
        return None
    return evolve(stage, alu_value=None, mul_value=None)
