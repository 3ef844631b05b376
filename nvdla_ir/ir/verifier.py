"""Checks a module: fields and traits of each operation, dominance, terminators. Reports all
faults it finds, not just the first."""

from __future__ import annotations

from collections.abc import Sequence

from nvdla_ir.ir.definition import OPERAND_SEGMENT_SIZES, Op, OperandField, OperationDefinition
from nvdla_ir.ir.diagnostics import Diagnostic, DiagnosticCollector
from nvdla_ir.ir.operation import Block, Operation, Value
from nvdla_ir.ir.traits import IsolatedFromAbove, has_trait


def verify(root: Operation, collector: DiagnosticCollector | None = None) -> None:
    """Verify ``root`` and all inside it.

    With a ``collector`` faults are added to it. Raises: DiagnosticError with all faults otherwise.
    """
    diagnostics = DiagnosticCollector() if collector is None else collector
    _verify(root, set(), diagnostics)
    if collector is None:
        diagnostics.raise_if_errors()


def _verify(op: Operation, visible: set[Value], diagnostics: DiagnosticCollector) -> None:
    for index, operand in enumerate(op.operands):
        if operand not in visible:
            _report_dominance(op, index, operand, diagnostics)
    if isinstance(op, Op):
        _verify_registered(op, diagnostics)
    if op.regions:
        isolated = has_trait(op, IsolatedFromAbove)
        for region in op.regions:
            for block in region.blocks:
                # Values of an outer block stay visible inside, those of a sibling do not.
                _verify_block(block, set() if isolated else set(visible), diagnostics)


def _verify_block(block: Block, visible: set[Value], diagnostics: DiagnosticCollector) -> None:
    visible.update(block.arguments)
    op = block.first_op
    while op is not None:
        _verify(op, visible, diagnostics)
        visible.update(op.results)
        op = op.next_op


def _report_dominance(
    op: Operation, index: int, operand: Value, diagnostics: DiagnosticCollector
) -> None:
    definer = operand.defining_operation
    notes = [Diagnostic.note(definer.location, "defined here")] if definer is not None else []
    diagnostics.error(
        op.location, f"operand {index} of '{op.name}' does not dominate this use", notes
    )


def _verify_registered(op: Op, diagnostics: DiagnosticCollector) -> None:
    definition = op.definition
    problems: list[str] = []
    if _counts_match(op, definition, problems):
        _check_types(op, definition, problems)
    attributes = op.attributes
    for name, field in definition.attributes.items():
        attribute = attributes.get(name)
        if attribute is None:
            if field.required:
                problems.append(f"needs the attribute '{name}', {field.kind.description}")
        elif not field.kind.accepts(attribute):
            problems.append(
                f"has '{name} = {attribute}', but '{name}' must be {field.kind.description}"
            )
    if not problems:
        for trait in op.traits:
            problems.extend(trait.verify(op))
    if not problems:
        try:
            problems.extend(op.verify())
        except ValueError as error:
            # Helpers that compute shapes say so where there is none to compute.
            problems.append(f"cannot be verified: {error}")
    for problem in problems:
        diagnostics.error(op.location, f"'{op.name}' {problem}")


def _counts_match(op: Op, definition: OperationDefinition, problems: list[str]) -> bool:
    count = len(op.operands)
    if definition.has_operand_segments:
        try:
            sizes = op.operand_segment_sizes()
        except ValueError as error:
            problems.append(str(error).partition("' ")[2])
            return False
        if sum(sizes) != count:
            problems.append(
                f"has {count} operands, but '{OPERAND_SEGMENT_SIZES}' says {sum(sizes)}"
            )
        for field, size in zip(definition.operands, sizes, strict=True):
            if size < field.minimum or (field.maximum is not None and size > field.maximum):
                problems.append(
                    f"takes {_allowed(field.minimum, field.maximum)} '{field.name}', but has {size}"
                )
    elif len(definition.fixed_positions) == len(definition.operands):
        if count != len(definition.operands):
            problems.append(
                f"takes {_counted(len(definition.operands), 'operand')}"
                f"{_names(definition.operands)}, but has {count}"
            )
    else:
        minimum = sum(field.minimum for field in definition.operands)
        maximum = _maximum(definition.operands)
        if count < minimum or (maximum is not None and count > maximum):
            problems.append(
                f"takes {_allowed(minimum, maximum)}{_names(definition.operands)}, but has {count}"
            )
    results = len(op.results)
    variadic = bool(definition.results) and definition.results[-1].variadic
    expected = len(definition.results) - variadic
    if results < expected or (results > expected and not variadic):
        problems.append(f"has {_counted(expected, 'result')}, but {results} are given")
    if len(op.regions) != len(definition.regions):
        problems.append(
            f"has {_counted(len(definition.regions), 'region')}, but {len(op.regions)} are given"
        )
    return not problems


def _maximum(fields: Sequence[OperandField]) -> int | None:
    total = 0
    for field in fields:
        if field.maximum is None:
            return None
        total += field.maximum
    return total


def _check_types(op: Op, definition: OperationDefinition, problems: list[str]) -> None:
    operands = op.operands
    if len(definition.fixed_positions) == len(definition.operands):
        for field, value in zip(definition.operands, operands, strict=True):
            if not field.constraint.accepts(value.type):
                problems.append(
                    _wrong_type("operand", field.name, field.constraint.description, value)
                )
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


def _allowed(minimum: int, maximum: int | None) -> str:
    """``1 operand``, ``1 or more operands``, ``0 to 2 operands``"""
    if minimum == maximum:
        return _counted(minimum, "operand")
    return f"{minimum} {'or more' if maximum is None else f'to {maximum}'} operands"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _names(fields: Sequence[OperandField]) -> str:
    if not fields:
        return ""
    return f" ({', '.join(field.name + ('' if field.is_fixed else '?') for field in fields)})"
