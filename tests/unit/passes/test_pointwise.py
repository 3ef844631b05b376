"""Functions of one element, and of two, on int8: each the rounded function of the numbers that the
codes stand for, and the same bytes as integers, as hardware layers and as registers on every
configuration."""

# IR does not break well.
# ruff: noqa: E501

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from running import module_of, new_session

from nvdla_ir.dialects import nn
from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.func import FuncOp
from nvdla_ir.hw import configuration
from nvdla_ir.interp.machine import Machine, Mode
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.passes.base import Session
from nvdla_ir.passes.decompose_layers import DecomposeLayers
from nvdla_ir.passes.insert_converters import InsertConverters
from nvdla_ir.passes.legalize_to_nvdla import LegalizeToNvdla
from nvdla_ir.passes.pipeline import Pipeline
from nvdla_ir.passes.registry import layers_to_registers
from nvdla_ir.passes.set_target import SetTarget

Array = NDArray[Any]
ALL = np.arange(-128, 128)


def q(scale: float, zero_point: int = 0) -> str:
    at = f":{zero_point}" if zero_point else ""
    return f"!quant.uniform<i8:f32, {scale}{at}>"


def f(scale: float, zero_point: int = 0) -> str:
    """What insert-converters makes that type of."""
    at = f":{zero_point}" if zero_point else ""
    return f"!nn.fake_quantized<i8:f32, {scale}{at}>"


def main_of(module: ModuleOp) -> FuncOp:
    return next(op for op in module.walk() if isinstance(op, FuncOp))


def run(module: ModuleOp, session: Session, inputs: dict[str, Array]) -> Array:
    machine = Machine(session.resources, Mode.INTEGER)
    (result,) = machine.run(main_of(module), inputs).values()
    return result


def codes_of(reals: Array, grid: tuple[float, int]) -> Array:
    """The codes that stand for ``reals``."""
    return np.rint(reals.astype(np.float64) / grid[0] + grid[1]).astype(np.int64)


def rounded(reals: Array, grid: tuple[float, int]) -> Array:
    """The codes nearest to ``reals``, halves away from zero."""
    scaled = reals / grid[0]
    away = np.copysign(np.floor(np.abs(scaled) + 0.5), scaled)
    return np.clip(away + grid[1], -128, 127).astype(np.int64)


OF_EACH_ATOM = ("nv_small", "nv_medium_512", "nv_full")


def levels(
    text: str,
    inputs: dict[str, Array],
    resources: dict[str, Array] | None = None,
    targets: Sequence[str] = configuration.names(),
) -> Array:
    """What the integers make of ``inputs``, the same on every level."""
    expected: Array | None = None
    for target in targets:
        module, session = module_of(text), new_session()
        for key, array in (resources or {}).items():
            session.resources.add(key, array)
        SetTarget(target).run(module, session)
        Pipeline([DecomposeLayers(), InsertConverters()]).run(module, session)
        found = run(module, session, inputs)
        for passes in ([LegalizeToNvdla()], layers_to_registers()):
            Pipeline(passes).run(module, session)
            np.testing.assert_array_equal(
                run(module, session, inputs), found, f"{target}, {passes[-1].name}"
            )
        assert expected is None or np.array_equal(found, expected), target
        expected = found
    assert expected is not None
    return expected


# -------------------------------------------------------------- functions of one element

