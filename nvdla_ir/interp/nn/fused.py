"""A convolution together with what follows it: what scales and shifts its channels goes into its
weights, once; an addition and a limit are computed in place while the result is in the cache."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from nvdla_ir.dialects import nn
from nvdla_ir.interp.nn import blocks, windows
from nvdla_ir.interp.nn.weighted import factor_and_summand
from nvdla_ir.interp.quantization import dtype_of
from nvdla_ir.interp.registry import Values, fusion
from nvdla_ir.ir.operation import Operation, Value

Array = NDArray[Any]
_AFFINE = (nn.BatchNormOp, nn.ScaleOp, nn.BiasAddOp)


@frozen(eq=False)
class _Folded:
    """The weights [K, C/groups, R, S] and the summand a channel of a chain."""

    weight: Array
    summand: Array | None


def _absorbs(chain: Sequence[Operation], op: Operation) -> bool:
    """Whether ``chain`` (a convolution, ``[affine …] [add]``) can go on with ``op``: an affine
    layer of constants, an addition of an equal shape, and at the end a limit."""
    value, last = chain[-1].results[0], chain[-1]
    if isinstance(last, nn.ReluOp | nn.ClipOp) or not _same_floats(value, op.results[0]):
        return False
    if isinstance(op, _AFFINE):
        constants = [*chain[0].operands[1:], *op.operands[1:]]
        return not isinstance(last, nn.AddOp) and all(map(_is_constant, constants))
    if isinstance(op, nn.AddOp):
        other = op.rhs if op.lhs is value else op.lhs
        if isinstance(last, nn.AddOp) or op.broadcasts or other is value:
            return False
        return _same_floats(value, other)
    return isinstance(op, nn.ReluOp | nn.ClipOp)


def _is_constant(value: Value) -> bool:
    return isinstance(value.defining_operation, nn.ConstantOp)


def _same_floats(left: Value, right: Value) -> bool:
    return dtype_of(nn.tensor_type(left).element) == dtype_of(nn.tensor_type(right).element)


@fusion(nn.ConvOp, absorbs=_absorbs)
def convolution_chain(chain: Sequence[Operation], values: Values) -> Array:
    convolution = chain[0]
    assert isinstance(convolution, nn.ConvOp)
    folded = _folded(chain, values)
    output = windows.convolve(
        values[convolution.input],
        folded.weight,
        strides=convolution.strides,
        pads=convolution.pads,
        dilations=convolution.dilations,
        groups=convolution.groups,
    )
    addend: Array | None = None
    minimum: float | None = None
    maximum: float | None = None
    for before, op in pairwise(chain):
        if isinstance(op, nn.AddOp):
            addend = values[op.rhs if op.lhs is before.results[0] else op.lhs]
        elif isinstance(op, nn.ReluOp):
            minimum = 0.0
        elif isinstance(op, nn.ClipOp):
            minimum, maximum = op.minimum, op.maximum
    blocks.finish(output, folded.summand, addend, minimum, maximum)
    return output


def _folded(chain: Sequence[Operation], values: Values) -> _Folded:
    """The chain's weights, kept in the machine where anything had to be folded."""
    convolution = chain[0]
    assert isinstance(convolution, nn.ConvOp)
    weight: Array = values[convolution.weight]
    bias: Array | None = values.get(convolution.bias)
    affine = [op for op in chain if isinstance(op, _AFFINE)]
    if not affine:
        return _Folded(weight, bias)
    cache = values.machine.cache
    key = (convolution_chain, chain[-1])
    found = cache.get(key)
    if found is None:
        found = cache[key] = _fold(weight, bias, affine, values)
    return found


def _fold(weight: Array, bias: Array | None, affine: Sequence[Any], values: Values) -> _Folded:
    """In double precision, rounded once."""
    factor = np.ones(len(weight))
    summand = np.zeros(len(weight)) if bias is None else bias.astype(np.float64)
    for op in affine:
        if isinstance(op, nn.BiasAddOp):
            summand = summand + values[op.bias]
            continue
        scale, shift = factor_and_summand(op, values)
        factor = factor * scale
        summand = summand * scale + (0 if shift is None else shift)
    scaled = weight
    if any(not isinstance(op, nn.BiasAddOp) for op in affine):
        scaled = (weight * factor[:, None, None, None]).astype(weight.dtype)
    return _Folded(scaled, summand.astype(weight.dtype))
