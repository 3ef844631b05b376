"""Layers that make images larger, as convolutions of the small image: one for each pixel of a block
of the large one, whose results are interleaved (sub-pixel convolutions)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction

from attrs import frozen

from nvdla_ir.dialects import nn
from nvdla_ir.dialects.layer import layers_of
from nvdla_ir.dialects.quant import QuantizedType, UniformPerAxisType, UniformType
from nvdla_ir.ir.operation import Value
from nvdla_ir.ir.rewriter import PatternRewriter, RewritePattern
from nvdla_ir.ir.types import Type
from nvdla_ir.passes.decomposition.parts import COLUMNS, ROWS, Parts

_LARGEST_CODE = 127
_CONV_AXIS = 0


@frozen
class Phase:
    """Every n-th element of the result along an axis, as a convolution.

    taps:          those of the kernel that it takes, in the order of the input
    dilation:      between them in the input
    before, after: padding; what is negative is left out of the input instead
    """

    taps: tuple[int, ...]
    dilation: int
    before: int
    after: int


def transposed_phases(
    size: int, outputs: int, taps: int, stride: int, dilation: int, before: int
) -> list[Phase]:
    """The phases along an axis of a transposed convolution that cuts off ``before`` elements.

    Element ``o`` of the result sums ``w[k] * x[i]`` where ``stride * i + dilation * k`` is
    ``o + before``.
    """
    count = -(-outputs // stride)
    phases: list[Phase] = []
    for first in range(stride):
        ahead, phase = divmod(first + before, stride)
        fitting = [k for k in range(taps) if (dilation * k - phase) % stride == 0]
        steps = [(dilation * k - phase) // stride for k in fitting]
        begin = steps[-1] - ahead if steps else 0
        end = count + steps[-1] - steps[0] - begin if steps else count
        if not steps or -begin >= size or end <= 0:
            # Nothing of the input gets there: a tap of zeros.
            phases.append(Phase((), 1, 0, count - size))
            continue
        step = dilation // math.gcd(dilation, stride)
        phases.append(Phase(tuple(reversed(fitting)), step, begin, end - size))
    return phases


def interleave_phases(
    parts: Parts,
    source: Value,
    phases: tuple[Sequence[Phase], Sequence[Phase]],
    shape: Sequence[int],
    convolve: Callable[[Value, Phase, Phase, tuple[int, ...]], Value],
) -> Value:
    """The result of height and width ``shape``: what ``convolve`` makes of ``source`` and the
    padding for each pair of phases, by turns."""
    by_column: list[Value] = []
    for column in phases[1]:
        by_row: list[Value] = []
        for row in phases[0]:
            value, size = source, nn.shape_of(source)
            for axis, phase in ((ROWS, row), (COLUMNS, column)):
                begin, end = max(0, -phase.before), size[axis] + min(0, phase.after)
                value = parts.sliced(value, axis, begin, end)
            pads = (row.before, column.before, row.after, column.after)
            by_row.append(convolve(value, row, column, tuple(max(0, pad) for pad in pads)))
        by_column.append(parts.interleaved(by_row, ROWS))
    value = parts.interleaved(by_column, COLUMNS)
    for axis, extent in zip((ROWS, COLUMNS), shape, strict=True):
        value = parts.sliced(value, axis, 0, extent)
    return value


class TransposedConvolution(RewritePattern[nn.ConvTransposeOp]):
    """Convolutions with the taps that meet the input, one for each pixel of a block of
    ``strides``. A ReLU that reads nothing else goes into each."""

    root = nn.ConvTransposeOp

    def match_and_rewrite(self, op: nn.ConvTransposeOp, rewriter: PatternRewriter) -> bool:
        import numpy as np

        constant = op.weight.defining_operation
        if rewriter.tensors is None or not isinstance(constant, nn.ConstantOp):
            return False
        element = _kernels_first(nn.tensor_type(op.weight).element, op.groups)
        if element is None:
            return False
        weights = np.asarray(rewriter.tensors.elements(constant.value, constant.location))
        inputs, outputs = weights.shape[:2]
        # From Cx(K/groups)xRxS to Kx(C/groups)xRxS.
        kernels = weights.reshape(op.groups, inputs // op.groups, *weights.shape[1:])
        kernels = np.swapaxes(kernels, 1, 2).reshape(
            op.groups * outputs, inputs // op.groups, *weights.shape[2:]
        )
        shape, result = nn.shape_of(op.input)[2:], nn.shape_of(op.output)[2:]
        rows, columns = (
            transposed_phases(
                shape[axis],
                result[axis],
                weights.shape[2 + axis],
                op.strides[axis],
                op.dilations[axis],
                op.pads[axis],
            )
            for axis in (0, 1)
        )
        relu = _only_relu(op)
        last = op if relu is None else relu
        parts = Parts(last, rewriter, layers_of(op, relu))

        def convolve(value: Value, row: Phase, column: Phase, pads: tuple[int, ...]) -> Value:
            taken = kernels[:, :, row.taps][:, :, :, column.taps]
            if not row.taps or not column.taps:
                extents = max(1, len(row.taps)), max(1, len(column.taps))
                taken = np.zeros((*kernels.shape[:2], *extents), kernels.dtype)
            weight = parts.stored(taken, "weight", element)
            convolved = parts.create(
                nn.ConvOp,
                nn.tensor_type(op.output).element,
                input=value,
                weight=weight,
                bias=op.bias,
                pads=pads,
                dilations=(
                    row.dilation if len(row.taps) > 1 else 1,
                    column.dilation if len(column.taps) > 1 else 1,
                ),
                groups=op.groups,
            )
            if relu is None:
                return convolved
            return parts.create(nn.ReluOp, nn.tensor_type(relu.output).element, input=convolved)

        value = interleave_phases(parts, op.input, (rows, columns), result, convolve)
        parts.replace(value)
        if relu is not None:
            rewriter.erase(op)
        return True


def _kernels_first(element: Type, groups: int) -> Type | None:
    """The element type of transposed weights; None where their scales do not follow."""
    if isinstance(element, UniformPerAxisType):
        if element.axis != 1 or groups != 1:
            return None
        return UniformPerAxisType(
            element.storage, element.expressed, _CONV_AXIS, element.scales, element.zero_points
        )
    if isinstance(element, QuantizedType) and not isinstance(element, UniformType):
        return None
    return element


def _only_relu(op: nn.ConvTransposeOp) -> nn.ReluOp | None:
    """The ReLU behind ``op``, if nothing else reads its result and nothing rounds it between."""
    if not op.output.has_one_use or nn.is_fake_quantized(op.output.type):
        return None
    user = op.output.users[0]
    return user if isinstance(user, nn.ReluOp) and user.parent is op.parent else None


# -------------------------------------------------------------- interpolation


class LinearInterpolation(RewritePattern[nn.InterpolateOp]):
    """Depthwise convolutions of the image with its edges around, one for each pixel of a block of
    ``scales``: elements that are as far apart everywhere have the same shares of their
    neighbours."""

    root = nn.InterpolateOp

    def match_and_rewrite(self, op: nn.InterpolateOp, rewriter: PatternRewriter) -> bool:
        import numpy as np

        if rewriter.tensors is None or op.coordinates == "align_corners":
            return False
        parts = Parts(op, rewriter, op.layers)
        channels, shape = nn.shape_of(op.input)[1], nn.shape_of(op.input)[2:]
        weights: list[list[tuple[Fraction, ...]]] = []
        phases: list[list[Phase]] = []
        borders: list[tuple[int, int]] = []
        for axis in (0, 1):
            shares = list(_shares(op.scales[axis], op.coordinates))
            before = -min(begin for begin, _ in shares)
            after = max(begin + len(taps) - 1 for begin, taps in shares)
            size = shape[axis] + before + after
            weights.append([taps for _, taps in shares])
            borders.append((before, after))
            phases.append(
                [
                    Phase(
                        tuple(range(len(taps))),
                        1,
                        -(before + begin),
                        shape[axis] + len(taps) - 1 + before + begin - size,
                    )
                    for begin, taps in shares
                ]
            )
        source = op.input
        if any(map(any, borders)):
            (top, bottom), (left, right) = borders
            source = parts.create(
                nn.PadOp, input=source, pads=(top, left, bottom, right), mode="edge"
            )
        of_phase = {
            (id(row), id(column)): np.outer(
                [float(share) for share in weights[0][i]],
                [float(share) for share in weights[1][j]],
            )
            for i, row in enumerate(phases[0])
            for j, column in enumerate(phases[1])
        }
        unit = op.scales[0] * op.scales[1] * 4

        def convolve(value: Value, row: Phase, column: Phase, pads: tuple[int, ...]) -> Value:
            kernel = of_phase[id(row), id(column)]
            codes = kernel * unit
            exact = bool((codes == np.round(codes)).all())
            divisor = int(np.gcd.reduce(codes.astype(np.int64).ravel())) if exact else 1
            scale = None
            if exact and codes.max() / divisor <= _LARGEST_CODE:
                kernel, scale = codes / divisor, divisor / unit
            repeated = np.broadcast_to(kernel, (channels, 1, *kernel.shape))
            return parts.create(
                nn.ConvOp,
                nn.tensor_type(op.output).element,
                input=value,
                weight=parts.constant(repeated, "shares", scale),
                pads=pads,
                groups=channels,
            )

        result = nn.shape_of(op.output)[2:]
        value = interleave_phases(parts, source, (phases[0], phases[1]), result, convolve)
        parts.replace(value)
        return True


class AlignedInterpolation(RewritePattern[nn.InterpolateOp]):
    """With the corners where they were, each row and column of the result has shares of its own: a
    depthwise convolution of two rows for each, then of two columns. Between them is a rounding to
    the input's codes."""

    root = nn.InterpolateOp

    def match_and_rewrite(self, op: nn.InterpolateOp, rewriter: PatternRewriter) -> bool:
        if rewriter.tensors is None or op.coordinates != "align_corners":
            return False
        parts = Parts(op, rewriter, op.layers)
        element = nn.tensor_type(op.output).element
        value = op.input
        for axis, scale in zip((ROWS, COLUMNS), op.scales, strict=True):
            last = axis == COLUMNS or op.scales[1] == 1
            size = nn.shape_of(value)[axis]
            if scale > 1 and size > 1:
                of_result = element if last else nn.tensor_type(op.input).element
                value = _aligned(parts, value, axis, size * scale, of_result)
            elif scale > 1:
                scales = (scale, 1) if axis == ROWS else (1, scale)
                value = parts.create(nn.UpsampleOp, input=value, scales=scales)
        parts.replace(value)
        return True


