"""Which cube in memory stands for which int8 value, and the ways between host and memory."""

from __future__ import annotations

from nvdla_ir.dialects import nn, nvdla
from nvdla_ir.dialects.layer import describe
from nvdla_ir.dialects.nn.shapes import text_of
from nvdla_ir.dialects.quant import QuantizedType
from nvdla_ir.ir.builder import Builder, InsertionPoint
from nvdla_ir.ir.operation import Operation, Value
from nvdla_ir.ir.types import TensorType
from nvdla_ir.passes.refusals import refused

_RANK = 4


class Cubes:
    """The cubes of one function.

    A value of the host gets its cube when a hardware layer first reads it, a cube its download
    when the host first reads it. A view has the cube of what it is a view of.
    """

    def __init__(self) -> None:
        self._cubes: dict[Value, Value] = {}
        self._values: dict[Value, list[Value]] = {}
        self._downloads: dict[Value, Value] = {}

    def find(self, value: Value) -> Value | None:
        """The cube, where there is one already."""
        return self._cubes.get(value)

    def settle(self, value: Value, cube: Value) -> None:
        """Let ``cube`` stand for ``value``, which may be a view of what it stands for already."""
        if cube not in self._values:
            cube.name_hint = value.name_hint
        self._settle(value, cube)

    def _settle(self, value: Value, cube: Value) -> None:
        self._cubes[value] = cube
        self._values.setdefault(cube, []).append(value)

    def cube_of(self, value: Value, user: Operation, builder: Builder) -> Value:
        """The cube for ``value``, uploaded if the host has it.

        Raises: DiagnosticError for what is no single image of 8-bit integers.
        """
        cube = self._cubes.get(value)
        if cube is None:
            type = _checked_type(value, user)
            source = value
            if len(type.shape) != _RANK:
                source = builder.create(
                    nn.ReshapeOp, input=value, result_types=[as_cube(type)]
                ).output
            cube = self.upload(value, builder, source=source)
        return cube

    def upload(
        self,
        value: Value,
        builder: Builder,
        *,
        source: Value | None = None,
        format: str = nvdla.FEATURE,
    ) -> Value:
        """What stands for ``value`` of the host: ``source``, the same under another shape, in a
        format in memory."""
        cube = builder.create(nvdla.UploadOp, input=source or value, format=format).output
        what = "cube" if format == nvdla.FEATURE else "image"
        cube.name_hint = f"{value.name_hint}_{what}" if value.name_hint else None
        self._settle(value, cube)
        return cube

    def hand_to_host(self, op: Operation) -> None:
        """Let ``op``, which the host computes, read downloads instead of cubes."""
        for index, operand in enumerate(op.operands):
            cube = self._cubes.get(operand)
            # What was uploaded is the host's already.
            if cube is not None and not isinstance(cube.defining_operation, nvdla.UploadOp):
                op.set_operand(index, self._downloaded(operand, cube, op))

    def _downloaded(self, value: Value, cube: Value, user: Operation) -> Value:
        found = self._downloads.get(value)
        if found is not None:
            return found
        builder = Builder(InsertionPoint.before(user), user.location)
        host = builder.create(nvdla.DownloadOp, input=cube).output
        if host.type != value.type:
            host = builder.create(nn.ReshapeOp, input=host, result_types=[value.type]).output
        host.name_hint = value.name_hint
        self._downloads[value] = host
        return host

    def is_read_once(self, value: Value) -> bool:
        """Whether ``value`` has one reader, and the cube that stands for it no other either."""
        cube = self._cubes[value]
        return cube.use_count <= 1 and all(seen.has_one_use for seen in self._values[cube])

    def stand_in(self, op: Operation) -> None:
        """Give results of a faulty layer a cube, so that the faults of later ones are found."""
        for result in op.results:
            type = result.type
            if result in self._cubes or not isinstance(type, TensorType):
                continue
            if not type.has_static_shape or len(type.shape) > _RANK:
                continue
            builder = Builder(InsertionPoint.before(op), op.location)
            upload = builder.create(nvdla.UploadOp, input=result, result_types=[as_cube(type)])
            self._settle(result, upload.output)


def as_cube(type: TensorType) -> TensorType:
    """``type`` with extents of 1 added up to NxCxHxW."""
    shape = type.static_shape
    return TensorType((*shape, *[1] * (_RANK - len(shape))), type.element)


def _checked_type(value: Value, user: Operation) -> TensorType:
    type = nn.tensor_type(value)
    element, shape = type.element, type.shape
    width = element.storage.width if isinstance(element, QuantizedType) else None
    if width != 8 or not 2 <= len(shape) <= _RANK or shape[0] != 1:
        raise refused(
            user.location,
            f"{describe(user)} reads a '{type}', but a hardware layer works on quantized integers "
            f"of 8 bits, on one image at a time: of shape 1xC or 1xCxHxW, not {text_of(shape)}",
        )
    return type
