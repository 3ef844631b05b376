"""The descriptors of PDP and CDP operations: what they tell the hardware, and those that tell it a
setting. Sources: loadable.md section 4, pdp.md sections 3 to 8, cdp.md section 6."""

from __future__ import annotations

from nvdla_ir.formats.loadable.cubes import Cube, ReadingContext, cube_of
from nvdla_ir.formats.loadable.descriptors import Descriptor, WritingContext
from nvdla_ir.formats.loadable.network import NONE, Kind, Operation
from nvdla_ir.formats.loadable.structures import Values
from nvdla_ir.hardware.cdp import CdpConverter, CdpPlaces, CdpSetting
from nvdla_ir.hardware.fields import UnitFields
from nvdla_ir.hardware.pdp import Method, PdpPlaces, PdpSetting, PoolWindow
from nvdla_ir.hardware.program import Tables
from nvdla_ir.hw.formats.pooling import LARGEST_POOLING_KERNEL, MAX_SEGMENTS, WidthSplit

_LARGEST_STRIDE = 8
"""That the firmware takes; the hardware takes more."""
_RECIPROCAL_OF_ONE = 1 << 16
_METHODS: tuple[Method, ...] = ("AVERAGE", "MAX", "MIN")


def pdp_units(operation: Operation, context: ReadingContext) -> tuple[PdpSetting, UnitFields]:
    """What PDP, and PDP_RDMA where memory is read, are told.

    Raises: DiagnosticError for what the firmware or the hardware refuses.
    """
    op = operation.descriptor
    source = cube_of(operation, "src_data", context, may_fly=True)
    destination = cube_of(operation, "dst_data", context, may_fly=False)
    _check_pdp(operation, context, source, destination)
    rows = PoolWindow(
        size=source.height,
        kernel=op["pool_height"] + 1,
        stride=op["stride_y"],
        before=op["pad_top"],
        after=op["pad_bottom"],
        outputs=destination.height,
    )
    columns = PoolWindow(
        size=source.width,
        kernel=op["pool_width"] + 1,
        stride=op["stride_x"],
        before=op["pad_left"],
        after=op["pad_right"],
        outputs=destination.width,
    )
    setting = PdpSetting(
        channels=source.channels,
        rows=rows,
        columns=columns,
        method=_METHODS[op["pool_mode"]],
        flying=source.is_flying,
        split=WidthSplit(
            op["split_num"],
            op["partial_in_width_first"],
            op["partial_in_width_mid"],
            op["partial_in_width_last"],
            op["partial_width_first"],
            op["partial_width_mid"],
            op["partial_width_last"],
        ),
        reciprocals=_reciprocals(rows, columns),
        pad_values=op.array("padding_value"),
    )
    context.require_possible(operation, setting.faults(context.hw))
    places = PdpPlaces(
        None if source.is_flying else source.cube_place(context),
        destination.cube_place(context),
        repeats_strides=True,
    )
    return setting, setting.fields(context.hw, places)


def _reciprocals(rows: PoolWindow, columns: PoolWindow) -> tuple[int, int]:
    """Those that the firmware computes, rounded down."""
    return _RECIPROCAL_OF_ONE // rows.kernel, _RECIPROCAL_OF_ONE // columns.kernel


def _check_pdp(
    operation: Operation, context: ReadingContext, source: Cube, destination: Cube
) -> None:
    """What the firmware refuses, and what is no setting of the PDP."""
    op = operation.descriptor
    context.has_known(operation, "pool_mode", op["pool_mode"], len(_METHODS))
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
    context.require(
        source.channels == destination.channels,
        operation,
        f"makes {destination.channels} channels of {source.channels}, but they must be equal",
    )


