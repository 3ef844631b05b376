"""Layers of two operands, element by element."""

from __future__ import annotations

from collections.abc import Iterable

from nvdla_ir.dialects.nn.base import SameShapeOp
from nvdla_ir.dialects.nn.shapes import ACTIVATION, shape_of, text_of
from nvdla_ir.ir.definition import operand, result
from nvdla_ir.ir.traits import Pure


class BinaryOp(SameShapeOp):
    """A function of the elements of ``lhs`` and ``rhs``.

    The result has the shape of ``lhs``. ``rhs`` has the same shape, or the same rank and one
    element a channel (NxCx1x1 or 1xCx1x1), or it has a single element.
    """

    lhs = operand(ACTIVATION)
    rhs = operand(ACTIVATION)
    output = result(ACTIVATION)

    @property
    def broadcasts(self) -> bool:
        """Whether an element of ``rhs`` meets several of ``lhs``."""
        return shape_of(self.lhs) != shape_of(self.rhs)

    def verify(self) -> Iterable[str]:
        left, right = shape_of(self.lhs), shape_of(self.rhs)
        if not _fits(left, right):
            ones = (1,) * (len(left) - 2)
            channels = f"one a channel ({text_of((1, left[1], *ones))}), " if ones else ""
            yield (
                f"combines shapes {text_of(left)} and {text_of(right)}, but the second must be "
                f"the same, {channels}or a single element"
            )
        yield from super().verify()


def _fits(left: tuple[int, ...], right: tuple[int, ...]) -> bool:
    if left == right:
        return True
    if len(right) > len(left):
        return False
    if all(extent == 1 for extent in right):
        return True
    return (
        len(left) == len(right) > 2
        and right[0] in (1, left[0])
        and right[1] == left[1]
        and all(extent == 1 for extent in right[2:])
    )


class AddOp(BinaryOp):
    """``lhs + rhs``: a residual connection."""

    name = "nn.add"
    traits = (Pure(),)


class SubOp(BinaryOp):
    """``lhs - rhs``"""

    name = "nn.sub"
    traits = (Pure(),)


class MulOp(BinaryOp):
    """``lhs * rhs``"""

    name = "nn.mul"
    traits = (Pure(),)


class DivOp(BinaryOp):
    """``lhs / rhs``"""

    name = "nn.div"
    traits = (Pure(),)


class MaxOp(BinaryOp):
    """``max(lhs, rhs)``"""

    name = "nn.max"
    traits = (Pure(),)


class MinOp(BinaryOp):
    """``min(lhs, rhs)``"""

    name = "nn.min"
    traits = (Pure(),)
