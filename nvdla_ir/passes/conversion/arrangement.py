"""Which tensors of reals need no range, and the order of layers that this takes."""

from __future__ import annotations

from collections.abc import Iterator

from nvdla_ir.dialects import nn
from nvdla_ir.dialects.calibrated import takes_calibrated_result
from nvdla_ir.dialects.func import FuncOp
from nvdla_ir.dialects.nvdla import is_on_host
from nvdla_ir.dialects.quant import DequantizeCastOp, GridType, QuantizedType, UniformType
from nvdla_ir.ir.operation import Operation, Value
from nvdla_ir.ir.types import I8
from nvdla_ir.passes.conversion.chain import WEIGHTED, Chain, grow_chain

_ROOTS = (
    *WEIGHTED,
    nn.ScaleOp,
    nn.BiasAddOp,
    nn.AddOp,
    nn.AveragePoolOp,
    nn.GlobalAveragePoolOp,
)


def arrange(func: FuncOp) -> None:
    """Give each QuantizeLinear that reads what a chain computes a chain of its own, and let a chain
    with an addition begin where the addition's other operand is there.

    What is rounded to several grids is computed once for each: the hardware writes one of them at a
    time, and from the codes of one those of another do not follow.
    """
    for chain in list(_chains(func)):
        casts = _casts(chain)
        for cast in casts[1:]:
            _round(_copy(func, chain), cast)
        if casts:
            _round(chain.operations, casts[0])
    for chain in list(_chains(func)):
        if chain.add is None:
            continue
        before = chain.operations[: chain.operations.index(chain.add)]
        if not all(_on_grid(op.results[0]) for op in before):
            for op in before:
                func.body.insert_before(op, chain.add)


def computed_inside(func: FuncOp) -> set[Operation]:
    """Layers whose results need no range: no integers are made of them before the next layer, or
    before QuantizeLinear."""
    inside: set[Operation] = set()
    for chain in _chains(func):
        inside.update(chain.operations[:-1])
        if _casts(chain):
            inside.add(chain.last)
    return inside


def _chains(func: FuncOp) -> Iterator[Chain]:
    seen: set[Operation] = set()
    for op in list(func.body.operations):
        if is_on_host(op):
            continue
        if op not in seen and takes_calibrated_result(op) and not isinstance(op, nn.ViewOp):
            chain = Chain(op, operations=[op])
            if isinstance(op, _ROOTS):
                chain = grow_chain(op, _on_grid, may_add=isinstance(op, WEIGHTED))
            seen.update(chain.operations)
            yield chain


def _on_grid(value: Value) -> bool:
    return isinstance(nn.tensor_type(value).element, GridType | QuantizedType)


def _casts(chain: Chain) -> list[nn.QuantizeOp]:
    """The readers of what ``chain`` computes, if all are casts and it is not rounded itself."""
    value = chain.last.results[0]
    casts = [user for user in value.users if isinstance(user, nn.QuantizeOp) and _is_int8(user)]
    if nn.is_fake_quantized(value.type) or len(casts) < len(value.users):
        return []
    return casts


def _is_int8(cast: nn.QuantizeOp) -> bool:
    """Whether a layer may round to the codes of ``cast`` in its place."""
    element = nn.tensor_type(cast.output).element
    as_integers = any(isinstance(user, DequantizeCastOp) for user in cast.output.users)
    return isinstance(element, UniformType) and element.storage == I8 and not as_integers


def _copy(func: FuncOp, chain: Chain) -> list[Operation]:
    mapping: dict[Value, Value] = {}
    copies = [op.clone(mapping) for op in chain.operations]
    for copy in copies:
        func.body.insert_before(copy, chain.last)
    return copies


def _round(operations: list[Operation], cast: nn.QuantizeOp) -> None:
    """Let the last of ``operations`` round to the codes of ``cast``, which goes."""
    element = nn.tensor_type(cast.output).element
    assert isinstance(element, UniformType)
    result = operations[-1].results[0]
    result.type = nn.tensor_type(result).with_element(nn.FakeQuantizedType.of(element))
    cast.output.replace_all_uses_with(result)
    cast.erase()
