"""``fallback=host``: what the hardware does not do the host computes, between device programs, with
the same bytes at all levels."""

# IR does not break well.
# ruff: noqa: E501

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from running import module_of, new_session

from nvdla_ir.dialects import nn
from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.func import FuncOp, entry_functions
from nvdla_ir.dialects.nn.base import SameShapeOp
from nvdla_ir.dialects.nn.shapes import ACTIVATION
from nvdla_ir.dialects.nvdla import is_on_host, is_program
from nvdla_ir.evaluation.semantics import SemanticsCheck
from nvdla_ir.formats.trace import export_trace
from nvdla_ir.hw import configuration
from nvdla_ir.interp.machine import Machine, Mode
from nvdla_ir.interp.registry import Values, kernel
from nvdla_ir.ir.attributes import DenseResourceAttr
from nvdla_ir.ir.builder import Builder, InsertionPoint
from nvdla_ir.ir.definition import operand, result
from nvdla_ir.ir.diagnostics import DiagnosticError, Severity
from nvdla_ir.ir.traits import Pure
from nvdla_ir.passes.base import Session
from nvdla_ir.passes.decompose_layers import DecomposeLayers
from nvdla_ir.passes.insert_converters import InsertConverters
from nvdla_ir.passes.legalize_to_nvdla import LegalizeToNvdla
from nvdla_ir.passes.pipeline import Pipeline
from nvdla_ir.passes.quantize_weights import QuantizeWeights
from nvdla_ir.passes.registry import layers_to_registers
from nvdla_ir.passes.set_target import SetTarget

Array = NDArray[Any]


class Sine(SameShapeOp):
    """Of which no rule knows."""

    name = "nn.test_sine"
    traits = (Pure(),)
    input = operand(ACTIVATION)
    output = result(ACTIVATION)


@kernel(Sine, any_batch=True)
def sine(op: Sine, values: Values) -> Array:
    return np.sin(values[op.input])


def c(low: float, high: float) -> str:
    return f"!quant.calibrated<f32<{low}:{high}>>"


X, Y = f"tensor<1x9x4x5x{c(-1.27, 1.27)}>", f"tensor<1x9x4x5x{c(-5.08, 5.08)}>"
W = "%w = nn.constant value=dense_resource<w> : tensor<9x9x1x1xf32>"

# nn.sigmoid stands for Sine: it is put in its place behind the parser, which does not know it.
FIRST = f"""func.func @main(%x: {X}) -> {Y} {{
  {W}
  %h = nn.sigmoid %x layers=["h"] -> {X}
  %y = nn.conv %h, %w layers=["a"] -> {Y}
  func.return %y
}}"""
LAST = f"""func.func @main(%x: {X}) -> {X} {{
  {W}
  %a = nn.conv %x, %w layers=["a"] -> {Y}
  %h = nn.sigmoid %a layers=["h"] -> {X}
  func.return %h
}}"""
MIDDLE = f"""func.func @main(%x: {X}) -> {Y} {{
  {W}
  %a = nn.conv %x, %w layers=["a"] -> {Y}
  %h = nn.sigmoid %a layers=["h"] -> {X}
  %y = nn.conv %h, %w layers=["b"] -> {Y}
  %s = nn.add %y, %a layers=["s"] -> {Y}
  func.return %s
}}"""
BRANCHES = f"""func.func @main(%x: {X}) -> {Y} {{
  {W}
  %a = nn.conv %x, %w layers=["a"] -> {Y}
  %h = nn.sigmoid %a layers=["h"] -> {X}
  %l = nn.conv %h, %w layers=["l"] -> {Y}
  %g = nn.sigmoid %x layers=["g"] -> {X}
  %r = nn.conv %g, %w layers=["r"] -> {Y}
  %y = nn.add %l, %r layers=["y"] -> {Y}
  func.return %y
}}"""
PLACES = {"first": FIRST, "last": LAST, "middle": MIDDLE, "two branches": BRANCHES}


def network(text: str, target: str) -> tuple[ModuleOp, FuncOp, Session]:
    """With its weights quantized, and Sine for the layers 'h' and 'g'."""
    module, session = module_of(text), new_session()
    rng = np.random.default_rng(7)
    for op in list(module.walk()):
        if isinstance(op, nn.ConstantOp) and isinstance(op.value, DenseResourceAttr):
            shape = nn.shape_of(op.output)
            session.resources.add(op.value.key, rng.normal(0, 0.4, shape).astype(np.float32))
        if isinstance(op, nn.SigmoidOp) and op.layers in (("h",), ("g",)):
            new = Builder(InsertionPoint.before(op), op.location).create(
                Sine, input=op.input, layers=op.layers, result_types=[op.output.type]
            )
            op.output.replace_all_uses_with(new.output)
            new.output.name_hint = op.output.name_hint
            op.erase()
    Pipeline([SetTarget(target), DecomposeLayers(), QuantizeWeights()]).run(module, session)
    return module, entry_functions(module)[0], session


