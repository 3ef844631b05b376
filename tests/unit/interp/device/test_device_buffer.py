"""What a convolution leaves in the convolution buffer for the next one. Source: convolution.md."""

from __future__ import annotations

import numpy as np
import pytest
from attrs import evolve
from numpy.typing import NDArray
from programs import CONVOLUTION, OUTPUT, WEIGHTS, Convolution, change, enable, load, new_device

from nvdla_ir.arith import reference
from nvdla_ir.hw.configuration import load_configuration, names
from nvdla_ir.interp.device.device import Device
from nvdla_ir.interp.device.errors import DeviceError

TARGETS = [name for name in names() if load_configuration(name).cbuf.entry_bytes < 128]


def cube(*shape: int, seed: int = 0) -> NDArray[np.int8]:
    return np.random.default_rng(seed).integers(-128, 128, shape).astype(np.int8)


def convolution(kernels: int, seed: int = 0, channels: int = 8) -> Convolution:
    return Convolution(
        cube(channels, 4, 4, seed=9), cube(kernels, channels, 1, 1, seed=seed), truncate=6
    )


def expected(layer: Convolution) -> NDArray[np.int8]:
    sums = reference.convolve(
        layer.x,
        layer.w,
        stride=layer.stride,
        dilation=layer.dilation,
        pad_top=layer.pad[0],
        pad_left=layer.pad[1],
        output_size=layer.output_size,
        pad_value=layer.pad_value,
    )
    return np.clip(reference.truncate_accumulator(sums, layer.truncate), -128, 127).astype(np.int8)


def run(device: Device, layer: Convolution, group: int, **misc: int) -> NDArray[np.int8]:
    """Run a layer with ``misc`` for CDMA and CSC; its output without padding lanes."""
    layer.program(device, group)
    for block in ("CDMA", "CSC"):
        change(device, block, **misc)
    enable(device, CONVOLUTION)
    device.wait("SDP", group)
    return load(device, OUTPUT, layer.output_shape)[: len(layer.w)]


