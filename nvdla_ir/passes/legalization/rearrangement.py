"""Legalizations of what only moves elements: views where the units can step so, else copies; what
lies in no cube is the host's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from nvdla_ir.arith.fixed_point import round_half_away
from nvdla_ir.dialects import nn, nvdla
from nvdla_ir.dialects.layer import LayerOp, describe
from nvdla_ir.dialects.nn.shapes import is_same_cube, text_of
from nvdla_ir.dialects.quant import QuantizeCastOp, QuantizedType, UniformType
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.operation import Operation, Value
from nvdla_ir.ir.types import TensorType
from nvdla_ir.passes.legalization.copies import CHANNELS, COLUMNS, ROWS, Copies
from nvdla_ir.passes.legalization.function import FunctionLegalization
from nvdla_ir.passes.legalization.joins import join
from nvdla_ir.passes.legalization.rules import legalizes

BlockOp: TypeAlias = "nn.DepthToSpaceOp | nn.SpaceToDepthOp"


def _copies(op: LayerOp, context: FunctionLegalization) -> Copies:
    """Raises: DiagnosticError where ``op`` changes the codes."""
    output = nn.storage_of(op.results[0])
    for value in op.operands:
        if nn.storage_of(value) != output:
            raise DiagnosticError.at(
                op.location,
                f"{describe(op)} makes '{output}' of '{nn.storage_of(value)}'; run "
                "'insert-converters' first, which aligns them",
            )
    return Copies(context, context.builder_at(op), op.layers)


# -------------------------------------------------------------- views and the host


@legalizes(nn.ViewOp)
def legalize_view(op: nn.ViewOp, context: FunctionLegalization) -> Value | None:
    """The same bytes under another shape: on a cube, only the names of its extents, or else the
    host's work."""
    cube = context.cubes.find(op.input)
    if cube is None:
        return None  # the host's
    shape, target = nvdla.cube_shape(cube.type), nn.shape_of(op.output)
    if is_same_cube(shape, target):
        return cube
    _leave_to_host(op, f"changes the shape from {text_of(shape)} to {text_of(target)}", context)
    return None


@legalizes(nn.TransposeOp)
def legalize_transpose(op: nn.TransposeOp, context: FunctionLegalization) -> None:
    """The host's: ahead of the upload, or behind the download."""
    if context.cubes.find(op.input) is not None:
        _leave_to_host(op, f"puts the axes in the order {list(op.permutation)}", context)


def _leave_to_host(op: Operation, what: str, context: FunctionLegalization) -> None:
    context.leave(op)
    between = any(is_for_hardware(user) for user in op.results[0].users)
    context.session.diagnostics.remark(
        op.location,
        f"{describe(op)} {what}{' between hardware layers' if between else ''}, which moves every "
        "byte: the host does it",
    )


def is_for_hardware(op: Operation) -> bool:
    """Whether ``op`` computes quantized integers; a cast is the host's."""
    return (
        any(
            isinstance(result.type, TensorType) and isinstance(result.type.element, QuantizedType)
            for result in op.results
        )
        and not op.name.startswith("nvdla.")
        and not isinstance(op, QuantizeCastOp)
    )


# -------------------------------------------------------------- parts and joins


@legalizes(nn.ConcatOp)
def legalize_concat(op: nn.ConcatOp, context: FunctionLegalization) -> Value | None:
    """Parts side by side along channels, rows or columns: each is written in place. What the host
    has moved it joins, and what was flattened from planes of several sizes."""
    rank = len(nn.shape_of(op.output))
    on_cubes = op.axis == CHANNELS if rank == 2 else rank == 4 and op.axis > 0
    if not on_cubes or all(_is_moved_by_host(value, context) for value in op.inputs):
        context.leave(op)
        return None
    copies = _copies(op, context)
    parts = [context.cube_of(value, op, copies.builder) for value in op.inputs]
    if op.axis != CHANNELS:
        sources = zip(parts, op.inputs, strict=True)
        return copies.joined([copies.own(*source, op.axis) for source in sources], op.axis)
    planes = {nvdla.cube_shape(part.type)[2:] for part in parts}
    if len(planes) > 1:
        sizes = " and ".join(map(text_of, sorted(planes)))
        _leave_to_host(op, f"joins what was flattened from planes of {sizes}", context)
        return None
    return join(op, parts, copies)


def _is_moved_by_host(value: Value, context: FunctionLegalization) -> bool:
    moves = isinstance(value.defining_operation, nn.RearrangementOp | nn.SliceOp | nn.ConcatOp)
    return moves and context.cubes.find(value) is None


@legalizes(nn.InterleaveOp)
def legalize_interleave(op: nn.InterleaveOp, context: FunctionLegalization) -> Value:
    """Rows by turns are written in place; columns by turns take a copy of each input."""
    copies = _copies(op, context)
    parts = [context.cube_of(value, op, copies.builder) for value in op.inputs]
    if op.axis == ROWS:
        parts = [
            copies.own(part, value, ROWS) for part, value in zip(parts, op.inputs, strict=True)
        ]
    return copies.interleaved(parts, op.axis)


