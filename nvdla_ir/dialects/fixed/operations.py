"""Fixed-point arithmetic on stored integers: converters, the steps of the 32-bit pipeline between
them, and means.

Each operation is one step that the hardware does bit for bit; ``insert-converters`` makes them,
``legalize-to-nvdla`` gathers them into hardware layers. ``rha`` rounds half away from zero.
"""

from __future__ import annotations

from collections.abc import Iterable

from nvdla_ir.dialects.layer import LayerOp
from nvdla_ir.dialects.nn.base import SameShapeOp
from nvdla_ir.dialects.nn.pooling import PoolOp
from nvdla_ir.dialects.nn.shapes import (
    rank_faults,
    shape_faults,
    shape_of,
    tensor_type,
    text_of,
)
from nvdla_ir.dialects.nvdla.look_up_tables import LUT
from nvdla_ir.dialects.nvdla.memory_units import CDP_LIMITS, CDP_WINDOWS
from nvdla_ir.dialects.quant import (
    QUANTIZED_TENSOR,
    QuantizedType,
)
from nvdla_ir.ir.attribute_kinds import FLOAT, INT, INTS
from nvdla_ir.ir.constraints import INTEGER_TENSOR, TypeConstraint, tensor_of
from nvdla_ir.ir.definition import (
    attribute,
    operand,
    optional_attribute,
    optional_operand,
    result,
)
from nvdla_ir.ir.operation import Value
from nvdla_ir.ir.traits import Pure


def _stored_in(width: int) -> TypeConstraint:
    return tensor_of(
        f"quantized integers of {width} bits",
        lambda element: isinstance(element, QuantizedType) and element.storage.width == width,
    )


PIPELINE_TENSOR = _stored_in(32)
INT8_TENSOR = _stored_in(8)


def _operand_faults(name: str, operand_: Value, input_: Value) -> Iterable[str]:
    """A per-channel or a per-element operand is what the hardware can fetch."""
    shape, extents = tensor_type(operand_).shape, shape_of(input_)
    if len(extents) < 2:
        yield f"has an input of shape {text_of(extents)}, which has no channels"
    elif shape not in ((extents[1],), (1, extents[1], 1, 1), extents):
        yield (
            f"has '{name}' of shape {text_of(shape)}, but it takes one a channel ({extents[1]}) "
            f"or one an element ({text_of(extents)})"
        )


def _range_faults(name: str, value: int, low: int, high: int) -> Iterable[str]:
    if not low <= value <= high:
        yield f"has '{name} = {value}', but it must be from {low} to {high}"


class _FixedOp(LayerOp):
    """An operation on stored integers."""

    verified_by_signature = True


class InputConverterOp(_FixedOp):
    """``sat8(rha((pixel - mean) * scale, truncate))``: pixels as they come into int8.

    ``means`` has one number, or one a channel, of 16 bits; so has ``scale``. (convolution.md
    section 3.2)
    """

    name = "fixed.input_converter"
    traits = (Pure(),)

    input = operand(INTEGER_TENSOR)
    means = attribute(INTS)
    scale = attribute(INT)
    truncate = attribute(INT)
    output = result(INT8_TENSOR)

    def verify(self) -> Iterable[str]:
        faults = list(rank_faults("input", self.input, 4))
        if faults:
            yield from faults
            return
        channels = shape_of(self.input)[1]
        if len(self.means) not in (1, channels):
            yield f"has {len(self.means)} means, but it takes 1 or {channels}, one a channel"
        for mean in self.means:
            yield from _range_faults("means", mean, -(1 << 15), (1 << 15) - 1)
        yield from _range_faults("scale", self.scale, -(1 << 15), (1 << 15) - 1)
        yield from _range_faults("truncate", self.truncate, 0, 63)
        yield from shape_faults(self.output, shape_of(self.input))


class ShiftAddOp(_FixedOp):
    """``input + sat32(operand << shift)`` in 33 bits: bias and residual operands.

    A ``fixed.rescale`` that follows reads all 33 bits, as the multiplier of the same unit does; any
    other step reads them saturated to 32.

    The operand is a tensor (one a channel, also as 1xCx1x1, or one an element, of 8 or 16 bits) or
    ``value``, one number of 16 bits for all. (sdp.md section 4, ALU)
    """

    name = "fixed.shift_add"
    traits = (Pure(),)

    input = operand(QUANTIZED_TENSOR)
    addend = optional_operand(QUANTIZED_TENSOR)
    value = optional_attribute(INT)
    shift = attribute(INT, default=0)
    output = result(PIPELINE_TENSOR)

    def verify(self) -> Iterable[str]:
        if (self.addend is None) == (self.value is None):
            yield "takes either an operand 'addend' or an attribute 'value'"
        if self.addend is not None:
            yield from _operand_faults("addend", self.addend, self.input)
        if self.value is not None:
            yield from _range_faults("value", self.value, -(1 << 15), (1 << 15) - 1)
        yield from _range_faults("shift", self.shift, 0, 63)
        yield from shape_faults(self.output, shape_of(self.input))


