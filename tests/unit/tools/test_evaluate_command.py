"""What ``nvdla-calibrate --evaluate`` prints and writes."""

from __future__ import annotations

import io
import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nvdla_ir.tools import html_report
from nvdla_ir.tools.command_line import (
    DiagnosticPrinter,
    Flag,
    UsageError,
    parse_arguments,
    run_handled,
)
from nvdla_ir.tools.evaluate_command import evaluate

DIGITS = Path(__file__).resolve().parents[3] / "examples" / "digits"
FLAGS = {
    name: Flag(name, "", "", "VALUE")
    for name in (
        "data",
        "labels",
        "calib",
        "granularity",
        "json",
        "report",
        "jobs",
        "batch",
        "sensitivity-images",
        "mean",
        "scale",
        "layout",
        "channels",
        "resize",
    )
}
NETWORK = (str(DIGITS / "lenet.ir"), "--calib", str(DIGITS / "lenet.calib.json"))


class Result:
    def __init__(self, status: int, output: str, errors: str) -> None:
        self.status, self.output, self.errors = status, output, errors


def run(*argv: str) -> Result:
    output, errors = io.StringIO(), io.StringIO()
    printer = DiagnosticPrinter(errors)
    arguments = parse_arguments(argv, FLAGS.get, lambda: FLAGS)
    status = run_handled(
        lambda: evaluate(arguments, sys.stdin, output, printer), printer, "evaluate", output
    )
    return Result(status, output.getvalue(), errors.getvalue())


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty images with labels, as lenet takes them."""
    path = tmp_path_factory.mktemp("data") / "test.npz"
    with np.load(DIGITS / "test_images.npz") as file:
        images, labels = file["images"][:60].astype(np.float32) / np.float32(255), file["labels"]
    np.savez(path, images=images, labels=labels[:60])
    return path


@pytest.fixture(scope="module")
def written(data: Path) -> tuple[Result, dict[str, Any], str]:
    """What is printed, the JSON and the page."""
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: no HTML report")
    json_file, page = data.with_name("out.json"), data.with_name("out.html")
    result = run(
        *NETWORK,
        f"--data={data}",
        f"--json={json_file}",
        f"--report={page}",
        "--sensitivity-images=20",
    )
    return result, json.loads(json_file.read_text()), page.read_text()


def test_tables(written: tuple[Result, dict[str, Any], str]) -> None:
    result, figures, _ = written
    assert result.status == 0
    (line,) = result.errors.splitlines()
    assert line.startswith("remark: 'images' of '")
    assert line.endswith("is taken for 'data': it is the only array besides 'labels'")
    lines = result.output.splitlines()
    assert lines[0].endswith("60 images, per-channel")
    integer = next(line for line in lines if line.startswith("integer"))
    top1 = figures["accuracy"][2]["top1"]
    assert integer.split()[1:3] == [f"{top1:.2f}", "%"]
    assert top1 >= 98
    fc = next(line for line in lines if line.startswith("fc "))
    assert "of 256" in fc
    assert "What costs the logits' accuracy (20 images)" in result.output
    assert any(line.startswith("activations") for line in lines)


def test_json(written: tuple[Result, dict[str, Any], str]) -> None:
    _, figures, _ = written
    assert figures["schema"] == "nvdla-ir-evaluation/1"
    assert (figures["images"], figures["part_images"]) == (60, 20)
    assert [row["variant"] for row in figures["accuracy"]] == ["float", "fake-quantized", "integer"]
    assert figures["accuracy"][2]["logits"]["sqnr_db"] == pytest.approx(37.6, abs=1)
    assert [layer["name"] for layer in figures["layers"]][-2:] == ["fc", "prob"]
    for layer in figures["layers"]:
        if layer["codes"] is not None:
            histogram = layer["codes"]["histogram"]
            shown = sum(histogram["counts"]) + histogram["below"] + histogram["above"]
            assert shown % 60 == 0
            assert shown > 0


class Checker(HTMLParser):
    """Collects ids, and faults of nesting."""

    VOID = frozenset({"meta", "br", "hr", "img", "input", "link"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.faults: list[str] = []
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.references: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        self._attributes(attrs)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._attributes(attrs)

    def _attributes(self, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("href", "src"):
                self.references.append(value or "")
            self.references += re.findall(r"url\((.*?)\)", value or "")

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"{tag} at {self.getpos()}")


def test_page_is_well_formed_and_needs_nothing(
    written: tuple[Result, dict[str, Any], str],
) -> None:
    _, figures, page = written
    checker = Checker()
    checker.feed(page)
    checker.close()
    assert checker.faults == []
    assert checker.open == []
    assert len(set(checker.ids)) == len(checker.ids)
    assert "http" not in page
    assert "//" not in re.sub(r"<script>.*?</script>", "", page, flags=re.S)
    # What is referred to is in the page.
    assert {reference.removeprefix("#") for reference in checker.references} <= set(checker.ids)
    assert all(reference.startswith("#") for reference in checker.references)
    kept = sum(layer["codes"] is not None for layer in figures["layers"])
    assert checker.tags.count("svg") == 4 + kept
    assert checker.tags.count("figure") == kept
    # Placeholder colours are gone: all follow the page's style, in light and dark.
    assert not re.search(r"#0([1-6])0\1", page)
    assert "prefers-color-scheme: dark" in page
    for layer in figures["layers"]:
        assert f">{layer['name']}</td>" in page


def test_names_cannot_break_the_page(written: tuple[Result, dict[str, Any], str]) -> None:
    _, figures, _ = written
    evil = json.loads(json.dumps(figures))
    evil["layers"][0]["name"] = evil["network"] = '<script>alert("x")</script>'
    evil["sensitivity"][0]["name"] = "a<b>&$x^2$"
    page = html_report.html_report(evil)
    assert "<script>alert" not in page
    checker = Checker()
    checker.feed(page)
    assert checker.faults == []


def test_jobs_and_batches_give_the_same(data: Path) -> None:
    found: list[dict[str, Any]] = []
    for number, more in enumerate((["--batch=30"], ["--batch=30", "--jobs=2"])):
        file = data.with_name(f"jobs{number}.json")
        result = run(*NETWORK, f"--data={data}", f"--json={file}", "--sensitivity-images=0", *more)
        assert result.status == 0 and "error" not in result.errors
        assert "What costs" not in result.output
        found.append(json.loads(file.read_text()))
    assert found[0] == found[1]


def test_json_alone_on_standard_output(data: Path) -> None:
    class Bytes(io.TextIOWrapper):
        pass

    output = Bytes(io.BytesIO(), "utf-8")
    arguments = parse_arguments(
        [*NETWORK, f"--data={data}", "--json=-", "--sensitivity-images=0"],
        FLAGS.get,
        lambda: FLAGS,
    )
    assert evaluate(arguments, sys.stdin, output, DiagnosticPrinter(io.StringIO())) == 0
    text = output.buffer.getvalue().decode()  # type: ignore[attr-defined]
    assert json.loads(text)["images"] == 60


def test_without_labels(data: Path) -> None:
    images = data.with_name("images.npy")
    with np.load(data) as file:
        np.save(images, file["images"][:4])
    result = run(*NETWORK, f"--data=data={images}", "--sensitivity-images=0")
    assert result.status == 0
    assert "top-1" not in result.output
    assert "same class as float" in result.output


# -------------------------------------------------------------- faults


def test_faults_of_the_data(data: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.npz"
    with np.load(data) as file:
        np.savez(wrong, images=file["images"][:, :, :8], labels=file["labels"][:5])
        nan = file["images"][:3].copy()
    nan[1, 0, 2, 3] = np.nan
    np.save(tmp_path / "nan.npy", nan)
    cases = {
        (f"--data={wrong}",): "lenet.ir:2:3: error: the input 'data' has shape 60x1x8x32",
        (f"--data={tmp_path / 'nan.npy'}",): "1 NaN or infinite numbers, the first at [1, 0, 2, 3]",
        (f"--data={data}", f"--labels={wrong}:labels"): "there are 5 labels for 60 images",
        (f"--data={data}", f"--labels={data}:images"): "labels must be integers",
        (f"--data={data}", f"--labels={data}:classes"): "it has no array 'classes'",
        (f"--data={tmp_path / 'none.npy'}",): "cannot read",
        (f"--data=other={data}",): "has no input 'other'",
        (f"--data={data}:labels",): "has shape 60",
    }
    for flags, message in cases.items():
        result = run(*NETWORK, *flags, f"--json={tmp_path / 'out.json'}")
        assert result.status == 1, flags
        assert message in result.errors
        assert result.output == ""
        assert not (tmp_path / "out.json").exists()


def test_faults_of_the_network(data: Path, tmp_path: Path) -> None:
    result = run(NETWORK[0], f"--data={data}")
    assert result.status == 1
    assert "lenet.ir:2:3: error: '@main' has no calibrated ranges" in result.errors
    result = run(NETWORK[0], f"--data={data}", "--calib", str(tmp_path / "none.json"))
    assert result.status == 1
    assert "none.json" in result.errors


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "needs images"),
        (["--data=a.npy", "--data=b.npy"], "given twice"),
        (["--data=a.npy", "--granularity=per-row"], "per-channel or per-tensor"),
        (["--data=a.npy", "--jobs=0"], "from 1 on"),
        (["--data=a.npy", "--sensitivity-images=x"], "takes a number"),
        (["--data=-", "--labels=-"], "standard input"),
        (["--data=a.npy", "--json=x", "--report=x"], "written twice"),
    ],
)
def test_wrong_usage(flags: list[str], message: str) -> None:
    result = run(*NETWORK, *flags)
    assert result.status == 2
    assert message in result.errors
    assert UsageError.__name__ not in result.errors


def test_the_extra_is_named_before_the_work(
    data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(html_report.importlib.util, "find_spec", lambda name: None)
    result = run(*NETWORK, f"--data={data}", f"--report={tmp_path / 'x.html'}")
    assert result.status == 1
    assert "install 'nvdla-ir[report]'" in result.errors
    assert result.output == ""


def test_a_folder_of_images_is_prepared_as_for_calibration(data: Path, tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed: no image files")
    with np.load(DIGITS / "test_images.npz") as file:
        pixels, labels = file["images"][:6].reshape(6, 32, 32), file["labels"][:6]
    np.save(tmp_path / "pixels.npy", pixels[:, None])
    np.save(tmp_path / "labels.npy", labels)
    folder = tmp_path / "images"
    folder.mkdir()
    for index, rows in enumerate(pixels):
        image.fromarray(rows).save(folder / f"{index}.png")
    found = []
    for images in (folder, tmp_path / "pixels.npy"):
        out = tmp_path / "o.json"
        flags = (f"--data={images}", f"--labels={tmp_path / 'labels.npy'}", f"--json={out}")
        result = run(*NETWORK, *flags, f"--scale={1 / 255}", "--sensitivity-images=0")
        assert (result.status, result.errors) == (0, "")
        found.append(json.loads(out.read_text()))
    assert found[0] == found[1]
    assert found[0]["accuracy"][0]["top1"] == 100
    (folder / "bad.png").write_bytes(b"no image")
    result = run(*NETWORK, f"--data={folder}")
    assert result.status == 1
    assert "error: 1 of 7 images cannot be used\n" in result.errors


def test_pixels_beyond_the_range_are_warned_of(data: Path, tmp_path: Path) -> None:
    with np.load(data) as file:
        np.save(tmp_path / "x.npy", 255 * file["images"][:8])
    result = run(*NETWORK, f"--data={tmp_path / 'x.npy'}", "--sensitivity-images=0")
    assert result.status == 0
    assert re.search(
        r"warning: \d+ % of the elements of the input 'data' saturate: they span 0 to "
        r"255, its range is -1",
        result.errors,
    )


# -------------------------------------------------------------- other ranges


def spoiled(path: Path, name: str, factor: float) -> Path:
    """lenet's table with one scale multiplied."""
    table = json.loads((DIGITS / "lenet.calib.json").read_text())
    entry = table[name]
    assert entry["offset"] == 0 and entry["scale"] > 0
    table[name] = {"scale": entry["scale"] * factor, "min": 0, "max": 0, "offset": 0}
    path.write_text(json.dumps(table))
    return path


