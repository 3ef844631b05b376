"""Hardware layers: one operation is one run of one unit chain.

Values in memory are tensors; ``allocate-memory`` gives the operations that produce them an
``address`` and strides in bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from nvdla_ir.dialects.layer import LayerOp
from nvdla_ir.dialects.nn.shapes import shape_of, text_of, window_faults, window_shape
from nvdla_ir.dialects.nvdla.look_up_tables import LUT
from nvdla_ir.dialects.nvdla.sdp_stages import (
    X_STAGE,
    Y_STAGE,
    StageAttr,
    XStageAttr,
    YStageAttr,
)
from nvdla_ir.dialects.nvdla.types import (
    ACCUMULATOR_STREAM,
    CUBE,
    INT8_STREAM,
    INTEGER_TABLE,
    StreamType,
    cube_shape,
)
from nvdla_ir.hw.formats.operands import StageName
from nvdla_ir.ir.attribute_kinds import BOOL, ELEMENTS, INT, INTS, STRING, enumeration
from nvdla_ir.ir.definition import (
    attribute,
    operand,
    optional_attribute,
    optional_operand,
    result,
    variadic_operand,
)
from nvdla_ir.ir.operation import Trait, Value
from nvdla_ir.ir.traits import Pure, SingleUseResults
from nvdla_ir.ir.types import I32, TensorType, Type

CHANNELS, ROWS, COLUMNS = 1, 2, 3
"""The axes of a cube."""

FEATURE = "feature"
"""The ``format`` of a transfer that makes or reads a feature cube, rather than an image."""


class StreamsUsedOnce(Trait):
    """A result that is a stream has one use."""

    def verify(self, op: LayerOp) -> Iterable[str]:  # pyright: ignore[reportIncompatibleMethodOverride]
        if any(isinstance(result.type, StreamType) for result in op.results):
            yield from SingleUseResults().verify(op)


SECONDARY_MEMORY = "secondary"


class MemoryOp(LayerOp):
    """An operation whose result is in memory, unless it is a stream.

    address:        of the first byte
    column_stride:  bytes between columns, of cubes whose columns do not follow each other
    line_stride:    bytes between rows; for cubes and images
    surface_stride: bytes between groups of channels; for cubes
    memory:         ``"secondary"`` of what layers hand to each other in the second memory
    """

    verified_by_signature = True

    address = optional_attribute(INT)
    column_stride = optional_attribute(INT)
    line_stride = optional_attribute(INT)
    surface_stride = optional_attribute(INT)
    memory = optional_attribute(enumeration(SECONDARY_MEMORY))


class ConstantOp(MemoryOp):
    """Weights (KxCxRxS, int8) or an SDP operand table, in logical order.

    A table has one entry a channel (K, or Kx2 for interleaved ALU and MUL operands) or one an
    element (1xCxHxW).
    """

    name = "nvdla.constant"
    traits = (Pure(),)
    elide_result_types = True

    value = attribute(ELEMENTS)
    output = result(INTEGER_TABLE)

    def infer_result_types(self) -> Sequence[Type] | None:
        return [self.value.type]

    def verify(self) -> Iterable[str]:
        if shape_of(self.output) != self.value.type.static_shape:
            yield f"has a result of type '{self.output.type}', but '{self.value.type}' elements"


class UploadOp(MemoryOp):
    """A tensor of the host, written to memory as a feature cube or as an image.

    ``format`` is ``feature`` or a pixel format of the hardware such as ``T_R8``.
    """

    name = "nvdla.upload"
    traits = (Pure(),)

    input = operand(CUBE)
    format = attribute(STRING, default=FEATURE)
    output = result(CUBE)

    def infer_result_types(self) -> Sequence[Type] | None:
        return [self.input.type]


class DownloadOp(LayerOp):
    """A cube in memory, read by the host."""

    name = "nvdla.download"
    traits = (Pure(),)
    verified_by_signature = True

    input = operand(CUBE)
    output = result(CUBE)

    def infer_result_types(self) -> Sequence[Type] | None:
        return [self.input.type]


class ConvOp(LayerOp):
    """CDMA, CSC, CMAC and CACC: a convolution whose 32-bit results stream into the SDP.

    each_surface:    the weights, of as many channels and kernels as a memory atom has channels, are
                     those of every surface of the input; a window covers all rows
    pad_value:       what taps outside the input read, after the input converter
    pixel_format:    of an image input; absent for feature input
    cvt_offset, cvt_scale, cvt_truncate: the input converter, absent where bypassed
    means:           replaces cvt_offset by one number for each component of a pixel
    clip_truncate:   right shift of the accumulators
    compressed_weights: bytes of what is not zero, and of the mask that tells where that belongs;
                     absent where weights are not compressed
    data_banks, weight_banks: how the convolution buffer is shared out
    reuse_data, reuse_weights: read what the convolution before kept there, instead of fetching it
    keep_data, keep_weights: leave it there for the next one
    """

    name = "nvdla.conv"
    traits = (Pure(), StreamsUsedOnce())
    verified_by_signature = True

    input = operand(CUBE)
    weight = operand(CUBE)
    each_surface = attribute(BOOL, default=False)
    strides = attribute(INTS, default=(1, 1))
    pads = attribute(INTS, default=(0, 0, 0, 0))
    dilations = attribute(INTS, default=(1, 1))
    pad_value = attribute(INT, default=0)
    pixel_format = optional_attribute(STRING)
    cvt_offset = optional_attribute(INT)
    means = optional_attribute(INTS)
    cvt_scale = optional_attribute(INT)
    cvt_truncate = optional_attribute(INT)
    clip_truncate = attribute(INT, default=0)
    compressed_weights = optional_attribute(INTS)
    data_banks = optional_attribute(INT)
    weight_banks = optional_attribute(INT)
    reuse_data = attribute(BOOL, default=False)
    reuse_weights = attribute(BOOL, default=False)
    keep_data = attribute(BOOL, default=False)
    keep_weights = attribute(BOOL, default=False)
    output = result(ACCUMULATOR_STREAM)

    def _output_shape(self) -> tuple[int, ...]:
        shape, weight = shape_of(self.input), shape_of(self.weight)
        height, width = window_shape(shape, weight[2:], self.strides, self.pads, self.dilations)
        return shape[0], shape[1] if self.each_surface else weight[0], height, width

    def infer_result_types(self) -> Sequence[Type] | None:
        return [StreamType(self._output_shape(), I32)]

    def verify(self) -> Iterable[str]:
        faults = list(window_faults((1, 1), self.strides, self.pads, self.dilations))
        if faults:
            yield from faults
            return
        if self.each_surface:
            yield from self._surface_faults()
        elif shape_of(self.input)[1] != shape_of(self.weight)[1]:
            yield (
                f"has weights for {shape_of(self.weight)[1]} channels, but the input has "
                f"{shape_of(self.input)[1]}"
            )
        if (self.cvt_scale is None) != (self.cvt_truncate is None):
            yield "has half an input converter: 'cvt_scale' and 'cvt_truncate' go together"
        if self.means is not None and self.pixel_format is None:
            yield "has 'means', which only image input subtracts"
        if self.compressed_weights is not None and len(self.compressed_weights) != 2:
            yield (
                f"has {len(self.compressed_weights)} numbers in 'compressed_weights', which are "
                "the bytes of what is not zero and of the mask"
            )
        if cube_shape(self.output.type) != self._output_shape():
            yield (
                f"has a result of shape {text_of(cube_shape(self.output.type))}, but its "
                f"operands make {text_of(self._output_shape())}"
            )

    def _surface_faults(self) -> Iterable[str]:
        channels, height = shape_of(self.input)[1:3]
        kernels, atom, rows = shape_of(self.weight)[:3]
        if kernels != atom or channels % atom:
            yield (
                f"has {kernels} kernels of {atom} channels for 'each_surface' of {channels} "
                "channels, which takes as many kernels as channels, and surfaces that are full"
            )
        if rows != height or self.pads[0] or self.pads[2]:
            yield (
                f"has windows of {rows} rows and an input of {height}: for 'each_surface' one "
                "covers all, without padding"
            )


class SdpOp(MemoryOp):
    """The SDP on a stream from the convolution or on a cube in memory: BS, BN, EW, its look-up
    tables, then the output converter ``sat8(rha((x - cvt_offset) * cvt_scale, cvt_shift))``.

    bs, bn, ew:      what these stages do (``XStageAttr``, ``YStageAttr``)
    bs_operand, …:   what they read from memory: a table with one entry a channel, or a cube
    tables:          what EW's result is looked up in
    """

    name = "nvdla.sdp"
    traits = (Pure(), StreamsUsedOnce())

    input = operand(CUBE | ACCUMULATOR_STREAM)
    bs_operand = optional_operand(INTEGER_TABLE)
    bn_operand = optional_operand(INTEGER_TABLE)
    ew_operand = optional_operand(INTEGER_TABLE)
    bs = attribute(X_STAGE, default=XStageAttr())
    bn = attribute(X_STAGE, default=XStageAttr())
    ew = attribute(Y_STAGE, default=YStageAttr())
    tables = optional_attribute(LUT)
    cvt_offset = attribute(INT, default=0)
    cvt_scale = attribute(INT, default=1)
    cvt_shift = attribute(INT, default=0)
    output = result(CUBE | INT8_STREAM)

    def verify(self) -> Iterable[str]:
        shape = cube_shape(self.input.type)
        if cube_shape(self.output.type) != shape:
            yield "changes the shape"
        for name, stage, table in self.stages:
            name = name.lower()
            if stage.needs_operand != (table is not None):
                yield (
                    f"has '{name}' that reads memory, but no '{name}_operand'"
                    if table is None
                    else f"has a '{name}_operand' that '{name}' does not read"
                )
            if table is not None:
                yield from _table_faults(name, stage, shape_of(table), shape)

    @property
    def stages(self) -> Sequence[tuple[StageName, StageAttr, Value | None]]:
        """The stages in order of the data flow, each with what it reads from memory."""
        return (
            ("BS", self.bs, self.bs_operand),
            ("BN", self.bn, self.bn_operand),
            ("EW", self.ew, self.ew_operand),
        )

    @property
    def each_surface(self) -> bool:
        """Whether its input is of a convolution ``each_surface``."""
        source = self.input.defining_operation
        return isinstance(source, ConvOp) and source.each_surface


def _table_faults(
    name: str, stage: StageAttr, table: tuple[int, ...], shape: tuple[int, ...]
) -> Iterable[str]:
    both = stage.alu_from_memory and stage.mul_from_memory
    legal = [(shape[1], 2)] if both else [(shape[1],), shape, (1, shape[1], 1, 1)]
    if table not in legal:
        yield (
            f"has '{name}_operand' of shape {text_of(table)}, but it must be "
            f"{' or '.join(map(text_of, legal))}"
        )


class PdpOp(MemoryOp):
    """``nvdla.pdp max %x …``: pooling of a cube in memory or of a stream from the SDP.

    pad_value:   what padding counts as in an average
    reciprocals: height and width, in units of 2^-16, of an average (pdp.md section 3)
    """

    name = "nvdla.pdp"
    traits = (Pure(),)
    positional = ("method",)

    method = attribute(enumeration("max", "min", "average"))
    input = operand(CUBE | INT8_STREAM)
    kernel = attribute(INTS)
    strides = attribute(INTS, default=(1, 1))
    pads = attribute(INTS, default=(0, 0, 0, 0))
    pad_value = attribute(INT, default=0)
    reciprocals = optional_attribute(INTS)
    output = result(CUBE)

    def _output_shape(self) -> tuple[int, ...]:
        shape = cube_shape(self.input.type)
        return (*shape[:2], *window_shape(shape, self.kernel, self.strides, self.pads))

    def verify(self) -> Iterable[str]:
        faults = list(window_faults(self.kernel, self.strides, self.pads, (1, 1)))
        if not faults and shape_of(self.output) != self._output_shape():
            faults.append(
                f"has a result of shape {text_of(shape_of(self.output))}, but its operands make "
                f"{text_of(self._output_shape())}"
            )
        if (self.method == "average") != (self.reciprocals is not None):
            faults.append("has 'reciprocals' exactly where the method is average")
        yield from faults


class SliceOp(MemoryOp):
    """``size`` elements of an axis of a cube, from ``begin`` on, or some kernels (axis 0) of
    weights: a view, no work. Rows and columns may be ``step`` apart."""

    name = "nvdla.slice"
    traits = (Pure(),)

    input = operand(CUBE)
    axis = attribute(INT, default=CHANNELS)
    begin = attribute(INT)
    size = attribute(INT)
    step = attribute(INT, default=1)
    output = result(CUBE)

    def infer_result_types(self) -> Sequence[Type] | None:
        type = self.input.type
        assert isinstance(type, TensorType)
        shape = list(type.static_shape)
        if not 0 <= self.axis < len(shape):
            return None
        shape[self.axis] = self.size
        return [TensorType(tuple(shape), type.element)]

    def verify(self) -> Iterable[str]:
        shape = shape_of(self.input)
        if not 0 <= self.axis < len(shape):
            yield f"slices axis {self.axis}, but its input has axes 0 to {len(shape) - 1}"
            return
        if self.step < 1 or (self.step > 1 and self.axis not in (ROWS, COLUMNS)):
            yield (
                f"has 'step' {self.step}: rows and columns may be 2 or more apart, all else is 1 "
                "apart"
            )
            return
        extent = shape[self.axis]
        last = self.begin + (self.size - 1) * self.step
        if not (self.begin >= 0 and self.size > 0 and last < extent):
            yield (f"takes {self.begin} to {last} of axis {self.axis}, but the input has {extent}")
        elif shape_of(self.output) != _with_extent(shape, self.axis, self.size):
            yield f"has a result of shape {text_of(shape_of(self.output))}"


class ConcatOp(MemoryOp):
    """Cubes one after another along an axis: a view; its inputs are written in place.

    Along the channels, each input but the last has a multiple of the memory atom's.
    """

    name = "nvdla.concat"
    traits = (Pure(),)

    inputs = variadic_operand(CUBE, minimum=1)
    axis = attribute(INT, default=CHANNELS)
    output = result(CUBE)

    def verify(self) -> Iterable[str]:
        shapes = [shape_of(value) for value in self.inputs]
        if not 0 < self.axis < len(shapes[0]):
            yield f"joins along axis {self.axis}, but cubes have axes 1 to {len(shapes[0]) - 1}"
            return
        total = sum(shape[self.axis] for shape in shapes)
        expected = _with_extent(shapes[0], self.axis, total)
        if any(_with_extent(shape, self.axis, total) != expected for shape in shapes):
            yield "joins cubes that differ along another axis, too"
        elif shape_of(self.output) != expected:
            yield (
                f"has a result of shape {text_of(shape_of(self.output))}, but its operands make "
                f"{text_of(expected)}"
            )


class InterleaveOp(MemoryOp):
    """Rows, or columns, of cubes by turns: row ``r`` of input ``i`` of ``n`` is row ``n * r + i``.
    A view; its inputs are written in place.

    What reads or writes columns that are apart is the SDP or the CDP, from memory to memory.
    """

    name = "nvdla.interleave"
    traits = (Pure(),)

    inputs = variadic_operand(CUBE, minimum=1)
    axis = attribute(INT, default=ROWS)
    output = result(CUBE)

    def verify(self) -> Iterable[str]:
        if self.axis not in (ROWS, COLUMNS):
            yield f"interleaves axis {self.axis}, but only rows ({ROWS}) and columns ({COLUMNS}) go"
            return
        shapes = [shape_of(value) for value in self.inputs]
        if any(shape != shapes[0] for shape in shapes):
            yield f"interleaves cubes of shapes {', '.join(map(text_of, shapes))}"
            return
        expected = _with_extent(shapes[0], self.axis, shapes[0][self.axis] * len(shapes))
        if shape_of(self.output) != expected:
            yield (
                f"has a result of shape {text_of(shape_of(self.output))}, but its operands make "
                f"{text_of(expected)}"
            )


def _with_extent(shape: tuple[int, ...], axis: int, extent: int) -> tuple[int, ...]:
    return (*shape[:axis], extent, *shape[axis + 1 :])
