"""What nvdla-opt tells of hardware layers beside the module: watched while passes run, written with
the output."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Protocol, TextIO, TypeVar

from attrs import define, field

from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.passes.base import Pass
from nvdla_ir.passes.pipeline import Instrumentation
from nvdla_ir.resources import ResourceStore

_LAST_LEVEL = "emit-registers"
"""The pass that makes registers of hardware layers."""

_T = TypeVar("_T")


class ReportWatcher(Instrumentation):
    """Watches the passes on one input for a report."""

    def finish(self, module: ModuleOp, resources: ResourceStore) -> None:
        """Add to the report, now that ``module``, with its tensors, is what all passes left.

        Raises: DiagnosticError where there was nothing to see.
        """
        raise NotImplementedError


@define(eq=False)
class AheadOfRegisters(ReportWatcher, Generic[_T]):
    """Looks at the hardware layers of a module, before they become registers."""

    _look: Callable[[ModuleOp], _T]
    _take: Callable[[_T], None]
    _found: _T | DiagnosticError | None = field(default=None, init=False)

    def before_pass(self, pass_: Pass, module: ModuleOp) -> None:
        if pass_.name == _LAST_LEVEL:
            try:
                self._found = self._look(module)
            except DiagnosticError as error:
                # the pass has its own say first
                self._found = error

    def finish(self, module: ModuleOp, resources: ResourceStore) -> None:
        found = self._look(module) if self._found is None else self._found
        if isinstance(found, DiagnosticError):
            raise found
        self._take(found)


class Report(Protocol):
    """One kind of report, on all inputs."""

    def watch(self) -> ReportWatcher:
        """For the next input."""
        ...

    def files(self) -> dict[str, str]:
        """What to write, by the names of the files."""
        ...

    def text(self, stream: TextIO) -> str:
        """What to show on ``stream``."""
        ...
