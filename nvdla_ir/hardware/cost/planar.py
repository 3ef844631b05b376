"""The costs of SDP, PDP, CDP, RUBIK and BDMA where each runs alone, and what each moves.

Each takes its throughput an element of every atom, the channels that pad the last one included.
Constants are those of nv_small's RTL (cycles.md section 1.2).
"""

from __future__ import annotations

from nvdla_ir.hardware.bdma import UNIT_BYTES, BdmaSetting
from nvdla_ir.hardware.cdp import CdpSetting
from nvdla_ir.hardware.cost.base import Client, Cost, Course, MemoryTiming, Span
from nvdla_ir.hardware.pdp import PdpSetting, PoolWindow
from nvdla_ir.hardware.rubik import RubikSetting
from nvdla_ir.hardware.sdp import SdpSetting, StageName
from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.hw.formats.sizes import ceil_div

_SDP_PIPELINE = 60
"""Cycles beside those of data and twice the memory's latency."""
_SDP_STAGE = 6
"""Each stage that works adds so many."""
_PDP_PIPELINE = 67
_PDP_FLUSH = 3
"""Of each line of outputs that are made after the last input."""
_CDP_PIPELINE = 124
_CDP_SUMS = 40
"""Of these, those of the sums of squares."""
_CDP_CHUNK = 8
"""Pixels of a line that CDP takes at once; each chunk costs a cycle."""
_CDP_PART = (1.5, 0.55)
"""What a part of one costs, and more for each pixel that it lacks."""
_CDP_DRAIN = 6
"""Of the pipeline's cycles, those that each pixel saves which the last chunk lacks."""

_CLIENTS: dict[StageName, Client] = {"BS": "SDP BS", "BN": "SDP BN", "EW": "SDP EW"}


_FIRST_DATA = 30
"""Cycles before the first data is there, without the memory's latency: a unit's next layer asks
for its own when the one before has all of its."""
_LAST_RESULT = 20
"""Cycles from the last result that leaves the unit to its interrupt, without latency."""


def cube_bytes(channels: int, height: int, width: int, hw: HardwareConfiguration) -> int:
    """Bytes of a feature cube, with the channels that pad its last atom."""
    return ceil_div(channels, hw.memory_atom) * hw.memory_atom * height * width


def _alone(
    pipeline: float,
    working: float,
    unit: Span,
    read: dict[Client, int],
    written: dict[Client, int],
    hw: HardwareConfiguration,
    memory: MemoryTiming,
) -> Cost:
    """A unit that works while its data comes, or waits for the memory."""
    beats = (sum(read.values()) + sum(written.values())) / hw.memory_width_bytes
    traffic = beats * memory.beat_cycles(hw)
    busy = max(pipeline + working, traffic)
    latency = 2 * memory.latency + pipeline
    cycles = 2 * memory.latency + busy
    spans: dict[Span, float] = {
        unit: working,
        "memory": max(0.0, cycles - working - latency),
        "latency": min(latency, cycles - working),
    }
    start = memory.latency + _FIRST_DATA
    end = cycles - memory.latency - _LAST_RESULT
    course = Course(start, end, end, cycles, 0, 0, traffic)
    found: dict[Span, float] = {span: amount for span, amount in spans.items() if amount > 0}
    return Cost(cycles, found, read, written, course=course)


# -------------------------------------------------------------- SDP


def operand_bytes(setting: SdpSetting, hw: HardwareConfiguration) -> dict[Client, int]:
    """What the SDP reads for its stages."""
    found: dict[Client, int] = {}
    for name, stream in setting.streams.items():
        if stream.enabled:
            table = stream.mode == "PER_KERNEL"
            height, width = (1, 1) if table else (setting.height, setting.width)
            size = (2 if stream.use == "BOTH" else 1) * (1 if stream.size == "ONE_BYTE" else 2)
            cubes = 1 if table else setting.batch
            cube = cube_bytes(setting.channels, height, width, hw)
            found[_CLIENTS[name]] = cubes * size * cube
    return found


def sdp_throughput(setting: SdpSetting, hw: HardwareConfiguration) -> int:
    """Elements a cycle of the slowest stage that works."""
    return min(_rates(setting, hw), default=hw.sdp.throughput)


def _rates(setting: SdpSetting, hw: HardwareConfiguration) -> list[int]:
    """Elements a cycle of each stage that works."""
    stages = (
        (setting.bs.bypass, hw.sdp.bs_throughput),
        (setting.bn.bypass, hw.sdp.bn_throughput),
        (setting.ew.bypass, hw.sdp.ew_throughput),
    )
    return [rate for bypass, rate in stages if not bypass]


