"""nvdla-run on register programs: traces, checks, dumps, reports, lenient runs."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from device_programs import CONVOLUTION, TWO_PROGRAMS, in_directory, opt, run

from nvdla_ir.passes.registry import LAYERS_TO_REGISTERS
from nvdla_ir.tools.nvdla_run import main

OUTPUT = 0x8000_0180


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_directory(tmp_path, monkeypatch)


def change(file: str, old: str, new: str) -> None:
    text = Path(file).read_text()
    assert old in text
    Path(file).write_text(text.replace(old, new))


# -------------------------------------------------------------- checks


@pytest.mark.parametrize("path", ["conv_trace", "conv_trace/conv_trace.cfg"])
def test_a_trace_prints_a_line_for_each_check(path: str) -> None:
    result = run("--target=nv_small", path)
    assert (result.status, result.errors) == (0, "")
    check, summary = result.output.splitlines()
    place = r"conv_trace/conv_trace\.cfg:\d+ sync_id_0 CRC primary 0x80000180 \+0x80"
    assert re.fullmatch(rf"PASS {place}: 0x[0-9a-f]{{8}}", check)
    assert summary == "1 check: 1 passed, 0 failed"


def test_a_failed_check_says_what_came_and_ends_with_1() -> None:
    found = re.search(r"0x80, (0x\w+)\);", Path("conv_trace/conv_trace.cfg").read_text())
    assert found is not None
    change("conv_trace/conv_trace.cfg", found[1], "0xdeadbeef")
    result = run("--target=nv_small", "conv_trace")
    assert result.status == 1
    first, hint, summary = result.output.splitlines()
    assert first.startswith("FAIL conv_trace/conv_trace.cfg:")
    assert first.endswith(f"expected 0xdeadbeef, got {int(found[1], 0):#010x}")
    assert "output of layer 0 (CONV+SDP) starts at 0x80000180" in hint
    assert summary == "1 check: 0 passed, 1 failed"


def test_memory_is_dumped_and_compared() -> None:
    dumped = run("--target=nv_small", "conv_trace", f"--dump=pri:{OUTPUT:#x}:128:out.bin")
    assert dumped.status == 0
    data = bytearray(Path("out.bin").read_bytes())
    assert len(data) == 128
    assert len(set(data)) > 12
    same = run("--target=nv_small", "conv_trace", f"--check=pri:{OUTPUT}:out.bin")
    assert same.status == 0
    assert "PASS out.bin bytes primary 0x80000180: 128 bytes\n" in same.output
    # Row 2, column 1, channel 2 and its neighbour; then a lane beyond the last channel.
    data[2 * 32 + 1 * 8 + 2] ^= 0x10
    data[2 * 32 + 1 * 8 + 7] ^= 0x10
    Path("wrong.bin").write_bytes(data)
    wrong = run("--target=nv_small", "conv_trace", f"--check=pri:{OUTPUT}:wrong.bin")
    assert wrong.status == 1
    assert "(2 of 128 bytes differ)" in wrong.output
    assert (
        "first difference at 0x800001ca: output of layer 0 (CONV+SDP): "
        "surface 0, channel 2, row 2, column 1\n" in wrong.output
    )


def test_the_difference_may_be_where_no_layer_wrote() -> None:
    Path("seven.bin").write_bytes(b"\7")
    result = run("--target=nv_small", "conv_trace", "--check=sec:64:seven.bin")
    assert result.status == 1
    assert "FAIL seven.bin bytes secondary 0x40: expected 0x07, got 0x00 (1 of 1" in result.output
    assert "no layer wrote there" in result.output


def test_a_compiled_program_is_looked_at_in_the_same_way() -> None:
    x = np.arange(144, dtype=np.int8).reshape(1, 9, 4, 4)
    np.save("x.npy", x)
    result = run(
        "conv.ir", "--input=data=x.npy", "--raw-output=sum=y.bin", f"--dump=pri:{OUTPUT}:128:m.bin"
    )
    assert (result.status, result.output, result.errors) == (0, "", "")
    atoms = np.fromfile("m.bin", np.int8).reshape(16, 8)
    expected = np.fromfile("y.bin", np.int8).reshape(3, 16)
    np.testing.assert_array_equal(atoms[:, :3].T, expected)
    total = 3 * x.astype(int).sum(axis=1).ravel() / 8
    np.testing.assert_allclose(expected[0], np.clip(total, -128, 127), atol=0.5)


# -------------------------------------------------------------- reports


def test_layers_and_profile_are_tables() -> None:
    np.save("x.npy", np.full((1, 9, 4, 4), 127, np.int8))
    result = run("conv.ir", "--input=data=x.npy", "--layers", "--profile")
    assert result.status == 0
    _, layers, layer, profile, row, total = result.output.splitlines()
    assert re.split(r"  +", layers) == [
        "#",
        "of the network",
        "layer",
        "input",
        "kernel",
        "output",
        "MACs",
        "saturated",
    ]
    assert re.split(r"  +", layer) == [
        "0",
        "conv1",
        "CONV+SDP (group 0)",
        "9x4x4",
        "3x9x1x1",
        "3x4x4",
        "432",
        "SDP 48",
    ]
    assert re.split(r"  +", profile) == [
        "#",
        "of the network",
        "layer",
        "MACs",
        "ms",
        "share",
        "GMAC/s",
    ]
    assert row.split()[:4] == ["0", "conv1", "CONV+SDP", "432"]
    assert total.split()[:2] == ["all", "432"]
    traced = run("--target=nv_small", "conv_trace", "--layers").output
    assert "of the network" not in traced


def test_layers_stand_by_program() -> None:
    np.save("x.npy", np.zeros((1, 8, 4, 4), np.int8))
    flags = [f"--{name}" for name in LAYERS_TO_REGISTERS]
    assert opt("-", *flags, "-o", "two.ir", stdin=TWO_PROGRAMS).status == 0
    result = run("two.ir", "--input=x=x.npy", "--layers", "--profile")
    rows = [re.split(r"  +", line)[:3] for line in result.output.splitlines()[1:]]
    table = [
        ["#", "program", "of the network"],
        ["0", "main_program_0", "same"],
        ["1", "main_program_1", "same"],
    ]
    assert rows[:-1] == [*table, *table]


def test_a_terminal_gets_tables_with_lines() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stdout = Terminal()
    arguments = ["--target=nv_small", "conv_trace", "--layers"]
    assert main(arguments, io.StringIO(), stdout, io.StringIO()) == 0
    assert "───" in stdout.getvalue()


def test_register_accesses_have_names() -> None:
    result = run("--target=nv_small", "conv_trace", "--trace-registers")
    lines = result.output.splitlines()
    assert "poll CDMA.S_CBUF_FLUSH_STATUS == 0x00000001" in lines
    assert "SDP[0].D_CVT_SHIFT (0x90c8) = 0x00000003  CVT_SHIFT=3" in lines
    assert "SDP.S_POINTER (0x9004) = 0x00000000  PRODUCER=GROUP_0" in lines
    assert "SDP[0].D_DST_BASE_ADDR_LOW (0x9048) = 0x80000180  DST_BASE_ADDR_LOW=0x80000180" in lines
    assert "wait for interrupt SDP[0]" in lines
    assert lines[-1] == "1 check: 1 passed, 0 failed"
    to_file = run("--target=nv_small", "conv_trace", "--trace-registers=accesses.txt")
    assert len(to_file.output.splitlines()) == 2
    assert Path("accesses.txt").read_text().splitlines() == lines[:-2]


# -------------------------------------------------------------- faults


def test_what_the_hardware_lacks_is_an_error_unless_lenient() -> None:
    change(
        "conv_trace/conv_trace.cfg",
        "reg_write(NVDLA_SDP.D_DP_EW_CFG_0, 0x53);",
        "reg_write(NVDLA_SDP.D_DP_EW_CFG_0, 0x52);",
    )
    strict = run("--target=nv_small", "conv_trace")
    assert strict.status == 1
    assert "SDP.D_DP_EW_CFG.EW_BYPASS = 0x0 (0): nv_small has no EW unit" in strict.errors
    assert strict.errors.startswith("conv_trace/conv_trace.cfg:")
    lenient = run("--target=nv_small", "conv_trace", "--lenient")
    assert lenient.status == 0
    assert "remark: SDP.D_DP_EW_CFG.EW_BYPASS = 0x0 (0): nv_small has no EW unit" in lenient.errors
    assert run("--target=nv_large_b", "conv_trace").status == 1


def test_a_wait_that_never_ends_names_who_waits_for_what() -> None:
    change("conv_trace/conv_trace.cfg", "reg_write(NVDLA_CSC.D_OP_ENABLE_0, 0x1);\n", "")
    result = run("--target=nv_small", "conv_trace")
    assert result.status == 1
    assert "never finishes: SDP: the interrupt of group 0 never comes" in result.errors
    assert "waits for CSC (group 0) to be enabled" in result.errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("conv_trace",), "'conv_trace' is a trace: '--target=T' must say which hardware"),
        (("conv.ir", "--target=nv_small"), "'--target' is for traces and loadables"),
        (("conv.ir", "--hardware-only"), "'--hardware-only' is for traces and loadables"),
        (
            ("conv_trace", "--target=nv_small", "--hardware-only"),
            "'--hardware-only' is for loadables",
        ),
        (("conv.ir", "--dump=pri:0:8"), "'--dump' takes MEM:ADDR:SIZE:FILE with MEM pri or sec"),
        (("conv.ir", "--dump=dram:0:8:f"), "'--dump' takes MEM:ADDR:SIZE:FILE"),
        (("conv.ir", "--dump=pri:0:0:f"), "'--dump' takes MEM:ADDR:SIZE:FILE"),
        (("conv.ir", "--check=pri:-1:f"), "'--check' takes MEM:ADDR:FILE"),
        (("conv.ir", "--layers", "--jobs=2"), "--layers look at the one device of this process"),
        (("conv.ir", "--dump=pri:0:8:f", "--dump=pri:8:8:f"), "'f' would be written twice"),
        (("conv.ir", "--dump=pri:0:8:f", "--trace-registers=f"), "'f' would be written twice"),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...], message: str) -> None:
    result = run(*arguments)
    assert result.status == 2
    assert message in result.errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--target=nv_smal", "conv_trace"), "did you mean 'nv_small'?"),
        (("--target=nv_small", "nowhere.cfg"), "nowhere.cfg"),
        (("--target=nv_small", "conv_trace", "--dump=pri:0x100000000:8:f"), "cannot dump to 'f'"),
        (("--target=nv_small", "conv_trace", "--check=pri:0:nothing.bin"), "nothing.bin"),
        (("--target=nv_small", "conv_trace", "--check=pri:0:empty.bin"), "has no bytes to compare"),
        (("--target=nv_small", "conv_trace", "--dump=pri:0:8:no/f"), "there is no directory 'no'"),
        (("float.ir", "--input=x=x.npy", "--layers"), "nothing of '@main' runs on the hardware"),
    ],
)
def test_faults_of_the_input(arguments: tuple[str, ...], message: str) -> None:
    Path("empty.bin").touch()
    Path("float.ir").write_text(
        "func.func @main(%x: tensor<1x2x1x1xf32>) -> tensor<1x2x1x1xf32> {\n"
        "  %y = nn.relu %x -> tensor<1x2x1x1xf32>\n  func.return %y\n}\n"
    )
    np.save("x.npy", np.zeros((1, 2, 1, 1), np.float32))
    result = run(*arguments)
    assert result.status == 1
    assert message in result.errors
    assert not Path("f").exists()


def test_a_reader_that_leaves_is_no_fault() -> None:
    command = [sys.executable, "-m", "nvdla_ir.tools.nvdla_run", "--target=nv_small", "conv_trace"]
    with subprocess.Popen(
        [*command, "--trace-registers"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


def test_hardware_layers_are_no_register_program() -> None:
    Path("layers.ir").write_text(CONVOLUTION)
    np.save("x.npy", np.zeros((1, 9, 4, 4), np.int8))
    result = run("layers.ir", "--input=data=x.npy", "--profile")
    assert result.status == 1
    assert "'nvdla-opt --compile=T' makes register programs" in result.errors
