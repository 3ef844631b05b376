"""PDP and PDP_RDMA: one pooling layer. Source: pdp.md."""

from __future__ import annotations

from attrs import frozen

from nvdla_ir.arith import fast
from nvdla_ir.arith.errors import Int8Array
from nvdla_ir.hw.formats.pooling import Segment, WidthSplit, max_output_width
from nvdla_ir.interp.device.cubes import read_cube, write_cube
from nvdla_ir.interp.device.environment import Environment, Surface
from nvdla_ir.interp.device.record import LayerNotes
from nvdla_ir.interp.device.registers import Fields, UnitRegisters

_INT8 = 0
_AVERAGE, _MAXIMUM, _MINIMUM = 0, 1, 2
_SHARED = ("CUBE_IN_HEIGHT", "CUBE_IN_CHANNEL", "INPUT_DATA", "SPLIT_NUM")
_SHARED_IN_SPLIT = (
    "KERNEL_WIDTH",
    "KERNEL_STRIDE_WIDTH",
    "PARTIAL_WIDTH_IN_FIRST",
    "PARTIAL_WIDTH_IN_MID",
    "PARTIAL_WIDTH_IN_LAST",
)


def is_flying(fields: Fields) -> bool:
    """Whether the PDP takes its data from the SDP."""
    return fields["FLYING_MODE"] == 0


