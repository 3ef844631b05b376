"""A model file as plain values: nodes, inputs, outputs, tensors."""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from attrs import field, frozen

from nvdla_ir.frontends.onnx.faults import UnsupportedError, listed
from nvdla_ir.frontends.onnx.functions import FunctionError, with_functions_put_in
from nvdla_ir.frontends.onnx.tensors import StoredTensor
from nvdla_ir.frontends.onnx.wire import Skeleton, WireError, skeleton
from nvdla_ir.ir.diagnostics import DiagnosticCollector, DiagnosticError
from nvdla_ir.ir.location import Location, NameLoc

if TYPE_CHECKING:
    from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, ValueInfoProto

OLDEST_OPSET = 7
_MAIN_DOMAINS = ("", "ai.onnx")

# onnx.proto, AttributeProto.AttributeType.
_FLOAT, _INT, _STRING, _TENSOR, _GRAPH, _FLOATS, _INTS, _STRINGS = 1, 2, 3, 4, 5, 6, 7, 8
_GRAPHS = 10

AttributeValue: TypeAlias = "float | int | str | tuple[float, ...] | tuple[int, ...] | StoredTensor"


@frozen(eq=False)
class Node:
    """One node.

    label:  its name, or that of its first output
    domain: "" for ONNX's own operators
    proto:  what it was in the file
    """

    op_type: str
    domain: str
    label: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, AttributeValue]
    location: Location
    proto: NodeProto
    has_subgraphs: bool = False
    fault: str | None = None

    @property
    def kind(self) -> str:
        """The operator as messages call it."""
        return f"{self.domain}.{self.op_type}" if self.domain else self.op_type


@frozen
class Port:
    """An input or output of the graph.

    element: of TensorProto.DataType; 0 where the model does not say
    shape:   extents, each a number, a name or nothing; None where the rank is unknown
    """

    name: str
    element: int
    shape: tuple[int | str | None, ...] | None


@frozen(eq=False)
class Model:
    """A graph and its operator sets by domain. ``proto`` is what all that was read from, its
    functions put in, its large weights left out."""

    location: Location
    proto: ModelProto
    opsets: dict[str, int]
    nodes: list[Node]
    inputs: list[Port]
    outputs: list[Port]
    tensors: dict[str, StoredTensor] = field(factory=dict[str, StoredTensor])

    @property
    def opset(self) -> int:
        return self.opsets[""]


def read_model(path: Path, diagnostics: DiagnosticCollector) -> Model:
    """The model in the file ``path``, without its large weights.

    Raises: DiagnosticError where the onnx package is missing, and for files that are missing,
    cut off, garbled, or no ONNX models of operator sets from 7 on.
    """
    location = NameLoc(str(path))
    proto, found = _parse(path, location)
    try:
        return _Reader(path, location, diagnostics).model(proto, found)
    except UnicodeDecodeError as error:
        raise DiagnosticError.at(location, f"a name in it is not UTF-8: {error.reason}") from error


def _parse(path: Path, location: Location) -> tuple[ModelProto, Skeleton]:
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError as error:
        raise DiagnosticError.at(
            location,
            f"reading ONNX needs the package '{error.name}': install 'nvdla-ir[onnx]'",
        ) from error
    found = _skeleton(path, location)
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(found.message)
    except (DecodeError, UnicodeDecodeError, ValueError) as error:
        raise DiagnosticError.at(
            location, "is no ONNX model: its protobuf message is cut off or garbled"
        ) from error
    return proto, found


def _skeleton(path: Path, location: Location) -> Skeleton:
    try:
        with path.open("rb") as file:
            if not file.seek(0, 2):
                raise DiagnosticError.at(location, "is empty")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                found = _mapped_skeleton(data)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DiagnosticError.at(location, f"cannot be read: {reason}") from error
    if isinstance(found, str):
        raise DiagnosticError.at(location, found)
    return found


