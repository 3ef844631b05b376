"""How constants of hardware layers lie in memory: weight surfaces and operand tables.

Sources: convolution.md section 2, sdp.md section 2.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, TypeAlias

import numpy as np
from attrs import evolve, frozen
from numpy.typing import NDArray

from nvdla_ir.dialects.layer import describe
from nvdla_ir.dialects.nn.shapes import shape_of, tensor_type
from nvdla_ir.dialects.nvdla import (
    ConstantOp,
    ConvOp,
    SdpOp,
    SliceOp,
    StageAttr,
    cube_shape,
)
from nvdla_ir.dialects.quant import QuantizedType
from nvdla_ir.hardware.convolution_geometry import CompressedWeights
from nvdla_ir.hardware.place import BytesPlace
from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.hw.formats.compressed_weights import compress_weights
from nvdla_ir.hw.formats.operands import DataUse, OperandLayout
from nvdla_ir.hw.formats.sizes import ceil_div
from nvdla_ir.hw.formats.weights import (
    extend_image_weights,
    packed_weight_parts,
    weight_surface_bytes,
)
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.operation import Use, Value
from nvdla_ir.ir.types import IntegerType
from nvdla_ir.passes.settings.memory import channels_height_width, in_memory


@frozen
class WeightLayout:
    """Weights KxCxRxS as convolutions read them, in groups of ``group`` kernels; ``image``: for
    image input."""

    shape: tuple[int, ...]
    group: int
    image: bool

    def size_bytes(self, hw: HardwareConfiguration) -> int:
        """Bytes in memory, the padding at the end included."""
        kernels, channels, rows, columns = self.shape
        return weight_surface_bytes((kernels, channels, rows, columns), hw.weight_alignment)

    def parts(
        self, array: NDArray[np.int8], hw: HardwareConfiguration
    ) -> Iterable[NDArray[np.int8]]:
        """The bytes of weights of this shape, in parts that follow one another."""
        if self.image:
            array = extend_image_weights(array)
        return packed_weight_parts(array, self.group, hw.atomic_c, hw.weight_alignment)


@frozen
class CompressedLayout:
    """Weights without their zeros, then the mask that tells where these are, then the bytes of
    each kernel group (convolution.md section 2.6)."""

    weights: WeightLayout
    sizes: CompressedWeights

    def size_bytes(self, hw: HardwareConfiguration) -> int:
        """Bytes of all three."""
        groups = ceil_div(self.weights.shape[0], self.weights.group)
        return self.sizes.data_bytes + self.sizes.mask_bytes + _GROUP_SIZE_BYTES * groups

    def parts(
        self, array: NDArray[np.int8], hw: HardwareConfiguration
    ) -> Iterable[NDArray[np.int8]]:
        """The bytes of weights of this shape, in parts that follow one another."""
        kernels, *kernel = self.weights.shape
        compressed = compress_weights(
            np.concatenate(list(self.weights.parts(array, hw))),
            kernels,
            math.prod(kernel),
            self.weights.group,
            hw.weight_alignment,
        )
        yield from (compressed.data, compressed.mask.view(np.int8))
        yield compressed.group_bytes.view(np.int8)


_GROUP_SIZE_BYTES = 4
"""A word of 32 bits (convolution.md section 2.6)."""


@frozen
class TableLayout:
    """An operand table as the SDP reads it."""

    operands: OperandLayout

    def size_bytes(self, hw: HardwareConfiguration) -> int:
        """Bytes in memory, the lanes that fill up the last atom included."""
        return self.operands.size_bytes

    def pack(self, array: NDArray[Any]) -> NDArray[np.int8]:
        """The bytes of a table: K, Kx2 (ALU, MUL) or 1xCxHxW. Raises: LayoutError."""
        if self.operands.use == "BOTH":
            return self.operands.pack(alu=array[:, 0], mul=array[:, 1])
        if self.operands.mode == "PER_ELEMENT":
            array = array[0]
        if self.operands.use == "ALU":
            return self.operands.pack(alu=array)
        return self.operands.pack(mul=array)


def constant_of(value: Value) -> ConstantOp | None:
    """The constant that ``value`` is, or is some kernels of."""
    source = value.defining_operation
    while isinstance(source, SliceOp):
        source = source.input.defining_operation
    return source if isinstance(source, ConstantOp) else None


def kernels_a_group(value: Value, hw: HardwareConfiguration) -> int:
    """How many kernels of the weights ``value`` lie interleaved: as many as the hardware computes
    at once, or the fewer of each slice that they are cut into, as the first one tells."""
    constant = constant_of(value)
    if constant is None or constant.output is value:
        return hw.atomic_k
    slices = (user for user in constant.output.users if isinstance(user, SliceOp))
    first = next((piece.size for piece in slices if piece.begin == 0), hw.atomic_k)
    return min(hw.atomic_k, first)


def placed_weights(op: ConvOp, hw: HardwareConfiguration) -> BytesPlace:
    """Where the weights of ``op`` lie.

    Raises: DiagnosticError where that is nowhere, or where they are not whole groups of kernels.
    """
    place = in_memory(op.weight, op)
    source = op.weight.defining_operation
    if isinstance(source, SliceOp):
        group = kernels_a_group(op.weight, hw)
        is_whole = group == hw.atomic_k or source.size <= group
        if source.axis != 0 or source.begin % group or not is_whole:
            raise DiagnosticError.at(
                op.location,
                f"{describe(op)} reads a slice of weights, {source.size} from {source.begin} of "
                f"axis {source.axis} on, but kernels (axis 0) lie in groups of {group}",
            )
    return BytesPlace(place.address)


ConstantLayout: TypeAlias = "WeightLayout | CompressedLayout | TableLayout"


def compression_of(op: ConvOp) -> CompressedWeights | None:
    """The sizes of the weights of ``op`` where they are compressed."""
    return None if op.compressed_weights is None else CompressedWeights(*op.compressed_weights)


def constant_layout(use: Use, hw: HardwareConfiguration) -> ConstantLayout:
    """How a constant lies in memory for one of its uses.

    Raises: DiagnosticError for an operation that reads no constants, or at another operand.
    """
    operation, index = use
    value = operation.operands[index]
    if isinstance(operation, SliceOp) and operation.output.uses:
        layout = constant_layout(next(iter(operation.output.uses)), hw)
        if isinstance(layout, WeightLayout):
            return evolve(layout, shape=shape_of(value))
    if isinstance(operation, ConvOp) and index == 1:
        shape = shape_of(value)
        if len(shape) != 4 or tensor_type(value).element != IntegerType(8):
            raise DiagnosticError.at(
                operation.location,
                f"{describe(operation)} has weights of type '{value.type}', but they must be "
                "KxCxRxS of i8",
            )
        group = kernels_a_group(value, hw)
        layout = WeightLayout(shape, group, operation.pixel_format is not None)
        compressed = compression_of(operation)
        return layout if compressed is None else CompressedLayout(layout, compressed)
    if isinstance(operation, SdpOp) and index > 0:
        read = [stage for _, stage, table in operation.stages if table is not None]
        stage = read[index - 1]
        return TableLayout(operand_layout(value, stage, operation, hw))
    raise DiagnosticError.at(
        operation.location,
        f"{describe(operation)} reads a constant where it must read a cube: 'nvdla.upload' puts "
        "cubes into memory",
    )


def operand_layout(
    value: Value, stage: StageAttr, op: SdpOp, hw: HardwareConfiguration
) -> OperandLayout:
    """The layout without gaps of what an SDP unit reads (sdp.md section 2.2)."""
    element = tensor_type(value).element
    storage = element.storage if isinstance(element, QuantizedType) else element
    assert isinstance(storage, IntegerType)
    return OperandLayout.packed(
        *channels_height_width(op.input),
        hw.memory_atom,
        data_use(stage),
        "TWO_BYTE" if storage.width == 16 else "ONE_BYTE",
        "PER_KERNEL" if reads_per_channel(value, op) else "PER_ELEMENT",
    )


def reads_per_channel(value: Value, op: SdpOp) -> bool:
    """Whether a channel's elements share what ``op`` reads of ``value``: a table, or a cube of one
    pixel beside larger ones, which is the same bytes (sdp.md section 2.2)."""
    shape = shape_of(value)
    return len(shape) != 4 or (shape[2:] == (1, 1) != cube_shape(op.input.type)[2:])


def data_use(stage: StageAttr) -> DataUse:
    """Which of a stage's operands come from memory; at least one does."""
    if stage.alu_from_memory and stage.mul_from_memory:
        return "BOTH"
    return "ALU" if stage.alu_from_memory else "MUL"
