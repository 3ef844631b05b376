"""Runs passes one after the other, and tells what went wrong with which."""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Sequence

from attrs import field, frozen

from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.ir.crashes import crash, described
from nvdla_ir.ir.diagnostics import Diagnostic, DiagnosticCollector, DiagnosticError
from nvdla_ir.ir.operation import Operation
from nvdla_ir.ir.verifier import Signatures, verify
from nvdla_ir.passes.base import Pass, Session, check_conditions
from nvdla_ir.passes.options import specification_of
from nvdla_ir.text.pipeline_syntax import print_pipeline


class Instrumentation:
    """Watches a pipeline run; subclasses override what they care about."""

    def before_pass(self, pass_: Pass, module: ModuleOp) -> None:
        """``pass_`` is about to run."""

    def after_pass(self, pass_: Pass, module: ModuleOp) -> None:
        """``pass_`` has run, and what it left is valid."""

    def after_failure(self, pass_: Pass, module: ModuleOp) -> None:
        """``pass_`` has failed; ``module`` is as it left it and may be invalid."""


def _as_tuple(passes: Iterable[Pass]) -> tuple[Pass, ...]:
    return tuple(passes)


@frozen
class Pipeline:
    """Passes in the order in which they run.

    verify_each: verify the module after each pass
    """

    passes: tuple[Pass, ...] = field(converter=_as_tuple)
    verify_each: bool = True

    def text(self) -> str:
        """In MLIR's form; ``parse_pipeline`` reads it."""
        return print_pipeline(map(specification_of, self.passes))

    def run(
        self, module: ModuleOp, session: Session, instrumentation: Sequence[Instrumentation] = ()
    ) -> None:
        """Run all passes on the valid ``module``, in place.

        Everything reported is in ``session.diagnostics`` afterwards. Raises: DiagnosticError
        with the errors of the first pass that fails; ``module`` is then as that pass left it.
        """
        correct = Signatures()
        for pass_ in self.passes:
            for watcher in instrumentation:
                watcher.before_pass(pass_, module)
            try:
                self._run_pass(pass_, module, session, correct)
                session.diagnostics.raise_if_errors()
                session.resources.release(module)
            except DiagnosticError as error:
                reported = set(session.diagnostics.diagnostics)
                for diagnostic in error.diagnostics:
                    if diagnostic not in reported:
                        session.diagnostics.emit(diagnostic)
                for watcher in reversed(instrumentation):
                    watcher.after_failure(pass_, module)
                raise DiagnosticError(*session.diagnostics.errors) from error
            for watcher in reversed(instrumentation):
                watcher.after_pass(pass_, module)

    def _run_pass(
        self, pass_: Pass, module: ModuleOp, session: Session, correct: Signatures
    ) -> None:
        name = pass_.name
        missing = list(pass_.subject.violations(module)) if pass_.subject is not None else []
        for location, message in missing:
            session.diagnostics.warning(location, f"pass '{name}' has nothing to do: {message}")
        if missing:
            return
        check_conditions(pass_.requires, module, f"pass '{name}' cannot run")
        try:
            pass_.run(module, session)
        except (Exception, SystemExit) as error:
            # One without diagnostics says nothing of what is wrong, so it is no better than others.
            if isinstance(error, DiagnosticError) and error.diagnostics:
                raise
            stack_trace = session.diagnostics.stack_traces
            raise DiagnosticError(_crash(pass_, module, error, stack_trace)) from error
        if session.diagnostics.errors:
            return
        if self.verify_each:
            _verify_after(pass_, module, correct)
        check_conditions(pass_.ensures, module, f"pass '{name}' is at fault")


def _verify_after(pass_: Pass, module: ModuleOp, correct: Signatures) -> None:
    found = DiagnosticCollector()
    try:
        verify(module, found, correct)
    except Exception as error:
        # What the pass left is not even IR, such as None among the operands.
        operation = _operation_at(error, module)
        raise DiagnosticError.at(
            operation.location,
            f"pass '{pass_.name}' left IR that cannot be verified: '{operation.name}': "
            f"{described(error)}",
        ) from error
    faults = [
        Diagnostic.error(
            fault.location, f"pass '{pass_.name}' left invalid IR: {fault.message}", fault.notes
        )
        for fault in found.errors
    ]
    if faults:
        raise DiagnosticError(*faults)


# -------------------------------------------------------------- exceptions in passes


def _crash(pass_: Pass, module: ModuleOp, error: BaseException, stack_trace: bool) -> Diagnostic:
    """What to tell of an exception: the pass, the operation it was at, and the line of code."""
    operation = _operation_at(error, module)
    at = f" on '{operation.name}'" if operation is not module else ""
    what = f"pass '{pass_.name}' failed{at}"
    return crash(what, operation.location, error, type(pass_), stack_trace=stack_trace)


def _operation_at(error: BaseException, module: ModuleOp) -> Operation:
    """The operation that the innermost function was busy with, else the module."""
    for frame, _ in reversed(list(traceback.walk_tb(error.__traceback__))):
        for value in frame.f_locals.values():
            if isinstance(value, Operation) and value is not module:
                return value
    return module
