"""Loadables to be garbled: every unit, both layouts, host tasks, images, SRAM."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from loadable_building import (
    CV,
    FLYING,
    INPUT,
    OUTPUT,
    Loadable,
    convolution,
    cube,
    pdp,
    sdp,
)


def corpus() -> Iterator[tuple[str, bytes]]:
    """Configurations, and loadables that they run."""
    for old in (False, True):
        yield "nv_small", _pipeline(old)
        yield "nv_large", _tables(old)
        yield "nv_full", _movement(old)
    yield "nv_small", _image()
    yield "nv_small", _host()


def _pipeline(old: bool) -> bytes:
    """Convolution, SDP with operands of channels, and PDP, on the fly; then PDP from memory."""
    net = Loadable(old=old)
    shape, pooled = (12, 4, 6), (8, 2, 3)
    x, y = net.bound("x", INPUT, shape, 8), net.bound("y", OUTPUT, pooled, 8)
    between = cube(net.memory(64), pooled, 8)
    made = cube(0, (8, 4, 6), 8, type=FLYING)
    weights = cube(net.memory(128, bytes(range(96)).ljust(128, b"\0")), shape, 8, size=128)
    operand = cube(net.memory(32, bytes(range(100, 132))), (8, 1, 1), 32)
    unit = {"enable": 1, "type": 3, "alu_type": 2, "mode": 1, "precision": 1, "truncate": 9}
    net.hardware_task(
        [
            convolution(cube(x, shape, 8), made, weights, 12),
            sdp(made, made, x1_op=unit, x1_data=operand),
            pdp(made, between, pool_width=1, pool_height=1, stride_x=2, stride_y=2),
        ],
        [pdp(between, cube(y, pooled, 8), pool_mode=0)],
    )
    return net.data()


def _tables(old: bool) -> bytes:
    """SDP and CDP with look-up tables, and a cube in SRAM."""
    net = Loadable(old=old)
    shape = (40, 2, 3)
    x, y = net.bound("x", INPUT, shape, 32), net.bound("y", OUTPUT, shape, 32)
    sram = cube(net.memory(384, domain=1), shape, 32, type=CV)
    table = {"linear_only_table": list(range(-128, 129)), "method": 1, "hybrid_priority": 1}
    op = {"lut_index": 0, "local_size": 5, "in_cvt": {"scale": 1}, "out_cvt": {"scale": 1}}
    normalized: dict[str, Any] = {
        "kind": "cdp",
        "op": op,
        "surface": {"src_data": sram, "dst_data": cube(y, shape, 32)},
    }
    looked_up = sdp(cube(x, shape, 32), sram, y_op={"enable": 1, "act": 2}, lut_index=1)
    net.hardware_task([looked_up], [normalized], luts=[table, table | {"method": 0}])
    return net.data()


def _movement(old: bool) -> bytes:
    """BDMA and RUBIK."""
    net = Loadable(old=old)
    wide, tall = (64, 2, 2), (32, 2, 4)
    x, y = net.bound("x", INPUT, wide, 32), net.bound("y", OUTPUT, tall, 32)
    between = net.memory(256)
    transfer = {
        "source_address": x,
        "destination_address": between,
        "line_size": 64,
        "line_repeat": 2,
        "source_line": 64,
        "destination_line": 64,
        "surface_repeat": 2,
        "source_surface": 128,
        "destination_surface": 128,
    }
    surface = {"src_data": cube(between, wide, 32), "dst_data": cube(y, tall, 32)}
    op = {"stride_x": 2, "stride_y": 1}
    net.hardware_task(
        [
            {
                "kind": "bdma",
                "op": {"num_transfers": 1},
                "surface": {"num_transfers": 1, "transfers": [transfer]},
            }
        ],
        [{"kind": "rubik", "op": op, "surface": surface}],
    )
    return net.data()


def _image() -> bytes:
    net = Loadable()
    shape = (4, 3, 4)
    image = {"pixel_format": 12, "data_category": 0, "stride_1": 16, "stride_2": 0}
    x = net.bound("x", INPUT, shape, 8, **image)
    y = net.bound("y", OUTPUT, shape, 8)
    made = cube(0, shape, 8, type=FLYING)
    weights = cube(net.memory(128, bytes(range(16)).ljust(128, b"\0")), shape, 8, size=128)
    source = cube(x, shape, 8) | {"line_stride": 16, "surf_stride": 0}
    converter = {"scale": 1, "enable": 1, "offset": 3}
    layer = convolution(source, made, weights, 2, data_format=12, in_cvt=converter)
    net.hardware_task([layer, sdp(made, cube(y, shape, 8))])
    return net.data()


def _host() -> bytes:
    """The host before and after the hardware."""
    net = Loadable()
    shape = (12, 1, 1)
    x, y = net.bound("x", INPUT, shape, 8), net.bound("y", OUTPUT, shape, 8)
    first, second = net.memory(64), net.memory(64)

    def surface(address: int) -> dict[str, int]:
        extents = {"width": 1, "height": 1, "channel": 12, "line_stride": 8, "surf_stride": 8}
        return {"address": address, "size": 16, "format": 1} | extents

    scales = {"input_scale": 0.5, "output_scale": 0.25}
    power = {"op_type": 0, "power": 2.0, "scale": 0.5, "shift": 1.0} | scales
    net.host_task({"op": power, "source": surface(x), "destination": surface(first)})
    net.hardware_task([sdp(cube(first, shape, 8), cube(second, shape, 8))])
    softmax = {"op_type": 1} | scales
    net.host_task({"op": softmax, "source": surface(second), "destination": surface(y)})
    return net.data()
