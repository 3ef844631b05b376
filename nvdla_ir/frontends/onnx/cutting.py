"""Part of a model, and the list of its tensors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from attrs import evolve

from nvdla_ir.frontends.cuts import Cut, ListedTensor, chosen
from nvdla_ir.frontends.onnx.inference import TensorInfo, inferred_types
from nvdla_ir.frontends.onnx.model import Model, Node, Port, in_order, read_model
from nvdla_ir.frontends.onnx.shapes import likely_extents, shape_text
from nvdla_ir.ir.diagnostics import DiagnosticCollector

_FLOAT = 1  # onnx.proto, TensorProto.DataType


def with_cut(
    model: Model, cut: Cut, shapes: Mapping[str, tuple[int, ...]], diagnostics: DiagnosticCollector
) -> tuple[Model, dict[str, tuple[int, ...]]]:
    """``model`` between the tensors of ``cut``, and those of ``shapes`` that are left for it.

    Inputs that the outputs do not need any longer are left out. Raises: DiagnosticError with all
    names that are unknown, or of inputs that nothing needs.
    """
    faults = DiagnosticCollector()
    tensors = [name for node in model.nodes for name in node.outputs if name]
    known = dict.fromkeys([*(port.name for port in model.inputs), *tensors, *model.tensors])
    producers = _first_outputs(model.nodes)
    begins = chosen(cut.inputs, known, producers, model.location, faults)
    ends = chosen(cut.outputs, known, producers, model.location, faults)
    faults.raise_if_errors()
    types = inferred_types(model.proto, likely_extents(model, shapes)) if begins else {}
    taken = set(begins)
    own = [port for port in model.inputs if port.name not in taken]
    part = evolve(
        model,
        nodes=[
            evolve(node, outputs=tuple("" if name in taken else name for name in node.outputs))
            for node in model.nodes
        ],
        inputs=[*own, *(_begin(name, model, types) for name in begins)],
        outputs=[Port(name, 0, None) for name in ends] if ends else model.outputs,
        tensors={name: stored for name, stored in model.tensors.items() if name not in taken},
    )
    needed = {name for node in in_order(part) for name in node.inputs}
    needed.update(port.name for port in part.outputs)
    for name in begins:
        if name not in needed:
            faults.error(model.location, f"nothing that the outputs need reads '{name}'")
    faults.raise_if_errors()
    for port in own:
        if port.name not in needed:
            diagnostics.remark(model.location, f"input '{port.name}' is left out with the rest")
        elif begins:
            diagnostics.remark(model.location, f"the outputs still need input '{port.name}'")
    part = evolve(part, inputs=[port for port in part.inputs if port.name in needed])
    gone = {port.name for port in model.inputs} - {port.name for port in part.inputs}
    return part, {name: shape for name, shape in shapes.items() if name not in gone}


def _begin(name: str, model: Model, types: Mapping[str, TensorInfo]) -> Port:
    for port in model.inputs:
        if port.name == name:
            return port
    stored = model.tensors.get(name)
    if stored is not None:
        return Port(name, stored.proto.data_type, tuple(stored.proto.dims))
    info = types.get(name, TensorInfo(0, None))
    return Port(name, info.element or _FLOAT, info.shape)


def _first_outputs(nodes: Iterable[Node]) -> dict[str, str]:
    return {node.label: next(filter(None, node.outputs)) for node in nodes if any(node.outputs)}


def list_tensors(
    path: Path, *, shapes: Mapping[str, tuple[int, ...]], diagnostics: DiagnosticCollector
) -> Sequence[ListedTensor]:
    """The inputs of the model ``path`` and what its nodes compute, in the order of the file.

    Raises: DiagnosticError for what is no model.
    """
    model = read_model(path, diagnostics)
    types = inferred_types(model.proto, likely_extents(model, shapes))
    found = [_listed(port.name, types, "input") for port in model.inputs]
    for node in model.nodes:
        found += [
            _listed(name, types, f"{node.kind} '{node.label}'") for name in node.outputs if name
        ]
    return found


def _listed(name: str, types: Mapping[str, TensorInfo], producer: str) -> ListedTensor:
    from onnx import TensorProto

    info = types.get(name, TensorInfo(0, None))
    names = {number: kind.lower() for kind, number in TensorProto.DataType.items()}
    names |= {TensorProto.FLOAT: "float32", TensorProto.DOUBLE: "float64"}
    shape = "?" if info.shape is None else shape_text(info.shape)
    dtype = names.get(info.element, "?") if info.element else "?"
    return ListedTensor(name, shape, dtype, producer)