@pytest.mark.parametrize(("name", "factor"), [("relu2", 0.05), ("data", 0.1), ("relu2", 40.0)])
def test_a_spoiled_range_is_mended(data: Path, tmp_path: Path, name: str, factor: float) -> None:
    table = spoiled(tmp_path / "c.json", name, factor)
    model, out = str(DIGITS / "lenet.ir"), tmp_path / "o.json"
    arguments = (f"--data={data}", "--sensitivity-images=20")
    result = run(model, "--calib", str(table), *arguments, f"--json={out}")
    assert result.status == 0, result.errors
    (other,) = json.loads(out.read_text())["other_ranges"]
    assert other["name"] == name and other["best"] is not None
    best = next(tried for tried in other["tried"] if tried["method"] == other["best"])
    assert best["sqnr_db"] > other["sqnr_db"] + 6
    said = f"'{name}' ({other['share']:.0f} % of the noise): with {other['best']} (range "
    assert said in result.output
    assert f"{best['sqnr_db']:.1f} instead of {other['sqnr_db']:.1f}\n" in result.output
    # What is printed can be written into the table, and does what is said.
    (line,) = other["entry"]
    assert f"    {line}\n" in result.output
    entries = json.loads(table.read_text())
    entries.update(json.loads(f"{{{line}}}"))
    table.write_text(json.dumps(entries))
    again = run(model, "--calib", str(table), *arguments, f"--json={out}")
    figures = json.loads(out.read_text())
    assert again.status == 0 and figures["other_ranges"] == []
    assert figures["part_sqnr_db"] == pytest.approx(best["sqnr_db"], abs=1)


