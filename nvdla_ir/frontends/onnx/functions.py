"""Functions that a model brings along: put in where they are called."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, TypeAlias

from nvdla_ir.frontends.onnx.faults import listed

if TYPE_CHECKING:
    from onnx import FunctionProto, ModelProto, NodeProto

LARGEST_EXPANSION = 1_000_000
"""A model has at most this many nodes after its functions are put in."""

_Name: TypeAlias = "tuple[str, str, str]"


class FunctionError(ValueError):
    """The functions cannot be put in: completes "the model …"."""


def with_functions_put_in(model: ModelProto) -> ModelProto:
    """``model`` without functions of its own.

    Raises: FunctionError where they call themselves, make too many nodes of few, or are garbled.
    """
    import onnx
    import onnx.inliner

    if not model.functions:
        return model
    _check_expansion(model)
    try:
        return onnx.inliner.inline_local_functions(model)
    except (RuntimeError, ValueError, TypeError, onnx.checker.ValidationError) as error:
        raise FunctionError(f"has functions that cannot be put in: {error}") from error


def _check_expansion(model: ModelProto) -> None:
    """Raises: FunctionError"""
    functions = {
        _key(function.domain, function.name, function): function for function in model.functions
    }
    sizes: dict[_Name, int] = {}
    # Depth first, without recursion: calls may be thousands deep.
    for first in functions:
        path: dict[_Name, Iterator[_Name]] = {}
        _enter(path, first, functions)
        while path:
            name = next(reversed(path))
            called = next((c for c in path[name] if c not in sizes), None)
            if called is None:
                del path[name]
                sizes[name] = _expanded(functions[name].node, sizes)
            elif called in path:
                names = list(path)
                names = names[names.index(called) :]
                cycle = [f"{domain}.{op_type}" for domain, op_type, _ in names]
                raise FunctionError(f"has functions that call themselves: {listed(cycle)}")
            else:
                _enter(path, called, functions)
    count = _expanded(model.graph.node, sizes)
    if count > LARGEST_EXPANSION:
        raise FunctionError(
            f"has {count} nodes when its functions are put in, but at most {LARGEST_EXPANSION} are "
            "read"
        )


def _enter(
    path: dict[_Name, Iterator[_Name]], name: _Name, functions: dict[_Name, FunctionProto]
) -> None:
    calls = (_called(node) for node in _with_subgraphs(functions[name].node))
    path[name] = (call for call in calls if call in functions)


def _expanded(nodes: Iterable[NodeProto], sizes: dict[_Name, int]) -> int:
    return sum(sizes.get(_called(node), 1) for node in _with_subgraphs(nodes))


def _with_subgraphs(nodes: Iterable[NodeProto]) -> Iterator[NodeProto]:
    waiting = [*nodes]
    while waiting:
        node = waiting.pop()
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                waiting += graph.node


def _called(node: NodeProto) -> _Name:
    return _key(node.domain, node.op_type, node)


def _key(domain: str, name: str, proto: NodeProto | FunctionProto) -> _Name:
    # Older versions of the package know no overloads.
    overload: str = getattr(proto, "overload", "")
    return "" if domain == "ai.onnx" else domain, name, overload
