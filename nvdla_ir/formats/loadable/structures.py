"""The firmware's descriptors as data: fields in order, in both layouts. Source: loadable.md
section 4.

Structures are packed and little-endian, so a field's place follows from those before it.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import TypeAlias

from attrs import define, field, frozen

_FORMATS = {
    "u8": "B",
    "s8": "b",
    "u16": "H",
    "s16": "h",
    "u32": "I",
    "s32": "i",
    "u64": "Q",
    "s64": "q",
    "f32": "f",
}

LAST_MINOR_WITHOUT_OFFSET = 11
"""Firmware up to 0.11 has data cubes without an offset, of 28 bytes; later ones have 32."""

_CONVERTER = "scale:s16 truncate:u8 enable:u8 offset:s32"
_CUBE = (
    "type:u16 address:s16 {offset}size:u32 width:u16 height:u16 channel:u16 reserved0:u16 "
    "line_stride:u32 surf_stride:u32 plane_stride:u32"
)
_SOURCE_AND_DESTINATION = "src_data:data_cube dst_data:data_cube"

_STRUCTURES = {
    "network": (
        "operation_desc_index:s16 surface_desc_index:s16 dependency_graph_index:s16 "
        "lut_data_index:s16 roi_array_index:s16 surface_index:s16 stat_list_index:s16 "
        "reserved1:s16 op_head:s16[6] num_rois:u16 num_operations:u16 num_luts:u16 "
        "num_addresses:u16 input_layer:s16 dynamic_roi:u8 reserved0:u8"
    ),
    "consumer": "index:s16 event:u8 res:u8",
    "common": (
        "index:s16 roi_index:s8 op_type:u8 dependency_count:u8 reserved0:u8[3] "
        "consumers:consumer[6] fused_parent:consumer"
    ),
    "cvt_param": _CONVERTER,
    "bdma_transfer": (
        "source_address:s16 destination_address:s16 line_size:u32 line_repeat:u32 source_line:u32 "
        "destination_line:u32 surface_repeat:u32 source_surface:u32 destination_surface:u32"
    ),
    "bdma_surface": (
        "source_type:u8 destination_type:u8 num_transfers:u16 transfers:bdma_transfer[20]"
    ),
    "bdma_op": "num_transfers:u16 reserved0:u16",
    "conv_surface": (
        "weight_data:data_cube wmb_data:data_cube wgs_data:data_cube src_data:data_cube "
        "dst_data:data_cube offset_u:s64 in_line_uv_stride:u32"
    ),
    "conv_op": (
        "conv_mode:u8 data_reuse:u8 weight_reuse:u8 skip_data_rls:u8 skip_weight_rls:u8 "
        "reserved0:u8 entry_per_slice:u16 data_format:u8 pixel_mapping:u8 fetch_grain:u16 "
        "reserved_b:u8[8] batch:u8 weight_format:u8 data_bank:u8 weight_bank:u8 batch_stride:u32 "
        "post_extension:u8 pixel_override:u8 release:u16 input_width_csc:u16 input_height_csc:u16 "
        "input_channel_csc:u16 kernel_width_csc:u16 kernel_height_csc:u16 kernel_channel_csc:u16 "
        "input_width_cmac:u16 input_height_cmac:u16 bytes_per_kernel:u32 mean_ry:s16 mean_gu:s16 "
        "mean_bv:s16 mean_ax:s16 mean_format:u8 conv_stride_x:u8 conv_stride_y:u8 pad_x_left:u8 "
        "pad_x_right:u8 pad_y_top:u8 pad_y_bottom:u8 dilation_x:u8 dilation_y:u8 reserved2:u8[2] "
        "pra_truncate:u8 in_precision:u8 out_precision:u8 pad_val:s16 in_cvt:cvt_param "
        "out_cvt:cvt_param"
    ),
    "sdp_surface": (
        "src_data:data_cube x1_data:data_cube x2_data:data_cube y_data:data_cube dst_data:data_cube"
    ),
    "sdp_unit": (
        "enable:u8 alu_type:u8 type:u8 mode:u8 act:u8 shift_value:u8 truncate:u8 precision:u8 "
        "alu_operand:s32 mul_operand:s32 alu_cvt:cvt_param mul_cvt:cvt_param"
    ),
    "sdp_op": (
        "src_precision:u8 dst_precision:u8 lut_index:s16 out_cvt:cvt_param conv_mode:u8 "
        "batch_num:u8 reserved0:u16 batch_stride:u32 x1_op:sdp_unit x2_op:sdp_unit y_op:sdp_unit"
    ),
    "pdp_surface": _SOURCE_AND_DESTINATION,
    "pdp_op": (
        "partial_in_width_first:u16 partial_in_width_mid:u16 partial_in_width_last:u16 "
        "partial_width_first:u16 partial_width_mid:u16 partial_width_last:u16 split_num:u8 "
        "pool_mode:u8 pool_width:u8 pool_height:u8 stride_x:u8 stride_y:u8 pad_left:u8 "
        "pad_right:u8 pad_top:u8 pad_bottom:u8 precision:u8 reserved0:u8 padding_value:s32[7]"
    ),
    "cdp_surface": _SOURCE_AND_DESTINATION,
    "cdp_op": (
        "in_precision:u8 out_precision:u8 lut_index:s16 in_cvt:cvt_param out_cvt:cvt_param "
        "local_size:u8 bypass_sqsum:u8 bypass_out_mul:u8 reserved0:u8"
    ),
    "rubik_surface": _SOURCE_AND_DESTINATION,
    "rubik_op": "mode:u8 precision:u8 stride_x:u8 stride_y:u8",
    "lut_offset": "bits:s8 reserved0:u8",
    "slope": "scale:s16 shifter:s8 reserved0:u8",
    "lut": (
        "linear_exp_table:s16[65] linear_only_table:s16[257] linear_exp_offset:lut_offset "
        "linear_only_offset:lut_offset linear_exp_start:u64 linear_exp_end:u64 "
        "linear_only_start:u64 linear_only_end:u64 linear_exp_underflow_slope:slope "
        "linear_exp_overflow_slope:slope linear_only_underflow_slope:slope "
        "linear_only_overflow_slope:slope hybrid_priority:u8 underflow_priority:u8 "
        "overflow_priority:u8 method:u8"
    ),
    "host_network": ("operation_desc_index:s16 operation_buffer_desc_index:s16 num_operations:u16"),
    # a byte, and the padding before the first float
    "host_op": (
        "op_type:u8 reserved0:u8[3] input_scale:f32 output_scale:f32 power:f32 scale:f32 shift:f32"
    ),
    "host_buffer": (
        "address:s16 offset:u32 size:u32 format:u16 width:u16 height:u16 channel:u16 "
        "line_stride:u32 surf_stride:u32"
    ),
}

OPERATION_BYTES = 116
SURFACE_BYTES = 644
"""Strides of the lists of operations and surfaces: unions of all kinds."""

HOST_BUFFER_BYTES = 256
"""Stride of the host's buffer descriptors, and size of its network descriptor."""


