"""Kernels of the nn dialect."""

from nvdla_ir.interp import quant_casts
from nvdla_ir.interp.nn import (
    activations,
    elementwise,
    fused,
    integers,
    layers,
    pooling,
    structure,
    weighted,
)

__all__ = [
    "activations",
    "elementwise",
    "fused",
    "integers",
    "layers",
    "pooling",
    "quant_casts",
    "structure",
    "weighted",
]
