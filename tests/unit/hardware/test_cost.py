"""What layers cost: against cycles measured on RTL, and what must hold of any cost."""

from __future__ import annotations

from statistics import median

import pytest
from attrs import evolve
from measured_layers import RECORDS, MeasuredLayer, measured_layers

from nvdla_ir.hardware.bdma import BdmaSetting, Transfer
from nvdla_ir.hardware.cdp import CdpSetting
from nvdla_ir.hardware.convolution import ConvolutionSetting
from nvdla_ir.hardware.convolution_geometry import Banks, ImageInput, Reuse, Window
from nvdla_ir.hardware.cost.base import Cost, MemoryTiming, total
from nvdla_ir.hardware.cost.model import CostModel, is_measured
from nvdla_ir.hardware.cost.output import group_cycles
from nvdla_ir.hardware.layer import Layer
from nvdla_ir.hardware.pdp import PdpSetting, PoolWindow
from nvdla_ir.hardware.rubik import RubikSetting
from nvdla_ir.hardware.sdp import OperandStream, SdpSetting, XStage
from nvdla_ir.hw.configuration import load_configuration, names
from nvdla_ir.hw.pixels import PIXEL_FORMATS

SMALL = load_configuration("nv_small")
TABLE = OperandStream("BOTH", "TWO_BYTE", "PER_KERNEL")
CUBE = OperandStream("ALU", "ONE_BYTE", "PER_ELEMENT")


# -------------------------------------------------------------- measured


@pytest.fixture(scope="module")
def measured() -> list[MeasuredLayer]:
    if not RECORDS.exists():
        pytest.skip("needs the measured cycles beside the project")
    return list(measured_layers())


_CLIENTS = {
    "CDMA data": "cdma_dat",
    "CDMA weights": "cdma_wt",
    "SDP": "sdp",
    "SDP BS": "sdp_bs",
    "SDP BN": "sdp_bn",
    "PDP": "pdp",
    "CDP": "cdp",
}


@pytest.mark.parametrize("latency", [50, 200])
def test_layers_cost_what_was_measured(measured: list[MeasuredLayer], latency: int) -> None:
    found = [one for one in measured if one.memory.latency == latency]
    errors = sorted(abs(one.error) for one in found if one.cycles >= 1000)
    assert len(errors) > 100
    assert median(errors) <= 0.002
    assert errors[int(0.9 * len(errors))] <= 0.01
    assert errors[-1] <= 0.04
    # shorter ones are mostly the start and the end of a pipeline
    short = sorted(abs(one.error) for one in found if one.cycles < 1000)
    assert median(short) <= 0.02


@pytest.mark.parametrize("latency", [50, 200])
@pytest.mark.parametrize("network", ["digits_lenet", "digits_resnet"])
def test_networks_cost_what_was_measured(
    measured: list[MeasuredLayer], network: str, latency: int
) -> None:
    layers = [m for m in measured if m.program == network and m.memory.latency == latency]
    cycles = sum(one.cycles for one in layers)
    assert sum(one.cost.cycles for one in layers) == pytest.approx(cycles, rel=0.001)


def test_traffic_is_what_was_counted(measured: list[MeasuredLayer]) -> None:
    # two of our traces set PDP's output to other channels or columns than its windows make
    odd = ("own_pdp_maximum_split", "own_pdp_minimum")
    for one in measured:
        if one.program in odd:
            continue
        for part, counted in ((one.cost.read, one.read), (one.cost.written, one.written)):
            assert {_CLIENTS[c]: size for c, size in part.items() if size} == counted, one.name


# -------------------------------------------------------------- the pieces of the model


def test_full_stripes_wait_for_their_credits() -> None:
    # 16 pixels of 9 cycles, and 38 until the last one's credit is back
    first, step = group_cycles(64, 1, 1, 8, 9, rows_apart=False)
    assert step == 4 * (16 * 9 + 38)
    assert first == 3 * 182 + 34 + 16 * 9


def test_many_blocks_leave_the_output_time() -> None:
    assert group_cycles(64, 1, 36, 8, 9, rows_apart=False)[1] == 64 * 36


def test_a_stripe_starts_when_there_are_credits_for_its_own_pixels() -> None:
    # 24 pixels go as 8 and 16; 16 as they are, 8 more in half of the time that 16 take and more
    _, step = group_cycles(24, 1, 1, 8, 9, rows_apart=False)
    assert 24 * 9 < step == 254 < 182 + 8 * 9 + 38


