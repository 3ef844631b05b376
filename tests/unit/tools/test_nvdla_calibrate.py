"""nvdla-calibrate: tables, caches, resuming, wrong usage and faulty inputs."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attrs import frozen

from nvdla_ir.calibration.table import read_table
from nvdla_ir.tools.nvdla_calibrate import main

DIGITS = Path(__file__).resolve().parents[3] / "examples" / "digits"

DOUBLE = """
func.func @main(%x: tensor<1x3x4x4xf32> {nvdla_ir.name = "data"})
    -> (tensor<1x3x4x4xf32> {nvdla_ir.name = "out"}) {
  %d = nn.add %x, %x layers=["double"] -> tensor<1x3x4x4xf32>
  %y = nn.relu %d layers=["relu"] -> tensor<1x3x4x4xf32>
  func.return %y
}
"""
PAIRS = """
func.func @main(%x: tensor<2x3x4x4xf32> {nvdla_ir.name = "data"}) -> tensor<2x3x4x4xf32> {
  %y = nn.relu %x layers=["relu"] -> tensor<2x3x4x4xf32>
  func.return %y
}
"""
TWO_INPUTS = """
func.func @main(%x: tensor<1x2xf32> {nvdla_ir.name = "left"},
    %y: tensor<1x2xf32> {nvdla_ir.name = "right"}) -> tensor<1x2xf32> {
  %z = nn.add %x, %y layers=["sum"] -> tensor<1x2xf32>
  func.return %z
}
"""
PIXELS = """
func.func @main(%x: tensor<1x3x4x4xui8> {nvdla_ir.name = "data"}) -> tensor<1x3x4x4xf32> {
  %y = nn.normalize %x mean=[1.0, 2.0, 3.0] scale=0.5 layers=["data"] -> tensor<1x3x4x4xf32>
  func.return %y
}
"""


@frozen
class Result:
    """What one call said."""

    status: int
    output: str
    errors: str


Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Calls the tool in a directory with ``double.ir``, ``pairs.ir`` and twenty images of normal
    numbers for them in ``images.npy``."""
    monkeypatch.chdir(tmp_path)
    Path("double.ir").write_text(DOUBLE)
    Path("pairs.ir").write_text(PAIRS)
    np.save("images.npy", images())

    def call(*arguments: str, stdin: str = "") -> Result:
        output, errors = io.StringIO(), io.StringIO()
        if not any(argument.startswith("--jobs") for argument in arguments):
            arguments = (*arguments, "--jobs=1")
        status = main(arguments, io.StringIO(stdin), output, errors)
        return Result(status, output.getvalue(), errors.getvalue())

    return call


def images(count: int = 20, seed: int = 1) -> Any:
    return np.random.default_rng(seed).standard_normal((count, 3, 4, 4)).astype(np.float32)


def scales(file: str = "c.json") -> dict[str, float]:
    return {name: entry.scale for name, entry in read_table(file).items()}


# -------------------------------------------------------------- tables


def test_min_max_of_inputs_and_layers(run: Run) -> None:
    result = run("double.ir", "--data", "images.npy", "--method", "minmax", "-o", "c.json")
    assert (result.status, result.output) == (0, "")
    peak, above = float(np.abs(images()).max()), float(images().max())
    expected = {"data": peak / 127, "double": 2 * peak / 127, "relu": 2 * above / 127}
    assert scales() == {name: float(np.float32(scale)) for name, scale in expected.items()}
    entries = json.loads(Path("c.json").read_text())
    assert all(e["min"] == e["max"] == e["offset"] == 0 for e in entries.values())


@pytest.mark.parametrize("method", ["entropy", "percentile", "mse"])
def test_other_methods_saturate_a_little(run: Run, method: str) -> None:
    run("double.ir", "--data", "images.npy", "--method", "minmax", "-o", "peak.json")
    assert run("double.ir", "--data", "images.npy", "--method", method, "-o", "c.json").status == 0
    for name, scale in scales().items():
        assert 0.4 < scale / scales("peak.json")[name] <= 1.0