def cdp_units(operation: Operation, context: ReadingContext) -> tuple[CdpSetting, UnitFields]:
    """What CDP_RDMA and CDP are told.

    Raises: DiagnosticError for what the firmware or the hardware refuses.
    """
    op = operation.descriptor
    source = cube_of(operation, "src_data", context, may_fly=False)
    destination = cube_of(operation, "dst_data", context, may_fly=False)
    context.require(
        op["lut_index"] > NONE, operation, "names no look-up table, which it always uses"
    )
    context.require(
        source.size == destination.size, operation, "has a source and a destination of two sizes"
    )
    setting = CdpSetting(
        channels=source.channels,
        height=source.height,
        width=source.width,
        window=op["local_size"],
        input_converter=_cdp_converter(operation, "in_cvt"),
        output_converter=_cdp_converter(operation, "out_cvt"),
        square_sum=not op["bypass_sqsum"],
        multiply=not op["bypass_out_mul"],
    )
    context.require_possible(operation, setting.faults(context.hw))
    places = CdpPlaces(source.cube_place(context), destination.cube_place(context))
    return setting, setting.fields(context.hw, places)


def _cdp_converter(operation: Operation, name: str) -> CdpConverter:
    converter = operation.descriptor.part(name)
    return CdpConverter(converter["offset"], converter["scale"], converter["truncate"])


# ---------------------------------------------------------------- writing


def pdp_descriptor(setting: PdpSetting, places: PdpPlaces, context: WritingContext) -> Descriptor:
    """The descriptors that tell PDP ``setting``: the inverse of ``pdp_units``."""
    rows, columns, split = setting.rows, setting.columns, setting.split
    for window in (rows, columns):
        context.require(
            window.stride <= _LARGEST_STRIDE,
            f"pooling windows {window.stride} apart, of which the firmware takes up to "
            f"{_LARGEST_STRIDE}",
        )
    own = _reciprocals(rows, columns)
    context.require(
        setting.reciprocals in (None, own) or setting.method != "AVERAGE",
        f"an average with the reciprocals {setting.reciprocals} of rows and columns, for which the "
        f"firmware takes {own}, those of the window, rounded down",
    )
    operation: dict[str, int | tuple[int, ...]] = {
        "split_num": setting.segments,
        "pool_mode": _METHODS.index(setting.method),
        "pool_width": columns.kernel - 1,
        "pool_height": rows.kernel - 1,
        "stride_x": columns.stride,
        "stride_y": rows.stride,
        "pad_left": columns.before,
        "pad_right": columns.after,
        "pad_top": rows.before,
        "pad_bottom": rows.after,
        "padding_value": setting.pad_values or (),
    }
    if split is not None:
        operation |= {
            "partial_in_width_first": split.input_first,
            "partial_in_width_mid": split.input_mid,
            "partial_in_width_last": split.input_last,
            "partial_width_first": split.output_first,
            "partial_width_mid": split.output_mid,
            "partial_width_last": split.output_last,
        }
    extents = setting.channels, rows.size, columns.size
    source = places.source
    surface: Values = {
        "src_data": context.flying(extents) if source is None else context.cube(source, extents),
        "dst_data": context.cube(
            places.destination, (setting.channels, rows.outputs, columns.outputs)
        ),
    }
    return Descriptor(Kind.PDP, operation, surface)


def cdp_descriptor(
    setting: CdpSetting, places: CdpPlaces, tables: Tables, context: WritingContext
) -> Descriptor:
    """The descriptors that tell CDP ``setting``: the inverse of ``cdp_units``."""
    operation: Values = {
        "local_size": setting.window,
        "bypass_sqsum": not setting.square_sum,
        "bypass_out_mul": not setting.multiply,
        "in_cvt": _converter_values(setting.input_converter),
        "out_cvt": _converter_values(setting.output_converter),
    }
    extents = setting.channels, setting.height, setting.width
    surface: Values = {
        "src_data": context.cube(places.source, extents),
        "dst_data": context.cube(places.destination, extents),
    }
    return Descriptor(Kind.CDP, operation, surface, tables)


def _converter_values(converter: CdpConverter) -> Values:
    return {
        "scale": converter.scale,
        "truncate": converter.shift,
        "enable": 1,
        "offset": converter.offset,
    }
