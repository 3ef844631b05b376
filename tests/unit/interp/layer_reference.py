"""Hardware layers computed by the reference arithmetic: what register programs are held against."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvdla_ir.arith import reference
from nvdla_ir.arith.parameters import (
    AluAlgorithm,
    Normalization,
    OperandConverter,
    OutputConverter,
    XUnit,
    YUnit,
)
from nvdla_ir.dialects import nvdla
from nvdla_ir.dialects.func import FuncOp
from nvdla_ir.dialects.nvdla import StageAttr, XStageAttr, cube_shape
from nvdla_ir.ir.operation import Operation, Value
from nvdla_ir.resources import ResourceStore

Array = NDArray[Any]


def evaluate(
    function: FuncOp, inputs: Mapping[str, Array], resources: ResourceStore
) -> dict[str, Array]:
    """The outputs of a function of the nvdla dialect by name, bytes as they are stored."""
    values: dict[Value, Array] = {
        argument: inputs[function.argument_name(argument)] for argument in function.body.arguments
    }
    for operation in function.body.operations:
        if operation.results:
            values[operation.results[0]] = _result(operation, values, resources)
    returned = function.return_op.operands
    return {function.result_name(index): values[value] for index, value in enumerate(returned)}


def _result(op: Operation, values: dict[Value, Array], resources: ResourceStore) -> Array:
    if isinstance(op, nvdla.ConstantOp):
        return resources.array(op.value)
    if isinstance(op, nvdla.UploadOp | nvdla.DownloadOp):
        return values[op.input]
    if isinstance(op, nvdla.ConvOp):
        return _convolve(op, values[op.input], values[op.weight])
    if isinstance(op, nvdla.SdpOp):
        return _process(op, values)
    if isinstance(op, nvdla.PdpOp):
        return _pool(op, values[op.input])
    if isinstance(op, nvdla.CdpOp):
        return _normalize(op, values[op.input])
    if isinstance(op, nvdla.RubikOp):
        return _contract(op, values[op.input])
    if isinstance(op, nvdla.BdmaOp):
        return values[op.input]
    if isinstance(op, nvdla.SliceOp):
        indices = [op.begin + op.step * index for index in range(op.size)]
        return values[op.input].take(indices, axis=op.axis)
    if isinstance(op, nvdla.InterleaveOp):
        parts = [values[part] for part in op.inputs]
        count = parts[0].shape[op.axis]
        turns = [part.take([index], axis=op.axis) for index in range(count) for part in parts]
        return np.concatenate(turns, axis=op.axis)
    assert isinstance(op, nvdla.ConcatOp)
    return np.concatenate([values[part] for part in op.inputs], axis=op.axis)


def _convolve(op: nvdla.ConvOp, x: Array, weights: Array) -> Array:
    if op.cvt_scale is not None:
        offset: Any = op.cvt_offset or 0
        if op.means is not None:
            offset = np.array(op.means[: x.shape[1]]).reshape(-1, 1, 1)
        x = reference.convert_input(x, offset, op.cvt_scale, op.cvt_truncate or 0)
    sums = reference.convolve(
        x.view(np.int8),
        weights,
        stride=(op.strides[0], op.strides[1]),
        dilation=(op.dilations[0], op.dilations[1]),
        pad_top=op.pads[0],
        pad_left=op.pads[1],
        output_size=_plane(op.output),
        pad_value=op.pad_value,
    )
    return reference.truncate_accumulator(sums, op.clip_truncate)


def _process(op: nvdla.SdpOp, values: dict[Value, Array]) -> Array:
    x_units: list[XUnit] = []
    y_unit = None if op.tables is None else YUnit()
    for _, stage, operand in op.stages:
        if stage.is_bypassed:
            continue
        alu, mul = _operands(stage, None if operand is None else values[operand])
        algorithm = None if stage.alu is None else AluAlgorithm[stage.alu.upper()]
        if isinstance(stage, XStageAttr):
            x_units.append(
                XUnit(
                    alu=algorithm,
                    alu_operand=alu,
                    alu_shift=stage.alu_shift,
                    mul_operand=mul if stage.mul else None,
                    mul_shift=stage.mul_shift,
                    prelu=stage.prelu,
                    relu=stage.relu,
                )
            )
            continue
        mul_converter, alu_converter = (
            None if numbers is None else OperandConverter(*numbers)
            for numbers in (stage.mul_converter, stage.alu_converter)
        )
        y_unit = YUnit(
            mul_operand=mul if stage.mul else None,
            mul_converter=mul_converter if stage.mul_from_memory else None,
            truncate=stage.truncate,
            prelu=stage.prelu,
            alu=algorithm,
            alu_operand=alu,
            alu_converter=alu_converter if stage.alu_from_memory else None,
        )
    return reference.sdp_layer(
        values[op.input],
        x_units=x_units,
        y_unit=y_unit,
        look_up_table=None if op.tables is None else nvdla.arithmetic_table(op.tables),
        output=OutputConverter(op.cvt_offset, op.cvt_scale, op.cvt_shift),
    ).values


def _operands(stage: StageAttr, operand: Array | None) -> tuple[Any, Any]:
    """Of ALU and multiplier."""
    alu: Any = stage.alu_value or 0
    mul: Any = stage.mul_value
    if operand is not None:
        tables = [operand[:, index] for index in range(2)] if operand.ndim == 2 else [operand] * 2
        if operand.ndim < 4:
            tables = [table.reshape(-1, 1, 1) for table in tables]
        alu = tables[0] if stage.alu_from_memory else alu
        mul = tables[1] if stage.mul_from_memory else mul
    return alu, mul


def _pool(op: nvdla.PdpOp, x: Array) -> Array:
    window: dict[str, Any] = {
        "kernel": tuple(op.kernel),
        "stride": tuple(op.strides),
        "pad": tuple(op.pads[:2]),
        "output_size": _plane(op.output),
    }
    if op.method == "max":
        return reference.pool_maximum(x, **window)
    if op.method == "min":
        return reference.pool_minimum(x, **window)
    assert op.reciprocals is not None
    return reference.pool_average(
        x,
        reciprocals=(op.reciprocals[0], op.reciprocals[1]),
        pad_values=[n * op.pad_value & 0x7FFFF for n in range(1, 8)],
        **window,
    )


def _normalize(op: nvdla.CdpOp, x: Array) -> Array:
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
    return reference.local_response_normalization(x, layer).values


def _contract(op: nvdla.RubikOp, x: Array) -> Array:
    (down, across), (rows, columns) = op.strides, _plane(op.output)
    y = np.zeros(cube_shape(op.output.type), np.int8)
    for row in range(rows):
        for column in range(columns):
            first = (across * (row % down) + column % across) * op.group
            channels = slice(first, first + y.shape[1])
            y[:, :, row, column] = x[:, channels, row // down, column // across]
    return y


def _plane(value: Value) -> tuple[int, int]:
    shape = cube_shape(value.type)
    return shape[2], shape[3]
