"""Which layers are computed together in the 32-bit pipeline, without int8 between."""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field

from nvdla_ir.dialects.nn import (
    AddOp,
    BiasAddOp,
    ConvOp,
    FullyConnectedOp,
    LeakyReluOp,
    PReluOp,
    ReluOp,
    ScaleOp,
    SubOp,
    is_fake_quantized,
    shape_of,
    tensor_type,
)
from nvdla_ir.dialects.nvdla import is_on_host
from nvdla_ir.ir.conversion import Replacement
from nvdla_ir.ir.operation import Operation, Value

WEIGHTED = (ConvOp, FullyConnectedOp)


@define(eq=False)
class Chain:
    """A layer and those that follow it in the pipeline: ``[scale …] [relu] [add [relu | leaky]]``,
    or ``[scale …] leaky``.

    root:          the layer that starts it
    affine:        factors and summands of the channels, behind a layer with weights
    early_relu:    a ReLU before the addition, or the only one
    leaky:         what multiplies negative numbers, at the end
    add, residual: the addition and its other operand, which is in memory already
    late_relu:     a ReLU after the addition
    """

    root: Operation
    affine: list[ScaleOp | BiasAddOp] = field(factory=list[ScaleOp | BiasAddOp])
    early_relu: ReluOp | None = None
    leaky: PReluOp | LeakyReluOp | None = None
    add: AddOp | SubOp | None = None
    residual: Value | None = None
    late_relu: ReluOp | None = None
    operations: list[Operation] = field(factory=list[Operation])

    @property
    def last(self) -> Operation:
        """The layer whose output scale the chain converts to."""
        return self.operations[-1]

    @property
    def rectifies(self) -> bool:
        """Whether negative results are clamped at the end."""
        return (self.late_relu if self.add is not None else self.early_relu) is not None

    def replaced_by(self, value: Value) -> Replacement:
        """``value`` is the result of all layers together."""
        return Replacement(value, tuple(self.operations))


def grow_chain(root: Operation, in_memory: Callable[[Value], bool], *, may_add: bool) -> Chain:
    """The longest chain from ``root``: each value inside is read by the next layer only, and a
    residual operand is one that is ``in_memory``.

    """
    chain = Chain(root, operations=[root])
    while True:
        value = chain.last.results[0]
        user = follower(chain.last)
        if user is None or chain.leaky is not None:
            return chain
        if isinstance(user, ScaleOp | BiasAddOp) and _takes_affine(chain, user):
            chain.affine.append(user)
        elif isinstance(user, ReluOp) and not chain.rectifies:
            if chain.add is None:
                chain.early_relu = user
            else:
                chain.late_relu = user
        elif isinstance(user, PReluOp | LeakyReluOp) and not chain.rectifies:
            if chain.add is not None and not has_one_slope(user):
                return chain
            chain.leaky = user
        elif isinstance(user, AddOp) and chain.add is None and may_add:
            residual = user.rhs if user.lhs is value else user.lhs
            if user.broadcasts or residual is value or not in_memory(residual):
                return chain
            chain.add, chain.residual = user, residual
        else:
            return chain
        chain.operations.append(user)


def follower(op: Operation) -> Operation | None:
    """What may go on with the result of ``op`` in the pipeline: its only reader.

    The pipeline neither rounds nor saturates between its steps, so a fake-quantized value ends the
    chain, but for a ReLU to the same codes: rectifying codes and making codes of what is rectified
    are the same.
    """
    value = op.results[0]
    if not value.has_one_use:
        return None
    user = value.users[0]
    if is_on_host(user) != is_on_host(op):
        return None
    if is_fake_quantized(value.type) and not (
        isinstance(user, ReluOp) and tensor_type(user.output).element == tensor_type(value).element
    ):
        return None
    return user


def has_one_slope(op: PReluOp | LeakyReluOp) -> bool:
    """Whether all channels have the same slope: the unit that adds an operand from memory
    multiplies by a register."""
    return isinstance(op, LeakyReluOp) or shape_of(op.slope) == (1,)


def _takes_affine(chain: Chain, user: ScaleOp | BiasAddOp) -> bool:
    """Whether the factors and summands of ``user`` go with those of the weights and the bias."""
    return (
        isinstance(chain.root, WEIGHTED)
        and user.input is chain.last.results[0]
        and chain.early_relu is None
        and chain.add is None
    )
