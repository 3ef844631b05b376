"""Registers of PDP, CDP and their readers from an operation's descriptors. Sources: loadable.md
section 4, pdp.md sections 3 to 8, cdp.md sections 6 and 7."""

from __future__ import annotations

from nvdla_ir.frontends.loadable.cubes import Context, Cube, Fields, cube_of
from nvdla_ir.frontends.loadable.network import NONE, Operation
from nvdla_ir.hw.formats.pooling import LARGEST_POOLING_KERNEL, MAX_SEGMENTS

_LARGEST_STRIDE = 8
_RECIPROCAL_OF_ONE = 1 << 16
_POOLING = 3
_PAD_VALUES = 7
_LOCAL_SIZES = (3, 5, 7, 9)


def pdp_units(operation: Operation, context: Context) -> dict[str, Fields]:
    """The fields of PDP_RDMA, where memory is read, and of PDP.

    Raises: DiagnosticError for what the firmware or the hardware refuses.
    """
    source = cube_of(operation, "src_data", context, may_fly=True)
    destination = cube_of(operation, "dst_data", context, may_fly=False)
    _check_pdp(operation, context, source, destination)
    rdma = {} if source.is_flying else {"PDP_RDMA": _pdp_rdma(operation, context, source)}
    return {**rdma, "PDP": _pdp(operation, context, source, destination)}


def _check_pdp(operation: Operation, context: Context, source: Cube, destination: Cube) -> None:
    op = operation.descriptor
    context.require(context.hw.has_pdp, operation, f"pools, but {context.hw.name} has no PDP")
    context.has_known(operation, "pool_mode", op["pool_mode"], _POOLING)
    for name in ("pool_width", "pool_height"):
        context.has_known(operation, name, op[name], LARGEST_POOLING_KERNEL)
    for name in ("stride_x", "stride_y"):
        context.require(
            1 <= op[name] <= _LARGEST_STRIDE,
            operation,
            f"has {name} = {op[name]}, but it must be 1 to {_LARGEST_STRIDE}",
        )
    most = 1 if source.is_flying else MAX_SEGMENTS
    context.require(
        1 <= op["split_num"] <= most,
        operation,
        f"has split_num = {op['split_num']}, but it must be 1"
        + (", for it pools on the fly" if source.is_flying else f" to {most}"),
    )
    if not source.is_flying:
        source.layout(context)
    destination.layout(context)


def _pooled(operation: Operation, source: Cube) -> Fields:
    """What PDP and PDP_RDMA must both be told."""
    op = operation.descriptor
    return {
        "CUBE_IN_WIDTH": source.width - 1,
        "CUBE_IN_HEIGHT": source.height - 1,
        "CUBE_IN_CHANNEL": source.channels - 1,
        "INPUT_DATA": "INT8",
        "SPLIT_NUM": op["split_num"] - 1,
        "KERNEL_WIDTH": op["pool_width"],
        "KERNEL_STRIDE_WIDTH": op["stride_x"] - 1,
        **_partial_widths(operation, "IN", "partial_in_width"),
    }


def _partial_widths(operation: Operation, end: str, prefix: str) -> Fields:
    return {
        f"PARTIAL_WIDTH_{end}_{part.upper()}": max(operation.descriptor[f"{prefix}_{part}"] - 1, 0)
        for part in ("first", "last", "mid")
    }


def _pdp_rdma(operation: Operation, context: Context, source: Cube) -> Fields:
    return {
        **_pooled(operation, source),
        **context.address_fields("SRC_BASE_ADDR_LOW", "SRC_BASE_ADDR_HIGH", source.address),
        "SRC_LINE_STRIDE": source.line_stride,
        "SRC_SURFACE_STRIDE": source.surface_stride,
        "SRC_RAM_TYPE": source.memory,
        "PAD_WIDTH": operation.descriptor["pad_left"],
    }


