"""The cost of a convolution with the SDP, and the PDP, behind it.

Nothing is computed before the whole input is in the convolution buffer, and no kernel group before
its weights are. Constants are those of nv_small's RTL (cycles.md section 1.1).
"""

from __future__ import annotations

from nvdla_ir.hardware.convolution import ConvolutionSetting
from nvdla_ir.hardware.cost.base import Client, Cost, Course, MemoryTiming, Span
from nvdla_ir.hardware.cost.fetch import Fetch, data_excess, first_beats
from nvdla_ir.hardware.cost.output import group_cycles
from nvdla_ir.hardware.cost.planar import (
    cube_bytes,
    operand_bytes,
    pdp_written,
    sdp_throughput,
)
from nvdla_ir.hardware.pdp import PdpSetting
from nvdla_ir.hardware.sdp import SdpSetting
from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.hw.formats.sizes import align_up, ceil_div

_FIRST_OPERATION = 10
"""Cycles from the last data to the first atomic operation."""
_SDP_END = 21
"""From the last sum that CACC hands over to the SDP's interrupt, without the memory's latency."""
_SDP_OPERANDS_END = 28
"""The same where the SDP reads operands."""
_PDP_END = 42
"""The same for the PDP's interrupt, after the last sum that it needs."""
_SDP_TO_PDP_END = 23
"""The SDP's interrupt, where it writes nothing."""

_READ_AHEAD_BEATS = 168
"""What each stream of SDP operands reads before it is needed."""
_HEAD_START_BEATS = 8
"""Beats of operands that come before the convolution has asked for anything."""

_TILE = 4
"""Winograd: outputs of one atomic operation, and its fraction of the channels of a block."""
_POST_EXTENSION_ROWS = (1, 2, 4)
"""Kernel rows that one atomic operation takes, by Y_EXTENSION."""


def convolution_cost(
    convolution: ConvolutionSetting,
    processor: SdpSetting,
    pooling: PdpSetting | None,
    hw: HardwareConfiguration,
    memory: MemoryTiming,
) -> Cost:
    """The cost of the layer, operands and results of SDP and PDP included."""
    read = _read(convolution, processor, hw)
    written = _written(processor, pooling, hw)
    fetch = _fetch(convolution, read, sum(written.values()), hw, memory)
    pixel = _pixel_cycles(processor, pooling, hw)
    blocks, pixels, rows = _work(convolution, hw)
    is_image = convolution.image is not None
    first, step = group_cycles(pixels, rows, blocks, hw.atomic_k, pixel, rows_apart=is_image)
    data = fetch.data_arrival + _FIRST_OPERATION
    start = max(data, fetch.weight_arrival(0))
    last_start = fetch.last_group_start(start, step)
    summed = last_start + first
    if pooling is not None:
        unused = _unused_cycles(pooling, step, pixel, hw)
        tail = max(_SDP_TO_PDP_END, memory.latency + _PDP_END - unused)
    elif len(read) > 2:
        tail = memory.latency + _SDP_OPERANDS_END
    else:
        tail = memory.latency + _SDP_END
    beats = (sum(read.values()) + sum(written.values())) / hw.memory_width_bytes
    cycles = max(summed + tail, beats * fetch.beat)
    spans = _spans(
        cycles,
        data - _FIRST_OPERATION - first_beats(memory) if fetch.data else 0.0,
        first + (fetch.groups - 1) * step,
        step > 1.02 * blocks * max(pixels, hw.atomic_k) * rows,
        first_beats(memory) + _FIRST_OPERATION + tail,
        cycles - summed - tail,
    )
    course = Course(
        start,
        min(cycles - tail, max(start, fetch.last_arrival(last_start))),
        cycles - tail,
        cycles,
        blocks * 2 * hw.atomic_k,
        min(beats * fetch.beat, start - first_beats(memory)) if fetch.data else 0.0,
        beats * fetch.beat,
    )
    return Cost(cycles, spans, read, written, _macs(convolution), course)


def _spans(
    cycles: float,
    data: float,
    computing: float,
    is_output_bound: bool,
    latency: float,
    memory: float,
) -> dict[Span, float]:
    """What the cycles are spent on; the weights take what remains."""
    spans: dict[Span, float] = {
        "data": max(0.0, data),
        "output" if is_output_bound else "MAC": computing,
        "memory": memory,
        "latency": latency,
    }
    spans["weights"] = max(0.0, cycles - sum(spans.values()))
    spans["latency"] = latency + cycles - sum(spans.values())
    return {span: amount for span, amount in spans.items() if amount > 0}