@legalizes(nn.SliceOp)
def legalize_slice(op: nn.SliceOp, context: FunctionLegalization) -> Value | None:
    """Rows, columns, and channels from a memory atom on are views; rows and columns that are apart
    are pooled one by one; other channels are moved by a convolution with ones."""
    cube = context.cubes.find(op.input)
    if cube is None:
        return None  # the host's
    copies = _copies(op, context)
    if op.axis == CHANNELS:
        end = op.start + (op.size - 1) * op.step + 1
        return copies.channels(cube, range(op.start, end, op.step))
    if op.axis == 0:
        return cube
    return copies.every(cube, op.axis, op.start, op.size, op.step)


# -------------------------------------------------------------- channels and pixels


@legalizes(nn.ChannelShuffleOp)
def legalize_shuffle(op: nn.ChannelShuffleOp, context: FunctionLegalization) -> Value:
    """A 1x1 convolution with ones."""
    copies = _copies(op, context)
    cube = context.cube_of(op.input, op, copies.builder)
    channels = nvdla.cube_shape(cube.type)[CHANNELS]
    size = channels // op.groups
    return copies.channels(cube, [g * size + i for i in range(size) for g in range(op.groups)])


@legalizes(nn.UpsampleOp)
def legalize_upsample(op: nn.UpsampleOp, context: FunctionLegalization) -> Value:
    """Copies by turns: of rows, then of columns."""
    copies = _copies(op, context)
    cube = context.cube_of(op.input, op, copies.builder)
    rows, columns = op.scales
    if rows > 1:
        cube = copies.interleaved([copies.copy(cube) for _ in range(rows)], ROWS)
    return copies.interleaved([cube] * columns, COLUMNS) if columns > 1 else cube


@legalizes(nn.DepthToSpaceOp)
def legalize_depth_to_space(op: nn.DepthToSpaceOp, context: FunctionLegalization) -> Value:
    """The channels of each pixel of a block, by turns of rows, then of columns."""
    copies = _copies(op, context)
    cube = context.cube_of(op.input, op, copies.builder)
    block = op.block_size
    if block == 1:
        return cube
    phases = _channels_of_phases(op, nn.shape_of(op.output)[1])
    by_column: list[Value] = []
    for column in range(block):
        parts = [copies.channels(cube, phases[row * block + column]) for row in range(block)]
        parts = [_written(part, copies) for part in parts]
        by_column.append(copies.interleaved(parts, ROWS))
    return copies.interleaved(by_column, COLUMNS)


@legalizes(nn.SpaceToDepthOp)
def legalize_space_to_depth(op: nn.SpaceToDepthOp, context: FunctionLegalization) -> Value | None:
    """Every n-th row and column, once for each pixel of a block, as channels side by side, where
    those begin at memory atoms; else a convolution with a one a kernel."""
    cube = context.cubes.find(op.input)
    if cube is None:
        return None  # the host's
    copies = _copies(op, context)
    block = op.block_size
    _, channels, height, width = nvdla.cube_shape(cube.type)
    phases = _channels_of_phases(op, channels)
    if op.mode == "CRD" or channels % context.hw.memory_atom:
        import numpy as np

        weights = np.zeros((channels * block**2, channels, block, block), np.int8)
        for phase, selected in enumerate(phases):
            weights[selected, range(channels), phase // block, phase % block] = 1
        return copies.convolved(cube, weights, strides=(block, block))
    rows = [copies.every(cube, ROWS, row, height // block, block) for row in range(block)]
    parts = [
        copies.every(rows[phase // block], COLUMNS, phase % block, width // block, block)
        for phase in range(block**2)
    ]
    return copies.joined([_written(part, copies) for part in parts], CHANNELS)


def _channels_of_phases(op: BlockOp, channels: int) -> list[list[int]]:
    """For each pixel of a block, row by row, the channels that it is in where pixels are
    channels."""
    pixels = op.block_size**2
    if op.mode == "DCR":
        return [list(range(p * channels, (p + 1) * channels)) for p in range(pixels)]
    return [list(range(p, channels * pixels, pixels)) for p in range(pixels)]


def _written(cube: Value, copies: Copies) -> Value:
    """``cube``, if a layer wrote it, else a copy."""
    return copies.copy(cube) if isinstance(cube.defining_operation, nvdla.SliceOp) else cube


# -------------------------------------------------------------- borders


@legalizes(nn.PadOp)
def legalize_pad(op: nn.PadOp, context: FunctionLegalization) -> Value:
    """A number around by what convolutions read outside of their input; rows and columns again by
    copies."""
    copies = _copies(op, context)
    cube = context.cube_of(op.input, op, copies.builder)
    top, left, bottom, right = op.pads
    if not any(op.pads):
        return cube
    if op.mode == "constant":
        element = nn.storage_of(op.output)
        assert isinstance(element, UniformType)
        code = round_half_away(op.value / element.scale) + element.zero_point
        return copies.bordered(cube, op.pads, max(-128, min(127, code)))
    for axis, before, after in ((ROWS, top, bottom), (COLUMNS, left, right)):
        if before or after:
            cube = copies.repeated_edges(cube, axis, _order(cube, axis, before, after, op.mode))
    return cube


def _order(cube: Value, axis: int, before: int, after: int, mode: str) -> Sequence[int]:
    """Which row or column is where behind the padding."""
    size = nvdla.cube_shape(cube.type)[axis]
    places = range(-before, size + after)
    if mode == "edge":
        return [min(max(place, 0), size - 1) for place in places]
    return [size - 1 - abs(size - 1 - abs(place)) for place in places]
