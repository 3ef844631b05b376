"""Random small modules: this parser and LLVM's mlir-opt accept the same texts, and what is printed
here means to mlir-opt what the text meant.

Skipped where mlir-opt (Debian: mlir-19-tools) is not installed.
"""

from __future__ import annotations

import random
import re
import shutil
import subprocess

import pytest

from nvdla_ir.dialects import default_context
from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.location import FileLineCol
from nvdla_ir.ir.verifier import verify
from nvdla_ir.text.parser import parse
from nvdla_ir.text.printer import PrintOptions, print_operation

MLIR_OPT = shutil.which("mlir-opt-19") or shutil.which("mlir-opt")
pytestmark = pytest.mark.skipif(MLIR_OPT is None, reason="mlir-opt is not installed")

SEPARATOR = "\n// -----\n"
COUNT = 200
PRETTY, GENERIC = PrintOptions(locations=True), PrintOptions(generic=True, locations=True)

TYPES = [
    "i8", "ui8", "si16", "i1", "i33", "f32", "f16", "bf16", "f64", "index", "none",
    "tensor<1x3x4x4xf32>", "tensor<f32>", "tensor<?x2xi8>", "tensor<0xf16>", "(i8) -> ()",
    "(f32, i1) -> (f32, i8)", "() -> i8", "!u.t", "!u.t<a, \"b\">", "!quant.uniform<i8:f32, 0.5>",
    "tensor<2x!quant.uniform<i8:f32, 0.25:3>>", "tensor<2x!u.t<x>>",
    "!quant.uniform<i8:f32:0, {0.5,0.25}>", "!quant.calibrated<f32<-1.0:1.0>>",
]  # fmt: skip
VALUES = [
    "1", "-5 : i8", "255 : ui8", "0x7F : i8", "true", "false", "unit", "1.5", "-0.0 : f16",
    "0x7FC00000 : f32", "1.0e+30", "3 : index", '"text"', r'"a\"b\\\n\C3\A9"', '"typed" : i8',
    "@f", '@"a b"', "@a::@b", "[]", "[1, 2]", '["x", 1.0]', "{}", "dense<1> : tensor<2xi8>",
    "dense<[[1, 2], [3, 4]]> : tensor<2x2xi16>", "dense<> : tensor<0xf32>",
    "dense<[1.0, 0x7F800000]> : tensor<2xf32>", 'dense<"0x0102"> : tensor<2xi8>',
    "dense<true> : tensor<3xi1>", "array<i8>", "array<i32: 1, -2>", "array<f32: 1.0>",
    "array<i1: true, false>", "#u.x", '#u.x<"y" -> z>', "affine", "#a", "!t", "i8",
]  # fmt: skip
LOCATIONS = [
    "", "", "", ' loc("f":1:2)', ' loc("n")', ' loc("n"("f":3:4))', " loc(unknown)",
    ' loc(fused["a", "b"])', ' loc(fused<"m">["a":1:1])', ' loc(callsite("a" at "b":1:1))',
    " loc(#l)",
]  # fmt: skip
FAULTS = ["<", ">", "{", "}", ",", ":", '"', "(", ")", "[", "]", "%9", "@", "#", "!", "=", "-> i8"]


