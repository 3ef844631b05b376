"""The SSA names that are visible while parsing."""

from __future__ import annotations

from nvdla_ir.ir.diagnostics import Diagnostic, DiagnosticCollector
from nvdla_ir.ir.location import UNKNOWN, Location
from nvdla_ir.ir.operation import Value
from nvdla_ir.ir.types import NoneType


class Scope:
    """Names of values, region by region.

    A use of a name that is not defined yet gets a stand-in value, so that parsing can go on and
    all such uses are reported together, each as what it is: too early, or of nothing.
    """

    def __init__(self, diagnostics: DiagnosticCollector) -> None:
        self._diagnostics = diagnostics
        self.values: dict[str, Value] = {}
        self._locations: dict[str, Location] = {}
        self._regions: list[list[str]] = [[]]
        self._undefined: dict[str, list[Location]] = {}

    @property
    def depth(self) -> int:
        return len(self._regions)

    def open_region(self) -> None:
        self._regions.append([])

    def close_region(self) -> None:
        for name in self._regions.pop():
            del self.values[name]
            del self._locations[name]
        if len(self._regions) == 1:
            self.report_undefined()

    def define(self, name: str, value: Value, location: Location) -> None:
        if name in self.values:
            self._diagnostics.error(
                location,
                f"redefinition of value '%{name}'",
                [Diagnostic.note(self._locations[name], "previously defined here")],
            )
            return
        early = self._undefined.pop(name, None)
        if early is not None:
            for use in early:
                self._diagnostics.error(
                    use,
                    f"value '%{name}' is used before its definition",
                    [Diagnostic.note(location, "defined here")],
                )
        self.values[name] = value
        self._locations[name] = location
        self._regions[-1].append(name)

    def stand_in(self, name: str, location: Location) -> Value:
        """A value for a use of the undefined ``name``; the fault is reported later."""
        self._undefined.setdefault(name, []).append(location)
        return Value(NoneType())

    def report_undefined(self) -> None:
        for name, uses in self._undefined.items():
            for location in uses:
                self._diagnostics.error(location, f"use of undefined value '%{name}'")
        self._undefined.clear()

    def location_of(self, name: str) -> Location:
        return self._locations.get(name, UNKNOWN)
