"""What the device notes about the layers that it ran."""

from __future__ import annotations

import numpy as np
import pytest
from attrs import evolve
from programs import (
    CONVOLUTION,
    INPUT,
    OPERAND,
    OUTPUT,
    WEIGHTS,
    Convolution,
    change,
    enable,
    load,
    new_device,
    program,
    program_sdp,
    program_sdp_rdma,
    store,
)
from trace_programs import programs

from nvdla_ir.interp.device.areas import CubeElement, LineByte, MemoryCube, MemoryLines
from nvdla_ir.interp.device.device import Device
from nvdla_ir.interp.device.record import TABLE_HEADINGS, LayerRecord, last_write

_ATOM = 8


def _copied(device: Device, cube: np.ndarray, output: int, group: int, **fields: int) -> None:
    """Send a cube from INPUT through the SDP."""
    store(device, INPUT, cube)
    for block in ("SDP", "SDP_RDMA"):
        device.write(block, "S_POINTER", group)
    program_sdp(device, cube.shape, output, flying=0, **fields)
    program_sdp_rdma(device, cube.shape, INPUT)
    enable(device, ("SDP", "SDP_RDMA"))
    device.wait("SDP", group)


def test_the_record_of_a_convolution() -> None:
    rng = np.random.default_rng(0)
    layer = Convolution(
        rng.integers(-128, 128, (10, 7, 6)).astype(np.int8),
        rng.integers(-128, 128, (5, 10, 3, 2)).astype(np.int8),
        stride=(2, 1), dilation=(1, 2), pad=(1, 0), output_converter=(0, 1, 9),
    )  # fmt: skip
    device = new_device()
    result = layer.run(device)
    (record,) = device.records
    assert record.name == "CONV+SDP"
    assert dict(record.shape) == {
        "input": (10, 7, 6), "kernel": (5, 10, 3, 2), "output": (5, 4, 4), "stride": (2, 1),
        "dilation": (1, 2), "padding": (1, 0),
    }  # fmt: skip
    assert record.multiplications == 5 * 4 * 4 * 10 * 3 * 2
    assert record.reads == (
        MemoryLines("weights", "primary", WEIGHTS, 304),
        MemoryCube("convolution input", "primary", INPUT, 10, 7, 6, 48, 336, _ATOM),
    )
    # The stride of a single surface plays no part.
    assert record.writes == (MemoryCube("output", "primary", OUTPUT, 5, 4, 4, 32, 0, _ATOM),)
    extremes = int(np.count_nonzero((result == 127) | (result == -128)))
    assert 0 < record.saturated["SDP"] <= extremes
    assert record.saturated["CACC"] == 0
    assert str(record).startswith(
        "[CDMA:0 CSC:0 CMAC_A:0 CMAC_B:0 CACC:0 SDP:0] input 10x7x6 kernel 5x10x3x2 "
    )
    assert f"saturated SDP {record.saturated['SDP']} " in str(record)
    row = record.table_row()
    assert len(row) == len(TABLE_HEADINGS)
    assert row[:5] == ("CONV+SDP (group 0)", "10x7x6", "5x10x3x2", "5x4x4", "4,800")


def test_saturations_are_counted_without_any_counter_enabled() -> None:
    device = new_device()
    cube = np.arange(-64, 64, dtype=np.int8).reshape(8, 4, 4)
    _copied(device, cube, OUTPUT, 0, CVT_SCALE=3)
    expected = np.clip(cube.astype(int) * 3, -128, 127)
    assert device.records[0].saturated == {"SDP": np.count_nonzero(expected != cube * 3.0)}
    assert device.read("SDP", "D_PERF_OUT_SATURATION") == 0


