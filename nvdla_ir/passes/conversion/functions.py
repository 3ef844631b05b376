"""Conversions of functions of one element and of two, and of normalization across channels.

Of one: by tables. Of two: one element enters the pipeline from memory, and the SDP reads the other
beside it, from an int8 tensor, one a channel of it, or from 16 bits of a constant.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvdla_ir.arith.fixed_point import FixedPoint
from nvdla_ir.arith.function_codes import CodeScale, without_value
from nvdla_ir.dialects import fixed, nn
from nvdla_ir.dialects.layer import describe
from nvdla_ir.dialects.nn.shapes import text_of
from nvdla_ir.dialects.quant import QuantizedType, UniformType
from nvdla_ir.hardware.cdp import WINDOWS
from nvdla_ir.hardware.function_tables import Normalization, normalization_fit
from nvdla_ir.ir.conversion import Replacement
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.operation import Value
from nvdla_ir.ir.types import F32, I8, IntegerType
from nvdla_ir.passes.conversion.alignment import align, suits
from nvdla_ir.passes.conversion.chain import Chain
from nvdla_ir.passes.conversion.epilogue import TOLERATED_BIAS_ERROR, Residual, Source
from nvdla_ir.passes.conversion.function import FunctionConversion
from nvdla_ir.passes.conversion.grids import name_of, output_type
from nvdla_ir.passes.conversion.layers import (
    LARGEST_INT8,
    LARGEST_MAGNITUDE,
    chains_from_sum,
    requantized_to,
)
from nvdla_ir.passes.conversion.pipeline import Pipeline, pipeline_type
from nvdla_ir.passes.conversion.rules import converts
from nvdla_ir.passes.intervals import Intervals
from nvdla_ir.passes.refusals import refused

_I16 = IntegerType(16)
_LARGEST_CONSTANT = (1 << 15) - 1
_LARGEST_CODE = 127
_FINE_BITS = 8
_FEATURE_RANK = 4

# -------------------------------------------------------------- of one element


@converts(nn.UnaryOp)
def convert_function(op: nn.UnaryOp, conversion: FunctionConversion) -> Value | None:
    """From int8 to int8, exactly rounded. Where nobody states a range, it stays in floats."""
    if conversion.left_to_host(op):
        return None
    stored, source = conversion.stored(op.input, op)
    output = output_type(op)
    op.codes(source, output)  # where the function is no number, this is the place to say it
    missing = without_value(op.function, _codes(source))
    low, high = Intervals(conversion.session.resources).of(op.input)
    if missing is not None and low <= missing[1] and missing[0] <= high:
        conversion.session.diagnostics.warning(
            op.location,
            f"{describe(op)} is no number for what some codes of its input stand for, "
            f"{missing[0]:g} to {missing[1]:g}: these count as the nearest for which it is",
        )
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
    if conversion.left_to_host(op):
        return None
    stored, source = conversion.stored(op.input, op)
    output = output_type(op)
    if op.size not in WINDOWS:
        raise refused(
            op.location,
            f"{describe(op)} normalizes over {op.size} channels; the CDP, which does it on every "
            f"configuration, adds up the squares of {', '.join(map(str, WINDOWS))}",
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


# -------------------------------------------------------------- second operands


def _is_constant(value: Value) -> bool:
    return isinstance(value.defining_operation, nn.ConstantOp) and not isinstance(
        nn.tensor_type(value).element, QuantizedType
    )


def _second(
    op: nn.BinaryOp,
    value: Value,
    conversion: FunctionConversion,
    *,
    factor: float = 1.0,
    invert: bool = False,
) -> tuple[Value, UniformType]:
    """What the SDP reads beside what enters: ``value``; where it is constant, times ``factor``, or
    its reciprocal."""
    if not _is_constant(value):
        _require_readable(op, value)
        return conversion.stored(value, op)
    reals = conversion.reals(op, value, "constant operand") * factor
    if invert:
        if not reals.all():
            raise DiagnosticError.at(op.location, f"{describe(op)} divides by 0")
        reals = 1.0 / reals
    scale = float(np.abs(reals).max(initial=0.0)) / _LARGEST_CONSTANT or 1.0
    element = UniformType(_I16, F32, scale)
    return _constant(op, np.rint(reals / scale).astype(np.int16), element, conversion), element


def _require_readable(op: nn.BinaryOp, value: Value) -> None:
    """Raises: DiagnosticError unless ``value`` is one an element, or one a channel."""
    shape, other = nn.shape_of(op.lhs), nn.shape_of(value)
    if other == shape or (len(shape) == _FEATURE_RANK and other == (shape[0], shape[1], 1, 1)):
        return
    raise refused(
        op.location,
        f"{describe(op)} combines shape {text_of(shape)} with shape {text_of(other)}; the SDP, on "
        "every configuration, reads a second tensor with one number an element or one a channel "
        f"({text_of((*shape[:2], 1, 1))}). Let the network repeat it (Concat, Expand by a "
        "convolution of ones)",
    )


def _constant(
    op: nn.BinaryOp,
    codes: NDArray[np.integer],
    element: UniformType,
    conversion: FunctionConversion,
) -> Value:
    """A constant with one number a channel, or one an element."""
    shape = nn.shape_of(op.lhs)
    padded = codes.reshape((1,) * (len(shape) - codes.ndim) + codes.shape)
    channels = (1, shape[1], 1, 1) if len(shape) == _FEATURE_RANK else shape
    codes = np.broadcast_to(padded, channels if padded.shape[2:] == (1, 1) else shape)
    attribute = conversion.session.resources.attribute_for(
        f"{name_of(op)}.operand", np.ascontiguousarray(codes), element.storage
    )
    return (
        conversion.builder_at(op)
        .create(
            nn.ConstantOp,
            value=attribute,
            result_types=[attribute.type.with_element(element)],
        )
        .output
    )


# -------------------------------------------------------------- sums and differences


@converts(nn.AddOp)
def convert_add(op: nn.AddOp, conversion: FunctionConversion) -> Replacement:
    """Both operands are in memory: one enters the pipeline, the other is the residual. That is
    the one of the coarser scale, since it can be shifted left only; or the one that is repeated."""
    entering, residual = op.lhs, op.rhs
    if not op.broadcasts and not _is_constant(residual):
        (_, left), (_, right) = (conversion.stored(value, op) for value in (op.lhs, op.rhs))
        if left.scale > right.scale:
            entering, residual = op.rhs, op.lhs
    return _added(op, entering, _second(op, residual, conversion), conversion)


@converts(nn.SubOp)
def convert_sub(op: nn.SubOp, conversion: FunctionConversion) -> Replacement | None:
    """A sum in which what enters is multiplied by something negative. Where that is the first
    operand, since the second one is repeated, the sum is negated at the end."""
    if conversion.left_to_host(op):
        return None
    if _is_constant(op.rhs):
        return _added(op, op.lhs, _second(op, op.rhs, conversion, factor=-1.0), conversion)
    if op.broadcasts:
        second = _second(op, op.rhs, conversion)
        return _added(op, op.lhs, second, conversion, gain=-1.0, negated=True)
    return _added(op, op.rhs, _second(op, op.lhs, conversion), conversion, gain=-1.0)


def _added(
    op: nn.AddOp | nn.SubOp,
    entering: Value,
    second: tuple[Value, UniformType],
    conversion: FunctionConversion,
    *,
    gain: float = 1.0,
    negated: bool = False,
) -> Replacement:
    """``entering * gain + second``, or that negated, in the pass of which the longest chain is
    possible."""
    _, element = conversion.stored(entering, op)
    source = Source([LARGEST_INT8])
    for chain in chains_from_sum(op):
        pipeline = conversion.pipeline_from_memory(entering, chain)
        pipeline.gains = np.array([gain])
        output = output_type(chain.last)
        alignment = align(pipeline.units, source.reach(pipeline.units), second[1], output)
        if negated and (chain.late_relu is not None or chain.leaky is not None):
            continue
        if alignment is not None and suits(alignment, chain, pipeline.units, output):
            residual = Residual(op, second[0], alignment, negated)
            return conversion.emit(pipeline, source, chain, residual)
    raise refused(
        op.location,
        f"{describe(op)}: the scales {element.scale:g} and {second[1].scale:g} of its operands are "
        f"too far from {output_type(op).scale:g}, that of its output; check the calibrated ranges",
    )


# -------------------------------------------------------------- products


@converts(nn.MulOp)
def convert_mul(op: nn.MulOp, conversion: FunctionConversion) -> Replacement | None:
    """Products of stored integers, exact in 32 bits, then the factor of the scales. The second
    operand's zero point must be one that the SDP takes out; another one is moved to 0 by a copy,
    which costs up to half of its coarser unit."""
    if conversion.left_to_host(op):
        return None
    return _product(op, _second(op, op.rhs, conversion), conversion)


@converts(nn.DivOp)
def convert_div(op: nn.DivOp, conversion: FunctionConversion) -> Replacement | None:
    """By constants: a product with their reciprocals."""
    if conversion.left_to_host(op):
        return None
    if not _is_constant(op.rhs):
        raise refused(
            op.location,
            f"{describe(op)} divides by a tensor, which no unit of any configuration does. Let the "
            "network multiply by its reciprocal (nn.power of -1 is a table on every "
            "configuration)",
        )
    return _product(op, _second(op, op.rhs, conversion, invert=True), conversion)


def _product(
    op: nn.MulOp | nn.DivOp, second: tuple[Value, UniformType], conversion: FunctionConversion
) -> Replacement:
    chain = Chain(op, operations=[op])
    first = conversion.stored(op.lhs, op)
    if not _is_taken_out(second[1]) and not op.broadcasts and _is_taken_out(first[1]):
        first, second = second, first
    if not _is_taken_out(second[1]):
        symmetric = _symmetric(second[1])
        second = requantized_to(conversion, second[0], symmetric, chain), symmetric
    scale = first[1].scale * second[1].scale
    builder = conversion.builder(chain)
    product = builder.create(
        nn.MulOp,
        lhs=first[0],
        rhs=second[0],
        layers=op.layers,
        result_types=[nn.tensor_type(op.output).with_element(pipeline_type((scale,), (0,)))],
    )
    pipeline = Pipeline(
        builder, conversion.session.resources, product.output, (scale,), (0,), name_of(op)
    )
    if output_type(op).zero_point and scale / output_type(op).scale > TOLERATED_BIAS_ERROR:
        # The zero point is subtracted ahead of the last factor: in a unit that holds it.
        pipeline.rescale(FixedPoint(1 << _FINE_BITS, 0), scale / (1 << _FINE_BITS), op, (0,))
    return conversion.emit(pipeline, Source([LARGEST_INT8 * LARGEST_MAGNITUDE]), chain)


def _is_taken_out(element: UniformType) -> bool:
    """Whether the SDP can multiply by ``code - zero point``: a zero point of ``-2^k`` adds what
    enters, shifted left."""
    negative = -element.zero_point
    return negative >= 0 and negative & (negative - 1) == 0


def _symmetric(element: UniformType) -> UniformType:
    """Codes of zero point 0 that reach as far."""
    reach = _LARGEST_CODE + abs(element.zero_point)
    return UniformType(I8, element.expressed, element.scale * reach / _LARGEST_CODE)


# -------------------------------------------------------------- larger and smaller


@converts(nn.MaxOp, nn.MinOp)
def convert_extremum(op: nn.MaxOp | nn.MinOp, conversion: FunctionConversion) -> Replacement | None:
    """Of codes of the output's: to round first and to choose first are the same."""
    if conversion.left_to_host(op):
        return None
    chain, output = Chain(op, operations=[op]), output_type(op)
    left = requantized_to(conversion, conversion.stored(op.lhs, op)[0], output, chain)
    if _is_constant(op.rhs):
        right = _constant(op, _codes_of(op, output, conversion), output, conversion)
    else:
        _require_readable(op, op.rhs)
        stored, _ = conversion.stored(op.rhs, op)
        right = requantized_to(conversion, stored, output, chain)
    new = conversion.builder(chain).create(
        type(op),
        lhs=left,
        rhs=right,
        layers=op.layers,
        result_types=[nn.tensor_type(op.output).with_element(output)],
    )
    return chain.replaced_by(new.output)


def _codes_of(
    op: nn.BinaryOp, output: UniformType, conversion: FunctionConversion
) -> NDArray[np.integer]:
    reals = conversion.reals(op, op.rhs, "constant operand") / output.scale
    away = np.copysign(np.floor(np.abs(reals) + 0.5), reals) + output.zero_point
    return np.clip(away, -_LARGEST_CODE - 1, _LARGEST_CODE).astype(np.int8)