WIDE = """
func.func @main(%x: tensor<1x8xf32> {nvdla_ir.name = "data"})
    -> (tensor<1x4xf32> {nvdla_ir.name = "scores"}) {
  %w = nn.constant value=dense_resource<w> : tensor<4x8xf32>
  %y = nn.fully_connected %x, %w layers=["fc"] -> tensor<1x4xf32>
  func.return %y
}
"""


def wide_network(path: Path, weights: Any, images: Any) -> tuple[str, ...]:
    """A layer, its images and a table of their peaks, as arguments."""
    safetensors_numpy = pytest.importorskip("safetensors.numpy")
    safetensors_numpy.save_file({"w": weights}, path / "w.safetensors")
    module = f'builtin.module attributes {{nvdla_ir.weights = "w.safetensors"}} {{{WIDE}}}'
    (path / "m.ir").write_text(module)
    np.save(path / "x.npy", images)
    peaks = {"data": np.abs(images).max(), "fc": np.abs(images @ weights.T).max()}
    entries = {
        name: {"scale": float(peak) / 127, "min": 0, "max": 0, "offset": 0}
        for name, peak in peaks.items()
    }
    (path / "c.json").write_text(json.dumps(entries))
    return (str(path / "m.ir"), f"--calib={path / 'c.json'}", f"--data={path / 'x.npy'}")


