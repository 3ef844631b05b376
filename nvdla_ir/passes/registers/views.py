"""Which cubes lie inside others: parts of concatenations, and slices."""

from __future__ import annotations

from attrs import define, field, frozen

from nvdla_ir.dialects.layer import describe
from nvdla_ir.dialects.nvdla import (
    ConcatOp,
    ConstantOp,
    MemoryOp,
    SliceOp,
    UploadOp,
)
from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.operation import Block, Operation, Value
from nvdla_ir.passes.registers.memory import FEATURE, channels_height_width, memory_source


@frozen(eq=False)
class View:
    """A cube's place: from ``channel`` on in the cube ``buffer``, which lies in no other."""

    buffer: Value
    channel: int


@define(eq=False)
class Views:
    """The cubes of a block, and where each lies.

    Raises: DiagnosticError, by ``of_block``, for a cube that would have to be in two places, and
    for a view that does not start at a memory atom.
    """

    _parents: dict[Value, tuple[Value, int]] = field(factory=dict[Value, "tuple[Value, int]"])

    @staticmethod
    def of_block(block: Block, hw: HardwareConfiguration) -> Views:
        views = Views()
        for operation in block.operations:
            if isinstance(operation, ConcatOp):
                views._add_concat(operation, hw)
            elif isinstance(operation, SliceOp):
                _require_cube(operation.input, operation)
                _require_aligned(operation, "starts at", operation.begin, hw)
                views._parents[operation.output] = (operation.input, operation.begin)
        return views

    def place(self, value: Value) -> View:
        """Where ``value`` lies in the buffer that holds it."""
        channel = 0
        while value in self._parents:
            value, offset = self._parents[value]
            channel += offset
        return View(value, channel)

    def _add_concat(self, concat: ConcatOp, hw: HardwareConfiguration) -> None:
        channel = 0
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
                _require_aligned(concat, f"puts its input {index} at", channel, hw)
            self._parents[part] = (concat.output, channel)
            channel += channels_height_width(part)[0]


def _require_cube(value: Value, reader: Operation) -> MemoryOp:
    source = memory_source(value, reader)
    if isinstance(source, ConstantOp) or (
        isinstance(source, UploadOp) and source.format != FEATURE
    ):
        raise DiagnosticError.at(
            reader.location, f"{describe(reader)} takes feature cubes, not {describe(source)}"
        )
    return source


def _require_aligned(
    operation: Operation, verb: str, channel: int, hw: HardwareConfiguration
) -> None:
    if channel % hw.memory_atom:
        raise DiagnosticError.at(
            operation.location,
            f"{describe(operation)} {verb} channel {channel}, but views start at multiples of the "
            f"memory atom, which is {hw.memory_atom} channels on {hw.name}",
        )


def is_view(operation: Operation) -> bool:
    """Whether the operation only renames memory."""
    return isinstance(operation, SliceOp | ConcatOp)
