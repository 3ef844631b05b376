from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nvdla_ir.calibration.table import read_table
from nvdla_ir.tools import calib_txt_to_json as tool
from nvdla_ir.version import __version__

SAMPLES = Path(__file__).resolve().parents[4] / "shared" / "nvidia"

CACHE = """TRT-8601-MinMaxCalibration
input:0: 3f800000
scope: relu: 3d4ccccd
(Unnamed Layer* 3) [Convolution]_output: 40d0f64f
"""
SCALES = {
    "input:0": 1.0,
    "scope: relu": 0.05000000074505806,
    "(Unnamed Layer* 3) [Convolution]_output": 6.530066967010498,
}
REMARK = (
    "{}:4:1: remark: 1 of 3 names are TensorRT's own, such as '(Unnamed Layer* 3) "
    "[Convolution]_output': rename them to the model's layers\n"
    "(Unnamed Layer* 3) [Convolution]_output: 40d0f64f\n^\n"
)


def run(*arguments: str, stdin: str | bytes = "") -> tuple[int, str, str]:
    """Exit code, standard output and standard error of the tool, run in this process."""
    stream = (
        io.StringIO(stdin)
        if isinstance(stdin, str)
        else io.TextIOWrapper(io.BytesIO(stdin), encoding="ascii")
    )
    stdout, stderr = io.StringIO(), io.StringIO()
    code = tool.main(list(arguments), stream, stdout, stderr)
    return code, stdout.getvalue(), stderr.getvalue()


def scales_in(text: str) -> dict[str, float]:
    table = json.loads(text)
    assert all(set(entry) == {"scale", "min", "max", "offset"} for entry in table.values())
    assert all(entry["min"] == entry["max"] == entry["offset"] == 0 for entry in table.values())
    return {name: entry["scale"] for name, entry in table.items()}


def test_file_to_file(tmp_path: Path) -> None:
    cache, table = tmp_path / "c.txt", tmp_path / "c.json"
    cache.write_text(CACHE)
    assert run(str(cache), "-o", str(table)) == (0, "", REMARK.format(cache))
    assert scales_in(table.read_text()) == SCALES
    assert list(read_table(table)) == list(SCALES)


@pytest.mark.parametrize("arguments", [["-"], ["-", "-o", "-"], ["-", "--output=-"]])
def test_standard_streams(arguments: list[str]) -> None:
    code, out, err = run(*arguments, stdin=CACHE)
    assert code == 0
    assert scales_in(out) == SCALES
    assert err == REMARK.format("<stdin>")


def test_standard_input_is_utf8_whatever_the_environment_says() -> None:
    code, out, err = run("-", stdin="TRT-1-x\né: 3f800000\n".encode())
    assert (code, err) == (0, "")
    assert scales_in(out) == {"é": 1.0}
    assert run("-", stdin=b"TRT-1-x\n\xe9: 3f800000\n") == (
        1,
        "",
        "<stdin>:2:1: error: the byte 0xe9 at offset 8 is not UTF-8\n",
    )


def test_warnings_are_shown_and_do_not_fail() -> None:
    code, out, err = run("-", stdin="TRT-1-x\na: 3f800000\nb: 0\n")
    assert code == 0
    assert scales_in(out) == {"a": 1.0}
    assert err.startswith("<stdin>:3:4: warning: the scale of 'b' is zero")


def test_faulty_cache_leaves_the_old_table(tmp_path: Path) -> None:
    cache, table = tmp_path / "c.txt", tmp_path / "c.json"
    cache.write_text("TRT-1-x\na: 3f800000\nb: 12 34\nc\n")
    table.write_text("old")
    code, out, err = run(str(cache), "-o", str(table))
    assert (code, out) == (1, "")
    assert err == (
        f"{cache}:3:4: error: the scale of 'b' must be a float32 as 1 to 8 hexadecimal digits, "
        "it is '12 34'\nb: 12 34\n   ^\n"
        f"{cache}:4:1: error: expected '<name>: <hexadecimal float32>', found 'c'\nc\n^\n"
    )
    assert table.read_text() == "old"


def test_json_is_no_cache() -> None:
    code, out, err = run("-", stdin='{"a": {"scale": 1}}')
    assert (code, out) == (1, "")
    assert err.startswith(
        "<stdin>:1:1: error: this is an NVDLA JSON table already, not a TensorRT cache\n"
    )


def test_files_that_cannot_be_read_or_written(tmp_path: Path) -> None:
    missing = tmp_path / "no.txt"
    assert run(str(missing)) == (1, "", f"error: cannot read '{missing}': there is no such file\n")
    cache = tmp_path / "c.txt"
    cache.write_text("TRT-1-x\na: 3f800000\n")
    assert run(str(cache), "-o", str(tmp_path)) == (
        1,
        "",
        f"error: cannot write '{tmp_path}': it is a directory\n",
    )
    assert run(str(cache), "-o", str(missing / "x.json"))[0] == 1


def test_usage() -> None:
    code, out, err = run()
    assert (code, out) == (2, "")
    assert "the following arguments are required: cache" in err
    code, out, err = run("-", "--frobnicate")
    assert (code, out) == (2, "")
    assert "unrecognized arguments: --frobnicate" in err
    code, out, err = run("--help")
    assert (code, err) == (0, "")
    assert "TensorRT calibration cache" in out
    assert run("--version") == (0, f"calib_txt_to_json {__version__}\n", "")


@pytest.mark.parametrize("how", [["-m", "nvdla_ir.tools.calib_txt_to_json"], [tool.__file__]])
def test_as_a_program(how: list[str], tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, *how, "-"],
        input=CACHE.encode(),
        capture_output=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert (ran.returncode, ran.stderr.decode()) == (0, REMARK.format("<stdin>"))
    assert scales_in(ran.stdout.decode()) == SCALES


@pytest.mark.skipif(not SAMPLES.is_dir(), reason=f"the vendor's samples are not at {SAMPLES}")
def test_vendor_sample() -> None:
    code, out, err = run(str(SAMPLES / "resnet50.txt"))
    assert code == 0
    assert "remark: 155 of 229 names are TensorRT's own" in err
    theirs = scales_in((SAMPLES / "resnet50.json").read_text(encoding="utf-8"))
    ours = scales_in(out)
    assert list(ours.values()) == list(theirs.values())
    # Same name in the same place; elsewhere a name of the cache is a tensor that several layers
    # write, and the JSON gives its value to the last of them.
    agreeing = [a for a, b in zip(ours, theirs, strict=True) if a == b]
    assert len(agreeing) == 5
    assert {name: ours[name] for name in agreeing} == {name: theirs[name] for name in agreeing}
