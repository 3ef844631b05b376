"""Arrays in files, as command lines name them: ``x.npy``, ``x.npz``, ``x.npz:key``, ``-``."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from numpy.typing import NDArray

from nvdla_ir.arrays import (
    NPZ,
    START_BYTES,
    Archive,
    ArrayError,
    array_of,
    is_archive,
    mapped_array,
    npy_bytes,
    npz_bytes,
    reading,
    split_key,
)
from nvdla_ir.files import (
    StrPath,
    check_outputs,
    is_regular_file,
    place_of,
    read_bytes,
    write_together,
)
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.location import UNKNOWN

Array = NDArray[Any]

STANDARD_STREAM = "-"
_LONGEST_KEY_BYTES = 60_000
"""What fits a .npz file, which is a .zip."""


def read_array(spec: str, name: str, stdin: TextIO) -> Array:
    """The array that ``spec`` names; from an archive without a key the one called ``name``, or
    its only one. Files of a single array are mapped into memory, not read.

    Raises: DiagnosticError where there is none, or where it holds pickled objects.
    """
    file, key = split_key(spec)
    # Only regular files can be mapped; pipes and what is no file at all are for read_raw.
    data = None if is_regular_file(file) else read_raw(file, stdin)
    with reading(spec):
        if data is not None:
            start = data[:START_BYTES]
        else:
            with Path(file).open("rb") as stream:
                start = stream.read(START_BYTES)
        if not is_archive(start):
            if key is not None:
                raise ArrayError("it is a single array, without keys")
            return mapped_array(file) if data is None else array_of(data)
        archive = Archive(file if data is None else io.BytesIO(data))
        return archive.array(_chosen_key(archive, key, name))


def _chosen_key(archive: Archive, key: str | None, name: str) -> str:
    if key is not None or name in archive.keys:
        return archive.checked(name if key is None else key)
    if len(archive.keys) != 1:
        raise ArrayError(f"it holds {archive.listed()}: say which, as in 'file.npz:key'")
    return archive.keys[0]


def read_raw(file: str, stdin: TextIO) -> bytes:
    """The bytes of a file or, for ``-``, of standard input. Raises: DiagnosticError."""
    return _binary(stdin).read() if file == STANDARD_STREAM else read_bytes(file)


def check_writable(specs: Iterable[str], kept: Iterable[StrPath] = ()) -> None:
    """Find out before the work that its result could not be written, see ``check_outputs``.

    specs: as command lines name them; several keys of one archive are one output
    kept:  files that are read, though nobody has named them

    Raises: DiagnosticError with all faults.
    """
    files: list[str] = []
    for spec in specs:
        file, key = split_key(spec)
        files.append(file)
        try:
            if len((key or "").encode()) > _LONGEST_KEY_BYTES:
                reason = f"the key has more than {_LONGEST_KEY_BYTES} bytes"
                raise DiagnosticError.at(UNKNOWN, f"cannot write '{file}': {reason}")
        except UnicodeEncodeError:
            reason = f"the key {key!a} is not UTF-8"
            raise DiagnosticError.at(UNKNOWN, f"cannot write '{file}': {reason}") from None
    # Archives are shared, by whatever names they are given.
    places = {place_of(f) if f.endswith(NPZ) else f: f for f in files if f != STANDARD_STREAM}
    check_outputs(places.values(), kept)


def encoded(arrays: Iterable[tuple[str, str, Array]]) -> dict[str, bytes]:
    """The contents of files, by name, with these arrays (where to, name, elements): .npz where
    the file is called so, all that go into one file together, else .npy."""
    contents: dict[str, bytes] = {}
    archives: dict[str, tuple[str, dict[str, Array]]] = {}
    for spec, name, array in arrays:
        file, key = split_key(spec)
        if file.endswith(NPZ):
            archives.setdefault(place_of(file), (file, {}))[1][key or name] = array
            continue
        contents[file] = npy_bytes(array)
    for file, members in archives.values():
        contents[file] = npz_bytes(members)
    return contents


def write_files(
    contents: Mapping[str, bytes], stdout: TextIO, kept: Iterable[StrPath] = ()
) -> None:
    """Write all files, or none, nor one of ``kept``; ``-`` goes to standard output. Raises:
    DiagnosticError."""
    write_together({f: data for f, data in contents.items() if f != STANDARD_STREAM}, kept)
    if STANDARD_STREAM in contents:
        stdout.flush()
        binary = _binary(stdout)
        binary.write(contents[STANDARD_STREAM])
        binary.flush()


def _binary(stream: TextIO) -> BinaryIO:
    """The bytes under a text stream. Raises: DiagnosticError where there are none."""
    binary: BinaryIO | None = getattr(stream, "buffer", None)
    if binary is None:
        raise DiagnosticError.at(UNKNOWN, "the standard stream takes text only, no arrays")
    return binary
