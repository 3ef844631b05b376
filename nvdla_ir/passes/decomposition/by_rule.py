"""The pattern that applies the rules of plug-ins."""

from __future__ import annotations

from typing import ClassVar

from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.ir.diagnostics import DiagnosticCollector, DiagnosticError
from nvdla_ir.ir.operation import Operation, Value
from nvdla_ir.ir.rewriter import PatternRewriter, RewritePattern
from nvdla_ir.passes.decomposition.rules import decomposes


class ByRule(RewritePattern[Operation]):
    """Replaces what a rule takes; of what a rule fails on, the faults are collected."""

    root: ClassVar[type[Operation] | None] = None
    benefit: ClassVar[int] = 2

    def __init__(self, hw: HardwareConfiguration | None, diagnostics: DiagnosticCollector) -> None:
        self._hw = hw
        self._diagnostics = diagnostics
        self._faulty: set[Operation] = set()

    def match_and_rewrite(self, op: Operation, rewriter: PatternRewriter) -> bool:
        rule = decomposes.find(op)
        if rule is None or op in self._faulty:
            return False
        try:
            made = rule.apply(op, rewriter, self._hw, stack_trace=self._diagnostics.stack_traces)
            if made is None:
                return False
            if not isinstance(made, Value):
                kind = type(made).__name__
                raise DiagnosticError.at(
                    op.location,
                    f"{rule} returned a '{kind}' for '{op.name}', where it takes a value, or None "
                    "for what stays",
                )
            if made.type != op.result.type:
                raise DiagnosticError.at(
                    op.location,
                    f"{rule} returned '{made.type}' for '{op.name}', which is '{op.result.type}'",
                )
        except DiagnosticError as error:
            self._diagnostics.diagnostics.extend(error.diagnostics)
            self._faulty.add(op)
            return False
        made.name_hint = op.result.name_hint
        rewriter.replace(op, [made])
        return True