def remarks(session: Session) -> dict[str, str]:
    """What is said of the host's layers, by layer."""
    found = [d.message for d in session.diagnostics.diagnostics]
    told = [m for m in found if m.startswith("the host computes layer '")]
    return {message.split("'")[1]: message for message in told}


def inputs_of(func: FuncOp) -> list[dict[str, Array]]:
    """Over the whole range and beyond, and all at one end."""
    rng = np.random.default_rng(3)
    shapes = {func.argument_name(a): nn.shape_of(a) for a in func.body.arguments}
    return [
        {name: rng.uniform(-1.5, 1.5, shape).astype(np.float32) for name, shape in shapes.items()},
        {name: np.full(shape, -9, np.float32) for name, shape in shapes.items()},
    ]


def run(func: FuncOp, session: Session, inputs: dict[str, Array], mode: Mode) -> Array:
    (output,) = Machine(session.resources, mode).run(func, inputs).values()
    return output


def check_levels(module: ModuleOp, func: FuncOp, session: Session, atol: float) -> None:
    """The integers are those of the reals, by ``atol`` at most, and the same at every level."""
    inputs = inputs_of(func)
    reals = [run(func, session, each, Mode.FAKE_QUANTIZED) for each in inputs]
    Pipeline([InsertConverters(fallback="host")]).run(module, session)
    expected = [run(func, session, each, Mode.INTEGER) for each in inputs]
    assert len(np.unique(expected[0])) > 3
    for wanted, found in zip(reals, expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=0, atol=atol)
    outline, *others = layers_to_registers()
    for passes in ([LegalizeToNvdla(), outline], others):
        Pipeline(passes).run(module, session)
        for each, wanted in zip(inputs, expected, strict=True):
            found = run(func, session, each, Mode.INTEGER)
            np.testing.assert_array_equal(found, wanted, passes[-1].name)


@pytest.mark.parametrize("target", configuration.names())
@pytest.mark.parametrize("place", PLACES)
def test_a_layer_without_rule(place: str, target: str) -> None:
    module, func, session = network(PLACES[place], target)
    check_levels(module, func, session, atol=0.3)
    hosted = {
        layer for op in module.walk() if is_on_host(op) for layer in getattr(op, "layers", ())
    }
    assert hosted == ({"h", "g"} if place == "two branches" else {"h"})
    programs = [op for op in module.walk() if is_program(op)]
    assert len(programs) == (2 if place in ("middle", "two branches") else 1)


@pytest.mark.parametrize("target", ["nv_small", "nv_full"])
def test_quotients_and_odd_normalization(target: str) -> None:
    text = f"""func.func @main(%x: {X}) -> {Y} {{
  {W}
  %a = nn.conv %x, %w layers=["a"] -> {Y}
  %n = nn.lrn %a size=4 alpha=1.0 beta=0.75 k=1.0 layers=["n"] -> {X}
  %b = nn.conv %n, %w layers=["b"] -> {Y}
  %e = nn.exp %b layers=["e"] -> tensor<1x9x4x5x{c(0.0, 5.1)}>
  %o = nn.constant value=dense<1.0> : tensor<1xf32>
  %d = nn.add %e, %o layers=["d"] -> tensor<1x9x4x5x{c(0.0, 6.0)}>
  %y = nn.div %a, %d layers=["y"] -> {Y}
  %r = nn.relu %y layers=["r"] -> {Y}
  func.return %r
}}"""
    check_levels(*network(text, target), atol=0.15)


def test_what_moves_the_hosts_elements() -> None:
    """Views and parts stay the host's; repeating elements is for the device, behind the upload."""
    text = f"""func.func @main(%x: {X}) -> tensor<1x4x8x10x{c(-1.27, 1.27)}> {{
  %h = nn.sigmoid %x layers=["h"] -> {X}
  %s = nn.slice %h size=4 axis=1 start=3 layers=["s"] -> tensor<1x4x4x5x{c(-1.27, 1.27)}>
  %y = nn.upsample %s scales=[2, 2] layers=["y"] -> tensor<1x4x8x10x{c(-1.27, 1.27)}>
  func.return %y
}}"""
    module, func, session = network(text, "nv_small")
    check_levels(module, func, session, atol=0.02)
    assert [op.sym_name for op in module.walk() if isinstance(op, FuncOp) and is_program(op)]


