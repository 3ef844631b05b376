"""Layers of RUBIK and BDMA as register programs, where the hardware has these units."""

from __future__ import annotations

import pytest
from register_programs import CONFIGURATIONS, Q, assert_same, compile_registers, module_for

from nvdla_ir.dialects import csb
from nvdla_ir.hw.configuration import load_configuration
from nvdla_ir.ir.diagnostics import DiagnosticError

CONTRACTED = f"""
func.func @main(%x: tensor<1x8x5x4x{Q}>) -> tensor<1x19x10x12x{Q}> {{
  %a = nvdla.upload %x -> tensor<1x8x5x4x{Q}>
  %w = nvdla.constant value=dense_resource<w> : tensor<192x8x3x3xi8>
  %c = nvdla.conv %a, %w pads=[1, 1, 1, 1] -> !nvdla.stream<1x192x5x4xi32>
  %s = nvdla.sdp %c cvt_shift=8 -> tensor<1x192x5x4x{Q}>
  %r = nvdla.rubik contract %s strides=[2, 3] layers=["up"] -> tensor<1x19x10x12x{Q}>
  %p = nvdla.pdp max %r kernel=[3, 3] pads=[1, 1, 1, 1] -> tensor<1x19x10x12x{Q}>
  %y = nvdla.download %p -> tensor<1x19x10x12x{Q}>
  func.return %y
}}
"""

COPIED = f"""
func.func @main(%x: tensor<1x40x6x5x{Q}>) -> tensor<1x40x12x5x{Q}> {{
  %a = nvdla.upload %x -> tensor<1x40x6x5x{Q}>
  %b = nvdla.bdma %a layers=["copy"] -> tensor<1x40x6x5x{Q}>
  %o = nvdla.slice %b axis=2 begin=1 size=3 step=2 -> tensor<1x40x3x5x{Q}>
  %c = nvdla.bdma %o -> tensor<1x40x3x5x{Q}>
  %s = nvdla.sdp %c cvt_offset=3 -> tensor<1x40x3x5x{Q}>
  %t = nvdla.interleave %c, %s -> tensor<1x40x6x5x{Q}>
  %u = nvdla.interleave %t, %b -> tensor<1x40x12x5x{Q}>
  %y = nvdla.download %u -> tensor<1x40x12x5x{Q}>
  func.return %y
}}
"""


HARDWARE = [load_configuration(name) for name in CONFIGURATIONS]
HAVING = [hw.name for hw in HARDWARE if hw.has_rubik and hw.has_bdma]


@pytest.mark.parametrize("target", HAVING)
@pytest.mark.parametrize("body", [CONTRACTED, COPIED], ids=["RUBIK", "BDMA"])
def test_data_is_moved(target: str, body: str) -> None:
    module, _ = assert_same(target, body)
    waits = [op.unit for op in module.walk() if isinstance(op, csb.WaitOp)]
    assert waits == (["SDP", "RUBIK", "PDP"] if body is CONTRACTED else ["BDMA", "BDMA", "SDP"])


@pytest.mark.parametrize("target", [name for name in CONFIGURATIONS if name not in HAVING])
@pytest.mark.parametrize("body", [CONTRACTED, COPIED], ids=["RUBIK", "BDMA"])
def test_others_have_no_such_units(target: str, body: str) -> None:
    unit, what, name = (
        ("RUBIK", "data to reshape", "up")
        if body is CONTRACTED
        else ("BDMA", "memory to copy", "copy")
    )
    module, session = module_for(target, body)
    with pytest.raises(DiagnosticError) as caught:
        compile_registers(module, session)
    message = caught.value.diagnostics[0].message
    assert message.startswith(
        f"layer '{name}' cannot run on {target}: it has {what}, but {target} has no {unit}: choose "
        "another target"
    )


def test_who_has_these_units() -> None:
    assert "nv_full" in HAVING
    assert "nv_small" not in HAVING


def test_groups_of_channels_that_are_no_whole_atoms() -> None:
    body = CONTRACTED.replace("192x", "144x")
    module, session = module_for("nv_full", body)
    with pytest.raises(DiagnosticError) as caught:
        compile_registers(module, session)
    assert caught.value.diagnostics[0].message == (
        "layer 'up' has groups of 24 channels, but for 19 channels of the result RUBIK of nv_full "
        "takes groups of 32: fill them up"
    )
