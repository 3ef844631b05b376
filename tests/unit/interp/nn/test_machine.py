"""The machine: inputs, batches, lifetimes, observers, users' kernels, and its errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from graphs import Graph
from networks import digits_images, digits_network, function_of, parse_module
from numpy.typing import NDArray

from nvdla_ir.dialects import nn
from nvdla_ir.dialects.layer import LayerOp
from nvdla_ir.dialects.nn.shapes import ACTIVATION
from nvdla_ir.interp.machine import Machine, Mode, default_mode
from nvdla_ir.interp.registry import Values, kernel
from nvdla_ir.ir.definition import operand, result
from nvdla_ir.ir.diagnostics import DiagnosticError, render
from nvdla_ir.ir.operation import Operation

Array = NDArray[Any]

TWO_LAYERS = """
func.func @main(%data: tensor<1x2xf32> {nvdla_ir.name = "image"})
    -> (tensor<1x2xf32> {nvdla_ir.name = "positive"}, tensor<1x2xf32>) {
  %sum = nn.add %data, %data -> tensor<1x2xf32>
  %relu = nn.relu %sum -> tensor<1x2xf32>
  func.return %relu, %sum
}
"""


def two_layers() -> tuple[Machine, Any]:
    module, resources = parse_module(TWO_LAYERS)
    return Machine(resources), function_of(module)


@pytest.mark.parametrize("network", ["lenet", "resnet"])
def test_float_accuracy_on_the_digits(network: str) -> None:
    func, resources = digits_network(network)
    images, labels = digits_images(network)
    machine = Machine(resources)
    assert machine.takes_any_batch(func)
    probabilities = np.concatenate(
        [machine.run(func, {"data": images[i : i + 25]})["prob"] for i in range(0, 500, 25)]
    )
    assert np.mean(probabilities.argmax(axis=1) == labels) == 0.998
    one_by_one = [machine.run(func, {"data": images[i : i + 1]})["prob"] for i in range(3)]
    np.testing.assert_allclose(np.concatenate(one_by_one), probabilities[:3], atol=1e-5)


def test_names_are_those_of_the_function() -> None:
    machine, func = two_layers()
    outputs = machine.run(func, {"image": np.array([[1, -1]], np.float32)})
    assert {name: array.tolist() for name, array in outputs.items()} == {
        "positive": [[2, 0]],
        "sum": [[2, -2]],
    }


def test_inputs_of_other_types_are_converted() -> None:
    machine, func = two_layers()
    for array in (np.array([[3, -4]]), np.array([[3.0, -4.0]], np.float64)):
        output = machine.run(func, {"image": array})["sum"]
        assert output.dtype == np.float32
        assert output.tolist() == [[6, -8]]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "input 'image' is missing; it is 'tensor<1x2xf32>'"),
        (
            {"image": np.zeros((1, 2)), "data": np.zeros(2)},
            "'@main' has no input 'data'; it takes 'image'",
        ),
        ({"image": np.zeros((1, 3))}, "input 'image' must have shape 1x2, not 1x3"),
        ({"image": np.zeros(2)}, "input 'image' must have shape 1x2, not 2"),
        ({"image": np.zeros((0, 2))}, "input 'image' must have shape 1x2, not 0x2"),
        ({"image": np.zeros((1, 2), complex)}, "'image' must hold float32, not complex128"),
    ],
)
def test_unfitting_inputs(inputs: dict[str, Array], message: str) -> None:
    machine, func = two_layers()
    with pytest.raises(DiagnosticError) as error:
        machine.run(func, inputs)
    assert message in str(error.value)
    assert render(error.value.diagnostics[0]).startswith("t.ir:2:1: error: ")


def test_integer_inputs_must_fit_their_type() -> None:
    module, resources = parse_module(
        "func.func @main(%x: tensor<1x1x1x2xui8>) -> tensor<1x1x1x2xf32> {\n"
        "  %0 = nn.normalize %x mean=[1.0] scale=2.0 -> tensor<1x1x1x2xf32>\n"
        "  func.return %0\n}\n"
    )
    machine, func = Machine(resources), function_of(module)
    assert machine.run(func, {"x": np.array([[[[3, 255]]]])})["0"].tolist() == [[[[4, 508]]]]
    for bad, message in ((np.array([[[[3, 256]]]]), "spans 3 to 256"), (1.5, "not float64")):
        with pytest.raises(DiagnosticError, match=message):
            machine.run(func, {"x": np.broadcast_to(np.asarray(bad), (1, 1, 1, 2))})


def test_inputs_with_different_numbers_of_images() -> None:
    graph = Graph()
    a = graph.input(np.zeros((3, 2)), batch=1)
    b = graph.input(np.zeros((2, 2)), batch=1)
    with pytest.raises(DiagnosticError, match="different numbers of images"):
        graph.run(graph.add(nn.AddOp, lhs=a, rhs=b))


@pytest.mark.parametrize(
    "body",
    [
        "%y = nn.flatten %x axis=0 -> tensor<8xf32>",
        "%y = nn.concat %x, %x axis=0 -> tensor<2x2x2x2xf32>",
        "%y = nn.softmax %x axis=0 -> tensor<1x2x2x2xf32>",
        "%y = nn.reshape %x -> tensor<2x4xf32>",
    ],
)
def test_functions_that_mix_images_take_the_declared_batch_only(body: str) -> None:
    result = body.rpartition("-> ")[2]
    module, resources = parse_module(
        f"func.func @main(%x: tensor<1x2x2x2xf32>) -> {result} {{\n  {body}\n  func.return %y\n}}\n"
    )
    machine, func = Machine(resources), function_of(module)
    assert not machine.takes_any_batch(func)
    assert machine.run(func, {"x": np.ones((1, 2, 2, 2))})["y"].size >= 8
    with pytest.raises(DiagnosticError, match="must have shape 1x2x2x2, not 3x2x2x2"):
        machine.run(func, {"x": np.ones((3, 2, 2, 2))})


def test_observer_sees_each_operation_in_order_and_no_constant() -> None:
    func, resources = digits_network("lenet")
    seen: list[tuple[str, tuple[int, ...]]] = []

    def observe(op: Operation, results: Any) -> None:
        seen.append((op.name, results[0].shape))

    Machine(resources, observer=observe).run(func, {"data": np.zeros((2, 1, 32, 32))})
    assert seen[0] == ("nn.conv", (2, 16, 28, 28))
    assert [name for name, _ in seen[-3:]] == ["nn.relu", "nn.fully_connected", "nn.softmax"]
    assert len(seen) == 11


class DoubleOp(LayerOp):
    name = "test.double"
    input = operand(ACTIVATION)
    output = result(ACTIVATION)

    def infer_result_types(self) -> Any:
        return [self.input.type]


def test_values_are_freed_after_their_last_use() -> None:
    alive: list[int] = []

    @kernel(DoubleOp, any_batch=True)
    def double(op: DoubleOp, values: Values) -> Array:
        alive.append(len(values._environment))
        return values[op.input] * 2

    graph = Graph()
    value = graph.input(np.ones((1, 2)))
    for _ in range(5):
        value = graph.add(DoubleOp, input=value)
    (output,) = graph.run(value)
    assert output.tolist() == [[32, 32]]
    assert alive == [1] * 5


def test_operations_without_a_kernel_are_all_named_with_their_place() -> None:
    module, resources = parse_module(
        "func.func @main(%x: tensor<1x2xf32>) -> tensor<1x2xf32> {\n"
        '  %0 = "vendor.mystery"(%x) : (tensor<1x2xf32>) -> tensor<1x2xf32>\n'
        "  %1 = nn.relu %0 -> tensor<1x2xf32>\n"
        '  %2 = "vendor.riddle"(%1) : (tensor<1x2xf32>) -> tensor<1x2xf32>\n'
        "  func.return %2\n}\n"
    )
    with pytest.raises(DiagnosticError) as error:
        Machine(resources).run(function_of(module), {"x": np.zeros((1, 2))})
    assert [render(d).split("\n")[0] for d in error.value.diagnostics] == [
        "t.ir:2:8: error: 'vendor.mystery' cannot run in float mode: there is no kernel for it",
        "t.ir:4:8: error: 'vendor.riddle' cannot run in float mode: there is no kernel for it",
    ]


def test_outputs_of_one_name_are_refused() -> None:
    module, resources = parse_module(
        "func.func @main(%x: tensor<1x2xf32>) -> (tensor<1x2xf32>, tensor<1x2xf32>) {\n"
        "  func.return %x, %x\n}\n"
    )
    with pytest.raises(DiagnosticError, match="two outputs of '@main' are called 'x'; give them"):
        Machine(resources).run(function_of(module), {"x": np.zeros((1, 2))})


def test_default_mode_is_what_the_types_say() -> None:
    assert default_mode(two_layers()[1]) is Mode.FLOAT
    module, _ = parse_module(
        "func.func @main(%x: tensor<1x2xf32>) -> tensor<1x2x!quant.uniform<i8:f32, 0.5>> {\n"
        "  %0 = quant.qcast %x -> tensor<1x2x!quant.uniform<i8:f32, 0.5>>\n"
        "  func.return %0\n}\n"
    )
    assert default_mode(function_of(module)) is Mode.INTEGER
