"""The csb dialect: register programs, readable.

The operations work in order on one device: its registers and its memories.
"""

from nvdla_ir.dialects.csb.checks import CheckBytesOp, CheckCrcOp, MemoryCheckOp
from nvdla_ir.dialects.csb.memory import (
    BYTES,
    FILL_PATTERNS,
    PRIMARY,
    SECONDARY,
    AddressOp,
    BoundOp,
    DownloadOp,
    FillOp,
    InputOp,
    LoadOp,
    OutputOp,
    TensorOp,
    UploadOp,
)
from nvdla_ir.dialects.csb.module import MEMORY_BASE_ATTRIBUTE, MEMORY_BYTES_ATTRIBUTE
from nvdla_ir.dialects.csb.units import (
    INTERRUPT_CONTROL,
    ConfigureOp,
    EnableOp,
    ExpectOp,
    PollOp,
    ReadOp,
    RegisterWrite,
    UnitOp,
    WaitAnyOp,
    WaitOp,
    WriteTableOp,
    count_register_writes,
)
from nvdla_ir.ir.dialect import Dialect

__all__ = [
    "BYTES",
    "CSB",
    "FILL_PATTERNS",
    "INTERRUPT_CONTROL",
    "MEMORY_BASE_ATTRIBUTE",
    "MEMORY_BYTES_ATTRIBUTE",
    "PRIMARY",
    "SECONDARY",
    "AddressOp",
    "BoundOp",
    "CheckBytesOp",
    "CheckCrcOp",
    "ConfigureOp",
    "DownloadOp",
    "EnableOp",
    "ExpectOp",
    "FillOp",
    "InputOp",
    "LoadOp",
    "MemoryCheckOp",
    "OutputOp",
    "PollOp",
    "ReadOp",
    "RegisterWrite",
    "TensorOp",
    "UnitOp",
    "UploadOp",
    "WaitAnyOp",
    "WaitOp",
    "WriteTableOp",
    "count_register_writes",
]

CSB = Dialect.of(
    "csb",
    "register programs",
    [
        LoadOp,
        FillOp,
        UploadOp,
        DownloadOp,
        InputOp,
        OutputOp,
        ConfigureOp,
        EnableOp,
        WaitOp,
        WaitAnyOp,
        WriteTableOp,
        PollOp,
        ExpectOp,
        CheckCrcOp,
        CheckBytesOp,
    ],
)
