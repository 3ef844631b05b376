"""Conversions of functions of one element, and of normalization across channels: what tables do."""

from __future__ import annotations

from typing import Any

from nvdla_ir.arith.function_codes import CodeScale
from nvdla_ir.dialects import fixed, nn
from nvdla_ir.dialects.layer import describe
from nvdla_ir.dialects.quant import UniformType
from nvdla_ir.hardware.cdp import WINDOWS
from nvdla_ir.hardware.function_tables import Normalization, normalization_fit
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.operation import Value
from nvdla_ir.passes.conversion.function import FunctionConversion
from nvdla_ir.passes.conversion.grids import calibration_of, output_type
from nvdla_ir.passes.conversion.rules import converts


@converts(nn.UnaryOp)
def convert_function(op: nn.UnaryOp, conversion: FunctionConversion) -> Value | None:
    """From int8 to int8, exactly rounded. Where nobody states a range, it stays in floats."""
    if calibration_of(op.output) is None:
        conversion.leave(op)
        return None
    stored, source = conversion.stored(op.input, op)
    output = output_type(op)
    op.codes(source, output)  # where the function is no number, this is the place to say it
    fields: dict[str, Any] = {name: getattr(op, name) for name in op.definition.attributes}
    new = conversion.builder_at(op).create(
        type(op),
        input=stored,
        result_types=[nn.tensor_type(op.output).with_element(output)],
        **fields,
    )
    return new.output


@converts(nn.LrnOp)
def convert_lrn(op: nn.LrnOp, conversion: FunctionConversion) -> Value | None:
    """Tables of the factor that belongs to a sum of squares; how far they are off is a remark."""
    if calibration_of(op.output) is None:
        conversion.leave(op)
        return None
    stored, source = conversion.stored(op.input, op)
    output = output_type(op)
    if op.size not in WINDOWS:
        raise DiagnosticError.at(
            op.location,
            f"{describe(op)} normalizes over {op.size} channels; the CDP, which does it on every "
            f"configuration, adds up the squares of {', '.join(map(str, WINDOWS))}. Leave it to "
            "the host: import with '--outputs=NAME,…' what is before it",
        )
    fit = normalization_fit(
        Normalization(op.size, op.alpha, op.beta, op.k), _codes(source), _codes(output)
    )
    conversion.session.diagnostics.remark(
        op.location,
        f"{describe(op)}: the tables' factors are off by up to {fit.error:.2g} of the output's "
        "unit, ahead of rounding",
    )
    converter = fit.output_converter
    return (
        conversion.builder_at(op)
        .create(
            fixed.LrnOp,
            input=stored,
            size=op.size,
            alpha=op.alpha,
            beta=op.beta,
            k=op.k,
            input_offset=fit.input_converter.offset,
            output_offset=converter.offset,
            output_scale=converter.scale,
            output_shift=converter.shift,
            tables=fit.tables,
            layers=op.layers,
            result_types=[nn.tensor_type(op.output).with_element(output)],
        )
        .output
    )


def _codes(element: UniformType) -> CodeScale:
    return CodeScale(element.scale, element.zero_point)