FUNCTIONS = [
    "nn.clip %x minimum=-0.7 maximum=0.9",
    "nn.clip %x maximum=0.3",
    "nn.leaky_relu %x alpha=0.1",
    "nn.sigmoid %x",
    "nn.hard_swish %x",
    "nn.exp %x",
    "nn.power %x power=2.0 scale=0.5 shift=0.25",
]


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(
    ("source", "result"), [((0.0625, 0), (0.03125, 0)), ((0.031, -128), (0.0117, 90))]
)
def test_functions_are_rounded_exactly(
    function: str, source: tuple[float, int], result: tuple[float, int]
) -> None:
    text = f"""
        func.func @main(%x: tensor<1x3x10x10x{q(*source)}>) -> tensor<1x3x10x10x{f(*result)}> {{
          %y = {function} layers=["f"] -> tensor<1x3x10x10x{f(*result)}>
          func.return %y
        }}"""
    x = np.resize(ALL.astype(np.int8), (1, 3, 10, 10))
    op = next(op for op in module_of(text).walk() if isinstance(op, nn.UnaryOp))
    reals = source[0] * (x.astype(np.float64) - source[1])
    found = codes_of(levels(text, {"x": x}), result)
    np.testing.assert_array_equal(found, rounded(op.function(reals), result))


@pytest.mark.parametrize("rectified", [False, True])
def test_a_root_of_what_is_negative(rectified: bool) -> None:
    """Counts as that of 0; unless nothing negative can come in, a warning says so."""
    function = "nn.abs" if rectified else "nn.max_pool"
    text = f"""
        func.func @main(%x: tensor<1x1x16x16x{q(0.5)}>) -> tensor<1x1x16x16x{f(0.07)}> {{
          %a = {function} %x {"" if rectified else "kernel=[1, 1]"} layers=["a"] -> tensor<1x1x16x16x{f(0.5)}>
          %y = nn.power %a power=0.5 layers=["root"] -> tensor<1x1x16x16x{f(0.07)}>
          func.return %y
        }}"""
    x = ALL.astype(np.int8).reshape(1, 1, 16, 16)
    reals = 0.5 * x.astype(np.float64)
    reals = np.minimum(np.abs(reals), 63.5) if rectified else np.maximum(reals, 0)
    found = codes_of(levels(text, {"x": x}, targets=OF_EACH_ATOM), (0.07, 0))
    np.testing.assert_array_equal(found, rounded(np.sqrt(reals), (0.07, 0)))
    module, session = module_of(text), new_session()
    InsertConverters().run(module, session)
    told = [one.message for one in session.diagnostics.diagnostics if "is no number" in one.message]
    message = (
        "layer 'root' is no number for what some codes of its input stand for, -64 to -0.5: these "
        "count as the nearest for which it is"
    )
    assert told == ([] if rectified else [message])


@pytest.mark.parametrize("zero_points", [(0, 0), (-128, -128), (11, -20)])
def test_normalization_is_within_one_code(zero_points: tuple[int, int]) -> None:
    source, result = (0.05, zero_points[0]), (0.01, zero_points[1])
    text = f"""
        func.func @main(%x: tensor<1x10x4x26x{q(*source)}>) -> tensor<1x10x4x26x{f(*result)}> {{
          %y = nn.lrn %x size=5 alpha=0.5 beta=0.75 k=2.0 layers=["n"] -> tensor<1x10x4x26x{f(*result)}>
          func.return %y
        }}"""
    rng = np.random.default_rng(5)
    x = rng.integers(-128, 128, (1, 10, 4, 26), np.int8)
    x[:, :, 0] = zero_points[0]
    x[:, 4, 0] = ALL[::10]  # one channel alone
    x[:, :, 1] = rng.choice(np.array([-128, 127], np.int8), x[:, :, 1].shape)
    reals = source[0] * (x.astype(np.float64) - source[1])
    squares = np.pad(reals**2, ((0, 0), (2, 2), (0, 0), (0, 0)))
    sums = sum(squares[:, i : i + 10] for i in range(5))
    wanted = reals * (2 + 0.5 / 5 * sums) ** -0.75
    found = codes_of(levels(text, {"x": x}), result)
    assert np.abs(found - rounded(wanted, result)).max() <= 1


