"""Fold what scales and shifts channels into the weights of the layer before it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from attrs import frozen

from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.calibrated import float_element
from nvdla_ir.dialects.layer import LayerOp, describe, layers_of
from nvdla_ir.dialects.nn import (
    BatchNormOp,
    BiasAddOp,
    ConstantOp,
    ConvOp,
    FullyConnectedOp,
    ScaleOp,
    is_fake_quantized,
)
from nvdla_ir.ir.attributes import DenseElementsAttr, DenseResourceAttr
from nvdla_ir.ir.builder import Builder, InsertionPoint
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.location import fuse_locations
from nvdla_ir.ir.operation import Operation, Value
from nvdla_ir.ir.types import F32, FloatType, TensorType
from nvdla_ir.passes.base import Pass, Session
from nvdla_ir.passes.blocks import blocks, largest_magnitudes
from nvdla_ir.passes.conditions import no_operation

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[np.float64]

Affine: TypeAlias = "BatchNormOp | ScaleOp | BiasAddOp"

_AFFINE = (BatchNormOp, ScaleOp, BiasAddOp)
_WEIGHTED = (ConvOp, FullyConnectedOp)
# Folded constants whose parts all stood in the text stay in the text up to this many elements.
_INLINE_ELEMENTS = 64


@frozen
class FoldBatchNorm(Pass):
    """Fold ``nn.batch_norm``, ``nn.scale`` and ``nn.bias_add`` into the convolution or fully
    connected layer before them.

    Before::

        %conv1 = nn.conv %data, %conv1_weight layers=["conv1"] -> tensor<1x16x32x32xf32>
        %bn1 = nn.batch_norm %conv1, %gamma, %beta, %mean, %variance layers=["bn1"]
            -> tensor<1x16x32x32xf32>

    After::

        %conv1_weight = nn.constant value=dense_resource<conv1.weight.folded> : …
        %conv1_bias = nn.constant value=dense_resource<conv1.bias.folded> : …
        %bn1 = nn.conv %data, %conv1_weight, %conv1_bias layers=["conv1", "bn1"]
            -> tensor<1x16x32x32xf32>

    With ``factor = gamma / sqrt(variance + epsilon)`` the weights of a channel are multiplied by
    its factor, and the bias becomes ``(bias - mean) * factor + beta``. A chain is folded in one
    go, in float64, and rounded to float32 once. The result has the type of the last operation of
    the chain, its calibrated range included.

    A chain whose layer's output is used elsewhere too or whose weights are integers already, or
    that follows another operation, becomes one ``nn.scale``; ``nn.batch_norm`` is gone afterwards.
    Nothing is folded across a fake-quantized tensor, whose rounding and saturation are part of the
    network.
    """

    name = "fold-batch-norm"
    ensures = (no_operation(BatchNormOp),)

    def run(self, module: ModuleOp, session: Session) -> None:
        """Faulty parameters are reported at their operation, all of them."""
        folder = _Folder(session)
        for op in list(module.walk()):
            try:
                folder.visit(op)
            except DiagnosticError as error:
                session.diagnostics.diagnostics.extend(error.diagnostics)


class _Folder:
    def __init__(self, session: Session) -> None:
        self._session = session
        self._done: set[Operation] = set()

    def visit(self, op: Operation) -> None:
        """Fold the chain that starts at ``op``, if one does. Raises: DiagnosticError"""
        if op in self._done:
            return
        if isinstance(op, _WEIGHTED):
            chain = _chain_from(op.output)
            if chain and _is_float_constant(op.weight) and _is_float_constant(op.bias):
                self._done.update(chain)
                self._fold_into(op, chain)
        elif isinstance(op, _AFFINE) and float_element(op.output) is not None:
            chain = [op, *_chain_from(op.output)]
            if len(chain) > 1 or isinstance(op, BatchNormOp):
                self._done.update(chain)
                self._merge(chain)

    def _fold_into(self, op: ConvOp | FullyConnectedOp, chain: Sequence[Affine]) -> None:
        factor, shift = self._compose(chain)
        constants = _Constants(self._session, op, chain)
        weight, bias = op.weight, op.bias
        if any(not isinstance(affine, BiasAddOp) for affine in chain):
            weight = constants.create_scaled("weight", self._constant(weight, op), factor)
        if bias is not None:
            shift = self._array(bias, op) * factor + shift
        parameters = [*op.operands[1:], *(p for affine in chain for p in affine.operands[1:])]
        op.weight = weight
        op.bias = constants.create("bias", shift, bias)
        op.layers = layers_of(op, *chain)
        op.location = fuse_locations([op.location, *(affine.location for affine in chain)])
        _take_place(chain, op.output)
        _erase_dead_constants(parameters)
        self._session.count(FoldBatchNorm.name, "folded operations", len(chain))

    def _merge(self, chain: Sequence[Affine]) -> None:
        """Make one ``nn.scale`` of a chain that follows no layer with weights."""
        factor, shift = self._compose(chain)
        constants = _Constants(self._session, chain[0], chain)
        new = constants.builder.create(
            ScaleOp,
            input=chain[0].input,
            scale=constants.create("scale", factor, None),
            bias=constants.create("bias", shift, None),
            layers=layers_of(*chain),
            location=fuse_locations([affine.location for affine in chain]),
        )
        parameters = [parameter for affine in chain for parameter in affine.operands[1:]]
        _take_place(chain, new.output)
        _erase_dead_constants(parameters)
        self._session.count(FoldBatchNorm.name, "operations made a scale", len(chain))

    def _compose(self, chain: Sequence[Affine]) -> tuple[Array, Array]:
        """What the chain multiplies a channel by, and what it adds then. Shapes: channels."""
        factor, shift = self._affine(chain[0])
        for affine in chain[1:]:
            next_factor, next_shift = self._affine(affine)
            factor, shift = factor * next_factor, shift * next_factor + next_shift
        return factor, shift

    def _affine(self, op: Affine) -> tuple[Array, Array]:
        import numpy as np

        values = [self._array(operand, op) for operand in op.operands[1:]]
        _check_finite(op, values)
        if isinstance(op, BiasAddOp):
            return np.ones_like(values[0]), values[0]
        if isinstance(op, ScaleOp):
            return values[0], values[1] if len(values) > 1 else np.zeros_like(values[0])
        gamma, beta, mean, variance = values
        spread = variance + op.epsilon
        if (wrong := np.flatnonzero((variance < 0) | (spread <= 0))).size:
            channel = int(wrong[0])
            rule = "must not be negative" if variance[channel] < 0 else "must be positive"
            raise DiagnosticError.at(
                op.location,
                f"the variance of {describe(op)} is {variance[channel]:.6g} in channel {channel}"
                f"{_others(wrong.size)}; with epsilon {op.epsilon:.6g} it {rule}",
            )
        factor = gamma / np.sqrt(spread)
        return factor, beta - mean * factor

    def _array(self, value: Value, op: LayerOp) -> Array:
        import numpy as np

        constant = self._constant(value, op)
        array = self._session.resources.elements(constant.value, constant.location)
        return array.astype(np.float64)

    def _constant(self, value: Value, op: LayerOp) -> ConstantOp:
        constant = value.defining_operation
        if not isinstance(constant, ConstantOp) or not _is_float_constant(value):
            raise DiagnosticError.at(
                op.location, f"{describe(op)} needs parameters that are constants of floats"
            )
        return constant


class _Constants:
    """Makes the new constants of one layer, before it."""

    def __init__(self, session: Session, op: LayerOp, chain: Sequence[Affine]) -> None:
        self.builder = Builder(InsertionPoint.before(op), op.location)
        self._resources = session.resources
        self._op = op
        parameters = [v for part in (op, *chain) for v in part.operands[1:]]
        definers = [value.defining_operation for value in parameters]
        self._inline = all(
            isinstance(definer, ConstantOp) and isinstance(definer.value, DenseElementsAttr)
            for definer in definers
        )

    def create(self, role: str, array: Array, replaced: Value | None) -> Value:
        """A constant with ``array`` as float32, named after the layer and its ``role`` or after
        the value it replaces. Raises: DiagnosticError where float32 is too small."""
        import numpy as np

        with np.errstate(over="ignore"):
            stored = array.astype(np.float32)
        if (wrong := np.flatnonzero(~np.isfinite(stored))).size:
            raise DiagnosticError.at(
                self._op.location,
                f"the folded {role} of {describe(self._op)} is {array.ravel()[wrong[0]]:.6g} at "
                f"element {int(wrong[0])}{_others(wrong.size)}; it must be a finite float32",
            )
        value: DenseElementsAttr | DenseResourceAttr
        if self._inline and stored.size <= _INLINE_ELEMENTS:
            # The shortest decimals that read back as the same float32.
            decimals = tuple(float(str(number)) for number in stored.ravel())
            value = DenseElementsAttr(TensorType(tuple(stored.shape), F32), decimals)
        else:
            value = self._resources.attribute_for(self._key(role), stored, F32)
        return self._constant(value, role, replaced)

    def create_scaled(self, role: str, replaced: ConstantOp, factor: Array) -> Value:
        """Like ``create``, of the elements of ``replaced`` with each row times its ``factor``."""
        import numpy as np

        old = replaced.value
        array = self._resources.elements(old, replaced.location)
        factor = np.broadcast_to(factor, len(array))
        with np.errstate(over="ignore", invalid="ignore"):
            peaks = largest_magnitudes(array.reshape(len(array), -1)) * factor
            is_finite = np.isfinite(peaks.astype(np.float32)).all()
        if isinstance(old, DenseElementsAttr) or not is_finite:
            by_channel = np.expand_dims(factor, tuple(range(1, array.ndim)))
            return self.create(role, array * by_channel, replaced.output)
        value = self._resources.derive(
            self._key(role),
            TensorType(tuple(array.shape), F32),
            partial(_scaled, factor=factor),
            [self._resources.tensor(old, replaced.location)],
            self._op.location,
        )
        return self._constant(value, role, replaced.output)

    def _key(self, role: str) -> str:
        op = self._op
        return f"{op.layers[0] if op.layers else op.results[0].name_hint or op.name}.{role}.folded"

    def _constant(
        self, value: DenseElementsAttr | DenseResourceAttr, role: str, replaced: Value | None
    ) -> Value:
        constant = self.builder.create(ConstantOp, value=value)
        hint = self._op.results[0].name_hint
        named = replaced.name_hint if replaced is not None else None
        constant.output.name_hint = named or (hint and f"{hint}_{role}")
        return constant.output


def _scaled(weights: NDArray[np.floating], factor: Array) -> Iterator[NDArray[np.float32]]:
    """The rows times their factors, in float64, rounded once."""
    import numpy as np

    rows = weights.reshape(len(weights), -1)
    for block in blocks(*rows.shape):
        yield np.multiply(rows[block], factor[block[0], None]).astype(np.float32)


def _chain_from(value: Value) -> list[Affine]:
    """The scaling and shifting operations that follow one another, each the only user of what
    comes before. What is rounded and saturated between ends the chain."""
    chain: list[Affine] = []
    while (
        value.has_one_use and float_element(value) is not None and not is_fake_quantized(value.type)
    ):
        user = value.users[0]
        if not isinstance(user, _AFFINE) or user.input is not value:
            break
        if not all(map(_is_float_constant, user.operands[1:])):
            break
        chain.append(user)
        value = user.output
    return chain


def _is_float_constant(value: Value | None) -> bool:
    """Whether ``value`` is a constant of floats, or absent."""
    if value is None:
        return True
    is_float = isinstance(value.type, TensorType) and isinstance(value.type.element, FloatType)
    return is_float and isinstance(value.defining_operation, ConstantOp)


def _take_place(chain: Sequence[Affine], new: Value) -> None:
    """Let ``new`` be what the chain computes, under its name and type, and erase the chain."""
    last = chain[-1].output
    new.type = last.type
    new.name_hint = last.name_hint
    last.replace_all_uses_with(new)
    for affine in reversed(chain):
        affine.erase()


def _erase_dead_constants(values: Iterable[Value]) -> None:
    for constant in {value.defining_operation for value in values}:
        if isinstance(constant, ConstantOp) and not constant.output.is_used:
            constant.erase()


def _check_finite(op: Affine, values: Sequence[Array]) -> None:
    import numpy as np

    names = [field.name for field in op.definition.operands[1:]]
    for name, array in zip(names, values, strict=False):
        if (wrong := np.flatnonzero(~np.isfinite(array))).size:
            channel = int(wrong[0])
            raise DiagnosticError.at(
                op.location,
                f"the {name} of {describe(op)} is {array[channel]} in channel {channel}"
                f"{_others(wrong.size)}; it must be finite",
            )


def _others(count: int) -> str:
    """How many more channels are at fault."""
    return f" (and {count - 1} more)" if count > 1 else ""
