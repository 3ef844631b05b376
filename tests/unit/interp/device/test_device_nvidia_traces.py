"""Replays the register traces that came with the hardware, with their checksums.

One test runs all traces of one configuration. The traces of the smallest configurations contain
some for a unit (EW) that these do not have. Their checksums are those of the functional model,
which has it always: such traces run on a variant of the configuration with the unit.
"""

from __future__ import annotations

import json
import sys
import tarfile
from pathlib import Path

import pytest

from nvdla_ir.hw.configuration import load_configuration

sys.path.insert(0, str(Path(__file__).parents[2] / "formats" / "trace"))

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
    with_unit = tmp_path / "with_ew.toml"
    with_unit.write_text(f'base = "{name}"\n[sdp]\nhas_ew = true\nhas_lut = true\n')
    traces = json.loads((TRACES / "traces.json").read_text())[name]["traces"]
    faults: list[str] = []
    for trace in traces:
        lacks_unit = not configuration.sdp.has_ew and "_ew_" in trace
        target = str(with_unit) if lacks_unit else name
        played = play(tmp_path / name / trace, target)
        assert played.checks
        faults += [f"{trace}: {failure}" for failure in played.failures]
        assert not played.device.remarks
    assert not faults
