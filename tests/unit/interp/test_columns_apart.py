"""Cubes whose columns are apart, written by turns and read with a step, on every configuration."""

from __future__ import annotations

import pytest
from register_programs import CONFIGURATIONS, Q, assert_same, compile_registers, module_for

from nvdla_ir.dialects.nvdla import LutAttr
from nvdla_ir.hardware.function_tables import code_tables
from nvdla_ir.ir.diagnostics import DiagnosticError

every_configuration = pytest.mark.parametrize("target", CONFIGURATIONS)

UPSAMPLED = f"""
func.func @main(%x: tensor<1x37x5x7x{Q}>) -> tensor<1x37x10x14x{Q}> {{
  %a = nvdla.upload %x -> tensor<1x37x5x7x{Q}>
  %l = nvdla.sdp %a -> tensor<1x37x5x7x{Q}>
  %r = nvdla.sdp %a -> tensor<1x37x5x7x{Q}>
  %c = nvdla.interleave %l, %r axis=3 -> tensor<1x37x5x14x{Q}>
  %u = nvdla.sdp %c -> tensor<1x37x5x14x{Q}>
  %d = nvdla.sdp %c -> tensor<1x37x5x14x{Q}>
  %i = nvdla.interleave %u, %d -> tensor<1x37x10x14x{Q}>
  %y = nvdla.download %i -> tensor<1x37x10x14x{Q}>
  func.return %y
}}
"""


@every_configuration
def test_nearest_upsampling(target: str) -> None:
    """Four layers, whatever the number of channels."""
    assert_same(target, UPSAMPLED)


@every_configuration
def test_depth_to_space(target: str) -> None:
    """Rows go where they belong when convolutions write them; columns take a copy a phase."""
    phases = "".join(
        f"""
  %w{i} = nvdla.constant value=dense_resource<w{i}> : tensor<11x9x3x3xi8>
  %c{i} = nvdla.conv %a, %w{i} pads=[1, 1, 1, 1] -> !nvdla.stream<1x11x6x5xi32>
  %s{i} = nvdla.sdp %c{i} cvt_shift=9 -> tensor<1x11x6x5x{Q}>"""
        for i in range(4)
    )
    assert_same(
        target,
        f"""
func.func @main(%x: tensor<1x9x6x5x{Q}>) -> tensor<1x11x12x10x{Q}> {{
  %a = nvdla.upload %x -> tensor<1x9x6x5x{Q}>{phases}
  %left = nvdla.interleave %s0, %s2 -> tensor<1x11x12x5x{Q}>
  %right = nvdla.interleave %s1, %s3 -> tensor<1x11x12x5x{Q}>
  %l = nvdla.sdp %left -> tensor<1x11x12x5x{Q}>
  %r = nvdla.sdp %right bs=#nvdla.x_stage<relu> -> tensor<1x11x12x5x{Q}>
  %i = nvdla.interleave %l, %r axis=3 -> tensor<1x11x12x10x{Q}>
  %y = nvdla.download %i -> tensor<1x11x12x10x{Q}>
  func.return %y
}}
""",
    )


@every_configuration
@pytest.mark.parametrize("columns", [12, 13])
def test_columns_with_a_step(target: str, columns: int) -> None:
    """Of an even width pixels are rows; of an odd one rows are surfaces, of one atom of channels.
    Operands are cubes with columns that are apart, and constants, of one and of two bytes."""
    size = columns // 3
    view = f"nvdla.slice %a axis=3 size={size} step=3"
    result = f"tensor<1x7x4x{size}x{Q}>"
    assert_same(
        target,
        f"""
func.func @main(%x: tensor<1x7x4x{columns}x{Q}>) -> (tensor<1x7x8x{2 * size}x{Q}>, {result}) {{
  %a = nvdla.upload %x -> tensor<1x7x4x{columns}x{Q}>
  %e = {view} begin=0 -> {result}
  %f = {view} begin=1 -> {result}
  %g = {view} begin=2 -> {result}
  %k = nvdla.constant value=dense_resource<k> : tensor<1x7x4x{size}xi8>
  %m = nvdla.constant value=dense_resource<m> : tensor<1x7x4x{size}xi16>
  %s = nvdla.sdp %e bs_operand=%f bn_operand=%k bs=#nvdla.x_stage<alu = "sum">
    bn=#nvdla.x_stage<alu = "sum", alu_shift = 2> cvt_shift=2 -> {result}
  %t = nvdla.sdp %g bs_operand=%m bs=#nvdla.x_stage<mul, mul_shift = 13> -> {result}
  %i = nvdla.interleave %s, %t axis=3 -> tensor<1x7x4x{2 * size}x{Q}>
  %b = nvdla.sdp %i bs=#nvdla.x_stage<alu = "max", alu_value = -60> -> tensor<1x7x4x{2 * size}x{Q}>
  %c = nvdla.pdp min %i kernel=[3, 3] pads=[1, 1, 1, 1] -> tensor<1x7x4x{2 * size}x{Q}>
  %r = nvdla.interleave %b, %c -> tensor<1x7x8x{2 * size}x{Q}>
  %u = nvdla.sdp %f cvt_offset=5 -> {result}
  %y = nvdla.download %r -> tensor<1x7x8x{2 * size}x{Q}>
  %z = nvdla.download %u -> {result}
  func.return %y, %z
}}
""",
    )


