"""The tensors that an application binds: their names, types and places. Source: loadable.md
sections 1 and 6."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from attrs import evolve, frozen

from nvdla_ir.dialects.csb import BYTES
from nvdla_ir.dialects.nvdla import FEATURE, UploadOp
from nvdla_ir.formats.loadable.buffers import Buffer
from nvdla_ir.formats.loadable.container import TensorEntry
from nvdla_ir.formats.loadable.transfers import Transfer
from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.hw.formats.feature import FeatureLayout
from nvdla_ir.hw.formats.image import ImageLayout
from nvdla_ir.hw.formats.sizes import LayoutError
from nvdla_ir.hw.pixels import PIXEL_FORMATS_BY_CODE
from nvdla_ir.hw.suggestion import nearest
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.location import Location
from nvdla_ir.ir.types import I8, UI8, TensorType
from nvdla_ir.passes.settings.memory import in_memory, packed_image, placed_cube, placed_upload

_FEATURE_FORMATS = (36, 37)
_FORMAT_OF_ATOM = {32: 36, 8: 37}
_NCHW, _NHWC, _NCXHWX = 1, 2, 3
_IMAGE_CATEGORY, _FEATURE_CATEGORY = 0, 2
_ELEMENTS = {4: I8, 5: UI8}
_CODES = {element: code for code, element in _ELEMENTS.items()}
_TYPES = ("unknown", "float", "half", "INT16", "INT8", "UINT8", "UINT16")
_LARGEST_EXTENT = 8192
_LONGEST_NAME = 80


@frozen(eq=False)
class BoundTensor:
    """How a bound buffer is seen by the application: as ``type``, in the layout of ``format``.
    ``surface_stride`` is that of feature cubes, or what lies between the planes of an image."""

    name: str
    buffer: Buffer
    type: TensorType
    format: str
    address: int
    line_stride: int
    surface_stride: int


def tensor_names(buffers: Sequence[Buffer], fallback: str) -> list[str]:
    """A name for each buffer: that of its tensor, made fit for command lines and unique."""
    # names, each with the number that its next namesake may try
    names: dict[str, int] = {}
    for index, buffer in enumerate(buffers):
        given = "" if buffer.tensor is None else buffer.tensor.name
        base = re.sub(r"[^\w.$/:-]", "_", given, flags=re.ASCII)[:_LONGEST_NAME]
        base = base if base.strip("-") else f"{fallback}{index}"
        name = base
        while name in names:
            name = f"{base}.{names[base]}"
            names[base] += 1
        names[name] = 1
    return list(names)


def require_known(
    asked: Collection[str], known: Sequence[str], what: str, location: Location
) -> None:
    """Raises: DiagnosticError for a name among ``asked`` that is not known."""
    for name in sorted(asked):
        if name not in known:
            listed = ", ".join(f"'{other}'" for other in known) or "none"
            raise DiagnosticError.at(
                location, f"has no {what} '{name}'{nearest(name, known)}: it has {listed}"
            )


def bound_bytes(name: str, buffer: Buffer, location: Location) -> BoundTensor:
    """The whole buffer as bytes.

    Raises: DiagnosticError for a buffer without any.
    """
    if not buffer.size:
        raise DiagnosticError.at(location, f"the buffer of '{name}' has no bytes")
    return BoundTensor(name, buffer, TensorType((buffer.size,), I8), BYTES, buffer.address, 0, 0)


def bound_tensor(
    name: str, buffer: Buffer, hw: HardwareConfiguration, location: Location
) -> BoundTensor:
    """The tensor in the buffer, as its description says.

    Raises: DiagnosticError, that advises to ask for the bytes, for what has no such form.
    """
    tensor = buffer.tensor
    assert tensor is not None
    element = _ELEMENTS.get(tensor.data_type)
    if element is None:
        known = _TYPES[tensor.data_type] if tensor.data_type < len(_TYPES) else "unknown"
        raise _as_bytes(location, name, f"has the data type {tensor.data_type} ({known})")
    if tensor.n != 1:
        raise _as_bytes(location, name, f"holds {tensor.n} images")
    extents = (tensor.c, tensor.h, tensor.w)
    if not all(1 <= extent <= _LARGEST_EXTENT for extent in extents):
        raise _as_bytes(location, name, f"has the shape {'x'.join(map(str, extents))} (CxHxW)")
    try:
        format, size, has_surfaces = _layout(tensor, extents, hw)
    except LayoutError as error:
        raise _as_bytes(location, name, f"has a layout that {hw.name} has not: {error}") from error
    if tensor.offset + size > buffer.size:
        raise _as_bytes(
            location,
            name,
            f"takes {size} bytes from {tensor.offset} on in memory of {buffer.size} bytes",
        )
    return BoundTensor(
        name,
        buffer,
        TensorType((1, *extents), element),
        format,
        buffer.address + tensor.offset,
        tensor.stride_1,
        tensor.stride_2 if has_surfaces else 0,
    )


def _layout(
    tensor: TensorEntry, extents: tuple[int, int, int], hw: HardwareConfiguration
) -> tuple[str, int, bool]:
    """The name of a tensor's format, the bytes that it takes, and whether it has surfaces, or
    planes, that are apart."""
    channels, height, width = extents
    if tensor.pixel_format in _FEATURE_FORMATS:
        layout = FeatureLayout(
            channels, height, width, hw.memory_atom, tensor.stride_1, tensor.stride_2
        )
        if layout.overlaps:
            raise LayoutError(
                f"strides of {tensor.stride_1} and {tensor.stride_2} bytes make lines overlap"
            )
        return FEATURE, layout.size_bytes, True
    pixel_format = PIXEL_FORMATS_BY_CODE.get(tensor.pixel_format)
    if pixel_format is None:
        raise LayoutError(f"pixel format {tensor.pixel_format} does not exist")
    if pixel_format.planes > 1 and not tensor.stride_2:
        raise LayoutError(f"{pixel_format.name} has two planes, and the second has no place")
    if pixel_format.channels != channels:
        raise LayoutError(f"{pixel_format.name} has {pixel_format.channels} channels")
    packed = ImageLayout.packed(pixel_format, height, width, hw.memory_atom)
    image = evolve(packed, line_strides=(tensor.stride_1, *packed.line_strides[1:]))
    if pixel_format.planes == 1:
        return pixel_format.name, image.size_bytes(0), False
    if tensor.stride_2 % hw.memory_atom or tensor.stride_2 < image.size_bytes(0):
        raise LayoutError(
            f"{pixel_format.name} has its second plane {tensor.stride_2} bytes behind the first, "
            f"which takes {image.size_bytes(0)}"
        )
    return pixel_format.name, tensor.stride_2 + image.size_bytes(1), True


def tensor_entry(
    transfer: Transfer, number: int, memory: int, begin: int, hw: HardwareConfiguration
) -> TensorEntry:
    """The description of an input or output, entry ``number`` of the list, in memory ``memory``,
    which begins at the address ``begin``.

    Raises: DiagnosticError where it has no place that the hardware can use.
    """
    operation, value = transfer.operation, transfer.value
    if isinstance(operation, UploadOp) and operation.format != FEATURE:
        placed_upload(operation, hw)
        image = packed_image(operation, hw)
        buffer = in_memory(value, operation)
        address, extents = buffer.address, (image.pixel_format.channels, image.height, image.width)
        strides = (buffer.buffer.line_stride or 0, buffer.buffer.surface_stride or 0)
        last = image.pixel_format.planes - 1
        size = last * strides[1] + evolve(
            image, line_strides=(strides[0], *image.line_strides[1:])
        ).size_bytes(last)
        forms = (
            _NHWC if extents[0] > 1 else _NCHW,
            _IMAGE_CATEGORY,
            image.pixel_format.code,
        )
    else:
        cube = placed_cube(value, operation, hw)
        layout = cube.layout
        address, extents = cube.address, (layout.channels, layout.height, layout.width)
        strides, size = (layout.line_stride, layout.surface_stride), layout.size_bytes
        forms = _NCXHWX, _FEATURE_CATEGORY, _FORMAT_OF_ATOM.get(hw.memory_atom, _FEATURE_FORMATS[0])
    return TensorEntry(
        name=transfer.name,
        id=number,
        mem_id=memory,
        size=size,
        offset=address - begin,
        data_format=forms[0],
        data_type=_CODES[UI8 if transfer.is_unsigned else I8],
        data_category=forms[1],
        pixel_format=forms[2],
        pixel_mapping=0,
        n=1,
        c=extents[0],
        h=extents[1],
        w=extents[2],
        stride_0=1,
        stride_1=strides[0],
        stride_2=strides[1],
        stride_3=0,
        stride_4=0,
        stride_5=0,
        stride_6=0,
        stride_7=0,
    )


def _as_bytes(location: Location, name: str, reason: str) -> DiagnosticError:
    return DiagnosticError.at(
        location, f"tensor '{name}' {reason}: give and take it as the bytes of its buffer"
    )
