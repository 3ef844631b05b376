"""Cubes whose columns are apart: how a unit that works on each pixel for itself takes them.

Units step from pixel to pixel by one memory atom, but from row to row and from surface to surface
by strides. Told that a cube is one column wide, they step from pixel to pixel by the line stride.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from attrs import frozen

from nvdla_ir.dialects.layer import describe
from nvdla_ir.dialects.nvdla import CdpOp, SdpOp
from nvdla_ir.hardware.faults import LARGEST_EXTENT
from nvdla_ir.hardware.place import CubePlace
from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.hw.formats.feature import FeatureLayout
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.operation import Operation, Value
from nvdla_ir.passes.settings.memory import (
    channels_height_width,
    has_columns_apart,
    in_memory,
    located_cube,
)

Way = Literal["as it is", "pixels as rows", "rows as surfaces", "surfaces as rows"]


@frozen
class Arrangement:
    """What a unit is told of cubes of ``channels`` x ``height`` x ``width``.

    as it is:         just that
    pixels as rows:   one column of all pixels; rows follow each other as columns do
    rows as surfaces: one column of a row's pixels; each row is a surface, of one atom of channels
    surfaces as rows: one surface; each row is the one row of a surface
    """

    way: Way
    channels: int
    height: int
    width: int
    atom: int

    @property
    def extents(self) -> tuple[int, int, int]:
        """Channels, height and width as the unit is told."""
        if self.way == "as it is":
            return self.channels, self.height, self.width
        if self.way == "pixels as rows":
            return self.channels, self.height * self.width, 1
        if self.way == "surfaces as rows":
            return self.atom, self.channels // self.atom, self.width
        return self.height * self.atom, self.width, 1

    def strides(self, column: int, line: int, surface: int) -> tuple[int, int]:
        """The line and surface strides, of a cube with these."""
        if self.way == "as it is":
            return line, surface
        if self.way == "surfaces as rows":
            return surface, surface * (self.channels // self.atom)
        return column, surface if self.way == "pixels as rows" else line

    def place(self, value: Value, op: Operation, hw: HardwareConfiguration) -> CubePlace:
        """Where ``value`` lies. Raises: DiagnosticError where it is no cube with a place."""
        cube = located_cube(value, op, hw)
        column = in_memory(value, op).buffer.column_stride or hw.memory_atom
        strides = self.strides(column, cube.layout.line_stride, cube.layout.surface_stride)
        layout = FeatureLayout(*self.extents, self.atom, *strides)
        return CubePlace(cube.address, layout, cube.memory)


def arrangement(
    op: SdpOp | CdpOp, cubes: Sequence[Value], hw: HardwareConfiguration, *, per_channel: bool
) -> Arrangement:
    """How the unit takes ``cubes``, all of one size.

    per_channel: whether it does something else to each channel

    Raises: DiagnosticError where columns are apart, and no way leads to them.
    """
    channels, height, width = channels_height_width(op.input)

    def by(way: Way) -> Arrangement:
        return Arrangement(way, channels, height, width, hw.memory_atom)

    surfaces, rest = divmod(channels, hw.memory_atom)
    if height == width == 1 < surfaces and not (rest or per_channel):
        # of one pixel the surfaces must lie one behind the other (sdp.md section 2.1)
        strides = (in_memory(cube, op).buffer.surface_stride for cube in cubes)
        if any(stride not in (None, hw.memory_atom) for stride in strides):
            return by("surfaces as rows")
    if not any(map(has_columns_apart, cubes)):
        return by("as it is")
    linear = height * width <= LARGEST_EXTENT and all(_is_linear(cube, op, hw) for cube in cubes)
    if linear:
        return by("pixels as rows")
    if channels <= hw.memory_atom and not per_channel:
        return by("rows as surfaces")
    raise DiagnosticError.at(
        op.location,
        f"{describe(op)} works on columns that are apart, {height} rows of {width}. It can take up "
        f"to {LARGEST_EXTENT} pixels whose rows follow each other as columns do, or up to "
        f"{hw.memory_atom} channels, all treated alike: cut it into groups of rows or channels",
    )


def _is_linear(value: Value, op: Operation, hw: HardwareConfiguration) -> bool:
    """Whether each pixel of ``value`` is as far behind the one before it as in a row."""
    buffer = in_memory(value, op).buffer
    _, height, width = channels_height_width(value)
    column = buffer.column_stride or hw.memory_atom
    return height == 1 or buffer.line_stride == width * column
