"""The weights of a network: the blobs of a binary caffemodel, by layer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from attrs import field, frozen
from numpy.typing import NDArray

from nvdla_ir.dialects.nn.shapes import text_of
from nvdla_ir.files import read_bytes
from nvdla_ir.frontends.caffe.schema import message_class, protobuf
from nvdla_ir.ir.diagnostics import DiagnosticCollector, DiagnosticError
from nvdla_ir.ir.location import Location, NameLoc

Array = NDArray[np.float32]

_SHOWN = 20


@frozen(eq=False)
class Blob:
    """``numbers`` as they stand in the file; ``shape`` is what the file says of them."""

    shape: tuple[int, ...]
    numbers: Array

    def fits(self, shape: Sequence[int]) -> bool:
        """Whether this is a tensor of ``shape``. Old files say four dimensions of every blob:
        leading ones mean nothing."""
        return self.numbers.size == math.prod(shape) and _without_leading_ones(
            self.shape
        ) == _without_leading_ones(shape)


@frozen(eq=False)
class Weights:
    """The blobs of each layer, by its name; ``location`` is the file, or, where none is given, the
    network, whose layers that need weights are then gathered in ``missed``."""

    location: Location
    blobs: Mapping[str, tuple[Blob, ...]]
    given: bool = True
    used: set[str] = field(factory=set[str])
    missed: dict[str, None] = field(factory=dict[str, None])

    def of(self, layer: str) -> tuple[Blob, ...]:
        """The blobs of ``layer``, from now on known to be of use."""
        self.used.add(layer)
        return self.blobs.get(layer, ())

    def report_missed(self, diagnostics: DiagnosticCollector) -> None:
        """An error where weights are needed and none are given."""
        if self.missed:
            diagnostics.error(
                self.location,
                "the text of a Caffe network has no weights, and some of its layers need them "
                f"({_listed(list(self.missed))}): give the .caffemodel file as well",
            )

    def warn_of_unused(self, diagnostics: DiagnosticCollector) -> None:
        """Caffe as well passes over weights of layers that the network does not have."""
        unused = [name for name in self.blobs if name not in self.used]
        if unused:
            diagnostics.warning(
                self.location,
                f"has weights for layers that the network has not: {_listed(unused)}",
            )


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:_SHOWN])
    return f"{shown} and {len(names) - _SHOWN} more" if len(names) > _SHOWN else shown


def read_weights(path: Path) -> Weights:
    """The weights in the file ``path``; an empty one has none.

    Raises: DiagnosticError for a file that cannot be read, is cut off or is no caffemodel, and with
    all blobs whose size is not that of their shape or that hold NaN or infinity.
    """
    location = NameLoc(str(path))
    data = read_bytes(path)
    size = len(data)
    message = message_class("WeightsNet")()
    try:
        message.ParseFromString(data)
    except protobuf("message").DecodeError:
        raise DiagnosticError.at(
            location,
            f"is no caffemodel, or is cut off: its {size} bytes are not one whole protobuf message",
        ) from None
    del data
    layers: list[Any] = [*message.layer, *message.layers]
    if not layers and size:
        raise DiagnosticError.at(location, "is no caffemodel: it has no layers")
    diagnostics = DiagnosticCollector()
    found: dict[str, tuple[Blob, ...]] = {}
    for layer in layers:
        name: str = layer.name
        if not layer.blobs:
            continue
        if name in found:
            diagnostics.error(location, f"has two layers '{name}' with weights")
            continue
        blobs = [
            _blob(blob, f"blob {index} of layer '{name}'", location, diagnostics)
            for index, blob in enumerate(layer.blobs)
        ]
        found[name] = tuple(blobs)
    diagnostics.raise_if_errors()
    return Weights(location, found)


def _blob(message: Any, what: str, location: Location, diagnostics: DiagnosticCollector) -> Blob:
    numbers = _numbers(message)
    if message.HasField("shape"):
        shape: tuple[int, ...] = tuple(message.shape.dim)
    elif any(map(message.HasField, ("num", "channels", "height", "width"))):
        shape = (message.num, message.channels, message.height, message.width)
    else:
        shape = (numbers.size,)
    if min(shape, default=1) < 0 or math.prod(shape) != numbers.size:
        diagnostics.error(
            location,
            f"{what} says its shape is {text_of(shape)}, but it has {numbers.size} numbers",
        )
    elif not np.isfinite(numbers).all():
        bad = int(np.count_nonzero(~np.isfinite(numbers)))
        diagnostics.error(
            location, f"{what} has {bad} of {numbers.size} numbers that are NaN or infinite"
        )
    return Blob(shape, numbers)


def _numbers(message: Any) -> Array:
    for chunks, dtype in ((message.data, "<f4"), (message.double_data, "<f8")):
        if chunks:
            data: bytes = chunks[0] if len(chunks) == 1 else b"".join(chunks)
            whole = len(data) - len(data) % np.dtype(dtype).itemsize
            return np.frombuffer(memoryview(data)[:whole], dtype).astype(np.float32, copy=False)
    # Number by number, as nothing but other writers than Caffe has them: unknown to the schema.
    unpacked = message_class("WeightsBlobUnpacked")()
    unpacked.ParseFromString(message.SerializeToString())
    return np.array(unpacked.data or unpacked.double_data, np.float32)


def _without_leading_ones(shape: Sequence[int]) -> tuple[int, ...]:
    first = next((i for i, extent in enumerate(shape) if extent != 1), len(shape))
    return tuple(shape[first:])
