"""What layers cost in cycles and in bytes of memory traffic. Source: cycles.md."""

from __future__ import annotations

from attrs import frozen

from nvdla_ir.hardware.convolution import ConvolutionSetting
from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.hw.formats.sizes import ceil_div


@frozen
class MemoryTiming:
    """The memory behind the accelerator: cycles from a request to its first beat, and bytes that
    it serves a cycle, reads and writes together."""

    latency: int = 50
    bytes_per_cycle: float = 8


@frozen
class Cost:
    """Cycles of a layer in all, those of its MACs and of its memory traffic, and the bytes that
    it reads and writes."""

    cycles: float
    mac_cycles: float
    read_bytes: int
    written_bytes: int


_FIRST_BEAT = 58
_STRIPE = 16
_CREDIT = 54
_TAIL = 68


def convolution_cost(
    setting: ConvolutionSetting, hw: HardwareConfiguration, memory: MemoryTiming
) -> Cost:
    """The cost of a convolution, the SDP's writing included."""
    atom = hw.memory_atom
    pixels = setting.rows.outputs * setting.columns.outputs
    data = 0
    if not setting.reuse.data:
        surfaces = ceil_div(setting.channels, atom)
        data = setting.rows.size * setting.columns.size * surfaces * atom
        if setting.image is not None:
            data = setting.rows.size * setting.columns.size * setting.channels
    weights = 0 if setting.reuse.weights else setting.weight_bytes(hw)
    written = pixels * ceil_div(setting.kernels, atom) * atom
    rows, columns, channels = setting.taps
    blocks = rows * columns * ceil_div(channels, hw.atomic_c)
    groups = ceil_div(setting.kernels, hw.atomic_k)
    compute = 0.0
    full, rest = divmod(pixels, _STRIPE)
    for count, size in ((full, _STRIPE), (1, rest)):
        if size:
            stripe = max(blocks * max(size, 8), 8 * size + _CREDIT)
            compute += groups * count * stripe
    fetch = memory.latency + _FIRST_BEAT + (data + min(weights, data)) / memory.bytes_per_cycle
    cycles = fetch + compute + memory.latency + _TAIL
    total = (data + weights + written) / memory.bytes_per_cycle
    return Cost(max(cycles, total), compute, data + weights, written)
