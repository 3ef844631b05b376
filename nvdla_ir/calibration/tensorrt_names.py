"""TensorRT's names of tensors in calibration tables, and those of a network's layers.

A cache of TensorRT calls a tensor by the name that it has in the network that TensorRT read: in
ONNX the name of the node's output, in Caffe that of the blob. Where several Caffe layers work in
place on one blob, the last of them has its name, and the others are ``(Unnamed Layer* N)
[Kind]_output``: N counts the layers in order. Tensors that TensorRT adds are unnamed, too.
(quantization.md section 1)
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import count

from attrs import define, evolve, field, frozen

from nvdla_ir.calibration.entry import CalibrationEntry
from nvdla_ir.calibration.table import CalibrationTable, TableFormat
from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.calibrated import float_element, takes_calibrated_result
from nvdla_ir.dialects.func import FuncOp, entry_functions
from nvdla_ir.dialects.layer import LayerOp, tensor_names
from nvdla_ir.dialects.nn import RearrangementOp
from nvdla_ir.ir.diagnostics import Diagnostic, DiagnosticCollector, DiagnosticError
from nvdla_ir.ir.location import UNKNOWN

_UNNAMED = re.compile(r"\(Unnamed Layer\* (\d+)\) \[(.+)\]_output")

# What TensorRT makes of the operations, its Caffe parser's choice first.
_KINDS = {
    "nn.conv": ("Convolution",),
    "nn.conv_transpose": ("Deconvolution",),
    "nn.fully_connected": ("Fully Connected", "Convolution", "Matrix Multiply"),
    "nn.batch_norm": ("Scale",),
    "nn.scale": ("Scale",),
    "nn.bias_add": ("Scale", "ElementWise"),
    "nn.power": ("Scale", "Unary", "ElementWise"),
    "nn.relu": ("Activation",),
    "nn.leaky_relu": ("Activation", "Plugin"),
    "nn.clip": ("Activation",),
    "nn.sigmoid": ("Activation",),
    "nn.tanh": ("Activation",),
    "nn.elu": ("Activation",),
    "nn.prelu": ("Parametric ReLU", "Plugin"),
    "nn.add": ("ElementWise",),
    "nn.sub": ("ElementWise",),
    "nn.mul": ("ElementWise", "Scale"),
    "nn.div": ("ElementWise",),
    "nn.max": ("ElementWise",),
    "nn.min": ("ElementWise",),
    "nn.max_pool": ("Pooling",),
    "nn.average_pool": ("Pooling",),
    "nn.global_average_pool": ("Pooling", "Reduce"),
    "nn.global_max_pool": ("Pooling", "Reduce"),
    "nn.lrn": ("LRN",),
    "nn.softmax": ("SoftMax", "Softmax"),
    "nn.concat": ("Concatenation",),
    "nn.reshape": ("Shuffle",),
    "nn.flatten": ("Shuffle",),
    "nn.transpose": ("Shuffle",),
}
_KNOWN_KINDS = {kind for kinds in _KINDS.values() for kind in kinds}

_LISTED = 4
"""How many names of each side a message shows."""

BY_TENSOR, BY_LAYER, BY_POSITION = "tensor name", "layer name", "position"


@frozen(eq=False)
class _Tensor:
    """An input or a layer's result.

    key:      what a table of this network calls it
    names:    what the imported network calls it; None where that is not known
    operation: that computes it; empty for inputs
    number:   which layer it is; None for inputs
    required: whether it must have an entry
    """

    key: str
    names: tuple[str, ...] | None
    operation: str = ""
    number: int | None = None
    required: bool = True

    def is_of(self, kind: str) -> bool:
        kinds = _KINDS.get(self.operation)
        return kind not in _KNOWN_KINDS if kinds is None else kind in kinds


@frozen
class _Match:
    tensor: _Tensor
    how: str


@define
class _Reading:
    """Which tensor each entry belongs to, by its index; and what is wrong about that.

    by_view: by tensor that has no entry itself, the entry of a view of it
    """

    matches: dict[int, _Match] = field(factory=dict[int, _Match])
    by_view: dict[str, int] = field(factory=dict[str, int])
    faults: list[Diagnostic] = field(factory=list[Diagnostic])

    def is_complete(self, tensors: Sequence[_Tensor]) -> bool:
        found = {match.tensor.key for match in self.matches.values()} | self.by_view.keys()
        return not self.faults and all(t.key in found for t in tensors if t.required)


def rename_entries(
    table: CalibrationTable, module: ModuleOp, diagnostics: DiagnosticCollector
) -> tuple[CalibrationTable, list[CalibrationEntry]]:
    """``table`` with the names that the layers and inputs of ``module`` have, in the same order,
    and its entries that belong to no tensor, which keep their names.

    ``module`` is a network as a front end made it, before passes join layers. An entry belongs to
    the tensor of that name, else to the layer of that name; one of the form ``(Unnamed Layer* N)
    [Kind]_output`` to the N-th layer, if that is of its kind and its tensor has no name. In a JSON
    table without such names, layers' names come first. What a node of ONNX computes on the way and
    hands on as a view, which has a name, has the view's entry. Where one order leaves the table
    incomplete and the other does not, that one is taken.

    How many entries were matched how is a remark, unless all of a JSON table are layers' names.

    Raises: DiagnosticError for entries that may belong to another tensor than they seem to: two of
    one tensor, and numbers of layers of another kind.
    """
    reading = _Network.of_module(module).read(table)
    if reading.faults:
        raise DiagnosticError(*reading.faults)
    renamed: dict[str, CalibrationEntry] = {}
    lost: list[CalibrationEntry] = []
    for index, entry in enumerate(table.entries):
        match = reading.matches.get(index)
        if match is None:
            lost.append(entry)
        name = entry.name if match is None else match.tensor.key
        renamed.setdefault(name, evolve(entry, name=name))
    for key, index in reading.by_view.items():
        renamed[key] = evolve(table.entries[index], name=key)
    by_layer = all(match.how == BY_LAYER for match in reading.matches.values())
    if table.format is not TableFormat.NVDLA_JSON or not by_layer:
        diagnostics.emit(_summary(table, reading))
    return evolve(table, entries=tuple(renamed.values())), lost


def stated_names(table: CalibrationTable, module: ModuleOp) -> dict[str, list[str]]:
    """By what a table of the network ``module`` calls a tensor, the names of its entries in
    ``table``; see ``rename_entries``."""
    names: dict[str, list[str]] = {}
    for index, match in _Network.of_module(module).read(table).matches.items():
        names.setdefault(match.tensor.key, []).append(table.entries[index].name)
    return names


def cache_names(func: FuncOp) -> dict[str, tuple[str, ...]]:
    """By what a table of this network calls a tensor, the names under which TensorRT looks for it
    in a cache. Views have the range of what they view, so its names are among these."""
    names: dict[str, list[str]] = {}
    network = _Network.of([func])
    for tensor in network.tensors:
        key = network.viewed.get(tensor.key, tensor.key)
        known = names.setdefault(key, [])
        if tensor.names:
            known += tensor.names
        elif tensor.names is not None and tensor.number is not None:
            kind = _KINDS.get(tensor.operation, (tensor.operation,))[0]
            known.append(f"(Unnamed Layer* {tensor.number}) [{kind}]_output")
        else:
            known.append(tensor.key)
    return {key: tuple(dict.fromkeys(found)) for key, found in names.items()}


@frozen(eq=False)
class _Network:
    """viewed: by name of a view, the tensor that it is a view of"""

    tensors: tuple[_Tensor, ...]
    viewed: dict[str, str]

    @staticmethod
    def of(funcs: Iterable[FuncOp]) -> _Network:
        tensors: list[_Tensor] = []
        viewed: dict[str, str] = {}
        for func in funcs:
            tensors += _tensors_of(func, viewed)
        return _Network(tuple(tensors), viewed)

    @staticmethod
    def of_module(module: ModuleOp) -> _Network:
        return _Network.of(entry_functions(module))

    def read(self, table: CalibrationTable) -> _Reading:
        names_tensors = table.format is not TableFormat.NVDLA_JSON or any(
            _UNNAMED.fullmatch(entry.name) for entry in table.entries
        )
        by_tensors = self._read(table, (BY_TENSOR, BY_LAYER))
        by_layers = self._read(table, (BY_LAYER, BY_TENSOR))
        first, second = (by_tensors, by_layers) if names_tensors else (by_layers, by_tensors)
        if first.is_complete(self.tensors) or not second.is_complete(self.tensors):
            return first
        return second

    def _read(self, table: CalibrationTable, order: Sequence[str]) -> _Reading:
        reading = _Reading()
        names = {BY_TENSOR: self._tensor_names(), BY_LAYER: {t.key: t for t in self.tensors}}
        claims: dict[str, CalibrationEntry] = {}

        def claim(index: int, match: _Match) -> None:
            entry, key = table.entries[index], match.tensor.key
            other = claims.setdefault(key, entry)
            if other is not entry and (other.scale, other.offset) != (entry.scale, entry.offset):
                reading.faults.append(_conflict(other, entry, key))
            reading.matches[index] = match

        for index, entry in enumerate(table.entries):
            for how in order:
                tensor = names[how].get(entry.name)
                if tensor is not None:
                    claim(index, _Match(tensor, how))
                    break
        self._read_views(table, reading)
        counted = [t for t in self.tensors if t.number is not None]
        known = [t.names for t in counted if t.names is not None]
        if known and () not in known:
            # Every tensor has a name: the unnamed ones are TensorRT's own.
            return reading
        for index, entry in enumerate(table.entries):
            unnamed = _UNNAMED.fullmatch(entry.name)
            if index in reading.matches or unnamed is None or unnamed[2] not in _KNOWN_KINDS:
                continue
            # More digits than layers could have are no number to convert.
            number = int(unnamed[1]) if len(unnamed[1]) < 10 else len(counted)
            tensor = counted[number] if number < len(counted) else None
            if tensor is None or tensor.names or not tensor.is_of(unnamed[2]):
                reading.faults.append(_misnumbered(entry, tensor, len(counted)))
            else:
                claim(index, _Match(tensor, BY_POSITION))
        return reading

    def _read_views(self, table: CalibrationTable, reading: _Reading) -> None:
        """A view has the numbers of what it views; of several the entry with the widest range."""
        own = {match.tensor.key: index for index, match in reading.matches.items()}
        for view, source in self.viewed.items():
            index = own.get(view)
            if index is None or source in own:
                continue
            other = reading.by_view.setdefault(source, index)
            if table.entries[index].scale > table.entries[other].scale:
                reading.by_view[source] = index

    def _tensor_names(self) -> dict[str, _Tensor]:
        return {name: tensor for tensor in self.tensors for name in tensor.names or ()}


def _tensors_of(func: FuncOp, viewed: dict[str, str]) -> Iterator[_Tensor]:
    inputs: set[str] = set()
    for argument in func.body.arguments:
        name = func.argument_name(argument)
        inputs.add(name)
        yield _Tensor(name, (name,), required=float_element(argument) is not None)
    keys: dict[object, str] = {a: func.argument_name(a) for a in func.body.arguments}
    numbers = count()
    for op in func.walk():
        if not isinstance(op, LayerOp) or not op.layers:
            continue
        key = op.layers[-1]
        keys.update(dict.fromkeys(op.results, key))
        if key in inputs:
            continue
        is_view = isinstance(op, RearrangementOp)
        source = keys.get(op.input) if isinstance(op, RearrangementOp) else None
        if source is not None:
            viewed[key] = viewed.get(source, source)
        required = takes_calibrated_result(op) and not is_view
        yield _Tensor(key, tensor_names(op), op.name, next(numbers), required)


# -------------------------------------------------------------- what is said about it


def _summary(table: CalibrationTable, reading: _Reading) -> Diagnostic:
    counts = Counter(match.how for match in reading.matches.values())
    listed = ", ".join(f"{counts[how]} by {how}" for how in (BY_TENSOR, BY_LAYER, BY_POSITION))
    views = ", ".join(f"'{key}'" for key in reading.by_view)
    return Diagnostic.remark(
        table.entries[0].location,
        f"of {len(table)} entries of the calibration table, {listed} belong to the network"
        + (f"; {views} without an entry has that of its view" if views else ""),
    )


def _conflict(first: CalibrationEntry, second: CalibrationEntry, key: str) -> Diagnostic:
    note = Diagnostic.note(
        first.location, f"'{first.name}' is here, its scale is {first.scale:.6g}"
    )
    return Diagnostic.error(
        second.location,
        f"'{second.name}' (scale {second.scale:.6g}) and '{first.name}' both seem to be the tensor "
        f"'{key}': keep the one that is",
        [note],
    )


def _misnumbered(entry: CalibrationEntry, tensor: _Tensor | None, layers: int) -> Diagnostic:
    if tensor is None:
        found = f"the network has only {layers}"
    elif tensor.names:
        found = f"that is '{tensor.key}', whose tensor has the name '{tensor.names[-1]}'"
    else:
        found = f"that is '{tensor.key}' ({tensor.operation})"
    return Diagnostic.error(
        entry.location,
        f"'{entry.name}' does not fit the network, in which layers count from 0: {found}; the "
        "table was made for another network, or for another form of this one",
    )


def names_layers(table: CalibrationTable, module: ModuleOp) -> bool:
    """Whether an entry belongs to a layer of the network: inputs are called alike in many."""
    matches = _Network.of_module(module).read(table).matches.values()
    return any(match.tensor.number is not None for match in matches)


def nothing_matched(table: CalibrationTable, module: ModuleOp) -> Diagnostic:
    """An error: no entry belongs to a layer of the network."""
    theirs = [entry.name for entry in table.entries[-_LISTED:]]
    tensors = [t for t in _Network.of_module(module).tensors if t.number is not None]
    ours = [(tensor.names or (tensor.key,))[-1] for tensor in tensors[:_LISTED]]
    return Diagnostic.error(
        table.entries[0].location if table.entries else UNKNOWN,
        f"none of the {len(table)} entries of the calibration table belongs to a layer of the "
        f"network: the table is of another one. It has {_quoted(theirs)}, the network "
        f"{_quoted(ours)}",
    )


def _quoted(names: Sequence[str]) -> str:
    listed = ", ".join(f"'{name}'" for name in names) or "nothing"
    return f"{listed}, …" if len(names) == _LISTED else listed


def lost_diagnostic(lost: Sequence[CalibrationEntry]) -> Diagnostic:
    """A warning of entries for which there is no tensor."""
    number = "1 entry" if len(lost) == 1 else f"{len(lost)} entries"
    names = _quoted([entry.name for entry in lost[:_LISTED]])
    return Diagnostic.warning(
        lost[0].location, f"{number} of the table belong to no tensor of the network: {names}"
    )
