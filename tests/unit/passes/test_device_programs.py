"""Networks with work of the host between layers: programs, the memory that they share, and the same
bytes at all levels."""

from __future__ import annotations

import re

import numpy as np
import pytest
from island_networks import NETWORKS, TWO_ISLANDS, cube, inputs_of, network, outputs_of
from running import module_of, new_session

from nvdla_ir.dialects import csb
from nvdla_ir.dialects.func import FuncOp
from nvdla_ir.hw import configuration
from nvdla_ir.interp.csb.run import executed_layers
from nvdla_ir.interp.machine import Machine, Mode
from nvdla_ir.ir.diagnostics import DiagnosticError, render
from nvdla_ir.ir.verifier import verify
from nvdla_ir.passes.allocate_memory import AllocateMemory
from nvdla_ir.passes.outline_device_programs import OutlineDevicePrograms
from nvdla_ir.passes.pipeline import Pipeline
from nvdla_ir.passes.registry import layers_to_registers
from nvdla_ir.text.printer import PrintOptions, print_operation


@pytest.mark.parametrize("target", configuration.names())
@pytest.mark.parametrize("name", NETWORKS)
def test_every_level_gives_the_same_bytes(name: str, target: str) -> None:
    module, func, session = network(NETWORKS[name], target)
    inputs = inputs_of(func)
    expected = [outputs_of(func, session, each) for each in inputs]
    assert all(len(np.unique(array)) > 3 for array in expected[0].values())
    for pass_ in layers_to_registers():
        Pipeline([pass_]).run(module, session)
        verify(module)
        for each, wanted in zip(inputs, expected, strict=True):
            found = outputs_of(func, session, each)
            for output, array in wanted.items():
                np.testing.assert_array_equal(found[output], array, f"{output}: {pass_.name}")


@pytest.mark.parametrize("name", NETWORKS)
def test_text_is_the_same_after_reading_it(name: str) -> None:
    for passes in range(1, 1 + len(layers_to_registers())):
        module, _, session = network(NETWORKS[name], "nv_small")
        Pipeline(layers_to_registers()[:passes]).run(module, session)
        text = print_operation(module)
        generic = print_operation(module, PrintOptions(generic=True))
        assert print_operation(module_of(text)) == text
        assert print_operation(module_of(generic)) == text


def test_outlining_again_changes_nothing() -> None:
    module, _, session = network(TWO_ISLANDS, "nv_small")
    Pipeline([OutlineDevicePrograms()]).run(module, session)
    assert [op.sym_name for op in module.walk() if isinstance(op, FuncOp)] == [
        "main",
        "main_program_0",
        "main_program_1",
        "main_program_2",
    ]
    text = print_operation(module)
    Pipeline([OutlineDevicePrograms()]).run(module, session)
    assert print_operation(module) == text


def test_a_tensor_stays_where_it_is_until_its_last_program() -> None:
    """Nothing that runs while %cross is needed may lie where it does; the layer that reads it last
    does, as it adds element by element."""
    module, func, session = network(TWO_ISLANDS, "nv_small")
    Pipeline(layers_to_registers()).run(module, session)
    machine = Machine(session.resources, Mode.INTEGER)
    machine.run(func, inputs_of(func)[0])
    layers = {layer.names[0]: layer.record for layer in executed_layers(machine)}
    (cross,) = layers["cross"].writes
    (two,), (three,) = layers["two"].writes, layers["three"].writes
    assert two.end <= cross.base or cross.end <= two.base
    assert three.base == cross.base
    assert any(area.base == cross.base for area in layers["three"].reads)


def test_constants_are_loaded_once_for_all_programs() -> None:
    shared = f"""
func.func @main(%x: {cube(8)}) -> {cube(8)} {{
  %a = nvdla.upload %x -> {cube(8)}
  %t = nvdla.constant value=dense<7> : tensor<8xi16>
  %s = nvdla.sdp %a bs_operand=%t bs=#nvdla.x_stage<alu = "sum"> -> {cube(8)}
  %d = nvdla.download %s -> {cube(8)}
  %u = nn.relu %d layers=["r"] -> {cube(8)}
  %b = nvdla.upload %u -> {cube(8)}
  %v = nvdla.sdp %b bs_operand=%t bs=#nvdla.x_stage<alu = "sum"> -> {cube(8)}
  %y = nvdla.download %v -> {cube(8)}
  func.return %y
}}"""
    module, func, session = network(shared, "nv_small")
    Pipeline(layers_to_registers()).run(module, session)
    loads = [op for op in module.walk() if isinstance(op, csb.LoadOp)]
    assert [op.parent_op for op in loads] == [func]


def test_groups_go_on_alternating_in_the_next_program() -> None:
    """As they do in the hardware: program 0 leaves the SDP at group 0 again, program 1 at 1."""
    module, _, session = network(TWO_ISLANDS, "nv_small")
    Pipeline(layers_to_registers()).run(module, session)
    enabled = {
        op.sym_name: [
            each.group
            for each in op.body.operations
            if isinstance(each, csb.EnableOp) and each.unit == "SDP"
        ]
        for op in module.walk()
        if isinstance(op, FuncOp)
    }
    assert enabled == {
        "main": [],
        "main_program_0": [0, 1],
        "main_program_1": [0],
        "main_program_2": [1],
    }


