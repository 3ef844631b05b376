"""Register programs with random faults end in an error of the device, or in a result."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from programs import (
    CONVOLUTION,
    INPUT,
    OPERAND,
    OUTPUT,
    Convolution,
    enable,
    program,
    program_sdp,
    program_sdp_rdma,
)

from nvdla_ir.hw.configuration import load_configuration
from nvdla_ir.hw.registers import register_map
from nvdla_ir.interp.device.device import Device
from nvdla_ir.interp.device.errors import DeviceError, MemoryAccessError
from nvdla_ir.interp.device.memory import Memory

LIMIT_BYTES = 1 << 25


def _convolution(device: Device) -> tuple[str, ...]:
    cube = np.arange(-100, 100, dtype=np.int8).reshape(5, 5, 8)
    weights = np.ones((6, 5, 3, 2), np.int8)
    Convolution(cube, weights, pad=(1, 1), stride=(2, 1)).program(device)
    return CONVOLUTION


def _pooled_sum(device: Device) -> tuple[str, ...]:
    shape = (9, 6, 7)
    program_sdp(
        device, shape, OUTPUT, flying=0, OUTPUT_DST=1, BS_BYPASS=0, BS_ALU_ALGO=2, BS_ALU_SRC=1,
        BS_ALU_BYPASS=0, BS_MUL_BYPASS=1,
    )  # fmt: skip
    program_sdp_rdma(
        device, shape, INPUT, BRDMA_DISABLE=0, BRDMA_DATA_USE=1, BRDMA_DATA_MODE=1,
        BRDMA_RAM_TYPE=1, BS_BASE_ADDR_LOW=OPERAND, BS_LINE_STRIDE=0x100, BS_SURFACE_STRIDE=0x800,
    )  # fmt: skip
    program(
        device, "PDP", CUBE_IN_WIDTH=6, CUBE_IN_HEIGHT=5, CUBE_IN_CHANNEL=8, CUBE_OUT_WIDTH=2,
        CUBE_OUT_HEIGHT=2, CUBE_OUT_CHANNEL=8, POOLING_METHOD=1, KERNEL_WIDTH=2, KERNEL_HEIGHT=1,
        KERNEL_STRIDE_WIDTH=1, KERNEL_STRIDE_HEIGHT=1, DST_BASE_ADDR_LOW=OUTPUT,
        DST_LINE_STRIDE=0x100, DST_SURFACE_STRIDE=0x800, DST_RAM_TYPE=1, INPUT_DATA=0,
    )  # fmt: skip
    return ("PDP", "SDP", "SDP_RDMA")


def _normalization(device: Device) -> tuple[str, ...]:
    size = {"WIDTH": 3, "HEIGHT": 4, "CHANNEL": 10}
    strides = {"LINE_STRIDE": 0x100, "SURFACE_STRIDE": 0x800, "RAM_TYPE": 1}
    program(
        device, "CDP_RDMA", **size, SRC_BASE_ADDR_LOW=INPUT, INPUT_DATA=0,
        **{f"SRC_{name}": value for name, value in strides.items()},
    )  # fmt: skip
    program(
        device, "CDP", DST_BASE_ADDR_LOW=OUTPUT, INPUT_DATA_TYPE=0,
        **{f"DST_{name}": value for name, value in strides.items()},
    )  # fmt: skip
    return ("CDP", "CDP_RDMA")


def _reshaping(device: Device) -> tuple[str, ...]:
    program(
        device, "RBK", RUBIK_MODE=1, IN_PRECISION=0, DATAIN_RAM_TYPE=1, DATAIN_WIDTH=6,
        DATAIN_HEIGHT=3, DATAIN_CHANNEL=20, DATAOUT_CHANNEL=20, DAIN_ADDR_LOW=INPUT,
        DAIN_LINE_STRIDE=0x100, DAIN_SURF_STRIDE=0x400, DAOUT_ADDR_LOW=OUTPUT, DATAOUT_RAM_TYPE=1,
        DAOUT_LINE_STRIDE=0x40, DAOUT_PLANAR_STRIDE=0x100,
    )  # fmt: skip
    return ("RBK",)


_PROGRAMS = {
    "convolution": (_convolution, ("CDMA", "CSC", "CACC", "SDP")),
    "pooled sum": (_pooled_sum, ("SDP", "SDP_RDMA", "PDP")),
    "normalization": (_normalization, ("CDP", "CDP_RDMA")),
    "reshaping": (_reshaping, ("RBK",)),
}


def _device(name: str, lenient: bool) -> Device:
    hardware = load_configuration(name)
    memories = [
        Memory(kind, address_bits=hardware.address_bits, limit_bytes=LIMIT_BYTES)
        for kind in ("primary", "secondary")
    ]
    return Device(hardware, primary=memories[0], secondary=memories[1], lenient=lenient)


@pytest.mark.parametrize("kind", _PROGRAMS)
def test_the_programs_without_faults_run(kind: str) -> None:
    device = _device("nv_large_b", lenient=False)
    enable(device, _PROGRAMS[kind][0](device))
    assert len(device.records) == 1
    assert not device.remarks


@pytest.mark.parametrize("kind", _PROGRAMS)
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), lenient=st.booleans())
def test_faulty_registers_never_break_the_device(
    kind: str, data: st.DataObject, lenient: bool
) -> None:
    device = _device("nv_large_b", lenient)
    build, blocks = _PROGRAMS[kind]
    units = build(device)
    registers: list[tuple[str, Any]] = [
        (block, register)
        for block in blocks
        for register in register_map("master")[block].registers.values()
        if register.name != "D_OP_ENABLE" and register.writable_mask
    ]
    words = st.one_of(
        st.integers(0, 0xFFFF_FFFF),
        st.integers(0, 64),
        st.sampled_from([1 << n for n in range(32)]),
    )
    for _ in range(data.draw(st.integers(1, 3))):
        block, register = data.draw(st.sampled_from(registers))
        change = data.draw(words)
        device.write(block, register.name, device.read(block, register.name) ^ change)
    with contextlib.suppress(DeviceError, MemoryAccessError):
        enable(device, units)
    assert device.primary.occupied_bytes <= LIMIT_BYTES
    assert device.secondary.occupied_bytes <= LIMIT_BYTES
