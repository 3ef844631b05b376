"""Arrays in .npy and .npz files, as command lines name them: ``x.npy``, ``x.npz``, ``x.npz:key``.

numpy's own loading stops at faulty files with whatever the parser, the decompressor or the
allocator raise, gives bytes for members that are no arrays, and takes some keys for parameters.
Here a header is checked before anything is made of it, and each fault is told in words.
"""

from __future__ import annotations

import io
import math
import tokenize
import zipfile
import zlib
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.dialect import did_you_mean
from nvdla_ir.ir.location import UNKNOWN

Array = NDArray[Any]

NPZ = ".npz"
_NPY = ".npy"
_NPY_MAGIC = b"\x93NUMPY"
_ZIP_MAGICS = (b"PK\x03\x04", b"PK\x05\x06")
START_BYTES = 8
"""How much of a file tells what it is."""


def _decompressors_errors() -> tuple[type[Exception], ...]:
    try:
        from lzma import LZMAError
    except ImportError:  # a Python without it reads no such archives
        return (zlib.error,)
    return (zlib.error, LZMAError)


# A header is a Python expression, and so are its faults.
_HEADER_FAULTS = (
    MemoryError,
    OverflowError,
    RecursionError,
    SyntaxError,
    TypeError,
    tokenize.TokenError,
)
_DAMAGED = (zipfile.BadZipFile, EOFError, *_decompressors_errors())


class ArrayError(Exception):
    """Why a file has no array; completes "cannot read 'x': …"."""


@contextmanager
def reading(spec: str) -> Generator[None, None, None]:
    """What goes wrong in a file of arrays, as a DiagnosticError that names it ``spec``."""
    try:
        yield
        return
    except FileNotFoundError:
        reason = "there is no such file"
    except OSError as error:
        reason = error.strerror or f"it is damaged: {error}"
    except _DAMAGED as error:
        reason = f"the archive is damaged: {error}"
    except MemoryError as error:
        reason = f"memory does not suffice: {error}" if str(error) else "memory does not suffice"
    # Encrypted members are a RuntimeError.
    except (ArrayError, NotImplementedError, RuntimeError, ValueError) as error:
        reason = str(error)
    raise DiagnosticError.at(UNKNOWN, f"cannot read '{spec}': {reason}")


def split_key(spec: str) -> tuple[str, str | None]:
    """``a.npz:key`` as file and key; a name without a key as itself and None."""
    file, separator, key = spec.rpartition(f"{NPZ}:")
    return (f"{file}{NPZ}", key) if separator else (spec, None)


def is_archive(start: bytes, otherwise: str = "") -> bool:
    """Whether a file that begins with ``start`` is a .npz file; a .npy file is none.

    Raises: ArrayError for other files; ``otherwise`` completes what they are not.
    """
    if start.startswith(_NPY_MAGIC):
        return False
    if not start.startswith(_ZIP_MAGICS):
        raise ArrayError(f"it is neither a .npy nor a .npz file{otherwise}")
    return True


# -------------------------------------------------------------- single arrays


@frozen(eq=False)
class Header:
    """What a .npy stream says about its array, and how many bytes say it."""

    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype[Any]
    size: int = 0

    @property
    def type_name(self) -> str:
        """numpy's, with the order of bytes: ``<f4``."""
        return self.dtype.str  # pyright: ignore[reportUnknownVariableType]

    @property
    def data_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    def array(self, data: bytes) -> Array:
        """The array whose elements are ``data``."""
        order = "F" if self.fortran_order else "C"
        return np.frombuffer(data, self.dtype).reshape(self.shape, order=order)


