"""nvdla-run: inputs, outputs, modes, many images, and what it says about faulty files."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nvdla_ir.tools.nvdla_run import main

DIGITS = Path(__file__).resolve().parents[3] / "examples" / "digits"
I8 = "!quant.uniform<i8:f32, 0.5:3>"

# Twice the input, in floats.
DOUBLE = """
func.func @main(%x: tensor<1x2x1x1xf32> {nvdla_ir.name = "data"})
    -> (tensor<1x2x1x1xf32> {nvdla_ir.name = "prob"}) {
  %y = nn.add %x, %x -> tensor<1x2x1x1xf32>
  func.return %y
}
"""
# The input itself and its positive part, in int8.
POSITIVE = f"""
func.func @main(%x: tensor<1x3x{I8}> {{nvdla_ir.name = "data"}})
    -> (tensor<1x3x{I8}> {{nvdla_ir.name = "same"}}, tensor<1x3x{I8}> {{nvdla_ir.name = "relu"}}) {{
  %y = nn.relu %x -> tensor<1x3x{I8}>
  func.return %x, %y
}}
"""
PAIRS = """
func.func @main(%x: tensor<2x3xf32>) -> tensor<2x3xf32> {
  %y = nn.softmax %x axis=0 -> tensor<2x3xf32>
  func.return %y
}
"""


class Result:
    """What one call said."""

    def __init__(self, status: int, output: str, errors: str) -> None:
        self.status, self.output, self.errors = status, output, errors


Run = Callable[..., Result]


class Bytes(io.TextIOWrapper):
    """A text stream over bytes in memory, as the standard streams are over files."""

    def __init__(self, content: bytes = b"") -> None:
        super().__init__(io.BytesIO(content), "utf-8", write_through=True)

    def content(self) -> bytes:
        return self.buffer.getvalue()  # type: ignore[attr-defined]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Calls the tool in a directory with ``double.ir``, ``positive.ir`` and ``pairs.ir``."""
    monkeypatch.chdir(tmp_path)
    Path("double.ir").write_text(DOUBLE)
    Path("positive.ir").write_text(POSITIVE)
    Path("pairs.ir").write_text(PAIRS)

    def call(*arguments: str, stdin: str = "") -> Result:
        output, errors = io.StringIO(), io.StringIO()
        status = main(arguments, io.StringIO(stdin), output, errors)
        return Result(status, output.getvalue(), errors.getvalue())

    return call


def save(name: str, array: Any, dtype: Any = np.float32) -> str:
    np.save(name, np.asarray(array, dtype))
    return name


def test_one_image_in_one_out(run: Run) -> None:
    save("x.npy", [[[[1.5]], [[-2]]]])
    result = run("double.ir", "--input", "data=x.npy", "--output", "prob=y.npy")
    assert (result.status, result.output, result.errors) == (0, "", "")
    y = np.load("y.npy")
    assert y.dtype == np.float32
    assert y.tolist() == [[[[3]], [[-4]]]]


def test_many_images_are_stacked(run: Run) -> None:
    x = np.arange(200, dtype=np.float32).reshape(100, 2, 1, 1)
    save("x.npy", x)
    assert run("double.ir", "--input", "data=x.npy", "--output", "prob=y.npy").status == 0
    assert np.array_equal(np.load("y.npy"), 2 * x)


def test_an_image_without_a_leading_axis(run: Run) -> None:
    save("x.npy", [[[1]], [[2]]])
    run("double.ir", "--input", "data=x.npy", "--output", "prob=y.npy")
    assert np.load("y.npy").tolist() == [[[[2]], [[4]]]]


def test_batches_that_cannot_be_split_run_one_after_the_other(run: Run) -> None:
    x = np.arange(18, dtype=np.float32).reshape(6, 3)
    save("x.npy", x)
    assert run("pairs.ir", "--input", "x=x.npy", "--output", "y=y.npy").status == 0
    pairs = np.exp(x.reshape(3, 2, 3))
    expected = (pairs / pairs.sum(axis=1, keepdims=True)).reshape(6, 3)
    np.testing.assert_allclose(np.load("y.npy"), expected, rtol=1e-5)
    save("x.npy", x[:5])
    result = run("pairs.ir", "--input", "x=x.npy")
    assert result.status == 1
    assert "there are 5 images, but '@main' takes batches of 2" in result.errors


