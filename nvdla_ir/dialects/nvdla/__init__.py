"""The nvdla dialect: hardware layers, and the streams between the units of one layer."""

from __future__ import annotations

from nvdla_ir.dialects.nvdla.host import HOST_ATTRIBUTE, is_on_host, mark_for_host
from nvdla_ir.dialects.nvdla.look_up_tables import LutAttr, arithmetic_table
from nvdla_ir.dialects.nvdla.memory_units import BdmaOp, CdpOp, RubikOp
from nvdla_ir.dialects.nvdla.operations import (
    CHANNELS,
    COLUMNS,
    FEATURE,
    ROWS,
    SECONDARY_MEMORY,
    ConcatOp,
    ConstantOp,
    ConvOp,
    DownloadOp,
    InterleaveOp,
    MemoryOp,
    PdpOp,
    SdpOp,
    SliceOp,
    UploadOp,
)
from nvdla_ir.dialects.nvdla.program import (
    ADDRESS_ATTRIBUTE,
    BUFFER_ATTRIBUTE,
    PROGRAM,
    PROGRAM_ATTRIBUTE,
    Buffer,
    bind_buffers,
    bound_buffer,
    called_program,
    is_program,
)
from nvdla_ir.dialects.nvdla.sdp_stages import StageAttr, XStageAttr, YStageAttr
from nvdla_ir.dialects.nvdla.target import (
    TARGET_ATTRIBUTE,
    configuration_of,
    target_attribute,
    target_of,
)
from nvdla_ir.dialects.nvdla.types import StreamType, cube_shape, parse_stream
from nvdla_ir.dialects.nvdla.waiting import WaitOp
from nvdla_ir.ir.dialect import Dialect

__all__ = [
    "ADDRESS_ATTRIBUTE",
    "BUFFER_ATTRIBUTE",
    "CHANNELS",
    "COLUMNS",
    "FEATURE",
    "HOST_ATTRIBUTE",
    "NVDLA",
    "PROGRAM",
    "PROGRAM_ATTRIBUTE",
    "ROWS",
    "SECONDARY_MEMORY",
    "TARGET_ATTRIBUTE",
    "BdmaOp",
    "Buffer",
    "CdpOp",
    "ConcatOp",
    "ConstantOp",
    "ConvOp",
    "DownloadOp",
    "InterleaveOp",
    "LutAttr",
    "MemoryOp",
    "PdpOp",
    "RubikOp",
    "SdpOp",
    "SliceOp",
    "StageAttr",
    "StreamType",
    "UploadOp",
    "WaitOp",
    "XStageAttr",
    "YStageAttr",
    "arithmetic_table",
    "bind_buffers",
    "bound_buffer",
    "called_program",
    "configuration_of",
    "cube_shape",
    "is_on_host",
    "is_program",
    "mark_for_host",
    "target_attribute",
    "target_of",
]

NVDLA = Dialect.of(
    "nvdla",
    "hardware layers",
    [
        ConstantOp,
        UploadOp,
        DownloadOp,
        ConvOp,
        SdpOp,
        PdpOp,
        CdpOp,
        RubikOp,
        BdmaOp,
        SliceOp,
        ConcatOp,
        InterleaveOp,
        WaitOp,
    ],
    grammar="nvdla",
    type_parsers={"nvdla_type_stream": parse_stream},
    attribute_parsers={
        "lut": LutAttr.from_entries,
        "x_stage": XStageAttr.from_entries,
        "y_stage": YStageAttr.from_entries,
    },
)
