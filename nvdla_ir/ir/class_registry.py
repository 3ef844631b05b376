"""What is registered for classes of operations, where it is written: kernels, rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from nvdla_ir.ir.operation import Operation

T = TypeVar("T")

_PACKAGE = __name__.partition(".")[0]


class ClassRegistry(Generic[T]):
    """Entries by class, each of a function. A subclass without one has that of its base. Of several
    for one class the last one holds; those of the package give way to those of others, whenever
    their modules are imported."""

    def __init__(self) -> None:
        self._entries: dict[type[Operation], list[tuple[str, T]]] = {}
        self._found: dict[type[Operation], T | None] = {}

    def register(self, op_class: type[Operation], function: Callable[..., Any], entry: T) -> None:
        """Make ``entry``, of ``function``, that of ``op_class``."""
        module = function.__module__
        entries = self._entries.setdefault(op_class, [])
        own = sum(name.startswith(f"{_PACKAGE}.") for name, _ in entries)
        position = own if module.startswith(f"{_PACKAGE}.") else len(entries)
        entries.insert(position, (module, entry))
        self._found.clear()

    def find(self, op_class: type[Operation]) -> T | None:
        """The entry of ``op_class``, or of its nearest base that has one; None where none has."""
        if op_class not in self._found:
            bases = (self._entries.get(base) for base in op_class.__mro__)
            self._found[op_class] = next((found[-1][1] for found in bases if found), None)
        return self._found[op_class]

    def has_entries_of(self, module: str) -> bool:
        """Whether anything was registered in the module of this name."""
        return any(name == module for found in self._entries.values() for name, _ in found)

    def forget(self, module: str) -> None:
        """Take out what was registered in the module of this name."""
        for op_class, found in self._entries.items():
            self._entries[op_class] = [entry for entry in found if entry[0] != module]
        self._found.clear()