def test_archives_by_key_by_name_and_as_output(run: Run) -> None:
    x = np.ones((1, 2, 1, 1))
    np.savez("x.npz", data=x, other=2 * x)
    run("double.ir", "--input", "data=x.npz", "--output", "prob=y.npz")
    assert np.load("y.npz")["prob"].tolist() == [[[[2]], [[2]]]]
    run("double.ir", "--input", "data=x.npz:other", "--output", "prob=y.npz:twice")
    assert np.load("y.npz")["twice"].tolist() == [[[[4]], [[4]]]]


def test_two_outputs_in_one_archive(run: Run) -> None:
    save("x.npy", [[-1, 0, 1]])
    status = run(
        "positive.ir", "--input", "data=x.npy", "--output", "same=y.npz", "--output", "relu=y.npz"
    ).status
    assert status == 0
    with np.load("y.npz") as file:
        assert {name: file[name].tolist() for name in file.files} == {
            "same": [[-1, 0, 1]],
            "relu": [[0, 0, 1]],
        }


def test_floats_are_quantized_and_outputs_are_reals(run: Run) -> None:
    save("x.npy", [[-1, 0.3, 1000]], np.float64)
    run("positive.ir", "--input", "data=x.npy", "--output", "same=y.npy")
    y = np.load("y.npy")
    assert y.dtype == np.float32
    assert y.tolist() == [[-1, 0.5, 62]]


def test_raw_bytes_are_left_alone(run: Run) -> None:
    stored = np.array([[-128, 3, 5], [0, 1, 127]], np.int8)
    Path("x.bin").write_bytes(stored.tobytes())
    run(
        "positive.ir", "--raw-input", "data=x.bin", "--raw-output", "relu=y.bin",
        "--output", "same=y.npy",
    )  # fmt: skip
    assert Path("y.bin").read_bytes() == np.maximum(stored, 3).tobytes()
    assert np.load("y.npy").tolist() == [[-65.5, 0, 1], [-1.5, -1, 62]]


def test_stored_integers_may_be_given_as_an_array(run: Run) -> None:
    save("x.npy", [[-128, 3, 5]], np.int8)
    run("positive.ir", "--input", "data=x.npy", "--raw-output", "relu=y.bin")
    assert Path("y.bin").read_bytes() == bytes([3, 3, 5])


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("integer", [[0, 0.5, 62]]), ("fake-quantized", [[0, 0.5, 62]]), ("float", [[0, 0.3, 1000]])],
)
def test_modes(run: Run, mode: str, expected: Any) -> None:
    save("x.npy", [[-1, 0.3, 1000]])
    status = run(
        "positive.ir", "--mode", mode, "--input", "data=x.npy", "--output", "relu=y.npy"
    ).status
    assert status == 0
    np.testing.assert_allclose(np.load("y.npy"), expected, rtol=1e-6)


def test_calibrated_types_are_rounded_on_demand(run: Run) -> None:
    type = "tensor<1x2x!quant.calibrated<f32<-127.0:127.0>>>"
    Path("c.ir").write_text(f"func.func @main(%x: {type}) -> {type} {{\n  func.return %x\n}}\n")
    save("x.npy", [[1.4, 500]])
    for mode, expected in (("float", [[1.4, 500]]), ("fake-quantized", [[1, 127]])):
        run("c.ir", "--mode", mode, "--input", "x=x.npy", "--output", "x=y.npy")
        np.testing.assert_allclose(np.load("y.npy"), expected)
    result = run("c.ir", "--mode", "integer", "--input", "x=x.npy")
    assert result.status == 1
    assert "cannot run in integer mode: nothing in it is quantized" in result.errors