# -------------------------------------------------------------- faults


def fault(text: str) -> str:
    module, session = module_of(text), new_session()
    with pytest.raises(DiagnosticError) as caught:
        Pipeline([AllocateMemory()]).run(module, session)
    return "\n".join(render(diagnostic) for diagnostic in caught.value.diagnostics)


PROGRAM = f"""
  func.func private @p(%a: {cube(8)}) -> {cube(8)} attributes {{nvdla.program}} {{
    %y = nvdla.sdp %a -> {cube(8)}
    func.return %y
  }}"""


@pytest.mark.parametrize(
    ("host", "program", "message"),
    [
        (
            f'%b = nvdla.sdp %a layers=["s"] -> {cube(8)}\n%c = nvdla.sdp %b -> {cube(8)}',
            "",
            "layer 's' and 1 more of the hardware in a function of the host: run "
            "'outline-device-programs' first",
        ),
        (
            f"%b = func.call @p %a -> {cube(8)}\n%c = func.call @p %b -> {cube(8)}",
            PROGRAM,
            "the device program '@p' is called a second time, but its buffers are bound once",
        ),
        ("", PROGRAM, "the device program '@p' is called by no function"),
        (
            f"%b = func.call @p %a -> {cube(8)}",
            PROGRAM.replace("nvdla.sdp", "nn.relu"),
            "'nn.relu' stands in the device program '@p', but the hardware does not do it",
        ),
    ],
)
def test_what_is_no_network(host: str, program: str, message: str) -> None:
    found = fault(
        f"""module attributes {{nvdla.target = "nv_small"}} {{
  func.func @main(%x: {cube(8)}) {{
    %a = nvdla.upload %x -> {cube(8)}
    {host}
    func.return
  }}
  {program}
}}"""
    )
    assert message in found, found


def test_what_a_layer_reads_must_be_in_memory() -> None:
    text = f"""func.func @main(%x: {cube(8)}) -> {cube(8)} {{
  %r = nn.relu %x layers=["r"] -> {cube(8)}
  %y = nvdla.sdp %r layers=["s"] -> {cube(8)}
  %d = nvdla.download %y -> {cube(8)}
  func.return %d
}}"""
    module, session = module_of(text), new_session()
    with pytest.raises(DiagnosticError, match="layer 's' reads a value that is not in the memory"):
        Pipeline([OutlineDevicePrograms()]).run(module, session)


def test_calls_are_checked() -> None:
    call = f"""module {{
  func.func @main(%x: {cube(8)}) {{
    %y = func.call @prgram %x -> {cube(8)}
    func.return
  }}
  func.func private @program({cube(8)}) -> {cube(8)}
}}"""
    with pytest.raises(
        DiagnosticError, match=r"no function of that name; did you mean 'program'\?"
    ):
        module_of(call)
    with pytest.raises(
        DiagnosticError, match=re.escape(f"'@program' as '({cube(8)}) -> {cube(9)}'")
    ):
        module_of(call.replace("@prgram %x -> " + cube(8), "@program %x -> " + cube(9)))
    with pytest.raises(DiagnosticError, match=r"'@program' cannot run: it is not in the module"):
        declared = module_of(call.replace("@prgram", "@program"))
        main = declared.body.first_op
        assert isinstance(main, FuncOp)
        Machine(new_session().resources, Mode.INTEGER).run(main, {})
    recursive = f"""func.func @main(%x: {cube(8)}) -> {cube(8)} {{
  %y = func.call @main %x -> {cube(8)}
  func.return %y
}}"""
    main = module_of(recursive).body.first_op
    assert isinstance(main, FuncOp)
    with pytest.raises(DiagnosticError, match="'@main' cannot run: it calls itself"):
        Machine(new_session().resources, Mode.INTEGER).run(main, {})


def test_a_function_runs_as_its_operations_do() -> None:
    """Calls of ordinary functions, with several results, on several images."""
    text = """
func.func @main(%x: tensor<1x4xf32>) -> (tensor<1x4xf32>, tensor<1x4xf32>) {
  %a, %b = func.call @both %x -> (tensor<1x4xf32>, tensor<1x4xf32>)
  %c = nn.add %a, %b -> tensor<1x4xf32>
  func.return %c, %b
}
func.func private @both(%x: tensor<1x4xf32>) -> (tensor<1x4xf32>, tensor<1x4xf32>) {
  %r = nn.relu %x -> tensor<1x4xf32>
  %s = nn.add %r, %x -> tensor<1x4xf32>
  func.return %r, %s
}"""
    module = module_of(text)
    main = module.body.first_op
    assert isinstance(main, FuncOp)
    x = np.array([[-3, -1, 2, 5], [1, -2, 3, -4]], np.float32)
    found = Machine(new_session().resources).run(main, {"x": x})
    np.testing.assert_array_equal(found["b"], np.maximum(x, 0) + x)
    np.testing.assert_array_equal(found["c"], 2 * np.maximum(x, 0) + x)
