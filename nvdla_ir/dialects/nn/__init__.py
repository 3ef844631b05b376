"""The nn dialect: a network's layers on floats, calibrated floats or quantized integers, and the
converters between."""

from __future__ import annotations

from nvdla_ir.dialects.nn.converters import (
    CONVERTERS,
    InputConverterOp,
    OutputConverterOp,
    RescaleOp,
    ShiftAddOp,
    storage_of,
)
from nvdla_ir.dialects.nn.layers import (
    AddOp,
    BatchNormOp,
    BiasAddOp,
    ConcatOp,
    ConstantOp,
    ConvOp,
    FlattenOp,
    FullyConnectedOp,
    NormalizeOp,
    PowerOp,
    ReluOp,
    ReshapeOp,
    ScaleOp,
    SoftmaxOp,
    ViewOp,
)
from nvdla_ir.dialects.nn.pooling import AveragePoolOp, GlobalAveragePoolOp, MaxPoolOp
from nvdla_ir.dialects.nn.shapes import shape_of, tensor_type
from nvdla_ir.ir.dialect import Dialect

__all__ = [
    "NN",
    "AddOp",
    "AveragePoolOp",
    "BatchNormOp",
    "BiasAddOp",
    "ConcatOp",
    "ConstantOp",
    "ConvOp",
    "FlattenOp",
    "FullyConnectedOp",
    "GlobalAveragePoolOp",
    "InputConverterOp",
    "MaxPoolOp",
    "NormalizeOp",
    "OutputConverterOp",
    "PowerOp",
    "ReluOp",
    "RescaleOp",
    "ReshapeOp",
    "ScaleOp",
    "ShiftAddOp",
    "SoftmaxOp",
    "ViewOp",
    "shape_of",
    "storage_of",
    "tensor_type",
]

NN = Dialect.of(
    "nn",
    "layers of a network, and converters",
    [
        ConstantOp,
        NormalizeOp,
        ConvOp,
        FullyConnectedOp,
        BatchNormOp,
        ScaleOp,
        BiasAddOp,
        ReluOp,
        AddOp,
        MaxPoolOp,
        AveragePoolOp,
        GlobalAveragePoolOp,
        ConcatOp,
        ReshapeOp,
        FlattenOp,
        SoftmaxOp,
        PowerOp,
        *CONVERTERS,
    ],
)
