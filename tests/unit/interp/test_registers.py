"""Register programs give the bytes that the reference arithmetic and the level of hardware layers
give, on every configuration."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_reference import evaluate
from register_programs import (
    CONFIGURATIONS,
    CONVOLUTION,
    RESIDUAL,
    Q,
    assert_same,
    compile_registers,
    function_of,
    module_for,
    random_inputs,
    run_integers,
)

from nvdla_ir.dialects import csb
from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.hw.registers import register_map
from nvdla_ir.interp.csb import run
from nvdla_ir.interp.device.device import Device
from nvdla_ir.ir.diagnostics import render

every_configuration = pytest.mark.parametrize("target", CONFIGURATIONS)


@every_configuration
def test_convolution_with_a_table_for_odd_channels(target: str) -> None:
    assert_same(target, CONVOLUTION)


@every_configuration
def test_residual_block(target: str) -> None:
    module, _ = assert_same(target, RESIDUAL)
    groups = [
        op.group
        for op in module.walk()
        if isinstance(op, csb.ConfigureOp) and op.unit in ("CDMA", "SDP_RDMA")
    ]
    assert groups == [0, 0, 1, 1, 0]  # the last layer reads no operands: its RDMA stays out


POOLED = f"""
func.func @main(%x: tensor<1x9x12x10x{Q}>) -> tensor<1x10x5x5x{Q}> {{
  %a = nvdla.upload %x -> tensor<1x9x12x10x{Q}>
  %w = nvdla.constant value=dense_resource<w> : tensor<10x9x3x3xi8>
  %c = nvdla.conv %a, %w dilations=[1, 2] pads=[0, 2, 0, 2]
    -> !nvdla.stream<1x10x10x10xi32>
  %s = nvdla.sdp %c bs=#nvdla.x_stage<mul, prelu, mul_value = -7, mul_shift = 3> cvt_shift=9
    -> !nvdla.stream<1x10x10x10x{Q}>
  %p = nvdla.pdp METHOD %s kernel=[3, 2] strides=[2, 2] pads=[1, 0, 0, 0] EXTRA
    layers=["pool"] -> tensor<1x10x5x5x{Q}>
  %y = nvdla.download %p -> tensor<1x10x5x5x{Q}>
  func.return %y
}}
"""


@every_configuration
@pytest.mark.parametrize(
    ("method", "extra"),
    [("max", ""), ("min", ""), ("average", "reciprocals=[21845, 32768] pad_value=-5")],
)
def test_pooling_on_the_fly(target: str, method: str, extra: str) -> None:
    assert_same(target, POOLED.replace("METHOD", method).replace("EXTRA", extra))


@every_configuration
@pytest.mark.parametrize(
    ("kernel", "strides", "pads", "shape", "output"),
    [
        ((3, 3), (1, 1), (1, 1, 1, 1), "1x6x9x150", "1x6x9x150"),
        ((8, 5), (1, 3), (0, 2, 0, 0), "1x33x9x70", "1x33x2x23"),
        ((2, 2), (2, 2), (0, 0, 0, 0), "1x9x7x7", "1x9x3x3"),
        ((3, 3), (3, 4), (2, 1, 2, 2), "1x3x11x16", "1x3x5x5"),
        ((1, 2), (2, 2), (0, 0, 0, 0), "1x8x4x301", "1x8x2x150"),
    ],
)
def test_pooling_of_a_cube_in_memory(
    target: str,
    kernel: tuple[int, int],
    strides: tuple[int, int],
    pads: tuple[int, int, int, int],
    shape: str,
    output: str,
) -> None:
    reciprocals = [65536 // size for size in kernel]
    assert_same(
        target,
        f"""
