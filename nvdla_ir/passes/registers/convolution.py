"""Registers of CDMA, CSC, CMAC and CACC. Sources: convolution.md sections 3 to 6."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from nvdla_ir.dialects.layer import describe
from nvdla_ir.dialects.nn.shapes import shape_of
from nvdla_ir.dialects.nvdla import ConvOp, UploadOp
from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.hw.formats.buffer import (
    BankShortage,
    ConvolutionFootprint,
    RowPiece,
    allocate_banks,
    entries_per_slice,
    fetched_weight_bytes,
    image_entries_per_slice,
    split_rows,
    streamed_group_bytes,
)
from nvdla_ir.hw.formats.sizes import LayoutError, align_up
from nvdla_ir.interp.quantization import dtype_of, element_of
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.passes.registers.fields import Fields, address_fields
from nvdla_ir.passes.registers.memory import (
    PlacedCube,
    PlacedImage,
    address_of,
    channels_height_width,
    memory_source,
    pixel_format_of,
    placed_cube,
    placed_image,
)

_MEANS = ("MEAN_RY", "MEAN_GU", "MEAN_BV", "MEAN_AX")
_STRIDE_BITS = 24
"""Of CACC's strides, which only pair up the cubes of a batch (section 4.3)."""


@frozen
class _Window:
    """One axis of the convolution: ``before`` and ``after`` are the padding, ``size`` what of the
    input is read. Windows and padded input end at the same element (section 4.1)."""

    taps: int
    stride: int
    dilation: int
    before: int
    size: int
    after: int

    @staticmethod
    def exact(
        *, taps: int, stride: int, dilation: int, before: int, size: int, outputs: int
    ) -> _Window:
        """Pad after the input just as far as the last window goes, or read less of it."""
        after = (outputs - 1) * stride + (taps - 1) * dilation + 1 - before - size
        return _Window(taps, stride, dilation, before, size + min(after, 0), max(after, 0))