def test_rows_of_an_image_are_stripes_of_their_own() -> None:
    apart = group_cycles(20, 4, 30, 8, 9, rows_apart=True)[1]
    joined = group_cycles(20, 4, 30, 8, 9, rows_apart=False)[1]
    # 16 and 4 pixels, of which the 4 take as long as 8
    assert apart == 4 * 30 * (16 + 8)
    assert joined == 30 * 80


def test_long_outputs_are_priced_by_their_period() -> None:
    short = group_cycles(16 * 50, 1, 3, 8, 9, rows_apart=False)
    long = group_cycles(16 * 5050, 1, 3, 8, 9, rows_apart=False)
    assert long[0] - short[0] == long[1] - short[1] == 5000 * 182


# -------------------------------------------------------------- any layer


def convolution(
    channels: int = 32, kernels: int = 32, size: int = 16, taps: int = 3, stride: int = 1
) -> ConvolutionSetting:
    outputs = ceil_outputs(size, stride)
    window = Window.exact(
        taps=taps, stride=stride, dilation=1, before=taps // 2, size=size, outputs=outputs
    )
    return ConvolutionSetting(channels, kernels, window, window, Banks(16, 16))


def ceil_outputs(size: int, stride: int) -> int:
    return -(-size // stride)


def behind(setting: ConvolutionSetting, **changes: object) -> SdpSetting:
    return SdpSetting(
        setting.kernels, setting.rows.outputs, setting.columns.outputs, flying=True, **changes
    )


def pooled(setting: ConvolutionSetting) -> PdpSetting:
    outputs = setting.rows.outputs // 2
    window = PoolWindow(2 * outputs, 2, 2, 0, 0, outputs)
    return PdpSetting(setting.kernels, window, window, "MAX", flying=True)


def layers() -> list[Layer]:
    some = [convolution(), convolution(8, 8), convolution(512, 64, 1, 1), convolution(3, 64, 31)]
    image = evolve(convolution(4, 16), image=ImageInput(PIXEL_FORMATS["T_A8B8G8R8"], signed=False))
    found = [Layer(one, behind(one), None) for one in (*some, image)]
    found += [Layer(one, behind(one, streams={"BS": TABLE, "BN": CUBE}), None) for one in some]
    found.append(Layer(some[0], behind(some[0], to_pdp=True), pooled(some[0])))
    alone = SdpSetting(20, 9, 7, flying=False, bs=XStage(bypass=False))
    window = PoolWindow(9, 5, 1, 4, 4, 13)
    pool = PdpSetting(20, window, window, "AVERAGE", flying=False)
    units = [
        CdpSetting(20, 9, 7, window=5),
        RubikSetting("CONTRACT", 128, 9, 7, 20, (2, 2)),
        BdmaSetting((Transfer(64, 9, 3), Transfer(32, 1, 1))),
    ]
    found += [Layer(alone=unit) for unit in units]
    return [*found, Layer(None, alone, None), Layer(None, None, pool)]


def costs(name: str, memory: MemoryTiming) -> list[Cost]:
    model = CostModel(load_configuration(name), memory)
    return [model.cost(layer) for layer in layers()]


@pytest.mark.parametrize("name", names())
def test_spans_add_up(name: str) -> None:
    for memory in (MemoryTiming(), MemoryTiming(300, 0.5)):
        for cost in costs(name, memory):
            assert sum(cost.spans.values()) == pytest.approx(cost.cycles)
            assert min(cost.spans.values()) > 0
            assert cost.limit in cost.spans


@pytest.mark.parametrize("name", names())
def test_no_layer_beats_memory_or_macs(name: str) -> None:
    hw = load_configuration(name)
    for memory in (MemoryTiming(0, 1), MemoryTiming(0, 16)):
        for cost in costs(name, memory):
            moved = min(memory.bytes_per_cycle, hw.memory_width_bytes)
            assert cost.cycles >= cost.memory_bytes / moved
            assert cost.mac_utilisation(hw) <= 1


@pytest.mark.parametrize("name", names())
def test_a_better_memory_is_never_slower(name: str) -> None:
    best = costs(name, MemoryTiming(20, 8))
    for memory in (MemoryTiming(90, 8), MemoryTiming(20, 3), MemoryTiming(20, 0.25)):
        for fast, slow in zip(best, costs(name, memory), strict=True):
            assert fast.cycles <= slow.cycles
            assert fast.cycles < slow.cycles or memory.latency == 20
            assert (fast.read, fast.written) == (slow.read, slow.written)


def test_what_is_reused_is_not_fetched() -> None:
    model, whole = CostModel(SMALL), convolution()
    first = model.cost(Layer(whole, behind(whole), None))
    kept = evolve(whole, reuse=Reuse(data=True, weights=True))
    again = model.cost(Layer(kept, behind(kept), None))
    assert first.read == {"CDMA data": 8192, "CDMA weights": 9216}
    assert sum(again.read.values()) == 0 and again.cycles < first.cycles - 1000


def test_few_banks_for_weights_cost_cycles() -> None:
    # a kernel group of 4096 bytes is a bank: it computes for 64 blocks of 16 pixels, and is
    # fetched in 512 beats
    def cycles(banks: int) -> float:
        one = evolve(convolution(512, 64, 4, 1), banks=Banks(8, banks))
        return CostModel(SMALL, MemoryTiming(200, 8)).cost(Layer(one, behind(one), None)).cycles

    assert cycles(2) == cycles(8)
    assert cycles(1) - cycles(2) == 7 * (200 + 40 + 512)


def test_operands_are_priced_with_their_convolution() -> None:
    one = convolution()
    model = CostModel(SMALL, MemoryTiming(50, 2))
    plain = model.cost(Layer(one, behind(one), None))
    added = model.cost(Layer(one, behind(one, streams={"BN": CUBE}), None))
    assert added.read["SDP BN"] == 32 * 16 * 16
    # what the SDP reads ahead takes the memory's time before the convolution can start
    assert 600 < added.cycles - plain.cycles < 800


def test_pooling_behind_a_convolution_writes_for_both() -> None:
    one = convolution()
    cost = CostModel(SMALL).cost(Layer(one, behind(one, to_pdp=True), pooled(one)))
    assert cost.written == {"PDP": 32 * 8 * 8}


def test_pools_wait_for_windows_that_end_in_the_padding() -> None:
    def cycles(before: int, after: int, outputs: int) -> float:
        rows = PoolWindow(16, 5, 1, before, after, outputs)
        columns = PoolWindow(16, 5, 1, 0, 0, 12)
        pool = PdpSetting(24, rows, columns, "MAX", flying=False)
        return CostModel(SMALL).cost(Layer(None, None, pool)).cycles

    # 24 channels are three surfaces: two lines of 12 after the last, and before each next one
    # where the windows that begin want the accumulators of those that end
    assert cycles(0, 0, 12) == 67 + 100 + 3 * 256 * 8
    assert cycles(0, 2, 14) - cycles(0, 0, 12) == 2 * (12 * 8 + 3)
    assert cycles(2, 2, 16) - cycles(0, 0, 12) == 6 * (12 * 8 + 3)


def test_cdp_costs_its_atoms_and_the_ends_of_lines() -> None:
    cost = CostModel(SMALL).cost(Layer(alone=CdpSetting(16, 4, 16, window=5)))
    assert cost.cycles == 124 + 100 + 8 * 128 + 2 * 8
    assert cost.read == cost.written == {"CDP": 1024}


def test_what_moves_data_is_priced_by_its_traffic() -> None:
    full = CostModel(load_configuration("nv_full"), MemoryTiming(50, 32))
    contraction = full.cost(Layer(alone=RubikSetting("CONTRACT", 128, 9, 7, 20, (2, 2))))
    assert contraction.read == contraction.written == {"RUBIK": 128 * 9 * 7}
    assert contraction.cycles == 100 + 2 * 128 * 9 * 7 / 32
    copy = full.cost(Layer(alone=BdmaSetting((Transfer(64, 9, 3), Transfer(32, 1, 1)))))
    assert copy.read == copy.written == {"BDMA": 64 * 9 * 3 + 32}


def test_wider_units_are_quicker() -> None:
    layer = Layer(None, SdpSetting(64, 32, 32, flying=False), None)
    times = [CostModel(load_configuration(name)).cost(layer).cycles for name in names()]
    assert times[0] > 3 * times[-1]
    eltwise = SdpSetting(
        64, 32, 32, flying=False, ew=evolve(SdpSetting(1, 1, 1, True).ew, bypass=False)
    )
    large = CostModel(load_configuration("nv_large"))
    assert large.cost(Layer(None, eltwise, None)).spans["SDP"] == 64 * 32 * 32 / 4


def test_totals() -> None:
    one, two = costs("nv_small", MemoryTiming())[:2]
    both = total([one, two])
    assert both.cycles == one.cycles + two.cycles
    assert both.macs == one.macs + two.macs
    assert both.read["CDMA data"] == one.read["CDMA data"] + two.read["CDMA data"]
    assert sum(both.spans.values()) == pytest.approx(both.cycles)


def test_only_what_was_measured_says_so() -> None:
    assert [name for name in names() if is_measured(load_configuration(name))] == ["nv_small"]
