"""Faults of a file, gathered before they are told."""

from __future__ import annotations

from attrs import define, field

from nvdla_ir.ir.diagnostics import Diagnostic, DiagnosticError
from nvdla_ir.ir.location import Location

_MOST = 20
"""Garbled files have the same fault thousands of times."""


@define
class Faults:
    """What is wrong at one location."""

    location: Location
    messages: list[str] = field(factory=list[str])

    def add(self, message: str) -> None:
        self.messages.append(message)

    def require(self, holds: bool, message: str) -> None:
        """Note ``message`` unless it ``holds``."""
        if not holds:
            self.add(message)

    def raise_if_any(self) -> None:
        """Raises: DiagnosticError with what was found, the first ones if there is a lot."""
        if not self.messages:
            return
        shown = self.messages[:_MOST]
        if len(self.messages) > _MOST:
            shown.append(f"and {len(self.messages) - _MOST} more faults")
        raise DiagnosticError(*(Diagnostic.error(self.location, text) for text in shown))
