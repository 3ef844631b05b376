"""Sizes and offsets of the firmware's descriptors (loadable.md section 4)."""

from __future__ import annotations

import struct

import pytest

from nvdla_ir.formats.loadable.structures import structure

SIZES = {
    "network": (40, 40),
    "consumer": (4, 4),
    "common": (36, 36),
    "data_cube": (32, 28),
    "cvt_param": (8, 8),
    "bdma_transfer": (32, 32),
    "bdma_surface": (644, 644),
    "bdma_op": (4, 4),
    "conv_surface": (172, 152),
    "conv_op": (92, 92),
    "sdp_surface": (160, 140),
    "sdp_unit": (32, 32),
    "sdp_op": (116, 116),
    "pdp_surface": (64, 56),
    "pdp_op": (52, 52),
    "cdp_surface": (64, 56),
    "cdp_op": (24, 24),
    "rubik_surface": (64, 56),
    "rubik_op": (4, 4),
    "slope": (4, 4),
    "lut": (700, 700),
    "host_op": (24, 24),
    "host_buffer": (26, 26),
}
"""In the current layout, and in that of firmware up to 0.11."""

OFFSETS = {
    "network": {"op_head": 16, "num_rois": 28, "num_addresses": 34, "dynamic_roi": 38},
    "common": {"roi_index": 2, "op_type": 3, "dependency_count": 4, "consumers": 8}
    | {"fused_parent": 32},
    "data_cube": {"address": 2, "offset": 4, "size": 8, "width": 12, "channel": 16}
    | {"line_stride": 20, "plane_stride": 28},
    "bdma_transfer": {"line_size": 4, "surface_repeat": 20, "destination_surface": 28},
    "conv_surface": {"weight_data": 0, "wgs_data": 64, "src_data": 96, "offset_u": 160}
    | {"in_line_uv_stride": 168},
    "conv_op": {"entry_per_slice": 6, "fetch_grain": 10, "batch": 20, "batch_stride": 24}
    | {"release": 30, "kernel_channel_csc": 42, "bytes_per_kernel": 48, "mean_ax": 58}
    | {"pad_x_left": 63, "dilation_y": 68, "pra_truncate": 71, "pad_val": 74, "out_cvt": 84},
    "sdp_unit": {"act": 4, "precision": 7, "mul_operand": 12, "alu_cvt": 16, "mul_cvt": 24},
    "sdp_op": {"lut_index": 2, "out_cvt": 4, "batch_num": 13, "batch_stride": 16, "y_op": 84},
    "pdp_op": {"partial_width_first": 6, "split_num": 12, "stride_x": 16, "precision": 22}
    | {"padding_value": 24},
    "cdp_op": {"lut_index": 2, "in_cvt": 4, "out_cvt": 12, "local_size": 20},
    "lut": {"linear_only_table": 130, "linear_exp_offset": 644, "linear_exp_start": 648}
    | {"linear_only_end": 672, "linear_exp_underflow_slope": 680, "hybrid_priority": 696}
    | {"method": 699},
    "host_op": {"input_scale": 4, "power": 12, "shift": 20},
    "host_buffer": {"offset": 2, "size": 6, "format": 10, "channel": 16, "surf_stride": 22},
}


@pytest.mark.parametrize("name", SIZES)
def test_sizes(name: str) -> None:
    assert (structure(name).size, structure(name, False).size) == SIZES[name]


@pytest.mark.parametrize("name", OFFSETS)
def test_offsets(name: str) -> None:
    found = {member.name: member.offset for member in structure(name).members}
    assert {field: found[field] for field in OFFSETS[name]} == OFFSETS[name]


@pytest.mark.parametrize("has_offset", [True, False])
def test_records_hold_signed_numbers_arrays_and_structures(has_offset: bool) -> None:
    kind = structure("common", has_offset)
    data = bytearray(b"\xee" * 7 + bytes(kind.size))
    struct.pack_into("<hbBB", data, 7, -2, -3, 5, 200)
    struct.pack_into("<hBB", data, 7 + 8 + 4 * 5, 1000, 2, 9)
    record = kind.read(memoryview(data), 7, "operation 4")
    assert (record["index"], record["roi_index"], record["op_type"]) == (-2, -3, 5)
    assert record["dependency_count"] == 200
    assert record.array("reserved0") == (0, 0, 0)
    consumer = record.each("consumers")[5]
    assert (consumer["index"], consumer["event"]) == (1000, 2)
    assert consumer.path == "operation 4, consumers[5]"
    assert record.part("fused_parent")["index"] == 0
