"""Conversions of pooling layers."""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
from attrs import frozen

from nvdla_ir.arith.fixed_point import round_half_away
from nvdla_ir.dialects import fixed, nn
from nvdla_ir.dialects.layer import describe
from nvdla_ir.dialects.quant import UniformType
from nvdla_ir.hw.formats.pooling import LARGEST_POOLING_KERNEL
from nvdla_ir.ir.conversion import Replacement
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.operation import Value
from nvdla_ir.ir.types import F32, I8
from nvdla_ir.passes.conversion.chain import Chain, grow_chain
from nvdla_ir.passes.conversion.epilogue import Source
from nvdla_ir.passes.conversion.function import FunctionConversion
from nvdla_ir.passes.conversion.grids import name_of, output_type
from nvdla_ir.passes.conversion.layers import moved_result
from nvdla_ir.passes.conversion.pipeline import Pipeline, pipeline_type
from nvdla_ir.passes.conversion.rules import converts

RECIPROCAL_ONE = 1 << 16
MeanOp: TypeAlias = "nn.AveragePoolOp | nn.GlobalAveragePoolOp"


@frozen
class _Windows:
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    pads: tuple[int, ...]


@converts(nn.MaxPoolOp)
def convert_max_pool(op: nn.MaxPoolOp, conversion: FunctionConversion) -> Replacement:
    """The maximum of stored integers is the stored maximum: the input's codes stay. What
    ``ceil_extension`` adds is padding, which never wins."""
    stored, element = conversion.stored(op.input, op)
    chain = Chain(op, operations=[op])
    new = conversion.builder(chain).create(
        nn.MaxPoolOp,
        input=stored,
        kernel=op.kernel,
        strides=op.strides,
        pads=op.reached_pads,
        layers=op.layers,
        result_types=[nn.tensor_type(op.output).with_element(element)],
    )
    return moved_result(conversion, chain, new.output)


@converts(nn.AveragePoolOp, nn.GlobalAveragePoolOp)
def convert_average_pool(op: MeanOp, conversion: FunctionConversion) -> Replacement:
    """By the pooling unit, where there is one and its 8 bits lose nothing, else by a
    convolution."""
    stored, element = conversion.stored(op.input, op)
    output = output_type(op)
    if isinstance(op, nn.AveragePoolOp):
        windows = _Windows(tuple(op.kernel), tuple(op.strides), tuple(op.pads))
        if (any(op.pads) and not op.count_include_pad) or any(op.ceil_extension):
            raise DiagnosticError.at(
                op.location,
                f"{describe(op)} divides by less at the borders, but the hardware divides by the "
                "whole window; run 'decompose-layers' first, which gives the borders pools of "
                "their own",
            )
    else:
        windows = _Windows(nn.shape_of(op.input)[2:], (1, 1), (0, 0, 0, 0))
    # With zero points, the mean of stored integers is the stored mean in the same scale only.
    coarser = output.scale >= element.scale and element.zero_point == 0 == output.zero_point
    has_unit = conversion.hw is None or conversion.hw.has_pdp
    fits = max(windows.kernel) <= LARGEST_POOLING_KERNEL
    if has_unit and fits and (coarser or element == output):
        return _by_pooling_unit(conversion, op, stored, element, output, windows)
    return _by_convolution(conversion, op, stored, element, windows)


def _by_pooling_unit(
    conversion: FunctionConversion,
    op: MeanOp,
    stored: Value,
    element: UniformType,
    output: UniformType,
    windows: _Windows,
) -> Replacement:
    """The output's unit is no finer than the input's: the divider makes it exactly, and its 8
    bits cannot wrap. (quantization.md section 3, item 7; pdp.md section 3)"""
    # The height's division is the last one, so the scales go there.
    height = round_half_away(RECIPROCAL_ONE / windows.kernel[0] * element.scale / output.scale)
    width = round_half_away(RECIPROCAL_ONE / windows.kernel[1])
    chain = Chain(op, operations=[op])
    new = conversion.builder(chain).create(
        fixed.AveragePoolOp,
        input=stored,
        kernel=windows.kernel,
        strides=windows.strides,
        pads=windows.pads,
        reciprocals=(height, width),
        layers=op.layers,
        result_types=[nn.tensor_type(op.output).with_element(output)],
    )
    return chain.replaced_by(new.output)


def _by_convolution(
    conversion: FunctionConversion,
    op: MeanOp,
    stored: Value,
    element: UniformType,
    windows: _Windows,
) -> Replacement:
    """The output's unit is finer than the input's, which the pooling unit's 8 bits would lose, or
    zero points differ: a depthwise convolution with ones, whose step is one over the window, keeps
    both."""
    channels = nn.shape_of(op.input)[1]
    window = math.prod(windows.kernel)
    chain = grow_chain(op, conversion.in_memory, may_add=False)
    builder = conversion.builder(chain)
    resources = conversion.session.resources
    ones = np.ones((channels, 1, *windows.kernel), np.int8)
    attribute = resources.attribute_for(f"{name_of(op)}.ones", ones, I8)
    weight = builder.create(
        nn.ConstantOp,
        value=attribute,
        result_types=[attribute.type.with_element(UniformType(I8, F32, 1 / window))],
    )
    scales = (element.scale / window,)
    zero_points = (element.zero_point * window,)
    accumulator = builder.create(
        nn.ConvOp,
        input=stored,
        weight=weight.output,
        strides=windows.strides,
        pads=windows.pads,
        groups=channels,
        layers=op.layers,
        result_types=[nn.tensor_type(op.output).with_element(pipeline_type(scales, zero_points))],
    )
    pipeline = Pipeline(builder, resources, accumulator.output, scales, zero_points, name_of(op))
    return conversion.emit(pipeline, Source([128.0 * window]), chain)
