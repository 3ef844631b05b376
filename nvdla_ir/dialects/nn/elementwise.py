"""Layers of two operands, element by element."""

from __future__ import annotations

from collections.abc import Iterable

from nvdla_ir.dialects.nn.base import SameShapeOp
from nvdla_ir.dialects.nn.shapes import ACTIVATION, shape_of, text_of
from nvdla_ir.ir.definition import operand, result
from nvdla_ir.ir.traits import Pure


class BinaryOp(SameShapeOp):
    """A function of the elements of ``lhs`` and ``rhs``.

    The result has the shape of ``lhs``. ``rhs`` has the same shape, or the same rank and extents
    of 1 along which its elements are repeated (1xCx1x1: one a channel), or a single element.
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
            yield (
                f"combines shapes {text_of(left)} and {text_of(right)}, but each extent of the "
                "second must be that of the first or 1"
            )
        yield from super().verify()


def _fits(left: tuple[int, ...], right: tuple[int, ...]) -> bool:
    if len(left) == len(right):
        return all(extent in (1, other) for extent, other in zip(right, left, strict=True))
    return len(right) < len(left) and all(extent == 1 for extent in right)


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
