"""Images in .npy and .npz files, read some at a time.

Files of a single array are mapped into memory; arrays in archives are read as a stream, since
compressed ones have no other order.
"""

# numpy's stubs leave parts of many overloads unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from attrs import define, frozen
from numpy.typing import NDArray

from nvdla_ir.calibration.datasets import Advance, ImageFault, InputShape, Preparation
from nvdla_ir.dialects.nn.shapes import text_of
from nvdla_ir.ir.diagnostics import DiagnosticCollector, DiagnosticError
from nvdla_ir.ir.dialect import did_you_mean
from nvdla_ir.ir.location import UNKNOWN

Array = NDArray[Any]

_NPY_MAGIC = b"\x93NUMPY"
_ZIP_MAGICS = (b"PK\x03\x04", b"PK\x05\x06")
_NPZ = ".npz"
_NPY = ".npy"
_IMAGES_AT_A_TIME = 16


@frozen(eq=False)
class _Header:
    """What a .npy stream says about its array."""

    shape: tuple[int, ...]
    fortran_order: bool
    dtype: Any
    """numpy's."""


@define(eq=False)
class _WholeArray:
    """An array in memory, or mapped into it."""

    array: Array

    @property
    def header(self) -> _Header:
        return _Header(self.array.shape, False, self.array.dtype)

    def rows(self, start: int, stop: int) -> Array:
        return self.array[start:stop]


@define(eq=False)
class _StreamedArray:
    """An array in an archive: read from the start again where earlier rows are asked for."""

    file: str
    member: str
    header: _Header
    _stream: IO[bytes] | None = None
    _position: int = 0

    def rows(self, start: int, stop: int) -> Array:
        shape, dtype = self.header.shape, self.header.dtype
        if self._stream is None or start < self._position:
            # Open as long as this is.
            self._stream = zipfile.ZipFile(self.file).open(self.member)  # noqa: SIM115
            _read_header(self._stream)
            self._position = 0
        row = math.prod(shape[1:]) * dtype.itemsize
        while self._position < start:
            step = min(start - self._position, _IMAGES_AT_A_TIME)
            _read_exactly(self._stream, step * row)
            self._position += step
        data = _read_exactly(self._stream, (stop - start) * row)
        self._position = stop
        return np.frombuffer(data, dtype).reshape(stop - start, *shape[1:])


_ArrayReader = _WholeArray | _StreamedArray


class ArrayImages:
    """The images of a .npy file, or of the arrays of a .npz file that are called as the network's
    inputs are; ``file.npz:key`` names one of them."""

    def __init__(self, spec: str, inputs: Sequence[InputShape], preparation: Preparation) -> None:
        """Raises: DiagnosticError for files that have no such arrays, and arrays of another shape
        or type than the network takes, or of different lengths."""
        preparation.check(inputs)
        if preparation.resize is not None:
            raise DiagnosticError.at(
                UNKNOWN, f"'{spec}' holds arrays, which are not resized: that is for image files"
            )
        self._spec = spec
        self._inputs = tuple(inputs)
        self._preparation = preparation
        with _faults_of(spec):
            self._readers = _open(spec, self._inputs)
        self.count = self._checked_count()

    def _checked_count(self) -> int:
        faults = DiagnosticCollector()
        counts: dict[str, int] = {}
        for taken, reader in zip(self._inputs, self._readers, strict=True):
            header = reader.header
            if isinstance(reader, _WholeArray) and header.shape == taken.shape:
                reader.array = reader.array[None]
                header = reader.header
            if header.dtype.kind not in "biuf":
                faults.error(UNKNOWN, f"'{self._spec}' holds {header.dtype}, which are no numbers")
            elif header.dtype.kind == "f" and taken.takes_integers:
                faults.error(
                    UNKNOWN,
                    f"'{self._spec}' holds {header.dtype}, but '{taken.name}' takes {taken.dtype}",
                )
            elif not header.shape or header.shape[1:] != taken.shape:
                faults.error(
                    UNKNOWN,
                    f"'{self._spec}' has shape {text_of(header.shape)}, but '{taken.name}' takes "
                    f"{text_of(taken.shape)} for each image{_transposed(header.shape, taken)}",
                )
            elif header.shape[0] == 0:
                faults.error(UNKNOWN, f"'{self._spec}' holds no images")
            else:
                counts[taken.name] = header.shape[0]
        if len(set(counts.values())) > 1:
            listed = ", ".join(f"'{name}' {count}" for name, count in counts.items())
            faults.error(UNKNOWN, f"the arrays of '{self._spec}' differ in length: {listed}")
        faults.raise_if_errors()
        return next(iter(counts.values()))

    def name(self, index: int) -> str:
        return f"image {index} of '{self._spec}'"

    def faults(self, advance: Advance) -> list[ImageFault]:
        faults: dict[int, ImageFault] = {}
        for start, arrays in self._sweep():
            for taken, rows in zip(self._inputs, arrays, strict=True):
                if rows.dtype.kind == "f":
                    flat = np.isfinite(rows.reshape(len(rows), -1))
                    for offset in np.flatnonzero(~flat.all(axis=1)).tolist():
                        number = int(np.count_nonzero(~flat[offset]))
                        reason = f"has {number} NaN or infinite numbers"
                        if len(self._inputs) > 1:
                            reason += f" in '{taken.name}'"
                        index = start + offset
                        faults.setdefault(index, ImageFault(index, self.name(index), reason))
            advance(len(arrays[0]))
        return [faults[index] for index in sorted(faults)]

    def read(self, indices: Sequence[int]) -> dict[str, Array]:
        arrays: dict[str, Array] = {}
        with _faults_of(self._spec):
            for taken, reader in zip(self._inputs, self._readers, strict=True):
                rows = np.concatenate([reader.rows(a, b) for a, b in _runs(indices)])
                dtype: np.dtype[Any] = rows.dtype
                native: Array = rows.astype(cast(Any, dtype).newbyteorder("="), copy=False)
                arrays[taken.name] = self._preparation.apply(native, taken)
        return arrays

    def digest(self) -> str:
        state = blake2b(repr(self._preparation).encode(), digest_size=16)
        for reader in self._readers:
            state.update(repr((reader.header.shape, reader.header.dtype.str)).encode())
        for _, arrays in self._sweep():
            for rows in arrays:
                state.update(np.ascontiguousarray(rows).tobytes())
        return state.hexdigest()

    def _sweep(self) -> Iterator[tuple[int, list[Array]]]:
        """All images as they are in the files, some at a time, with the number of the first."""
        with _faults_of(self._spec):
            for start in range(0, self.count, _IMAGES_AT_A_TIME):
                stop = min(start + _IMAGES_AT_A_TIME, self.count)
                yield start, [reader.rows(start, stop) for reader in self._readers]


