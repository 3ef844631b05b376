"""Layers of the CDP as register programs, on every configuration."""

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

from nvdla_ir.arith.function_codes import CodeScale, function_codes
from nvdla_ir.dialects import csb
from nvdla_ir.dialects.nvdla import LutAttr
from nvdla_ir.hardware.function_tables import Normalization, code_tables, normalization_fit
from nvdla_ir.hw.look_up_tables import LookUpTable, LookUpTables, Slope
from nvdla_ir.ir.diagnostics import DiagnosticError

every_configuration = pytest.mark.parametrize("target", CONFIGURATIONS)

RNG = np.random.default_rng(11)
CODES = RNG.permutation(np.arange(-128, 128))
SIGMOID = function_codes(lambda x: 1 / (1 + np.exp(-x)), CodeScale(0.05), CodeScale(1 / 256, -128))


def _lut(codes: np.ndarray) -> str:
    return str(LutAttr(code_tables(codes.tolist())))


FUNCTION = f"""
func.func @main(%x: tensor<1x9x4x8x{Q}>) -> tensor<1x9x4x8x{Q}> {{
  %a = nvdla.upload %x -> tensor<1x9x4x8x{Q}>
  %f = nvdla.cdp %a square_sum=false multiply=false tables={_lut(CODES)}
    -> tensor<1x9x4x8x{Q}>
  %y = nvdla.download %f -> tensor<1x9x4x8x{Q}>
  func.return %y
}}
"""


@every_configuration
def test_any_function_of_a_code(target: str) -> None:
    """All 256 codes: what the device gives is what the table was made of."""
    module, session = module_for(target, FUNCTION)
    x = np.concatenate([np.arange(-128, 128), np.arange(-16, 16)]).astype(np.int8)
    inputs = {"x": x.reshape(1, 9, 4, 8)}
    expected = CODES[x.astype(int) + 128].reshape(1, 9, 4, 8)
    (layers,) = run_integers(module, session, inputs).values()
    compile_registers(module, session)
    (found,) = run_integers(module, session, inputs).values()
    np.testing.assert_array_equal(layers, expected)
    np.testing.assert_array_equal(found, expected)


@every_configuration
def test_sigmoid_between_convolutions(target: str) -> None:
    """Also where the SDP has no table: the CDP's is the sigmoid, its codes the rounded real ones,
    and SiLU a product with it."""
    lut = _lut(SIGMOID)
    module, _ = assert_same(
        target,
        f"""
func.func @main(%x: tensor<1x8x6x7x{Q}>) -> (tensor<1x13x6x7x{Q}>, tensor<1x13x6x7x{Q}>) {{
  %a = nvdla.upload %x -> tensor<1x8x6x7x{Q}>
  %w = nvdla.constant value=dense_resource<w> : tensor<13x8x3x3xi8>
  %c = nvdla.conv %a, %w pads=[1, 1, 1, 1] -> !nvdla.stream<1x13x6x7xi32>
  %s = nvdla.sdp %c cvt_shift=9 -> tensor<1x13x6x7x{Q}>
  %f = nvdla.cdp %s square_sum=false multiply=false tables={lut} -> tensor<1x13x6x7x{Q}>
  %v = nvdla.constant value=dense_resource<v> : tensor<13x13x1x1xi8>
  %d = nvdla.conv %f, %v -> !nvdla.stream<1x13x6x7xi32>
  %e = nvdla.sdp %d cvt_shift=8 -> tensor<1x13x6x7x{Q}>
  %g = nvdla.cdp %e square_sum=false multiply=false tables={lut} -> tensor<1x13x6x7x{Q}>
  %h = nvdla.sdp %g bs_operand=%e bs=#nvdla.x_stage<alu = "sum", alu_value = 128, mul> cvt_shift=8
    -> tensor<1x13x6x7x{Q}>
  %y = nvdla.download %h -> tensor<1x13x6x7x{Q}>
  %z = nvdla.download %g -> tensor<1x13x6x7x{Q}>
  func.return %y, %z
}}
""",
    )
    # The second layer finds the table of the first.
    assert sum(isinstance(op, csb.WriteTableOp) for op in module.walk()) == 2


# Both tables with slopes, negative and large distances, and all priorities.
ODD = LutAttr(
    LookUpTables(
        LookUpTable(tuple(range(-3000, 3500, 100)), -40, 24, 0, Slope(-300, 4), Slope(77, -2)),
        LookUpTable(tuple(range(32767, -28000, -236))[:257], 20, 1044, 2, Slope(5, 0), Slope(9, 3)),
        "LINEAR",
        "LO",
        "LE",
        "LE",
    )
)
EXPONENTIAL = LutAttr(
    LookUpTables(
        LookUpTable(tuple(30000 - 400 * i for i in range(65)), 3, 1 << 36, 2, Slope(-8, 1)),
        LookUpTable(tuple(i * 100 for i in range(257)), 100, 100 + (256 << 4), 4),
        "EXPONENT",
        "LE",
        "LE",
        "LE",
    )
)


