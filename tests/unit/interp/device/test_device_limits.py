"""Overlaps, addresses outside memory, giant sizes, tables, and what can be read back."""

from __future__ import annotations

import re

import pytest
from trace_programs import programs

from nvdla_ir.hw.registers import register_map
from nvdla_ir.interp.device.errors import DeadlockError, DeviceError, MemoryAccessError

PROGRAMS = {f"{program.hardware.name}/{program.name}": program for program in programs()}
SMALL, EW, LARGE, FULL = "nv_small", "nv_small_256_full", "nv_large_b", "nv_full"


def test_an_output_over_the_input_is_told() -> None:
    """The units stream: what is read where the layer writes depends on timing."""
    for name, unit, source, target in (
        ("sdp_prelu", "SDP", "SRC_BASE_ADDR_LOW", "DST_BASE_ADDR_LOW"),
        ("pdp_minimum", "PDP", "SRC_BASE_ADDR_LOW", "DST_BASE_ADDR_LOW"),
        ("cdp_linear", "CDP", "SRC_BASE_ADDR_LOW", "DST_BASE_ADDR_LOW"),
    ):
        program = PROGRAMS[f"{SMALL}/{name}"]
        registers = register_map("master")
        register = registers[f"{unit}_RDMA"].field(source).register
        base = next(w for b, r, w in program.writes if (b, r) == (f"{unit}_RDMA", register))
        moved = program.changed(unit, {target: base + 8})
        with pytest.raises(DeviceError, match="output overlaps what the layer reads: input"):
            moved.run(moved.writes)
        assert moved.run(moved.writes, lenient=True).remarks


def test_a_cube_may_be_processed_in_place() -> None:
    """With the same layout each element is read before it is written. sdp.md section 3.3."""
    program = PROGRAMS[f"{SMALL}/sdp_prelu"]
    source = {
        name: next(w for b, r, w in program.writes if (b, r) == ("SDP_RDMA", f"D_SRC_{name}"))
        for name in ("BASE_ADDR_LOW", "LINE_STRIDE")
    }
    there = program.run(program.writes).records[0].writes[0]
    in_place = program.changed("SDP", {f"DST_{name}": word for name, word in source.items()})
    device = in_place.run(in_place.writes)
    (area,) = device.records[0].writes
    expected = program.run(program.writes).primary
    for row in range(3):
        lines = [
            base + row * stride
            for base, stride in ((area.base, area.line_stride), (there.base, there.line_stride))
        ]
        assert device.primary.read(lines[0], 24).tolist() == expected.read(lines[1], 24).tolist()


def test_overlapping_lines_are_written_in_order() -> None:
    """A lenient device does what the hardware would: the last line wins."""
    program = PROGRAMS[f"{SMALL}/sdp_prelu"]
    (apart,) = program.run(program.writes).records[0].writes
    whole = program.run(program.writes).primary
    overlapping = program.changed("SDP", {"DST_LINE_STRIDE": 8})
    device = overlapping.run(overlapping.writes, lenient=True)
    expected = bytearray(24 + 2 * 8)
    for row in range(3):
        line = whole.read(apart.base + row * apart.line_stride, 24)
        expected[8 * row : 8 * row + 24] = line.tobytes()
    assert device.primary.read(apart.base, len(expected)).tobytes() == bytes(expected)


def test_surfaces_may_lie_between_lines() -> None:
    """Strides are free where nothing overlaps: lines of all surfaces side by side."""
    program = PROGRAMS[f"{SMALL}/pdp_minimum"]
    (packed,) = program.run(program.writes).records[0].writes
    assert (packed.channels, packed.width) == (9, 2)
    strides = {"DST_LINE_STRIDE": 32, "DST_SURFACE_STRIDE": 16}
    woven = program.changed("PDP", strides)
    device = woven.run(woven.writes)
    assert not device.remarks
    original = program.run(program.writes).primary
    for surface in range(2):
        for row in range(packed.height):
            found = device.primary.read(packed.base + surface * 16 + row * 32, 16)
            place = packed.base + surface * packed.surface_stride + row * packed.line_stride
            assert found.tolist() == original.read(place, 16).tolist()
    for strides in ({"DST_LINE_STRIDE": 16, "DST_SURFACE_STRIDE": 16}, {"DST_SURFACE_STRIDE": 8}):
        broken = woven.changed("PDP", strides)
        with pytest.raises(DeviceError, match="surfaces overlap"):
            broken.run(broken.writes)


@pytest.mark.parametrize("block", ["SDP", "CDP"])
def test_entries_behind_a_table_are_told(block: str) -> None:
    program = PROGRAMS[f"{EW}/sdp_table_linear" if block == "SDP" else f"{SMALL}/cdp_linear"]
    device = program.device()
    device.write(block, "S_LUT_ACCESS_CFG", 1 << 17 | 64)
    device.write(block, "S_LUT_ACCESS_DATA", 1)
    with pytest.raises(DeviceError, match="an entry behind the last one of the table"):
        device.write(block, "S_LUT_ACCESS_DATA", 2)
    device = program.device(lenient=True)
    device.write(block, "S_LUT_ACCESS_CFG", 1 << 17 | 70)
    device.write(block, "S_LUT_ACCESS_DATA", 3)
    device.write(block, "S_LUT_ACCESS_CFG", 64)
    assert device.read(block, "S_LUT_ACCESS_DATA") == 3
    assert len(device.remarks) == 1


