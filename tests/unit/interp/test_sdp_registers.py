"""EW and the look-up tables of the SDP as register programs, on configurations that have them."""

from __future__ import annotations

import numpy as np
import pytest
from register_programs import (
    CONFIGURATIONS,
    Q,
    assert_same,
    compile_registers,
    module_for,
    run_integers,
)

from nvdla_ir.dialects import csb
from nvdla_ir.dialects.nvdla import LutAttr, XStageAttr, YStageAttr
from nvdla_ir.hw.configuration import load_configuration
from nvdla_ir.hw.look_up_tables import LookUpTable, LookUpTables, Slope
from nvdla_ir.ir.diagnostics import DiagnosticError

WITH_EW = [name for name in CONFIGURATIONS if load_configuration(name).sdp.has_ew]
WITH_LUT = [name for name in WITH_EW if load_configuration(name).sdp.has_lut]

ODD = LutAttr(
    LookUpTables(
        LookUpTable(tuple(range(-3000, 3500, 100)), -40, 24, 0, Slope(-300, 4), Slope(77, -2)),
        LookUpTable(tuple(range(32767, -28000, -236))[:257], 20, 1044, 2, Slope(5, 0), Slope(9, 3)),
        "LINEAR",
        "LO",
        "LE",
        "LO",
    )
)
EXPONENTIAL = LutAttr(
    LookUpTables(
        LookUpTable(tuple(30000 - 400 * i for i in range(65)), 3, 1 << 30, 2, Slope(-8, 1)),
        LookUpTable(tuple(i * 100 for i in range(257)), 100, 100 + (256 << 4), 4),
        "EXPONENT",
        "LE",
        "LE",
        "LE",
    )
)

STAGES = f"""
func.func @main(%x: tensor<1x13x4x5x{Q}>, %z: tensor<1x13x4x5x{Q}>)
    -> (tensor<1x13x4x5x{Q}>, tensor<1x13x4x5x{Q}>, tensor<1x13x4x5x{Q}>, tensor<1x13x4x5x{Q}>) {{
  %a = nvdla.upload %x -> tensor<1x13x4x5x{Q}>
  %b = nvdla.upload %z -> tensor<1x13x4x5x{Q}>
  %t = nvdla.constant value=dense_resource<t> : tensor<13x2xi16>
  %k = nvdla.constant value=dense_resource<k> : tensor<13xi16>
  %r = nvdla.sdp %a
    ew=#nvdla.y_stage<mul, mul_value = -70000, truncate = 9, prelu, alu = "max", alu_value = -900>
    cvt_shift=3 layers=["registers"] -> tensor<1x13x4x5x{Q}>
  %s = nvdla.sdp %b ew_operand=%t
    ew=#nvdla.y_stage<mul, mul_converter = [5, -3, 2], truncate = 14, alu = "sum">
    cvt_shift=2 layers=["table"] -> tensor<1x13x4x5x{Q}>
  %u = nvdla.sdp %r ew_operand=%s bs_operand=%k bs=#nvdla.x_stage<mul, mul_shift = 8>
    ew=#nvdla.y_stage<alu = "sum", alu_converter = [-7, 300, 4]>
    cvt_shift=4 layers=["cube"] -> tensor<1x13x4x5x{Q}>
  %v = nvdla.sdp %s ew_operand=%r bn_operand=%k bn=#nvdla.x_stage<alu = "sum", relu>
    ew=#nvdla.y_stage<mul, truncate = 5> cvt_shift=4 layers=["product"] -> tensor<1x13x4x5x{Q}>
  %0 = nvdla.download %r -> tensor<1x13x4x5x{Q}>
  %1 = nvdla.download %s -> tensor<1x13x4x5x{Q}>
  %2 = nvdla.download %u -> tensor<1x13x4x5x{Q}>
  %3 = nvdla.download %v -> tensor<1x13x4x5x{Q}>
  func.return %0, %1, %2, %3
}}
"""