def _transposed(shape: tuple[int, ...], taken: InputShape) -> str:
    if len(shape) == 4 and len(taken.shape) == 3:
        _, a, b, c = shape
        if (c, a, b) == taken.shape:
            return "; its channels come last: transpose(0, 3, 1, 2) puts them where they belong"
        if (b, c, a) == taken.shape:
            return "; its channels come first: transpose(0, 2, 3, 1) puts them where they belong"
    return ""


def _runs(indices: Sequence[int]) -> Iterator[tuple[int, int]]:
    """``indices`` as ranges of consecutive numbers."""
    start = previous = None
    for index in indices:
        if start is not None and previous is not None and index != previous + 1:
            yield start, previous + 1
            start = None
        if start is None:
            start = index
        previous = index
    if start is not None and previous is not None:
        yield start, previous + 1


# -------------------------------------------------------------- files


class _ReadingError(Exception):
    """Why a file cannot be read; completes "cannot read 'x': …"."""


@contextmanager
def _faults_of(spec: str) -> Generator[None, None, None]:
    try:
        yield
        return
    except FileNotFoundError:
        reason = "there is no such file"
    except OSError as error:
        reason = error.strerror or str(error)
    except (zipfile.BadZipFile, zlib.error) as error:
        reason = f"the archive is damaged: {error}"
    except (_ReadingError, EOFError, ValueError, NotImplementedError) as error:
        reason = str(error)
    raise DiagnosticError.at(UNKNOWN, f"cannot read '{spec}': {reason}")


def _open(spec: str, inputs: Sequence[InputShape]) -> list[_ArrayReader]:
    file, separator, key = spec.rpartition(f"{_NPZ}:")
    file, key = (f"{file}{_NPZ}", key) if separator else (spec, None)
    with Path(file).open("rb") as stream:
        start = stream.read(8)
    if start.startswith(_NPY_MAGIC):
        if key is not None:
            raise _ReadingError("it is a single array, without keys")
        if len(inputs) > 1:
            raise _ReadingError(
                f"the network has {len(inputs)} inputs: give their arrays by name in a .npz file"
            )
        return [_WholeArray(_as_array(np.load(file, mmap_mode="r", allow_pickle=False)))]
    if not start.startswith(_ZIP_MAGICS):
        raise _ReadingError("it is neither a .npy nor a .npz file, nor a folder of images")
    headers: dict[str, _Header] = {}
    with zipfile.ZipFile(file) as archive:
        for member in archive.namelist():
            if member.endswith(_NPY):
                with archive.open(member) as opened:
                    headers[member.removesuffix(_NPY)] = _read_header(opened)
    return [_member(file, headers, key, taken, len(inputs) == 1) for taken in inputs]


def _member(
    file: str,
    headers: Mapping[str, _Header],
    key: str | None,
    taken: InputShape,
    alone: bool,
) -> _ArrayReader:
    chosen = key
    if chosen is None and (taken.name in headers or not alone):
        chosen = taken.name
    if chosen is None:
        # Of several arrays, such as images and labels, the one whose images fit.
        fitting = [name for name, header in headers.items() if header.shape[1:] == taken.shape]
        candidates = list(headers) if len(headers) == 1 else fitting
        if len(candidates) != 1:
            known = ", ".join(f"'{name}'" for name in headers) or "nothing"
            raise _ReadingError(f"it holds {known}: say which, as in 'file.npz:key'")
        chosen = candidates[0]
    if chosen not in headers:
        known = ", ".join(f"'{name}'" for name in headers) or "nothing"
        hint = did_you_mean(chosen, list(headers))
        raise _ReadingError(f"it has no array '{chosen}'{hint}; it holds {known}")
    header = headers[chosen]
    if header.fortran_order or header.shape == taken.shape:
        with np.load(file, allow_pickle=False) as archive:
            return _WholeArray(archive[chosen])
    return _StreamedArray(file, f"{chosen}{_NPY}", header)


def _read_header(stream: IO[bytes]) -> _Header:
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        header = _Header(*np.lib.format.read_array_header_1_0(stream))
    elif version == (2, 0):
        header = _Header(*np.lib.format.read_array_header_2_0(stream))
    else:
        raise _ReadingError(f"version {version[0]}.{version[1]} of the format is unknown")
    return header


def _as_array(array: Any) -> Array:
    if not isinstance(array, np.ndarray):
        raise _ReadingError("it holds no array")
    return cast(Array, array)


def _read_exactly(stream: IO[bytes], size: int) -> bytes:
    data = stream.read(size)
    if len(data) != size:
        raise _ReadingError("the array ends too early")
    return data