def test_the_method_with_the_best_outputs_is_taken(run: Run) -> None:
    result = run("double.ir", "--data", "images.npy", "-o", "default.json")
    remark = result.errors.splitlines()[0]
    assert remark.startswith("remark: method '")
    figures = dict(pair.split() for pair in remark.partition("with ")[2].split(", "))
    assert list(figures) == ["minmax", "mse", "percentile", "entropy"]
    chosen = remark.split("'")[1]
    assert figures[chosen] == max(figures.values(), key=float)
    run("double.ir", "--data", "images.npy", f"--method={chosen}", "-o", "chosen.json")
    assert Path("default.json").read_text() == Path("chosen.json").read_text()


@pytest.mark.parametrize("method", ["entropy", "percentile"])
def test_inputs_keep_their_range_unless_nothing_is_guarded(run: Run, method: str) -> None:
    arguments = ("double.ir", "--data", "images.npy", f"--method={method}", "--percentile=90")
    arguments = arguments if method == "percentile" else arguments[:-1]
    run(*arguments, "-o", "guarded.json")
    run(*arguments, "--unguarded", "-o", "unguarded.json")
    peak = float(np.float32(np.abs(images()).max() / np.float32(127)))
    assert scales("guarded.json")["data"] == pytest.approx(peak)
    assert scales("unguarded.json")["data"] < 0.95 * peak


def test_what_the_ranges_do_is_shown(run: Run) -> None:
    arguments = ("double.ir", "--data", "images.npy", "--method=percentile", "--percentile=90")
    result = run(*arguments, "-o", "c.json")
    assert (result.status, result.output) == (0, "")
    heading, data, double, relu, *warning = result.errors.splitlines()
    assert heading.split() == [
        "tensor", "least", "largest", "threshold", "saturated", "SQNR", "dB"
    ]  # fmt: skip
    assert data.split()[:2] == ["data", f"{images().min():.4g}"]
    assert data.split()[4:6] == ["0.000", "%"] and data[-1] != "!"
    share = float(double.split()[4])
    assert 9 < share < 11 and double[-1] == relu[-1] == "!"
    assert warning[0] == (
        "warning: 2 tensors lose much with these ranges; '--evaluate' tells what that costs"
    )
    assert warning[1].startswith("note: 'double' saturates ")


def test_a_lower_percentile_is_a_smaller_range(run: Run) -> None:
    for percentile in ("50", "99.5"):
        file = f"{percentile}.json"
        arguments = ("--method=percentile", f"--percentile={percentile}", "-o", file)
        assert run("double.ir", "--data", "images.npy", *arguments).status == 0
    low, high = scales("50.json"), scales("99.5.json")
    assert low["data"] == high["data"]
    assert all(low[name] < high[name] for name in ("double", "relu"))


def test_the_cache_has_the_same_scales(run: Run) -> None:
    result = run(
        "double.ir",
        "--data",
        "images.npy",
        "-o",
        "c.json",
        "--cache",
        "trt.txt",
        "--method=entropy",
    )
    assert result.status == 0
    assert Path("trt.txt").read_text().startswith("TRT-8601-EntropyCalibration2\n")
    assert scales("trt.txt") == scales("c.json")


def test_streams(run: Run) -> None:
    result = run("-", "--data", "images.npy", "-o", "c.json", stdin=DOUBLE)
    assert (result.status, sorted(scales())) == (0, ["data", "double", "relu"])


def test_pixels_are_normalized_by_the_network(run: Run) -> None:
    Path("pixels.ir").write_text(PIXELS)
    np.save("pixels.npy", np.full((2, 3, 4, 4), 255, np.uint8))
    arguments = ("--data", "pixels.npy", "-o", "c.json")
    assert run("pixels.ir", "--method=minmax", *arguments).status == 0
    assert scales() == {"data": float(np.float32(127.0 / 127))}
    result = run("pixels.ir", "--scale=0.5", *arguments)
    assert (
        result.status == 1 and "normalizes them itself: leave out mean and scale" in result.errors
    )


def test_several_inputs_come_from_an_archive_by_name(run: Run) -> None:
    Path("two.ir").write_text(TWO_INPUTS)
    left, right = images().reshape(-1, 2), 3 * images().reshape(-1, 2)
    np.savez("two.npz", right=right, left=left)
    arguments = ("--method=minmax", "-o", "c.json", "--data")
    assert run("two.ir", *arguments, "two.npz").status == 0
    peak = float(np.abs(images()).max())
    expected = {"left": peak / 127, "right": 3 * peak / 127, "sum": 4 * peak / 127}
    assert scales() == pytest.approx(expected, rel=1e-6)
    assert (
        "give their arrays by name in a .npz file" in run("two.ir", *arguments, "images.npy").errors
    )


