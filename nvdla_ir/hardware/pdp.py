"""The planar data processor (pooling) with its read DMA: its setting, limits and registers.

Source: pdp.md sections 3 to 7.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from attrs import frozen

from nvdla_ir.hardware.faults import Fault, above, extent_faults, lacks, outside
from nvdla_ir.hardware.fields import Fields, UnitFields, address_fields
from nvdla_ir.hardware.place import CubePlace
from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.hw.formats.pooling import (
    LARGEST_POOLING_KERNEL,
    MAX_SEGMENTS,
    WidthSplit,
    max_output_width,
    split_width,
)
from nvdla_ir.hw.formats.sizes import LayoutError

LARGEST_STRIDE = 16
LARGEST_PAD = 7
LARGEST_RECIPROCAL = (1 << 17) - 1
PAD_VALUES = 7
"""Entries of the table of padding values."""

Method = Literal["AVERAGE", "MAX", "MIN"]


@frozen
class PoolWindow:
    """One direction: ``size`` of the input is read, with ``before`` and ``after`` of padding."""

    size: int
    kernel: int
    stride: int
    before: int
    after: int
    outputs: int

    @staticmethod
    def exact(
        *, kernel: int, stride: int, before: int, size: int, outputs: int, flying: bool
    ) -> PoolWindow:
        """Pad after the input just as far as the last window goes, or read less of what lies in
        memory. What streams in cannot be left out."""
        after = (outputs - 1) * stride + kernel - before - size
        read = size if flying else size + min(after, 0)
        return PoolWindow(read, kernel, stride, before, max(after, 0), outputs)


@frozen
class PdpPlaces:
    """Where source and destination lie; no source where the SDP hands it on.

    ``repeats_strides``: PDP is told the source's strides, which only PDP_RDMA uses, as the vendor's
    firmware does.
    """

    source: CubePlace | None
    destination: CubePlace
    repeats_strides: bool = False


@frozen
class PdpSetting:
    """One run of the PDP.

    ``flying``: the source is the SDP's. ``reciprocals`` are those of kernel rows and columns in
    units of 2^-16, which only averages use; ``pad_values`` what 1 to 7 padded elements add up to.
    ``split`` cuts the output into segments of columns that fit the line buffer.
    """

    channels: int
    rows: PoolWindow
    columns: PoolWindow
    method: Method
    flying: bool
    split: WidthSplit | None = None
    reciprocals: tuple[int, int] | None = None
    pad_values: tuple[int, ...] | None = None

    interrupt = "PDP"

    @property
    def units(self) -> tuple[str, ...]:
        """PDP, and PDP_RDMA where memory is read."""
        return ("PDP",) if self.flying else ("PDP_RDMA", "PDP")

    @property
    def segments(self) -> int:
        """How many segments of columns the output is made in."""
        return 1 if self.split is None else self.split.count

    @property
    def widest_segment(self) -> int:
        """Columns of the output that are made at once, at most."""
        split = self.split
        if split is None or split.count < 2:
            return self.columns.outputs
        middle = split.output_mid if split.count > 2 else 0
        return max(split.output_first, middle, split.output_last)

    # -------------------------------------------------------------- limits

    def faults(self, hw: HardwareConfiguration) -> list[Fault]:
        """Every limit of the hardware that the setting breaks."""
        if not hw.has_pdp:
            return [lacks(hw, "windows to pool", "pooling unit", "has_pdp", "PDP.D_OP_ENABLE")]
        return list(self._faults(hw))

    def _faults(self, hw: HardwareConfiguration) -> Iterator[Fault]:
        rows, columns = self.rows, self.columns
        registers = ("PDP.CUBE_IN_CHANNEL", "PDP.CUBE_IN_HEIGHT", "PDP.CUBE_IN_WIDTH")
        yield from extent_faults("input", self.channels, rows.size, columns.size, registers)
        if min(rows.kernel, columns.kernel) < 1:
            yield Fault(
                f"a window of {rows.kernel}x{columns.kernel}; it must be at least 1x1",
                "PDP.KERNEL_HEIGHT",
            )
            return
        if max(rows.kernel, columns.kernel) > LARGEST_POOLING_KERNEL:
            yield Fault(
                f"a window of {rows.kernel}x{columns.kernel}; the pooling unit takes up to "
                f"{LARGEST_POOLING_KERNEL}x{LARGEST_POOLING_KERNEL}: split it into several",
                "PDP.KERNEL_HEIGHT" if rows.kernel > columns.kernel else "PDP.KERNEL_WIDTH",
            )
            return
        registers = ("PDP.CUBE_OUT_CHANNEL", "PDP.CUBE_OUT_HEIGHT", "PDP.CUBE_OUT_WIDTH")
        yield from extent_faults("output", 1, rows.outputs, columns.outputs, registers)
        for name, window in (("HEIGHT", rows), ("WIDTH", columns)):
            yield from above(
                "a stride",
                window.stride,
                LARGEST_STRIDE,
                f"PDP.KERNEL_STRIDE_{name}",
                "use several layers",
                1,
            )
        for side, pad in (
            ("TOP", rows.before),
            ("BOTTOM", rows.after),
            ("LEFT", columns.before),
            ("RIGHT", columns.after),
        ):
            yield from above("padding", pad, LARGEST_PAD, f"PDP.PAD_{side}", "pad by less")
        for window, name in ((rows, "rows"), (columns, "columns")):
            if max(window.before, window.after) >= window.kernel:
                yield Fault(
                    f"{max(window.before, window.after)} padded {name} for a kernel of "
                    f"{window.kernel}: every window must meet the input",
                    "PDP.PAD_TOP" if name == "rows" else "PDP.PAD_LEFT",
                )
        for reciprocal, name in zip(self.reciprocals or (), ("HEIGHT", "WIDTH"), strict=False):
            register = f"PDP.RECIP_KERNEL_{name}"
            yield from outside("a reciprocal", reciprocal, 0, LARGEST_RECIPROCAL, register)
        if rows.stride > 0:
            yield from self._width_faults(hw)

    def _width_faults(self, hw: HardwareConfiguration) -> Iterator[Fault]:
        limit = max_output_width(self.rows.kernel, self.rows.stride)
        if self.flying and (self.segments > 1 or self.columns.outputs > limit):
            yield Fault(
                f"{self.columns.outputs} columns of what streams in, but its line buffer holds "
                f"{limit}: let it read its input from memory",
                "PDP.SPLIT_NUM",
            )
        elif not 1 <= self.segments <= MAX_SEGMENTS:
            yield Fault(
                f"{self.segments} segments of columns, but there may be {MAX_SEGMENTS}",
                "PDP.SPLIT_NUM",
            )
        elif self.widest_segment > limit:
            try:
                width_split(self.rows, self.columns)
                reason = (
                    f"it holds {limit} of {self.widest_segment} columns: cut them into segments"
                )
            except LayoutError as error:
                reason = str(error)
            yield Fault(f"no place in the line buffer of {hw.name}: {reason}", "PDP.SPLIT_NUM")

    # -------------------------------------------------------------- registers

    def fields(self, hw: HardwareConfiguration, places: PdpPlaces) -> UnitFields:
        """The fields of PDP, and of PDP_RDMA where it reads memory."""
        source = places.source
        rdma = {} if source is None else {"PDP_RDMA": self._rdma(hw, source)}
        return {**rdma, "PDP": self._pdp(hw, places)}

    def _shared(self) -> Fields:
        """What PDP and PDP_RDMA must both be told."""
        return {
            "CUBE_IN_WIDTH": self.columns.size - 1,
            "CUBE_IN_HEIGHT": self.rows.size - 1,
            "CUBE_IN_CHANNEL": self.channels - 1,
            "INPUT_DATA": "INT8",
            "SPLIT_NUM": self.segments - 1,
            "KERNEL_WIDTH": f"KERNEL_WIDTH_{self.columns.kernel}",
            "KERNEL_STRIDE_WIDTH": self.columns.stride - 1,
            **self._partial_widths("IN"),
            "DMA_EN": "DISABLE",
        }

    def _partial_widths(self, end: Literal["IN", "OUT"]) -> Fields:
        split = self.split
        if split is None:
            widths = (1, 1, 1)
        elif end == "IN":
            widths = (split.input_first, split.input_last, split.input_mid)
        else:
            widths = (split.output_first, split.output_last, split.output_mid)
        return {
            f"PARTIAL_WIDTH_{end}_{part}": max(width - 1, 0)
            for part, width in zip(("FIRST", "LAST", "MID"), widths, strict=True)
        }

    def _pdp(self, hw: HardwareConfiguration, places: PdpPlaces) -> Fields:
        rows, columns, place = self.rows, self.columns, places.destination
        return {
            **self._shared(),
            "FLYING_MODE": "ON_FLYING" if self.flying else "OFF_FLYING",
            "CUBE_OUT_WIDTH": columns.outputs - 1,
            "CUBE_OUT_HEIGHT": rows.outputs - 1,
            "CUBE_OUT_CHANNEL": self.channels - 1,
            "POOLING_METHOD": f"POOLING_METHOD_{self.method}",
            "NAN_TO_ZERO": "DISABLE",
            **self._partial_widths("OUT"),
            "KERNEL_HEIGHT": f"KERNEL_HEIGHT_{rows.kernel}",
            "KERNEL_STRIDE_HEIGHT": rows.stride - 1,
            "PAD_LEFT": columns.before,
            "PAD_TOP": rows.before,
            "PAD_RIGHT": columns.after,
            "PAD_BOTTOM": rows.after,
            **self._average(),
            **(_source_strides(places.source) if places.repeats_strides else {}),
            **address_fields("DST_BASE_ADDR_LOW", "DST_BASE_ADDR_HIGH", place.address, hw),
            "DST_LINE_STRIDE": place.layout.line_stride,
            "DST_SURFACE_STRIDE": place.layout.surface_stride,
            "DST_RAM_TYPE": place.memory.ram_type,
        }

    def _average(self) -> Fields:
        """Reciprocals, and the values of 1 to 7 padded elements."""
        fields: Fields = {}
        if self.reciprocals is not None:
            fields["RECIP_KERNEL_HEIGHT"], fields["RECIP_KERNEL_WIDTH"] = self.reciprocals
        for number, value in enumerate(self.pad_values or (), 1):
            fields[f"PAD_VALUE_{number}X"] = value
        return fields

    def _rdma(self, hw: HardwareConfiguration, source: CubePlace) -> Fields:
        return {
            **self._shared(),
            **address_fields("SRC_BASE_ADDR_LOW", "SRC_BASE_ADDR_HIGH", source.address, hw),
            **_source_strides(source),
            "SRC_RAM_TYPE": source.memory.ram_type,
            "PAD_WIDTH": self.columns.before,
        }


def _source_strides(source: CubePlace | None) -> Fields:
    if source is None:
        return {}
    return {
        "SRC_LINE_STRIDE": source.layout.line_stride,
        "SRC_SURFACE_STRIDE": source.layout.surface_stride,
    }


def fits_line_buffer(setting: PdpSetting) -> bool:
    """Whether the line buffer holds a row of the output, which may then stream in."""
    rows = setting.rows
    if rows.kernel > LARGEST_POOLING_KERNEL:
        return False
    return setting.columns.outputs <= max_output_width(rows.kernel, rows.stride)


def width_split(rows: PoolWindow, columns: PoolWindow) -> WidthSplit | None:
    """How the output's columns are cut to the line buffer; None where one pass is enough.

    Raises: LayoutError where no legal split exists.
    """
    return split_width(
        output_width=columns.outputs,
        kernel_width=columns.kernel,
        stride_width=columns.stride,
        pad_left=columns.before,
        pad_right=columns.after,
        limit=max_output_width(rows.kernel, rows.stride),
    )
