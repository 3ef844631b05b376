"""The names users know: of arguments, results and layers."""

from __future__ import annotations

import pytest

from nvdla_ir.dialects import DIALECTS, default_context
from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.func import FuncOp
from nvdla_ir.dialects.layer import describe, layers_of
from nvdla_ir.ir.operation import Operation
from nvdla_ir.text.parser import parse


def function(text: str) -> FuncOp:
    (op,) = parse(text, default_context()).operations
    assert isinstance(op, FuncOp)
    return op


def test_arguments_and_results_are_called_by_attribute_then_name_then_index() -> None:
    op = function(
        'func.func @f(%a: f32 {nvdla_ir.name = "data"}, %b: f32, %0: f32) '
        '-> (f32 {nvdla_ir.name = "prob"}, f32, f32) {\n  func.return %a, %b, %0\n}'
    )
    assert [op.argument_name(argument) for argument in op.body.arguments] == ["data", "b", "2"]
    assert [op.result_name(index) for index in range(3)] == ["prob", "b", "2"]


def test_names_without_attributes() -> None:
    op = function("func.func @f(%a: f32) -> f32 {\n  func.return %a\n}")
    assert op.argument_name(op.body.arguments[0]) == "a" and op.result_name(0) == "a"


def test_the_function_type_follows_the_body() -> None:
    op = function("func.func @f(%a: f32) -> f32 {\n  func.return %a\n}")
    argument = op.body.arguments[0]
    argument.type = function("func.func @g(%a: i8) {\n  func.return\n}").body.arguments[0].type
    op.update_function_type()
    assert str(op.function_type) == "(i8) -> i8"


def test_a_body_without_return() -> None:
    op = function("func.func @f() {\n}")
    with pytest.raises(ValueError, match=r"the body of '@f' does not end in 'func.return'"):
        _ = op.return_op


def operations(text: str) -> list[Operation]:
    return parse(text, default_context()).operations


def test_layers_are_named_once_and_in_order() -> None:
    first, second, third, constant = operations(
        '%a = nn.constant value=dense<1.0> : tensor<2xf32>\n%b = nn.relu %a layers=["x", "y"]\n'
        '%c = nn.relu %b layers=["y", "z"]\n%d = nn.relu %c'
    )[1:] + operations("%a = nn.constant value=dense<1.0> : tensor<2xf32>")
    assert layers_of(first, second, third, None, constant) == ("x", "y", "z")
    assert layers_of(second, first) == ("y", "z", "x")
    assert layers_of(third, None, constant) is None
    assert describe(first) == "layer 'x+y'" and describe(third) == "'nn.relu'"
    assert describe(constant) == "'nn.constant'"


def test_modules() -> None:
    module = ModuleOp.of([])
    assert module.weights_file is None and module.body.is_empty
    (named,) = operations('module @m attributes {nvdla_ir.weights = "w.safetensors"} {\n}')
    assert isinstance(named, ModuleOp)
    assert (named.sym_name, named.weights_file) == ("m", "w.safetensors")


def test_every_dialect_of_the_table_is_there() -> None:
    context = default_context()
    assert context.dialect_names == sorted(DIALECTS)
    for dialect in context.dialects():
        for name, op_class in dialect.operations.items():
            assert name == op_class.name and name.startswith(f"{dialect.name}.")
            assert context.operation_class(name) is op_class
            assert op_class.__doc__
    assert context.dialect("other") is None and context.operation_class("nn.other") is None
    assert context.nearest_operation("nn.rleu") == "nn.relu"
