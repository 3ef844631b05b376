"""ONNX models in: a module with one function of nn operations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from attrs import define, field

from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.func import NAME_ATTRIBUTE, FuncOp, ReturnOp
from nvdla_ir.dialects.layer import LayerOp, set_tensor_names, tensor_names
from nvdla_ir.dialects.nn.idioms import IDIOMS
from nvdla_ir.frontends.cuts import WHOLE, Cut
from nvdla_ir.frontends.onnx.calibrating import settle_types
from nvdla_ir.frontends.onnx.cutting import with_cut
from nvdla_ir.frontends.onnx.faults import Faults, UnsupportedError
from nvdla_ir.frontends.onnx.folding import FOLDED, fold
from nvdla_ir.frontends.onnx.inference import TensorInfo, inferred_types
from nvdla_ir.frontends.onnx.layer import HANDLERS, Assembly, Layer, Output, as_tensor
from nvdla_ir.frontends.onnx.model import Model, Node, in_order, read_model
from nvdla_ir.frontends.onnx.operands import (
    Activation,
    Codes,
    Constant,
    QuantizedConstant,
    RawInput,
    Tensor,
)
from nvdla_ir.frontends.onnx.shapes import input_shapes
from nvdla_ir.frontends.onnx.tensors import FLOAT_TYPES, TensorError
from nvdla_ir.ir.attributes import StringAttr
from nvdla_ir.ir.builder import Builder, InsertionPoint
from nvdla_ir.ir.diagnostics import DiagnosticCollector
from nvdla_ir.ir.operation import Block, Region, Value
from nvdla_ir.ir.rewriter import apply_patterns_greedily
from nvdla_ir.ir.traits import Pure
from nvdla_ir.ir.types import F32, I8, FunctionType, IntegerType, TensorType, Type
from nvdla_ir.resources import ResourceStore

_UI8 = IntegerType(8, "u")
# onnx.proto, TensorProto.DataType.
_UINT8, _INT8 = 2, 3
_INTEGERS: dict[int, tuple[Type, np.dtype[Any]]] = {
    _UINT8: (_UI8, np.dtype(np.uint8)),
    _INT8: (I8, np.dtype(np.int8)),
}

# Operators that choose among codes, or move them, and so may work on integers.
_ON_CODES = frozenset(
    {
        "Concat",
        "Flatten",
        "Identity",
        "MaxPool",
        "Reshape",
        "Resize",
        "Slice",
        "Split",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
    }
)


def import_onnx(
    path: Path,
    resources: ResourceStore,
    *,
    shapes: Mapping[str, tuple[int, ...]],
    diagnostics: DiagnosticCollector,
    cut: Cut = WHOLE,
) -> ModuleOp:
    """The network in the ONNX model ``path`` as a module whose ``@main`` computes its outputs.

    Operator sets from 7 on are read. Inputs and outputs have the names that they have in the
    model; each layer is named after its node, or after the node's output where the node has no
    name, and keeps the names that the model has for its result (``TENSORS_ATTRIBUTE``). Weights are
    added to ``resources``. ``shapes`` gives inputs their shape by name, where the model leaves it
    open. What is changed on the way (floats of other widths, repeated names) is told to
    ``diagnostics``. Of the network the part between the tensors of ``cut`` is imported.

    A quantized model's activations get the fake-quantized type of exactly their scale and zero
    point (uint8 as int8, 128 lower), its weights stay the integers that they are. Functions that
    the model writes as several nodes are one operation (``nvdla_ir/dialects/nn/idioms.py``).

    Raises: DiagnosticError with all faults: operators, attributes and shapes that are not
    supported (equal ones told once, with the names of their nodes), open shapes, missing or
    garbled data, cycles.
    """
    model = read_model(path, diagnostics)
    resources.add_source(path)
    if cut != WHOLE:
        model, shapes = with_cut(model, cut, shapes, diagnostics)
    order = in_order(model)
    extents = input_shapes(model, shapes, diagnostics)
    for tensor in model.tensors.values():
        if tensor.external_file:
            resources.add_source(path.parent / tensor.external_file)
    return _Import(model, order, extents, resources, diagnostics).module()


@define(eq=False)
class _Import:
    model: Model
    order: Sequence[Node]
    extents: Mapping[str, tuple[int, ...]]
    resources: ResourceStore
    diagnostics: DiagnosticCollector
    faults: Faults = field(factory=Faults)
    body: Block = field(factory=Block)
    assembly: Assembly = field(init=False)
    _read: set[str] = field(init=False)
    _returned: set[str] = field(init=False)
    _inferred: Mapping[str, TensorInfo] | None = None

    def __attrs_post_init__(self) -> None:
        builder = Builder(InsertionPoint.at_end(self.body), self.model.location)
        self.assembly = Assembly(self.model, builder, self.resources, self.diagnostics)
        self._read = {name for node in self.order for name in node.inputs}
        self._returned = {port.name for port in self.model.outputs}

    def module(self) -> ModuleOp:
        self._arguments()
        for node in self.order:
            self._node(node)
        values = [self._output(port.name) for port in self.model.outputs]
        self.faults.raise_all()
        returned = [value for value in values if value is not None]
        return_op = self.assembly.builder.create(ReturnOp, values=returned)
        settle_types(self.assembly, self.body)
        self._erase_unused()
        self.assembly.remark_conversions()
        function = FuncOp.create(
            sym_name="main",
            function_type=FunctionType(
                tuple(argument.type for argument in self.body.arguments),
                tuple(value.type for value in return_op.operands),
            ),
            arg_attrs=_named([port.name for port in self.model.inputs]),
            res_attrs=_named([port.name for port in self.model.outputs]),
            regions=[Region([self.body])],
            location=self.model.location,
        )
        module = ModuleOp.of([function])
        module.location = self.model.location
        apply_patterns_greedily(module, IDIOMS, tensors=self.resources, remove_dead=True)
        return module

    def _arguments(self) -> None:
        for port in self.model.inputs:
            self.assembly.names.add(port.name)
            shape = self.extents[port.name]
            integer = _INTEGERS.get(port.element)
            if integer is not None:
                argument = self.body.add_argument(TensorType(shape, integer[0]), port.name)
                self.assembly.tensors[port.name] = RawInput(argument, integer[1])
                continue
            if port.element not in FLOAT_TYPES:
                self.faults.other(
                    self.model.location,
                    f"input '{port.name}' must hold floats, int8 or uint8, not elements of type "
                    f"number {port.element}",
                )
            elif port.element != 1:
                self.diagnostics.remark(self.model.location, f"input '{port.name}' becomes float32")
            argument = self.body.add_argument(TensorType(shape, F32), port.name)
            self.assembly.tensors[port.name] = Activation(argument)

    # -------------------------------------------------------------- nodes

    def _node(self, node: Node) -> None:
        handler = HANDLERS.get((node.domain, node.op_type))
        message = node.fault
        if node.has_subgraphs:
            message = "has subgraphs, which are not supported"
        elif handler is None and (node.domain or node.op_type not in FOLDED):
            message = "is not supported"
        if message is None:
            try:
                self._import(node)
                return
            except UnsupportedError as error:
                message = str(error)
            except KeyError:
                # An operand comes from a node that was told of.
                self._stand_in(node)
                return
        self.faults.node(node.kind, message, node.label, node.location)
        self._stand_in(node)

    def _import(self, node: Node) -> None:
        """Raises: KeyError where an operand is not known because of an earlier fault."""
        tensors = [self.assembly.tensor(name) if name else None for name in node.inputs]
        layer = Layer(node, self.assembly)
        results = fold(layer, tensors)
        if results is None:
            results = self._handled(layer, tensors)
        unread = layer.unread()
        if unread:
            raise UnsupportedError(f"attribute '{unread[0]}' is not supported")
        for index, name in enumerate(node.outputs):
            if not name:
                continue
            if index < len(results):
                self.assembly.tensors[name] = results[index]
                _tell_name(node, name, results[index])
            elif name in self._read or name in self._returned:
                raise UnsupportedError(f"output {index} is not supported")

    def _handled(self, layer: Layer, tensors: Sequence[Tensor | None]) -> list[Tensor]:
        node = layer.node
        handler = HANDLERS.get((node.domain, node.op_type))
        if handler is None:
            raise UnsupportedError(
                "is supported for constants only, but the network computes its input"
            )
        layer.name = self.assembly.unique_name(node.label)
        codes = _common_codes(node, tensors)
        if codes is not None:
            layer.codes = codes
        found = handler(layer)
        outputs: Sequence[Output] = found if isinstance(found, Sequence) else [found]
        results = [
            as_tensor(output, name) for output, name in zip(outputs, node.outputs, strict=False)
        ]
        if codes is None:
            return results
        return [
            Codes(result.value, codes.scale, codes.zero_point, codes.dtype)
            if isinstance(result, Activation)
            else result
            for result in results
        ]

    def _stand_in(self, node: Node) -> None:
        """Something of the right shape in place of what cannot be computed, so that the faults of
        later nodes are found as well."""
        if self._read.isdisjoint(node.outputs):
            return
        if self._inferred is None:
            self._inferred = inferred_types(self.model.proto, self.extents)
        for name in node.outputs:
            info = self._inferred.get(name)
            shape = None if info is None else info.extents
            if name and shape is not None and name not in self.assembly.tensors:
                value = Block([TensorType(shape, F32)]).arguments[0]
                self.assembly.tensors[name] = Activation(value)

    # -------------------------------------------------------------- outputs

    def _output(self, name: str) -> Value | None:
        try:
            tensor = self.assembly.tensor(name)
        except KeyError:
            return None
        except UnsupportedError as error:
            self.faults.other(self.model.location, f"output '{name}': {error}")
            return None
        if isinstance(tensor, QuantizedConstant):
            tensor = tensor.constant()
        if isinstance(tensor, Constant):
            try:
                return self._constant_output(tensor)
            except (UnsupportedError, TensorError) as error:
                self.faults.other(self.model.location, f"output '{name}': {error}")
                return None
        if isinstance(tensor, Codes):
            self.diagnostics.remark(
                self.model.location,
                f"output '{name}' is the reals that its {tensor.dtype} integers stand for "
                f"(scale {tensor.scale:g}, zero point {tensor.zero_point})",
            )
        return tensor.value

    def _constant_output(self, tensor: Constant) -> Value:
        if tensor.array.dtype.kind != "f":
            raise UnsupportedError("is constant integers")
        return self.assembly.constant(tensor.array, tensor.name)

    def _erase_unused(self) -> None:
        operations = list(self.body.operations)
        for op in reversed(operations):
            pure = any(isinstance(trait, Pure) for trait in op.traits)
            if pure and not any(result.is_used for result in op.results):
                op.erase()


def _common_codes(node: Node, tensors: Sequence[Tensor | None]) -> Codes | None:
    """The codes that ``node`` moves, of one scale and zero point, if it may work on integers."""
    if node.op_type not in _ON_CODES or node.domain:
        return None
    codes = [tensor for tensor in tensors if isinstance(tensor, Codes)]
    if not codes:
        return None
    first = codes[0]
    if any((other.scale, other.zero_point) != (first.scale, first.zero_point) for other in codes):
        return None
    return first


def _tell_name(node: Node, name: str, tensor: Tensor) -> None:
    """Note that the model calls ``tensor`` so, where a layer computes it. The tensors between the
    halves of a quantization are no further ones."""
    if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
        return
    if isinstance(tensor, Activation | Codes):
        op = tensor.value.defining_operation
        if isinstance(op, LayerOp):
            set_tensor_names(op, [*(tensor_names(op) or ()), name])


def _named(names: Sequence[str]) -> list[dict[str, StringAttr]] | None:
    return [{NAME_ATTRIBUTE: StringAttr(name)} for name in names] or None
