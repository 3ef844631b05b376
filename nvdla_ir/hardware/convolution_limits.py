"""What the convolution pipeline cannot do. Sources: convolution.md sections 0, 3 and 6.4."""

from __future__ import annotations

from collections.abc import Iterator

from nvdla_ir.hardware.convolution_geometry import ConvolutionGeometry
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
from nvdla_ir.hw.formats.sizes import align_up, ceil_div
from nvdla_ir.hw.formats.weights import post_extension_fits

LARGEST_KERNEL = 32
LARGEST_STRIDE = 8
LARGEST_DILATION = 32
LARGEST_PADS = (31, 31, 63, 63)
"""Top, left, bottom, right."""
LARGEST_KERNEL_BYTES = 1 << 18
LARGEST_PLANE = 1 << 21
"""Elements of one channel of the output."""
LARGEST_TRUNCATE = 16
LARGEST_POST_EXTENSION = 2
LARGEST_GRAIN = 1 << 12
"""Lines that CDMA asks for at once."""
WINOGRAD_OUTPUTS = 4
"""Rows and columns of a Winograd convolution's output are multiples of it, at least two."""

MOST_MEANS = 4
"""A number for each component of a pixel."""


def convolution_faults(setting: ConvolutionGeometry, hw: HardwareConfiguration) -> Iterator[Fault]:
    """Every limit that the setting breaks."""
    yield from _geometry_faults(setting)
    yield from _mode_faults(setting, hw)
    winograd = list(_winograd_faults(setting)) if setting.winograd else []
    yield from winograd
    if not winograd and _has_sizes(setting):
        yield from _size_faults(setting, hw)
        yield from _buffer_faults(setting, hw)


def _has_sizes(setting: ConvolutionGeometry) -> bool:
    """Whether there is something to compute, so that sizes follow."""
    extents = (setting.channels, setting.kernels)
    for window in (setting.rows, setting.columns):
        extents = (*extents, window.size, window.taps, window.stride, window.outputs)
    return min(extents) >= 1


def _geometry_faults(setting: ConvolutionGeometry) -> Iterator[Fault]:
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
            1,
        )
        yield from above(
            f"a stride along its {name}",
            window.stride,
            LARGEST_STRIDE,
            f"CSC.CONV_{step}_STRIDE_EXT",
            "use several layers",
            1,
        )
        yield from above(
            f"a dilation along its {name}",
            window.dilation,
            LARGEST_DILATION,
            f"CSC.{step}_DILATION_EXT",
            "use a smaller one",
            1,
        )
        for side, pad in ((axis, window.before), (axis + 2, window.after)):
            yield from above(
                f"padding at the {sides[side][0]}",
                pad,
                LARGEST_PADS[side],
                f"CDMA.{sides[side][1]}",
                "pad by less",
            )


def _size_faults(setting: ConvolutionGeometry, hw: HardwareConfiguration) -> Iterator[Fault]:
    plane = setting.rows.outputs * setting.columns.outputs
    yield from above("an output plane", plane, LARGEST_PLANE, "CSC.ATOMICS", SMALLER_TENSOR)
    yield from above(
        "kernels of a size in bytes",
        setting.kernel_bytes(hw),
        LARGEST_KERNEL_BYTES,
        "CDMA.BYTE_PER_KERNEL",
        SMALLER_WINDOW,
    )
    if setting.compressed is None and setting.stated_weight_bytes is not None:
        needed, entry = setting.kernels * setting.kernel_bytes(hw), hw.cbuf.entry_bytes
        if setting.stated_weight_bytes < needed or setting.stated_weight_bytes % entry:
            yield Fault(
                f"weights of {setting.stated_weight_bytes} bytes, but its kernels have {needed}, "
                f"in whole entries of {entry} bytes",
                "CDMA.WEIGHT_BYTES",
            )
    released, lines = setting.reuse.released, setting.extended(hw)[1]
    if released is not None:
        yield from outside("a number of released lines", released, 1, lines, "CSC.RLS_SLICES")


def _winograd_faults(setting: ConvolutionGeometry) -> Iterator[Fault]:
    """Section 4.7."""
    for name, window in (("HEIGHT", setting.rows), ("WIDTH", setting.columns)):
        if window.outputs % WINOGRAD_OUTPUTS or window.outputs < 2 * WINOGRAD_OUTPUTS:
            yield Fault(
                f"an output {name.lower()} of {window.outputs} in Winograd mode, but it must "
                f"be a multiple of {WINOGRAD_OUTPUTS}, {2 * WINOGRAD_OUTPUTS} at least",
                f"CSC.DATAOUT_{name}",
            )
        padded = window.before + window.size + window.after
        needed = (window.outputs + WINOGRAD_OUTPUTS) * window.stride
        if padded != needed:
            yield Fault(
                f"an input {name.lower()} of {padded} with padding in Winograd mode, but it must "
                f"be {needed}, {WINOGRAD_OUTPUTS} more than the output by the stride",
                f"CDMA.DATAIN_{name}",
            )
        if window.dilation != 1:
            register = f"CSC.{'Y' if name == 'HEIGHT' else 'X'}_DILATION_EXT"
            yield Fault(
                f"a window of dilation {window.dilation} in Winograd mode, which takes 1: use the "
                "direct mode",
                register,
            )


