"""Layers that move or select elements and compute nothing new."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from nvdla_ir.dialects.nn.activations import SoftmaxOp
from nvdla_ir.dialects.nn.base import NNOp, RearrangementOp
from nvdla_ir.dialects.nn.shapes import (
    ACTIVATION,
    like,
    shape_faults,
    shape_of,
    tensor_type,
    text_of,
)
from nvdla_ir.ir.attribute_kinds import BOOL, INT, INTS
from nvdla_ir.ir.constraints import INTEGER_TENSOR
from nvdla_ir.ir.definition import attribute, operand, result, variadic_operand
from nvdla_ir.ir.operation import Value
from nvdla_ir.ir.traits import Pure
from nvdla_ir.ir.types import I64, TensorType, Type


class ConcatOp(NNOp):
    """The inputs one after another along ``axis``."""

    name = "nn.concat"
    traits = (Pure(),)

    inputs = variadic_operand(ACTIVATION, minimum=1)
    axis = attribute(INT, default=1)
    output = result(ACTIVATION)

    def _output_shape(self) -> tuple[int, ...]:
        shapes = [shape_of(value) for value in self.inputs]
        axis = self.axis
        total = sum(shape[axis] for shape in shapes)
        return (*shapes[0][:axis], total, *shapes[0][axis + 1 :])

    def infer_result_types(self) -> Sequence[Type] | None:
        return like(self.inputs[0], self._output_shape())

    def verify(self) -> Iterable[str]:
        shapes = [shape_of(value) for value in self.inputs]
        axis = self.axis
        if not 0 <= axis < len(shapes[0]):
            yield f"has 'axis = {axis}', but its inputs have {len(shapes[0])} dimensions"
            return
        for shape in shapes[1:]:
            if len(shape) != len(shapes[0]) or any(
                a != b for i, (a, b) in enumerate(zip(shape, shapes[0], strict=True)) if i != axis
            ):
                yield (
                    f"joins shapes {text_of(shapes[0])} and {text_of(shape)}, which may differ "
                    f"along axis {axis} only"
                )
                return
        yield from shape_faults(self.output, self._output_shape())


class ViewOp(RearrangementOp):
    """The same elements in row-major order under another shape."""


class ReshapeOp(ViewOp):
    """The same elements in row-major order under another shape."""

    name = "nn.reshape"
    traits = (Pure(),)

    def verify(self) -> Iterable[str]:
        source, target = tensor_type(self.input), tensor_type(self.output)
        if source.element_count != target.element_count:
            yield (
                f"makes {target.element_count} elements ('{target}') of {source.element_count} "
                f"('{source}')"
            )


class FlattenOp(ViewOp):
    """All dimensions from ``axis`` on become one."""

    name = "nn.flatten"
    traits = (Pure(),)

    axis = attribute(INT, default=1)

    def _output_shape(self) -> tuple[int, ...]:
        shape = shape_of(self.input)
        return (*shape[: self.axis], math.prod(shape[self.axis :]))

    def infer_result_types(self) -> Sequence[Type] | None:
        return like(self.input, self._output_shape())

    def verify(self) -> Iterable[str]:
        rank = len(shape_of(self.input))
        if not 0 <= self.axis < rank:
            yield f"has 'axis = {self.axis}', but its input has {rank} dimensions"
            return
        yield from shape_faults(self.output, self._output_shape())


class TransposeOp(RearrangementOp):
    """The axes in another order: axis ``i`` of the result is axis ``permutation[i]`` of the
    input."""

    name = "nn.transpose"
    traits = (Pure(),)

    permutation = attribute(INTS)

    def _output_shape(self) -> tuple[int, ...]:
        shape = shape_of(self.input)
        return tuple(shape[axis] for axis in self.permutation)

    def infer_result_types(self) -> Sequence[Type] | None:
        return like(self.input, self._output_shape())

    def verify(self) -> Iterable[str]:
        rank = len(shape_of(self.input))
        if sorted(self.permutation) != list(range(rank)):
            yield (
                f"has 'permutation = {list(self.permutation)}', but it must have each axis from 0 "
                f"to {rank - 1} once"
            )
            return
        yield from shape_faults(self.output, self._output_shape())


class SliceOp(NNOp):
    """The ``size`` elements from ``start`` on along ``axis``, or each ``step``-th from there."""

    name = "nn.slice"
    traits = (Pure(),)

    input = operand(ACTIVATION)
    axis = attribute(INT, default=1)
    start = attribute(INT, default=0)
    size = attribute(INT)
    step = attribute(INT, default=1)
    output = result(ACTIVATION)

    def _output_shape(self) -> tuple[int, ...]:
        shape = shape_of(self.input)
        return (*shape[: self.axis], self.size, *shape[self.axis + 1 :])

    def infer_result_types(self) -> Sequence[Type] | None:
        return like(self.input, self._output_shape())

    def verify(self) -> Iterable[str]:
        shape, axis = shape_of(self.input), self.axis
        if not 0 <= axis < len(shape):
            yield f"has 'axis = {axis}', but its input has {len(shape)} dimensions"
            return
        if self.step < 1:
            yield f"has 'step = {self.step}', but it must be at least 1"
        last = self.start + (self.size - 1) * self.step
        if self.start < 0 or self.size < 1 or last >= shape[axis]:
            steps = f", {self.step} apart" if self.step != 1 else ""
            yield (
                f"takes {self.size} elements from {self.start} on{steps}, but its input has "
                f"{shape[axis]} along axis {axis}"
            )
        yield from shape_faults(self.output, self._output_shape())


class ArgmaxOp(NNOp):
    """Where along ``axis`` the largest element is, the first of equal ones: runs on the host.
    The axis stays with extent 1, or goes away without ``keep_dims``."""

    name = "nn.argmax"
    traits = (Pure(),)

    input = operand(ACTIVATION)
    axis = attribute(INT, default=1)
    keep_dims = attribute(BOOL, default=True)
    output = result(INTEGER_TENSOR)

    def _output_shape(self) -> tuple[int, ...]:
        shape, kept = shape_of(self.input), (1,) * self.keep_dims
        return (*shape[: self.axis], *kept, *shape[self.axis + 1 :])

    def infer_result_types(self) -> Sequence[Type] | None:
        return [TensorType(self._output_shape(), I64)]

    def verify(self) -> Iterable[str]:
        rank, element = len(shape_of(self.input)), tensor_type(self.output).element
        if not 0 <= self.axis < rank:
            yield f"has 'axis = {self.axis}', but its input has {rank} dimensions"
            return
        if element != I64:
            yield f"has a result of '{element}', but it must be '{I64}'"
        yield from shape_faults(self.output, self._output_shape())


def before_softmax(value: Value) -> Value:
    """What decides the class: ``value``, or what goes into the softmax or argmax that makes it."""
    while isinstance(value.defining_operation, SoftmaxOp | ArgmaxOp):
        value = value.defining_operation.input
    return value
