"""Conditions: what they find, and what they leave alone."""

from __future__ import annotations

import pytest
from running import module_of, new_session

from nvdla_ir.dialects.nn import BatchNormOp, ReluOp, ScaleOp
from nvdla_ir.ir.diagnostics import DiagnosticError, render
from nvdla_ir.passes.base import check_conditions
from nvdla_ir.passes.conditions import calibrated, has_hardware_layers, no_operation
from nvdla_ir.passes.pipeline import Pipeline
from nvdla_ir.passes.registry import layers_to_registers
from nvdla_ir.text.printer import print_operation

PLAIN = "tensor<1x4xf32>"
RANGED = "tensor<1x4x!quant.calibrated<f32<-1.0:1.0>>>"
STORED = "tensor<1x4x!quant.uniform<i8:f32, 0.5>>"


def violations(body: str, argument: str = RANGED) -> list[str]:
    text = f"func.func @main(%x: {argument}) {{\n{body}\n  func.return\n}}"
    module = module_of(text)
    return [f"{place}: {message}" for place, message in calibrated().violations(module)]


def test_floats_that_integers_will_compute_are_found() -> None:
    body = f'  %a = nn.relu %x layers=["conv1", "relu1"] -> {PLAIN}\n  %b = nn.relu %a -> {PLAIN}'
    assert violations(body) == [
        "\"test.ir\":2:8: layer 'conv1+relu1' has no calibrated range; run 'import-calibration' "
        "first ('--import-calib=TABLE' before '--quantize')",
        "\"test.ir\":3:8: 'nn.relu' has no calibrated range; run 'import-calibration' first ("
        "'--import-calib=TABLE' before '--quantize')",
    ]


def test_so_are_arguments() -> None:
    assert violations(f"  %a = nn.relu %x -> {RANGED}", PLAIN) == [
        "\"test.ir\":1:17: argument 'x' has no calibrated range; run 'import-calibration' first ("
        "'--import-calib=TABLE' before '--quantize')"
    ]


@pytest.mark.parametrize(
    ("body", "argument"),
    [
        (f"  %a = nn.relu %x -> {RANGED}", RANGED),
        (f"  %a = nn.relu %x -> {STORED}", STORED),
        # The host computes in floats, and views of that are floats, too.
        (
            f"  %a = nn.softmax %x -> {PLAIN}\n  %b = nn.reshape %a -> {PLAIN}\n"
            f"  %c = nn.flatten %b -> {PLAIN}",
            RANGED,
        ),
        (f"  %a = nn.softmax %x -> {PLAIN}", PLAIN),
        ("  %a = nn.constant value=dense<1.0> : tensor<4xf32>", RANGED),
        (f"  %a = quant.dcast %x -> {PLAIN}", STORED),
    ],
)
def test_what_needs_no_range(body: str, argument: str) -> None:
    assert violations(body, argument) == []


def test_a_view_of_what_integers_compute_needs_one() -> None:
    (message,) = violations(f'  %a = nn.reshape %x layers=["view"] -> {PLAIN}')
    assert "layer 'view' has no calibrated range" in message


def test_operations_that_must_be_gone() -> None:
    module = module_of(
        f"func.func @main(%x: {PLAIN}, %k: tensor<4xf32>) {{\n"
        f'  %a = nn.batch_norm %x, %k, %k, %k, %k layers=["bn1"] -> {PLAIN}\n'
        f"  %b = nn.scale %a, %k -> {PLAIN}\n"
        f"  %c = nn.relu %b -> {PLAIN}\n  func.return\n}}"
    )
    condition = no_operation(BatchNormOp, ScaleOp, hint="run 'fold-batch-norm' first")
    assert condition.description == "no 'nn.batch_norm' or 'nn.scale'"
    with pytest.raises(DiagnosticError) as caught:
        check_conditions([condition], module, "pass 'p' cannot run")
    assert [render(d) for d in caught.value.diagnostics] == [
        "test.ir:2:8: error: pass 'p' cannot run: 'nn.batch_norm' of layer 'bn1' must be gone; "
        "run 'fold-batch-norm' first",
        "test.ir:3:8: error: pass 'p' cannot run: 'nn.scale' must be gone; run 'fold-batch-norm' "
        "first",
    ]
    check_conditions(
        [no_operation(BatchNormOp)], module_of("func.func @f() {\n func.return\n}"), ""
    )
    assert not list(no_operation(ReluOp).violations(module_of("module {\n}")))


