"""TensorRT's names of tensors in a calibration cache, as those of a network's layers.

A cache calls a tensor by its name in the network that TensorRT read or, where it has none,
``(Unnamed Layer* N) [Kind]_output``: N counts the layers in order. In a Caffe network the layers
that work in place share one name, their blob's; the entry of that name belongs to the last of them,
the others are unnamed. (quantization.md section 1)
"""

from __future__ import annotations

import re
from bisect import bisect
from collections.abc import Mapping, Sequence
from itertools import accumulate

from attrs import evolve, frozen

from nvdla_ir.calibration.entry import CalibrationEntry
from nvdla_ir.calibration.table import CalibrationTable
from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.func import FuncOp
from nvdla_ir.dialects.layer import BLOB_ATTRIBUTE, LayerOp
from nvdla_ir.ir.attributes import StringAttr
from nvdla_ir.ir.diagnostics import Diagnostic, DiagnosticCollector

_UNNAMED = re.compile(r"\(Unnamed Layer\* (\d+)\) \[(.+)\]_output")

# What TensorRT makes of the operations. Where an operation is not listed any kind fits.
_KINDS = {
    "nn.conv": {"Convolution"},
    "nn.conv_transpose": {"Deconvolution"},
    "nn.fully_connected": {"Fully Connected", "Convolution", "Matrix Multiply"},
    "nn.batch_norm": {"Scale"},
    "nn.scale": {"Scale"},
    "nn.bias_add": {"Scale", "ElementWise"},
    "nn.power": {"Scale", "Unary", "ElementWise"},
    "nn.relu": {"Activation"},
    "nn.leaky_relu": {"Activation", "Plugin"},
    "nn.clip": {"Activation"},
    "nn.sigmoid": {"Activation"},
    "nn.tanh": {"Activation"},
    "nn.elu": {"Activation"},
    "nn.prelu": {"Parametric ReLU", "Plugin"},
    "nn.add": {"ElementWise"},
    "nn.sub": {"ElementWise"},
    "nn.mul": {"ElementWise", "Scale"},
    "nn.div": {"ElementWise"},
    "nn.max": {"ElementWise"},
    "nn.min": {"ElementWise"},
    "nn.max_pool": {"Pooling"},
    "nn.average_pool": {"Pooling"},
    "nn.global_average_pool": {"Pooling", "Reduce"},
    "nn.global_max_pool": {"Pooling", "Reduce"},
    "nn.lrn": {"LRN"},
    "nn.softmax": {"SoftMax", "Softmax"},
    "nn.concat": {"Concatenation"},
    "nn.reshape": {"Shuffle"},
    "nn.flatten": {"Shuffle"},
    "nn.transpose": {"Shuffle"},
}


@frozen
class _Layer:
    name: str
    operation: str
    blob: str | None

    def is_of(self, kind: str) -> bool:
        return kind in _KINDS.get(self.operation, {kind})


def rename_entries(
    table: CalibrationTable, module: ModuleOp, diagnostics: DiagnosticCollector
) -> CalibrationTable:
    """``table`` with the names that the layers and inputs of ``module`` have, in the same order.

    ``module`` is a network as a front end made it, before passes join layers. An unnamed entry is
    the N-th layer if that is of its kind. A named one is an input, or the last layer that writes
    the blob, or the layer of that name if no unnamed entry is; else, where as many layers are left
    between the entries before and behind as there are names, those in order.

    Entries for which there is no layer are listed in one warning. They keep their names, or are
    left out where a layer of that name has an entry. A table that has the layers' names comes back
    as it is.
    """
    layers, inputs = _layers_of(module)
    found = _match(table.entries, layers, inputs)
    targets = {index: layers[layer].name for index, layer in found.items()}
    taken = {*targets.values(), *inputs}
    renamed: dict[str, CalibrationEntry] = {}
    lost: list[CalibrationEntry] = []
    for index, entry in enumerate(table.entries):
        target = entry.name if entry.name in inputs else targets.get(index)
        if target is None:
            lost.append(entry)
            if entry.name in taken:
                continue
            target = entry.name
        renamed[target] = evolve(entry, name=target)
    if lost:
        diagnostics.emit(_lost_diagnostic(lost))
    return evolve(table, entries=tuple(renamed.values()))


def _layers_of(module: ModuleOp) -> tuple[list[_Layer], set[str]]:
    """The layers in order, and the names of the inputs."""
    layers: list[_Layer] = []
    inputs: set[str] = set()
    for function in module.body.operations:
        if not isinstance(function, FuncOp):
            continue
        inputs.update(map(function.argument_name, function.body.arguments))
        for op in function.walk():
            if isinstance(op, LayerOp) and op.layers and op.layers[-1] not in inputs:
                blob = op.attributes.get(BLOB_ATTRIBUTE)
                text = blob.value if isinstance(blob, StringAttr) else None
                layers.append(_Layer(op.layers[-1], op.name, text))
    return layers, inputs


def _match(
    entries: Sequence[CalibrationEntry], layers: Sequence[_Layer], inputs: set[str]
) -> Mapping[int, int]:
    """The index of the layer that each entry belongs to."""
    found: dict[int, int] = {}
    taken: set[int] = set()
    named: list[int] = []
    for index, entry in enumerate(entries):
        unnamed = _UNNAMED.fullmatch(entry.name)
        if unnamed is None:
            if entry.name not in inputs:
                named.append(index)
            continue
        # More digits than layers could have are no number to convert.
        number = int(unnamed[1]) if len(unnamed[1]) < 10 else len(layers)
        if number < len(layers) and layers[number].is_of(unnamed[2]) and number not in taken:
            found[index] = number
            taken.add(number)
    # Where the last layer of a blob has an entry of its own name, the blob's name is a layer's.
    stated = {entry.name for entry in entries}
    blobs = {
        layer.blob: i
        for i, layer in enumerate(layers)
        if layer.blob is not None and layer.name not in stated
    }
    names = {layer.name: i for i, layer in enumerate(layers)}
    for known in (blobs, names):
        for index in named:
            layer = known.get(entries[index].name)
            if index not in found and layer is not None and layer not in taken:
                found[index] = layer
                taken.add(layer)
    _match_by_position([index for index in named if index not in found], found, len(layers))
    return found


def _match_by_position(open_: Sequence[int], found: dict[int, int], count: int) -> None:
    """Match entries between two that are known, where as many layers are left between those."""
    known = sorted(found)
    # The last layer of the entries up to each known one, and the first of those from it on.
    before = [-1, *accumulate((found[index] for index in known), max)]
    from_the_end = [*accumulate((found[index] for index in reversed(known)), min)]
    behind = [*reversed(from_the_end), count]
    runs: dict[tuple[int, int], list[int]] = {}
    for index in open_:
        place = bisect(known, index)
        runs.setdefault((before[place], behind[place]), []).append(index)
    taken = set(found.values())
    for (first, last), run in runs.items():
        free = [layer for layer in range(first + 1, last) if layer not in taken]
        if len(free) == len(run):
            found.update(zip(run, free, strict=True))
            taken.update(free)


def _lost_diagnostic(lost: Sequence[CalibrationEntry]) -> Diagnostic:
    count = "1 entry" if len(lost) == 1 else f"{len(lost)} entries"
    names = ", ".join(f"'{entry.name}'" for entry in lost)
    return Diagnostic.warning(
        lost[0].location, f"{count} of the cache belong to no layer of the network: {names}"
    )
