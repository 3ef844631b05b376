"""What a convolution reuses of the convolution buffer is what the one before keeps there."""

from __future__ import annotations

import pytest
from running import module_of, new_session

from nvdla_ir.dialects import nvdla
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.passes.emit_registers import EmitRegisters
from nvdla_ir.passes.pipeline import Pipeline
from nvdla_ir.passes.registry import layers_to_registers
from nvdla_ir.passes.set_target import SetTarget

Q = "!quant.uniform<i8:f32, 0.5>"
CUBE, STREAM = f"tensor<1x8x4x4x{Q}>", "!nvdla.stream<1x8x4x4xi32>"
TEXT = f"""func.func @main(%x: {CUBE}, %z: {CUBE}) -> ({CUBE}, {CUBE}) {{
  %a = nvdla.upload %x -> {CUBE}
  %b = nvdla.upload %z -> {CUBE}
  %w = nvdla.constant value=dense<1> : tensor<8x8x1x1xi8>
  %v = nvdla.constant value=dense<2> : tensor<8x8x1x1xi8>
  %c = nvdla.conv %a, %w data_banks=8 weight_banks=8 FIRST layers=["first"] -> {STREAM}
  %d = nvdla.sdp %c -> {CUBE}
  %e = nvdla.conv INPUT, WEIGHT data_banks=8 weight_banks=8 SECOND layers=["second"] -> {STREAM}
  %f = nvdla.sdp %e -> {CUBE}
  %g = nvdla.download %d -> {CUBE}
  %h = nvdla.download %f -> {CUBE}
  func.return %g, %h
}}"""


def emit(first: str, second: str, input: str, weight: str) -> None:
    text = TEXT.replace("FIRST", first).replace("SECOND", second)
    module, session = (
        module_of(text.replace("INPUT", input).replace("WEIGHT", weight)),
        new_session(),
    )
    SetTarget("nv_small").run(module, session)
    passes = layers_to_registers()
    assert isinstance(passes[-1], EmitRegisters)
    Pipeline(passes).run(module, session)
    assert not any(isinstance(op, nvdla.ConvOp) for op in module.walk())


@pytest.mark.parametrize(
    ("first", "second", "input", "weight"),
    [
        ("keep_data=true", "reuse_data=true", "%a", "%v"),
        ("keep_weights=true", "reuse_weights=true", "%b", "%w"),
    ],
)
def test_what_is_there(first: str, second: str, input: str, weight: str) -> None:
    emit(first, second, input, weight)


@pytest.mark.parametrize(
    ("first", "second", "input", "weight", "what"),
    [
        ("", "reuse_data=true", "%a", "%v", "input"),
        ("keep_weights=true", "reuse_data=true", "%a", "%w", "input"),
        ("keep_data=true", "reuse_data=true", "%b", "%w", "input"),
        ("", "reuse_weights=true", "%b", "%w", "weights"),
        ("keep_weights=true", "reuse_weights=true", "%a", "%v", "weights"),
    ],
)
def test_what_is_not(first: str, second: str, input: str, weight: str, what: str) -> None:
    with pytest.raises(DiagnosticError) as caught:
        emit(first, second, input, weight)
    (error,) = caught.value.diagnostics
    assert error.message == (
        f"layer 'second' reuses the {what} that the convolution before keeps in the convolution "
        "buffer, but layer 'first' keeps no such"
    )
