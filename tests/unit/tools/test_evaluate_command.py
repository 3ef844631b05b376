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
    assert (result.status, result.errors) == (0, "")
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
        assert (result.status, result.errors) == (0, "")
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
