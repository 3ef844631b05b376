"""What one hardware layer does, as figures and short texts, before it becomes registers."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

from nvdla_ir.dialects.nn.shapes import shape_of, text_of
from nvdla_ir.dialects.nvdla import (
    ConvOp,
    PdpOp,
    SdpOp,
    StageAttr,
    StreamType,
    XStageAttr,
    cube_shape,
)
from nvdla_ir.dialects.quant import UniformType
from nvdla_ir.hardware.cost.base import Cost
from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.hw.formats.feature import FeatureLayout
from nvdla_ir.ir.operation import Operation, Value
from nvdla_ir.ir.types import TensorType
from nvdla_ir.passes.settings.constants import reads_per_channel
from nvdla_ir.passes.settings.layers import HardwareLayer


@frozen
class HardwareRun:
    """One hardware layer.

    source, target: shapes of what it reads first and of what it writes
    window:         size of kernels, with steps, padding and dilation that are not the usual ones
    banks:          of the convolution buffer, for data and for weights
    reuse:          what it takes over from the one before or leaves for the next
    scales:         of the numbers that it reads first and writes; None where integers are all that
                    is known
    zero_point:     of what it writes
    stages:         what the SDP does ahead of its output converter
    multiplier, shift, offset: of that converter
    address:        of what it writes; None where memory is not allocated
    written_bytes:  of the cube that it writes
    """

    units: str
    source: tuple[int, ...]
    target: tuple[int, ...]
    window: str
    banks: tuple[int, int] | None
    reuse: str
    scales: tuple[float | None, float | None]
    zero_point: int | None
    stages: str
    multiplier: int | None
    shift: int | None
    offset: int | None
    address: int | None
    written_bytes: int
    cost: Cost


def run_of(layer: HardwareLayer, units: str, cost: Cost, hw: HardwareConfiguration) -> HardwareRun:
    """``layer``, whose share of the convolution buffer is known."""
    first, last = layer.operations[0], layer.last
    conv, sdp = layer.convolution, layer.processor
    source, target = first.operands[0], last.results[0]
    _, *sizes = cube_shape(target.type)
    element = _grid(target)
    banks = None
    if conv is not None and conv.data_banks is not None and conv.weight_banks is not None:
        banks = conv.data_banks, conv.weight_banks
    return HardwareRun(
        units,
        cube_shape(source.type),
        cube_shape(target.type),
        _window(first if sdp is None or conv is not None else layer.pooling),
        banks,
        ", ".join(() if conv is None else _reuse(conv)),
        (_scale(source), None if element is None else element.scale),
        None if element is None else element.zero_point,
        "; ".join(() if sdp is None else _stages(sdp)),
        None if sdp is None else sdp.cvt_scale,
        None if sdp is None else sdp.cvt_shift,
        None if sdp is None else sdp.cvt_offset,
        last.address,
        FeatureLayout.packed(sizes[0], sizes[1], sizes[2], hw.memory_atom).size_bytes
        if len(sizes) == len(("channels", "rows", "columns"))
        else 0,
        cost,
    )


def _grid(value: Value) -> UniformType | None:
    type = value.type
    element = type.element if isinstance(type, TensorType | StreamType) else None
    return element if isinstance(element, UniformType) else None


def _scale(value: Value) -> float | None:
    element = _grid(value)
    return None if element is None else element.scale


def _window(op: Operation | None) -> str:
    if isinstance(op, ConvOp):
        size, dilations = shape_of(op.weight)[2:], tuple(op.dilations)
    elif isinstance(op, PdpOp):
        size, dilations = tuple(op.kernel), (1, 1)
    else:
        return ""
    parts = [text_of(size)]
    for name, given, usual in (
        ("stride", tuple(op.strides), (1, 1)),
        ("dilation", dilations, (1, 1)),
        ("pads", tuple(op.pads), (0, 0, 0, 0)),
    ):
        if given != usual:
            alike = len(set(given)) == 1
            parts.append(f"{name} {given[0] if alike else ' '.join(map(str, given))}")
    if isinstance(op, PdpOp):
        parts.insert(0, op.method)
    elif op.each_surface:
        parts.append("each surface")
    return ", ".join(parts)


def _reuse(op: ConvOp) -> Iterator[str]:
    for name in ("reuse_data", "reuse_weights", "keep_data", "keep_weights"):
        if getattr(op, name):
            yield name.replace("_", " ")


def _stages(op: SdpOp) -> Iterator[str]:
    for name, stage, operand in op.stages:
        if not stage.is_bypassed:
            yield f"{name} {_stage(stage, operand, op)}"
    if op.tables is not None:
        yield "table"


def _stage(stage: StageAttr, operand: Value | None, op: SdpOp) -> str:
    """``sum a channel, product a channel >> 14``, ``sum of a cube, ReLU``."""
    steps: list[str] = []
    whose = ""
    if operand is not None:
        whose = " a channel" if reads_per_channel(operand, op) else " of a cube"
    if stage.alu:
        steps.append(stage.alu + (whose if stage.alu_from_memory else f" {stage.alu_value}"))
    if stage.mul:
        steps.append("product" + (whose if stage.mul_from_memory else f" {stage.mul_value}"))
    if isinstance(stage, XStageAttr) and stage.mul_shift:
        steps[-1] += f" >> {stage.mul_shift}"
    if getattr(stage, "relu", False):
        steps.append("ReLU")
    if stage.prelu:
        steps.append("negative ones only")
    return ", ".join(steps)
