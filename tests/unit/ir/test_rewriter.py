"""Insertion points, the builder, and the worklist driver."""

from __future__ import annotations

import pytest
from toy import (
    VECTOR,
    AddOp,
    BoxOp,
    LooseBoxOp,
    MixedOp,
    NegateOp,
    SinkOp,
    SourceOp,
    StreamOp,
    box_of,
    source,
)

from nvdla_ir.ir.builder import Builder, InsertionPoint
from nvdla_ir.ir.location import UNKNOWN, FileLineCol, FusedLoc, NameLoc
from nvdla_ir.ir.operation import Block, Operation, Region, UnregisteredOp
from nvdla_ir.ir.rewriter import (
    PatternRewriter,
    RewriteLimitError,
    RewritePattern,
    apply_patterns_greedily,
)


def values_in(op: Operation) -> list[int]:
    return [inner.value for inner in op.walk() if isinstance(inner, SourceOp)]


# ------------------------------------------------------------------ builder


def test_insertion_points() -> None:
    one, two = source(1), source(2)
    box = box_of(one, two)
    block = box.body.block
    for number, point in enumerate(
        [
            InsertionPoint.before(one),
            InsertionPoint.after(one),
            InsertionPoint.after(two),
            InsertionPoint.at_start(block),
            InsertionPoint.at_end(block),
        ]
    ):
        Builder(point).insert(source(10 + number))
    # The start was where the first one stood when the point was made.
    assert values_in(box) == [10, 13, 1, 11, 2, 12, 14]


def test_a_builder_stays_behind_what_it_inserted() -> None:
    end = source(9)
    box = box_of(end)
    builder = Builder(InsertionPoint.before(end), NameLoc("default"))
    first = builder.create(SourceOp, value=1)
    second = builder.create(SourceOp, value=2, location=NameLoc("own"))
    assert values_in(box) == [1, 2, 9]
    assert (first.location, second.location) == (NameLoc("default"), NameLoc("own"))


def test_a_point_at_an_operation_in_no_block() -> None:
    for make in (InsertionPoint.before, InsertionPoint.after):
        with pytest.raises(ValueError, match=r"'toy.source' is in no block"):
            make(source())


def test_a_point_whose_anchor_has_gone() -> None:
    anchor = source()
    box = box_of(anchor)
    builder = Builder(InsertionPoint.before(anchor))
    anchor.erase()
    with pytest.raises(ValueError, match="cannot be inserted before"):
        builder.create(SourceOp)
    assert values_in(box) == []


# ------------------------------------------------------------------ patterns


class CancelNegates(RewritePattern[NegateOp]):
    root = NegateOp

    def match_and_rewrite(self, op: NegateOp, rewriter: PatternRewriter) -> bool:
        inner = op.input.defining_operation
        if not isinstance(inner, NegateOp):
            return False
        rewriter.replace(op, [inner.input])
        return True


def negations(count: int) -> tuple[BoxOp, SinkOp]:
    operations: list[Operation] = [source(1)]
    for _ in range(count):
        operations.append(NegateOp.create(input=operations[-1].result))
    sink = SinkOp.create(inputs=[operations[-1].result])
    return box_of(*operations, sink), sink  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 10, 11])
def test_rewrites_enable_others(count: int) -> None:
    box, sink = negations(count)
    assert apply_patterns_greedily(box, [CancelNegates()], remove_dead=True) == (count > 1)
    assert len(list(box.walk())) == 3 + count % 2
    assert isinstance(sink.operands[0].defining_operation, NegateOp if count % 2 else SourceOp)


def test_without_dead_code_elimination_the_dead_stay() -> None:
    box, _ = negations(2)
    assert apply_patterns_greedily(box, [CancelNegates()])
    assert sum(isinstance(op, NegateOp) for op in box.walk()) == 1
    assert not apply_patterns_greedily(box, [CancelNegates()])


class NegateToAdd(RewritePattern[NegateOp]):
    root = NegateOp

    def match_and_rewrite(self, op: NegateOp, rewriter: PatternRewriter) -> bool:
        zero = rewriter.create(SourceOp)
        rewriter.replace(
            op, rewriter.create(AddOp, lhs=zero.output, rhs=op.input), merge_locations=True
        )
        return True