func.func @main(%x: tensor<{shape}x{Q}>) -> (tensor<{output}x{Q}>, tensor<{output}x{Q}>) {{
  %a = nvdla.upload %x -> tensor<{shape}x{Q}>
  %p = nvdla.pdp max %a kernel={list(kernel)} strides={list(strides)} pads={list(pads)}
    -> tensor<{output}x{Q}>
  %q = nvdla.pdp average %a kernel={list(kernel)} strides={list(strides)} pads={list(pads)}
    pad_value=17 reciprocals={reciprocals} -> tensor<{output}x{Q}>
  %y = nvdla.download %p -> tensor<{output}x{Q}>
  %z = nvdla.download %q -> tensor<{output}x{Q}>
  func.return %y, %z
}}
""",
    )


@every_configuration
@pytest.mark.parametrize(
    ("pixel_format", "channels", "sign", "converter"),
    [
        ("T_R8", 1, "u", "cvt_offset=128 cvt_scale=1 cvt_truncate=0"),
        ("T_R8", 1, "i", ""),
        ("T_R8", 1, "i", "cvt_scale=-3 cvt_truncate=1"),
        ("T_A8B8G8R8", 4, "u", "means=[100, 120, 140, 0] cvt_scale=23 cvt_truncate=5"),
        ("T_B8G8R8X8", 4, "u", "cvt_offset=99 cvt_scale=1 cvt_truncate=1"),
        ("T_Y8___V8U8_N444", 3, "u", "means=[16, 128, 128] cvt_scale=1 cvt_truncate=0"),
    ],
)
def test_image_input(
    target: str, pixel_format: str, channels: int, sign: str, converter: str
) -> None:
    pixels = Q.replace("i8", "u8") if sign == "u" else Q
    assert_same(
        target,
        f"""
func.func @main(%x: tensor<1x{channels}x11x13x{pixels}>) -> tensor<1x9x6x7x{Q}> {{
  %a = nvdla.upload %x format="{pixel_format}" -> tensor<1x{channels}x11x13x{pixels}>
  %w = nvdla.constant value=dense_resource<w> : tensor<9x{channels}x3x5xi8>
  %c = nvdla.conv %a, %w strides=[2, 2] pads=[1, 2, 1, 2] pad_value=7
    pixel_format="{pixel_format}" {converter} -> !nvdla.stream<1x9x6x7xi32>
  %s = nvdla.sdp %c cvt_scale=9 cvt_shift=11 -> tensor<1x9x6x7x{Q}>
  %y = nvdla.download %s -> tensor<1x9x6x7x{Q}>
  func.return %y
}}
""",
    )


@every_configuration
def test_rows_by_turns(target: str) -> None:
    """Layers of every kind read and write rows that are apart; a part of what they made in turns
    is read again, beside another cube."""
    assert_same(
        target,
        f"""
func.func @main(%x: tensor<1x9x9x5x{Q}>) -> (tensor<1x16x16x5x{Q}>, tensor<1x9x5x5x{Q}>) {{
  %a = nvdla.upload %x -> tensor<1x9x9x5x{Q}>
  %even = nvdla.slice %a axis=2 begin=0 size=4 step=2 -> tensor<1x9x4x5x{Q}>
  %odd = nvdla.slice %a axis=2 begin=1 size=4 step=2 -> tensor<1x9x4x5x{Q}>
  %third = nvdla.slice %a axis=2 begin=2 size=3 step=3 -> tensor<1x9x3x5x{Q}>
  %w = nvdla.constant value=dense_resource<w> : tensor<16x9x3x3xi8>
  %c = nvdla.conv %odd, %w pads=[1, 1, 1, 1] -> !nvdla.stream<1x16x4x5xi32>
  %p = nvdla.sdp %c cvt_shift=9 -> tensor<1x16x4x5x{Q}>
  %e = nvdla.conv %even, %w pads=[1, 1, 1, 1] -> !nvdla.stream<1x16x4x5xi32>
  %q = nvdla.sdp %e bs=#nvdla.x_stage<relu> cvt_shift=9 -> tensor<1x16x4x5x{Q}>
  %r = nvdla.pdp max %p kernel=[1, 1] -> tensor<1x16x4x5x{Q}>
  %inner = nvdla.interleave %p, %r -> tensor<1x16x8x5x{Q}>
  %t = nvdla.sdp %inner cvt_offset=7 -> tensor<1x16x8x5x{Q}>
  %rest = nvdla.slice %inner axis=2 begin=1 size=4 step=2 -> tensor<1x16x4x5x{Q}>
  %s = nvdla.sdp %q bs_operand=%rest bs=#nvdla.x_stage<alu = "sum"> -> tensor<1x16x4x5x{Q}>
  %m = nvdla.pdp min %rest kernel=[3, 3] pads=[1, 1, 1, 1] -> tensor<1x16x4x5x{Q}>
  %below = nvdla.interleave %s, %m -> tensor<1x16x8x5x{Q}>
  %all = nvdla.interleave %t, %below -> tensor<1x16x16x5x{Q}>
  %u = nvdla.sdp %third -> tensor<1x9x3x5x{Q}>
  %v = nvdla.sdp %third bs=#nvdla.x_stage<relu> -> tensor<1x9x3x5x{Q}>
  %w2 = nvdla.interleave %u, %v -> tensor<1x9x6x5x{Q}>
  %five = nvdla.slice %w2 axis=2 begin=1 size=5 -> tensor<1x9x5x5x{Q}>
  %y = nvdla.download %all -> tensor<1x16x16x5x{Q}>
  %z = nvdla.download %five -> tensor<1x9x5x5x{Q}>
  func.return %y, %z
}}
""",
    )


@every_configuration
def test_views(target: str) -> None:
    """A concatenation of two layers and a part of it, sliced again; the residual reads a part."""
    assert_same(
        target,
        f"""