def sdp_cost(
    setting: SdpSetting,
    pooling: PdpSetting | None,
    hw: HardwareConfiguration,
    memory: MemoryTiming,
) -> Cost:
    """The cost of the SDP that reads memory, and writes it or hands its results to the PDP."""
    cube = cube_bytes(setting.channels, setting.height, setting.width, hw) * setting.batch
    operands = operand_bytes(setting, hw)
    throughput = sdp_throughput(setting, hw)
    written: dict[Client, int] = {"SDP": cube}
    if pooling is not None:
        throughput = min(throughput, hw.pdp_throughput)
        written = {"PDP": pdp_written(pooling, hw)}
    return _alone(
        _SDP_PIPELINE + _SDP_STAGE * len(_rates(setting, hw)),
        cube / throughput,
        "SDP",
        {"SDP": cube, **operands},
        written,
        hw,
        memory,
    )


# -------------------------------------------------------------- PDP


def pdp_written(setting: PdpSetting, hw: HardwareConfiguration) -> int:
    """Bytes that the PDP writes."""
    return cube_bytes(setting.channels, setting.rows.outputs, setting.columns.outputs, hw)


def pdp_cost(setting: PdpSetting, hw: HardwareConfiguration, memory: MemoryTiming) -> Cost:
    """The cost of the PDP that reads and writes memory."""
    rows, columns = setting.rows, setting.columns
    width = columns.size
    if setting.split is not None:
        # segments share columns
        width += (setting.split.count - 1) * (columns.kernel - columns.stride)
    read = cube_bytes(setting.channels, rows.size, width, hw)
    surfaces = ceil_div(setting.channels, hw.memory_atom)
    between, last = _late_lines(rows)
    lines = between * (surfaces - 1) + last
    late = lines * columns.outputs + _late_elements(columns) * rows.size * surfaces
    atom = hw.memory_atom / hw.pdp_throughput
    return _alone(
        _PDP_PIPELINE + _PDP_FLUSH * lines,
        read / hw.pdp_throughput + late * atom,
        "PDP",
        {"PDP": read},
        {"PDP": pdp_written(setting, hw)},
        hw,
        memory,
    )


def _late_elements(window: PoolWindow) -> int:
    """Outputs of one line for which the next line waits: those that end in the padding, less what
    the next one reads before its first output."""
    ending = window.after // window.stride
    first = window.kernel - window.before
    return max(0, ending - first + 1)


def _late_lines(window: PoolWindow) -> tuple[int, int]:
    """Lines of outputs for which the next surface waits, and those after the last input."""
    ending = window.after // window.stride
    late = _late_elements(window)
    in_next = ending - late
    if in_next > 1:
        # one that ends in the padding keeps an accumulator that the next surface wants
        accumulators = ceil_div(window.kernel, window.stride)
        wanted = window.before // window.stride + 1
        late += max(
            (
                number + 1
                for number in range(in_next)
                if (window.outputs - in_next + number) % accumulators < wanted
            ),
            default=0,
        )
    return late, ending


# -------------------------------------------------------------- CDP


def cdp_cost(setting: CdpSetting, hw: HardwareConfiguration, memory: MemoryTiming) -> Cost:
    """The cost of CDP, whatever its window."""
    cube = cube_bytes(setting.channels, setting.height, setting.width, hw)
    whole, rest = divmod(setting.width, _CDP_CHUNK)
    lacking = _CDP_CHUNK - rest if rest else 0
    chunks = whole + (_CDP_PART[0] + _CDP_PART[1] * lacking if rest else 0)
    lines = setting.height * ceil_div(setting.channels, hw.memory_atom)
    pipeline = _CDP_PIPELINE - _CDP_DRAIN * lacking - (0 if setting.square_sum else _CDP_SUMS)
    return _alone(
        pipeline + chunks * lines,
        cube / hw.cdp_throughput,
        "CDP",
        {"CDP": cube},
        {"CDP": cube},
        hw,
        memory,
    )


# -------------------------------------------------------------- RUBIK, BDMA


def rubik_cost(setting: RubikSetting, hw: HardwareConfiguration, memory: MemoryTiming) -> Cost:
    """The cost of RUBIK, of which nothing is measured: an atom a cycle, or the memory."""
    read = cube_bytes(setting.channels, setting.height, setting.width, hw)
    written = cube_bytes(*setting.output, hw)
    atoms = read / hw.memory_atom
    return _alone(0, atoms, "RUBIK", {"RUBIK": read}, {"RUBIK": written}, hw, memory)


def bdma_cost(setting: BdmaSetting, hw: HardwareConfiguration, memory: MemoryTiming) -> Cost:
    """The cost of BDMA, of which nothing is measured: one of its units a cycle, or the memory."""
    size = sum(one.line_bytes * one.lines * one.surfaces for one in setting.transfers)
    return _alone(0, size / UNIT_BYTES, "BDMA", {"BDMA": size}, {"BDMA": size}, hw, memory)
