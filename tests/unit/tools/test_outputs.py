"""Outputs of all commands: what was read is not lost, and nothing is written twice."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from nvdla_ir.tools.nvdla_calibrate import main as calibrate
from nvdla_ir.tools.nvdla_opt import main as opt
from nvdla_ir.tools.nvdla_run import main as run
from nvdla_ir.tools.nvdla_translate import main as translate

NETWORK = """\
module attributes {nvdla_ir.weights = "w.safetensors"} {
  func.func @main(%x: tensor<1x3x4x4xf32> {nvdla_ir.name = "x"})
      -> (tensor<1x3x4x4xf32> {nvdla_ir.name = "file"},
          tensor<1x3x4x4xf32> {nvdla_ir.name = "allow_pickle"}) {
    %w = nn.constant value=dense_resource<w> : tensor<3x3x1x1xf32>
    %y = nn.conv %x, %w layers=["conv"] -> tensor<1x3x4x4xf32>
    %z = nn.relu %y layers=["relu"] -> tensor<1x3x4x4xf32>
    func.return %y, %z
  }
}
"""
TRACE = """\
reg_write(NVDLA_GLB.S_INTR_MASK_0, 0x0);
mem_load(pri_mem, 0x80000000, "in.dat");
"""
DATA = "{offset:0x0, size:4, payload:0x01 0x02 0x03 0x04},\n"
PLUGIN = """\
from nvdla_ir.passes.base import Pass


class Nothing(Pass):
    name = "nothing"

    def run(self, module, session):
        pass
