"""Which cubes lie inside others: parts of concatenations and of interleaved cubes, and slices."""

from __future__ import annotations

from attrs import define, field, frozen

from nvdla_ir.dialects.layer import describe
from nvdla_ir.dialects.nvdla import (
    CHANNELS,
    ROWS,
    ConcatOp,
    ConstantOp,
    DownloadOp,
    InterleaveOp,
    SliceOp,
    UploadOp,
    cube_shape,
)
from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.operation import Operation, Value
from nvdla_ir.passes.settings.constants import constant_of
from nvdla_ir.passes.settings.memory import image_format, in_memory
from nvdla_ir.passes.settings.networks import Network


@frozen
class Window:
    """The part of a cube that a view shows: from a channel, row and column on; every
    ``row_step``-th row, and every ``column_step``-th column."""

    channel: int = 0
    row: int = 0
    column: int = 0
    row_step: int = 1
    column_step: int = 1

    @staticmethod
    def along(axis: int, begin: int, step: int = 1) -> Window:
        """From element ``begin`` of an axis on, every ``step``-th."""
        if axis == CHANNELS:
            return Window(channel=begin)
        if axis == ROWS:
            return Window(row=begin, row_step=step)
        return Window(column=begin, column_step=step)

    def within(self, outer: Window) -> Window:
        """The same part, seen from what ``outer`` shows a part of."""
        return Window(
            outer.channel + self.channel,
            outer.row + outer.row_step * self.row,
            outer.column + outer.column_step * self.column,
            outer.row_step * self.row_step,
            outer.column_step * self.column_step,
        )


@frozen(eq=False)
class View:
    """A cube's place: the part ``window`` of the cube ``buffer``, which lies in no other."""

    buffer: Value
    window: Window


@define(eq=False)
class Views:
    """The cubes and images of a network, and where each lies: views reach across programs.

    Raises: DiagnosticError, by ``of_network``, for a cube that would have to be in two places, and
    for a view that does not start at a memory atom.
    """

    network: Network
    _parents: dict[Value, tuple[Value, Window]] = field(factory=dict[Value, "tuple[Value, Window]"])

    @staticmethod
    def of_network(network: Network, hw: HardwareConfiguration) -> Views:
        views = Views(network)
        for operation in network.operations():
            if isinstance(operation, ConcatOp):
                views._add_concat(operation, hw)
            elif isinstance(operation, InterleaveOp):
                step = len(operation.inputs)
                for index, part in enumerate(operation.inputs):
                    views._add_part(part, operation, Window.along(operation.axis, index, step))
            elif isinstance(operation, SliceOp) and constant_of(operation.input) is None:
                _require_sliceable(operation)
                _require_aligned(operation, "starts at", operation.axis, operation.begin, hw)
                window = Window.along(operation.axis, operation.begin, operation.step)
                views._parents[operation.output] = network.source(operation.input), window
        return views

    def place(self, value: Value) -> View:
        """Where ``value`` lies in the buffer that holds it."""
        value = self.network.source(value)
        window = Window()
        while value in self._parents:
            value, outer = self._parents[value]
            window = window.within(outer)
        return View(value, window)

    def _add_concat(self, concat: ConcatOp, hw: HardwareConfiguration) -> None:
        position = 0
        for index, part in enumerate(concat.inputs):
            if index:
                _require_aligned(concat, f"puts its input {index} at", concat.axis, position, hw)
            self._add_part(part, concat, Window.along(concat.axis, position))
            position += cube_shape(part.type)[concat.axis]

    def _add_part(self, part: Value, operation: ConcatOp | InterleaveOp, window: Window) -> None:
        part = self.network.source(part)
        source = _require_cube(part, operation)
        if isinstance(source, SliceOp) or part in self._parents:
            other = "a slice of" if isinstance(source, SliceOp) else "a part of"
            raise DiagnosticError.at(
                operation.location,
                f"{describe(operation)} joins {describe(source)}, which is {other} another cube "
                "already: a copy by 'nvdla.sdp' must come between",
            )
        self._parents[part] = operation.output, window


def transferred(views: Views) -> set[Value]:
    """The cubes and images, such as lie in no other, that the host writes or reads, or that hold
    one that it does."""
    found: set[Value] = set()
    for operation in views.network.host.body.operations:
        if isinstance(operation, UploadOp) and operation.output.is_used:
            found.add(views.place(operation.output).buffer)
        elif isinstance(operation, DownloadOp):
            found.add(views.place(operation.input).buffer)
    return found


def _require_sliceable(operation: SliceOp) -> None:
    if operation.axis == 0:
        raise DiagnosticError.at(
            operation.location,
            f"{describe(operation)} slices axis 0 of a cube, but cubes come one at a time",
        )
    if image_format(operation.input) is None:
        return
    if operation.axis != ROWS or operation.step != 1:
        which = (
            f"every row {operation.step}" if operation.axis == ROWS else f"axis {operation.axis}"
        )
        raise DiagnosticError.at(
            operation.location,
            f"{describe(operation)} slices {which} of an image, but only rows (axis {ROWS}) that "
            "follow each other can be taken",
        )


def _require_cube(value: Value, reader: Operation) -> Operation:
    """What makes the cube ``value``."""
    what = in_memory(value, reader).what
    source = value.defining_operation
    if source is None or isinstance(source, ConstantOp) or image_format(value) is not None:
        raise DiagnosticError.at(
            reader.location, f"{describe(reader)} takes feature cubes, not {what}"
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
    return isinstance(operation, SliceOp | ConcatOp | InterleaveOp)
