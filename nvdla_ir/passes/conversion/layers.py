"""Conversions of layers with weights, and of elementwise and structural layers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NoReturn

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from nvdla_ir.arith.fixed_point import LARGEST_MULTIPLIER, fixed_point, round_half_away
from nvdla_ir.dialects import fixed, nn
from nvdla_ir.dialects.layer import describe
from nvdla_ir.dialects.quant import (
    QuantizeCastOp,
    QuantizedType,
    UniformType,
    scales_of,
    zero_points_of,
)
from nvdla_ir.ir.conversion import Replacement
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.operation import Value
from nvdla_ir.ir.types import I8
from nvdla_ir.passes.blocks import sums
from nvdla_ir.passes.conversion.alignment import align, rectifies_late, suits
from nvdla_ir.passes.conversion.chain import Chain, follower, grow_chain, has_one_slope
from nvdla_ir.passes.conversion.epilogue import Epilogue, Residual, Source
from nvdla_ir.passes.conversion.function import FunctionConversion, computed
from nvdla_ir.passes.conversion.grids import calibration_of, name_of, output_type
from nvdla_ir.passes.conversion.pipeline import (
    Bias,
    Integers,
    Pipeline,
    Reals,
    pipeline_type,
)
from nvdla_ir.passes.conversion.rules import converts
from nvdla_ir.passes.refusals import refused

# The largest magnitude of an int8 number less its zero point.
LARGEST_INT8 = 255.0
LARGEST_MAGNITUDE = 128.0
INT8_WIDTH = 8
IMAGE_RANK = 4
# The share of the output's unit that may be left out.
NEGLIGIBLE = 2.0**-8
# By how much a bias may be off in the pass of an addition, in units of the sum or, if larger, of
# the codes between two passes: what rounding costs.
TOLERATED_UNITS = 0.5
_MEAN_LIMITS = (-(1 << 15), (1 << 15) - 1)


@converts(nn.ConvOp, nn.FullyConnectedOp)
def convert_weighted(
    op: nn.ConvOp | nn.FullyConnectedOp, conversion: FunctionConversion
) -> Replacement:
    """Convolutions and fully connected layers, with what follows in the pipeline. Factors of the
    channels go into the multiplier, so that the weights stay the integers that they are."""

    stored, input_type = conversion.stored(op.input, op)
    constant = op.weight.defining_operation
    weight_type = nn.tensor_type(op.weight).element
    if not isinstance(constant, nn.ConstantOp):
        raise refused(op.location, computed(op, "weights"))
    if not isinstance(weight_type, QuantizedType):
        raise DiagnosticError.at(
            op.location,
            f"the weights of {describe(op)} are not quantized; run 'quantize-weights' first",
        )
    if any(zero_points_of(weight_type)):
        raise DiagnosticError.at(
            op.location,
            f"the weights of {describe(op)} have zero points; run 'quantize-weights' first",
        )
    integers = _Integers.of(
        conversion.session.resources.elements(constant.value, constant.location)
    )
    scales = input_type.scale * np.array(scales_of(weight_type))
    chain = grow_chain(op, conversion.in_memory, may_add=True)
    entering = _entering(conversion, op, chain, integers, scales)
    shorter = grow_chain(op, conversion.in_memory, may_add=False)
    own = calibration_of(shorter.last.results[0])
    tolerated = TOLERATED_UNITS * max(
        output_type(chain.last).scale, 0.0 if own is None else own.quantized().scale
    )
    residual = _residual(conversion, chain, entering, scales, input_type.zero_point, tolerated)
    if isinstance(residual, str):
        if own is None:
            _cannot_add(conversion, chain, residual)
        chain, residual = shorter, None
        entering = _entering(conversion, op, chain, integers, scales)
    weight = op.weight
    if entering.integers is not integers:
        weight = _weights(conversion, op, entering.integers.array)
    zero_points = entering.zero_points(input_type.zero_point)
    builder = conversion.builder(chain)
    fields: dict[str, Any] = {"input": stored, "weight": weight, "layers": op.layers}
    if isinstance(op, nn.ConvOp):
        fields |= {
            "strides": op.strides,
            "pads": op.pads,
            "dilations": op.dilations,
            "groups": op.groups,
        }
    element = pipeline_type(scales, zero_points)
    accumulator = builder.create(
        type(op), result_types=[nn.tensor_type(op.output).with_element(element)], **fields
    )
    pipeline = Pipeline(
        builder,
        conversion.session.resources,
        accumulator.output,
        scales,
        zero_points,
        name_of(op),
        entering.gains,
    )
    return conversion.emit(pipeline, entering.source, chain, residual)


@frozen(eq=False)
class _Integers:
    """Weights, the sums of each output channel's, and those of their magnitudes."""

    array: NDArray[Any]
    sums: NDArray[np.int64]
    magnitudes: NDArray[np.int64]

    @staticmethod
    def of(array: NDArray[Any]) -> _Integers:
        return _Integers(array, *sums(array.reshape(len(array), -1)))

    def without(self, dead: NDArray[np.bool_]) -> _Integers:
        """With zeros in the channels ``dead``."""
        rows = dead.reshape(-1, *[1] * (self.array.ndim - 1))
        return _Integers.of(np.where(rows, np.int8(0), self.array))