def test_what_no_range_mends_is_said(tmp_path: Path) -> None:
    """Inputs of two magnitudes that 8 bits cannot hold both, the small ones with large weights."""
    rng = np.random.default_rng(3)
    images = rng.normal(size=(32, 8)).astype(np.float32)
    images[:, 0] *= 3000
    weights = rng.normal(size=(4, 8)).astype(np.float32)
    weights[:, 0] /= 3000
    result = run(*wide_network(tmp_path, weights, images))
    assert result.status == 0, result.errors
    assert re.search(r"'data' \(\d+ % of the noise\): no range mends it: ", result.output)
    assert "  with this tensor in reals: " in result.output


def test_weights_are_blamed_where_they_cost_most(tmp_path: Path) -> None:
    """One scale for kernels of very different size: the small ones vanish."""
    rng = np.random.default_rng(3)
    images = rng.normal(size=(32, 8)).astype(np.float32)
    images[:, :4] *= 1e-3
    weights = rng.normal(size=(4, 8)).astype(np.float32)
    weights[:, :4] *= 300
    weights[:, 4:] *= 0.3
    result = run(*wide_network(tmp_path, weights, images), "--granularity=per-tensor")
    assert result.status == 0, result.errors
    assert "'fc' (" in result.output and "no range mends it" in result.output
    assert "the weights of its layers are to blame" in result.output
    assert "(--granularity per-channel may help)" in result.output


def test_jobs_try_the_same_ranges(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    images = rng.normal(size=(32, 8)).astype(np.float32)
    network = wide_network(tmp_path, rng.normal(size=(4, 8)).astype(np.float32), images)
    entries = json.loads((tmp_path / "c.json").read_text())
    entries["fc"]["scale"] /= 9
    (tmp_path / "c.json").write_text(json.dumps(entries))
    found = []
    for jobs in (1, 2):
        out = tmp_path / f"{jobs}.json"
        result = run(*network, "--batch=8", f"--jobs={jobs}", f"--json={out}")
        assert result.status == 0, result.errors
        found.append(json.loads(out.read_text()))
    assert found[0] == found[1]
    assert [other["name"] for other in found[0]["other_ranges"]] == ["fc"]