def _work(setting: ConvolutionSetting, hw: HardwareConfiguration) -> tuple[int, int, int]:
    """Blocks of a kernel, and pixels and rows of the output as CSC goes through them."""
    rows, columns, channels = setting.taps
    if setting.winograd:
        blocks = ceil_div(setting.extended(hw)[0] * _TILE * _TILE, hw.atomic_c)
        return blocks, ceil_div(setting.rows.outputs * setting.columns.outputs, _TILE), 1
    rows = ceil_div(rows, _POST_EXTENSION_ROWS[setting.post_extension])
    blocks = rows * columns * ceil_div(channels, hw.atomic_c)
    if setting.image is not None:
        return blocks, setting.columns.outputs, setting.rows.outputs
    return blocks, setting.rows.outputs * setting.columns.outputs * setting.batch, 1


def _pixel_cycles(
    processor: SdpSetting, pooling: PdpSetting | None, hw: HardwareConfiguration
) -> int:
    """Cycles that the sums of one pixel take on their way out of CACC, which then reads the next
    one."""
    cycles = ceil_div(hw.atomic_k, hw.sdp.throughput) + 1
    slowest = sdp_throughput(processor, hw)
    if pooling is not None:
        slowest = min(slowest, hw.pdp_throughput)
    return max(cycles, ceil_div(hw.atomic_k, slowest))


def _unused_cycles(
    pooling: PdpSetting, step: float, pixel: int, hw: HardwareConfiguration
) -> float:
    """How long before the last pixel the PDP has all that its last window needs."""
    rows, columns = pooling.rows, pooling.columns
    unused = [
        max(0, axis.size + axis.before - (axis.outputs - 1) * axis.stride - axis.kernel)
        for axis in (rows, columns)
    ]
    pixels = unused[0] * columns.size + unused[1]
    whole, rest = divmod(pixels, 2 * hw.atomic_k)
    stripes = rows.size * columns.size / (2 * hw.atomic_k)
    return whole * step / stripes + rest * pixel


def _macs(setting: ConvolutionSetting) -> int:
    plane = setting.rows.outputs * setting.columns.outputs * setting.batch
    return plane * setting.kernels * setting.rows.taps * setting.columns.taps * setting.channels


# -------------------------------------------------------------- traffic


def _read(
    setting: ConvolutionSetting, processor: SdpSetting, hw: HardwareConfiguration
) -> dict[Client, int]:
    weights = 0 if setting.reuse.weights else setting.weight_bytes(hw)
    if setting.compressed is not None and not setting.reuse.weights:
        weights += setting.compressed.mask_bytes
    data = 0 if setting.reuse.data else _data_bytes(setting, hw)
    return {"CDMA data": data, "CDMA weights": weights, **operand_bytes(processor, hw)}


def _data_bytes(setting: ConvolutionSetting, hw: HardwareConfiguration) -> int:
    rows, columns = setting.rows.size, setting.columns.size
    if setting.image is None:
        return cube_bytes(setting.channels, rows, columns, hw) * setting.batch
    return rows * sum(
        align_up(columns * size, hw.memory_atom)
        for size in setting.image.pixel_format.bytes_per_pixel
    )


def _written(
    processor: SdpSetting, pooling: PdpSetting | None, hw: HardwareConfiguration
) -> dict[Client, int]:
    if pooling is not None:
        return {"PDP": pdp_written(pooling, hw)}
    cube = cube_bytes(processor.channels, processor.height, processor.width, hw)
    return {"SDP": cube * processor.batch}


def _fetch(
    setting: ConvolutionSetting,
    read: dict[Client, int],
    written: int,
    hw: HardwareConfiguration,
    memory: MemoryTiming,
) -> Fetch:
    width = hw.memory_width_bytes
    weights = read["CDMA weights"] / width
    streams = [size / width for client, size in read.items() if client.startswith("SDP")]
    ahead = sum(min(beats, _READ_AHEAD_BEATS) for beats in streams)
    group = min(weights, hw.atomic_k * setting.kernel_bytes(hw) / width)
    if setting.compressed is not None:
        group = weights / ceil_div(setting.kernels, hw.atomic_k)
    room = weights
    if setting.banks is not None:
        room = setting.banks.weights * hw.cbuf.bank_bytes / width
    return Fetch(
        read["CDMA data"] / width,
        data_excess(setting, hw),
        weights,
        group,
        room,
        max(0.0, ahead - _HEAD_START_BEATS),
        sum(streams) - ahead + written / width,
        ceil_div(setting.kernels, hw.atomic_k),
        memory.latency,
        memory.beat_cycles(hw),
    )