def test_layers_of_the_host_hand_on_what_is_beyond_the_range() -> None:
    """The check of semantics knows that nothing is rounded between them."""
    narrow = f"tensor<1x9x4x5x{c(-0.1, 0.1)}>"
    text = f"""func.func @main(%x: {X}) -> {X} {{
  %h = nn.sigmoid %x layers=["h"] -> {narrow}
  %g = nn.sigmoid %h layers=["g"] -> {X}
  func.return %g
}}"""
    module, func, session = network(text, "nv_small")
    check = SemanticsCheck(session.resources, 1)
    Pipeline([InsertConverters(fallback="host")]).run(module, session, [check])
    given = np.full((1, 9, 4, 5), 1.0, np.float32)
    found = run(func, session, {"x": given}, Mode.INTEGER)
    np.testing.assert_allclose(found, np.sin(np.sin(1.0)), atol=0.01)


def test_remarks_state_layer_reason_and_transfers() -> None:
    module, _, session = network(MIDDLE, "nv_small")
    Pipeline([InsertConverters(fallback="host")]).run(module, session)
    assert remarks(session) == {
        "h": "the host computes layer 'h' in floats, between device programs, with 180 bytes from "
        "the device and 180 bytes to it: layer 'h': no rule makes integers of 'nn.test_sine', on "
        "any configuration"
    }


def test_what_the_host_has_is_no_transfer() -> None:
    module, _, session = network(FIRST, "nv_small")
    Pipeline([InsertConverters(fallback="host")]).run(module, session)
    assert "with no bytes from the device and 180 bytes to it" in remarks(session)["h"]


def test_each_device_program_is_a_trace() -> None:
    module, func, session = network(MIDDLE, "nv_small")
    passes = [InsertConverters(fallback="host"), LegalizeToNvdla(), *layers_to_registers()]
    Pipeline(passes).run(module, session)
    files = export_trace(module, session.resources, inputs_of(func)[0], "net")
    assert sorted({file.partition("/")[0] for file in files}) == ["net_0", "net_1"]


def test_without_the_option_it_is_an_error_that_names_it() -> None:
    module, _, session = network(BRANCHES, "nv_small")
    with pytest.raises(DiagnosticError) as caught:
        Pipeline([InsertConverters()]).run(module, session)
    assert [d.message for d in caught.value.diagnostics] == [
        f"layer '{name}': no rule makes integers of 'nn.test_sine', on any configuration. With "
        "'fallback=host' of 'insert-converters' the host computes it"
        for name in ("h", "g")
    ]


# -------------------------------------------------------------- refused by later passes

FC = f"""func.func @main(%x: tensor<1x64x64x64x{c(-1.27, 1.27)}>) -> tensor<1x4x{c(-1280.0, 1280.0)}> {{
  %w = nn.constant value=dense_resource<w> : tensor<4x262144xf32>
  %v = nn.constant value=dense_resource<v> : tensor<64x64x1x1xf32>
  %a = nn.conv %x, %v layers=["a"] -> tensor<1x64x64x64x{c(-12.0, 12.0)}>
  %f = nn.flatten %a layers=["f"] -> tensor<1x262144x{c(-12.0, 12.0)}>
  %y = nn.fully_connected %f, %w layers=["fc"] -> tensor<1x4x{c(-1280.0, 1280.0)}>
  %r = nn.relu %y layers=["r"] -> tensor<1x4x{c(-1280.0, 1280.0)}>
  func.return %r
}}"""
TWO_CHANNELS = f"""func.func @main(%x: tensor<1x2x9x9xui8>) -> tensor<1x4x8x8x{c(-8.0, 8.0)}> {{
  %w = nn.constant value=dense_resource<w> : tensor<4x2x2x2xf32>
  %n = nn.normalize %x mean=[100.0] scale=0.0125 layers=["n"] -> tensor<1x2x9x9x{c(-1.25, 1.95)}>
  %y = nn.conv %n, %w layers=["a"] -> tensor<1x4x8x8x{c(-8.0, 8.0)}>
  func.return %y
}}"""
FIVE_AXES = f"""func.func @main(%x: tensor<1x3x4x5x{c(-1.27, 1.27)}>) -> tensor<1x3x4x5x{c(-1.27, 1.27)}> {{
  %r = nn.relu %x layers=["r"] -> tensor<1x3x4x5x{c(-1.27, 1.27)}>
  %v = nn.reshape %r layers=["v"] -> tensor<1x3x2x2x5x{c(-1.27, 1.27)}>
  %a = nn.add %v, %v layers=["a"] -> tensor<1x3x2x2x5x{c(-2.54, 2.54)}>
  %u = nn.reshape %a layers=["u"] -> tensor<1x3x4x5x{c(-2.54, 2.54)}>
  %y = nn.relu %u layers=["y"] -> tensor<1x3x4x5x{c(-1.27, 1.27)}>
  func.return %y
}}"""


