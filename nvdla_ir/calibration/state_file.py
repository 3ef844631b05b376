"""What a calibration has measured so far, in a file: to go on later, or to choose thresholds by
another method without measuring again."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from attrs import field, frozen

from nvdla_ir.arrays import Archive, reading
from nvdla_ir.calibration.histogram import BINS, Histogram
from nvdla_ir.calibration.measurement import Measurement
from nvdla_ir.files import is_regular_file, read_bytes, write_atomically
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.location import UNKNOWN

_FORMAT = "nvdla-calibrate state 1"


@frozen
class Identity:
    """What a state belongs to: digests of the network with its weights, and of the data as it is
    prepared, without the images that are left out."""

    network: str
    data: str


@frozen(eq=False)
class State:
    """A measurement, and the groups of images that are in it; nothing of either ever changes."""

    identity: Identity
    measurement: Measurement = field(factory=Measurement)
    done: frozenset[int] = frozenset()

    def after(self, measured: Measurement, groups: Iterable[int]) -> State:
        """The state when ``groups`` are ``measured``, too."""
        together = self.measurement.copy()
        together.merge(measured)
        return State(self.identity, together, self.done.union(groups))

    def write(self, file: Path) -> None:
        """Whole or not at all. Raises: DiagnosticError"""
        histograms = self.measurement.histograms
        header = {
            "format": _FORMAT,
            "network": self.identity.network,
            "data": self.identity.data,
            "names": list(histograms),
        }
        counts = [histogram.counts for histogram in histograms.values()]
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            header=np.array(json.dumps(header)),
            done=np.array(sorted(self.done), np.int64),
            counts=np.array(counts, np.int64).reshape(len(counts), BINS),
            exponents=np.array([h.exponent for h in histograms.values()], np.int64),
            minima=np.array([h.minimum for h in histograms.values()], np.float64),
            maxima=np.array([h.maximum for h in histograms.values()], np.float64),
        )
        write_atomically(file, buffer.getvalue())


def read_state(file: Path, identity: Identity, groups: int) -> State:
    """The state in ``file``, or an empty one where there is no such file.

    groups: how many groups of images there are

    Raises: DiagnosticError for a file that is no state, or that of another network or other data.
    """
    if not is_regular_file(file):
        return State(identity)
    data = read_bytes(file)
    try:
        with reading(str(file)):
            archive = Archive(io.BytesIO(data))
            arrays = {name: archive.array(name) for name in archive.keys}
        header = json.loads(str(arrays["header"]))
        if header["format"] != _FORMAT:
            raise ValueError
        found = Identity(str(header["network"]), str(header["data"]))
        histograms = _histograms([str(name) for name in header["names"]], arrays)
        done = _numbers(arrays["done"], np.int64).tolist()
        ours = found == identity  # else the groups are others, too
        if len(set(done)) != len(done) or (ours and not set(done) <= set(range(groups))):
            raise ValueError
    except (DiagnosticError, KeyError, TypeError, ValueError, RecursionError):
        raise DiagnosticError.at(
            UNKNOWN,
            f"'{file}' is no state of a calibration, or a damaged one: it is left as it is; "
            "give '--resume' the name of a new file to start afresh",
        ) from None
    different = [
        what
        for what, theirs, ours in (
            ("another network", found.network, identity.network),
            ("other images, or the same ones prepared otherwise", found.data, identity.data),
        )
        if theirs != ours
    ]
    if different:
        raise DiagnosticError.at(
            UNKNOWN,
            f"the state in '{file}' is of {' and '.join(different)}; give '--resume' the name of "
            "a new file to start afresh",
        )
    return State(identity, Measurement(histograms), frozenset(done))


def _numbers(array: Any, dtype: type[np.int64 | np.float64]) -> Any:
    """Raises: ValueError unless ``array`` is one row of this type."""
    if array.dtype != dtype or array.ndim != 1:
        raise ValueError
    return array


def _histograms(names: list[str], arrays: dict[str, Any]) -> dict[str, Histogram]:
    """Raises: ValueError for what no measurement can have given."""
    counts = arrays["counts"]
    if (
        counts.shape != (len(names), BINS)
        or counts.dtype != np.int64
        or len(set(names)) != len(names)
        or bool((counts < 0).any())
    ):
        raise ValueError
    exponents = _numbers(arrays["exponents"], np.int64).tolist()
    minima = _numbers(arrays["minima"], np.float64).tolist()
    maxima = _numbers(arrays["maxima"], np.float64).tolist()
    found: dict[str, Histogram] = {}
    for name, row, *rest in zip(names, counts, exponents, minima, maxima, strict=True):
        exponent, minimum, maximum = rest
        histogram = Histogram(exponent, np.array(row), minimum, maximum)
        if not histogram.is_possible:
            raise ValueError
        found[name] = histogram
    return found
