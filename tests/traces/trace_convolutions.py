"""Convolutions for traces: weight and image layouts, registers of CDMA, CSC, CMAC and CACC.

Sources: convolution.md sections 2 to 6. Sums come from the reference arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np
from attrs import field, frozen
from numpy.typing import NDArray
from trace_writer import PRIMARY, Cube, Trace, align, ceil_div

from nvdla_ir.arith import reference
from nvdla_ir.hw.configuration import HardwareConfiguration

UNITS = ("CDMA", "CSC", "CMAC_A", "CMAC_B", "CACC")
INTERRUPTS = ("CDMA_WT", "CDMA_DAT", "CACC")

PIXELS = {
    0: (0,), 12: (0, 1, 2, 3), 13: (2, 1, 0, 3), 14: (1, 2, 3, 0), 15: (3, 2, 1, 0),
    16: (0, 1, 2, 3), 17: (2, 1, 0, 3), 18: (1, 2, 3, 0), 19: (3, 2, 1, 0), 26: (2, 1, 0, 3),
    27: (1, 2, 3, 0), 28: (1, 0), 29: (0, 1),
}  # fmt: skip
"""By code: the memory component that becomes each channel; of 28 and 29 those of plane 1."""


def weight_order(shape: tuple[int, ...], group: int, block: int) -> Iterator[tuple[int, ...]]:
    """Indices [k, c, r, s] in the order of memory, section 2.4."""
    kernels, channels, rows, columns = shape
    for k0, c0 in product(range(0, kernels, group), range(0, channels, block)):
        for r, s in product(range(rows), range(columns)):
            for k in range(k0, min(k0 + group, kernels)):
                for c in range(c0, min(c0 + block, channels)):
                    yield k, c, r, s


def image_weight_order(
    shape: tuple[int, ...], group: int, block: int, lines: int
) -> Iterator[tuple[int, ...]]:
    """Indices [k, c, r, s] of pre-extended weights, with ``lines`` of post-extension. 2.5."""
    kernels, channels, rows, columns = shape
    merged = [(s, c) for s in range(columns) for c in range(channels)]
    if lines == 1:
        for k, e, r, _ in weight_order((kernels, len(merged), rows, 1), group, block):
            yield k, merged[e][1], r, merged[e][0]
        return
    for k0, r0 in product(range(0, kernels, group), range(0, rows, lines)):
        for k in range(k0, min(k0 + group, kernels)):
            for r in range(r0, min(r0 + lines, rows)):
                for s, c in merged:
                    yield k, c, r, s


def winograd_weight_order(shape: tuple[int, ...], group: int) -> Iterator[tuple[int, ...]]:
    """Indices [k, c, r, s] of transformed weights, section 2.8."""
    kernels, channels, _, _ = shape
    for k0, c0 in product(range(0, kernels, group), range(0, channels, 4)):
        for k in range(k0, min(k0 + group, kernels)):
            for r, s, c in product(range(4), range(4), range(c0, c0 + 4)):
                yield k, c, r, s


def entries(hw: HardwareConfiguration, width: int, channels: int) -> int:
    """Entries per slice of a feature cube, section 3.4."""
    per_entry = hw.cbuf.entry_bytes // hw.memory_atom
    whole, rest = divmod(ceil_div(channels, hw.memory_atom), per_entry)
    if rest == 0:
        return whole * width
    if rest > per_entry / 2:
        return (whole + 1) * width
    return whole * width + ceil_div(width, per_entry // rest)


@frozen
class Layer:
    """What a convolution is, whatever its input. Pads are left, right, top, bottom."""

    weights: NDArray[np.int8]
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    pad_value: int = 0
    truncate: int = 0
    converter: tuple[int, int, int] | None = None
    """Offset, scale and shift of the input converter."""
    compressed: bool = False
    keep_data: bool = False
    keep_weights: bool = False
    released: int | None = None
    """Lines that are freed afterwards; all if None."""
    weight_memory: str = PRIMARY
    misc: dict[str, int] = field(factory=dict)
    """More fields for both CDMA and CSC."""

    def outputs(self, height: int, width: int) -> tuple[int, int]:
        left, right, top, bottom = self.pads
        rows, columns = self.weights.shape[2:]
        padded = height + top + bottom, width + left + right
        return tuple(
            (size - (taps - 1) * dilation - 1) // stride + 1
            for size, taps, dilation, stride in zip(
                padded, (rows, columns), self.dilation, self.stride, strict=True
            )
        )


def _weight_fields(trace: Trace, layer: Layer, stream: list[int]) -> dict[str, int]:
    """Store the weights, compressed where asked for (section 2.6); the CDMA's fields."""
    memory = layer.weight_memory
    kernels = len(layer.weights)
    kernel_bytes = len(stream) // kernels
    fields = {
        "BYTE_PER_KERNEL": kernel_bytes - 1,
        "WEIGHT_RAM_TYPE": int(memory == PRIMARY),
        "WEIGHT_FORMAT": int(layer.compressed),
    }

    # whole entries of the buffer, section 8.3
    fetched = align(len(stream), trace.hw.cbuf.entry_bytes)
    if layer.misc.get("WEIGHT_REUSE"):
        # They stay in the buffer: the address is nobody's.
        return fields | {"WEIGHT_BYTES": fetched, "WEIGHT_ADDR_LOW": 0x4000}

    def store(name: str, data: list[int], unit: int) -> None:
        base = trace.allocate(align(len(data), unit), memory)
        trace.load(memory, base, data + [0] * (align(len(data), unit) - len(data)))
        fields.update(trace.address_fields(f"{name}_ADDR_LOW", f"{name}_ADDR_HIGH", base))

    if not layer.compressed:
        store("WEIGHT", stream, 128)
        return fields | {"WEIGHT_BYTES": fetched}
    kept = [byte for byte in stream if byte]
    mask = [0] * ceil_div(len(stream), 8)
    for place, byte in enumerate(stream):
        mask[place // 8] |= (byte != 0) << place % 8
    sizes: list[int] = []
    for first in range(0, kernels, trace.hw.atomic_k):
        group = stream[first * kernel_bytes : (first + trace.hw.atomic_k) * kernel_bytes]
        count = sum(byte != 0 for byte in group)
        sizes += [count >> shift & 0xFF for shift in (0, 8, 16, 24)]
    store("WEIGHT", kept, 128)
    store("WMB", mask, 128)
    store("WGS", sizes, 4)
    return fields | {"WEIGHT_BYTES": align(len(kept), 128), "WMB_BYTES": align(len(mask), 128)}


def _program(
    trace: Trace,
    layer: Layer,
    *,
    cdma: dict[str, int],
    csc: dict[str, int],
    shared: dict[str, int],
    output: tuple[int, int],
    lines: int,
) -> None:
    """Write the registers of the five units."""
    kernels = len(layer.weights)
    banks = trace.hw.cbuf.banks - int(layer.compressed)
    data_banks = ceil_div(lines * (shared["ENTRIES"] + 1), trace.hw.cbuf.entries_per_bank)
    left, right, top, bottom = layer.pads
    size = {
        "DATAOUT_HEIGHT": output[0] - 1, "DATAOUT_WIDTH": output[1] - 1,
        "DATAOUT_CHANNEL": kernels - 1,
    }  # fmt: skip
    mode = {name: shared[name] for name in ("CONV_MODE",) if name in shared}
    both = {
        "PROC_PRECISION": 0, "WEIGHT_KERNEL": kernels - 1, "DATA_BANK": data_banks - 1,
        "WEIGHT_BANK": min(banks - data_banks, 4) - 1, "SKIP_DATA_RLS": int(layer.keep_data),
        "SKIP_WEIGHT_RLS": int(layer.keep_weights), **shared, **layer.misc,
    }  # fmt: skip
    converter = {"CVT_EN": 0}
    if layer.converter is not None:
        offset, scale, shift = layer.converter
        converter = {
            "CVT_EN": 1, "CVT_OFFSET": offset, "CVT_SCALE": scale, "CVT_TRUNCATE": shift
        }  # fmt: skip
    padding = {"PAD_LEFT": left, "PAD_RIGHT": right, "PAD_TOP": top, "PAD_BOTTOM": bottom}
    trace.configure(
        "CACC",
        {
            "PROC_PRECISION": 0,
            "CLIP_TRUNCATE": layer.truncate,
            "BATCHES": shared.get("BATCHES", 0),
            **mode,
            **size,
        },
    )
    for unit in ("CMAC_A", "CMAC_B"):
        trace.configure(unit, {"PROC_PRECISION": 0, **mode})
    trace.configure("CSC", {**both, **size, "ATOMICS": output[0] * output[1] - 1, **csc})
    trace.configure("CDMA", {**both, "IN_PRECISION": 0, **converter, **padding, **cdma})


def feature_convolution(
    trace: Trace,
    source: Cube,
    layer: Layer,
    *,
    kept: NDArray[np.int8] | None = None,
    whole: NDArray[np.int8] | None = None,
) -> NDArray[np.int64]:
    """Program a direct convolution of a feature cube; returns the CACC's lanes [N, K', OH, OW].

    ``kept`` are lines [C, H, W] that stand in the buffer above those of ``source``; ``whole``
    are all lines, of which nothing is fetched.
    """
    hw, weights = trace.hw, layer.weights
    order = weight_order(weights.shape, hw.atomic_k, hw.atomic_c)
    stream = [int(weights[index]) & 0xFF for index in order]
    cubes = [trace.read(source, n)[: source.channels] for n in range(source.batches)]
    if layer.converter is not None:
        cubes = [reference.convert_input(cube, *layer.converter) for cube in cubes]
    if kept is not None:
        cubes = [np.concatenate((kept, cubes[0]), axis=1)]
    if whole is not None:
        cubes = [whole]
    height, width = cubes[0].shape[1:]
    output = layer.outputs(height, width)
    left, _, top, _ = layer.pads
    weight_fields = _weight_fields(trace, layer, stream)
    released = height if layer.released is None else layer.released
    _program(
        trace,
        layer,
        cdma={
            "DATAIN_WIDTH": width - 1, "DATAIN_HEIGHT": source.height - 1,
            "DATAIN_CHANNEL": source.channels - 1, "DATAIN_RAM_TYPE": source.ram_type,
            **source.strides("LINE_STRIDE", "SURF_STRIDE"), "LINE_PACKED": source.line_packed,
            "BATCH_STRIDE": source.batch_stride if source.batches > 1 else 0,
            **trace.address_fields("DATAIN_ADDR_LOW_0", "DATAIN_ADDR_HIGH_0", source.base),
            **weight_fields,
        },
        csc={
            "DATAIN_WIDTH_EXT": width - 1, "DATAIN_HEIGHT_EXT": height - 1,
            "DATAIN_CHANNEL_EXT": source.channels - 1, "WEIGHT_WIDTH_EXT": weights.shape[3] - 1,
            "WEIGHT_HEIGHT_EXT": weights.shape[2] - 1, "WEIGHT_CHANNEL_EXT": weights.shape[1] - 1,
            "CONV_Y_STRIDE_EXT": layer.stride[0] - 1, "CONV_X_STRIDE_EXT": layer.stride[1] - 1,
            "Y_DILATION_EXT": layer.dilation[0] - 1, "X_DILATION_EXT": layer.dilation[1] - 1,
            "PAD_LEFT": left, "PAD_TOP": top, "PAD_VALUE": layer.pad_value & 0xFF | 0x3700,
            "RLS_SLICES": released - 1,
            **{name: weight_fields[name] for name in ("WMB_BYTES",) if name in weight_fields},
        },
        shared={
            "ENTRIES": entries(hw, width, source.channels) - 1,
            "BATCHES": source.batches - 1,
            "WEIGHT_BYTES": weight_fields["WEIGHT_BYTES"],
            "WEIGHT_FORMAT": weight_fields["WEIGHT_FORMAT"],
        },
        output=output,
        lines=height * source.batches,
    )  # fmt: skip
    sums = [
        reference.convolve(
            cube, weights, stride=layer.stride, dilation=layer.dilation, pad_top=top,
            pad_left=left, output_size=output, pad_value=layer.pad_value,
        )
        for cube in cubes
    ]  # fmt: skip
    return _accumulated(trace, np.stack(sums), layer)


def _accumulated(trace: Trace, sums: NDArray[np.int64], layer: Layer) -> NDArray[np.int64]:
    """What the CACC sends: whole atoms, with sums of nothing in the lanes that fill the last."""
    batches, kernels, height, width = sums.shape
    lanes = align(kernels, trace.hw.memory_atom)
    filled = np.zeros((batches, lanes, height, width), np.int64)
    filled[:, :kernels] = sums
    return reference.truncate_accumulator(filled, layer.truncate)


def image_convolution(
    trace: Trace,
    layer: Layer,
    size: tuple[int, int],
    pixel_format: int,
    *,
    side_value: int = 0,
    signed: bool = False,
    means: tuple[int, ...] | None = None,
    skipped: int = 0,
    lines: int = 1,
    memory: str = PRIMARY,
) -> NDArray[np.int64]:
    """Program a convolution of a random image of ``size`` (height, width)."""
    hw, weights, (height, width) = trace.hw, layer.weights, size
    order = PIXELS[pixel_format]
    planes = 2 if pixel_format in (28, 29) else 1
    channels = len(order) + planes - 1
    image = trace.integers(0, 255, channels, height, width)
    sizes = [1, 2] if planes == 2 else [channels]
    fields: dict[str, int] = {}
    for plane, pixel_bytes in enumerate(sizes):
        first = skipped % (hw.memory_atom // pixel_bytes)
        line = align((first + width) * pixel_bytes, hw.memory_atom) + hw.memory_atom * plane
        base = trace.allocate(height * line, memory)
        for c, y, x in product(range(channels), range(height), range(width)):
            if planes == 2 and (c == 0) != (plane == 0):
                continue
            component = order[c - 1] if plane == 1 else 0 if planes == 2 else order[c]
            address = base + y * line + (first + x) * pixel_bytes + component
            trace.load(memory, address, [int(image[c, y, x])])
        fields[("LINE_STRIDE", "UV_LINE_STRIDE")[plane]] = line
        fields |= trace.address_fields(
            f"DATAIN_ADDR_LOW_{plane}", f"DATAIN_ADDR_HIGH_{plane}", base
        )
    if layer.converter is not None:
        raw = image.astype(np.uint8)
        values = raw.view(np.int8).astype(np.int64) if signed else image
        offset: object = layer.converter[0]
        if means is not None:
            offset = np.array(means[:channels])[:, np.newaxis, np.newaxis]
            names = ("MEAN_RY", "MEAN_GU", "MEAN_BV", "MEAN_AX")
            fields |= dict(zip(names, means, strict=False)) | {"MEAN_FORMAT": 1}
        values = reference.convert_input(values, offset, *layer.converter[1:])
    else:
        values = image.astype(np.uint8).view(np.int8)
    left, right, top, _ = layer.pads
    _, _, rows, columns = weights.shape
    stream = [
        int(weights[index]) & 0xFF
        for index in image_weight_order(weights.shape, hw.atomic_k, hw.atomic_c, lines)
    ]
    output = layer.outputs(height, width)
    weight_fields = _weight_fields(trace, layer, stream)
    _program(
        trace,
        layer,
        cdma={
            "DATAIN_FORMAT": 1, "PIXEL_FORMAT": pixel_format, "PIXEL_SIGN_OVERRIDE": int(signed),
            "PIXEL_X_OFFSET": skipped, "DATAIN_WIDTH": width - 1, "DATAIN_HEIGHT": height - 1,
            "DATAIN_CHANNEL": channels - 1, "DATAIN_RAM_TYPE": int(memory == PRIMARY),
            "PAD_VALUE": side_value & 0xFF, **fields, **weight_fields,
        },
        csc={
            "DATAIN_FORMAT": 1, "DATAIN_WIDTH_EXT": width - 1, "DATAIN_HEIGHT_EXT": height - 1,
            "DATAIN_CHANNEL_EXT": channels - 1, "WEIGHT_HEIGHT_EXT": rows - 1,
            "WEIGHT_CHANNEL_EXT": channels * columns - 1, "Y_EXTENSION": (1, 2, 4).index(lines),
            "CONV_Y_STRIDE_EXT": layer.stride[0] - 1, "CONV_X_STRIDE_EXT": layer.stride[1] - 1,
            "PAD_LEFT": left, "PAD_TOP": top, "PAD_VALUE": layer.pad_value & 0xFF,
            "RLS_SLICES": height - 1,
        },
        shared={
            "ENTRIES": ceil_div((left + width + right) * channels, hw.cbuf.entry_bytes) - 1,
            "WEIGHT_BYTES": weight_fields["WEIGHT_BYTES"],
        },
        output=output,
        lines=height,
    )  # fmt: skip
    sums = reference.convolve(
        values, weights, stride=layer.stride, dilation=(1, 1), pad_top=top, pad_left=left,
        output_size=output, pad_value=layer.pad_value, pad_value_sides=side_value,
    )  # fmt: skip
    return _accumulated(trace, sums[np.newaxis], layer)


def winograd_convolution(
    trace: Trace,
    source: Cube,
    layer: Layer,
    *,
    shift: int,
    folded: tuple[int, int],
    output: tuple[int, int],
    side_value: int,
) -> NDArray[np.int64]:
    """Program a Winograd convolution; ``folded`` are the strides, ``side_value`` the padding.

    The layer's weights are transformed ones, [K, extended channels, 4, 4]. Section 4.7.
    """
    hw, weights = trace.hw, layer.weights
    lanes = align(source.channels, hw.memory_atom)
    extended = output[0] + 4, output[1] + 4
    left, right, top, bottom = layer.pads
    assert (left + source.width + right, top + source.height + bottom) == (
        extended[1] * folded[1], extended[0] * folded[0],
    )  # fmt: skip
    cube = trace.read(source)
    x = np.zeros((lanes * folded[0] * folded[1], *extended), np.int8)
    for c, y, column in product(range(source.channels), *map(range, extended)):
        for i, j in product(*map(range, folded)):
            row, place = y * folded[0] + i - top, column * folded[1] + j - left
            inside = 0 <= row < source.height and 0 <= place < source.width
            channel = (i * folded[1] + j) * lanes + c
            x[channel, y, column] = cube[c, row, place] if inside else side_value
    order = winograd_weight_order(weights.shape, hw.atomic_k)
    stream = [int(weights[index]) & 0xFF for index in order]
    weight_fields = _weight_fields(trace, layer, stream)
    size = {"DATAIN_HEIGHT_EXT": extended[0] - 1, "DATAIN_WIDTH_EXT": extended[1] - 1}
    per_entry = hw.cbuf.entry_bytes // 4
    _program(
        trace,
        layer,
        cdma={
            "DATAIN_WIDTH": source.width - 1, "DATAIN_HEIGHT": source.height - 1,
            "DATAIN_CHANNEL": source.channels - 1, "DATAIN_RAM_TYPE": source.ram_type,
            **source.strides("LINE_STRIDE", "SURF_STRIDE"), "LINE_PACKED": source.line_packed,
            **size,
            "CONV_Y_STRIDE": folded[0] - 1, "CONV_X_STRIDE": folded[1] - 1,
            "PAD_VALUE": side_value & 0xFF,
            **trace.address_fields("DATAIN_ADDR_LOW_0", "DATAIN_ADDR_HIGH_0", source.base),
            **weight_fields,
        },
        csc={
            **size, "DATAIN_CHANNEL_EXT": len(x) - 1, "WEIGHT_WIDTH_EXT": 3,
            "WEIGHT_HEIGHT_EXT": 3, "WEIGHT_CHANNEL_EXT": len(x) - 1, "PRA_TRUNCATE": shift,
            "RLS_SLICES": extended[0] - 1,
        },
        shared={
            "CONV_MODE": 1,
            "ENTRIES": extended[1] // 4 * ceil_div(len(x), per_entry) - 1,
            "WEIGHT_BYTES": weight_fields["WEIGHT_BYTES"],
        },
        output=output,
        lines=extended[0],
    )  # fmt: skip
    sums = reference.winograd_convolve(x, weights, truncate=shift, output_size=output)
    return _accumulated(trace, sums[np.newaxis], layer)
