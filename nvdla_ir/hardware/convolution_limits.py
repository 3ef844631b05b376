"""What the convolution pipeline cannot do. Sources: convolution.md sections 0, 3 and 6.4."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from nvdla_ir.hardware.faults import (
    SMALLER_TENSOR,
    SMALLER_WINDOW,
    Fault,
    above,
    extent_faults,
    lacks,
    outside,
)
from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.hw.formats.buffer import streamed_group_bytes
from nvdla_ir.hw.formats.sizes import align_up

if TYPE_CHECKING:
    from nvdla_ir.hardware.convolution import ConvolutionSetting

LARGEST_KERNEL = 32
LARGEST_STRIDE = 8
LARGEST_DILATION = 32
LARGEST_PADS = (31, 31, 63, 63)
"""Top, left, bottom, right."""
LARGEST_KERNEL_BYTES = 1 << 18
LARGEST_PLANE = 1 << 21
"""Elements of one channel of the output."""
LARGEST_TRUNCATE = 16

MOST_MEANS = 4
"""A number for each component of a pixel."""


def convolution_faults(setting: ConvolutionSetting, hw: HardwareConfiguration) -> Iterator[Fault]:
    """Every limit that the setting breaks."""
    yield from _geometry_faults(setting, hw)
    yield from _mode_faults(setting, hw)
    yield from _buffer_faults(setting, hw)


def _geometry_faults(setting: ConvolutionSetting, hw: HardwareConfiguration) -> Iterator[Fault]:
    rows, columns = setting.rows, setting.columns
    yield from extent_faults(
        "input",
        setting.channels,
        rows.size,
        columns.size,
        ("CDMA.DATAIN_CHANNEL", "CDMA.DATAIN_HEIGHT", "CDMA.DATAIN_WIDTH"),
    )
    yield from extent_faults(
        "output",
        setting.kernels,
        rows.outputs,
        columns.outputs,
        ("CSC.DATAOUT_CHANNEL", "CSC.DATAOUT_HEIGHT", "CSC.DATAOUT_WIDTH"),
    )
    plane = rows.outputs * columns.outputs
    yield from above("an output plane", plane, LARGEST_PLANE, "CSC.ATOMICS", SMALLER_TENSOR)
    yield from above(
        "kernels of a size in bytes",
        setting.kernel_bytes(hw),
        LARGEST_KERNEL_BYTES,
        "CDMA.BYTE_PER_KERNEL",
        SMALLER_WINDOW,
    )
    sides = (("top", "PAD_TOP"), ("left", "PAD_LEFT"), ("bottom", "PAD_BOTTOM"))
    sides = (*sides, ("right", "PAD_RIGHT"))
    for axis, (name, window, size, step) in enumerate(
        (
            ("height", rows, "HEIGHT", "Y"),
            ("width", columns, "WIDTH", "X"),
        )
    ):
        yield from above(
            f"a kernel {name}",
            window.taps,
            LARGEST_KERNEL,
            f"CSC.WEIGHT_{size}_EXT",
            SMALLER_WINDOW,
        )
        yield from above(
            f"a stride along its {name}",
            window.stride,
            LARGEST_STRIDE,
            f"CSC.CONV_{step}_STRIDE_EXT",
            "use several layers",
        )
        yield from above(
            f"a dilation along its {name}",
            window.dilation,
            LARGEST_DILATION,
            f"CSC.{step}_DILATION_EXT",
            "use a smaller one",
        )
        for side, pad in ((axis, window.before), (axis + 2, window.after)):
            yield from above(
                f"padding at the {sides[side][0]}",
                pad,
                LARGEST_PADS[side],
                f"CDMA.{sides[side][1]}",
                "pad by less",
            )


def _mode_faults(setting: ConvolutionSetting, hw: HardwareConfiguration) -> Iterator[Fault]:
    yield from outside("a batch", setting.batch, 1, hw.max_batch, "CDMA.BATCHES")
    yield from above(
        "a shift of the sums",
        setting.clip_truncate,
        LARGEST_TRUNCATE,
        "CACC.CLIP_TRUNCATE",
        "shift in the SDP",
    )
    if setting.winograd and not hw.has_winograd:
        yield lacks(hw, "Winograd mode", "Winograd mode", "CDMA.CONV_MODE")
    if setting.compressed is not None and not hw.has_weight_compression:
        yield lacks(hw, "compressed weights", "decompression of weights", "CDMA.WEIGHT_FORMAT")
    if setting.image is None:
        return
    if setting.rows.dilation != 1 or setting.columns.dilation != 1:
        yield Fault("a dilated window on an image, which only cubes take", "CSC.X_DILATION_EXT")
    if not hw.supports_pixel_format(setting.image.pixel_format):
        yield Fault(
            f"the pixel format '{setting.image.pixel_format.name}', which {hw.name} does not "
            f"read; it reads {', '.join(hw.pixel_formats)}",
            "CDMA.PIXEL_FORMAT",
        )
    if setting.image.means is not None and len(setting.image.means) > MOST_MEANS:
        yield Fault(
            f"{len(setting.image.means)} means, but pixels have at most {MOST_MEANS} components",
            "CDMA.MEAN_AX",
        )


def _buffer_faults(setting: ConvolutionSetting, hw: HardwareConfiguration) -> Iterator[Fault]:
    usable = hw.usable_banks(compressed=setting.compressed is not None)
    if setting.banks is None:
        return
    data, weights = setting.banks.data, setting.banks.weights
    if min(data, weights) < 1 or data + weights > usable:
        yield Fault(
            f"{data} banks for data and {weights} for weights, but {hw.name} has {usable}",
            "CDMA.WEIGHT_BANK",
        )
        return
    needed = setting.entries(hw) * setting.extended(hw)[1] * setting.batch
    room = data * hw.cbuf.entries_per_bank
    if needed > room:
        yield Fault(
            f"an input of {needed} entries of the convolution buffer, but {data} banks of "
            f"{hw.name} hold {room}",
            "CDMA.DATA_BANK",
        )
    if setting.compressed is None:
        least = least_weight_bytes(hw, setting.kernels, setting.kernel_bytes(hw))
        if least > weights * hw.cbuf.bank_bytes:
            yield Fault(
                f"a group of kernels that needs {least} bytes, but {weights} banks for weights "
                f"hold {weights * hw.cbuf.bank_bytes}",
                "CDMA.WEIGHT_BANK",
            )


def least_weight_bytes(hw: HardwareConfiguration, kernels: int, kernel_bytes: int) -> int:
    """Room that the weights need at least: one kernel group, with what must stay free beside it
    (section 3.5, rule 2)."""
    group = min(kernels, hw.atomic_k) * kernel_bytes
    return max(
        align_up(group, hw.cbuf.entry_bytes) + hw.weight_alignment,
        streamed_group_bytes(hw, group),
    )