def test_slopes_behind_factors_of_zero() -> None:
    text = f"""
        func.func @main(%x: tensor<1x3x16x16x{q(0.03)}>) -> tensor<1x3x16x16x{f(0.02)}> {{
          %s = nn.constant value=dense_resource<s> : tensor<3xf32>
          %y = nn.scale %x, %s layers=["y"] -> tensor<1x3x16x16x!quant.calibrated<f32<-4.0:4.0>>>
          %z = nn.leaky_relu %y alpha=0.25 layers=["z"] -> tensor<1x3x16x16x{f(0.02)}>
          func.return %z
        }}"""
    factors = np.array([0.5, 0, -0.7], np.float32)
    x = np.resize(ALL.astype(np.int8), (1, 3, 16, 16))
    scaled = 0.03 * x.astype(np.float64) * factors.reshape(1, 3, 1, 1)
    wanted = rounded(np.where(scaled < 0, 0.25 * scaled, scaled), (0.02, 0))
    found = codes_of(levels(text, {"x": x}, {"s": factors}, targets=OF_EACH_ATOM), (0.02, 0))
    assert np.abs(found - wanted).max() <= 1
    np.testing.assert_array_equal(found[:, 1], 0)


@pytest.mark.parametrize("size", [1, 4, 20])
def test_normalization_over_other_numbers_of_channels(size: int) -> None:
    """As near as the remark says, beside the rounding."""
    source, result = (0.02, 9), (0.011, -20)
    text = f"""
        func.func @main(%x: tensor<1x10x4x26x{q(*source)}>) -> tensor<1x10x4x26x{f(*result)}> {{
          %y = nn.lrn %x size={size} alpha=0.5 beta=0.75 k=2.0 layers=["n"] -> tensor<1x10x4x26x{f(*result)}>
          func.return %y
        }}"""
    rng = np.random.default_rng(5)
    x = rng.integers(-128, 128, (1, 10, 4, 26), np.int8)
    x[:, :, 1] = rng.choice(np.array([-128, 127], np.int8), x[:, :, 1].shape)
    reals = source[0] * (x.astype(np.float64) - source[1])
    before, behind = (size - 1) // 2, size // 2
    squares = np.pad(reals**2, ((0, 0), (before, behind), (0, 0), (0, 0)))
    sums = sum(squares[:, i : i + 10] for i in range(size))
    wanted = reals * (2 + 0.5 / size * sums) ** -0.75
    module, session = module_of(text), new_session()
    DecomposeLayers().run(module, session)
    (remark,) = session.diagnostics.diagnostics
    bound = float(remark.message.partition("off by up to ")[2].partition(" ")[0])
    assert bound < 4
    found = codes_of(levels(text, {"x": x}, targets=OF_EACH_ATOM), result)
    assert np.abs(found - rounded(wanted, result)).max() <= bound + 0.5


# -------------------------------------------------------------- functions of two elements

BINARY = {
    "nn.add": np.add,
    "nn.sub": np.subtract,
    "nn.mul": np.multiply,
    "nn.max": np.maximum,
    "nn.min": np.minimum,
}
GRIDS: dict[str, tuple[tuple[float, int], tuple[float, int], tuple[float, int]]] = {
    "symmetric": ((0.03, 0), (0.011, 0), (0.04, 0)),
    "of rectified and of both signs": ((0.03, -17), (0.004, -128), (0.0125, 5)),
    "any zero points": ((0.004, -16), (0.03, 44), (0.023, -90)),
}
CHANNEL = "1x19x1x1"
SHAPE = "1x19x3x5"


def pairs(shape: str) -> Array:
    """Int8 of ``shape`` with both ends, and everything between."""
    rng = np.random.default_rng(7)
    x = rng.integers(-128, 128, tuple(map(int, shape.split("x"))), np.int8)
    x[:, ::3] = rng.choice(np.array([-128, 127, 0], np.int8), x[:, ::3].shape)
    return x


