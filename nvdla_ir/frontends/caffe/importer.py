"""Caffe networks in: a module with one function of nn operations on floats."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from attrs import define, field

from nvdla_ir.dialects import nn
from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.func import NAME_ATTRIBUTE, FuncOp, ReturnOp
from nvdla_ir.dialects.layer import LayerOp, set_tensor_names, tensor_names
from nvdla_ir.dialects.nn.idioms import IDIOMS
from nvdla_ir.dialects.nn.shapes import text_of
from nvdla_ir.frontends.caffe.context import LayerContext, LayerError, UnsupportedError
from nvdla_ir.frontends.caffe.cutting import Point, Versions, with_cut
from nvdla_ir.frontends.caffe.handlers import KINDS, LEFT_OUT, SILENCE, LayerKind
from nvdla_ir.frontends.caffe.inputs import DATA_TYPES, InputTensor, image_tops, input_tensors
from nvdla_ir.frontends.caffe.net import Layer, Net, read_net
from nvdla_ir.frontends.caffe.weights import Weights, read_weights
from nvdla_ir.frontends.cuts import WHOLE, Cut, ListedTensor
from nvdla_ir.ir.attributes import DictAttr, StringAttr, is_bare_identifier
from nvdla_ir.ir.builder import Builder, InsertionPoint
from nvdla_ir.ir.diagnostics import DiagnosticCollector, DiagnosticError
from nvdla_ir.ir.dialect import did_you_mean
from nvdla_ir.ir.location import NameLoc
from nvdla_ir.ir.operation import Block, BlockArgument, Region, Value
from nvdla_ir.ir.rewriter import apply_patterns_greedily
from nvdla_ir.ir.types import F32, UI8, FunctionType, TensorType
from nvdla_ir.resources import ResourceStore


def import_caffe(
    prototxt: Path,
    caffemodel: Path | None,
    resources: ResourceStore,
    *,
    shapes: Mapping[str, tuple[int, ...]],
    diagnostics: DiagnosticCollector,
    cut: Cut = WHOLE,
) -> ModuleOp:
    """The network ``prototxt`` in its test phase, with the weights of ``caffemodel``, as a module
    with one function ``@main``. A network whose layers have no weights needs no ``caffemodel``.

    Inputs and outputs are called as their blobs are, operations as their layers. ``shapes`` gives
    the shapes of inputs whose text leaves them open, or other ones. Weights become ``resources``.
    What only judges results (losses, accuracy) is left out. Of the network the part between the
    blobs of ``cut`` is imported.

    Raises: DiagnosticError with everything that is wrong or not known: layer types and parameters,
    missing and misshapen weights, at the lines of the layers. Remarks go to ``diagnostics``.
    """
    found = DiagnosticCollector()
    for file in (prototxt, caffemodel):
        if file is not None:
            resources.add_source(file)
    try:
        net = read_net(prototxt, found)
        weights = (
            Weights(net.location, {}, given=False)
            if caffemodel is None
            else read_weights(caffemodel)
        )
        results: Sequence[str] | None = None
        if cut != WHOLE:
            net, results, shapes, weights = _part(net, weights, cut, shapes, found)
        module = _Assembly(net, weights, resources, shapes, found, results).build()
    except DiagnosticError as error:
        earlier = [d for d in found.diagnostics if d not in error.diagnostics]
        diagnostics.diagnostics += [d for d in earlier if d not in found.errors]
        errors = [d for d in earlier if d in found.errors]
        raise DiagnosticError(*errors, *error.diagnostics) from None
    diagnostics.diagnostics += found.diagnostics
    apply_patterns_greedily(module, IDIOMS, tensors=resources)
    return module


def list_blobs(
    prototxt: Path, *, shapes: Mapping[str, tuple[int, ...]], diagnostics: DiagnosticCollector
) -> Sequence[ListedTensor]:
    """The blobs of the network ``prototxt`` in the order of its layers. Of what layers do in place
    each version has the name of its layer, but the last one that of the blob.

    Raises: DiagnosticError for what is no network.
    """
    net = read_net(prototxt, diagnostics)
    versions, made, _ = _tried(net, Weights(net.location, {}, given=False), shapes)
    found: list[ListedTensor] = []
    for name, point in versions.points():
        layer = net.layers[point[0]]
        shape = made.get(point)
        producer = "input" if layer.type in DATA_TYPES else f"{layer.type} '{layer.name}'"
        text = "?" if shape is None else text_of(shape)
        found.append(ListedTensor(name, text, "float32", producer))
    return found


def _tried(
    net: Net, weights: Weights, shapes: Mapping[str, tuple[int, ...]]
) -> tuple[Versions, dict[Point, tuple[int, ...]], list[str]]:
    """The versions of the blobs of ``net``, their shapes as far as the layers can be made, and the
    results. What is wrong is told when it is imported."""
    assembly = _Assembly(net, weights, ResourceStore(), shapes, DiagnosticCollector())
    assembly.gather()
    return Versions.of(net), assembly.made, list(assembly.unread)


def _part(
    net: Net,
    weights: Weights,
    cut: Cut,
    shapes: Mapping[str, tuple[int, ...]],
    diagnostics: DiagnosticCollector,
) -> tuple[Net, Sequence[str], Mapping[str, tuple[int, ...]], Weights]:
    """The part of ``net``, its results, and the shapes and weights that are for it."""
    versions, made, results = _tried(net, weights, shapes)
    part, results = with_cut(versions, cut, results, made, diagnostics)
    inputs = [
        {top for layer in each.layers if layer.type in DATA_TYPES for top in layer.tops}
        for each in (net, part)
    ]
    gone = inputs[0] - inputs[1]
    kept = {layer.name for layer in part.layers if layer.type not in DATA_TYPES}
    left = {layer.name for layer in net.layers} - kept
    blobs = {name: found for name, found in weights.blobs.items() if name not in left}
    return (
        part,
        results,
        {name: shape for name, shape in shapes.items() if name not in gone},
        Weights(weights.location, blobs, weights.given),
    )


@define(eq=False)
class _Assembly:
    """The function under construction. ``blobs`` holds what was written last under each name."""

    net: Net
    weights: Weights
    resources: ResourceStore
    shapes: Mapping[str, tuple[int, ...]]
    diagnostics: DiagnosticCollector
    results: Sequence[str] | None = None
    """The blobs that are returned; by default those that no layer reads."""
    body: Block = field(factory=Block)
    builder: Builder = field(init=False)
    blobs: dict[str, Value] = field(factory=dict[str, Value])
    inputs: list[InputTensor] = field(factory=list[InputTensor])
    made: dict[Point, tuple[int, ...]] = field(factory=dict[Point, "tuple[int, ...]"])
    unread: dict[str, None] = field(factory=dict[str, None])
    # Values that stand for results of layers at fault.
    _guessed: set[Value] = field(factory=set[Value])
    _input_names: dict[str, None] = field(factory=dict[str, None])
    _names: set[str] = field(factory=set[str])
    _made_by: dict[str, str] = field(factory=dict[str, str])

    def __attrs_post_init__(self) -> None:
        self.builder = Builder(InsertionPoint.at_end(self.body), self.net.location)

    def gather(self) -> None:
        """All layers, one by one; ``made`` are then the shapes of what they make."""
        for index, layer in enumerate(self.net.layers):
            self._add(layer)
            for top in layer.tops:
                value = self.blobs.get(top)
                if value is not None and value not in self._guessed:
                    self.made[index, top] = nn.shape_of(value)

    def build(self) -> ModuleOp:
        self.gather()
        self.weights.report_missed(self.diagnostics)
        self.weights.warn_of_unused(self.diagnostics)
        for name in self.shapes:
            if name not in self._input_names:
                hint = did_you_mean(name, list(self._input_names))
                self.diagnostics.error(
                    self.net.location, f"a shape is given for '{name}', which is no input{hint}"
                )
        if not (self.results or self.unread) and not self.diagnostics.errors:
            self.diagnostics.error(self.net.location, "the network has no outputs")
        self.diagnostics.raise_if_errors()
        return self._module()

    def _error(self, layer: Layer, message: str) -> None:
        self.diagnostics.error(layer.location, f"layer '{layer.name}' {message}")

    # -------------------------------------------------------------- layers

    def _add(self, layer: Layer) -> None:
        if layer.type in DATA_TYPES:
            self._add_inputs(layer)
        elif layer.type in LEFT_OUT:
            self.diagnostics.remark(
                layer.location, f"layer '{layer.name}' of type '{layer.type}' is left out"
            )
            # Labels come from layers that nothing is made of.
        elif layer.type == SILENCE:
            for bottom in layer.bottoms:
                self.unread.pop(bottom, None)
        else:
            self._add_operations(layer)

    def _add_inputs(self, layer: Layer) -> None:
        for tensor in input_tensors(layer, self.shapes, self.diagnostics):
            self._claim_top(layer, tensor.name)
            element = UI8 if tensor.is_pixels else F32
            value: Value = self.body.add_argument(TensorType(tensor.shape, element))
            value.name_hint = _hint(tensor.name)
            self.inputs.append(tensor)
            if tensor.is_pixels:
                op = self.builder.create(
                    nn.NormalizeOp,
                    input=value,
                    mean=tensor.mean,
                    scale=tensor.scale,
                    layers=(tensor.name,),
                    result_types=[TensorType(tensor.shape, F32)],
                    location=NameLoc(tensor.name, layer.location),
                )
                value = op.output
                self._names.add(tensor.name)
            self.blobs[tensor.name] = value
            self.unread[tensor.name] = None
        for name in image_tops(layer):
            if name not in self.blobs:
                self.blobs[name] = self._guess(TensorType((1, 1, 1, 1), F32))
            self._input_names[name] = None

    def _add_operations(self, layer: Layer) -> None:
        kind = KINDS.get(layer.type)
        if kind is None:
            hint = did_you_mean(layer.type, sorted(KINDS))
            self._error(layer, f"is of type '{layer.type}', which is not supported{hint}")
        elif fault := kind.count_fault(layer):
            self._error(layer, fault)
            kind = None
        bottoms = layer.bottoms[:1] if layer.type == "SoftmaxWithLoss" else layer.bottoms
        inputs = self._inputs_of(layer, bottoms)
        # What is not read from here on is a result; labels are none.
        for bottom in layer.bottoms:
            self.unread.pop(bottom, None)
        results = self._results(layer, kind, inputs)
        tops = layer.tops or ((layer.name,) if layer.type == "SoftmaxWithLoss" else ())
        for top, value in zip(tops, results, strict=False):
            self._claim_top(layer, top)
            self.blobs[top] = value
            self.unread[top] = None

    def _inputs_of(self, layer: Layer, bottoms: Sequence[str]) -> list[Value]:
        values: list[Value] = []
        for bottom in bottoms:
            value = self.blobs.get(bottom)
            if value is None:
                self._error(layer, self._unknown_bottom(layer, bottom))
                value = self._guess(TensorType((1, 1, 1, 1), F32))
            values.append(value)
        return values

    def _unknown_bottom(self, layer: Layer, bottom: str) -> str:
        for other in self.net.layers:
            if bottom in other.tops:
                if other.type in DATA_TYPES:
                    return f"reads '{bottom}' of the data layer '{other.name}', which is no image"
                if other is layer:
                    return f"reads '{bottom}', which it makes itself"
                return (
                    f"reads '{bottom}', which layer '{other.name}' makes behind it: layers must "
                    "stand in the order of computation, without cycles"
                )
        return f"reads '{bottom}', which no layer makes{did_you_mean(bottom, sorted(self.blobs))}"

    def _guess(self, type: TensorType) -> Value:
        """A value that stands for one that could not be made."""
        value = Block().add_argument(type)
        self._guessed.add(value)
        return value

    def _results(
        self, layer: Layer, kind: LayerKind | None, inputs: Sequence[Value]
    ) -> Sequence[Value]:
        """The layer's results; of a layer at fault, guesses in the shape of its first input."""
        is_guess = any(value in self._guessed for value in inputs)
        if kind is not None:
            name = self._unique(layer)
            before = self.body.last_op
            context = LayerContext(
                layer,
                name,
                inputs,
                self.weights,
                Builder(self.builder.point, NameLoc(name, layer.location)),
                self.resources,
            )
            try:
                results = kind.handler(context)
                context.check_blobs()
            except UnsupportedError as error:
                self._error(layer, str(error))
            except LayerError as error:
                for fault in context.faults:
                    self._error(layer, fault)
                if not is_guess:
                    self._error(layer, str(error))
            else:
                if not is_guess:
                    for fault in context.faults:
                        self._error(layer, fault)
                    computes = self.body.last_op is not before
                    self._name_results(layer, inputs, results, computes=computes)
                else:
                    self._guessed.update(results)
                return results
        self.weights.of(layer.name)
        type = nn.tensor_type(inputs[0]) if inputs else TensorType((1, 1, 1, 1), F32)
        return [self._guess(type) for _ in layer.tops]

    def _name_results(
        self, layer: Layer, inputs: Sequence[Value], results: Sequence[Value], *, computes: bool
    ) -> None:
        """Hints of what the results are called, and the blobs that they are."""
        for top, value in zip(layer.tops, results, strict=False):
            definer = value.defining_operation
            if not computes:
                # Nothing was computed: the tensor's own layer stays the last of the names.
                if isinstance(definer, LayerOp) and definer.layers is not None:
                    definer.layers = (layer.name, *definer.layers)
            elif value not in inputs:
                value.name_hint = _hint(top)
            if isinstance(definer, LayerOp):
                self._tell_blob(definer, top)

    def _tell_blob(self, op: LayerOp, top: str) -> None:
        """``op`` is now the last to write the blob ``top``."""
        previous = self.blobs.get(top)
        writer = None if previous is None else previous.defining_operation
        if isinstance(writer, LayerOp) and writer is not op:
            set_tensor_names(writer, [n for n in tensor_names(writer) or () if n != top])
        set_tensor_names(op, [*(tensor_names(op) or ()), top])

    def _unique(self, layer: Layer) -> str:
        """The layer's name, with a number where another layer has it already."""
        name, number = layer.name, 1
        if name in self._names:
            if self.weights.of(layer.name):
                self._error(layer, "is the second of this name, so that its weights are unclear")
            while name in self._names:
                number += 1
                name = f"{layer.name}.{number}"
            self.diagnostics.remark(
                layer.location, f"layer '{layer.name}' is the second of this name: it is '{name}'"
            )
        self._names.add(name)
        return name

    def _claim_top(self, layer: Layer, top: str) -> None:
        """See that a blob is written by one layer, and by those that work in place."""
        if top in self._made_by and top not in layer.bottoms:
            self._error(layer, f"makes '{top}', which layer '{self._made_by[top]}' makes already")
        self._made_by[top] = layer.name

    # -------------------------------------------------------------- the module

    def _module(self) -> ModuleOp:
        names = self.unread if self.results is None else self.results
        results = [(name, self.blobs[name]) for name in names]
        arguments: Sequence[BlockArgument] = self.body.arguments
        self.builder.create(ReturnOp, values=[value for _, value in results])
        function = FuncOp.create(
            sym_name="main",
            function_type=FunctionType(
                tuple(argument.type for argument in arguments),
                tuple(value.type for _, value in results),
            ),
            arg_attrs=[_named(tensor.name) for tensor in self.inputs],
            res_attrs=[_named(name) for name, _ in results],
            regions=[Region([self.body])],
            location=self.net.location,
        )
        return ModuleOp.of([function])


def _named(name: str) -> DictAttr:
    return DictAttr(((NAME_ATTRIBUTE, StringAttr(name)),))


def _hint(name: str) -> str:
    """``name`` as the name of a value in the text."""
    bare = re.sub(r"[^\w.$]", "_", name, flags=re.ASCII)
    return bare if is_bare_identifier(bare) else f"_{bare}"
