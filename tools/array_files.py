"""Arrays in files, as command lines name them: ``x.npy``, ``x.npz``, ``x.npz:key``, ``-``."""

# numpy's stubs leave parts of many overloads unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import io
import os
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import numpy as np
from numpy.typing import NDArray

from nvdla_ir.files import read_bytes, write_together
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.dialect import did_you_mean
from nvdla_ir.ir.location import UNKNOWN

Array = NDArray[Any]

STANDARD_STREAM = "-"
_NPY_MAGIC = b"\x93NUMPY"
_ZIP_MAGICS = (b"PK\x03\x04", b"PK\x05\x06")
_NPZ = ".npz"


class _ReadingError(Exception):
    """Why a file has no array; the message completes "cannot read 'x': …"."""


def split_key(spec: str) -> tuple[str, str | None]:
    """``a.npz:key`` as file and key; a name without a key as itself and None."""
    file, separator, key = spec.rpartition(f"{_NPZ}:")
    return (f"{file}{_NPZ}", key) if separator else (spec, None)


def read_array(spec: str, name: str, stdin: TextIO) -> Array:
    """The array that ``spec`` names; from an archive without a key the one called ``name``, or
    its only one. Files of a single array are mapped into memory, not read.

    Raises: DiagnosticError where there is none, or where it holds pickled objects.
    """
    file, key = split_key(spec)
    # Only regular files can be mapped; pipes and what is no file at all are for read_raw.
    data = None if Path(file).is_file() else read_raw(file, stdin)
    try:
        if data is not None:
            return _read(data[:4096], lambda: io.BytesIO(data), key, name)
        with Path(file).open("rb") as stream:
            start = stream.read(4096)
        return _read(start, lambda: file, key, name)
    except (_ReadingError, EOFError, MemoryError, NotImplementedError, ValueError) as error:
        reason = str(error)
    except OSError as error:
        reason = error.strerror or str(error)
    except tokenize.TokenError:
        reason = "its header is damaged"
    except (zipfile.BadZipFile, zlib.error) as error:
        reason = f"the archive is damaged: {error}"
    raise DiagnosticError.at(UNKNOWN, f"cannot read '{spec}': {reason}")


def _read(start: bytes, source: Callable[[], Any], key: str | None, name: str) -> Array:
    """The array in a file that begins with ``start``."""
    if start.startswith(_NPY_MAGIC):
        if key is not None:
            raise _ReadingError("it is a single array, without keys")
        opened = source()
        mapped = "r" if isinstance(opened, str) else None
        return _without_objects(lambda: np.load(opened, mmap_mode=mapped, allow_pickle=False))
    if not start.startswith(_ZIP_MAGICS):
        raise _ReadingError("it is neither a .npy nor a .npz file")
    with np.load(source(), allow_pickle=False) as archive:
        chosen = _chosen_key(list(archive.files), key, name)
        return _without_objects(lambda: archive[chosen])


def _without_objects(load: Callable[[], Array]) -> Array:
    try:
        return load()
    except ValueError as error:
        if "allow_pickle" in str(error) or "Python objects" in str(error):
            raise _ReadingError(
                "it holds pickled Python objects, which are not loaded because they can run code; "
                "save numbers"
            ) from error
        raise


def _chosen_key(keys: list[str], key: str | None, name: str) -> str:
    known = ", ".join(f"'{known}'" for known in keys) or "nothing"
    if key is not None:
        if key not in keys:
            raise _ReadingError(
                f"it has no array '{key}'{did_you_mean(key, keys)}; it holds {known}"
            )
        return key
    if name in keys:
        return name
    if len(keys) != 1:
        raise _ReadingError(f"it holds {known}: say which, as in 'file.npz:key'")
    return keys[0]


def read_raw(file: str, stdin: TextIO) -> bytes:
    """The bytes of a file or, for ``-``, of standard input. Raises: DiagnosticError."""
    return _binary(stdin).read() if file == STANDARD_STREAM else read_bytes(file)


def check_writable(spec: str) -> None:
    """Find out before the work that its result could not be written.

    Raises: DiagnosticError.
    """
    file, _ = split_key(spec)
    target = Path(file)
    if file == STANDARD_STREAM:
        return
    if target.is_dir():
        reason = "it is a directory"
    elif not target.parent.is_dir():
        reason = f"there is no directory '{target.parent}'"
    elif not os.access(target if target.exists() else target.parent, os.W_OK):
        reason = "this user may not write there"
    else:
        return
    raise DiagnosticError.at(UNKNOWN, f"cannot write '{file}': {reason}")


def encoded(arrays: Iterable[tuple[str, str, Array]]) -> dict[str, bytes]:
    """The contents of files, by name, with these arrays (where to, name, elements): .npz where
    the file is called so, all that go into one file together, else .npy."""
    contents: dict[str, bytes] = {}
    archives: dict[str, dict[str, Array]] = {}
    for spec, name, array in arrays:
        file, key = split_key(spec)
        if file.endswith(_NPZ):
            archives.setdefault(file, {})[key or name] = array
            continue
        buffer = io.BytesIO()
        np.save(buffer, array, allow_pickle=False)
        contents[file] = buffer.getvalue()
    for file, members in archives.items():
        buffer = io.BytesIO()
        np.savez(buffer, **members)  # pyright: ignore[reportArgumentType]
        contents[file] = buffer.getvalue()
    return contents


def write_files(contents: Mapping[str, bytes], stdout: TextIO) -> None:
    """Write all files, or none; ``-`` goes to standard output. Raises: DiagnosticError."""
    write_together({f: data for f, data in contents.items() if f != STANDARD_STREAM})
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
