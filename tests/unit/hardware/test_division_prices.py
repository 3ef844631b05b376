"""What divisions cost, and which is taken."""

from __future__ import annotations

import pytest
from attrs import evolve

from nvdla_ir.hardware.convolution import ConvolutionSetting
from nvdla_ir.hardware.convolution_geometry import Window
from nvdla_ir.hardware.cost.model import HANDOVER_CYCLES, CostModel
from nvdla_ir.hardware.fitting import Division, divide
from nvdla_ir.hardware.layer import Layer
from nvdla_ir.hardware.sdp import OperandStream, SdpSetting
from nvdla_ir.hw.configuration import load_configuration

RESIDUE = OperandStream("ALU", "ONE_BYTE", "PER_ELEMENT")


def layer(channels: int, kernels: int, size: int, taps: int) -> Layer:
    window = Window(size, taps, 1, 1, taps // 2, taps // 2, size)
    convolution = ConvolutionSetting(channels, kernels, window, window)
    return Layer(convolution, SdpSetting(kernels, size, size, True, streams={"BN": RESIDUE}), None)


def division(whole: Layer, model: CostModel) -> Division:
    found = divide(whole, model)
    assert isinstance(found, Division)
    return found


@pytest.mark.parametrize("name", ["nv_small", "nv_medium_512", "nv_full"])
@pytest.mark.parametrize(
    "shape", [(64, 64, 224, 3), (512, 2048, 56, 1), (512, 512, 56, 3), (1024, 256, 56, 1)]
)
def test_the_price_is_that_of_the_pieces(name: str, shape: tuple[int, int, int, int]) -> None:
    whole = layer(*shape)
    model = CostModel(load_configuration(name))
    found = division(whole, model)
    assert len(found.pieces) > 1
    assert whole.processor is not None
    cycles = 0.0
    for piece in found.pieces:
        part = evolve(
            whole.processor,
            channels=piece.kernels.size,
            height=piece.rows.outputs.size,
            width=piece.columns.outputs.size,
        )
        cycles += model.cost(Layer(piece.setting, part, None)).cycles + HANDOVER_CYCLES
    assert found.cycles == pytest.approx(cycles)


def test_few_cycles_are_not_worth_many_runs() -> None:
    # one of ResNet-50's: 20 runs would take 1.4 % fewer cycles than 4, before software's own
    found = division(layer(512, 256, 27, 1), CostModel(load_configuration("nv_small")))
    assert len(found.pieces) <= 4


def test_weights_stay_in_the_buffer_from_row_to_row() -> None:
    found = division(layer(64, 16, 224, 3), CostModel(load_configuration("nv_small")))
    reuse = [piece.setting.reuse for piece in found.pieces]
    assert [one.weights for one in reuse] == [False] + [True] * (len(reuse) - 1)
    assert [one.keep_weights for one in reuse] == [True] * (len(reuse) - 1) + [False]