@frozen(eq=False)
class Convolution:
    """A convolution with its place in the convolution buffer.

    ``pieces`` are the runs that it takes: one, unless its input does not fit the buffer at once.
    """

    op: ConvOp
    hw: HardwareConfiguration
    source: PlacedCube | PlacedImage
    channels: int
    columns: _Window
    kernels: int
    kernel_rows: int
    kernel_bytes: int
    entries: int
    banks: tuple[int, int]
    pieces: tuple[RowPiece, ...]

    @staticmethod
    def of(op: ConvOp, hw: HardwareConfiguration) -> Convolution:
        """Raises: DiagnosticError where the hardware cannot run ``op``."""
        channels, height, width = channels_height_width(op.input)
        _, output_height, output_width = channels_height_width(op.output)
        kernels, _, kernel_rows, kernel_columns = shape_of(op.weight)
        _check_windows(op, (kernel_rows, kernel_columns))
        columns = _Window.exact(
            taps=kernel_columns,
            stride=op.strides[1],
            dilation=op.dilations[1],
            before=op.pads[1],
            size=width,
            outputs=output_width,
        )
        if op.pixel_format is None:
            entries = entries_per_slice(hw, columns.size, channels)
        else:
            entries = image_entries_per_slice(
                hw, columns.size, channels, columns.before, columns.after
            )
        kernel_bytes = channels * kernel_rows * kernel_columns

        def pieces(lines: int) -> tuple[RowPiece, ...]:
            return split_rows(
                output_height=output_height,
                input_height=height,
                kernel_rows=kernel_rows,
                stride=op.strides[0],
                dilation=op.dilations[0],
                pad_top=op.pads[0],
                max_lines=lines,
            )

        try:
            whole = pieces(height)
            lines = whole[0].input_rows
            banks = _banks(op, hw, ConvolutionFootprint(entries, lines, kernels, kernel_bytes))
            room = banks[0] * hw.cbuf.entries_per_bank // entries
            cut = whole if room >= lines else pieces(room)
        except LayoutError as error:
            raise DiagnosticError.at(
                op.location, f"{describe(op)} cannot run on {hw.name}: {error}"
            ) from error
        return Convolution(
            op,
            hw,
            _source(op, hw),
            channels,
            columns,
            kernels,
            kernel_rows,
            kernel_bytes,
            entries,
            banks,
            cut,
        )

    def units(self, piece: RowPiece, destination: PlacedCube | None) -> dict[str, Fields]:
        """The fields of the units for one piece; ``destination`` is the SDP's, if memory."""
        mode: Fields = {"CONV_MODE": "DIRECT", "PROC_PRECISION": "INT8"}
        return {
            "CDMA": self._cdma(piece),
            "CSC": self._csc(piece),
            "CMAC_A": mode,
            "CMAC_B": mode,
            "CACC": self._cacc(piece, destination),
        }

    @property
    def output_width(self) -> int:
        """Columns of the output."""
        return channels_height_width(self.op.output)[2]

    @property
    def _weight_bytes(self) -> int:
        return fetched_weight_bytes(self.hw, self.kernels, self.kernel_bytes)

    def _shared(self) -> Fields:
        """What CDMA and CSC must both be told."""
        return {
            "CONV_MODE": "DIRECT",
            "IN_PRECISION": "INT8",
            "PROC_PRECISION": "INT8",
            "DATA_REUSE": "DISABLE",
            "WEIGHT_REUSE": "DISABLE",
            "SKIP_DATA_RLS": "DISABLE",
            "SKIP_WEIGHT_RLS": "DISABLE",
            "DATAIN_FORMAT": "FEATURE" if isinstance(self.source, PlacedCube) else "PIXEL",
        }

    def _cdma(self, piece: RowPiece) -> Fields:
        op, hw = self.op, self.hw
        weights = address_of(memory_source(op.weight, op))
        width, height = self.columns.size - 1, piece.input_rows - 1
        return {
            **self._shared(),
            **self._input(piece),
            "DATAIN_WIDTH": width,
            "DATAIN_HEIGHT": height,
            "DATAIN_CHANNEL": self.channels - 1,
            "DATAIN_WIDTH_EXT": width,
            "DATAIN_HEIGHT_EXT": height,
            "PIXEL_X_OFFSET": 0,
            "PIXEL_Y_OFFSET": 0,
            "RSV_PER_LINE": 0,
            "RSV_PER_UV_LINE": 0,
            "RSV_HEIGHT": 0,
            "RSV_Y_INDEX": 0,
            "BATCHES": 0,
            "ENTRIES": self.entries - 1,
            "GRAINS": 0,
            "WEIGHT_FORMAT": "UNCOMPRESSED",
            "BYTE_PER_KERNEL": self.kernel_bytes - 1,
            "WEIGHT_KERNEL": self.kernels - 1,
            "WEIGHT_RAM_TYPE": "MCIF",
            **address_fields("WEIGHT_ADDR_LOW", "WEIGHT_ADDR_HIGH", weights, hw),
            "WEIGHT_BYTES": self._weight_bytes,
            **self._converter(),
            "CONV_X_STRIDE": op.strides[1] - 1,
            "CONV_Y_STRIDE": op.strides[0] - 1,
            "PAD_LEFT": self.columns.before,
            "PAD_RIGHT": self.columns.after,
            "PAD_TOP": piece.pad_top,
            "PAD_BOTTOM": piece.pad_bottom,
            "PAD_VALUE": op.pad_value,
            "DATA_BANK": self.banks[0] - 1,
            "WEIGHT_BANK": self.banks[1] - 1,
            "NAN_TO_ZERO": "DISABLE",
            "DMA_EN": 0,
        }

    def _input(self, piece: RowPiece) -> Fields:
        """Where the input lies (section 2)."""
        source = self.source
        if isinstance(source, PlacedImage):
            image = source.layout
            fields: Fields = {
                "PIXEL_FORMAT": image.pixel_format.name,
                "PIXEL_MAPPING": "PITCH_LINEAR",
                "PIXEL_SIGN_OVERRIDE": "SIGNED_INT" if self._is_signed else "UNSIGNED_INT",
                "DATAIN_RAM_TYPE": "MCIF",
            }
            strides = ("LINE_STRIDE", "UV_LINE_STRIDE")
            for plane, stride in enumerate(image.line_strides):
                fields |= address_fields(
                    f"DATAIN_ADDR_LOW_{plane}",
                    f"DATAIN_ADDR_HIGH_{plane}",
                    source.row(piece.input_start, plane),
                    self.hw,
                )
                fields[strides[plane]] = stride
            return {**fields, "LINE_PACKED": "FALSE", "SURF_PACKED": "FALSE"}
        line, surface = source.layout.line_stride, source.layout.surface_stride
        line_packed = line == self.columns.size * self.hw.memory_atom
        surface_packed = line_packed and surface == piece.input_rows * line
        return {
            "DATAIN_RAM_TYPE": "MCIF",
            **address_fields(
                "DATAIN_ADDR_LOW_0", "DATAIN_ADDR_HIGH_0", source.row(piece.input_start), self.hw
            ),
            "LINE_STRIDE": line,
            "SURF_STRIDE": surface,
            "LINE_PACKED": _truth(line_packed),
            "SURF_PACKED": _truth(surface_packed),
        }

    @property
    def _is_signed(self) -> bool:
        element = element_of(self.op.input.type)
        return element is not None and dtype_of(element).kind == "i"

    def _converter(self) -> Fields:
        """The input converter (section 3.2)."""
        op = self.op
        if op.cvt_scale is None:
            return {"MEAN_FORMAT": "DISABLE", "CVT_EN": "DISABLE", "CVT_TRUNCATE": 0}
        fields: Fields = {"MEAN_FORMAT": "DISABLE" if op.means is None else "ENABLE"}
        if op.means is not None:
            means = (*op.means, 0, 0, 0)[: len(_MEANS)]
            fields |= dict(zip(_MEANS, means, strict=True))
        return {
            **fields,
            "CVT_EN": "ENABLE",
            "CVT_TRUNCATE": op.cvt_truncate or 0,
            "CVT_OFFSET": op.cvt_offset or 0,
            "CVT_SCALE": op.cvt_scale,
        }

    def _csc(self, piece: RowPiece) -> Fields:
        op = self.op
        is_image = isinstance(self.source, PlacedImage)
        taps = self.columns.taps
        return {
            **self._shared(),
            "DATAIN_WIDTH_EXT": self.columns.size - 1,
            "DATAIN_HEIGHT_EXT": piece.input_rows - 1,
            "DATAIN_CHANNEL_EXT": self.channels - 1,
            "BATCHES": 0,
            "Y_EXTENSION": 0,
            "ENTRIES": self.entries - 1,
            "WEIGHT_FORMAT": "UNCOMPRESSED",
            "WEIGHT_WIDTH_EXT": 0 if is_image else taps - 1,
            "WEIGHT_HEIGHT_EXT": self.kernel_rows - 1,
            "WEIGHT_CHANNEL_EXT": self.channels * (taps if is_image else 1) - 1,
            "WEIGHT_KERNEL": self.kernels - 1,
            "WEIGHT_BYTES": self._weight_bytes,
            **self._output(piece),
            "ATOMICS": self.output_width * piece.output_rows - 1,
            "RLS_SLICES": piece.input_rows - 1,
            "CONV_X_STRIDE_EXT": op.strides[1] - 1,
            "CONV_Y_STRIDE_EXT": op.strides[0] - 1,
            "X_DILATION_EXT": op.dilations[1] - 1,
            "Y_DILATION_EXT": op.dilations[0] - 1,
            "PAD_LEFT": self.columns.before,
            "PAD_TOP": piece.pad_top,
            "PAD_VALUE": op.pad_value,
            "DATA_BANK": self.banks[0] - 1,
            "WEIGHT_BANK": self.banks[1] - 1,
            "PRA_TRUNCATE": 0,
        }

    def _output(self, piece: RowPiece) -> Fields:
        return {
            "DATAOUT_WIDTH": self.output_width - 1,
            "DATAOUT_HEIGHT": piece.output_rows - 1,
            "DATAOUT_CHANNEL": self.kernels - 1,
        }

    def _cacc(self, piece: RowPiece, destination: PlacedCube | None) -> Fields:
        """CACC is told where the SDP writes, but uses it only to pair up batches."""
        address = line = surface = 0
        if destination is not None:
            limit = 1 << _STRIDE_BITS
            address = destination.row(piece.output_start) & 0xFFFF_FFFF
            line = destination.layout.line_stride % limit
            surface = destination.layout.surface_stride % limit
        is_single = self.output_width == piece.output_rows == 1
        return {
            "CONV_MODE": "DIRECT",
            "PROC_PRECISION": "INT8",
            **self._output(piece),
            "DATAOUT_ADDR": address,
            "BATCHES": 0,
            "LINE_STRIDE": line,
            "SURF_STRIDE": surface,
            "LINE_PACKED": _truth(is_single),
            "SURF_PACKED": _truth(is_single),
            "CLIP_TRUNCATE": self.op.clip_truncate,
        }


