"""What moves elements and computes nothing new."""

from __future__ import annotations

import math
from collections.abc import Sequence

from nvdla_ir.dialects import nn
from nvdla_ir.frontends.onnx.faults import UnsupportedError
from nvdla_ir.frontends.onnx.layer import Layer, checked_axes, handler
from nvdla_ir.ir.operation import Value


@handler("Concat")
def concat(layer: Layer) -> Value:
    values = [layer.activation(index) for index in range(layer.input_count)]
    if not values:
        raise UnsupportedError("has no inputs")
    axis = layer.axis(len(nn.shape_of(values[0])), 1)
    return values[0] if len(values) == 1 else layer.emit(nn.ConcatOp, inputs=values, axis=axis)


@handler("Split")
def split(layer: Layer) -> list[Value]:
    """The sizes are an attribute before operator set 13, then an input, or equal."""
    value = layer.activation()
    shape, outputs = nn.shape_of(value), layer.node.outputs
    axis = layer.axis(len(shape), 0)
    sizes = layer.integers("split") if layer.opset < 13 else layer.integer_list(1, "the sizes")
    if sizes is None:
        count = layer.integer("num_outputs", len(outputs))
        if count != len(outputs):
            raise UnsupportedError(
                f"attribute 'num_outputs = {count}' is not the number of its outputs, "
                f"{len(outputs)}"
            )
        largest = -(-shape[axis] // count)
        if layer.has("num_outputs"):
            sizes = (*[largest] * (count - 1), shape[axis] - largest * (count - 1))
        else:
            sizes = (largest,) * count
    if len(sizes) != len(outputs) or sum(sizes) != shape[axis] or min(sizes) < 1:
        raise UnsupportedError(
            f"splits {shape[axis]} elements along axis {axis} into {list(sizes)} for "
            f"{len(outputs)} outputs"
        )
    if len(sizes) == 1:
        return [value]
    results: list[Value] = []
    start = 0
    for index, size in enumerate(sizes):
        results.append(
            layer.emit(nn.SliceOp, str(index), input=value, axis=axis, start=start, size=size)
        )
        start += size
    return results


@handler("Slice")
def slice_(layer: Layer) -> Value:
    """Bounds are attributes before operator set 10, then inputs."""
    value = layer.activation()
    shape = nn.shape_of(value)
    if layer.opset < 10:
        starts, ends = layer.integers("starts"), layer.integers("ends")
        axes, steps = layer.integers("axes"), None
    else:
        starts, ends = layer.integer_list(1, "the starts"), layer.integer_list(2, "the ends")
        axes, steps = layer.integer_list(3, "the axes"), layer.integer_list(4, "the steps")
    if starts is None or ends is None or len(starts) != len(ends):
        raise UnsupportedError("needs as many starts as ends")
    stated = tuple(range(len(starts))) if axes is None else axes
    steps = (1,) * len(starts) if steps is None else steps
    if len(stated) != len(starts) or len(steps) != len(starts):
        raise UnsupportedError("needs as many axes and steps as starts")
    if min(steps, default=1) < 1:
        raise UnsupportedError(f"steps of {list(steps)} are not supported, only forward ones")
    checked_axes(stated, len(shape))
    pieces = [
        (axis % len(shape), range(shape[axis])[start:end:step])
        for axis, start, end, step in zip(stated, starts, ends, steps, strict=True)
    ]
    return sliced(layer, value, pieces)


def sliced(layer: Layer, value: Value, pieces: Sequence[tuple[int, range]]) -> Value:
    """Of each axis the elements that are stated."""
    shape = nn.shape_of(value)
    pieces = [(axis, taken) for axis, taken in pieces if taken != range(shape[axis])]
    for index, (axis, taken) in enumerate(pieces, start=1):
        if not taken:
            raise UnsupportedError(f"takes nothing of {shape[axis]} elements along axis {axis}")
        part = "" if index == len(pieces) else f"axis{axis}"
        value = layer.emit(
            nn.SliceOp,
            part,
            input=value,
            axis=axis,
            start=taken[0],
            size=len(taken),
            step=taken.step if len(taken) > 1 else 1,
        )
    return value


@handler("DepthToSpace")
def depth_to_space(layer: Layer) -> Value:
    return layer.emit(
        nn.DepthToSpaceOp,
        input=layer.image(),
        block_size=layer.integer("blocksize", 0),
        mode=layer.string("mode", "DCR"),
    )


@handler("SpaceToDepth")
def space_to_depth(layer: Layer) -> Value:
    return layer.emit(
        nn.SpaceToDepthOp, input=layer.image(), block_size=layer.integer("blocksize", 0)
    )


@handler("Reshape")
def reshape(layer: Layer) -> Value:
    value = layer.activation()
    wanted = layer.integer_list(1, "the shape")
    if wanted is None:
        raise UnsupportedError("the shape is missing")
    return layer.reshape(
        value, reshaped(nn.shape_of(value), wanted, bool(layer.integer("allowzero", 0)))
    )


def reshaped(shape: Sequence[int], wanted: Sequence[int], allow_zero: bool) -> tuple[int, ...]:
    """The shape that ``wanted`` makes of ``shape``: 0 copies an extent, -1 takes the rest."""
    found: list[int] = []
    for axis, extent in enumerate(wanted):
        if extent == 0 and not allow_zero:
            if axis >= len(shape):
                raise UnsupportedError(f"copies the extent of axis {axis}, which is not there")
            found.append(shape[axis])
        else:
            found.append(extent)
    count = math.prod(shape)
    if found.count(-1) == 1:
        rest = math.prod(extent for extent in found if extent != -1)
        if rest <= 0 or count % rest:
            raise UnsupportedError(f"{list(shape)} cannot become {list(wanted)}")
        found[found.index(-1)] = count // rest
    if min(found, default=1) < 0 or math.prod(found) != count:
        raise UnsupportedError(f"{list(shape)} cannot become {list(wanted)}")
    return tuple(found)


@handler("Flatten")
def flatten(layer: Layer) -> Value:
    value = layer.activation()
    shape = nn.shape_of(value)
    axis = layer.integer("axis", 1)
    if not -len(shape) <= axis <= len(shape):
        raise UnsupportedError(f"axis {axis} does not exist in {len(shape)} dimensions")
    axis = axis + len(shape) if axis < 0 else axis
    target = (math.prod(shape[:axis]), math.prod(shape[axis:]))
    if axis == 1 and target != shape:
        return layer.emit(nn.FlattenOp, input=value, axis=1)
    return layer.reshape(value, target)


def axes_of(layer: Layer) -> tuple[int, ...] | None:
    """The axes of Squeeze and Unsqueeze: an attribute before operator set 13, then an input."""
    return layer.integers("axes") if layer.opset < 13 else layer.integer_list(1, "the axes")


@handler("Squeeze")
def squeeze(layer: Layer) -> Value:
    value = layer.activation()
    return layer.reshape(value, squeezed(nn.shape_of(value), axes_of(layer)))


def squeezed(shape: Sequence[int], axes: Sequence[int] | None) -> tuple[int, ...]:
    if axes is None:
        return tuple(extent for extent in shape if extent != 1)
    found = checked_axes(axes, len(shape))
    if any(shape[axis] != 1 for axis in found):
        raise UnsupportedError(
            f"takes axes {list(found)} away from {list(shape)}, which are not all 1"
        )
    return tuple(extent for axis, extent in enumerate(shape) if axis not in found)


@handler("Unsqueeze")
def unsqueeze(layer: Layer) -> Value:
    value = layer.activation()
    return layer.reshape(value, unsqueezed(nn.shape_of(value), axes_of(layer)))


def unsqueezed(shape: Sequence[int], axes: Sequence[int] | None) -> tuple[int, ...]:
    if axes is None:
        raise UnsupportedError("the axes are missing")
    found = checked_axes(axes, len(shape) + len(axes))
    rest = iter(shape)
    return tuple(1 if axis in found else next(rest) for axis in range(len(shape) + len(found)))


@handler("Transpose")
def transpose(layer: Layer) -> Value:
    """A view where only axes of extent 1 move."""
    value = layer.activation()
    shape = nn.shape_of(value)
    order = permutation(layer, len(shape))
    moved = [axis for axis in order if shape[axis] != 1]
    if moved == sorted(moved):
        return layer.reshape(value, [shape[axis] for axis in order])
    return layer.emit(nn.TransposeOp, input=value, permutation=order)


def permutation(layer: Layer, rank: int) -> tuple[int, ...]:
    """Attribute ``perm``, or all axes the other way round."""
    order = layer.integers("perm")
    if order is None:
        return tuple(reversed(range(rank)))
    if sorted(order) != list(range(rank)):
        raise UnsupportedError(f"attribute 'perm = {list(order)}' is no order of {rank} axes")
    return order