@pytest.mark.parametrize("target", TARGETS)
def test_the_next_convolution_after_one_that_fetched_too_much_is_refused(target: str) -> None:
    """Section 8.3: 3 kernels of 8 bytes take 3 entries of 8, but 128 bytes were fetched."""
    device = new_device(target)
    entry = device.configuration.cbuf.entry_bytes
    first, second = convolution(3), convolution(4, seed=1)
    # In the layer itself it is harmless.
    assert np.array_equal(run(device, first, 0, WEIGHT_BYTES=128), expected(first))
    read = -(-24 // entry)
    with pytest.raises(DeviceError) as caught:
        run(device, second, 1)
    error = caught.value
    assert (error.block, error.value) == ("CDMA", 128)
    assert error.register == "D_WEIGHT_BYTES.WEIGHT_BYTES"
    assert (
        f"(group 0) CDMA fetched {128 // entry} entries of {entry} bytes, but CSC read {read} "
        in error.rule
    )
    assert f"must be {read * entry}, whole entries" in error.rule


@pytest.mark.parametrize("target", names())
def test_convolutions_that_fetch_whole_entries_follow_each_other(target: str) -> None:
    device = new_device(target)
    for number, kernels in enumerate((3, 4, 17, 1, 40)):
        layer = convolution(kernels, seed=number)
        assert np.array_equal(run(device, layer, number % 2), expected(layer))
    assert not device.remarks


def test_a_lenient_device_reads_the_wrong_bytes_as_the_hardware_does() -> None:
    """CSC always stands 13 entries, of the 16 that were fetched too early, before CDMA."""
    device = new_device(lenient=True)
    first, second, third = (convolution(kernels, seed=kernels) for kernels in (3, 4, 20))
    run(device, first, 0, WEIGHT_BYTES=128)
    zeros = np.zeros((13, 8, 1, 1), np.int8)
    assert np.array_equal(run(device, second, 1), expected(evolve(second, w=zeros[:4])))
    assert [remark.register for remark in device.remarks] == ["D_WEIGHT_BYTES.WEIGHT_BYTES"]
    seen = np.concatenate((zeros[4:], second.w, third.w))[:20]
    assert np.array_equal(run(device, third, 0), expected(evolve(third, w=seen)))


def test_another_bank_split_starts_anew() -> None:
    """On the RTL; the functional model never ends the second layer."""
    device = new_device()
    run(device, convolution(3), 0, WEIGHT_BYTES=128)
    second = convolution(4, seed=1)
    assert np.array_equal(run(device, second, 1, WEIGHT_BANK=5), expected(second))
    (remark,) = device.remarks
    assert "the functional model never ends it" in remark.message


def test_what_is_no_whole_entry_is_refused() -> None:
    with pytest.raises(DeviceError, match="must be whole entries of the buffer, 64 bytes each"):
        run(new_device("nv_large"), convolution(3), 0, WEIGHT_BYTES=96)


def test_weights_that_are_kept_are_used_and_released() -> None:
    device = new_device()
    first, third = convolution(3), convolution(5, seed=2)
    run(device, first, 0, SKIP_WEIGHT_RLS=1)
    device.primary.fill(WEIGHTS, 256, 0x55)
    second = evolve(first, x=cube(8, 4, 4, seed=5))
    second.program(device, 1)
    device.primary.fill(WEIGHTS, 256, 0x55)  # nothing is fetched
    for block in ("CDMA", "CSC"):
        change(device, block, WEIGHT_REUSE=1)
    enable(device, CONVOLUTION)
    device.wait("SDP", 1)
    assert np.array_equal(load(device, OUTPUT, second.output_shape)[:3], expected(second))
    assert np.array_equal(run(device, third, 0), expected(third))
    assert not device.remarks


def test_kept_weights_that_nobody_reuses_are_released() -> None:
    device = new_device()
    run(device, convolution(3), 0, SKIP_WEIGHT_RLS=1)
    second = convolution(5, seed=2)
    assert np.array_equal(run(device, second, 1), expected(second))


def test_a_layer_that_reuses_a_part_of_the_weights_leaves_the_rest() -> None:
    device = new_device()
    run(device, convolution(6), 0, SKIP_WEIGHT_RLS=1)
    part = convolution(2)
    run(device, part, 1, WEIGHT_REUSE=1)
    with pytest.raises(DeviceError, match=r"\(group 1\) CDMA fetched 6 entries .* CSC read 2 "):
        run(device, convolution(3, seed=3), 0)


@pytest.mark.parametrize(
    ("before", "now", "rule"),
    [
        ({}, {"WEIGHT_REUSE": 1}, "no weights are kept"),
        ({"SKIP_WEIGHT_RLS": 1}, {"WEIGHT_REUSE": 1, "WEIGHT_BANK": 7}, "no weights are kept"),
        ({"SKIP_DATA_RLS": 1}, {"DATA_REUSE": 1, "DATA_BANK": 1}, "another mode or DATA_BANK"),
        ({"SKIP_DATA_RLS": 1}, {"DATA_REUSE": 1, "WEIGHT_BANK": 7}, "has another WEIGHT_BANK"),
    ],
)
def test_reuse_of_what_is_not_there_is_refused(
    before: dict[str, int], now: dict[str, int], rule: str
) -> None:
    device = new_device()
    layer = convolution(3)
    run(device, layer, 0, WEIGHT_BANK=3, **before)
    with pytest.raises(DeviceError, match=rule):
        run(device, layer, 1, **({"WEIGHT_BANK": 3} | now))


@pytest.mark.parametrize("target", ["nv_small", "nv_large", "nv_full"])
@pytest.mark.parametrize("pad", [(1, 1), (3, 0), (0, 5)])
def test_padding_may_exceed_the_kernel(target: str, pad: tuple[int, int]) -> None:
    """Section 8.3: windows that see nothing but padding are the padding's."""
    layer = evolve(convolution(5), pad=pad, pad_value=-77)
    assert np.array_equal(run(new_device(target), layer, 0), expected(layer))


@pytest.mark.parametrize(
    ("target", "kernels"), [("nv_small", 8), ("nv_small", 24), ("nv_full", 32)]
)
def test_weights_may_fill_their_banks_and_come_by_group(target: str, kernels: int) -> None:
    """One bank holds one group of kernels exactly; there is no room for the next."""
    device = new_device(target)
    hw = device.configuration
    channels = hw.cbuf.bank_bytes // hw.atomic_k
    layer = Convolution(cube(channels, 1, 2), cube(kernels, channels, 1, 1, seed=1), truncate=12)
    assert np.array_equal(run(device, layer, 0, WEIGHT_BANK=0), expected(layer))
    again = evolve(layer, w=cube(kernels, channels, 1, 1, seed=2))
    assert np.array_equal(run(device, again, 1, WEIGHT_BANK=0), expected(again))


def test_nv_full_needs_room_for_a_request_more() -> None:
    """Its functional model hangs with 128 bytes left, and does not with 256."""
    for left, fits in ((128, False), (256, True)):
        channels = (32768 - left) // 32
        layer = Convolution(cube(channels, 1, 1), cube(96, channels, 1, 1, seed=1), truncate=12)
        if fits:
            assert np.array_equal(
                run(new_device("nv_full"), layer, 0, WEIGHT_BANK=0), expected(layer)
            )
            continue
        with pytest.raises(DeviceError, match="1 banks of 32768 bytes cannot hold 32896 bytes"):
            run(new_device("nv_full"), layer, 0, WEIGHT_BANK=0)


def test_a_group_that_does_not_fit_is_refused() -> None:
    layer = Convolution(cube(513, 1, 1), cube(8, 513, 1, 1, seed=1), truncate=12)
    with pytest.raises(DeviceError, match="1 banks of 4096 bytes cannot hold 4104 bytes"):
        run(new_device(), layer, 0, WEIGHT_BANK=0)


def test_a_fetch_that_never_ends_is_refused() -> None:
    with pytest.raises(DeviceError, match="cannot hold 4104 bytes of weights"):
        run(new_device(), convolution(3), 0, WEIGHT_BYTES=4104, WEIGHT_BANK=0)
    with pytest.raises(DeviceError, match="the fetch never ends"):
        run(new_device(lenient=True), convolution(3), 0, WEIGHT_BYTES=0x8000_0000)
