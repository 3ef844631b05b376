"""Legalizations to the CDP: functions of one element, and normalization across channels."""

from __future__ import annotations

from typing import Any

from nvdla_ir.dialects import fixed, nn, nvdla
from nvdla_ir.dialects.layer import describe
from nvdla_ir.dialects.quant import UniformType
from nvdla_ir.hardware.function_tables import code_tables
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.operation import Value
from nvdla_ir.ir.types import TensorType
from nvdla_ir.passes.legalization.function import FunctionLegalization
from nvdla_ir.passes.legalization.limits import check_normalization
from nvdla_ir.passes.legalization.rules import legalizes


@legalizes(nn.UnaryOp)
def legalize_function(op: nn.UnaryOp, context: FunctionLegalization) -> Value:
    """With both bypasses the CDP looks up the element itself."""
    source, result = nn.storage_of(op.input), nn.storage_of(op.output)
    if not isinstance(source, UniformType) or not isinstance(result, UniformType):
        raise DiagnosticError.at(
            op.location, f"{describe(op)} has a scale a channel, but there is one table for all"
        )
    tables = code_tables(op.codes(source, result).tolist())
    return _normalizer(op, context, square_sum=False, multiply=False, tables=tables)


@legalizes(fixed.LrnOp)
def legalize_lrn(op: fixed.LrnOp, context: FunctionLegalization) -> Value:
    """By the CDP, as it is told."""
    return _normalizer(
        op,
        context,
        window=op.size,
        input_offset=op.input_offset,
        output_offset=op.output_offset,
        output_scale=op.output_scale,
        output_shift=op.output_shift,
        tables=op.tables,
    )


def _normalizer(
    op: nn.UnaryOp | fixed.LrnOp, context: FunctionLegalization, **fields: Any
) -> Value:
    builder = context.builder_at(op)
    cube = context.cube_of(op.input, op, builder)
    shape = nvdla.cube_shape(cube.type)
    layer = builder.create(
        nvdla.CdpOp,
        input=cube,
        layers=op.layers,
        result_types=[TensorType(shape, nn.storage_of(op.output))],
        **fields,
    )
    check_normalization(layer, context.hw)
    return layer.output
