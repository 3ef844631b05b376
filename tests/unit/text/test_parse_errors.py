"""What is said about faulty text, and where. ``|`` marks the place in each text."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nvdla_ir.dialects import default_context
from nvdla_ir.ir.diagnostics import Diagnostic, DiagnosticError
from nvdla_ir.ir.location import FileLineCol
from nvdla_ir.text.parser import parse, parser_for

CONTEXT = default_context()
LENIENT = default_context(allow_unregistered=True)


def faults(text: str, *, lenient: bool = False) -> tuple[Diagnostic, ...]:
    with pytest.raises(DiagnosticError) as caught:
        parse(text, LENIENT if lenient else CONTEXT, "f.ir")
    return caught.value.diagnostics


def place(marked: str) -> tuple[str, FileLineCol]:
    before, _, after = marked.partition("|")
    line = before.count("\n") + 1
    return before + after, FileLineCol("f.ir", line, len(before) - (before.rfind("\n") + 1) + 1)


CONSTANT = "%x = nn.constant value=dense<1.0> : tensor<2xf32>\n"


@pytest.mark.parametrize(
    ("marked", "message"),
    [
        # unknown names
        ("|nn.rleu", "unknown operation 'nn.rleu'; did you mean 'nn.relu'?"),
        ('|"nn.rleu"() : () -> ()', "unknown operation 'nn.rleu'; did you mean 'nn.relu'?"),
        ("|nnn.x", "unknown operation 'nnn.x': dialect 'nnn' is not known; did you mean 'nn'?"),
        ('|"x"() : () -> ()', "unknown operation 'x'"),
        (
            "%x = nn.constant |valeu=1",
            "'nn.constant' has no attribute 'valeu'; did you mean 'value'?",
        ),
        ("%x = nn.constant |blah", "'blah' is not expected after 'nn.constant'"),
        (CONSTANT + "nn.relu bais=|%x", "'nn.relu' has no operand 'bais'"),
        (
            CONSTANT + "nn.conv %x, %x bias=|%x",
            "'nn.conv' takes its operands without names, in order",
        ),
        (
            "%x = nn.constant value=dense<1.0> : |tenser<2xf32>",
            "unknown type or attribute 'tenser'",
        ),
        ("%x = nn.constant value=dense<1.0> : tensor<2x|f33>", "unknown type or attribute 'f33'"),
        (
            '"nn.x"() {a = tensor<2x|!quant.unform<i8>>} : () -> ()',
            "unknown type '!quant.unform' in dialect 'quant'; did you mean 'uniform'?",
        ),
        (
            '"nn.x"() {a = |!qant.uniform<i8>} : () -> ()',
            "unknown type '!qant.uniform': dialect 'qant' is not known; did you mean 'quant'?",
        ),
        (
            "%x = nn.constant value=|#foo.x",
            "unknown attribute '#foo.x': dialect 'foo' is not known",
        ),
        # values
        ("nn.relu |%x", "use of undefined value '%x'"),
        (CONSTANT + "|%x = nn.relu %x -> f32", "redefinition of value '%x'"),
        ("nn.relu |%x\n" + CONSTANT, "value '%x' is used before its definition"),
        (CONSTANT + "|%y, %z = nn.relu %x -> f32", "2 results are named, but 'nn.relu' has 1"),
        (CONSTANT + "|%y:2 = nn.relu %x -> f32", "2 results are named, but 'nn.relu' has 1"),
        ('|%y:0 = "func.return"() : () -> ()', "'%y:0' names no result"),
        (
            CONSTANT + '"nn.relu"|(%x) : (tensor<3xf32>) -> f32',
            "operand 0 has type 'tensor<2xf32>', but the operation's type says 'tensor<3xf32>'",
        ),
        (
            CONSTANT + '"nn.relu"(%x) : |() -> f32',
            "the type lists 0 operands, but 1 stand in parentheses",
        ),
        (
            "%x = |nn.constant",
            "'nn.constant' needs the attribute 'value', dense<…> or dense_resource<…> elements",
        ),
        (
            "%x = nn.constant value=dense<1.0> : tensor<2xf32>\n|nn.reshape %x",
            "'nn.reshape' needs its result types: '-> type'",
        ),
        # attributes
        ("%x = nn.constant value=1 |value=2", "'value' is given twice"),
        ('"nn.x"() {a = 1, |a = 2} : () -> ()', "attribute 'a' is given twice"),
        ("%x = nn.constant value=|300 : i8", "300 does not fit 'i8'"),
        ("%x = nn.constant value=|-1 : ui8", "-1 does not fit 'ui8'"),
        ("%x = nn.constant value=|18446744073709551616", "18446744073709551616 does not fit 'i64'"),
        (
            "%x = nn.constant value=[|18446744073709551616, unit]",
            "18446744073709551616 does not fit 'i64'",
        ),
        (
            "%x = |nn.constant value=[1, 2]",
            "'nn.constant' has 'value = [1, 2]', but 'value' must be dense<…> or dense_resource<…> "
            "elements",
        ),
        ("%x = nn.constant value=|1 : f32", "1 needs a decimal point to be of type 'f32'"),
        ("%x = nn.constant value=|1.0 : i8", "1.0 must have no decimal point to be of type 'i8'"),
        ("%x = nn.constant value=|1.0e999", "the number 1.0e999 is too large for 64 bits"),
        ("%x = nn.constant value=|" + "9" * 5000, "a number of 5000 characters is too long"),
        (
            "%x = nn.constant value=|dense<1> : tensor<2xf32>",
            "1 needs a decimal point to be of type 'f32'",
        ),
        (
            "%x = nn.constant value=|dense<1.0> : tensor<2xi8>",
            "1.0 must have no decimal point to be of type 'i8'",
        ),
        ("%x = nn.constant value=|dense<256> : tensor<2xi8>", "256 does not fit 'i8'"),
        (
            "%x = nn.constant value=|dense<[1.0]> : tensor<2xf32>",
            "elements of shape 1 do not fit 'tensor<2xf32>'",
        ),
        (
            "%x = nn.constant value=|dense<[[1.0], [1.0, 2.0]]> : tensor<2x2xf32>",
            "the rows of these elements differ in length",
        ),
        (
            "%x = nn.constant value=|dense<1.0> : tensor<?xf32>",
            "dense<…> needs a tensor type of known shape, not 'tensor<?xf32>'",
        ),
        ("%x = nn.constant value=|[[1, 2], [3]]", None),
        ("%x = nn.constant value=|array<index: 1>", "array<…> holds numbers, not 'index'"),
        (
            '"nn.x"() {a = |i16777216} : () -> ()',
            "integers have at most 16777215 bits, not 16777216",
        ),
        (
            "%x = nn.constant value=|dense<1> : tensor<2x!quant.uniform<i8:f32, -0.5>>",
            "the scale -0.5 must be positive and finite",
        ),
        (
            "%x = nn.constant value=|dense<1> : tensor<2x!quant.uniform<i8:f32, 0.5:200>>",
            "the zero point 200 is outside -128 to 127",
        ),
        (CONSTANT + "|nn.add %x", "'nn.add' takes 2 operands (lhs, rhs), but has 1"),
        (
            "%x = nn.constant value=dense<1> : tensor<1x1x2x2xi8>\n|nn.relu %x",
            "'nn.relu' has operand 'input' of type 'tensor<1x1x2x2xi8>', but it must be a tensor "
            "of floats, calibrated or fake-quantized floats, or quantized integers",
        ),
        (
            "%x = nn.constant value=dense<1.0> : tensor<1x1x2x2xf32>\n"
            "|nn.conv %x, %x strides=[1, 0]",
            "the result types of 'nn.conv' cannot be inferred: a stride must be at least 1, not 0",
        ),
        # strings
        (
            '"nn.x"() {a = !t.x|<"y>} : () -> ()',
            "unexpected '<': no '>' belongs to it; strings must end, brackets nest at most 5 deep",
        ),
        ('%x = nn.constant value=|"abc', "unterminated string: it must end on its line"),
        ('%x = nn.constant value=|"abc\n"', "unterminated string: it must end on its line"),
        ('"nn.x|', None),
        ('%x = nn.constant value="a|\\qc"', "unknown escape '\\q' in a string"),
        # structure
        (
            "module {|",
            "unexpected end of the text; expected '}', a block label like '^bb0' or an operation",
        ),
        ("|}", "unexpected '}'; expected an operation or the end of the file"),
        ("module |}", "unexpected '}'; expected 'attributes', '{' or a symbol like '@main'"),
        ("|^bb0:", "unexpected '^bb0'; expected an operation or the end of the file"),
        ("|\x00", "unexpected '\\x00'; expected an operation"),
        ("|é", "unexpected 'é'; expected an operation"),
        ('module { } loc("a":1|)', "unexpected ')'; expected ':'"),
        ("%x = |nn.constant {a = 1}", "'nn.constant' takes no '{…}' of attributes"),
    ],
)
def test_each_fault_has_its_message_and_place(marked: str, message: str | None) -> None:
    text, location = place(marked)
    if message is None:
        if text.startswith('"'):
            first, *_ = faults(text)
            assert first.message == "unterminated string: it must end on its line"
        else:
            parse('"t.x"() {a = [[1, 2], [3]]} : () -> ()', LENIENT)
        return
    first, *_ = faults(text)
    assert (first.message, first.location) == (message, location)


def test_all_undefined_values_are_reported_together() -> None:
    found = faults("nn.add %a, %b\nnn.relu %a\n%b = nn.constant value=dense<1.0> : tensor<2xf32>")
    assert [(str(d.location), d.message) for d in found] == [
        ('"f.ir":1:12', "value '%b' is used before its definition"),
        ('"f.ir":1:8', "use of undefined value '%a'"),
        ('"f.ir":2:9', "use of undefined value '%a'"),
    ]
    assert [(str(n.location), n.message) for n in found[0].notes] == [
        ('"f.ir":3:1', "defined here")
    ]


def test_a_redefinition_shows_the_first_one() -> None:
    (fault,) = faults(CONSTANT + CONSTANT)
    assert [(str(n.location), n.message) for n in fault.notes] == [
        ('"f.ir":1:1', "previously defined here")
    ]


def test_what_depends_on_a_fault_is_not_reported() -> None:
    found = faults("%x = nn.rleu %a\n%y = quant.dcast %x\nnn.add %x, %y\nnn.relu %b")
    assert [d.message for d in found] == [
        "unknown operation 'nn.rleu'; did you mean 'nn.relu'?",
        "use of undefined value '%b'",
    ]


def test_names_end_with_their_region() -> None:
    inner = '"t.box"() ({\n  %x = "t.x"() : () -> f32\n}) : () -> ()\n'
    parse(inner + inner, LENIENT)
    found = faults(inner + '"t.use"(%x) : (f32) -> ()', lenient=True)
    assert [d.message for d in found] == ["use of undefined value '%x'"]
    (fault,) = faults('%x = "t.x"() : () -> f32\n' + inner, lenient=True)
    assert fault.message == "redefinition of value '%x'"


def test_several_unknown_operations_are_reported_together() -> None:
    assert [d.message.split(";")[0] for d in faults("nn.rleu\nnn.addd\nfunc.retrun")] == [
        "unknown operation 'nn.rleu'",
        "unknown operation 'nn.addd'",
        "unknown operation 'func.retrun'",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("(" * 10_000, "unexpected '('"),
        ("%x = nn.constant value=" + "(" * 10_000, "unexpected '('"),
        ("%x = nn.constant value=" + "[" * 10_000, "attributes nest deeper than 64"),
        ("%x = nn.constant value=" + "{a = " * 10_000, "attributes nest deeper than 64"),
        ("module {" * 10_000, "regions nest deeper than 64"),
        ("%x = nn.constant value=dense<1.0> : " + "tensor<" * 10_000, "unexpected"),
        ('"t.x"() {a = dense<' + "[" * 10_000 + "> : f32} : () -> ()", "unexpected '>'"),
        ('"t.x"() : () -> () loc(' + '"a"(' * 10_000, "unexpected 'loc"),
        ('"t.x"() : () -> () loc(' + "fused[" * 10_000, "unexpected 'loc"),
    ],
)
def test_endless_nesting_is_refused_quickly(text: str, message: str) -> None:
    first, *_ = faults(text, lenient=True)
    assert first.message.startswith(message)


def test_attributes_and_regions_nest_64_deep() -> None:
    deep = '"t.x"() {a = ' + "[" * 62 + "unit" + "]" * 62 + "} : () -> ()"
    parse(deep, LENIENT)
    parse('"t.x"() ({' * 64 + "}) : () -> ()" * 64, LENIENT)


def test_an_empty_text_has_no_operations() -> None:
    for text in ("", "\n \t\n", "// nothing\n// at all"):
        assert parse(text, CONTEXT).operations == []


def test_unregistered_dialects_are_for_the_generic_form() -> None:
    assert parse('"t.x"() : () -> ()', LENIENT).operations[0].name == "t.x"
    (fault,) = faults("t.x", lenient=True)
    assert fault.message == "'t.x' is not registered: write it in generic form"
    # A registered dialect's unknown operations stay unknown.
    (fault,) = faults('"nn.x"() : () -> ()', lenient=True)
    assert fault.message.startswith("unknown operation 'nn.x'")


def test_the_parser_is_sound_after_an_error() -> None:
    for text in ('"t.x"() ({', "module {{", '"t.x"() {a = [[[', "func.func @f(%x: f32"):
        faults(text, lenient=True)
        assert len(parse('"t.x"() {a = [[1 : i8]]} : () -> ()', LENIENT).operations) == 1


def test_types_on_their_own() -> None:
    with pytest.raises(DiagnosticError) as caught:
        parser_for(CONTEXT).parse_type("tensor<2xf33>")
    (fault,) = caught.value.diagnostics
    assert str(fault.location) == '"<type>":1:10'
    assert fault.message == "unknown type or attribute 'f33'"


TOKENS = (
    '%x %x:2 = nn.relu "t.x" ( ) { } [ ] < > : , -> tensor<2xf32> dense<1.0> value= 1 1.5 "s" '
    "@f ^bb0 loc( module func.func attributes !quant.uniform<i8:f32,0.5> i8 ()->() \n - é"
)
tokens = st.sampled_from(TOKENS.split(" "))


@given(st.lists(tokens, max_size=12).map(" ".join))
@example('"t.x" ( ) : () -> ()')
def test_any_text_parses_or_is_refused_at_a_place(text: str) -> None:
    try:
        parse(text, LENIENT, "f.ir")
    except DiagnosticError as error:
        for diagnostic in error.diagnostics:
            position = diagnostic.location.file_position()
            assert position is not None and position.file == "f.ir"
            assert 1 <= position.line <= text.count("\n") + 1
