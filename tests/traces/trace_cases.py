"""The cases: what each trace programs. Each is made for every configuration that can run it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from attrs import evolve, frozen
from trace_convolutions import (
    UNITS,
    Layer,
    feature_convolution,
    image_convolution,
)
from trace_planar import normalize, pool
from trace_sdp import Memory, Sdp, Unit, process, units_of, window_table
from trace_writer import PRIMARY, Cube, Trace

from nvdla_ir.arith import reference
from nvdla_ir.arith.parameters import AluAlgorithm, LookUpCounters, OperandConverter, YUnit
from nvdla_ir.hw.configuration import HardwareConfiguration, load_configuration, names

MAX, MIN, SUM, EQL = AluAlgorithm.MAX, AluAlgorithm.MIN, AluAlgorithm.SUM, AluAlgorithm.EQL


@frozen
class Case:
    """A case by name, and which configurations have what it needs.

    Cases of one ``family`` show the same unit from different sides: the first configuration that
    can run them has all of them, the others have one each, in turn.
    """

    name: str
    build: Callable[[Trace], None]
    needs: Callable[[HardwareConfiguration], bool]
    family: str


CASES: list[Case] = []


def case(
    needs: Callable[[HardwareConfiguration], bool] = lambda hw: True, *, family: str = ""
) -> Callable[[Callable[[Trace], None]], Callable[[Trace], None]]:
    def register(build: Callable[[Trace], None]) -> Callable[[Trace], None]:
        CASES.append(Case(build.__name__, build, needs, family))
        return build

    return register


def cases_of(target: str) -> list[Case]:
    """The cases that a configuration has."""
    turn = names().index(target)
    possible = [case for case in CASES if case.needs(load_configuration(target))]
    chosen: list[Case] = []
    for case in possible:
        first = next(name for name in names() if case.needs(load_configuration(name)))
        members = [other for other in possible if other.family == case.family]
        if target == first or not case.family or members[turn % len(members)] is case:
            chosen.append(case)
    return chosen


def to_memory(trace: Trace, layer: Sdp, sums: np.ndarray, *, memory: str = PRIMARY) -> Cube:
    """End a convolution in memory."""
    batches, _, height, width = sums.shape
    alignment = 2 * trace.hw.memory_atom if batches > 1 else 0
    destination = trace.destination(
        layer.channels, height, width, memory=memory, batches=batches, alignment=alignment
    )
    process(trace, layer, sums, destination=destination)
    units = (*units_of(layer, None), *reversed(UNITS))
    trace.enable(*units)
    trace.finish((*UNITS, *units_of(layer, None)), [destination])
    return destination


def _from_memory(
    trace: Trace, layer: Sdp, source: Cube, *, memory: str = PRIMARY, **reads: int
) -> Cube:
    """Send a cube through the SDP."""
    destination = trace.destination(*source.size, memory=memory)
    process(trace, layer, trace.read(source)[np.newaxis], source=source, destination=destination)
    trace.enable("SDP", "SDP_RDMA")
    trace.finish(("SDP_RDMA", "SDP"), [destination], {f"SDP.{k}": v for k, v in reads.items()})
    return destination


# ---------------------------------------------------------------- convolutions


@case()
def dc_kernel_groups(trace: Trace) -> None:
    """More kernels than a group, bias per kernel and ReLU; odd numbers of both."""
    kernels = trace.hw.atomic_k + 2
    source = trace.source(trace.bytes(3, 2, 4), trace.other_memory)
    layer = Layer(
        trace.bytes(kernels, 3, 1, 2), stride=(1, 2), pads=(1, 0, 0, 0), pad_value=-100,
        weight_memory=trace.other_memory,
    )  # fmt: skip
    sums = feature_convolution(trace, source, layer)
    bias = Unit(alu=SUM, alu_operand=Memory(2, per_element=False, limit=9000), relu=True)
    to_memory(trace, Sdp(kernels, {"BS": bias}), sums)


@case()
def dc_channel_blocks(trace: Trace) -> None:
    """More channels than a block, dilation, padding values, input converter, truncation.

    Fields without a meaning for the layer hold anything.
    """
    trace.loud = True
    trace.ignored = {
        "CDMA": {
            "PIXEL_FORMAT": 21, "PIXEL_X_OFFSET": 30, "UV_LINE_STRIDE": 0x1300, "CYA": 0x55AA,
            "WMB_ADDR_LOW": 0x7700, "MEAN_FORMAT": 1, "MEAN_GU": -321, "PAD_VALUE": 0x4711,
        },
        "CSC": {"PRA_TRUNCATE": 3, "CYA": 0xABCD},
        "CACC": {"DATAOUT_ADDR": 0x1200, "LINE_STRIDE": 0x3400, "SURF_STRIDE": 0x5600},
        "SDP": {
            "BS_MUL_PRELU": 1, "BS_ALU_SRC": 1, "BN_ALU_ALGO": 3, "BN_MUL_OPERAND": 99,
            "EW_ALU_ALGO": 3, "EW_MUL_SRC": 1, "EW_TRUNCATE": 77,
        },
    }  # fmt: skip
    channels = trace.hw.atomic_c + 3
    source = trace.source(trace.bytes(channels, 2, 3), filled=False)
    layer = Layer(
        trace.bytes(2, channels, 2, 2), dilation=(1, 2), pads=(2, 1, 1, 0), pad_value=93,
        truncate=9 if channels < 32 else 10, converter=(-21, 387, 9),
    )  # fmt: skip
    sums = feature_convolution(trace, source, layer)
    # What the truncation leaves is the result.
    to_memory(trace, Sdp(2, scale=1, offset=3), sums)


@case(family="dc")
def dc_one_signed(trace: Trace) -> None:
    """Nothing but negative data and positive weights, a stride, no padding, one pixel out."""
    source = trace.source(trace.bytes(5, 4, 3, sign=-1), gaps=False)
    weights = trace.bytes(3, 5, 4, 3, sign=1)
    sums = feature_convolution(trace, source, Layer(weights, stride=(4, 3), truncate=5))
    to_memory(trace, Sdp(3), sums)


@case(family="dc")
def dc_reuse(trace: Trace) -> None:
    """Lines and weights stay in the buffer: all of them first, then a part."""
    values = trace.bytes(5, 3, 3)
    weights = trace.bytes(4, 5, 2, 2)
    source = trace.source(values, filled=False)
    layer = Layer(weights, keep_weights=True, released=1)
    to_memory(trace, Sdp(4), feature_convolution(trace, source, layer))
    more = trace.source(trace.bytes(5, 1, 3), filled=False)
    again = evolve(layer, misc={"DATA_REUSE": 1, "WEIGHT_REUSE": 1}, keep_data=True)
    sums = feature_convolution(trace, more, again, kept=values[:, 1:])
    to_memory(trace, Sdp(4), sums)
    lines = np.concatenate((values[:, 1:], trace.read(more)[:5]), axis=1)
    last = evolve(layer, misc=again.misc, pads=(1, 0, 0, 1), pad_value=-3)
    # What the addresses point at is not fetched.
    sums = feature_convolution(trace, source, last, whole=lines)
    to_memory(trace, Sdp(4), sums)


# ---------------------------------------------------------------- images


@case()
def img_four_channels(trace: Trace) -> None:
    """A mean per component, skipped pixels, padding values of CDMA and CSC that differ."""
    layer = Layer(
        trace.bytes(4, 4, 2, 2), stride=(1, 2), pads=(1, 1, 1, 0), pad_value=88,
        converter=(0, 200, 8),
    )  # fmt: skip
    sums = image_convolution(
        trace, layer, (4, 5), trace.pick(12, 13, 14, 15, 16, 17, 18, 19, 26, 27), side_value=-90,
        means=(100, -7, 140, 31), skipped=trace.pick(*range(trace.hw.memory_atom // 4)),
    )  # fmt: skip
    to_memory(trace, Sdp(4), sums)


@case(family="image")
def img_two_planes(trace: Trace) -> None:
    """Y and UV planes of signed pixels, two lines of weights at a time where they fit."""
    columns = 1 if trace.hw.atomic_c < 12 else 2
    layer = Layer(trace.bytes(3, 3, 3, columns), pads=(0, 0, 1, 0), converter=(17, -3, 2))
    sums = image_convolution(
        trace, layer, (4, 5), trace.pick(28, 29), signed=True, lines=2, skipped=3,
        memory=trace.other_memory,
    )  # fmt: skip
    to_memory(trace, Sdp(3), sums)


@case(family="image")
def img_one_channel(trace: Trace) -> None:
    """Bytes as they are, four lines of weights at a time where they fit."""
    columns = 2 if trace.hw.atomic_c < 32 else 5
    layer = Layer(trace.bytes(3, 1, 5, columns), pads=(1, 0, 0, 2), pad_value=-128)
    sums = image_convolution(trace, layer, (5, 7), 0, side_value=127, lines=4)
    to_memory(trace, Sdp(3), sums)


# ---------------------------------------------------------------- SDP


@case()
def sdp_operands(trace: Trace) -> None:
    """Both operands per kernel, and one per element, from memory."""
    trace.go_high()
    source = trace.source(trace.bytes(trace.hw.memory_atom + 3, 1, 3), trace.other_memory)
    first = Unit(
        alu=SUM, alu_operand=Memory(2, per_element=False, limit=60), alu_shift=1,
        mul=Memory(2, per_element=False, limit=3000), mul_shift=9,
    )  # fmt: skip
    second = Unit(
        alu=MAX, alu_operand=Memory(1, per_element=True, memory=trace.other_memory), alu_shift=2,
        relu=True,
    )  # fmt: skip
    _from_memory(trace, Sdp(source.channels, {"BS": first, "BN": second}), source)


@case(family="sdp")
def sdp_prelu(trace: Trace) -> None:
    """A slope per kernel, then register operands and a shift without a multiplier."""
    source = trace.source(trace.bytes(5, 3, 3))
    first = Unit(mul=Memory(2, per_element=False), mul_shift=8, prelu=True)
    second = Unit(alu=MIN, alu_operand=913, mul_shift=3)
    _from_memory(trace, Sdp(5, {"BS": first, "BN": second}), source, memory=trace.other_memory)


@case(family="sdp")
def sdp_one_pixel(trace: Trace) -> None:
    """A 1x1 cube, with operands per element of two bytes in pairs."""
    source = trace.source(trace.bytes(2 * trace.hw.memory_atom + 1, 1, 1))
    unit = Unit(
        alu=SUM, alu_operand=Memory(2, per_element=True, limit=300),
        mul=Memory(2, per_element=True, limit=3000), mul_shift=11,
    )  # fmt: skip
    _from_memory(trace, Sdp(source.channels, {"BN": unit}), source)


@case(family="sdp")
def sdp_ties(trace: Trace) -> None:
    """Products that lie halfway between two results, of both signs."""
    values = (2 * trace.integers(-60, 60, 6, 2, 4) + 1).astype(np.int8)
    unit = Unit(mul=3, mul_shift=1)
    layer = Sdp(6, {"BS": unit}, scale=1, shift=2, offset=1)
    _from_memory(trace, layer, trace.source(values))


@case(lambda hw: hw.sdp.has_ew, family="eltwise")
def sdp_eltwise(trace: Trace) -> None:
    """A second cube and a multiplier behind their converters, in the Y unit."""
    channels = trace.hw.memory_atom - 3
    source = trace.source(trace.bytes(channels, 2, 3))
    other = trace.source(trace.bytes(channels, 2, 3), trace.other_memory)
    unit = Unit(
        alu=SUM, alu_operand=Memory(1, per_element=True), cube=other,
        alu_converter=OperandConverter(-9, 321, 2), mul=-3177, mul_shift=5, prelu=True,
    )  # fmt: skip
    middle = _from_memory(trace, Sdp(channels, {"EW": unit}), source)
    pairs = Memory(2, per_element=False, limit=500)
    both = Unit(
        alu=MIN, alu_operand=pairs, mul=pairs, mul_shift=4,
        mul_converter=OperandConverter(77, -5, 3), alu_converter=OperandConverter(0, 9, 0),
    )  # fmt: skip
    _from_memory(trace, Sdp(channels, {"EW": both}), middle)


@case(lambda hw: hw.sdp.has_ew, family="eltwise")
def sdp_compare(trace: Trace) -> None:
    """Cubes that differ in one element, and such that do not; nothing is written."""
    values = trace.bytes(5, 2, 2)
    source, other = trace.source(values), trace.source(values)
    lanes = trace.read(source)
    for element in other.elements():
        trace.load(PRIMARY, other.address(*element), [lanes[element]])
    for differs in (1, 0):
        if differs:
            place = other.address(4, 1, 0)
            trace.load(PRIMARY, place, [int(lanes[4, 1, 0]) ^ 1])
            untouched = trace.destination(5, 2, 2)
        else:
            other = source
        unit = Unit(alu=SUM, alu_operand=Memory(1, per_element=True), cube=other)
        layer = Sdp(5, {"EW": unit}, scale=1, fields={"EW_ALU_ALGO": int(EQL)})
        before = dict(trace.content[PRIMARY])
        process(trace, layer, lanes[np.newaxis], source=source, destination=untouched)
        trace.content[PRIMARY] = before
        trace.informative.pop()
        trace.enable("SDP_RDMA", "SDP")
        trace.finish(("SDP_RDMA", "SDP"), [untouched], {"SDP.D_STATUS": differs})


def _counters(counters: LookUpCounters) -> dict[str, int]:
    names = {"UFLOW": "underflow", "OFLOW": "overflow", "HYBRID": "hybrid"}
    names |= {"LE_HIT": "le_hit", "LO_HIT": "lo_hit"}
    return {f"D_PERF_LUT_{name}": getattr(counters, found) for name, found in names.items()}


def _looked_up(trace: Trace, *, linear: bool, offset: int) -> None:
    table = window_table(
        trace, "SDP", linear=linear, starts=(-900, -500), selects=(6, 3), offset=offset
    )
    source = trace.source(trace.bytes(5, 3, 4))
    unit = Unit(mul=40, alu=SUM, alu_operand=2000)
    layer = Sdp(5, {"EW": unit}, table, fields={"PERF_LUT_EN": 1})
    values = reference.sdp_y(trace.read(source), YUnit(mul_operand=40, alu=SUM, alu_operand=2000))
    _from_memory(trace, layer, source, **_counters(reference.look_up(values, table).counters))


@case(lambda hw: hw.sdp.has_lut, family="table")
def sdp_table_linear(trace: Trace) -> None:
    """Both tables linear; elements below, within and above them, counted."""
    _looked_up(trace, linear=True, offset=0)


@case(lambda hw: hw.sdp.has_lut, family="table")
def sdp_table_exponential(trace: Trace) -> None:
    """The first table exponential."""
    _looked_up(trace, linear=False, offset=3)


# ---------------------------------------------------------------- PDP, CDP


def _pooled(trace: Trace, method: str, channels: int, size: tuple[int, int], **options) -> None:
    source = trace.source(trace.bytes(channels, *size))
    kernel, stride, pads = (options[name] for name in ("kernel", "stride", "pads"))
    height = (size[0] + pads[2] + pads[3] - kernel[0]) // stride[0] + 1
    width = (size[1] + pads[0] + pads[1] - kernel[1]) // stride[1] + 1
    destination = trace.destination(channels, height, width, memory=trace.other_memory)
    lanes = trace.read(source)
    pool(trace, method, lanes, channels, destination, source=source, **options)
    trace.enable("PDP_RDMA", "PDP")
    trace.finish(("PDP_RDMA", "PDP"), [destination])


@case()
def pdp_average(trace: Trace) -> None:
    """A padding value that is counted, windows of 3x2."""
    _pooled(
        trace, "average", trace.hw.memory_atom - 1, (3, 4), kernel=(3, 2), stride=(1, 2),
        pads=(1, 0, 2, 1), pad_value=-77,
    )  # fmt: skip


@case(family="pdp")
def pdp_maximum_split(trace: Trace) -> None:
    """Three passes over the width, padding on all sides."""
    _pooled(
        trace, "maximum", 3, (2, 11), kernel=(1, 3), stride=(1, 2), pads=(1, 1, 0, 0),
        split=(2, 2, 2),
    )  # fmt: skip


@case(family="pdp")
def pdp_minimum(trace: Trace) -> None:
    """A stride wider than the window."""
    _pooled(
        trace, "minimum", trace.hw.memory_atom + 1, (5, 2), kernel=(2, 1), stride=(3, 1),
        pads=(0, 0, 0, 0),
    )  # fmt: skip


def _normalized(trace: Trace, *, linear: bool, size: int, **parameters: int) -> None:
    table = window_table(trace, "CDP", linear=linear, starts=(300, 900), selects=(5, 3), offset=2)
    source = trace.source(trace.bytes(trace.hw.memory_atom + 3, 1, 3))
    destination = trace.destination(*source.size, memory=trace.other_memory)
    result = normalize(trace, source, destination, table, size=size, **parameters)
    trace.enable("CDP", "CDP_RDMA")
    saturated = result.saturated if trace.hw.has_cdp_saturation_counter else 0
    reads = _counters(result.counters) | {"D_OUT_SATURATION": saturated}
    reads = {f"CDP.{name}": value for name, value in reads.items()}
    trace.finish(("CDP_RDMA", "CDP"), [destination], reads)


@case(family="cdp")
def cdp_linear(trace: Trace) -> None:
    """Windows of five channels, converters on both ends."""
    _normalized(
        trace, linear=True, size=5, input_offset=9, input_scale=3, input_shift=3,
        output_offset=-70000, output_scale=5, output_shift=16,
    )  # fmt: skip


@case(family="cdp")
def cdp_exponential(trace: Trace) -> None:
    """Windows of nine channels; the table's answer itself is the result."""
    _normalized(
        trace, linear=False, size=9, input_offset=-30, input_shift=2, output_scale=-7,
        output_shift=11, bypass_multiply=True,
    )  # fmt: skip