def test_summary_without_outputs(run: Run) -> None:
    save("x.npy", [[[[1.5]], [[-2]]], [[[0]], [[7]]]])
    result = run("double.ir", "--input", "data=x.npy")
    assert result.output == "prob: 2x2x1x1 float32, -4 to 14, argmax 0 1\n"
    save("x.npy", [[1, 2, 3]] * 12)
    result = run("positive.ir", "--input", "data=x.npy")
    assert result.output.splitlines()[1] == (
        "relu: 12x3 float32, 1 to 3, argmax 2 2 2 2 2 2 2 2 2 2 …"
    )


def test_accuracy(run: Run) -> None:
    save("x.npy", [[3, 1, 2], [1, 1, 0], [0, 1, 1], [2, 3, 1]])
    save("labels.npy", [0, 0, 2, 1], np.int64)
    result = run("positive.ir", "--input", "data=x.npy", "--labels", "labels.npy")
    # Of the equal scores of the third image the lower class comes first.
    assert result.output == "top-1 75.00 % (3 of 4)\n"


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1], "there are 2 labels for 1 images"),
        ([3], "labels span 3 to 3, but there are 3 classes"),
        ([0.5], "labels must be integers, one an image, not float64 of shape 1"),
        ([[0]], "labels must be integers, one an image, not int64 of shape 1x1"),
    ],
)
def test_unfitting_labels_leave_old_outputs(run: Run, labels: Any, message: str) -> None:
    save("x.npy", [[3, 1, 2]])
    np.save("labels.npy", np.array(labels))
    Path("y.npy").write_text("old")
    result = run(
        "positive.ir", "--input", "data=x.npy", "--labels", "labels.npy", "--output", "same=y.npy"
    )
    assert result.status == 1
    assert result.errors == f"error: {message}\n"
    assert Path("y.npy").read_text() == "old"


def test_arrays_from_pipes(run: Run, tmp_path: Path) -> None:
    os.mkfifo("x.npy")
    content = _npy(np.ones((1, 2, 1, 1)))
    writer = threading.Thread(target=Path("x.npy").write_bytes, args=[content])
    writer.start()
    result = run("double.ir", "--input", "data=x.npy")
    writer.join()
    assert (result.status, result.errors) == (0, "")
    assert result.output == "prob: 1x2x1x1 float32, 2 to 2, argmax 0\n"


def test_model_and_arrays_on_standard_streams(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.ones((1, 2, 1, 1)))
    (tmp_path / "double.ir").write_text(DOUBLE)
    output, errors = Bytes(), Bytes()
    model = str(tmp_path / "double.ir")
    arguments = [model, "--input", "data=-", "--output", "prob=-"]
    assert main(arguments, Bytes(buffer.getvalue()), output, errors) == 0
    assert np.load(io.BytesIO(output.content())).tolist() == [[[[2]], [[2]]]]
    np.save(tmp_path / "x.npy", np.ones((1, 2, 1, 1)))
    output = Bytes()
    arguments = ["-", "--input", f"data={tmp_path / 'x.npy'}"]
    assert main(arguments, Bytes(DOUBLE.encode()), output, errors) == 0
    assert output.content() == b"prob: 1x2x1x1 float32, 2 to 2, argmax 0\n"


