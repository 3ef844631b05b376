"""Refusals: errors about what a network asks of the hardware, and the host could do."""

from __future__ import annotations

from attrs import frozen

from nvdla_ir.ir.diagnostics import Diagnostic, DiagnosticError, Severity
from nvdla_ir.ir.location import Location


@frozen
class Refusal(Diagnostic):
    """The hardware does not do a layer. With ``fallback=host`` of ``insert-converters`` it becomes
    a remark.

    reason: the message without this way out
    """

    reason: str = ""

    @staticmethod
    def of(location: Location, reason: str) -> Refusal:
        """Complete sentences: what is asked, the limit, the value, and what else would help."""
        message = f"{reason}. With 'fallback=host' of 'insert-converters' the host computes it"
        return Refusal(Severity.ERROR, location, message, (), reason)


def refused(location: Location, *reasons: str) -> DiagnosticError:
    """An error with a refusal for each of ``reasons``."""
    return DiagnosticError(*(Refusal.of(location, reason) for reason in reasons))