# ---------------------------------------------------------------- chains


@case()
def chain(trace: Trace) -> None:
    """Convolution, eltwise with pooling on the fly, convolution with pooling: both groups."""
    trace.go_high()
    channels = 6
    source = trace.source(trace.bytes(channels, 4, 4), filled=False)
    weights = trace.bytes(channels, channels, 1, 1)
    first = to_memory(
        trace, Sdp(channels), feature_convolution(trace, source, Layer(weights)),
        memory=trace.other_memory,
    )  # fmt: skip
    added = Unit(alu=SUM, alu_operand=Memory(1, per_element=True), cube=first)
    layer = Sdp(channels, {"BS": added}, scale=5, shift=3)
    result = process(trace, layer, trace.read(source)[np.newaxis], source=source)
    pooled = trace.destination(channels, 2, 2)
    pool(
        trace, "maximum", result.values[0], channels, pooled, kernel=(2, 2), stride=(2, 2),
        pads=(0, 0, 0, 0),
    )  # fmt: skip
    trace.enable("PDP", "SDP_RDMA", "SDP")
    trace.finish(("SDP_RDMA", "SDP", "PDP"), [pooled])
    sums = feature_convolution(trace, first, Layer(trace.bytes(3, channels, 2, 2)))
    result = process(trace, Sdp(3), sums)
    second = trace.destination(3, 3, 3, memory=trace.other_memory)
    pool(
        trace, "average", result.values[0], 3, second, kernel=(2, 2), stride=(1, 1),
        pads=(1, 0, 0, 1), pad_value=55,
    )  # fmt: skip
    trace.enable("CDMA", "PDP", "SDP", "CACC", "CMAC_B", "CMAC_A", "CSC")
    trace.finish((*UNITS, "SDP", "PDP"), [second])
