"""A run of a program on the device, and what a trace must know of it."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from attrs import define, field, frozen
from numpy.typing import NDArray

from nvdla_ir.dialects.csb import (
    BYTES,
    SECONDARY,
    AddressOp,
    BoundOp,
    DownloadOp,
    OutputOp,
    TensorOp,
    UploadOp,
)
from nvdla_ir.dialects.func import FuncOp
from nvdla_ir.dialects.nvdla import FEATURE
from nvdla_ir.dialects.nvdla.types import cube_shape
from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.hw.formats.feature import FeatureLayout
from nvdla_ir.interp.csb.memory import image_layout
from nvdla_ir.interp.csb.run import device_of, executed_layers
from nvdla_ir.interp.device.record import LayerRecord
from nvdla_ir.interp.machine import Machine, Mode
from nvdla_ir.ir.operation import Operation
from nvdla_ir.resources import ResourceStore

_WORD_BYTES = 4


@frozen
class Region:
    """``size`` bytes of a memory (named as in the csb dialect) from ``address`` on."""

    memory: str
    address: int
    size: int

    @property
    def end(self) -> int:
        """The address behind the last byte."""
        return self.address + self.size

    def lies_in(self, other: Region) -> bool:
        """Whether ``other`` holds all of it."""
        return (
            self.memory == other.memory and other.address <= self.address and self.end <= other.end
        )

    def in_words(self) -> Region:
        """The region with whole words at its ends."""
        first = self.address // _WORD_BYTES * _WORD_BYTES
        last = -(-self.end // _WORD_BYTES) * _WORD_BYTES
        return Region(self.memory, first, last - first)


@frozen
class Golden:
    """What a download found, or an output is: the CRC of its region, gaps included."""

    region: Region
    crc: int


@define(eq=False)
class Recording:
    """The run of a program.

    stored:  the bytes that each upload wrote, with their places
    goldens: what each download read, and each output of a device program is
    before:  the layers that had run when an operation on memory was executed
    layers:  all layers, in order
    """

    stored: dict[Operation, list[tuple[Region, bytes]]] = field(
        factory=dict[Operation, "list[tuple[Region, bytes]]"]
    )
    goldens: dict[Operation, Golden] = field(factory=dict[Operation, Golden])
    before: dict[Operation, int] = field(factory=dict[Operation, int])
    layers: list[LayerRecord] = field(factory=list[LayerRecord])


def record(
    function: FuncOp,
    configuration: HardwareConfiguration,
    resources: ResourceStore,
    inputs: Mapping[str, NDArray[Any]],
    lenient: bool,
) -> Recording:
    """Run ``function`` on the device.

    Raises: DiagnosticError for unfitting inputs and for whatever the device refuses.
    """
    recording = Recording()

    def observe(op: Operation, results: Sequence[Any]) -> None:
        del results
        if not isinstance(op, AddressOp):
            return
        recording.before[op] = len(executed_layers(machine))
        if isinstance(op, UploadOp):
            recording.stored[op] = [
                (region, read_region(machine, region).tobytes())
                for region in regions_of(op, configuration)
            ]
        elif isinstance(op, DownloadOp | OutputOp):
            (region,) = regions_of(op, configuration)
            region = region.in_words()
            crc = zlib.crc32(read_region(machine, region).tobytes())
            recording.goldens[op] = Golden(region, crc)

    machine = Machine(resources, Mode.INTEGER, observe, lenient=lenient)
    machine.run(function, inputs)
    recording.layers = [layer.record for layer in executed_layers(machine)]
    return recording


def read_region(machine: Machine, region: Region) -> NDArray[np.int8]:
    """What is in the memory of the device that the machine runs."""
    device = device_of(machine)
    assert device is not None
    memory = device.secondary if region.memory == SECONDARY else device.primary
    return memory.read(region.address, region.size).view(np.int8)


def regions_of(op: TensorOp, configuration: HardwareConfiguration) -> list[Region]:
    """Where the tensor lies, with gaps and unused lanes: one region, or one for each plane of an
    image."""
    shape = cube_shape(op.tensor)
    if op.format == BYTES:
        return [Region(op.memory, op.address, shape[0])]
    _, channels, height, width = shape
    if op.format == FEATURE:
        atom = configuration.memory_atom
        cube = FeatureLayout(channels, height, width, atom, op.line_stride, op.surface_stride)
        apart = op.column_stride if isinstance(op, BoundOp) else None
        between = 0 if apart is None else (width - 1) * (apart - atom)
        return [Region(op.memory, op.address, cube.size_bytes + between)]
    layout = image_layout(op, height, width, configuration.memory_atom)
    return [
        Region(op.memory, op.address + plane * op.surface_stride, layout.size_bytes(plane))
        for plane in range(len(layout.line_strides))
    ]


def conflict(recording: Recording, op: Operation, region: Region) -> LayerRecord | None:
    """The first layer that uses a region before ``op`` stores to it: a trace, which stores first
    of all, would change what it reads, or lose what ``op`` overwrites."""
    for layer in recording.layers[: recording.before[op]]:
        for area in (*layer.reads, *layer.writes):
            if (
                area.memory == region.memory
                and area.base < region.end
                and region.address < area.end
            ):
                return layer
    return None
