"""Operation classes: their fields read, written and created."""

from __future__ import annotations

import pytest
from toy import BYTES, VECTOR, MixedOp, NegateOp, SinkOp, SourceOp, TailOp, source

from nvdla_ir.ir.attributes import DenseArrayAttr, IntegerAttr, StringAttr
from nvdla_ir.ir.definition import OPERAND_SEGMENT_SIZES
from nvdla_ir.ir.operation import Block, Operation, Region, Value
from nvdla_ir.ir.types import I32


def vectors(count: int) -> list[Value]:
    return [source(i).result for i in range(count)]


def byte_value() -> Value:
    return Operation((), [BYTES]).result


def mixed(maybe: Value | None = None, many: int = 0) -> MixedOp:
    first, last, *rest = vectors(2 + many)
    return MixedOp.create(
        first=first,
        maybe=maybe,
        many=rest,
        last=last,
        sizes=(1, 2),
        result_types=[VECTOR, BYTES, BYTES],
        regions=[Region([Block()])],
    )


@pytest.mark.parametrize("with_maybe", [False, True])
@pytest.mark.parametrize("many", [0, 1, 3])
def test_operands_by_name(with_maybe: bool, many: int) -> None:
    maybe = byte_value() if with_maybe else None
    op = mixed(maybe, many)
    assert len(op.operands) == 2 + with_maybe + many
    assert op.first is op.operands[0] and op.last is op.operands[-1]
    assert op.maybe is maybe
    assert list(op.many) == list(op.operands[1 + with_maybe : -1])
    assert op.attributes[OPERAND_SEGMENT_SIZES] == DenseArrayAttr(I32, (1, with_maybe, many, 1))


def test_operands_can_be_set_by_name() -> None:
    op = mixed()
    a, b, c = vectors(3)
    maybe = byte_value()
    op.maybe = maybe
    op.many = [a, b]
    op.last = c
    assert (op.maybe, list(op.many), op.last) == (maybe, [a, b], c)
    assert len(op.operands) == 5 and maybe.has_one_use
    op.maybe = None
    op.many = [b]
    assert (op.maybe, list(op.many), op.last) == (None, [b], c)
    assert not a.is_used and not maybe.is_used
    assert op.attributes[OPERAND_SEGMENT_SIZES] == DenseArrayAttr(I32, (1, 0, 1, 1))


def test_one_varying_operand_needs_no_sizes() -> None:
    a, b, c = vectors(3)
    op = TailOp.create(first=a, second=b)
    assert op.maybe is None and OPERAND_SEGMENT_SIZES not in op.attributes
    op.maybe = c
    assert list(op.operands) == [a, b, c] and op.maybe is c
    op.maybe = None
    assert list(op.operands) == [a, b]


def test_results_and_regions_by_name() -> None:
    op = mixed()
    assert op.main is op.results[0] and list(op.others) == op.results[1:]
    assert op.body is op.regions[0]
    for name in ("main", "others", "body"):
        with pytest.raises(AttributeError, match=f"'{name}' of 'toy.mixed' cannot be replaced"):
            setattr(op, name, None)


def test_attributes_read_as_python_values() -> None:
    op = mixed()
    assert op.sizes == (1, 2) and op.mode == "near" and op.note is None
    assert "mode" not in op.attributes  # the default is not written
    op.mode = "far"
    op.note = "text"
    assert op.attributes["mode"] == StringAttr("far") and op.note == "text"
    op.note = None
    assert "note" not in op.attributes
    del op.attributes["sizes"]
    with pytest.raises(ValueError, match=r"'toy.mixed' has no attribute 'sizes'"):
        _ = op.sizes


def test_inherent_and_discardable_attributes_are_told_apart() -> None:
    op = SourceOp.create(value=3, discardable={"note": IntegerAttr(1)})
    assert list(op.inherent_attributes()) == [("value", IntegerAttr(3))]
    assert list(op.discardable_attributes()) == [("note", IntegerAttr(1))]
    assert [name for name, _ in mixed().inherent_attributes()] == ["sizes", OPERAND_SEGMENT_SIZES]
    assert list(mixed().discardable_attributes()) == []


def test_types_are_inferred_or_needed() -> None:
    assert NegateOp.create(input=source().result).result.type == VECTOR
    with pytest.raises(TypeError, match=r"'toy.mixed' needs result_types"):
        MixedOp.create(first=source().result, last=source().result, sizes=())
    assert SinkOp.create(inputs=vectors(2)).results == []


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "'toy.negate' needs 'input'"),
        ({"input": None}, "'toy.negate' needs 'input'"),
        ({"inptu": None}, "'toy.negate' has no field inptu"),
    ],
)
def test_missing_and_unknown_fields(fields: dict[str, object], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        NegateOp.create(**fields)


def test_a_required_attribute_is_needed() -> None:
    with pytest.raises(TypeError, match=r"'toy.mixed' needs 'sizes'"):
        MixedOp.create(first=source().result, last=source().result, result_types=[VECTOR])


@pytest.mark.parametrize("sizes", [(1, 1), (1, 0, 0, 1, 0)])
def test_a_wrong_number_of_segment_sizes(sizes: tuple[int, ...]) -> None:
    op = mixed()
    op.attributes[OPERAND_SEGMENT_SIZES] = DenseArrayAttr(I32, sizes)
    with pytest.raises(ValueError, match="needs 'operandSegmentSizes"):
        _ = op.last
