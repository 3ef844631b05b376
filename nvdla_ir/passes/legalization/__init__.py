"""How ``legalize-to-nvdla`` makes hardware layers: the package's rules, and what others need to
write more."""

from nvdla_ir.passes.legalization import functions, layers, rearrangement
from nvdla_ir.passes.legalization.function import FunctionLegalization
from nvdla_ir.passes.legalization.limits import (
    check_normalization,
    check_pooling,
    check_processor,
)
from nvdla_ir.passes.legalization.rules import legalizes

__all__ = [
    "FunctionLegalization",
    "check_normalization",
    "check_pooling",
    "check_processor",
    "functions",
    "layers",
    "legalizes",
    "rearrangement",
]