def reals_of(codes: Array, grid: tuple[float, int]) -> Array:
    return grid[0] * (codes.astype(np.float64) - grid[1])


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize("grids", GRIDS)
@pytest.mark.parametrize("second", [SHAPE, CHANNEL])
def test_two_tensors(name: str, grids: str, second: str) -> None:
    """Within one code of the rounded reals; half a unit of the second more where a copy moves its
    zero point."""
    a, b, y = GRIDS[grids]
    text = f"""
        func.func @main(%a: tensor<{SHAPE}x{q(*a)}>, %b: tensor<{second}x{q(*b)}>) -> tensor<{SHAPE}x{f(*y)}> {{
          %y = {name} %a, %b layers=["y"] -> tensor<{SHAPE}x{f(*y)}>
          func.return %y
        }}"""
    inputs: dict[str, Array] = {"a": pairs(SHAPE), "b": np.flip(pairs(second), 1)}
    found = codes_of(levels(text, inputs), y)
    wanted = rounded(BINARY[name](reals_of(inputs["a"], a), reals_of(inputs["b"], b)), y)
    assert len(np.unique(found)) > 20
    bound = 1
    if name == "nn.mul" and grids == "any zero points":  # half a unit of the moved one
        reach = a[0] * (128 + abs(a[1]))
        bound += int(reach * b[0] * (127 + abs(b[1])) / 127 / 2 / y[0] + 0.5)
    assert np.abs(found - wanted).max() <= bound


@pytest.mark.parametrize(
    ("name", "second"),
    [("nn.add", "1x1x3x5"), ("nn.mul", "1x19x1x5"), ("nn.max", "1x1x1x1"), ("nn.sub", "1x1x3x1")],
)
def test_a_tensor_that_is_repeated(name: str, second: str) -> None:
    a, b, y = (0.03, -17), (0.011, 7), (0.02, -90)
    text = f"""
        func.func @main(%a: tensor<{SHAPE}x{q(*a)}>, %b: tensor<{second}x{q(*b)}>) -> tensor<{SHAPE}x{f(*y)}> {{
          %y = {name} %a, %b layers=["y"] -> tensor<{SHAPE}x{f(*y)}>
          func.return %y
        }}"""
    inputs: dict[str, Array] = {"a": pairs(SHAPE), "b": np.flip(pairs(second), -1)}
    found = codes_of(levels(text, inputs, targets=OF_EACH_ATOM), y)
    wanted = rounded(BINARY[name](reals_of(inputs["a"], a), reals_of(inputs["b"], b)), y)
    # A product's second operand may be moved to zero point 0: half a unit of it.
    bound = 1 + (name == "nn.mul") * int(0.03 * 145 * 0.011 * 135 / 127 / 2 / y[0] + 0.5)
    assert np.abs(found - wanted).max() <= bound


def test_vectors_and_one_number() -> None:
    a, b, y = (0.03, -17), (0.011, 7), (0.02, -90)
    text = f"""
        func.func @main(%a: tensor<1x19x{q(*a)}>, %b: tensor<1x1x{q(*b)}>) -> tensor<1x19x{f(*y)}> {{
          %y = nn.add %a, %b layers=["y"] -> tensor<1x19x{f(*y)}>
          func.return %y
        }}"""
    x, one = pairs("1x19x1x1").reshape(1, 19), np.array([[-128]], np.int8)
    found = codes_of(levels(text, {"a": x, "b": one}, targets=OF_EACH_ATOM), y)
    assert np.abs(found - rounded(reals_of(x, a) + reals_of(one, b), y)).max() <= 1