def _mode_faults(setting: ConvolutionGeometry, hw: HardwareConfiguration) -> Iterator[Fault]:
    yield from outside("a batch", setting.batch, 1, hw.max_batch, "CDMA.BATCHES")
    yield from outside(
        "a number of lines fetched at once", setting.fetch_grain, 1, LARGEST_GRAIN, "CDMA.GRAINS"
    )
    yield from above(
        "a shift of the sums",
        setting.clip_truncate,
        LARGEST_TRUNCATE,
        "CACC.CLIP_TRUNCATE",
        "shift in the SDP",
    )
    if setting.winograd and not hw.has_winograd:
        yield lacks(hw, "Winograd mode", "Winograd mode", "has_winograd", "CDMA.CONV_MODE")
    if setting.compressed is not None and not hw.has_weight_compression:
        yield lacks(
            hw,
            "compressed weights",
            "decompression of weights",
            "has_weight_compression",
            "CDMA.WEIGHT_FORMAT",
        )
    if setting.batch > 1 and (setting.winograd or setting.image is not None):
        what = "images" if setting.image is not None else "cubes in Winograd mode"
        yield Fault(f"a batch of {what}, which is only one of cubes", "CDMA.BATCHES")
    yield from _post_extension_faults(setting, hw)
    if setting.image is None:
        return
    if setting.winograd:
        yield Fault("an image in Winograd mode, which only takes cubes", "CDMA.CONV_MODE")
    if setting.rows.dilation != 1 or setting.columns.dilation != 1:
        yield Fault("a dilated window on an image, which only cubes take", "CSC.X_DILATION_EXT")
    if not hw.supports_pixel_format(setting.image.pixel_format):
        yield Fault(
            f"the pixel format '{setting.image.pixel_format.name}', which {hw.name} does not "
            f"read; it reads {', '.join(hw.pixel_formats)}: convert the image, or choose another "
            "target",
            "CDMA.PIXEL_FORMAT",
        )
    if setting.image.means is not None and len(setting.image.means) > MOST_MEANS:
        yield Fault(
            f"{len(setting.image.means)} means, but pixels have at most {MOST_MEANS} components",
            "CDMA.MEAN_AX",
        )


def _post_extension_faults(
    setting: ConvolutionGeometry, hw: HardwareConfiguration
) -> Iterator[Fault]:
    """Section 2.5."""
    register, extension = "CSC.Y_EXTENSION", setting.post_extension
    if extension and setting.image is None:
        yield Fault("a post extension of the kernels, which only images have", register)
    elif not 0 <= extension <= LARGEST_POST_EXTENSION:
        yield from outside("a post extension", extension, 0, LARGEST_POST_EXTENSION, register)
    elif extension and not post_extension_fits(
        setting.channels, setting.columns.taps, setting.columns.stride, 1 << extension, hw.atomic_c
    ):
        yield Fault(
            f"{setting.columns.taps} columns of {setting.channels} channels, which leave no room "
            f"for a post extension to {1 << extension} lines",
            register,
        )


def _buffer_faults(setting: ConvolutionGeometry, hw: HardwareConfiguration) -> Iterator[Fault]:
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
    if setting.compressed is not None:
        yield from _mask_faults(setting, hw)
    else:
        least = least_weight_bytes(hw, setting.kernels, setting.kernel_bytes(hw))
        if least > weights * hw.cbuf.bank_bytes:
            yield Fault(
                f"a group of kernels that needs {least} bytes, but {weights} banks for weights "
                f"hold {weights * hw.cbuf.bank_bytes}",
                "CDMA.WEIGHT_BANK",
            )


def _mask_faults(setting: ConvolutionGeometry, hw: HardwareConfiguration) -> Iterator[Fault]:
    """Of compressed weights (section 2.6)."""
    assert setting.compressed is not None
    if setting.compressed.data_bytes < 1:
        yield Fault(
            "compressed weights without data, for which the hardware waits; "
            f"{hw.weight_alignment} bytes of zeros serve",
            "CDMA.WEIGHT_BYTES",
        )
    group = min(setting.kernels, hw.atomic_k) * setting.kernel_bytes(hw)
    mask, room = ceil_div(group, 8), hw.cbuf.bank_bytes - hw.weight_alignment
    if mask > room:
        yield Fault(
            f"a mask of {mask} bytes for one kernel group of compressed weights; a bank of "
            f"{hw.name} takes up to {room}",
            "CDMA.WMB_BYTES",
        )


def least_weight_bytes(hw: HardwareConfiguration, kernels: int, kernel_bytes: int) -> int:
    """Room that the weights need at least: one kernel group, with what must stay free beside it
    (section 3.5, rule 2)."""
    group = min(kernels, hw.atomic_k) * kernel_bytes
    return max(
        align_up(group, hw.cbuf.entry_bytes) + hw.weight_alignment,
        streamed_group_bytes(hw, group),
    )