func.func @main(%x: tensor<1x64x4x5x{Q}>)
    -> (tensor<1x101x4x5x{Q}>, tensor<1x7x4x5x{Q}>, tensor<1x32x4x5x{Q}>) {{
  %a = nvdla.upload %x -> tensor<1x64x4x5x{Q}>
  %low = nvdla.slice %a begin=0 size=32 -> tensor<1x32x4x5x{Q}>
  %high = nvdla.slice %a begin=32 size=32 -> tensor<1x32x4x5x{Q}>
  %w = nvdla.constant value=dense_resource<w> : tensor<32x32x3x3xi8>
  %c = nvdla.conv %high, %w pads=[1, 1, 1, 1] -> !nvdla.stream<1x32x4x5xi32>
  %first = nvdla.sdp %c bs_operand=%low bs=#nvdla.x_stage<alu = "sum", alu_shift = 8> cvt_shift=10
    -> tensor<1x32x4x5x{Q}>
  %second = nvdla.pdp max %a kernel=[3, 3] pads=[1, 1, 1, 1] -> tensor<1x64x4x5x{Q}>
  %v = nvdla.constant value=dense_resource<v> : tensor<5x32x1x1xi8>
  %d = nvdla.conv %first, %v -> !nvdla.stream<1x5x4x5xi32>
  %third = nvdla.sdp %d cvt_shift=7 -> tensor<1x5x4x5x{Q}>
  %inner = nvdla.concat %first, %second -> tensor<1x96x4x5x{Q}>
  %all = nvdla.concat %inner, %third -> tensor<1x101x4x5x{Q}>
  %part = nvdla.slice %all begin=64 size=32 -> tensor<1x32x4x5x{Q}>
  %u = nvdla.constant value=dense_resource<u> : tensor<7x101x1x1xi8>
  %e = nvdla.conv %all, %u -> !nvdla.stream<1x7x4x5xi32>
  %last = nvdla.sdp %e cvt_shift=9 -> tensor<1x7x4x5x{Q}>
  %y = nvdla.download %all -> tensor<1x101x4x5x{Q}>
  %z = nvdla.download %last -> tensor<1x7x4x5x{Q}>
  %q = nvdla.download %part -> tensor<1x32x4x5x{Q}>
  func.return %y, %z, %q
}}
""",
    )


@every_configuration
def test_the_sdp_on_cubes_in_memory(target: str) -> None:
    assert_same(
        target,
        f"""
