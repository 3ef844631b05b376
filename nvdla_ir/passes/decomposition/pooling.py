"""Pools whose windows the hardware does not have, as several that it has."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TypeAlias

from attrs import frozen

from nvdla_ir.dialects import nn
from nvdla_ir.dialects.layer import LayerOp, describe
from nvdla_ir.hardware.convolution_limits import LARGEST_KERNEL
from nvdla_ir.hw.formats.pooling import LARGEST_POOLING_KERNEL
from nvdla_ir.ir.diagnostics import DiagnosticCollector
from nvdla_ir.ir.operation import Value
from nvdla_ir.ir.rewriter import PatternRewriter, RewritePattern
from nvdla_ir.passes.decomposition.kernels import groups_at_a_time
from nvdla_ir.passes.decomposition.parts import COLUMNS, ROWS, Parts

MeanOp: TypeAlias = "nn.AveragePoolOp | nn.GlobalAveragePoolOp"
_EXACT_PARTS = 4
"""Convolutions that an exact mean may take."""


@frozen
class _Run:
    """Windows one behind the other along an axis that count as many elements: ``kernel`` of the
    input's elements ``begin`` to ``end``, with padding that counts, too."""

    kernel: int
    begin: int
    end: int
    before: int
    after: int


class MeansInParts(RewritePattern[nn.AveragePoolOp]):
    """Windows that leave padding out of their mean, or reach behind it, divide by less at the
    borders: a pool for each corner, each side and the middle, side by side."""

    root = nn.AveragePoolOp

    def match_and_rewrite(self, op: nn.AveragePoolOp, rewriter: PatternRewriter) -> bool:
        leaves_out = any(op.pads) and not op.count_include_pad
        if not leaves_out and not any(op.ceil_extension):
            return False
        parts = Parts(op, rewriter, op.layers)
        element = nn.tensor_type(op.output).element
        rows: list[Value] = []
        for row in _runs(op, 0):
            source = parts.sliced(op.input, ROWS, row.begin, row.end)
            pools: list[Value] = []
            for column in _runs(op, 1):
                pools.append(
                    parts.create(
                        nn.AveragePoolOp,
                        element,
                        input=parts.sliced(source, COLUMNS, column.begin, column.end),
                        kernel=(row.kernel, column.kernel),
                        strides=op.strides,
                        pads=(row.before, column.before, row.after, column.after),
                    )
                )
            rows.append(parts.joined(pools, COLUMNS))
        parts.replace(parts.joined(rows, ROWS))
        return True


def _runs(op: nn.AveragePoolOp, axis: int) -> Iterator[_Run]:
    size, outputs = nn.shape_of(op.input)[2 + axis], nn.shape_of(op.output)[2 + axis]
    kernel, stride = op.kernel[axis], op.strides[axis]
    before, after = op.pads[axis], op.pads[2 + axis]
    low, high = (-before, size + after) if op.count_include_pad else (0, size)
    first: tuple[int, int] | None = None
    last = (0, 0)
    for index in range(outputs):
        start = index * stride - before
        window = max(start, low), min(start + kernel, high)
        whole = window == (start, start + kernel)
        if first is not None and not (whole and last[1] - last[0] == kernel):
            yield _run(first, last, size)
            first = None
        first = window if first is None else first
        last = window
    assert first is not None
    yield _run(first, last, size)


def _run(first: tuple[int, int], last: tuple[int, int], size: int) -> _Run:
    begin, end = first[0], last[1]
    return _Run(
        first[1] - first[0], max(begin, 0), min(end, size), max(-begin, 0), max(end - size, 0)
    )


# -------------------------------------------------------------- large windows


@frozen
class _Stage:
    """What one pool of a sequence does along an axis."""

    kernel: int = 1
    stride: int = 1
    before: int = 0
    after: int = 0


class LargeMaximum(RewritePattern[nn.MaxPoolOp]):
    """The maximum of a large window is that of the maxima of smaller ones, one behind the
    other."""

    root = nn.MaxPoolOp

    def match_and_rewrite(self, op: nn.MaxPoolOp, rewriter: PatternRewriter) -> bool:
        if max(op.kernel) <= LARGEST_POOLING_KERNEL:
            return False
        stages = [_stages(op, axis) for axis in (0, 1)]
        count = max(map(len, stages))
        rows, columns = ([_Stage()] * (count - len(along)) + along for along in stages)
        parts, value = Parts(op, rewriter, op.layers), op.input
        for row, column in zip(rows, columns, strict=True):
            value = parts.create(
                nn.MaxPoolOp,
                input=value,
                kernel=(row.kernel, column.kernel),
                strides=(row.stride, column.stride),
                pads=(row.before, column.before, row.after, column.after),
            )
        parts.replace(value)
        return True


