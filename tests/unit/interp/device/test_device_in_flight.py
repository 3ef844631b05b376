"""Programs that rely on layers of which they do not know that they have ended."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from programs import (
    CONVOLUTION,
    INPUT,
    OPERAND,
    OUTPUT,
    Convolution,
    change,
    enable,
    load,
    new_device,
    program,
    program_sdp,
    program_sdp_rdma,
    store,
)

from nvdla_ir.interp.device.areas import MemoryLines
from nvdla_ir.interp.device.device import Device
from nvdla_ir.interp.device.errors import DeadlockError, DeviceError

SHAPE = (8, 4, 4)
CUBE = np.arange(-64, 64).astype(np.int8).reshape(SHAPE)


def copy(device: Device, group: int, source: int, target: int) -> None:
    """Start a layer of the SDP from memory to memory."""
    for block in ("SDP", "SDP_RDMA"):
        device.write(block, "S_POINTER", group)
    program_sdp(device, SHAPE, target, flying=0)
    program_sdp_rdma(device, SHAPE, source)
    enable(device, ("SDP_RDMA", "SDP"))


def convolve(device: Device, group: int, output: int, **misc: int) -> None:
    """Start a convolution of the cube at INPUT."""
    layer = Convolution(CUBE, np.ones((8, 8, 1, 1), np.int8), truncate=3)
    layer.program(device, group, output=output)
    for block in ("CDMA", "CSC"):
        change(device, block, **misc)
    enable(device, CONVOLUTION)


def pool(device: Device, source: int, target: int) -> None:
    program(
        device, "PDP", CUBE_IN_WIDTH=3, CUBE_IN_HEIGHT=3, CUBE_IN_CHANNEL=7, CUBE_OUT_WIDTH=1,
        CUBE_OUT_HEIGHT=1, CUBE_OUT_CHANNEL=7, POOLING_METHOD=1, FLYING_MODE=1, KERNEL_WIDTH=1,
        KERNEL_HEIGHT=1, KERNEL_STRIDE_WIDTH=1, KERNEL_STRIDE_HEIGHT=1, DST_BASE_ADDR_LOW=target,
        DST_LINE_STRIDE=16, DST_SURFACE_STRIDE=32, DST_RAM_TYPE=1, INPUT_DATA=0,
    )  # fmt: skip
    program(
        device, "PDP_RDMA", CUBE_IN_WIDTH=3, CUBE_IN_HEIGHT=3, CUBE_IN_CHANNEL=7, FLYING_MODE=1,
        SRC_BASE_ADDR_LOW=source, SRC_LINE_STRIDE=32, SRC_SURFACE_STRIDE=128, SRC_RAM_TYPE=1,
        INPUT_DATA=0,
    )  # fmt: skip
    enable(device, ("PDP_RDMA", "PDP"))


def device_with_input(*, lenient: bool = False) -> Device:
    device = new_device(lenient=lenient)
    store(device, INPUT, CUBE)
    return device


def test_what_a_layer_in_flight_writes_is_not_read() -> None:
    device = device_with_input()
    copy(device, 0, INPUT, OUTPUT)
    with pytest.raises(DeviceError) as caught:
        copy(device, 1, OUTPUT, OPERAND)
    error = caught.value
    assert (error.block, error.register) == ("SDP_RDMA", "D_SRC_BASE_ADDR_LOW")
    assert error.value == OUTPUT
    assert error.rule == (
        "layer 1 (SDP) reads [0x82000000, 0x82000080) of the primary memory, input, while layer 0 "
        "(SDP, group 0) may still use it, output: wait for the interrupt SDP_0 before it is enabled"
    )


def test_a_lenient_device_goes_on_as_if_the_program_had_waited() -> None:
    device = device_with_input(lenient=True)
    copy(device, 0, INPUT, OUTPUT)
    copy(device, 1, OUTPUT, OPERAND)
    copy(device, 0, OPERAND, OUTPUT)
    device.wait("SDP", 0)
    assert np.array_equal(load(device, OUTPUT, SHAPE), CUBE)
    told = [str(remark) for remark in device.remarks]
    assert "layer 1 (SDP) reads" in told[0]
    # It is told once, not at every register.
    assert len(told) == 2


SEEN: dict[str, Callable[[Device], object]] = {
    "the interrupt": lambda device: device.wait("SDP", 0),
    "any interrupt": lambda device: device.wait_any(),
    "its status bit": lambda device: device.read("GLB", "S_INTR_STATUS"),
    "a poll of it": lambda device: device.poll("GLB", "S_INTR_STATUS", 1),
    "an idle unit": lambda device: device.read("SDP", "S_STATUS"),
    "an idle group": lambda device: device.poll("SDP", "D_OP_ENABLE", 0),
}


@pytest.mark.parametrize("seen", SEEN)
def test_a_program_that_saw_the_end_may_go_on(seen: str) -> None:
    device = device_with_input()
    copy(device, 0, INPUT, OUTPUT)
    device.write("SDP", "S_POINTER", 0)
    SEEN[seen](device)
    copy(device, 1, OUTPUT, OPERAND)
    copy_back = load(device, OPERAND, SHAPE)
    assert np.array_equal(copy_back, CUBE)


def test_clearing_an_interrupt_unseen_tells_nothing() -> None:
    device = device_with_input()
    copy(device, 0, INPUT, OUTPUT)
    device.write("GLB", "S_INTR_STATUS", 1)
    with pytest.raises(DeviceError, match="wait for the interrupt SDP_0"):
        copy(device, 1, OUTPUT, OPERAND)


def test_an_interrupt_that_the_program_sets_tells_nothing() -> None:
    device = device_with_input()
    device.write("GLB", "S_INTR_SET", 1)
    copy(device, 0, INPUT, OUTPUT)
    device.wait("SDP", 0)
    with pytest.raises(DeviceError, match="wait for the interrupt SDP_0"):
        copy(device, 1, OUTPUT, OPERAND)


def test_the_first_of_several_interrupts_is_that_of_the_fetch() -> None:
    """Waiting for any does not tell that the output is there."""
    device = device_with_input()
    convolve(device, 0, OUTPUT)
    device.wait_any()
    with pytest.raises(DeviceError, match="wait for the interrupt SDP_0"):
        pool(device, OUTPUT, OPERAND)


def test_an_output_may_not_replace_what_another_unit_reads_or_writes() -> None:
    device = device_with_input()
    copy(device, 0, INPUT, OUTPUT)
    with pytest.raises(DeviceError, match=r"PDP\.D_DST_BASE_ADDR_LOW .* writes \[0x80000000, "):
        pool(device, OPERAND, INPUT)
    with pytest.raises(DeviceError, match=r"PDP\.D_DST_BASE_ADDR_LOW .* writes \[0x82000000, "):
        device = device_with_input()
        copy(device, 0, INPUT, OUTPUT)
        pool(device, OPERAND, OUTPUT)


def test_the_layers_of_one_pipeline_write_in_order() -> None:
    """The SDP takes up the second layer when it has left the first, its reads included."""
    device = device_with_input()
    copy(device, 0, INPUT, OUTPUT)
    copy(device, 1, OPERAND, OUTPUT)
    device.wait("SDP", 1)
    assert not load(device, OUTPUT, SHAPE).any()
    copy(device, 0, OUTPUT, INPUT)


def test_the_fetch_may_be_waited_for_alone() -> None:
    """Another unit may replace a convolution's input when CDMA has read it."""
    device = device_with_input()
    convolve(device, 0, OUTPUT)
    device.wait("CDMA_WT", 0)
    with pytest.raises(DeviceError, match=r"writes .* convolution input"):
        pool(device, OPERAND, INPUT)
    device = device_with_input()
    convolve(device, 0, OUTPUT)
    device.wait("CDMA_DAT", 0)
    pool(device, OPERAND, INPUT)


