"""From calibrated layers to integers: input converters, the steps of the 32-bit pipeline, output
converters."""

from __future__ import annotations

from attrs import frozen

from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.func import FuncOp
from nvdla_ir.dialects.nvdla import target_of
from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.passes.base import Pass, Session, Tolerance
from nvdla_ir.passes.conditions import calibrated
from nvdla_ir.passes.conversion import FunctionConversion
from nvdla_ir.passes.conversion.arrangement import arrange
from nvdla_ir.passes.conversion.limits import clips_become_relus


@frozen
class InsertConverters(Pass):
    """Make integers of everything calibrated.

    Every tensor keeps its own calibrated scale. What is computed together in the pipeline (a
    convolution, factors of its channels, its ReLU, a residual addition) is not rounded to int8
    between, and needs no range there; a residual operand of another scale is aligned inside the 32
    bits. What is quantized already stays as it is. What the network rounds in several ways is
    computed once for each. Where the module says its target, units that this lacks are done
    without: an average pool is a convolution then.

    Before::

        %y = nn.conv %x, %w, %b layers=["conv1"]
            -> tensor<1x16x32x32x!quant.calibrated<f32<-3.2:3.2>>>

    After::

        %acc = nn.conv %x, %w layers=["conv1"] -> tensor<…x!quant.uniform<i32:f32:1, {…}>>
        %0 = fixed.shift_add %acc addend=%bias layers=["conv1"] -> tensor<…>
        %1 = fixed.rescale %0 multiplier=%m shift=21 layers=["conv1"] -> tensor<…>
        %y = fixed.output_converter %1 layers=["conv1"]
            -> tensor<1x16x32x32x!quant.uniform<i8:f32, 0.0252>>
    """

    name = "insert-converters"
    # Steps of weights and of activations add up from layer to layer.
    tolerance = Tolerance(0.02, steps=1.5, by_layer=True)
    requires = (calibrated(),)

    def run(self, module: ModuleOp, session: Session) -> None:
        hw = target_of(module)
        for op in list(module.walk()):
            if isinstance(op, FuncOp) and not op.is_declaration:
                _convert(op, session, hw)


def _convert(func: FuncOp, session: Session, hw: HardwareConfiguration | None) -> None:
    conversion = FunctionConversion(func, session, hw)
    clips_become_relus(func)
    arrange(func)
    conversion.quantize_arguments()
    conversion.run(func.body)
    if not session.diagnostics.errors:
        func.update_function_type()
