"""What patterns build layers of: slices, joins and constants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from attrs import frozen

from nvdla_ir.dialects import nn
from nvdla_ir.dialects.layer import LayerOp
from nvdla_ir.dialects.quant import GridType, QuantizedType, UniformType
from nvdla_ir.ir.operation import Value
from nvdla_ir.ir.rewriter import PatternRewriter
from nvdla_ir.ir.types import F32, I8, Type

if TYPE_CHECKING:
    from numpy.typing import NDArray

CHANNELS, ROWS, COLUMNS = 1, 2, 3


@frozen(eq=False)
class Parts:
    """Builds layers called ``layers`` in place of ``op``. What only moves elements keeps the range
    of what it moves."""

    op: LayerOp
    rewriter: PatternRewriter
    layers: tuple[str, ...] | None

    def create(self, op_class: type[Any], element: Type | None = None, **fields: Any) -> Value:
        """The result of a new layer, of ``element``; without one, of the first operand's."""
        new = self.rewriter.create(op_class, layers=self.layers, **fields)
        value: Value = new.results[0]
        if element is not None:
            value.type = nn.tensor_type(value).with_element(element)
        return value

    def sliced(self, value: Value, axis: int, begin: int, end: int) -> Value:
        """Elements ``begin`` to ``end`` (not included) along ``axis``."""
        if (begin, end) == (0, nn.shape_of(value)[axis]):
            return value
        return self.create(nn.SliceOp, input=value, axis=axis, start=begin, size=end - begin)

    def joined(self, values: Sequence[Value], axis: int) -> Value:
        return self.create(nn.ConcatOp, inputs=values, axis=axis) if len(values) > 1 else values[0]

    def interleaved(self, values: Sequence[Value], axis: int) -> Value:
        if len(values) == 1:
            return values[0]
        return self.create(nn.InterleaveOp, inputs=values, axis=axis)

    def constant(self, array: NDArray[Any], role: str, scale: float | None = None) -> Value:
        """Floats, or with a ``scale`` the int8 numbers that stand for them."""
        if scale is None:
            return self.stored(array.astype("float32"), role, F32)
        return self.stored(array.astype("int8"), role, UniformType(I8, F32, scale))

    def numbers(self, value: Value) -> NDArray[Any]:
        """The elements of a constant, as it stores them."""
        import numpy as np

        constant = value.defining_operation
        assert self.rewriter.tensors is not None
        assert isinstance(constant, nn.ConstantOp)
        return np.asarray(self.rewriter.tensors.elements(constant.value, constant.location))

    def stored(self, array: NDArray[Any], role: str, element: Type) -> Value:
        """A constant of ``element``, whose elements are stored as ``array``."""
        assert self.rewriter.tensors is not None
        name = (self.layers or (self.op.name.partition(".")[2],))[0]
        storage = element.storage if isinstance(element, QuantizedType) else element
        attribute = self.rewriter.tensors.attribute_for(f"{name}.{role}", array, storage)
        return self.rewriter.create(
            nn.ConstantOp, value=attribute, result_types=[attribute.type.with_element(element)]
        ).output

    def replace(self, value: Value) -> None:
        """Let ``value`` take the place of the result."""
        value.type = self.op.results[0].type
        value.name_hint = self.op.results[0].name_hint
        self.rewriter.replace(self.op, [value])


def codes_of(element: Type) -> UniformType | None:
    """The int8 codes of reals on a grid, or those that ``element`` has itself; None of others."""
    if isinstance(element, GridType):
        return element.quantized()
    return element if isinstance(element, UniformType) else None
