"""Checks a module: fields and traits of each operation, dominance, terminators. Reports all
faults it finds, not just the first."""

from __future__ import annotations

import math
from collections.abc import Sequence

from nvdla_ir.ir.definition import OPERAND_SEGMENT_SIZES, Op, OperandField, OperationDefinition
from nvdla_ir.ir.diagnostics import Diagnostic, DiagnosticCollector
from nvdla_ir.ir.operation import Block, Operation, Value
from nvdla_ir.ir.traits import IsolatedFromAbove, has_trait


class Signatures:
    """The signatures of operations that were found without fault. Their parts are told apart by
    identity: they are kept, so that no other takes the place of one. Shared by verifications of
    one module, such as those after each pass, they leave only what is new to be looked at."""

    def __init__(self) -> None:
        self._parts: dict[tuple[int, ...], tuple[object, ...]] = {}

    def __contains__(self, signature: tuple[int, ...]) -> bool:
        return signature in self._parts

    def add(self, signature: tuple[int, ...], op: Op, surroundings: object) -> None:
        types = [value.type for value in (*op.operands, *op.results)]
        self._parts[signature] = (*types, *op.attributes.values(), surroundings)


def verify(
    root: Operation,
    collector: DiagnosticCollector | None = None,
    correct: Signatures | None = None,
) -> None:
    """Verify ``root`` and all inside it.

    With a ``collector`` faults are added to it. Raises: DiagnosticError with all faults otherwise.
    """
    diagnostics = DiagnosticCollector() if collector is None else collector
    _Verifier(diagnostics, Signatures() if correct is None else correct).operation(root, set())
    if collector is None:
        diagnostics.raise_if_errors()


class _Verifier:
    """One verification."""

    def __init__(self, diagnostics: DiagnosticCollector, correct: Signatures) -> None:
        self._diagnostics = diagnostics
        self._correct = correct

    def operation(self, op: Operation, visible: set[Value]) -> None:
        for index, operand in enumerate(op.operands):
            if operand not in visible:
                _report_dominance(op, index, operand, self._diagnostics)
        if isinstance(op, Op):
            self._registered(op)
        if op.regions:
            isolated = has_trait(op, IsolatedFromAbove)
            for region in op.regions:
                for block in region.blocks:
                    # Values of an outer block stay visible inside, those of a sibling do not.
                    self._block(block, set() if isolated else set(visible))

    def _block(self, block: Block, visible: set[Value]) -> None:
        visible.update(block.arguments)
        op = block.first_op
        while op is not None:
            self.operation(op, visible)
            visible.update(op.results)
            op = op.next_op

    def _registered(self, op: Op) -> None:
        definition = op.definition
        problems: list[str] = []
        if op.verified_by_signature:
            surroundings = op.surroundings()
            signature = _signature(op, definition, surroundings)
            if signature not in self._correct:
                _check_fields(op, definition, problems)
                if not problems:
                    _check_invariants(op, problems)
                if not problems:
                    self._correct.add(signature, op, surroundings)
            if definition.descriptive_attributes:
                self._described(op, definition, problems)
            if not problems and op.verified_traits:
                _check_traits(op, problems)
        else:
            problems = operation_faults(op)
        for problem in problems:
            self._diagnostics.error(op.location, f"'{op.name}' {problem}")

    def _described(self, op: Op, definition: OperationDefinition, problems: list[str]) -> None:
        get = op.attributes.get
        names = definition.descriptive_attributes
        signature = (id(op.__class__), *[id(get(name)) for name in names])
        if signature not in self._correct:
            faults = len(problems)
            _check_attributes(op, names, problems)
            if len(problems) == faults:
                self._correct.add(signature, op, None)


def _signature(op: Op, definition: OperationDefinition, surroundings: object) -> tuple[int, ...]:
    get = op.attributes.get
    return (
        id(op.__class__),
        id(surroundings),
        *[id(value.type) for value in op.operands],
        0,
        *[id(value.type) for value in op.results],
        len(op.regions),
        *[id(get(name)) for name in definition.signature_attributes],
    )


def _report_dominance(
    op: Operation, index: int, operand: Value, diagnostics: DiagnosticCollector
) -> None:
    definer = operand.defining_operation
    notes = [Diagnostic.note(definer.location, "defined here")] if definer is not None else []
    diagnostics.error(
        op.location, f"operand {index} of '{op.name}' does not dominate this use", notes
    )


def _check_fields(op: Op, definition: OperationDefinition, problems: list[str]) -> None:
    if _counts_match(op, definition, problems):
        _check_types(op, definition, problems)
    _check_attributes(op, definition.signature_attributes, problems)