def test_reuse_without_anything_kept_is_told() -> None:
    """The hardware fetches everything; its programmer had something else in mind."""
    program = PROGRAMS[f"{SMALL}/dc_channel_blocks"]
    for block in ("CDMA", "CSC"):
        program = program.changed(block, {"DATA_REUSE": 1})
    (remark,) = program.run(program.writes).remarks
    assert "nothing is kept" in str(remark)
    assert remark.register == "D_MISC_CFG.DATA_REUSE"


def test_accesses_outside_memory_name_the_layer() -> None:
    for name, block, fields, words in (
        ("sdp_prelu", "SDP", {"DST_BASE_ADDR_LOW": 0xFFFF_FFF0}, r"SDP \(group 0\), output 5x3x3"),
        ("pdp_average", "PDP_RDMA", {"SRC_BASE_ADDR_LOW": 0xFFFF_FFF8}, r"PDP \(group 0\), "),
        ("cdp_linear", "CDP", {"DST_BASE_ADDR_LOW": 0xFFFF_FFF8}, r"CDP \(group 0\), output"),
        ("dc_one_signed", "CDMA", {"WEIGHT_ADDR_LOW": 0xFFFF_FFF8}, r"SDP \(group 0\), weights"),
    ):
        program = PROGRAMS[f"{SMALL}/{name}"].changed(block, fields)
        with pytest.raises(MemoryAccessError, match=f"{words}.*outside the primary memory"):
            program.run(program.writes, lenient=True)


@pytest.mark.parametrize(
    ("name", "block", "fields"),
    [
        (f"{FULL}/sdp_operands", "SDP+SDP_RDMA", {"WIDTH": 8191, "HEIGHT": 8191, "CHANNEL": 8191}),
        (f"{SMALL}/cdp_linear", "CDP_RDMA", {"WIDTH": 8191, "HEIGHT": 8191, "CHANNEL": 8191}),
        (
            f"{SMALL}/pdp_average", "PDP+PDP_RDMA",
            {"CUBE_IN_WIDTH": 8191, "CUBE_IN_HEIGHT": 8191, "CUBE_IN_CHANNEL": 8191},
        ),
        (
            f"{LARGE}/rubik", "RBK",
            {"DATAIN_WIDTH": 8191, "DATAIN_HEIGHT": 8191, "DATAOUT_CHANNEL": 8191},
        ),
        (f"{FULL}/bdma", "BDMA", {"CFG_LINE_REPEAT.NUMBER": 0xFF_FFFF, "CFG_LINE.SIZE": 8191}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("limit", [1 << 24, 1 << 32])
def test_giant_layers_are_refused_before_anything_is_computed(
    name: str, block: str, fields: dict[str, int], limit: int
) -> None:
    """Also where the strides are all zero, so that no address is outside."""
    program = PROGRAMS[name]
    registers = register_map(program.hardware.register_map)
    for part in block.split("+"):
        strides = {
            field: 0
            for field in registers[part].fields
            if field.endswith("_STRIDE") and registers[part].field(field).writable
        }
        strides = {k: v for k, v in strides.items() if "." not in k and "KERNEL" not in k}
        strides = {k: v for k, v in strides.items() if "DECONV" not in k}
        known = {k: v for k, v in fields.items() if k in registers[part].fields}
        program = program.changed(part, strides | known)
    device = program.device(lenient=True, limit_bytes=limit)
    with pytest.raises((DeviceError, MemoryAccessError), match=r"limit|holds at most|outside"):
        program.play(device)
    assert device.primary.occupied_bytes < 1 << 22


def test_copies_that_are_not_launched_are_told() -> None:
    program = PROGRAMS[f"{FULL}/bdma"]
    first = next(n for n, write in enumerate(program.writes) if write[1] == "CFG_LAUNCH0")
    device = program.run(program.writes[:first])
    assert device.waiting_report() == "BDMA has 2 transfers that wait for a launch"
    with pytest.raises(DeadlockError, match="group 0 never comes: BDMA has 2"):
        device.wait("BDMA", 0)


_STATUS = re.compile(
    r"S_STATUS|S_POINTER|D_OP_ENABLE|S_LUT_ACCESS_DATA|STATUS|S_INTR_STATUS|S_CBUF_FLUSH_STATUS|"
    r"D_OUT_SATURATION|D_STATUS|D_PERF_OUT_SATURATION|D_PERF_LUT_\w+"
)
"""Registers that the device sets, of those that programs cannot write."""

_ENABLES = (
    "DMA_EN", "PERF_DMA_EN", "PERF_LUT_EN", "PERF_SAT_EN", "PERF_NAN_INF_COUNT_EN", "LUT_EN",
    "PERF_EN", "STALL_COUNT_EN",
)  # fmt: skip


@pytest.mark.parametrize("target", ["nv_small_256_full", "nv_full"])
def test_what_counts_cycles_reads_zero(target: str) -> None:
    """With all counters enabled: stalls, latencies, NaN and infinity are never counted."""
    counted = 0
    for name, program in PROGRAMS.items():
        if not name.startswith(f"{target}/"):
            continue
        registers = register_map(program.hardware.register_map)
        used = {block for block, *_ in program.writes}
        for block in used:
            enables = {name: 1 for name in _ENABLES if name in registers[block].fields}
            program = program.changed(block, enables)
        device = program.run(program.writes)
        for block in used:
            for register in registers[block].registers.values():
                if register.writable_mask:
                    continue
                word = device.read(block, register.name)
                if _STATUS.fullmatch(register.name):
                    counted += word != 0
                else:
                    assert word == register.reset, (name, block, register.name)
    assert counted
