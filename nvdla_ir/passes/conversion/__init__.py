"""How ``insert-converters`` turns layers into integers: the package's rules, and what others need
to write more."""

from nvdla_ir.passes.conversion import functions, layers, movement, pooling
from nvdla_ir.passes.conversion.function import FunctionConversion
from nvdla_ir.passes.conversion.grids import output_type
from nvdla_ir.passes.conversion.rules import converts

__all__ = [
    "FunctionConversion",
    "converts",
    "functions",
    "layers",
    "movement",
    "output_type",
    "pooling",
]