def _check_attributes(op: Op, names: Sequence[str], problems: list[str]) -> None:
    fields = op.definition.attributes
    for name in names:
        field = fields.get(name)
        if field is None:
            continue  # the sizes of operand groups, which belong to no field
        attribute = op.attributes.get(name)
        if attribute is None:
            if field.required:
                problems.append(f"needs the attribute '{name}', {field.kind.description}")
        elif not field.kind.accepts(attribute):
            problems.append(
                f"has '{name} = {attribute}', but '{name}' must be {field.kind.description}"
            )


def _check_traits(op: Op, problems: list[str]) -> None:
    for trait in op.verified_traits:
        problems.extend(trait.verify(op))


def _check_invariants(op: Op, problems: list[str]) -> None:
    try:
        problems.extend(op.verify())
    except ValueError as error:
        # Helpers that compute shapes say so where there is none to compute.
        problems.append(f"cannot be verified: {error}")


def operation_faults(op: Op) -> list[str]:
    """What is wrong with an operation for itself, wherever it stands."""
    problems: list[str] = []
    _check_fields(op, op.definition, problems)
    _check_attributes(op, op.definition.descriptive_attributes, problems)
    if not problems:
        _check_traits(op, problems)
    if not problems:
        _check_invariants(op, problems)
    return problems


def input_faults(op: Op) -> list[str]:
    """What is wrong with the operands and attributes of an operation that has no results yet."""
    definition = op.definition
    problems: list[str] = []
    _check_operand_count(op, definition, problems)
    if not problems:
        _check_types(op, definition, problems)
    _check_attributes(op, definition.signature_attributes, problems)
    _check_attributes(op, definition.descriptive_attributes, problems)
    return problems


def _counts_match(op: Op, definition: OperationDefinition, problems: list[str]) -> bool:
    _check_operand_count(op, definition, problems)
    count = len(op.results)
    minimum, maximum = definition.result_counts
    if not minimum <= count <= maximum:
        problems.append(f"has {_counted(minimum, 'result')}, but {count} are given")
    if len(op.regions) != len(definition.regions):
        problems.append(
            f"has {_counted(len(definition.regions), 'region')}, but {len(op.regions)} are given"
        )
    return not problems


def _check_operand_count(op: Op, definition: OperationDefinition, problems: list[str]) -> None:
    count = len(op.operands)
    minimum, maximum = definition.operand_counts
    if definition.has_operand_segments:
        _check_segments(op, definition, problems)
    elif not minimum <= count <= maximum:
        problems.append(
            f"takes {_allowed(minimum, maximum)}{_names(definition.operands)}, but has {count}"
        )


def _check_segments(op: Op, definition: OperationDefinition, problems: list[str]) -> None:
    try:
        sizes = op.operand_segment_sizes()
    except ValueError as error:
        problems.append(str(error).partition("' ")[2])
        return
    if sum(sizes) != len(op.operands):
        problems.append(
            f"has {len(op.operands)} operands, but '{OPERAND_SEGMENT_SIZES}' says {sum(sizes)}"
        )
    for field, size in zip(definition.operands, sizes, strict=True):
        maximum = math.inf if field.maximum is None else field.maximum
        if not field.minimum <= size <= maximum:
            problems.append(
                f"takes {_allowed(field.minimum, maximum)} '{field.name}', but has {size}"
            )


def _check_types(op: Op, definition: OperationDefinition, problems: list[str]) -> None:
    if definition.fixed_constraints is not None:
        for index, constraint in enumerate(definition.fixed_constraints):
            value = op.operands[index]
            if not constraint.accepts(value.type):
                name = definition.operands[index].name
                problems.append(_wrong_type("operand", name, constraint.description, value))
    else:
        for field in definition.operands:
            for value in field.values(op):
                if not field.constraint.accepts(value.type):
                    problems.append(
                        _wrong_type("operand", field.name, field.constraint.description, value)
                    )
    for index, value in enumerate(op.results):
        field = definition.results[min(index, len(definition.results) - 1)]
        if not field.constraint.accepts(value.type):
            problems.append(_wrong_type("result", field.name, field.constraint.description, value))


def _wrong_type(role: str, name: str, description: str, value: Value) -> str:
    return f"has {role} '{name}' of type '{value.type}', but it must be {description}"


def _allowed(minimum: int, maximum: float) -> str:
    """``1 operand``, ``1 or more operands``, ``0 to 2 operands``"""
    if minimum == maximum:
        return _counted(minimum, "operand")
    return f"{minimum} {'or more' if maximum == math.inf else f'to {maximum}'} operands"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _names(fields: Sequence[OperandField]) -> str:
    if not fields:
        return ""
    return f" ({', '.join(field.name + ('' if field.is_fixed else '?') for field in fields)})"