# -------------------------------------------------------------- faults


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "input 'data' is missing; it is 'tensor<1x2x1x1xf32>': --input data=FILE"),
        (["--input", "image=x.npy"], "'@main' has no input 'image'; it has 'data'"),
        (
            ["--input", "data=x.npy", "--output", "porb=y.npy"],
            "'@main' has no output 'porb'; it has 'prob'",
        ),
    ],
)
def test_names_that_do_not_fit_are_located(run: Run, arguments: list[str], message: str) -> None:
    save("x.npy", [[[[1]], [[2]]]])
    result = run("double.ir", *arguments)
    assert result.status == 1
    line = result.errors.splitlines()
    assert line[0] == f"double.ir:2:1: error: {message}"
    assert line[1].startswith("func.func @main(")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.ones((1, 3, 1, 1)), "has shape 1x3x1x1, but must have 1x2x1x1, or more along"),
        (np.ones(()), "has shape scalar, but must have 1x2x1x1, or more along"),
        (np.ones((0, 2, 1, 1)), "has shape 0x2x1x1, but must have 1x2x1x1, or more along"),
        (np.ones((1, 2, 1, 1), complex), "'data' must hold float32, not complex128"),
        (np.full((1, 2, 1, 1), "a"), "'data' must hold float32, not <U1"),
        (
            np.array([1, np.nan, np.inf, 1], np.float32).reshape(2, 2, 1, 1),
            "holds 2 NaN or infinite numbers, the first at [0, 1, 0, 0]",
        ),
    ],
)
def test_arrays_that_do_not_fit(run: Run, array: Any, message: str) -> None:
    np.save("x.npy", array)
    result = run("double.ir", "--input", "data=x.npy", "--output", "prob=y.npy")
    assert result.status == 1
    assert result.errors.startswith("double.ir:2:1: error: ")
    assert message in result.errors
    assert not Path("y.npy").exists()


def test_pixels_out_of_range(run: Run) -> None:
    Path("n.ir").write_text(
        "func.func @main(%x: tensor<1x1x1x1xui8>) -> tensor<1x1x1x1xf32> {\n"
        "  %0 = nn.normalize %x mean=[1.0] scale=2.0 -> tensor<1x1x1x1xf32>\n"
        "  func.return %0\n}\n"
    )
    for value, dtype, message in (
        (256, np.int64, "input 'x' must hold uint8, but spans 256 to 256"),
        (0.5, np.float32, "input 'x' must hold uint8, not float32"),
    ):
        save("x.npy", [[[[value]]]], dtype)
        result = run("n.ir", "--input", "x=x.npy")
        assert result.status == 1
        assert message in result.errors


def _pickled() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([{"a": 1}], object), allow_pickle=True)
    return buffer.getvalue()


