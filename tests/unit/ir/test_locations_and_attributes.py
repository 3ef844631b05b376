"""Values that are compared and printed: locations, types, attributes, diagnostics."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nvdla_ir.ir.attributes import (
    ArrayAttr,
    BoolAttr,
    DenseArrayAttr,
    DenseElementsAttr,
    DenseResourceAttr,
    DictAttr,
    FloatAttr,
    IntegerAttr,
    StringAttr,
    SymbolRefAttr,
    TypeAttr,
    UnitAttr,
    format_float,
    is_bare_identifier,
    quote,
    quote_key,
)
from nvdla_ir.ir.diagnostics import Diagnostic, DiagnosticCollector, DiagnosticError, render
from nvdla_ir.ir.location import (
    UNKNOWN,
    FileLineCol,
    FusedLoc,
    Location,
    NameLoc,
    fuse_locations,
)
from nvdla_ir.ir.types import F32, I1, I8, I32, UI8, FloatType, FunctionType, TensorType
from nvdla_ir.source_lines import SourceLines

HERE = FileLineCol("dir/net.ir", 3, 7)


@pytest.mark.parametrize(
    ("location", "text", "position"),
    [
        (UNKNOWN, "unknown", None),
        (HERE, '"dir/net.ir":3:7', HERE),
        (NameLoc("conv1"), '"conv1"', None),
        (NameLoc("conv1", HERE), '"conv1"("dir/net.ir":3:7)', HERE),
        (FusedLoc((NameLoc("a"), HERE)), 'fused["a", "dir/net.ir":3:7]', HERE),
        (NameLoc('a"b\\c\n'), '"a\\"b\\\\c\\n"', None),
    ],
)
def test_locations(location: Location, text: str, position: FileLineCol | None) -> None:
    assert str(location) == text
    assert location.file_position() == position


def test_fusing_is_flat_and_without_repetitions() -> None:
    a, b = NameLoc("a"), NameLoc("b")
    assert fuse_locations([]) == UNKNOWN
    assert fuse_locations([UNKNOWN, UNKNOWN]) == UNKNOWN
    assert fuse_locations([UNKNOWN, a, a]) == a
    fused = fuse_locations([a, UNKNOWN, b, a])
    assert fused == FusedLoc((a, b))
    assert fuse_locations([fused, HERE, fused]) == FusedLoc((a, b, HERE))


@pytest.mark.parametrize(
    ("attribute", "text"),
    [
        (IntegerAttr(-3), "-3"),
        (IntegerAttr(3, I8), "3 : i8"),
        (FloatAttr(1.0), "1.0"),
        (FloatAttr(1e-5), "1.0e-05"),
        (FloatAttr(1.5e300), "1.5e+300"),
        (FloatAttr(-0.0, F32), "-0.0 : f32"),
        (BoolAttr(True), "true"),
        (UnitAttr(), "unit"),
        (StringAttr('say "x"\\\t\n\x00é'), '"say \\"x\\"\\\\\\t\\n\\00é"'),
        (ArrayAttr((IntegerAttr(1), StringAttr("a"))), '[1, "a"]'),
        (DictAttr((("a", IntegerAttr(1)), ("b c", UnitAttr()))), '{a = 1, "b c"}'),
        (DenseArrayAttr(I32, (1, 2)), "array<i32: 1, 2>"),
        (DenseArrayAttr(I32, ()), "array<i32>"),
        (DenseElementsAttr(TensorType((2, 2), I8), (1, 2, 3, 4)), "dense<[[1, 2], [3, 4]]>"),
        (DenseElementsAttr(TensorType((2, 2), F32), (0.5,)), "dense<0.5>"),
        (DenseElementsAttr(TensorType((1,), F32), (0.5,)), "dense<[0.5]>"),
        (DenseElementsAttr(TensorType((), F32), (0.5,)), "dense<0.5>"),
        (DenseElementsAttr(TensorType((0,), F32), ()), "dense<>"),
        (DenseElementsAttr(TensorType((2, 0), F32), ()), "dense<>"),
        (DenseResourceAttr("conv1.weight", TensorType((1,), F32)), "dense_resource<conv1.weight>"),
        (DenseResourceAttr("a/b", TensorType((1,), F32)), 'dense_resource<"a/b">'),
        (SymbolRefAttr("main"), "@main"),
        (SymbolRefAttr("a b"), '@"a b"'),
        (TypeAttr(FunctionType((F32,), (UI8,))), "(f32) -> ui8"),
    ],
)
def test_attributes_print_as_in_mlir(attribute: object, text: str) -> None:
    printed = str(attribute)
    if isinstance(attribute, DenseElementsAttr | DenseResourceAttr):
        text += f" : {attribute.type}"
    assert printed == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_print_shortest_and_read_back(value: float) -> None:
    text = format_float(value)
    assert "." in text and math.copysign(1.0, float(text)) == math.copysign(1.0, value)
    assert float(text) == value and len(text) <= len(repr(value)) + 2


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_cannot_be_written(value: float) -> None:
    with pytest.raises(ValueError, match="cannot be written: only finite numbers can"):
        format_float(value)


@given(st.text())
def test_keys_are_quoted_exactly_where_they_must(text: str) -> None:
    assert (quote_key(text) == text) == is_bare_identifier(text)
    assert quote(text)[0] == quote(text)[-1] == '"'
    assert "\n" not in quote(text)


@pytest.mark.parametrize("text", ["a", "_x", "a.b$c_9", "nvdla_ir.name"])
def test_bare_identifiers(text: str) -> None:
    assert is_bare_identifier(text)


@pytest.mark.parametrize("text", ["", "9a", ".a", "$a", "a b", "a-b", "é", "a\n", "²"])
def test_other_identifiers(text: str) -> None:
    assert not is_bare_identifier(text)


def test_equal_values_are_the_same() -> None:
    one, other = TensorType((1, None), F32), TensorType((1, None), FloatType("f32"))
    assert one == other and len({one, other}) == 1
    assert str(one) == "tensor<1x?xf32>" and not one.has_static_shape
    with pytest.raises(ValueError, match="has a dynamic extent; give every extent a number"):
        _ = one.element_count
    assert TensorType((2, 3), I1).element_count == 6 and TensorType((), I1).element_count == 1


@pytest.mark.parametrize(
    ("type_", "text"),
    [
        (FunctionType((), ()), "() -> ()"),
        (FunctionType((F32, I8), (F32,)), "(f32, i8) -> f32"),
        (FunctionType((F32,), (F32, I8)), "(f32) -> (f32, i8)"),
    ],
)
def test_function_types(type_: FunctionType, text: str) -> None:
    assert str(type_) == text


SOURCE = "first\n\tsecond line\n" + "x" * 300


@pytest.mark.parametrize(
    ("location", "lines"),
    [
        (UNKNOWN, ["error: bad"]),
        (NameLoc("conv"), ['loc("conv"): error: bad']),
        (FileLineCol("f", 1, 3), ["f:1:3: error: bad", "first", "  ^"]),
        (FileLineCol("f", 2, 3), ["f:2:3: error: bad", "\tsecond line", "\t ^"]),
        (FileLineCol("f", 3, 201), ["f:3:201: error: bad", "x" * 160, " " * 80 + "^"]),
        (FileLineCol("f", 9, 1), ["f:9:1: error: bad"]),
        (FileLineCol("missing", 1, 1), ["missing:1:1: error: bad"]),
        (NameLoc("conv", FileLineCol("f", 1, 1)), ["f:1:1: error: bad", "first", "^"]),
    ],
)
def test_diagnostics_show_the_line(location: Location, lines: list[str]) -> None:
    sources = SourceLines()
    sources.texts["f"] = SOURCE
    rendered = render(Diagnostic.error(location, "bad"), sources.line).splitlines()
    assert [line[:160] for line in rendered] == [line[:160] for line in lines]


def test_notes_follow() -> None:
    diagnostic = Diagnostic.warning(UNKNOWN, "odd", [Diagnostic.note(NameLoc("a"), "here")])
    assert render(diagnostic) == 'warning: odd\nloc("a"): note: here'


def test_a_collector_raises_its_errors_only() -> None:
    collector = DiagnosticCollector()
    collector.warning(UNKNOWN, "w")
    collector.remark(UNKNOWN, "r")
    collector.raise_if_errors()
    collector.error(UNKNOWN, "one")
    collector.error(UNKNOWN, "two")
    with pytest.raises(DiagnosticError, match="one; two") as caught:
        collector.raise_if_errors()
    assert [d.message for d in caught.value.diagnostics] == ["one", "two"]
