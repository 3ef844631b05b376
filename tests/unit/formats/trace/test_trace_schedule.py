"""Traces whose file order cannot be executed line by line; traces that get stuck."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_traces import INPUT, MIDDLE, copy_twice, interleaved, layer
from trace_playing import operations_of, play, write_files

from nvdla_ir.formats.trace import import_trace
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.resources import ResourceStore

LOAD = f'mem_load(pri_mem, {INPUT:#x}, "copy_in.dat");'


def write(folder: Path, lines: list[str]) -> Path:
    text = "\n".join([LOAD, *lines])
    return write_files(folder, {**copy_twice(), "copy.cfg": text})


def messages(folder: Path, lines: list[str]) -> list[str]:
    """What the import of a trace tells, with line numbers."""
    with pytest.raises(DiagnosticError) as caught:
        import_trace(write(folder, lines), "nv_small", ResourceStore())
    return [
        f"{diagnostic.location.file_position().line}: {diagnostic.message}"  # type: ignore[union-attr]
        for diagnostic in caught.value.diagnostics
    ]


@pytest.mark.parametrize("seed", range(40))
def test_the_order_of_streams_in_the_file_does_not_matter(seed: int, tmp_path: Path) -> None:
    files = copy_twice()
    text = interleaved(files["copy.cfg"], seed)
    played = play(write_files(tmp_path, {**files, "copy.cfg": text}), "nv_small")
    assert len(played.checks) == 2
    assert played.failures == []
    names = [op.name for op in operations_of(played.module)]
    assert names.index("csb.wait") < names.index("csb.check_crc")
    assert len(played.device.records) == 2


def test_interrupts_come_as_late_as_the_trace_allows(tmp_path: Path) -> None:
    """The second layer is programmed under the first; what the trace waits for comes before its
    enables. All else keeps its order."""
    played = play(write_files(tmp_path, copy_twice()), "nv_small")
    operations = list(operations_of(played.module))
    lines = [
        op.location.file_position().line  # type: ignore[union-attr]
        for op in operations
        if op.name not in ("csb.wait", "csb.check_crc")
    ]
    assert lines == sorted(lines)
    assert [op.name for op in operations[-8:]] == [
        "csb.configure",
        "csb.configure",
        "csb.wait",
        "csb.check_crc",
        "csb.enable",
        "csb.enable",
        "csb.wait",
        "csb.check_crc",
    ]


def test_a_trace_that_does_not_wait_is_told(tmp_path: Path) -> None:
    files = copy_twice()
    text = files["copy.cfg"]
    files["copy.cfg"] = "\n".join(line for line in text.split("\n") if "sync_wait" not in line)
    with pytest.raises(DiagnosticError, match="wait for the interrupt SDP_0 before it is enabled"):
        play(write_files(tmp_path, files), "nv_small")


def test_notifications_order_streams(tmp_path: Path) -> None:
    """The SDP_RDMA comes last in the file's streams, but must be enabled first."""
    lines = layer(0, INPUT, MIDDLE)
    enable_rdma, enable_sdp = lines[-2:]
    program = [
        *lines[:-2],
        "sync_wait(NVDLA_SDP, go);",
        enable_sdp,
        enable_rdma,
        "sync_notify(NVDLA_SDP_RDMA, go);",
        "intr_notify(SDP_0, done);",
        "check_nothing(done);",
    ]
    played = play(write(tmp_path, program), "nv_small")
    enabled = [op.unit for op in operations_of(played.module) if op.name == "csb.enable"]  # type: ignore[attr-defined]
    assert enabled == ["SDP_RDMA", "SDP"]


def test_a_poll_stalls_its_stream_until_the_layer_is_done(tmp_path: Path) -> None:
    lines = layer(0, INPUT, MIDDLE)
    program = [
        *lines[:-2],
        lines[-1],
        "poll_reg_equal(NVDLA_SDP.S_STATUS_0, 0x0);",
        "reg_write(NVDLA_SDP.D_CVT_SCALE_0, 0x5);",
        lines[-2],
        "intr_notify(SDP_0, done);",
    ]
    played = play(write(tmp_path, program), "nv_small")
    assert played.device.remarks == []
    assert played.device.read("SDP", "D_CVT_SCALE") == 5
    names = [op.name for op in operations_of(played.module)]
    assert names[-3:] == ["csb.poll", "csb.configure", "csb.wait"]


def test_a_poll_that_never_comes_true_is_told_by_the_device(tmp_path: Path) -> None:
    with pytest.raises(DiagnosticError, match="never comes") as caught:
        play(write(tmp_path, ["poll_reg_equal(NVDLA_SDP.S_STATUS_0, 0x1);"]), "nv_small")
    assert str(caught.value.diagnostics[0].location).endswith(":2:1")


def test_interrupts_may_be_expected_before_anything_is_programmed(tmp_path: Path) -> None:
    program = ["intr_notify(SDP_0, done);", "check_nothing(done);", *layer(0, INPUT, MIDDLE)]
    names = [op.name for op in operations_of(play(write(tmp_path, program), "nv_small").module)]
    assert names[-1] == "csb.wait"


def test_stuck_blocks_are_named_with_what_they_wait_for(tmp_path: Path) -> None:
    lines = layer(0, INPUT, MIDDLE)
    program = [
        *lines[:-2],
        lines[-1],
        "intr_notify(SDP_0, done);",
        "sync_wait(NVDLA_PDP, done);",
        "sync_wait(NVDLA_CDP, done);",
    ]
    number = len(program) + 1
    reason = (
        "waits for the event 'done', which never comes: the interrupt SDP_0 of line "
        f"{number - 2} does not occur (SDP (group 0) waits for SDP_RDMA (group 0) to be enabled)"
    )
    assert messages(tmp_path, program) == [
        f"{number - 1}: PDP {reason}",
        f"{number}: CDP {reason}",
    ]


def test_masked_interrupts_are_told(tmp_path: Path) -> None:
    program = [
        "reg_write(NVDLA_GLB.S_INTR_MASK_0, 0x1);",
        *layer(0, INPUT, MIDDLE),
        "intr_notify(SDP_0, done);",
        "sync_wait(NVDLA_SDP, done);",
    ]
    (message,) = messages(tmp_path, program)
    assert message.endswith("does not occur (it is masked in GLB.S_INTR_MASK)")


def test_blocks_that_wait_for_each_other_are_told(tmp_path: Path) -> None:
    program = [
        "sync_wait(NVDLA_SDP, a);",
        "sync_notify(NVDLA_SDP, b);",
        "sync_wait(NVDLA_PDP, b);",
        "sync_notify(NVDLA_PDP, a);",
    ]
    reason = "that block waits as well"
    assert messages(tmp_path, program) == [
        f"2: SDP waits for the event 'a', which never comes: PDP sets it in line 5; {reason}",
        f"4: PDP waits for the event 'b', which never comes: SDP sets it in line 3; {reason}",
    ]


def test_an_interrupt_that_nothing_depends_on_is_waited_for_at_the_end(tmp_path: Path) -> None:
    with pytest.raises(DiagnosticError, match="interrupt of group 1 never comes"):
        play(write(tmp_path, ["intr_notify(CDP_1, done);"]), "nv_small")
