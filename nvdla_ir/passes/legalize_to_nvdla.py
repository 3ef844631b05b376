"""From int8 layers with converters to hardware layers."""

from __future__ import annotations

from attrs import frozen

from nvdla_ir.dialects import nn, nvdla
from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.func import FuncOp
from nvdla_ir.dialects.layer import describe
from nvdla_ir.dialects.quant import GridType, QuantizedType
from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.ir.diagnostics import Diagnostic, DiagnosticError
from nvdla_ir.ir.operation import Operation, Value
from nvdla_ir.ir.types import TensorType
from nvdla_ir.passes.base import Pass, Session
from nvdla_ir.passes.conditions import no_operation
from nvdla_ir.passes.legalization.context import FunctionContext
from nvdla_ir.passes.legalization.layers import LEGALIZATIONS

PIPELINE_WIDTH = 32
MEMORY_WIDTH = 8


@frozen
class LegalizeToNvdla(Pass):
    """Gather int8 layers and the steps of the 32-bit pipeline into hardware layers.

    Before::

        %acc = nn.conv %x, %w pads=[1, 1, 1, 1] -> tensor<…x!quant.uniform<i32:f32:1, {…}>>
        %0 = nn.shift_add %acc, %bias -> …
        %1 = nn.rescale %0, %m shift=21 -> …
        %2 = nn.relu %1 -> …
        %y = nn.output_converter %2 -> tensor<1x16x32x32x!quant.uniform<i8:f32, 0.03>>

    After::

        %c = nvdla.conv %x, %w pads=[1, 1, 1, 1] -> !nvdla.stream<1x16x32x32xi32>
        %y = nvdla.sdp %c bs_operand=%table bs={alu = "sum", mul, mul_shift = 21, relu}
            -> tensor<1x16x32x32x!quant.uniform<i8:f32, 0.03>>

    Pooling of what the SDP alone writes reads it as a stream. What the host computes (casts,
    softmax) stays, with uploads and downloads between.
    """

    name = "legalize-to-nvdla"
    ensures = (
        no_operation(
            nn.ConvOp,
            nn.FullyConnectedOp,
            nn.MaxPoolOp,
            nn.AveragePoolOp,
            nn.ShiftAddOp,
            nn.RescaleOp,
            nn.OutputConverterOp,
            nn.InputConverterOp,
        ),
    )

    def run(self, module: ModuleOp, session: Session) -> None:
        hw = nvdla.configuration_of(module)
        for op in list(module.walk()):
            if isinstance(op, FuncOp) and not op.is_declaration:
                _Function(op, hw, session).run()


_ON_HOST = (nn.ConstantOp, nn.NormalizeOp, nn.QuantizeOp, nn.SoftmaxOp, nn.ViewOp)


class _Function:
    """The work on one function."""

    def __init__(self, func: FuncOp, hw: HardwareConfiguration, session: Session) -> None:
        self.func = func
        self.session = session
        self.context = FunctionContext.of_function(hw, session)

    def run(self) -> None:
        originals = list(self.func.body.operations)
        for op in originals:
            try:
                self._operation(op)
            except DiagnosticError as error:
                self._report(error)
                self.context.cubes.stand_in(op)
        if self.session.diagnostics.errors:
            return
        left: list[Diagnostic] = []
        for op in reversed(originals):
            if not op.name.startswith("nn."):
                continue
            if not any(result.is_used for result in op.results):
                op.erase()
            elif not isinstance(op, _ON_HOST):
                left.append(Diagnostic.error(op.location, _why_left(op)))
        self.session.diagnostics.diagnostics.extend(reversed(left))

    def _report(self, error: DiagnosticError) -> None:
        """Several layers may run into the same fault of what they share."""
        known = self.session.diagnostics.diagnostics
        known.extend(found for found in error.diagnostics if found not in known)

    def _operation(self, op: Operation) -> None:
        width = _stored_width(op)
        legalize = LEGALIZATIONS.get(type(op))
        if width == MEMORY_WIDTH and legalize is not None:
            legalize(op, self.context)
        elif isinstance(op, _ON_HOST) or not op.name.startswith("nn."):
            if any(map(_is_on_a_grid, op.results)):
                raise _unconverted(op, "computes reals")
            self.context.cubes.hand_to_host(op)
        elif width is None:
            raise _unconverted(op, "computes reals")
        elif width != PIPELINE_WIDTH:
            raise _unconverted(op, f"makes '{op.results[0].type}', which the hardware does not")


def _unconverted(op: Operation, what: str) -> DiagnosticError:
    return DiagnosticError.at(op.location, f"{describe(op)} {what}; run 'insert-converters' first")


def _stored_width(op: Operation) -> int | None:
    """The bits of the quantized integers that ``op`` makes; None where it makes others."""
    if len(op.results) != 1 or not isinstance(op.results[0].type, TensorType):
        return None
    element = op.results[0].type.element
    return element.storage.width if isinstance(element, QuantizedType) else None


def _is_on_a_grid(value: Value) -> bool:
    return isinstance(value.type, TensorType) and isinstance(value.type.element, GridType)


def _why_left(op: Operation) -> str:
    """What is wrong with a layer that is still read when all are legalized."""
    readers = ", ".join(dict.fromkeys(describe(user) for user in op.results[0].users))
    return (
        f"{describe(op)}: {readers} reads its result of {_stored_width(op)} bits, but from the "
        "hardware's pipeline only 'nn.output_converter' leads out"
    )
