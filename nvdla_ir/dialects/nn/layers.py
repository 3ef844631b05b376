"""Layers with weights, and elementwise and structural layers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from nvdla_ir.dialects.nn.base import NNOp
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
    variadic_operand,
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

    value = attribute(ELEMENTS)
    output = result(ANY_TENSOR)

    def infer_result_types(self) -> Sequence[Type] | None:
        return [self.value.type]

    def verify(self) -> Iterable[str]:
        return shape_faults(self.output, self.value.type.static_shape)


class NormalizeOp(NNOp):
    """``(pixel - mean) * scale``: what the network does to its uint8 image first.

    ``mean`` has one number, or one a channel.
    """

    name = "nn.normalize"
    traits = (Pure(),)

    input = operand(INTEGER_TENSOR)
    mean = attribute(FLOATS)
    scale = attribute(FLOAT)
    output = result(ACTIVATION)

    def verify(self) -> Iterable[str]:
        yield from rank_faults("input", self.input, 4)
        shape = tensor_type(self.input).shape
        if len(shape) == 4 and len(self.mean) not in (1, shape[1]):
            yield f"has {len(self.mean)} means, but it takes 1 or {shape[1]}, one a channel"
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


class _SameShapeOp(NNOp):
    """The result has the shape of the first operand."""

    def infer_result_types(self) -> Sequence[Type] | None:
        return like(self.operands[0], shape_of(self.operands[0]))

    def verify(self) -> Iterable[str]:
        shape = tensor_type(self.operands[0]).shape
        yield from shape_faults(self.results[0], [e if e is not None else -1 for e in shape])

    def _channels(self) -> int:
        shape = shape_of(self.operands[0])
        return shape[min(1, len(shape) - 1)]


class BatchNormOp(_SameShapeOp):
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
            yield from channel_faults(name, getattr(self, name), self._channels())
        if self.epsilon < 0:
            yield f"has 'epsilon = {self.epsilon}', but it must not be negative"


class ScaleOp(_SameShapeOp):
    """``x * scale + bias`` for each channel."""

    name = "nn.scale"
    traits = (Pure(),)

    input = operand(ACTIVATION)
    scale = operand(FLOAT_TENSOR)
    bias = optional_operand(FLOAT_TENSOR)
    output = result(ACTIVATION)

    def verify(self) -> Iterable[str]:
        yield from super().verify()
        yield from channel_faults("scale", self.scale, self._channels())
        if self.bias is not None:
            yield from channel_faults("bias", self.bias, self._channels())


class BiasAddOp(_SameShapeOp):
    """``x + bias`` for each channel."""

    name = "nn.bias_add"
    traits = (Pure(),)

    input = operand(ACTIVATION)
    bias = operand(FLOAT_TENSOR)
    output = result(ACTIVATION)

    def verify(self) -> Iterable[str]:
        yield from super().verify()
        yield from channel_faults("bias", self.bias, self._channels())


class ReluOp(_SameShapeOp):
    """``max(x, 0)``"""

    name = "nn.relu"
    traits = (Pure(),)

    input = operand(ACTIVATION)
    output = result(ACTIVATION)


class AddOp(_SameShapeOp):
    """``lhs + rhs`` of equal shapes: a residual connection."""

    name = "nn.add"
    traits = (Pure(),)

    lhs = operand(ACTIVATION)
    rhs = operand(ACTIVATION)
    output = result(ACTIVATION)

    def verify(self) -> Iterable[str]:
        left, right = tensor_type(self.lhs).shape, tensor_type(self.rhs).shape
        if left != right:
            yield f"adds shapes {text_of(left)} and {text_of(right)}, which must be equal"
        yield from super().verify()


class ConcatOp(NNOp):
    """The inputs one after another along ``axis``."""

    name = "nn.concat"
    traits = (Pure(),)

    inputs = variadic_operand(ACTIVATION, minimum=1)
    axis = attribute(INT, default=1)
    output = result(ACTIVATION)

    def _output_shape(self) -> tuple[int, ...]:
        shapes = [shape_of(value) for value in self.inputs]
        axis = self.axis
        total = sum(shape[axis] for shape in shapes)
        return (*shapes[0][:axis], total, *shapes[0][axis + 1 :])

    def infer_result_types(self) -> Sequence[Type] | None:
        return like(self.inputs[0], self._output_shape())

    def verify(self) -> Iterable[str]:
        shapes = [shape_of(value) for value in self.inputs]
        axis = self.axis
        if not 0 <= axis < len(shapes[0]):
            yield f"has 'axis = {axis}', but its inputs have {len(shapes[0])} dimensions"
            return
        for shape in shapes[1:]:
            if len(shape) != len(shapes[0]) or any(
                a != b for i, (a, b) in enumerate(zip(shape, shapes[0], strict=True)) if i != axis
            ):
                yield (
                    f"joins shapes {text_of(shapes[0])} and {text_of(shape)}, which may differ "
                    f"along axis {axis} only"
                )
                return
        yield from shape_faults(self.output, self._output_shape())


class ViewOp(NNOp):
    """The same elements in row-major order under another shape: nothing is computed."""

    input = operand(ACTIVATION)
    output = result(ACTIVATION)


class ReshapeOp(ViewOp):
    """The same elements in row-major order under another shape."""

    name = "nn.reshape"
    traits = (Pure(),)

    def verify(self) -> Iterable[str]:
        source, target = tensor_type(self.input), tensor_type(self.output)
        if source.element_count != target.element_count:
            yield (
                f"makes {target.element_count} elements ('{target}') of {source.element_count} "
                f"('{source}')"
            )


class FlattenOp(ViewOp):
    """All dimensions from ``axis`` on become one."""

    name = "nn.flatten"
    traits = (Pure(),)

    axis = attribute(INT, default=1)

    def _output_shape(self) -> tuple[int, ...]:
        shape = shape_of(self.input)
        return (*shape[: self.axis], math.prod(shape[self.axis :]))

    def infer_result_types(self) -> Sequence[Type] | None:
        return like(self.input, self._output_shape())

    def verify(self) -> Iterable[str]:
        rank = len(shape_of(self.input))
        if not 0 <= self.axis < rank:
            yield f"has 'axis = {self.axis}', but its input has {rank} dimensions"
            return
        yield from shape_faults(self.output, self._output_shape())


class SoftmaxOp(_SameShapeOp):
    """``exp(x) / sum(exp(x))`` along ``axis``: runs on the host, in floats."""

    name = "nn.softmax"
    traits = (Pure(),)

    input = operand(ACTIVATION)
    axis = attribute(INT, default=1)
    output = result(FLOAT_TENSOR)

    def verify(self) -> Iterable[str]:
        yield from super().verify()
        rank = len(shape_of(self.input))
        if not 0 <= self.axis < rank:
            yield f"has 'axis = {self.axis}', but its input has {rank} dimensions"


class PowerOp(_SameShapeOp):
    """``(shift + scale * x) ** power``: runs on the host, in floats."""

    name = "nn.power"
    traits = (Pure(),)

    input = operand(ACTIVATION)
    power = attribute(FLOAT, default=1.0)
    scale = attribute(FLOAT, default=1.0)
    shift = attribute(FLOAT, default=0.0)
    output = result(FLOAT_TENSOR)
