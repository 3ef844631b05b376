"""nvdla-opt --memory-map: the table, the picture, and what is told where there is none."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

import pytest
from device_programs import TWO_PROGRAMS
from opt_tool import DIGITS, opt

RESIDUAL = """\
module attributes {nvdla.target = "nv_small"} {
  func.func @main(%x: tensor<1x8x4x4xi8>) -> tensor<1x8x4x4xi8> {
    %a = nvdla.upload %x layers=["data"] -> tensor<1x8x4x4xi8>
    %w = nvdla.constant value=dense<1> : tensor<8x8x1x1xi8>
    %t = nvdla.constant value=dense<1> : tensor<8x2xi16>
    %c = nvdla.conv %a, %w -> !nvdla.stream<1x8x4x4xi32>
    %b = nvdla.sdp %c bs_operand=%t bs=#nvdla.x_stage<alu = "sum", mul> layers=["<one>"]
      -> tensor<1x8x4x4xi8>
    %d = nvdla.conv %b, %w -> !nvdla.stream<1x8x4x4xi32>
    %y = nvdla.sdp %d bs_operand=%a bs=#nvdla.x_stage<alu = "sum"> layers=["two"]
      -> tensor<1x8x4x4xi8>
    %m = nvdla.pdp max %y kernel=[2, 2] layers=["three"] -> tensor<1x8x3x3xi8>
    %z = nvdla.sdp %y layers=["four"] -> tensor<1x8x4x4xi8>
    %e = nvdla.download %z -> tensor<1x8x4x4xi8>
    %f = nvdla.download %m -> tensor<1x8x3x3xi8>
    func.return %e
  }
}
"""
PLACED = (
    "--outline-device-programs",
    "--fit-convolution-buffer",
    "--schedule-layers=overlap=in-order",
    "--allocate-memory",
)


def table(file: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(file.read_text())))


def test_a_line_a_buffer(tmp_path: Path) -> None:
    source, file = tmp_path / "net.ir", tmp_path / "map.csv"
    source.write_text(RESIDUAL)
    result = opt(*PLACED, "--emit-registers", f"--memory-map={file}", source)
    assert result.status == 0, result.errors
    rows = {row.pop("name"): row for row in table(file)}
    assert rows["w"] == {
        "kind": "weights",
        "first_byte": "0x80000000",
        "bytes": "128",
        "first_layer": "0",
        "last_layer": "3",
        "in_place": "no",
        "memory": "primary",
        "first_name": "<one>",
        "last_name": "four",
    }
    assert (rows["t"]["kind"], rows["t"]["bytes"]) == ("table", "32")
    lives = {
        name: (row["kind"], row["first_layer"], row["last_layer"], row["in_place"])
        for name, row in rows.items()
        if name not in "wt"
    }
    assert lives == {
        "data": ("input", "0", "1", "no"),
        "<one>": ("activation", "0", "1", "no"),
        "two": ("activation", "1", "3", "yes"),
        "three": ("output", "2", "3", "no"),
        "four": ("output", "3", "3", "no"),
    }
    assert rows["data"]["first_byte"] == rows["two"]["first_byte"]
    # Those that are needed at one time lie apart, but for what is in place.
    spans = [
        (int(row["first_byte"], 0), int(row["bytes"]), int(row["first_layer"]), name)
        for name, row in rows.items()
    ]
    ends = {name: int(row["last_layer"]) for name, row in rows.items()}
    for begin, size, first, name in spans:
        for other_begin, other_size, other_first, other in spans:
            together = first < ends[other] and other_first < ends[name]
            if name != other and together:
                assert begin + size <= other_begin or other_begin + other_size <= begin


class _Page(HTMLParser):
    """The tags of a page with their classes, and the texts of its titles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.boxes: list[str] = []
        self.titles: list[str] = []
        self.depth: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "line"):
            self.depth.append(tag)
        if tag == "rect":
            self.boxes.append(dict(attrs)["class"] or "")

    def handle_startendtag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.depth.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.depth[-1:] == ["title"]:
            self.titles.append(data)


