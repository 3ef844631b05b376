"""Arrays in files: any key, and every fault of a file in words."""

from __future__ import annotations

import io
import lzma
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nvdla_ir.arrays import Archive, array_of, mapped_array, npy_bytes, npz_bytes, reading
from nvdla_ir.ir.diagnostics import DiagnosticError

ONES = np.ones((2, 3), np.float32)


def with_header(text: str) -> bytes:
    """A .npy file with any header."""
    header = text.encode().ljust(118) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header


def stating(shape: str, dtype: str = "<f4") -> bytes:
    return with_header(f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}}}")


@pytest.mark.parametrize(
    "key", ["file", "allow_pickle", "args", "kwds", "self", "a/b", "é", "x.npy"]
)
def test_any_name_may_be_a_key(tmp_path: Path, key: str) -> None:
    file = tmp_path / "x.npz"
    file.write_bytes(npz_bytes({key: ONES, "other": ONES + 1}))
    np.testing.assert_array_equal(Archive(str(file)).array(key), ONES)
    with np.load(file) as archive:
        assert archive.files == [key, "other"]
        np.testing.assert_array_equal(archive[key], ONES)
        np.testing.assert_array_equal(archive["other"], ONES + 1)


def test_files_are_those_that_numpy_writes() -> None:
    archive, single = io.BytesIO(), io.BytesIO()
    np.savez(archive, a=ONES, b=np.arange(3))
    np.save(single, np.asfortranarray(ONES))
    assert npz_bytes({"a": ONES, "b": np.arange(3)}) == archive.getvalue()
    assert npy_bytes(np.asfortranarray(ONES)) == single.getvalue()


@pytest.mark.parametrize(
    "array",
    [
        ONES,
        np.asfortranarray(np.arange(6).reshape(2, 3)),
        np.float64(3).reshape(()),
        np.zeros((0, 3), np.int8),
        np.arange(4, dtype=">i2"),
    ],
)
def test_arrays_come_back(tmp_path: Path, array: NDArray[Any]) -> None:
    file = tmp_path / "x.npy"
    np.save(file, array)
    for found in (
        mapped_array(str(file)),
        array_of(file.read_bytes()),
        Archive(io.BytesIO(npz_bytes({"a": array}))).array("a"),
    ):
        assert found.dtype == array.dtype and found.shape == array.shape
        np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (with_header("(" * 9000), "its header is damaged"),
        (with_header("-" * 9000 + "1"), "its header is damaged"),
        (with_header("'''"), "its header is damaged"),
        (with_header("{'descr': 1}"), "its header is damaged"),
        (stating("(-1, 4)"), "its header is damaged: it states the shape (-1, 4)"),
        (stating(f"({1 << 62}, 8)"), "the array ends too early: its header states "),
        (stating(f"({1 << 80},)"), "the array ends too early: its header states "),
        (stating("(1023999999998976,)", "<M8[s]"), "the array ends too early"),
        (stating("(1,)", "|O"), "it holds pickled Python objects"),
        (b"\x93NUMPY\x04\x00", "version 4.0 of the format is unknown"),
        (b"\x93NUMPY\x03\x00\x00\x00\x00\x00", "version 3.0 of the format is unknown"),
    ],
)
@pytest.mark.parametrize("kind", ["mapped", "bytes", "member"])
def test_damaged_arrays(tmp_path: Path, data: bytes, reason: str, kind: str) -> None:
    file = tmp_path / "x"
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("a.npy", data)
    file.write_bytes(data)
    with pytest.raises(DiagnosticError) as error, reading("x"):
        if kind == "mapped":
            mapped_array(str(file))
        elif kind == "bytes":
            array_of(data)
        else:
            Archive(archive).array("a")
    (diagnostic,) = error.value.diagnostics
    assert diagnostic.message.startswith(f"cannot read 'x': {reason}")


def test_damaged_archives() -> None:
    members = {}
    for method in (zipfile.ZIP_LZMA, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2):
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w", method) as opened:
            opened.writestr("a.npy", npy_bytes(np.random.default_rng(0).random(300)))
        data = bytearray(archive.getvalue())
        for index in range(60, 1500):
            data[index] ^= 0x55
        members[method] = bytes(data)
    with pytest.raises(lzma.LZMAError):
        zipfile.ZipFile(io.BytesIO(members[zipfile.ZIP_LZMA])).read("a.npy")
    for data in members.values():
        with pytest.raises(DiagnosticError, match="damaged"), reading("x"):
            Archive(io.BytesIO(data)).array("a")


def test_an_encrypted_member() -> None:
    data = bytearray(npz_bytes({"a": ONES}))
    data[6] |= 1  # the flag in the member's own header and in the directory
    data[data.index(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(DiagnosticError, match="is encrypted"), reading("x"):
        Archive(io.BytesIO(bytes(data))).array("a")


def test_members_that_are_no_arrays() -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("readme", b"text")
        opened.writestr("b.npy", b"text")
    opened = Archive(archive)
    assert opened.keys == ["b"]
    for key, reason in (("readme", "it has no array 'readme'"), ("b", "its header is damaged")):
        with pytest.raises(DiagnosticError, match=reason), reading("x"):
            opened.array(key)
