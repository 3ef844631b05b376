"""Register programs of single layers, for tests: operands in, operands out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from attrs import field, frozen
from numpy.typing import NDArray

from nvdla_ir.hw.configuration import load_configuration
from nvdla_ir.hw.formats.buffer import entries_per_slice, fetched_weight_bytes
from nvdla_ir.hw.formats.feature import FeatureLayout
from nvdla_ir.hw.formats.sizes import ceil_div
from nvdla_ir.hw.formats.weights import pack_weights
from nvdla_ir.hw.registers import register_map
from nvdla_ir.interp.device.device import Device

INPUT, WEIGHTS, OUTPUT, OPERAND = 0x8000_0000, 0x8100_0000, 0x8200_0000, 0x8300_0000
CONVOLUTION = ("SDP", "CACC", "CMAC_A", "CMAC_B", "CSC", "CDMA")
"""The units of a convolution in the usual order of enables."""


def new_device(name: str = "nv_small", *, lenient: bool = False) -> Device:
    return Device(load_configuration(name), lenient=lenient)


def program(device: Device, block: str, **fields: int) -> None:
    """Write named fields; the others of the registers concerned get their reset values."""
    blocks = register_map(device.configuration.register_map)
    for register, word in blocks[block].encode(fields).items():
        device.write(block, register, word)


def change(device: Device, block: str, **fields: int) -> None:
    """Write named fields and leave all others as they are."""
    found = register_map(device.configuration.register_map)[block]
    words = {name: device.read(block, name) for name in found.registers if name.startswith("D_")}
    for register, word in found.encode(fields, base=words).items():
        device.write(block, register, word)


def enable(device: Device, blocks: Sequence[str]) -> None:
    for block in blocks:
        device.write(block, "D_OP_ENABLE", 1)


def store(device: Device, address: int, cube: NDArray[np.int8]) -> FeatureLayout:
    """Put a cube ``[C, H, W]`` into primary memory, packed."""
    layout = FeatureLayout.packed(*cube.shape, device.configuration.memory_atom)
    device.primary.write(address, layout.pack(cube).view(np.uint8))
    return layout


def load(device: Device, address: int, shape: tuple[int, int, int]) -> NDArray[np.int8]:
    """Take a packed cube from primary memory with all lanes of its last atom."""
    atom = device.configuration.memory_atom
    lanes = ceil_div(shape[0], atom) * atom
    layout = FeatureLayout.packed(lanes, *shape[1:], atom)
    return layout.unpack(device.primary.read(address, layout.size_bytes))


@frozen
class Convolution:
    """A direct convolution with feature input; pairs are (vertical, horizontal)."""

    x: NDArray[np.int8]
    w: NDArray[np.int8]
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    pad: tuple[int, int] = (0, 0)
    pad_value: int = 0
    truncate: int = 0
    converter: Mapping[str, int] = field(factory=dict)
    output_converter: tuple[int, int, int] = (0, 1, 0)

    @property
    def output_size(self) -> tuple[int, int]:
        sizes = [
            (2 * pad + size - (taps - 1) * dilation - 1) // stride + 1
            for size, taps, pad, stride, dilation in zip(
                self.x.shape[1:],
                self.w.shape[2:],
                self.pad,
                self.stride,
                self.dilation,
                strict=True,
            )
        ]
        return sizes[0], sizes[1]

    @property
    def output_shape(self) -> tuple[int, int, int]:
        return (self.w.shape[0], *self.output_size)

    def program(self, device: Device, group: int = 0, *, output: int = OUTPUT, **misc: int) -> None:
        """Store the operands and write all registers of ``group``.

        ``misc`` goes to CDMA and CSC.
        """
        hardware = device.configuration
        channels, height, width = self.x.shape
        kernels, _, rows, columns = self.w.shape
        out_height, out_width = self.output_size
        layout = store(device, INPUT, self.x)
        surface = pack_weights(self.w, hardware.atomic_k, hardware.atomic_c)
        device.primary.write(WEIGHTS, surface.view(np.uint8))
        entries = entries_per_slice(hardware, width, channels)
        data_banks = ceil_div(entries * height, hardware.cbuf.entries_per_bank)
        shared = dict(
            PROC_PRECISION=0,
            ENTRIES=entries - 1,
            DATA_BANK=data_banks - 1,
            WEIGHT_BANK=hardware.cbuf.banks - data_banks - 1,
            WEIGHT_KERNEL=kernels - 1,
            WEIGHT_BYTES=fetched_weight_bytes(hardware, kernels, self.w[0].size),
            PAD_TOP=self.pad[0],
            PAD_LEFT=self.pad[1],
            **misc,
        )
        for block in CONVOLUTION:
            device.write(block, "S_POINTER", group)
        program(
            device,
            "CDMA",
            IN_PRECISION=0,
            DATAIN_WIDTH=width - 1,
            DATAIN_HEIGHT=height - 1,
            DATAIN_CHANNEL=channels - 1,
            DATAIN_RAM_TYPE=1,
            DATAIN_ADDR_LOW_0=INPUT,
            LINE_STRIDE=layout.line_stride,
            SURF_STRIDE=layout.surface_stride,
            LINE_PACKED=1,
            BYTE_PER_KERNEL=self.w[0].size - 1,
            WEIGHT_RAM_TYPE=1,
            WEIGHT_ADDR_LOW=WEIGHTS,
            PAD_BOTTOM=self.pad[0],
            PAD_RIGHT=self.pad[1],
            **shared,
            **self.converter,
        )
        size = {
            "DATAOUT_WIDTH": out_width - 1,
            "DATAOUT_HEIGHT": out_height - 1,
            "DATAOUT_CHANNEL": kernels - 1,
        }
        program(
            device,
            "CSC",
            DATAIN_WIDTH_EXT=width - 1,
            DATAIN_HEIGHT_EXT=height - 1,
            DATAIN_CHANNEL_EXT=channels - 1,
            WEIGHT_WIDTH_EXT=columns - 1,
            WEIGHT_HEIGHT_EXT=rows - 1,
            WEIGHT_CHANNEL_EXT=channels - 1,
            CONV_Y_STRIDE_EXT=self.stride[0] - 1,
            CONV_X_STRIDE_EXT=self.stride[1] - 1,
            Y_DILATION_EXT=self.dilation[0] - 1,
            X_DILATION_EXT=self.dilation[1] - 1,
            ATOMICS=out_width * out_height - 1,
            RLS_SLICES=height - 1,
            PAD_VALUE=self.pad_value,
            **size,
            **shared,
        )
        for block in ("CMAC_A", "CMAC_B"):
            program(device, block, PROC_PRECISION=0)
        program(device, "CACC", PROC_PRECISION=0, CLIP_TRUNCATE=self.truncate, **size)
        program_sdp(
            device, self.output_shape, output, flying=1, output_converter=self.output_converter
        )

    def run(self, device: Device, group: int = 0) -> NDArray[np.int8]:
        self.program(device, group)
        enable(device, CONVOLUTION)
        device.wait("SDP", group)
        return load(device, OUTPUT, self.output_shape)


def program_sdp(
    device: Device,
    shape: tuple[int, int, int],
    output: int,
    *,
    flying: int,
    output_converter: tuple[int, int, int] = (0, 1, 0),
    **fields: int,
) -> None:
    """Write the SDP's registers: units bypassed unless ``fields`` say otherwise."""
    channels, height, width = shape
    layout = FeatureLayout.packed(channels, height, width, device.configuration.memory_atom)
    offset, scale, shift = output_converter
    defaults = {
        "WIDTH": width - 1,
        "HEIGHT": height - 1,
        "CHANNEL": channels - 1,
        "DST_BASE_ADDR_LOW": output,
        "DST_LINE_STRIDE": layout.line_stride,
        "DST_SURFACE_STRIDE": layout.surface_stride,
        "DST_RAM_TYPE": 1,
        "FLYING_MODE": flying,
        "BS_BYPASS": 1,
        "BN_BYPASS": 1,
        "EW_BYPASS": 1,
        "CVT_OFFSET": offset,
        "CVT_SCALE": scale,
        "CVT_SHIFT": shift,
        "PROC_PRECISION": 0,
        "OUT_PRECISION": 0,
    }
    program(device, "SDP", **(defaults | fields))


def program_sdp_rdma(
    device: Device, shape: tuple[int, int, int], source: int, **fields: int
) -> None:
    """Write the registers of SDP_RDMA in memory mode, without operand streams by default."""
    channels, height, width = shape
    layout = FeatureLayout.packed(channels, height, width, device.configuration.memory_atom)
    defaults = {
        "WIDTH": width - 1,
        "HEIGHT": height - 1,
        "CHANNEL": channels - 1,
        "SRC_BASE_ADDR_LOW": source,
        "SRC_LINE_STRIDE": layout.line_stride,
        "SRC_SURFACE_STRIDE": layout.surface_stride,
        "SRC_RAM_TYPE": 1,
        "FLYING_MODE": 0,
        "IN_PRECISION": 0,
        "PROC_PRECISION": 0,
        "BRDMA_DISABLE": 1,
        "NRDMA_DISABLE": 1,
        "ERDMA_DISABLE": 1,
    }
    program(device, "SDP_RDMA", **(defaults | fields))
