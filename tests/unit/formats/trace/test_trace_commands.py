"""Lexing of trace files, and faults of commands: all at once, each at its place."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_traces import copy_twice
from trace_playing import write_files

from nvdla_ir.formats.trace import import_trace
from nvdla_ir.formats.trace.commands import lex, read_number
from nvdla_ir.formats.trace.faults import MAXIMUM_SHOWN, Faults
from nvdla_ir.ir.diagnostics import DiagnosticError, render
from nvdla_ir.resources import ResourceStore
from nvdla_ir.source_lines import SourceLines


def faults_of(folder: Path, text: str, target: str = "nv_small") -> list[str]:
    """``line:column message`` of each fault of a trace beside the data of ``copy_twice``."""
    write_files(folder, {**copy_twice(), "copy.cfg": text})
    with pytest.raises(DiagnosticError) as caught:
        import_trace(folder, target, ResourceStore())
    found: list[str] = []
    for diagnostic in caught.value.diagnostics:
        position = diagnostic.location.file_position()
        assert position is not None
        assert position.file == str(folder / "copy.cfg")
        found.append(f"{position.line}:{position.column} {diagnostic.message}")
    return found


def test_commands_have_free_spaces_and_comments() -> None:
    faults = Faults()
    text = '// x\n\n  mem_load ( pri_mem ,0x10,  "a b//(c).dat" ) ;  // (comment);\r\n'
    text += "check_nothing(e);"
    load, nothing = lex(text, "t.cfg", faults)
    faults.raise_if_any()
    assert (load.name, load.line, load.column) == ("mem_load", 3, 3)
    assert [a.text for a in load.arguments] == ["pri_mem", "0x10", '"a b//(c).dat"']
    assert [a.column for a in load.arguments] == [14, 23, 30]
    assert load.arguments[2].string == "a b//(c).dat"
    assert (nothing.name, nothing.line, len(nothing.arguments)) == ("check_nothing", 4, 1)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("garbage", "1:8 expected '(' after 'garbage'"),
        ("  123;", "1:3 expected a command, such as 'reg_write(NVDLA_SDP.S_POINTER_0, 0x0);'"),
        ("check_nothing(a", "1:16 expected ')'"),
        ('mem_load(pri_mem, 0x0, "a.dat);', "1:24 expected a closing quotation mark"),
        ("check_nothing(a)", "1:17 expected ';' after the command"),
        (
            "check_nothing(a); check_nothing(b);",
            "1:19 expected the end of the line or a comment: one command a line",
        ),
        (
            "reg_write(NVDLA_SDP.S_POINTER_0, , 1);",
            "1:34 expected an argument: a name, a number or a file name in quotation marks",
        ),
        ("reg_wrote(a, 1);", "1:1 there is no command 'reg_wrote'; did you mean 'reg_write'?"),
        (
            "reg_write(NVDLA_SDP.S_POINTER_0);",
            "1:1 'reg_write' has 1 arguments; it is written 'reg_write(register, word);'",
        ),
        (
            "poll_field_equal(NVDLA_SDP.S_STATUS_0, STATUS_0, 0);",
            "1:1 'poll_field_equal' is not supported, as in the player of the format: there is "
            "'poll_reg_equal(register, word);'",
        ),
        (
            "reg_write(NVDLA_SDP.S_POINTR_0, 1);",
            "1:11 SDP has no register 'S_POINTR'; did you mean 'S_POINTER'?",
        ),
        (
            "reg_write(NVDLA_SPD.S_POINTER_0, 1);",
            "1:11 the master register map has no block 'SPD'; did you mean 'SDP'?",
        ),
        (
            "reg_write(SDP.S_POINTER_0, 1);",
            "1:11 'SDP' names no block: names of blocks begin with 'NVDLA_'; "
            "did you mean 'NVDLA_SDP'?",
        ),
        (
            "reg_write(NVDLA_SDP.S_POINTER, 1);",
            "1:11 the register name 'S_POINTER' lacks the '_0' at its end",
        ),
        (
            "reg_write(NVDLA_SDP.S_POINTER_0, 0x100000000);",
            "1:34 0x100000000 is too large: registers have 32 bits",
        ),
        ("reg_write(NVDLA_SDP.S_POINTER_0, 0xg);", "1:34 expected a number, found '0xg'"),
        (
            "intr_notify(SPD_0, a);",
            "1:13 there is no interrupt 'SPD_0'; did you mean 'SDP_0'?",
        ),
        (
            "mem_init(sram, 0x0, 0x10, ONES);",
            "1:10 there is no memory 'sram': there are 'pri_mem' and 'sec_mem'",
        ),
        (
            "mem_init(pri_mem, 0x0, 0x10, ZEROS);",
            "1:30 there is no pattern 'ZEROS': there are ALL_ZERO, ONES, AFIVE, FIVEA, ADDR, "
            "RANDOM, X",
        ),
        (
            "mem_init(pri_mem, 0xffffffff, 0x10, ONES);",
            "1:1 bytes [0xffffffff, 0x10000000f) lie outside memory, which ends at 0x100000000",
        ),
        (
            "mem_init(pri_mem, 0x0, 0x80000000, ONES);",
            "1:24 0x80000000 is too large: a region may have 0x40000000 bytes",
        ),
        (
            'mem_load(pri_mem, 0x0, "../copy_in.dat");',
            "1:24 '../copy_in.dat' leads out of the directory of the trace, which is not allowed",
        ),
        (
            'mem_load(pri_mem, 0x0, "/etc/passwd");',
            "1:24 '/etc/passwd' leads out of the directory of the trace, which is not allowed",
        ),
        (
            'mem_load(pri_mem, 0x0, "missing.dat");',
            "1:24 there is no file 'missing.dat' beside the trace",
        ),
        ('mem_load(pri_mem, 0x0, ".");', "1:24 there is no file '.' beside the trace"),
        (
            "mem_load(pri_mem, 0x0, copy_in);",
            "1:24 expected a file name in quotation marks",
        ),
        (
            "sync_wait(NVDLA_SDP, never);",
            "1:1 nothing sets the event 'never': no 'intr_notify' and no 'sync_notify' names it",
        ),
    ],
)
def test_a_fault_is_told_at_its_place(line: str, fault: str, tmp_path: Path) -> None:
    assert faults_of(tmp_path, line) == [fault]


def test_all_faults_are_told_at_once_in_order_of_the_file(tmp_path: Path) -> None:
    text = "bad\nreg_write(NVDLA_SDP.S_POINTER_0, x);\n\nnothing(a);\n"
    assert [fault.partition(" ")[0] for fault in faults_of(tmp_path, text)] == [
        "1:4",
        "2:34",
        "4:1",
    ]


def test_checks_of_events_name_the_nearest(tmp_path: Path) -> None:
    text = "intr_notify(SDP_0, sync_id_0);\ncheck_crc(sync_id_O, pri_mem, 0x0, 0x4, 0x0);\n"
    assert faults_of(tmp_path, text) == [
        "2:1 nothing sets the event 'sync_id_O': no 'intr_notify' and no 'sync_notify' names it; "
        "did you mean 'sync_id_0'?"
    ]


@pytest.mark.parametrize(
    ("region", "fault"),
    [
        ("0x2, 0x10", "2:23 0x2 is no multiple of 4: a CRC is taken of whole words"),
        ("0x0, 0x6", "2:28 0x6 is no multiple of 4: a CRC is taken of whole words"),
        ("0x0, 0x0", "2:28 a region of 0 bytes is checked"),
    ],
)
def test_crcs_are_of_whole_words(region: str, fault: str, tmp_path: Path) -> None:
    text = f"intr_notify(SDP_0, a);\ncheck_crc(a, pri_mem, {region}, 0x0);\n"
    assert faults_of(tmp_path, text) == [fault]


def test_fills_count_as_stored_bytes(tmp_path: Path) -> None:
    text = "".join(f"mem_init(pri_mem, {n << 30:#x}, 0x20000001, ONES);\n" for n in range(2))
    assert faults_of(tmp_path, text) == [
        "2:1 with 536870913 bytes more, the trace stores more than the 1073741824 bytes allowed"
    ]


def test_many_faults_are_counted(tmp_path: Path) -> None:
    found = faults_of(tmp_path, "bad\n" * 500)
    assert len(found) == MAXIMUM_SHOWN + 1
    assert found[-1] == "21:4 and 480 more faults, from here on"


def test_a_fault_shows_its_line(tmp_path: Path) -> None:
    path = write_files(tmp_path, {"a.cfg": "// x\nreg_write(NVDLA_SDP.S_POINTR_0, 1);\n"})
    with pytest.raises(DiagnosticError) as caught:
        import_trace(path / "a.cfg", "nv_small", ResourceStore())
    lines = SourceLines([str(path)])
    assert render(caught.value.diagnostics[0], lines.line) == (
        f"{path / 'a.cfg'}:2:11: error: SDP has no register 'S_POINTR'; did you mean 'S_POINTER'?\n"
        "reg_write(NVDLA_SDP.S_POINTR_0, 1);\n"
        "          ^"
    )


@pytest.mark.parametrize(
    ("text", "number"),
    [("0", 0), ("12", 12), ("0xfF", 255), ("0X10", 16), ("007", 7)]
    + [(text, None) for text in ("", "-1", "1_0", "0x", "0b1", "1.0", "0x" + "1" * 99, "9" * 99)],
)
def test_numbers(text: str, number: int | None) -> None:
    assert read_number(text) == number


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "must hold exactly one .cfg or .txn file, but holds 0"),
        (("a.cfg", "b.txn"), "must hold exactly one .cfg or .txn file, but holds 2: a.cfg, b.txn"),
    ],
)
def test_a_directory_holds_one_trace(names: tuple[str, ...], message: str, tmp_path: Path) -> None:
    write_files(tmp_path, dict.fromkeys(names, ""))
    with pytest.raises(DiagnosticError, match=r"\.cfg or \.txn") as caught:
        import_trace(tmp_path, "nv_small", ResourceStore())
    assert str(caught.value).endswith(message)


def test_what_is_no_trace_is_refused(tmp_path: Path) -> None:
    write_files(tmp_path, {"a.txt": ""})
    for path, message in (
        (tmp_path / "a.txt", "is no trace"),
        (tmp_path / "missing.cfg", "there is no such file"),
    ):
        with pytest.raises(DiagnosticError, match=message):
            import_trace(path, "nv_small", ResourceStore())
    with pytest.raises(DiagnosticError, match="nv_smal"):
        import_trace(tmp_path, "nv_smal", ResourceStore())
