"""Functions and rearrangements that networks write as several layers, made one operation.

Values stay the same but for the rounding of float32: a sigmoid and a product are exactly a swish,
other forms differ by some units in the last place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, TypeVar

from nvdla_ir.dialects.layer import LayerOp, layers_of
from nvdla_ir.dialects.nn.activations import PowerOp
from nvdla_ir.dialects.nn.constants import splat_of
from nvdla_ir.dialects.nn.elementwise import AddOp, MulOp
from nvdla_ir.dialects.nn.layers import BiasAddOp, ScaleOp
from nvdla_ir.dialects.nn.rearrangement import ChannelShuffleOp, DepthToSpaceOp, SpaceToDepthOp
from nvdla_ir.dialects.nn.shapes import shape_of
from nvdla_ir.dialects.nn.structure import ReshapeOp, TransposeOp
from nvdla_ir.dialects.nn.types import is_fake_quantized
from nvdla_ir.dialects.nn.unary import (
    ClipOp,
    ErfOp,
    GeluOp,
    HardSigmoidOp,
    HardSwishOp,
    MishOp,
    ReluOp,
    SigmoidOp,
    SoftplusOp,
    SwishOp,
    TanhOp,
    UnaryOp,
)
from nvdla_ir.dialects.quant import is_quantized
from nvdla_ir.ir.location import fuse_locations
from nvdla_ir.ir.operation import Operation, Value
from nvdla_ir.ir.rewriter import PatternRewriter, RewritePattern
from nvdla_ir.ir.types import TensorType, Type

OperationT = TypeVar("OperationT", bound=Operation)
Replacement: TypeAlias = "tuple[type[LayerOp], dict[str, Any]]"

# Constants are floats of 32 bits, and some are written with few digits.
_TOLERANCE = 1e-5


def replace_by(
    op: LayerOp,
    inner: Sequence[Operation],
    rewriter: PatternRewriter,
    op_class: type[LayerOp],
    **fields: Any,
) -> None:
    """Let an ``op_class`` take the place of ``op``. It does the work of ``inner``, in that order,
    as well: those of them that nothing else reads are erased."""
    new = rewriter.create(
        op_class,
        layers=layers_of(*inner, op),
        location=fuse_locations([*(part.location for part in inner), op.location]),
        result_types=[op.results[0].type],
        discardable=dict(op.discardable_attributes()),
        **fields,
    )
    new.results[0].name_hint = op.results[0].name_hint
    rewriter.replace(op, new)
    for part in reversed(inner):
        if not part.results[0].is_used:
            rewriter.erase(part)


def is_passing(value: Value) -> bool:
    """Whether ``value`` may go away between two layers: nothing rounds it, and no integers are tied
    to its scale."""
    element = value.type.element if isinstance(value.type, TensorType) else None
    return not is_fake_quantized(value.type) and element is not None and not is_quantized(element)


def loses_nothing(inner: Operation, op: Operation) -> bool:
    """Whether the element type stays the same, or is a float all along: a change between
    quantized types would be lost with the operation that makes it. Where the inner layer rounds
    and saturates, the outer one must do the same: what these layers do to codes makes codes, so
    that once is enough."""
    if is_fake_quantized(inner.results[0].type):
        return _element(inner.results[0]) == _element(op.results[0])
    elements = {
        _element(value) for part in (inner, op) for value in (part.operands[0], part.results[0])
    }
    return len(elements) == 1 or not any(map(is_quantized, elements))


def _element(value: Value) -> Type:
    return value.type.element if isinstance(value.type, TensorType) else value.type


class _Trace:
    """Looks back over operations, and remembers which it has met."""

    def __init__(self, rewriter: PatternRewriter) -> None:
        self._rewriter = rewriter
        self.met: dict[Operation, None] = {}

    def back(self, value: Value, op_class: type[OperationT]) -> OperationT | None:
        """The ``op_class`` that makes ``value``."""
        op = value.defining_operation
        if not isinstance(op, op_class) or not is_passing(value):
            return None
        self.met[op] = None
        return op

    def scaled(self, value: Value) -> tuple[Value, float] | None:
        """What ``value`` is a multiple of, and the factor."""
        op = self.back(value, ScaleOp)
        if op is None or op.bias is not None:
            return None
        factor = splat_of(op.scale, self._rewriter.tensors)
        return None if factor is None else (op.input, factor)

    def raised(self, value: Value, number: float) -> Value | None:
        """``x`` where ``value`` is ``x + number``."""
        op = self.back(value, BiasAddOp)
        if op is not None and _near(splat_of(op.bias, self._rewriter.tensors), number):
            return op.input
        return None

    def factors(self, op: MulOp | ScaleOp) -> tuple[float, list[Value]]:
        """The product that ``op`` makes as a number and values, through products that it alone
        reads."""
        number = 1.0
        values: list[Value] = []
        if isinstance(op, ScaleOp):
            found = None if op.bias is not None else splat_of(op.scale, self._rewriter.tensors)
            if found is None:
                return 1.0, []
            number, operands = found, [op.input]
        elif op.broadcasts:
            return 1.0, []
        else:
            operands = [op.lhs, op.rhs]
        for value in operands:
            inner = value.defining_operation
            if (
                isinstance(inner, MulOp | ScaleOp)
                and value.has_one_use
                and is_passing(value)
                and (part := self.factors(inner))[1]
            ):
                number *= part[0]
                values += part[1]
                self.met[inner] = None
            else:
                values.append(value)
        return number, values


def _near(number: float | None, expected: float) -> bool:
    return number is not None and math.isclose(number, expected, rel_tol=_TOLERANCE)


# -------------------------------------------------------------- x * gate(x)


def _swish(trace: _Trace, x: Value, gate: Value, number: float) -> Replacement | None:
    op = trace.back(gate, SigmoidOp)
    if op is None or number != 1:
        return None
    if op.input is x:
        return SwishOp, {}
    scaled = trace.scaled(op.input)
    if scaled is None or scaled[0] is not x:
        return None
    return SwishOp, {"alpha": scaled[1]}


def _hard_swish(trace: _Trace, x: Value, gate: Value, number: float) -> Replacement | None:
    op = trace.back(gate, HardSigmoidOp)
    if op is not None:
        fits = _near(op.alpha, 1 / 6) and _near(op.beta, 0.5) and number == 1
        return (HardSwishOp, {}) if op.input is x and fits else None
    fits = _near(number, 1 / 6) and _shifted_relu6(trace, gate) is x
    return (HardSwishOp, {}) if fits else None


def _shifted_relu6(trace: _Trace, value: Value) -> Value | None:
    """``x`` where ``value`` is ``clip(x + 3, 0, 6)``."""
    op = trace.back(value, ClipOp)
    if op is None or op.minimum != 0 or not _near(op.maximum, 6):
        return None
    return trace.raised(op.input, 3.0)


def _mish(trace: _Trace, x: Value, gate: Value, number: float) -> Replacement | None:
    op = trace.back(gate, TanhOp)
    inner = None if op is None else trace.back(op.input, SoftplusOp)
    return (MishOp, {}) if inner is not None and inner.input is x and number == 1 else None


def _gelu(trace: _Trace, x: Value, gate: Value, number: float) -> Replacement | None:
    if not _near(number, 0.5):
        return None
    function = trace.raised(gate, 1.0)
    if function is None:
        return None
    op = trace.back(function, ErfOp)
    if op is not None:
        scaled = trace.scaled(op.input)
        fits = scaled is not None and scaled[0] is x and _near(scaled[1], math.sqrt(0.5))
        return (GeluOp, {}) if fits else None
    tangent = trace.back(function, TanhOp)
    scaled = None if tangent is None else trace.scaled(tangent.input)
    if scaled is None or not _near(scaled[1], math.sqrt(2 / math.pi)):
        return None
    total = trace.back(scaled[0], AddOp)
    if total is None or total.broadcasts:
        return None
    for first, second in ((total.lhs, total.rhs), (total.rhs, total.lhs)):
        cubic = trace.scaled(second) if first is x else None
        if cubic is not None and _near(cubic[1], 0.044715) and _is_cube(trace, cubic[0], x):
            return GeluOp, {"approximate": "tanh"}
    return None


def _is_cube(trace: _Trace, value: Value, x: Value) -> bool:
    power = trace.back(value, PowerOp)
    if power is not None:
        return power.input is x and (power.power, power.scale, power.shift) == (3, 1, 0)
    product = trace.back(value, MulOp)
    return product is not None and trace.factors(product) == (1.0, [x, x, x])


_GATES: Sequence[Callable[[_Trace, Value, Value, float], Replacement | None]] = (
    _swish,
    _hard_swish,
    _mish,
    _gelu,
)


def _rewrite_gated(op: MulOp | ScaleOp, rewriter: PatternRewriter) -> bool:
    trace = _Trace(rewriter)
    number, values = trace.factors(op)
    if len(values) != 2:
        return False
    product = list(trace.met)
    for x, gate in (values, values[::-1]):
        for gated in _GATES:
            trace.met = dict.fromkeys(product)
            found = gated(trace, x, gate, number)
            if found is not None:
                op_class, fields = found
                order = _in_order(trace.met)
                replace_by(op, order, rewriter, op_class, input=x, **fields)
                return True
    return False


def _in_order(operations: Sequence[Operation] | dict[Operation, None]) -> list[Operation]:
    """Operations of one block as they stand there."""
    first = next(iter(operations), None)
    if first is None or first.parent is None:
        return []
    return [op for op in first.parent.operations if op in operations]


class GatedProduct(RewritePattern[MulOp]):
    """``x * gate(x)``: swish, hard swish, mish."""

    root = MulOp

    def match_and_rewrite(self, op: MulOp, rewriter: PatternRewriter) -> bool:
        return _rewrite_gated(op, rewriter)


class ScaledGatedProduct(RewritePattern[ScaleOp]):
    """``number * x * gate(x)``: GELU, and hard swish that is divided last."""

    root = ScaleOp

    def match_and_rewrite(self, op: ScaleOp, rewriter: PatternRewriter) -> bool:
        return _rewrite_gated(op, rewriter)


class SixthOfShiftedRelu6(RewritePattern[ScaleOp]):
    """``clip(x + 3, 0, 6) / 6`` is a hard sigmoid."""

    root = ScaleOp

    def match_and_rewrite(self, op: ScaleOp, rewriter: PatternRewriter) -> bool:
        if op.bias is not None or not _near(splat_of(op.scale, rewriter.tensors), 1 / 6):
            return False
        trace = _Trace(rewriter)
        x = _shifted_relu6(trace, op.input)
        if x is None:
            return False
        order = _in_order(trace.met)
        replace_by(op, order, rewriter, HardSigmoidOp, input=x, alpha=1 / 6, beta=0.5)
        return True


# -------------------------------------------------------------- limits


class ClipOfClip(RewritePattern[UnaryOp]):
    """Limits behind limits, as Max and Min make them."""

    root = UnaryOp

    def match_and_rewrite(self, op: UnaryOp, rewriter: PatternRewriter) -> bool:
        inner = op.input.defining_operation
        if (
            not isinstance(op, _LIMITS)
            or not isinstance(inner, _LIMITS)
            or not loses_nothing(inner, op)
        ):
            return False
        outer_low, outer_high = _limits(op)
        low, high = (min(max(limit, outer_low), outer_high) for limit in _limits(inner))
        if (low, high) == (0, math.inf):
            replace_by(op, [inner], rewriter, ReluOp, input=inner.input)
        else:
            minimum = None if low == -math.inf else low
            maximum = None if high == math.inf else high
            fields = {"minimum": minimum, "maximum": maximum}
            replace_by(op, [inner], rewriter, ClipOp, input=inner.input, **fields)
        return True


_LIMITS = (ClipOp, ReluOp)


def _limits(op: ClipOp | ReluOp) -> tuple[float, float]:
    if isinstance(op, ReluOp):
        return 0.0, math.inf
    low, high = op.minimum, op.maximum
    return -math.inf if low is None else low, math.inf if high is None else high


# -------------------------------------------------------------- reshape, transpose, reshape


class ReshapedTranspose(RewritePattern[ReshapeOp]):
    """A reshape that splits axes, a transpose and a reshape that joins them: a channel shuffle, or
    channels that become pixels, or pixels that become channels."""

    root = ReshapeOp

    def match_and_rewrite(self, op: ReshapeOp, rewriter: PatternRewriter) -> bool:
        trace = _Trace(rewriter)
        transpose = trace.back(op.input, TransposeOp)
        split = None if transpose is None else trace.back(transpose.input, ReshapeOp)
        if transpose is None or split is None:
            return False
        found = _rearrangement(
            shape_of(split.input),
            shape_of(split.output),
            transpose.permutation,
            shape_of(op.output),
        )
        if found is None:
            return False
        op_class, fields = found
        replace_by(op, [split, transpose], rewriter, op_class, input=split.input, **fields)
        return True


def _rearrangement(
    before: Sequence[int], parts: Sequence[int], order: Sequence[int], after: Sequence[int]
) -> Replacement | None:
    if len(before) < 2:
        return None
    n, channels, *rest = before
    if tuple(order[:3]) == (0, 2, 1) and tuple(after) == tuple(before):
        # The axes behind the channels may be joined or apart.
        groups = parts[1]
        kept = tuple(order[3:]) == tuple(range(3, len(parts)))
        if kept and parts[0] == n and groups * parts[2] == channels:
            return ChannelShuffleOp, {"groups": groups}
    if len(before) != 4 or len(parts) != 6 or len(after) != 4 or parts[0] != n:
        return None
    height, width = rest
    for mode, wanted in (("DCR", (0, 3, 4, 1, 5, 2)), ("CRD", (0, 1, 4, 2, 5, 3))):
        block = parts[2]
        inner = (block, block, parts[3]) if mode == "DCR" else (parts[1], block, block)
        size = (height * block, width * block)
        if (
            tuple(order) == wanted
            and tuple(parts[1:]) == (*inner, height, width)
            and tuple(after[2:]) == size
        ):
            return DepthToSpaceOp, {"block_size": block, "mode": mode}
        block = parts[3]
        inverse = tuple(wanted.index(axis) for axis in range(6))
        split = (channels, height // block, block, width // block, block)
        if tuple(order) == inverse and tuple(parts[1:]) == split and after[2] == split[1]:
            return SpaceToDepthOp, {"block_size": block, "mode": mode}
    return None


IDIOMS: Sequence[RewritePattern[Any]] = (
    GatedProduct(),
    ScaledGatedProduct(),
    SixthOfShiftedRelu6(),
    ClipOfClip(),
    ReshapedTranspose(),
)
