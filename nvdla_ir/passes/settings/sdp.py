"""The SDP's setting, from ``nvdla.sdp``."""

from __future__ import annotations

from nvdla_ir.dialects.layer import describe
from nvdla_ir.dialects.nn.shapes import shape_of
from nvdla_ir.dialects.nvdla import SdpOp, StageAttr, StreamType, XStageAttr
from nvdla_ir.hardware.place import CubePlace, OperandPlace
from nvdla_ir.hardware.sdp import (
    OperandConverter,
    OperandStream,
    OutputConverter,
    SdpPlaces,
    SdpSetting,
    XStage,
    YOperand,
    YStage,
)
from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.hw.formats.operands import StageName
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.operation import Value
from nvdla_ir.passes.settings.columns import Arrangement, arrangement
from nvdla_ir.passes.settings.constants import constant_of, operand_layout, reads_per_channel
from nvdla_ir.passes.settings.memory import channels_height_width, in_memory, placed_cube


def _operands(op: SdpOp) -> list[tuple[StageName, StageAttr, Value]]:
    """The stages that read memory, with what they read."""
    return [(name, stage, value) for name, stage, value in op.stages if value is not None]


def _arrangement(op: SdpOp, hw: HardwareConfiguration) -> Arrangement | None:
    """How the SDP takes its cubes; None where it has a stream on one side, and pixels follow each
    other there.

    Raises: DiagnosticError where it cannot take them.
    """
    if op.each_surface:
        channels, height, width = channels_height_width(op.output)
        return Arrangement("surfaces as rows", channels, height, width, hw.memory_atom)
    if isinstance(op.input.type, StreamType) or isinstance(op.output.type, StreamType):
        return None
    operands = [value for _, _, value in _operands(op)]
    tables = [value for value in operands if reads_per_channel(value, op)]
    cubes = [op.input, op.output, *(value for value in operands if constant_of(value) is None)]
    cubes = [value for value in cubes if value not in tables]
    return arrangement(op, cubes, hw, per_channel=bool(tables))


def sdp_setting(op: SdpOp, hw: HardwareConfiguration) -> SdpSetting:
    """What ``op`` tells the SDP.

    Raises: DiagnosticError for batches of several cubes, and for columns that it cannot take.
    """
    arranged = _arrangement(op, hw)
    whole = channels_height_width(op.output)
    channels, height, width = whole if arranged is None else arranged.extents
    streams: dict[StageName, OperandStream] = {}
    for name, stage, value in _operands(op):
        layout = operand_layout(value, stage, op, hw)
        streams[name] = OperandStream(layout.use, layout.size, layout.mode)
    return SdpSetting(
        channels=channels,
        height=height,
        width=width,
        flying=isinstance(op.input.type, StreamType),
        to_pdp=isinstance(op.output.type, StreamType),
        bs=_stage(op.bs),
        bn=_stage(op.bn),
        ew=_y_stage(op),
        streams=streams,
        converter=OutputConverter(op.cvt_offset, op.cvt_scale, op.cvt_shift),
    )


def _stage(stage: XStageAttr) -> XStage:
    if stage.is_bypassed:
        return XStage()
    return XStage(
        bypass=False,
        alu=None if stage.alu is None else stage.alu.upper(),
        alu_from_memory=stage.alu_from_memory,
        alu_operand=stage.alu_value if stage.alu is not None else None,
        alu_shift=stage.alu_shift,
        mul=stage.mul,
        mul_from_memory=stage.mul_from_memory,
        mul_operand=stage.mul_value,
        mul_shift=stage.mul_shift,
        prelu=stage.prelu,
        relu=stage.relu,
    )


def _y_stage(op: SdpOp) -> YStage:
    stage = op.ew
    if stage.is_bypassed and op.tables is None:
        return YStage()
    return YStage(
        bypass=False,
        alu=None
        if stage.alu is None
        else _y_operand(stage.alu_value, stage.alu_from_memory, stage.alu_converter),
        algorithm="MAX" if stage.alu is None else stage.alu.upper(),
        mul=_y_operand(stage.mul_value, stage.mul_from_memory, stage.mul_converter)
        if stage.mul
        else None,
        prelu=stage.prelu,
        table=op.tables is not None,
        truncate=stage.truncate,
    )


def _y_operand(
    value: int | None, from_memory: bool, numbers: tuple[int, int, int] | None
) -> YOperand:
    return YOperand(from_memory, value, None if numbers is None else OperandConverter(*numbers))


def sdp_places(op: SdpOp, hw: HardwareConfiguration) -> SdpPlaces:
    """Where everything lies. Raises: DiagnosticError where an operand is not in memory."""
    arranged = _arrangement(op, hw)

    def place(value: Value) -> CubePlace | None:
        if isinstance(value.type, StreamType):
            return None
        return placed_cube(value, op, hw) if arranged is None else arranged.place(value, op, hw)

    return SdpPlaces(
        place(op.input),
        place(op.output),
        {
            name: _operand_place(op, stage, value, hw, arranged)
            for name, stage, value in _operands(op)
        },
    )


def _operand_place(
    op: SdpOp,
    stage: StageAttr,
    value: Value,
    hw: HardwareConfiguration,
    arranged: Arrangement | None,
) -> OperandPlace:
    if constant_of(value) is not None:
        layout = operand_layout(value, stage, op, hw)
        address = in_memory(value, op).address
        if layout.mode == "PER_KERNEL":
            # One operand of a group follows the other.
            return OperandPlace(address, None, layout.group_bytes)
        line, surface = layout.line_stride, layout.surface_stride
        if arranged is not None:
            line, surface = arranged.strides(layout.group_bytes, line, surface)
        return OperandPlace(address, line, surface)
    if len(shape_of(value)) != 4:
        raise DiagnosticError.at(
            op.location,
            f"{describe(op)} reads a table that is no constant: only cubes are computed",
        )
    if reads_per_channel(value, op):
        layout = operand_layout(value, stage, op, hw)
        cube = placed_cube(value, op, hw)
        return OperandPlace(cube.address, None, layout.group_bytes, cube.memory)
    cube = placed_cube(value, op, hw) if arranged is None else arranged.place(value, op, hw)
    strides = cube.layout.line_stride, cube.layout.surface_stride
    return OperandPlace(cube.address, *strides, cube.memory)
