"""Names, types and places of what is bound; the choice of the hardware."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from loadable_building import INPUT, OUTPUT, Loadable, convolution, cube, sdp
from loadable_running import full_range, function_of, imported, run

from nvdla_ir.dialects import default_context
from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.csb import LoadOp
from nvdla_ir.dialects.nvdla import configuration_of
from nvdla_ir.formats.loadable import import_loadable
from nvdla_ir.hw.configuration import names
from nvdla_ir.interp.machine import Machine, Mode
from nvdla_ir.ir.diagnostics import DiagnosticCollector, DiagnosticError, render
from nvdla_ir.resources import ResourceStore
from nvdla_ir.text.parser import parse
from nvdla_ir.text.printer import print_operation

SHAPE = (8, 2, 2)


def copying(*names: str, atom: int = 8, **tensor: Any) -> Loadable:
    """A network that copies each input to the output of the same name."""
    net = Loadable()
    pairs = [
        (net.bound(name, INPUT, SHAPE, atom, **tensor), net.bound(name, OUTPUT, SHAPE, atom))
        for name in names
    ]
    net.hardware_task(*[[sdp(cube(x, SHAPE, atom), cube(y, SHAPE, atom))] for x, y in pairs])
    return net


def names_of(net: Loadable, **options: Any) -> tuple[list[str], list[str]]:
    function = function_of(imported(net, **options)[0])
    inputs = [function.argument_name(argument) for argument in function.body.arguments]
    return inputs, [function.result_name(i) for i in range(len(function.return_op.operands))]


def test_names_are_unique_and_fit_command_lines() -> None:
    net = copying("data", "data", "", "a b=c", "--", "naïve/conv:0")
    expected = ["data", "data.1", "input2", "a_b_c", "input4", "na_ve/conv:0"]
    outputs = [name.replace("input", "output") for name in expected]
    assert names_of(net) == (expected, outputs)
    values = {name: full_range(index, 1, *SHAPE) for index, name in enumerate(expected)}
    results = run(net, values)
    for name, output in zip(expected, outputs, strict=True):
        np.testing.assert_array_equal(results[output], values[name])


def test_unknown_names_of_raw_tensors_are_refused() -> None:
    with pytest.raises(DiagnosticError, match="has no input 'dat'"):
        imported(copying("data"), raw_inputs={"dat"})
    with pytest.raises(DiagnosticError, match=r"has no output '-'.*: it has 'data'"):
        imported(copying("data"), raw_outputs={"-"})
    with pytest.raises(DiagnosticError, match=r"has no output 'data'.*: it has '-'"):
        imported(copying("data"), raw_outputs={"data"}, hardware_only=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data_type": 3}, "has the data type 3 (INT16)"),
        ({"data_type": 99}, "has the data type 99 (unknown)"),
        ({"n": 2}, "holds 2 images"),
        ({"c": 0}, "has the shape 0x2x2 (CxHxW)"),
        ({"h": 9000}, "has the shape 8x9000x2 (CxHxW)"),
        ({"stride_1": 12}, "line_stride = 12: must be a multiple of the memory atom"),
        ({"stride_1": 8}, "strides of 8 and 32 bytes make lines overlap"),
        ({"w": 3, "stride_1": 24}, "takes 48 bytes from 0 on in memory of 32 bytes"),
        ({"pixel_format": 28, "stride_2": 0}, "has two planes"),
        ({"pixel_format": 28, "c": 3, "stride_2": 8}, "second plane 8 bytes behind the first"),
        ({"pixel_format": 60}, "pixel format 60 does not exist"),
        ({"pixel_format": 12}, "T_A8B8G8R8 has 4 channels"),
        ({"pixel_format": 20, "c": 4}, "only formats of 8-bit components"),
    ],
)
def test_tensors_without_a_form_of_their_own_are_taken_as_bytes(
    changes: dict[str, Any], message: str
) -> None:
    net = copying("x", **changes)
    with pytest.raises(DiagnosticError) as caught:
        imported(net, target="nv_small")
    assert message in str(caught.value)
    assert "give and take it as the bytes of its buffer" in str(caught.value)
    values = full_range(3, 32)
    results = run(net, {"x": values}, target="nv_small", raw_inputs={"x"}, raw_outputs={"x"})
    np.testing.assert_array_equal(results["x"], values)


def test_unsigned_tensors_keep_their_bytes() -> None:
    x = np.arange(200, 232, dtype=np.uint8).reshape(1, *SHAPE)
    result = run(copying("x", data_type=5), {"x": x})["x"]
    np.testing.assert_array_equal(result.view(np.uint8), x)


def test_images_are_uploaded_in_their_pixel_format() -> None:
    net = Loadable()
    shape = (4, 2, 2)
    x = net.bound("x", INPUT, shape, 8, pixel_format=13, data_category=0, stride_1=8, stride_2=0)
    y = net.bound("y", OUTPUT, shape, 8)
    made = cube(0, shape, 8, type=2)
    weights = net.memory(128, np.eye(4, dtype=np.int8).tobytes().ljust(128, b"\0"))
    source = cube(x, shape, 8) | {"line_stride": 8, "surf_stride": 0}
    layer = [
        convolution(
            source, made, cube(weights, shape, 8, size=128), 1, data_format=13, pixel_override=1
        ),
        sdp(made, cube(y, shape, 8)),
    ]
    net.hardware_task(layer)
    values = full_range(4, 1, *shape)
    np.testing.assert_array_equal(run(net, {"x": values}, target="nv_small")["y"], values)
    raw = values[0][[2, 1, 0, 3]].transpose(1, 2, 0).ravel()  # B, G, R, A
    padded = np.zeros(32, np.int8)
    padded[:16] = raw
    results = run(net, {"x": padded}, target="nv_small", raw_inputs={"x"})
    np.testing.assert_array_equal(results["y"], values)


def test_the_first_hardware_that_fits_is_told() -> None:
    diagnostics = DiagnosticCollector()
    net = copying("x", atom=32)
    module = import_loadable(net.data(), "net.nvdla", ResourceStore(), diagnostics=diagnostics)
    assert configuration_of(function_of(module)).name == "nv_medium_1024_full"
    (remark,) = diagnostics.diagnostics
    assert render(remark) == (
        'loc("net.nvdla"): remark: taken for nv_medium_1024_full, the first configuration that it '
        "fits"
    )


def test_where_none_fits_each_has_a_reason() -> None:
    net = Loadable()
    x, y = net.bound("x", INPUT, SHAPE, 8), net.bound("y", OUTPUT, SHAPE, 8)
    net.hardware_task([sdp(cube(x, SHAPE, 8), cube(y, SHAPE, 8), y_op={"enable": 1, "type": 9})])
    with pytest.raises(DiagnosticError, match="fits no configuration") as caught:
        imported(net)
    notes = [note.message for note in caught.value.diagnostics[0].notes]
    assert len(notes) == len(names())
    assert notes[0].startswith("not nv_small: operation 0 (SDP)")
    assert any("nv_full: tensor 'x' is in atoms of 8 bytes" in note for note in notes)


def test_unknown_targets_are_refused_and_files_are_taken(tmp_path: Path) -> None:
    with pytest.raises(DiagnosticError, match="unknown hardware configuration 'nv_smal'"):
        imported(copying("x"), target="nv_smal")
    file = tmp_path / "mine.toml"
    file.write_text('base = "nv_small"\n')
    module, resources = imported(copying("x"), target=str(file))
    assert str(module.attributes["nvdla.target"]) == '{name = "mine", base = "nv_small"}'
    x = full_range(5, 1, *SHAPE)
    result = Machine(resources, Mode.INTEGER).run(function_of(module), {"x": x})
    np.testing.assert_array_equal(result["x"], x)


def test_only_constants_that_are_used_are_loaded() -> None:
    net = copying("x")
    net.memory(64, bytes(range(64)))
    module, _ = imported(net)
    assert not [op for op in function_of(module).body.operations if isinstance(op, LoadOp)]


def test_submissions_have_limits() -> None:
    net = copying("x")
    net.lists["submit"] = [{"task_id": [0] * 25}]
    with pytest.raises(DiagnosticError, match="submission 0 has 25 tasks, but may have 24"):
        imported(net)
    net.lists["submit"] = [{"id": index, "task_id": [0] * 24} for index in range(700)]
    with pytest.raises(DiagnosticError, match="runs more than 8192 operations"):
        imported(net)
    net.lists["task"][0]["interface"] = 3
    with pytest.raises(DiagnosticError, match="is for the interface 3, but there are 1"):
        imported(net)


def test_a_task_may_run_repeatedly() -> None:
    net = Loadable()
    x, y = net.bound("x", INPUT, SHAPE, 8), net.bound("y", OUTPUT, SHAPE, 8)
    plus = {"enable": 1, "type": 2, "alu_type": 2, "alu_operand": 5}
    net.hardware_task([sdp(cube(x, SHAPE, 8), cube(x, SHAPE, 8), x1_op=plus)])
    net.hardware_task([sdp(cube(x, SHAPE, 8), cube(y, SHAPE, 8))])
    net.lists["submit"] = [{"task_id": [0, 0, 0, 1]}]
    values = full_range(6, 1, *SHAPE)
    expected = np.clip(values.astype(int) + 15, -128, 127)
    np.testing.assert_array_equal(run(net, {"x": values})["y"], expected)


def test_statistics_are_remarked() -> None:
    net = Loadable()
    x, y = net.bound("x", INPUT, SHAPE, 8), net.bound("y", OUTPUT, SHAPE, 8)
    net.hardware_task([sdp(cube(x, SHAPE, 8), cube(y, SHAPE, 8))], stat_list_index=1)
    diagnostics = DiagnosticCollector()
    import_loadable(net.data(), "f", ResourceStore(), target="nv_small", diagnostics=diagnostics)
    assert [d.message for d in diagnostics.diagnostics] == [
        "the statistics that it asks for are not written"
    ]


def test_the_module_survives_its_text() -> None:
    module, _ = imported(copying("data", "a b"))
    text = print_operation(module)
    again = parse(text, default_context(), "again.ir")
    copy = again.operations[0]
    assert isinstance(copy, ModuleOp)
    assert print_operation(copy) == text
