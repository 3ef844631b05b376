"""What only the large configurations have: Winograd, RUBIK, BDMA, compressed weights, batches."""

from __future__ import annotations

import numpy as np
import pytest
from programs import (
    CONVOLUTION,
    INPUT,
    OUTPUT,
    WEIGHTS,
    Convolution,
    change,
    enable,
    load,
    new_device,
    program,
    store,
)

from nvdla_ir.hw.formats.compressed_weights import compress_weights
from nvdla_ir.hw.formats.weights import pack_weights
from nvdla_ir.interp.device.device import Device
from nvdla_ir.interp.device.errors import DeviceError
from nvdla_ir.interp.device.winograd import extend_input


def test_winograd_input_folds_strides_into_channels() -> None:
    cube = np.arange(2 * 5 * 6, dtype=np.int8).reshape(2, 5, 6)
    extended = extend_input(cube, lanes=4, padding=(1, 2), pad_value=-7, stride=(2, 3), size=(4, 3))
    assert extended.shape == (2 * 3 * 4, 4, 3)
    for channel, y, x in np.ndindex(*extended.shape):
        fold, lane = divmod(channel, 4)
        row, column = 2 * y + fold // 3 - 1, 3 * x + fold % 3 - 2
        inside = 0 <= row < 5 and 0 <= column < 6
        expected = 0 if lane > 1 else cube[lane, row, column] if inside else -7
        assert extended[channel, y, x] == expected


def test_compressed_weights_give_the_same_result() -> None:
    rng = np.random.default_rng(7)
    weights = rng.integers(-128, 128, (40, 20, 2, 3), np.int8)
    weights[rng.random(weights.shape) < 0.6] = 0
    layer = Convolution(
        rng.integers(-128, 128, (20, 5, 6), np.int8), weights, output_converter=(0, 1, 9)
    )
    plain = layer.run(new_device("nv_full"))
    device = new_device("nv_full")
    hardware = device.configuration
    layer.program(device)
    surface = pack_weights(weights, hardware.atomic_k, hardware.atomic_c)
    parts = compress_weights(surface, 40, weights[0].size, hardware.atomic_k)
    device.primary.fill(WEIGHTS, 0x10000, 0)
    mask, groups = WEIGHTS + 0x20000, WEIGHTS + 0x30000
    device.primary.write(WEIGHTS, parts.data.view(np.uint8))
    device.primary.write(mask, parts.mask)
    device.primary.write(groups, parts.group_bytes.view(np.uint8))
    for block in ("CDMA", "CSC"):
        change(
            device, block, WEIGHT_FORMAT=1, WEIGHT_BYTES=len(parts.data), WMB_BYTES=len(parts.mask)
        )
        banks = device.read(block, "D_BANK") & 0xF
        change(device, block, WEIGHT_BANK=hardware.cbuf.banks - banks - 3)
    change(device, "CDMA", WMB_ADDR_LOW=mask, WGS_ADDR_LOW=groups)
    enable(device, CONVOLUTION)
    assert np.array_equal(load(device, OUTPUT, layer.output_shape), plain)


def test_batches_are_convolved_one_by_one() -> None:
    rng = np.random.default_rng(8)
    cubes = rng.integers(-128, 128, (2, 20, 3, 4), np.int8)
    weights = rng.integers(-128, 128, (33, 20, 1, 2), np.int8)
    device = new_device("nv_full")
    layers = [Convolution(cube, weights, output_converter=(0, 1, 8)) for cube in cubes]
    layers[0].program(device)
    store(device, INPUT + 0x1000, cubes[1])
    change(device, "CDMA", BATCHES=1, BATCH_STRIDE=0x1000)
    change(device, "CSC", BATCHES=1)
    change(device, "CACC", BATCHES=1)
    change(device, "SDP", BATCH_NUMBER=1, DST_BATCH_STRIDE=0x2000)
    change(device, "SDP", DST_LINE_STRIDE=128, DST_SURFACE_STRIDE=384)
    enable(device, CONVOLUTION)
    for number, layer in enumerate(layers):
        alone = layer.run(new_device("nv_full"))
        together = device.primary.read(OUTPUT + 0x2000 * number, 2 * 384).view(np.int8)
        lines = together.reshape(2, 3, 128)[:, :, : 3 * 32].reshape(2, 3, 3, 32)
        assert np.array_equal(lines.transpose(0, 3, 1, 2).reshape(64, 3, 3), alone)


