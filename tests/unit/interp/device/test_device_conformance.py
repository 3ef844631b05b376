"""Replays random register programs whose results come from the vendor's functional model.

One test runs all cases of one class of one configuration, in order of their names.
"""

from __future__ import annotations

import json
import sys
import tarfile
from collections import defaultdict
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "formats" / "trace"))

from trace_playing import play

SUITE = Path(__file__).parents[5] / "shared" / "conformance"


def _groups() -> dict[tuple[str, str], list[str]]:
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    if (SUITE / "index.json").is_file():
        for name, case in json.loads((SUITE / "index.json").read_text()).items():
            groups[case["config"], case["class"]].append(name.partition("/")[2])
    return groups


GROUPS = _groups()


@pytest.fixture(scope="session")
def unpacked(tmp_path_factory: pytest.TempPathFactory):
    """Gives the folder of a configuration's cases, unpacked on first use."""
    root = tmp_path_factory.mktemp("conformance")

    def folder(configuration: str) -> Path:
        if not (root / configuration).is_dir():
            with tarfile.open(SUITE / f"{configuration}.tar.xz") as archive:
                archive.extractall(root, filter="data")
        return root / configuration

    return folder


@pytest.mark.skipif(not GROUPS, reason="no conformance suite beside the project: ../shared")
@pytest.mark.parametrize(("configuration", "kind"), GROUPS, ids=lambda part: part)
def test_bytes_equal_those_of_the_functional_model(configuration: str, kind: str, unpacked) -> None:
    folder = unpacked(configuration)
    faults: list[str] = []
    for name in GROUPS[configuration, kind]:
        played = play(folder / name, configuration)
        assert played.checks
        faults += [f"{name}: {failure}" for failure in played.failures]
        faults += [f"{name}: {remark}" for remark in played.device.remarks]
    assert not faults
