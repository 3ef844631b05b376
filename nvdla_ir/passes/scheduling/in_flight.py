"""Layers in flight: enabled, and not waited for."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from attrs import define, field

from nvdla_ir.dialects.nvdla import WaitOp
from nvdla_ir.hardware.overlap import GROUPS, ends_with
from nvdla_ir.hw.look_up_tables import LookUpTables
from nvdla_ir.passes.scheduling.footprints import Footprint


@define(eq=False)
class InFlight:
    """Follows a program from layer to layer, in the order in which they are enabled."""

    layers: list[Footprint] = field(factory=list[Footprint])
    """Oldest first."""
    # The last layers of each unit, one a group.
    _users: dict[str, deque[Footprint]] = field(factory=dict[str, "deque[Footprint]"])
    _tables: dict[str, LookUpTables] = field(factory=dict[str, LookUpTables])

    def awaited_by(self, layer: Footprint) -> list[Footprint]:
        """Whose ends ``layer`` needs before it is enabled: of those that write what it reads,
        whose register groups it takes, and whose units' look-up tables it changes."""
        holders = [holder for unit in layer.units if (holder := self.holder(unit)) is not None]
        changed = self.changed_tables(layer)
        return self._with_earlier(
            lambda other: (
                other in holders or layer.needs(other) or not changed.isdisjoint(other.units)
            )
        )

    def holder(self, unit: str) -> Footprint | None:
        """Whose register group the next layer on ``unit`` takes; None where it is free."""
        users = self._users.get(unit, ())
        return users[0] if len(users) == GROUPS and users[0] in self.layers else None

    def changed_tables(self, layer: Footprint) -> set[str]:
        """The units whose look-up tables are written for ``layer``."""
        return {one.unit for one in layer.tables if self._tables.get(one.unit) != one.contents}

    def _with_earlier(self, needed: Callable[[Footprint], bool]) -> list[Footprint]:
        """Those that are ``needed``, and earlier ones that have ended by then: their interrupts
        come first."""
        found: list[Footprint] = []
        for other in reversed(self.layers):
            if needed(other) or any(ends_with(other.units, one.units) for one in found):
                found.append(other)
        return found[::-1]

    def start(self, layer: Footprint) -> None:
        """``layer`` is enabled. What held its register groups has ended by then."""
        for unit in layer.units:
            holder = self.holder(unit)
            if holder is not None:
                self.layers.remove(holder)
            self._users.setdefault(unit, deque(maxlen=GROUPS)).append(layer)
        self._tables.update((one.unit, one.contents) for one in layer.tables)
        self.layers.append(layer)

    def end(self, layer: Footprint) -> None:
        """The end of ``layer`` was waited for."""
        self.layers.remove(layer)

    def wait(self, operation: WaitOp) -> None:
        """The layer that ``operation`` names has ended; one that ended before is left as it is."""
        for layer in self.layers:
            if layer.layer.last is operation.input.defining_operation:
                self.end(layer)
                return
