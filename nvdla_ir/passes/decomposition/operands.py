"""Second operands that the hardware does not repeat, as tensors that it reads."""

from __future__ import annotations

from nvdla_ir.dialects import nn
from nvdla_ir.dialects.quant import UniformType
from nvdla_ir.hardware.convolution_limits import LARGEST_KERNEL
from nvdla_ir.ir.operation import Value
from nvdla_ir.ir.rewriter import PatternRewriter, RewritePattern
from nvdla_ir.ir.types import TensorType, Type
from nvdla_ir.passes.decomposition.parts import CHANNELS, COLUMNS, ROWS, Parts

_VECTOR_RANK, _LINE_RANK, _IMAGE_RANK = 2, 3, 4


class RepeatedOperand(RewritePattern[nn.BinaryOp]):
    """A tensor of one channel, or of one row or column, that meets several of the first operand's:
    a convolution with ones, each of whose results is one of its elements. Tensors of one number a
    channel stay, since the hardware reads such."""

    root = nn.BinaryOp

    def match_and_rewrite(self, op: nn.BinaryOp, rewriter: PatternRewriter) -> bool:
        shape, own = nn.shape_of(op.lhs), nn.shape_of(op.rhs)
        if (
            isinstance(op.rhs.defining_operation, nn.ConstantOp)
            or rewriter.tensors is None
            or len(shape) != len(own)
            or own == shape
            or own[0] != shape[0]
        ):
            return False
        parts = Parts(op, rewriter, op.layers)
        if len(shape) == _VECTOR_RANK:
            repeated = _vector(parts, op.rhs, shape[1])
        elif len(shape) == _IMAGE_RANK and own[1:] != (shape[1], 1, 1):
            repeated = _image(parts, op.rhs, shape)
        else:
            return False
        op.set_operand(1, repeated)
        return True


class LinesAsImages(RewritePattern[nn.BinaryOp]):
    """Lines (NxCxW) with a second operand that is repeated along one, as images of one row."""

    root = nn.BinaryOp

    def match_and_rewrite(self, op: nn.BinaryOp, rewriter: PatternRewriter) -> bool:
        shape, own = nn.shape_of(op.lhs), nn.shape_of(op.rhs)
        if len(shape) != _LINE_RANK or len(own) != _LINE_RANK or own == shape:
            return False
        parts = Parts(op, rewriter, op.layers)
        left = _as_image(parts, op.lhs)
        constant = isinstance(op.rhs.defining_operation, nn.ConstantOp)
        if constant and rewriter.tensors is None:
            return False
        right = (
            parts.constant(parts.numbers(op.rhs).reshape(_image_shape(own)), "operand")
            if constant
            else _as_image(parts, op.rhs)
        )
        element = nn.tensor_type(op.output).element
        image = parts.create(type(op), element, lhs=left, rhs=right)
        parts.replace(parts.create(nn.ReshapeOp, input=image, result_types=[op.output.type]))
        return True


def _as_image(parts: Parts, value: Value) -> Value:
    type = TensorType(_image_shape(nn.shape_of(value)), nn.tensor_type(value).element)
    return parts.create(nn.ReshapeOp, input=value, result_types=[type])


def _image_shape(line: tuple[int, ...]) -> tuple[int, ...]:
    return (*line[:2], 1, line[2])


def _vector(parts: Parts, value: Value, size: int) -> Value:
    import numpy as np

    ones = parts.constant(np.ones((size, 1)), "ones", 1.0)
    return parts.create(nn.FullyConnectedOp, _grid(value), input=value, weight=ones)


def _grid(value: Value) -> Type:
    """The codes of ``value``, as those that a layer computes."""
    element = nn.tensor_type(value).element
    return nn.FakeQuantizedType.of(element) if isinstance(element, UniformType) else element


def _image(parts: Parts, value: Value, shape: tuple[int, ...]) -> Value:
    """``value`` in as many channels, rows and columns as ``shape`` has. A single row among padding
    is all that a kernel of as many rows as are wanted sees, wherever it stands."""
    import numpy as np

    channels, *extents = nn.shape_of(value)[1:]
    if extents == [1, 1]:
        wanted = [1, 1]  # one a channel is read as it is
    else:
        wanted = [
            min(size, LARGEST_KERNEL) if extent < size else 1
            for extent, size in zip(extents, shape[2:], strict=True)
        ]
    kernel = np.ones((shape[1], 1, *wanted))
    before = [size - 1 for size in wanted]
    repeated = parts.create(
        nn.ConvOp,
        _grid(value),
        input=value,
        weight=parts.constant(kernel, "ones", 1.0),
        pads=(*before, *before),
        groups=channels,
    )
    if extents == [1, 1]:
        return repeated
    for axis, size in ((ROWS, shape[ROWS]), (COLUMNS, shape[COLUMNS])):
        found = nn.shape_of(repeated)[axis]
        repeated = parts.sliced(parts.joined([repeated] * -(-size // found), axis), axis, 0, size)
    return repeated


class ConstantChannels(RewritePattern[nn.ConcatOp]):
    """Channels of one number each beside computed ones: a convolution that moves these, and whose
    bias are those."""

    root = nn.ConcatOp

    def match_and_rewrite(self, op: nn.ConcatOp, rewriter: PatternRewriter) -> bool:
        import numpy as np

        constant = [isinstance(value.defining_operation, nn.ConstantOp) for value in op.inputs]
        if (
            op.axis != CHANNELS
            or len(nn.shape_of(op.output)) != _IMAGE_RANK
            or not any(constant)
            or all(constant)
            or rewriter.tensors is None
        ):
            return False
        parts = Parts(op, rewriter, op.layers)
        computed = [value for value, known in zip(op.inputs, constant, strict=True) if not known]
        channels, inputs = nn.shape_of(op.output)[1], sum(nn.shape_of(v)[1] for v in computed)
        kernels, bias = np.zeros((channels, inputs, 1, 1)), np.zeros(channels)
        begin = taken = 0
        for value, known in zip(op.inputs, constant, strict=True):
            size = nn.shape_of(value)[1]
            if known:
                numbers = parts.numbers(value)
                if (numbers != numbers[:1, :, :1, :1]).any():
                    return False
                bias[begin : begin + size] = numbers[0, :, 0, 0]
            else:
                kernels[range(begin, begin + size), range(taken, taken + size)] = 1
                taken += size
            begin += size
        element = nn.tensor_type(op.output).element
        source = computed[0]
        if len(computed) > 1:
            source = parts.create(nn.ConcatOp, element, inputs=computed, axis=CHANNELS)
        parts.replace(
            parts.create(
                nn.ConvOp,
                element,
                input=source,
                weight=parts.constant(kernels, "ones", 1.0),
                bias=parts.constant(bias, "bias"),
            )
        )
        return True