@frozen(eq=False)
class _Entering:
    """Weights, and what is to be done behind them."""

    integers: _Integers
    gains: Reals
    source: Source

    def zero_points(self, of_input: int) -> Integers:
        """What the sums are where all of the input stands for 0."""
        return self.integers.sums * of_input if of_input else np.zeros(1, np.int64)


def _entering(
    conversion: FunctionConversion,
    op: nn.ConvOp | nn.FullyConnectedOp,
    chain: Chain,
    integers: _Integers,
    scales: Reals,
) -> _Entering:
    """The weights ``integers``, and the factors and summands that ``chain`` has for them.

    A channel of which its factor leaves less than ``NEGLIGIBLE`` of the output's unit, whatever
    comes in, is its bias: its weights become zeros, with which any multiplier does.
    """
    gains, bias = _affine(conversion, op, chain)
    units = np.abs(scales * gains)
    largest_sums = integers.magnitudes * LARGEST_INT8
    dead = (gains != 1.0) & (largest_sums * units <= output_type(chain.last).scale * NEGLIGIBLE)
    if dead.any():
        integers = integers.without(np.broadcast_to(dead, integers.sums.shape))
        largest = units.max(where=~dead, initial=0.0) or 1.0
        gains = np.where(dead, largest / scales, gains)
    return _Entering(integers, gains, Source(integers.magnitudes * LARGEST_MAGNITUDE, bias))


