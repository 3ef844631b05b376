"""Replays the register traces that came with the hardware, with their checksums.

One test runs all traces of one configuration. The traces of the smallest configurations contain
some for a unit (EW) that these do not have; a lenient device runs them as if they had it.
"""

from __future__ import annotations

import json
import sys
import tarfile
from pathlib import Path

import pytest

from nvdla_ir.hw.configuration import load_configuration

sys.path.insert(0, str(Path(__file__).parents[2] / "frontends" / "trace"))

from trace_playing import play

TRACES = Path(__file__).parents[5] / "shared" / "nvidia"
NAMES = (
    "nv_small",
    "nv_small_256",
    "nv_small_256_full",
    "nv_medium_512",
    "nv_medium_1024_full",
    "nv_large",
)


@pytest.mark.skipif(
    not (TRACES / "traces.json").is_file(), reason="no traces beside the project: ../shared"
)
@pytest.mark.parametrize("name", NAMES)
def test_checksums(name: str, tmp_path: Path) -> None:
    with tarfile.open(TRACES / f"traces-{name}.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    configuration = load_configuration(name)
    traces = json.loads((TRACES / "traces.json").read_text())[name]["traces"]
    faults: list[str] = []
    for trace in traces:
        lacks_unit = not configuration.sdp.has_ew and "_ew_" in trace
        played = play(tmp_path / name / trace, name, lenient=lacks_unit)
        assert played.checks
        faults += [f"{trace}: {failure}" for failure in played.failures]
        remarks = {remark.message for remark in played.device.remarks}
        assert remarks <= {f"{name} has no EW unit", f"{name} has no LUT"}
        assert bool(remarks) == lacks_unit
    assert not faults
