"""What the SDP's units read from memory: residual cubes, and tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nvdla_ir.dialects import nn, nvdla
from nvdla_ir.dialects.layer import describe
from nvdla_ir.dialects.nn.shapes import text_of
from nvdla_ir.ir.builder import Builder
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.operation import Operation, Value
from nvdla_ir.ir.types import TensorType
from nvdla_ir.passes.legalization.chains import Unit
from nvdla_ir.passes.legalization.constants import resource_key
from nvdla_ir.passes.legalization.function import FunctionLegalization
from nvdla_ir.passes.legalization.groups import ChannelSlice
from nvdla_ir.passes.refusals import refused

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Operands:
    """Makes the operands of one run of the SDP on a cube of shape ``shape``, or on the channels
    ``part`` of a larger one."""

    def __init__(
        self,
        operations: Sequence[Operation],
        shape: tuple[int, ...],
        part: ChannelSlice | None,
        context: FunctionLegalization,
        builder: Builder,
    ) -> None:
        self._operations = operations
        self._shape = shape
        self._part = part
        self._cubes = context.cubes
        self._constants = context.constants
        self._builder = builder

    def of(self, unit: Unit) -> Value | None:
        """What ``unit`` reads, or None. Raises: DiagnosticError where it would have to read two
        things."""
        read = [value for value in (unit.alu_operand, unit.mul_operand) if value is not None]
        computed = [v for v in read if not isinstance(v.defining_operation, nn.ConstantOp)]
        user = self._user
        if not read:
            return None
        if not computed:
            return self._table(read)
        if len(read) > 1:
            raise DiagnosticError.at(
                user.location,
                f"{describe(user)} adds a tensor and multiplies by another in one unit, which "
                "reads only one from memory",
            )
        cube = self._cubes.cube_of(computed[0], user, self._builder)
        if self._part is not None:
            part = self._part
            cube = slice_channels(cube, part.output_begin, part.output_size, self._builder)
        if nvdla.cube_shape(cube.type) not in (self._shape, (*self._shape[:2], 1, 1)):
            raise refused(
                user.location,
                f"{describe(user)} combines cubes of shapes {text_of(self._shape)} and "
                f"{text_of(nvdla.cube_shape(cube.type))}, which must be equal in memory, too: "
                "flatten them alike",
            )
        return cube

    @property
    def _user(self) -> Operation:
        return self._operations[-1]

    def _table(self, operands: list[Value]) -> Value:
        """One constant for all of them: two tables with a number a channel are interleaved."""
        import numpy as np

        arrays = [self._array(operand) for operand in operands]
        key = resource_key(operands[0], "table")
        if len(arrays) == 1:
            return self._constants.make(arrays[0], key, self._builder)
        if any(array.ndim != 1 for array in arrays):
            user = self._user
            raise refused(
                user.location,
                f"{describe(user)} adds and multiplies in one unit by numbers that are one an "
                "element; together it takes only such as are one a channel",
            )
        both = np.stack(arrays, axis=1)
        return self._constants.make(both, f"{key}.and_multiplier", self._builder)

    def _array(self, operand: Value) -> NDArray[Any]:
        """One number a channel [C], or one an element [1, C, H, W]."""
        user = self._user
        array = self._constants.tensor(operand, user).array()
        if array.dtype.kind != "i" or array.dtype.itemsize > 2:
            raise DiagnosticError.at(
                user.location,
                f"{describe(user)} reads a table of '{operand.type}', but the SDP takes signed "
                "integers of 8 or 16 bits",
            )
        part = self._part
        if part is not None:
            channels = slice(part.output_begin, part.output_begin + part.output_size)
            array = array[channels] if array.ndim == 1 else array[:, channels]
        channels_only = (1, self._shape[1], 1, 1)
        if array.shape == (self._shape[1],) or array.shape == channels_only != self._shape:
            return array.reshape(-1)
        # Of a flattened cube each element is a channel.
        return array.reshape(self._shape)


def slice_channels(cube: Value, begin: int, size: int, builder: Builder) -> Value:
    """Channels ``begin`` to ``begin + size`` of ``cube``."""
    type = nn.tensor_type(cube)
    shape = type.static_shape
    return builder.create(
        nvdla.SliceOp,
        input=cube,
        begin=begin,
        size=size,
        result_types=[TensorType((shape[0], size, *shape[2:]), type.element)],
    ).output
