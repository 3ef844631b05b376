"""Constants, and layers with weights."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from nvdla_ir.dialects.nn.base import NNOp, SameShapeOp
from nvdla_ir.dialects.nn.shapes import (
    ACTIVATION,
    channel_faults,
    like,
    rank_faults,
    shape_faults,
    shape_of,
    tensor_type,
    text_of,
    window_faults,
    window_shape,
)
from nvdla_ir.ir.attribute_kinds import ELEMENTS, FLOAT, FLOATS, INT, INTS
from nvdla_ir.ir.constraints import ANY_TENSOR, FLOAT_TENSOR, INTEGER_TENSOR
from nvdla_ir.ir.definition import (
    Op,
    attribute,
    operand,
    optional_operand,
    result,
)
from nvdla_ir.ir.traits import Pure
from nvdla_ir.ir.types import Type


class ConstantOp(Op):
    """``nn.constant value=dense_resource<conv1.weight> : tensor<…>``

    The result may be a quantized tensor: the elements are then its stored integers.
    """

    name = "nn.constant"
    traits = (Pure(),)
    elide_result_types = True
    verified_by_signature = True

    value = attribute(ELEMENTS)
    output = result(ANY_TENSOR)

    def infer_result_types(self) -> Sequence[Type] | None:
        return [self.value.type]

    def verify(self) -> Iterable[str]:
        return shape_faults(self.output, self.value.type.static_shape)


class NormalizeOp(NNOp):
    """``(pixel - mean) * scale``: what the network does first to uint8 images or other integers.

    ``mean`` has one number, or one a channel (axis 1).
    """

    name = "nn.normalize"
    traits = (Pure(),)

    input = operand(INTEGER_TENSOR)
    mean = attribute(FLOATS)
    scale = attribute(FLOAT)
    output = result(ACTIVATION)

    def verify(self) -> Iterable[str]:
        shape = tensor_type(self.input).shape
        channels = shape[1] if len(shape) > 1 else 1
        if len(self.mean) not in (1, channels):
            yield f"has {len(self.mean)} means, but it takes 1 or {channels}, one a channel"
        if tensor_type(self.output).shape != shape:
            yield "changes the shape"


class ConvOp(NNOp):
    """Convolution (cross-correlation): input NCHW, weight Kx(C/groups)xRxS, bias K.

    On quantized integers the products of stored numbers are summed exactly; where the input has
    a zero point, padding is that zero point, and the result's per-channel zero points say what
    the sum is too high by.
    """

    name = "nn.conv"
    traits = (Pure(),)

    input = operand(ACTIVATION)
    weight = operand(ACTIVATION)
    bias = optional_operand(ACTIVATION)
    strides = attribute(INTS, default=(1, 1))
    pads = attribute(INTS, default=(0, 0, 0, 0))
    dilations = attribute(INTS, default=(1, 1))
    groups = attribute(INT, default=1)
    output = result(ACTIVATION)

    def _output_shape(self) -> tuple[int, ...]:
        shape, weight = shape_of(self.input), shape_of(self.weight)
        height, width = window_shape(shape, weight[2:], self.strides, self.pads, self.dilations)
        return shape[0], weight[0], height, width

    def infer_result_types(self) -> Sequence[Type] | None:
        return like(self.input, self._output_shape())

    def verify(self) -> Iterable[str]:
        faults = [*rank_faults("input", self.input, 4), *rank_faults("weight", self.weight, 4)]
        faults += window_faults((1, 1), self.strides, self.pads, self.dilations)
        if faults:
            yield from faults
            return
        channels, weight = shape_of(self.input)[1], shape_of(self.weight)
        groups = self.groups
        if groups < 1 or channels % groups or weight[0] % groups:
            yield (
                f"has {groups} groups, which do not divide {channels} input and {weight[0]} "
                "output channels"
            )
        elif weight[1] * groups != channels:
            yield (
                f"has weights for {weight[1] * groups} input channels, but the input has {channels}"
            )
        expected = self._output_shape()
        if min(expected) < 1:
            yield f"has a kernel {text_of(weight[2:])} larger than its padded input"
        if self.bias is not None:
            yield from channel_faults("bias", self.bias, weight[0])
        yield from shape_faults(self.output, expected)


class ConvTransposeOp(NNOp):
    """Transposed convolution, as ONNX's ConvTranspose: input NCHW, weight Cx(K/groups)xRxS, bias K.

    Each input element adds its multiple of the kernel to the output, ``strides`` apart; then
    ``pads`` rows and columns are cut off. ``output_padding`` adds rows and columns at the bottom
    and at the right. Along an axis the result has
    ``stride * (size - 1) + output_padding + (taps - 1) * dilation + 1 - pads`` elements.
    """

    name = "nn.conv_transpose"
    traits = (Pure(),)

    input = operand(ACTIVATION)
    weight = operand(ACTIVATION)
    bias = optional_operand(ACTIVATION)
    strides = attribute(INTS, default=(1, 1))
    pads = attribute(INTS, default=(0, 0, 0, 0))
    output_padding = attribute(INTS, default=(0, 0))
    dilations = attribute(INTS, default=(1, 1))
    groups = attribute(INT, default=1)
    output = result(ACTIVATION)

    def _output_shape(self) -> tuple[int, ...]:
        shape, weight = shape_of(self.input), shape_of(self.weight)
        height, width = (
            self.strides[axis] * (shape[2 + axis] - 1)
            + self.output_padding[axis]
            + (weight[2 + axis] - 1) * self.dilations[axis]
            + 1
            - self.pads[axis]
            - self.pads[2 + axis]
            for axis in (0, 1)
        )
        return shape[0], weight[1] * self.groups, height, width

    def infer_result_types(self) -> Sequence[Type] | None:
        return like(self.input, self._output_shape())

    def verify(self) -> Iterable[str]:
        faults = [*rank_faults("input", self.input, 4), *rank_faults("weight", self.weight, 4)]
        faults += window_faults((1, 1), self.strides, self.pads, self.dilations)
        faults += self._output_padding_faults()
        if faults:
            yield from faults
            return
        channels, weight = shape_of(self.input)[1], shape_of(self.weight)
        if self.groups < 1 or channels % self.groups:
            yield f"has {self.groups} groups, which do not divide {channels} input channels"
        elif weight[0] != channels:
            yield f"has weights for {weight[0]} input channels, but the input has {channels}"
        expected = self._output_shape()
        if min(expected[2:]) < 1:
            yield f"has 'pads = {list(self.pads)}', which cut off all of its result"
        if self.bias is not None:
            yield from channel_faults("bias", self.bias, expected[1])
        yield from shape_faults(self.output, expected)

    def _output_padding_faults(self) -> Iterable[str]:
        padding = self.output_padding
        if len(padding) != 2:
            yield f"has 'output_padding' of {len(padding)} numbers, but it takes 2"
        elif min(padding) < 0 or any(
            p >= max(s, d) for p, s, d in zip(padding, self.strides, self.dilations, strict=False)
        ):
            yield (
                f"has 'output_padding = {list(padding)}', but each must be at least 0 and smaller "
                "than the stride or the dilation"
            )


class FullyConnectedOp(NNOp):
    """Input NxC (or NxCxHxW, read as Nx(C·H·W)), weight KxC, bias K."""

    name = "nn.fully_connected"
    traits = (Pure(),)

    input = operand(ACTIVATION)
    weight = operand(ACTIVATION)
    bias = optional_operand(ACTIVATION)
    output = result(ACTIVATION)

    def infer_result_types(self) -> Sequence[Type] | None:
        return like(self.input, (shape_of(self.input)[0], shape_of(self.weight)[0]))

    def verify(self) -> Iterable[str]:
        faults = list(rank_faults("weight", self.weight, 2))
        shape = tensor_type(self.input).shape
        if len(shape) < 2 or not tensor_type(self.input).has_static_shape:
            faults.append(f"has operand 'input' of shape {text_of(shape)}, but it takes NxC")
        if faults:
            yield from faults
            return
        outputs, inputs = shape_of(self.weight)
        features = math.prod(shape_of(self.input)[1:])
        if features != inputs:
            yield f"has weights for {inputs} inputs, but the input has {features}"
        if self.bias is not None:
            yield from channel_faults("bias", self.bias, outputs)
        yield from shape_faults(self.output, (shape_of(self.input)[0], outputs))


class BatchNormOp(SameShapeOp):
    """``gamma * (x - mean) / sqrt(variance + epsilon) + beta`` for each channel."""

    name = "nn.batch_norm"
    traits = (Pure(),)

    input = operand(ACTIVATION)
    gamma = operand(FLOAT_TENSOR)
    beta = operand(FLOAT_TENSOR)
    mean = operand(FLOAT_TENSOR)
    variance = operand(FLOAT_TENSOR)
    epsilon = attribute(FLOAT, default=1e-5)
    output = result(ACTIVATION)

    def verify(self) -> Iterable[str]:
        yield from super().verify()
        for name in ("gamma", "beta", "mean", "variance"):
            yield from channel_faults(name, getattr(self, name), self.channels())
        if self.epsilon < 0:
            yield f"has 'epsilon = {self.epsilon}', but it must not be negative"


class ScaleOp(SameShapeOp):
    """``x * scale + bias`` for each channel."""

    name = "nn.scale"
    traits = (Pure(),)

    input = operand(ACTIVATION)
    scale = operand(FLOAT_TENSOR)
    bias = optional_operand(FLOAT_TENSOR)
    output = result(ACTIVATION)

    def verify(self) -> Iterable[str]:
        yield from super().verify()
        yield from channel_faults("scale", self.scale, self.channels())
        if self.bias is not None:
            yield from channel_faults("bias", self.bias, self.channels())


class BiasAddOp(SameShapeOp):
    """``x + bias`` for each channel."""

    name = "nn.bias_add"
    traits = (Pure(),)

    input = operand(ACTIVATION)
    bias = operand(FLOAT_TENSOR)
    output = result(ACTIVATION)

    def verify(self) -> Iterable[str]:
        yield from super().verify()
        yield from channel_faults("bias", self.bias, self.channels())
