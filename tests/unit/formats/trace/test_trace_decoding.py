"""Register writes as named fields: what is said, what is left out, and that nothing changes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_traces import DATA, copy_twice, dat
from trace_playing import function_of, operations_of, play, run, write_files

from nvdla_ir.dialects import default_context
from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.formats.trace import import_trace
from nvdla_ir.hw.configuration import load_configuration
from nvdla_ir.hw.registers import register_map
from nvdla_ir.interp.csb.run import checks_of
from nvdla_ir.interp.device.device import Device
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.resources import ResourceStore
from nvdla_ir.text.parser import parse
from nvdla_ir.text.printer import print_operation


def imported(folder: Path, lines: list[str], target: str = "nv_small") -> list[str]:
    """The operations of a trace as text."""
    write_files(folder, {**copy_twice(), "copy.cfg": "\n".join(lines)})
    module = import_trace(folder, target, ResourceStore())
    texts = [" ".join(print_operation(op).split()) for op in operations_of(module)]
    return [text.replace("{ ", "{").replace(" }", "}") for text in texts]


def writes(*words: tuple[str, int]) -> list[str]:
    return [f"reg_write(NVDLA_{name}_0, {word:#x});" for name, word in words]


def test_writes_of_one_group_are_one_operation_with_names(tmp_path: Path) -> None:
    lines = writes(
        ("CMAC_A.S_POINTER", 1),
        ("CMAC_A.D_MISC_CFG", 0x1000),
        ("CACC.D_DATAOUT_SIZE_0", 0x0002_0003),
        ("CMAC_A.D_MISC_CFG", 0x1000),
        ("CACC.D_CLIP_CFG", 0xFFFF_FFE3),  # no field has the upper bits
        ("CACC.D_DATAOUT_ADDR", 0x8000_0020),
        ("CACC.D_OUT_SATURATION", 5),  # read-only
        ("CACC.S_STATUS", 5),  # read-only
        ("CMAC_A.D_OP_ENABLE", 0),
    )
    assert imported(tmp_path, lines) == [
        'csb.configure CMAC_A group=1 {CONV_MODE = "DIRECT", PROC_PRECISION = "INT16"}',
        "csb.configure CACC group=0 {DATAOUT_WIDTH = 3, DATAOUT_HEIGHT = 2, "
        "DATAOUT_ADDR = 0x80000020, CLIP_TRUNCATE = 3}",
    ]


def test_a_register_written_again_starts_an_operation(tmp_path: Path) -> None:
    lines = writes(
        ("CDMA.D_BATCH_NUMBER", 1),
        ("CDMA.D_CVT_SCALE", 0x8000),
        ("CDMA.D_BATCH_NUMBER", 2),
        ("CDMA.D_CVT_OFFSET", 3),
    )
    assert imported(tmp_path, lines) == [
        "csb.configure CDMA group=0 {BATCHES = 1, CVT_SCALE = -32768}",
        "csb.configure CDMA group=0 {BATCHES = 2, CVT_OFFSET = 3}",
    ]


def test_reads_state_the_group_that_was_selected(tmp_path: Path) -> None:
    lines = [
        *writes(("SDP.S_POINTER", 1)),
        "reg_read_check(NVDLA_SDP.D_CVT_SCALE_0, 0x0);",
        "reg_read(NVDLA_SDP.D_CVT_SCALE_0, x);",
        "reg_read_check(NVDLA_SDP.S_POINTER_0, 0x1);",
        "reg_read_check(NVDLA_SDP.S_STATUS_0, 0x0);",
        "poll_reg_equal(NVDLA_CDMA.S_CBUF_FLUSH_STATUS_0, 0x1);",
    ]
    assert imported(tmp_path, lines) == [
        'csb.expect SDP group=1 register="D_CVT_SCALE" value=0x0',
        'csb.expect SDP group=1 register="S_POINTER" value=0x1',
        'csb.expect SDP register="S_STATUS" value=0x0',
        'csb.poll CDMA register="S_CBUF_FLUSH_STATUS" value=0x1',
    ]
    assert play(tmp_path, "nv_small").failures == []


def test_table_accesses_become_tables(tmp_path: Path) -> None:
    lines = [
        *writes(
            ("SDP.S_LUT_ACCESS_CFG", 0x3003E),  # LO, write, entry 62
            ("SDP.S_LUT_CFG", 0x1),
            *(("SDP.S_LUT_ACCESS_DATA", value) for value in (1, 0xFFFF, 0x8000)),
            ("SDP.S_LUT_ACCESS_CFG", 0x20000),  # LE, write
            ("SDP.S_LUT_ACCESS_DATA", 7),
        ),
        "check_nothing(e);",
        "sync_notify(NVDLA_SDP, e);",
        "reg_read_check(NVDLA_SDP.S_STATUS_0, 0x0);",
        *writes(
            ("SDP.S_LUT_ACCESS_DATA", 8),  # goes on behind the read
            ("SDP.S_LUT_ACCESS_CFG", 0x1),  # LE, read, entry 1
            ("SDP.S_LUT_ACCESS_DATA", 9),  # without effect
        ),
        "reg_read(NVDLA_SDP.S_LUT_ACCESS_DATA_0, x);",
        "reg_read_check(NVDLA_SDP.S_LUT_ACCESS_DATA_0, 0x0);",
    ]
    assert imported(tmp_path, lines, "nv_large") == [
        'csb.write_table SDP table="LO" first=62 values=[1, -1, -32768]',
        'csb.configure SDP {LUT_LE_FUNCTION = "LINEAR", LUT_UFLOW_PRIORITY = "LE", '
        'LUT_OFLOW_PRIORITY = "LE", LUT_HYBRID_PRIORITY = "LE"}',
        'csb.write_table SDP table="LE" values=[7]',
        'csb.expect SDP register="S_STATUS" value=0x0',
        'csb.write_table SDP table="LE" first=1 values=[8]',
        'csb.configure SDP {LUT_ADDR = 0x1, LUT_TABLE_ID = "LE", LUT_ACCESS_TYPE = "READ"}',
        'csb.poll SDP register="S_LUT_ACCESS_DATA" value=0x0 mask=0x0',
        'csb.expect SDP register="S_LUT_ACCESS_DATA" value=0x0',
    ]
    played = play(tmp_path, "nv_large")
    assert played.failures == []
    device = played.device
    device.write("SDP", "S_LUT_ACCESS_CFG", 0x1003E)
    assert [device.read("SDP", "S_LUT_ACCESS_DATA") for _ in range(3)] == [1, 0xFFFF, 0x8000]
    device.write("SDP", "S_LUT_ACCESS_CFG", 0)
    assert [device.read("SDP", "S_LUT_ACCESS_DATA") for _ in range(2)] == [7, 8]


def test_copies_are_queued_and_launched_in_order(tmp_path: Path) -> None:
    """Two queued copies that differ in one register; the second copies what the first made."""
    lines = [
        'mem_load(pri_mem, 0x80000000, "copy_in.dat");',
        *writes(
            ("BDMA.CFG_CMD", 3),
            ("BDMA.CFG_LINE", 15),
            ("BDMA.CFG_SRC_ADDR_LOW", 0x8000_0000),
            ("BDMA.CFG_DST_ADDR_LOW", 0x8000_1000),
            ("BDMA.CFG_OP", 1),
            ("BDMA.CFG_SRC_ADDR_LOW", 0x8000_1000),
            ("BDMA.CFG_DST_ADDR_LOW", 0x8000_2000),
            ("BDMA.CFG_OP", 1),
            ("BDMA.CFG_LAUNCH1", 1),
        ),
        "intr_notify(BDMA_1, done);",
        'check_file(done, pri_mem, 0x80002000, 0x200, "copy_in.dat");',
    ]
    ops = imported(tmp_path, lines, "nv_full")
    assert [op.partition(" {")[0] for op in ops[1:]] == [
        *["csb.configure BDMA"] * 4,
        "csb.wait BDMA group=1",
        "csb.check_bytes address=0x80002000 value=dense_resource<copy_in> : tensor<512xi8> "
        'event="done"',
    ]
    played = play(tmp_path, "nv_full")
    assert played.failures == []
    assert played.device.primary.read(0x8000_2000, 512).tobytes() == DATA


# ---------------------------------------------------------------- nothing changes

BLOCKS = {
    "nv_large": ("SDP", "CDP", "CDMA", "CACC", "GLB", "PDP_RDMA"),
    "nv_full": ("BDMA", "RBK", "SDP_RDMA", "CSC", "MCIF", "CDMA"),
}


@st.composite
def register_writes(draw: st.DrawFn) -> tuple[str, list[tuple[str, str, int]]]:
    """A target, and random writes of random words to a few registers, S_POINTER often."""
    target = draw(st.sampled_from(sorted(BLOCKS)))
    blocks = register_map(load_configuration(target).register_map)
    found: list[tuple[str, str, int]] = []
    for _ in range(draw(st.integers(1, 40))):
        block = draw(st.sampled_from(BLOCKS[target][:3] if draw(st.booleans()) else BLOCKS[target]))
        names = [name for name in blocks[block].registers if name not in ("D_OP_ENABLE",)]
        names += ["S_POINTER"] * 6 if "S_POINTER" in names else []
        names += ["S_LUT_ACCESS_CFG", "S_LUT_ACCESS_DATA"] * 6 if "S_LUT_CFG" in names else []
        names = [name for name in names if not name.startswith("CFG_LAUNCH")]
        word = draw(st.integers(0, 0xFFFF_FFFF) | st.sampled_from((0, 1, 0x20000, 0x30010)))
        found.append((block, draw(st.sampled_from(names)), word))
    return target, found


def state_of(device: Device, target: str) -> dict[str, object]:
    """All registers of both groups, and the look-up tables."""
    state: dict[str, object] = {}
    for block in BLOCKS[target]:
        found = register_map(device.configuration.register_map)[block]
        for name, register in found.registers.items():
            if name in ("S_POINTER", "S_LUT_ACCESS_CFG", "S_LUT_ACCESS_DATA"):
                continue
            for group in (0, 1) if register.grouped else (0,):
                if register.grouped:
                    device.write(block, "S_POINTER", group)
                state[f"{block}.{name}.{group}"] = device.read(block, name)
        for table, count in ((0, 65), (0x10000, 257)) if "S_LUT_CFG" in found.registers else ():
            device.write(block, "S_LUT_ACCESS_CFG", table)
            words = [device.read(block, "S_LUT_ACCESS_DATA") for _ in range(count)]
            state[f"{block} table {table}"] = words
    return state


@given(register_writes())
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
def test_named_fields_leave_the_registers_as_the_writes_do(
    tmp_path_factory: pytest.TempPathFactory, drawn: tuple[str, list[tuple[str, str, int]]]
) -> None:
    target, sequence = drawn
    direct = Device(load_configuration(target), lenient=True)
    for block, register, word in sequence:
        direct.write(block, register, word)
    lines = writes(*((f"{block}.{register}", word) for block, register, word in sequence))
    # The program needs an operation, so that there is a device.
    lines.append("reg_read_check(NVDLA_GLB.S_NVDLA_HW_VERSION_0, 0x0);")
    folder = write_files(tmp_path_factory.mktemp("t"), {"a.cfg": "\n".join(lines)})
    assert state_of(play(folder, target, lenient=True).device, target) == state_of(direct, target)


# ---------------------------------------------------------------- memory


def memory_after(folder: Path, lines: list[str], address: int, size: int, **files: str) -> bytes:
    write_files(folder, {**copy_twice(), **files, "copy.cfg": "\n".join(lines)})
    return play(folder, "nv_small").device.primary.read(address, size).tobytes()


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("ALL_ZERO", bytes(4)),
        ("ONES", b"\xff" * 4),
        ("AFIVE", b"\xa5" * 4),
        ("FIVEA", b"\x5a" * 4),
        ("ADDR", b"\xfe\xff\x00\x01"),
        ("X", b"\xa5" * 4),
    ],
)
def test_patterns(pattern: str, expected: bytes, tmp_path: Path) -> None:
    lines = [f"mem_init(pri_mem, 0x10fe, 4, {pattern});"]
    assert memory_after(tmp_path, lines, 0x10FC, 8) == b"\0\0" + expected + b"\0\0"


def test_random_bytes_depend_on_the_address_alone(tmp_path: Path) -> None:
    lines = [f"mem_init(pri_mem, {address:#x}, 64, RANDOM);" for address in (0x100, 0x200)]
    found = memory_after(tmp_path, lines, 0x100, 0x140)
    assert found[:64] != found[0x100:]
    assert len(set(found[:64])) > 20
    assert memory_after(tmp_path, lines[1:], 0x200, 64) == found[0x100:]


def test_later_commands_overwrite_and_gaps_keep_what_was_there(tmp_path: Path) -> None:
    data = "{offset:0, size:1, payload:1} ,\n{offset:3, size:1, payload:2} ,\n"
    lines = [
        "mem_init(pri_mem, 0x0, 8, ADDR);",
        "mem_init(pri_mem, 0x2, 1, ONES);",
        'mem_load(pri_mem, 0x0, "gaps.dat");',
        'mem_init(pri_mem, 0x6, "gaps.dat", FIVEA);',
    ]
    found = memory_after(tmp_path, lines, 0, 11, **{"gaps.dat": data})
    assert found == b"\x01\x01\xff\x02\x04\x05\x5a\x5a\x5a\x5a\x00"
    far = "{offset:0, size:1, payload:1} ,\n{offset:0x100000, size:1, payload:2} ,\n"
    write_files(tmp_path, {"gaps.dat": far})
    loads = [op for op in operations_of(play(tmp_path, "nv_small").module) if op.name == "csb.load"]
    assert len(loads) == 2


def test_memory_commands_may_wait_for_an_event(tmp_path: Path) -> None:
    lines = [
        "mem_init(pri_mem, 0x0, 8, ONES, late);",
        "mem_init(pri_mem, 0x0, 4, ALL_ZERO);",
        "reg_write(NVDLA_SDP.D_CVT_SCALE_0, 0x1);",
        "sync_notify(NVDLA_SDP, late);",
    ]
    assert memory_after(tmp_path, lines, 0, 8) == b"\xff" * 8


def test_gaps_of_late_loads_are_left_alone(tmp_path: Path) -> None:
    data = "{offset:0, size:1, payload:1} ,\n{offset:3, size:1, payload:2} ,\n"
    lines = [
        "mem_init(pri_mem, 0x0, 8, ONES, later);",
        'mem_load(pri_mem, 0x0, "gaps.dat", latest);',
        'mem_load(pri_mem, 0x4, "gaps.dat");',
        "reg_write(NVDLA_SDP.D_CVT_SCALE_0, 0x1);",
        "sync_notify(NVDLA_SDP, later);",
        "sync_notify(NVDLA_SDP, latest);",
    ]
    found = memory_after(tmp_path, lines, 0, 8, **{"gaps.dat": data})
    assert found == b"\x01\xff\xff\x02\xff\xff\xff\xff"
    early = [line for line in lines if "later" not in line]
    found = memory_after(tmp_path, early, 0, 8, **{"gaps.dat": data})
    assert found == b"\x01\x00\x00\x02\x01\x00\x00\x02"


def test_files_are_compared_up_to_their_size(tmp_path: Path) -> None:
    check = 'check_file(e, pri_mem, 0x0, 0x{:x}, "out.dat");'
    lines = ["sync_notify(NVDLA_SDP, e);", check.format(0x1F)]
    write_files(tmp_path, {"copy.cfg": "\n".join(lines), "out.dat": dat(bytes(32))})
    with pytest.raises(DiagnosticError, match="bytes up to 0x20, but 0x1f are checked"):
        play(tmp_path, "nv_small")
    lines[1] = check.format(0x20)
    write_files(tmp_path, {"copy.cfg": "\n".join(lines), "out.dat": dat(bytes(31) + b"\1")})
    (result,) = play(tmp_path, "nv_small").checks
    assert not result.passed
    assert result.first_difference == 31


def test_an_imported_module_is_text_that_parses_back(tmp_path: Path) -> None:
    played = play(write_files(tmp_path, copy_twice()), "nv_small")
    text = print_operation(played.module)
    (module,) = parse(text, default_context()).operations
    assert isinstance(module, ModuleOp)
    assert print_operation(module) == text
    resources = ResourceStore()
    for key, tensor in played.resources.tensors(played.module).items():
        resources.add(key, tensor.array())
    checks = checks_of(run(module, resources))
    assert [check.passed for check in checks] == [True, True]
    assert function_of(module).sym_name == "main"


def test_what_a_trace_loads_is_limited(tmp_path: Path) -> None:
    data = "{offset:0, size:0x10000000, payload:} ,\n"
    files = {f"{number}.dat": data for number in range(5)}
    loads = [f'mem_load(pri_mem, 0x0, "{name}");' for name in files]
    write_files(tmp_path, {**files, "copy.cfg": "\n".join(loads)})
    with pytest.raises(DiagnosticError, match="more than the 1073741824 bytes") as caught:
        import_trace(tmp_path, "nv_small", ResourceStore())
    assert str(caught.value.diagnostics[0].location).endswith('copy.cfg":5:24')
