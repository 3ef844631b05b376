"""The descriptors that tell the SDP a setting: the inverse of ``sdp.py``. Sources: loadable.md
section 4, sdp.md sections 2, 4, 5 and 8."""

from __future__ import annotations

from attrs import evolve

from nvdla_ir.formats.loadable.descriptors import Descriptor, WritingContext, surfaces
from nvdla_ir.formats.loadable.network import NONE, Kind
from nvdla_ir.formats.loadable.sdp import (
    ADD,
    ALGORITHMS,
    BOTH,
    MULTIPLY,
    NOTHING,
    PER_ELEMENT,
    PER_KERNEL,
    PER_LAYER,
    PRELU,
    RELU,
    SURFACES,
    TABLE,
    WINOGRAD,
)
from nvdla_ir.formats.loadable.structures import Values
from nvdla_ir.hardware.place import OperandPlace
from nvdla_ir.hardware.program import Tables
from nvdla_ir.hardware.sdp import (
    OperandStream,
    SdpPlaces,
    SdpSetting,
    XStage,
    YOperand,
    YStage,
)
from nvdla_ir.hw.formats.operands import OperandLayout, StageName

_UNITS: dict[StageName, str] = {"BS": "x1_op", "BN": "x2_op", "EW": "y_op"}
_TYPES = {(False, False): NOTHING, (False, True): MULTIPLY, (True, False): ADD, (True, True): BOTH}
"""By what acts: ALU, multiplier."""


def sdp_descriptor(
    setting: SdpSetting, places: SdpPlaces, tables: Tables | None, context: WritingContext
) -> Descriptor:
    """The descriptors that tell SDP, and SDP_RDMA, ``setting``."""
    converter = setting.converter
    extents = setting.channels, setting.height, setting.width
    operation: dict[str, int | Values] = {
        "lut_index": NONE,
        "conv_mode": WINOGRAD if setting.winograd else 0,
        "batch_num": setting.batch,
        "batch_stride": places.batch_stride,
        "out_cvt": {
            "scale": converter.scale,
            "truncate": converter.shift,
            "enable": 1,
            "offset": converter.offset,
        },
        "x1_op": _x_unit("BS", setting, setting.bs, context),
        "x2_op": _x_unit("BN", setting, setting.bn, context),
        "y_op": _y_unit(setting, setting.ew, context),
    }
    surface: dict[str, Values] = {
        name: context.flying(extents) if place is None else context.cube(place, extents)
        for name, place in (("src_data", places.source), ("dst_data", places.destination))
    }
    for name, stream in setting.streams.items():
        if stream.enabled:
            operands = _operands(setting, stream, places.operands[name], context)
            surface[SURFACES[name]] = operands
    return Descriptor(Kind.SDP, operation, surface, tables)


def _x_unit(name: StageName, setting: SdpSetting, stage: XStage, context: WritingContext) -> Values:
    adds = stage.alu is not None
    algorithm = stage.idle_alu if stage.alu is None else stage.alu
    values = _unit(
        name,
        setting,
        (adds, stage.mul),
        (stage.alu_from_memory, stage.mul_from_memory),
        context,
    )
    act = PRELU if stage.prelu else RELU if stage.relu else 0
    context.require(not (stage.prelu and stage.relu), f"PReLU and ReLU in {name}")
    return {
        **values,
        "enable": not stage.bypass,
        "alu_type": ALGORITHMS.index(algorithm) if isinstance(algorithm, str) else algorithm,
        "act": act,
        "shift_value": stage.alu_shift,
        "truncate": stage.mul_shift,
        "alu_operand": stage.alu_operand or 0,
        "mul_operand": stage.mul_operand or 0,
    }


def _y_unit(setting: SdpSetting, stage: YStage, context: WritingContext) -> Values:
    operands = {"alu": stage.alu, "mul": stage.mul}
    values = _unit(
        "EW",
        setting,
        (stage.alu is not None, stage.mul is not None),
        (_from_memory(stage.alu), _from_memory(stage.mul)),
        context,
    )
    context.require(not (stage.prelu and stage.table), "PReLU and a look-up table in EW")
    unit: dict[str, int | Values] = {
        **values,
        "enable": not stage.bypass,
        "alu_type": ALGORITHMS.index(stage.algorithm),
        "act": PRELU if stage.prelu else TABLE if stage.table else 0,
        "truncate": stage.truncate,
    }
    for part, operand in operands.items():
        if operand is None:
            continue
        unit[f"{part}_operand"] = operand.operand or 0
        converter = operand.converter
        if converter is None:
            continue
        context.require(
            operand.from_memory,
            f"a converter for the number of EW's {part.upper()}, which the firmware has for what "
            "comes from memory alone",
        )
        unit[f"{part}_cvt"] = {
            "scale": converter.scale,
            "truncate": converter.truncate,
            "enable": 1,
            "offset": converter.offset,
        }
    return unit


def _from_memory(operand: YOperand | None) -> bool:
    return operand is not None and operand.from_memory


def _unit(
    name: StageName,
    setting: SdpSetting,
    acts: tuple[bool, bool],
    from_memory: tuple[bool, bool],
    context: WritingContext,
) -> dict[str, int]:
    """What a stage does, and where both its operands come from; of ALU and multiplier each."""
    sources = {memory for part, memory in zip(acts, from_memory, strict=True) if part}
    context.require(
        len(sources) < 2,
        f"one operand of {name} in memory and the other in a register, but a descriptor says one "
        "place for both",
    )
    stream = setting.streams.get(name)
    mode = PER_LAYER
    if any(from_memory) and stream is not None:
        mode = PER_KERNEL if stream.mode == "PER_KERNEL" else PER_ELEMENT
    is_wide = stream is not None and stream.size == "TWO_BYTE"
    return {"type": _TYPES[acts], "mode": mode, "precision": int(is_wide)}


def _operands(
    setting: SdpSetting, stream: OperandStream, place: OperandPlace, context: WritingContext
) -> Values:
    """The cube that a stage reads; a table is one pixel of all channels."""
    atom = context.hw.memory_atom
    packed = OperandLayout.packed(
        setting.channels,
        setting.height,
        setting.width,
        atom,
        stream.use,
        stream.size,
        stream.mode,
    )
    if place.line_stride is None:
        size = surfaces(setting.channels, context.hw) * packed.group_bytes
        strides = packed.group_bytes, place.surface_stride
        extents = setting.channels, 1, 1
    else:
        strides = place.line_stride, place.surface_stride
        size = evolve(packed, line_stride=strides[0], surface_stride=strides[1]).size_bytes
        extents = setting.channels, setting.height, setting.width
    return context.block(place.address, size, extents, strides, place.memory)
