"""The vendor's loadables, for tests that compare with its results."""

from __future__ import annotations

import tarfile
from functools import cache
from pathlib import Path

import pytest

ARCHIVES = Path(__file__).resolve().parents[4].parent / "shared" / "nvidia"


@cache
def members(archive: str) -> dict[str, bytes]:
    """The files of an archive by their path in it; skips the test where it is absent."""
    path = ARCHIVES / archive
    if not path.is_file():
        pytest.skip(f"needs the vendor's {archive} in {ARCHIVES}")
    with tarfile.open(path) as tar:
        files = {
            member.name.removeprefix("./"): tar.extractfile(member)
            for member in tar.getmembers()
            if member.isfile()
        }
        return {name: file.read() for name, file in files.items() if file is not None}


def only(archive: str, ending: str) -> bytes:
    """The one file whose path ends so."""
    (found,) = [data for name, data in members(archive).items() if name.endswith(ending)]
    return found
