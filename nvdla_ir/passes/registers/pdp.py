"""Registers of PDP and PDP_RDMA. Source: pdp.md sections 3 to 7."""

from __future__ import annotations

from attrs import evolve, frozen

from nvdla_ir.dialects.layer import describe
from nvdla_ir.dialects.nvdla import PdpOp, StreamType
from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.hw.formats.pooling import WidthSplit, max_output_width, split_width
from nvdla_ir.hw.formats.sizes import LayoutError
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.passes.registers.fields import PRIMARY_MEMORY, Fields, address_fields
from nvdla_ir.passes.registers.memory import PlacedCube, channels_height_width, placed_cube

_PAD_VALUES = 7
"""Entries of the table of padding values."""


@frozen
class _Axis:
    """One direction: ``size`` of the input is read, with ``before`` and ``after`` of padding."""

    kernel: int
    stride: int
    before: int
    size: int
    after: int
    outputs: int


@frozen(eq=False)
class Pooling:
    """The PDP's part of a layer."""

    op: PdpOp
    hw: HardwareConfiguration
    channels: int
    rows: _Axis
    columns: _Axis
    split: WidthSplit | None
    source: PlacedCube | None
    destination: PlacedCube

    @staticmethod
    def of(op: PdpOp, hw: HardwareConfiguration) -> Pooling:
        """Raises: DiagnosticError where the hardware cannot run ``op``."""
        if not hw.has_pdp:
            raise DiagnosticError.at(op.location, f"{describe(op)}: {hw.name} has no PDP")
        flying = isinstance(op.input.type, StreamType)
        channels, height, width = channels_height_width(op.input)
        _, output_height, output_width = channels_height_width(op.output)
        rows = _axis(op, 0, height, output_height)
        columns = _axis(op, 1, width, output_width)
        try:
            limit = max_output_width(rows.kernel, rows.stride)
            split = split_width(
                output_width=output_width,
                kernel_width=columns.kernel,
                stride_width=columns.stride,
                pad_left=columns.before,
                pad_right=max(columns.after, 0),
                limit=limit,
            )
        except LayoutError as error:
            raise DiagnosticError.at(
                op.location, f"{describe(op)} cannot run on {hw.name}: {error}"
            ) from error
        if flying and split is not None:
            raise DiagnosticError.at(
                op.location,
                f"{describe(op)} makes {output_width} columns of what streams in, but its line "
                f"buffer holds {limit}: it must read its input from memory",
            )
        # What streams in cannot be left out; what lies in memory need not be read.
        rows = evolve(rows, after=max(rows.after, 0), size=height if flying else rows.size)
        columns = evolve(
            columns, after=max(columns.after, 0), size=width if flying else columns.size
        )
        return Pooling(
            op,
            hw,
            channels,
            rows,
            columns,
            split,
            None if flying else placed_cube(op.input, op, hw),
            placed_cube(op.output, op, hw),
        )

    def units(self) -> dict[str, Fields]:
        """The fields of PDP, and of PDP_RDMA where it reads memory."""
        rdma = {} if self.source is None else {"PDP_RDMA": self._rdma(self.source)}
        return {**rdma, "PDP": self._pdp()}

    def _shared(self) -> Fields:
        """What PDP and PDP_RDMA must both be told."""
        return {
            "CUBE_IN_WIDTH": self.columns.size - 1,
            "CUBE_IN_HEIGHT": self.rows.size - 1,
            "CUBE_IN_CHANNEL": self.channels - 1,
            "FLYING_MODE": "ON_FLYING" if self.source is None else "OFF_FLYING",
            "INPUT_DATA": "INT8",
            "SPLIT_NUM": 0 if self.split is None else self.split.count - 1,
            "KERNEL_WIDTH": f"KERNEL_WIDTH_{self.columns.kernel}",
            "KERNEL_STRIDE_WIDTH": self.columns.stride - 1,
            **self._partial_widths("IN"),
            "DMA_EN": "DISABLE",
        }

    def _partial_widths(self, end: str) -> Fields:
        split = self.split
        widths = (1, 1, 1)
        if split is not None and end == "IN":
            widths = (split.input_first, split.input_last, split.input_mid)
        elif split is not None:
            widths = (split.output_first, split.output_last, split.output_mid)
        return {
            f"PARTIAL_WIDTH_{end}_{part}": width - 1
            for part, width in zip(("FIRST", "LAST", "MID"), widths, strict=True)
        }

    def _pdp(self) -> Fields:
        op, rows, columns = self.op, self.rows, self.columns
        layout = self.destination.layout
        return {
            **self._shared(),
            "CUBE_OUT_WIDTH": columns.outputs - 1,
            "CUBE_OUT_HEIGHT": rows.outputs - 1,
            "CUBE_OUT_CHANNEL": self.channels - 1,
            "POOLING_METHOD": f"POOLING_METHOD_{op.method.upper()}",
            "NAN_TO_ZERO": "DISABLE",
            **self._partial_widths("OUT"),
            "KERNEL_HEIGHT": f"KERNEL_HEIGHT_{rows.kernel}",
            "KERNEL_STRIDE_HEIGHT": rows.stride - 1,
            "PAD_LEFT": columns.before,
            "PAD_TOP": rows.before,
            "PAD_RIGHT": columns.after,
            "PAD_BOTTOM": rows.after,
            **self._average(),
            **address_fields(
                "DST_BASE_ADDR_LOW", "DST_BASE_ADDR_HIGH", self.destination.address, self.hw
            ),
            "DST_LINE_STRIDE": layout.line_stride,
            "DST_SURFACE_STRIDE": layout.surface_stride,
            "DST_RAM_TYPE": PRIMARY_MEMORY,
        }

    def _average(self) -> Fields:
        """Reciprocals, and the values of 1 to 7 padded elements; both only average needs."""
        reciprocals = self.op.reciprocals
        if reciprocals is None:
            return {}
        return {
            "RECIP_KERNEL_WIDTH": reciprocals[1],
            "RECIP_KERNEL_HEIGHT": reciprocals[0],
            **{f"PAD_VALUE_{n}X": n * self.op.pad_value for n in range(1, _PAD_VALUES + 1)},
        }

    def _rdma(self, source: PlacedCube) -> Fields:
        return {
            **self._shared(),
            **address_fields("SRC_BASE_ADDR_LOW", "SRC_BASE_ADDR_HIGH", source.address, self.hw),
            "SRC_LINE_STRIDE": source.layout.line_stride,
            "SRC_SURFACE_STRIDE": source.layout.surface_stride,
            "SRC_RAM_TYPE": PRIMARY_MEMORY,
            "PAD_WIDTH": self.columns.before,
        }


def _axis(op: PdpOp, axis: int, size: int, outputs: int) -> _Axis:
    """``after`` is what the last window reaches behind the input; negative where it ends before,
    and then less of the input is read."""
    kernel, stride, before = op.kernel[axis], op.strides[axis], op.pads[axis]
    after = (outputs - 1) * stride + kernel - before - size
    if max(before, after) >= kernel:
        raise DiagnosticError.at(
            op.location,
            f"{describe(op)} pads {max(before, after)} elements for a kernel of {kernel}: every "
            "window must meet the input",
        )
    return _Axis(kernel, stride, before, size + min(after, 0), after, outputs)