def read_header(stream: IO[bytes]) -> Header:
    """Read up to the first element.

    Raises: ArrayError for headers that are damaged, and for pickled objects.
    """
    # An unseekable stream of a .zip counts, too.
    start = stream.tell()
    try:
        version = np.lib.format.read_magic(stream)
        if version == (1, 0):
            found = np.lib.format.read_array_header_1_0(stream)
        elif version == (2, 0):
            found = np.lib.format.read_array_header_2_0(stream)
        else:
            raise ArrayError(f"version {version[0]}.{version[1]} of the format is unknown")
    except _HEADER_FAULTS as error:
        raise ArrayError("its header is damaged") from error
    except ValueError as error:
        raise ArrayError(f"its header is damaged: {str(error).splitlines()[0]}") from error
    shape, fortran_order, dtype = found
    if dtype.hasobject:
        raise ArrayError(
            "it holds pickled Python objects, which are not loaded because they can run code; "
            "save numbers"
        )
    if any(extent < 0 for extent in shape):
        raise ArrayError(f"its header is damaged: it states the shape {shape}")
    return Header(shape, fortran_order, dtype, stream.tell() - start)


def check_length(header: Header, there: int) -> None:
    """Raises: ArrayError where ``there`` bytes are fewer than ``header`` states."""
    if there < header.data_bytes:
        raise ArrayError(
            f"the array ends too early: its header states {header.data_bytes} bytes, but "
            f"{max(there, 0)} are there"
        )


def mapped_array(file: str) -> Array:
    """The array of a .npy file, mapped into memory. Raises: ArrayError, OSError"""
    with Path(file).open("rb") as stream:
        header = read_header(stream)
        check_length(header, stream.seek(0, io.SEEK_END) - header.size)
    if not header.data_bytes:
        return header.array(b"")
    order = "F" if header.fortran_order else "C"
    return np.memmap(file, header.dtype, "r", header.size, header.shape, order)


def array_of(data: bytes) -> Array:
    """The array that the bytes of a .npy file hold. Raises: ArrayError"""
    header = read_header(io.BytesIO(data))
    check_length(header, len(data) - header.size)
    return header.array(data[header.size : header.size + header.data_bytes])


# -------------------------------------------------------------- archives


class Archive:
    """A .npz file: its members are .npy files, whose names without that end are the keys."""

    def __init__(self, source: str | IO[bytes]) -> None:
        """Raises: OSError, zipfile.BadZipFile"""
        self._zip = zipfile.ZipFile(source)
        self._members = {
            member.filename.removesuffix(_NPY): member
            for member in self._zip.infolist()
            if member.filename.endswith(_NPY)
        }

    @property
    def keys(self) -> list[str]:
        return list(self._members)

    def listed(self) -> str:
        return ", ".join(f"'{key}'" for key in self._members) or "nothing"

    def checked(self, key: str) -> str:
        """Raises: ArrayError where there is no such array."""
        if key not in self._members:
            hint = did_you_mean(key, self.keys)
            raise ArrayError(f"it has no array '{key}'{hint}; it holds {self.listed()}")
        return key

    def header(self, key: str) -> Header:
        return self.stream(key)[1]

    def stream(self, key: str) -> tuple[IO[bytes], Header]:
        """The elements of an array as a stream, and what its header states.

        Raises: ArrayError, and what the .zip raises.
        """
        member = self._members[self.checked(key)]
        stream = self._zip.open(member)
        header = read_header(stream)
        check_length(header, member.file_size - header.size)
        return stream, header

    def array(self, key: str) -> Array:
        """Raises: as ``stream``."""
        stream, header = self.stream(key)
        return header.array(read_exactly(stream, header.data_bytes))


def read_exactly(stream: IO[bytes], size: int) -> bytes:
    """Raises: ArrayError where there is less, and what the .zip raises."""
    data = stream.read(size)
    if len(data) != size:
        raise ArrayError("the array ends too early")
    return data


# -------------------------------------------------------------- writing


def npy_bytes(array: Array) -> bytes:
    """The contents of a .npy file."""
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.asanyarray(array), allow_pickle=False)
    return buffer.getvalue()


def npz_bytes(arrays: Mapping[str, Array]) -> bytes:
    """The contents of a .npz file as ``numpy.savez`` writes it; any name may be a key."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for key, array in arrays.items():
            # Opened by name, a member gets no time of its own: equal arrays are equal files.
            with archive.open(f"{key}{_NPY}", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)
    return buffer.getvalue()
