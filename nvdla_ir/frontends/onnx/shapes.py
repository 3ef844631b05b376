"""The shapes of inputs, and what to say where they are open."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from nvdla_ir.frontends.onnx.model import Model, Port
from nvdla_ir.ir.diagnostics import Diagnostic, DiagnosticCollector, DiagnosticError
from nvdla_ir.ir.dialect import did_you_mean

if TYPE_CHECKING:
    from onnx import ModelProto


def input_shapes(
    model: Model, shapes: Mapping[str, tuple[int, ...]], diagnostics: DiagnosticCollector
) -> dict[str, tuple[int, ...]]:
    """The shape of each input: stated by ``shapes``, else by the model.

    Raises: DiagnosticError for open extents, saying how to state them, and for shapes that do not
    fit the model.
    """
    faults: list[Diagnostic] = []
    names = [port.name for port in model.inputs]
    for name in shapes:
        if name not in names:
            hint = did_you_mean(name, names)
            faults.append(Diagnostic.error(model.location, f"there is no input '{name}'{hint}"))
    found: dict[str, tuple[int, ...]] = {}
    for port in model.inputs:
        stated = shapes.get(port.name)
        if stated is not None:
            fault = _misfit(port, stated)
            if fault is not None:
                faults.append(Diagnostic.error(model.location, fault))
            elif port.shape is not None and any(
                isinstance(extent, int) and extent != new
                for extent, new in zip(port.shape, stated, strict=True)
            ):
                diagnostics.remark(
                    model.location,
                    f"input '{port.name}' is {_text(port.shape)} in the model, {_text(stated)} as "
                    "stated",
                )
            found[port.name] = stated
        elif port.shape is None or not all(isinstance(extent, int) for extent in port.shape):
            faults.append(Diagnostic.error(model.location, _open(port)))
        else:
            found[port.name] = tuple(extent for extent in port.shape if isinstance(extent, int))
    if faults:
        raise DiagnosticError(*faults)
    return found


def _misfit(port: Port, stated: tuple[int, ...]) -> str | None:
    if any(extent < 1 for extent in stated):
        return f"the shape {_text(stated)} of input '{port.name}' must be of numbers from 1 on"
    if port.shape is not None and len(port.shape) != len(stated):
        return (
            f"input '{port.name}' has {len(port.shape)} dimensions ({_text(port.shape)}), not "
            f"{len(stated)} ({_text(stated)})"
        )
    return None


def _open(port: Port) -> str:
    if port.shape is None:
        return (
            f"the model leaves the shape of input '{port.name}' open; state it, for example with "
            f"--shape {port.name}=1x3x224x224"
        )
    # A batch of one is meant most often; the rest nobody can guess.
    example = [
        extent if isinstance(extent, int) else 1 if axis == 0 else f"<{extent or '?'}>"
        for axis, extent in enumerate(port.shape)
    ]
    return (
        f"input '{port.name}' has the open shape {_text(port.shape)}; state it with --shape "
        f"{port.name}={_text(example)}"
    )


def _text(shape: tuple[int | str | None, ...] | list[int | str]) -> str:
    return "x".join("?" if extent is None else str(extent) for extent in shape) or "scalar"


def stand_in_shapes(
    proto: ModelProto, extents: Mapping[str, tuple[int, ...]]
) -> dict[str, tuple[int, ...]]:
    """The shapes of tensors as the onnx package infers them, as far as it can."""
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    for value in copy.graph.input:
        shape = extents.get(value.name)
        if shape is not None:
            del value.type.tensor_type.shape.dim[:]
            for extent in shape:
                value.type.tensor_type.shape.dim.add().dim_value = extent
    # Of a domain that is not imported nothing is known, but that must not end the inference.
    imported = {entry.domain for entry in copy.opset_import}
    for domain in sorted({node.domain for node in copy.graph.node} - imported):
        copy.opset_import.add(domain=domain, version=1)
    try:
        inferred = onnx.shape_inference.infer_shapes(copy)
    except (RuntimeError, ValueError, TypeError, onnx.shape_inference.InferenceError):
        return {}  # what keeps it from being inferred is told by the importer
    found: dict[str, tuple[int, ...]] = {}
    for value in [*inferred.graph.value_info, *inferred.graph.output]:
        dims = value.type.tensor_type.shape.dim
        if value.type.tensor_type.HasField("shape") and all(dim.dim_value > 0 for dim in dims):
            found[value.name] = tuple(dim.dim_value for dim in dims)
    return found
