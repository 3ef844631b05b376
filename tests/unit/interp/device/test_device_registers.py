"""Register groups, enables in any order, interrupts, look-up access, and bad accesses."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import numpy as np
import pytest
from programs import (
    CONVOLUTION,
    INPUT,
    OUTPUT,
    Convolution,
    enable,
    load,
    new_device,
    program_sdp,
    program_sdp_rdma,
    store,
)

from nvdla_ir.hw.registers import register_map
from nvdla_ir.interp.device.device import Device
from nvdla_ir.interp.device.errors import DeadlockError, DeviceError, MemoryAccessError

_CUBE = np.arange(-64, 64, dtype=np.int8).reshape(8, 4, 4)


def _arm_copy(device: Device, group: int, output: int) -> None:
    """Program a copy through the SDP in ``group``; without the enables."""
    store(device, INPUT, _CUBE)
    for block in ("SDP", "SDP_RDMA"):
        device.write(block, "S_POINTER", group)
    program_sdp(device, _CUBE.shape, output, flying=0)
    program_sdp_rdma(device, _CUBE.shape, INPUT)


def test_addresses_and_names_reach_the_same_registers() -> None:
    device = new_device()
    address = register_map("master")["SDP"].base + 0xC4
    device.write_register(address, 0x1234)
    assert device.read("SDP", "D_CVT_SCALE") == 0x1234
    device.write("SDP", "D_CVT_SCALE", 0xFFFF_FFFF)
    assert device.read_register(address) == 0xFFFF


def test_groups_are_separate_and_single_registers_are_not() -> None:
    device = new_device("nv_large")
    device.write("SDP", "D_CVT_SHIFT", 5)
    device.write("SDP", "S_POINTER", 1)
    assert device.read("SDP", "D_CVT_SHIFT") == 0
    device.write("SDP", "D_CVT_SHIFT", 9)
    device.write("SDP", "S_LUT_LE_START", 77)
    device.write("SDP", "S_POINTER", 0)
    assert device.read("SDP", "D_CVT_SHIFT") == 5
    assert device.read("SDP", "S_LUT_LE_START") == 77


def test_layers_alternate_between_the_groups() -> None:
    device = new_device()
    for layer, group in enumerate((0, 1, 0, 1)):
        assert device.read("SDP", "S_POINTER") >> 16 == group
        _arm_copy(device, group, OUTPUT + 0x1000 * layer)
        enable(device, ("SDP", "SDP_RDMA"))
        assert device.read("SDP", "D_OP_ENABLE") == 0
        assert device.read("SDP", "S_STATUS") == 0
        device.wait("SDP", group)
        assert np.array_equal(load(device, OUTPUT + 0x1000 * layer, _CUBE.shape), _CUBE)
    assert [record.units for record in device.records] == [
        {"SDP_RDMA": group, "SDP": group} for group in (0, 1, 0, 1)
    ]


def test_the_other_group_waits_for_its_turn() -> None:
    device = new_device()
    _arm_copy(device, 1, OUTPUT)
    enable(device, ("SDP", "SDP_RDMA"))
    assert device.read("SDP", "S_STATUS") == 2 << 16
    with pytest.raises(DeadlockError, match=r"SDP \(group 1\) waits for .* in group 0"):
        device.wait("SDP", 1)
    _arm_copy(device, 0, OUTPUT + 0x1000)
    enable(device, ("SDP",))
    assert device.read("SDP", "S_STATUS") == 2 << 16 | 1
    enable(device, ("SDP_RDMA",))
    assert device.read("SDP", "S_STATUS") == 0
    device.wait("SDP", 0)
    device.wait("SDP", 1)
    assert np.array_equal(load(device, OUTPUT, _CUBE.shape), _CUBE)


def test_writes_to_an_enabled_group_are_dropped() -> None:
    device = new_device()
    _arm_copy(device, 0, OUTPUT)
    enable(device, ("SDP",))
    with pytest.raises(DeviceError, match=r"SDP\.D_CVT_SCALE = 0x7 .* group 0 is enabled"):
        device.write("SDP", "D_CVT_SCALE", 7)
    device = new_device(lenient=True)
    _arm_copy(device, 0, OUTPUT)
    enable(device, ("SDP",))
    device.write("SDP", "D_CVT_SCALE", 7)
    assert device.read("SDP", "D_CVT_SCALE") == 1
    assert [remark.register for remark in device.remarks] == ["D_CVT_SCALE"]
    device.write("SDP", "S_POINTER", 1)
    device.write("SDP", "D_CVT_SCALE", 7)
    assert device.read("SDP", "D_CVT_SCALE") == 7
    device.write("SDP", "S_POINTER", 0)
    enable(device, ("SDP_RDMA",))
    assert np.array_equal(load(device, OUTPUT, _CUBE.shape), _CUBE)


def _starts_last(order: Sequence[str]) -> bool:
    """Whether CSC or CDMA comes after the units that CSC sends to."""
    place = {block: number for number, block in enumerate(order)}
    return max(place["CSC"], place["CDMA"]) > max(map(place.__getitem__, LATE))


LATE = ("CMAC_A", "CMAC_B", "CACC")
ORDERS = list(filter(_starts_last, permutations(CONVOLUTION)))


@pytest.mark.parametrize("block", LATE)
@pytest.mark.parametrize("first", [("CDMA", "CSC"), ("CSC", "CDMA")], ids="-".join)
def test_a_convolution_does_not_start_before_its_sums_can(
    block: str, first: tuple[str, ...]
) -> None:
    layer = Convolution(_CUBE // 8, np.ones((8, 8, 1, 1), np.int8))
    for lenient in (False, True):
        device = new_device(lenient=lenient)
        layer.program(device)
        enable(device, [*(other for other in LATE if other != block), *first])
        if lenient:
            enable(device, (block, "SDP"))
            assert [remark.block for remark in device.remarks] == [block]
            assert len(device.records) == 1
        else:
            told = f"CSC and CDMA are enabled already and send without asking for {block}"
            with pytest.raises(DeviceError, match=rf"{block}\.D_OP_ENABLE = 0x1 .*{told}"):
                enable(device, (block,))


@pytest.mark.parametrize("order", ORDERS[::31], ids="-".join)
def test_units_may_be_enabled_in_any_other_order(order: tuple[str, ...]) -> None:
    weights = np.ones((8, 8, 1, 1), np.int8)
    layer = Convolution(_CUBE // 8, weights)
    device = new_device()
    layer.program(device)
    for block in order[:-1]:
        enable(device, (block,))
        assert not device.records
    with pytest.raises(DeadlockError, match=f"waits for .*{order[-1]}.* to be enabled"):
        device.wait("SDP", 0)
    enable(device, order[-1:])
    expected = np.broadcast_to((_CUBE // 8).sum(axis=0, dtype=np.int8), _CUBE.shape)
    assert np.array_equal(load(device, OUTPUT, layer.output_shape), expected)
    assert list(device.records[0].units) == ["CDMA", "CSC", "CMAC_A", "CMAC_B", "CACC", "SDP"]


def test_interrupts_are_cleared_by_writing_one() -> None:
    device = new_device()
    device.write("GLB", "S_INTR_MASK", 1 << 20)
    device.write("GLB", "S_INTR_SET", 1 << 20 | 1 << 5 | 1)
    assert device.read("GLB", "S_INTR_STATUS") == 1 << 20 | 1 << 5 | 1
    assert [str(interrupt) for interrupt in device.pending_interrupts()] == ["SDP_0", "PDP_1"]
    device.write("GLB", "S_INTR_STATUS", 1 << 5)
    assert device.read("GLB", "S_INTR_STATUS") == 1 << 20 | 1
    with pytest.raises(DeadlockError, match=r"CACC: .* masked in GLB"):
        device.wait("CACC", 0)
    device.wait("SDP", 0)
    assert device.read("GLB", "S_INTR_STATUS") == 1 << 20
    with pytest.raises(DeadlockError, match="no unit is enabled"):
        device.wait("SDP", 0)


def test_a_convolution_raises_the_interrupts_of_its_stages() -> None:
    device = new_device()
    Convolution(_CUBE, np.ones((8, 8, 1, 1), np.int8)).run(device)
    assert device.read("GLB", "S_INTR_STATUS") == 1 << 16 | 1 << 18 | 1 << 20
    assert device.read("GLB", "S_NVDLA_HW_VERSION") == 0x303031


@pytest.mark.parametrize("block", ["SDP", "CDP"])
def test_look_up_tables_are_written_and_read_entry_by_entry(block: str) -> None:
    device = new_device("nv_large")
    for table, size in ((0, 65), (1, 257)):
        device.write(block, "S_LUT_ACCESS_CFG", 1 << 17 | table << 16)
        for entry in range(size):
            device.write(block, "S_LUT_ACCESS_DATA", (entry * 257 - 30000) & 0xFFFF)
    for table, size in ((0, 65), (1, 257)):
        device.write(block, "S_LUT_ACCESS_CFG", table << 16 | 3)
        device.write(block, "S_LUT_ACCESS_DATA", 1)  # the access type is read: stores nothing
        found = [device.read(block, "S_LUT_ACCESS_DATA") for _ in range(3, size)]
        assert found == [(entry * 257 - 30000) & 0xFFFF for entry in range(3, size)]
        assert device.read(block, "S_LUT_ACCESS_DATA") == found[-1]


def test_tables_are_not_written_under_an_enabled_layer() -> None:
    """No register or memory locks them on the RTL: a lenient device takes the write."""
    device = new_device("nv_large")
    _arm_copy(device, 0, OUTPUT)
    enable(device, ("SDP",))
    with pytest.raises(DeviceError, match=r"SDP\.S_LUT_LE_START = 0x5 \(5\): .* is enabled"):
        device.write("SDP", "S_LUT_LE_START", 5)
    device = new_device("nv_large", lenient=True)
    _arm_copy(device, 0, OUTPUT)
    enable(device, ("SDP",))
    device.write("SDP", "S_LUT_LE_START", 5)
    assert device.read("SDP", "S_LUT_LE_START") == 5
    assert [remark.register for remark in device.remarks] == ["S_LUT_LE_START"]


def test_polls_that_never_come_true_are_deadlocks() -> None:
    device = new_device()
    device.poll("CDMA", "S_CBUF_FLUSH_STATUS", 1)
    _arm_copy(device, 0, OUTPUT)
    enable(device, ("SDP_RDMA",))
    with pytest.raises(DeadlockError, match=r"SDP_RDMA \(group 0\) waits for SDP"):
        device.poll("SDP", "S_STATUS", 1)


def test_read_only_and_unknown_registers() -> None:
    device = new_device()
    device.write("SDP", "S_STATUS", 3)
    device.write("SDP", "D_PERF_OUT_SATURATION", 3)
    device.write("GLB", "S_NVDLA_HW_VERSION", 0)
    assert device.read("SDP", "S_STATUS") == device.read("SDP", "D_PERF_OUT_SATURATION") == 0
    assert device.read("GLB", "S_NVDLA_HW_VERSION") == 0x303031
    with pytest.raises(DeviceError, match="D_CVT_SKALE"):
        device.write("SDP", "D_CVT_SKALE", 1)
    with pytest.raises(DeviceError, match="no block 'SPD'"):
        device.read("SPD", "D_CVT_SCALE")
    with pytest.raises(DeviceError, match="no register at this address"):
        device.write_register(0x9FFC, 1)
    with pytest.raises(DeviceError, match="32 bits"):
        device.write("SDP", "D_CVT_SCALE", 1 << 32)
    with pytest.raises(DeviceError, match="raises no interrupts"):
        device.wait("CSC", 0)
    with pytest.raises(DeviceError, match="groups 0 and 1"):
        device.wait("SDP", 2)


def test_a_lenient_device_notes_what_it_ignores() -> None:
    device = new_device(lenient=True)
    device.write_register(0x9FFC, 1)
    assert device.read_register(0x9FFC) == 0
    device.write("BDMA", "CFG_LINE", 1)
    assert [str(remark) for remark in device.remarks] == [
        "CSB.0x9ffc: no register at this address",
        "CSB.0x9ffc: no register at this address",
        "BDMA.CFG_LINE = 0x1 (1): nv_small has no BDMA",
    ]
    with pytest.raises(DeviceError, match="nv_small has no BDMA"):
        new_device().write("BDMA", "CFG_LINE", 1)


def test_a_layer_outside_memory_is_an_error_even_if_lenient() -> None:
    device = new_device(lenient=True)
    _arm_copy(device, 0, 0xFFFF_FFF8)
    with pytest.raises(MemoryAccessError, match="outside the primary memory"):
        enable(device, ("SDP", "SDP_RDMA"))
