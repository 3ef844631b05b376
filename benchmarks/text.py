"""Parsing, printing and verifying, beside xDSL's parser on the same text."""

from __future__ import annotations

import importlib.util
import random
import time
from collections.abc import Iterator
from functools import partial

from measure import Row, best_seconds

from nvdla_ir.dialects import default_context
from nvdla_ir.ir.verifier import verify
from nvdla_ir.text.parser import parse
from nvdla_ir.text.printer import PrintOptions, print_operations

_CUBE = "tensor<1x64x56x56xf32>"


def generic_module(count: int) -> str:
    """A function of ``count`` mixed operations in generic form, some 180 bytes each."""
    pick = random.Random(1)
    lines = [
        '"builtin.module"() ({',
        f'  "func.func"() <{{sym_name = "main", function_type = ({_CUBE}) -> {_CUBE}}}> ({{',
        f"  ^bb0(%x: {_CUBE}):",
    ]
    cubes = ["%x"]
    for index in range(count):
        name = f"%{index}"
        recent = cubes[-20:]
        kind = index % 5
        if kind == 0:
            lines.append(
                f'    {name} = "nn.constant"() <{{value = dense_resource<conv{index}.weight> : '
                f'tensor<64x64x3x3xf32>}}> {{nvdla_ir.note = "weights of layer {index}, as trained'
                f'"}} : () -> tensor<64x64x3x3xf32>'
            )
            weight = name
            continue
        source = pick.choice(recent)
        if kind == 1:
            lines.append(
                f'    {name} = "nn.conv"({source}, {weight}) <{{strides = [1, 1], pads = '
                f'[1, 1, 1, 1], groups = 1, layers = ["conv{index}"]}}> : '
                f"({_CUBE}, tensor<64x64x3x3xf32>) -> {_CUBE}"
            )
        elif kind == 2:
            lines.append(
                f'    {name} = "nn.add"({source}, {pick.choice(recent)}) <{{layers = '
                f'["res{index}_branch2a", "res{index}"]}}> {{scale = 0.{index}25 : f32}} : '
                f"({_CUBE}, {_CUBE}) -> {_CUBE}"
            )
        elif kind == 3:
            lines.append(
                f'    {name} = "nn.relu"({source}) <{{layers = ["relu{index}"]}}> '
                f'{{nvdla_ir.note = {{first = {index}, second = "two", third = true}}}} : '
                f"({_CUBE}) -> {_CUBE}"
            )
        else:
            lines.append(
                f'    {name} = "nn.max_pool"({source}) <{{kernel = [3, 3], strides = [1, 1], pads '
                f'= [1, 1, 1, 1], layers = ["pool{index}"]}}> {{epsilon = 1.0e-05}} : '
                f"({_CUBE}) -> {_CUBE}"
            )
        cubes.append(name)
    lines += [
        f'    "func.return"({cubes[-1]}) : ({_CUBE}) -> ()',
        "  }) : () -> ()",
        "}) : () -> ()",
    ]
    return "\n".join(lines) + "\n"


def rows() -> Iterator[Row]:
    rates: dict[int, float] = {}
    for count in (5_000, 50_000):
        text = generic_module(count)
        context = default_context()
        parse("module {}", context)  # builds the grammar
        operations = parse(text, context).operations
        rates[count] = count / best_seconds(partial(parse, text, context), time.process_time)
        target = 4_000.0 if count == 5_000 else None
        yield Row("text", f"parse {count:,} ops", rates[count], "ops/s", target)
        if count == 5_000:
            yield Row("text", "bytes an op", len(text) / count, "bytes")
            yield from _printing(operations, count)
            yield from _beside_xdsl(text, count, rates[count])
    yield Row("text", "rate at 50,000 over 5,000 ops", rates[50_000] / rates[5_000], "", 0.8)


def _printing(operations: list, count: int) -> Iterator[Row]:
    options = PrintOptions(generic=True)
    seconds = best_seconds(lambda: print_operations(operations, options), time.process_time, 5)
    yield Row("text", "print generic", count / seconds, "ops/s", 60_000)
    seconds = best_seconds(lambda: print_operations(operations), time.process_time, 5)
    yield Row("text", "print pretty", count / seconds, "ops/s", 60_000)
    seconds = best_seconds(lambda: verify(operations[0]), time.process_time, 5)
    yield Row("text", "verify", count / seconds, "ops/s", 100_000)


def _beside_xdsl(text: str, count: int, ours: float) -> Iterator[Row]:
    if importlib.util.find_spec("xdsl") is None:
        print("xdsl is not installed: the comparison is skipped")
        return
    from xdsl.context import Context
    from xdsl.dialects.builtin import Builtin
    from xdsl.dialects.func import Func
    from xdsl.parser import Parser

    def parse_with_xdsl() -> None:
        context = Context(allow_unregistered=True)
        context.load_dialect(Builtin)
        context.load_dialect(Func)
        Parser(context, text).parse_module()

    theirs = count / best_seconds(parse_with_xdsl, time.process_time)
    yield Row("text", "parse with xDSL", theirs, "ops/s")
    yield Row("text", "parse, ours over xDSL's", ours / theirs, "times", 2.5)
