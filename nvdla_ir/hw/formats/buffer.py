"""How data and weights share the convolution buffer, CBUF (convolution.md sections 3.4 and 3.5).

The whole input of a convolution must be resident: one *slice* (an input line of all channels) takes
``entries_per_slice`` entries, and all slices lie in the data banks; weights take the banks after
them. Where that does not fit, the convolution is divided (``nvdla_ir.hardware.fitting``).
"""

from __future__ import annotations

from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.hw.formats.sizes import align_up, ceil_div, require_positive

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


def streamed_group_bytes(hw: HardwareConfiguration, group_bytes: int) -> int:
    """Return the room that a kernel group needs where not all weights fit at once.

    A request may reach from the end of one group into the next; where it is larger than an entry,
    it waits for room for all of it. (Seen on the functional model of nv_full, which hangs.)
    """
    request = hw.weight_request_bytes
    return group_bytes + (request if request > hw.cbuf.entry_bytes else 0)
