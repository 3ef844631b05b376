"""Conversion from one form of the IR to the next: rules by class of operation, a table of what may
stay, and one driver.

    legalizes = RuleSet("legalize-to-nvdla")

    @legalizes(nn.ReluOp)
    def legalize_relu(op: nn.ReluOp, conversion: FunctionLegalization) -> Value: ...

Rules register where they are written. A rule returns the value that stands for the result in the
next form. Faults are collected: where one is found, something stands in for the result, so that
those of later operations are found, too.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeAlias, TypeVar

from attrs import field, frozen

from nvdla_ir.ir.builder import Builder, InsertionPoint
from nvdla_ir.ir.class_registry import ClassRegistry
from nvdla_ir.ir.crashes import crash
from nvdla_ir.ir.diagnostics import Diagnostic, DiagnosticCollector, DiagnosticError
from nvdla_ir.ir.location import Location
from nvdla_ir.ir.operation import Block, Operation, Value
from nvdla_ir.ir.rewriter import is_trivially_dead

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])
AnyOperation = TypeVar("AnyOperation", bound=Operation)
Legality: TypeAlias = "bool | Callable[[Operation], bool]"


# -------------------------------------------------------------- rules


def _unexplained(op: Operation, error: Exception) -> Diagnostic | None:
    return None


@frozen(eq=False)
class Rule:
    """What a stage does with one class of operations."""

    stage: str
    function: Callable[..., Any]

    def __str__(self) -> str:
        return f"rule '{self.function.__name__}' of '{self.stage}'"

    def apply(
        self,
        op: Operation,
        *arguments: object,
        explain: Callable[[Operation, Exception], Diagnostic | None] = _unexplained,
        stack_trace: bool = False,
    ) -> object:
        """What the function returns for ``op``.

        Raises: DiagnosticError where it does, and where it fails with another exception; what that
        says about the input, if anything, ``explain`` says.
        """
        try:
            return self.function(op, *arguments)
        except (Exception, SystemExit) as error:
            # One without diagnostics says nothing of what is wrong, so it is no better than others.
            if isinstance(error, DiagnosticError) and error.diagnostics:
                raise
            explained = explain(op, error) if isinstance(error, Exception) else None
            if explained is None:
                what = f"{self} failed on '{op.name}'"
                explained = crash(what, op.location, error, self.function, stack_trace=stack_trace)
            raise DiagnosticError(explained) from error


class RuleSet:
    """The rules of a stage, as a decorator that registers one more. A subclass without a rule has
    that of its base; the last one registered for a class holds."""

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self.registry = ClassRegistry[Rule]()

    def __call__(self, *op_classes: type[Operation]) -> Callable[[FunctionT], FunctionT]:
        def register(function: FunctionT) -> FunctionT:
            for op_class in op_classes:
                self.registry.register(op_class, function, Rule(self.stage, function))
            return function

        return register

    def find(self, op: Operation) -> Rule | None:
        """The rule for ``op``, or None."""
        return self.registry.find(type(op))


@frozen(eq=False)
class Replacement:
    """What a rule returns that has converted several operations together: ``value`` stands for the
    result of the last of ``operations``."""

    value: Value
    operations: tuple[Operation, ...]


# -------------------------------------------------------------- legality


@frozen(eq=False)
class LegalityTable:
    """Which operations a stage may leave: MLIR's conversion target.

    A class's entry, or that of its nearest base, counts before that of its dialect, and this before
    ``otherwise``. Entries are True, False, or ask the operation.
    """

    otherwise: Legality
    classes: Mapping[type[Operation], Legality] = field(factory=dict[type[Operation], Legality])
    dialects: Mapping[str, Legality] = field(factory=dict[str, Legality])

    def is_legal(self, op: Operation) -> bool:
        """Whether ``op`` may be there when the stage is over."""
        legality = self._entry(op)
        return legality if isinstance(legality, bool) else legality(op)

    def _entry(self, op: Operation) -> Legality:
        for base in type(op).__mro__:
            if base in self.classes:
                return self.classes[base]
        return self.dialects.get(op.name.partition(".")[0], self.otherwise)


# -------------------------------------------------------------- driver


class Conversion(ABC):
    """The conversion of one block. A stage says what stands for a value, and what it takes for a
    value of its form.

    replaced: operations that have been converted, and go
    """

    rules: ClassVar[RuleSet]
    legality: ClassVar[LegalityTable]

    def __init__(self, diagnostics: DiagnosticCollector) -> None:
        self.diagnostics = diagnostics
        self.replaced: set[Operation] = set()
        self._rule: Rule | None = None
        self._made: dict[Operation, Rule] = {}

    # The hooks of a stage.

    def has_rules_for(self, op: Operation) -> bool:
        """Whether rules are looked for at all: not where ``op`` is in the next form already."""
        return True

    @abstractmethod
    def settle(self, value: Value, replacement: Value) -> None:
        """Let ``replacement`` stand for ``value``."""

    @abstractmethod
    def type_fault(self, value: Value, replacement: Value) -> str | None:
        """Why ``replacement`` cannot stand for ``value``; None where it can."""

    @abstractmethod
    def stand_in(self, op: Operation) -> None:
        """Let something stand for the results of ``op``, which could not be converted."""

    @abstractmethod
    def leave(self, op: Operation) -> None:
        """Let ``op``, which stays, read values of its own form."""

    @abstractmethod
    def without_rule(self, op: Operation) -> None:
        """``op`` is not legal, and no rule takes it. Raises: DiagnosticError, unless that is as it
        should be."""

    def explain(self, op: Operation, error: Exception) -> Diagnostic | None:
        """What a rule's ``error`` says about the input; None where it is the rule's own."""
        return None

    def why_illegal(self, op: Operation) -> str:
        """What to say of an operation of the input that is left."""
        return f"'{op.name}' may not stay behind '{self.rules.stage}'"

    # What rules use.

    def builder_at(self, op: Operation, location: Location | None = None) -> Builder:
        """Inserts before ``op``."""
        location = op.location if location is None else location
        if self._rule is None:
            return Builder(InsertionPoint.before(op), location)
        return _RuleBuilder(InsertionPoint.before(op), location, self._rule, self._made)

    # The driver.

    def run(self, block: Block) -> None:
        """Convert the operations of ``block`` in order; faults are in ``diagnostics``."""
        originals = list(block.operations)
        for op in originals:
            if op not in self.replaced:
                self._convert(op)
        if self.diagnostics.errors:
            return
        for op in reversed(originals):
            if is_trivially_dead(op) or (
                op in self.replaced and not any(result.is_used for result in op.results)
            ):
                op.erase()
        for op in block.operations:
            if not self.legality.is_legal(op):
                maker = self._made.get(op)
                fault = self.why_illegal(op) if maker is None else _left(maker, op, "made")
                self.diagnostics.error(op.location, fault)

    def _convert(self, op: Operation) -> None:
        rule = self.rules.find(op) if self.has_rules_for(op) else None
        self._rule = rule
        try:
            if rule is not None:
                self._apply(rule, op)
            elif self.legality.is_legal(op):
                self.leave(op)
            else:
                self.without_rule(op)
        except DiagnosticError as error:
            self._report(error.diagnostics)
            self.stand_in(op)
        finally:
            self._rule = None

    def _apply(self, rule: Rule, op: Operation) -> None:
        returned = rule.apply(
            op, self, explain=self.explain, stack_trace=self.diagnostics.stack_traces
        )
        if returned is None:
            if not self.legality.is_legal(op):
                raise DiagnosticError.at(op.location, _left(rule, op, "returned nothing for"))
            return
        if isinstance(returned, Value):
            returned = Replacement(returned, (op,))
        if not isinstance(returned, Replacement):
            raise DiagnosticError.at(
                op.location,
                f"{rule} returned a {type(returned).__name__!r} for '{op.name}', where it takes a "
                "value, a Replacement, or None for what stays",
            )
        self._replace(rule, op, returned)

    def _replace(self, rule: Rule, op: Operation, replacement: Replacement) -> None:
        value, operations = replacement.value, replacement.operations
        if op not in operations or len(operations[-1].results) != 1:
            raise DiagnosticError.at(
                op.location,
                f"{rule} returned a Replacement for '{op.name}' of operations that this is none "
                "of, or that do not end with one result",
            )
        last = operations[-1]
        fault = self.type_fault(last.result, value)
        if fault is not None:
            raise DiagnosticError.at(
                op.location, f"{rule} returned '{value.type}' for '{op.name}', which {fault}"
            )
        self.settle(last.result, value)
        self.replaced.update(operations)

    def _report(self, found: tuple[Diagnostic, ...]) -> None:
        """Several operations may run into the same fault of what they share."""
        known = self.diagnostics.diagnostics
        known.extend(diagnostic for diagnostic in found if diagnostic not in known)


class _RuleBuilder(Builder):
    """Remembers by which rule an operation was made."""

    def __init__(
        self, point: InsertionPoint, location: Location, rule: Rule, made: dict[Operation, Rule]
    ) -> None:
        super().__init__(point, location)
        self._rule = rule
        self._made = made

    def insert(self, operation: AnyOperation) -> AnyOperation:
        self._made[operation] = self._rule
        return super().insert(operation)


def _left(rule: Rule, op: Operation, how: str) -> str:
    return f"{rule} {how} '{op.name}', which may not stay behind this stage"