def _mapped_skeleton(data: mmap.mmap) -> Skeleton | str:
    """The skeleton, or why there is none. A raised error would keep views of the map, which could
    then not be closed."""
    with memoryview(data) as view:
        try:
            return skeleton(view)
        except WireError as error:
            reason = f"is no ONNX model, or is cut off: {error} (at byte {error.offset})"
            error.__traceback__ = None
    return reason


@frozen(eq=False)
class _Reader:
    path: Path
    location: Location
    diagnostics: DiagnosticCollector

    def model(self, proto: ModelProto, found: Skeleton) -> Model:
        if not proto.HasField("graph"):
            raise DiagnosticError.at(self.location, "has no graph: it is no ONNX model")
        opsets = self._opsets(proto)
        stored = proto.graph.initializer
        spans = {stored[index].name: span for index, span in found.initializers.items()}
        try:
            proto = with_functions_put_in(proto)
        except FunctionError as error:
            raise DiagnosticError.at(self.location, str(error)) from error
        graph = proto.graph
        tensors: dict[str, StoredTensor] = {}
        for tensor in graph.initializer:
            if tensor.name in tensors:
                raise DiagnosticError.at(
                    self.location, f"has two initializers called '{tensor.name}'"
                )
            tensors[tensor.name] = StoredTensor(
                tensor.name, tensor, self.path.parent, self.path, spans.get(tensor.name)
            )
        if graph.sparse_initializer:
            names = [sparse.values.name for sparse in graph.sparse_initializer]
            raise DiagnosticError.at(
                self.location, f"has sparse initializers, which are not read: {listed(names)}"
            )
        return Model(
            self.location,
            proto,
            opsets,
            self._nodes(graph),
            [_port(value) for value in graph.input if value.name not in tensors],
            [_port(value) for value in graph.output],
            tensors,
        )

    def _opsets(self, proto: ModelProto) -> dict[str, int]:
        from onnx import defs

        opsets = {
            "" if entry.domain in _MAIN_DOMAINS else entry.domain: entry.version
            for entry in proto.opset_import
        }
        version = opsets.get("")
        if version is None:
            raise DiagnosticError.at(self.location, "does not state its operator set")
        if version < OLDEST_OPSET:
            raise DiagnosticError.at(
                self.location,
                f"uses operator set {version}, but {OLDEST_OPSET} and newer are read; convert it "
                "with onnx.version_converter",
            )
        newest = defs.onnx_opset_version()
        if version > newest:
            self.diagnostics.warning(
                self.location,
                f"uses operator set {version}, newer than the {newest} that the installed 'onnx' "
                "knows; operators are read as they are there",
            )
        return opsets

    def _nodes(self, graph: GraphProto) -> list[Node]:
        names = [node.name for node in graph.node]
        repeated = (
            {name for name in names if name and names.count(name) > 1}
            if (len(set(names)) != len(names))
            else set[str]()
        )
        if repeated:
            self.diagnostics.remark(
                self.location,
                f"has several nodes of the same name, which are called by their outputs: "
                f"{listed(sorted(repeated))}",
            )
        return [self._node(node, repeated) for node in graph.node]

    def _node(self, proto: NodeProto, repeated: set[str]) -> Node:
        name = "" if proto.name in repeated else proto.name
        label = name or next((output for output in proto.output if output), "") or proto.op_type
        attributes: dict[str, AttributeValue] = {}
        fault: str | None = None
        for attribute in proto.attribute:
            if attribute.type in (_GRAPH, _GRAPHS):
                continue
            try:
                attributes[attribute.name] = self._attribute(attribute, label)
            except UnsupportedError as error:
                fault = str(error)
        return Node(
            proto.op_type,
            "" if proto.domain in _MAIN_DOMAINS else proto.domain,
            label,
            tuple(proto.input),
            tuple(proto.output),
            attributes,
            NameLoc(label, self.location),
            proto,
            any(attribute.type in (_GRAPH, _GRAPHS) for attribute in proto.attribute),
            fault,
        )

    def _attribute(self, proto: AttributeProto, label: str) -> AttributeValue:
        if proto.ref_attr_name:
            raise UnsupportedError(f"attribute '{proto.name}' refers to one of a function")
        if proto.type == _TENSOR:
            return StoredTensor(f"{label}.{proto.name}", proto.t, self.path.parent, self.path)
        if proto.type in (_STRING, _STRINGS):
            strings = [proto.s] if proto.type == _STRING else list(proto.strings)
            try:
                return ",".join(string.decode("utf-8") for string in strings)
            except UnicodeDecodeError:
                raise UnsupportedError(f"attribute '{proto.name}' is not UTF-8") from None
        if proto.type == _FLOAT:
            return proto.f
        if proto.type == _INT:
            return proto.i
        if proto.type == _FLOATS:
            return tuple(proto.floats)
        if proto.type == _INTS:
            return tuple(proto.ints)
        raise UnsupportedError(f"attribute '{proto.name}' is of a type that is not read")


