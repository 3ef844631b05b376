"""ONNX models in: float ones and quantized ones."""

# Handlers register themselves when their modules are imported.
from nvdla_ir.frontends.onnx import (
    activations,
    arithmetic,
    constants,
    convolution,
    pooling,
    qoperators,
    quantization,
    resizing,
    structure,
)
from nvdla_ir.frontends.onnx.cutting import list_tensors
from nvdla_ir.frontends.onnx.importer import import_onnx

__all__ = [
    "activations",
    "arithmetic",
    "constants",
    "convolution",
    "import_onnx",
    "list_tensors",
    "pooling",
    "qoperators",
    "quantization",
    "resizing",
    "structure",
]