def test_a_tensor_that_is_always_zero_is_warned_about(run: Run) -> None:
    np.save("negative.npy", -np.abs(images()))
    result = run("double.ir", "--data", "negative.npy", "-o", "c.json")
    assert result.status == 0
    assert "warning: always zero in these images, given the range -1 to 1: 'relu'\n" in (
        result.errors
    )
    assert scales()["relu"] == float(np.float32(1 / 127))


# -------------------------------------------------------------- the same table, however it is made


@pytest.mark.parametrize("batch", ["1", "3", "100"])
def test_the_batch_changes_nothing(run: Run, batch: str) -> None:
    run("double.ir", "--data", "images.npy", "-o", "a.json")
    run("double.ir", "--data", "images.npy", "-o", "b.json", "--batch", batch)
    assert Path("a.json").read_text() == Path("b.json").read_text()


def test_processes_change_nothing(run: Run) -> None:
    # In processes of their own, which have one BLAS thread: sums depend on the number of threads.
    command = [sys.executable, "-m", "nvdla_ir.tools.nvdla_calibrate", str(DIGITS / "lenet.ir")]
    command += ["--data", str(DIGITS / "test_images.npz"), "--scale=0.003921569"]
    for file, *arguments in (("a", "--jobs=1"), ("b", "--jobs=2", "--batch=9")):
        subprocess.run([*command, "-o", file, *arguments], check=True)
    assert Path("a").read_text() == Path("b").read_text()


# -------------------------------------------------------------- resuming


def test_another_method_needs_no_second_measurement(run: Run, monkeypatch: Any) -> None:
    from nvdla_ir.calibration.measurement import Meter

    data = ("double.ir", "--data", "images.npy", "--resume", "state.npz")
    assert run(*data, "-o", "a.json").status == 0
    run("double.ir", "--data", "images.npy", "--method=mse", "-o", "direct.json")
    monkeypatch.setattr(Meter, "measure", None)
    assert run(*data, "--method=mse", "-o", "b.json").status == 0
    assert Path("b.json").read_text() == Path("direct.json").read_text()


def test_an_interrupted_calibration_goes_on(run: Run, monkeypatch: Any) -> None:
    from nvdla_ir.calibration.measurement import Meter

    run("double.ir", "--data", "images.npy", "--method=mse", "-o", "whole.json")
    measured: list[int] = []
    measure = Meter.measure

    def interrupted(meter: Meter, groups: Any) -> Any:
        measured.extend(group.number for group in groups)
        if len(measured) == 2:
            raise KeyboardInterrupt
        return measure(meter, groups)

    monkeypatch.setattr(Meter, "measure", interrupted)
    arguments = ("double.ir", "--data", "images.npy", "--batch=1", "--method=mse", "-o", "c.json")
    assert run(*arguments).errors == "nvdla-calibrate: interrupted; nothing was written\n"
    measured.clear()
    resumed = (*arguments, "--resume=state.npz")
    result = run(*resumed)
    assert result.status == 1
    assert result.errors == (
        "nvdla-calibrate: interrupted; what is measured is in 'state.npz', to go on from\n"
    )
    assert not Path("c.json").exists()
    measured[:] = [-1, -1, -1]
    assert run(*resumed).status == 0
    assert measured[3:] == [1, 2]
    assert Path("c.json").read_text() == Path("whole.json").read_text()


