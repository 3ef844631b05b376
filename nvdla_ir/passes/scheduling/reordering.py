"""Layers of a device program in another order, as operations."""

from __future__ import annotations

from collections.abc import Sequence

from nvdla_ir.hardware.cost.model import CostModel
from nvdla_ir.hardware.layer import Layer
from nvdla_ir.ir.operation import Block, Operation, Value
from nvdla_ir.passes.scheduling.footprints import Footprint, Footprints
from nvdla_ir.passes.scheduling.order import by_cost
from nvdla_ir.passes.settings.layers import HardwareLayer, hardware_layers
from nvdla_ir.passes.settings.memory import buffer_bytes
from nvdla_ir.passes.settings.programs import fitted_setting


def reorder(block: Block, footprints: Footprints, model: CostModel) -> int:
    """Bring the layers of a device program into the order that costs least, with the banks of the
    convolution buffer that suit it.

    Returns how many stand elsewhere than before.
    Raises: DiagnosticError for layers that the hardware cannot run, if their order matters.
    """
    written = [footprints.of_layer(layer) for layer in hardware_layers(block)]
    if len(written) < 2:
        return 0

    def setting_of(footprint: Footprint) -> Layer:
        return fitted_setting(footprint.layer, model.hw)

    def size_of(buffer: Value) -> int:
        return buffer_bytes(buffer, model.hw, model.hw.memory_atom)

    schedule = by_cost(written, setting_of, size_of, model)
    for footprint, setting in schedule.changed.items():
        _set_banks(footprint.layer, setting)
    if schedule.order is written:
        return 0
    _move(block, schedule.order)
    return sum(old is not new for old, new in zip(written, schedule.order, strict=True))


def _set_banks(layer: HardwareLayer, setting: Layer) -> None:
    assert layer.convolution is not None and setting.convolution is not None
    banks = setting.convolution.banks
    assert banks is not None
    layer.convolution.data_banks, layer.convolution.weight_banks = banks.data, banks.weights


def _move(block: Block, order: Sequence[Footprint]) -> None:
    """Put the layers in ``order``, each behind the views and constants that it needs."""
    *operations, end = block.operations
    pending = dict.fromkeys(operations)

    def place(operation: Operation) -> None:
        # depth first, by hand: views may lie in views without end
        stack = [operation]
        while stack:
            top = stack[-1]
            needed = [
                source
                for value in top.operands
                if (source := value.defining_operation) is not None and source in pending
            ]
            if needed:
                stack += needed
                continue
            stack.pop()
            if top in pending:
                del pending[top]
                top.detach()
                block.insert_before(top, end)

    for footprint in order:
        for operation in footprint.layer.operations:
            place(operation)
    for operation in tuple(pending):
        place(operation)
