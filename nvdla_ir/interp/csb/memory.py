"""Kernels of the host's operations on memory, and of checks of what is there."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvdla_ir.dialects import csb
from nvdla_ir.dialects.nvdla import FEATURE
from nvdla_ir.dialects.nvdla.types import cube_shape
from nvdla_ir.hw.formats.feature import FeatureLayout, from_atoms, to_atoms
from nvdla_ir.hw.formats.image import ImageLayout
from nvdla_ir.hw.formats.sizes import LayoutError
from nvdla_ir.hw.pixels import PIXEL_FORMATS
from nvdla_ir.interp.csb.run import CheckResult, faults_of, run_of
from nvdla_ir.interp.device.areas import MemoryCube, MemoryLines
from nvdla_ir.interp.device.memory import Bytes
from nvdla_ir.interp.quantization import dtype_of, element_of
from nvdla_ir.interp.registry import Numbers, Values, kernel

_PATTERN_BYTES = {"ALL_ZERO": 0x00, "ONES": 0xFF, "AFIVE": 0xA5, "FIVEA": 0x5A}


def _bytes_of(op: csb.LoadOp | csb.CheckBytesOp, values: Values) -> Bytes:
    """The bytes of a constant, made once in the machine's life."""
    machine = values.machine
    data = machine.cache.get(op)
    if data is None:
        array = machine.resources.array(op.value, op.location)
        data = machine.cache[op] = np.ascontiguousarray(array).view(np.uint8)
    return data


@kernel(csb.LoadOp, numbers=Numbers.STORED)
def load(op: csb.LoadOp, values: Values) -> None:
    data = _bytes_of(op, values)
    with faults_of(op):
        _touch(op, values, data.size, writes=True)
        run_of(op, values.machine).memory(op).write(op.address, data)


@kernel(csb.FillOp, numbers=Numbers.STORED)
def fill(op: csb.FillOp, values: Values) -> None:
    memory = run_of(op, values.machine).memory(op)
    with faults_of(op):
        _touch(op, values, op.size, writes=True)
        value = _PATTERN_BYTES.get(op.pattern)
        if value is not None:
            memory.fill(op.address, op.size, value)
            return
        memory.reserve(op.address, op.size)  # refuses what does not fit before it is made here
        cycle = (np.arange(256) + (op.address & 0xFF)).astype(np.uint8)
        memory.write(op.address, np.resize(cycle, op.size))


@kernel(csb.UploadOp, numbers=Numbers.STORED)
def upload(op: csb.UploadOp, values: Values) -> None:
    run = run_of(op, values.machine)
    memory = run.memory(op)
    atom = run.device.configuration.memory_atom
    array: NDArray[Any] = values[op.input]
    with faults_of(op):
        if op.format == csb.BYTES:
            data = np.ascontiguousarray(array).view(np.uint8)
            _touch(op, values, data.size, writes=True)
            memory.write(op.address, data)
            return
        image = array[0]
        if op.format == FEATURE:
            channels, height, width = image.shape
            layout = _cube(op, (channels, height, width), atom)
            atoms = to_atoms(image.view(np.uint8), atom)
            _touch(op, values, layout, writes=True)
            memory.write_strided(op.address, _strides(layout), atoms)
            return
        address = op.address
        height, width = image.shape[1:]
        for plane in image_layout(op, height, width, atom).pack(image):
            _touch(op, values, plane.size, address=address, writes=True)
            memory.write(address, plane)
            address += op.surface_stride


@kernel(csb.DownloadOp, numbers=Numbers.STORED)
def download(op: csb.DownloadOp, values: Values) -> NDArray[Any]:
    run = run_of(op, values.machine)
    element = element_of(op.output.type)
    assert element is not None
    dtype = dtype_of(element)
    if op.format == csb.BYTES:
        (size,) = cube_shape(op.output.type)
        with faults_of(op):
            _touch(op, values, size, writes=False)
            return run.memory(op).read(op.address, size).view(dtype)
    _, channels, height, width = cube_shape(op.output.type)
    with faults_of(op):
        layout = _cube(op, (channels, height, width), run.device.configuration.memory_atom)
        _touch(op, values, layout, writes=False)
        shape = (layout.surfaces, height, width, layout.atom)
        atoms = run.memory(op).read_strided(op.address, shape, _strides(layout))
    return from_atoms(atoms, channels).view(dtype)[np.newaxis]


@kernel(csb.InputOp, numbers=Numbers.STORED)
@kernel(csb.OutputOp, numbers=Numbers.STORED)
def bound(op: csb.InputOp | csb.OutputOp, values: Values) -> None:
    """Only for those who watch."""
    run_of(op, values.machine)


def _touch(
    op: csb.AddressOp,
    values: Values,
    what: int | FeatureLayout,
    *,
    writes: bool,
    address: int | None = None,
) -> None:
    """Tell the device which bytes, or which cube, the host is about to read or write."""
    run = run_of(op, values.machine)
    place = op.address if address is None else address
    memory = run.memory(op).name
    if isinstance(what, int):
        area = MemoryLines("bytes", memory, place, what)
    else:
        size = what.channels, what.height, what.width
        strides = what.line_stride, what.surface_stride
        area = MemoryCube("cube", memory, place, *size, *strides, what.atom)
    run.device.host_access(area, writes=writes)
    run.take_notes(op)


def _cube(
    op: csb.UploadOp | csb.DownloadOp, shape: tuple[int, int, int], atom: int
) -> FeatureLayout:
    layout = FeatureLayout(*shape, atom, op.line_stride, op.surface_stride)
    if layout.overlaps:
        raise LayoutError(
            f"line_stride = {op.line_stride} and surface_stride = {op.surface_stride} make parts "
            "of the cube overlap"
        )
    return layout


def _strides(layout: FeatureLayout) -> tuple[int, int, int, int]:
    return layout.surface_stride, layout.line_stride, layout.atom, 1


def image_layout(op: csb.TensorOp, height: int, width: int, atom: int) -> ImageLayout:
    """How an image lies in memory. Raises: LayoutError for a format that is none."""
    pixel_format = PIXEL_FORMATS.get(op.format)
    if pixel_format is None:
        raise LayoutError(f"there is no pixel format '{op.format}'")
    packed = ImageLayout.packed(pixel_format, height, width, atom)
    strides = (op.line_stride, *packed.line_strides[1:])
    return ImageLayout(pixel_format, height, width, atom, strides)


# -------------------------------------------------------------- checks


@kernel(csb.CheckCrcOp, numbers=Numbers.STORED)
def check_crc(op: csb.CheckCrcOp, values: Values) -> None:
    run = run_of(op, values.machine)
    with faults_of(op):
        found = zlib.crc32(run.memory(op).view(op.address, op.size).tobytes())
    passed = found == op.crc
    run.checks.append(CheckResult(op, passed, f"{op.crc:#010x}", f"{found:#010x}"))


@kernel(csb.CheckBytesOp, numbers=Numbers.STORED)
def check_bytes(op: csb.CheckBytesOp, values: Values) -> None:
    run = run_of(op, values.machine)
    expected = _bytes_of(op, values)
    with faults_of(op):
        found = run.memory(op).view(op.address, len(expected))
    different = np.flatnonzero(found != expected)
    if not different.size:
        everything = f"{len(expected)} bytes"
        run.checks.append(CheckResult(op, True, everything, everything))
        return
    first = int(different[0])
    run.checks.append(
        CheckResult(
            op,
            False,
            f"{int(expected[first]):#04x}",
            f"{int(found[first]):#04x} ({different.size} of {len(expected)} bytes differ)",
            op.address + first,
        )
    )
