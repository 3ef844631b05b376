"""Layers of a block in another order, as operations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nvdla_ir.dialects.nvdla import ConstantOp
from nvdla_ir.hardware.cost.model import CostModel
from nvdla_ir.hardware.layer import Layer
from nvdla_ir.ir.operation import Block, Operation, Value
from nvdla_ir.passes.scheduling.footprints import Footprint, Footprints
from nvdla_ir.passes.scheduling.order import by_cost
from nvdla_ir.passes.settings.layers import LAYER_OPERATIONS, HardwareLayer, hardware_layers
from nvdla_ir.passes.settings.memory import buffer_bytes
from nvdla_ir.passes.settings.programs import fitted_setting
from nvdla_ir.passes.settings.views import is_view


def reorder(block: Block, footprints: Footprints, model: CostModel) -> int:
    """Bring the layers of a block into the order that costs least, with the banks of the
    convolution buffer that suit it. What the host does with their results is not passed.

    Returns how many stand elsewhere than before.
    Raises: DiagnosticError for layers that the hardware cannot run, if their order matters.
    """
    layers: dict[Operation, HardwareLayer] = {layer.last: layer for layer in hardware_layers(block)}

    def setting_of(footprint: Footprint) -> Layer:
        return fitted_setting(footprint.layer, model.hw)

    def size_of(buffer: Value) -> int:
        return buffer_bytes(buffer, model.hw, model.hw.memory_atom)

    moved = 0
    for stretch, barrier in _stretches(block):
        written = [
            footprints.of_layer(layer)
            for operation in stretch
            if (layer := layers.get(operation)) is not None
        ]
        if len(written) < 2:
            continue
        schedule = by_cost(written, setting_of, size_of, model)
        if schedule.order is not written:
            _move(stretch, schedule.order, barrier)
            moved += sum(old is not new for old, new in zip(written, schedule.order, strict=True))
        for footprint, setting in schedule.changed.items():
            _set_banks(footprint.layer, setting)
    return moved


def _set_banks(layer: HardwareLayer, setting: Layer) -> None:
    assert layer.convolution is not None and setting.convolution is not None
    banks = setting.convolution.banks
    assert banks is not None
    layer.convolution.data_banks, layer.convolution.weight_banks = banks.data, banks.weights


def _stretches(block: Block) -> Iterator[tuple[list[Operation], Operation]]:
    """The operations between those that use results of layers on the host, each with the one that
    ends it."""
    computed: set[Operation] = set()
    stretch: list[Operation] = []
    for operation in tuple(block.operations):
        depends = any(value.defining_operation in computed for value in operation.operands)
        is_device = isinstance(operation, LAYER_OPERATIONS) or is_view(operation)
        if isinstance(operation, LAYER_OPERATIONS) or (depends and is_device):
            computed.add(operation)
        if (depends and not is_device) or operation is block.last_op:
            yield stretch, operation
            stretch = []
            if depends and not is_device:
                continue
        stretch.append(operation)


def _move(stretch: Sequence[Operation], order: Sequence[Footprint], barrier: Operation) -> None:
    """Put the operations of a stretch ahead of ``barrier``: what the host does first, then layers
    in ``order``, each behind the views and constants that it needs."""
    pending = dict.fromkeys(stretch)

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
                assert barrier.parent is not None
                barrier.parent.insert_before(top, barrier)

    for operation in stretch:
        if not (isinstance(operation, (*LAYER_OPERATIONS, ConstantOp)) or is_view(operation)):
            place(operation)
    for footprint in order:
        for operation in footprint.layer.operations:
            place(operation)
    for operation in tuple(pending):
        place(operation)