def _npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _npz(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


ONES = np.ones((1, 2, 1, 1))


@pytest.mark.parametrize(
    ("content", "spec", "message"),
    [
        (None, "x.npy", "there is no such file"),
        (b"", "x.npy", "it is neither a .npy nor a .npz file"),
        (b"\x89PNG....", "x.npy", "it is neither a .npy nor a .npz file"),
        (_npy(ONES)[:-1], "x.npy", "header states 16 bytes, but 15 are there"),
        (_npy(ONES)[:20], "x.npy", "EOF: reading array header"),
        (b"\x93NUMPY\x01\x00v\x00" + b"(" * 118, "x.npy", "its header is damaged"),
        (_pickled(), "x.npy", "it holds pickled Python objects, which are not loaded"),
        (_npz(a=np.array([{}], object)), "x.npz", "it holds pickled Python objects"),
        (_npy(ONES), "x.npz:a", "it is a single array, without keys"),
        (_npz(a=ONES, b=ONES), "x.npz", "it holds 'a', 'b': say which, as in 'file.npz:key'"),
        (_npz(images=ONES), "x.npz:image", "has no array 'image'; did you mean 'images'?; it"),
        (_npz(), "x.npz", "it holds nothing"),
        (_npz(a=np.arange(999))[:100], "x.npz", "the archive is damaged"),
        (
            (lambda data: data[:200] + bytes([data[200] ^ 255]) + data[201:])(
                _npz(a=np.random.default_rng(0).random(99))
            ),
            "x.npz",
            "the archive is damaged",
        ),
    ],
)
def test_unreadable_arrays(run: Run, content: bytes | None, spec: str, message: str) -> None:
    if content is not None:
        Path(spec.partition(":")[0]).write_bytes(content)
    result = run("double.ir", "--input", f"data={spec}")
    assert result.status == 1
    assert result.errors.startswith(f"error: cannot read '{spec}': ")
    assert message in result.errors
    assert "Traceback" not in result.errors


def test_raw_bytes_that_do_not_fit(run: Run) -> None:
    Path("x.bin").write_bytes(bytes(9))
    result = run("double.ir", "--raw-input", "data=x.bin")
    assert "has 9 bytes, but 'tensor<1x2x1x1xf32>' takes a multiple of 8" in result.errors
    result = run("double.ir", "--raw-input", "data=none.bin")
    assert result.errors == "error: cannot read 'none.bin': there is no such file\n"


def test_unwritable_outputs_are_found_before_the_work(run: Run) -> None:
    save("x.npy", [[[[1]], [[2]]]])
    Path("there").mkdir()
    for target, reason in (
        ("there", "it is a directory"),
        ("no/y.npy", "there is no directory 'no'"),
        ("no/y.npz:key", "there is no directory 'no'"),
    ):
        result = run("double.ir", "--input", "data=x.npy", "--output", f"prob={target}")
        assert result.status == 1
        file = target.removesuffix(":key")
        assert result.errors == f"error: cannot write '{file}': {reason}\n"


def test_faults_of_the_model(run: Run) -> None:
    assert run("none.ir").errors == "error: cannot read 'none.ir': there is no such file\n"
    Path("bad.ir").write_text("func.func @main(\n")
    assert run("bad.ir").errors.startswith("bad.ir:")
    Path("none.ir").write_text("module {\n}\n")
    assert "error: there is no function to run" in run("none.ir").errors
    two = DOUBLE.replace("@main", "@a") + DOUBLE.replace("@main", "@b")
    Path("two.ir").write_text(two)
    assert "there is no function '@main' to run, but '@a', '@b'" in run("two.ir").errors
    weight = "%w = nn.constant value=dense_resource<w> : tensor<2xf32>"
    text = DOUBLE.replace("  %y", f"  {weight}\n  %y", 1)
    Path("weights.ir").write_text(f'module attributes {{nvdla_ir.weights = "w.st"}} {{{text}}}')
    result = run("weights.ir")
    assert (result.status, result.output) == (1, "")
    assert "weights file 'w.st' does not exist" in result.errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "one program is run, but none is given"),
        (["double.ir", "--input", "x.npy"], "'--input' takes NAME=FILE, not 'x.npy'"),
        (["double.ir", "--inptu", "a=x"], "unknown flag '--inptu'; did you mean '--input'?"),
        (["double.ir", "--jobs", "0"], "'--jobs' takes a number from 1 on, not '0'"),
        (["double.ir", "--jobs=two"], "'--jobs' takes a number from 1 on, not 'two'"),
        (
            ["double.ir", "--mode", "int"],
            "'--mode' takes 'float' or 'fake-quantized' or 'integer', not 'int'",
        ),
        (["double.ir", "--input", "a=x", "--raw-input", "a=y"], "input 'a' is given twice"),
        (["double.ir", "--output", "a=x", "--output", "b=x"], "'x' would be written twice"),
        (
            ["double.ir", "--output", "a=x.npz", "--raw-output", "b=x.npz"],
            "'x.npz' would be written twice",
        ),
        (["-", "--input", "a=-"], "standard input can be read once only"),
    ],
)
def test_wrong_usage(run: Run, arguments: list[str], message: str) -> None:
    result = run(*arguments)
    assert result.status == 2
    assert message in result.errors


def test_help_and_version(run: Run) -> None:
    result = run("--help")
    assert (result.status, result.errors) == (0, "")
    assert "--raw-output=NAME=FILE" in result.output
    assert run("--version").output.startswith("nvdla-run ")