@pytest.mark.parametrize("place", range(1, 13))
def test_each_group_counts_once_wherever_the_interruption_is(
    run: Run, monkeypatch: Any, place: int
) -> None:
    from nvdla_ir.calibration.histogram import Histogram

    arguments = ("double.ir", "--data", "images.npy", "--batch=1")
    assert run(*arguments, "-o", "whole.json", "--resume=whole.npz").status == 0
    merge, calls = Histogram.merge, 0

    def interrupted(histogram: Histogram, other: Histogram) -> None:
        nonlocal calls
        calls += 1
        merge(histogram, other)
        if calls == place:
            os.kill(os.getpid(), signal.SIGTERM if place % 2 else signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Histogram, "merge", interrupted)
        stopped = run(*arguments, "-o", "c.json", "--resume=state.npz")
    if calls >= place:
        assert stopped.status == (143 if place % 2 else 1)
        assert "; what is measured is in 'state.npz', to go on from\n" in stopped.errors
        assert not Path("c.json").exists()
        assert run(*arguments, "-o", "c.json", "--resume=state.npz").status == 0
    assert Path("c.json").read_text() == Path("whole.json").read_text()
    with np.load("state.npz") as state, np.load("whole.npz") as whole:
        for name in whole.files:
            np.testing.assert_array_equal(state[name], whole[name])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("other.ir", "images.npy"),
            "is of another network; give '--resume' the name of a new file to start afresh",
        ),
        (("double.ir", "other.npy"), "is of other images, or the same ones prepared otherwise"),
        (("double.ir", "images.npy", "--mean=1"), "the same ones prepared otherwise"),
        (("other.ir", "other.npy"), "is of another network and other images"),
    ],
)
def test_a_state_of_something_else_is_refused(
    run: Run, change: tuple[str, ...], message: str
) -> None:
    Path("other.ir").write_text(DOUBLE.replace("double", "twice"))
    np.save("other.npy", images(seed=2))
    arguments = ("--resume=state.npz", "-o", "c.json")
    assert run("double.ir", "--data", "images.npy", *arguments).status == 0
    Path("c.json").unlink()
    model, data, *more = change
    result = run(model, "--data", data, *more, *arguments)
    assert result.status == 1 and message in result.errors
    assert not Path("c.json").exists()


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("exponents", lambda a: a + (1 << 40)),
        ("exponents", lambda a: a + 1200),
        ("exponents", lambda a: a[:1]),
        ("exponents", lambda a: a.astype(np.float64)),
        ("counts", lambda a: -a),
        ("counts", lambda a: a[:, ::-1]),
        ("counts", lambda a: 0 * a),
        ("minima", lambda a: a * np.nan),
        ("maxima", lambda a: a * np.inf),
        ("done", lambda a: a + 1000),
        ("done", lambda a: a - 1),
        ("done", lambda a: np.concatenate([a, a])),
        ("done", lambda a: a[None]),
        ("header", lambda a: np.array("[" * 90_000)),
        ("header", lambda a: np.array("{}")),
    ],
)
def test_a_state_with_impossible_numbers(run: Run, name: str, change: Any) -> None:
    arguments = ("double.ir", "--data", "images.npy", "--resume=state.npz", "-o", "c.json")
    assert run(*arguments).status == 0
    with np.load("state.npz") as archive:
        arrays = {key: archive[key] for key in archive.files}
    arrays[name] = change(arrays[name])
    np.savez("state.npz", **arrays)
    result = run(*arguments)
    message = (
        "error: 'state.npz' is no state of a calibration, or a damaged one: it is left as it is; "
        "give '--resume' the name of a new file to start afresh\n"
    )
    assert (result.status, result.errors) == (1, message)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no archive", b"\x93NUMPY"])
def test_what_is_no_state_is_refused_and_kept(run: Run, content: bytes) -> None:
    Path("state.npz").write_bytes(content)
    result = run("double.ir", "--data", "images.npy", "--resume=state.npz", "-o", "c.json")
    assert result.status == 1
    assert "'state.npz' is no state of a calibration, or a damaged one" in result.errors
    assert Path("state.npz").read_bytes() == content


# -------------------------------------------------------------- faulty images


