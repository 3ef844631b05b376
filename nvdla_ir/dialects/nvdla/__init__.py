"""The nvdla dialect: hardware layers, and the streams between the units of one layer."""

from __future__ import annotations

from nvdla_ir.dialects.nvdla.operations import (
    ConcatOp,
    ConstantOp,
    ConvOp,
    DownloadOp,
    MemoryOp,
    PdpOp,
    SdpOp,
    SliceOp,
    UploadOp,
)
from nvdla_ir.dialects.nvdla.sdp_unit import SdpUnit
from nvdla_ir.dialects.nvdla.types import StreamType, cube_shape, parse_stream
from nvdla_ir.ir.attributes import StringAttr
from nvdla_ir.ir.dialect import Dialect
from nvdla_ir.ir.operation import Operation

__all__ = [
    "NVDLA",
    "TARGET_ATTRIBUTE",
    "ConcatOp",
    "ConstantOp",
    "ConvOp",
    "DownloadOp",
    "MemoryOp",
    "PdpOp",
    "SdpOp",
    "SdpUnit",
    "SliceOp",
    "StreamType",
    "UploadOp",
    "cube_shape",
    "target_of",
]

# The module attribute that names the hardware configuration the module is for.
TARGET_ATTRIBUTE = "nvdla.target"


def target_of(operation: Operation) -> str | None:
    """The hardware configuration that the module around ``operation`` is for."""
    ancestor: Operation | None = operation
    while ancestor is not None:
        target = ancestor.attributes.get(TARGET_ATTRIBUTE)
        if isinstance(target, StringAttr):
            return target.value
        ancestor = ancestor.parent_op
    return None


NVDLA = Dialect.of(
    "nvdla",
    "hardware layers",
    [ConstantOp, UploadOp, DownloadOp, ConvOp, SdpOp, PdpOp, SliceOp, ConcatOp],
    grammar="nvdla",
    type_parsers={"nvdla_type_stream": parse_stream},
)