@frozen
class PdpLayer:
    """One layer of the PDP, from the registers of its group (and its RDMA's)."""

    environment: Environment
    unit: UnitRegisters
    rdma_unit: UnitRegisters | None
    notes: LayerNotes

    @property
    def input_size(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        fields = self.unit.fields
        channels, height, width = (
            fields[f"CUBE_IN_{name}"] + 1 for name in ("CHANNEL", "HEIGHT", "WIDTH")
        )
        return channels, height, width

    def run(self, cube: Int8Array | None) -> None:
        """Pool the cube ``[lane, row, column]`` that the SDP sends, or the one in memory."""
        fields = self.unit.fields
        self._check()
        if cube is not None:
            self._check_stream(cube)
        output_height = fields["CUBE_OUT_HEIGHT"] + 1
        channels = self.input_size[0]
        surfaces = self._output_surfaces()
        segments = self._segments()
        width = segments[-1].output_start + segments[-1].output_columns
        atom = self.environment.configuration.memory_atom
        lines = self.input_size[1] * sum(segment.input_columns for segment in segments)
        self.environment.bounded(
            fields, "CUBE_OUT_WIDTH", 8 * surfaces * atom * max(output_height * width, lines)
        )
        destination = self._surface(fields, (surfaces, output_height, width), "DST")
        source = None if cube is not None else self._source(segments)
        channels = min(channels, surfaces * atom)
        size = channels, output_height, width
        self.notes.shape["pooled"] = size
        area = destination.area("output", size)
        self.notes.writes.append(area)
        self.environment.check_output(fields, "DST_BASE_ADDR_LOW", area, self.notes.streamed)
        # All input is read first: the passes of a split layer may write where others still read.
        inputs = [self._input(cube, source, segment) for segment in segments]
        for segment, data in zip(segments, inputs, strict=True):
            pooled = self._pool(data, segment, output_height)
            write_cube(destination, pooled[: surfaces * atom], segment.output_start)

    def _source(self, segments: tuple[Segment, ...]) -> Surface:
        assert self.rdma_unit is not None
        channels, height, _ = self.input_size
        width = max(segment.input_start + segment.input_columns for segment in segments)
        size = (self.environment.surfaces_of(channels), height, width)
        surface = self._surface(self.rdma_unit.fields, size, "SRC")
        self.notes.shape["input"] = channels, height, width
        self.notes.reads.append(surface.area("input", (channels, height, width)))
        return surface

    def _input(self, cube: Int8Array | None, source: Surface | None, segment: Segment) -> Int8Array:
        if source is None:
            assert cube is not None
            return cube
        channels, height, _ = self.input_size
        surfaces = self.environment.surfaces_of(channels)
        return read_cube(source, surfaces, height, segment.input_columns, segment.input_start)

    def _surface(self, fields: Fields, size: tuple[int, int, int], end: str) -> Surface:
        return self.environment.surface(
            fields,
            size,
            ram_type=f"{end}_RAM_TYPE",
            address=(f"{end}_BASE_ADDR_LOW", f"{end}_BASE_ADDR_HIGH"),
            strides=(f"{end}_LINE_STRIDE", f"{end}_SURFACE_STRIDE"),
            element_bytes=self.environment.configuration.memory_atom,
        )

    def _segments(self) -> tuple[Segment, ...]:
        """The passes of the layer, from left to right."""
        fields = self.unit.fields
        left, right, last = fields["PAD_LEFT"], fields["PAD_RIGHT"], fields["SPLIT_NUM"]
        if last == 0:
            width = fields["CUBE_OUT_WIDTH"] + 1
            return (Segment(0, self.input_size[2], left, right, 0, width),)
        inputs, outputs = (
            [fields[f"PARTIAL_WIDTH_{end}_{part}"] + 1 for part in ("FIRST", "MID", "LAST")]
            for end in ("IN", "OUT")
        )
        kernel, stride = fields["KERNEL_WIDTH"] + 1, fields["KERNEL_STRIDE_WIDTH"] + 1
        segments = WidthSplit(last + 1, *inputs, *outputs).segments(kernel, stride, left, right)
        for segment in segments:
            self.environment.unsupported(
                segment.input_start >= 0 and segment.input_columns >= 1,
                fields,
                "SPLIT_NUM",
                f"a segment would read {segment.input_columns} columns from column "
                f"{segment.input_start}",
            )
        return segments

    def _output_surfaces(self) -> int:
        """How many surfaces the PDP writes; it counts them by CUBE_OUT_CHANNEL, what it pools by
        CUBE_IN_CHANNEL. Convolution.md section 8.4."""
        fields, environment = self.unit.fields, self.environment
        pooled, written = (
            environment.surfaces_of(fields[f"CUBE_{end}_CHANNEL"] + 1) for end in ("IN", "OUT")
        )
        rule = f"{written} surfaces to write, but CUBE_IN_CHANNEL gives {pooled}"
        environment.unsupported(
            written <= pooled, fields, "CUBE_OUT_CHANNEL", f"{rule}: the layer never ends"
        )
        environment.require(written == pooled, fields, "CUBE_OUT_CHANNEL", rule)
        return written

    def _check(self) -> None:
        fields, environment = self.unit.fields, self.environment
        environment.unsupported(
            fields["INPUT_DATA"] == _INT8, fields, "INPUT_DATA", "only INT8 (0) is modelled"
        )
        environment.unsupported(
            fields["POOLING_METHOD"] in (_AVERAGE, _MAXIMUM, _MINIMUM),
            fields,
            "POOLING_METHOD",
            "must be 0 (average), 1 (maximum) or 2 (minimum)",
        )
        for name in ("KERNEL_WIDTH", "KERNEL_HEIGHT"):
            environment.unsupported(fields[name] < 8, fields, name, "kernels have 1 to 8 taps")
        if self.rdma_unit is None:
            environment.require(
                fields["SPLIT_NUM"] == 0,
                fields,
                "SPLIT_NUM",
                "a layer on the fly cannot be split: must be 0",
            )
            return
        rdma = self.rdma_unit.fields
        shared = _SHARED + (_SHARED_IN_SPLIT if fields["SPLIT_NUM"] else ("CUBE_IN_WIDTH",))
        for name in shared:
            if name.endswith("_MID") and fields["SPLIT_NUM"] < 2:
                continue
            environment.require(
                rdma[name] == fields[name], rdma, name, f"must equal PDP's, {fields[name]}"
            )

    def _check_stream(self, cube: Int8Array) -> None:
        """The SDP must send what the PDP expects."""
        channels, height, width = self.input_size
        lanes = self.environment.surfaces_of(channels) * self.environment.configuration.memory_atom
        for name, found, expected in zip(
            ("CHANNEL", "HEIGHT", "WIDTH"), cube.shape, (lanes, height, width), strict=True
        ):
            self.environment.unsupported(
                found == expected,
                self.unit.fields,
                f"CUBE_IN_{name}",
                f"the SDP sends {found} {name.lower()} elements on the fly, not {expected}",
            )

    def _check_pad_values(self, most: int) -> None:
        """The padding sums that may be added: functional model and hardware read others apart.

        Section 3: n times a signed byte, sign-extended to 19 bits.
        """
        fields = self.unit.fields
        for count in range(1, most + 1):
            name = f"PAD_VALUE_{count}X"
            value = ((fields[name] & 0x7FFFF) ^ 0x40000) - 0x40000
            self.environment.require(
                -128 * count <= value <= 127 * count,
                fields,
                name,
                f"must be {count} times a signed byte, {-128 * count} to {127 * count}",
            )

    def _pool(self, data: Int8Array, segment: Segment, output_height: int) -> Int8Array:
        fields, environment = self.unit.fields, self.environment
        height, width = data.shape[-2:]
        kernel = (fields["KERNEL_HEIGHT"] + 1, fields["KERNEL_WIDTH"] + 1)
        stride = (fields["KERNEL_STRIDE_HEIGHT"] + 1, fields["KERNEL_STRIDE_WIDTH"] + 1)
        pad = (fields["PAD_TOP"], segment.pad_left)
        output_size = (output_height, segment.output_columns)
        rows_alive = -(-kernel[0] // stride[0])
        widest = max_output_width(kernel[0], stride[0])
        environment.require(
            segment.output_columns <= widest,
            fields,
            "CUBE_OUT_WIDTH" if fields["SPLIT_NUM"] == 0 else "SPLIT_NUM",
            f"{segment.output_columns} output columns in one pass; the line buffer holds {widest} "
            f"with {rows_alive} output rows alive at once",
        )
        for name, axis, size, padding, far in (
            ("PAD_TOP", 0, height, pad[0], fields["PAD_BOTTOM"]),
            ("PAD_LEFT", 1, width, pad[1], segment.pad_right),
        ):
            last = (output_size[axis] - 1) * stride[axis] - padding
            environment.unsupported(
                padding < kernel[axis] and last < size,
                fields,
                name,
                f"every window must meet the data: {size} elements, padding {padding}, "
                f"{output_size[axis]} windows of {kernel[axis]} with stride {stride[axis]}",
            )
            environment.require(
                far < kernel[axis],
                fields,
                "PAD_BOTTOM" if axis == 0 else "PAD_RIGHT",
                f"must be less than the kernel's {kernel[axis]} taps",
            )
            environment.require(
                last + kernel[axis] <= size + far,
                fields,
                name,
                f"the last window ends {last + kernel[axis] - size} behind the data, "
                f"but the padding there is {far}",
            )
        if fields["POOLING_METHOD"] == _AVERAGE:
            self._check_pad_values(max(*pad, segment.pad_right, fields["PAD_BOTTOM"]))
            mask = (1 << 19) - 1
            return fast.pool_average(
                data,
                kernel=kernel,
                stride=stride,
                pad=pad,
                output_size=output_size,
                reciprocals=(fields["RECIP_KERNEL_HEIGHT"], fields["RECIP_KERNEL_WIDTH"]),
                pad_values=[fields[f"PAD_VALUE_{n}X"] & mask for n in range(1, 8)],
            )
        maximum = fields["POOLING_METHOD"] == _MAXIMUM
        pool = fast.pool_maximum if maximum else fast.pool_minimum
        return pool(data, kernel=kernel, stride=stride, pad=pad, output_size=output_size)
