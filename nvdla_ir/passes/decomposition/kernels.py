"""Kernels and strides that the hardware does not have."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from nvdla_ir.dialects import nn
from nvdla_ir.dialects.layer import LayerOp
from nvdla_ir.dialects.nn.shapes import is_same_cube
from nvdla_ir.dialects.quant import UniformPerAxisType
from nvdla_ir.hardware.convolution_limits import (
    LARGEST_DILATION,
    LARGEST_KERNEL,
    LARGEST_PADS,
    LARGEST_STRIDE,
)
from nvdla_ir.hardware.pdp import LARGEST_STRIDE as LARGEST_POOLING_STRIDE
from nvdla_ir.hw.formats.pooling import LARGEST_POOLING_KERNEL
from nvdla_ir.ir.operation import Value
from nvdla_ir.ir.rewriter import PatternRewriter, RewritePattern
from nvdla_ir.ir.types import Type
from nvdla_ir.passes.decomposition.parts import CHANNELS, ROWS, Parts

if TYPE_CHECKING:
    from numpy.typing import NDArray

_RANK = 4
_KERNEL_BYTES = 1 << 13
# In the order of an operation's pads.
_LARGEST_PADS = tuple(min(LARGEST_PADS) for _ in LARGEST_PADS)


def _is_large(op: nn.ConvOp) -> bool:
    """Whether the kernel is larger, or its taps are farther apart, than the hardware takes."""
    taps = nn.shape_of(op.weight)[2:]
    return any(
        count > LARGEST_KERNEL or (count > 1 and dilation > LARGEST_DILATION)
        for count, dilation in zip(taps, op.dilations, strict=True)
    )


class LargeKernel(RewritePattern[nn.ConvOp]):
    """The parts of a large kernel become kernels of more channels, which are the input as each
    part sees it, one behind the other. All is summed in one go, as before. Taps that are far apart
    are parts of their own."""

    root = nn.ConvOp

    def match_and_rewrite(self, op: nn.ConvOp, rewriter: PatternRewriter) -> bool:
        import numpy as np

        constant = op.weight.defining_operation
        taps = nn.shape_of(op.weight)[2:]
        if (
            not _is_large(op)
            or op.groups != 1
            or rewriter.tensors is None
            or not isinstance(constant, nn.ConstantOp)
        ):
            return False
        weights = np.asarray(rewriter.tensors.elements(constant.value, constant.location))
        counts = [
            -(-size // LARGEST_KERNEL) if dilation <= LARGEST_DILATION else size
            for size, dilation in zip(taps, op.dilations, strict=True)
        ]
        sizes = [-(-size // count) for size, count in zip(taps, counts, strict=True)]
        spare = [count * size - tap for count, size, tap in zip(counts, sizes, taps, strict=True)]
        weights = np.pad(weights, ((0, 0), (0, 0), (0, spare[0]), (0, spare[1])))
        parts = Parts(op, rewriter, op.layers)
        outputs, shape = nn.shape_of(op.output)[2:], nn.shape_of(op.input)[2:]
        # What the last part reads, spare taps included.
        pads = [*op.pads]
        for axis in (0, 1):
            reach = (outputs[axis] - 1) * op.strides[axis]
            reach += (counts[axis] * sizes[axis] - 1) * op.dilations[axis] + 1
            pads[2 + axis] = max(op.pads[2 + axis], reach - op.pads[axis] - shape[axis])
        source = op.input
        if any(pads):
            source = parts.create(nn.PadOp, input=source, pads=pads)
        seen: list[Value] = []
        kernels: list[NDArray[Any]] = []
        for row in range(counts[0]):
            for column in range(counts[1]):
                value = source
                for axis, index in ((0, row), (1, column)):
                    begin = index * sizes[axis] * op.dilations[axis]
                    reach = (outputs[axis] - 1) * op.strides[axis]
                    reach += (sizes[axis] - 1) * op.dilations[axis] + 1
                    value = parts.sliced(value, ROWS + axis, begin, begin + reach)
                seen.append(value)
                rows = slice(row * sizes[0], (row + 1) * sizes[0])
                columns = slice(column * sizes[1], (column + 1) * sizes[1])
                kernels.append(weights[:, :, rows, columns])
        element = nn.tensor_type(op.weight).element
        parts.replace(
            parts.create(
                nn.ConvOp,
                nn.tensor_type(op.output).element,
                input=parts.joined(seen, 1),
                weight=parts.stored(np.concatenate(kernels, axis=1), "weight", element),
                bias=op.bias,
                strides=op.strides,
                dilations=[
                    dilation if size > 1 else 1
                    for dilation, size in zip(op.dilations, sizes, strict=True)
                ],
            )
        )
        return True


class LargeGroupedKernel(RewritePattern[nn.ConvOp]):
    """Groups of large kernels: some groups at a time become dense kernels, with zeros where a
    kernel is of another group; ``LargeKernel`` divides these."""

    root = nn.ConvOp

    def match_and_rewrite(self, op: nn.ConvOp, rewriter: PatternRewriter) -> bool:
        import numpy as np

        constant = op.weight.defining_operation
        kernels, inputs, *taps = nn.shape_of(op.weight)
        if (
            not _is_large(op)
            or op.groups == 1
            or rewriter.tensors is None
            or not isinstance(constant, nn.ConstantOp)
        ):
            return False
        weights = np.asarray(rewriter.tensors.elements(constant.value, constant.location))
        element = nn.tensor_type(op.weight).element
        outputs = kernels // op.groups
        count = groups_at_a_time(inputs * math.prod(taps))
        parts = Parts(op, rewriter, op.layers)
        results: list[Value] = []
        for first in range(0, op.groups, count):
            end = min(first + count, op.groups)
            dense = np.zeros(
                ((end - first) * outputs, (end - first) * inputs, *taps), weights.dtype
            )
            for group in range(end - first):
                rows = slice(group * outputs, (group + 1) * outputs)
                own = slice((first + group) * outputs, (first + group + 1) * outputs)
                dense[rows, group * inputs : (group + 1) * inputs] = weights[own]
            kernels_of_part = slice(first * outputs, end * outputs)
            results.append(
                parts.create(
                    nn.ConvOp,
                    nn.tensor_type(op.output).element,
                    input=parts.sliced(op.input, CHANNELS, first * inputs, end * inputs),
                    weight=parts.stored(dense, "weight", _of_kernels(element, kernels_of_part)),
                    bias=_bias_of(op, kernels_of_part, parts),
                    strides=op.strides,
                    pads=op.pads,
                    dilations=op.dilations,
                )
            )
        parts.replace(parts.joined(results, CHANNELS))
        return True


def groups_at_a_time(kernel_bytes: int) -> int:
    """How many groups of kernels of ``kernel_bytes`` become dense kernels that fit beside each
    other into the smallest buffer."""
    return max(1, _KERNEL_BYTES // kernel_bytes)


def _of_kernels(element: Type, kernels: slice) -> Type:
    """The type of some of the weights of type ``element``."""
    if not isinstance(element, UniformPerAxisType):
        return element
    return UniformPerAxisType(
        element.storage,
        element.expressed,
        element.axis,
        element.scales[kernels],
        element.zero_points[kernels],
    )


def _bias_of(op: nn.ConvOp, kernels: slice, parts: Parts) -> Value | None:
    if op.bias is None:
        return None
    return parts.constant(parts.numbers(op.bias)[kernels], "bias")


class LargePads(RewritePattern[LayerOp]):
    """Pads above the largest, ahead of the layer that has them."""

    root = LayerOp

    def match_and_rewrite(self, op: LayerOp, rewriter: PatternRewriter) -> bool:
        if not isinstance(op, nn.ConvOp | nn.PadOp) or not any(
            pad > largest for pad, largest in zip(op.pads, _LARGEST_PADS, strict=True)
        ):
            return False
        parts = Parts(op, rewriter, op.layers)
        kept = [min(pad, largest) for pad, largest in zip(op.pads, _LARGEST_PADS, strict=True)]
        ahead = [pad - own for pad, own in zip(op.pads, kept, strict=True)]
        moved: dict[str, Any] = {}
        if isinstance(op, nn.PadOp):
            moved = {"mode": op.mode, "value": op.value}
        if moved.get("mode") == "reflect":
            return False  # what would be reflected is reflected already
        source = parts.create(nn.PadOp, input=op.input, pads=ahead, **moved)
        fields = {
            name: getattr(op, name)
            for name in (*op.definition.attributes, "weight", "bias")
            if hasattr(op, name) and name not in ("layers", "pads")
        }
        element = nn.tensor_type(op.output).element
        parts.replace(parts.create(type(op), element, input=source, pads=kept, **fields))
        return True


class LargePlane(RewritePattern[nn.FullyConnectedOp]):
    """A fully connected layer is a convolution whose kernels cover the image; one of a large image
    has large kernels."""

    root = nn.FullyConnectedOp

    def match_and_rewrite(self, op: nn.FullyConnectedOp, rewriter: PatternRewriter) -> bool:
        import numpy as np

        source, constant = op.input, op.weight.defining_operation
        view = source.defining_operation
        if isinstance(view, nn.ViewOp) and is_same_cube(*map(nn.shape_of, (view.input, source))):
            source = view.input
        shape = nn.shape_of(source)
        if (
            len(shape) != _RANK
            or max(shape[2:]) <= LARGEST_KERNEL
            or rewriter.tensors is None
            or not isinstance(constant, nn.ConstantOp)
        ):
            return False
        weights = np.asarray(rewriter.tensors.elements(constant.value, constant.location))
        parts = Parts(op, rewriter, op.layers)
        kernels = parts.stored(
            weights.reshape(len(weights), *shape[1:]), "weight", nn.tensor_type(op.weight).element
        )
        element = nn.tensor_type(op.output).element
        value = parts.create(nn.ConvOp, element, input=source, weight=kernels, bias=op.bias)
        parts.replace(parts.create(nn.ReshapeOp, input=value, result_types=[op.output.type]))
        return True


class LargeStride(RewritePattern[LayerOp]):
    """Every n-th element of what the same layer makes with a stride that the hardware has."""

    root = LayerOp

    def match_and_rewrite(self, op: LayerOp, rewriter: PatternRewriter) -> bool:
        if isinstance(op, nn.ConvOp):
            largest = LARGEST_STRIDE
        elif isinstance(op, nn.PoolOp):
            by_convolution = isinstance(op, nn.AveragePoolOp) and (
                max(op.kernel) > LARGEST_POOLING_KERNEL
            )
            largest = LARGEST_STRIDE if by_convolution else LARGEST_POOLING_STRIDE
        else:
            return False
        outputs = nn.shape_of(op.output)[2:]
        strides = [
            1 if count == 1 else max(d for d in range(1, largest + 1) if stride % d == 0)
            for count, stride in zip(outputs, op.strides, strict=True)
        ]
        if max(op.strides) <= largest:
            return False
        parts = Parts(op, rewriter, op.layers)
        fields = {
            name: getattr(op, name)
            for name in (*op.definition.attributes, "input", "weight", "bias")
            if hasattr(op, name) and name not in ("layers", "strides")
        }
        value = parts.create(type(op), nn.tensor_type(op.output).element, strides=strides, **fields)
        for axis, (count, own, stride) in enumerate(
            zip(outputs, strides, op.strides, strict=True), ROWS
        ):
            value = parts.create(
                nn.SliceOp,
                input=value,
                axis=axis,
                size=count,
                step=max(1, stride // own) if count > 1 else 1,
            )
        parts.replace(value)
        return True
