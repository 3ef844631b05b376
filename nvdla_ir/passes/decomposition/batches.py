"""Several images at once, as one after the other: the hardware's layers work on one."""

from __future__ import annotations

from nvdla_ir.dialects import nn
from nvdla_ir.dialects.calibrated import takes_calibrated_result
from nvdla_ir.dialects.func import FuncOp
from nvdla_ir.dialects.layer import layers_of
from nvdla_ir.dialects.nvdla import mark_for_host
from nvdla_ir.ir.builder import Builder, InsertionPoint
from nvdla_ir.ir.operation import Operation, Value
from nvdla_ir.ir.rewriter import PatternRewriter, RewritePattern
from nvdla_ir.ir.types import TensorType
from nvdla_ir.passes.decomposition.parts import Parts

_MATRIX_RANK = 2


def one_image_at_a_time(func: FuncOp) -> None:
    """Let ``func``, which takes batches of several images, compute one after the other; weights
    are shared. Nothing is done where a layer mixes images."""
    batch = _batch(func)
    layers = [op for op in func.body.operations if op.operands and op is not func.return_op]
    if batch is None or not all(_keeps_images_apart(op, batch) for op in layers):
        return
    returned = list(func.return_op.operands)
    images: list[list[Value]] = []
    for index in range(batch):
        mapping: dict[Value, Value] = {}
        builder = Builder(InsertionPoint.before(func.return_op))
        for argument in func.body.arguments:
            part = builder.create(nn.SliceOp, input=argument, axis=0, start=index, size=1)
            mapping[argument] = part.output
        for op in layers:
            copy = op.clone(mapping)
            for result in copy.results:
                result.type = _of_one(result)
            func.body.insert_before(copy, func.return_op)
        images.append([mapping[value] for value in returned])
    joined: list[Value] = []
    for index, value in enumerate(returned):
        producer = value.defining_operation
        builder = Builder(InsertionPoint.before(func.return_op), func.location)
        batch_op = builder.create(
            nn.ConcatOp,
            inputs=[results[index] for results in images],
            axis=0,
            layers=layers_of(producer),
            result_types=[value.type],
        )
        batch_op.output.name_hint = value.name_hint
        if producer is not None and not takes_calibrated_result(producer):
            mark_for_host(batch_op)  # as what it joins
        joined.append(batch_op.output)
    func.return_op.set_operands(joined)
    for op in reversed(layers):
        op.erase()


def _batch(func: FuncOp) -> int | None:
    """How many images all arguments have; None where they have one, or not equally many."""
    extents = {
        type.static_shape[0]
        if isinstance(type := argument.type, TensorType)
        and type.has_static_shape
        and len(type.shape) >= _MATRIX_RANK
        else 1
        for argument in func.body.arguments
    }
    return extents.pop() if len(extents) == 1 and extents != {1} else None


def _keeps_images_apart(op: Operation, batch: int) -> bool:
    """Whether each image of the results is made of the same image of the operands."""
    values = [value for value in op.operands if not _is_constant(value)]
    if not op.name.startswith("nn.") or op.regions:
        return False
    if not all(_leading(value) == batch for value in (*values, *op.results)):
        return False
    if isinstance(op, nn.TransposeOp):
        return op.permutation[0] == 0
    if isinstance(op, nn.BinaryOp) and _is_constant(op.rhs):
        rank = len(nn.shape_of(op.lhs))
        return len(nn.shape_of(op.rhs)) < rank or _leading(op.rhs) == 1
    constants = [value for value in op.operands if _is_constant(value)]
    if isinstance(op, nn.ConcatOp | nn.InterleaveOp) and constants:
        return False
    axis = getattr(op, "axis", 1)
    return axis is None or axis > 0


def _is_constant(value: Value) -> bool:
    return isinstance(value.defining_operation, nn.ConstantOp)


def _leading(value: Value) -> int | None:
    shape = nn.shape_of(value) if isinstance(value.type, TensorType) else ()
    return shape[0] if shape else None


def _of_one(value: Value) -> TensorType:
    type = nn.tensor_type(value)
    return TensorType((1, *type.static_shape[1:]), type.element)


class RowsOfMatrix(RewritePattern[nn.FullyConnectedOp]):
    """A fully connected layer of several rows computes one after the other."""

    root = nn.FullyConnectedOp

    def match_and_rewrite(self, op: nn.FullyConnectedOp, rewriter: PatternRewriter) -> bool:
        rows = nn.shape_of(op.input)[0]
        if rows == 1:
            return False
        parts = Parts(op, rewriter, op.layers)
        element = nn.tensor_type(op.output).element
        results = [
            parts.create(
                nn.FullyConnectedOp,
                element,
                input=parts.sliced(op.input, 0, row, row + 1),
                weight=op.weight,
                bias=op.bias,
            )
            for row in range(rows)
        ]
        parts.replace(parts.joined(results, 0))
        return True
