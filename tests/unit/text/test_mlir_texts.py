"""Texts that MLIR accepts come out as they went in, texts that it refuses are refused.

Where LLVM's mlir-opt (Debian: mlir-19-tools) is installed it judges both; elsewhere the lists here
say what it said."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from nvdla_ir.dialects import default_context
from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.ir.attributes import Attribute, DenseElementsAttr, FloatAttr, SymbolRefAttr
from nvdla_ir.ir.diagnostics import DiagnosticCollector, DiagnosticError, Severity
from nvdla_ir.ir.operation import Operation, UnregisteredOp
from nvdla_ir.ir.verifier import verify
from nvdla_ir.text.parser import parse
from nvdla_ir.text.printer import PrintOptions, print_operations
from nvdla_ir.tools.module_files import load_module, text_with_resources

MLIR_OPT = shutil.which("mlir-opt-19") or shutil.which("mlir-opt")
needs_mlir_opt = pytest.mark.skipif(MLIR_OPT is None, reason="mlir-opt is not installed")


def with_attribute(value: str) -> str:
    return f'"u.a"() {{v = {value}}} : () -> ()'


VALUES = [
    # bytes
    'dense<"0x0102030405060708"> : tensor<8xi8>',
    'dense<"0xFE"> : tensor<8xsi8>',
    'dense<"0xFEFF01"> : tensor<3xui8>',
    'dense<"0x0100FFFF"> : tensor<2xi16>',
    'dense<"0x01000200FFFF"> : tensor<3xui16>',
    'dense<"0x010203FFFFFF"> : tensor<2xi24>',
    'dense<"0x01000000FEFFFFFF"> : tensor<2xi32>',
    'dense<"0x0100000000000000"> : tensor<2xi64>',
    'dense<"0x0100000000000000FFFFFFFFFFFFFFFF"> : tensor<2xindex>',
    'dense<"0x01000000000000000000000000000080"> : tensor<1xi128>',
    'dense<"0x0A0B"> : tensor<2xi4>',
    'dense<"0x05"> : tensor<4xi1>',
    'dense<"0xFF01"> : tensor<9xi1>',
    'dense<"0xFF"> : tensor<9xi1>',
    'dense<"0x00"> : tensor<9xi1>',
    'dense<"0x01"> : tensor<1xi1>',
    'dense<"0x007C003C00FC01FE"> : tensor<4xf16>',
    'dense<"0x807F0100C0FF"> : tensor<3xbf16>',
    'dense<"0x0000803F000080FF010080FF0000C07F"> : tensor<2x2xf32>',
    'dense<"0x0000803F"> : tensor<2x2xf32>',
    'dense<"0x0000803F"> : tensor<f32>',
    'dense<"0x000000000000F0FF010000000000F87F"> : tensor<2xf64>',
    'dense<"0x"> : tensor<0xi8>',
    # strings with a type
    '"typed" : i8',
    '["typed" : tensor<2xi8>, "x" : none]',
    '"typed" : (i8) -> ()',
    # floats by their bits
    "0x4CEB79A3 : f32",
    "0x7F800000 : f32",
    "0xFF800000 : f32",
    "0x7FC00001 : f32",
    "0x7F800001 : f32",
    "0x80000000 : f32",
    "0x00000001 : f32",
    "0xFF80 : bf16",
    "0x0001 : bf16",
    "0x7E00 : f16",
    "0x0001 : f16",
    "0x7FF0000000000000 : f64",
    "0x7FF8000000000123 : f64",
    "0x1F",
    "-0x10 : i8",
    "dense<0x4CEB79A3> : tensor<2xf32>",
    "dense<[0x7F800000, 1.0]> : tensor<2xf32>",
    "array<f32: 0x7F800000, -0.0>",
    # integers and booleans
    "array<i1: true, false>",
    "array<i8: 0x10, -1>",
    "array<i32>",
    "dense<[true, false]> : tensor<2xi1>",
    "dense<255> : tensor<2xi8>",
    # symbols
    '@a::@b::@"c d"',
    '@"a::b"',
    # strings
    r'"é\C3\A9\n\t\\ \" \00 😀"',
    # dialects that are not known
    '#u.x<"y"> : i32',
    "#u<q w>",
    "!u<q w>",
    "!u.x<[({->})]>",
    "!u.x<->>",
    r'!u.x<">", "\"">',
    "!u.x<() -> i32>",
    "((i32) -> i32, !u.f<() -> ()>) -> ((i1) -> i1)",
    # locations
    'loc("f":1:2)',
    "loc(unknown)",
]

TEXTS = [
    *map(with_attribute, VALUES),
    # properties beside attributes
    '"u.a"() <{k = 1 : i32}> {k = 2 : i32} : () -> ()',
    '"u.a"() <{k = 1 : i32}> : () -> ()',
    '"u.a"() {"k\\n" = 1, "1" = 2} : () -> ()',
    # regions
    '"u.a"() ({\n}) : () -> ()',
    '"u.a"() ({\n^bb0:\n}) : () -> ()',
    '"u.a"() ({}, {^bb0:}, {^bb0(%x: i32):}) : () -> ()',
    '"u.a"() ({"u.b"() : () -> ()\n^a: "u.c"() : () -> ()}) : () -> ()',
    '"u.a"() ({^a: "u.b"() ({^a: "u.c"() : () -> ()}) : () -> ()}) : () -> ()',
    '%0:2, %b = "u.a"() : () -> (i32, i8, i1)\n"u.b"(%0#1, %0#0, %b) : (i8, i32, i1) -> ()',
    # symbols, modules, functions
    "module @a {\n  module @b {\n    func.func private @f()\n  }\n}",
    'module attributes {sym_visibility = "private", u.x = 2} {}',
    "func.func private @f(tensor<4xf32> {u.x = 1}, i32) -> (i32 {u.y}) attributes {u.z}",
    "func.func private @f(%a: i32, %b: i32)",
    "func.func nested @f(i32)",
    "func.func public @f() {\n  return\n}",
    "func.func @g(%x: i32) -> i32 {\n  return %x : i32\n}",
    "func.func @g(%x: i32 {u.k}, %y: i8) -> (i8, i32) {\n  func.return %y, %x : i8, i32\n}",
    '"func.func"() <{sym_name = "f", function_type = () -> (), sym_visibility = "private"}> ({'
    "}) : () -> ()",
    # locations
    '"u.a"() : () -> () loc("n"("f":0:0))',
    '"u.a"() : () -> () loc(callsite("f"("x.c":1:2) at "y":3:4))',
    '"u.a"() : () -> () loc(fused<"m">["x", "y":1:2])',
    '"u.a"() : () -> () loc(fused<{a = [1, #u.b<"]">]}>["x", fused<2>["y", "z"]])',
    '"u.a"() ({\n^bb0(%x: i32 loc("q")):\n}) : () -> () loc("f":1:2)',
    '"u.a"() ({\n^bb0(%x: i32 loc(#l)):\n}) : () -> () loc(#l2)\n'
    '#l = loc("f":1:2)\n#l2 = loc(callsite(#l at #l))',
    '#l = loc("f":1:2)\n#l2 = loc("n"(#l))\n#l3 = loc(callsite(#l at #l2))\n'
    '"u.a"() {l = #l2} : () -> () loc(fused<#l3>[#l, #l3])',
    # aliases
    '!t = i32\n%0 = "u.a"() {a = tensor<2x!t>, b = (!t) -> !t} : () -> !t',
    '!f = (i32) -> i32\n%0 = "u.a"() {a = !f} : () -> !f',
    '!0 = i32\n#0 = 1 : i8\n"u.a"() {a = !0, b = #0} : () -> ()',
    '#a = [1, 2.0, "x"]\n#b = {x = #a}\n"u.a"() {a = #b, b = [#a, #a]} : () -> ()',
    '#a = dense<1> : tensor<2xi8>\n"u.a"() {a = #a} : () -> ()',
    '#d = #u.x<"y">\n"u.a"() {a = #d} : () -> ()',
    # functions as values
    "func.func @f(%x: (i8) -> (), %y: i1) -> ((i8) -> ()) {\n  return %x : (i8) -> ()\n}",
    "func.func private @f((i8) -> (), i1) -> ((i8) -> ())",
    '"u.a"() ({\n^bb0(%x: (i8) -> (i8, i1)):\n  "u.b"() : () -> ()\n}) : () -> ()',
    # resources
    '"u.a"() {a = dense_resource<k> : tensor<1xi8>} : () -> ()\n'
    '{-# dialect_resources: {builtin: {k: "0x0100000001"}} #-}',
]

REFUSED = [
    *map(
        with_attribute,
        [
            "!quant.uniform<i33:f32, 0.5>",
            "!quant.uniform<i99999999999:f32, 0.5>",
            "!quant.uniform<i8:f32:1.0, {0.5,0.25}>",
            "!quant.uniform<i8:f32, 0.5:1.0>",
            "!quant.uniform<i8<-128.0:127>:f32, 0.5>",
            "dense<true> : tensor<1xi16>",
            "dense<true> : tensor<1xf32>",
            "dense<2> : tensor<1xi1>",
            "dense<256> : tensor<2xi8>",
            "array<i7: 1>",
            "array<f32: 1>",
            "+5 : i32",
            "[+5]",
            "dense<+5> : tensor<1xi8>",
            "!u.x<(>",
            "!u.x<[)>",
            "#u.x<{]>",
            "!u.x<a> b>",
            'dense<"0x01"> : tensor<9xi1>',
            'dense<"0x010203"> : tensor<2xi16>',
            'dense<"0x0"> : tensor<1xi8>',
            'dense<"01"> : tensor<1xi8>',
            'dense<"0xGG"> : tensor<1xi8>',
            'dense<""> : tensor<0xi8>',
            "0x1FFFFFFFF : f32",
            "0x10000 : bf16",
            "-0x7F800000 : f32",
            "dense<[1.0, -0x7F800000]> : tensor<2xf32>",
            "5 : f32",
            "1.0 : i32",
            "1 : none",
            "1 : tensor<2xi8>",
            "-1 : ui8",
            r'"\q"',
        ],
    ),
    '"u.a"() {"" = 1} : () -> ()',
    '"u.a"() {""} : () -> ()',
    '"" () : () -> ()',
    '%0a = "u.a"() : () -> i32',
    '"u.a"() ({\n^a:\n  "u.y"() : () -> ()\n^a:\n  "u.z"() : () -> ()\n}) : () -> ()',
    "module attributes {x = 1} {}",
    '"builtin.module"() ({}) : () -> ()',
    "func.func @f()",
    "func.func public @f()",
    "func.func @f() {}",
    "func.func other @f()",
    "func.func private @f(%a: i32, i32)",
    "func.func private @f(i32 {k = 1})",
    "func.func private @a::@b()",
    "func.func @g(%x: i32) -> i32 {\n  return %x : i8\n}",
    '"u.a"() : () -> () loc(#nope)',
    '#l = 1\n"u.a"() : () -> () loc(#l)',
    '#l2 = loc("n"(#l))\n#l = loc("f":1:2)',
    '#l = loc("f":1:2)\n#l = loc("g":1:2)',
    "!t = i32\n!t = i64",
    '"u.a"() {a = !t} : () -> ()\n!t = i32',
    '"u.a"() {a = #a} : () -> ()\n#a = 1',
    "func.func @f() {\n  func.func private @g()\n  return\n}",
    "!a.b = i32",
    "#a.b = 1",
    "!t = 1",
    '#a = 5\n"u.a"() {a = #a : i8} : () -> ()',
    '"u.a"() : () -> ()\n{-# dialect_resources: {builtin: {k: "0x04"}} #-}',
    '"u.a"() : () -> ()\n{-# dialect_resources: {builtin: {k: "0x030000000102"}} #-}',
    '"u.a"() : () -> ()\n{-# dialect_resources: {builtin: {k: "04000000"}} #-}',
]

FORMS = [PrintOptions(generic=generic, locations=True) for generic in (False, True)]


def read(text: str) -> list[Operation]:
    operations = parse(text, default_context(allow_unregistered=True), "f.mlir").operations
    module = ModuleOp.of(operations)
    verify(module)
    return list(module.body.operations)


def value_of(value: str) -> Attribute:
    return read(with_attribute(value))[0].attributes["v"]


def test_a_resource_keeps_its_alignment() -> None:
    text = (
        '"u.a"() {a = dense_resource<k> : tensor<1xi8>} : () -> ()\n'
        '{-# dialect_resources: {builtin: {k: "0x4000000001"}} #-}'
    )
    loaded = load_module(text, "f.mlir", Path(), default_context(allow_unregistered=True))
    printed = text_with_resources(loaded.module, loaded.resources, PrintOptions())
    assert 'k: "0x4000000001"' in printed


def test_what_a_section_has_besides_is_told() -> None:
    text = (
        '"u.a"() : () -> ()\n{-# external_resources: {\n'
        '  other: {a: "0x01000000FF", b: true},\n'
        '  mlir_reproducer: {pipeline: "builtin.module(p)", verify_each: true, more: "x"}} #-}'
    )
    diagnostics = DiagnosticCollector()
    context = default_context(allow_unregistered=True)
    parsed = parse(text, context, "f.mlir", diagnostics)
    assert parsed.reproducer == "builtin.module(p)"
    assert [(d.severity, str(d.location), d.message) for d in diagnostics.diagnostics] == [
        (
            Severity.WARNING,
            '"f.mlir":3:3',
            "resources of 'other' mean nothing here and are left out",
        ),
        (
            Severity.WARNING,
            '"f.mlir":4:71',
            "'more' of a reproducer means nothing here and is left out",
        ),
    ]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("options", FORMS, ids=["pretty", "generic"])
def test_printing_and_reading_is_the_identity(text: str, options: PrintOptions) -> None:
    printed = print_operations(read(text), options)
    assert print_operations(read(printed), options) == printed


@pytest.mark.parametrize("text", REFUSED)
def test_what_mlir_refuses_is_refused(text: str) -> None:
    with pytest.raises(DiagnosticError):
        load(text)


def load(text: str) -> str:
    """The generic form of ``text`` as nvdla-opt prints it. Raises: DiagnosticError"""
    loaded = load_module(text, "<stdin>", Path(), default_context(allow_unregistered=True))
    return text_with_resources(loaded.module, loaded.resources, FORMS[1])


def mlir_opt(text: str, *flags: str) -> tuple[int, str]:
    done = subprocess.run(
        [str(MLIR_OPT), "--allow-unregistered-dialect", "--mlir-print-op-generic", *flags, "-"],
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout or done.stderr


@needs_mlir_opt
@pytest.mark.parametrize("text", TEXTS)
def test_mlir_opt_reads_the_same_before_and_after(text: str) -> None:
    status, wanted = mlir_opt(text)
    assert status == 0, wanted
    assert mlir_opt(load(text)) == (0, wanted)
    # What mlir-opt prints has aliases at the top, and locations at the end.
    status, wanted = mlir_opt(text, "--mlir-print-debuginfo")
    assert mlir_opt(load(wanted), "--mlir-print-debuginfo") == (status, wanted)


@needs_mlir_opt
@pytest.mark.parametrize("element", ["i1", "i8", "i32", "f16", "bf16", "f32", "f64", "index"])
def test_large_constants_of_mlir_opt_are_read(element: str) -> None:
    numbers = [index % 2 for index in range(101)]
    if element[0] in "bf":
        numbers = [number + 0.5 for number in numbers]
    text = with_attribute(f"dense<{numbers}> : tensor<101x{element}>")
    status, wanted = mlir_opt(text)
    assert status == 0 and '<"0x' in wanted
    assert mlir_opt(load(wanted)) == mlir_opt(load(text)) == (status, wanted)


@needs_mlir_opt
@pytest.mark.parametrize("text", REFUSED)
def test_mlir_opt_refuses_it_too(text: str) -> None:
    status, _ = mlir_opt(text)
    assert status != 0


# -------------------------------------------------------------- what is meant


@pytest.mark.parametrize(
    ("value", "elements"),
    [
        ('dense<"0x0102030405060708"> : tensor<8xi8>', tuple(range(1, 9))),
        ('dense<"0x05"> : tensor<4xi1>', (1, 0, 1, 0)),
        ('dense<"0xFF"> : tensor<4xi1>', (1,)),
        ('dense<"0xFF"> : tensor<2xi8>', (-1,)),
        ('dense<"0xFF01"> : tensor<2xui8>', (255, 1)),
        ('dense<"0x0A0B"> : tensor<2xi4>', (-6, -5)),
        ('dense<"0x010080FFFFFF"> : tensor<2xi24>', (1 - (1 << 23), -1)),
        ('dense<"0x003C00C0"> : tensor<2xf16>', (1.0, -2.0)),
        ('dense<"0x803F0100"> : tensor<2xbf16>', (1.0, 2.0**-133)),
        ('dense<"0x0000803F000080FF"> : tensor<2xf32>', (1.0, float("-inf"))),
        ("dense<[0x7F800000, 1.0]> : tensor<2xf32>", (float("inf"), 1.0)),
    ],
)
def test_elements(value: str, elements: tuple[float, ...]) -> None:
    found = value_of(value)
    assert isinstance(found, DenseElementsAttr)
    assert found.values == elements


@pytest.mark.parametrize("text", ["0x7FC00001 : f32", "0xFF800001 : f32", "0x7C01 : f16"])
def test_a_nan_keeps_its_bits_and_equals_itself(text: str) -> None:
    found = value_of(text)
    assert isinstance(found, FloatAttr)
    assert str(found) == text
    assert found == value_of(text)
    assert found != value_of("0x7FC00000 : f32")


def test_properties_and_attributes_are_told_apart() -> None:
    (op,) = read('"u.a"() <{k = 1}> {k = 2} : () -> ()')
    assert isinstance(op, UnregisteredOp)
    assert [str(op.properties["k"]), str(op.attributes["k"])] == ["1", "2"]
    copy = op.clone()
    assert print_operations([copy]) == print_operations([op])


def test_a_registered_operation_says_it_once() -> None:
    with pytest.raises(DiagnosticError, match=r"'func\.return' has 'k' in"):
        read('"func.func"() ({"func.return"() <{k = 1}> {k = 2} : () -> ()}) : () -> ()')


def test_a_region_without_a_block_has_none() -> None:
    (op,) = read('"u.a"() ({}, {^bb0:}) : () -> ()')
    assert [len(region.blocks) for region in op.regions] == [0, 1]


def test_nested_symbols() -> None:
    assert value_of("@a:: @b") == SymbolRefAttr("a", ("b",))


def test_aliases_mean_what_their_own_file_says() -> None:
    for type in ("i32", "f32"):
        (op,) = read(f'!t = {type}\n"u.a"() {{a = tensor<2x!t>}} : () -> ()')
        assert str(op.attributes["a"]) == f"tensor<2x{type}>"
    with pytest.raises(DiagnosticError, match="'!t' is not defined before this"):
        read('"u.a"() {a = tensor<2x!t>} : () -> ()')


def test_successors_are_refused_by_name() -> None:
    with pytest.raises(DiagnosticError, match="successors are not supported"):
        read('"u.a"() ({"u.br"()[^b] : () -> ()\n^b: "u.c"() : () -> ()}) : () -> ()')
