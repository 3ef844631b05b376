"""Which cubes lie inside others: parts of concatenations, and slices."""

from __future__ import annotations

from attrs import define, field, frozen

from nvdla_ir.dialects.layer import describe
from nvdla_ir.dialects.nvdla import (
    CHANNELS,
    COLUMNS,
    ROWS,
    ConcatOp,
    ConstantOp,
    MemoryOp,
    SliceOp,
    cube_shape,
)
from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.operation import Block, Operation, Value
from nvdla_ir.passes.settings.memory import constant_of, image_format, memory_source


@frozen
class Begin:
    """Where a view begins in what it is a view of."""

    channel: int = 0
    row: int = 0
    column: int = 0

    @staticmethod
    def along(axis: int, begin: int) -> Begin:
        """From element ``begin`` of an axis on."""
        names = {CHANNELS: "channel", ROWS: "row", COLUMNS: "column"}
        return Begin(**{names[axis]: begin})

    def __add__(self, other: Begin) -> Begin:
        return Begin(self.channel + other.channel, self.row + other.row, self.column + other.column)


@frozen(eq=False)
class View:
    """A cube's place: from ``begin`` on in the cube ``buffer``, which lies in no other."""

    buffer: Value
    begin: Begin


@define(eq=False)
class Views:
    """The cubes and images of a block, and where each lies.

    Raises: DiagnosticError, by ``of_block``, for a cube that would have to be in two places, and
    for a view that does not start at a memory atom.
    """

    _parents: dict[Value, tuple[Value, Begin]] = field(factory=dict[Value, "tuple[Value, Begin]"])

    @staticmethod
    def of_block(block: Block, hw: HardwareConfiguration) -> Views:
        views = Views()
        for operation in block.operations:
            if isinstance(operation, ConcatOp):
                views._add_concat(operation, hw)
            elif isinstance(operation, SliceOp) and constant_of(operation.input) is None:
                _require_sliceable(operation)
                _require_aligned(operation, "starts at", operation.axis, operation.begin, hw)
                begin = Begin.along(operation.axis, operation.begin)
                views._parents[operation.output] = operation.input, begin
        return views

    def place(self, value: Value) -> View:
        """Where ``value`` lies in the buffer that holds it."""
        begin = Begin()
        while value in self._parents:
            value, offset = self._parents[value]
            begin += offset
        return View(value, begin)

    def _add_concat(self, concat: ConcatOp, hw: HardwareConfiguration) -> None:
        position = 0
        for index, part in enumerate(concat.inputs):
            source = _require_cube(part, concat)
            if isinstance(source, SliceOp) or part in self._parents:
                other = "a slice of" if isinstance(source, SliceOp) else "a part of"
                raise DiagnosticError.at(
                    concat.location,
                    f"{describe(concat)} joins {describe(source)}, which is {other} another cube "
                    "already: a copy by 'nvdla.sdp' must come between",
                )
            if index:
                _require_aligned(concat, f"puts its input {index} at", concat.axis, position, hw)
            self._parents[part] = concat.output, Begin.along(concat.axis, position)
            position += cube_shape(part.type)[concat.axis]


def _require_sliceable(operation: SliceOp) -> None:
    if operation.axis == 0:
        raise DiagnosticError.at(
            operation.location,
            f"{describe(operation)} slices axis 0 of a cube, but cubes come one at a time",
        )
    if image_format(operation.input) is not None and operation.axis != ROWS:
        raise DiagnosticError.at(
            operation.location,
            f"{describe(operation)} slices axis {operation.axis} of an image, but only its rows "
            f"(axis {ROWS}) can be taken apart",
        )


def _require_cube(value: Value, reader: Operation) -> MemoryOp:
    source = memory_source(value, reader)
    if isinstance(source, ConstantOp) or image_format(value) is not None:
        raise DiagnosticError.at(
            reader.location, f"{describe(reader)} takes feature cubes, not {describe(source)}"
        )
    return source


def _require_aligned(
    operation: Operation, verb: str, axis: int, begin: int, hw: HardwareConfiguration
) -> None:
    if axis == CHANNELS and begin % hw.memory_atom:
        raise DiagnosticError.at(
            operation.location,
            f"{describe(operation)} {verb} channel {begin}, but views start at multiples of the "
            f"memory atom, which is {hw.memory_atom} channels on {hw.name}",
        )


def is_view(operation: Operation) -> bool:
    """Whether the operation only renames memory."""
    return isinstance(operation, SliceOp | ConcatOp)
