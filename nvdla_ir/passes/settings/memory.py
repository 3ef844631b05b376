"""How tensors of hardware layers lie in memory.

Activations are feature cubes without gaps, or images. Sources: convolution.md section 2, sdp.md
section 2.
"""

from __future__ import annotations

from attrs import evolve, frozen

from nvdla_ir.dialects.layer import describe
from nvdla_ir.dialects.nn.shapes import text_of
from nvdla_ir.dialects.nvdla import (
    FEATURE,
    Buffer,
    ConvOp,
    MemoryOp,
    SliceOp,
    StreamType,
    UploadOp,
    bound_buffer,
    called_program,
    cube_shape,
)
from nvdla_ir.hardware.place import CubePlace, ImagePlace, Memory
from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.hw.formats.feature import FeatureLayout
from nvdla_ir.hw.formats.image import ImageLayout
from nvdla_ir.hw.formats.sizes import LayoutError, align_up
from nvdla_ir.hw.pixels import PIXEL_FORMATS, PixelFormat
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.dialect import did_you_mean
from nvdla_ir.ir.location import UNKNOWN, Location
from nvdla_ir.ir.operation import BlockArgument, Operation, Value

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
    memory: Memory = Memory.PRIMARY

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
        memory = Memory.PRIMARY if definer.memory is None else Memory.SECONDARY
        return InMemory(describe(definer), definer.location, buffer, memory)
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
    return CubePlace(address, layout, source.memory)


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
    memory: Memory = Memory.PRIMARY

    def meets(self, other: Extent) -> bool:
        """Whether both have a byte."""
        return self.memory is other.memory and self.begin < other.end and other.begin < self.end

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
        end = cube.address + cube.layout.size_bytes
        return Extent(cube.address, end, cube.layout, cube.memory)
    image = packed_image(source, hw)
    place = _placed_image(buffer, in_memory(buffer, source), image.pixel_format, hw)
    last = image.pixel_format.planes - 1
    layout = evolve(image, line_strides=place.line_strides)
    return Extent(place.addresses[0], place.addresses[last] + layout.size_bytes(last))


def plane_stride(image: ImageLayout, alignment: int) -> int:
    """Bytes from the first plane of an image to the second."""
    return align_up(image.height * image.line_strides[0], alignment)