def _truth(flag: bool) -> str:
    return "TRUE" if flag else "FALSE"


def _source(op: ConvOp, hw: HardwareConfiguration) -> PlacedCube | PlacedImage:
    if op.pixel_format is None:
        return placed_cube(op.input, op, hw)
    pixel_format_of(op, op.pixel_format, hw)
    upload = memory_source(op.input, op)
    if not isinstance(upload, UploadOp) or upload.format != op.pixel_format:
        found = f"'{upload.format}'" if isinstance(upload, UploadOp) else describe(upload)
        raise DiagnosticError.at(
            op.location,
            f"{describe(op)} reads an image of format '{op.pixel_format}', but its input is "
            f"{found}",
        )
    return placed_image(upload, hw)


def _check_windows(op: ConvOp, kernel: Sequence[int]) -> None:
    """What the verifier leaves to the hardware's rules (section 6.4)."""
    top, left, bottom, right = op.pads
    for axis, before, after, taps, dilation in (
        ("rows", top, bottom, kernel[0], op.dilations[0]),
        ("columns", left, right, kernel[1], op.dilations[1]),
    ):
        extent = (taps - 1) * dilation + 1
        if max(before, after) >= extent:
            raise DiagnosticError.at(
                op.location,
                f"{describe(op)} pads {max(before, after)} {axis}, but its kernel spans {extent}: "
                "padding must be less than that",
            )
    if op.pixel_format is not None and tuple(op.dilations) != (1, 1):
        raise DiagnosticError.at(
            op.location, f"{describe(op)} dilates an image, which the hardware cannot"
        )
    if op.cvt_scale is None and (op.cvt_offset is not None or op.means is not None):
        raise DiagnosticError.at(
            op.location,
            f"{describe(op)} has no 'cvt_scale', without which the input converter subtracts "
            "nothing: give it, and 'cvt_truncate'",
        )
    if op.means is not None and len(op.means) > len(_MEANS):
        raise DiagnosticError.at(
            op.location,
            f"{describe(op)} has {len(op.means)} means, but pixels have at most {len(_MEANS)} "
            "components",
        )