def _port(value: ValueInfoProto) -> Port:
    tensor = value.type.tensor_type
    if not value.type.HasField("tensor_type"):
        return Port(value.name, 0, None)
    if not tensor.HasField("shape"):
        return Port(value.name, tensor.elem_type, None)
    extents: list[int | str | None] = []
    for dimension in tensor.shape.dim:
        if dimension.HasField("dim_value") and dimension.dim_value >= 0:
            extents.append(dimension.dim_value)
        else:
            extents.append(dimension.dim_param or None)
    return Port(value.name, tensor.elem_type, tuple(extents))


# -------------------------------------------------------------- order


def in_order(model: Model) -> Sequence[Node]:
    """The nodes that the outputs depend on, each behind those that it reads.

    Raises: DiagnosticError for tensors that nothing computes or that two nodes compute, and for
    cycles.
    """
    producers = _producers(model)
    known = {*model.tensors, *(port.name for port in model.inputs)}
    order: list[Node] = []
    state: dict[int, bool] = {}  # by id of a node: whether it is done
    missing: dict[str, Node | None] = {}
    # Depth first, without recursion: models may be thousands of nodes deep.
    for port in model.outputs:
        first = producers.get(port.name)
        if first is None:
            if port.name not in known:
                missing.setdefault(port.name, None)
            continue
        stack: list[tuple[Node, int]] = [(first, 0)] if id(first) not in state else []
        if stack:
            state[id(first)] = False
        while stack:
            node, position = stack.pop()
            while position < len(node.inputs):
                name = node.inputs[position]
                position += 1
                producer = producers.get(name)
                if producer is None:
                    if name and name not in known:
                        missing.setdefault(name, node)
                    continue
                done = state.get(id(producer))
                if done is None:
                    stack.append((node, position))
                    state[id(producer)] = False
                    node, position = producer, 0
                elif not done:
                    cycle = [entry for entry, _ in stack] + [node]
                    start = cycle.index(producer)
                    names = [entry.label for entry in cycle[start:]]
                    raise DiagnosticError.at(
                        node.location, f"these nodes depend on each other: {listed(names)}"
                    )
            state[id(node)] = True
            order.append(node)
    if missing:
        name, reader = next(iter(missing.items()))
        raise DiagnosticError.at(
            reader.location if reader is not None else model.location,
            f"nothing computes {listed(list(missing))}"
            + (f", which node '{reader.label}' reads" if reader is not None else ""),
        )
    return order


def _producers(model: Model) -> dict[str, Node]:
    producers: dict[str, Node] = {}
    taken = {*model.tensors, *(port.name for port in model.inputs)}
    for node in model.nodes:
        for name in node.outputs:
            if not name:
                continue
            if name in producers or name in taken:
                raise DiagnosticError.at(
                    node.location, f"node '{node.label}' computes '{name}', which is there already"
                )
            producers[name] = node
    return producers
