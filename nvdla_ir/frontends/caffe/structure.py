"""Layers that move and select elements, and what the host does with results."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from nvdla_ir.dialects import nn
from nvdla_ir.dialects.nn.shapes import text_of
from nvdla_ir.frontends.caffe.context import LayerContext, LayerError, UnsupportedError
from nvdla_ir.ir.operation import Value
from nvdla_ir.ir.types import TensorType


def concat(context: LayerContext) -> list[Value]:
    p = context.parameters("concat_param")
    axis = context.axis(p.concat_dim if p.HasField("concat_dim") else p.axis)
    shapes = [nn.shape_of(value) for value in context.inputs]
    rest = [(*shape[:axis], *shape[axis + 1 :]) for shape in shapes]
    if len({len(shape) for shape in shapes}) > 1 or len(set(rest)) > 1:
        raise LayerError(
            f"joins shapes {', '.join(map(text_of, shapes))}, which may differ along axis {axis} "
            "only"
        )
    return [context.create(nn.ConcatOp, inputs=list(context.inputs), axis=axis)]


def split(context: LayerContext) -> list[Value]:
    return [context.input] * len(context.layer.tops)


def slice_(context: LayerContext) -> list[Value]:
    p, tops = context.parameters("slice_param"), context.layer.tops
    axis = context.axis(p.slice_dim if p.HasField("slice_dim") else p.axis)
    extent = context.shape[axis]
    points: Sequence[int] = list(p.slice_point)
    if not points:
        if extent % len(tops):
            raise LayerError(f"makes {len(tops)} equal parts of {extent} along axis {axis}")
        points = [extent // len(tops) * part for part in range(1, len(tops))]
    if len(points) != len(tops) - 1:
        raise LayerError(f"has {len(points)} times 'slice_point' for {len(tops)} tops")
    bounds = [0, *points, extent]
    if any(a >= b for a, b in pairwise(bounds)):
        raise LayerError(
            f"has 'slice_point' {', '.join(map(str, points))}, which must rise between 0 and "
            f"{extent}"
        )
    if len(tops) == 1:
        return [context.input]
    return [
        context.create(
            nn.SliceOp, part=top, input=context.input, axis=axis, start=start, size=end - start
        )
        for top, start, end in zip(tops, bounds[:-1], bounds[1:], strict=True)
    ]


def crop(context: LayerContext) -> list[Value]:
    p, shape, wanted = (
        context.parameters("crop_param"),
        context.shape,
        nn.shape_of(context.inputs[1]),
    )
    first = context.axis(p.axis)
    if len(wanted) != len(shape):
        raise LayerError(f"crops {text_of(shape)} to {text_of(wanted)}, of another rank")
    axes = range(first, len(shape))
    offsets: Sequence[int] = list(p.offset) or [0]
    if len(offsets) not in (1, len(axes)):
        raise LayerError(f"has {len(offsets)} times 'offset' for {len(axes)} axes")
    offsets = offsets if len(offsets) == len(axes) else [offsets[0]] * len(axes)
    value = context.input
    cuts = [(a, o) for a, o in zip(axes, offsets, strict=True) if (wanted[a], o) != (shape[a], 0)]
    for index, (axis, offset) in enumerate(cuts):
        if offset + wanted[axis] > shape[axis]:
            raise LayerError(
                f"takes {wanted[axis]} elements from {offset} on along axis {axis} of "
                f"{text_of(shape)}"
            )
        part = None if index == len(cuts) - 1 else "crop"
        value = context.create(
            nn.SliceOp, part=part, input=value, axis=axis, start=offset, size=wanted[axis]
        )
    return [value]


def flatten(context: LayerContext) -> list[Value]:
    p, shape = context.parameters("flatten_param"), context.shape
    first, last = context.axis(p.axis), context.axis(p.end_axis)
    if first > last:
        raise LayerError(f"has 'axis: {p.axis}' behind 'end_axis: {p.end_axis}'")
    if last == len(shape) - 1:
        return [context.create(nn.FlattenOp, input=context.input, axis=first)]
    joined = math.prod(shape[first : last + 1])
    return [_reshape(context, (*shape[:first], joined, *shape[last + 1 :]))]


def reshape(context: LayerContext) -> list[Value]:
    """``axis`` and ``num_axes`` say which of the input's axes are replaced; 0 keeps an extent, -1
    is what is left over."""
    p, shape = context.parameters("reshape_param"), context.shape
    rank = len(shape)
    # An axis may stand behind the last one: nothing is replaced then.
    start: int = p.axis if p.axis >= 0 else rank + 1 + p.axis
    count: int = p.num_axes
    end = rank if count == -1 else start + count
    if not 0 <= start <= end <= rank or count < -1:
        raise LayerError(
            f"has 'axis: {p.axis}' and 'num_axes: {count}', but its input is {text_of(shape)}"
        )
    dims: list[int] = list(p.shape.dim)
    if min(dims, default=0) < -1 or dims.count(-1) > 1:
        raise LayerError(f"has 'dim' {', '.join(map(str, dims))}: at most one may be -1")
    if any(dim == 0 and start + i >= rank for i, dim in enumerate(dims)):
        raise LayerError(f"has 'dim: 0' for an axis that its input {text_of(shape)} has not")
    dims = [shape[start + i] if dim == 0 else dim for i, dim in enumerate(dims)]
    known = math.prod(dim for dim in dims if dim != -1) * math.prod(shape[:start] + shape[end:])
    elements = math.prod(shape)
    if elements % known if -1 in dims else elements != known:
        raise LayerError(f"makes {text_of(dims)} of {text_of(shape[start:end])}")
    dims = [elements // known if dim == -1 else dim for dim in dims]
    return [_reshape(context, (*shape[:start], *dims, *shape[end:]))]


def _reshape(context: LayerContext, shape: Sequence[int], part: str | None = None) -> Value:
    type = TensorType(tuple(shape), nn.tensor_type(context.input).element)
    return context.create(nn.ReshapeOp, part=part, input=context.input, result_types=[type])


def permute(context: LayerContext) -> list[Value]:
    """Axes that are not listed follow in their order."""
    rank = len(context.shape)
    order: list[int] = list(context.parameters("permute_param").order)
    order += [axis for axis in range(rank) if axis not in order]
    if sorted(order) != list(range(rank)):
        raise LayerError(f"has 'order' {', '.join(map(str, order))} for {rank} axes")
    return [context.create(nn.TransposeOp, input=context.input, permutation=order)]


def shuffle_channels(context: LayerContext) -> list[Value]:
    """A type of forks."""
    groups: int = context.parameters("shuffle_channel_param").group
    return [context.create(nn.ChannelShuffleOp, input=context.input, groups=groups)]


def softmax(context: LayerContext) -> list[Value]:
    axis = context.axis(context.parameters("softmax_param").axis)
    return [context.create(nn.SoftmaxOp, input=context.input, axis=axis)]


def argmax(context: LayerContext) -> list[Value]:
    """Without ``axis``, of all elements of an image. Of equal elements Caffe takes the last one,
    nn.argmax the first."""
    p, shape = context.parameters("argmax_param"), context.shape
    if p.out_max_val or p.top_k != 1:
        raise UnsupportedError("has 'out_max_val' or a 'top_k' other than 1")
    if p.HasField("axis"):
        return [context.create(nn.ArgmaxOp, input=context.input, axis=context.axis(p.axis))]
    flat = _reshape(context, (shape[0], 1, math.prod(shape[1:])), "view")
    return [context.create(nn.ArgmaxOp, input=flat, axis=2)]


def upsample(context: LayerContext) -> list[Value]:
    """A type of forks: the nearest neighbour by a whole factor."""
    p = context.parameters("upsample_param")
    _, _, height, width = context.require_image()
    rows, columns = p.scale_h or p.scale, p.scale_w or p.scale
    if p.upsample_h and p.upsample_w:
        rows, columns = p.upsample_h / height, p.upsample_w / width
    if rows < 1 or columns < 1 or rows % 1 or columns % 1:
        raise UnsupportedError(f"scales by {rows} and {columns}; whole factors are known")
    scales = (int(rows), int(columns))
    return [context.create(nn.UpsampleOp, input=context.input, scales=scales)]


def interpolate(context: LayerContext) -> list[Value]:
    """A type of forks, bilinear, whose corners are aligned: known where the factors are whole."""
    p = context.parameters("interp_param")
    _, _, height, width = context.require_image()
    if p.pad_beg or p.pad_end or p.shrink_factor < 1 or p.zoom_factor < 1:
        raise UnsupportedError("has 'pad_beg', 'pad_end', or a factor below 1")
    rows, columns = (p.height, p.width) if p.height and p.width else _zoomed(p, height, width)
    if (rows, columns) == (height, width):
        return [context.input]
    if rows < 1 or columns < 1 or rows % height or columns % width:
        raise UnsupportedError(
            f"interpolates {height}x{width} to {rows}x{columns}; only whole factors are known"
        )
    scales = (rows // height, columns // width)
    if (height, width) == (1, 1):
        return [context.create(nn.UpsampleOp, input=context.input, scales=scales)]
    return [
        context.create(
            nn.InterpolateOp, input=context.input, scales=scales, coordinates="align_corners"
        )
    ]


def _zoomed(p: object, height: int, width: int) -> tuple[int, int]:
    shrink: int = getattr(p, "shrink_factor")  # noqa: B009
    zoom: int = getattr(p, "zoom_factor")  # noqa: B009
    rows, columns = ((size - 1) // shrink + 1 for size in (height, width))
    return rows + (rows - 1) * (zoom - 1), columns + (columns - 1) * (zoom - 1)
