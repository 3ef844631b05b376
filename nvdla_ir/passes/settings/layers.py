"""Hardware layers: the operations that run as one, because streams connect them."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.func import FuncOp
from nvdla_ir.dialects.layer import describe, layers_of
from nvdla_ir.dialects.nvdla import (
    BdmaOp,
    CdpOp,
    ConvOp,
    DownloadOp,
    MemoryOp,
    PdpOp,
    RubikOp,
    SdpOp,
    StreamType,
)
from nvdla_ir.ir.location import Location, fuse_locations
from nvdla_ir.ir.operation import Block, Operation

AloneOp = CdpOp | RubikOp | BdmaOp
"""Units that are layers of their own."""

LAYER_OPERATIONS = (ConvOp, SdpOp, PdpOp, CdpOp, RubikOp, BdmaOp)
"""What hardware layers are made of."""

_INTERRUPTS: dict[type[Operation], str] = {
    SdpOp: "SDP",
    PdpOp: "PDP",
    CdpOp: "CDP",
    RubikOp: "RUBIK",
    BdmaOp: "BDMA",
}
"""The unit of an operation, if its interrupt tells that it is done."""


@frozen(eq=False)
class HardwareLayer:
    """A chain convolution → SDP → PDP, or a part of it, or a unit ``alone``. There is an SDP
    wherever there is a convolution."""

    convolution: ConvOp | None = None
    processor: SdpOp | None = None
    pooling: PdpOp | None = None
    alone: AloneOp | None = None

    @property
    def operations(self) -> tuple[Operation, ...]:
        """The operations in order of the data flow."""
        chain = (self.convolution, self.processor, self.pooling, self.alone)
        return tuple(operation for operation in chain if operation is not None)

    @property
    def last(self) -> MemoryOp:
        """The operation that writes to memory; the layer runs at its place."""
        last = self.operations[-1]
        assert isinstance(last, MemoryOp)
        return last

    @property
    def interrupts(self) -> tuple[str, ...]:
        """The units whose interrupts say that the layer is done, in the order in which they
        come; the last one writes to memory."""
        found = (_INTERRUPTS.get(type(operation)) for operation in self.operations)
        return tuple(unit for unit in found if unit is not None)

    @property
    def names(self) -> tuple[str, ...] | None:
        """The network's layers that this one computes."""
        return layers_of(*self.operations)

    @property
    def location(self) -> Location:
        """Those of all its operations."""
        return fuse_locations([operation.location for operation in self.operations])

    def describe(self) -> str:
        """How to call the layer in a message."""
        return f"layer '{'+'.join(self.names)}'" if self.names else describe(self.last)


def hardware_layers(block: Block) -> list[HardwareLayer]:
    """The layers of a block in the order in which they run."""
    return [
        layer
        for operation in block.operations
        if isinstance(operation, LAYER_OPERATIONS)
        and (layer := _layer_ending_at(operation)) is not None
    ]


def _layer_ending_at(last: ConvOp | SdpOp | PdpOp | AloneOp) -> HardwareLayer | None:
    if isinstance(last, AloneOp):
        return HardwareLayer(alone=last)
    if isinstance(last.output.type, StreamType):
        return None
    pooling = processor = convolution = None
    operation: Operation | None = last
    if isinstance(operation, PdpOp):
        pooling, operation = operation, _streamed_by(operation)
    if isinstance(operation, SdpOp):
        processor, operation = operation, _streamed_by(operation)
    if isinstance(operation, ConvOp):
        convolution = operation
    return HardwareLayer(convolution, processor, pooling)


def _streamed_by(operation: SdpOp | PdpOp) -> Operation | None:
    """Who makes the stream that ``operation`` reads; None where it reads memory."""
    value = operation.input
    return value.defining_operation if isinstance(value.type, StreamType) else None


def device_functions(module: ModuleOp) -> Iterator[FuncOp]:
    """The functions that use the hardware."""
    for function in module.body.operations:
        if not isinstance(function, FuncOp) or function.is_declaration:
            continue
        if any(
            isinstance(operation, MemoryOp | ConvOp | DownloadOp)
            for operation in function.body.operations
        ):
            yield function
