"""Data files of traces: packets in both spellings, faults at their lines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nvdla_ir.formats.trace.data import read_hexadecimal_bytes, read_packets
from nvdla_ir.formats.trace.faults import Faults
from nvdla_ir.formats.trace.packets import packets_text
from nvdla_ir.ir.diagnostics import DiagnosticError


def packets(folder: Path, text: str) -> list[tuple[int, bytes]]:
    path = folder / "x.dat"
    path.write_bytes(text.encode())
    faults = Faults()
    runs = read_packets(path, faults)
    faults.raise_if_any()
    return [(run.offset, run.data.tobytes()) for run in runs]


@pytest.mark.parametrize(
    "text",
    [
        "{\n{offset:0x10, size:4, payload:0x01 0x02 0x03 0x04} ,\n}\n",
        "{'offset':0x10, size:4, value:0x01 0x02 0x03 0x04},\n",
        "  { offset : 16 ,size: 0x4,   payload : 1 2 0x3   4 }  \r\n",
        "# comment\n{offset:0x10, size:2, payload:0x01 0x02}\n{offset:18, size:2, payload:3 4} #\n",
        "not a packet\n{\na, b\n}\n\n{offset:0x10, size:4, payload:0x01 0x02 0x03 0x04} ,",
    ],
)
def test_spellings(text: str, tmp_path: Path) -> None:
    assert packets(tmp_path, text) == [(16, b"\1\2\3\4")]


def test_missing_bytes_are_zero_and_gaps_stay(tmp_path: Path) -> None:
    text = (
        "{offset:0x0, size:4, payload:0x01} ,\n"
        "{offset:0x4, size:2, payload:0x02 0x03} ,\n"
        "{offset:0x8, size:3, payload:} ,\n"
        "{offset:0x0, size:1, payload:0x09} ,\n"
    )
    assert packets(tmp_path, text) == [(0, b"\1\0\0\0\2\3"), (8, b"\0\0\0"), (0, b"\x09")]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "{offset:0x0, size:1, payload:0x01 0x02} ,",
            "the payload has 2 bytes, but the packet's size is 1",
        ),
        ("{offset:0xz, size:1, payload:0x01} ,", "'0xz' in 'offset' is no number"),
        ("{offset:0x0, size:1, payload:0x0g} ,", "'0x0g' in 'payload' is no number"),
        (
            "{offset:0x0, size:1, payload:0x101} ,",
            "0x101 in 'payload' is too large: it must be at most 0xff",
        ),
        (
            "{offset:0x0, size:0xffffffffff, payload:0x01} ,",
            "0xffffffffff in 'size' is too large: it must be at most 0x10000000",
        ),
        (
            "{offset:0x1000000000000, size:1, payload:0x01} ,",
            "0x1000000000000 in 'offset' is too large: it must be at most 0xffffffffffff",
        ),
        ("{size:1, offset:0x0, payload:0x01} ,", "expected 'offset:' with a value, found 'size:1'"),
        (
            "{offset:0x0, size:1, paylo",
            "expected 'payload:' with a value, found 'paylo'",
        ),
        (
            "{offset:0x0, siz",
            "a packet has three parts, 'offset', 'size' and 'payload', not 2: is the file cut off?",
        ),
    ],
)
def test_wrong_packets_are_told_at_their_line(line: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DiagnosticError) as caught:
        packets(tmp_path, "{\n  " + line + "\n}\n")
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.message == message
    assert str(diagnostic.location).endswith('x.dat":2:3')


def test_the_bytes_of_a_file_are_limited(tmp_path: Path) -> None:
    lines = [f"{{offset:{n << 26:#x}, size:{1 << 26:#x}, payload:}} ," for n in range(5)]
    path = tmp_path / "x.dat"
    path.write_text("\n".join(lines))
    faults = Faults()
    read_packets(path, faults)
    with pytest.raises(DiagnosticError, match="describe more than 268435456 bytes"):
        faults.raise_if_any()


@given(st.binary(min_size=1, max_size=200), st.integers(1, 40))
def test_any_bytes_come_back(tmp_path_factory: pytest.TempPathFactory, data: bytes, n: int) -> None:
    folder = tmp_path_factory.mktemp("packets")
    assert packets(folder, packets_text(data)) == [(0, data)]
    lines: list[str] = []
    for start in range(0, len(data), n):
        part = data[start : start + n]
        payload = " ".join(map(hex, part))
        lines.append(f"{{offset:{start}, size:{len(part)}, payload:{payload}}}")
    assert packets(folder, "\n".join(lines)) == [(0, data)]


@pytest.mark.parametrize(
    "text", ["A=1\nB = 2\n01 02\n0a FF\n", "01 02 0a ff", "X=\n\n0x01 0x02 0x0a\t0xff\r\n"]
)
def test_hexadecimal_bytes(text: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(text.encode())
    np.testing.assert_array_equal(read_hexadecimal_bytes(tmp_path / "x"), [1, 2, 10, 255])


@pytest.mark.parametrize(
    ("text", "place", "word"),
    [
        ("A=1\n01 2\n", "2:4", "2"),
        ("01\n 123", "2:2", "123"),
        ("01 0x0x2", "1:4", "0x0x2"),
        ("01 \x1c02", "1:4", "02"),
    ],
)
def test_what_is_no_byte_is_told(text: str, place: str, word: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(text.encode())
    with pytest.raises(DiagnosticError) as caught:
        read_hexadecimal_bytes(tmp_path / "x")
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.message == f"'{word}' is no byte of two hexadecimal digits"
    assert str(diagnostic.location).endswith(f'x":{place}')
