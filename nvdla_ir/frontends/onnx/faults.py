"""What can be wrong with a model: gathered over all nodes, equal faults told once."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define, field, frozen

from nvdla_ir.ir.diagnostics import Diagnostic, DiagnosticError
from nvdla_ir.ir.location import Location

_LISTED = 10
_DECODING = (
    "nodes that only decode what the network has found can be left to the host: "
    "'--outputs=NAME,…' imports what is before them, '--list-tensors' lists the names"
)


class UnsupportedError(Exception):
    """A node cannot be imported. The message completes "node 'x' (Conv): …" and does not name the
    node, so that equal faults of several nodes can be told together."""


@frozen
class _Place:
    name: str
    location: Location


@define
class Faults:
    """Faults by what they say, in the order in which they were found."""

    _places: dict[tuple[str, str], list[_Place]] = field(
        factory=dict[tuple[str, str], "list[_Place]"]
    )
    _others: list[Diagnostic] = field(factory=list[Diagnostic])

    def node(self, kind: str, message: str, name: str, location: Location) -> None:
        """Node ``name`` of operator ``kind`` cannot be imported because of ``message``."""
        self._places.setdefault((kind, message), []).append(_Place(name, location))

    def other(self, location: Location, message: str) -> None:
        """A fault that is no node's."""
        self._others.append(Diagnostic.error(location, message))

    def __bool__(self) -> bool:
        return bool(self._places or self._others)

    def raise_all(self) -> None:
        """Raises: DiagnosticError with one error for each different fault, if there are any."""
        errors = list(self._others)
        for (kind, message), places in self._places.items():
            names = listed([place.name for place in places])
            subject = f"node {names}" if len(places) == 1 else f"{len(places)} nodes ({names})"
            place = places[0].location
            # Said once, behind all of them.
            last = (kind, message) == next(reversed(self._places))
            notes = [Diagnostic.note(place, _DECODING)] if last else []
            errors.append(Diagnostic.error(place, f"{kind}: {message}; found at {subject}", notes))
        if errors:
            raise DiagnosticError(*errors)


def listed(names: Sequence[str]) -> str:
    """The first of ``names`` in quotes, and how many more there are."""
    shown = ", ".join(f"'{name}'" for name in names[:_LISTED])
    return f"{shown} and {len(names) - _LISTED} more" if len(names) > _LISTED else shown
