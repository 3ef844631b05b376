"""From calibrated layers to integers: input converters, the steps of the 32-bit pipeline, output
converters."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.func import FuncOp
from nvdla_ir.dialects.nvdla import HOST_ATTRIBUTE, target_of
from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.ir.operation import Operation
from nvdla_ir.passes.base import Pass, Session, Tolerance, option
from nvdla_ir.passes.conditions import calibrated
from nvdla_ir.passes.conversion import FunctionConversion
from nvdla_ir.passes.conversion.arrangement import arrange
from nvdla_ir.passes.conversion.limits import clips_become_relus
from nvdla_ir.passes.fit_convolution_buffer import FitConvolutionBuffer
from nvdla_ir.passes.host_fallback import mark_refused_layers, remark_of
from nvdla_ir.passes.legalize_to_nvdla import LegalizeToNvdla
from nvdla_ir.passes.outline_device_programs import OutlineDevicePrograms


@frozen
class InsertConverters(Pass):
    """Make integers of everything calibrated.

    Every tensor keeps its own calibrated scale. What is computed together in the pipeline (a
    convolution, factors of its channels, its ReLU, a residual addition) is not rounded to int8
    between, and needs no range there; a residual operand of another scale is aligned inside the 32
    bits. What is quantized already stays as it is. What the network rounds in several ways is
    computed once for each. Where the module says its target, units that this lacks are done
    without: an average pool is a convolution then.

    With ``fallback=host`` a layer that the hardware does not do, by this pass or by those that make
    hardware layers and fit them into the convolution buffer of the target, is marked
    (``{nvdla.host}``) and computed in floats by the host, with a remark. What is marked already
    stays the host's.

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
    tolerance = Tolerance(0.05, steps=1.5, by_layer=True)
    requires = (calibrated(),)

    fallback: str = option(
        "none",
        choices=("none", "host"),
        help="what computes a layer that the hardware does not do; without, it is an error",
    )

    def run(self, module: ModuleOp, session: Session) -> None:
        hw = target_of(module)
        reasons: dict[Operation, str] = {}
        if self.fallback == "host":
            trial = _TRIAL if hw is not None else _TRIAL[:1]
            reasons = mark_refused_layers(module, session, trial)
        for op in list(module.walk()):
            if isinstance(op, FuncOp) and not op.is_declaration:
                _convert(op, session, hw, reasons)


_TRIAL = (
    InsertConverters(),
    LegalizeToNvdla(),
    OutlineDevicePrograms(),
    FitConvolutionBuffer(),
)
"""What may refuse a layer; where there is no target, only the first can be asked."""


def _convert(
    func: FuncOp,
    session: Session,
    hw: HardwareConfiguration | None,
    reasons: Mapping[Operation, str],
) -> None:
    conversion = FunctionConversion(func, session, hw)
    clips_become_relus(func)
    arrange(func)
    conversion.quantize_arguments()
    conversion.run(func.body)
    if session.diagnostics.errors:
        return
    func.update_function_type()
    if conversion.on_reals and not conversion.replaced:
        session.diagnostics.warning(
            func.location, f"nothing of '@{func.sym_name}' is left to the hardware"
        )
    for op in conversion.on_reals:
        reason = reasons.get(op, f"it is marked '{HOST_ATTRIBUTE}'")
        session.diagnostics.emit(remark_of(op, reason))