def _affine(
    conversion: FunctionConversion, op: nn.ConvOp | nn.FullyConnectedOp, chain: Chain
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """What a channel is multiplied by, and what is added then: the bias and what follows."""
    bias = None if op.bias is None else conversion.reals(op, op.bias, "bias")
    gains = np.ones(1)
    for step in chain.affine:
        if isinstance(step, nn.ScaleOp):
            factors = conversion.reals(step, step.scale, "scale")
            gains = gains * factors
            bias = None if bias is None else bias * factors
        if step.bias is not None:
            summands = conversion.reals(step, step.bias, "bias")
            bias = summands if bias is None else bias + summands
    return gains, bias


def _weights(
    conversion: FunctionConversion,
    op: nn.ConvOp | nn.FullyConnectedOp,
    integers: NDArray[Any],
) -> Value:
    """Those of ``op`` with other integers."""
    key = f"{name_of(op)}.weight.live"
    constant = conversion.builder_at(op).create(
        nn.ConstantOp,
        value=conversion.session.resources.attribute_for(key, integers.astype(np.int8), I8),
        result_types=[op.weight.type],
    )
    constant.output.name_hint = op.weight.name_hint
    return constant.output


def _residual(
    conversion: FunctionConversion,
    chain: Chain,
    entering: _Entering,
    scales: Reals,
    zero_point: int,
    tolerated: float,
) -> Residual | str | None:
    """The addition of ``chain``, if it has one; why it must be left to itself, if it must. The bias
    may be off by ``tolerated``, a real."""
    if chain.add is None or chain.residual is None:
        return None
    units = scales * entering.gains
    magnitudes = np.abs(units)
    if magnitudes.min() < magnitudes.max() / LARGEST_MULTIPLIER:
        return "the factors of its channels are too far apart"
    stored, element = conversion.stored(chain.residual, chain.last)
    output = output_type(chain.last)
    alignment = align(units, entering.source.reach(units), element, output)
    if alignment is None:
        return "the scales of the operands and of the sum are too far apart"
    if not suits(alignment, chain, units, output):
        return "the zero points of the operands and of the sum have no place there"
    late = rectifies_late(chain, output)
    zero = alignment.zero_point * alignment.scale if late else 0.0
    error = _bias_error(entering, units, zero_point, zero)
    if error > tolerated:
        off = error / output.scale
        return f"16 bits hold the bias ahead of its factors only to {off:.2g} units of the sum"
    return Residual(chain.add, stored, alignment)


def _bias_error(entering: _Entering, units: Reals, zero_point: int, subtracted: float) -> float:
    """By how much a channel's bias ahead of its factor is off, as a real. ``subtracted`` goes with
    it."""
    bias = entering.source.bias
    reals = np.zeros(1) if bias is None else bias
    values = (reals - subtracted) / units - entering.zero_points(zero_point)
    return float((Bias.nearest(values).errors(values) * np.abs(units)).max())


def _cannot_add(conversion: FunctionConversion, chain: Chain, reason: str) -> NoReturn:
    """Later layers are converted as if there were a range for an addition in a pass of its own.
    Raises: DiagnosticError, always."""
    assert chain.add is not None
    conversion.replaced.update(chain.operations)
    conversion.stand_in(chain.last)
    raise refused(
        chain.root.location,
        f"{describe(chain.root)}: {describe(chain.add)} cannot add in the same pass, since "
        f"{reason}, and there is no calibrated range for two; run 'import-calibration' first",
    )


@converts(nn.ScaleOp)
def convert_scale(op: nn.ScaleOp, conversion: FunctionConversion) -> Replacement:
    """The factors of the channels go into the multiplier; they may be negative or zero."""
    chain = grow_chain(op, conversion.in_memory, may_add=False)
    pipeline = conversion.pipeline_from_memory(op.input, chain)
    factors = conversion.reals(op, op.scale, "scale")
    bias = np.zeros(factors.size)
    if op.bias is not None:
        bias = conversion.reals(op, op.bias, "bias")
    pipeline.gains = factors
    return conversion.emit(pipeline, Source([LARGEST_INT8], bias), chain)


@converts(nn.BiasAddOp)
def convert_bias_add(op: nn.BiasAddOp, conversion: FunctionConversion) -> Replacement:
    """One number a channel, at whichever side of the factor holds it better."""
    chain = grow_chain(op, conversion.in_memory, may_add=False)
    pipeline = conversion.pipeline_from_memory(op.input, chain)
    bias = conversion.reals(op, op.bias, "bias")
    return conversion.emit(pipeline, Source([LARGEST_INT8], bias), chain)


@converts(nn.PReluOp)
def convert_prelu(op: nn.PReluOp, conversion: FunctionConversion) -> Replacement | None:
    """Slopes of a tensor in memory: behind a factor that makes places to round to."""
    if conversion.left_to_host(op):
        return None
    chain = Chain(op, leaky=op, operations=[op])
    pipeline = conversion.pipeline_from_memory(op.input, chain)
    return conversion.emit(pipeline, Source([LARGEST_INT8]), chain)


@converts(nn.ReluOp)
def convert_relu(op: nn.ReluOp, conversion: FunctionConversion) -> Replacement:
    """A ReLU of a tensor in memory."""
    chain = Chain(op, early_relu=op, operations=[op])
    pipeline = conversion.pipeline_from_memory(op.input, chain)
    return conversion.emit(pipeline, Source([LARGEST_INT8]), chain)


def chains_from_sum(op: nn.AddOp | nn.SubOp) -> Iterator[Chain]:
    """With the ReLU or slope that follows, if one does, and without."""
    user = follower(op)
    if isinstance(user, nn.LeakyReluOp | nn.PReluOp) and has_one_slope(user):
        yield Chain(op, add=op, leaky=user, operations=[op, user])
    if isinstance(user, nn.ReluOp):
        yield Chain(op, add=op, late_relu=user, operations=[op, user])
    yield Chain(op, add=op, operations=[op])


def moved_result(conversion: FunctionConversion, chain: Chain, moved: Value) -> Replacement:
    """``moved``, integers that are some of the operand's, as the result of ``chain``. They keep
    the operand's codes, unless the network has others for the result."""
    result = chain.last.results[0]
    if nn.is_fake_quantized(result.type):
        moved = requantized_to(conversion, moved, output_type(chain.last), chain)
    return chain.replaced_by(moved)


def requantized_to(
    conversion: FunctionConversion, stored: Value, output: UniformType, chain: Chain
) -> Value:
    """The int8 tensor ``stored`` in the codes of ``output``."""
    if nn.tensor_type(stored).element == output:
        return stored
    pipeline = conversion.pipeline_from(stored, chain)
    diagnostics = conversion.session.diagnostics
    return Epilogue(pipeline, Source([LARGEST_INT8]), chain, output, diagnostics).emit(None)


@converts(QuantizeCastOp)
def convert_cast(op: QuantizeCastOp, conversion: FunctionConversion) -> Value | None:
    """From the codes of what integers compute to those of the cast. What the host has in floats it
    casts itself."""
    if calibration_of(op.input) is None or conversion.find_stored(op.input) is None:
        return None
    stored, _ = conversion.stored(op.input, op)
    output = nn.tensor_type(op.output).element
    if not isinstance(output, UniformType) or output.storage.width != INT8_WIDTH:
        raise DiagnosticError.at(
            op.location, f"{describe(op)} makes '{output}', which is not int8 with one scale"
        )
    return requantized_to(conversion, stored, output, Chain(op, operations=[op]))


@converts(nn.NormalizeOp)
def convert_normalize(op: nn.NormalizeOp, conversion: FunctionConversion) -> Replacement | None:
    """The image's mean and scale go into the input converter. (quantization.md section 3, item
    6) What is no image the host brings to int8."""
    output = output_type(op)
    if len(nn.shape_of(op.input)) != IMAGE_RANK:
        conversion.quantize_on_host(op.output)
        return None
    if op.scale == 0:
        raise refused(op.location, f"{describe(op)} multiplies the image by 0")
    factor = fixed_point(op.scale / output.scale)
    exact = [mean - output.zero_point / factor.value for mean in op.mean]
    means = tuple(round_half_away(mean) for mean in exact)
    low, high = _MEAN_LIMITS
    unfit = [f"{mean:g}" for mean in exact if not low <= round_half_away(mean) <= high]
    if unfit:
        raise refused(
            op.location,
            f"{describe(op)}: the input converter subtracts {low} to {high}, not "
            f"{', '.join(unfit)} (the mean, and zero point {output.zero_point} of the output); "
            "check its calibrated range",
        )
    worst = max(abs(m - e) for m, e in zip(means, exact, strict=True)) * abs(factor.value)
    if worst > 0:
        conversion.session.diagnostics.remark(
            op.location,
            f"{describe(op)}: the input converter subtracts whole numbers, {list(means)} for "
            f"[{', '.join(f'{mean:g}' for mean in exact)}], off by up to {worst:.2g} of the "
            "output's unit",
        )
    chain = Chain(op, operations=[op])
    new = conversion.builder(chain).create(
        fixed.InputConverterOp,
        input=op.input,
        means=means,
        scale=factor.multiplier,
        truncate=factor.shift,
        layers=op.layers,
        result_types=[nn.tensor_type(op.output).with_element(output)],
    )
    return chain.replaced_by(new.output)