"""
READ = "its contents are read here; give the output another name"


class Stdout(io.TextIOWrapper):
    def __init__(self) -> None:
        super().__init__(io.BytesIO(), "utf-8", write_through=True)


def call(main: Callable[..., int], *arguments: str) -> tuple[int, str]:
    """The exit code and what was said."""
    errors = io.StringIO()
    return main(arguments, io.StringIO(), Stdout(), errors), errors.getvalue()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory: a network with its weights, data, a folder of images, a trace."""
    monkeypatch.chdir(tmp_path)
    Path("m.ir").write_text(NETWORK)
    save_file({"w": 2 * np.eye(3, dtype=np.float32)[:, :, None, None]}, "w.safetensors")
    rng = np.random.default_rng(1)
    np.save("x.npy", rng.standard_normal((2, 3, 4, 4)).astype(np.float32))
    Path("images").mkdir()
    for index in range(2):
        pixels: Any = rng.integers(0, 256, (4, 4, 3), np.uint8)
        Image.fromarray(pixels).save(f"images/{index}.png")
    Path("t").mkdir()
    Path("t/t.cfg").write_text(TRACE)
    Path("t/in.dat").write_text(DATA)
    for link, target in (("lw", "w.safetensors"), ("li", "images/0.png"), ("ld", "t/in.dat")):
        Path(f"{link}.npy").symlink_to(target)
    Path("hw.npy").hardlink_to("w.safetensors")
    Path("sub").mkdir()
    np.savez("labels.npz", k=np.zeros(2, np.int64))
    for name in ("m.onnx", "m.prototxt", "m.caffemodel", "m.nvdla", "c.cache"):
        Path(name).write_text("read after the output was found to be impossible")
    Path("my.toml").write_text('base = "nv_small"\n')
    Path("plugin.py").write_text(PLUGIN)
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    files = (file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


CALIBRATE = ("m.ir", "--data=x.npy", "--jobs=1")
EVALUATE = ("--evaluate", "m.ir", "--data=x.npy", "--jobs=1")
RUN = ("m.ir", "--input=x=x.npy")
ON_TRACE = ("t", "--target=nv_small")


@pytest.mark.parametrize(
    ("main", "arguments", "output"),
    [
        (run, (*RUN, "--output=file="), "w.safetensors"),
        (run, (*RUN, "--output=file="), "sub/../lw.npy"),
        (run, (*RUN, "--output=file="), "hw.npy"),
        (run, (*RUN, "--raw-output=file="), "w.safetensors"),
        (run, (*ON_TRACE, "--dump=pri:0x80000000:4:"), "t/in.dat"),
        (run, (*ON_TRACE, "--dump=pri:0x80000000:4:"), "ld.npy"),
        (run, (*ON_TRACE, "--trace-registers="), "t/t.cfg"),
        (translate, ("--import-trace", *ON_TRACE, "-o="), "t/in.dat"),
        (translate, ("--import-trace", *ON_TRACE, "-o="), "t/t.cfg"),
        (calibrate, (*CALIBRATE, "-o="), "lw.npy"),
        (calibrate, (*CALIBRATE, "-o=c.json", "--cache="), "w.safetensors"),
        (calibrate, (*CALIBRATE, "-o=c.json", "--resume="), "w.safetensors"),
        (calibrate, ("m.ir", "--data=images", "--jobs=1", "-o="), "images/1.png"),
        (calibrate, ("m.ir", "--data=images", "--jobs=1", "-o="), "li.npy"),
        (calibrate, (*EVALUATE, "--calib=c.json", "--json="), "w.safetensors"),
        (run, (*RUN, "--output=file="), "m.ir"),
        (run, (*RUN, "--labels=labels.npz:k", "--output=file="), "labels.npz"),
        (run, (*RUN, "--raw-output=file="), "x.npy"),
        (run, (*ON_TRACE, "--check=pri:0x80000000:t/in.dat", "--trace-registers="), "t/in.dat"),
        (translate, ("--import-onnx=m.onnx", "-o="), "m.onnx"),
        (translate, ("--import-onnx=m.onnx", "-o="), "sub/../m.onnx"),
        (translate, ("--import-caffe=m.prototxt", "m.caffemodel", "-o="), "m.prototxt"),
        (translate, ("--import-caffe=m.prototxt", "m.caffemodel", "-o="), "m.caffemodel"),
        (translate, ("--import-trace", "t", "--target=my.toml", "-o="), "my.toml"),
        (translate, ("--import-loadable=m.nvdla", "-o="), "m.nvdla"),
        (translate, ("--calib-txt-to-json=c.cache", "-o="), "c.cache"),
        (translate, ("--calib-txt-to-json=c.cache", "--model=m.ir", "-o="), "m.ir"),
        (calibrate, (*CALIBRATE, "-o="), "m.ir"),
        (calibrate, (*CALIBRATE, "-o="), "x.npy"),
        (calibrate, (*CALIBRATE, "-o=c.json", "--resume="), "x.npy"),
        (calibrate, (*EVALUATE, "--calib=c.json", "--report="), "c.json"),
        (calibrate, (*EVALUATE, "--calib=c.json", "--json="), "x.npy"),
        (calibrate, (*EVALUATE, "--calib=c.json", "--labels=labels.npz:k", "--json="), "m.ir"),
        (opt, ("m.ir", "--import-calib=c.json", "-o="), "c.json"),
        (opt, ("m.ir", "--import-calib=c.json", "--split-input-file", "-o="), "c.json"),
        (opt, ("m.ir", "--load-pass-plugin=plugin.py", "-o="), "plugin.py"),
        (opt, ("m.ir", "--target=my.toml", "-o="), "my.toml"),
        (opt, ("m.ir", "-o="), "lw.npy"),
        (opt, ("m.ir", "--split-input-file", "-o="), "lw.npy"),
    ],
)
def test_what_a_command_reads_by_itself_is_kept(
    folder: Path, main: Callable[..., int], arguments: tuple[str, ...], output: str
) -> None:
    if any("c.json" in argument for argument in arguments):
        assert call(calibrate, *CALIBRATE, "-o", "c.json")[0] == 0
    before = contents(folder)
    status, errors = call(main, *arguments[:-1], arguments[-1] + output)
    assert (status, errors) == (1, f"error: cannot write '{output}': {READ}\n")
    assert contents(folder) == before


def test_a_named_input_may_be_the_output() -> None:
    before = np.load("x.npy")
    assert call(run, *RUN, "--output=file=x.npy") == (0, "")
    np.testing.assert_array_equal(np.load("x.npy"), 2 * before)


def test_a_text_may_be_compiled_in_place() -> None:
    assert call(opt, "m.ir", "--canonicalize", "-o", "m.ir") == (0, "")
    assert call(run, *RUN, "--output=file=y.npy") == (0, "")
    np.testing.assert_array_equal(np.load("y.npy"), 2 * np.load("x.npy"))


@pytest.mark.parametrize(
    ("main", "arguments"),
    [
        (opt, ("m.ir", "--import-calib=not-read-yet.json")),
        (translate, ("--import-onnx=m.onnx",)),
        (translate, ("--import-caffe=m.prototxt", "m.caffemodel")),
    ],
)
def test_a_folder_that_is_not_there_is_told_once_and_before_the_work(
    main: Callable[..., int], arguments: tuple[str, ...]
) -> None:
    message = "error: cannot write 'no/a.ir': there is no directory 'no'\n"
    assert call(main, *arguments, "-o", "no/a.ir") == (1, message)


def test_an_exported_trace_keeps_what_was_read(folder: Path) -> None:
    assert call(translate, "--import-trace", *ON_TRACE, "-o", "m.ir")[0] == 0
    Path("sub/sub.cfg").write_text(Path("m.ir").read_text())
    Path("sub/m.safetensors").write_bytes(Path("m.safetensors").read_bytes())
    before = contents(folder)
    status, errors = call(translate, "--export-trace", "sub/sub.cfg", "-o", "sub")
    assert (status, errors) == (1, f"error: cannot write 'sub/sub.cfg': {READ}\n")
    assert contents(folder) == before


@pytest.mark.parametrize(
    ("main", "arguments"),
    [
        (run, (*RUN, "--output=file=a.npy", "--output=allow_pickle=sub/../a.npy")),
        (run, (*RUN, "--output=file=a.npz:k", "--output=allow_pickle=./a.npz:k")),
        (run, (*RUN, "--output=file=a.npz", "--output=allow_pickle=./a.npz:file")),
        (run, (*RUN, "--output=file=a.npz", "--raw-output=allow_pickle=./a.npz")),
        (run, (*ON_TRACE, "--dump=pri:0:8:a", "--trace-registers=sub/../a")),
        (calibrate, (*CALIBRATE, "-o=a", "--cache=./a")),
        (calibrate, (*CALIBRATE, "-o=a", "--resume=sub/../a")),
        (calibrate, (*EVALUATE, "--calib=c.json", "--json=a", "--report=./a")),
    ],
)
def test_nothing_is_written_twice(main: Callable[..., int], arguments: tuple[str, ...]) -> None:
    status, errors = call(main, *arguments)
    assert status == 2 and "would be written twice" in errors
    assert not [file for file in Path().iterdir() if file.name.startswith("a")]


def test_arrays_share_an_archive_under_any_key() -> None:
    outputs = ("--output=file=a.npz", "--output=allow_pickle=sub/../a.npz")
    assert call(run, *RUN, *outputs) == (0, "")
    with np.load("a.npz") as archive:
        assert sorted(archive.files) == ["allow_pickle", "file"]
        np.testing.assert_array_equal(archive["file"], 2 * np.load("x.npy"))
        np.testing.assert_array_equal(archive["allow_pickle"], np.maximum(archive["file"], 0))


@pytest.mark.parametrize("key", ["\udcff", "k" * 70_000])
def test_a_key_that_no_archive_has(key: str) -> None:
    status, errors = call(run, *RUN, f"--output=file=a.npz:{key}")
    assert status == 1
    assert errors.startswith("error: cannot write 'a.npz': the key ")


LONG = "a" * 300


@pytest.mark.parametrize(
    ("main", "arguments", "action"),
    [
        (opt, (LONG,), "read"),
        (opt, ("m.ir", "-o", LONG), "write"),
        (run, (LONG,), "read"),
        (run, ("m.ir", f"--input=x={LONG}"), "read"),
        (run, (*RUN, f"--output=file={LONG}"), "write"),
        (run, (*RUN, f"--labels={LONG}"), "read"),
        (translate, ("--import-trace", f"{LONG}.cfg", "--target=nv_small"), "read"),
        (translate, ("--import-onnx", LONG), "read"),
        (translate, ("--import-caffe", LONG), "read"),
        (translate, ("--calib-txt-to-json", LONG), "read"),
        (calibrate, ("m.ir", f"--data={LONG}", "-o=c.json", "--jobs=1"), "read"),
        (calibrate, (*CALIBRATE, f"-o={LONG}"), "write"),
        (calibrate, (*CALIBRATE, "-o=c.json", f"--resume={LONG}"), "write"),
        (calibrate, ("--evaluate", "m.ir", f"--data={LONG}", "--calib=c.json"), "read"),
        (calibrate, (*EVALUATE, f"--calib={LONG}"), "read"),
    ],
)
def test_names_that_are_too_long(
    main: Callable[..., int], arguments: tuple[str, ...], action: str
) -> None:
    assert call(calibrate, *CALIBRATE, "-o", "c.json")[0] == 0
    status, errors = call(main, *arguments)
    assert status == 1
    assert "Traceback" not in errors
    assert f"cannot {action}" in errors or "cannot be read" in errors
    assert "File name too long" in errors


# -------------------------------------------------------------- sizes that no machine holds


def test_a_tensor_that_memory_does_not_hold() -> None:
    for extent in (10**8, 10**18):
        Path("big.ir").write_text(
            "func.func @main(%x: tensor<1x1x1x1xf32>) -> tensor<1x1x1x1xf32> {\n"
            f"  %p = nn.pad %x pads=[0, 0, {extent - 1}, {10**6 - 1}] "
            f"-> tensor<1x1x{extent}x{10**6}xf32>\n"
            "  %y = nn.global_average_pool %p -> tensor<1x1x1x1xf32>\n"
            "  func.return %y\n}\n"
        )
        np.save("one.npy", np.ones((1, 1, 1, 1), np.float32))
        status, errors = call(run, "big.ir", "--input=x=one.npy")
        assert status == 1 and "Traceback" not in errors
        assert "memory does not suffice" in errors


def test_random_bytes_in_pieces_are_the_same() -> None:
    import random

    from nvdla_ir.formats.trace.memory import _random_bytes  # pyright: ignore

    size = (1 << 21) + 5
    assert _random_bytes(7, size) == random.Random(7).randbytes(size)


def test_an_endless_constant_is_summed_up_at_once() -> None:
    from nvdla_ir.tools.run_command import _summary  # pyright: ignore

    rows = np.broadcast_to(np.float32([[1, 3, 2]]), (10**12, 3))
    assert _summary("y", rows) == (
        f"y: {10**12}x3 float32, 1 to 3, argmax {' '.join('1' * 10)} …\n"
    )
    assert _summary("z", np.broadcast_to(np.float32(2), (1, 10**15))) == (
        f"z: 1x{10**15} float32, 2 to 2, argmax 0\n"
    )
