"""Kernels of the nvdla dialect: hardware layers on arrays (N, C, H, W) of stored integers.

The arithmetic is that of the device; memory, its layouts and the lanes that fill an atom are not
part of this level.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvdla_ir.arith import fast
from nvdla_ir.arith.parameters import (
    AluAlgorithm,
    Normalization,
    OperandConverter,
    OutputConverter,
    XUnit,
    YUnit,
)
from nvdla_ir.dialects import nvdla
from nvdla_ir.dialects.nn.shapes import shape_of, window_shape
from nvdla_ir.interp.nn.weighted import along_channels
from nvdla_ir.interp.registry import Numbers, Values, kernel

Array = NDArray[Any]

_ALU = {"sum": AluAlgorithm.SUM, "max": AluAlgorithm.MAX, "min": AluAlgorithm.MIN}
_PAD_VALUES = 7
_PAD_VALUE_MASK = (1 << 19) - 1


@kernel(nvdla.ConstantOp, numbers=Numbers.STORED, constant=True)
def constant(op: nvdla.ConstantOp, values: Values) -> Array:
    return values.machine.resources.array(op.value, op.location)


@kernel(nvdla.UploadOp, numbers=Numbers.STORED, any_batch=True)
def upload(op: nvdla.UploadOp, values: Values) -> Array:
    return values[op.input]


@kernel(nvdla.DownloadOp, numbers=Numbers.STORED, any_batch=True)
def download(op: nvdla.DownloadOp, values: Values) -> Array:
    return values[op.input]


@kernel(nvdla.ConvOp, numbers=Numbers.STORED, any_batch=True)
def convolution(op: nvdla.ConvOp, values: Values) -> Array:
    """CDMA's input converter, then the sums, then CACC's truncation."""
    x, weight = values[op.input], values[op.weight]
    if op.cvt_scale is not None and op.cvt_truncate is not None:
        offset: Array | int = op.cvt_offset or 0
        if op.means is not None:
            offset = along_channels(np.asarray(op.means, np.int64), x.ndim)
        x = fast.convert_input(x, offset, op.cvt_scale, op.cvt_truncate)
    shape = x.shape
    if op.each_surface:
        x = x.reshape(-1, weight.shape[1], *shape[2:])
    accumulators = fast.convolve(
        x.astype(np.int8, copy=False),
        weight,
        stride=_pair(op.strides),
        dilation=_pair(op.dilations),
        pad_top=op.pads[0],
        pad_left=op.pads[1],
        output_size=window_shape(x.shape, weight.shape[2:], op.strides, op.pads, op.dilations),
        pad_value=op.pad_value,
    )
    if op.each_surface:
        accumulators = accumulators.reshape(*shape[:2], *accumulators.shape[2:])
    return fast.truncate_accumulator(accumulators, op.clip_truncate)


@kernel(nvdla.SdpOp, numbers=Numbers.STORED, any_batch=True)
def sdp(op: nvdla.SdpOp, values: Values) -> Array:
    x_units: list[XUnit] = []
    y_unit = None if op.tables is None else YUnit()
    for _, stage, operand in op.stages:
        if stage.is_bypassed:
            continue
        if isinstance(stage, nvdla.XStageAttr):
            x_units.append(_x_unit(stage, values.get(operand)))
        else:
            y_unit = _y_unit(stage, values.get(operand))
    return fast.sdp_layer(
        values[op.input],
        x_units=x_units,
        y_unit=y_unit,
        look_up_table=None if op.tables is None else nvdla.arithmetic_table(op.tables),
        output=OutputConverter(op.cvt_offset, op.cvt_scale, op.cvt_shift),
    ).values


def _x_unit(stage: nvdla.XStageAttr, operand: Array | None) -> XUnit:
    alu, mul = _operands(stage, operand)
    return XUnit(
        alu=None if stage.alu is None else _ALU[stage.alu],
        alu_operand=alu,
        alu_shift=stage.alu_shift,
        mul_operand=mul,
        mul_shift=stage.mul_shift,
        prelu=stage.prelu,
        relu=stage.relu,
    )


def _y_unit(stage: nvdla.YStageAttr, operand: Array | None) -> YUnit:
    alu, mul = _operands(stage, operand)
    return YUnit(
        mul_operand=mul,
        mul_converter=_converter(stage.mul_converter, stage.mul_from_memory),
        truncate=stage.truncate,
        prelu=stage.prelu,
        alu=None if stage.alu is None else _ALU[stage.alu],
        alu_operand=alu,
        alu_converter=_converter(stage.alu_converter, stage.alu_from_memory),
    )


def _converter(numbers: tuple[int, int, int] | None, from_memory: bool) -> OperandConverter | None:
    """A register's operand is not converted."""
    return OperandConverter(*numbers) if numbers is not None and from_memory else None


