"""What the registers of the convolution pipeline must satisfy. Source: convolution.md 3 to 6."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from nvdla_ir.hw.formats.buffer import (
    entries_per_slice,
    image_entries_per_slice,
    streamed_group_bytes,
    winograd_entries_per_slice,
)
from nvdla_ir.hw.formats.sizes import align_up, ceil_div
from nvdla_ir.hw.formats.weights import post_extension_fits
from nvdla_ir.interp.device.environment import Environment
from nvdla_ir.interp.device.registers import Fields

_EQUAL_IN_CSC = (
    ("CONV_MODE", "CONV_MODE"),
    ("DATAIN_FORMAT", "DATAIN_FORMAT"),
    ("DATA_REUSE", "DATA_REUSE"),
    ("WEIGHT_REUSE", "WEIGHT_REUSE"),
    ("SKIP_DATA_RLS", "SKIP_DATA_RLS"),
    ("SKIP_WEIGHT_RLS", "SKIP_WEIGHT_RLS"),
    ("BATCHES", "BATCHES"),
    ("ENTRIES", "ENTRIES"),
    ("WEIGHT_FORMAT", "WEIGHT_FORMAT"),
    ("WEIGHT_KERNEL", "WEIGHT_KERNEL"),
    ("WEIGHT_BYTES", "WEIGHT_BYTES"),
    ("DATA_BANK", "DATA_BANK"),
    ("WEIGHT_BANK", "WEIGHT_BANK"),
)
"""CDMA fields and the CSC fields that must equal them in every mode."""

MAXIMUM_TRUNCATE = 16


def check_convolution(environment: Environment, units: Mapping[str, Fields]) -> None:
    """Report every broken rule of a layer that does not depend on the data."""
    cdma, csc, cacc = units["CDMA"], units["CSC"], units["CACC"]
    _check_modes(environment, units)
    for name, other in _EQUAL_IN_CSC:
        _check_equal(environment, csc, other, cdma[name], f"CDMA.{name}")
    for name in ("WIDTH", "HEIGHT", "CHANNEL"):
        field = f"DATAOUT_{name}"
        _check_equal(environment, cacc, field, csc[field], f"CSC.{field}")
        _must_equal(environment, units["SDP"], name, csc[field], f"CSC.{field}")
    _check_equal(environment, csc, "DATAOUT_CHANNEL", csc["WEIGHT_KERNEL"], "WEIGHT_KERNEL")
    _check_equal(environment, cacc, "BATCHES", cdma["BATCHES"], "CDMA.BATCHES")
    _check_equal(environment, units["SDP"], "BATCH_NUMBER", cdma["BATCHES"], "CDMA.BATCHES")
    atomics = (csc["DATAOUT_HEIGHT"] + 1) * (csc["DATAOUT_WIDTH"] + 1) - 1
    _check_equal(environment, csc, "ATOMICS", atomics, "the output size - 1")
    environment.require(
        csc["RLS_SLICES"] <= csc["DATAIN_HEIGHT_EXT"],
        csc,
        "RLS_SLICES",
        f"must be at most DATAIN_HEIGHT_EXT = {csc['DATAIN_HEIGHT_EXT']}",
    )
    environment.require(
        cacc["CLIP_TRUNCATE"] <= MAXIMUM_TRUNCATE,
        cacc,
        "CLIP_TRUNCATE",
        f"must be at most {MAXIMUM_TRUNCATE}",
    )
    _check_sizes(environment, cdma, csc)
    _check_windows(environment, cdma, csc)
    _check_buffer(environment, cdma, csc)
    _check_fetch(environment, cdma)
    if cdma["WEIGHT_FORMAT"]:
        _check_compression(environment, cdma, csc)


def _check_equal(
    environment: Environment, fields: Fields, name: str, right: int, what: str
) -> None:
    environment.require(fields[name] == right, fields, name, f"must equal {what}, {right}")


def _must_equal(environment: Environment, fields: Fields, name: str, right: int, what: str) -> None:
    """Like `_check_equal`, but for what no layer can do without."""
    environment.unsupported(fields[name] == right, fields, name, f"must equal {what}, {right}")


def _check_modes(environment: Environment, units: Mapping[str, Fields]) -> None:
    """Precisions, Winograd, compression, batches: what the configuration has."""
    hardware = environment.configuration
    for block, fields in units.items():
        if block in ("CDMA", "CSC", "CMAC_A", "CMAC_B", "CACC"):
            _check_equal(environment, fields, "CONV_MODE", units["CDMA"]["CONV_MODE"], "CDMA's")
            _check_int8(environment, fields, "PROC_PRECISION")
    cdma, csc = units["CDMA"], units["CSC"]
    _must_equal(environment, csc, "CONV_MODE", cdma["CONV_MODE"], "CDMA's")
    _check_int8(environment, cdma, "IN_PRECISION")
    environment.require(
        hardware.has_winograd or cdma["CONV_MODE"] == 0,
        cdma,
        "CONV_MODE",
        f"{hardware.name} has no Winograd mode",
    )
    environment.require(
        hardware.has_weight_compression or cdma["WEIGHT_FORMAT"] == 0,
        cdma,
        "WEIGHT_FORMAT",
        f"{hardware.name} has no weight compression",
    )
    environment.require(
        cdma["BATCHES"] < hardware.max_batch,
        cdma,
        "BATCHES",
        f"{hardware.name} runs at most {hardware.max_batch} cubes a layer",
    )
    _check_equal(environment, units["SDP"], "WINOGRAD", cdma["CONV_MODE"], "CDMA.CONV_MODE")
    if cdma["CONV_MODE"]:
        environment.unsupported(cdma["BATCHES"] == 0, cdma, "BATCHES", "must be 0 with Winograd")
        _check_winograd(environment, cdma, csc)
    if cdma["DATAIN_FORMAT"]:
        for name in ("CONV_MODE", "BATCHES"):
            environment.unsupported(cdma[name] == 0, cdma, name, "must be 0 with image input")
        for name in ("PIXEL_MAPPING", "PIXEL_Y_OFFSET"):
            environment.require(cdma[name] == 0, cdma, name, "only pitch-linear images exist")
        for name in ("X_DILATION_EXT", "Y_DILATION_EXT"):
            environment.require(csc[name] == 0, csc, name, "must be 0 with image input")
        environment.unsupported(csc["Y_EXTENSION"] < 3, csc, "Y_EXTENSION", "must be 0, 1 or 2")
    else:
        # The sequence of kernel rows follows it, the data do not: nothing sensible comes out.
        rule = "must be 0 but with image input: the CSC skips rows of the kernel (section 8.4)"
        rows = csc["WEIGHT_HEIGHT_EXT"] + 1
        environment.unsupported(rows == 1 or not csc["Y_EXTENSION"], csc, "Y_EXTENSION", rule)
        environment.require(csc["Y_EXTENSION"] == 0, csc, "Y_EXTENSION", rule)


def _check_winograd(environment: Environment, cdma: Fields, csc: Fields) -> None:
    """The sizes that Winograd mode takes. Section 4.7."""
    for name in (
        "CONV_X_STRIDE_EXT",
        "CONV_Y_STRIDE_EXT",
        "X_DILATION_EXT",
        "Y_DILATION_EXT",
        "PAD_LEFT",
        "PAD_TOP",
    ):
        _check_equal(environment, csc, name, 0, "0 with Winograd:")
    folded = (cdma["CONV_X_STRIDE"] + 1) * (cdma["CONV_Y_STRIDE"] + 1)
    lanes = align_up(cdma["DATAIN_CHANNEL"] + 1, environment.configuration.memory_atom)
    _must_equal(
        environment, csc, "DATAIN_CHANNEL_EXT", lanes * folded - 1, "the folded channels - 1"
    )
    for axis, near, far, size in (
        ("Y", "TOP", "BOTTOM", "HEIGHT"),
        ("X", "LEFT", "RIGHT", "WIDTH"),
    ):
        extended = csc[f"DATAIN_{size}_EXT"] + 1
        _must_equal(environment, cdma, f"DATAIN_{size}_EXT", extended - 1, "CSC's")
        _check_equal(
            environment, csc, f"DATAIN_{size}_EXT", csc[f"DATAOUT_{size}"] + 4, "the output + 3"
        )
        padded = cdma[f"PAD_{near}"] + cdma[f"DATAIN_{size}"] + 1 + cdma[f"PAD_{far}"]
        environment.require(
            padded == extended * (cdma[f"CONV_{axis}_STRIDE"] + 1),
            cdma,
            f"PAD_{far}",
            f"with padding there are {padded} elements, not {extended} times the stride",
        )
    for name in ("WIDTH", "HEIGHT"):
        size = csc[f"DATAOUT_{name}"] + 1
        environment.require(
            size >= 8, csc, f"DATAOUT_{name}", "Winograd mode makes 8 rows and columns at least"
        )
        environment.unsupported(
            size % 4 == 0, csc, f"DATAOUT_{name}", "one more must be a multiple of 4 with Winograd"
        )
        _must_equal(environment, csc, f"WEIGHT_{name}_EXT", 3, "3 with Winograd:")
        environment.unsupported(
            csc[f"DATAIN_{name}_EXT"] + 1 >= size + 2,
            csc,
            f"DATAIN_{name}_EXT",
            f"the tiles of {size} outputs need {size + 2} inputs at least",
        )


def _check_int8(environment: Environment, fields: Fields, name: str) -> None:
    """INT8-only builds ignore precisions; those with others would compute something else."""
    rule = "only INT8 (0) is modelled"
    if environment.configuration.precisions == ("int8",):
        environment.require(fields[name] == 0, fields, name, rule)
    else:
        environment.unsupported(fields[name] == 0, fields, name, rule)


def _check_sizes(environment: Environment, cdma: Fields, csc: Fields) -> None:
    """Kernel, channels and surface sizes, which CDMA and CSC state in different ways."""
    image, winograd = csc["DATAIN_FORMAT"] == 1, csc["CONV_MODE"] == 1
    channels = csc["DATAIN_CHANNEL_EXT"] + 1
    taps = csc["WEIGHT_CHANNEL_EXT"] + 1
    if not winograd:
        _must_equal(
            environment, csc, "DATAIN_CHANNEL_EXT", cdma["DATAIN_CHANNEL"], "CDMA.DATAIN_CHANNEL"
        )
        _check_equal(
            environment, csc, "DATAIN_WIDTH_EXT", cdma["DATAIN_WIDTH"], "CDMA.DATAIN_WIDTH"
        )
    if image:
        _check_equal(environment, csc, "WEIGHT_WIDTH_EXT", 0, "0 with image input:")
        environment.unsupported(
            taps % channels == 0,
            csc,
            "WEIGHT_CHANNEL_EXT",
            f"with image input, one more must be a multiple of the {channels} channels",
        )
    else:
        _must_equal(environment, csc, "WEIGHT_CHANNEL_EXT", channels - 1, "DATAIN_CHANNEL_EXT")
    kernel_bytes = taps * (csc["WEIGHT_HEIGHT_EXT"] + 1) * (csc["WEIGHT_WIDTH_EXT"] + 1)
    same = _must_equal if cdma["WEIGHT_FORMAT"] else _check_equal
    same(environment, cdma, "BYTE_PER_KERNEL", kernel_bytes - 1, "the kernel's bytes - 1")
    if cdma["WEIGHT_FORMAT"] == 0:
        # More than that is harmless in this layer, and wrong for the next one (section 8.3).
        surface = (csc["WEIGHT_KERNEL"] + 1) * kernel_bytes
        environment.unsupported(
            cdma["WEIGHT_BYTES"] >= surface,
            cdma,
            "WEIGHT_BYTES",
            f"must hold all weights, {surface} bytes",
        )
        entry = environment.configuration.cbuf.entry_bytes
        environment.require(
            cdma["WEIGHT_BYTES"] % entry == 0,
            cdma,
            "WEIGHT_BYTES",
            f"must be whole entries of the buffer, {entry} bytes each: the last one never fills",
        )


def _check_windows(environment: Environment, cdma: Fields, csc: Fields) -> None:
    """The windows must lie in the padded input, and what they see must be of sane size."""
    if csc["CONV_MODE"] == 1:
        return
    image = csc["DATAIN_FORMAT"] == 1
    channels = csc["DATAIN_CHANNEL_EXT"] + 1
    columns = (csc["WEIGHT_CHANNEL_EXT"] + 1) // channels if image else csc["WEIGHT_WIDTH_EXT"] + 1
    if image:
        lines = 1 << csc["Y_EXTENSION"]
        environment.unsupported(
            lines == 1
            or post_extension_fits(
                channels,
                columns,
                csc["CONV_X_STRIDE_EXT"] + 1,
                lines,
                environment.configuration.atomic_c,
            ),
            csc,
            "Y_EXTENSION",
            f"{columns} columns of {channels} channels leave no room for {lines} lines",
        )
    extents: list[int] = []
    for axis, far, size, taps in (
        ("Y", "BOTTOM", "HEIGHT", csc["WEIGHT_HEIGHT_EXT"] + 1),
        ("X", "RIGHT", "WIDTH", columns),
    ):
        near = "TOP" if axis == "Y" else "LEFT"
        dilation = 1 if image else csc[f"{axis}_DILATION_EXT"] + 1
        outputs = csc[f"DATAOUT_{size}"] + 1
        extent = (outputs - 1) * (csc[f"CONV_{axis}_STRIDE_EXT"] + 1) + (taps - 1) * dilation + 1
        extents.append(extent)
        padding = cdma[f"PAD_{near}"], cdma[f"PAD_{far}"]
        padded = sum(padding) + csc[f"DATAIN_{size}_EXT"] + 1
        environment.require(
            extent <= padded,
            csc,
            f"DATAOUT_{size}",
            f"the windows of {outputs} outputs span {extent} elements, but with padding {padding} "
            f"there are {padded}",
        )
    outputs = (csc["ATOMICS"] + 1) * (csc["WEIGHT_KERNEL"] + 1)
    seen = channels * extents[0] * extents[1]
    environment.bounded(csc, "DATAOUT_WIDTH", 8 * max(outputs, seen) * (csc["BATCHES"] + 1))


def _check_buffer(environment: Environment, cdma: Fields, csc: Fields) -> None:
    """Entries per slice, and what must fit into the convolution buffer. Sections 3.4 and 3.5."""
    hardware = environment.configuration
    entries = _entries_per_slice(environment, cdma, csc)
    _check_equal(environment, cdma, "ENTRIES", entries - 1, "the entries of one line - 1")
    lines = (csc["DATAIN_HEIGHT_EXT"] + 1) * (csc["BATCHES"] + 1)
    # The whole input must be resident: what the buffer has no room for never becomes a layer.
    environment.unsupported(
        entries * lines <= hardware.cbuf.banks * hardware.cbuf.entries_per_bank,
        cdma,
        "ENTRIES",
        f"{lines} lines of {entries} entries: the whole buffer holds "
        f"{hardware.cbuf.banks * hardware.cbuf.entries_per_bank}",
    )
    data_banks, weight_banks = cdma["DATA_BANK"] + 1, cdma["WEIGHT_BANK"] + 1
    needed = ceil_div(entries * lines, hardware.cbuf.entries_per_bank)
    environment.require(
        data_banks >= needed,
        cdma,
        "DATA_BANK",
        f"{lines} lines of {entries} entries need {needed} banks: must be at least {needed - 1}",
    )
    if cdma["WEIGHT_FORMAT"] == 0:
        _check_weight_banks(environment, cdma, csc)
    usable = hardware.usable_banks(compressed=cdma["WEIGHT_FORMAT"] == 1)
    environment.require(
        data_banks + weight_banks <= usable,
        cdma,
        "WEIGHT_BANK",
        f"{data_banks} data and {weight_banks} weight banks: {hardware.name} has {usable}",
    )


def _check_weight_banks(environment: Environment, cdma: Fields, csc: Fields) -> None:
    """Weights come by kernel group: each must fit whole, the last one with what follows it."""
    hardware = environment.configuration
    kernel_bytes, kernels = cdma["BYTE_PER_KERNEL"] + 1, csc["WEIGHT_KERNEL"] + 1
    environment.unsupported(
        cdma["WEIGHT_BYTES"] <= kernels * kernel_bytes + hardware.cbuf.total_bytes,
        cdma,
        "WEIGHT_BYTES",
        f"more than the {kernels * kernel_bytes} bytes of weights and a whole buffer: the fetch "
        "never ends",
    )
    last = (kernels - 1) // hardware.atomic_k * hardware.atomic_k * kernel_bytes
    least = max(min(kernels, hardware.atomic_k) * kernel_bytes, cdma["WEIGHT_BYTES"] - last)
    if csc["SKIP_WEIGHT_RLS"]:
        least = cdma["WEIGHT_BYTES"]
    elif cdma["WEIGHT_BYTES"] > (cdma["WEIGHT_BANK"] + 1) * hardware.cbuf.bank_bytes:
        least = streamed_group_bytes(hardware, least)
    _require_weight_banks(environment, cdma, least)


def _require_weight_banks(environment: Environment, cdma: Fields, least: int) -> None:
    buffer, banks = environment.configuration.cbuf, cdma["WEIGHT_BANK"] + 1
    environment.require(
        banks * buffer.bank_bytes >= least,
        cdma,
        "WEIGHT_BANK",
        f"{banks} banks of {buffer.bank_bytes} bytes cannot hold {least} bytes of weights",
    )


def check_compressed_groups(
    environment: Environment, cdma: Fields, mask: NDArray[np.uint8], sizes: NDArray[np.uint32]
) -> None:
    """The byte counts of compressed kernel groups, which the mask tells too. Section 2.6."""
    group = environment.configuration.atomic_k * (cdma["BYTE_PER_KERNEL"] + 1)
    count = (cdma["WEIGHT_KERNEL"] + 1) * (cdma["BYTE_PER_KERNEL"] + 1)
    present = np.unpackbits(mask, count=count, bitorder="little").astype(np.uint32)
    expected = np.add.reduceat(present, np.arange(0, count, group))
    environment.require(
        bool(np.array_equal(sizes, expected)),
        cdma,
        "WGS_ADDR_LOW",
        f"the bytes of the kernel groups there, {sizes.tolist()}, must be those that the mask "
        f"tells, {expected.tolist()}",
    )
    _require_weight_banks(environment, cdma, int(expected.max()))


def _check_fetch(environment: Environment, cdma: Fields) -> None:
    """What the CDMA is told about lines and surfaces. Sections 2.1 and 3.5."""
    if cdma["DATAIN_FORMAT"]:
        return
    atom = environment.configuration.memory_atom
    height, width = cdma["DATAIN_HEIGHT"] + 1, cdma["DATAIN_WIDTH"] + 1
    for flag, name, packed in (
        ("LINE_PACKED", "LINE_STRIDE", width * atom),
        ("SURF_PACKED", "SURF_STRIDE", width * height * atom),
    ):
        environment.require(
            cdma[flag] == 0 or cdma[name] == packed,
            cdma,
            flag,
            f"must be 0 unless {name} is {packed}, the packed size",
        )
    environment.require(
        cdma["LINE_PACKED"] == 1 or cdma["LINE_STRIDE"] != width * atom,
        cdma,
        "LINE_PACKED",
        f"must be 1, as LINE_STRIDE is {width * atom}, the packed size: the functional model stops",
    )
    environment.require(
        cdma["GRAINS"] == 0 or (cdma["LINE_PACKED"] == 1 and cdma["GRAINS"] < height),
        cdma,
        "GRAINS",
        f"must be 0 unless LINE_PACKED = 1, and at most {height - 1}",
    )


def _check_compression(environment: Environment, cdma: Fields, csc: Fields) -> None:
    """The mask of compressed weights. Sections 2.6 and 3.5."""
    hardware = environment.configuration
    alignment, kernel_bytes = hardware.weight_alignment, cdma["BYTE_PER_KERNEL"] + 1
    environment.require(
        cdma["WEIGHT_BYTES"] % alignment == 0 and cdma["WEIGHT_BYTES"] > 0,
        cdma,
        "WEIGHT_BYTES",
        f"must be a multiple of {alignment} bytes, and not 0: the CDMA waits for some",
    )
    mask = align_up(ceil_div((cdma["WEIGHT_KERNEL"] + 1) * kernel_bytes, 8), alignment)
    _must_equal(environment, cdma, "WMB_BYTES", mask, "the aligned mask")
    _check_equal(environment, csc, "WMB_BYTES", cdma["WMB_BYTES"], "CDMA.WMB_BYTES")
    group = ceil_div(min(cdma["WEIGHT_KERNEL"] + 1, hardware.atomic_k) * kernel_bytes, 8)
    environment.require(
        group + alignment <= hardware.cbuf.bank_bytes,
        cdma,
        "WMB_BYTES",
        f"the mask of one kernel group, {group} bytes, and {alignment} more must fit one bank of "
        f"{hardware.cbuf.bank_bytes}",
    )


def _entries_per_slice(environment: Environment, cdma: Fields, csc: Fields) -> int:
    hardware = environment.configuration
    width, channels = csc["DATAIN_WIDTH_EXT"] + 1, csc["DATAIN_CHANNEL_EXT"] + 1
    if csc["CONV_MODE"] == 1:
        return winograd_entries_per_slice(hardware, width, channels)
    if csc["DATAIN_FORMAT"] == 0:
        return entries_per_slice(hardware, width, channels)
    return image_entries_per_slice(hardware, width, channels, cdma["PAD_LEFT"], cdma["PAD_RIGHT"])
