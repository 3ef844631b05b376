"""The convolution pipeline: CDMA, convolution buffer, CSC, CMAC, CACC. Source: convolution.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from attrs import evolve
from numpy.typing import NDArray

from nvdla_ir.arith import fast
from nvdla_ir.arith.errors import Int8Array, IntegerArray
from nvdla_ir.arith.reference.winograd import STEP, TILE
from nvdla_ir.hw.formats.compressed_weights import decompress_weights
from nvdla_ir.hw.formats.feature import from_atoms
from nvdla_ir.hw.formats.image import ImageLayout
from nvdla_ir.hw.formats.sizes import align_up, ceil_div
from nvdla_ir.hw.formats.weights import (
    unpack_image_weights,
    unpack_weights,
    unpack_winograd_weights,
)
from nvdla_ir.hw.pixels import PIXEL_FORMATS_BY_CODE, PixelFormat
from nvdla_ir.interp.device.areas import MemoryCube, MemoryLines
from nvdla_ir.interp.device.buffer import ConvolutionBuffer, Weights
from nvdla_ir.interp.device.convolution_checks import (
    check_compressed_groups,
    check_convolution,
)
from nvdla_ir.interp.device.environment import Environment
from nvdla_ir.interp.device.record import BUFFERED, WEIGHTS, LayerNotes
from nvdla_ir.interp.device.registers import Fields, UnitRegisters
from nvdla_ir.interp.device.winograd import extend_input

_MEANS = ("MEAN_RY", "MEAN_GU", "MEAN_BV", "MEAN_AX")
_WEIGHT_SURFACES: dict[str, str] = dict(zip(("WEIGHT", "WMB", "WGS"), WEIGHTS, strict=True))


class ConvolutionPipeline:
    """The units up to the CACC, with the buffer's contents between layers."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._buffer = ConvolutionBuffer(environment)

    def run(
        self, units: Mapping[str, UnitRegisters], notes: LayerNotes
    ) -> tuple[IntegerArray, int]:
        """Run one layer from the registers of the five units.

        Returns what the CACC hands on, ``[batch, lane, row, column]`` with all lanes of the last
        atom, and the number of multiplications (those with padding included).
        """
        cdma, csc, cacc = (units[block].fields for block in ("CDMA", "CSC", "CACC"))
        environment = self._environment
        check_convolution(environment, {name: unit.fields for name, unit in units.items()})
        self._buffer.begin(cdma)
        held = self._buffer.weights(cdma, lambda: self._fetch_weights(cdma, notes))
        data = self._buffer.lines(cdma, csc, lambda: self._fetch(cdma, notes))
        surface, read = self._surface(cdma, csc, held)
        weights = self._weights(cdma, csc, surface)
        height, width = csc["DATAOUT_HEIGHT"] + 1, csc["DATAOUT_WIDTH"] + 1
        accumulators = _accumulate(csc, data, weights, (height, width))
        self._buffer.end(csc, units["CSC"].consumer, data, read)
        kernels = csc["WEIGHT_KERNEL"] + 1
        notes.shape["input"] = data.shape[-3:]
        notes.shape["kernel"] = (kernels, *weights.shape[1:])
        _note_geometry(notes, csc)
        truncate = cacc["CLIP_TRUNCATE"]
        saturated = 0
        if weights[0].size << 14 > (1 << 31) - 1:
            saturated = fast.count_accumulator_saturation(accumulators, truncate)
        units["CACC"].set_counter("D_OUT_SATURATION", saturated)
        notes.counters["D_OUT_SATURATION"] = saturated
        notes.saturated["CACC"] = saturated
        multiplications = len(data) * kernels * weights[0].size * height * width
        if csc["CONV_MODE"] == 1:
            multiplications //= STEP * STEP  # one product serves all outputs of a tile
        return fast.truncate_accumulator(accumulators, truncate), multiplications

    def _fetch_weights(self, cdma: Fields, notes: LayerNotes) -> Weights:
        """What the CDMA fetches, with the mask of compressed weights."""
        stream = self._read_weights(cdma, "WEIGHT", notes)
        if cdma["WEIGHT_FORMAT"] == 0:
            return Weights(stream)
        mask = self._read_weights(cdma, "WMB", notes)
        words = 4 * ceil_div(cdma["WEIGHT_KERNEL"] + 1, self._environment.configuration.atomic_k)
        sizes = self._read_weights(cdma, "WGS", notes, words).view("<u4")
        check_compressed_groups(self._environment, cdma, mask, sizes)
        return Weights(stream, mask)

    def _read_weights(
        self, cdma: Fields, name: str, notes: LayerNotes, size: int | None = None
    ) -> NDArray[np.uint8]:
        """One of the surfaces WEIGHT, WMB and WGS; its size is in a register unless given."""
        memory = self._environment.memory(cdma, "WEIGHT_RAM_TYPE")
        base = self._environment.address(cdma, f"{name}_ADDR_LOW", f"{name}_ADDR_HIGH")
        size = cdma[f"{name}_BYTES"] if size is None else size
        notes.reads.append(MemoryLines(_WEIGHT_SURFACES[name], memory.name, base, size))
        return memory.read(base, size)

    def _surface(self, cdma: Fields, csc: Fields, held: Weights) -> tuple[NDArray[np.uint8], int]:
        """The weight surface, and how many bytes of what the buffer holds CSC reads for it."""
        kernels, kernel_bytes = csc["WEIGHT_KERNEL"] + 1, cdma["BYTE_PER_KERNEL"] + 1
        if held.mask is not None:
            surface = decompress_weights(held.stream, held.mask, kernels, kernel_bytes)
            # The surface as it is stored: functional model and driver count it whole.
            alignment = self._environment.configuration.weight_alignment
            return surface.view(np.uint8), align_up(int(np.count_nonzero(surface)), alignment)
        needed = kernels * (csc["WEIGHT_CHANNEL_EXT"] + 1) * (csc["WEIGHT_HEIGHT_EXT"] + 1)
        needed *= csc["WEIGHT_WIDTH_EXT"] + 1
        self._environment.unsupported(
            len(held.stream) >= needed,
            cdma,
            "WEIGHT_REUSE" if cdma["WEIGHT_REUSE"] else "WEIGHT_BYTES",
            f"there are {len(held.stream)} bytes of weights, but this layer needs {needed}",
        )
        return held.stream, needed

    def _weights(self, cdma: Fields, csc: Fields, surface: NDArray[np.uint8]) -> Int8Array:
        """Weights ``[lane, channel, row, column]``; lanes beyond the last kernel are zero."""
        hardware = self._environment.configuration
        kernels = csc["WEIGHT_KERNEL"] + 1
        rows = csc["WEIGHT_HEIGHT_EXT"] + 1
        channels = csc["WEIGHT_CHANNEL_EXT"] + 1
        group, block = hardware.atomic_k, hardware.atomic_c
        if csc["CONV_MODE"] == 1:
            weights = unpack_winograd_weights(surface, (kernels, channels, TILE, TILE), group)
        elif csc["DATAIN_FORMAT"] == 0:
            shape = (kernels, channels, rows, csc["WEIGHT_WIDTH_EXT"] + 1)
            weights = unpack_weights(surface, shape, group, block)
        else:
            depth = cdma["DATAIN_CHANNEL"] + 1
            lines = 1 << csc["Y_EXTENSION"]
            shape = (kernels, depth, rows, channels // depth)
            weights = unpack_image_weights(surface, shape, group, block, lines)
        lanes = align_up(kernels, hardware.memory_atom)
        if lanes == kernels:
            return weights
        padded = np.zeros((lanes, *weights.shape[1:]), np.int8)
        padded[:kernels] = weights
        return padded

    def _fetch(self, cdma: Fields, notes: LayerNotes) -> Int8Array:
        fetch = self._fetch_image if cdma["DATAIN_FORMAT"] else self._fetch_features
        return fetch(cdma, notes)

    def _fetch_features(self, cdma: Fields, notes: LayerNotes) -> Int8Array:
        environment = self._environment
        channels, height, width = (
            cdma[f"DATAIN_{name}"] + 1 for name in ("CHANNEL", "HEIGHT", "WIDTH")
        )
        surface = environment.surface(
            cdma,
            (environment.surfaces_of(channels), height, width),
            ram_type="DATAIN_RAM_TYPE",
            address=("DATAIN_ADDR_LOW_0", "DATAIN_ADDR_HIGH_0"),
            strides=("LINE_STRIDE", "SURF_STRIDE"),
            element_bytes=environment.configuration.memory_atom,
        )
        batches = cdma["BATCHES"] + 1
        stride = environment.stride(cdma, "BATCH_STRIDE") if batches > 1 else 0
        area = surface.area(BUFFERED[0], (channels, height, width))
        notes.reads.append(evolve(area, batches=batches, batch_stride=stride))
        cubes = np.stack(
            [
                from_atoms(
                    surface.moved(batch * stride)
                    .read(environment.surfaces_of(channels), height, width)
                    .view(np.int8),
                    channels,
                )
                for batch in range(batches)
            ]
        )
        if cdma["CVT_EN"]:
            cubes = self._converted(cdma, cubes, cdma["CVT_OFFSET"])
        return cubes if cdma["CONV_MODE"] == 0 else self._extended(cdma, cubes[0])[np.newaxis]

    def _extended(self, cdma: Fields, cube: Int8Array) -> Int8Array:
        """The extended input of Winograd mode. Section 4.7."""
        lanes = align_up(len(cube), self._environment.configuration.memory_atom)
        return extend_input(
            cube,
            lanes=lanes,
            padding=(cdma["PAD_TOP"], cdma["PAD_LEFT"]),
            pad_value=_signed_byte(cdma["PAD_VALUE"]),
            stride=(cdma["CONV_Y_STRIDE"] + 1, cdma["CONV_X_STRIDE"] + 1),
            size=(cdma["DATAIN_HEIGHT_EXT"] + 1, cdma["DATAIN_WIDTH_EXT"] + 1),
        )

    def _fetch_image(self, cdma: Fields, notes: LayerNotes) -> Int8Array:
        """Image lines with the padding left and right of them, as they lie in the buffer."""
        pixel_format = self._pixel_format(cdma)
        image = self._read_image(cdma, pixel_format, notes)
        pixels: NDArray[Any] = image.view(np.int8)
        if cdma["CVT_EN"]:
            raw = pixels if cdma["PIXEL_SIGN_OVERRIDE"] else image
            offset: Any = cdma["CVT_OFFSET"]
            if cdma["MEAN_FORMAT"]:
                means = [cdma[name] for name in _MEANS[: pixel_format.channels]]
                offset = np.array(means, np.int64)[:, np.newaxis, np.newaxis]
            pixels = self._converted(cdma, raw, offset)
        left, right = cdma["PAD_LEFT"], cdma["PAD_RIGHT"]
        padding = ((0, 0), (0, 0), (left, right))
        value = _signed_byte(cdma["PAD_VALUE"])
        return np.pad(pixels, padding, constant_values=value)[np.newaxis]

    def _pixel_format(self, cdma: Fields) -> PixelFormat:
        environment = self._environment
        pixel_format = PIXEL_FORMATS_BY_CODE.get(cdma["PIXEL_FORMAT"])
        if pixel_format is None or pixel_format.component_bits != 8:
            environment.unsupported(
                False, cdma, "PIXEL_FORMAT", "not a pixel format of 8-bit components"
            )
        assert pixel_format is not None
        environment.unsupported(
            cdma["DATAIN_CHANNEL"] + 1 == pixel_format.channels,
            cdma,
            "DATAIN_CHANNEL",
            f"must be {pixel_format.channels - 1}: {pixel_format.name} has "
            f"{pixel_format.channels} channels",
        )
        environment.require(
            environment.configuration.supports_pixel_format(pixel_format),
            cdma,
            "PIXEL_FORMAT",
            f"{environment.configuration.name} does not read {pixel_format.name}",
        )
        return pixel_format

    def _read_image(
        self, cdma: Fields, pixel_format: PixelFormat, notes: LayerNotes
    ) -> NDArray[np.uint8]:
        """The image ``[channel, row, column]`` as bytes."""
        environment = self._environment
        strides = ("LINE_STRIDE", "UV_LINE_STRIDE")[: pixel_format.planes]
        self._check_image(cdma, pixel_format)
        layout = ImageLayout(
            pixel_format,
            cdma["DATAIN_HEIGHT"] + 1,
            cdma["DATAIN_WIDTH"] + 1,
            environment.configuration.memory_atom,
            tuple(environment.stride(cdma, name) for name in strides),
            cdma["PIXEL_X_OFFSET"],
        )
        memory = environment.memory(cdma, "DATAIN_RAM_TYPE")
        planes: list[NDArray[np.uint8]] = []
        for plane, pixel_bytes in enumerate(pixel_format.bytes_per_pixel):
            registers = f"DATAIN_ADDR_LOW_{plane}", f"DATAIN_ADDR_HIGH_{plane}"
            base = environment.address(cdma, *registers)
            planes.append(memory.read(base, layout.size_bytes(plane)))
            notes.reads.append(
                MemoryCube(
                    BUFFERED[1 + plane],
                    memory.name,
                    base + layout.plane_x_offset(plane) * pixel_bytes,
                    pixel_bytes,
                    layout.height,
                    layout.width,
                    layout.line_strides[plane],
                    0,
                    pixel_bytes,
                )
            )
        return layout.unpack(planes)

    def _check_image(self, cdma: Fields, pixel_format: PixelFormat) -> None:
        """The pixels skipped, and the strides of the planes. Section 2.2."""
        environment, skipped = self._environment, cdma["PIXEL_X_OFFSET"]
        atom = environment.configuration.memory_atom
        most = atom // pixel_format.bytes_per_pixel[0] - 1
        environment.unsupported(
            skipped <= most,
            cdma,
            "PIXEL_X_OFFSET",
            f"must be at most {most} with {pixel_format.name} and an atom of {atom} bytes",
        )
        if cdma["DATAIN_HEIGHT"] == 0:
            return
        for name, size in zip(
            ("LINE_STRIDE", "UV_LINE_STRIDE"), pixel_format.bytes_per_pixel, strict=False
        ):
            least = (skipped % (atom // size) + cdma["DATAIN_WIDTH"] + 1) * size
            environment.unsupported(
                cdma[name] >= least, cdma, name, f"lines overlap: must be at least {least}"
            )

    def _converted(self, cdma: Fields, data: NDArray[Any], offset: Any) -> Int8Array:
        return fast.convert_input(data, offset, cdma["CVT_SCALE"], cdma["CVT_TRUNCATE"])


def _accumulate(
    csc: Fields, data: Int8Array, weights: Int8Array, output_size: tuple[int, int]
) -> IntegerArray:
    """The exact sums ``[batch, lane, row, column]`` of what the buffer holds."""
    if csc["CONV_MODE"] == 1:
        sums = fast.winograd_convolve(
            data[0], weights, truncate=csc["PRA_TRUNCATE"], output_size=output_size
        )
        return sums[np.newaxis]
    image = csc["DATAIN_FORMAT"] == 1
    return fast.convolve(
        data,
        weights,
        stride=(csc["CONV_Y_STRIDE_EXT"] + 1, csc["CONV_X_STRIDE_EXT"] + 1),
        dilation=(1, 1) if image else (csc["Y_DILATION_EXT"] + 1, csc["X_DILATION_EXT"] + 1),
        pad_top=csc["PAD_TOP"],
        # An image's lines lie in the buffer with their padding.
        pad_left=0 if image else csc["PAD_LEFT"],
        output_size=output_size,
        pad_value=_signed_byte(csc["PAD_VALUE"]),
    )


def _note_geometry(notes: LayerNotes, csc: Fields) -> None:
    """What the input's and kernel's sizes do not tell, each (vertical, horizontal)."""
    notes.shape["stride"] = csc["CONV_Y_STRIDE_EXT"] + 1, csc["CONV_X_STRIDE_EXT"] + 1
    if csc["DATAIN_FORMAT"] == 0 and (csc["Y_DILATION_EXT"] or csc["X_DILATION_EXT"]):
        notes.shape["dilation"] = csc["Y_DILATION_EXT"] + 1, csc["X_DILATION_EXT"] + 1
    if csc["PAD_TOP"] or csc["PAD_LEFT"]:
        notes.shape["padding"] = csc["PAD_TOP"], csc["PAD_LEFT"]


def _signed_byte(value: int) -> int:
    """The low byte of a padding value, signed: what INT8 processing uses. Section 3.3."""
    return ((value & 0xFF) ^ 0x80) - 0x80
