"""The pass compress-weights."""

from __future__ import annotations

from math import inf

from attrs import evolve, frozen

from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.nvdla import ConstantOp, configuration_of
from nvdla_ir.hardware.convolution_geometry import CompressedWeights
from nvdla_ir.hardware.cost.model import CostModel
from nvdla_ir.hardware.fitting import Shortage, divide, undivided
from nvdla_ir.hardware.layer import Layer
from nvdla_ir.hw.formats.compressed_weights import compressed_sizes
from nvdla_ir.passes.base import Pass, Session
from nvdla_ir.passes.conditions import has_hardware_layers
from nvdla_ir.passes.settings.layers import HardwareLayer, device_functions, hardware_layers
from nvdla_ir.passes.settings.programs import layer_setting


@frozen
class CompressWeights(Pass):
    """Leaves zeros out of the weights in memory, where the hardware can put them back.

    Before, with 70 % of zeros::

        %c = nvdla.conv %x, %w -> !nvdla.stream<1x512x7x7xi32>

    After::

        %c = nvdla.conv %x, %w compressed_weights = [78720, 32768] -> !nvdla.stream<1x512x7x7xi32>

    The numbers are bytes: of what is not zero, and of a mask with a bit for each weight. Results
    are the same. Taken where the estimate has fewer cycles, or as many and less memory traffic, for
    convolutions that then fit the convolution buffer at once (convolution.md section 2.6). What has
    its share of the buffer, or is compressed already, stays as it is.
    """

    name = "compress-weights"
    subject = has_hardware_layers()

    def run(self, module: ModuleOp, session: Session) -> None:
        hw = configuration_of(module)
        if not hw.has_weight_compression:
            return
        model = CostModel(hw)
        for function in device_functions(module):
            for layer in hardware_layers(function.body):
                if layer.convolution is not None:
                    _compress(layer, model, session)


def _compress(layer: HardwareLayer, model: CostModel, session: Session) -> None:
    op = layer.convolution
    assert op is not None
    constant = op.weight.defining_operation
    decided = op.data_banks is not None or op.compressed_weights is not None
    if decided or not isinstance(constant, ConstantOp):
        return
    weights = session.resources.tensor(constant.value, constant.location).array()
    sizes = compressed_sizes(weights, model.hw.weight_alignment)
    if sum(sizes) >= weights.size:
        return
    setting = layer_setting(layer, model.hw)
    assert setting.convolution is not None and setting.processor is not None
    plain = Layer(setting.convolution, setting.processor.shape(), None)
    smaller = evolve(setting.convolution, compressed=CompressedWeights(*sizes))
    before, after = _price(plain, model), _price(evolve(plain, convolution=smaller), model)
    if after >= before:
        return
    op.compressed_weights = sizes
    session.count(CompressWeights.name, "convolutions")
    session.count(CompressWeights.name, "bytes saved", weights.size - sum(sizes))
    session.diagnostics.remark(
        layer.location,
        f"{layer.describe()} reads its weights without zeros: {sum(sizes)} bytes, not "
        f"{weights.size}",
    )


def _price(layer: Layer, model: CostModel) -> tuple[float, float]:
    """Cycles and bytes of memory traffic of a convolution; infinite for compressed weights that do
    not fit the buffer at once."""
    assert layer.convolution is not None
    banks = undivided(layer.convolution, model.hw)
    if banks is not None:
        fitted = evolve(layer.convolution, banks=banks)
        if fitted.faults(model.hw):
            return inf, inf
        cost = model.cost(evolve(layer, convolution=fitted))
        return cost.cycles, cost.memory_bytes
    if layer.convolution.compressed is not None:
        return inf, inf
    division = divide(layer, model)
    # nothing is known of the traffic of pieces; their cycles decide
    return (inf, inf) if isinstance(division, Shortage) else (division.cycles, inf)
