"""Register maps: the data, and the codec between named fields and words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nvdla_ir.hw.registers import GENERATIONS, Field, RegisterError, register_map

SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "registers"
COMPUTE = (
    "CDMA CSC CMAC_A CMAC_B CACC SDP_RDMA SDP PDP_RDMA PDP CDP_RDMA CDP RBK GLB".split()  # noqa: SIM905
)
ALL_FIELDS = [
    (generation, block, field)
    for generation in GENERATIONS
    for block in register_map(generation)
    for register in register_map(generation)[block].registers.values()
    for field in register.fields.values()
]


@pytest.mark.skipif(not SHARED.exists(), reason="needs the register manual beside the project")
@pytest.mark.parametrize("generation", GENERATIONS)
def test_data_agree_with_the_manual(generation: str) -> None:
    blocks: dict[str, Any] = json.loads((SHARED / f"{generation}.json").read_text())["blocks"]
    manual = register_map("master")
    ours = register_map(generation)
    assert set(ours) == set(blocks)
    for name, block in blocks.items():
        assert ours[name].base == block["base"]
        assert set(ours[name].registers) == set(block["registers"])
        for register_name, expected in block["registers"].items():
            register = ours[name].register(register_name)
            assert (register.offset, register.grouped, register.reset) == (
                expected["offset"],
                expected["grouped"],
                expected.get("reset", 0),
            )
            assert set(register.fields) == set(expected["fields"])
            for field_name, bits in expected["fields"].items():
                field = register.fields[field_name]
                assert (field.msb, field.lsb) == (bits["msb"], bits["lsb"])
                assert dict(field.enum) == bits.get("enum", {})
                # v1's manual does not tell accesses: they are those of master
                assert (
                    field.access == manual[name].register(register_name).fields[field_name].access
                )
                if generation == "master":
                    read_only = bits["access"] in ("r", "c")
                    assert field.writable != read_only


@pytest.mark.parametrize("generation", GENERATIONS)
def test_field_names_are_unique_in_each_unit(generation: str) -> None:
    for name in COMPUTE:
        block = register_map(generation)[name]
        bare = [f for register in block.registers.values() for f in register.fields]
        assert len(bare) == len(set(bare))
        assert all(block.field(field).name == field for field in bare)


@pytest.mark.parametrize("generation", GENERATIONS)
def test_byte_fields_are_alone_in_their_register_and_reach_its_bits(generation: str) -> None:
    found = 0
    for block in register_map(generation).values():
        for register in block.registers.values():
            for field in register.fields.values():
                if field.in_bytes:
                    found += 1
                    assert len(register.fields) == 1
                    assert field.lsb in (0, 5, 7)
                    assert field.maximum == field.mask
                elif block.name in COMPUTE and len(register.fields) == 1:
                    assert field.lsb == 0
    assert found == 66


@given(st.sampled_from(ALL_FIELDS), st.data())
def test_field_codec_round_trip(item: tuple[str, str, Field], data: st.DataObject) -> None:
    _, _, field = item
    steps = data.draw(
        st.integers(field.minimum // field.alignment, field.maximum // field.alignment)
    )
    value = steps * field.alignment
    noise = data.draw(st.integers(0, 0xFFFFFFFF)) & ~field.mask
    assert field.decode(field.encode(value) | noise) == value
    assert field.encode(value) & ~field.mask == 0
    for outside in (field.minimum - field.alignment, field.maximum + field.alignment):
        with pytest.raises(RegisterError, match="out of range"):
            field.encode(outside)


@given(st.sampled_from(GENERATIONS), st.data())
def test_block_encode_and_register_decode_are_inverse(generation: str, data: st.DataObject) -> None:
    block = register_map(generation)[data.draw(st.sampled_from(COMPUTE))]
    writable = [f for r in block.registers.values() for f in r.fields.values() if f.writable]
    chosen = data.draw(st.lists(st.sampled_from(writable), unique=True))
    values = {
        f.name: data.draw(st.integers(f.minimum // f.alignment, f.maximum // f.alignment))
        * f.alignment
        for f in chosen
    }
    words = block.encode(values)
    decoded = {
        name: value
        for register, word in words.items()
        for name, value in block.register(register).decode(word).items()
    }
    assert {name: decoded[name] for name in values} == values
    assert all(decoded[n] == block.field(n).reset for n in decoded if n not in values)
    offsets = [block.register(name).offset for name in words]
    assert offsets == sorted(offsets)


def test_words_of_a_known_program() -> None:
    """Words written by hand from the manual's bit positions."""
    for generation in GENERATIONS:
        registers = register_map(generation)
        cdma = registers["CDMA"].encode(
            {
                "DATAIN_WIDTH": 13,
                "DATAIN_HEIGHT": 23,
                "IN_PRECISION": "INT8",
                "PROC_PRECISION": "INT8",
                "SKIP_WEIGHT_RLS": 1,
                "CVT_OFFSET": -116,
                "LINE_STRIDE": 0x260,
                "WEIGHT_BYTES": 0x180,
            },
            alignment=32,
        )
        assert cdma == {
            "D_MISC_CFG": 0x1000_0000,
            "D_DATAIN_SIZE_0": 0x0017_000D,
            "D_LINE_STRIDE": 0x260,
            "D_WEIGHT_BYTES": 0x180,
            "D_CVT_OFFSET": 0xFF8C,
        }
        sdp = registers["SDP"].encode({"CVT_OFFSET": -1, "LUT_LE_SLOPE_OFLOW_SHIFT": -16})
        assert sdp == {"S_LUT_LE_SLOPE_SHIFT": 0b10000_00000, "D_CVT_OFFSET": 0xFFFF_FFFF}
        pdp = registers["PDP"].encode({"PAD_VALUE_3X": -3 * 128})
        assert pdp == {"D_POOLING_PADDING_VALUE_3_CFG": -384 & 0x7FFFF}


