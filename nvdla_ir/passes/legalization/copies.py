"""Hardware layers that copy cubes, or parts of them: by the SDP, by convolutions with ones, by
pooling single elements. All are exact."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from attrs import frozen

from nvdla_ir.dialects import nn, nvdla
from nvdla_ir.hardware.faults import LARGEST_EXTENT
from nvdla_ir.hardware.pdp import LARGEST_STRIDE
from nvdla_ir.ir.builder import Builder
from nvdla_ir.ir.operation import Value
from nvdla_ir.ir.types import TensorType
from nvdla_ir.passes.legalization.function import FunctionLegalization
from nvdla_ir.passes.legalization.limits import check_convolution, check_pooling

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CHANNELS, ROWS, COLUMNS = nvdla.CHANNELS, nvdla.ROWS, nvdla.COLUMNS

_WRITERS = (nvdla.SdpOp, nvdla.PdpOp, nvdla.CdpOp, nvdla.ConcatOp, nvdla.InterleaveOp)


@frozen(eq=False)
class Copies:
    """Makes copies for one layer of the network.

    context: the function's legalization
    builder: inserts the hardware layers
    layers:  what they are called
    """

    context: FunctionLegalization
    builder: Builder
    layers: tuple[str, ...] | None = None

    # -------------------------------------------------------------- views

    def part(self, cube: Value, axis: int, begin: int, size: int, step: int = 1) -> Value:
        """A view of ``size`` elements along ``axis``; ``cube`` itself where that is all of it."""
        if (begin, size) == (0, nvdla.cube_shape(cube.type)[axis]):
            return cube
        return self.builder.create(
            nvdla.SliceOp, input=cube, axis=axis, begin=begin, size=size, step=step
        ).output

    def joined(self, parts: Sequence[Value], axis: int) -> Value:
        """Cubes that are parts of no other yet, one after another."""
        if len(parts) == 1:
            return parts[0]
        shape = list(nvdla.cube_shape(parts[0].type))
        shape[axis] = sum(nvdla.cube_shape(part.type)[axis] for part in parts)
        type = TensorType(tuple(shape), nn.tensor_type(parts[0]).element)
        return self.builder.create(
            nvdla.ConcatOp, inputs=parts, axis=axis, layers=self.layers, result_types=[type]
        ).output

    def interleaved(self, parts: Sequence[Value], axis: int) -> Value:
        """Rows or columns by turns. Rows are written in place by what makes ``parts``; columns that
        are apart take a copy of each."""
        if len(parts) == 1:
            return parts[0]
        if axis == COLUMNS:
            parts = [self.for_columns(part) for part in parts]
        shape = list(nvdla.cube_shape(parts[0].type))
        shape[axis] *= len(parts)
        type = TensorType(tuple(shape), nn.tensor_type(parts[0]).element)
        return self.builder.create(
            nvdla.InterleaveOp, inputs=parts, axis=axis, layers=self.layers, result_types=[type]
        ).output

    def own(self, cube: Value, value: Value, axis: int) -> Value:
        """The cube for ``value`` as a part along ``axis`` of another: what its producer writes
        there, or a copy where it is read elsewhere, too, is a view itself, or its columns are apart
        already."""
        producer = cube.defining_operation
        if (
            isinstance(producer, _WRITERS)
            and self.context.cubes.is_read_once(value)
            and not (axis != CHANNELS and _has_columns_apart(cube))
        ):
            return cube
        return self.copy(cube)

    # -------------------------------------------------------------- layers

    def copy(self, cube: Value) -> Value:
        """A copy by the SDP."""
        return self.builder.create(
            nvdla.SdpOp,
            input=cube,
            layers=self.layers,
            result_types=[TensorType(nvdla.cube_shape(cube.type), nn.tensor_type(cube).element)],
        ).output

    def for_columns(self, cube: Value) -> Value:
        """A copy whose columns may be apart: in groups of rows that the SDP can take as one
        column."""
        if isinstance(cube.defining_operation, nvdla.SliceOp):
            cube = self.copy(cube)  # its rows may not follow each other
        _, _, height, width = nvdla.cube_shape(cube.type)
        rows = max(1, LARGEST_EXTENT // width)
        groups = [
            self.copy(self.part(cube, ROWS, begin, min(rows, height - begin)))
            for begin in range(0, height, rows)
        ]
        return self.joined(groups, ROWS)

    def every(self, cube: Value, axis: int, begin: int, size: int, step: int) -> Value:
        """``size`` rows or columns from ``begin`` on, ``step`` apart: by pooling windows of one
        element, or as a copy where there is no pooling unit for it."""
        hw = self.context.hw
        if step == 1:
            return self.part(cube, axis, begin, size)
        if not hw.has_pdp or step > LARGEST_STRIDE:
            return self.copy(self.part(cube, axis, begin, size, step))
        source = self.part(cube, axis, begin, (size - 1) * step + 1)
        shape = list(nvdla.cube_shape(source.type))
        shape[axis] = size
        pool = self.builder.create(
            nvdla.PdpOp,
            method="max",
            input=source,
            kernel=(1, 1),
            strides=(step, 1) if axis == ROWS else (1, step),
            layers=self.layers,
            result_types=[TensorType(tuple(shape), nn.tensor_type(cube).element)],
        )
        check_pooling(pool, hw)
        return pool.output

    def channels(self, cube: Value, selected: Sequence[int]) -> Value:
        """The channels ``selected`` in this order: a view where they follow each other from a
        memory atom on, else a 1x1 convolution with ones."""
        begin, size = selected[0], len(selected)
        follow = list(selected) == list(range(begin, begin + size))
        if follow and begin % self.context.hw.memory_atom == 0:
            return self.part(cube, CHANNELS, begin, size)
        return self.by_convolution(cube, selected)

    def by_convolution(self, cube: Value, selected: Sequence[int], **fields: Any) -> Value:
        """The channels ``selected`` by a 1x1 convolution, which reads no more atoms than it must;
        ``fields`` are others of the convolution."""
        import numpy as np

        atom = self.context.hw.memory_atom
        first = min(selected) // atom * atom
        count = nvdla.cube_shape(cube.type)[CHANNELS]
        last = min(count, -(-(max(selected) + 1) // atom) * atom)
        weights = np.zeros((len(selected), last - first, 1, 1), np.int8)
        weights[range(len(selected)), [channel - first for channel in selected]] = 1
        return self.convolved(self.part(cube, CHANNELS, first, last - first), weights, **fields)

    def convolved(self, cube: Value, weights: NDArray[np.int8], **fields: Any) -> Value:
        """The convolution of ``cube`` with ``weights``, of which each kernel has a single one."""
        hw = self.context.hw
        convolution = self.builder.create(
            nvdla.ConvOp,
            input=cube,
            weight=self.context.constants.make(weights, "selection", self.builder),
            layers=self.layers,
            **fields,
        )
        check_convolution(convolution, hw)
        shape = nvdla.cube_shape(convolution.output.type)
        return self.builder.create(
            nvdla.SdpOp,
            input=convolution.output,
            layers=self.layers,
            result_types=[TensorType(shape, nn.tensor_type(cube).element)],
        ).output

    def bordered(self, cube: Value, pads: Sequence[int], code: int) -> Value:
        """``cube`` with ``code`` around: convolutions with ones, of as many channels at a time as
        the multipliers take."""
        hw = self.context.hw
        count = nvdla.cube_shape(cube.type)[CHANNELS]
        size = max(hw.atomic_c, hw.atomic_k, hw.memory_atom)
        parts = [
            self.by_convolution(
                cube,
                range(begin, min(begin + size, count)),
                pads=tuple(pads),
                pad_value=code or None,
            )
            for begin in range(0, count, size)
        ]
        return self.joined(parts, CHANNELS)

    def repeated_edges(self, cube: Value, axis: int, order: Sequence[int]) -> Value:
        """The rows or columns ``order``; runs of them in one copy."""
        return self.joined(
            [self.copy(self.part(cube, axis, begin, size)) for begin, size in _runs(order)], axis
        )


def _has_columns_apart(cube: Value) -> bool:
    producer = cube.defining_operation
    if isinstance(producer, nvdla.InterleaveOp) and producer.axis == COLUMNS:
        return True
    parts = isinstance(producer, nvdla.ConcatOp | nvdla.InterleaveOp)
    return parts and any(map(_has_columns_apart, producer.inputs))


def _runs(order: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Where ``order`` counts up, from which number on, and how far."""
    begin, size = order[0], 1
    for index in order[1:]:
        if index == begin + size:
            size += 1
        else:
            yield begin, size
            begin, size = index, 1
    yield begin, size
