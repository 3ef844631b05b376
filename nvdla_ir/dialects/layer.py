"""What operations that came from a network's layers have in common: the layers' names."""

from __future__ import annotations

from nvdla_ir.ir.attribute_kinds import STRINGS
from nvdla_ir.ir.definition import Op, optional_attribute
from nvdla_ir.ir.operation import Operation

BLOB_ATTRIBUTE = "nvdla_ir.blob"
"""Of an operation that came from Caffe: the blob that it is the last to write, where that is not
called as the layer is. Calibration caches of TensorRT use blobs' names."""


class LayerOp(Op):
    """An operation that stands for one layer of the network, or for several fused ones.

    ``layers`` are their names in the order of computation; calibration tables, remarks and
    reports use them. The last one names the tensor this operation computes.
    """

    layers = optional_attribute(STRINGS, descriptive=True)


def layers_of(*operations: Operation | None) -> tuple[str, ...] | None:
    """The layers of all ``operations`` in order, each once; None where there are none."""
    names: dict[str, None] = {}
    for operation in operations:
        if isinstance(operation, LayerOp):
            names.update(dict.fromkeys(operation.layers or ()))
    return tuple(names) or None


def describe(operation: Operation) -> str:
    """How to call an operation in a message: by its layers, else by its name."""
    layers = layers_of(operation)
    return f"layer '{'+'.join(layers)}'" if layers else f"'{operation.name}'"