@pytest.mark.parametrize(
    ("text", "hosted", "reason"),
    [
        (TWO_CHANNELS, ["n"], "layer 'n' reads pixels of 2 channels"),
        (FIVE_AXES, ["a", "y"], "of shape 1xC or 1xCxHxW, not 1x3x2x2x5"),
    ],
    ids=["two channels", "five axes"],
)
def test_what_legalization_refuses(text: str, hosted: list[str], reason: str) -> None:
    module, _, session = network(text, "nv_small")
    Pipeline([InsertConverters()]).run(module, session)
    with pytest.raises(DiagnosticError, match="With 'fallback=host' of 'insert-converters'"):
        Pipeline([LegalizeToNvdla()]).run(module, session)
    module, _, session = network(text, "nv_small")
    Pipeline([InsertConverters(fallback="host")]).run(module, session)
    assert list(remarks(session)) == hosted
    assert reason in remarks(session)[hosted[0]]
    Pipeline([LegalizeToNvdla(), *layers_to_registers()]).run(module, session)
    assert any(map(is_program, module.walk()))


def test_a_kernel_that_the_buffer_does_not_hold() -> None:
    """It and the ReLU that would be part of its layer are the host's; the convolution is not."""
    module, func, session = network(FC, "nv_small")
    check_levels(module, func, session, atol=20.0)
    told = remarks(session)
    assert list(told) == ["fc", "r"]
    assert told["fc"].startswith(
        "the host computes layer 'fc' in floats, between device programs, with 262144 bytes from "
        "the device and no bytes to it: layer 'fc'"
    )
    assert "smallest piece takes" in told["fc"]
    assert "it follows layer 'fc', which the host computes" in told["r"]
    assert sum(is_program(op) for op in module.walk()) == 1


def test_a_warning_where_nothing_is_left_to_the_hardware() -> None:
    text = FIRST.replace('layers=["a"]', 'layers=["a"] attributes {nvdla.host}')
    module, _, session = network(text, "nv_small")
    Pipeline([InsertConverters(fallback="host")]).run(module, session)
    warnings = [d for d in session.diagnostics.diagnostics if d.severity is Severity.WARNING]
    assert [d.message for d in warnings] == ["nothing of '@main' is left to the hardware"]


# -------------------------------------------------------------- what stays an error, or is said


def test_what_is_the_users_mistake_stays_an_error() -> None:
    """A pass that was left out, and numbers that are none, are not for the host."""
    module, session = module_of(LAST), new_session()
    session.resources.add("w", np.ones((9, 9, 1, 1), np.float32))
    with pytest.raises(DiagnosticError, match="run 'quantize-weights' first"):
        Pipeline([InsertConverters(fallback="host")]).run(module, session)


def test_what_is_marked_is_the_hosts() -> None:
    module, func, session = network(
        MIDDLE.replace('layers=["b"]', 'layers=["b"] attributes {nvdla.host}').replace(
            "nn.sigmoid", "nn.tanh"
        ),
        "nv_small",
    )
    Pipeline([InsertConverters()]).run(module, session)
    assert list(remarks(session)) == ["b"]
    assert "it is marked 'nvdla.host'" in remarks(session)["b"]
    inputs = inputs_of(func)[0]
    expected = run(func, session, inputs, Mode.INTEGER)
    Pipeline([LegalizeToNvdla(), *layers_to_registers()]).run(module, session)
    np.testing.assert_array_equal(run(func, session, inputs, Mode.INTEGER), expected)


def test_no_range_between_layers_of_the_host() -> None:
    """What reads a value that has no range, and what makes one, goes with it."""
    text = f"""func.func @main(%x: {X}) -> {Y} {{
  {W}
  %a = nn.conv %x, %w layers=["a"] -> tensor<1x9x4x5xf32>
  %s = nn.add %a, %x layers=["s"] -> {Y}
  %y = nn.conv %s, %w layers=["b"] -> {Y}
  func.return %y
}}"""
    text = text.replace('layers=["a"]', 'dilations=[40, 40] layers=["a"]')
    module, _, session = network(text, "nv_small")
    Pipeline([InsertConverters(fallback="host")]).run(module, session)
    assert list(remarks(session)) == ["a", "s"]
    assert "which the host computes" not in remarks(session)["a"]
    assert "it reads reals of no range of layer 'a' on the host" in remarks(session)["s"]
    Pipeline([LegalizeToNvdla(), *layers_to_registers()]).run(module, session)
