"""The order in which the firmware runs a task's operations. Source: loadable.md section 3,
rubik-bdma-glb.md section 7.

The firmware knows two register groups of each kind of operation, a chain of the operations of each
kind, and counts of events that an operation waits for. It is followed step by step here, with
hardware that takes no time: of the fused groups that could finish, the one with the least index
does. What depends on the order of others is a fault of the loadable.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum

from attrs import define, field

from nvdla_ir.formats.loadable.faults import Faults
from nvdla_ir.formats.loadable.network import NONE, Kind, Network, Operation
from nvdla_ir.ir.diagnostics import DiagnosticError

_GROUPS = 2
"""Register groups of a unit: so many of its operations may be programmed."""

_PARENTS = {Kind.SDP: Kind.CONV, Kind.PDP: Kind.SDP}
"""Whose data an operation can take on the fly."""

FusedGroup = tuple[Operation, ...]
"""Operations that run as one hardware layer, from the first in the data flow to the last."""


class Event(IntEnum):
    """What an operation may wait for."""

    COMPLETED = 1
    PROGRAMMED = 2
    ENABLED = 3
    WEIGHTS_DONE = 4
    DATA_DONE = 5


_EVENTS = frozenset(map(int, Event))


def schedule(network: Network) -> list[FusedGroup]:
    """The operations in the order in which they run, fused ones together.

    Raises: DiagnosticError, that names the operations, for indices that do not exist, chains that
    turn back, operations that no chain reaches, counts that are wrong, and deadlocks.
    """
    faults = Faults(network.location)
    _check_links(network, faults)
    faults.raise_if_any()
    chains = _chains(network, faults)
    faults.raise_if_any()
    groups = _fused_groups(network, faults)
    _check_counts(network, faults)
    faults.raise_if_any()
    return _Firmware(network, chains, groups).run()


def _links(operation: Operation) -> Iterator[tuple[int, int, str]]:
    """Index, event and name of every operation that ``operation`` wakes."""
    for kind, consumer in zip(Kind, operation.dependency.each("consumers"), strict=True):
        yield consumer["index"], consumer["event"], f"its {kind.name} consumer"
    parent = operation.dependency.part("fused_parent")
    yield parent["index"], parent["event"], "its fused parent"


def _check_links(network: Network, faults: Faults) -> None:
    operations = network.operations
    for operation in operations:
        expected = [*Kind, _PARENTS.get(operation.kind)]
        for (index, event, what), kind in zip(_links(operation), expected, strict=True):
            if index == NONE:
                continue
            if not 0 <= index < len(operations):
                faults.add(
                    f"{operation.name}: {what} is {index}, but there are {len(operations)} "
                    "operations"
                )
            elif operations[index].kind != kind:
                faults.add(f"{operation.name}: {what} is {operations[index].name}")
            elif event not in _EVENTS:
                faults.add(
                    f"{operation.name}: {what} waits for event {event}, but there are 1 to 5"
                )


def _chains(network: Network, faults: Faults) -> dict[Kind, list[Operation]]:
    """The operations of each kind in their order: from the head on through the consumers."""
    chains: dict[Kind, list[Operation]] = {kind: [] for kind in Kind}
    reached: set[int] = set()
    for kind, head in zip(Kind, network.heads, strict=True):
        index = head
        while index != NONE:
            operation = network.operations[index]
            if operation.kind != kind:
                faults.add(f"the first {kind.name} operation is said to be {operation.name}")
                break
            if index in reached:
                names = ", ".join(chained.name for chained in chains[kind])
                faults.add(f"the chain of {names} leads back to {operation.name}: it never ends")
                break
            reached.add(index)
            chains[kind].append(operation)
            index = operation.dependency.each("consumers")[kind]["index"]
    lost = [operation.name for operation in network.operations if operation.index not in reached]
    if lost and not faults.messages:
        faults.add(
            f"{_listed(lost)} {'is' if len(lost) == 1 else 'are'} never reached: no head and no "
            "consumer of an operation of the same kind leads there"
        )
    return chains


def _fused_groups(network: Network, faults: Faults) -> dict[int, list[int]]:
    """The groups by each of their members, from the first in the data flow to the last."""
    groups = {operation.index: [operation.index] for operation in network.operations}
    children: dict[int, int] = {}
    for operation in sorted(network.operations, key=lambda operation: operation.kind):
        parent = operation.dependency.part("fused_parent")["index"]
        if parent == NONE:
            continue
        if parent in children:
            faults.add(
                f"{operation.name} and {network.operations[children[parent]].name} both have "
                f"{network.operations[parent].name} as fused parent"
            )
            continue
        children[parent] = operation.index
        group = groups[parent]
        group.append(operation.index)
        groups[operation.index] = group
    return groups


def _check_counts(network: Network, faults: Faults) -> None:
    """Every operation waits for as many events as others have for it."""
    named: dict[int, list[str]] = {operation.index: [] for operation in network.operations}
    for operation in network.operations:
        for index, _, _ in _links(operation):
            if index != NONE:
                named[index].append(operation.name)
    for operation in network.operations:
        count, sources = operation.dependency["dependency_count"], named[operation.index]
        if count != len(sources):
            faults.add(
                f"{operation.name} waits for {count} events, but {len(sources)} lead to it"
                f"{f': of {_listed(sources)}' if sources else ''}"
            )


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:8])
    return shown if len(names) <= 8 else f"{shown} and {len(names) - 8} more"


@define(eq=False)
class _Firmware:
    """The firmware's state during one task."""

    network: Network
    chains: dict[Kind, list[Operation]]
    groups: dict[int, list[int]]
    remaining: list[int] = field(init=False)
    programmed: set[int] = field(factory=set[int])
    enabled: set[int] = field(factory=set[int])
    # of each kind: how many operations were programmed, and how many have completed
    started: dict[Kind, int] = field(init=False)
    completed: dict[Kind, int] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.remaining = [
            operation.dependency["dependency_count"] for operation in self.network.operations
        ]
        self.started = dict.fromkeys(Kind, 0)
        self.completed = dict.fromkeys(Kind, 0)

    def run(self) -> list[FusedGroup]:
        order: list[FusedGroup] = []
        done = 0
        self._program()
        while done < len(self.network.operations):
            group = self._next()
            if group is None:
                raise self._deadlock()
            order.append(tuple(self.network.operations[index] for index in group))
            done += len(group)
            for index in group:
                self.completed[self.network.operations[index].kind] += 1
            for index in group:
                self._emit(index, Event.WEIGHTS_DONE)
                self._emit(index, Event.DATA_DONE)
                self._emit(index, Event.COMPLETED)
            self._program()
        return order

    def _program(self) -> None:
        """Fill the register groups that are free."""
        for kind, chain in self.chains.items():
            while (
                self.started[kind] < len(chain)
                and self.started[kind] - self.completed[kind] < _GROUPS
            ):
                index = chain[self.started[kind]].index
                self.started[kind] += 1
                self.programmed.add(index)
                self._emit(index, Event.PROGRAMMED)
                self._enable_if_ready(index)

    def _enable_if_ready(self, index: int) -> None:
        if self.remaining[index] == 0 and index in self.programmed and index not in self.enabled:
            self.enabled.add(index)
            self._emit(index, Event.ENABLED)

    def _emit(self, index: int, event: Event) -> None:
        for target, awaited, _ in _links(self.network.operations[index]):
            if target != NONE and awaited == event:
                self.remaining[target] -= 1
                self._enable_if_ready(target)

    def _next(self) -> list[int] | None:
        """The group that finishes next: all of it enabled, and first in their chains."""
        turns = {
            chain[self.completed[kind]].index
            for kind, chain in self.chains.items()
            if self.completed[kind] < len(chain)
        }
        ready = [
            self.groups[index]
            for index in turns
            if all(member in turns and member in self.enabled for member in self.groups[index])
        ]
        return min(ready, default=None)

    def _deadlock(self) -> DiagnosticError:
        waiting: list[str] = []
        for kind, chain in self.chains.items():
            if self.completed[kind] == len(chain):
                continue
            operation = chain[self.completed[kind]]
            count = self.remaining[operation.index]
            partners = [
                self.network.operations[member].name
                for member in self.groups[operation.index]
                if member != operation.index
            ]
            reason = f"for {count} events" if count else f"for {_listed(partners)}"
            waiting.append(f"{operation.name} waits {reason}")
        return DiagnosticError.at(
            self.network.location, f"the operations never finish: {'; '.join(waiting)}"
        )
