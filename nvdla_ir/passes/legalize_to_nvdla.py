"""From int8 layers with converters to hardware layers."""

from __future__ import annotations

from attrs import frozen

from nvdla_ir.dialects import fixed, nn, nvdla
from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.func import FuncOp
from nvdla_ir.passes.base import Pass, Session
from nvdla_ir.passes.conditions import no_operation
from nvdla_ir.passes.legalization import FunctionLegalization


@frozen
class LegalizeToNvdla(Pass):
    """Gather int8 layers and the steps of the 32-bit pipeline into hardware layers.

    Before::

        %acc = nn.conv %x, %w pads=[1, 1, 1, 1] -> tensor<…x!quant.uniform<i32:f32:1, {…}>>
        %0 = fixed.shift_add %acc, %bias -> …
        %1 = fixed.rescale %0, %m shift=21 -> …
        %2 = nn.relu %1 -> …
        %y = fixed.output_converter %2 -> tensor<1x16x32x32x!quant.uniform<i8:f32, 0.03>>

    After::

        %c = nvdla.conv %x, %w pads=[1, 1, 1, 1] -> !nvdla.stream<1x16x32x32xi32>
        %y = nvdla.sdp %c bs_operand=%table
            bs=#nvdla.x_stage<alu = "sum", mul, mul_shift = 21, relu>
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
            fixed.AveragePoolOp,
            fixed.ShiftAddOp,
            fixed.RescaleOp,
            fixed.OutputConverterOp,
            fixed.InputConverterOp,
            fixed.LrnOp,
            fixed.PReluOp,
        ),
    )

    def run(self, module: ModuleOp, session: Session) -> None:
        hw = nvdla.configuration_of(module)
        for op in list(module.walk()):
            if isinstance(op, FuncOp) and not op.is_declaration:
                FunctionLegalization(hw, session).run(op.body)
