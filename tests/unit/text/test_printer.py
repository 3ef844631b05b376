"""What the printer chooses: names, forms, and what it does with faulty IR."""

from __future__ import annotations

import pytest

from nvdla_ir.dialects import default_context
from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.fixed import ShiftAddOp
from nvdla_ir.dialects.nn import AddOp, ConcatOp, ConstantOp
from nvdla_ir.ir.attributes import DenseElementsAttr, IntegerAttr
from nvdla_ir.ir.location import NameLoc
from nvdla_ir.ir.operation import Block, Operation, Region, UnregisteredOp, Value
from nvdla_ir.ir.types import F32, I8, TensorType
from nvdla_ir.text.parser import parse
from nvdla_ir.text.printer import PrintOptions, print_operation, print_operations

CONTEXT = default_context(allow_unregistered=True)
VECTOR = TensorType((2,), F32)


def value(hint: str | None = None) -> Value:
    op = UnregisteredOp("t.x", [], [VECTOR])
    op.result.name_hint = hint
    return op.result


def names_of(*hints: str | None) -> list[str]:
    """How values with these hints, defined one after another, are called."""
    operations = [value(hint).defining_operation for hint in hints]
    text = print_operations([op for op in operations if op is not None])
    return [line.partition(" =")[0] for line in text.splitlines()]


@pytest.mark.parametrize(
    ("hints", "names"),
    [
        ([None, None], ["%0", "%1"]),
        (["x", "x", "x"], ["%x", "%x_0", "%x_1"]),
        (["x", "x_0", "x"], ["%x", "%x_0", "%x_1"]),
        ([None, "0", None, "17"], ["%0", "%1", "%2", "%3"]),
        (["1x"], ["%_1x"]),
        (["a/b:0", "a b"], ["%a_b_0", "%a_b"]),
        (["é"], ["%_"]),
        ([""], ["%0"]),
        (["a.b$c-d"], ["%a.b$c-d"]),
    ],
)
def test_names(hints: list[str | None], names: list[str]) -> None:
    assert names_of(*hints) == names


def test_a_name_may_be_taken_again_in_a_sibling_region() -> None:
    def box() -> Operation:
        block = Block()
        inner = value("x").defining_operation
        assert inner is not None
        block.append(inner)
        return UnregisteredOp("t.box", [], [], {}, [Region([block])])

    text = print_operations([box(), box()])
    assert text.count("%x =") == 2
    parse(text, CONTEXT)


def test_the_generic_form_has_everything() -> None:
    (op,) = parse(
        "%x = nn.constant value=dense<1.0> : tensor<2xf32>\n"
        '%y = nn.relu %x layers=["a"] attributes {note = 1} -> tensor<2xf32> loc("here")',
        CONTEXT,
    ).operations[1:]
    assert print_operation(op, PrintOptions(generic=True, locations=True)) == (
        '%y = "nn.relu"(%x) <{layers = ["a"]}> {note = 1} : (tensor<2xf32>) -> tensor<2xf32> '
        'loc("here")\n'
    )
    assert print_operation(op, PrintOptions()) == (
        '%y = nn.relu %x layers=["a"] attributes {note = 1} -> tensor<2xf32>\n'
    )


def test_large_elements_can_be_elided() -> None:
    small = ConstantOp.create(value=DenseElementsAttr(VECTOR, (1.0, 2.0)))
    large = ConstantOp.create(value=DenseElementsAttr(TensorType((3,), I8), (1, 2, 3)))
    text = print_operations([small, large], PrintOptions(elide_larger_than=2))
    assert text.splitlines() == [
        "%0 = nn.constant value=dense<[1.0, 2.0]> : tensor<2xf32>",
        "%1 = nn.constant value=dense_resource<__elided__> : tensor<3xi8>",
    ]


def broken_operations() -> list[Operation]:
    segments = ShiftAddOp([value()], [VECTOR], {})
    module = ModuleOp((), (), {}, [Region([Block(), Block()])])
    constant = ConstantOp((), [VECTOR], {})
    (func,) = parse("func.func @f() { func.return }", CONTEXT).operations
    del func.attributes["sym_name"]
    return [segments, module, constant, func, ConcatOp([], [VECTOR], {})]


@pytest.mark.parametrize("index", range(len(broken_operations())))
def test_faulty_operations_are_printed_all_the_same(index: int) -> None:
    op = broken_operations()[index]
    assert op.name in print_operation(op).replace("module", "builtin.module")


def test_faulty_operations_inside_sound_ones_leave_the_indentation_alone() -> None:
    (module,) = parse("module {\n  func.func @f() {\n    func.return\n  }\n}", CONTEXT).operations
    func = next(op for op in module.walk() if op.name == "func.func")
    del func.attributes["function_type"]
    assert print_operation(module) == (
        'module {\n  "func.func"() <{sym_name = "f"}> ({\n    func.return\n  }) : () -> ()\n}\n'
    )


def test_arguments_have_locations() -> None:
    block = Block()
    block.add_argument(VECTOR, "x", NameLoc("there"))
    op = UnregisteredOp("t.box", [], [], {"a": IntegerAttr(1)}, [Region([block])])
    text = print_operation(op, PrintOptions(locations=True))
    assert '^bb0(%x: tensor<2xf32> loc("there")):' in text
    assert text.endswith("}) {a = 1} : () -> () loc(unknown)\n")


def test_a_value_without_its_definition_still_has_a_name() -> None:
    lost = value("lost")
    op = AddOp.create(lhs=lost, rhs=lost)
    assert print_operation(op) == "%0 = nn.add %lost, %lost -> tensor<2xf32>\n"


def test_functions_do_not_share_names() -> None:
    text = "module {\n" + "".join(
        f"  func.func @{name}(%x: f32, %0: i8) {{\n    func.return %x\n  }}\n" for name in "ab"
    )
    text = (text + "}\n").replace("i8) {", "i8) -> f32 {")
    operations = parse(text, CONTEXT).operations
    assert print_operations(operations) == text
    generic = print_operations(operations, PrintOptions(generic=True))
    assert print_operations(parse(generic, CONTEXT).operations) == text