def _banks(
    op: ConvOp, hw: HardwareConfiguration, footprint: ConvolutionFootprint
) -> tuple[int, int]:
    """Banks for data and weights: those that ``op`` names, or as section 3.5 advises."""
    if op.data_banks is not None and op.weight_banks is not None:
        group = min(footprint.kernels, hw.atomic_k) * footprint.kernel_bytes
        least = max(
            align_up(group, hw.cbuf.entry_bytes) + hw.weight_alignment,
            streamed_group_bytes(hw, group),
        )
        total = op.data_banks + op.weight_banks
        if (
            min(op.data_banks, op.weight_banks) < 1
            or total > hw.usable_banks()
            or op.weight_banks * hw.cbuf.bank_bytes < least
        ):
            raise DiagnosticError.at(
                op.location,
                f"{describe(op)} has {op.data_banks} banks for data and {op.weight_banks} for "
                f"weights of {hw.cbuf.bank_bytes} bytes each: {hw.name} has {hw.usable_banks()}, "
                f"and one group of kernels needs {least} bytes",
            )
        return op.data_banks, op.weight_banks
    banks = allocate_banks(hw, footprint)
    if not isinstance(banks, BankShortage):
        return banks.data_banks, banks.weight_banks
    if banks.split is None:
        raise DiagnosticError.at(
            op.location,
            f"{describe(op)} does not fit the convolution buffer of {hw.name}, {banks.banks} banks "
            f"of {hw.cbuf.bank_bytes} bytes: its weights need {banks.weight_banks}, and one line "
            f"of its input takes {footprint.entries_per_slice} entries of {hw.cbuf.entry_bytes} "
            "bytes",
        )
    return banks.split.data_banks, banks.split.weight_banks