def test_quotients_of_tensors() -> None:
    """By reciprocals in 8 bits: as near as the remark says, beside the rounding."""
    a, b, y = (0.03, -17), (0.05, 4), (0.025, 10)
    text = f"""
        func.func @main(%a: tensor<{SHAPE}x{q(*a)}>, %b: tensor<{SHAPE}x{q(*b)}>) -> tensor<{SHAPE}x{f(*y)}> {{
          %d = nn.clip %b minimum=1.5 maximum=6.0 layers=["d"] -> tensor<{SHAPE}x{f(*b)}>
          %y = nn.div %a, %d layers=["y"] -> tensor<{SHAPE}x{f(*y)}>
          func.return %y
        }}"""
    inputs: dict[str, Array] = {"a": pairs(SHAPE), "b": np.flip(pairs(SHAPE), 1)}
    module, session = module_of(text), new_session()
    DecomposeLayers().run(module, session)
    (remark,) = session.diagnostics.diagnostics
    share = float(remark.message.partition("off by up to ")[2].partition(" ")[0])
    assert share < 0.01
    found = codes_of(levels(text, inputs, targets=OF_EACH_ATOM), y)
    denominators = reals_of(rounded(np.clip(reals_of(inputs["b"], b), 1.5, 6.0), b), b)
    quotients = reals_of(inputs["a"], a) / denominators
    far = np.abs(reals_of(found, y) - reals_of(rounded(quotients, y), y))
    assert (far <= share * np.abs(quotients) + 1.01 * y[0]).all()


def test_quotients_by_what_may_be_zero() -> None:
    text = f"""
        func.func @main(%a: tensor<{SHAPE}x{q(0.1)}>, %b: tensor<{SHAPE}x{q(0.1)}>) -> tensor<{SHAPE}x{f(0.1)}> {{
          %y = nn.div %a, %b layers=["y"] -> tensor<{SHAPE}x{f(0.1)}>
          func.return %y
        }}"""
    with pytest.raises(DiagnosticError, match="layer 'y' divides by a tensor"):
        Pipeline([DecomposeLayers(), InsertConverters()]).run(module_of(text), new_session())


RECTIFIERS = {"nn.relu": "", "nn.leaky_relu": "alpha=0.25"}


@pytest.mark.parametrize("rectifier", RECTIFIERS)
@pytest.mark.parametrize("name", ["nn.add", "nn.sub"])
@pytest.mark.parametrize("grids", GRIDS)
def test_rectified_sums(name: str, rectifier: str, grids: str) -> None:
    """In one pass, unless a zero point has no place there: what is between needs no codes."""
    a, b, y = GRIDS[grids]
    between = "!quant.calibrated<f32<-7.5:7.5>>"
    text = f"""
        func.func @main(%a: tensor<{SHAPE}x{q(*a)}>, %b: tensor<{SHAPE}x{q(*b)}>) -> tensor<{SHAPE}x{f(*y)}> {{
          %y = {name} %a, %b layers=["y"] -> tensor<{SHAPE}x{between}>
          %r = {rectifier} %y {RECTIFIERS[rectifier]} layers=["r"] -> tensor<{SHAPE}x{f(*y)}>
          func.return %r
        }}"""
    inputs: dict[str, Array] = {"a": pairs(SHAPE), "b": np.flip(pairs(SHAPE), 1)}
    module = module_of(text)
    InsertConverters().run(module, new_session())
    passes = sum(op.name == "fixed.output_converter" for op in module.walk())
    found = codes_of(levels(text, inputs, targets=("nv_small",)), y)
    sums = BINARY[name](reals_of(inputs["a"], a), reals_of(inputs["b"], b))
    low = 0.25 if rectifier == "nn.leaky_relu" else 0.0
    wanted = rounded(np.where(sums < 0, low * sums, sums), y)
    by_two = (name, grids) == ("nn.sub", "any zero points")
    assert passes == (2 if by_two and rectifier == "nn.relu" else 1)
    assert np.abs(found - wanted).max() <= (2 if by_two else 1)