@every_configuration
def test_tables_of_channels_where_pixels_are_rows(target: str) -> None:
    assert_same(
        target,
        f"""
func.func @main(%x: tensor<1x19x4x6x{Q}>) -> tensor<1x19x4x6x{Q}> {{
  %a = nvdla.upload %x -> tensor<1x19x4x6x{Q}>
  %e = nvdla.slice %a axis=3 begin=0 size=3 step=2 -> tensor<1x19x4x3x{Q}>
  %o = nvdla.slice %a axis=3 begin=1 size=3 step=2 -> tensor<1x19x4x3x{Q}>
  %t = nvdla.constant value=dense_resource<t> : tensor<19x2xi16>
  %s = nvdla.sdp %o bs_operand=%t bs=#nvdla.x_stage<alu = "sum", mul, mul_shift = 15>
    -> tensor<1x19x4x3x{Q}>
  %p = nvdla.sdp %e -> tensor<1x19x4x3x{Q}>
  %i = nvdla.interleave %s, %p axis=3 -> tensor<1x19x4x6x{Q}>
  %y = nvdla.download %i -> tensor<1x19x4x6x{Q}>
  func.return %y
}}
""",
    )


@every_configuration
@pytest.mark.parametrize(("channels", "columns"), [(21, 8), (7, 9)])
def test_the_cdp_takes_columns_apart(target: str, channels: int, columns: int) -> None:
    """Of an even width pixels are rows, and sums of squares go over channels; of an odd one rows
    are surfaces, whose elements are looked up each for itself."""
    lut = LutAttr(code_tables([(37 * code) % 256 - 128 for code in range(256)]))
    squares = columns % 2 == 0
    what = f"square_sum={str(squares).lower()} multiply=false input_shift={3 * squares}"
    half = f"tensor<1x{channels}x5x{columns // 2}x{Q}>"
    whole = f"tensor<1x{channels}x5x{columns // 2 * 2}x{Q}>"
    assert_same(
        target,
        f"""
func.func @main(%x: tensor<1x{channels}x5x{columns}x{Q}>) -> {whole} {{
  %a = nvdla.upload %x -> tensor<1x{channels}x5x{columns}x{Q}>
  %e = nvdla.slice %a axis=3 begin=0 size={columns // 2} step=2 -> {half}
  %o = nvdla.slice %a axis=3 begin=1 size={columns // 2} step=2 -> {half}
  %f = nvdla.cdp %e {what} tables={lut} -> {half}
  %g = nvdla.cdp %o {what} input_offset=5 tables={lut} -> {half}
  %i = nvdla.interleave %g, %f axis=3 -> {whole}
  %y = nvdla.download %i -> {whole}
  func.return %y
}}
""",
    )


def test_sums_of_squares_take_no_rows_as_surfaces() -> None:
    lut = LutAttr(code_tables(range(-128, 128)))
    part = f"tensor<1x8x4x2x{Q}>"
    found = _fault(
        f"""
func.func @main(%x: tensor<1x8x4x5x{Q}>) -> {part} {{
  %a = nvdla.upload %x -> tensor<1x8x4x5x{Q}>
  %e = nvdla.slice %a axis=3 begin=0 size=2 step=2 -> {part}
  %n = nvdla.cdp %e tables={lut} layers=["norm"] -> {part}
  %y = nvdla.download %n -> {part}
  func.return %y
}}
"""
    )
    assert found.startswith("layer 'norm' works on columns that are apart, 4 rows of 2")


def _fault(body: str) -> str:
    module, session = module_for("nv_small", body)
    with pytest.raises(DiagnosticError) as caught:
        compile_registers(module, session)
    return caught.value.diagnostics[0].message


def test_only_units_that_work_on_pixels_take_columns_apart() -> None:
    head = f"""
func.func @main(%x: tensor<1x8x4x4x{Q}>) -> tensor<1x8x3x1x{Q}> {{
  %a = nvdla.upload %x -> tensor<1x8x4x4x{Q}>
  %e = nvdla.slice %a axis=3 begin=0 size=2 step=2 -> tensor<1x8x4x2x{Q}>
"""
    tail = f"""
  %y = nvdla.download %p -> tensor<1x8x3x1x{Q}>
  func.return %y
}}
"""
    pooled = f"  %p = nvdla.pdp max %e kernel=[2, 2] -> tensor<1x8x3x1x{Q}>"
    message = (
        "takes columns that follow each other, but those of 'nvdla.slice' are apart: a copy by "
        "'nvdla.sdp' from memory to memory must come between"
    )
    assert _fault(head + pooled + tail) == f"'nvdla.pdp' {message}"
    convolved = f"""
  %w = nvdla.constant value=dense<1> : tensor<8x8x2x2xi8>
  %c = nvdla.conv %e, %w layers=["conv"] -> !nvdla.stream<1x8x3x1xi32>
  %p = nvdla.sdp %c -> tensor<1x8x3x1x{Q}>"""
    assert _fault(head + convolved + tail) == f"layer 'conv' {message}"


@pytest.mark.parametrize("shape", ["1x9x4x5", "1x9x100x200"])
def test_columns_that_no_way_leads_to(shape: str) -> None:
    """Too many channels where rows are not as far apart as columns; too many pixels."""
    channels, height, width = shape.split("x")[1:]
    size = int(width) // 2
    part = f"tensor<1x{channels}x{height}x{size}x{Q}>"
    found = _fault(
        f"""
func.func @main(%x: tensor<{shape}x{Q}>) -> {part} {{
  %a = nvdla.upload %x -> tensor<{shape}x{Q}>
  %e = nvdla.slice %a axis=3 begin=0 size={size} step=2 -> {part}
  %s = nvdla.sdp %e layers=["copy"] -> {part}
  %y = nvdla.download %s -> {part}
  func.return %y
}}
"""
    )
    assert found == (
        f"layer 'copy' works on columns that are apart, {height} rows of {size}. It can take up to "
        "8192 pixels whose rows follow each other as columns do, or up to 8 channels, all treated "
        "alike: cut it into groups of rows or channels"
    )