def test_images_with_nan_are_all_named(run: Run) -> None:
    faulty = images()
    faulty[3, 0, 0, 0] = np.nan
    faulty[17, 1, 2, 3] = -np.inf
    faulty[17, 1, 2, 2] = np.nan
    np.save("faulty.npy", faulty)
    result = run("double.ir", "--data", "faulty.npy", "-o", "c.json")
    assert result.status == 1
    assert result.errors == (
        "error: 2 of 20 images cannot be used; --skip-bad leaves them out\n"
        "note: image 3 of 'faulty.npy' has 1 NaN or infinite numbers\n"
        "note: image 17 of 'faulty.npy' has 2 NaN or infinite numbers\n"
    )
    skipped = run("double.ir", "--data", "faulty.npy", "-o", "c.json", "--skip-bad")
    assert skipped.status == 0
    assert skipped.errors.startswith("warning: 2 of 20 images cannot be used and are left out\n")
    np.save("good.npy", np.delete(images(), (3, 17), axis=0))
    run("double.ir", "--data", "good.npy", "-o", "good.json")
    assert Path("c.json").read_text() == Path("good.json").read_text()


def test_many_faults_are_counted(run: Run) -> None:
    np.save("faulty.npy", np.full((20, 3, 4, 4), np.nan, np.float32))
    result = run("double.ir", "--data", "faulty.npy", "-o", "c.json")
    assert "20 of 20 images" in result.errors and result.errors.endswith("note: and 10 more\n")
    skipped = run("double.ir", "--data", "faulty.npy", "-o", "c.json", "--skip-bad")
    assert skipped.status == 1 and "there are 0 images" in skipped.errors


def test_a_layer_that_overflows_is_named_with_the_image(run: Run) -> None:
    large = images()
    large[5] = 3e38
    np.save("large.npy", large)
    with np.errstate(over="ignore"):
        result = run("double.ir", "--data", "large.npy", "-o", "c.json")
    assert result.status == 1
    assert "'double' has NaN or infinite numbers for image 5 of 'large.npy'" in result.errors


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((0, 3, 4, 4), np.float32), "holds no images"),
        (np.zeros((5, 3, 4, 5), np.float32), "has shape 5x3x4x5, but 'data' takes 3x4x4 for each"),
        (np.zeros((5, 4, 4, 3), np.float32), "transpose(0, 3, 1, 2) puts them where they belong"),
        (np.zeros((5, 3, 4, 4), np.complex64), "holds complex64, which are no numbers"),
        (np.zeros((), np.float32), "has shape scalar"),
        (np.array([{}]), "Python objects"),
    ],
)
def test_arrays_that_do_not_fit(run: Run, array: Any, message: str) -> None:
    np.save("array.npy", array)
    result = run("double.ir", "--data", "array.npy", "-o", "c.json")
    assert result.status == 1 and message in result.errors
    assert not Path("c.json").exists()


def test_batches_must_be_filled(run: Run) -> None:
    np.save("three.npy", images(3))
    result = run("pairs.ir", "--data", "three.npy", "-o", "c.json")
    assert "there are 3 images, but '@main' takes batches of 2" in result.errors
    assert run("pairs.ir", "--data", "images.npy", "-o", "c.json").status == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is neither a .npy nor a .npz file, nor a folder of images"),
        (b"\x93NUMPY\x01\x00", "cannot read 'x.npz': "),
        (b"PK\x03\x04garbage", "the archive is damaged"),
        (None, "there is no such file"),
    ],
)
def test_files_that_are_no_data(run: Run, content: bytes | None, message: str) -> None:
    if content is not None:
        Path("x.npz").write_bytes(content)
    result = run("double.ir", "--data", "x.npz", "-o", "c.json")
    assert result.status == 1 and message in result.errors


def test_truncated_members_of_archives(run: Run) -> None:
    np.save("part.npy", images())
    with zipfile.ZipFile("part.npz", "w") as archive:
        archive.writestr("data.npy", Path("part.npy").read_bytes()[:-100])
    result = run("double.ir", "--data", "part.npz", "-o", "c.json")
    assert result.status == 1 and "the array ends too early" in result.errors


def test_arrays_of_archives_are_found_by_name_or_by_shape(run: Run) -> None:
    labels = np.arange(20)
    np.savez_compressed("named.npz", data=images(), other=images(seed=2))
    np.savez("fitting.npz", anything=images(), labels=labels)
    np.savez("several.npz", one=images(), two=images(), labels=labels)
    run("double.ir", "--data", "images.npy", "-o", "expected.json")
    for spec in ("named.npz", "fitting.npz", "several.npz:two"):
        assert run("double.ir", "--data", spec, "-o", "c.json").status == 0
        assert Path("c.json").read_text() == Path("expected.json").read_text()
    result = run("double.ir", "--data", "several.npz", "-o", "c.json")
    assert "it holds 'one', 'two', 'labels': say which, as in 'file.npz:key'" in result.errors
    result = run("double.ir", "--data", "several.npz:onee", "-o", "c.json")
    assert "it has no array 'onee'; did you mean 'one'?" in result.errors


