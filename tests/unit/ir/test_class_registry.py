"""What is registered for classes of operations."""

from __future__ import annotations

from collections.abc import Callable

from nvdla_ir.dialects import nn
from nvdla_ir.ir.class_registry import ClassRegistry


def written_in(module: str) -> Callable[[], None]:
    def function() -> None: ...

    function.__module__ = module
    return function


def test_the_nearest_base_counts() -> None:
    registry = ClassRegistry[str]()
    registry.register(nn.ViewOp, written_in("a"), "view")
    assert registry.find(nn.ReshapeOp) == "view"
    registry.register(nn.ReshapeOp, written_in("a"), "reshape")
    assert registry.find(nn.ReshapeOp) == "reshape"
    assert registry.find(nn.FlattenOp) == "view"
    assert registry.find(nn.ReluOp) is None


def test_the_last_one_holds_and_the_package_gives_way() -> None:
    registry = ClassRegistry[str]()
    registry.register(nn.ReluOp, written_in("theirs"), "first")
    registry.register(nn.ReluOp, written_in("theirs"), "second")
    registry.register(nn.ReluOp, written_in("nvdla_ir.somewhere"), "own")
    assert registry.find(nn.ReluOp) == "second"
    assert registry.has_entries_of("theirs")
    registry.forget("theirs")
    assert registry.find(nn.ReluOp) == "own"
    assert not registry.has_entries_of("theirs")