def test_replacing_by_new_operations() -> None:
    box, sink = negations(1)
    negate = sink.operands[0].defining_operation
    assert negate is not None
    negate.location = NameLoc("negate")
    negate.result.name_hint = "n"
    apply_patterns_greedily(box, [NegateToAdd()])
    assert [op.name for op in box.body.block.operations] == [
        "toy.source",
        "toy.source",
        "toy.add",
        "toy.sink",
    ]
    add = sink.operands[0].defining_operation
    assert isinstance(add, AddOp)
    assert add.result.name_hint == "n" and add.location == NameLoc("negate")
    assert negate.parent is None


class AddToNegate(RewritePattern[AddOp]):
    root = AddOp

    def match_and_rewrite(self, op: AddOp, rewriter: PatternRewriter) -> bool:
        new = rewriter.replace_with(op, NegateOp, input=op.rhs)
        assert new.location == op.location
        return True


def test_patterns_that_undo_each_other_are_stopped() -> None:
    box, _ = negations(1)
    with pytest.raises(RewriteLimitError, match="patterns do not settle; the last one rewrote"):
        apply_patterns_greedily(box, [NegateToAdd(), AddToNegate()], limit_per_operation=5)


class Grow(RewritePattern[SourceOp]):
    """Counts up in place."""

    root = SourceOp

    def __init__(self, limit: int) -> None:
        self.limit = limit

    def match_and_rewrite(self, op: SourceOp, rewriter: PatternRewriter) -> bool:
        if op.value >= self.limit:
            return False
        op.value += 1
        rewriter.modified(op)
        return True


def test_changes_in_place() -> None:
    box = box_of(source(0), source(7))
    assert apply_patterns_greedily(box, [Grow(5)])
    assert values_in(box) == [5, 7]
    assert not apply_patterns_greedily(box, [Grow(5)])


class Record(RewritePattern[Operation]):
    """Changes nothing; remembers what it saw."""

    def __init__(self, root: type[Operation] | None, seen: list[str], label: str = "") -> None:
        self.root = root  # type: ignore[misc]
        self.seen = seen
        self.label = label

    def match_and_rewrite(self, op: Operation, rewriter: PatternRewriter) -> bool:
        self.seen.append(self.label + (str(op.value) if isinstance(op, SourceOp) else op.name))
        return False


def test_operations_are_visited_in_order_without_the_root() -> None:
    seen: list[str] = []
    box = box_of(source(1), box_of(source(2)), source(3))
    apply_patterns_greedily(box, [Record(None, seen)])
    assert seen == ["1", "toy.box", "2", "3"]


class SpecialSource(SourceOp):
    name = "toy.special_source"


def test_a_root_class_matches_its_subclasses() -> None:
    seen: list[str] = []
    box = box_of(source(1), SpecialSource.create(value=2))
    apply_patterns_greedily(box, [Record(SourceOp, seen, "any "), Record(SpecialSource, seen)])
    assert seen == ["any 1", "any 2", "2"]


def test_higher_benefit_goes_first_whatever_the_root() -> None:
    seen: list[str] = []
    patterns = [Record(SourceOp, seen, "low "), Record(None, seen, "high ")]
    patterns[1].benefit = 5  # type: ignore[misc]
    patterns.append(Record(SourceOp, seen, "same as low "))
    apply_patterns_greedily(box_of(source(1)), patterns)
    assert seen == ["high 1", "low 1", "same as low 1"]


class NegateOfOne(RewritePattern[NegateOp]):
    """Fits once the source below has been counted up to 1."""

    root = NegateOp

    def match_and_rewrite(self, op: NegateOp, rewriter: PatternRewriter) -> bool:
        inner = op.input.defining_operation
        if not isinstance(inner, SourceOp) or inner.value != 1:
            return False
        rewriter.replace_with(op, SourceOp, value=100)
        return True