def test_a_sum_that_the_network_rounds_is_rounded_ahead_of_its_rectifier() -> None:
    a, between, y = (0.05, 0), (0.02, 0), (0.03, -10)
    text = f"""
        func.func @main(%a: tensor<{SHAPE}x{q(*a)}>, %b: tensor<{SHAPE}x{q(*a)}>) -> tensor<{SHAPE}x{f(*y)}> {{
          %y = nn.add %a, %b layers=["y"] -> tensor<{SHAPE}x{f(*between)}>
          %r = nn.relu %y layers=["r"] -> tensor<{SHAPE}x{f(*y)}>
          func.return %r
        }}"""
    inputs: dict[str, Array] = {"a": pairs(SHAPE), "b": np.flip(pairs(SHAPE), 1)}
    sums = rounded(reals_of(inputs["a"], a) + reals_of(inputs["b"], a), between)
    wanted = rounded(np.maximum(reals_of(sums, between), 0), y)
    found = codes_of(levels(text, inputs, targets=("nv_small",)), y)
    np.testing.assert_array_equal(found, wanted)


QUOTIENT = {"nn.div": np.divide}


@pytest.mark.parametrize("name", [*BINARY, *QUOTIENT])
@pytest.mark.parametrize("second", [SHAPE, CHANNEL, "1x1x3x5"])
def test_a_tensor_and_a_constant(name: str, second: str) -> None:
    a, y = (0.03, -17), (0.0225, 5)
    text = f"""
        func.func @main(%a: tensor<{SHAPE}x{q(*a)}>) -> tensor<{SHAPE}x{f(*y)}> {{
          %k = nn.constant value=dense_resource<k> : tensor<{second}xf32>
          %y = {name} %a, %k layers=["y"] -> tensor<{SHAPE}x{f(*y)}>
          func.return %y
        }}"""
    x = pairs(SHAPE)
    k = np.random.default_rng(8).normal(0, 0.7, tuple(map(int, second.split("x"))))
    k = k.astype(np.float32)
    if name in QUOTIENT:
        k = np.copysign(np.abs(k) + 1, k)
    found = codes_of(levels(text, {"a": x}, {"k": k}), y)
    wanted = rounded((BINARY | QUOTIENT)[name](reals_of(x, a), k.astype(np.float64)), y)
    assert len(np.unique(found)) > 20
    assert np.abs(found - wanted).max() <= 1


def test_a_constant_less_a_tensor() -> None:
    a, y = (0.03, -17), (0.0225, 5)
    text = f"""
        func.func @main(%a: tensor<{SHAPE}x{q(*a)}>) -> tensor<{SHAPE}x{f(*y)}> {{
          %k = nn.constant value=dense_resource<k> : tensor<{SHAPE}xf32>
          %y = nn.sub %k, %a layers=["y"] -> tensor<{SHAPE}x{f(*y)}>
          func.return %y
        }}"""
    x = pairs(SHAPE)
    k = np.random.default_rng(8).normal(0, 0.7, x.shape).astype(np.float32)
    found = codes_of(levels(text, {"a": x}, {"k": k}), y)
    assert np.abs(found - rounded(k.astype(np.float64) - reals_of(x, a), y)).max() <= 1


# -------------------------------------------------------------- slopes


@pytest.mark.parametrize("grids", [((0.03, 0), (0.02, 0)), ((0.03, -17), (0.02, 60))])
def test_slopes_a_channel(grids: tuple[tuple[float, int], tuple[float, int]]) -> None:
    a, y = grids
    text = f"""
        func.func @main(%a: tensor<{SHAPE}x{q(*a)}>) -> tensor<{SHAPE}x{f(*y)}> {{
          %k = nn.constant value=dense_resource<k> : tensor<19xf32>
          %y = nn.prelu %a, %k layers=["y"] -> tensor<{SHAPE}x{f(*y)}>
          func.return %y
        }}"""
    x, k = pairs(SHAPE), np.random.default_rng(8).normal(0, 0.3, 19).astype(np.float32)
    k[:3] = 0, 1.5, -0.7
    reals = reals_of(x, a)
    wanted = np.where(reals >= 0, reals, reals * k.reshape(-1, 1, 1).astype(np.float64))
    found = codes_of(levels(text, {"a": x}, {"k": k}), y)
    assert np.abs(found - rounded(wanted, y)).max() <= 1
