"""The types of a model's tensors as the onnx package infers them, as far as it can.

Its inference is native code that ends the process on some malformed models: it runs in a process
of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from onnx import ModelProto

_LONGEST_SECONDS = 60

_CHILD = """
import json, sys
import onnx
model = onnx.ModelProto.FromString(sys.stdin.buffer.read())
graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
found = {}
for value in [*graph.input, *graph.value_info, *graph.output]:
    tensor = value.type.tensor_type
    shape = [
        dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None
        for dim in tensor.shape.dim
    ]
    found[value.name] = [tensor.elem_type, shape if tensor.HasField("shape") else None]
json.dump(found, sys.stdout)
"""


@frozen
class TensorInfo:
    """element: of TensorProto.DataType, 0 where it is not known
    shape:   extents, each a number, a name or nothing; None where the rank is not known
    """

    element: int
    shape: tuple[int | str | None, ...] | None

    @property
    def extents(self) -> tuple[int, ...] | None:
        """The shape, if all of it is known."""
        if self.shape is None:
            return None
        known = tuple(extent for extent in self.shape if isinstance(extent, int) and extent > 0)
        return known if len(known) == len(self.shape) else None


def inferred_types(
    proto: ModelProto, extents: Mapping[str, tuple[int, ...]]
) -> dict[str, TensorInfo]:
    """The types of inputs, outputs and what nodes compute, by name, where inputs are of
    ``extents``. Empty where the inference fails: what is wrong with the model others tell."""
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    for value in copy.graph.input:
        shape = extents.get(value.name)
        if shape is not None:
            del value.type.tensor_type.shape.dim[:]
            for extent in shape:
                value.type.tensor_type.shape.dim.add().dim_value = extent
    # What the file says of others may be meant for another shape of the inputs.
    del copy.graph.value_info[:]
    for value in copy.graph.output:
        value.type.tensor_type.ClearField("shape")
    # Of a domain that is not imported nothing is known, but that must not end the inference.
    imported = {entry.domain for entry in copy.opset_import}
    for domain in sorted({node.domain for node in copy.graph.node} - imported):
        copy.opset_import.add(domain=domain, version=1)
    try:
        child = subprocess.run(
            [sys.executable, "-c", _CHILD],
            input=copy.SerializeToString(),
            capture_output=True,
            timeout=_LONGEST_SECONDS,
            check=True,
        )
        found: dict[str, tuple[int, list[int | str | None] | None]] = json.loads(child.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return {}
    return {
        name: TensorInfo(element, None if shape is None else tuple(shape))
        for name, (element, shape) in found.items()
    }
