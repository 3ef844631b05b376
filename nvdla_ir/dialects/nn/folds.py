"""Layers folded into the weights, the padding or the constants of others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

from nvdla_ir.dialects.nn.base import NNOp
from nvdla_ir.dialects.nn.constants import elements_of, splat_of
from nvdla_ir.dialects.nn.elementwise import AddOp, BinaryOp, MaxOp, MinOp, MulOp, SubOp
from nvdla_ir.dialects.nn.idioms import is_passing, replace_by
from nvdla_ir.dialects.nn.layers import (
    BiasAddOp,
    ConstantOp,
    ConvOp,
    FullyConnectedOp,
    ScaleOp,
)
from nvdla_ir.dialects.nn.pooling import AveragePoolOp, MaxPoolOp
from nvdla_ir.dialects.nn.resampling import PadOp
from nvdla_ir.dialects.nn.shapes import shape_of, tensor_type
from nvdla_ir.dialects.nn.structure import TransposeOp, ViewOp
from nvdla_ir.dialects.nn.unary import ClipOp, HardSigmoidOp, ReluOp, SigmoidOp
from nvdla_ir.ir.operation import Operation, Value
from nvdla_ir.ir.rewriter import PatternRewriter, RewritePattern
from nvdla_ir.ir.types import F32

# -------------------------------------------------------------- constants as operands


class ConstantOperand(RewritePattern[BinaryOp]):
    """Numbers of the channels go into a scale or a bias, one limit into a clip."""

    root = BinaryOp

    def match_and_rewrite(self, op: BinaryOp, rewriter: PatternRewriter) -> bool:
        constant = op.rhs.defining_operation
        tensors = rewriter.tensors
        shape, other = shape_of(op.lhs), shape_of(op.rhs)
        if not isinstance(constant, ConstantOp) or tensors is None or len(shape) < 2:
            return False
        if isinstance(op, MaxOp | MinOp):
            limit = splat_of(op.rhs, tensors)
            if limit is None:
                return False
            side = "minimum" if isinstance(op, MaxOp) else "maximum"
            if (side, limit) == ("minimum", 0):
                replace_by(op, [], rewriter, ReluOp, input=op.lhs)
            else:
                replace_by(op, [], rewriter, ClipOp, input=op.lhs, **{side: limit})
            return True
        if not isinstance(op, AddOp | SubOp | MulOp):
            return False
        if math.prod(other) != 1 and other != (1, shape[1], *[1] * (len(shape) - 2)):
            return False
        array = elements_of(op.rhs, tensors)
        if array is None:
            return False
        import numpy as np

        numbers = np.ascontiguousarray(np.broadcast_to(array.reshape(-1), (shape[1],)))
        if isinstance(op, SubOp):
            numbers = -numbers
        stored = tensors.attribute_for(f"{op.rhs.name_hint or 'constant'}.channels", numbers, F32)
        operand = rewriter.create(ConstantOp, value=stored).output
        operand.name_hint = op.rhs.name_hint
        if isinstance(op, MulOp):
            replace_by(op, [], rewriter, ScaleOp, input=op.lhs, scale=operand)
        else:
            replace_by(op, [], rewriter, BiasAddOp, input=op.lhs, bias=operand)
        return True


# -------------------------------------------------------------- weights


class FullyConnectedOfTransposed(RewritePattern[FullyConnectedOp]):
    """The columns of the weights in the order that the elements have before the transpose."""

    root = FullyConnectedOp

    def match_and_rewrite(self, op: FullyConnectedOp, rewriter: PatternRewriter) -> bool:
        view = op.input.defining_operation
        turned = view.input if isinstance(view, ViewOp) else op.input
        transpose = turned.defining_operation
        weight = op.weight.defining_operation
        if not isinstance(transpose, TransposeOp) or not isinstance(weight, ConstantOp):
            return False
        tensors = rewriter.tensors
        order, shape = transpose.permutation, shape_of(transpose.output)
        keeps_rows = order[0] == 0 and shape_of(op.input)[0] == shape[0]
        parts: list[Operation] = [transpose, view] if isinstance(view, ViewOp) else [transpose]
        if tensors is None or not keeps_rows or not all(is_passing(p.results[0]) for p in parts):
            return False
        import numpy as np

        stored: Any = tensors.elements(weight.value, weight.location)
        rows = len(stored)
        columns: Any = stored.reshape(rows, *shape[1:])
        columns = columns.transpose(0, *(order.index(axis) for axis in range(1, len(order))))
        attribute = tensors.attribute_for(
            f"{op.weight.name_hint or 'weight'}.turned",
            np.ascontiguousarray(columns.reshape(rows, -1)),
            weight.value.type.element,
        )
        constant = rewriter.create(
            ConstantOp, value=attribute, result_types=[weight.output.type]
        ).output
        constant.name_hint = op.weight.name_hint
        replace_by(
            op,
            parts,
            rewriter,
            FullyConnectedOp,
            input=transpose.input,
            weight=constant,
            bias=op.bias,
        )
        return True


# -------------------------------------------------------------- padding


class PaddedWindows(RewritePattern[NNOp]):
    """Padding with zeros before windows that pad with zeros themselves."""

    root: ClassVar[type[Operation] | None] = NNOp

    def match_and_rewrite(self, op: NNOp, rewriter: PatternRewriter) -> bool:
        if not isinstance(op, ConvOp | MaxPoolOp | AveragePoolOp):
            return False
        pad = op.input.defining_operation
        if not isinstance(pad, PadOp) or pad.mode != "constant" or pad.value != 0:
            return False
        before, after = pad.input, pad.output
        if not is_passing(after) or tensor_type(before).element != tensor_type(after).element:
            return False
        if not isinstance(op, ConvOp) and not _pools_zeros(op, pad):
            return False
        fields: dict[str, Any] = {
            name: getattr(op, name) for name in op.definition.attributes if name != "layers"
        }
        fields["pads"] = [own + added for own, added in zip(op.pads, pad.pads, strict=True)]
        if isinstance(op, AveragePoolOp):
            fields["count_include_pad"] = True
        if isinstance(op, ConvOp):
            fields |= {"weight": op.weight, "bias": op.bias}
        replace_by(op, [pad], rewriter, type(op), input=before, **fields)
        return True


def _pools_zeros(op: MaxPoolOp | AveragePoolOp, pad: PadOp) -> bool:
    """Whether the windows' own padding does what ``pad`` does: in a mean it is counted, and no
    maximum is below zero. Pools pad less than a window."""
    pads = [own + added for own, added in zip(op.pads, pad.pads, strict=True)]
    if any(pads[side] >= op.kernel[side % 2] for side in range(4)) or any(op.ceil_extension):
        return False
    if isinstance(op, AveragePoolOp):
        return op.count_include_pad or not any(op.pads)
    return not any(op.pads) and _is_positive(pad.input)


def _is_positive(value: Value) -> bool:
    """Whether no element can be below 0."""
    op = value.defining_operation
    if isinstance(op, ClipOp):
        return op.minimum is not None and op.minimum >= 0
    return isinstance(op, ReluOp | SigmoidOp | HardSigmoidOp)


FOLDS: Sequence[RewritePattern[Any]] = (
    ConstantOperand(),
    FullyConnectedOfTransposed(),
    PaddedWindows(),
)
