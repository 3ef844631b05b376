"""A toy dialect for the tests of the IR core."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from nvdla_ir.ir.attribute_kinds import INT, INTS, STRING, enumeration
from nvdla_ir.ir.constraints import ANY, FLOAT_TENSOR, INTEGER_TENSOR
from nvdla_ir.ir.definition import (
    Op,
    attribute,
    operand,
    optional_attribute,
    optional_operand,
    region,
    result,
    variadic_operand,
    variadic_result,
)
from nvdla_ir.ir.operation import Block, Region
from nvdla_ir.ir.traits import (
    HasParent,
    IsolatedFromAbove,
    Pure,
    SingleBlock,
    SingleUseResults,
    SymbolTable,
    Terminator,
)
from nvdla_ir.ir.types import F32, I8, TensorType, Type

VECTOR = TensorType((4,), F32)
BYTES = TensorType((4,), I8)


class SourceOp(Op):
    name = "toy.source"
    traits = (Pure(),)
    value = attribute(INT, default=0)
    output = result(FLOAT_TENSOR)

    def infer_result_types(self) -> Sequence[Type] | None:
        return [VECTOR]


class NegateOp(Op):
    name = "toy.negate"
    traits = (Pure(),)
    input = operand(FLOAT_TENSOR)
    output = result(FLOAT_TENSOR)

    def infer_result_types(self) -> Sequence[Type] | None:
        return [self.input.type]


class AddOp(Op):
    name = "toy.add"
    traits = (Pure(),)
    lhs = operand(FLOAT_TENSOR)
    rhs = operand(FLOAT_TENSOR)
    output = result(FLOAT_TENSOR)

    def infer_result_types(self) -> Sequence[Type] | None:
        return [self.lhs.type]


class SinkOp(Op):
    """Has an effect, so it is never dead."""

    name = "toy.sink"
    inputs = variadic_operand(ANY, minimum=1)


class MixedOp(Op):
    """Every kind of field."""

    name = "toy.mixed"
    first = operand(FLOAT_TENSOR)
    maybe = optional_operand(INTEGER_TENSOR)
    many = variadic_operand(FLOAT_TENSOR)
    last = operand(FLOAT_TENSOR)
    sizes = attribute(INTS)
    mode = attribute(enumeration("near", "far"), default="near")
    note = optional_attribute(STRING)
    main = result(FLOAT_TENSOR)
    others = variadic_result(ANY)
    body = region()


class TailOp(Op):
    """One optional operand, at the end: its number follows from the operand count."""

    name = "toy.tail"
    first = operand(FLOAT_TENSOR)
    second = operand(FLOAT_TENSOR)
    maybe = optional_operand(FLOAT_TENSOR)

    def verify(self) -> Iterable[str]:
        if self.first is self.second:
            yield "reads the same value twice"


class BoxOp(Op):
    name = "toy.box"
    traits = (IsolatedFromAbove(), SingleBlock(), SymbolTable())
    body = region()


class LooseBoxOp(Op):
    name = "toy.loose_box"
    body = region()


class EndOp(Op):
    name = "toy.end"
    traits = (Terminator(), HasParent(("toy.box", "toy.loose_box")))


class StreamOp(Op):
    name = "toy.stream"
    traits = (SingleUseResults(),)
    output = result(ANY)


class BrokenOp(Op):
    """Its verifier meets a shape that it cannot compute with."""

    name = "toy.broken"
    input = operand(ANY)

    def verify(self) -> Iterable[str]:
        type = self.input.type
        assert isinstance(type, TensorType)
        yield f"has {type.element_count} elements"


def source(value: int = 0) -> SourceOp:
    return SourceOp.create(value=value)


def box_of(*operations: Op) -> BoxOp:
    block = Block()
    for op in operations:
        block.append(op)
    return BoxOp.create(regions=[Region([block])])