@every_configuration
@pytest.mark.parametrize("window", [3, 5, 7, 9])
def test_normalization(target: str, window: int) -> None:
    """Layers of different tables, and of the same; channels that fill no atom."""
    fit = normalization_fit(
        Normalization(window, 0.02, 0.75, 1.0), CodeScale(0.5, 3), CodeScale(0.3, -5)
    )
    output = fit.output_converter
    norm = (
        f"window={window} input_offset=3 output_offset={output.offset} "
        f"output_scale={output.scale} output_shift={output.shift} tables={LutAttr(fit.tables)}"
    )
    module, _ = assert_same(
        target,
        f"""
func.func @main(%x: tensor<1x37x5x9x{Q}>, %z: tensor<1x37x5x9x{Q}>)
    -> (tensor<1x37x5x9x{Q}>, tensor<1x37x5x9x{Q}>) {{
  %a = nvdla.upload %x -> tensor<1x37x5x9x{Q}>
  %b = nvdla.upload %z -> tensor<1x37x5x9x{Q}>
  %n = nvdla.cdp %a {norm} layers=["n"] -> tensor<1x37x5x9x{Q}>
  %m = nvdla.cdp %b {norm} layers=["m"] -> tensor<1x37x5x9x{Q}>
  %o = nvdla.cdp %n window={window} input_scale=-700 input_shift=9 output_shift=14
    output_scale=3 tables={ODD} layers=["o"] -> tensor<1x37x5x9x{Q}>
  %p = nvdla.cdp %m window={window} square_sum=false output_shift=14 tables={EXPONENTIAL}
    layers=["p"] -> tensor<1x37x5x9x{Q}>
  %y = nvdla.download %o -> tensor<1x37x5x9x{Q}>
  %w = nvdla.download %p -> tensor<1x37x5x9x{Q}>
  func.return %y, %w
}}
""",
    )
    written = [op.layers for op in module.walk() if isinstance(op, csb.WriteTableOp)]
    assert written == [(name,) for name in ("n", "n", "o", "o", "p", "p")]


@every_configuration
def test_lanes_that_fill_an_atom_are_read_by_nobody(target: str) -> None:
    """A function of the lanes behind the last channel is not zero; a convolution, pooling, the
    SDP and another CDP layer go on as if they were."""
    lut = _lut(np.where(np.arange(256) % 3, 99, -77))
    assert_same(
        target,
        f"""
func.func @main(%x: tensor<1x5x6x7x{Q}>)
    -> (tensor<1x19x4x5x{Q}>, tensor<1x5x3x3x{Q}>, tensor<1x5x6x7x{Q}>, tensor<1x5x6x7x{Q}>) {{
  %a = nvdla.upload %x -> tensor<1x5x6x7x{Q}>
  %f = nvdla.cdp %a square_sum=false multiply=false tables={lut} -> tensor<1x5x6x7x{Q}>
  %w = nvdla.constant value=dense_resource<w> : tensor<19x5x3x3xi8>
  %c = nvdla.conv %f, %w -> !nvdla.stream<1x19x4x5xi32>
  %s = nvdla.sdp %c cvt_shift=7 -> tensor<1x19x4x5x{Q}>
  %p = nvdla.pdp max %f kernel=[2, 2] strides=[2, 2] -> tensor<1x5x3x3x{Q}>
  %t = nvdla.sdp %a bs_operand=%f bs=#nvdla.x_stage<alu = "sum"> cvt_shift=1 -> tensor<1x5x6x7x{Q}>
  %n = nvdla.cdp %f output_shift=15 output_scale=2 tables={EXPONENTIAL}
    -> tensor<1x5x6x7x{Q}>
  %y = nvdla.download %s -> tensor<1x19x4x5x{Q}>
  %z = nvdla.download %p -> tensor<1x5x3x3x{Q}>
  %u = nvdla.download %t -> tensor<1x5x6x7x{Q}>
  %v = nvdla.download %n -> tensor<1x5x6x7x{Q}>
  func.return %y, %z, %u, %v
}}
""",
    )


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ("1x8x1x8193", "an input width of 8193; the hardware takes up to 8192"),
        ("1x8x8193x1", "an input height of 8193; the hardware takes up to 8192"),
        ("1x8193x1x1", "an input depth of 8193; the hardware takes up to 8192"),
    ],
)
def test_cubes_that_are_too_large(shape: str, message: str) -> None:
    module, session = module_for("nv_small", FUNCTION.replace("1x9x4x8", shape))
    with pytest.raises(DiagnosticError) as caught:
        compile_registers(module, session)
    (diagnostic,) = caught.value.diagnostics
    assert message in diagnostic.message
    place = diagnostic.location.file_position()
    assert place is not None
    assert place.line == 5


def test_tables_that_registers_do_not_hold() -> None:
    body = FUNCTION.replace("index = 0, entries", "index = 32, entries")
    module, session = module_for("nv_small", body)
    with pytest.raises(DiagnosticError, match="an index of table LE of 32, but it must be from"):
        compile_registers(module, session)
