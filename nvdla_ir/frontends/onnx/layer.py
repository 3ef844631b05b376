"""One node on its way in: what its handler reads, and where it puts operations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from attrs import define, field
from numpy.typing import NDArray

from nvdla_ir.dialects import nn
from nvdla_ir.dialects.layer import LayerOp
from nvdla_ir.dialects.quant import GridType, QuantizedType
from nvdla_ir.frontends.onnx.faults import UnsupportedError
from nvdla_ir.frontends.onnx.limits import require_rank
from nvdla_ir.frontends.onnx.model import AttributeValue, Model, Node
from nvdla_ir.frontends.onnx.operands import (
    Activation,
    Array,
    Codes,
    Constant,
    Integers,
    QuantizedConstant,
    RawInput,
    Tensor,
)
from nvdla_ir.frontends.onnx.tensors import StoredTensor, TensorError
from nvdla_ir.ir.attributes import DenseResourceAttr
from nvdla_ir.ir.builder import Builder
from nvdla_ir.ir.diagnostics import DiagnosticCollector
from nvdla_ir.ir.operation import Value
from nvdla_ir.ir.types import F32, FloatType, TensorType, Type
from nvdla_ir.ir.verifier import operation_faults
from nvdla_ir.resources import ResourceStore

_BUILD_FAULTS = (ValueError, TypeError, IndexError, ZeroDivisionError, OverflowError)


@define(eq=False)
class Assembly:
    """What all nodes share.

    tensors: what each tensor of the model is
    names:   the layers' names that are taken
    """

    model: Model
    builder: Builder
    resources: ResourceStore
    diagnostics: DiagnosticCollector
    tensors: dict[str, Tensor] = field(factory=dict[str, Tensor])
    names: set[str] = field(factory=set[str])
    _constants: dict[object, Value] = field(factory=dict[object, Value])
    _converted: dict[str, int] = field(factory=dict[str, int])

    def tensor(self, name: str) -> Tensor:
        """Raises: KeyError where an unsupported node should have computed it; UnsupportedError
        where it is an initializer without usable elements."""
        found = self.tensors.get(name)
        if found is None:
            stored = self.model.tensors[name]
            found = self.tensors[name] = Constant(self.elements(stored), name)
        return found

    def elements(self, stored: StoredTensor) -> Array:
        """The elements of a tensor of the model; floats of other widths as float32."""
        try:
            array = stored.array()
        except TensorError as error:
            raise UnsupportedError(f"tensor '{stored.name}' {error}") from error
        if array.dtype.kind == "f" and array.dtype != np.float32:
            kind = str(array.dtype)
            self._converted[kind] = self._converted.get(kind, 0) + 1
            with np.errstate(over="ignore"):
                array = array.astype(np.float32)
        return array

    def unique_name(self, name: str) -> str:
        """``name``, or with a number where it is taken; it is taken afterwards."""
        chosen, number = name, 0
        while chosen in self.names:
            number += 1
            chosen = f"{name}.{number}"
        self.names.add(chosen)
        return chosen

    def constant(self, array: Array, name: str, element: Type | None = None) -> Value:
        """``array`` as an ``nn.constant``; floats, unless ``element`` says what its integers
        stand for. Equal demands get the same value.

        Raises: UnsupportedError for NaN and infinite numbers.
        """
        stored: Type = F32
        if 0 in array.shape:
            raise UnsupportedError(
                f"tensor '{name}' has the shape {list(array.shape)}: without elements there is "
                "nothing to compute with"
            )
        if element is None:
            array = np.asarray(array, np.float32)
            if not (np.isfinite(array.min()) and np.isfinite(array.max())):
                bad = int(array.size - np.isfinite(array).sum())
                raise UnsupportedError(
                    f"tensor '{name}' has {bad} NaN or infinite numbers among its {array.size}"
                )
        else:
            assert isinstance(element, QuantizedType)
            stored = element.storage
        key = (name, array.shape, array.__array_interface__["data"], array.strides, element)
        value = self._constants.get(key)
        if value is None:
            attribute: DenseResourceAttr = self.resources.attribute_for(name, array, stored)
            type = attribute.type if element is None else attribute.type.with_element(element)
            value = self.builder.create(nn.ConstantOp, value=attribute, result_types=[type]).output
            value.name_hint = name
            self._constants[key] = value
            # The address in the key must not be used again for something else.
            self._kept.append(array)
        return value

    _kept: list[Array] = field(factory=list[Array])

    def remark_conversions(self) -> None:
        for kind, count in self._converted.items():
            tensors = "1 tensor" if count == 1 else f"{count} tensors"
            self.diagnostics.remark(self.model.location, f"{tensors} of {kind} became float32")


@define(eq=False)
class Layer:
    """What a handler has of its node."""

    node: Node
    assembly: Assembly
    name: str = ""
    codes: Codes | None = None
    """The integers that the node may move as if they were reals."""
    operands: Sequence[Tensor | None] | None = None
    """What the inputs are, where they are not the tensors of their names."""
    is_line: bool = False
    """Whether the node slides its windows over lines, NxCxW; they are images of one row here."""
    _read: set[str] = field(factory=set[str])

    # -------------------------------------------------------------- attributes

    @property
    def opset(self) -> int:
        return self.assembly.model.opset

    def has(self, name: str) -> bool:
        """Whether the node states the attribute."""
        return name in self.node.attributes

    def _attribute(self, name: str, kind: type | tuple[type, ...], what: str) -> Any:
        self._read.add(name)
        value: AttributeValue | None = self.node.attributes.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, kind):
            raise UnsupportedError(f"attribute '{name}' must be {what}")
        return value

    def integer(self, name: str, default: int) -> int:
        value: int | None = self._attribute(name, int, "an integer")
        return default if value is None else value

    def real(self, name: str, default: float) -> float:
        value: float | None = self._attribute(name, float, "a number with a decimal point")
        if value is not None and not np.isfinite(value):
            raise UnsupportedError(f"attribute '{name}' is {value}, but it must be finite")
        return default if value is None else value

    def string(self, name: str, default: str) -> str:
        value: str | None = self._attribute(name, str, "a string")
        return default if value is None else value

    def integers(self, name: str) -> tuple[int, ...] | None:
        value: tuple[Any, ...] | None = self._attribute(name, tuple, "a list of integers")
        if value is not None and not all(isinstance(number, int) for number in value):
            raise UnsupportedError(f"attribute '{name}' must be a list of integers")
        return value

    def reals(self, name: str) -> tuple[float, ...] | None:
        value: tuple[Any, ...] | None = self._attribute(name, tuple, "a list of numbers")
        return None if value is None else tuple(map(float, value))

    def stored(self, name: str) -> Array | None:
        value: StoredTensor | None = self._attribute(name, StoredTensor, "a tensor")
        return None if value is None else self.assembly.elements(value)

    def ignore(self, *names: str) -> None:
        """These attributes change nothing that counts here."""
        self._read.update(names)

    def require(self, name: str, value: int, found: int | None = None) -> None:
        """Raises: UnsupportedError where attribute ``name``, by default ``value``, is another."""
        found = self.integer(name, value) if found is None else found
        if found != value:
            raise UnsupportedError(f"attribute '{name} = {found}' is not supported, only {value}")

    def axis(self, rank: int, default: int, name: str = "axis") -> int:
        """Attribute ``name`` from 0 to ``rank - 1``."""
        return checked_axis(self.integer(name, default), rank)

    def unread(self) -> list[str]:
        return [name for name in self.node.attributes if name not in self._read]

    # -------------------------------------------------------------- inputs

    @property
    def input_count(self) -> int:
        return len(self.node.inputs)

    def input(self, index: int) -> Tensor | None:
        """Input ``index``, or None where it is left out."""
        if index >= len(self.node.inputs) or not self.node.inputs[index]:
            return None
        if self.operands is not None:
            return self.operands[index]
        return self.assembly.tensor(self.node.inputs[index])

    def required(self, index: int) -> Tensor:
        found = self.input(index)
        if found is None:
            raise UnsupportedError(f"input {index} is missing")
        return found

    def activation(self, index: int = 0) -> Value:
        """The reals of input ``index``; known ones become a constant.

        Raises: UnsupportedError where it is missing, or integers.
        """
        return self.value_of(self.required(index), index)

    def value_of(self, tensor: Tensor, index: int = 0) -> Value:
        if isinstance(tensor, Activation):
            return tensor.value
        if self.codes is not None and isinstance(tensor, Codes):
            return tensor.value
        if isinstance(tensor, QuantizedConstant):
            tensor = tensor.constant()
        if isinstance(tensor, Constant) and tensor.array.dtype.kind == "f":
            return self.assembly.constant(tensor.array, tensor.name)
        raise UnsupportedError(
            f"input {index} is a tensor of integers, which it cannot compute with"
        )

    def image(self, index: int = 0) -> Value:
        """The reals of input ``index``, of four dimensions."""
        value = self.activation(index)
        rank = len(nn.shape_of(value))
        if rank != 4:
            raise UnsupportedError(f"input {index} has {rank} dimensions; only NCHW is supported")
        return value

    def image_or_line(self) -> Value:
        """The reals of input 0, of four dimensions, a line as an image of one row."""
        value = self.activation()
        shape = nn.shape_of(value)
        if len(shape) == 4:
            return value
        if len(shape) != 3:
            raise UnsupportedError(
                f"input 0 has {len(shape)} dimensions; only NCHW and NCW are supported"
            )
        self.is_line = True
        return self.reshape(value, (*shape[:2], 1, shape[2]), "row")

    def constant(self, index: int, what: str) -> Array | None:
        """The elements of input ``index``, None where it is left out.

        Raises: UnsupportedError where they are not known.
        """
        found = self.input(index)
        return None if found is None else self.elements(found, what)

    def elements(self, tensor: Tensor, what: str) -> Array:
        if isinstance(tensor, QuantizedConstant):
            return tensor.reals()
        if isinstance(tensor, Constant):
            return tensor.array
        raise UnsupportedError(f"{what} must be constant, but the network computes it")

    def required_constant(self, index: int, what: str) -> Array:
        found = self.constant(index, what)
        if found is None:
            raise UnsupportedError(f"{what} (input {index}) is missing")
        return found

    def integer_list(self, index: int, what: str) -> tuple[int, ...] | None:
        """The whole numbers of a constant input of at most one dimension."""
        array = self.constant(index, what)
        if array is None:
            return None
        if array.dtype.kind not in "iu" or array.ndim > 1:
            raise UnsupportedError(f"{what} must be a list of integers")
        return tuple(array.reshape(-1).tolist())

    def input_name(self, index: int) -> str:
        """What a constant made of input ``index`` is called."""
        if index < len(self.node.inputs) and self.node.inputs[index]:
            return self.node.inputs[index]
        return f"{self.name}.{index}"

    # -------------------------------------------------------------- operations

    def constant_value(self, array: Array, name: str) -> Value:
        return self.assembly.constant(array, name)

    def emit(self, op_class: type[LayerOp], part: str = "", **fields: Any) -> Value:
        """The result of a new operation, of plain floats where it is of reals. ``part`` names one
        that is not the whole node.

        Raises: UnsupportedError where operands and attributes do not fit each other.
        """
        name = self.assembly.unique_name(f"{self.name}.{part}") if part else self.name
        builder = self.assembly.builder
        try:
            op = op_class.create(location=self.node.location, layers=[name], **fields)
            for result in op.results:
                if isinstance(result.type, TensorType):
                    result.type = result.type.with_element(plain(result.type.element))
            faults = operation_faults(op)
        except _BUILD_FAULTS as error:
            raise UnsupportedError(
                f"its inputs and attributes do not fit each other: {error}"
            ) from error
        if faults:
            op.drop_operands()
            raise UnsupportedError("; ".join(faults))
        result = op.results[0]
        require_rank(len(nn.shape_of(result)))
        builder.insert(op)
        result.name_hint = name
        return result

    def emit_windows(self, op_class: type[LayerOp], **fields: Any) -> Value:
        """As ``emit``, of the image or line that the node slides windows over."""
        if not self.is_line:
            return self.emit(op_class, **fields)
        image = self.emit(op_class, "windows", **fields)
        n, c, _, width = nn.shape_of(image)
        return self.reshape(image, (n, c, width))

    def reshape(self, value: Value, shape: Sequence[int], part: str = "") -> Value:
        """``value`` under another shape; itself where it has that."""
        if nn.shape_of(value) == tuple(shape):
            return value
        type = TensorType(tuple(shape), plain(nn.tensor_type(value).element))
        if min(shape, default=1) < 0:
            raise UnsupportedError(f"makes the impossible shape {list(shape)}")
        return self.emit(nn.ReshapeOp, part, input=value, result_types=[type])


def plain(element: Type) -> Type:
    """The reals behind an element type; others as they are."""
    if isinstance(element, GridType | QuantizedType):
        return element.expressed
    return F32 if isinstance(element, FloatType) else element


def checked_axis(axis: int, rank: int) -> int:
    """Raises: UnsupportedError where there is no such axis."""
    if not -rank <= axis < rank:
        raise UnsupportedError(f"axis {axis} does not exist in {rank} dimensions")
    return axis % rank


def checked_axes(axes: Sequence[int], rank: int) -> tuple[int, ...]:
    """In ascending order. Raises: UnsupportedError where one does not exist, or twice."""
    found = sorted(checked_axis(axis, rank) for axis in axes)
    if len(set(found)) != len(found):
        raise UnsupportedError(f"axes {list(axes)} name one twice")
    return tuple(found)


# -------------------------------------------------------------- the table

Output: TypeAlias = "Value | Array | Tensor"
HandlerFunction: TypeAlias = Callable[[Layer], "Output | Sequence[Output]"]

HANDLERS: dict[tuple[str, str], HandlerFunction] = {}
"""By domain and operator, the function that imports it. It returns what the outputs are, one or
a sequence of as many as it supports."""


def handler(*op_types: str, domain: str = "") -> Callable[[HandlerFunction], HandlerFunction]:
    """Make the decorated function the handler of these operators."""

    def register(function: HandlerFunction) -> HandlerFunction:
        for op_type in op_types:
            HANDLERS[domain, op_type] = function
        return function

    return register


def as_tensor(output: Output, name: str) -> Tensor:
    """What a handler returned, as the tensor ``name``."""
    if isinstance(output, Value):
        is_real = isinstance(plain(nn.tensor_type(output).element), FloatType)
        return Activation(output) if is_real else Integers(output)
    if isinstance(output, np.ndarray):
        array: NDArray[Any] = output
        return Constant(array, name)
    assert isinstance(
        output, Constant | QuantizedConstant | Activation | Codes | Integers | RawInput
    )
    return output
