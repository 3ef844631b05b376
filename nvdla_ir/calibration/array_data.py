"""Images in .npy and .npz files, read some at a time.

Files of a single array are mapped into memory; arrays in archives are read as a stream, since
compressed ones have no other order.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import IO, Any

import numpy as np
from attrs import define
from numpy.typing import NDArray

from nvdla_ir.arrays import (
    START_BYTES,
    Archive,
    ArrayError,
    Header,
    is_archive,
    mapped_array,
    read_exactly,
    reading,
    split_key,
)
from nvdla_ir.calibration.datasets import Advance, ImageFault, InputShape, Preparation
from nvdla_ir.dialects.nn.shapes import text_of
from nvdla_ir.ir.diagnostics import DiagnosticCollector, DiagnosticError
from nvdla_ir.ir.location import UNKNOWN

Array = NDArray[Any]

_IMAGES_AT_A_TIME = 16


@define(eq=False)
class _WholeArray:
    """An array in memory, or mapped into it."""

    array: Array

    @property
    def header(self) -> Header:
        return Header(self.array.shape, False, self.array.dtype)

    def rows(self, start: int, stop: int) -> Array:
        return self.array[start:stop]


@define(eq=False)
class _StreamedArray:
    """An array in an archive: read from the start again where earlier rows are asked for."""

    archive: Archive
    key: str
    header: Header
    _stream: IO[bytes] | None = None
    _position: int = 0

    def rows(self, start: int, stop: int) -> Array:
        shape, dtype = self.header.shape, self.header.dtype
        if self._stream is None or start < self._position:
            self._stream, _ = self.archive.stream(self.key)
            self._position = 0
        row = math.prod(shape[1:]) * dtype.itemsize
        while self._position < start:
            step = min(start - self._position, _IMAGES_AT_A_TIME)
            read_exactly(self._stream, step * row)
            self._position += step
        data = read_exactly(self._stream, (stop - start) * row)
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
        self.guesses: list[str] = []
        if preparation.changes_pixels:
            self.guesses += [guess for taken in inputs for guess in preparation.guesses(taken)]
        with reading(spec):
            self._readers = _open(spec, self._inputs, self.guesses)
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

    @property
    def files(self) -> Sequence[Path]:
        return (Path(split_key(self._spec)[0]),)

    def name(self, index: int) -> str:
        return f"image {index} of '{self._spec}'"

    def faults(self, advance: Advance) -> list[ImageFault]:
        faults: dict[int, ImageFault] = {}
        for start, arrays in self._sweep():
            for taken, rows in zip(self._inputs, arrays, strict=True):
                for offset, fault in _unusable(rows, taken):
                    if len(self._inputs) > 1:
                        fault += f" in '{taken.name}'"
                    index = start + offset
                    faults.setdefault(index, ImageFault(index, self.name(index), fault))
            advance(len(arrays[0]))
        return [faults[index] for index in sorted(faults)]

    def read(self, indices: Sequence[int]) -> dict[str, Array]:
        arrays: dict[str, Array] = {}
        with reading(self._spec):
            for taken, reader in zip(self._inputs, self._readers, strict=True):
                rows = np.concatenate([reader.rows(a, b) for a, b in _runs(indices)])
                reals = rows.astype(taken.dtype, copy=False)
                arrays[taken.name] = self._preparation.apply(reals, taken)
        return arrays

    def digest(self) -> str:
        state = blake2b(repr(self._preparation).encode(), digest_size=16)
        for reader in self._readers:
            state.update(repr((reader.header.shape, reader.header.type_name)).encode())
        for _, arrays in self._sweep():
            for rows in arrays:
                state.update(np.ascontiguousarray(rows).tobytes())
        return state.hexdigest()

    def _sweep(self) -> Iterator[tuple[int, list[Array]]]:
        """All images as they are in the files, some at a time, with the number of the first."""
        with reading(self._spec):
            for start in range(0, self.count, _IMAGES_AT_A_TIME):
                stop = min(start + _IMAGES_AT_A_TIME, self.count)
                yield start, [reader.rows(start, stop) for reader in self._readers]


def _unusable(rows: Array, taken: InputShape) -> Iterator[tuple[int, str]]:
    """The images among ``rows`` with elements that the network's input cannot hold, and what is
    wrong with each."""
    if taken.takes_integers:
        limits = np.iinfo(taken.dtype)
        usable = (rows >= limits.min) & (rows <= limits.max)
        what = f"numbers outside of {taken.dtype}, {limits.min} to {limits.max},"
    else:
        with np.errstate(over="ignore"):
            usable = np.isfinite(rows.astype(taken.dtype, copy=False))
        what = f"NaN or infinite numbers, as {taken.dtype},"
        if rows.dtype == taken.dtype:
            what = "NaN or infinite numbers"
    flat = usable.reshape(len(rows), -1)
    for offset in np.flatnonzero(~flat.all(axis=1)).tolist():
        number = int(np.count_nonzero(~flat[offset]))
        yield offset, f"has {number} {what}".rstrip(",")


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


def _open(spec: str, inputs: Sequence[InputShape], guesses: list[str]) -> list[_ArrayReader]:
    """Which of several arrays is taken by its shape goes to ``guesses``.

    Raises: what ``reading`` tells of."""
    file, key = split_key(spec)
    with Path(file).open("rb") as stream:
        start = stream.read(START_BYTES)
    if not is_archive(start, ", nor a folder of images"):
        if key is not None:
            raise ArrayError("it is a single array, without keys")
        if len(inputs) > 1:
            raise ArrayError(
                f"the network has {len(inputs)} inputs: give their arrays by name in a .npz file"
            )
        return [_WholeArray(mapped_array(file))]
    archive = Archive(file)
    return [_member(archive, key, taken, len(inputs) == 1, guesses) for taken in inputs]


def _member(
    archive: Archive, key: str | None, taken: InputShape, alone: bool, guesses: list[str]
) -> _ArrayReader:
    chosen = key
    if chosen is None and (taken.name in archive.keys or not alone):
        chosen = taken.name
    if chosen is None:
        # Of several arrays, such as images and labels, the one whose images fit.
        candidates = archive.keys
        if len(candidates) != 1:
            candidates = [k for k in candidates if archive.header(k).shape[1:] == taken.shape]
        if len(candidates) != 1:
            raise ArrayError(f"it holds {archive.listed()}: say which, as in 'file.npz:key'")
        chosen = candidates[0]
        if len(archive.keys) > 1:
            guesses.append(
                f"of {archive.listed()}, '{chosen}' is taken for '{taken.name}': it alone has its "
                "shape"
            )
    header = archive.header(chosen)
    if header.fortran_order or header.shape == taken.shape:
        return _WholeArray(archive.array(chosen))
    return _StreamedArray(archive, chosen, header)