func.func @main(%x: tensor<1x19x5x3x{Q}>, %y: tensor<1x19x5x3x{Q}>)
    -> (tensor<1x19x5x3x{Q}>, tensor<1x19x2x1x{Q}>) {{
  %a = nvdla.upload %x -> tensor<1x19x5x3x{Q}>
  %b = nvdla.upload %y -> tensor<1x19x5x3x{Q}>
  %k = nvdla.constant value=dense_resource<k> : tensor<1x19x5x3xi16>
  %m = nvdla.constant value=dense_resource<m> : tensor<19xi8>
  %s = nvdla.sdp %a bs_operand=%b bn_operand=%k bs=#nvdla.x_stage<mul, mul_shift = 2, relu>
    bn=#nvdla.x_stage<alu = "min", mul, mul_value = 100, mul_shift = 7> -> tensor<1x19x5x3x{Q}>
  %t = nvdla.sdp %s bn_operand=%m bn=#nvdla.x_stage<mul, mul_shift = 4>
    -> !nvdla.stream<1x19x5x3x{Q}>
  %p = nvdla.pdp average %t kernel=[4, 3] pads=[1, 0, 0, 0] strides=[2, 1]
    reciprocals=[16384, 21845] -> tensor<1x19x2x1x{Q}>
  %q = nvdla.download %s -> tensor<1x19x5x3x{Q}>
  %r = nvdla.download %p -> tensor<1x19x2x1x{Q}>
  func.return %q, %r
}}
""",
    )


@every_configuration
def test_one_pixel(target: str) -> None:
    """1x1 cubes: their surfaces follow one another (sdp.md section 2.1)."""
    assert_same(
        target,
        f"""
func.func @main(%x: tensor<1x70x1x1x{Q}>) -> tensor<1x44x1x1x{Q}> {{
  %a = nvdla.upload %x -> tensor<1x70x1x1x{Q}>
  %w = nvdla.constant value=dense_resource<w> : tensor<44x70x1x1xi8>
  %t = nvdla.constant value=dense_resource<t> : tensor<44xi16>
  %v = nvdla.constant value=dense_resource<v> : tensor<44x44x1x1xi8>
  %k = nvdla.constant value=dense_resource<k> : tensor<1x44x1x1xi16>
  %c = nvdla.conv %a, %w -> !nvdla.stream<1x44x1x1xi32>
  %s = nvdla.sdp %c bs_operand=%t bs=#nvdla.x_stage<alu = "sum"> cvt_shift=9 -> tensor<1x44x1x1x{Q}>
  %d = nvdla.conv %s, %v -> !nvdla.stream<1x44x1x1xi32>
  %r = nvdla.sdp %d bs_operand=%s bn_operand=%k bs=#nvdla.x_stage<alu = "max", alu_shift = 6>
    bn=#nvdla.x_stage<alu = "sum"> cvt_shift=8 -> tensor<1x44x1x1x{Q}>
  %y = nvdla.download %r -> tensor<1x44x1x1x{Q}>
  func.return %y
}}
""",
    )


@pytest.mark.parametrize("target", ["nv_small", "nv_small_256"])
def test_pieces_of_rows(target: str) -> None:
    """An input beyond the convolution buffer runs in pieces, the residual cube with it."""
    module, session = assert_same(
        target,
        f"""
