from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nvdla_ir.calibration.entry import scale_of_range
from nvdla_ir.calibration.table import (
    CalibrationEntry,
    CalibrationTable,
    TableFormat,
    parse_table,
    read_table,
    write_json,
)
from nvdla_ir.ir.diagnostics import DiagnosticError, Severity
from nvdla_ir.ir.location import FileLineCol

SAMPLES = Path(__file__).resolve().parents[4] / "shared" / "nvidia"


class TestTable:
    TABLE = CalibrationTable(
        tuple(CalibrationEntry.from_scale(name, 0.5) for name in ("conv1", "b", "Relu_1", "a"))
    )

    def test_is_a_mapping_in_file_order(self) -> None:
        assert list(self.TABLE) == ["conv1", "b", "Relu_1", "a"]
        assert len(self.TABLE) == 4
        assert "b" in self.TABLE
        assert self.TABLE["b"].name == "b"
        assert self.TABLE.get("c") is None

    def test_two_entries_of_one_name(self) -> None:
        with pytest.raises(ValueError, match="two entries are named 'b'"):
            CalibrationTable((self.TABLE["b"], self.TABLE["b"]))

    @pytest.mark.parametrize(
        ("asked", "found"),
        [("conv_1", "conv1"), ("CONV1", "conv1"), ("relu_1", "Relu_1"), ("pooling", None)],
    )
    def test_nearest(self, asked: str, found: str | None) -> None:
        assert self.TABLE.nearest(asked) == found


class TestInvertedScales:
    PEAKS = (2.6, 14.0, 11.0, 8.0, 9.5, 22.0, 1.0)

    def table(self, scales: list[float]) -> CalibrationTable:
        return parse_table(json.dumps({f"x{i}": {"scale": s} for i, s in enumerate(scales)}), "t")

    def test_good_tables_are_not_suspected(self) -> None:
        normalized = [peak / 127 for peak in self.PEAKS]
        raw_pixels = [scale * 100 for scale in normalized[:-1]] + [1 / 127]
        # Logits of a network without normalization: inverted, they would be as far from the others.
        large_logits = [1.0, 1.5, 2.0, 1.2, 1185.0, 1609.0]
        assert self.table(large_logits).warnings == ()
        pixels_first = [255 / 127, 6.5, *normalized]
        for scales in (normalized, raw_pixels, pixels_first, [255 / 127], [0.01]):
            assert self.table(scales).warnings == ()

    def test_inverted_table(self) -> None:
        (warning,) = self.table([127 / peak for peak in self.PEAKS]).warnings
        assert warning.severity is Severity.WARNING
        assert warning.location == FileLineCol("t", 1, 2)
        assert warning.message == (
            "the scales look inverted: their median is 13.37, which means a range of ±1698; "
            "a scale is peak/127, not 127/peak"
        )

    def test_one_inverted_entry(self) -> None:
        scales = [peak / 127 for peak in self.PEAKS]
        scales[3] = 1 / scales[3] * 4
        (warning,) = self.table(scales).warnings
        assert warning.message == (
            "the scale 63.5 of 'x3' looks inverted: it means a range of ±8064, "
            "733 times the table's median; a scale is peak/127, not 127/peak"
        )
        assert warning.location == FileLineCol("t", 1, 116)


class TestFiles:
    def test_missing_file_and_directory(self, tmp_path: Path) -> None:
        with pytest.raises(DiagnosticError, match="there is no such file"):
            read_table(tmp_path / "no.json")
        with pytest.raises(DiagnosticError, match="it is a directory"):
            read_table(tmp_path)

    def test_bytes_that_are_not_utf8(self, tmp_path: Path) -> None:
        path = tmp_path / "t.json"
        path.write_bytes(b'{\n "\xe9": {"scale": 1}}')
        with pytest.raises(DiagnosticError) as error:
            read_table(path)
        (diagnostic,) = error.value.diagnostics
        assert diagnostic.location == FileLineCol(str(path), 2, 3)
        assert diagnostic.message == "the byte 0xe9 at offset 4 is not UTF-8"

    def test_faults_name_the_file(self, tmp_path: Path) -> None:
        path = tmp_path / "t.json"
        path.write_text('\ufeff{"a": {}}', encoding="utf-8")
        with pytest.raises(DiagnosticError) as error:
            read_table(path)
        assert error.value.diagnostics[0].location == FileLineCol(str(path), 1, 2)


def test_reading_needs_no_numpy() -> None:
    program = (
        "import sys, nvdla_ir.calibration.table; print([m for m in ('numpy', 'lark', 'rich') "
        "if m in sys.modules])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert ran.stdout == "[]\n"


@pytest.mark.skipif(not SAMPLES.is_dir(), reason=f"the vendor's samples are not at {SAMPLES}")
class TestVendorSamples:
    def test_json_is_written_byte_for_byte(self) -> None:
        path = SAMPLES / "resnet50.json"
        table = read_table(path)
        assert len(table) == 229
        assert table.warnings == ()
        assert write_json(table) == path.read_text(encoding="utf-8")

    def test_no_scale_changes_by_the_vendors_round_trip(self) -> None:
        for entry in read_table(SAMPLES / "resnet50.json").entries:
            assert scale_of_range(entry.minimum, entry.maximum) == entry.scale

    def test_cache_equals_json_entry_by_entry(self) -> None:
        """Names differ (the JSON names layers, the cache tensors), values do not."""
        cache = read_table(SAMPLES / "resnet50.txt")
        table = read_table(SAMPLES / "resnet50.json")
        assert cache.format is TableFormat.TENSORRT_CACHE
        assert [e.scale for e in cache.entries] == [e.scale for e in table.entries]
        agreeing = [
            ours.name
            for ours, theirs in zip(cache.entries, table.entries, strict=True)
            if ours.name == theirs.name
        ]
        assert agreeing == ["data", "pool1", "pool5", "fc1000", "prob"]
        for name in agreeing:
            assert cache[name] == table[name]
