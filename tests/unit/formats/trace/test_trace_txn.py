"""Traces of the first generation: ``.txn`` files."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_traces import copy_txn
from trace_playing import operations_of, play, write_files

from nvdla_ir.dialects.csb import WaitAnyOp
from nvdla_ir.formats.trace import import_trace
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.resources import ResourceStore


def faults_of(folder: Path, line: str, target: str = "nv_small") -> list[str]:
    write_files(folder, {**copy_txn(), "input.txn": f"# x\n{line}\n"})
    with pytest.raises(DiagnosticError) as caught:
        import_trace(folder, target, ResourceStore())
    found: list[str] = []
    for diagnostic in caught.value.diagnostics:
        position = diagnostic.location.file_position()
        assert position is not None
        found.append(f"{position.line}:{position.column} {diagnostic.message}")
    return found


def test_a_copy_is_played_with_all_its_checks(tmp_path: Path) -> None:
    played = play(write_files(tmp_path, copy_txn()), "nv_small")
    assert len(played.checks) == 28 + 1 + 1
    assert played.failures == []
    assert sum(isinstance(op, WaitAnyOp) for op in operations_of(played.module)) == 1


def test_wrong_bytes_are_found(tmp_path: Path) -> None:
    files = copy_txn()
    files["copy_out.hex"] = files["copy_out.hex"].replace("SIZE=512\n", "SIZE=512\n\n")
    last = files["copy_out.hex"].rstrip()[-2:]
    files["copy_out.hex"] = files["copy_out.hex"].rstrip()[:-2] + f"{int(last, 16) ^ 1:02x}"
    played = play(write_files(tmp_path, files), "nv_small")
    (failed,) = [check for check in played.checks if not check.passed]
    assert failed.first_difference == 0x8000_2000 + 511


def test_a_wait_without_a_layer_is_a_deadlock(tmp_path: Path) -> None:
    folder = write_files(tmp_path, {"input.txn": "wait\n"})
    with pytest.raises(DiagnosticError, match="no interrupt ever comes"):
        play(folder, "nv_small")


def test_the_secondary_memory_has_its_own_addresses(tmp_path: Path) -> None:
    text = "load_mem 0x50000000 512 copy_in.hex\nload_mem 0x80000000 512 copy_in.hex\nwait\n"
    folder = write_files(tmp_path, {**copy_txn(), "input.txn": text})
    for target, memories in (("nv_full", ["secondary", "primary"]), ("nv_small", ["primary"] * 2)):
        module = import_trace(folder, target, ResourceStore())
        assert [op.memory for op in operations_of(module)[:2]] == memories  # type: ignore[attr-defined]


def test_a_unit_that_was_just_enabled_need_not_run_still(tmp_path: Path) -> None:
    """Layers take no time here: that OP_EN still reads 1 is not checked."""
    files = copy_txn()
    lines = files["input.txn"].split("\n")
    enable = lines[lines.index("wait") - 1]
    number = enable.split()[1]
    lines.insert(lines.index("wait"), f"read_reg {number} 0xffffffff 0x1")
    played = play(write_files(tmp_path, {**files, "input.txn": "\n".join(lines)}), "nv_small")
    assert played.failures == []


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("waits", "2:1 there is no command 'waits'; did you mean 'wait'?"),
        (
            "  write_reg 0xffff0001",
            "2:3 'write_reg' has 1 arguments; it is written 'write_reg register word'",
        ),
        ("write_reg 0xffff0401 1x", "2:22 expected a number, found '1x'"),
        (
            "write_reg 0xffff0401 0x100000000",
            "2:22 0x100000000 is too large: it must be at most 0xffffffff",
        ),
        (
            "write_reg 0xffff0405 0x0",
            "2:11 there is no register at the byte address 0x1014 of the master register map",
        ),
        ("load_mem 0x0 512 none.hex", "2:18 there is no file 'none.hex' beside the trace"),
        (
            "load_mem 0x0 512 ../copy_in.hex",
            "2:18 '../copy_in.hex' leads out of the directory of the trace, which is not allowed",
        ),
        ("load_mem 0x0 511 copy_in.hex", "2:18 'copy_in.hex' holds 512 bytes, but size is 511"),
        (
            "dump_mem 0x0 513 copy_in.hex",
            "2:18 'copy_in.hex' holds 512 bytes to compare with, but size is 513",
        ),
        (
            "load_mem 0xffffff00 0x200 copy_in.hex",
            "2:1 bytes [0xffffff00, 0x100000100) lie outside memory, which ends at 0x100000000",
        ),
    ],
)
def test_faults(line: str, fault: str, tmp_path: Path) -> None:
    assert faults_of(tmp_path, line) == [fault]