def test_arrays_of_other_byte_order_and_in_columns(run: Run) -> None:
    run("double.ir", "--data", "images.npy", "-o", "expected.json")
    np.savez("big.npz", data=images().astype(">f4"))
    np.savez("columns.npz", data=np.asfortranarray(images()))
    for spec in ("big.npz", "columns.npz"):
        assert run("double.ir", "--data", spec, "-o", "c.json").status == 0
        assert Path("c.json").read_text() == Path("expected.json").read_text()


def test_folders_of_images_some_of_them_damaged(run: Run) -> None:
    image_module: Any = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    folder = Path("folder")
    folder.mkdir()
    pixels = np.random.default_rng(1).integers(0, 256, (6, 4, 4, 3), np.uint8)
    for index, image in enumerate(pixels):
        image_module.fromarray(image).save(folder / f"{index}.png")
    arguments = ("double.ir", "--data", "folder", "--mean=100,110,120", "--scale=0.01", "-o")
    assert run(*arguments, "c.json").status == 0
    reals = (pixels.astype(np.float32) - np.float32([100, 110, 120])) * np.float32(0.01)
    np.save("reals.npy", reals.transpose(0, 3, 1, 2))
    run("double.ir", "--data", "reals.npy", "-o", "expected.json")
    assert Path("c.json").read_text() == Path("expected.json").read_text()
    for name in ("2.jpg", "9.png"):
        (folder / name).write_bytes(b"no image")
    faulty = run(*arguments, "d.json")
    assert faulty.status == 1 and not Path("d.json").exists()
    assert "error: 2 of 8 images cannot be used; --skip-bad leaves them out\n" in faulty.errors
    assert "'folder/2.jpg' cannot be read" in faulty.errors
    assert "'folder/9.png' cannot be read" in faulty.errors
    skipped = run(*arguments, "d.json", "--skip-bad")
    assert skipped.status == 0 and "2 of 8 images cannot be used and are" in skipped.errors
    assert Path("d.json").read_text() == Path("expected.json").read_text()


# -------------------------------------------------------------- faulty networks


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ((' layers=["double"]', ""), "'nn.add' has no layer's name"),
        (('"double"', '"relu"'), "two tensors are called 'relu'"),
        (('"double"', '"data"'), "two tensors are called 'data'"),
    ],
)
def test_names_that_a_table_needs(run: Run, change: tuple[str, str], message: str) -> None:
    Path("faulty.ir").write_text(DOUBLE.replace(*change))
    result = run("faulty.ir", "--data", "images.npy", "-o", "c.json")
    assert result.status == 1 and message in result.errors


def test_all_layers_without_names_are_told_at_once(run: Run) -> None:
    without = DOUBLE.replace(' layers=["double"]', "").replace(' layers=["relu"]', "")
    Path("faulty.ir").write_text(without)
    result = run("faulty.ir", "--data", "images.npy", "-o", "c.json")
    assert result.errors.count("has no layer's name") == 2


def test_what_is_quantized_is_not_calibrated(run: Run) -> None:
    Path("int8.ir").write_text(DOUBLE.replace("xf32>", "x!quant.uniform<i8:f32, 0.5>>"))
    result = run("int8.ir", "--data", "images.npy", "-o", "c.json")
    assert result.status == 1 and "calibrate the network in floats" in result.errors


