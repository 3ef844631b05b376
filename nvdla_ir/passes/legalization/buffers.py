"""How a convolution shares out the convolution buffer (convolution.md section 3.5)."""

from __future__ import annotations

from attrs import frozen

from nvdla_ir.dialects.layer import describe
from nvdla_ir.dialects.nn.shapes import shape_of
from nvdla_ir.dialects.nvdla import ConvOp, cube_shape
from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.hw.formats.buffer import (
    BankShortage,
    ConvolutionFootprint,
    allocate_banks,
    entries_per_slice,
    image_entries_per_slice,
    split_rows,
)
from nvdla_ir.hw.formats.sizes import LayoutError, ceil_div
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.passes.legalization.limits import check_convolution


@frozen
class _Share:
    """Banks for data and for weights, and in how many pieces of rows the layer runs with them."""

    data_banks: int
    weight_banks: int
    pieces: int


def place_in_buffer(op: ConvOp, hw: HardwareConfiguration) -> int:
    """Give ``op`` its banks; returns the number of pieces of rows in which it runs with them.

    Raises: DiagnosticError where a limit of the hardware is exceeded, or not even one row of the
    output fits.
    """
    check_convolution(op)
    share = _share(op, hw)
    op.data_banks, op.weight_banks = share.data_banks, share.weight_banks
    return share.pieces


def _share(op: ConvOp, hw: HardwareConfiguration) -> _Share:
    channels, height = shape_of(op.input)[1:3]
    kernels, _, rows, columns = shape_of(op.weight)
    output_height = cube_shape(op.output.type)[2]

    def pieces(lines: int) -> int:
        return len(
            split_rows(
                output_height=output_height,
                input_height=height,
                kernel_rows=rows,
                stride=op.strides[0],
                dilation=op.dilations[0],
                pad_top=op.pads[0],
                max_lines=lines,
            )
        )

    window = (rows - 1) * op.dilations[0] + 1
    # Rows behind the last window are not read.
    last = (output_height - 1) * op.strides[0] - op.pads[0] + window
    footprint = ConvolutionFootprint(
        _entries(op, hw), min(last, height), kernels, channels * rows * columns
    )
    banks = allocate_banks(hw, footprint)
    if not isinstance(banks, BankShortage):
        return _Share(banks.data_banks, banks.weight_banks, 1)
    if banks.split is not None:
        try:
            count = pieces(banks.lines)
        except LayoutError:
            pass
        else:
            return _Share(banks.split.data_banks, banks.split.weight_banks, count)
    lines = min(window, height)
    needed = ceil_div(footprint.entries_per_slice * lines, hw.cbuf.entries_per_bank)
    raise DiagnosticError.at(
        op.location,
        f"{describe(op)} does not fit the convolution buffer of {hw.name}, {banks.banks} banks of "
        f"{hw.cbuf.bank_bytes} bytes: the {lines} input rows of one output row ({channels} "
        f"channels) take {needed}, and {min(kernels, hw.atomic_k)} kernels of "
        f"{footprint.kernel_bytes} bytes take {banks.weight_banks}. Choose a target with a larger "
        "buffer, or a layer with fewer input channels, narrower input or a smaller kernel",
    )


def _entries(op: ConvOp, hw: HardwareConfiguration) -> int:
    """Of one row of the input, without the columns behind the last window."""
    channels, _, width = shape_of(op.input)[1:]
    taps = (shape_of(op.weight)[3] - 1) * op.dilations[1] + 1
    output_width = cube_shape(op.output.type)[3]
    after = (output_width - 1) * op.strides[1] + taps - op.pads[1] - width
    width += min(after, 0)
    if op.pixel_format is None:
        return entries_per_slice(hw, width, channels)
    return image_entries_per_slice(hw, width, channels, op.pads[1], max(after, 0))