class GlobalMaximum(RewritePattern[nn.GlobalMaxPoolOp]):
    """A window as large as the image."""

    root = nn.GlobalMaxPoolOp

    def match_and_rewrite(self, op: nn.GlobalMaxPoolOp, rewriter: PatternRewriter) -> bool:
        parts = Parts(op, rewriter, op.layers)
        parts.replace(parts.create(nn.MaxPoolOp, input=op.input, kernel=nn.shape_of(op.input)[2:]))
        return True


def _stages(op: nn.MaxPoolOp, axis: int) -> list[_Stage]:
    size, outputs = nn.shape_of(op.input)[2 + axis], nn.shape_of(op.output)[2 + axis]
    kernel, stride = op.kernel[axis], op.strides[axis]
    before = op.extended_pads[axis]
    after = max(0, (outputs - 1) * stride + kernel - before - size)
    largest = LARGEST_POOLING_KERNEL
    if outputs == 1 and kernel - before >= size:
        # One window over all: windows that do not overlap leave an eighth each.
        stages: list[_Stage] = []
        while size > largest:
            stages.append(_Stage(largest, largest, 0, -size % largest))
            size = -(-size // largest)
        return [*stages, _Stage(size)]
    stages = []
    while kernel > largest:
        pads = min(before, largest - 1), min(after, largest - 1)
        stages.append(_Stage(largest, 1, *pads))
        before, after = before - pads[0], after - pads[1]
        kernel -= largest - 1
    return [*stages, _Stage(kernel, stride, before, after)]


class LargeMean(RewritePattern[LayerOp]):
    """A mean over more than a convolution takes. Where a kernel of ones can be divided into parts,
    it is exact. Else it is the mean of means: the pooling unit rounds these to the input's codes,
    for the width and then for the height, by less than a step, and so the mean of them is off by no
    more."""

    root = LayerOp

    def __init__(self, diagnostics: DiagnosticCollector) -> None:
        self._diagnostics = diagnostics

    def match_and_rewrite(self, op: LayerOp, rewriter: PatternRewriter) -> bool:
        if not isinstance(op, nn.AveragePoolOp | nn.GlobalAveragePoolOp):
            return False
        kernel = tuple(nn.shape_of(op.input)[2:])
        strides, pads = (1, 1), (0, 0, 0, 0)
        if isinstance(op, nn.AveragePoolOp):
            kernel, strides, pads = tuple(op.kernel), tuple(op.strides), tuple(op.pads)
            if any(op.ceil_extension) or (any(pads) and not op.count_include_pad):
                return False  # of parts
        if max(kernel) <= LARGEST_KERNEL or rewriter.tensors is None:
            return False
        channels = nn.shape_of(op.input)[1]
        parts = Parts(op, rewriter, op.layers)
        if (
            nn.shape_of(op.output)[2:] != (1, 1)
            or any(pads)
            or channels <= _EXACT_PARTS * groups_at_a_time(math.prod(kernel))
            or max(kernel) > LARGEST_KERNEL * LARGEST_POOLING_KERNEL
        ):
            parts.replace(_sum_of(parts, op.input, kernel, 1 / math.prod(kernel), strides, pads))
            return True
        parts.replace(self._mean_of_means(parts, op.input, kernel))
        return True

    def _mean_of_means(self, parts: Parts, value: Value, kernel: tuple[int, ...]) -> Value:
        """Zeros fill up the last ones."""
        tiles = tuple(min(size, -(-size // LARGEST_KERNEL)) for size in kernel)
        for axis, size in enumerate(kernel, ROWS):
            value = parts.sliced(value, axis, 0, size)
        spare = [-size % tile for size, tile in zip(kernel, tiles, strict=True)]
        value = parts.create(
            nn.AveragePoolOp, input=value, kernel=tiles, strides=tiles, pads=(0, 0, *spare)
        )
        self._diagnostics.remark(
            parts.op.location,
            f"{describe(parts.op)} is the mean of {kernel[0]}x{kernel[1]}, of which a convolution "
            f"takes {LARGEST_KERNEL}x{LARGEST_KERNEL}: computed as a mean of means of "
            f"{tiles[0]}x{tiles[1]}, which is off by less than a step of the input",
        )
        share = math.prod(tiles) / math.prod(kernel)
        return _sum_of(parts, value, nn.shape_of(value)[2:], share, (1, 1), (0, 0, 0, 0))


def _sum_of(
    parts: Parts,
    value: Value,
    kernel: tuple[int, ...],
    share: float,
    strides: tuple[int, ...],
    pads: tuple[int, ...],
) -> Value:
    """The sums of windows of ``value``, times ``share``: by a convolution with ones."""
    import numpy as np

    channels = nn.shape_of(value)[1]
    return parts.create(
        nn.ConvOp,
        nn.tensor_type(parts.op.results[0]).element,
        input=value,
        weight=parts.constant(np.ones((channels, 1, *kernel)), "ones", share),
        strides=strides,
        pads=pads,
        groups=channels,
    )
