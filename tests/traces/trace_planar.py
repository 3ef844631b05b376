"""PDP, CDP, RUBIK and BDMA layers for traces. Sources: pdp.md, cdp.md, rubik-bdma-glb.md."""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray
from trace_writer import PRIMARY, Cube, Trace, align, ceil_div

from nvdla_ir.arith import reference
from nvdla_ir.arith.parameters import LookUpTable, Normalization, NormalizationResult

_METHODS = {"average": 0, "maximum": 1, "minimum": 2}


def pool(
    trace: Trace,
    method: str,
    lanes: NDArray[np.int8],
    channels: int,
    destination: Cube,
    *,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    pads: tuple[int, int, int, int],
    pad_value: int = 0,
    source: Cube | None = None,
    split: tuple[int, int, int] | None = None,
) -> None:
    """Program PDP (and PDP_RDMA where there is a source) for lanes [L, H, W].

    Pairs are (vertical, horizontal), pads left, right, top, bottom; ``split`` are the output
    columns of the first, the middle and the last segment.
    """
    left, right, top, bottom = pads
    height, width = lanes.shape[1:]
    output = destination.height, destination.width
    geometry = {"kernel": kernel, "stride": stride, "pad": (top, left), "output_size": output}
    recips = 65536 // kernel[0], 65536 // kernel[1]
    values = [(n * pad_value) & 0x7FFFF for n in range(1, 8)]
    if method == "average":
        pooled = reference.pool_average(lanes, **geometry, reciprocals=recips, pad_values=values)
    else:
        pooled = getattr(reference, f"pool_{method}")(lanes, **geometry)
    trace.write(destination, pooled)
    size = {
        "CUBE_IN_WIDTH": width - 1, "CUBE_IN_HEIGHT": height - 1, "CUBE_IN_CHANNEL": channels - 1
    }  # fmt: skip
    shared = {"INPUT_DATA": 0}
    outputs = {"CUBE_OUT_CHANNEL": channels - 1}
    if split is not None:
        first, middle, last = split
        overlap = kernel[1] - stride[1]
        count = 2 if not middle else 2 + (output[1] - first - last) // middle
        inputs = (
            (first - 1) * stride[1] + kernel[1] - left,
            middle * stride[1],
            (last - 1) * stride[1] + kernel[1] - right - overlap,
        )
        names = "FIRST", "MID", "LAST"
        shared |= {
            f"PARTIAL_WIDTH_IN_{n}": max(v, 1) - 1 for n, v in zip(names, inputs, strict=True)
        }
        shared["SPLIT_NUM"] = count - 1
        outputs |= {
            f"PARTIAL_WIDTH_OUT_{n}": max(v, 1) - 1 for n, v in zip(names, split, strict=True)
        }
    columns = {"KERNEL_WIDTH": kernel[1] - 1, "KERNEL_STRIDE_WIDTH": stride[1] - 1}
    average = {}
    if method == "average":
        average = {"RECIP_KERNEL_HEIGHT": recips[0], "RECIP_KERNEL_WIDTH": recips[1]}
        average |= {f"PAD_VALUE_{n}X": n * pad_value for n in range(1, max(pads) + 1)}
    trace.configure(
        "PDP",
        {
            **size, **shared, **outputs, **columns, **average,
            **({} if split else {"CUBE_OUT_WIDTH": output[1] - 1}),
            "CUBE_OUT_HEIGHT": output[0] - 1,
            "POOLING_METHOD": _METHODS[method], "FLYING_MODE": int(source is not None),
            "KERNEL_HEIGHT": kernel[0] - 1, "KERNEL_STRIDE_HEIGHT": stride[0] - 1,
            "PAD_LEFT": left, "PAD_RIGHT": right, "PAD_TOP": top, "PAD_BOTTOM": bottom,
            **destination.strides("DST_LINE_STRIDE", "DST_SURFACE_STRIDE"),
            "DST_RAM_TYPE": destination.ram_type,
            **trace.address_fields("DST_BASE_ADDR_LOW", "DST_BASE_ADDR_HIGH", destination.base),
        },
    )  # fmt: skip
    if source is not None:
        trace.configure(
            "PDP_RDMA",
            {
                **size, **shared, **columns, "FLYING_MODE": 1,
                **source.strides("SRC_LINE_STRIDE", "SRC_SURFACE_STRIDE"),
                "SRC_RAM_TYPE": source.ram_type,
                **trace.address_fields("SRC_BASE_ADDR_LOW", "SRC_BASE_ADDR_HIGH", source.base),
            },
        )  # fmt: skip


