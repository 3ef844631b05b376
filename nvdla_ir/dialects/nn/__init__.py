"""The nn dialect: a network's layers on floats, calibrated floats or quantized integers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nvdla_ir.dialects.nn.activations import LrnOp, PowerOp, PReluOp, SoftmaxOp
from nvdla_ir.dialects.nn.base import RearrangementOp
from nvdla_ir.dialects.nn.elementwise import (
    AddOp,
    BinaryOp,
    DivOp,
    MaxOp,
    MinOp,
    MulOp,
    SubOp,
)
from nvdla_ir.dialects.nn.layers import (
    BatchNormOp,
    BiasAddOp,
    ConstantOp,
    ConvOp,
    ConvTransposeOp,
    FullyConnectedOp,
    NormalizeOp,
    ScaleOp,
)
from nvdla_ir.dialects.nn.pooling import (
    AveragePoolOp,
    GlobalAveragePoolOp,
    GlobalMaxPoolOp,
    MaxPoolOp,
    PoolOp,
)
from nvdla_ir.dialects.nn.quantize import QuantizeOp, storage_of
from nvdla_ir.dialects.nn.rearrangement import (
    ChannelShuffleOp,
    DepthToSpaceOp,
    InterleaveOp,
    SpaceToDepthOp,
)
from nvdla_ir.dialects.nn.resampling import InterpolateOp, PadOp, UpsampleOp
from nvdla_ir.dialects.nn.shapes import shape_of, tensor_type
from nvdla_ir.dialects.nn.structure import (
    ArgmaxOp,
    ConcatOp,
    FlattenOp,
    ReshapeOp,
    SliceOp,
    TransposeOp,
    ViewOp,
    before_softmax,
)
from nvdla_ir.dialects.nn.types import (
    FakeQuantizedType,
    is_fake_quantized,
    parse_fake_quantized,
)
from nvdla_ir.dialects.nn.unary import (
    UNARY_OPS,
    AbsOp,
    CeluOp,
    ClipOp,
    EluOp,
    ErfOp,
    ExpOp,
    GeluOp,
    HardSigmoidOp,
    HardSwishOp,
    LeakyReluOp,
    MishOp,
    ReluOp,
    SeluOp,
    SigmoidOp,
    SoftplusOp,
    SoftsignOp,
    SwishOp,
    TanhOp,
    ThresholdedReluOp,
    UnaryOp,
)
from nvdla_ir.ir.dialect import Dialect
from nvdla_ir.ir.rewriter import RewritePattern

__all__ = [
    "NN",
    "UNARY_OPS",
    "AbsOp",
    "AddOp",
    "ArgmaxOp",
    "AveragePoolOp",
    "BatchNormOp",
    "BiasAddOp",
    "BinaryOp",
    "CeluOp",
    "ChannelShuffleOp",
    "ClipOp",
    "ConcatOp",
    "ConstantOp",
    "ConvOp",
    "ConvTransposeOp",
    "DepthToSpaceOp",
    "DivOp",
    "EluOp",
    "ErfOp",
    "ExpOp",
    "FakeQuantizedType",
    "FlattenOp",
    "FullyConnectedOp",
    "GeluOp",
    "GlobalAveragePoolOp",
    "GlobalMaxPoolOp",
    "HardSigmoidOp",
    "HardSwishOp",
    "InterleaveOp",
    "InterpolateOp",
    "LeakyReluOp",
    "LrnOp",
    "MaxOp",
    "MaxPoolOp",
    "MinOp",
    "MishOp",
    "MulOp",
    "NormalizeOp",
    "PReluOp",
    "PadOp",
    "PoolOp",
    "PowerOp",
    "QuantizeOp",
    "RearrangementOp",
    "ReluOp",
    "ReshapeOp",
    "ScaleOp",
    "SeluOp",
    "SigmoidOp",
    "SliceOp",
    "SoftmaxOp",
    "SoftplusOp",
    "SoftsignOp",
    "SpaceToDepthOp",
    "SubOp",
    "SwishOp",
    "TanhOp",
    "ThresholdedReluOp",
    "TransposeOp",
    "UnaryOp",
    "UpsampleOp",
    "ViewOp",
    "before_softmax",
    "is_fake_quantized",
    "shape_of",
    "storage_of",
    "tensor_type",
]


def _canonicalization() -> Sequence[RewritePattern[Any]]:
    from nvdla_ir.dialects.nn.canonicalization import PATTERNS

    return PATTERNS


NN = Dialect.of(
    "nn",
    "layers of a network",
    [
        ConstantOp,
        NormalizeOp,
        ConvOp,
        ConvTransposeOp,
        FullyConnectedOp,
        BatchNormOp,
        ScaleOp,
        BiasAddOp,
        *UNARY_OPS,
        PReluOp,
        LrnOp,
        SoftmaxOp,
        PowerOp,
        AddOp,
        SubOp,
        MulOp,
        DivOp,
        MaxOp,
        MinOp,
        MaxPoolOp,
        AveragePoolOp,
        GlobalAveragePoolOp,
        GlobalMaxPoolOp,
        ConcatOp,
        ReshapeOp,
        FlattenOp,
        TransposeOp,
        SliceOp,
        PadOp,
        UpsampleOp,
        InterpolateOp,
        ChannelShuffleOp,
        DepthToSpaceOp,
        SpaceToDepthOp,
        InterleaveOp,
        ArgmaxOp,
        QuantizeOp,
    ],
    grammar="nn",
    type_parsers={"nn_type_fake_quantized": parse_fake_quantized},
    canonicalization=_canonicalization,
)