TABLES = f"""
func.func @main(%x: tensor<1x5x6x7x{Q}>, %z: tensor<1x5x6x7x{Q}>)
    -> (tensor<1x19x4x5x{Q}>, tensor<1x5x6x7x{Q}>) {{
  %a = nvdla.upload %x -> tensor<1x5x6x7x{Q}>
  %b = nvdla.upload %z -> tensor<1x5x6x7x{Q}>
  %w = nvdla.constant value=dense_resource<w> : tensor<19x5x3x3xi8>
  %c = nvdla.conv %a, %w -> !nvdla.stream<1x19x4x5xi32>
  %s = nvdla.sdp %c bs=#nvdla.x_stage<mul, mul_value = 11, mul_shift = 8> tables={ODD}
    cvt_shift=8 layers=["odd"] -> tensor<1x19x4x5x{Q}>
  %t = nvdla.sdp %b ew=#nvdla.y_stage<mul, mul_value = 40, alu = "sum", alu_value = 2000>
    tables={EXPONENTIAL} cvt_shift=8 layers=["exponential"] -> tensor<1x5x6x7x{Q}>
  %u = nvdla.sdp %t bn_operand=%b bn=#nvdla.x_stage<alu = "sum"> tables={EXPONENTIAL}
    cvt_shift=8 layers=["again"] -> tensor<1x5x6x7x{Q}>
  %y = nvdla.download %s -> tensor<1x19x4x5x{Q}>
  %v = nvdla.download %u -> tensor<1x5x6x7x{Q}>
  func.return %y, %v
}}
"""


def test_there_are_such_configurations() -> None:
    assert "nv_full" in WITH_LUT
    assert set(WITH_LUT) < set(CONFIGURATIONS)


@pytest.mark.parametrize("target", WITH_EW)
def test_operands_of_every_kind(target: str) -> None:
    """Of registers, of a table through a converter, of a cube with one and without."""
    assert_same(target, STAGES)


@pytest.mark.parametrize("target", WITH_LUT)
def test_tables_behind_everything(target: str) -> None:
    """Of accumulators and of memory; equal ones are written once."""
    module, _ = assert_same(target, TABLES)
    written = [op.layers for op in module.walk() if isinstance(op, csb.WriteTableOp)]
    assert len(written) == 4
    assert ("again",) not in written


def test_a_configuration_without_them_says_so() -> None:
    module, session = module_for("nv_small", TABLES)
    with pytest.raises(DiagnosticError) as caught:
        compile_registers(module, session)
    text = str(caught.value)
    assert "'odd' cannot run on nv_small" in text
    assert "SDP.EW_BYPASS" in text and "SDP.EW_LUT_BYPASS" in text


def test_numbers_are_checked_when_a_stage_is_made() -> None:
    with pytest.raises(ValueError, match="'mul_shift = 64' must be from 0 to 63"):
        XStageAttr(mul=True, mul_shift=64)
    with pytest.raises(ValueError, match="'alu_converter' needs 'alu'"):
        YStageAttr(alu_converter=(0, 1, 0))
    assert XStageAttr().is_bypassed and not YStageAttr(mul=True, mul_value=0).is_bypassed


def test_a_converter_is_for_what_comes_from_memory() -> None:
    """A register's operand has 32 bits, and is taken as it is."""
    stage = "mul, mul_value = 1000000, mul_converter = [3, 5, 1], truncate = 20"
    text = (
        f"func.func @main(%x: tensor<1x8x2x2x{Q}>) -> tensor<1x8x2x2x{Q}> {{\n"
        f"  %a = nvdla.upload %x -> tensor<1x8x2x2x{Q}>\n"
        f"  %y = nvdla.sdp %a ew=#nvdla.y_stage<{stage}> -> tensor<1x8x2x2x{Q}>\n"
        f"  %d = nvdla.download %y -> tensor<1x8x2x2x{Q}>\n  func.return %d\n}}\n"
    )
    module, session = module_for("nv_full", text)
    x = np.arange(-128, 128, 8, dtype=np.int8).reshape(1, 8, 2, 2)
    (layers,) = run_integers(module, session, {"x": x}).values()
    compile_registers(module, session)
    (registers,) = run_integers(module, session, {"x": x}).values()
    np.testing.assert_array_equal(layers, registers)
    np.testing.assert_array_equal(layers, np.round(x * (1000000 / (1 << 20))))
