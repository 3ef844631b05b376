"""Kernels of the csb dialect: register programs on the device model.

Each run has a device of its own, reset and with empty memory, of the configuration that the module
names. What can be made once (register words, the bytes of constants) is kept in the machine's
cache, so that running a program again, on the next image, costs its layers and little else.
"""

# numpy's stubs leave members such as view partly untyped
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import numpy as np
from attrs import define, field
from numpy.typing import NDArray

from nvdla_ir.dialects import csb
from nvdla_ir.dialects.layer import describe
from nvdla_ir.dialects.nvdla.types import cube_shape
from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.hw.formats.feature import FeatureLayout, from_atoms, to_atoms
from nvdla_ir.hw.formats.image import ImageLayout
from nvdla_ir.hw.formats.sizes import LayoutError
from nvdla_ir.hw.pixels import PIXEL_FORMATS
from nvdla_ir.hw.registers import RegisterError, register_map
from nvdla_ir.interp.device.device import Device
from nvdla_ir.interp.device.errors import DeadlockError, DeviceError, MemoryAccessError
from nvdla_ir.interp.machine import Machine, Values
from nvdla_ir.interp.quantization import dtype_of, element_of
from nvdla_ir.interp.registry import Numbers, kernel
from nvdla_ir.ir.attributes import IntegerAttr
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.operation import Operation

_STATE = "csb"


@define(eq=False)
class _Run:
    """One run of a program: its device, and whose layers are programmed."""

    device: Device
    layers: dict[tuple[str, int], tuple[str, ...]] = field(
        factory=dict["tuple[str, int]", "tuple[str, ...]"]
    )


def device_of(machine: Machine) -> Device | None:
    """The device of the machine's latest run; None if that was no register program."""
    run = machine.state.get(_STATE)
    return run.device if isinstance(run, _Run) else None


def _run_of(op: Operation, machine: Machine) -> _Run:
    run = machine.state.get(_STATE)
    if run is None:
        device = Device(_configuration(op, machine))
        module = op.parent_op.parent_op if op.parent_op is not None else None
        if module is not None:
            base = module.attributes.get(csb.MEMORY_BASE_ATTRIBUTE)
            size = module.attributes.get(csb.MEMORY_BYTES_ATTRIBUTE)
            if isinstance(base, IntegerAttr) and isinstance(size, IntegerAttr):
                with _faults_of(op):
                    device.primary.reserve(base.value, size.value)
        run = machine.state[_STATE] = _Run(device)
    return run


def _configuration(op: Operation, machine: Machine) -> HardwareConfiguration:
    found = machine.cache.get(_STATE)
    if found is None:
        found = machine.cache[_STATE] = csb.configuration_of(op)
    return found


@contextmanager
def _faults_of(op: Operation, layers: tuple[str, ...] = ()) -> Generator[None]:
    """Turn what the device refuses into a diagnostic at ``op``, that names ``layers``."""
    try:
        yield
    except (DeviceError, MemoryAccessError, LayoutError) as error:
        what = f"layer '{'+'.join(layers)}'" if layers else describe(op)
        verb = "never finishes" if isinstance(error, DeadlockError) else "cannot run"
        raise DiagnosticError.at(op.location, f"{what} {verb}: {error}") from error


# -------------------------------------------------------------- memory


@kernel(csb.LoadOp, numbers=Numbers.STORED)
def load(op: csb.LoadOp, values: Values) -> None:
    machine = values.machine
    data = machine.cache.get(op)
    if data is None:
        array = machine.resources.array(op.value, op.location)
        data = machine.cache[op] = np.ascontiguousarray(array).view(np.uint8)
    with _faults_of(op):
        _run_of(op, machine).device.primary.write(op.address, data)