def _aligned(parts: Parts, value: Value, axis: int, count: int, element: Type) -> Value:
    """``count`` elements along ``axis``, the first and the last of which are those of ``value``."""
    import numpy as np

    channels, size = nn.shape_of(value)[1], nn.shape_of(value)[axis]
    lines: list[Value] = []
    for index in range(count):
        place = Fraction(index * (size - 1), count - 1)
        first = min(math.floor(place), size - 2)
        share = place - first
        shares = (1 - share, share)
        divisor = math.lcm(*(one.denominator for one in shares))
        scale = 1 / divisor if divisor <= _LARGEST_CODE else None
        taps = np.array([float(one * (divisor if scale else 1)) for one in shares])
        kernel = taps.reshape((2, 1) if axis == ROWS else (1, 2))
        lines.append(
            parts.create(
                nn.ConvOp,
                element,
                input=parts.sliced(value, axis, first, first + 2),
                weight=parts.constant(
                    np.broadcast_to(kernel, (channels, 1, *kernel.shape)), "shares", scale
                ),
                groups=channels,
            )
        )
    return parts.joined(lines, axis)


def _shares(scale: int, coordinates: str) -> Iterator[tuple[int, tuple[Fraction, ...]]]:
    """For each phase, the first neighbour, counted from the element of the same block, and the
    shares of the neighbours."""
    for phase in range(scale):
        place = Fraction(phase, scale)
        if coordinates == "half_pixel":
            place = Fraction(2 * phase + 1, 2 * scale) - Fraction(1, 2)
        first = math.floor(place)
        share = place - first
        yield first, (1 - share, share) if share else (Fraction(1),)