def test_users_of_what_was_modified_are_looked_at_again() -> None:
    box = box_of()
    block = box.body.block
    one = source(0)
    negate = NegateOp.create(input=one.output)
    for op in (one, negate, SinkOp.create(inputs=[negate.output])):
        block.append(op)
    apply_patterns_greedily(box, [NegateOfOne(), Grow(1)], remove_dead=True)
    assert values_in(box) == [100]


class DropBoxes(RewritePattern[LooseBoxOp]):
    root = LooseBoxOp

    def match_and_rewrite(self, op: LooseBoxOp, rewriter: PatternRewriter) -> bool:
        rewriter.erase(op)
        return True


def test_what_is_inside_an_erased_operation_is_forgotten_and_what_it_read_is_dead() -> None:
    outside = source(1)
    body = Block()
    body.append(NegateOp.create(input=outside.output))
    box = box_of(outside, LooseBoxOp.create(regions=[Region([body])]), source(2))
    keep = SinkOp.create(inputs=[list(box.body.block.operations)[-1].result])
    box.body.block.append(keep)
    seen: list[str] = []
    apply_patterns_greedily(box, [DropBoxes(), Record(NegateOp, seen)], remove_dead=True)
    assert values_in(box) == [2] and seen == []


def test_erasing_what_is_used_is_refused() -> None:
    class EraseSources(RewritePattern[SourceOp]):
        root = SourceOp

        def match_and_rewrite(self, op: SourceOp, rewriter: PatternRewriter) -> bool:
            rewriter.erase(op)
            return True

    box, _ = negations(1)
    with pytest.raises(ValueError, match="a result is still used"):
        apply_patterns_greedily(box, [EraseSources()])


def test_only_pure_unused_operations_are_dead() -> None:
    chain = source(1)
    negate = NegateOp.create(input=chain.output)
    unknown = UnregisteredOp("other.op", [], [VECTOR])
    stream = StreamOp.create(result_types=[VECTOR])
    used = source(2)
    sink = SinkOp.create(inputs=[used.output])
    box = box_of()
    for op in (chain, negate, unknown, stream, used, sink):
        box.body.block.append(op)
    assert apply_patterns_greedily(box, [], remove_dead=True)
    assert list(box.body.block.operations) == [unknown, stream, used, sink]
    assert not apply_patterns_greedily(box, [], remove_dead=True)


def test_replacing_by_values_of_another_number_is_refused() -> None:
    class Split(RewritePattern[NegateOp]):
        root = NegateOp

        def match_and_rewrite(self, op: NegateOp, rewriter: PatternRewriter) -> bool:
            rewriter.replace(op, [op.input, op.input])
            return True

    box, _ = negations(1)
    with pytest.raises(ValueError, match=r"zip\(\)"):
        apply_patterns_greedily(box, [Split()])


def test_locations_are_merged_on_request() -> None:
    class Rename(RewritePattern[NegateOp]):
        root = NegateOp

        def match_and_rewrite(self, op: NegateOp, rewriter: PatternRewriter) -> bool:
            here = FileLineCol("f", 1, 1)
            new = rewriter.create(AddOp, lhs=op.input, rhs=op.input, location=here)
            rewriter.replace(op, new, merge_locations=True)
            return True

    box, sink = negations(1)
    for op in box.walk():
        op.location = UNKNOWN if isinstance(op, SourceOp) else NameLoc(op.name)
    apply_patterns_greedily(box, [Rename()])
    add = sink.operands[0].defining_operation
    assert add is not None
    assert add.location == FusedLoc((FileLineCol("f", 1, 1), NameLoc("toy.negate")))


def test_the_mixed_operation_can_be_walked_by_patterns() -> None:
    """Operations in the region of an operation without patterns are visited, too."""
    seen: list[str] = []
    body = Block()
    body.append(source(5))
    a, b = source(1), source(2)
    op = MixedOp.create(
        first=a.output, last=b.output, sizes=(), result_types=[VECTOR], regions=[Region([body])]
    )
    apply_patterns_greedily(box_of(a, b, op), [Record(SourceOp, seen)])
    assert seen == ["1", "2", "5"]
