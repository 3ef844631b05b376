"""Where an operation comes from: MLIR's location attributes, as frozen values.

Every operation has one. Locations print as ``loc(...)`` and survive a round trip.
"""

from __future__ import annotations

from attrs import frozen

from nvdla_ir.ir.attributes import Attribute, quote


@frozen
class Location:
    """Base of all locations."""

    def file_position(self) -> FileLineCol | None:
        """The first file position inside this location, or None if there is none."""
        return None


@frozen
class UnknownLoc(Location):
    """No information."""

    def __str__(self) -> str:
        return "unknown"


@frozen
class FileLineCol(Location):
    """A place in a text file; line and column count from 1."""

    file: str
    line: int
    column: int

    def file_position(self) -> FileLineCol | None:
        return self

    def __str__(self) -> str:
        return f"{quote(self.file)}:{self.line}:{self.column}"


@frozen
class NameLoc(Location):
    """A name, with the place it stands for."""

    name: str
    child: Location | None = None

    def file_position(self) -> FileLineCol | None:
        return self.child.file_position() if self.child is not None else None

    def __str__(self) -> str:
        name = quote(self.name)
        return name if self.child is None else f"{name}({self.child})"


@frozen
class CallSiteLoc(Location):
    """A place that was inlined: where it stood, and where it was called."""

    callee: Location
    caller: Location

    def file_position(self) -> FileLineCol | None:
        return self.callee.file_position() or self.caller.file_position()

    def __str__(self) -> str:
        return f"callsite({self.callee} at {self.caller})"


@frozen
class FusedLoc(Location):
    """Several locations: of an operation that was made of several. ``metadata`` is what whoever
    fused them adds."""

    locations: tuple[Location, ...]
    metadata: Attribute | None = None

    def file_position(self) -> FileLineCol | None:
        for location in self.locations:
            position = location.file_position()
            if position is not None:
                return position
        return None

    def __str__(self) -> str:
        metadata = "" if self.metadata is None else f"<{self.metadata}>"
        return f"fused{metadata}[{', '.join(map(str, self.locations))}]"


UNKNOWN = UnknownLoc()


@frozen(cache_hash=True)
class LocationAttr(Attribute):
    """``loc("file":1:2)``: a location as the value of an attribute."""

    location: Location

    def __str__(self) -> str:
        return f"loc({self.location})"


def fuse_locations(locations: list[Location]) -> Location:
    """One location for all of ``locations``: flat, without repetitions or unknowns."""
    flat: dict[Location, None] = {}
    for location in locations:
        parts: tuple[Location, ...] = (location,)
        if isinstance(location, FusedLoc) and location.metadata is None:
            parts = location.locations
        for part in parts:
            if part != UNKNOWN:
                flat[part] = None
    if not flat:
        return UNKNOWN
    return next(iter(flat)) if len(flat) == 1 else FusedLoc(tuple(flat))
