"""Tasks that the vendor's runtime computes on the host: softmax and power. Source: loadable.md
section 4."""

from __future__ import annotations

import math

from attrs import frozen

from nvdla_ir.formats.loadable.buffers import Buffers, Place
from nvdla_ir.formats.loadable.cubes import MAXIMUM_EXTENT
from nvdla_ir.formats.loadable.network import task_location
from nvdla_ir.formats.loadable.structures import HOST_BUFFER_BYTES, Record, structure
from nvdla_ir.hw.formats.feature import FeatureLayout
from nvdla_ir.hw.formats.sizes import LayoutError
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.location import Location, NameLoc

_OPERATION_BYTES = 24
_OLD_OPERATION_BYTES = 16
"""Of the layout that has no scales; it knows FP16 only."""

_SMALLEST_SCALE, _LARGEST_SCALE = 1e-30, 1e30
"""So that reals divided by a scale, or a scale times integers, are finite float32."""

_KINDS = ("power", "softmax")
_FORMATS = ("INT8", "INT8 in atoms of 8 bytes", "INT16", "FP16", "UINT8", "UINT16")
_ATOMS = {0: 32, 1: 8}


@frozen(eq=False)
class HostSurface:
    """A feature cube that the host reads or writes, in atoms of ``atom`` bytes."""

    place: Place
    atom: int
    channels: int
    height: int
    width: int
    line_stride: int
    surface_stride: int

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """As a tensor of one image."""
        return 1, self.channels, self.height, self.width


@frozen(eq=False)
class HostOperation:
    """``kind`` is power or softmax. ``input_scale`` and ``output_scale`` are what one step of the
    source's and the destination's integers stands for; ``power``, ``scale`` and ``shift`` are
    those of (shift + scale * x) ** power."""

    task: int
    index: int
    kind: str
    location: Location
    source: HostSurface
    destination: HostSurface
    input_scale: float
    output_scale: float
    power: float
    scale: float
    shift: float

    @property
    def name(self) -> str:
        return f"operation {self.index} ({self.kind})"


def read_host_task(buffers: Buffers, task: int) -> tuple[HostOperation, ...]:
    """The operations of a host task, in order.

    Raises: DiagnosticError for descriptors outside their memories and what this tool does not run.
    """
    location = task_location(task, buffers.location)
    network_kind = structure("host_network")
    network = network_kind.read(
        _constant(buffers, task, 0, network_kind.size, "the network descriptor", location),
        0,
        "the network descriptor",
    )
    count = network["num_operations"]
    if not count:
        return ()
    descriptors = _operations(buffers, task, network, count, location)
    surfaces = _constant(
        buffers,
        task,
        network["operation_buffer_desc_index"],
        count * 2 * HOST_BUFFER_BYTES,
        "the list of buffers",
        location,
    )
    return tuple(_operation(buffers, task, index, descriptors, surfaces) for index in range(count))


def _constant(
    buffers: Buffers, task: int, index: int, size: int, what: str, location: Location
) -> memoryview:
    found = _constant_or_none(buffers, task, index, size, what)
    if found is None:
        raise DiagnosticError.at(
            location, f"{what} takes {size} bytes, which its memory's contents do not give"
        )
    return found


def _constant_or_none(
    buffers: Buffers, task: int, index: int, size: int, what: str
) -> memoryview | None:
    place = buffers.at(task, index, f"task {task}: {what}")
    return place.buffer.constant_bytes(place.offset, size)


def _operations(
    buffers: Buffers, task: int, network: Record, count: int, location: Location
) -> memoryview:
    index, what = network["operation_desc_index"], "the list of operations"
    found = _constant_or_none(buffers, task, index, count * _OPERATION_BYTES, what)
    if found is not None:
        return found
    if _constant_or_none(buffers, task, index, count * _OLD_OPERATION_BYTES, what) is not None:
        raise DiagnosticError.at(
            location,
            "the host's operations have the layout of FP16 networks, without scales, but this tool "
            "runs INT8",
        )
    return _constant(buffers, task, index, count * _OPERATION_BYTES, what, location)


