"""The dependency graph of operations that run one fused group after the other. Source: loadable.md
section 3.

Each group waits until the one before has completed, all its operations: an SDP that were enabled
with its convolution still waiting would fetch the elements that it adds before they are there. So
the firmware programs a group while the one before runs, and enables it then.
"""

from __future__ import annotations

from collections.abc import Sequence

from nvdla_ir.formats.loadable.network import NONE, Kind
from nvdla_ir.formats.loadable.scheduling import Event
from nvdla_ir.formats.loadable.structures import Values

_NOBODY: Values = {"index": NONE}


def dependencies(groups: Sequence[Sequence[Kind]]) -> list[Values]:
    """The common descriptor of each operation. ``groups`` are the kinds of operations that run as
    one hardware layer, from the first in the data flow to the last; operations count through all
    groups.
    """
    consumers: list[dict[Kind, tuple[int, Event]]] = []
    parents: list[tuple[int, Event] | None] = []
    last: dict[Kind, int] = {}
    before: list[int] = []
    for group in groups:
        first = len(consumers)
        members = list(range(first, first + len(group)))
        for index, kind in zip(members, group, strict=True):
            consumers.append({})
            fused = index > first
            parents.append((index - 1, Event.ENABLED) if fused else None)
            if fused:
                consumers[index - 1][kind] = index, Event.PROGRAMMED
            if kind in last:
                # the firmware finds the operations of a kind along this chain
                consumers[last[kind]][kind] = index, Event.PROGRAMMED
            last[kind] = index
            if before:
                consumers[before[-1]][kind] = index, Event.COMPLETED
        before = members
    return _descriptors([kind for group in groups for kind in group], consumers, parents)


def heads(groups: Sequence[Sequence[Kind]]) -> list[int]:
    """The first operation of each kind, for the network descriptor."""
    kinds = [kind for group in groups for kind in group]
    return [kinds.index(kind) if kind in kinds else NONE for kind in Kind]


def _descriptors(
    kinds: Sequence[Kind],
    consumers: Sequence[dict[Kind, tuple[int, Event]]],
    parents: Sequence[tuple[int, Event] | None],
) -> list[Values]:
    counts = [0] * len(kinds)
    for index, _ in (link for links in consumers for link in links.values()):
        counts[index] += 1
    for parent in parents:
        if parent is not None:
            counts[parent[0]] += 1
    return [
        {
            "index": index,
            "op_type": kind,
            "dependency_count": counts[index],
            "consumers": [_link(consumers[index].get(other)) for other in Kind],
            "fused_parent": _link(parents[index]),
        }
        for index, kind in enumerate(kinds)
    ]


def _link(link: tuple[int, Event] | None) -> Values:
    return _NOBODY if link is None else {"index": link[0], "event": link[1]}
