"""An operation of one's own in one file: the absolute value, from floats to the hardware.

    nvdla-opt --load-pass-plugin=absolute_value.py --import-calib=calib.json --quantize \
        --compile=nv_small model.ir

docs/custom-passes.md walks through it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nvdla_ir.arith import fast
from nvdla_ir.arith.fixed_point import fixed_point, round_half_away
from nvdla_ir.dialects import nn, nvdla
from nvdla_ir.dialects.layer import LayerOp
from nvdla_ir.dialects.nn.shapes import ACTIVATION
from nvdla_ir.dialects.quant import UniformType
from nvdla_ir.interp.registry import Numbers, Values, kernel
from nvdla_ir.ir.attribute_kinds import INT
from nvdla_ir.ir.definition import attribute, operand, result
from nvdla_ir.ir.dialect import Dialect
from nvdla_ir.ir.operation import Value
from nvdla_ir.ir.traits import Pure
from nvdla_ir.ir.types import Type
from nvdla_ir.passes.conversion import FunctionConversion, converts, output_type
from nvdla_ir.passes.legalization import FunctionLegalization, check_processor, legalizes


class AbsOp(LayerOp):
    """``|x|``. On int8: ``sat8(rha((|x - z| - offset) * scale, shift))`` with the input's zero
    point ``z``."""

    name = "my.abs"
    traits = (Pure(),)

    input = operand(ACTIVATION)
    offset = attribute(INT, default=0)
    scale = attribute(INT, default=1)
    shift = attribute(INT, default=0)
    output = result(ACTIVATION)

    def infer_result_types(self) -> Sequence[Type] | None:
        return [self.input.type]


MY = Dialect.of("my", "operations of mine", [AbsOp])


@kernel(AbsOp, any_batch=True)
def absolute(op: AbsOp, values: Values) -> NDArray[np.floating]:
    return np.abs(values[op.input])


@kernel(AbsOp, numbers=Numbers.STORED, any_batch=True)
def absolute_of_integers(op: AbsOp, values: Values) -> NDArray[np.integer]:
    magnitudes = np.abs(values[op.input].astype(np.int64) - zero_point(op.input))
    return fast.convert_output(magnitudes, op.offset, op.scale, op.shift)


@converts(AbsOp)
def convert_abs(op: AbsOp, conversion: FunctionConversion) -> Value:
    """From floats to int8: the input's integers, and how they become those of the output."""
    stored, codes = conversion.stored(op.input, op)
    output = output_type(op)
    factor = fixed_point(codes.scale / output.scale)
    return (
        conversion.builder_at(op)
        .create(
            AbsOp,
            input=stored,
            offset=round_half_away(-output.zero_point / factor.value),
            scale=factor.multiplier,
            shift=factor.shift,
            layers=op.layers,
            result_types=[nn.tensor_type(op.output).with_element(output)],
        )
        .output
    )


@legalizes(AbsOp)
def legalize_abs(op: AbsOp, conversion: FunctionLegalization) -> Value:
    """From int8 to the SDP: the zero point is taken out, what is negative is multiplied by -1."""
    builder = conversion.builder_at(op)
    zero = zero_point(op.input)
    stage = nvdla.XStageAttr(alu="sum", alu_value=-zero, mul=True, mul_value=-1, prelu=True)
    layer = builder.create(
        nvdla.SdpOp,
        input=conversion.cube_of(op.input, op, builder),
        bs=stage,
        cvt_offset=op.offset,
        cvt_scale=op.scale,
        cvt_shift=op.shift,
        layers=op.layers,
        result_types=[op.output.type],
    )
    check_processor(layer, conversion.hw)
    return layer.output


def zero_point(value: Value) -> int:
    element = nn.storage_of(value)
    assert isinstance(element, UniformType)
    return element.zero_point
