"""Device programs: functions of what the hardware computes between two operations of the host.

    func.func private @main_program_0(%x: tensor<1x8x4x4xi8> {nvdla.buffer = {address = …, …}})
        -> (tensor<1x8x4x4xi8> {nvdla.buffer = {…}}) attributes {nvdla.program} { … }

Its arguments and results are tensors in the memory of the hardware. ``nvdla.buffer`` says in what
format each is, and where, once ``allocate-memory`` has bound it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import frozen

from nvdla_ir.dialects.func import CallOp, FuncOp, called_function
from nvdla_ir.dialects.nvdla.operations import FEATURE
from nvdla_ir.ir.attributes import Attribute, DictAttr, IntegerAttr, StringAttr, UnitAttr
from nvdla_ir.ir.operation import BlockArgument, Operation, Result, Value

PROGRAM_ATTRIBUTE = "nvdla.program"
BUFFER_ATTRIBUTE = "nvdla.buffer"
ADDRESS_ATTRIBUTE = "nvdla.address"
"""Of an argument or result of the host's function: where it must lie in memory."""


@frozen
class Buffer:
    """How a tensor lies in memory.

    format:         ``feature`` or a pixel format
    address:        of the first byte; None where it has no place yet
    column_stride:  bytes between columns that do not follow each other
    line_stride:    bytes between rows
    surface_stride: bytes between groups of channels, or the planes of an image
    """

    format: str = FEATURE
    address: int | None = None
    column_stride: int | None = None
    line_stride: int | None = None
    surface_stride: int | None = None

    @staticmethod
    def from_attribute(attribute: Attribute | None) -> Buffer:
        """What ``attribute`` says of it; the defaults for the rest."""
        if not isinstance(attribute, DictAttr):
            return Buffer()
        entries = attribute.mapping
        format = entries.get("format")
        return Buffer(
            format.value if isinstance(format, StringAttr) else FEATURE,
            *(
                value.value if isinstance(value := entries.get(name), IntegerAttr) else None
                for name in _NUMBERS
            ),
        )

    def to_attribute(self) -> DictAttr:
        """Without what is not known."""
        entries: list[tuple[str, Attribute]] = []
        if self.format != FEATURE:
            entries.append(("format", StringAttr(self.format)))
        for name in _NUMBERS:
            value: int | None = getattr(self, name)
            if value is not None:
                entries.append((name, IntegerAttr(value)))
        return DictAttr(tuple(entries))


_NUMBERS = ("address", "column_stride", "line_stride", "surface_stride")


def is_program(operation: Operation | None) -> bool:
    """Whether ``operation`` is a device program."""
    return isinstance(operation, FuncOp) and PROGRAM_ATTRIBUTE in operation.attributes


def called_program(value: Operation | None) -> FuncOp | None:
    """The device program that is called; None for what calls none."""
    function = called_function(value) if isinstance(value, CallOp) else None
    return function if is_program(function) else None


def bound_buffer(value: Value) -> Buffer | None:
    """The buffer of an argument of a device program, or of a result where it is called; None for
    other values."""
    if isinstance(value, BlockArgument):
        function = value.block.parent_op
        if isinstance(function, FuncOp) and is_program(function):
            return _buffer(function.arg_attrs, value.index)
    elif isinstance(value, Result):
        program = called_program(value.defining_operation)
        if program is not None:
            return _buffer(program.res_attrs, value.index)
    return None


def _buffer(attributes: Sequence[Mapping[str, Attribute]] | None, index: int) -> Buffer:
    return Buffer.from_attribute(attributes[index].get(BUFFER_ATTRIBUTE) if attributes else None)


def bind_buffers(program: FuncOp, inputs: Sequence[Buffer], outputs: Sequence[Buffer]) -> None:
    """Say where the arguments and results of ``program`` are."""
    program.arg_attrs = _with_buffers(program.arg_attrs, inputs)
    program.res_attrs = _with_buffers(program.res_attrs, outputs)


def _with_buffers(
    attributes: Sequence[Mapping[str, Attribute]] | None, buffers: Sequence[Buffer]
) -> tuple[Mapping[str, Attribute], ...] | None:
    none: Mapping[str, Attribute] = {}
    found = attributes or [none] * len(buffers)
    merged: list[dict[str, Attribute]] = []
    for entries, buffer in zip(found, buffers, strict=True):
        kept = {key: value for key, value in entries.items() if key != BUFFER_ATTRIBUTE}
        if buffer != Buffer():
            kept[BUFFER_ATTRIBUTE] = buffer.to_attribute()
        merged.append(kept)
    return tuple(merged) if any(merged) else None


PROGRAM = UnitAttr()
"""The value of ``nvdla.program``."""
