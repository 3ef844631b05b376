"""How tensors of hardware layers lie in memory.

Activations are feature cubes without gaps, or images; constants are weight surfaces or operand
tables. Sources: convolution.md section 2, sdp.md section 2.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from attrs import evolve, frozen
from numpy.typing import NDArray

from nvdla_ir.dialects.layer import describe
from nvdla_ir.dialects.nn.shapes import shape_of, tensor_type, text_of
from nvdla_ir.dialects.nvdla import (
    FEATURE,
    Buffer,
    ConstantOp,
    ConvOp,
    MemoryOp,
    SdpOp,
    SliceOp,
    StageAttr,
    StreamType,
    UploadOp,
    bound_buffer,
    called_program,
    cube_shape,
)
from nvdla_ir.dialects.quant import QuantizedType
from nvdla_ir.hardware.place import BytesPlace, CubePlace, ImagePlace
from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.hw.formats.feature import FeatureLayout
from nvdla_ir.hw.formats.image import ImageLayout
from nvdla_ir.hw.formats.operands import DataUse, OperandLayout
from nvdla_ir.hw.formats.sizes import LayoutError, align_up
from nvdla_ir.hw.formats.weights import (
    extend_image_weights,
    packed_weight_parts,
    weight_surface_bytes,
)
from nvdla_ir.hw.pixels import PIXEL_FORMATS, PixelFormat
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.dialect import did_you_mean
from nvdla_ir.ir.location import UNKNOWN, Location
from nvdla_ir.ir.operation import BlockArgument, Operation, Use, Value
from nvdla_ir.ir.types import IntegerType

# -------------------------------------------------------------- activations


def channels_height_width(value: Value) -> tuple[int, int, int]:
    """The extents of a cube or stream. Raises: DiagnosticError for batches of several cubes."""
    shape = cube_shape(value.type)
    if len(shape) != 4 or shape[0] != 1:
        raise DiagnosticError.at(
            _location_of(value),
            f"{_described(value)} has shape {text_of(shape)}, but a hardware layer works on "
            "1xCxHxW",
        )
    return shape[1], shape[2], shape[3]


def packed_cube(value: Value, hw: HardwareConfiguration) -> FeatureLayout:
    """The layout of a feature cube without gaps."""
    return FeatureLayout.packed(*channels_height_width(value), hw.memory_atom)


@frozen
class InMemory:
    """A tensor in memory, with what is known of its place.

    what, location: of whatever puts it there, for messages
    """

    what: str
    location: Location
    buffer: Buffer

    @property
    def address(self) -> int:
        """Raises: DiagnosticError where it has no place yet."""
        if self.buffer.address is None:
            raise DiagnosticError.at(
                self.location,
                f"{self.what} has no place in memory: run 'allocate-memory' first",
            )
        return self.buffer.address

    def lacks_strides(self) -> DiagnosticError:
        """To raise where a stride is missing."""
        return DiagnosticError.at(
            self.location,
            f"{self.what} has an 'address', but not all strides: 'allocate-memory' sets them",
        )


def in_memory(value: Value, reader: Operation) -> InMemory:
    """What is known of the place of ``value``: what an operation says that makes it, or of
    arguments and results of a device program, what is bound.

    Raises: DiagnosticError at ``reader`` where it is not in memory.
    """
    definer = value.defining_operation
    if isinstance(definer, MemoryOp) and not isinstance(value.type, StreamType):
        format = definer.format if isinstance(definer, UploadOp) else FEATURE
        buffer = Buffer(
            format,
            definer.address,
            definer.column_stride,
            definer.line_stride,
            definer.surface_stride,
        )
        return InMemory(describe(definer), definer.location, buffer)
    bound = bound_buffer(value)
    if bound is not None:
        return InMemory(_described(value), _location_of(value), bound)
    raise DiagnosticError.at(
        reader.location,
        f"{describe(reader)} reads a value that is not in the memory of the hardware: "
        "'nvdla.upload' puts it there",
    )


def _described(value: Value) -> str:
    """How to call a value in a message."""
    name = f" '%{value.name_hint}'" if value.name_hint else ""
    definer = value.defining_operation
    if definer is None:
        return f"argument{name}" if name else "an argument"
    return f"result{name} of {describe(definer)}" if called_program(definer) else describe(definer)


def _location_of(value: Value) -> Location:
    definer = value.defining_operation
    if definer is not None:
        return definer.location
    return value.location if isinstance(value, BlockArgument) else UNKNOWN


def buffer_of(value: Value, reader: Operation) -> Buffer:
    """The buffer that holds ``value``, as far as it is known.

    Raises: DiagnosticError at ``reader`` where it is not in memory.
    """
    return evolve(in_memory(value, reader).buffer, format=image_format(value) or FEATURE)


def placed_cube(value: Value, reader: Operation, hw: HardwareConfiguration) -> CubePlace:
    """Where the cube ``value`` lies, for ``reader``.

    Raises: DiagnosticError where it is no feature cube in memory.
    """
    if has_columns_apart(value):
        raise DiagnosticError.at(
            reader.location,
            f"{describe(reader)} takes columns that follow each other, but those of "
            f"{in_memory(value, reader).what} are apart: a copy by 'nvdla.sdp' from "
            "memory to memory must come between",
        )
    return located_cube(value, reader, hw)


def has_columns_apart(value: Value) -> bool:
    """Whether others lie between the columns of ``value``."""
    source = value.defining_operation
    if isinstance(source, MemoryOp):
        return source.column_stride is not None
    bound = bound_buffer(value)
    return bound is not None and bound.column_stride is not None


def located_cube(value: Value, reader: Operation, hw: HardwareConfiguration) -> CubePlace:
    """As ``placed_cube``, for readers that heed ``column_stride`` themselves."""
    source = in_memory(value, reader)
    format = image_format(value)
    if format is not None:
        raise DiagnosticError.at(
            reader.location,
            f"{describe(reader)} reads a feature cube, but its input was uploaded as an image of "
            f"format '{format}'",
        )
    address, buffer = source.address, source.buffer
    if buffer.line_stride is None or buffer.surface_stride is None:
        raise source.lacks_strides()
    try:
        layout = FeatureLayout(
            *channels_height_width(value),
            hw.memory_atom,
            buffer.line_stride,
            buffer.surface_stride,
        )
    except LayoutError as error:
        raise DiagnosticError.at(source.location, f"{source.what}: {error}") from error
    return CubePlace(address, layout)


# -------------------------------------------------------------- images


def pixel_format_of(op: UploadOp | ConvOp, name: str, hw: HardwareConfiguration) -> PixelFormat:
    """The pixel format ``name`` that ``op`` asks for.

    Raises: DiagnosticError where it is unknown or the hardware does not read it.
    """
    pixel_format = PIXEL_FORMATS.get(name)
    if pixel_format is None:
        raise DiagnosticError.at(
            op.location,
            f"{describe(op)} has the unknown pixel format '{name}'"
            f"{did_you_mean(name, PIXEL_FORMATS)}",
        )
    if pixel_format.component_bits != 8 or not hw.supports_pixel_format(pixel_format):
        raise DiagnosticError.at(
            op.location,
            f"{describe(op)} has the pixel format '{name}', which {hw.name} does not read; it "
            f"reads {', '.join(hw.pixel_formats)}",
        )
    return pixel_format


def packed_image(upload: UploadOp, hw: HardwareConfiguration) -> ImageLayout:
    """The layout of an uploaded image: rows as short as the memory atom allows.

    Raises: DiagnosticError where the tensor is no image of the format.
    """
    pixel_format = pixel_format_of(upload, upload.format, hw)
    channels, height, width = channels_height_width(upload.output)
    if channels != pixel_format.channels:
        raise DiagnosticError.at(
            upload.location,
            f"{describe(upload)} has {channels} channels, but pixels of format "
            f"'{pixel_format.name}' have {pixel_format.channels}",
        )
    return ImageLayout.packed(pixel_format, height, width, hw.memory_atom)


def image_format(value: Value) -> str | None:
    """The pixel format of what is an uploaded image, or rows of one; None for feature cubes."""
    source = value.defining_operation
    while isinstance(source, SliceOp):
        value = source.input
        source = value.defining_operation
    bound = bound_buffer(value)
    format = bound.format if bound is not None else FEATURE
    if isinstance(source, UploadOp):
        format = source.format
    return None if format == FEATURE else format


def placed_image(value: Value, reader: ConvOp, hw: HardwareConfiguration) -> ImagePlace:
    """Where the image ``value``, or rows of one, lie; those of the second plane are as short as
    possible.

    Raises: DiagnosticError where it has no place, or one that the hardware cannot read.
    """
    assert reader.pixel_format is not None
    pixel_format = pixel_format_of(reader, reader.pixel_format, hw)
    return _placed_image(value, in_memory(value, reader), pixel_format, hw)


def placed_upload(upload: UploadOp, hw: HardwareConfiguration) -> None:
    """See that what is uploaded has a place that the hardware can read.

    Raises: DiagnosticError where it has not.
    """
    if upload.format == FEATURE:
        placed_cube(upload.output, upload, hw)
    else:
        source = in_memory(upload.output, upload)
        _placed_image(upload.output, source, packed_image(upload, hw).pixel_format, hw)


def _placed_image(
    value: Value, source: InMemory, pixel_format: PixelFormat, hw: HardwareConfiguration
) -> ImagePlace:
    _, height, width = channels_height_width(value)
    packed = ImageLayout.packed(pixel_format, height, width, hw.memory_atom)
    addresses, buffer = [source.address], source.buffer
    if buffer.line_stride is None or (len(packed.line_strides) > 1 and not buffer.surface_stride):
        raise source.lacks_strides()
    if len(packed.line_strides) > 1:
        addresses.append(addresses[0] + (buffer.surface_stride or 0))
    try:
        layout = evolve(packed, line_strides=(buffer.line_stride, *packed.line_strides[1:]))
    except LayoutError as error:
        raise DiagnosticError.at(source.location, f"{source.what}: {error}") from error
    return ImagePlace(tuple(addresses), layout.line_strides)


def buffer_bytes(buffer: Value, hw: HardwareConfiguration, alignment: int) -> int:
    """What a cube or an image takes that lies in no other; planes of an image are aligned."""
    source = buffer.defining_operation
    if isinstance(source, UploadOp) and source.format != FEATURE:
        image = packed_image(source, hw)
        last = image.pixel_format.planes - 1
        return last * plane_stride(image, alignment) + image.size_bytes(last)
    return packed_cube(buffer, hw).size_bytes


@frozen
class Extent:
    """The bytes from ``begin`` to ``end``, excluded, that a cube or an image takes which lies in no
    other; of a cube also how it lies there."""

    begin: int
    end: int
    layout: FeatureLayout | None = None

    def meets(self, other: Extent) -> bool:
        """Whether both have a byte."""
        return self.begin < other.end and other.begin < self.end

    def is_in_place_of(self, other: Extent) -> bool:
        """Whether both are cubes with each element at the same address."""
        return self.layout is not None and self == other


def extent_of(buffer: Value, hw: HardwareConfiguration) -> Extent:
    """The bytes of a cube or an image that lies in no other.

    Raises: DiagnosticError where it has no place, or one that the hardware cannot read.
    """
    source = buffer.defining_operation
    assert isinstance(source, MemoryOp)
    if not isinstance(source, UploadOp) or source.format == FEATURE:
        cube = placed_cube(buffer, source, hw)
        return Extent(cube.address, cube.address + cube.layout.size_bytes, cube.layout)
    image = packed_image(source, hw)
    place = _placed_image(buffer, in_memory(buffer, source), image.pixel_format, hw)
    last = image.pixel_format.planes - 1
    layout = evolve(image, line_strides=place.line_strides)
    return Extent(place.addresses[0], place.addresses[last] + layout.size_bytes(last))


def plane_stride(image: ImageLayout, alignment: int) -> int:
    """Bytes from the first plane of an image to the second."""
    return align_up(image.height * image.line_strides[0], alignment)


# -------------------------------------------------------------- constants


@frozen
class WeightLayout:
    """Weights KxCxRxS as convolutions read them, in groups of ``group`` kernels; ``image``: for
    image input."""

    shape: tuple[int, ...]
    group: int
    image: bool

    def size_bytes(self, hw: HardwareConfiguration) -> int:
        """Bytes in memory, the padding at the end included."""
        kernels, channels, rows, columns = self.shape
        return weight_surface_bytes((kernels, channels, rows, columns), hw.weight_alignment)

    def parts(
        self, array: NDArray[np.int8], hw: HardwareConfiguration
    ) -> Iterable[NDArray[np.int8]]:
        """The bytes of weights of this shape, in parts that follow one another."""
        if self.image:
            array = extend_image_weights(array)
        return packed_weight_parts(array, self.group, hw.atomic_c, hw.weight_alignment)


@frozen
class TableLayout:
    """An operand table as the SDP reads it."""

    operands: OperandLayout

    def size_bytes(self, hw: HardwareConfiguration) -> int:
        """Bytes in memory, the lanes that fill up the last atom included."""
        return self.operands.size_bytes

    def pack(self, array: NDArray[Any]) -> NDArray[np.int8]:
        """The bytes of a table: K, Kx2 (ALU, MUL) or 1xCxHxW. Raises: LayoutError."""
        if self.operands.use == "BOTH":
            return self.operands.pack(alu=array[:, 0], mul=array[:, 1])
        if self.operands.mode == "PER_ELEMENT":
            array = array[0]
        if self.operands.use == "ALU":
            return self.operands.pack(alu=array)
        return self.operands.pack(mul=array)


def constant_of(value: Value) -> ConstantOp | None:
    """The constant that ``value`` is, or is some kernels of."""
    source = value.defining_operation
    while isinstance(source, SliceOp):
        source = source.input.defining_operation
    return source if isinstance(source, ConstantOp) else None


def kernels_a_group(value: Value, hw: HardwareConfiguration) -> int:
    """How many kernels of the weights ``value`` lie interleaved: as many as the hardware computes
    at once, or the fewer of each slice that they are cut into, as the first one tells."""
    constant = constant_of(value)
    if constant is None or constant.output is value:
        return hw.atomic_k
    slices = (user for user in constant.output.users if isinstance(user, SliceOp))
    first = next((piece.size for piece in slices if piece.begin == 0), hw.atomic_k)
    return min(hw.atomic_k, first)


def placed_weights(op: ConvOp, hw: HardwareConfiguration) -> BytesPlace:
    """Where the weights of ``op`` lie.

    Raises: DiagnosticError where that is nowhere, or where they are not whole groups of kernels.
    """
    place = in_memory(op.weight, op)
    source = op.weight.defining_operation
    if isinstance(source, SliceOp):
        group = kernels_a_group(op.weight, hw)
        is_whole = group == hw.atomic_k or source.size <= group
        if source.axis != 0 or source.begin % group or not is_whole:
            raise DiagnosticError.at(
                op.location,
                f"{describe(op)} reads a slice of weights, {source.size} from {source.begin} of "
                f"axis {source.axis} on, but kernels (axis 0) lie in groups of {group}",
            )
    return BytesPlace(place.address)


def constant_layout(use: Use, hw: HardwareConfiguration) -> WeightLayout | TableLayout:
    """How a constant lies in memory for one of its uses.

    Raises: DiagnosticError for an operation that reads no constants, or at another operand.
    """
    operation, index = use
    value = operation.operands[index]
    if isinstance(operation, SliceOp) and operation.output.uses:
        layout = constant_layout(next(iter(operation.output.uses)), hw)
        if isinstance(layout, WeightLayout):
            return evolve(layout, shape=shape_of(value))
    if isinstance(operation, ConvOp) and index == 1:
        shape = shape_of(value)
        if len(shape) != 4 or tensor_type(value).element != IntegerType(8):
            raise DiagnosticError.at(
                operation.location,
                f"{describe(operation)} has weights of type '{value.type}', but they must be "
                "KxCxRxS of i8",
            )
        group = kernels_a_group(value, hw)
        return WeightLayout(shape, group, operation.pixel_format is not None)
    if isinstance(operation, SdpOp) and index > 0:
        read = [stage for _, stage, table in operation.stages if table is not None]
        stage = read[index - 1]
        return TableLayout(operand_layout(value, stage, operation, hw))
    raise DiagnosticError.at(
        operation.location,
        f"{describe(operation)} reads a constant where it must read a cube: 'nvdla.upload' puts "
        "cubes into memory",
    )


def operand_layout(
    value: Value, stage: StageAttr, op: SdpOp, hw: HardwareConfiguration
) -> OperandLayout:
    """The layout without gaps of what an SDP unit reads (sdp.md section 2.2)."""
    element = tensor_type(value).element
    storage = element.storage if isinstance(element, QuantizedType) else element
    assert isinstance(storage, IntegerType)
    return OperandLayout.packed(
        *channels_height_width(op.input),
        hw.memory_atom,
        data_use(stage),
        "TWO_BYTE" if storage.width == 16 else "ONE_BYTE",
        "PER_KERNEL" if reads_per_channel(value, op) else "PER_ELEMENT",
    )


def reads_per_channel(value: Value, op: SdpOp) -> bool:
    """Whether a channel's elements share what ``op`` reads of ``value``: a table, or a cube of one
    pixel beside larger ones, which is the same bytes (sdp.md section 2.2)."""
    shape = shape_of(value)
    return len(shape) != 4 or (shape[2:] == (1, 1) != cube_shape(op.input.type)[2:])


def data_use(stage: StageAttr) -> DataUse:
    """Which of a stage's operands come from memory; at least one does."""
    if stage.alu_from_memory and stage.mul_from_memory:
        return "BOTH"
    return "ALU" if stage.alu_from_memory else "MUL"