def test_a_picture(tmp_path: Path) -> None:
    source, file = tmp_path / "net.ir", tmp_path / "map.html"
    source.write_text(RESIDUAL)
    assert opt(*PLACED, f"--memory-map={file}", source).status == 0
    text = file.read_text()
    page = _Page(text)
    assert not page.depth
    assert page.titles[0] == "Memory of @main"
    kinds = [name.rpartition(" ")[2] for name in page.boxes]
    assert sorted(kinds) == sorted(
        ["layer"] * 4 + ["input", "activation", "placed", "output", "output", "weights", "table"]
    )
    (tip,) = [title for title in page.titles if title.startswith("two")]
    assert re.fullmatch(
        r"two: activation in place of what it is computed from\n0x800000c0 to 0x8000013f, "
        r"128 bytes\nfrom layer 1 \(two\) to layer 3 \(four\)",
        tip,
    )
    assert "layer 0: <one>" in page.titles
    assert ">needed at once<" in text or "as much as is needed at once" in text
    # Nothing is loaded, and both themes have colours.
    assert not re.search(r"https?:|src=|@import|<link", text)
    assert "prefers-color-scheme: dark" in text


def test_what_is_bound_elsewhere_has_a_strip_of_its_own(tmp_path: Path) -> None:
    source, file = tmp_path / "net.ir", tmp_path / "map.html"
    source.write_text(RESIDUAL)
    assert opt("--bind=x:0x90000000", *PLACED, f"--memory-map={file}", source).status == 0
    text = file.read_text()
    assert "Bound to other addresses by @main" in text
    assert ">0x90000000<" in text and ">0x90000080<" in text


def test_networks_with_programs(tmp_path: Path) -> None:
    source, file = tmp_path / "net.ir", tmp_path / "map.csv"
    source.write_text(TWO_PROGRAMS)
    passes = ("--schedule-layers", "--allocate-memory", "--emit-registers")
    assert opt("--outline-device-programs", *passes, f"--memory-map={file}", source).status == 0
    rows = table(file)
    assert "network" not in rows[0]
    layers = {int(row["first_layer"]) for row in rows}
    assert len(layers) > 1


def test_a_network_from_end_to_end(tmp_path: Path) -> None:
    calibration = DIGITS / "lenet.calib.json"
    files = tmp_path / "map.csv", tmp_path / "map.html"
    flags = [f"--memory-map={file}" for file in files]
    result = opt(
        f"--import-calib={calibration}",
        "--quantize",
        "--compile=nv_small",
        *flags,
        "--estimate",
        DIGITS / "lenet.ir",
    )
    assert result.status == 0
    names = [row["name"] for row in table(files[0])]
    assert "conv1+relu1+pool1" in names
    assert "all layers" in result.errors
    assert "conv1+relu1+pool1" in files[1].read_text()


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("map.svg", "'--memory-map' writes FILE.html or FILE.csv, not '.*map.svg'"),
        ("-", "'--memory-map' writes FILE.html or FILE.csv, not '-'"),
    ],
)
def test_other_files(file: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "net.ir").write_text(RESIDUAL)
    result = opt(*PLACED, f"--memory-map={file}", tmp_path / "net.ir")
    assert result.status == 2
    assert re.search(message, result.errors)


@pytest.mark.parametrize("passes", [(), PLACED[:3]])
def test_nothing_has_a_place_yet(passes: tuple[str, ...], tmp_path: Path) -> None:
    source, file = tmp_path / "net.ir", tmp_path / "map.csv"
    source.write_text(RESIDUAL)
    result = opt(*passes, f"--memory-map={file}", source)
    assert result.status == 1
    assert "nothing has a place in memory here: run 'allocate-memory'" in result.errors
    assert not file.exists()


def test_the_input_is_not_overwritten(tmp_path: Path) -> None:
    source = tmp_path / "net.csv"
    source.write_text(RESIDUAL)
    result = opt(*PLACED, f"--memory-map={source}", source)
    assert result.status == 1
    assert source.read_text() == RESIDUAL


def test_the_second_memory(tmp_path: Path) -> None:
    source, files = tmp_path / "net.ir", (tmp_path / "map.csv", tmp_path / "map.html")
    source.write_text(RESIDUAL.replace('"nv_small"', '"nv_small_256_full"'))
    flags = [f"--memory-map={file}" for file in files]
    assert opt(*PLACED[:-1], "--allocate-memory=second-bytes=0x1000", *flags, source).status == 0
    memories = {row["name"]: row["memory"] for row in table(files[0])}
    assert memories == {
        **dict.fromkeys(("w", "t", "data", "two", "three", "four"), "primary"),
        "<one>": "secondary",
    }
    assert "The second memory of @main" in files[1].read_text()