def test_untouched_fields_keep_base_or_reset() -> None:
    sdp = register_map("master")["SDP"]
    assert sdp.encode({"BS_BYPASS": "NO"}) == {"D_DP_BS_CFG": 0x72}
    assert sdp.encode({"BS_BYPASS": "NO"}, base={"D_DP_BS_CFG": 0x1}) == {"D_DP_BS_CFG": 0x0}
    assert sdp.encode({"BS_BYPASS": "NO"}, base={"D_CVT_SCALE": 7}) == {"D_DP_BS_CFG": 0x72}
    assert sdp.encode({}) == {}


def test_byte_values_are_the_same_words_in_both_generations() -> None:
    for name in ("DATAIN_ADDR_LOW_0", "LINE_STRIDE", "WEIGHT_ADDR_LOW"):
        words = [register_map(g)["CDMA"].encode({name: 0xFFFF_FFE0}) for g in GENERATIONS]
        assert words[0] == words[1]
        assert list(words[0].values()) == [0xFFFF_FFE0]
    assert register_map("v1")["BDMA"].encode({"CFG_SRC_LINE.STRIDE": 64}) == {"CFG_SRC_LINE": 64}


def test_misaligned_byte_values_are_refused() -> None:
    with pytest.raises(RegisterError, match=r"0x30: must be a multiple of 32 bytes"):
        register_map("v1")["CDMA"].encode({"LINE_STRIDE": 0x30})
    with pytest.raises(RegisterError, match=r"0x30: must be a multiple of the memory atom, 32"):
        register_map("master")["CDMA"].encode({"LINE_STRIDE": 0x30}, alignment=32)
    assert register_map("master")["CDMA"].encode({"LINE_STRIDE": 0x30}, alignment=16)
    with pytest.raises(RegisterError, match=r"0x60: must be a multiple of 128 bytes"):
        register_map("v1")["CSC"].encode({"WEIGHT_BYTES": 0x60})


def test_all_faults_are_named_at_once() -> None:
    with pytest.raises(RegisterError) as caught:
        register_map("master")["SDP"].encode(
            {
                "CVT_SCAEL": 1,
                "CVT_SHIFT": 64,
                "CVT_SCALE": 40000,
                "BS_ALU_ALGO": "SUMM",
                "WIDTH": "WIDE",
                "STATUS_UNEQUAL": 1,
                "CVT_OFFSET": 5,
            }
        )
    message = str(caught.value)
    for fault in (
        "cannot program SDP: ",
        "SDP has no field 'CVT_SCAEL'; did you mean 'CVT_SCALE'?",
        "D_CVT_SHIFT.CVT_SHIFT = 64: out of range, must be 0 to 63",
        "D_CVT_SCALE.CVT_SCALE = 40000: out of range, must be -32768 to 32767",
        "= 'SUMM': unknown value name, allowed: MAX, MIN, SUM; did you mean 'SUM'?",
        "D_DATA_CUBE_WIDTH.WIDTH = 'WIDE': unknown value name, it takes a number",
        "D_STATUS.STATUS_UNEQUAL is read-only",
    ):
        assert fault in message
    assert "CVT_OFFSET" not in message


def test_repeated_field_names_must_be_qualified() -> None:
    bdma = register_map("v1")["BDMA"]
    with pytest.raises(RegisterError, match=r"several fields 'STRIDE'.*CFG_SRC_LINE\.STRIDE"):
        bdma.field("STRIDE")
    assert bdma.field("CFG_DST_SURF.STRIDE").register == "CFG_DST_SURF"


def test_lookup_by_name_and_address() -> None:
    for generation in GENERATIONS:
        registers = register_map(generation)
        for block in registers.values():
            for register in block.registers.values():
                assert registers.at(block.base + register.offset) == (block, register)
                assert registers.find(f"{block.name}.{register.name}") == (block, register)
            assert registers.at(block.base + 0xFFC) is None
    assert register_map("v1").at(0x5000 + 0xB0) == register_map("v1").find("CDMA.D_CONV_STRIDE")
    assert register_map("master").at(0x12000) is None
    with pytest.raises(RegisterError, match="did you mean 'SDP_RDMA'"):
        register_map("master").find("SDP_RMDA.S_STATUS")
    with pytest.raises(RegisterError, match="SDP has no register 'D_CVT_SCALES'; did you mean"):
        register_map("master").find("SDP.D_CVT_SCALES")
    with pytest.raises(RegisterError, match="unknown register map 'v2': known are master, v1"):
        register_map("v2")
    assert "CFGROM" not in register_map("v1")


def test_decode_names_and_masks() -> None:
    sdp = register_map("master")["SDP"]
    assert sdp.register("D_DATA_FORMAT").decode_names(0b0001) == {
        "PROC_PRECISION": "INT16",
        "OUT_PRECISION": "INT8",
    }
    assert sdp.register("D_CVT_SCALE").decode_names(0xFFFF) == {"CVT_SCALE": -1}
    assert sdp.register("S_POINTER").writable_mask == 0x1
    assert sdp.register("D_STATUS").writable_mask == 0
    assert set(sdp.resets(grouped=True)) | set(sdp.resets(grouped=False)) == set(sdp.registers)
    assert sdp.resets(grouped=True)["D_DP_BN_CFG"] == 0x53
    assert register_map("master")["CDMA"].resets()["S_ARBITER"] == 0x3000F
