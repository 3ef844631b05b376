"""How data and weights share the convolution buffer, CBUF (convolution.md sections 3.4 and 3.5).

The whole input of a convolution must be resident: one *slice* (an input line of all channels) takes
``entries_per_slice`` entries, and all slices lie in the data banks; weights take the banks after
them. Where that does not fit, the output is cut into pieces of rows.
"""

from __future__ import annotations

from typing import Literal

from attrs import frozen

from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.hw.formats.sizes import LayoutError, align_up, ceil_div, require_positive

_WEIGHT_SLACK_BYTES = 128
"""Bytes that must stay free beside one kernel group (convolution.md section 3.5, rule 2)."""

_WINOGRAD_TILE = 4
"""Pixels of one line that Winograd mode keeps in one entry."""


def entries_per_slice(hw: HardwareConfiguration, width: int, channels: int) -> int:
    """Return EPS of a feature cube's line: ENTRIES register + 1 (convolution.md section 3.4)."""
    require_positive("slice", width=width, channels=channels)
    per_entry = hw.atoms_per_entry
    whole, rest = divmod(ceil_div(channels, hw.memory_atom), per_entry)
    if rest == 0:
        part = 0
    elif 2 * rest > per_entry:
        part = width
    else:
        # rest is half or a quarter of an entry: 2 or 4 pixels share one
        part = ceil_div(width, per_entry // rest)
    return whole * width + part


def image_entries_per_slice(
    hw: HardwareConfiguration, width: int, channels: int, pad_left: int, pad_right: int
) -> int:
    """Return EPS of an image's row, which is stored with its horizontal padding (section 3.4)."""
    require_positive("image slice", width=width, channels=channels)
    return ceil_div((pad_left + width + pad_right) * channels, hw.cbuf.entry_bytes)


def winograd_entries_per_slice(
    hw: HardwareConfiguration, extended_width: int, extended_channels: int
) -> int:
    """Return EPS in Winograd mode, for the extended INT8 input (section 3.4).

    One entry holds 4 pixels of a line by as many channels as fit: 32 in nv_full's 128 bytes.
    """
    require_positive("Winograd slice", width=extended_width, channels=extended_channels)
    columns = ceil_div(extended_width, _WINOGRAD_TILE)
    return columns * ceil_div(extended_channels, hw.cbuf.entry_bytes // _WINOGRAD_TILE)


def fetched_weight_bytes(hw: HardwareConfiguration, kernels: int, kernel_bytes: int) -> int:
    """Return the register value WEIGHT_BYTES of uncompressed weights (section 8.3).

    Whole entries, and no more: CDMA moves on by what it fetched, CSC by the entries that it read.
    Where the two differ, the weights of the next convolution are read from the wrong place.
    """
    require_positive("weights", kernels=kernels, kernel_bytes=kernel_bytes)
    return align_up(kernels * kernel_bytes, hw.cbuf.entry_bytes)


@frozen
class ConvolutionFootprint:
    """What one convolution puts into CBUF.

    ``lines`` counts all input lines of one cube, ``kernel_bytes`` is BYTE_PER_KERNEL + 1,
    ``batch`` the number of cubes.
    """

    entries_per_slice: int
    lines: int
    kernels: int
    kernel_bytes: int
    batch: int = 1
    compressed: bool = False


@frozen
class BankAllocation:
    """Banks for data and weights (the D_BANK fields hold one less).

    ``resident`` tells how many weights are held at once: "all" of them, "two" kernel groups (the
    next is fetched while one is used), or "one".
    """

    data_banks: int
    weight_banks: int
    resident: Literal["all", "two", "one"]


@frozen
class BankShortage:
    """Why a convolution does not fit CBUF, and what would.

    ``data_banks`` is what the data need; ``weight_banks`` the least that its weights need (one
    kernel group); ``banks`` what there is. ``split`` is the allocation to use when the output is
    cut into pieces of rows, of at most ``lines`` input lines each; None if not even one line fits.
    """

    data_banks: int
    weight_banks: int
    banks: int
    lines: int
    split: BankAllocation | None


def allocate_banks(
    hw: HardwareConfiguration, footprint: ConvolutionFootprint
) -> BankAllocation | BankShortage:
    """Divide CBUF between data and weights (convolution.md section 3.5).

    Prefers to hold all weights, then two kernel groups, then one. If the data do not fit beside one
    group, returns the BankShortage with the allocation for a split by rows, which keeps as many
    weights as leave room for one line.
    """
    require_positive(
        "convolution",
        entries_per_slice=footprint.entries_per_slice,
        lines=footprint.lines,
        kernels=footprint.kernels,
        kernel_bytes=footprint.kernel_bytes,
        batch=footprint.batch,
    )
    banks = hw.usable_banks(compressed=footprint.compressed)
    data = ceil_div(
        footprint.entries_per_slice * footprint.lines * footprint.batch, hw.cbuf.entries_per_bank
    )
    group_kernels = min(footprint.kernels, hw.atomic_k)
    one = _group_banks(hw, group_kernels * footprint.kernel_bytes)
    # the surface's own rounding may ask for a bank more than the group's rule does, or less
    surface = fetched_weight_bytes(hw, footprint.kernels, footprint.kernel_bytes)
    everything = max(ceil_div(surface, hw.cbuf.bank_bytes), one)
    options = (
        BankAllocation(data, everything, "all"),
        BankAllocation(data, 2 * one, "two"),
        BankAllocation(data, one, "one"),
    )
    for option in options:
        if option.data_banks + option.weight_banks <= banks:
            return option
    for option in options:
        room = banks - option.weight_banks
        slices = room * hw.cbuf.entries_per_bank // footprint.entries_per_slice // footprint.batch
        if room > 0 and slices > 0:
            split = BankAllocation(room, option.weight_banks, option.resident)
            return BankShortage(data, one, banks, slices, split)
    return BankShortage(data, one, banks, 0, None)


def streamed_group_bytes(hw: HardwareConfiguration, group_bytes: int) -> int:
    """Return the room that a kernel group needs where not all weights fit at once.

    A request may reach from the end of one group into the next; where it is larger than an entry,
    it waits for room for all of it. (Seen on the functional model of nv_full, which hangs.)
    """
    request = hw.weight_request_bytes
    return group_bytes + (request if request > hw.cbuf.entry_bytes else 0)


def _group_banks(hw: HardwareConfiguration, group_bytes: int) -> int:
    size = align_up(group_bytes, hw.weight_alignment) + _WEIGHT_SLACK_BYTES
    return ceil_div(max(size, streamed_group_bytes(hw, group_bytes)), hw.cbuf.bank_bytes)


@frozen
class RowPiece:
    """Rows of a convolution's output that are computed at once, and the input that they need.

    All in rows of the cubes; ``pad_top`` and ``pad_bottom`` are the padding rows that remain.
    """

    output_start: int
    output_rows: int
    input_start: int
    input_rows: int
    pad_top: int
    pad_bottom: int


def split_rows(
    *,
    output_height: int,
    input_height: int,
    kernel_rows: int,
    stride: int,
    dilation: int,
    pad_top: int,
    max_lines: int,
) -> tuple[RowPiece, ...]:
    """Cut a convolution's output into pieces that need at most ``max_lines`` input lines each.

    Pieces are as tall as they can be, in order; their inputs overlap (convolution.md section 3.5).
    Raises LayoutError if one output row needs more lines than that, or only padding.
    """
    reach = (kernel_rows - 1) * dilation
    pieces: list[RowPiece] = []
    start = 0
    while start < output_height:
        piece = _row_piece(start, 1, input_height, stride, reach, pad_top)
        if piece.input_rows > max_lines:
            raise LayoutError(
                f"one output row needs {piece.input_rows} input lines, "
                f"but the convolution buffer holds {max_lines} beside the weights"
            )
        rows = 1
        while start + rows < output_height:
            taller = _row_piece(start, rows + 1, input_height, stride, reach, pad_top)
            if taller.input_rows > max_lines:
                break
            piece, rows = taller, rows + 1
        pieces.append(piece)
        start += rows
    return tuple(pieces)


def _row_piece(
    start: int, rows: int, input_height: int, stride: int, reach: int, pad_top: int
) -> RowPiece:
    first = start * stride - pad_top
    last = (start + rows - 1) * stride - pad_top + reach
    top, bottom = max(first, 0), min(last, input_height - 1)
    if bottom < top:
        raise LayoutError(f"output rows {start} to {start + rows - 1} see only padding")
    return RowPiece(start, rows, top, bottom - top + 1, top - first, last - bottom)