class Writer:
    """One random text."""

    def __init__(self, seed: int) -> None:
        self.pick = random.Random(seed)
        self.count = 0
        self.values: list[tuple[str, str]] = []

    def text(self) -> str:
        pick = self.pick
        aliases = ['#a = [1 : i8, "x"]', "!t = tensor<2xi8>", '#l = loc("alias":7:7)']
        body = self.operations(2)
        if pick.random() < 0.5:
            body = f"module{pick.choice(['', ' @m'])} {{\n{body}}}{self.location()}\n"
        text = "\n".join([*aliases, body])
        if pick.random() < 0.25:
            at = pick.randrange(len(text))
            text = text[:at] + pick.choice(FAULTS) + text[at + pick.randrange(2) :]
        return text

    def space(self) -> str:
        return self.pick.choice([" ", " ", " ", "  ", "\n  ", " // note\n"])

    def operations(self, depth: int) -> str:
        known = len(self.values)
        found = "".join(self.operation(depth) for _ in range(self.pick.randrange(1, 4)))
        del self.values[known:]
        return found

    def operation(self, depth: int) -> str:
        pick = self.pick
        if depth and pick.random() < 0.15:
            return self.function(depth)
        operands = pick.sample(self.values, min(len(self.values), pick.randrange(3)))
        results = [self.type() for _ in range(pick.choice([0, 1, 1, 2]))]
        name = f"%{pick.choice(['v', '_', ''])}{self.count}"
        self.count += 1
        if name == "%_":
            name = "%_x"
        head = ""
        if len(results) == 1:
            head = f"{name} ="
        elif results:
            head = f"{name}:{len(results)} ="
        text = f'{head}{self.space()}"u.{pick.choice("abc")}"({", ".join(v for v, _ in operands)})'
        if pick.random() < 0.3:
            text += f"{self.space()}<{self.dictionary()}>"
        if depth and pick.random() < 0.3:
            regions = [self.region(depth - 1) for _ in range(pick.randrange(1, 3))]
            text += f" ({', '.join(regions)})"
        if pick.random() < 0.5:
            text += f"{self.space()}{self.dictionary()}"
        types = ", ".join(type for _, type in operands)
        made = results[0] if len(results) == 1 and results[0][0] != "(" else None
        text += f"{self.space()}: ({types}) -> {made or '(' + ', '.join(results) + ')'}"
        if len(results) == 1:
            self.values.append((name, results[0]))
        for index, type in enumerate(results if len(results) > 1 else []):
            self.values.append((f"{name}#{index}", type))
        return f"{text}{self.location()}\n"

    def region(self, depth: int) -> str:
        pick = self.pick
        if pick.random() < 0.2:
            return "{}"
        known = len(self.values)
        label = ""
        if pick.random() < 0.5:
            self.count += 1
            arguments = [(f"%a{self.count}_{i}", self.type()) for i in range(pick.randrange(3))]
            self.values += arguments
            listed = ", ".join(f"{v}: {type}{self.location()}" for v, type in arguments)
            label = f"^bb0({listed}):\n" if arguments else "^bb0:\n"
        body = self.operations(depth)
        del self.values[known:]
        return f"{{{self.space()}{label}{body}}}"

    def function(self, depth: int) -> str:
        pick = self.pick
        self.count += 1
        outside, self.values = self.values, []
        name = f"@f{self.count}"
        private = pick.random() < 0.5
        type = self.type()
        if private and pick.random() < 0.5:
            text = f"func.func private {name}({type}) -> {pick.choice([type, f'({type})'])}"
            text = text if type[0] != "(" else f"func.func private {name}()"
        else:
            self.values = [("%x", type)]
            attributes = f" attributes {self.dictionary()}" if pick.random() < 0.3 else ""
            place = pick.choice(["", ' loc("arg")'])
            body = self.operations(depth - 1)
            text = (
                f"func.func {'private ' if private else ''}{name}(%x: {type}{place}) -> "
                f"({type}){attributes} {{\n{body}return %x : {type}\n}}"
            )
        self.values = outside
        return f"{text}{self.location()}\n"

    def dictionary(self) -> str:
        keys = self.pick.sample(
            ["k", "u.key", '"quoted"', '"a b"', "_x", "z$"], self.pick.randrange(4)
        )
        entries = [
            key if self.pick.random() < 0.1 else f"{key}{self.pick.choice([' = ', '='])}{value}"
            for key, value in ((key, self.value()) for key in keys)
        ]
        return f"{{{f',{self.space()}'.join(entries)}}}"

    def value(self) -> str:
        pick = self.pick
        chosen = pick.random()
        if chosen < 0.15:
            return f"[{', '.join(self.value() for _ in range(pick.randrange(3)))}]"
        if chosen < 0.25:
            return self.dictionary()
        return pick.choice(VALUES) if chosen < 0.8 else self.type()

    def type(self) -> str:
        return self.pick.choice(TYPES)

    def location(self) -> str:
        return self.pick.choice(LOCATIONS)


def printed_by_mlir(texts: list[str]) -> list[str]:
    """What mlir-opt prints of each in its generic form, with locations; nothing where it refuses
    it."""
    flags = ["--allow-unregistered-dialect", "--split-input-file", "--mlir-print-op-generic"]
    places = ["--mlir-print-debuginfo", "--mlir-print-local-scope"]
    done = subprocess.run(
        [str(MLIR_OPT), *flags, *places, "-"],
        input=SEPARATOR.join(texts),
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.sub(r'"within split at <stdin>:\d+ offset "', '"f"', done.stdout)
    found = found.replace(" <{}>", "")  # as without
    parts = found.split(SEPARATOR.lstrip())
    assert len(parts) == len(texts), done.stderr[-2000:]
    return parts


def read(text: str) -> ModuleOp:
    """What ``text`` says, where it follows a separator. Raises: DiagnosticError"""
    context = default_context(allow_unregistered=True)
    operations = parse(f"\n{text}", context, "f").operations
    if len(operations) == 1 and isinstance(operations[0], ModuleOp):
        module = operations[0]
    else:
        module = ModuleOp.of(operations)
        module.location = FileLineCol("f", 0, 0)
    verify(module)
    return module


@pytest.fixture(scope="module")
def modules() -> list[tuple[str, ModuleOp | str, str]]:
    """Random texts, what they are here, or what is wrong with them, and what mlir-opt prints."""
    texts = [Writer(seed).text() for seed in range(COUNT)]
    found: list[tuple[str, ModuleOp | str, str]] = []
    # Nothing stands before the first text.
    for text, theirs in zip(texts, printed_by_mlir(["", *texts])[1:], strict=True):
        try:
            found.append((text, read(text), theirs))
        except DiagnosticError as error:
            found.append((text, error.diagnostics[0].message, theirs))
    return found


Modules = list[tuple[str, "ModuleOp | str", str]]


def test_the_same_texts_are_accepted(modules: Modules) -> None:
    differing = [
        f"{ours if isinstance(ours, str) else 'refused by mlir-opt'}:\n{text}"
        for text, ours, theirs in modules
        if isinstance(ours, str) == bool(theirs.strip())
    ]
    assert not differing, "\n".join(differing)
    refused = sum(isinstance(ours, str) for _, ours, _ in modules)
    assert COUNT // 10 < refused < COUNT // 2


@pytest.mark.parametrize("again", [False, True], ids=["printed", "printed pretty and read"])
def test_what_is_printed_means_the_same(modules: Modules, again: bool) -> None:
    pairs = [(ours, theirs) for _, ours, theirs in modules if isinstance(ours, ModuleOp)]
    texts = [print_operation(ours, PRETTY) if again else "" for ours, _ in pairs]
    sources = [read(text) for text in texts] if again else [ours for ours, _ in pairs]
    printed = printed_by_mlir([print_operation(source, GENERIC) for source in sources])
    for ours, (_, theirs) in zip(printed, pairs, strict=True):
        assert ours.strip() == theirs.strip()