def normalize(
    trace: Trace, source: Cube, destination: Cube, table: LookUpTable, **parameters: int
) -> NormalizationResult:
    """Program CDP and CDP_RDMA; parameters as of `Normalization`."""
    layer = Normalization(table=table, **parameters)
    lanes = trace.read(source)
    lanes[source.channels :] = layer.input_offset
    result = reference.local_response_normalization(lanes, layer)
    trace.write(destination, result.values)
    trace.configure(
        "CDP_RDMA",
        {
            "WIDTH": source.width - 1, "HEIGHT": source.height - 1,
            "CHANNEL": source.channels - 1, "INPUT_DATA": 0, "SRC_RAM_TYPE": source.ram_type,
            **source.strides("SRC_LINE_STRIDE", "SRC_SURFACE_STRIDE"),
            **trace.address_fields("SRC_BASE_ADDR_LOW", "SRC_BASE_ADDR_HIGH", source.base),
        },
    )  # fmt: skip
    trace.configure(
        "CDP",
        {
            "INPUT_DATA_TYPE": 0, "LUT_EN": 1, "DST_RAM_TYPE": destination.ram_type,
            **destination.strides("DST_LINE_STRIDE", "DST_SURFACE_STRIDE"),
            "SQSUM_BYPASS": int(layer.bypass_square_sum), "MUL_BYPASS": int(layer.bypass_multiply),
            "NORMALZ_LEN": (layer.size - 3) // 2, "DATIN_OFFSET": layer.input_offset,
            "DATIN_SCALE": layer.input_scale, "DATIN_SHIFTER": layer.input_shift,
            "DATOUT_OFFSET": layer.output_offset, "DATOUT_SCALE": layer.output_scale,
            "DATOUT_SHIFTER": layer.output_shift,
            **trace.address_fields("DST_BASE_ADDR_LOW", "DST_BASE_ADDR_HIGH", destination.base),
        },
    )  # fmt: skip
    return result


def _rubik(trace: Trace, mode: int, source: Cube, destination: Cube, **fields: int) -> None:
    trace.configure(
        "RBK",
        {
            "RUBIK_MODE": mode, "IN_PRECISION": 0, "DATAIN_WIDTH": source.width - 1,
            "DATAIN_HEIGHT": source.height - 1, "DATAIN_CHANNEL": source.channels - 1,
            "DATAOUT_CHANNEL": destination.channels - 1, "DATAIN_RAM_TYPE": source.ram_type,
            "DATAOUT_RAM_TYPE": destination.ram_type, "DAIN_LINE_STRIDE": source.line,
            "DAOUT_LINE_STRIDE": destination.line,
            **trace.address_fields("DAIN_ADDR_LOW", "DAIN_ADDR_HIGH", source.base),
            **trace.address_fields("DAOUT_ADDR_LOW", "DAOUT_ADDR_HIGH", destination.base), **fields,
        },
    )  # fmt: skip


