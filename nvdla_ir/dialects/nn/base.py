"""The bases of the nn dialect's layers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from nvdla_ir.dialects.layer import LayerOp
from nvdla_ir.dialects.nn.shapes import (
    ACTIVATION,
    like,
    shape_faults,
    shape_of,
    tensor_type,
)
from nvdla_ir.ir.definition import operand, result
from nvdla_ir.ir.types import Type


class NNOp(LayerOp):
    """A layer."""

    verified_by_signature = True


class RearrangementOp(NNOp):
    """The elements of ``input``, each once, in other places. Nothing is computed: the range of the
    result is that of the input."""

    input = operand(ACTIVATION)
    output = result(ACTIVATION)


class SameShapeOp(NNOp):
    """The result has the shape of the first operand."""

    def infer_result_types(self) -> Sequence[Type] | None:
        return like(self.operands[0], shape_of(self.operands[0]))

    def verify(self) -> Iterable[str]:
        shape = tensor_type(self.operands[0]).shape
        yield from shape_faults(self.results[0], [e if e is not None else -1 for e in shape])

    def channels(self) -> int:
        """The extent along axis 1, or the only one."""
        shape = shape_of(self.operands[0])
        return shape[min(1, len(shape) - 1)]