def _operation(
    buffers: Buffers, task: int, index: int, descriptors: memoryview, surfaces: memoryview
) -> HostOperation:
    record = structure("host_op").read(descriptors, index * _OPERATION_BYTES, "host operation")
    number = record["op_type"]
    location = NameLoc(f"task {task}, host operation {index}", buffers.location)
    if number >= len(_KINDS):
        raise DiagnosticError.at(
            location, f"has the kind {number}, but there are 0 (power) and 1 (softmax)"
        )
    kind = _KINDS[number]
    start = index * 2 * HOST_BUFFER_BYTES
    source = _surface(buffers, task, surfaces, start, kind, f"the source of {kind}", location)
    destination = _surface(
        buffers,
        task,
        surfaces,
        start + HOST_BUFFER_BYTES,
        kind,
        f"the destination of {kind}",
        location,
    )
    if source.shape != destination.shape or source.atom != destination.atom:
        raise DiagnosticError.at(
            location, f"the source and the destination of {kind} have different sizes or formats"
        )
    reals = {name: record.real(name) for name in ("power", "scale", "shift")}
    scales = {name: record.real(name) for name in ("input_scale", "output_scale")}
    for name, value in scales.items():
        if not _SMALLEST_SCALE <= value <= _LARGEST_SCALE:
            raise DiagnosticError.at(
                location,
                f"{kind} has {name} = {value}, but it must be {_SMALLEST_SCALE} to "
                f"{_LARGEST_SCALE}",
            )
    if kind == "power":
        for name, value in reals.items():
            if not math.isfinite(value):
                raise DiagnosticError.at(
                    location, f"power has {name} = {value}, but it must be finite"
                )
    return HostOperation(task, index, kind, location, source, destination, **scales, **reals)


def _surface(
    buffers: Buffers,
    task: int,
    surfaces: memoryview,
    start: int,
    kind: str,
    what: str,
    location: Location,
) -> HostSurface:
    record = structure("host_buffer").read(surfaces, start, what)
    number = record["format"]
    if number not in _ATOMS:
        name = _FORMATS[number] if number < len(_FORMATS) else "unknown"
        raise DiagnosticError.at(
            location, f"{what} has the format {number} ({name}), but this tool runs INT8"
        )
    extents = [record[name] for name in ("channel", "height", "width")]
    if not all(1 <= extent <= MAXIMUM_EXTENT for extent in extents):
        raise DiagnosticError.at(
            location,
            f"{what} is {extents[2]}x{extents[1]}x{extents[0]}, but extents are 1 to "
            f"{MAXIMUM_EXTENT}",
        )
    atom, line, surface = _ATOMS[number], record["line_stride"], record["surf_stride"]
    if kind == "softmax":
        # the runtime takes the channels of one pixel one behind the other, whatever the strides
        if extents[1:] != [1, 1]:
            raise DiagnosticError.at(
                location, f"{what} is {extents[2]}x{extents[1]}, but softmax takes one pixel"
            )
        line = surface = atom
    try:
        layout = FeatureLayout(extents[0], extents[1], extents[2], atom, line, surface)
    except LayoutError as error:
        raise DiagnosticError.at(location, f"{what}: {error}") from error
    found = buffers.at(task, record["address"], what)
    place = Place(found.buffer, found.offset + record["offset"])
    if layout.overlaps or layout.size_bytes > place.room:
        raise DiagnosticError.at(
            location,
            f"{what} takes {layout.size_bytes} bytes with line_stride = {line} and surf_stride = "
            f"{surface}, but memory {place.buffer.index} has {max(place.room, 0)} from "
            f"{place.offset} on, and lines must not overlap",
        )
    return HostSurface(place, atom, extents[0], extents[1], extents[2], line, surface)
