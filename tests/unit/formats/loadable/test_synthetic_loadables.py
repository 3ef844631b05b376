"""Small loadables of every unit, in both layouts, against what they say they compute."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from loadable_building import (
    CV,
    FLYING,
    INPUT,
    OUTPUT,
    Loadable,
    convolution,
    cube,
    pdp,
    sdp,
)
from loadable_running import Array, atoms, fields, full_range, imported, run

from nvdla_ir.hw.formats.compressed_weights import compress_weights
from nvdla_ir.hw.formats.weights import pack_weights
from nvdla_ir.ir.diagnostics import DiagnosticError

SHAPE = (12, 5, 6)
LAYOUTS = pytest.mark.parametrize("old", [False, True], ids=["current layout", "old layout"])


def clamped(values: Array) -> Array:
    return np.clip(values, -128, 127).astype(np.int8)


def one_sdp(old: bool = False, shape: tuple[int, int, int] = SHAPE, **changes: Any) -> Loadable:
    net = Loadable(old=old)
    x = net.bound("x", INPUT, shape, 8)
    y = net.bound("y", OUTPUT, shape, 8)
    net.hardware_task([sdp(cube(x, shape, 8), cube(y, shape, 8), **changes)])
    return net


@LAYOUTS
def test_sdp_activates(old: bool) -> None:
    net = one_sdp(old, x1_op={"enable": 1, "act": 1})
    x = full_range(1, 1, *SHAPE)
    np.testing.assert_array_equal(run(net, {"x": x})["y"], np.maximum(x, 0))


@LAYOUTS
def test_sdp_scales_and_adds_one_number(old: bool) -> None:
    operand = {"enable": 1, "type": 3, "alu_type": 2, "shift_value": 1, "truncate": 2}
    net = one_sdp(old, x1_op=operand | {"alu_operand": 3, "mul_operand": 5})
    x = full_range(2, 1, *SHAPE)
    wide = (x.astype(np.int64) + (3 << 1)) * 5
    rounded = np.sign(wide) * ((np.abs(wide) + 2) >> 2)
    np.testing.assert_array_equal(run(net, {"x": x})["y"], clamped(rounded))


def test_operands_that_do_not_act_may_be_anything() -> None:
    net = one_sdp(x1_op={"enable": 1, "type": 2, "alu_type": 2, "mul_operand": 1 << 20})
    x = full_range(2, 1, *SHAPE)
    np.testing.assert_array_equal(run(net, {"x": x})["y"], x)


@pytest.mark.parametrize("unit", ["x1", "x2"])
def test_sdp_reads_operands_of_channels_from_memory(unit: str) -> None:
    net = Loadable()
    x, y = net.bound("x", INPUT, SHAPE, 8), net.bound("y", OUTPUT, SHAPE, 8)
    table = np.zeros((16, 2), np.int16)
    table[:12] = np.random.default_rng(3).integers(-300, 300, (12, 2))
    operand = net.memory(64, table.astype("<i2").tobytes())
    operation = sdp(
        cube(x, SHAPE, 8),
        cube(y, SHAPE, 8),
        **{
            f"{unit}_op": {
                "enable": 1,
                "type": 3,
                "alu_type": 2,
                "mode": 1,
                "precision": 1,
                "truncate": 7,
            },
            f"{unit}_data": cube(operand, (12, 1, 1), 32),
        },
    )
    net.hardware_task([operation])
    values = full_range(4, 1, *SHAPE)
    wide = (values.astype(np.int64) + table[:12, 0, None, None]) * table[:12, 1, None, None]
    rounded = np.sign(wide) * ((np.abs(wide) + 64) >> 7)
    np.testing.assert_array_equal(run(net, {"x": values})["y"], clamped(rounded))


def test_two_inputs_are_added_per_element() -> None:
    net = Loadable()
    x, z = net.bound("x", INPUT, SHAPE, 8), net.bound("z", INPUT, SHAPE, 8)
    y = net.bound("y", OUTPUT, SHAPE, 8)
    operand = {"enable": 1, "type": 2, "alu_type": 2, "mode": 2}
    copied = sdp(cube(x, SHAPE, 8), cube(y, SHAPE, 8), x1_op=operand, x1_data=cube(z, SHAPE, 8))
    net.hardware_task([copied])
    a, b = full_range(5, 1, *SHAPE), full_range(6, 1, *SHAPE)
    expected = clamped(a.astype(int) + b)
    np.testing.assert_array_equal(run(net, {"x": a, "z": b})["y"], expected)


@LAYOUTS
def test_convolution_flies_to_sdp_and_pdp(old: bool) -> None:
    net = Loadable(old=old)
    pooled = (10, 2, 3)
    x, y = net.bound("x", INPUT, SHAPE, 8), net.bound("y", OUTPUT, pooled, 8)
    weights = full_range(7, 10, 12)
    # groups of 8 kernels, blocks of 8 channels
    order = [
        weights[g : g + 8, c : c + 8].ravel() for g in range(0, 10, 8) for c in range(0, 12, 8)
    ]
    memory = net.memory(128, np.concatenate(order).tobytes())
    made = cube(0, (10, 5, 6), 8, type=FLYING)
    layer = [
        convolution(cube(x, SHAPE, 8), made, cube(memory, SHAPE, 8, size=128), 12),
        sdp(made, made, out_cvt={"scale": 1, "truncate": 7, "enable": 1}),
        pdp(made, cube(y, pooled, 8), pool_width=1, pool_height=1, stride_x=2, stride_y=2),
    ]
    net.hardware_task(layer)
    values = full_range(8, 1, *SHAPE)
    sums = np.einsum("kc,chw->khw", weights.astype(int), values[0].astype(int))
    scaled = clamped(np.sign(sums) * ((np.abs(sums) + 64) >> 7))
    expected = scaled[:, :4].reshape(10, 2, 2, 3, 2).max(axis=(2, 4))
    np.testing.assert_array_equal(run(net, {"x": values}, target="nv_small")["y"][0], expected)


def test_weights_may_be_compressed() -> None:
    net = Loadable()
    shape, made_shape = (40, 2, 3), (48, 2, 3)
    x, y = net.bound("x", INPUT, shape, 32), net.bound("y", OUTPUT, made_shape, 32)
    weights = full_range(30, 48, 40, 1, 1)
    weights[np.random.default_rng(31).random(weights.shape) < 0.6] = 0
    surface = pack_weights(weights, kernels_per_group=32, channels_per_block=64)
    packed = compress_weights(surface, 48, 40, 32)
    names = ("weight_data", "wmb_data", "wgs_data")
    parts = [array.tobytes() for array in (packed.data, packed.mask, packed.group_bytes)]
    surfaces = {
        name: cube(net.memory(len(part), part), shape, 32, size=len(part))
        for name, part in zip(names, parts, strict=True)
    }
    made = cube(0, made_shape, 32, type=FLYING)
    layer = convolution(cube(x, shape, 32), made, surfaces["weight_data"], 2, weight_format=1)
    layer["surface"] |= surfaces
    net.hardware_task(
        [layer, sdp(made, cube(y, made_shape, 32), out_cvt={"scale": 1, "truncate": 8})]
    )
    values = full_range(32, 1, *shape)
    sums = np.einsum("kc,chw->khw", weights[:, :, 0, 0].astype(int), values[0].astype(int))
    expected = clamped(np.sign(sums) * ((np.abs(sums) + 128) >> 8))
    np.testing.assert_array_equal(run(net, {"x": values}, target="nv_full")["y"][0], expected)


@pytest.mark.parametrize("offset", [56, -8])
def test_the_second_plane_lies_in_the_buffer(offset: int) -> None:
    with pytest.raises(DiagnosticError, match=f"but memory 1 has .* from {offset} on"):
        imported(two_planes(offset), target="nv_small", raw_inputs={"x"})


def two_planes(offset: int) -> Loadable:
    """A convolution of an image with its second plane ``offset`` bytes behind its first one."""
    net = Loadable()
    shape = (3, 2, 4)
    x = net.memory(64, flags=1 | INPUT)
    tensor = {"id": 0, "name": "x", "mem_id": x, "size": 64, "data_type": 5, "pixel_format": 28}
    net.lists["tensor"] = [tensor | {"n": 1, "c": 3, "h": 2, "w": 4, "stride_1": 8}]
    y = net.bound("y", OUTPUT, shape, 8)
    made = cube(0, shape, 8, type=FLYING)
    weights = net.memory(128, np.eye(3, dtype=np.int8).tobytes().ljust(128, b"\0"))
    source = cube(x, shape, 8) | {"line_stride": 8, "surf_stride": 0}
    converter = {"scale": 1, "enable": 1, "offset": 128}
    layer = convolution(
        source, made, cube(weights, shape, 8, size=128), 2, data_format=28, in_cvt=converter
    )
    layer["surface"] |= {"offset_u": offset, "in_line_uv_stride": 8}
    net.hardware_task([layer, sdp(made, cube(y, shape, 8))])
    return net


def test_images_of_two_planes_are_given_as_bytes() -> None:
    shape = (3, 2, 4)
    net = two_planes(32)
    pixels = np.random.default_rng(33).integers(0, 256, shape, np.uint8)
    memory = np.zeros(64, np.uint8)
    memory[:16].reshape(2, 8)[:, :4] = pixels[0]
    memory[32:48] = pixels[[2, 1]].transpose(1, 2, 0).ravel()  # V is at the lower address
    bytes_of_x = memory.view(np.int8)
    results = run(net, {"x": bytes_of_x}, target="nv_small", raw_inputs={"x"})
    np.testing.assert_array_equal(results["y"][0], pixels.astype(int) - 128)


def test_pooling_from_memory_programs_reciprocals_and_padding() -> None:
    net = Loadable()
    shape = (8, 4, 4)
    x, y = net.bound("x", INPUT, shape, 8), net.bound("y", OUTPUT, shape, 8)
    operation = pdp(
        cube(x, shape, 8),
        cube(y, shape, 8),
        pool_mode=0,
        pool_width=2,
        pool_height=2,
        pad_left=1,
        pad_right=1,
        pad_top=1,
        pad_bottom=1,
        padding_value=[-3, -6, -9],
    )
    net.hardware_task([operation])
    module, _ = imported(net, target="nv_small")
    programmed = fields(module, "PDP")
    assert programmed["RECIP_KERNEL_WIDTH"] == programmed["RECIP_KERNEL_HEIGHT"] == 21845
    assert [programmed[f"PAD_VALUE_{n}X"] for n in (1, 2, 3, 4)] == [-3, -6, -9, 0]
    values = full_range(9, 1, *shape)
    padded = np.pad(values[0].astype(int), ((0, 0), (1, 1), (1, 1)), constant_values=-3)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    sums = windows.sum(axis=(3, 4))
    once = np.sign(sums) * ((np.abs(sums) * 21845 + (1 << 15)) >> 16)
    twice = np.sign(once) * ((np.abs(once) * 21845 + (1 << 15)) >> 16)
    np.testing.assert_array_equal(run(net, {"x": values}, target="nv_small")["y"][0], twice)


# Tables that return what they are asked for: LO has one entry a step from -128 on, and wins.
IDENTITY_TABLE = {
    "linear_exp_table": [0] * 65,
    "linear_only_table": list(range(-128, 129)),
    "linear_only_start": (1 << 64) - 128,
    "linear_only_end": 128,
    "method": 1,
    "underflow_priority": 1,
    "overflow_priority": 1,
    "hybrid_priority": 1,
}


@LAYOUTS
def test_sdp_looks_tables_up(old: bool) -> None:
    net = Loadable(old=old)
    shape = (40, 3, 3)
    x, y, z = (
        net.bound("x", INPUT, shape, 32),
        net.bound("y", OUTPUT, shape, 32),
        net.bound("z", OUTPUT, shape, 32),
    )
    squares = IDENTITY_TABLE | {"linear_only_table": [i * i // 130 for i in range(-128, 129)]}
    looked_up = {"enable": 1, "act": 2}
    net.hardware_task(
        [sdp(cube(x, shape, 32), cube(y, shape, 32), y_op=looked_up, lut_index=1)],
        [sdp(cube(y, shape, 32), cube(z, shape, 32), y_op=looked_up, lut_index=0)],
        luts=[squares, IDENTITY_TABLE],
    )
    values = full_range(10, 1, *shape)
    results = run(net, {"x": values}, target="nv_large")
    np.testing.assert_array_equal(results["y"], values)
    np.testing.assert_array_equal(results["z"], values.astype(int) ** 2 // 130)


@LAYOUTS
def test_cdp_normalizes_through_its_tables(old: bool) -> None:
    net = Loadable(old=old)
    x, y = net.bound("x", INPUT, SHAPE, 8), net.bound("y", OUTPUT, SHAPE, 8)
    op = {
        "lut_index": 0,
        "in_cvt": {"scale": 1},
        "out_cvt": {"scale": 1},
        "local_size": 5,
        "bypass_sqsum": 1,
        "bypass_out_mul": 1,
    }
    surface = {"src_data": cube(x, SHAPE, 8), "dst_data": cube(y, SHAPE, 8)}
    net.hardware_task([{"kind": "cdp", "op": op, "surface": surface}], luts=[IDENTITY_TABLE])
    module, _ = imported(net, target="nv_small")
    assert fields(module, "CDP")["NORMALZ_LEN"] == "LEN5"
    values = full_range(11, 1, *SHAPE)
    np.testing.assert_array_equal(run(net, {"x": values}, target="nv_small")["y"], values)


@LAYOUTS
def test_rubik_contracts(old: bool) -> None:
    net = Loadable(old=old)
    wide, tall = (4 * 32, 3, 2), (32, 6, 4)
    x, y = net.bound("x", INPUT, wide, 32), net.bound("y", OUTPUT, tall, 32)
    surface = {"src_data": cube(x, wide, 32), "dst_data": cube(y, tall, 32)}
    op = {"mode": 0, "stride_x": 2, "stride_y": 2}
    net.hardware_task([{"kind": "rubik", "op": op, "surface": surface}])
    values = full_range(12, 1, *wide)
    shuffled = values[0].reshape(2, 2, 32, 3, 2).transpose(2, 3, 0, 4, 1).reshape(tall)
    np.testing.assert_array_equal(run(net, {"x": values}, target="nv_full")["y"][0], shuffled)


@LAYOUTS
def test_bdma_copies_to_sram_and_back(old: bool) -> None:
    net = Loadable(old=old)
    shape = (32, 4, 4)
    x, y = net.bound("x", INPUT, shape, 32), net.bound("y", OUTPUT, shape, 32)
    sram = net.memory(512, domain=1)

    def moved(source: int, destination: int, types: tuple[int, int]) -> dict[str, Any]:
        transfer = {
            "source_address": source,
            "destination_address": destination,
            "line_size": 128,
            "line_repeat": 4,
            "source_line": 128,
            "destination_line": 128,
            "surface_repeat": 1,
            "source_surface": 512,
            "destination_surface": 512,
        }
        surface = {
            "source_type": types[0],
            "destination_type": types[1],
            "num_transfers": 1,
            "transfers": [transfer],
        }
        return {"kind": "bdma", "op": {"num_transfers": 1}, "surface": surface}

    nothing = {"kind": "bdma", "surface": {"num_transfers": 0}}
    net.hardware_task([moved(x, sram, (0, 1))], [nothing], [moved(sram, y, (1, 0))])
    values = full_range(13, 1, *shape)
    results = run(net, {"x": values}, target="nv_full")
    np.testing.assert_array_equal(results["y"], values)


def test_cubes_may_lie_in_sram() -> None:
    net = Loadable()
    shape = (32, 2, 2)
    x, y = net.bound("x", INPUT, shape, 32), net.bound("y", OUTPUT, shape, 32)
    sram = cube(net.memory(128, domain=1), shape, 32, type=CV)
    net.hardware_task([sdp(cube(x, shape, 32), sram)], [sdp(sram, cube(y, shape, 32))])
    module, _ = imported(net, target="nv_large")
    assert fields(module, "SDP", 0)["DST_RAM_TYPE"] == "CV"
    assert fields(module, "SDP_RDMA", 1)["SRC_RAM_TYPE"] == "CV"
    values = full_range(14, 1, *shape)
    np.testing.assert_array_equal(run(net, {"x": values}, target="nv_large")["y"], values)


def test_a_cube_starts_at_its_offset_in_the_buffer() -> None:
    shape = (8, 2, 2)
    net = Loadable()
    x, y = net.bound("x", INPUT, shape, 8), net.bound("y", OUTPUT, shape, 8)
    pool = net.memory(4096)
    inner = cube(pool, shape, 8, offset=520)
    net.hardware_task([sdp(cube(x, shape, 8), inner)], [sdp(inner, cube(y, shape, 8))])
    module, _ = imported(net)
    address = fields(module, "SDP")["DST_BASE_ADDR_LOW"]
    assert isinstance(address, int)
    assert address % 4096 == 520
    values = full_range(15, 1, *shape)
    np.testing.assert_array_equal(run(net, {"x": values})["y"], values)


def test_raw_inputs_and_outputs_are_the_buffers_bytes() -> None:
    net = one_sdp()
    x = full_range(16, 1, *SHAPE)
    raw = run(net, {"x": atoms(x, 8)}, raw_inputs={"x"}, raw_outputs={"y"})["y"]
    np.testing.assert_array_equal(raw, atoms(x, 8))
    assert raw.shape == (2 * 5 * 6 * 8,)


def test_tasks_run_in_the_order_of_submissions() -> None:
    net = Loadable()
    x, y = net.bound("x", INPUT, SHAPE, 8), net.bound("y", OUTPUT, SHAPE, 8)
    here, there = cube(x, SHAPE, 8), cube(y, SHAPE, 8)
    plus = {"enable": 1, "type": 2, "alu_type": 2, "alu_operand": 100}
    net.hardware_task([sdp(there, there, x1_op={"enable": 1, "act": 1})])
    net.hardware_task([sdp(here, there, x1_op=plus)])
    net.lists["submit"] = [{"task_id": [1, 0]}]
    values = full_range(17, 1, *SHAPE)
    expected = np.maximum(clamped(values.astype(int) + 100), 0)
    np.testing.assert_array_equal(run(net, {"x": values})["y"], expected)
