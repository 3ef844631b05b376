"""What a calibration has measured so far, in a file: to go on later, or to choose thresholds by
another method without measuring again."""

# numpy's stubs leave parts of many overloads unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import io
import json
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from attrs import define, field, frozen

from nvdla_ir.calibration.histogram import BINS, Histogram
from nvdla_ir.calibration.measurement import Measurement
from nvdla_ir.files import read_bytes, write_atomically
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.location import UNKNOWN

_FORMAT = "nvdla-calibrate state 1"


@frozen
class Identity:
    """What a state belongs to: digests of the network with its weights, and of the data as it is
    prepared, without the images that are left out."""

    network: str
    data: str


@define(eq=False)
class State:
    """A measurement, and the groups of images that are in it."""

    identity: Identity
    measurement: Measurement = field(factory=Measurement)
    done: set[int] = field(factory=set[int])

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


def read_state(file: Path, identity: Identity) -> State:
    """The state in ``file``, or an empty one where there is no such file.

    Raises: DiagnosticError for a file that is no state, or that of another network or other data.
    """
    if not file.exists():
        return State(identity)
    try:
        with np.load(io.BytesIO(read_bytes(file)), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        header = json.loads(str(arrays["header"]))
        if header["format"] != _FORMAT:
            raise ValueError
        found = Identity(str(header["network"]), str(header["data"]))
        histograms = _histograms(header["names"], arrays)
        done = {int(number) for number in arrays["done"]}
    except (KeyError, TypeError, ValueError, EOFError, zipfile.BadZipFile, zlib.error):
        raise DiagnosticError.at(
            UNKNOWN, f"'{file}' is no state of a calibration, or is damaged; remove it to start"
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
            UNKNOWN, f"the state in '{file}' is of {' and '.join(different)}; remove it to start"
        )
    return State(identity, Measurement(histograms), done)


def _histograms(names: list[str], arrays: dict[str, Any]) -> dict[str, Histogram]:
    counts = arrays["counts"]
    if counts.shape != (len(names), BINS) or counts.dtype != np.int64:
        raise ValueError
    return {
        name: Histogram(int(exponent), row, float(minimum), float(maximum))
        for name, row, exponent, minimum, maximum in zip(
            names,
            counts,
            arrays["exponents"],
            arrays["minima"],
            arrays["maxima"],
            strict=True,
        )
    }