@pytest.mark.parametrize("target", ["nv_small", "nv_full"])
def test_counters_of_the_cdp(target: str) -> None:
    """Its look-ups are counted without LUT_EN; later builds tie the other counter to 0."""
    name = "cdp_linear" if target == "nv_small" else "cdp_exponential"
    (program,) = (p for p in programs() if (p.hardware.name, p.name) == (target, name))
    clipping = {"DATOUT_SCALE": 0x4000, "DATOUT_SHIFTER": 0, "DATOUT_OFFSET": 0}
    changed = program.changed("CDP", clipping)
    expected = changed.run(changed.writes)
    device = changed.run(changed.changed("CDP", {"LUT_EN": 0}).writes)
    found = {
        name: device.read("CDP", f"D_PERF_LUT_{name}")
        for name in ("UFLOW", "OFLOW", "HYBRID", "LE_HIT", "LO_HIT")
    }
    record = device.records[0]
    (output,) = record.writes
    assert isinstance(output, MemoryCube)
    atom = device.configuration.memory_atom
    lanes = -(-output.channels // atom) * atom * output.height * output.width
    # They count lanes of whole atoms, each in one class.
    assert sum(found.values()) == lanes
    assert found == {name: expected.read("CDP", f"D_PERF_LUT_{name}") for name in found}
    assert record.saturated["CDP"] > 0
    counted = record.saturated["CDP"] if target == "nv_full" else 0
    assert device.read("CDP", "D_OUT_SATURATION") == counted


def test_a_clipped_accumulator_is_counted() -> None:
    """Sums of 2**31 need 2**17 products of 2**14: a kernel of 512 x 16 x 16 taps."""
    device = new_device("nv_full")
    cube = np.full((512, 16, 17), -128, np.int8)
    layer = Convolution(cube, np.full((2, 512, 16, 16), -128, np.int8))
    layer.program(device)
    enable(device, CONVOLUTION)
    assert device.records[0].saturated["CACC"] == 2 * 1 * 2
    assert device.read("CACC", "D_OUT_SATURATION") == 4


@pytest.mark.parametrize("mode", ["PER_KERNEL", "PER_ELEMENT"])
def test_operands_are_read(mode: str) -> None:
    device = new_device()
    shape = (12, 3, 5)
    store(device, INPUT, np.zeros(shape, np.int8))
    program_sdp(
        device, shape, OUTPUT, flying=0, BS_BYPASS=0, BS_ALU_ALGO=2, BS_ALU_SRC=1, BS_MUL_SRC=1,
        BS_ALU_BYPASS=0, BS_MUL_BYPASS=0,
    )  # fmt: skip
    program_sdp_rdma(
        device, shape, INPUT, BRDMA_DISABLE=0, BRDMA_DATA_USE=2, BRDMA_DATA_SIZE=1,
        BRDMA_DATA_MODE=int(mode == "PER_ELEMENT"), BRDMA_RAM_TYPE=1, BS_BASE_ADDR_LOW=OPERAND,
        BS_LINE_STRIDE=0x100, BS_SURFACE_STRIDE=0x1000,
    )  # fmt: skip
    enable(device, ("SDP", "SDP_RDMA"))
    operands = device.records[0].reads[1]
    assert isinstance(operands, MemoryCube)
    assert (operands.purpose, operands.element_bytes) == ("BS operands", 4)
    # The multiplier's high byte of channel 9, the second lane of the second group.
    offset = 1 * 4 + 3
    if mode == "PER_KERNEL":
        assert operands.locate(OPERAND + 32 + offset) == CubeElement(1, 9, 0, 0, byte=3)
        assert operands.end == OPERAND + 2 * 32
    else:
        address = OPERAND + 0x1000 + 2 * 0x100 + 4 * 32 + offset
        assert operands.locate(address) == CubeElement(1, 9, 2, 4, byte=3)


def test_the_last_layer_that_wrote_an_address() -> None:
    device = new_device()
    cube = np.arange(-64, 64, dtype=np.int8).reshape(8, 4, 4)
    _copied(device, cube, OUTPUT, 0)
    _copied(device, cube[:5], OUTPUT + 32, 1, DST_LINE_STRIDE=64)
    _copied(device, cube, OUTPUT + 0x1000, 0)
    records = device.records
    first = last_write(records, "primary", OUTPUT + 8)
    assert first is not None
    assert (first.index, first.element) == (0, CubeElement(0, 0, 0, 1))
    second = last_write(records, "primary", OUTPUT + 32 + 7)
    assert second is not None
    assert second.record is records[1]
    assert str(second) == (
        "output of layer 1 (SDP): surface 0, channel 7, row 0, column 0 (padding)"
    )
    # A gap between the lines of the second layer, where the first wrote.
    gap = last_write(records, "primary", OUTPUT + 64)
    assert gap is not None
    assert (gap.index, gap.element) == (0, CubeElement(0, 0, 2, 0))
    assert last_write(records, "primary", OUTPUT + 0x800) is None
    assert last_write(records, "primary", INPUT) is None
    assert last_write(records, "secondary", OUTPUT) is None


def test_every_byte_that_a_layer_writes_is_its_own() -> None:
    """Memory is filled with a mark: what differs afterwards is what the record tells."""
    device = new_device()
    device.primary.fill(OUTPUT, 0x1000, 0xA5)
    cube = np.full((11, 3, 4), 3, np.int8)
    cube_and_lanes = np.full((16, 3, 4), 3, np.int8)
    store(device, INPUT, cube_and_lanes)
    _copied(device, cube_and_lanes, OUTPUT + 0x2000, 0)
    for block in ("SDP", "SDP_RDMA"):
        device.write(block, "S_POINTER", 1)
    program_sdp(
        device, cube.shape, OUTPUT + 16, flying=0, DST_LINE_STRIDE=56, DST_SURFACE_STRIDE=0x200
    )
    program_sdp_rdma(device, cube.shape, INPUT)
    enable(device, ("SDP", "SDP_RDMA"))
    (area,) = device.records[1].writes
    written = device.primary.read(OUTPUT, 0x1000) != 0xA5
    assert written.tolist() == [area.contains(OUTPUT + offset) for offset in range(0x1000)]


def test_pooled_cubes() -> None:
    device = new_device()
    cube = np.arange(-64, 64, dtype=np.int8).reshape(8, 4, 4)
    layout = store(device, INPUT, cube)
    size = {"CUBE_IN_WIDTH": 3, "CUBE_IN_HEIGHT": 3, "CUBE_IN_CHANNEL": 7, "INPUT_DATA": 0}
    program(
        device, "PDP", **size, CUBE_OUT_WIDTH=1, CUBE_OUT_HEIGHT=1, POOLING_METHOD=1, FLYING_MODE=1,
        KERNEL_WIDTH=1, KERNEL_HEIGHT=1, KERNEL_STRIDE_WIDTH=1, KERNEL_STRIDE_HEIGHT=1,
        DST_BASE_ADDR_LOW=OUTPUT, DST_LINE_STRIDE=24, DST_RAM_TYPE=1,
    )  # fmt: skip
    program(
        device, "PDP_RDMA", **size, FLYING_MODE=1, SRC_BASE_ADDR_LOW=INPUT, SRC_RAM_TYPE=1,
        SRC_LINE_STRIDE=layout.line_stride,
    )  # fmt: skip
    enable(device, ("PDP", "PDP_RDMA"))
    (record,) = device.records
    assert (record.shape["input"], record.shape["pooled"]) == ((8, 4, 4), (8, 2, 2))
    assert record.table_row()[3] == "8x2x2"
    assert last_write([record], "primary", OUTPUT + 24 + 8 + 3) is not None
    element = record.writes[0].locate(OUTPUT + 24 + 8 + 3)
    assert element == CubeElement(0, 3, 1, 1)
    assert load(device, OUTPUT, (1, 1, 1))[0, 0, 0] == cube[0, :2, :2].max()


def _reshape(device: Device, mode: int, **fields: int) -> LayerRecord:
    defaults = {"DATAIN_RAM_TYPE": 1, "DATAOUT_RAM_TYPE": 1, "IN_PRECISION": 0}
    addresses = {"DAIN_ADDR_LOW": INPUT, "DAOUT_ADDR_LOW": OUTPUT}
    program(device, "RBK", RUBIK_MODE=mode, **(defaults | addresses | fields))
    enable(device, ("RBK",))
    return device.records[-1]


def test_reshaped_cubes() -> None:
    size = {"DATAIN_WIDTH": 4, "DATAIN_HEIGHT": 2, "DATAIN_CHANNEL": 39, "DATAOUT_CHANNEL": 39}
    split = _reshape(
        new_device("nv_full"), 1, **size, DAIN_LINE_STRIDE=160, DAIN_SURF_STRIDE=480,
        DAOUT_LINE_STRIDE=64, DAOUT_PLANAR_STRIDE=0x100,
    )  # fmt: skip
    address = OUTPUT + 38 * 0x100 + 2 * 64
    assert split.writes[0].locate(address + 4) == CubeElement(38, 38, 2, 4)
    assert split.writes[0].locate(address + 5) == CubeElement(38, 38, 2, 5, padding=True)
    assert split.writes[0].locate(address + 32) is None
    assert split.reads[0].locate(INPUT + 480 + 160 + 33) == CubeElement(1, 33, 1, 1)
    merged = _reshape(
        new_device("nv_full"), 2, **size, DAIN_LINE_STRIDE=32, DAIN_PLANAR_STRIDE=0x80,
        DAOUT_LINE_STRIDE=160, DAOUT_SURF_STRIDE=480,
    )  # fmt: skip
    assert merged.reads[0].locate(INPUT + 0x80 + 32 + 3) == CubeElement(1, 1, 1, 3)
    assert merged.writes[0].locate(OUTPUT + 480 + 8) == CubeElement(1, 40, 0, 0, padding=True)


def test_contracted_cubes() -> None:
    device = new_device("nv_full")
    device.primary.fill(INPUT, 0x4000, 1)
    device.primary.fill(OUTPUT, 0x4000, 0xA5)
    line = 5 * 3 * 32
    record = _reshape(
        device, 0, DATAIN_WIDTH=4, DATAIN_HEIGHT=3, DATAIN_CHANNEL=191, DATAOUT_CHANNEL=29,
        DECONV_X_STRIDE=2, DECONV_Y_STRIDE=1, DAIN_LINE_STRIDE=160, DAIN_SURF_STRIDE=640,
        DAOUT_LINE_STRIDE=line + 32, CONTRACT_STRIDE_0=640, CONTRACT_STRIDE_1=2 * line + 64,
        DAOUT_SURF_STRIDE=8 * line,
    )  # fmt: skip
    written = device.primary.read(OUTPUT, 0x4000) != 0xA5
    contained = [
        last_write([record], "primary", OUTPUT + offset) is not None for offset in range(0x4000)
    ]
    assert written.tolist() == contained
    place = last_write([record], "primary", OUTPUT + 3 * (line + 32) + 14 * 32 + 2)
    assert place is not None
    assert place.element == CubeElement(0, 2, 3, 14)


def test_copied_lines() -> None:
    device = new_device("nv_full")
    for register, word in {
        "CFG_SRC_ADDR_LOW": INPUT, "CFG_DST_ADDR_LOW": OUTPUT, "CFG_LINE": 1, "CFG_CMD": 1,
        "CFG_LINE_REPEAT": 1, "CFG_SRC_LINE": 0x60, "CFG_DST_LINE": 0x60, "CFG_SURF_REPEAT": 2,
        "CFG_SRC_SURF": 0x100, "CFG_DST_SURF": 0x100, "CFG_OP": 1, "CFG_LAUNCH0": 1,
    }.items():  # fmt: skip
        device.write("BDMA", register, word)
    (record,) = device.records
    place = last_write(device.records, "secondary", OUTPUT + 2 * 0x100 + 0x60 + 5)
    assert place is not None
    assert str(place) == "destination of layer 0 (BDMA): block 2, line 1, byte 5"
    assert last_write(device.records, "secondary", OUTPUT + 0x40) is None
    assert last_write(device.records, "primary", OUTPUT) is None
    assert record.reads[0] == evolve(place.area, purpose="source", memory="primary", base=INPUT)
    assert place.element == LineByte(2, 1, 5)


def test_batches_are_cubes_of_one_area() -> None:
    rng = np.random.default_rng(8)
    device = new_device("nv_full")
    layer = Convolution(
        rng.integers(-128, 128, (20, 3, 4), np.int8),
        rng.integers(-128, 128, (3, 20, 1, 1), np.int8),
    )
    layer.program(device)
    change(device, "CDMA", BATCHES=1, BATCH_STRIDE=0x1000)
    change(device, "CSC", BATCHES=1)
    change(device, "CACC", BATCHES=1)
    change(device, "SDP", BATCH_NUMBER=1, DST_BATCH_STRIDE=0x2000)
    change(device, "SDP", DST_LINE_STRIDE=128, DST_SURFACE_STRIDE=384)
    enable(device, CONVOLUTION)
    (record,) = device.records
    element = record.writes[0].locate(OUTPUT + 0x2000 + 128 + 2)
    assert element == CubeElement(0, 2, 1, 0, batch=1)
    assert record.reads[1].locate(INPUT + 0x1000) == CubeElement(0, 0, 0, 0, batch=1)
