"""What the hardware forbids: each rule with the register, its value and what must hold.

Each row breaks one rule of a program that is legal otherwise. A lenient device makes a remark of
it where the hardware would go on; what no hardware can do is an error all the same.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
from attrs import frozen
from trace_programs import Program, programs

from nvdla_ir.hw.registers import register_map
from nvdla_ir.interp.device.errors import DeviceError, MemoryAccessError

PROGRAMS = {f"{program.hardware.name}/{program.name}": program for program in programs()}


@frozen
class Rule:
    """A program, the fields that break it, and the words of the error.

    ``block`` may be several, as in "CDMA+CSC": each gets the fields that it has.
    """

    program: str
    block: str
    fields: dict[str, int]
    words: str
    always: bool = False
    """An error even if lenient."""

    def __str__(self) -> str:
        names = "-".join(f"{name}={value}" for name, value in self.fields.items())
        return f"{self.program.replace('/', '-')}-{self.block}-{names}"


def _rules(program: str, block: str, *rows: tuple[Any, ...]) -> list[Rule]:
    return [Rule(program, block, *row) for row in rows]


SMALL, EW, LARGE, FULL = "nv_small", "nv_small_256_full", "nv_large_b", "nv_full"
BLOCKS, IMAGE = f"{SMALL}/dc_channel_blocks", f"{SMALL}/img_four_channels"

RULES = [
    # convolution.md sections 0 and 3.4 to 3.6: what CDMA and CSC say twice, what fits the buffer
    *_rules(
        BLOCKS,
        "CDMA",
        ({"DATA_BANK": 1}, r"CSC\.D_BANK\.DATA_BANK = 0x0 \(0\): must equal CDMA\.DATA_BANK, 1"),
        ({"ENTRIES": 99}, r"must equal CDMA\.ENTRIES, 99"),
        ({"WEIGHT_BYTES": 64}, r"must equal CDMA\.WEIGHT_BYTES, 64"),
        ({"BYTE_PER_KERNEL": 5}, "must equal the kernel's bytes - 1, 43"),
        (
            {"LINE_PACKED": 1, "LINE_STRIDE": 0x40},
            "LINE_PACKED = .*: must be 0 unless LINE_STRIDE is 24",
        ),
        ({"LINE_PACKED": 0, "LINE_STRIDE": 24}, "must be 1, as LINE_STRIDE is 24, the packed size"),
        ({"SURF_PACKED": 1, "SURF_STRIDE": 0x100}, "must be 0 unless SURF_STRIDE is 48"),
        ({"GRAINS": 1, "LINE_PACKED": 0}, "GRAINS = .*: must be 0 unless LINE_PACKED = 1"),
        ({"LINE_STRIDE": 16}, "lines overlap: must be at least 24 for 3 columns"),
        ({"SURF_STRIDE": 24, "LINE_STRIDE": 24, "LINE_PACKED": 1}, "surfaces overlap: 2 of 2"),
        ({"LINE_STRIDE": 44}, "must be a multiple of the memory atom, 8 bytes"),
        ({"DATAIN_RAM_TYPE": 0}, r"nv_small has no secondary memory \(CV\): must be 1 \(MC\)"),
        ({"CONV_MODE": 1}, "must equal CDMA's, 1", True),
        ({"WEIGHT_FORMAT": 1}, "nv_small has no weight compression"),
        ({"BATCHES": 1}, "nv_small runs at most 1 cubes a layer"),
        ({"IN_PRECISION": 1}, r"only INT8 \(0\) is modelled"),
        ({"DATAIN_WIDTH": 5}, "must equal CDMA.DATAIN_WIDTH, 5"),
        ({"DATAIN_CHANNEL": 5}, "must equal CDMA.DATAIN_CHANNEL, 5", True),
        ({"WEIGHT_REUSE": 1}, "must equal CDMA.WEIGHT_REUSE, 1"),
    ),
    *_rules(
        BLOCKS,
        "CDMA+CSC",
        ({"ENTRIES": 99}, "must equal the entries of one line - 1"),
        ({"WEIGHT_BANK": 31}, "data and 32 weight banks: nv_small has 32"),
        ({"WEIGHT_BYTES": 64}, "must hold all weights, 88 bytes", True),
        ({"WEIGHT_REUSE": 1}, "no weights are kept: the layer before must have"),
    ),
    *_rules(
        f"{SMALL}/dc_kernel_groups",
        "CDMA+CSC",
        (
            {"DATAIN_HEIGHT": 8191, "DATAIN_HEIGHT_EXT": 8191},
            "4 entries: the whole",
            True,
        ),
    ),
    *_rules(
        BLOCKS,
        "CSC",
        ({"RLS_SLICES": 2}, "must be at most DATAIN_HEIGHT_EXT = 1"),
        ({"ATOMICS": 2}, "must equal the output size - 1"),
        ({"WEIGHT_CHANNEL_EXT": 3}, "must equal DATAIN_CHANNEL_EXT, 10", True),
        ({"WEIGHT_KERNEL": 2}, "must equal CDMA.WEIGHT_KERNEL, 1"),
        ({"SKIP_DATA_RLS": 1}, "must equal CDMA.SKIP_DATA_RLS, 0"),
        ({"Y_EXTENSION": 1}, "must be 0 but with image input: the CSC skips rows", True),
    ),
    *_rules(
        BLOCKS,
        "CACC",
        ({"CLIP_TRUNCATE": 17}, r"CLIP_TRUNCATE = 0x11 \(17\): must be at most 16"),
        ({"DATAOUT_CHANNEL": 5}, "must equal CSC.DATAOUT_CHANNEL, 1"),
    ),
    *_rules(BLOCKS, "CMAC_B", ({"PROC_PRECISION": 1}, r"only INT8 \(0\) is modelled")),
    *_rules(BLOCKS, "SDP", ({"WIDTH": 5}, r"must equal CSC\.DATAOUT_WIDTH", True)),
    # convolution.md sections 2.2, 2.3 and 2.5: images
    *_rules(
        IMAGE,
        "CDMA",
        ({"PIXEL_FORMAT": 3}, "not a pixel format of 8-bit components", True),
        ({"PIXEL_FORMAT": 0}, "must be 0: T_R8 has 1 channels", True),
        ({"PIXEL_X_OFFSET": 2}, "must be at most 1 with T_", True),
        ({"PIXEL_Y_OFFSET": 1}, "only pitch-linear images exist"),
        ({"PIXEL_MAPPING": 1}, "only pitch-linear images exist"),
        ({"LINE_STRIDE": 16}, "lines overlap: must be at least", True),
    ),
    *_rules(
        IMAGE,
        "CSC",
        ({"X_DILATION_EXT": 1}, "must be 0 with image input"),
        ({"WEIGHT_WIDTH_EXT": 1}, "must equal 0 with image input"),
        ({"WEIGHT_CHANNEL_EXT": 6}, "one more must be a multiple of the 4 channels", True),
        ({"Y_EXTENSION": 1}, "leave no room for 2 lines", True),
        ({"Y_EXTENSION": 3}, "must be 0, 1 or 2", True),
    ),
    # convolution.md sections 4.7 and 2.8: Winograd
    *_rules(
        f"{FULL}/wino",
        "CSC",
        ({"CONV_X_STRIDE_EXT": 1}, "must equal 0 with Winograd"),
        ({"PAD_TOP": 1}, "must equal 0 with Winograd"),
        ({"Y_DILATION_EXT": 1}, "must equal 0 with Winograd"),
        ({"WEIGHT_WIDTH_EXT": 2}, "must equal 3 with Winograd", True),
        ({"DATAOUT_HEIGHT": 8}, r"must equal the output \+ 3, 12"),
    ),
    *_rules(
        f"{FULL}/wino",
        "CDMA+CSC+CACC+SDP",
        (
            {
                "DATAOUT_HEIGHT": 3,
                "DATAIN_HEIGHT_EXT": 7,
                "HEIGHT": 3,
                "PAD_TOP": 0,
                "PAD_BOTTOM": 0,
            },
            "Winograd mode makes 8 rows and columns at least",
        ),
        (
            {"DATAOUT_HEIGHT": 9, "DATAIN_HEIGHT_EXT": 13, "HEIGHT": 9, "PAD_BOTTOM": 5},
            "one more must be a multiple of 4 with Winograd",
            True,
        ),
    ),
    *_rules(
        f"{FULL}/wino",
        "CDMA",
        ({"PAD_RIGHT": 7}, "with padding there are .* elements, not 12 times the stride"),
        ({"DATAIN_HEIGHT_EXT": 12}, "must equal CSC's, 11", True),
        ({"BATCHES": 1}, "must be 0 with Winograd", True),
        ({"DATAIN_CHANNEL": 40}, "must equal the folded channels", True),
    ),
    *_rules(f"{FULL}/wino", "SDP", ({"WINOGRAD": 0}, r"must equal CDMA\.CONV_MODE, 1")),
    # convolution.md sections 2.6 and 3.5: compressed weights
    *_rules(
        f"{LARGE}/dc_compressed",
        "CDMA",
        ({"WMB_BYTES": 0x100}, "must equal the aligned mask", True),
        ({"WGS_ADDR_LOW": 0x8000_0000}, "must be those that the mask tells"),
    ),
    *_rules(
        f"{LARGE}/dc_compressed",
        "CDMA+CSC",
        ({"WEIGHT_BYTES": 0x1C4}, "must be a multiple of 128 bytes"),
        ({"WEIGHT_BANK": 15}, "nv_large_b has 15"),
    ),
    # convolution.md section 4.6 and sdp.md 3.3: batches
    *_rules(
        f"{FULL}/dc_batch",
        "SDP",
        ({"DST_BATCH_STRIDE": 0x60}, "must be a multiple of 64 bytes"),
        ({"DST_BATCH_STRIDE": 0}, "cubes overlap"),
        ({"BATCH_NUMBER": 0}, r"must equal CDMA\.BATCHES, 1"),
    ),
    # sdp.md section 12
    *_rules(
        f"{SMALL}/sdp_operands",
        "SDP_RDMA",
        ({"WIDTH": 5}, "must equal SDP's, 2"),
        ({"FLYING_MODE": 1}, "must equal SDP's, 0"),
        ({"PROC_PRECISION": 1}, r"only INT8 \(0\) is modelled", True),
        ({"IN_PRECISION": 1}, r"only INT8 \(0\) is modelled", True),
        ({"BRDMA_DISABLE": 1}, "BS takes ALU and MUL operands from memory: must be 0"),
        ({"BRDMA_DATA_USE": 1}, "BS takes ALU and MUL operands from memory: must be BOTH"),
        ({"ERDMA_DISABLE": 0}, "EW takes no operands from memory: must be 1"),
        ({"BN_SURFACE_STRIDE": 8}, "operands overlap: must be at least 24", True),
        ({"SRC_SURFACE_STRIDE": 8}, "surfaces overlap"),
    ),
    *_rules(
        f"{SMALL}/sdp_operands",
        "SDP",
        ({"EW_BYPASS": 0}, "nv_small has no EW unit"),
        ({"BATCH_NUMBER": 1}, "nv_small runs at most 1 cubes a layer"),
        ({"WINOGRAD": 1}, "nv_small has no Winograd mode"),
        ({"DST_SURFACE_STRIDE": 8}, "surfaces overlap"),
        ({"OUT_PRECISION": 1}, r"only INT8 \(0\) is modelled", True),
        ({"DST_RAM_TYPE": 0}, "nv_small has no secondary memory"),
    ),
    *_rules(f"{FULL}/sdp_operands", "SDP", ({"WINOGRAD": 1}, "where the data come from memory")),
    *_rules(f"{FULL}/sdp_operands", "SDP", ({"BATCH_NUMBER": 1}, "the data come from memory")),
    *_rules(
        f"{SMALL}/sdp_one_pixel",
        "SDP",
        ({"DST_SURFACE_STRIDE": 16}, "the surfaces of a 1x1 cube follow each other: must be 8"),
    ),
    *_rules(
        f"{SMALL}/sdp_one_pixel",
        "SDP_RDMA",
        ({"SRC_SURFACE_STRIDE": 16}, "the surfaces of a 1x1 cube follow each other: must be 8"),
        ({"BN_SURFACE_STRIDE": 8}, "the surfaces of a 1x1 cube follow each other: must be 32"),
    ),
    *_rules(
        f"{EW}/sdp_compare",
        "SDP",
        ({"CVT_OFFSET": 1}, "must be 0 in a comparison"),
        ({"CVT_SCALE": 2}, "must be 1 in a comparison"),
        ({"OUTPUT_DST": 1}, "must be 0 in a comparison"),
        ({"EW_LUT_BYPASS": 0}, "must be 1 in a comparison"),
        ({"EW_ALU_CVT_BYPASS": 0}, "must be 1 in a comparison"),
    ),
    *_rules(
        f"{EW}/sdp_table_linear",
        "SDP",
        ({"LUT_LE_INDEX_SELECT": 26}, "LUT_LE_INDEX_SELECT = 0x1a .*: must be -6 to 25"),
        ({"LUT_LO_INDEX_SELECT": -9}, "must be -8 to 23"),
    ),
    *_rules(
        f"{EW}/sdp_table_exponential",
        "SDP",
        ({"LUT_LE_INDEX_OFFSET": 32}, "must be -64 to 31"),
    ),
    # pdp.md sections 3 to 5
    *_rules(
        f"{SMALL}/pdp_average",
        "PDP",
        ({"POOLING_METHOD": 3}, r"must be 0 \(average\), 1 \(maximum\) or 2 \(minimum\)", True),
        ({"KERNEL_WIDTH": 8}, "kernels have 1 to 8 taps", True),
        ({"CUBE_OUT_CHANNEL": 99}, "CUBE_IN_CHANNEL gives 1: the layer never ends", True),
        ({"PAD_TOP": 3}, "every window must meet the data", True),
        ({"PAD_BOTTOM": 3}, "must be less than the kernel's 3 taps"),
        ({"PAD_RIGHT": 2}, "must be less than the kernel's 2 taps"),
        ({"PAD_VALUE_1X": 200}, "must be 1 times a signed byte, -128 to 127"),
        ({"PAD_VALUE_2X": -257}, "must be 2 times a signed byte, -256 to 254"),
        ({"CUBE_OUT_HEIGHT": 5}, "every window must meet the data", True),
        ({"INPUT_DATA": 1}, r"only INT8 \(0\) is modelled", True),
        ({"DST_LINE_STRIDE": 8}, "lines overlap"),
    ),
    *_rules(f"{SMALL}/pdp_average", "PDP_RDMA", ({"CUBE_IN_WIDTH": 7}, "must equal PDP's, 3")),
    *_rules(
        f"{SMALL}/pdp_maximum_split",
        "PDP",
        ({"SPLIT_NUM": 3}, "must equal PDP's, 3"),
        (
            {"PARTIAL_WIDTH_OUT_MID": 900, "DST_LINE_STRIDE": 0x2000, "DST_SURFACE_STRIDE": 0x8000},
            "901 output columns in one pass; the line buffer holds 128",
        ),
    ),
    # cdp.md section 3
    *_rules(
        f"{SMALL}/cdp_linear",
        "CDP",
        ({"LUT_LE_INDEX_SELECT": 32}, "must be -32 to 31"),
        ({"LUT_LO_INDEX_SELECT": -33}, "must be -32 to 31"),
        ({"INPUT_DATA_TYPE": 1}, r"only INT8 \(0\) is modelled", True),
    ),
    # rubik-bdma-glb.md sections 2 and 3
    *_rules(
        f"{LARGE}/rubik",
        "RBK",
        ({"IN_PRECISION": 1}, r"only INT8 \(0\) is modelled", True),
        ({"RUBIK_MODE": 3}, "must be 0 .*, 1 .* or 2", True),
        ({"DAOUT_LINE_STRIDE": 0}, "lines overlap"),
        ({"CONTRACT_STRIDE_0": 0x20}, "as implied"),
        ({"CONTRACT_STRIDE_1": 0x20}, "as implied"),
    ),
    *_rules(
        f"{FULL}/bdma",
        "BDMA",
        ({"CFG_DST_LINE.STRIDE": 0x20}, "lines overlap at the destination"),
        ({"CFG_DST_SURF.STRIDE": 0x20}, "lines overlap at the destination"),
    ),
]


def _broken(rule: Rule) -> Program:
    program = PROGRAMS[rule.program]
    registers = register_map(program.hardware.register_map)
    for block in rule.block.split("+"):
        known = {k: v for k, v in rule.fields.items() if k in registers[block].fields}
        program = program.changed(block, known)
    return program


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_a_broken_rule_is_told(rule: Rule) -> None:
    program = PROGRAMS[rule.program]
    # Where nothing is wrong, nothing is told.
    assert not program.run(program.writes).remarks
    broken = _broken(rule)
    with pytest.raises(DeviceError, match=rule.words) as caught:
        broken.run(broken.writes)
    assert caught.value.register
    assert caught.value.value is not None


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_a_lenient_device_goes_on_where_hardware_would(rule: Rule) -> None:
    program = _broken(rule)
    if rule.always:
        with pytest.raises(DeviceError, match=rule.words):
            program.run(program.writes, lenient=True)
        return
    device = program.device(lenient=True)
    error = ""
    try:
        program.play(device)
    except (DeviceError, MemoryAccessError) as found:
        # Another rule, that no hardware could do without.
        error = str(found)
    told = [str(remark) for remark in device.remarks]
    assert any(re.search(rule.words, remark) for remark in told)
    assert not re.search(rule.words, error)


@pytest.mark.parametrize("name", ["nv_small_256_full/sdp_table_linear", "nv_small/cdp_linear"])
def test_tables_that_were_never_written_are_told(name: str) -> None:
    program = PROGRAMS[name]
    writes = tuple(write for write in program.writes if not write[1].startswith("S_LUT_ACCESS"))
    with pytest.raises(DeviceError, match="which was never written: what is in it after a reset"):
        program.run(writes)
