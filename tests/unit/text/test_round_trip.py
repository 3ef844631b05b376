"""Print, parse, print is the identity, and what is read equals what was written."""

from __future__ import annotations

from pathlib import Path

import pytest
from generating import attributes, function_types, locations, modules, value_types
from hypothesis import HealthCheck, given, settings

from nvdla_ir.dialects import default_context
from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.ir.attributes import Attribute
from nvdla_ir.ir.location import Location
from nvdla_ir.ir.operation import Operation, UnregisteredOp
from nvdla_ir.ir.types import FunctionType, Type
from nvdla_ir.ir.verifier import verify
from nvdla_ir.text.parser import parse, parser_for
from nvdla_ir.text.printer import PrintOptions, print_operations

CONTEXT = default_context(allow_unregistered=True)
FORMS = [
    PrintOptions(generic=generic, locations=locations)
    for generic in (False, True)
    for locations in (False, True)
]
SLOW = settings(max_examples=20, suppress_health_check=list(HealthCheck), deadline=None)


def reparse(text: str) -> list[Operation]:
    return parse(text, CONTEXT, "again.ir").operations


def same(left: Operation, right: Operation, *, compare_locations: bool) -> bool:
    """Whether two operations are equal in all but their values' names."""
    numbers: dict[object, int] = {}

    def describe(op: Operation) -> object:
        for result in op.results:
            numbers[result] = len(numbers)
        regions: list[object] = []
        for region in op.regions:
            for block in region.blocks:
                for argument in block.arguments:
                    numbers[argument] = len(numbers)
                arguments = [
                    (a.type, a.location if compare_locations else None) for a in block.arguments
                ]
                regions.append((arguments, [describe(inner) for inner in block.operations]))
        return (
            op.name,
            [numbers[operand] for operand in op.operands],
            [result.type for result in op.results],
            list(op.attributes.items()),
            regions,
            op.location if compare_locations else None,
        )

    first = describe(left)
    numbers.clear()
    return first == describe(right)


@SLOW
@given(modules())
def test_modules(module: ModuleOp) -> None:
    verify(module)
    for options in FORMS:
        text = print_operations([module], options)
        (again,) = reparse(text)
        assert print_operations([again], options) == text
        assert same(module, again, compare_locations=options.locations), text
        verify(again)


@SLOW
@given(modules())
def test_either_form_leads_to_the_other(module: ModuleOp) -> None:
    pretty, generic = PrintOptions(locations=True), PrintOptions(generic=True, locations=True)
    text = print_operations([module], pretty)
    assert print_operations(reparse(print_operations([module], generic)), pretty) == text


@SLOW
@given(attributes)
def test_attributes(attribute: Attribute) -> None:
    op = UnregisteredOp("test.op", [], [], {"value": attribute, "list": attribute})
    text = print_operations([op])
    (again,) = reparse(text)
    assert print_operations([again]) == text
    assert again.attributes == op.attributes
    # Equality is blind to the sign of zero.
    assert str(again.attributes["value"]) == str(attribute)


@SLOW
@given(value_types)
def test_types(type: Type) -> None:
    assert parser_for(CONTEXT).parse_type(str(type)) == type


@SLOW
@given(function_types)
def test_function_types(type: FunctionType) -> None:
    assert parser_for(CONTEXT).parse_type(str(type)) == type


@SLOW
@given(locations)
def test_locations(location: Location) -> None:
    op = UnregisteredOp("test.op", location=location)
    (again,) = reparse(print_operations([op], PrintOptions(locations=True)))
    assert again.location == location


@pytest.mark.parametrize("options", FORMS)
@pytest.mark.parametrize("network", ["lenet", "resnet"])
def test_the_digits_networks(network: str, options: PrintOptions) -> None:
    path = Path(__file__).parents[3] / "examples" / "digits" / f"{network}.ir"
    source = path.read_text()
    module = parse(source, default_context(), str(path)).operations
    text = print_operations(module, options)
    assert print_operations(reparse(text), options) == text
    assert print_operations(reparse(text)) == source