Values: TypeAlias = "Mapping[str, int | float | Sequence[int] | Values | Sequence[Values]]"
"""What goes into a structure, by field; those that are left out are 0."""


class DescriptorError(ValueError):
    """``faults``: what the fields of a structure cannot hold, a sentence's end each."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = tuple(faults)


@frozen(eq=False)
class Record:
    """A decoded structure; ``path`` is how messages call it."""

    path: str
    values: Mapping[str, int | float]
    arrays: Mapping[str, tuple[int, ...]]
    parts: Mapping[str, tuple[Record, ...]]

    def __getitem__(self, name: str) -> int:
        """An integer field."""
        value = self.values[name]
        assert isinstance(value, int)
        return value

    def real(self, name: str) -> float:
        """A floating-point field."""
        return float(self.values[name])

    def array(self, name: str) -> tuple[int, ...]:
        """A field of several integers."""
        return self.arrays[name]

    def part(self, name: str) -> Record:
        """A structure inside this one."""
        return self.parts[name][0]

    def each(self, name: str) -> tuple[Record, ...]:
        """An array of structures inside this one."""
        return self.parts[name]


@frozen(eq=False)
class _Member:
    name: str
    kind: str
    count: int
    is_array: bool
    offset: int


@frozen(eq=False)
class Structure:
    """One descriptor of one layout."""

    name: str
    has_cube_offset: bool
    members: tuple[_Member, ...]
    size: int
    by_name: Mapping[str, _Member]

    def read(self, data: memoryview, offset: int, path: str) -> Record:
        """Decode the structure at ``data[offset:]``, which must hold it."""
        values: dict[str, int | float] = {}
        arrays: dict[str, tuple[int, ...]] = {}
        parts: dict[str, tuple[Record, ...]] = {}
        for member in self.members:
            place = offset + member.offset
            if member.kind in _FORMATS:
                found = struct.unpack_from(f"<{member.count}{_FORMATS[member.kind]}", data, place)
                if member.is_array:
                    arrays[member.name] = found
                else:
                    values[member.name] = found[0]
                continue
            inner = structure(member.kind, self.has_cube_offset)
            parts[member.name] = tuple(
                inner.read(
                    data,
                    place + index * inner.size,
                    f"{path}, {member.name}{f'[{index}]' if member.is_array else ''}",
                )
                for index in range(member.count)
            )
        return Record(path, MappingProxyType(values), arrays, parts)

    def write(self, values: Values) -> bytes:
        """The structure's bytes: the inverse of ``read``.

        Raises: DescriptorError with every number that its field cannot hold.
        """
        writer = _Writer(bytearray(self.size))
        writer.fill(self, 0, values, "")
        if writer.faults:
            raise DescriptorError(writer.faults)
        return bytes(writer.data)


@cache
def structure(name: str, has_cube_offset: bool = True) -> Structure:
    """The descriptor ``name`` in the current layout, or in that of firmware up to 0.11."""
    if name == "data_cube":
        text = _CUBE.format(offset="offset:u32 " if has_cube_offset else "")
    else:
        text = _STRUCTURES[name]
    members: list[_Member] = []
    offset = 0
    for item in text.split():
        field, _, kind = item.partition(":")
        kind, bracket, count = kind.partition("[")
        number = int(count.rstrip("]")) if bracket else 1
        members.append(_Member(field, kind, number, bool(bracket), offset))
        offset += number * _size(kind, has_cube_offset)
    by_name = {member.name: member for member in members}
    return Structure(name, has_cube_offset, tuple(members), offset, by_name)


def _size(kind: str, has_cube_offset: bool) -> int:
    if kind in _FORMATS:
        return struct.calcsize(f"<{_FORMATS[kind]}")
    return structure(kind, has_cube_offset).size


@define(eq=False)
class _Writer:
    """Fills ``data``, and notes what does not go in."""

    data: bytearray
    faults: list[str] = field(factory=list[str])

    def fill(self, kind: Structure, offset: int, values: Values, path: str) -> None:
        for name, value in values.items():
            member = kind.by_name[name]
            place, inner_path = offset + member.offset, f"{path}{name}"
            if member.kind in _FORMATS:
                numbers = value if isinstance(value, Sequence) else (value,)
                self._numbers(member, place, numbers, inner_path)
                continue
            inner = structure(member.kind, kind.has_cube_offset)
            parts = value if isinstance(value, Sequence) else (value,)
            for index, part in enumerate(parts):
                assert isinstance(part, Mapping)
                label = f"{inner_path}[{index}]." if member.is_array else f"{inner_path}."
                self.fill(inner, place + index * inner.size, part, label)

    def _numbers(self, member: _Member, place: int, numbers: Sequence[object], path: str) -> None:
        assert len(numbers) <= member.count
        try:
            struct.pack_into(f"<{len(numbers)}{_FORMATS[member.kind]}", self.data, place, *numbers)
        except struct.error:
            low, high = _range(member.kind)
            for number in numbers:
                if isinstance(number, int) and not low <= number <= high:
                    self.faults.append(f"{path} = {number}, which holds {low} to {high}")


def _range(kind: str) -> tuple[int, int]:
    """The least and the largest integer of a field."""
    bits = int(kind[1:])
    return (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if kind[0] == "s" else (0, (1 << bits) - 1)