def test_version_loads_no_heavy_library() -> None:
    script = (
        "import sys, io; from nvdla_ir.tools.nvdla_run import main;"
        "main(['--version'], io.StringIO(), io.StringIO(), io.StringIO());"
        "heavy = ('numpy', 'lark', 'rich', 'attrs', 'attr', 'argparse');"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert done.stdout.strip() == b"[]"


# -------------------------------------------------------------- real networks, processes


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_digits(run: Run, jobs: str) -> None:
    images = DIGITS / "test_images.npz"
    result = run(
        str(DIGITS / "resnet.ir"), "--input", f"data={images}:images",
        "--labels", str(images), "--output", "prob=p.npy", "--jobs", jobs,
    )  # fmt: skip
    assert (result.status, result.errors) == (0, "")
    assert result.output == "top-1 99.80 % (499 of 500)\ntop-5 100.00 % (500 of 500)\n"
    with np.load(images) as file:
        labels = file["labels"]
    probabilities = np.load("p.npy")
    assert probabilities.shape == (500, 10)
    assert np.count_nonzero(probabilities.argmax(axis=1) == labels) == 499


def test_faults_in_worker_processes_are_told_as_in_one(run: Run) -> None:
    save("x.npy", np.ones((8, 2, 1, 1)), complex)
    results = [run("double.ir", "--input", "data=x.npy", "--jobs", jobs) for jobs in ("1", "2")]
    assert results[0].errors == results[1].errors
    assert "must hold float32, not complex128" in results[1].errors
    assert results[1].status == 1


def dying(_: Any) -> None:
    os._exit(7)


def test_a_worker_that_dies_and_an_interruption_lose_nothing(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nvdla_ir.tools import image_runs

    save("x.npy", np.ones((64, 2, 1, 1)))
    Path("y.npy").write_text("old")
    arguments = ["double.ir", "--input", "data=x.npy", "--output", "prob=y.npy", "--jobs", "2"]
    monkeypatch.setattr(image_runs, "_work", dying)
    result = run(*arguments)
    assert result.status == 1
    assert "error: a worker process ended before its work was done" in result.errors

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(image_runs, "run_images", interrupted)
    result = run(*arguments)
    assert (result.status, result.errors) == (1, "nvdla-run: interrupted; nothing was written\n")
    assert Path("y.npy").read_text() == "old"


def test_terminals_get_a_table(run: Run, tmp_path: Path) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    save("x.npy", [[3, 1, 2]])
    save("labels.npy", [0], np.int64)
    output = Terminal()
    arguments = ["positive.ir", "--input", "data=x.npy", "--labels", "labels.npy"]
    assert main(arguments, io.StringIO(), output, io.StringIO()) == 0
    assert "accuracy" in output.getvalue()
    assert "100.00 %" in output.getvalue()


def test_progress_is_shown_for_long_work_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    from nvdla_ir.tools import image_runs

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for stream, patience, shown in (
        (Terminal(), -1.0, True),
        (Terminal(), 60.0, False),
        (io.StringIO(), -1.0, False),
    ):
        monkeypatch.setattr(image_runs, "SECONDS_WITHOUT_PROGRESS", patience)
        with image_runs.ImageProgress(4, stream) as progress:
            progress.advance(3)
        assert ("3/4" in stream.getvalue()) == shown
        assert ("images/s" in stream.getvalue()) == shown


def test_ranges_beside_quantized_weights_are_part_of_the_network(run: Run) -> None:
    """As in quantized models whose ReLUs are left to the range that follows."""
    Path("half.ir").write_text(
        """
        func.func @main(%x: tensor<1x1x1x2xf32>) -> tensor<1x1x1x2xf32> {
          %w = nn.constant value=dense<2> : tensor<1x1x1x1xi8>
              -> tensor<1x1x1x1x!quant.uniform<i8:f32, 0.5>>
          %c = nn.conv %x, %w layers=["c"] -> tensor<1x1x1x2x!quant.calibrated<f32<0.0:2.55>>>
          %y = nn.max_pool %c kernel=[1, 1] -> tensor<1x1x1x2xf32>
          func.return %y
        }
        """
    )
    save("x.npy", [[[[-1.0, 1.0]]]])
    assert run("half.ir", "--input=x=x.npy", "--output=y=y.npy").errors == ""
    np.testing.assert_allclose(np.load("y.npy").ravel(), [0, 1], atol=0.01)