def test_a_later_interrupt_of_a_unit_tells_of_the_earlier_layers() -> None:
    device = device_with_input()
    convolve(device, 0, OUTPUT)
    convolve(device, 1, OPERAND)
    device.wait("SDP", 1)
    pool(device, OUTPUT, INPUT + 0x10_0000)
    device.wait("PDP", 0)
    convolve(device, 0, OUTPUT)


def test_a_busy_group_is_not_set_up() -> None:
    device = device_with_input()
    convolve(device, 0, OUTPUT)
    convolve(device, 1, OPERAND)
    with pytest.raises(DeviceError) as caught:
        convolve(device, 0, INPUT + 0x10_0000)
    error = caught.value
    assert error.block == "CDMA"
    assert "group 0 is busy until layer 0 (CONV+SDP, group 0) has ended" in error.rule
    assert "wait for its interrupt SDP_0 before" in error.rule


def test_a_lenient_device_drops_what_is_written_to_a_busy_group() -> None:
    """As the RTL does: the layer never runs, and who waits for it waits for ever."""
    device = device_with_input(lenient=True)
    copy(device, 0, INPUT, OUTPUT)
    device.write("SDP", "S_POINTER", 0)
    device.write("SDP", "D_DST_BASE_ADDR_LOW", OPERAND)
    (remark,) = device.remarks
    assert (remark.register, remark.value) == ("D_DST_BASE_ADDR_LOW", OPERAND)
    assert remark.message == (
        "dropped: group 0 is busy until layer 0 (SDP, group 0) has ended: wait for its interrupt "
        "SDP_0 before"
    )
    copy(device, 0, INPUT, OPERAND)
    assert {"D_OP_ENABLE"} < {remark.register for remark in device.remarks}
    assert len(device.records) == 1
    device.wait("SDP", 0)
    assert not load(device, OPERAND, SHAPE).any()
    with pytest.raises(DeadlockError, match="no unit is enabled"):
        device.wait("SDP", 0)
    # A group that is known to be free takes writes again: layers go on with the other one.
    copy(device, 1, INPUT, OPERAND)
    device.wait("SDP", 1)
    assert np.array_equal(load(device, OPERAND, SHAPE), CUBE)


