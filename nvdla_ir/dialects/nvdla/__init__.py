"""The nvdla dialect: hardware layers, and the streams between the units of one layer."""

from __future__ import annotations

from nvdla_ir.dialects.nvdla.operations import (
    CHANNELS,
    COLUMNS,
    FEATURE,
    ROWS,
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
from nvdla_ir.dialects.nvdla.sdp_unit import SdpUnit
from nvdla_ir.dialects.nvdla.target import (
    TARGET_ATTRIBUTE,
    configuration_of,
    target_attribute,
    target_of,
)
from nvdla_ir.dialects.nvdla.types import StreamType, cube_shape, parse_stream
from nvdla_ir.ir.dialect import Dialect

__all__ = [
    "CHANNELS",
    "COLUMNS",
    "FEATURE",
    "NVDLA",
    "ROWS",
    "TARGET_ATTRIBUTE",
    "ConcatOp",
    "ConstantOp",
    "ConvOp",
    "DownloadOp",
    "InterleaveOp",
    "MemoryOp",
    "PdpOp",
    "SdpOp",
    "SdpUnit",
    "SliceOp",
    "StreamType",
    "UploadOp",
    "configuration_of",
    "cube_shape",
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
        SliceOp,
        ConcatOp,
        InterleaveOp,
    ],
    grammar="nvdla",
    type_parsers={"nvdla_type_stream": parse_stream},
)
