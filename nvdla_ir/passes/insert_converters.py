"""From calibrated layers to integers: input converters, the steps of the 32-bit pipeline, output
converters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import frozen

from nvdla_ir.arith.errors import OperandError
from nvdla_ir.dialects import nn
from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.func import FuncOp
from nvdla_ir.dialects.layer import describe
from nvdla_ir.dialects.nvdla import target_of
from nvdla_ir.dialects.quant import QuantizeCastOp, is_quantized
from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.operation import Operation
from nvdla_ir.ir.types import TensorType
from nvdla_ir.passes.base import Pass, Session
from nvdla_ir.passes.conditions import calibrated
from nvdla_ir.passes.conversion import layers, pooling
from nvdla_ir.passes.conversion.arrangement import arrange
from nvdla_ir.passes.conversion.function import FunctionConversion, calibration_of
from nvdla_ir.passes.conversion.limits import clip_fault, clips_become_relus


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
        %0 = nn.shift_add %acc addend=%bias layers=["conv1"] -> tensor<…>
        %1 = nn.rescale %0 multiplier=%m shift=21 layers=["conv1"] -> tensor<…>
        %y = nn.output_converter %1 layers=["conv1"]
            -> tensor<1x16x32x32x!quant.uniform<i8:f32, 0.0252>>
    """

    name = "insert-converters"
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
    originals = list(func.body.operations)
    conversion.quantize_arguments()
    for op in originals:
        if op in conversion.done or (_is_converted(op) and not isinstance(op, QuantizeCastOp)):
            continue
        try:
            _convert_layer(conversion, op)
        except OperandError as error:
            session.diagnostics.error(
                op.location,
                f"{describe(op)}: {error}; check the calibrated ranges of its input and output",
            )
            conversion.stand_in(op)
        except DiagnosticError as error:
            session.diagnostics.diagnostics.extend(error.diagnostics)
            conversion.stand_in(op)
    if not session.diagnostics.errors:
        conversion.remove_converted()
        func.update_function_type()


def _convert_layer(conversion: FunctionConversion, op: Operation) -> None:
    handler = _HANDLERS.get(type(op))
    if isinstance(op, QuantizeCastOp):
        layers.convert_cast(conversion, op)
    elif handler is not None:
        handler(conversion, op)
    elif isinstance(op, nn.BatchNormOp) and calibration_of(op.output) is not None:
        raise DiagnosticError.at(
            op.location, f"{describe(op)} has no integer form; run 'fold-batch-norm' first"
        )
    elif isinstance(op, nn.ClipOp) and (grid := calibration_of(op.output)) is not None:
        raise DiagnosticError.at(op.location, clip_fault(op, grid.quantized()))
    elif any(calibration_of(result) is not None for result in op.results):
        raise DiagnosticError.at(
            op.location,
            f"{describe(op)} has no integer form; if it only decodes what the network has found, "
            "leave it to the host: import with '--outputs=NAME,…' what is before it",
        )
    else:
        conversion.leave_on_host(op)


def _is_converted(op: Operation) -> bool:
    return any(
        isinstance(result.type, TensorType) and is_quantized(result.type.element)
        for result in op.results
    )


_HANDLERS: dict[type[Operation], Callable[[FunctionConversion, Any], None]] = {
    nn.ConvOp: layers.convert_weighted,
    nn.FullyConnectedOp: layers.convert_weighted,
    nn.ScaleOp: layers.convert_scale,
    nn.BiasAddOp: layers.convert_bias_add,
    nn.ReluOp: layers.convert_relu,
    nn.AddOp: layers.convert_add,
    nn.ConcatOp: layers.convert_concat,
    nn.MaxPoolOp: pooling.convert_max_pool,
    nn.AveragePoolOp: pooling.convert_average_pool,
    nn.GlobalAveragePoolOp: pooling.convert_average_pool,
    nn.ReshapeOp: layers.convert_view,
    nn.FlattenOp: layers.convert_view,
    nn.NormalizeOp: layers.convert_normalize,
}