@kernel(csb.UploadOp, numbers=Numbers.STORED)
def upload(op: csb.UploadOp, values: Values) -> None:
    machine = values.machine
    device = _run_of(op, machine).device
    atom = device.configuration.memory_atom
    array: NDArray[Any] = values[op.input][0]
    with _faults_of(op):
        if op.format == "feature":
            channels, height, width = array.shape
            layout = _cube(op, (channels, height, width), atom)
            atoms = to_atoms(array.view(np.uint8), atom)
            device.primary.write_strided(op.address, _strides(layout), atoms)
            return
        address = op.address
        for plane in _image(op, array, atom).pack(array):
            device.primary.write(address, plane)
            address += op.surface_stride or 0


@kernel(csb.DownloadOp, numbers=Numbers.STORED)
def download(op: csb.DownloadOp, values: Values) -> NDArray[Any]:
    device = _run_of(op, values.machine).device
    _, channels, height, width = cube_shape(op.output.type)
    with _faults_of(op):
        layout = _cube(op, (channels, height, width), device.configuration.memory_atom)
        shape = (layout.surfaces, height, width, layout.atom)
        atoms = device.primary.read_strided(op.address, shape, _strides(layout))
    element = element_of(op.output.type)
    assert element is not None
    return from_atoms(atoms, channels).view(dtype_of(element))[np.newaxis]


def _cube(
    op: csb.UploadOp | csb.DownloadOp, shape: tuple[int, int, int], atom: int
) -> FeatureLayout:
    layout = FeatureLayout(*shape, atom, op.line_stride, op.surface_stride or 0)
    if layout.overlaps:
        raise LayoutError(
            f"line_stride = {op.line_stride} and surface_stride = {op.surface_stride} make parts "
            "of the cube overlap"
        )
    return layout


def _strides(layout: FeatureLayout) -> tuple[int, int, int, int]:
    return layout.surface_stride, layout.line_stride, layout.atom, 1


def _image(op: csb.UploadOp, array: NDArray[Any], atom: int) -> ImageLayout:
    pixel_format = PIXEL_FORMATS.get(op.format)
    if pixel_format is None:
        raise LayoutError(f"there is no pixel format '{op.format}'")
    height, width = array.shape[1:]
    packed = ImageLayout.packed(pixel_format, height, width, atom)
    strides = (op.line_stride, *packed.line_strides[1:])
    return ImageLayout(pixel_format, height, width, atom, strides)


# -------------------------------------------------------------- registers


@kernel(csb.ConfigureOp, numbers=Numbers.STORED)
def configure(op: csb.ConfigureOp, values: Values) -> None:
    run = _run_of(op, values.machine)
    if op.group is not None:
        run.layers[op.unit, op.group] = op.layers or ()
    _write(op, run, values.machine)


@kernel(csb.EnableOp, numbers=Numbers.STORED)
def enable(op: csb.EnableOp, values: Values) -> None:
    _write(op, _run_of(op, values.machine), values.machine)


@kernel(csb.WaitOp, numbers=Numbers.STORED)
def wait(op: csb.WaitOp, values: Values) -> None:
    run = _run_of(op, values.machine)
    with _faults_of(op, op.layers or run.layers.get((op.unit, op.group), ())):
        run.device.wait(op.unit, op.group)


def _write(op: csb.ConfigureOp | csb.EnableOp, run: _Run, machine: Machine) -> None:
    writes: list[tuple[int, int]] | None = machine.cache.get(op)
    if writes is None:
        writes = machine.cache[op] = _encoded(op, run.device)
    write_register = run.device.write_register
    try:
        for address, word in writes:
            write_register(address, word)
    except (DeviceError, MemoryAccessError) as error:
        layers = op.layers or (() if op.group is None else run.layers.get((op.unit, op.group), ()))
        with _faults_of(op, layers):
            raise error


def _encoded(op: csb.ConfigureOp | csb.EnableOp, device: Device) -> list[tuple[int, int]]:
    """The writes of ``op``: byte addresses on the CSB, and words."""
    registers = register_map(device.configuration.register_map)
    try:
        return [(write.address, write.word) for write in op.register_writes(registers)]
    except RegisterError as error:
        raise DiagnosticError.at(op.location, f"'{op.name}': {error}") from error