func.func @main(%x: tensor<1x64x49x47x{Q}>) -> tensor<1x64x25x24x{Q}> {{
  %a = nvdla.upload %x -> tensor<1x64x49x47x{Q}>
  %b = nvdla.pdp max %a kernel=[2, 2] strides=[2, 2] pads=[1, 1, 0, 0] -> tensor<1x64x25x24x{Q}>
  %w = nvdla.constant value=dense_resource<w> : tensor<64x64x3x3xi8>
  %c = nvdla.conv %a, %w strides=[2, 2] pads=[1, 1, 1, 1] layers=["big"]
    -> !nvdla.stream<1x64x25x24xi32>
  %s = nvdla.sdp %c bs_operand=%b bs=#nvdla.x_stage<alu = "sum", alu_shift = 8> cvt_shift=11
    -> tensor<1x64x25x24x{Q}>
  %y = nvdla.download %s -> tensor<1x64x25x24x{Q}>
  func.return %y
}}
""",
    )
    remarks = [render(diagnostic) for diagnostic in session.diagnostics.diagnostics]
    assert any("layer 'big' runs in 2 pieces of rows" in remark for remark in remarks), remarks
    enables = [op.unit for op in module.walk() if isinstance(op, csb.EnableOp)]
    assert enables.count("CDMA") == 2


@pytest.mark.parametrize("target", ["nv_small", "nv_large", "nv_full"])
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_random_convolutions(target: str, data: st.DataObject) -> None:
    """Any window: strides that do not divide, uneven padding, dilation."""
    draw = data.draw
    channels, kernels = draw(st.integers(1, 70)), draw(st.integers(1, 70))
    size, taps, stride, dilation, before, after = ([0, 0] for _ in range(6))
    output = [0, 0]
    for axis in range(2):
        taps[axis] = draw(st.integers(1, 5))
        stride[axis], dilation[axis] = draw(st.integers(1, 4)), draw(st.integers(1, 3))
        extent = (taps[axis] - 1) * dilation[axis] + 1
        before[axis] = draw(st.integers(0, extent - 1))
        after[axis] = draw(st.integers(0, extent - 1))
        least = max(1, extent - before[axis] - after[axis])
        size[axis] = draw(st.integers(least, least + 8))
        output[axis] = (size[axis] + before[axis] + after[axis] - extent) // stride[axis] + 1
    plane = f"{output[0]}x{output[1]}"
    cube = f"tensor<1x{channels}x{size[0]}x{size[1]}x{Q}>"
    pads = [before[0], before[1], after[0], after[1]]
    body = f"""
func.func @main(%x: {cube}) -> tensor<1x{kernels}x{plane}x{Q}> {{
  %a = nvdla.upload %x -> {cube}
  %w = nvdla.constant value=dense_resource<w> : tensor<{kernels}x{channels}x{taps[0]}x{taps[1]}xi8>
  %c = nvdla.conv %a, %w strides={stride} pads={pads} dilations={dilation} pad_value=-100
    -> !nvdla.stream<1x{kernels}x{plane}xi32>
  %s = nvdla.sdp %c cvt_shift=10 -> tensor<1x{kernels}x{plane}x{Q}>
  %y = nvdla.download %s -> tensor<1x{kernels}x{plane}x{Q}>
  func.return %y
}}
"""
    module, session = module_for(target, body)
    inputs = random_inputs(module, draw(st.integers(0, 1000)))
    expected = evaluate(function_of(module), inputs, session.resources)
    compile_registers(module, session)
    found = run_integers(module, session, inputs)
    np.testing.assert_array_equal(found["y"], expected["y"])


class UsedDevice(Device):
    """A device whose register groups are full of what earlier layers left there."""

    def __init__(self, configuration: HardwareConfiguration, *, lenient: bool) -> None:
        super().__init__(configuration, lenient=lenient)
        rng = np.random.default_rng(7)
        for unit in (
            "CDMA",
            "CSC",
            "CMAC_A",
            "CMAC_B",
            "CACC",
            "SDP_RDMA",
            "SDP",
            "PDP_RDMA",
            "PDP",
        ):
            block = register_map(configuration.register_map)[unit]
            for group in (1, 0):
                self.write(unit, "S_POINTER", group)
                for register in block.registers.values():
                    if register.grouped and register.name != "D_OP_ENABLE":
                        word = int(rng.integers(1 << 32)) & register.writable_mask
                        self.write(unit, register.name, word)


@every_configuration
@pytest.mark.parametrize("body", [CONVOLUTION, RESIDUAL, POOLED])
def test_nothing_is_left_of_earlier_layers(
    target: str, body: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "Device", UsedDevice)
    extra = "reciprocals=[21845, 32768] pad_value=3"
    assert_same(target, body.replace("METHOD", "average").replace("EXTRA", extra))


@every_configuration
@pytest.mark.parametrize("image", [False, True])
def test_nothing_is_left_for_memory_readers(
    target: str, image: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "Device", UsedDevice)
    if image:
        test_image_input(target, "T_R8", 1, "i", "")
    else:
        test_the_sdp_on_cubes_in_memory(target)
        test_pooling_of_a_cube_in_memory(
            target, (3, 3), (1, 1), (1, 1, 1, 1), "1x6x9x150", "1x6x9x150"
        )