def test_what_the_network_quantizes_itself_needs_no_range(run: Run) -> None:
    """The input, here. Weights that are integers are no obstacle."""
    text = """
func.func @main(%x: tensor<1x3x4x4x!nn.fake_quantized<i8:f32, 0.5>> {nvdla_ir.name = "data"})
    -> tensor<1x3x4x4x!quant.uniform<i8:f32, 0.5>> {
  %w = nn.constant value=dense<1> : tensor<3x3x1x1xi8>
      -> tensor<3x3x1x1x!quant.uniform<i8:f32, 2.0>>
  %c = nn.conv %x, %w layers=["conv"] -> tensor<1x3x4x4xf32>
  %q = nn.quantize %c -> tensor<1x3x4x4x!quant.uniform<i8:f32, 0.5>>
  func.return %q
}
"""
    Path("mixed.ir").write_text(text)
    result = run("mixed.ir", "--data", "images.npy", "--method", "minmax", "-o", "c.json")
    assert result.status == 0
    peak = np.abs(2 * 0.5 * np.rint(images() / 0.5).sum(axis=1)).max()
    assert scales() == {"conv": float(np.float32(peak / 127))}
    Path("all.ir").write_text(DOUBLE.replace("xf32>", "x!nn.fake_quantized<i8:f32, 0.5>>"))
    result = run("all.ir", "--data", "images.npy", "-o", "c.json")
    assert result.status == 1 and "no tensors that need a range" in result.errors


def test_a_scheduler_that_is_not_there(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed", reason="dask.distributed is not installed")
    monkeypatch.setattr("nvdla_ir.calibration.dask_engine._SECONDS_TO_CONNECT", 1)
    dask = ("--engine=dask", "--scheduler=tcp://127.0.0.1:1")
    result = run("double.ir", "--data", "images.npy", "-o", "c.json", *dask)
    assert result.status == 1
    assert "error: cannot reach the scheduler 'tcp://127.0.0.1:1': " in result.errors
    assert not Path("c.json").exists()


# -------------------------------------------------------------- wrong usage


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--data", "x.npy", "-o", "c.json"), "one network is calibrated, but none is given"),
        (("m.ir", "-o", "c.json"), "'--data' must say which images"),
        (("m.ir", "--data", "x.npy"), "'-o' must say where the table goes"),
        (
            ("m.ir", "--data", "x.npy", "-o", "c", "--method=best"),
            "'--method' takes 'auto' or 'minmax' or 'mse' or 'percentile' or 'entropy', not 'best'",
        ),
        (("m.ir", "--data", "x", "-o", "c", "--jobs=0"), "takes a number from 1 on, not '0'"),
        (("m.ir", "--data", "x", "-o", "c", "--batch=0"), "takes a number from 1 on, not '0'"),
        (("m.ir", "--data", "x", "-o", "c", "--percentile=9"), "means nothing to the method"),
        (("m.ir", "--data", "x", "-o", "c", "--unguarded"), "means nothing to the method 'auto'"),
        (
            ("m.ir", "--data", "x", "-o", "c", "--method=percentile", "--percentile=101"),
            "above 0 and up to 100, not '101'",
        ),
        (("m.ir", "--data", "x", "-o", "c", "--scheduler=tcp://a:1"), "without '--engine=dask'"),
        (("m.ir", "--data", "x", "-o", "c", "--mean=1,x"), "'--mean' takes numbers, not 'x'"),
        (("m.ir", "--data", "x", "-o", "c", "--resize=big"), "'stretch', 'crop' or a number"),
        (("m.ir", "--data", "x", "-o", "c", "--cache=c"), "'c' would be written twice"),
        (("m.ir", "--data", "x", "-o", "c", "--labels=y.npy"), "belongs to '--evaluate'"),
        (("m.ir", "--data", "x", "--evaluate", "-o", "c"), "'-o' means nothing to '--evaluate'"),
    ],
)
def test_wrong_usage(run: Run, arguments: tuple[str, ...], message: str) -> None:
    result = run(*arguments)
    assert (result.status, result.output) == (2, "")
    assert message in result.errors


def test_where_the_table_cannot_go_is_known_before_the_work(run: Run) -> None:
    result = run("double.ir", "--data", "images.npy", "-o", "none/c.json")
    assert result.status == 1 and "cannot write 'none/c.json'" in result.errors


def test_evaluation_is_reached(run: Run) -> None:
    assert "'--evaluate' needs images" in run("--evaluate", "double.ir").errors


def test_help_and_version(run: Run) -> None:
    assert "--method=METHOD" in run("--help").output
    assert run("--version").output.startswith("nvdla-calibrate ")


# -------------------------------------------------------------- the methods on trained networks


