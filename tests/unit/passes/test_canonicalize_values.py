"""Canonicalization leaves what a network computes as it is: before and after on random, one-signed
and extreme inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from running import module_of, run

from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.func import FuncOp
from nvdla_ir.interp.machine import Machine
from nvdla_ir.ir.types import F32
from nvdla_ir.passes.base import Session
from nvdla_ir.passes.canonicalize import Canonicalize
from nvdla_ir.resources import ResourceStore

T, N = "tensor<2x6x4x4xf32>", "tensor<2x4x4x6xf32>"
CHANNELS = "tensor<6xf32>"
ONE = "tensor<2x6x1x1xf32>"


def splat(name: str, number: float) -> str:
    return f"%{name} = nn.constant value=dense<{number}> : {CHANNELS}"


def outputs(module: ModuleOp, session: Session, x: Any) -> list[Any]:
    function = module.body.first_op
    assert isinstance(function, FuncOp)
    name = function.argument_name(function.body.arguments[0])
    # With an observer each layer is computed alone, in its own order of sums.
    machine = Machine(session.resources, observer=lambda op, results: None)
    return list(machine.run(function, {name: x}).values())


def check(body: str, expected: list[str], argument: str = T, *, exact: bool = True) -> ModuleOp:
    """The operations that are left, constants apart, and that they compute the same."""
    lines = [line.strip() for line in body.strip().splitlines()]
    last, type_ = lines[-1].split(" = ")[0], lines[-1].rsplit(" -> ", 1)[-1]
    # Each layer is named after its value.
    named = [_with_layer(line) for line in lines]
    text = f"func.func @main(%x: {argument}) -> {type_} {{\n" + "\n".join(named)
    module = module_of(f"{text}\n  func.return {last}\n}}")
    session = Session(ResourceStore())
    rng = np.random.default_rng(0)
    for op in list(module.walk()):
        if op.name == "nn.constant" and "random" in str(op.attributes["value"]):
            shape = op.results[0].type.static_shape  # type: ignore[union-attr]
            array = rng.normal(size=shape).astype(np.float32)
            op.attributes["value"] = session.resources.attribute_for("w", array, F32)
    shape = tuple(int(n) for n in argument[len("tensor<") :].split("x")[:-1])
    inputs = [rng.normal(size=shape) * 3, np.abs(rng.normal(size=shape)), -rng.random(shape) * 9]
    inputs += [np.zeros(shape), np.full(shape, 20.0), np.full(shape, -20.0)]
    arrays = [x.astype(np.float32) for x in inputs]
    before = [outputs(module, session, x) for x in arrays]
    run(Canonicalize(), module, session)
    after = [outputs(module, session, x) for x in arrays]
    main = module.body.first_op
    assert isinstance(main, FuncOp)
    left = [op.name.removeprefix("nn.") for op in main.body.operations]
    assert [name for name in left if name not in ("constant", "func.return")] == expected
    for one, other in zip(before, after, strict=True):
        for a, b in zip(one, other, strict=True):
            if exact:
                np.testing.assert_array_equal(a, b)
            else:
                np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    return module


def _with_layer(line: str) -> str:
    name, _, rest = line.partition(" = ")
    if rest.startswith("nn.constant") or not rest:
        return line
    head, arrow, type_ = rest.rpartition(" -> ")
    return f'{name} = {head} layers=["{name[1:]}"]{arrow}{type_}'


# -------------------------------------------------------------- idioms

SIXTH, HALF, ROOT = 0.1666666716337204, 0.5, 0.7071067690849304
SHIFTED = f"""{splat("three", 3.0)}
%a = nn.bias_add %x, %three -> {T}
%c = nn.clip %a minimum=0.0 maximum=6.0 -> {T}
{splat("sixth", SIXTH)}"""
ERF = f"""{splat("root", ROOT)}
{splat("one", 1.0)}
{splat("half", HALF)}
%s = nn.scale %x, %root -> {T}
%e = nn.erf %s -> {T}
%p = nn.bias_add %e, %one -> {T}"""
TANH = f"""{splat("cubic", 0.044715)}
{splat("root", 0.7978845834732056)}
{splat("one", 1.0)}
{splat("half", HALF)}
%q = nn.mul %x, %x -> {T}
%r = nn.mul %q, %x -> {T}
%s = nn.scale %r, %cubic -> {T}
%t = nn.add %x, %s -> {T}
%u = nn.scale %t, %root -> {T}
%e = nn.tanh %u -> {T}
%p = nn.bias_add %e, %one -> {T}"""


@pytest.mark.parametrize(
    ("body", "expected", "exact"),
    [
        (f"%s = nn.sigmoid %x -> {T}\n%y = nn.mul %x, %s -> {T}", "swish", True),
        (f"%s = nn.sigmoid %x -> {T}\n%y = nn.mul %s, %x -> {T}", "swish", True),
        (
            f"{splat('k', 1.702)}\n%a = nn.scale %x, %k -> {T}\n%s = nn.sigmoid %a -> {T}\n"
            f"%y = nn.mul %x, %s -> {T}",
            "swish",
            True,
        ),
        (
            f"%s = nn.hard_sigmoid %x alpha=0.16666667 -> {T}\n%y = nn.mul %x, %s -> {T}",
            "hard_swish",
            False,
        ),
        (f"{SHIFTED}\n%s = nn.scale %c, %sixth -> {T}", "hard_sigmoid", False),
        (
            f"{SHIFTED}\n%s = nn.scale %c, %sixth -> {T}\n%y = nn.mul %x, %s -> {T}",
            "hard_swish",
            False,
        ),
        (
            f"{SHIFTED}\n%s = nn.mul %c, %x -> {T}\n%y = nn.scale %s, %sixth -> {T}",
            "hard_swish",
            False,
        ),
        (
            f"%a = nn.softplus %x -> {T}\n%s = nn.tanh %a -> {T}\n%y = nn.mul %x, %s -> {T}",
            "mish",
            True,
        ),
        (f"{ERF}\n%m = nn.mul %x, %p -> {T}\n%y = nn.scale %m, %half -> {T}", "gelu", False),
        (f"{ERF}\n%m = nn.scale %x, %half -> {T}\n%y = nn.mul %m, %p -> {T}", "gelu", False),
        (f"{ERF}\n%m = nn.scale %p, %half -> {T}\n%y = nn.mul %m, %x -> {T}", "gelu", False),
        (f"{TANH}\n%m = nn.mul %x, %p -> {T}\n%y = nn.scale %m, %half -> {T}", "gelu", False),
        (f"%a = nn.relu %x -> {T}\n%y = nn.clip %a maximum=6.0 -> {T}", "clip", True),
        (f"%a = nn.clip %x maximum=6.0 -> {T}\n%y = nn.relu %a -> {T}", "clip", True),
        (f"%a = nn.clip %x maximum=-6.0 -> {T}\n%y = nn.relu %a -> {T}", "clip", True),
        (f"%a = nn.clip %x minimum=-1.0 -> {T}\n%y = nn.relu %a -> {T}", "relu", True),
    ],
)
def test_functions_of_several_layers(body: str, expected: str, exact: bool) -> None:
    module = check(body, [expected], exact=exact)
    (op,) = (op for op in module.walk() if op.name == f"nn.{expected}")
    # The last layer names the tensor.
    assert op.layers[-1] == body.splitlines()[-1].split(" = ")[0][1:]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        # Of another tensor, of another number, or with a broadcast.
        (
            f"%a = nn.abs %x -> {T}\n%s = nn.sigmoid %a -> {T}\n%y = nn.mul %x, %s -> {T}",
            ["abs", "sigmoid", "mul"],
        ),
        (
            f"%s = nn.hard_sigmoid %x alpha=0.2 -> {T}\n%y = nn.mul %x, %s -> {T}",
            ["hard_sigmoid", "mul"],
        ),
        (
            f"{ERF}\n{splat('other', 0.25)}\n%m = nn.mul %x, %p -> {T}\n"
            f"%y = nn.scale %m, %other -> {T}",
            ["scale", "erf", "bias_add", "mul", "scale"],
        ),
        (
            f"%a = nn.global_average_pool %x -> tensor<2x6x1x1xf32>\n"
            f"%s = nn.sigmoid %a -> tensor<2x6x1x1xf32>\n%y = nn.mul %x, %s -> {T}",
            ["global_average_pool", "sigmoid", "mul"],
        ),
    ],
)
def test_what_only_looks_like_them(body: str, expected: list[str]) -> None:
    check(body, expected)


def test_a_gate_that_others_read_stays() -> None:
    check(
        f"%s = nn.sigmoid %x -> {T}\n%m = nn.mul %x, %s -> {T}\n%y = nn.add %m, %s -> {T}",
        ["sigmoid", "swish", "add"],
    )


def test_what_is_rounded_between_stays() -> None:
    grid = T.replace("f32", "!nn.fake_quantized<i8:f32, 0.01>")
    check(f"%s = nn.sigmoid %x -> {grid}\n%y = nn.mul %x, %s -> {T}", ["sigmoid", "mul"])


# -------------------------------------------------------------- rearrangements


def shuffled(parts: str, order: Any, result: str) -> str:
    extents = [int(n) for n in parts.split("x")]
    turned = "x".join(str(extents[axis]) for axis in order)
    return (
        f"%a = nn.reshape %x -> tensor<{parts}xf32>\n"
        f"%b = nn.transpose %a permutation={list(order)} -> tensor<{turned}xf32>\n"
        f"%y = nn.reshape %b -> tensor<{result}xf32>"
    )


@pytest.mark.parametrize(
    ("body", "expected", "argument"),
    [
        (shuffled("2x2x3x4x4", (0, 2, 1, 3, 4), "2x6x4x4"), ["channel_shuffle"], T),
        (shuffled("2x3x2x16", (0, 2, 1, 3), "2x6x4x4"), ["channel_shuffle"], T),
        (
            shuffled("2x2x2x3x4x4", (0, 3, 4, 1, 5, 2), "2x3x8x8"),
            ["depth_to_space"],
            "tensor<2x12x4x4xf32>",
        ),
        (
            shuffled("2x3x2x2x4x4", (0, 1, 4, 2, 5, 3), "2x3x8x8"),
            ["depth_to_space"],
            "tensor<2x12x4x4xf32>",
        ),
        (shuffled("2x6x2x2x2x2", (0, 3, 5, 1, 2, 4), "2x24x2x2"), ["space_to_depth"], T),
        (shuffled("2x6x2x2x2x2", (0, 1, 3, 5, 2, 4), "2x24x2x2"), ["space_to_depth"], T),
        # Others are none.
        (
            shuffled("2x2x3x4x4", (0, 2, 1, 4, 3), "2x6x4x4"),
            ["reshape", "transpose", "reshape"],
            T,
        ),
        (
            shuffled("2x6x2x2x2x2", (0, 2, 4, 1, 3, 5), "2x24x2x2"),
            ["reshape", "transpose", "reshape"],
            T,
        ),
        (
            shuffled("4x3x4x4", (0, 1, 3, 2), "2x6x4x4"),
            ["reshape", "transpose", "reshape"],
            T,
        ),
    ],
)
def test_shuffles(body: str, expected: list[str], argument: str) -> None:
    check(body, expected, argument)


CONV = f"""%w = nn.constant value=dense_resource<random> : tensor<6x6x1x1xf32>
%c = nn.conv %x, %w -> {T}"""
TURNED = f"%t = nn.transpose %c permutation=[0, 2, 3, 1] -> {N}"
BACK = f"nn.transpose %p permutation=[0, 3, 1, 2] -> {T}"


@pytest.mark.parametrize(
    ("body", "expected", "argument"),
    [
        # Two that meet.
        (f"{CONV}\n{TURNED}\n%p = nn.relu %t -> {N}\n%y = {BACK}", ["conv", "relu"], T),
        (
            f"{CONV}\n{TURNED}\n%a = nn.tanh %t -> {N}\n%b = nn.relu %t -> {N}\n"
            f"%p = nn.add %a, %b -> {N}\n%y = {BACK}",
            ["conv", "transpose", "tanh", "relu", "add", "transpose"],
            T,
        ),
        # To the output's side.
        (
            f"{CONV}\n{TURNED}\n%y = nn.sigmoid %t -> {N}",
            ["conv", "sigmoid", "transpose"],
            T,
        ),
        (
            f"{CONV}\n{TURNED}\n%y = nn.softmax %t axis=3 -> {N}",
            ["conv", "softmax", "transpose"],
            T,
        ),
        (
            f"{CONV}\n{TURNED}\n%d = nn.global_max_pool %c -> {ONE}\n"
            f"%g = nn.upsample %d scales=[4, 4] -> {T}\n"
            f"%u = nn.transpose %g permutation=[0, 2, 3, 1] -> {N}\n"
            "%y = nn.concat %t, %u axis=3 -> tensor<2x4x4x12xf32>",
            ["conv", "global_max_pool", "upsample", "concat", "transpose"],
            T,
        ),
        # To the input's side.
        (
            f"%p = nn.relu %x -> {N}\n%a = nn.transpose %p permutation=[0, 3, 1, 2] -> {T}\n"
            "%w = nn.constant value=dense_resource<random> : tensor<6x6x1x1xf32>\n"
            f"%y = nn.conv %a, %w -> {T}",
            ["transpose", "relu", "conv"],
            N,
        ),
        # Views of lines between layers.
        (
            f"{CONV}\n%v = nn.reshape %c -> tensor<2x6x16xf32>\n"
            f"%k = nn.constant value=dense_resource<random> : {CHANNELS}\n"
            "%s = nn.scale %v, %k -> tensor<2x6x16xf32>\n%r = nn.relu %s -> tensor<2x6x16xf32>\n"
            f"%y = nn.reshape %r -> {T}",
            ["conv", "scale", "relu"],
            T,
        ),
    ],
)
def test_movements(body: str, expected: list[str], argument: str) -> None:
    check(body, expected, argument, exact="softmax" not in body)


# -------------------------------------------------------------- weights, constants, padding


@pytest.mark.parametrize("view", ["flatten", "reshape"])
def test_fully_connected_behind_a_transpose(view: str) -> None:
    check(
        f"{CONV}\n{TURNED}\n%f = nn.{view} %t -> tensor<2x96xf32>\n"
        "%v = nn.constant value=dense_resource<random> : tensor<5x96xf32>\n"
        "%k = nn.constant value=dense_resource<random> : tensor<5xf32>\n"
        "%y = nn.fully_connected %f, %v, %k -> tensor<2x5xf32>",
        ["conv", "fully_connected"],
        exact=False,
    )


@pytest.mark.parametrize(
    ("operation", "shape", "expected"),
    [
        ("mul", "1x6x1x1", "scale"),
        ("mul", "1x1x1x1", "scale"),
        ("add", "1x6x1x1", "bias_add"),
        ("sub", "1x6x1x1", "bias_add"),
        ("mul", "1x1x4x4", "mul"),
        ("div", "1x6x1x1", "div"),
    ],
)
def test_constants_of_the_channels(operation: str, shape: str, expected: str) -> None:
    check(
        f"%k = nn.constant value=dense_resource<random> : tensor<{shape}xf32>\n"
        f"%y = nn.{operation} %x, %k -> {T}",
        [expected],
    )


@pytest.mark.parametrize(
    ("operation", "number", "expected"),
    [("max", 0.0, "relu"), ("max", -1.5, "clip"), ("min", 6.0, "clip")],
)
def test_constant_limits(operation: str, number: float, expected: str) -> None:
    constant = f"%k = nn.constant value=dense<{number}> : tensor<1x1x1x1xf32>"
    check(f"{constant}\n%y = nn.{operation} %x, %k -> {T}", [expected])


PADDED, INNER = "tensor<2x6x6x5xf32>", "nn.pad %x pads=[1, 0, 1, 1]"
RELU = f"%r = nn.relu %x -> {T}\n%p = nn.pad %r pads=[1, 0, 1, 1] -> {PADDED}"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            f"%p = {INNER} -> {PADDED}\n"
            "%w = nn.constant value=dense_resource<random> : tensor<4x6x3x3xf32>\n"
            "%y = nn.conv %p, %w pads=[0, 1, 0, 0] -> tensor<2x4x4x4xf32>",
            ["conv"],
        ),
        (
            f"%p = {INNER} value=1.0 -> {PADDED}\n"
            "%w = nn.constant value=dense_resource<random> : tensor<4x6x3x3xf32>\n"
            "%y = nn.conv %p, %w -> tensor<2x4x4x3xf32>",
            ["pad", "conv"],
        ),
        (
            f"{RELU}\n%y = nn.max_pool %p kernel=[3, 3] strides=[2, 2] -> tensor<2x6x2x2xf32>",
            ["relu", "max_pool"],
        ),
        # A maximum of negative numbers and zeros is 0.
        (
            f"%p = {INNER} -> {PADDED}\n"
            "%y = nn.max_pool %p kernel=[3, 3] strides=[2, 2] -> tensor<2x6x2x2xf32>",
            ["pad", "max_pool"],
        ),
        (
            f"%p = {INNER} -> {PADDED}\n"
            "%y = nn.average_pool %p kernel=[3, 3] count_include_pad=false -> "
            "tensor<2x6x4x3xf32>",
            ["average_pool"],
        ),
        (
            f"%p = {INNER} -> {PADDED}\n"
            "%y = nn.average_pool %p kernel=[3, 3] pads=[1, 1, 0, 0] count_include_pad=false -> "
            "tensor<2x6x5x4xf32>",
            ["pad", "average_pool"],
        ),
        # Larger than the window.
        (
            f"%p = {INNER} -> {PADDED}\n"
            "%y = nn.average_pool %p kernel=[1, 1] strides=[2, 2] -> tensor<2x6x3x3xf32>",
            ["pad", "average_pool"],
        ),
    ],
)
def test_padding_of_windows(body: str, expected: list[str]) -> None:
    check(body, expected)


@pytest.mark.parametrize(
    "identity",
    [
        f"nn.slice %p size=6 -> {T}",
        f"nn.pad %p pads=[0, 0, 0, 0] -> {T}",
        f"nn.upsample %p scales=[1, 1] -> {T}",
        f"nn.interpolate %p scales=[1, 1] -> {T}",
        f"nn.channel_shuffle %p groups=1 -> {T}",
        f"nn.channel_shuffle %p groups=6 -> {T}",
        f"nn.depth_to_space %p block_size=1 -> {T}",
        f"nn.transpose %p permutation=[0, 1, 2, 3] -> {T}",
        f"nn.clip %p -> {T}",
    ],
)
def test_identities(identity: str) -> None:
    check(f"%p = nn.tanh %x -> {T}\n%y = {identity}\n%z = nn.abs %y -> {T}", ["tanh", "abs"])
