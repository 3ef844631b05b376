"""What the verifier finds, and how it says so."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from toy import (
    BYTES,
    VECTOR,
    AddOp,
    BoxOp,
    BrokenOp,
    EndOp,
    LooseBoxOp,
    MixedOp,
    NegateOp,
    SinkOp,
    SourceOp,
    StreamOp,
    TailOp,
    box_of,
    source,
)

from nvdla_ir.ir.attributes import DenseArrayAttr, IntegerAttr, StringAttr
from nvdla_ir.ir.definition import OPERAND_SEGMENT_SIZES, Op
from nvdla_ir.ir.diagnostics import DiagnosticCollector, DiagnosticError
from nvdla_ir.ir.location import NameLoc
from nvdla_ir.ir.operation import Block, Operation, Region, UnregisteredOp
from nvdla_ir.ir.types import F32, I32, I64, TensorType
from nvdla_ir.ir.verifier import verify


def faults(op: Operation) -> list[str]:
    collector = DiagnosticCollector()
    verify(op, collector)
    return [d.message for d in collector.diagnostics]


def in_box(*operations: Operation) -> BoxOp:
    block = Block()
    for op in operations:
        block.append(op)
    return BoxOp.create(regions=[Region([block])])


def with_many(op_class: type[Op], operands: int, results: int = 0, regions: int = 0) -> BoxOp:
    """An operation of the class with so many operands, results and regions."""
    a = source()
    op = op_class(
        [a.output] * operands,
        [VECTOR] * results,
        {},
        [Region([Block()]) for _ in range(regions)],
    )
    return in_box(a, op)


def test_a_sound_module_has_no_faults() -> None:
    a = source()
    assert faults(in_box(a, NegateOp.create(input=a.output))) == []


@pytest.mark.parametrize(
    ("box", "message"),
    [
        (with_many(NegateOp, 0, 1), "'toy.negate' takes 1 operand (input), but has 0"),
        (with_many(NegateOp, 2, 1), "'toy.negate' takes 1 operand (input), but has 2"),
        (with_many(AddOp, 1, 1), "'toy.add' takes 2 operands (lhs, rhs), but has 1"),
        (with_many(NegateOp, 1, 0), "'toy.negate' has 1 result, but 0 are given"),
        (with_many(NegateOp, 1, 2), "'toy.negate' has 1 result, but 2 are given"),
        (with_many(SinkOp, 0), "'toy.sink' takes 1 or more operands (inputs?), but has 0"),
        (
            with_many(TailOp, 4),
            "'toy.tail' takes 2 to 3 operands (first, second, maybe?), but has 4",
        ),
        (with_many(SourceOp, 0, 1, 1), "'toy.source' has 0 regions, but 1 are given"),
        (with_many(LooseBoxOp, 0, 0, 2), "'toy.loose_box' has 1 region, but 2 are given"),
    ],
)
def test_wrong_numbers(box: BoxOp, message: str) -> None:
    assert faults(box) == [message]


def test_wrong_types() -> None:
    number = Operation((), [BYTES])
    negate = NegateOp((number.result,), [TensorType((4,), I64)])
    assert faults(in_box(number, negate)) == [
        "'toy.negate' has operand 'input' of type 'tensor<4xi8>', but it must be a tensor of "
        "floats",
        "'toy.negate' has result 'output' of type 'tensor<4xi64>', but it must be a tensor of "
        "floats",
    ]


def test_wrong_attributes() -> None:
    op = source()
    op.attributes["value"] = StringAttr("three")
    assert faults(in_box(op)) == [
        "'toy.source' has 'value = \"three\"', but 'value' must be an integer"
    ]
    first, last = source(), source()
    mixed = MixedOp(
        [first.output, last.output],
        [VECTOR],
        {
            OPERAND_SEGMENT_SIZES: DenseArrayAttr(I32, (1, 0, 0, 1)),
            "mode": StringAttr("middling"),
        },
        [Region([Block()])],
    )
    assert faults(in_box(first, last, mixed)) == [
        "'toy.mixed' needs the attribute 'sizes', an array of integers",
        "'toy.mixed' has 'mode = \"middling\"', but 'mode' must be one of \"near\", \"far\"",
    ]


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        (None, "'toy.mixed' needs 'operandSegmentSizes = array<i32: …>' with 4 numbers"),
        ((1, 1), "'toy.mixed' needs 'operandSegmentSizes = array<i32: …>' with 4 numbers"),
        ((1, 1, 1, 1), "'toy.mixed' has 2 operands, but 'operandSegmentSizes' says 4"),
    ],
)
def test_wrong_segment_sizes(sizes: tuple[int, ...] | None, message: str) -> None:
    first, last = source(), source()
    op = MixedOp.create(
        first=first.output,
        last=last.output,
        sizes=(),
        result_types=[VECTOR],
        regions=[Region([Block()])],
    )
    if sizes is None:
        del op.attributes[OPERAND_SEGMENT_SIZES]
    else:
        op.attributes[OPERAND_SEGMENT_SIZES] = DenseArrayAttr(I32, sizes)
    assert faults(in_box(first, last, op)) == [message]


@pytest.mark.parametrize(
    ("sizes", "messages"),
    [
        ((2, 0, 0, 0), ["takes 1 operand 'first', but has 2", "takes 1 operand 'last', but has 0"]),
        ((1, -1, 1, 1), ["takes 0 to 1 operands 'maybe', but has -1"]),
        (
            (1, 2, -2, 1),
            [
                "takes 0 to 1 operands 'maybe', but has 2",
                "takes 0 or more operands 'many', but has -2",
            ],
        ),
    ],
)
def test_segment_sizes_that_the_fields_do_not_allow(
    sizes: tuple[int, ...], messages: list[str]
) -> None:
    first, last = source(), source()
    op = MixedOp.create(
        first=first.output,
        last=last.output,
        sizes=(),
        result_types=[VECTOR],
        regions=[Region([Block()])],
    )
    op.attributes[OPERAND_SEGMENT_SIZES] = DenseArrayAttr(I32, sizes)
    assert faults(in_box(first, last, op)) == [f"'toy.mixed' {message}" for message in messages]


def test_a_use_before_the_definition() -> None:
    a, b = source(), source()
    a.location, b.location = NameLoc("a"), NameLoc("b")
    negate = NegateOp.create(input=a.output, location=NameLoc("negate"))
    collector = DiagnosticCollector()
    verify(in_box(negate, a, b), collector)
    (diagnostic,) = collector.diagnostics
    assert diagnostic.message == "operand 0 of 'toy.negate' does not dominate this use"
    assert diagnostic.location == NameLoc("negate")
    assert [(note.message, note.location) for note in diagnostic.notes] == [
        ("defined here", NameLoc("a"))
    ]


def test_values_of_outer_blocks_are_visible_unless_isolated() -> None:
    a = source()
    body = Block()
    body.append(NegateOp.create(input=a.output))
    assert faults(in_box(a, LooseBoxOp.create(regions=[Region([body])]))) == []

    b = source()
    inner = NegateOp.create(input=b.output)
    assert faults(in_box(b, in_box(inner))) == [
        "operand 0 of 'toy.negate' does not dominate this use"
    ]


def test_values_of_a_sibling_region_are_not_visible() -> None:
    a = source()
    first, second = Block(), Block()
    first.append(a)
    second.append(NegateOp.create(input=a.output))
    box = in_box(
        LooseBoxOp.create(regions=[Region([first])]), LooseBoxOp.create(regions=[Region([second])])
    )
    assert faults(box) == ["operand 0 of 'toy.negate' does not dominate this use"]


def test_block_arguments_are_visible() -> None:
    body = Block([VECTOR])
    body.append(NegateOp.create(input=body.arguments[0]))
    assert faults(LooseBoxOp.create(regions=[Region([body])])) == []


def two_blocks() -> Op:
    return BoxOp.create(regions=[Region([Block(), Block()])])


def two_symbols() -> Op:
    name = {"sym_name": StringAttr("main")}
    return in_box(
        SourceOp.create(discardable=name),
        SourceOp.create(discardable={"sym_name": StringAttr("other")}),
        SourceOp.create(discardable=name),
    )


def end_in_the_middle() -> Op:
    return box_of(EndOp.create(), source())


def end_elsewhere() -> Op:
    block = Block()
    block.append(EndOp.create())
    return MixedInBox(regions=[Region([block])])


class MixedInBox(Op):
    """An operation in which ``toy.end`` must not stand."""

    name = "toy.other_box"


def unused_stream() -> Op:
    return in_box(StreamOp.create(result_types=[VECTOR]))


def stream_used_twice() -> Op:
    stream = StreamOp.create(result_types=[VECTOR])
    return in_box(stream, AddOp.create(lhs=stream.output, rhs=stream.output))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (two_blocks, "'toy.box' must have regions of one block, but one has 2"),
        (two_symbols, "'toy.box' has two symbols named \"main\""),
        (end_in_the_middle, "'toy.end' must be the last operation of its block"),
        (unused_stream, "'toy.stream' has a stream result with 0 uses; it must have one"),
        (stream_used_twice, "'toy.stream' has a stream result with 2 uses; it must have one"),
    ],
)
def test_traits(make: Callable[[], Op], message: str) -> None:
    assert faults(make()) == [message]


def test_the_parent_that_an_operation_needs() -> None:
    assert "'toy.end' must stand inside 'toy.box' or 'toy.loose_box'" in faults(end_elsewhere())
    assert faults(EndOp.create()) == []


def test_an_operations_own_verifier() -> None:
    a = source()
    assert faults(in_box(a, TailOp.create(first=a.output, second=a.output))) == [
        "'toy.tail' reads the same value twice"
    ]


def test_a_verifier_that_cannot_compute_a_shape_says_so() -> None:
    a = Operation((), [TensorType((None, 4), F32)])
    assert faults(in_box(a, BrokenOp.create(input=a.result))) == [
        "'toy.broken' cannot be verified: tensor<?x4xf32> has a dynamic extent; give every extent "
        "a number"
    ]


def test_all_faults_are_reported_at_their_places() -> None:
    bad = [SourceOp([], [VECTOR], {"value": StringAttr(str(i))}, [], NameLoc(str(i))) for i in "ab"]
    with pytest.raises(DiagnosticError) as caught:
        verify(in_box(*bad, in_box(source(), NegateOp([], [VECTOR], location=NameLoc("c")))))
    assert [d.location for d in caught.value.diagnostics] == [
        NameLoc("a"),
        NameLoc("b"),
        NameLoc("c"),
    ]


def test_unregistered_operations_are_checked_for_dominance_only() -> None:
    a = source()
    unknown = UnregisteredOp("other.op", [a.output], [BYTES], {"x": IntegerAttr(1)})
    assert faults(in_box(a, unknown)) == []
    assert faults(in_box(unknown.clone())) == ["operand 0 of 'other.op' does not dominate this use"]
