from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nvdla_ir.arith.float32 import float32
from nvdla_ir.calibration.entry import offset_of_range
from nvdla_ir.calibration.table import (
    CalibrationEntry,
    CalibrationTable,
    TableFormat,
    parse_table,
    write_json,
)
from nvdla_ir.ir.diagnostics import Severity
from nvdla_ir.ir.location import FileLineCol

Faults: TypeAlias = Callable[[str], list[tuple[int, int, str]]]


positive = st.floats(2.0**-100, 2.0**100, width=32)


def _bits(value: float) -> int:
    return struct.unpack("<i", struct.pack("<f", value))[0]


class TestJson:
    def test_every_form_of_an_entry(self) -> None:
        table = parse_table(
            """{
  "scale": {"scale": 0.5},
  "vendor": {"scale": 0.5, "min": 0, "max": 0, "offset": 0},
  "range": {"min": -12.7, "max": 6.0},
  "zero scale": {"scale": 0, "min": 0.0, "max": 254},
  "both": {"scale": 2.0, "min": -254.0, "max": 3.0, "offset": 0.0},
  "one-sided zero": {"scale": 2.0, "min": 0},
  "asymmetric": {"min": 0, "max": 25.5, "offset": -128},
  "asymmetric scale": {"scale": 0.25, "offset": 10},
  "asymmetric both": {"scale": 0.1, "min": 0, "max": 25.5, "offset": -128},
  "of 254 steps": {"scale": 0.1, "min": 0, "max": 25.4, "offset": -127},
  "\\u00e9 \\"q\\": x": {"offset": 0, "scale": 1e-3}
}
""",
            "t.json",
        )
        assert table.format is TableFormat.NVDLA_JSON
        assert table.warnings == ()
        f = float32
        assert [(e.name, e.minimum, e.maximum, e.scale, e.offset) for e in table.entries] == [
            ("scale", -63.5, 63.5, 0.5, 0),
            ("vendor", -63.5, 63.5, 0.5, 0),
            ("range", f(-12.7), 6.0, f(f(12.7) / 127), 0),
            ("zero scale", 0.0, 254.0, 2.0, 0),
            ("both", -254.0, 3.0, 2.0, 0),
            ("one-sided zero", -254.0, 254.0, 2.0, 0),
            ("asymmetric", 0.0, 25.5, f(25.5 / 255), -128),
            ("asymmetric scale", -34.5, 29.25, 0.25, 10),
            ("asymmetric both", 0.0, 25.5, f(0.1), -128),
            ("of 254 steps", 0.0, f(25.4), f(0.1), -127),
            ('é "q": x', -f(127 * f(1e-3)), f(127 * f(1e-3)), f(1e-3), 0),
        ]
        assert table["range"].location == FileLineCol("t.json", 4, 3)

    @pytest.mark.parametrize(
        ("entry", "column", "message"),
        [
            (
                '{"scale": 0}',
                17,
                "the scale of 'a' is zero and it has no range: give a positive scale, "
                "or 'min' and 'max'",
            ),
            (
                '{"scale": 0.0, "min": 0, "max": 0, "offset": 0}',
                17,
                "the scale of 'a' is zero and it has no range: give a positive scale, "
                "or 'min' and 'max'",
            ),
            (
                '{"min": 0, "max": 0}',
                25,
                "the range of 'a' is empty: 'min' and 'max' are both zero",
            ),
            ('{"scale": 1e-60}', 17, "the scale of 'a' is zero in float32: 1e-60"),
            ('{"scale": -0.5}', 17, "the scale of 'a' is negative: -0.5"),
            ('{"scale": -2, "min": -1, "max": 1}', 17, "the scale of 'a' is negative: -2.0"),
            ('{"scale": NaN}', 17, "'scale' of 'a' is not finite: NaN"),
            ('{"scale": Infinity}', 17, "'scale' of 'a' is not finite: Infinity"),
            ('{"min": -Infinity, "max": 1}', 15, "'min' of 'a' is not finite: -Infinity"),
            ('{"scale": 1e999}', 17, "'scale' of 'a' is not finite: 1e999"),
            ('{"scale": 1e39}', 17, "'scale' of 'a' exceeds float32: 1e39"),
            (
                '{"scale": 3e38}',
                17,
                "the scale of 'a' is too large: its range ±127·3.0000000054977558e+38 exceeds "
                "float32",
            ),
            (
                '{"min": -1e-44, "max": 1e-44}',
                30,
                "the range of 'a' is too small for a float32 scale: "
                "-9.80908925027372e-45 to 9.80908925027372e-45",
            ),
            ('{"min": 3, "max": -2.5}', 15, "the 'min' of 'a' is above its 'max': 3.0 > -2.5"),
            (
                '{"scale": 0.5, "min": -1, "max": 1}',
                17,
                "'scale' and 'min', 'max' of 'a' contradict each other: the scale is 0.5, "
                "max(|min|, |max|)/127 is 0.007874015718698502; keep one of the two",
            ),
            ("{}", 2, "the entry of 'a' has neither 'scale' nor 'min' and 'max'"),
            ('{"offset": 0}', 2, "the entry of 'a' has neither 'scale' nor 'min' and 'max'"),
            ('{"min": -1}', 15, "the entry of 'a' gives 'min' without 'max'"),
            ('{"scale": 1, "max": 127}', 27, "the entry of 'a' gives 'max' without 'min'"),
            (
                '{"scale": 1, "offset": 128}',
                30,
                "the offset of 'a' must be int8, -128 to 127: 128",
            ),
            (
                '{"scale": 1, "offset": -129}',
                30,
                "the offset of 'a' must be int8, -128 to 127: -129",
            ),
            (
                '{"scale": 1, "offset": 0.5}',
                30,
                "the offset of 'a' must be a whole number: 0.5",
            ),
            ('{"scale": 1, "offset": NaN}', 30, "the offset of 'a' must be a whole number: NaN"),
            (
                '{"scale": 1, "offset": "3"}',
                30,
                "'offset' of 'a' must be a whole number, it is a string: \"3\"",
            ),
            (
                '{"min": 0, "max": 6, "offset": 5}',
                38,
                "the offset of 'a' contradicts its range: scale 0.0235294122248888 with offset 5 "
                "is the range -3.1294119358062744 to 2.8705883026123047, "
                "'min' and 'max' say 0.0 to 6.0, whose zero point is -128",
            ),
            (
                '{"scale": "0.5"}',
                17,
                "'scale' of 'a' must be a number, it is a string: \"0.5\"",
            ),
            ('{"scale": null}', 17, "'scale' of 'a' must be a number, it is null"),
            ('{"scale": true}', 17, "'scale' of 'a' must be a number, it is a boolean"),
            ('{"scale": [1]}', 17, "'scale' of 'a' must be a number, it is an array"),
            (
                '{"min": {"x": 1}, "max": 1}',
                15,
                "'min' of 'a' must be a number, it is an object",
            ),
            (
                '{"scale": 1, "Scale": 2}',
                20,
                "unknown key 'Scale' in the entry of 'a'; did you mean 'scale'?",
            ),
            (
                '{"maximum": 1, "scale": 1}',
                8,
                "unknown key 'maximum' in the entry of 'a'; did you mean 'max'?",
            ),
            (
                '{"scale": 1, "bits": 8}',
                20,
                "unknown key 'bits' in the entry of 'a'; "
                "the keys are 'scale', 'min', 'max', 'offset'",
            ),
            (
                '{"conv": {"scale": 1}, "pool": {"scale": 1}}',
                8,
                "the entry of 'a' contains the object 'conv': entries must stand at the top level "
                "of the table, not inside another object",
            ),
            (
                "0.5",
                7,
                "the entry of 'a' must be an object such as {\"scale\": 0.05}, it is a number",
            ),
            (
                '[{"scale": 1}]',
                7,
                "the entry of 'a' must be an object such as {\"scale\": 0.05}, it is an array",
            ),
        ],
    )
    def test_faults_of_an_entry(
        self, faults: Faults, entry: str, column: int, message: str
    ) -> None:
        text = f'{{"ok": {{"scale": 1.0}},\n "a": {entry}\n}}'
        assert faults(text) == [(2, column, message)]

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("", [(1, 1, "the calibration table is empty")]),
            (" \n\n", [(1, 1, "the calibration table is empty")]),
            ("{}", [(1, 1, "the table has no entries")]),
            (
                ' [{"scale": 1}]',
                [
                    (
                        1,
                        2,
                        "a calibration table is an object with an entry for each layer, "
                        "this is an array",
                    )
                ],
            ),
            (
                '"x"',
                [
                    (
                        1,
                        1,
                        "neither an NVDLA JSON table, which begins with '{', nor a TensorRT "
                        "calibration cache, which begins with 'TRT-', nor an ONNX Runtime "
                        "calibration table, whose lines are a tensor's name and a number",
                    )
                ],
            ),
            (
                '{"a": {"scale": 1},\n "b": {"scale": 1},\n}',
                [(2, 19, "a comma before '}': remove it")],
            ),
            (
                '{"a": {"scale": 1,}}',
                [(1, 18, "a comma before '}': remove it")],
            ),
            (
                '{"a": {"scale": 1}\n',
                [
                    (2, 1, "the text ends inside an object: '}' is missing"),
                    (1, 1, "the object begins here"),
                ],
            ),
            (
                '{"a":\n {"scale": 1, ',
                [
                    (2, 15, "the text ends inside an object: '}' is missing"),
                    (2, 2, "the object begins here"),
                ],
            ),
            (
                '{"a": {"scale":',
                [
                    (1, 16, "the text ends inside an object: '}' is missing"),
                    (1, 7, "the object begins here"),
                ],
            ),
            ('{"a": {"scale": 1 "min": 0}}', [(1, 19, "expected ',' or '}', found '\"'")]),
            ('{"a": {"scale": 0x10}}', [(1, 18, "expected ',' or '}', found 'x10'")]),
            ('{"a" {"scale": 1}}', [(1, 6, "expected ':' after the name 'a', found '{'")]),
            ("{'a': {}}", [(1, 2, "expected a name in double quotes, found '''")]),
            ('{"a": {scale: 1}}', [(1, 8, "expected a name in double quotes, found 'scale'")]),
            ('{"a": {"scale": nan}}', [(1, 17, "expected a value, found 'nan'")]),
            ('{"a": }', [(1, 7, "expected a value, found '}'")]),
            ('{"a": {"scale": "1}}', [(1, 17, "not JSON: unterminated string starting")]),
            ('{"a\n": {}}', [(1, 4, "not JSON: invalid control character")]),
            ('{"a": {"scale": 1}} x', [(1, 21, "'x' after the end of the table")]),
            (
                '{"a": {"scale": ' + "[" * 100_000,
                [(1, 17, "nested too deep for a calibration table")],
            ),
        ],
    )
    def test_faults_of_the_text(
        self, faults: Faults, text: str, expected: list[tuple[int, int, str]]
    ) -> None:
        assert faults(text) == expected

    def test_second_entries_and_keys(self, faults: Faults) -> None:
        text = """{
    "a": {"scale": 1},
    "b": {"scale": 1, "scale": 2},
    "a": {"scale": 1}
}"""
        assert faults(text) == [
            (3, 23, "a second 'scale' in the entry of 'b'"),
            (3, 11, "the first one is here"),
            (4, 5, "a second entry for 'a'"),
            (2, 5, "the first one is here"),
        ]

    def test_all_faults_are_reported_at_once(self, faults: Faults) -> None:
        text = """{
    "a": {"scale": 0},
    "b": {"scale": "1", "offset": 300, "zero": 1},
    "c": {"min": 2, "max": 1},
    "d": 5,
    "e": {"scale": 1}
    "f": {"scale": 1}
}"""
        assert [(line, column) for line, column, _ in faults(text)] == [
            (2, 20),
            (3, 40),
            (3, 20),
            (3, 35),
            (4, 18),
            (5, 10),
            (7, 5),
        ]

    def test_scale_and_range_that_differ_by_rounding(self, faults: Faults) -> None:
        exact = float32(10 / 127)
        next_up = struct.unpack("<f", struct.pack("<i", _bits(exact) + 1))[0]
        for scale in (exact, next_up):
            table = parse_table(f'{{"a": {{"scale": {scale!r}, "min": -10, "max": 10}}}}')
            assert table.warnings == ()
            assert table["a"].scale == scale

        table = parse_table('{"a": {"scale": 0.0787402, "min": -10, "max": 10}}', "t")
        (warning,) = table.warnings
        assert warning.severity is Severity.WARNING
        assert warning.location == FileLineCol("t", 1, 17)
        assert warning.message == (
            "'scale' and 'min', 'max' of 'a' differ slightly: the scale is 0.0787402018904686, "
            "max(|min|, |max|)/127 is 0.07874015718698502; the scale is used"
        )
        assert table["a"].scale == float32(0.0787402)
        assert table["a"].maximum == 10.0

        assert len(faults('{"a": {"scale": 0.07875, "min": -10, "max": 10}}')) == 1

    @given(
        st.lists(
            st.one_of(
                st.builds(
                    lambda scale, offset: ("scale", scale, offset),
                    positive,
                    st.integers(-128, 127),
                ),
                st.tuples(
                    st.just("range"),
                    st.floats(-1e6, 0, width=32),
                    st.floats(0.125, 1e6, width=32),
                ),
            ),
            min_size=1,
            max_size=8,
        )
    )
    def test_what_is_written_is_read_back(self, kinds: list[tuple[str, float, float]]) -> None:
        entries: list[CalibrationEntry] = []
        for index, (kind, a, b) in enumerate(kinds):
            name = f'é\n"{index}"'
            if kind == "scale":
                entries.append(CalibrationEntry.from_scale(name, a, int(b)))
            else:
                offset = offset_of_range(a, b)
                entries.append(CalibrationEntry.from_range(name, a, b, offset))
        table = CalibrationTable(tuple(entries))
        again = parse_table(write_json(table))
        assert again == table
        assert write_json(again) == write_json(table)

    def test_layout(self) -> None:
        entries = (
            CalibrationEntry.from_scale("a", 0.1),
            CalibrationEntry.from_range("b", -1.0, 6.0, -92),
            CalibrationEntry("c", -10.0, 10.0, float32(0.0787402)),
        )
        expected = """{
    "a": {
        "scale": 0.10000000149011612,_
        "min": 0,_
        "max": 0,_
        "offset": 0
    },_
    "b": {
        "scale": 0,_
        "min": -1.0,_
        "max": 6.0,_
        "offset": -92
    },_
    "c": {
        "scale": 0.0787402018904686,_
        "min": -10.0,_
        "max": 10.0,_
        "offset": 0
    }
}
"""
        assert write_json(CalibrationTable(entries)) == expected.replace("_", " ")
