from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import pytest

from nvdla_ir.arith.float32 import float32
from nvdla_ir.calibration.table import TableFormat, parse_table
from nvdla_ir.ir.location import FileLineCol

Faults: TypeAlias = Callable[[str], list[tuple[int, int, str]]]


class TestCache:
    def test_names_with_colons_and_spaces(self) -> None:
        table = parse_table(
            "TRT-8601-EntropyCalibration2\r\n"
            "input:0: 3c010a14\r\n"
            "(Unnamed Layer* 0) [Convolution]_output: 3DCFF4CF\r\n"
            "a: b: c:3f800000\r\n"
            "\r\n"
            " tiny : 7fffff\r\n"
            "never used: 0",
            "c.txt",
        )
        assert table.format is TableFormat.TENSORRT_CACHE
        assert [(entry.name, entry.scale) for entry in table.entries] == [
            ("input:0", float32(0.0078759380)),
            ("(Unnamed Layer* 0) [Convolution]_output", 0.10154115408658981),
            ("a: b: c", 1.0),
            ("tiny", 0x7FFFFF * 2.0**-149),
        ]
        assert table["a: b: c"].location == FileLineCol("c.txt", 4, 1)
        assert table["tiny"].location == FileLineCol("c.txt", 6, 2)
        (warning,) = table.warnings
        assert warning.location == FileLineCol("c.txt", 7, 13)
        assert warning.message == (
            "the scale of 'never used' is zero: the tensor was zero in all calibration images; "
            "the entry is left out"
        )

    @pytest.mark.parametrize(
        "header",
        [
            "TRT-5101-EntropyCalibration",
            "TRT-7103-LegacyCalibration",
            "TRT-101401-MinMaxCalibration ",
        ],
    )
    def test_headers(self, header: str) -> None:
        assert list(parse_table(f"{header}\nx: 3f800000\n")) == ["x"]

    def test_all_faults_are_reported_at_once(self, faults: Faults) -> None:
        text = """TRT-5101-EntropyCalibration2
a: 3f80zz00
 b
a: 3f800000
c: bf800000
d:   7fc00000
e: 7f800000
f: 3f8000000
g:
: 3f800000
h: 7f7fffff
"""
        hexadecimal = "must be a float32 as 1 to 8 hexadecimal digits, it is"
        assert faults(text) == [
            (2, 4, f"the scale of 'a' {hexadecimal} '3f80zz00'"),
            (3, 2, "expected '<name>: <hexadecimal float32>', found ' b'"),
            (4, 1, "a second entry for 'a'"),
            (2, 1, "the first one is here"),
            (5, 4, "the scale of 'c' is negative: bf800000 is -1.0"),
            (6, 6, "the scale of 'd' is not finite: 7fc00000 is nan"),
            (7, 4, "the scale of 'e' is not finite: 7f800000 is inf"),
            (8, 4, f"the scale of 'f' {hexadecimal} '3f8000000'"),
            (9, 3, f"the scale of 'g' {hexadecimal} ''"),
            (10, 1, "expected '<name>: <hexadecimal float32>', found ': 3f800000'"),
            (
                11,
                4,
                "the scale of 'h' is too large: its range ±127·3.4028234663852886e+38 exceeds "
                "float32",
            ),
        ]

    @pytest.mark.parametrize("first", ["TRT-5101", "TRT5101-Entropy", "TRT-x-Entropy"])
    def test_bad_header(self, faults: Faults, first: str) -> None:
        message = (
            "the first line of a TensorRT calibration cache must be "
            f"TRT-<version>-<algorithm>, it is '{first}'"
        )
        assert faults(f"{first}\na: 3f800000\n") == [(1, 1, message)]

    def test_missing_header(self, faults: Faults) -> None:
        text = "data: 3f9839e4\nconv:1: 40d0f64f\nbad: x\n"
        (line, column, message), bad = faults(text)
        assert (line, column) == (1, 1)
        assert message.endswith("TRT-<version>-<algorithm>, it is 'data: 3f9839e4'")
        assert bad[:2] == (3, 6)

    def test_no_entries(self, faults: Faults) -> None:
        text = "TRT-5101-EntropyCalibration2\n"
        assert faults(text) == [(1, 1, "the calibration cache has no entries")]
        text += "a: 0\nb: 80000000\n"
        assert faults(text) == [(1, 1, "all scales of the calibration cache are zero")]
