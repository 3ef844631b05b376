"""Passes and pipelines.

A pass is a frozen attrs class whose fields are its options:

    @frozen
    class QuantizeWeights(Pass):
        '''What it does, with IR before and after.'''

        name = "quantize-weights"
        granularity: str = option("per-channel", choices=("per-channel", "per-tensor"),
                                  help="one scale a tensor or one an output channel")

        def run(self, module: ModuleOp, session: Session) -> None: ...
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

import attrs
from attrs import define, field, frozen

from nvdla_ir.dialects import default_context
from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.ir.diagnostics import Diagnostic, DiagnosticCollector, DiagnosticError
from nvdla_ir.ir.dialect import Context
from nvdla_ir.ir.location import Location
from nvdla_ir.resources import ResourceStore


@define(eq=False)
class Session:
    """What passes share while a module is compiled.

    resources:   the tensors that ``dense_resource<…>`` attributes refer to
    diagnostics: where remarks, warnings and errors go; errors end the pass that reports them
    statistics:  counts by pass and name, shown by --mlir-pass-statistics
    context:     the dialects that are known
    """

    resources: ResourceStore
    diagnostics: DiagnosticCollector = field(factory=DiagnosticCollector)
    statistics: dict[str, dict[str, int]] = field(factory=dict[str, dict[str, int]])
    context: Context = field(factory=default_context)

    def count(self, pass_name: str, what: str, amount: int = 1) -> None:
        counts = self.statistics.setdefault(pass_name, {})
        counts[what] = counts.get(what, 0) + amount


def option(default: Any = attrs.NOTHING, *, help: str, choices: Sequence[str] | None = None) -> Any:
    """A pass option: a field whose type is str, int, float or bool. Without a default it must
    be given. Underscores in the field's name are written as dashes."""
    metadata: dict[str, object] = {"help": help}
    if choices is not None:
        metadata["choices"] = tuple(choices)
    return field(default=default, metadata=metadata)


@frozen
class Condition:
    """Something that must hold of a module before or after a pass.

    ``violations`` gives a place and a sentence for each fault.
    """

    description: str
    violations: Callable[[ModuleOp], Iterable[tuple[Location, str]]]


@frozen
class Tolerance:
    """How far a tensor of reals may be from what it was before a pass: ``relative`` to its largest
    magnitude, and where it has become integers ``steps`` of these more. ``by_layer``: computed of
    what the layers ahead of it have become."""

    relative: float = 0.0
    steps: float = 0.0
    by_layer: bool = False


ROUNDING = Tolerance(1e-4)
"""Of sums of float32 in another order."""


@frozen
class Pass:
    """Base of all passes.

    name:     as written on the command line and in pipelines
    subject:  what it works on; where that is missing though it cannot be meant, the pipeline warns
              and leaves the module as it is
    requires: what must hold before; the pipeline checks it and says which pass is missing
    ensures:  what holds afterwards; the pipeline checks it, a fault is the pass's own
    tolerance: by how much it may change the reals that a module computes; integers never
    """

    name: ClassVar[str]
    subject: ClassVar[Condition | None] = None
    requires: ClassVar[tuple[Condition, ...]] = ()
    ensures: ClassVar[tuple[Condition, ...]] = ()
    tolerance: ClassVar[Tolerance] = ROUNDING

    def run(self, module: ModuleOp, session: Session) -> None:
        """Rewrite ``module`` in place. Faults of the input go to ``session.diagnostics`` (all of
        them) or are raised as DiagnosticError."""
        raise NotImplementedError


def check_conditions(conditions: Iterable[Condition], module: ModuleOp, explanation: str) -> None:
    """Raises: DiagnosticError with every violation; ``explanation`` starts each message."""
    faults = [
        Diagnostic.error(location, f"{explanation}: {message}")
        for condition in conditions
        for location, message in condition.violations(module)
    ]
    if faults:
        raise DiagnosticError(*faults)