def test_what_stays_inside_the_pipeline_needs_no_range() -> None:
    coded = "tensor<1x4x1x1x!nn.fake_quantized<i8:f32, 0.5>>"
    plain = "tensor<1x4x1x1xf32>"
    weights = "%w: tensor<4x4x1x1x!quant.uniform<i8:f32, 0.5>>"
    stored = "tensor<1x4x1x1x!quant.uniform<i8:f32, 0.25>>"
    body = (
        "  %k = nn.constant value=dense<-1.0> : tensor<4xf32>\n"
        f"  %c = nn.conv %x, %w -> {plain}\n"
        f"  %s = nn.scale %c, %k -> {plain}\n"
        f"  %b = nn.bias_add %s, %k -> {plain}\n"
        f"  %a = nn.add %x, %b -> {coded}\n"
        f"  %d = nn.conv %a, %w -> {plain}\n"
        f"  %q = nn.quantize %d -> {stored}\n"
        f"  %r = nn.quantize %d -> {stored}"
    )
    function = f"{coded}, {weights}"
    assert violations(body, function) == []
    # What is read twice leaves the pipeline, and so does what the host reads.
    (message,) = violations(f"{body}\n  %e = nn.softmax %d -> {plain}", function)
    assert ":7:" in message
    (message,) = violations(body.replace("%x, %b", "%x, %x"), function)
    assert ":5:" in message


# -------------------------------------------------------------- passes that have nothing to do

FLOATS = f'  %a = nn.relu %x layers=["one"] -> {PLAIN}\n  %b = nn.softmax %a -> {PLAIN}'
INTEGERS = f'  %a = nn.relu %x layers=["one"] -> {STORED}\n  %b = nn.relu %a -> {STORED}'
REGISTERS = "  csb.wait SDP group=0\n  csb.configure SDP group=0 {CVT_SCALE = 1}"
HOST = f'  %a = nn.relu %x layers=["one"] attributes {{nvdla.host}} -> {PLAIN}'


@pytest.mark.parametrize(
    ("body", "argument", "found"),
    [
        (FLOATS, PLAIN, "layer 'one' is no hardware layer yet; run 'legalize-to-nvdla' first"),
        (INTEGERS, STORED, "layer 'one' and 1 more are no hardware layers yet"),
        (
            "  csb.wait SDP group=0\n  csb.configure SDP group=0 {CVT_SCALE = 1}",
            STORED,
            "the module is a register program already",
        ),
        (HOST, PLAIN, None),
        (f"  %a = nn.reshape %x -> {STORED}", STORED, None),
        ("", PLAIN, None),
    ],
    ids=["floats", "integers", "registers", "the host's", "moved by the host", "nothing"],
)
def test_passes_on_hardware_layers_warn_where_there_are_none(
    body: str, argument: str, found: str | None
) -> None:
    text = f"func.func @main(%x: {argument}) {{\n{body}\n  func.return\n}}"
    for pass_ in layers_to_registers():
        module = module_of(f'module attributes {{nvdla.target = "nv_small"}} {{\n{text}\n}}')
        before, session = print_operation(module), new_session()
        Pipeline([pass_]).run(module, session)
        told = [d.message for d in session.diagnostics.diagnostics]
        if found is None:
            assert told == []
            continue
        assert print_operation(module) == before
        (message,) = told
        assert message.startswith(f"pass '{pass_.name}' has nothing to do: {found}")


def test_hardware_layers_are_worked_on() -> None:
    module = module_of(
        f"""module attributes {{nvdla.target = "nv_small"}} {{
  func.func @main(%x: {STORED}) {{
    %r = nn.reshape %x -> tensor<1x4x1x1x!quant.uniform<i8:f32, 0.5>>
    %a = nvdla.upload %r -> tensor<1x4x1x1x!quant.uniform<i8:f32, 0.5>>
    %s = nvdla.sdp %a -> tensor<1x4x1x1x!quant.uniform<i8:f32, 0.5>>
    func.return
  }}
}}"""
    )
    assert list(has_hardware_layers().violations(module)) == []