def contract(trace: Trace, source: Cube, destination: Cube, strides: tuple[int, int]) -> None:
    """Groups of surfaces become rows and columns, rubik-bdma-glb.md section 2.1."""
    down, across = strides
    lanes, result = (
        trace.read(source),
        np.zeros((destination.lanes, destination.height, destination.width), np.int8),
    )
    for iy, ix in product(range(down), range(across)):
        first = (iy * across + ix) * destination.lanes
        result[:, iy::down, ix::across] = lanes[first : first + destination.lanes]
    trace.write(destination, result)
    _rubik(
        trace, 0, source, destination, DECONV_X_STRIDE=across - 1, DECONV_Y_STRIDE=down - 1,
        DAIN_SURF_STRIDE=source.surface, DAOUT_SURF_STRIDE=destination.surface,
        CONTRACT_STRIDE_0=destination.surfaces * source.surface,
        CONTRACT_STRIDE_1=down * destination.line,
    )  # fmt: skip


def split(trace: Trace, source: Cube, planes: Cube) -> None:
    """A feature cube becomes planes, whose lines are filled up with zeros. Section 2.2."""
    lanes = trace.read(source)
    stored = align(source.width, trace.hw.memory_atom)
    for c, y, x in product(range(planes.channels), range(planes.height), range(stored)):
        value = int(lanes[c, y, x]) & 0xFF if x < source.width else 0
        trace.content[planes.memory][planes.address(c, y, x)] = value
    _rubik(
        trace, 1, source, planes, DAIN_SURF_STRIDE=source.surface,
        DAOUT_PLANAR_STRIDE=planes.surface,
    )  # fmt: skip


def merge(trace: Trace, planes: Cube, destination: Cube) -> None:
    """Planes become a feature cube; lanes behind the last channel are zero. Section 2.3."""
    lanes = np.zeros((destination.lanes, planes.height, planes.width), np.int8)
    lanes[: planes.channels] = trace.read(planes)
    trace.write(destination, lanes)
    _rubik(
        trace, 2, planes, destination, DAIN_PLANAR_STRIDE=planes.surface,
        DAOUT_SURF_STRIDE=destination.surface,
    )  # fmt: skip


def copy(
    trace: Trace,
    ends: tuple[tuple[str, int], tuple[str, int]],
    line_bytes: int,
    lines: tuple[int, int, int],
    blocks: tuple[int, int, int],
) -> None:
    """Queue a BDMA transfer. ``ends``: memory and address of source and destination; ``lines``
    and ``blocks``: their number and the strides of source and destination. Section 3."""
    (source, first), (target, second) = ends
    moved = {
        second + k * blocks[2] + line * lines[2] + byte: trace.content[source].get(
            first + k * blocks[1] + line * lines[1] + byte, 0
        )
        for k, line, byte in product(range(blocks[0]), range(lines[0]), range(line_bytes))
    }
    trace.content[target] |= moved
    words = {
        "CFG_SRC_ADDR_LOW": first & 0xFFFF_FFFF, "CFG_SRC_ADDR_HIGH": first >> 32,
        "CFG_DST_ADDR_LOW": second & 0xFFFF_FFFF, "CFG_DST_ADDR_HIGH": second >> 32,
        "CFG_LINE": line_bytes // 32 - 1,
        "CFG_CMD": int(source == PRIMARY) | int(target == PRIMARY) << 1,
        "CFG_LINE_REPEAT": lines[0] - 1, "CFG_SRC_LINE": lines[1], "CFG_DST_LINE": lines[2],
        "CFG_SURF_REPEAT": blocks[0] - 1, "CFG_SRC_SURF": blocks[1], "CFG_DST_SURF": blocks[2],
        "CFG_OP": 1,
    }  # fmt: skip
    for name, word in words.items():
        trace.register("BDMA", name, word)


def launch(trace: Trace) -> None:
    trace.register("BDMA", f"CFG_LAUNCH{trace.group('BDMA')}", 1)


def plane_region(trace: Trace, planes: Cube) -> None:
    """Fill what a split writes: whole lines of the last plane too."""
    last = planes.address(planes.channels - 1, planes.height - 1, 0)
    end = last + ceil_div(planes.width, trace.hw.memory_atom) * trace.hw.memory_atom
    trace.fill(planes.memory, planes.base, end - planes.base)