def _reshape(device: Device, mode: int, **fields: int) -> None:
    defaults = {"DATAIN_RAM_TYPE": 1, "DATAOUT_RAM_TYPE": 1, "IN_PRECISION": 0}
    addresses = {"DAIN_ADDR_LOW": INPUT, "DAOUT_ADDR_LOW": OUTPUT}
    program(device, "RBK", RUBIK_MODE=mode, **(defaults | addresses | fields))
    enable(device, ("RBK",))
    device.wait("RUBIK", device.records[-1].units["RBK"])


def test_rubik_splits_and_merges() -> None:
    device = new_device("nv_full")
    cube = np.random.default_rng(1).integers(-128, 128, (40, 3, 5), np.int8)
    layout = store(device, INPUT, cube)
    device.primary.fill(OUTPUT, 0x4000, 0x55)
    size = {"DATAIN_WIDTH": 4, "DATAIN_HEIGHT": 2, "DATAIN_CHANNEL": 39, "DATAOUT_CHANNEL": 39}
    planes, lines = {"DAOUT_PLANAR_STRIDE": 0x80}, {"DAOUT_LINE_STRIDE": 0x20}
    source = {"DAIN_LINE_STRIDE": layout.line_stride, "DAIN_SURF_STRIDE": layout.surface_stride}
    _reshape(device, 1, **size, **planes, **lines, **source)
    split = device.primary.read(OUTPUT, 40 * 0x80).view(np.int8).reshape(40, 4, 32)
    assert np.array_equal(split[:, :3, :5], cube)
    assert not split[:, :3, 5:].any()
    assert (split[:, 3] == 0x55).all()
    device.write("RBK", "S_POINTER", 1)
    merged = OUTPUT + 0x10000
    _reshape(
        device, 2, **size, DAIN_ADDR_LOW=OUTPUT, DAIN_LINE_STRIDE=0x20, DAIN_PLANAR_STRIDE=0x80,
        DAOUT_ADDR_LOW=merged, DAOUT_LINE_STRIDE=layout.line_stride,
        DAOUT_SURF_STRIDE=layout.surface_stride,
    )  # fmt: skip
    found = load(device, merged, cube.shape)
    assert np.array_equal(found[:40], cube)
    assert not found[40:].any()


def test_rubik_contracts_channel_groups_into_pixels() -> None:
    device = new_device("nv_full")
    groups = np.random.default_rng(2).integers(-128, 128, (2, 3, 32, 4, 5), np.int8)
    layout = store(device, INPUT, groups.reshape(-1, 4, 5))
    line = 5 * 3 * 32
    _reshape(
        device, 0, DATAIN_WIDTH=4, DATAIN_HEIGHT=3, DATAIN_CHANNEL=191, DATAOUT_CHANNEL=31,
        DECONV_X_STRIDE=2, DECONV_Y_STRIDE=1, DAIN_LINE_STRIDE=layout.line_stride,
        DAIN_SURF_STRIDE=layout.surface_stride, DAOUT_LINE_STRIDE=line,
        CONTRACT_STRIDE_0=layout.surface_stride, CONTRACT_STRIDE_1=2 * line,
        DAOUT_SURF_STRIDE=8 * line,
    )  # fmt: skip
    found = load(device, OUTPUT, (32, 8, 15))
    for row, column in np.ndindex(2, 3):
        assert np.array_equal(found[:, row::2, column::3], groups[row, column])


def test_bdma_copies_what_was_queued_before_the_launch() -> None:
    device = new_device("nv_full")
    data = np.random.default_rng(3).integers(0, 256, 0x400).astype(np.uint8)
    device.primary.write(INPUT, data)
    for register, word in {
        "CFG_SRC_ADDR_LOW": INPUT, "CFG_DST_ADDR_LOW": OUTPUT, "CFG_LINE": 1, "CFG_CMD": 1,
        "CFG_LINE_REPEAT": 1, "CFG_SRC_LINE": 0x60, "CFG_DST_LINE": 0x40, "CFG_SURF_REPEAT": 2,
        "CFG_SRC_SURF": 0x100, "CFG_DST_SURF": 0x80,
    }.items():  # fmt: skip
        device.write("BDMA", register, word)
    device.write("BDMA", "CFG_OP", 1)
    assert device.read("BDMA", "STATUS") == 1 << 8 | 19
    assert not device.secondary.read(OUTPUT, 0x200).any()
    device.write("BDMA", "CFG_LAUNCH1", 1)
    device.wait("BDMA", 1)
    expected = np.concatenate(
        [data[s * 0x100 + line * 0x60 :][:0x40] for s in range(3) for line in range(2)]
    )
    assert np.array_equal(device.secondary.read(OUTPUT, 0x180), expected)
    for _ in range(20):
        device.write("BDMA", "CFG_OP", 1)
    with pytest.raises(DeviceError, match="the queue holds 20 transfers"):
        device.write("BDMA", "CFG_OP", 1)