class _MultiplyOp(_FixedOp):
    """What the multiplier of BS or BN does. The multiplier is a tensor (one a channel, 16 bits) or
    ``value``, one for all. (sdp.md section 4, MUL)"""

    input = operand(QUANTIZED_TENSOR)
    multiplier = optional_operand(INTEGER_TENSOR)
    value = optional_attribute(INT)
    shift = attribute(INT)
    output = result(PIPELINE_TENSOR)

    def verify(self) -> Iterable[str]:
        if (self.multiplier is None) == (self.value is None):
            yield "takes either an operand 'multiplier' or an attribute 'value'"
        if self.multiplier is not None:
            yield from _operand_faults("multiplier", self.multiplier, self.input)
        if self.value is not None:
            yield from _range_faults("value", self.value, -(1 << 15), (1 << 15) - 1)
        yield from _range_faults("shift", self.shift, 0, 63)
        yield from shape_faults(self.output, shape_of(self.input))


class RescaleOp(_MultiplyOp):
    """``sat32(rha(input * multiplier, shift))``: per-channel output converters, and bringing the
    accumulator to the scale of a residual operand. (sdp.md section 4, MUL)
    """

    name = "fixed.rescale"
    traits = (Pure(),)


class PReluOp(_MultiplyOp):
    """``input`` where it is positive or 0, else ``sat32(rha(input * multiplier, shift))``: of the
    same scale, with the zero point 0.

    What a ``fixed.shift_add`` hands over has 33 bits; positive, it keeps 32 of them. (sdp.md
    section 4, MUL)
    """

    name = "fixed.prelu"
    traits = (Pure(),)


class OutputConverterOp(_FixedOp):
    """``sat8(rha((input - offset) * scale, shift))``: the way out of the 32-bit pipeline.
    (sdp.md section 7)"""

    name = "fixed.output_converter"
    traits = (Pure(),)

    input = operand(QUANTIZED_TENSOR)
    offset = attribute(INT, default=0)
    scale = attribute(INT, default=1)
    shift = attribute(INT, default=0)
    output = result(INT8_TENSOR)

    def verify(self) -> Iterable[str]:
        yield from _range_faults("offset", self.offset, -(1 << 31), (1 << 31) - 1)
        yield from _range_faults("scale", self.scale, -(1 << 15), (1 << 15) - 1)
        yield from _range_faults("shift", self.shift, 0, 63)
        yield from shape_faults(self.output, shape_of(self.input))


class AveragePoolOp(PoolOp):
    """The mean of each window with its padding, which counts as the zero point:
    ``sat8(rha(rha(sum * width, 16) * height, 16))``.

    ``reciprocals`` are the factors of the divider, height and width, in units of 2^-16; with the
    height's, the output's scale is made. (pdp.md section 3)
    """

    name = "fixed.average_pool"
    traits = (Pure(),)

    input = operand(INT8_TENSOR)
    reciprocals = attribute(INTS)
    output = result(INT8_TENSOR)

    def verify(self) -> Iterable[str]:
        yield from super().verify()
        if len(self.reciprocals) != 2:
            yield f"has {len(self.reciprocals)} reciprocals, but it takes 2: height and width"
        if any(self.ceil_extension):
            yield "has a 'ceil_extension', but it divides by the whole window"


class LrnOp(SameShapeOp):
    """Local response normalization (``nn.lrn``) by look-up tables: ``sat8(rha((c * table(s) -
    output_offset) * output_scale, output_shift))``, where ``c`` is ``input - input_offset``, and
    ``s`` the sum of the squares of ``c`` over ``size`` channels. (cdp.md section 2)

    ``tables`` hold ``(k + alpha / size * sum(x^2)) ^ -beta`` of the reals.
    """

    name = "fixed.lrn"
    traits = (Pure(),)

    input = operand(INT8_TENSOR)
    size = attribute(INT)
    alpha = attribute(FLOAT)
    beta = attribute(FLOAT)
    k = attribute(FLOAT)
    input_offset = attribute(INT, default=0)
    output_offset = attribute(INT, default=0)
    output_scale = attribute(INT, default=1)
    output_shift = attribute(INT, default=0)
    tables = attribute(LUT)
    output = result(INT8_TENSOR)

    def verify(self) -> Iterable[str]:
        yield from super().verify()
        if self.size not in CDP_WINDOWS:
            sizes = ", ".join(map(str, CDP_WINDOWS))
            yield f"has 'size = {self.size}', but it must be one of {sizes}"
        for name in ("input_offset", "output_offset", "output_scale", "output_shift"):
            yield from _range_faults(name, getattr(self, name), *CDP_LIMITS[name])