def _pdp(operation: Operation, context: Context, source: Cube, destination: Cube) -> Fields:
    op = operation.descriptor
    values = op.array("padding_value")
    strides: Fields = {}
    if not source.is_flying:
        strides = {
            "SRC_LINE_STRIDE": source.line_stride,
            "SRC_SURFACE_STRIDE": source.surface_stride,
        }
    return {
        **_pooled(operation, source),
        "CUBE_OUT_WIDTH": destination.width - 1,
        "CUBE_OUT_HEIGHT": destination.height - 1,
        "CUBE_OUT_CHANNEL": destination.channels - 1,
        "POOLING_METHOD": op["pool_mode"],
        "FLYING_MODE": "ON_FLYING" if source.is_flying else "OFF_FLYING",
        **_partial_widths(operation, "OUT", "partial_width"),
        "KERNEL_HEIGHT": op["pool_height"],
        "KERNEL_STRIDE_HEIGHT": op["stride_y"] - 1,
        "RECIP_KERNEL_WIDTH": _RECIPROCAL_OF_ONE // (op["pool_width"] + 1),
        "RECIP_KERNEL_HEIGHT": _RECIPROCAL_OF_ONE // (op["pool_height"] + 1),
        **{f"PAD_{side.upper()}": op[f"pad_{side}"] for side in ("left", "top", "right", "bottom")},
        **{f"PAD_VALUE_{number + 1}X": values[number] for number in range(_PAD_VALUES)},
        **strides,
        **context.address_fields("DST_BASE_ADDR_LOW", "DST_BASE_ADDR_HIGH", destination.address),
        "DST_LINE_STRIDE": destination.line_stride,
        "DST_SURFACE_STRIDE": destination.surface_stride,
        "DST_RAM_TYPE": destination.memory,
    }


def cdp_units(operation: Operation, context: Context) -> dict[str, Fields]:
    """The fields of CDP_RDMA and CDP.

    Raises: DiagnosticError for what the firmware or the hardware refuses.
    """
    op = operation.descriptor
    source = cube_of(operation, "src_data", context, may_fly=False)
    destination = cube_of(operation, "dst_data", context, may_fly=False)
    context.require(context.hw.has_cdp, operation, f"normalizes, but {context.hw.name} has no CDP")
    context.require(
        op["local_size"] in _LOCAL_SIZES,
        operation,
        f"has local_size = {op['local_size']}, but it must be one of {_LOCAL_SIZES}",
    )
    context.require(
        op["lut_index"] > NONE, operation, "names no look-up table, which it always uses"
    )
    context.require(
        source.size == destination.size, operation, "has a source and a destination of two sizes"
    )
    source.layout(context)
    destination.layout(context)
    return {
        "CDP_RDMA": {
            "WIDTH": source.width - 1,
            "HEIGHT": source.height - 1,
            "CHANNEL": source.channels - 1,
            **context.address_fields("SRC_BASE_ADDR_LOW", "SRC_BASE_ADDR_HIGH", source.address),
            "SRC_LINE_STRIDE": source.line_stride,
            "SRC_SURFACE_STRIDE": source.surface_stride,
            "SRC_RAM_TYPE": source.memory,
            "INPUT_DATA": "INT8",
        },
        "CDP": {
            "SQSUM_BYPASS": int(op["bypass_sqsum"] != 0),
            "MUL_BYPASS": int(op["bypass_out_mul"] != 0),
            **context.address_fields(
                "DST_BASE_ADDR_LOW", "DST_BASE_ADDR_HIGH", destination.address
            ),
            "DST_LINE_STRIDE": destination.line_stride,
            "DST_SURFACE_STRIDE": destination.surface_stride,
            "DST_RAM_TYPE": destination.memory,
            "INPUT_DATA_TYPE": "INT8",
            "NORMALZ_LEN": _LOCAL_SIZES.index(op["local_size"]),
            **_cdp_converter(operation, "in_cvt", "DATIN"),
            **_cdp_converter(operation, "out_cvt", "DATOUT"),
        },
    }


def _cdp_converter(operation: Operation, name: str, prefix: str) -> Fields:
    converter = operation.descriptor.part(name)
    return {
        f"{prefix}_OFFSET": converter["offset"],
        f"{prefix}_SCALE": converter["scale"],
        f"{prefix}_SHIFTER": converter["truncate"],
    }
