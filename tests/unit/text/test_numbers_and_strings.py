"""Numbers and strings: every spelling that is read, and what is written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nvdla_ir.dialects import default_context
from nvdla_ir.ir.attributes import (
    ArrayAttr,
    Attribute,
    BoolAttr,
    DenseElementsAttr,
    FloatAttr,
    IntegerAttr,
    StringAttr,
    SymbolRefAttr,
    UnitAttr,
    quote,
)
from nvdla_ir.ir.operation import UnregisteredOp
from nvdla_ir.ir.types import F32, I1, I8, I32, TensorType
from nvdla_ir.text.leaves import LeafError, parse_number, unquote
from nvdla_ir.text.parser import parse

CONTEXT = default_context(allow_unregistered=True)


def attribute(text: str) -> Attribute:
    (op,) = parse(f'"t.x"() {{value = {text}}} : () -> ()', CONTEXT).operations
    assert isinstance(op, UnregisteredOp)
    return op.attributes["value"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", IntegerAttr(0)),
        ("-12", IntegerAttr(-12)),
        ("0x1F", IntegerAttr(31)),
        ("-0x1f : i8", IntegerAttr(-31, I8)),
        ("255 : i8", IntegerAttr(255, I8)),
        ("1.", FloatAttr(1.0)),
        ("1.5", FloatAttr(1.5)),
        ("-1.5e3", FloatAttr(-1500.0)),
        ("1.0E-05", FloatAttr(1e-5)),
        ("1.0e+300 : f32", FloatAttr(1e300, F32)),
        ("true", BoolAttr(True)),
        ("false", BoolAttr(False)),
        ("unit", UnitAttr()),
        ("[]", ArrayAttr(())),
        ("[1, 2.5]", ArrayAttr((IntegerAttr(1), FloatAttr(2.5)))),
        ("[ 0x10 , -1 ]", ArrayAttr((IntegerAttr(16), IntegerAttr(-1)))),
        ("[1 : i32, true]", ArrayAttr((IntegerAttr(1, I32), BoolAttr(True)))),
        ("[[1], []]", ArrayAttr((ArrayAttr((IntegerAttr(1),)), ArrayAttr(())))),
        ("@main", SymbolRefAttr("main")),
        ('@"a b"', SymbolRefAttr("a b")),
        ("dense<true> : tensor<2xi1>", DenseElementsAttr(TensorType((2,), I1), (1,))),
        ("dense<0x7F> : tensor<1xi8>", DenseElementsAttr(TensorType((1,), I8), (127,))),
        ("dense<> : tensor<0xf32>", DenseElementsAttr(TensorType((0,), F32), ())),
        ("dense<[]> : tensor<0xf32>", DenseElementsAttr(TensorType((0,), F32), ())),
        ("dense<-2.0> : tensor<f32>", DenseElementsAttr(TensorType((), F32), (-2.0,))),
        (
            "dense<[[1, 2],\n [3, 4]]> : tensor<2x2xi8>",
            DenseElementsAttr(TensorType((2, 2), I8), (1, 2, 3, 4)),
        ),
    ],
)
def test_spellings(text: str, expected: Attribute) -> None:
    found = attribute(text)
    assert found == expected and type(found) is type(expected)
    assert attribute(str(found)) == expected


@given(st.integers(-(1 << 63), (1 << 63) - 1))
def test_integers(value: int) -> None:
    assert attribute(str(value)) == IntegerAttr(value)
    assert attribute(f"{'-' if value < 0 else ''}0x{abs(value):X}") == IntegerAttr(value)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats(value: float) -> None:
    found = attribute(str(FloatAttr(value)))
    assert isinstance(found, FloatAttr) and repr(found.value) == repr(value)


@pytest.mark.parametrize(
    ("literal", "text"),
    [
        ('""', ""),
        ('"a b"', "a b"),
        (r'"\"\\\n\t"', '"\\\n\t'),
        (r'"\22\5C"', '"\\'),
        (r'"\C3\A9é"', "éé"),
        (r'"\FF"', "\udcff"),
    ],
)
def test_escapes(literal: str, text: str) -> None:
    assert unquote(literal) == text
    assert unquote(quote(text)) == text


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_every_text_can_be_written(text: str) -> None:
    assert unquote(quote(text)) == text
    assert attribute(quote(text)) == StringAttr(text)


@given(st.binary())
def test_bytes_that_are_no_text_survive(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    assert unquote(quote(text)) == text


@pytest.mark.parametrize("literal", [r'"\q"', r'"\4"', r'"\G0"'])
def test_unknown_escapes(literal: str) -> None:
    with pytest.raises(LeafError, match="unknown escape"):
        unquote(literal)


@pytest.mark.parametrize("text", ["1" * 1001, "1.0e400", "-1.0e400", "1." + "0" * 1000])
def test_numbers_beyond_all_bounds(text: str) -> None:
    with pytest.raises(LeafError, match="too l"):
        parse_number(text)
