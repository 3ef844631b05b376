"""What operations that came from a network's layers have in common: the layers' names."""

from __future__ import annotations

from collections.abc import Iterable

from nvdla_ir.ir.attribute_kinds import STRINGS
from nvdla_ir.ir.attributes import ArrayAttr, StringAttr
from nvdla_ir.ir.definition import Op, optional_attribute
from nvdla_ir.ir.operation import Operation

TENSORS_ATTRIBUTE = "nvdla_ir.tensors"
"""Of a layer that was imported: what the network that it comes from calls its result. That may be
several names (an identity behind it has one of its own), or none (the next layer works in place and
takes the name). Calibration caches of TensorRT use these names."""


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


def tensor_names(operation: Operation) -> tuple[str, ...] | None:
    """What the imported network calls the result; None where nothing says so."""
    stated = operation.attributes.get(TENSORS_ATTRIBUTE)
    if not isinstance(stated, ArrayAttr):
        return None
    return tuple(name.value for name in stated.elements if isinstance(name, StringAttr))


def set_tensor_names(operation: Operation, names: Iterable[str]) -> None:
    """See ``TENSORS_ATTRIBUTE``; each name once."""
    stated = tuple(map(StringAttr, dict.fromkeys(names)))
    operation.attributes[TENSORS_ATTRIBUTE] = ArrayAttr(stated)


def describe(operation: Operation) -> str:
    """How to call an operation in a message: by its layers, else by its name."""
    layers = layers_of(operation)
    return f"layer '{'+'.join(layers)}'" if layers else f"'{operation.name}'"
