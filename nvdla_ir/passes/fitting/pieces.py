"""The pieces of a convolution with its SDP, as operations: slices, layers, and their join."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from attrs import define, field

from nvdla_ir.dialects import nvdla
from nvdla_ir.dialects.nn.shapes import shape_of, tensor_type
from nvdla_ir.dialects.nvdla import COLUMNS, ROWS
from nvdla_ir.hardware.fitting import Division, Piece, Span
from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.ir.attributes import DenseResourceAttr
from nvdla_ir.ir.builder import Builder, InsertionPoint
from nvdla_ir.ir.operation import Value
from nvdla_ir.ir.types import I32
from nvdla_ir.passes.fitting.stacking import Mover
from nvdla_ir.passes.settings.constants import constant_of
from nvdla_ir.passes.settings.layers import HardwareLayer
from nvdla_ir.resources import ResourceStore

if TYPE_CHECKING:
    from numpy.typing import NDArray

_KERNELS = 0
"""The axis of weights and of tables."""


@define(eq=False)
class Pieces:
    """Writes the pieces of one layer in its place."""

    layer: HardwareLayer
    division: Division
    hw: HardwareConfiguration
    resources: ResourceStore
    _builder: Builder = field(init=False)
    _mover: Mover = field(init=False)
    _slices: dict[tuple[Value, int, Span], Value] = field(
        factory=dict["tuple[Value, int, Span]", Value]
    )

    # Those that are there ahead of all pieces.
    _operands: dict[Piece, list[Value]] = field(factory=dict["Piece", "list[Value]"])

    def __attrs_post_init__(self) -> None:
        self._builder = Builder(InsertionPoint.before(self.layer.last), self.layer.location)
        self._mover = Mover(self.layer, self.hw, self.resources, self._builder)

    def write(self) -> None:
        """Replace the layer."""
        convolution, processor = self.layer.convolution, self.layer.processor
        assert convolution is not None and processor is not None
        if self.division.stacked > 1:
            # Convolutions copy the operands: not between pieces that hand on what is buffered.
            for piece in self.division.pieces:
                self._operands[piece] = self._operands_of(piece, processor)
        results = {
            piece: self._piece(piece, convolution, processor) for piece in self.division.pieces
        }
        joined = self._joined(results)
        joined.name_hint = processor.output.name_hint
        processor.output.replace_all_uses_with(joined)
        processor.erase()
        convolution.erase()

    def _piece(self, piece: Piece, conv: nvdla.ConvOp, sdp: nvdla.SdpOp) -> Value:
        rows, columns = piece.rows.window, piece.columns.window
        banks, reuse = piece.setting.banks, piece.setting.reuse
        assert banks is not None
        source = self._rows(conv, piece)
        source = self._slice(source, COLUMNS, piece.columns.inputs)
        weight = self._slice(conv.weight, _KERNELS, piece.kernels)
        operands = self._operands.get(piece) or self._operands_of(piece, sdp)
        convolution, processor = conv.clone(), sdp.clone()
        assert isinstance(convolution, nvdla.ConvOp) and isinstance(processor, nvdla.SdpOp)
        convolution.set_operand(0, source)
        convolution.set_operand(1, weight)
        convolution.attributes.pop("pads", None)
        pads = (rows.before, columns.before, rows.after, columns.after)
        if any(pads):
            convolution.pads = pads
        convolution.data_banks, convolution.weight_banks = banks.data, banks.weights
        for name, holds in (
            ("reuse_data", reuse.data),
            ("reuse_weights", reuse.weights),
            ("keep_data", reuse.keep_data),
            ("keep_weights", reuse.keep_weights),
        ):
            if holds:
                setattr(convolution, name, True)
        shape = (1, piece.kernels.size, rows.outputs, columns.outputs)
        if conv.each_surface:
            shape = (1, rows.outputs * piece.kernels.size, 1, columns.outputs)
        convolution.output.type = nvdla.StreamType(shape, I32)
        processor.set_operand(0, convolution.output)
        for index, value in enumerate(operands, 1):
            processor.set_operand(index, value)
        processor.output.type = tensor_type(sdp.output).with_shape(shape)
        self._builder.insert(convolution)
        return self._builder.insert(processor).output

    # -------------------------------------------------------------- what a piece reads

    def _operands_of(self, piece: Piece, sdp: nvdla.SdpOp) -> list[Value]:
        return [self._operand(value, piece) for value in sdp.operands[1:]]

    def _rows(self, conv: nvdla.ConvOp, piece: Piece) -> Value:
        """The rows of the input that a piece reads, or whole surfaces that it sees as rows."""
        rows = piece.rows
        if not conv.each_surface:
            return self._slice(conv.input, ROWS, rows.inputs)
        atom = piece.kernels.size
        return self._slice(
            conv.input, nvdla.CHANNELS, Span(rows.outputs.begin * atom, rows.outputs.size * atom)
        )

    def _slice(self, value: Value, axis: int, span: Span) -> Value:
        """Some of an axis of ``value``; all of it is the value itself."""
        if span == Span(0, shape_of(value)[axis]):
            return value
        found = self._slices.get((value, axis, span))
        if found is None:
            found = self._builder.create(
                nvdla.SliceOp, input=value, axis=axis, begin=span.begin, size=span.size
            ).output
            self._slices[value, axis, span] = found
        return found

    def _operand(self, value: Value, piece: Piece) -> Value:
        """What of an operand of the SDP belongs to a piece."""
        shape = shape_of(value)
        spans = (
            {_KERNELS: piece.kernels}
            if len(shape) < 4
            else {1: piece.kernels, ROWS: piece.rows.outputs, COLUMNS: piece.columns.outputs}
        )
        if constant_of(value) is not None:
            return self._constant_part(value, spans)
        for axis in (ROWS, COLUMNS):
            value = self._slice(value, axis, spans[axis])
        if self.division.stacked > 1:
            return self._mover.take(value, piece.kernels)
        return self._slice(value, nvdla.CHANNELS, piece.kernels)

    def _constant_part(self, value: Value, spans: Mapping[int, Span]) -> Value:
        """A constant of its own for some elements of a table, which pads the last atom."""
        shape = shape_of(value)
        if all(span == Span(0, shape[axis]) for axis, span in spans.items()):
            return value
        constant = constant_of(value)
        assert constant is not None
        array: NDArray[Any] = self.resources.array(constant.value, constant.location)
        index = tuple(
            slice(None) if (span := spans.get(axis)) is None else _range(span)
            for axis in range(len(shape))
        )
        attribute = constant.value
        key = attribute.key if isinstance(attribute, DenseResourceAttr) else "table"
        begin = ".".join(str(span.begin) for span in spans.values())
        element = tensor_type(value).element
        part = self._builder.create(
            nvdla.ConstantOp,
            value=self.resources.attribute_for(f"{key}.from.{begin}", array[index], element),
            layers=constant.layers,
        )
        return part.output

    # -------------------------------------------------------------- the join

    def _joined(self, results: Mapping[Piece, Value]) -> Value:
        """The whole output: columns side by side, rows below rows, kernels behind kernels."""
        chunks: dict[Span, dict[int, dict[int, Value]]] = {}
        for piece, value in results.items():
            rows = chunks.setdefault(piece.kernels, {})
            columns = rows.setdefault(piece.rows.outputs.begin, {})
            columns[piece.columns.outputs.begin] = value
        convolution = self.layer.convolution
        assert convolution is not None
        axis = nvdla.CHANNELS if convolution.each_surface else ROWS
        planes = [
            self._concat(
                [self._concat(_in_order(columns), COLUMNS) for columns in _in_order(rows)], axis
            )
            for _, rows in sorted(chunks.items(), key=lambda item: item[0].begin)
        ]
        if self.division.stacked > 1:
            planes = self._mover.unstack(planes)
        return self._concat(planes, nvdla.CHANNELS)

    def _concat(self, parts: list[Value], axis: int) -> Value:
        if len(parts) == 1:
            return parts[0]
        shape = list(shape_of(parts[0]))
        shape[axis] = sum(shape_of(part)[axis] for part in parts)
        return self._builder.create(
            nvdla.ConcatOp,
            inputs=parts,
            axis=axis if axis != nvdla.CHANNELS else None,
            layers=self.layer.names,
            result_types=[tensor_type(parts[0]).with_shape(tuple(shape))],
        ).output


def _in_order(found: Mapping[int, Any]) -> list[Any]:
    return [value for _, value in sorted(found.items())]


def _range(span: Span) -> slice:
    return slice(span.begin, span.begin + span.size)