@pytest.mark.parametrize("method", ["entropy", "percentile", "mse", "minmax"])
@pytest.mark.parametrize("network", ["lenet", "resnet"])
def test_int8_of_the_digits_is_as_good_as_floats(run: Run, network: str, method: str) -> None:
    from nvdla_ir.interp.machine import Mode
    from nvdla_ir.ir.location import FileLineCol
    from nvdla_ir.passes.base import Session
    from nvdla_ir.passes.pipeline import Pipeline
    from nvdla_ir.passes.registry import PassRegistry
    from nvdla_ir.text.pipeline_syntax import parse_pipeline

    sys.path.insert(0, str(DIGITS))
    import digits

    data, labels = (array[1::2] for array in digits.test_set(network))
    # Calibrated on other images than it is judged by.
    np.save("some.npy", digits.test_set(network)[0][::6])
    result = run(
        str(DIGITS / f"{network}.ir"), "--data=some.npy", f"--method={method}", "-o", "c.json"
    )
    assert result.status == 0
    stage = digits.stage_named("float", network, "nv_small")
    floats = digits.run(stage, data, Mode.FLOAT)
    text = (
        "import-calibration{file=c.json},fold-batch-norm,canonicalize,quantize-weights,"
        "insert-converters"
    )
    registry = PassRegistry()
    passes = [registry.create(s) for s in parse_pipeline(text, FileLineCol("<pipeline>", 1, 1))]
    Pipeline(passes).run(stage.module, Session(stage.resources))
    integers = digits.run(stage, data, Mode.INTEGER)
    assert integers.top1(labels) >= floats.top1(labels) - 0.4
    assert digits.sqnr(floats.logits, integers.logits) >= (33.0 if network == "resnet" else 34.0)


# -------------------------------------------------------------- element types


@pytest.mark.parametrize("dtype", ["f2", ">f4", "f8", "f16", "u1", "i2", ">i8", "?"])
def test_arrays_of_any_numbers_give_the_same_table(run: Run, dtype: str) -> None:
    values = np.arange(960).reshape(20, 3, 4, 4) % 2
    np.save("ones.npy", values.astype(np.float32))
    np.save("typed.npy", values.astype(dtype))
    for name in ("ones", "typed"):
        arguments = ("--data", f"{name}.npy", "--mean=0.25", "-o", f"{name}.json")
        assert run("double.ir", *arguments).status == 0
    assert Path("typed.json").read_text() == Path("ones.json").read_text()


@pytest.mark.parametrize("factor", [1.0, 2.0**-10])
def test_small_numbers_in_float16_are_counted_right(run: Run, factor: float) -> None:
    halves = (images() * factor).astype(np.float16)
    np.save("half.npy", halves)
    np.save("single.npy", halves.astype(np.float32))
    for name in ("half", "single"):
        assert run("double.ir", "--data", f"{name}.npy", "-o", f"{name}.json").status == 0
    assert Path("half.json").read_text() == Path("single.json").read_text()


def test_numbers_that_the_input_cannot_hold(run: Run) -> None:
    Path("pixels.ir").write_text(PIXELS)
    pixels = np.zeros((3, 3, 4, 4), np.int64)
    pixels[1, 0, 0, 0], pixels[2, 1, 1, 1] = 256, -1
    np.save("pixels.npy", pixels)
    result = run("pixels.ir", "--data", "pixels.npy", "-o", "c.json")
    assert result.status == 1
    assert "image 1 of 'pixels.npy' has 1 numbers outside of uint8, 0 to 255\n" in result.errors
    assert "image 2 of 'pixels.npy' has 1 numbers outside of uint8, 0 to 255\n" in result.errors
    large = images().astype(np.float64)
    large[0, 0, 0, 0] = 1e300
    np.save("large.npy", large)
    result = run("double.ir", "--data", "large.npy", "-o", "c.json")
    assert result.status == 1
    assert "image 0 of 'large.npy' has 1 NaN or infinite numbers, as float32\n" in result.errors


def test_a_share_is_no_percentage(run: Run) -> None:
    arguments = ("--method=percentile", "--percentile=0.9999", "-o", "c.json")
    result = run("double.ir", "--data", "images.npy", *arguments)
    assert result.status == 2
    assert "'--percentile' takes percent, not a share" in result.errors
    assert "give 99.99\n" in result.errors