def _operands(stage: nvdla.StageAttr, operand: Array | None) -> tuple[Any, Any]:
    """What ALU and multiplier work with: of a table with two columns the ALU takes the first, the
    multiplier the second; None for a multiplier that is bypassed."""
    alu: Any = stage.alu_value if stage.alu_value is not None else 0
    mul: Any = stage.mul_value
    if operand is not None:
        if stage.alu_from_memory and stage.mul_from_memory:
            alu, mul = (along_channels(operand[:, column], 4) for column in (0, 1))
        else:
            spread = along_channels(operand, 4) if operand.ndim == 1 else operand
            if stage.alu_from_memory:
                alu = spread
            else:
                mul = spread
    return alu, mul


@kernel(nvdla.PdpOp, numbers=Numbers.STORED, any_batch=True)
def pdp(op: nvdla.PdpOp, values: Values) -> Array:
    x = values[op.input]
    window: dict[str, Any] = {
        "kernel": _pair(op.kernel),
        "stride": _pair(op.strides),
        "pad": _pair(op.pads),
        "output_size": window_shape(x.shape, op.kernel, op.strides, op.pads),
    }
    if op.method == "max":
        return fast.pool_maximum(x, **window)
    if op.method == "min":
        return fast.pool_minimum(x, **window)
    assert op.reciprocals is not None
    return fast.pool_average(
        x,
        reciprocals=_pair(op.reciprocals),
        pad_values=[count * op.pad_value & _PAD_VALUE_MASK for count in range(1, _PAD_VALUES + 1)],
        **window,
    )


@kernel(nvdla.CdpOp, numbers=Numbers.STORED, any_batch=True)
def cdp(op: nvdla.CdpOp, values: Values) -> Array:
    layer = Normalization(
        size=op.window,
        table=nvdla.arithmetic_table(op.tables),
        input_offset=op.input_offset,
        input_scale=op.input_scale,
        input_shift=op.input_shift,
        output_offset=op.output_offset,
        output_scale=op.output_scale,
        output_shift=op.output_shift,
        bypass_square_sum=not op.square_sum,
        bypass_multiply=not op.multiply,
    )
    return fast.local_response_normalization(values[op.input], layer).values


@kernel(nvdla.RubikOp, numbers=Numbers.STORED, any_batch=True)
def rubik(op: nvdla.RubikOp, values: Values) -> Array:
    x = values[op.input]
    (down, across), channels = op.strides, shape_of(op.output)[1]
    images, _, height, width = x.shape
    groups = x.reshape(images, down, across, op.group, height, width)[:, :, :, :channels]
    # to image, channel, row, row in a group, column, column in a group
    return groups.transpose(0, 3, 4, 1, 5, 2).reshape(
        images, channels, height * down, width * across
    )


@kernel(nvdla.BdmaOp, numbers=Numbers.STORED, any_batch=True)
def bdma(op: nvdla.BdmaOp, values: Values) -> Array:
    return values[op.input]


@kernel(nvdla.SliceOp, numbers=Numbers.STORED, any_batch=True)
def slice_axis(op: nvdla.SliceOp, values: Values) -> Array:
    before = (slice(None),) * op.axis
    end = op.begin + (op.size - 1) * op.step + 1
    return values[op.input][(*before, slice(op.begin, end, op.step))]


@kernel(nvdla.ConcatOp, numbers=Numbers.STORED, any_batch=True)
def concat(op: nvdla.ConcatOp, values: Values) -> Array:
    return np.concatenate([values[value] for value in op.inputs], axis=op.axis)


@kernel(nvdla.InterleaveOp, numbers=Numbers.STORED, any_batch=True)
def interleave(op: nvdla.InterleaveOp, values: Values) -> Array:
    parts = np.stack([values[value] for value in op.inputs], axis=op.axis + 1)
    shape = list(parts.shape)
    shape[op.axis : op.axis + 2] = [shape[op.axis] * shape[op.axis + 1]]
    return parts.reshape(shape)


@kernel(nvdla.WaitOp, numbers=Numbers.STORED, any_batch=True)
def wait(op: nvdla.WaitOp, values: Values) -> None:
    """On this level a layer's result is there at once."""


def _pair(numbers: Sequence[int]) -> tuple[int, int]:
    """The first two numbers: of pads, top and left."""
    return numbers[0], numbers[1]
