"""``nvdla-opt --report``: a page that says what became of each layer."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
from opt_tool import DIGITS, opt

LENET = DIGITS / "lenet.ir"
TABLE = DIGITS / "lenet.calib.json"


class Tables(HTMLParser):
    """The texts of all cells, by table and row."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self._cell = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self._cell = True

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._cell = False

    def handle_data(self, data: str) -> None:
        if self._cell:
            self.tables[-1][-1][-1] += data


def test_each_layer_with_its_hardware_layers(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    flags = (f"--import-calib={TABLE}", "--quantize", "--compile=nv_small")
    result = opt(*flags, "--estimate=frequency=1GHz", f"--report={page}", LENET)
    assert result.status == 0, result.errors
    text = page.read_text()
    assert not re.search(r"(?:src|href)\s*=|@import|https?://", text)  # nothing from elsewhere
    assert "at 1000 MHz" in text
    layers, runs = Tables(text).tables
    names = ["conv1+relu1+pool1", "conv2+relu2+pool2", "fc1+relu3", "fc"]
    assert [row[1] for row in layers[1:]] == names
    assert [row[4] for row in layers[1:]] == ["16,801", "21,133", "13,174", "583"]
    assert all(len(row) == len(layers[0]) for row in layers)
    first = dict(zip(runs[0], runs[1], strict=True))
    assert first["reads"] == "1x1x32x32" and first["writes"] == "1x16x14x14"
    assert first["window"] == "5x5"
    assert re.fullmatch(r"\d+ \+ \d+", first["banks"])
    assert re.fullmatch(r"0x8[0-9a-f]{7}", first["address"])
    assert first["bytes"] == f"{16 * 14 * 14:,}"
    # as the IR has it
    ir = opt(*flags[:2], "--target=nv_small", "--legalize-to-nvdla", LENET).output
    shift = re.search(r"mul_shift = (\d+)", ir)
    assert shift is not None
    assert first["SDP"] == f"BS sum a channel, product a channel >> {shift[1]}, ReLU"
    assert [first["multiplier"], first["shift"]] == ["1", "0"]


def test_pieces_and_names_of_any_kind(tmp_path: Path) -> None:
    """A layer in pieces has a row for each; names are text, however long."""
    name = "<b>&" + "long_name_" * 20
    source, page = tmp_path / "net.ir", tmp_path / "report.html"
    source.write_text(f"""
module attributes {{nvdla.target = "nv_small"}} {{
  func.func @main(%x: tensor<1x64x96x96xi8>) -> tensor<1x16x96x96xi8> {{
    %a = nvdla.upload %x -> tensor<1x64x96x96xi8>
    %w = nvdla.constant value=dense<1> : tensor<16x64x3x3xi8>
    %c = nvdla.conv %a, %w pads=[1, 1, 1, 1] layers=["{name}"] -> !nvdla.stream<1x16x96x96xi32>
    %y = nvdla.sdp %c cvt_shift=6 layers=["{name}"] -> tensor<1x16x96x96xi8>
    %d = nvdla.download %y -> tensor<1x16x96x96xi8>
    func.return %d
  }}
}}
""")
    result = opt("--fit-convolution-buffer", f"--report={page}", source)
    assert result.status == 0, result.errors
    assert html.escape(name) in page.read_text() and name not in page.read_text()
    layers, runs = Tables(page.read_text()).tables
    assert layers[1][1] == name
    count = int(layers[1][3])
    assert count > 1
    assert [row[1] for row in runs[1:]] == [f"{name} ({n} of {count})" for n in range(1, count + 1)]
    assert {row[11] for row in runs[1:]} == {""}  # memory is not allocated


def test_what_is_no_file(tmp_path: Path) -> None:
    result = opt("--report=-", LENET)
    assert result.status == 2
    assert "'--report' takes the name of a file" in result.errors
    result = opt(f"--report={tmp_path / 'r.html'}", LENET)
    assert result.status == 1
    assert "there is nothing to estimate, it has no hardware layers" in result.errors
    assert not (tmp_path / "r.html").exists()


def test_what_saturates(tmp_path: Path) -> None:
    """By the device, of the images given; sums of one-signed products leave 8 bits, others not."""
    source, page = tmp_path / "net.ir", tmp_path / "report.html"
    np.save(tmp_path / "x.npy", np.full((2, 8, 4, 4), 127, np.int8))
    source.write_text("""
module attributes {nvdla.target = "nv_small"} {
  func.func @main(%x: tensor<1x8x4x4xi8> {nvdla_ir.name = "x"}) -> tensor<1x8x4x4xi8> {
    %a = nvdla.upload %x -> tensor<1x8x4x4xi8>
    %w = nvdla.constant value=dense<1> : tensor<8x8x1x1xi8>
    %c = nvdla.conv %a, %w layers=["sums"] -> !nvdla.stream<1x8x4x4xi32>
    %b = nvdla.sdp %c layers=["sums"] -> tensor<1x8x4x4xi8>
    %y = nvdla.sdp %b cvt_shift=1 layers=["halves"] -> tensor<1x8x4x4xi8>
    %d = nvdla.download %y -> tensor<1x8x4x4xi8>
    func.return %d
  }
}
""")
    passes = ("--outline-device-programs", "--fit-convolution-buffer", "--schedule-layers")
    passes = (*passes, "--allocate-memory")
    flags = (*passes, "--emit-registers", f"--report={page}")
    result = opt(*flags, f"--report-input=x={tmp_path / 'x.npy'}", source)
    assert result.status == 0, result.errors
    layers, _ = Tables(page.read_text()).tables
    assert [(row[1], row[13]) for row in layers[1:]] == [("sums", "100 %"), ("halves", "0 %")]
    result = opt(*flags, f"--report-input=z={tmp_path / 'x.npy'}", source)
    assert result.status == 1
    assert "there is no input 'z' of '--report-input', but 'x'" in result.errors
    assert "--report-input=x=FILE" in result.errors
    result = opt(*passes, flags[-1], f"--report-input=x={tmp_path / 'x.npy'}", source)
    assert "is no register program, of which alone it is known what saturates" in result.errors
    result = opt(*passes, f"--report-input=x={tmp_path / 'x.npy'}", source)
    assert (result.status, "says nothing without '--report'" in result.errors) == (2, True)