def test_the_accumulators_end_frees_the_convolutions_groups_alone() -> None:
    device = device_with_input()
    convolve(device, 0, OUTPUT)
    convolve(device, 1, OPERAND)
    device.wait("CACC", 0)
    with pytest.raises(DeviceError, match=r"SDP\.D_DATA_CUBE_WIDTH .* group 0 is busy"):
        convolve(device, 0, INPUT + 0x10_0000)


def test_tables_are_not_written_under_a_layer_in_flight() -> None:
    device = new_device("nv_large")
    store(device, INPUT, CUBE)
    for block in ("SDP", "SDP_RDMA"):
        device.write(block, "S_POINTER", 0)
    program_sdp(device, SHAPE, OUTPUT, flying=0)
    program_sdp_rdma(device, SHAPE, INPUT)
    enable(device, ("SDP_RDMA", "SDP"))
    with pytest.raises(DeviceError, match="the tables belong to layer 0 "):
        device.write("SDP", "S_LUT_ACCESS_CFG", 0x20000)
    device.wait("SDP", 0)
    device.write("SDP", "S_LUT_ACCESS_CFG", 0x20000)


def test_a_launch_that_is_not_done_is_not_repeated() -> None:
    device = new_device("nv_full")
    program(device, "BDMA", **{"CFG_DST_ADDR_LOW.V32": OUTPUT})
    device.write("BDMA", "CFG_OP", 1)
    device.write("BDMA", "CFG_LAUNCH0", 1)
    with pytest.raises(DeviceError, match="group 0 belongs to layer 0 "):
        device.write("BDMA", "CFG_LAUNCH0", 1)
    device.read("BDMA", "STATUS")
    device.write("BDMA", "CFG_LAUNCH0", 1)


def test_the_host_waits_too() -> None:
    device = device_with_input()
    copy(device, 0, INPUT, OUTPUT)
    output, source = (MemoryLines("bytes", "primary", base, 8) for base in (OUTPUT, INPUT))
    with pytest.raises(DeviceError, match=r"the host reads \[0x82000000, 0x82000008\)"):
        device.host_access(output, writes=False)
    with pytest.raises(DeviceError, match=r"the host writes \[0x80000000, 0x80000008\)"):
        device.host_access(source, writes=True)
    device.host_access(source, writes=False)
    device.wait("SDP", 0)
    device.host_access(output, writes=True)
