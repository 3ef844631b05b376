"""Values, use lists, blocks, walking and cloning."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy import VECTOR, AddOp, BoxOp, LooseBoxOp, NegateOp, SinkOp, SourceOp, box_of, source

from nvdla_ir.ir.attributes import IntegerAttr
from nvdla_ir.ir.location import NameLoc
from nvdla_ir.ir.operation import Block, Operation, Region, UnregisteredOp, Use, Value


def names(block: Block) -> list[str | None]:
    return [op.results[0].name_hint if op.results else op.name for op in block.operations]


def linked_both_ways(block: Block) -> bool:
    forward = list(block.operations)
    backward: list[Operation] = []
    op = block.last_op
    while op is not None:
        backward.append(op)
        op = op.previous_op
    return backward[::-1] == forward and all(op.parent is block for op in forward)


def test_use_lists_follow_operands() -> None:
    a, b = source(), source()
    add = AddOp.create(lhs=a.result, rhs=a.result)
    assert a.result.use_count == 2 and not a.result.has_one_use and not b.result.is_used
    assert a.result.users == (add,)
    assert a.result.uses == (Use(add, 0), Use(add, 1))
    add.set_operand(1, b.result)
    assert a.result.uses == (Use(add, 0),) and b.result.uses == (Use(add, 1),)
    assert a.result.has_one_use and b.result.has_one_use
    add.set_operands([b.result, b.result])
    assert not a.result.is_used and b.result.use_count == 2
    add.set_operands([b.result, a.result])
    assert a.result.uses == (Use(add, 1),)
    add.drop_operands()
    assert not a.result.is_used and not b.result.is_used and list(add.operands) == []


def test_users_are_in_order_of_first_use() -> None:
    a = source()
    users = [NegateOp.create(input=a.result) for _ in range(5)]
    assert a.result.users == tuple(users)


def test_setting_an_operand_to_itself_changes_nothing() -> None:
    a = source()
    negate = NegateOp.create(input=a.result)
    negate.set_operand(0, a.result)
    assert a.result.uses == (Use(negate, 0),)


def test_replace_all_uses_gives_its_name_to_a_nameless_value() -> None:
    a, b, c = source(), source(), source()
    a.result.name_hint = "a"
    add = AddOp.create(lhs=a.result, rhs=a.result)
    a.result.replace_all_uses_with(b.result)
    assert list(add.operands) == [b.result, b.result]
    assert not a.result.is_used and b.result.name_hint == "a"
    c.result.name_hint = "c"
    b.result.replace_all_uses_with(c.result)
    assert c.result.name_hint == "c"
    c.result.replace_all_uses_with(c.result)
    assert c.result.use_count == 2


@st.composite
def use_histories(draw: st.DrawFn) -> list[tuple[int, int, int]]:
    """(what, which operation, which value)"""
    step = st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(0, 3))
    return draw(st.lists(step, max_size=30))


@given(use_histories())
def test_use_lists_agree_with_operands_after_any_history(
    history: list[tuple[int, int, int]],
) -> None:
    values: list[Value] = [source().result for _ in range(4)]
    users = [AddOp.create(lhs=values[0], rhs=values[i]) for i in range(4)]
    for what, which, value in history:
        if what == 0:
            users[which].set_operand(value % 2, values[value])
        elif what == 1:
            values[which].replace_all_uses_with(values[value])
        else:
            users[which].set_operands([values[value], values[which]])
    for value in values:
        expected = {(op, i) for op in users for i, v in enumerate(op.operands) if v is value}
        assert {(use.operation, use.operand_index) for use in value.uses} == expected
        assert value.use_count == len(expected)
        assert set(value.users) == {op for op, _ in expected}


def test_erasing_a_used_operation_is_refused() -> None:
    a = source()
    block = Block()
    block.append(a)
    negate = NegateOp.create(input=a.result)
    block.append(negate)
    with pytest.raises(ValueError, match=r"'toy.source' cannot be erased: a result is still used"):
        a.erase()
    assert list(block.operations) == [a, negate]
    negate.erase()
    a.erase()
    assert block.is_empty and block.last_op is None and not a.result.is_used


def test_erasing_releases_what_is_read_inside() -> None:
    a = source()
    inner = NegateOp.create(input=a.result)
    body = Block()
    body.append(inner)
    outer = LooseBoxOp.create(regions=[Region([body])])
    assert a.result.users == (inner,)
    outer.erase()
    assert not a.result.is_used


@pytest.mark.parametrize("position", [0, 1, 2, 3])
def test_inserting_and_taking_out_anywhere(position: int) -> None:
    block = Block()
    operations = [source(i) for i in range(3)]
    for op in operations:
        block.append(op)
    new = source(9)
    if position == 3:
        block.append(new)
    else:
        block.insert_before(new, operations[position])
    assert linked_both_ways(block)
    assert list(block.operations) == [*operations[:position], new, *operations[position:]]
    new.detach()
    assert linked_both_ways(block) and list(block.operations) == operations
    assert new.parent is None and new.next_op is None and new.previous_op is None
    new.detach()  # nothing to do


def test_appending_moves() -> None:
    first, second = Block(), Block()
    a, b = source(), source()
    first.append(a)
    first.append(b)
    second.append(a)
    assert list(first.operations) == [b] and list(second.operations) == [a]
    first.append(b)
    assert list(first.operations) == [b]
    second.insert_before(b, a)
    assert first.is_empty and list(second.operations) == [b, a] and linked_both_ways(second)


def test_an_anchor_elsewhere_is_refused() -> None:
    block, other = Block(), Block()
    a, b = source(), source()
    block.append(a)
    other.append(b)
    for anchor in (b, source(), a):
        with pytest.raises(ValueError, match="cannot be inserted before"):
            block.insert_before(a, anchor)
    assert list(block.operations) == [a] and list(other.operations) == [b]


def test_walk_is_outer_before_inner_and_in_order() -> None:
    inner = box_of(source(1), source(2))
    outer = box_of(source(0), inner, source(3))
    found = [op.value if isinstance(op, SourceOp) else op.name for op in outer.walk()]
    assert found == ["toy.box", 0, "toy.box", 1, 2, 3]


def test_what_was_given_out_may_be_erased_or_replaced_while_walking() -> None:
    outer = box_of(source(0), box_of(source(1), source(2)), source(3), source(4))
    seen: list[int] = []
    for op in outer.walk():
        if isinstance(op, SourceOp):
            seen.append(op.value)
            if op.value in (1, 3):
                op.erase()
            elif op.value == 4:
                assert op.parent is not None
                op.parent.insert_before(source(9), op)
                op.erase()
    assert seen == [0, 1, 2, 3, 4]
    assert [op.value for op in outer.walk() if isinstance(op, SourceOp)] == [0, 2, 9]


def test_what_is_inside_an_erased_operation_is_not_walked() -> None:
    outer = box_of(box_of(source(1)), source(2))
    seen: list[int] = []
    for op in outer.walk():
        if isinstance(op, BoxOp) and op is not outer:
            op.erase()
        elif isinstance(op, SourceOp):
            seen.append(op.value)
    assert seen == [2]


def test_order_and_ancestry() -> None:
    a, b, c = source(), source(), source()
    inner = box_of(b)
    outer = box_of(a, inner, c)
    assert a.is_before_in_block(c) and not c.is_before_in_block(a)
    assert not a.is_before_in_block(a)
    assert outer.is_ancestor_of(b) and inner.is_ancestor_of(b) and b.is_ancestor_of(b)
    assert not inner.is_ancestor_of(c)
    assert b.parent_op is inner and inner.parent_op is outer and outer.parent_op is None


def test_the_only_result_and_the_only_block() -> None:
    with pytest.raises(ValueError, match=r"'toy.sink' has 0 results, not one"):
        _ = SinkOp.create(inputs=[source().result]).result
    with pytest.raises(ValueError, match="the region has 2 blocks, not one"):
        _ = Region([Block(), Block()]).block


def test_clone_copies_all_inside_and_maps_values() -> None:
    outside = source(7)
    outside.result.name_hint = "outside"
    body = Block()
    argument = body.add_argument(VECTOR, "argument", NameLoc("here"))
    first = NegateOp.create(input=argument, location=NameLoc("first"))
    first.result.name_hint = "first"
    body.append(first)
    body.append(AddOp.create(lhs=first.result, rhs=outside.result))
    op = LooseBoxOp.create(regions=[Region([body])], discardable={"note": IntegerAttr(1)})

    copy = op.clone()
    assert isinstance(copy, LooseBoxOp) and copy.parent is None and copy is not op
    assert copy.attributes == op.attributes and copy.attributes is not op.attributes
    copied = list(copy.regions[0].block.operations)
    new_argument = copy.regions[0].block.arguments[0]
    assert (new_argument.name_hint, new_argument.location) == ("argument", NameLoc("here"))
    assert copied[0].operands[0] is new_argument
    assert copied[0].location == NameLoc("first") and copied[0].result.name_hint == "first"
    assert list(copied[1].operands) == [copied[0].result, outside.result]
    assert all(inner.parent_op is copy for inner in copied)
    assert outside.result.use_count == 2

    replacement = source(8)
    mapping: dict[Value, Value] = {outside.result: replacement.result}
    third = op.clone(mapping)
    assert list(third.regions[0].block.operations)[1].operands[1] is replacement.result
    assert mapping[first.result] is next(third.regions[0].block.operations).result
    op.erase()
    assert outside.result.use_count == 1


def test_cloning_an_unregistered_operation() -> None:
    op = UnregisteredOp("other.thing", [], [VECTOR], {"a": IntegerAttr(1)}, [], NameLoc("x"))
    copy = op.clone()
    assert isinstance(copy, UnregisteredOp)
    assert (copy.name, copy.location, copy.result.type) == ("other.thing", NameLoc("x"), VECTOR)
    assert copy.result.operation is copy
