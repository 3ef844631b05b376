"""What is wrong with a model is told: all of it, with names, and what to do."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx_models import Imported, messages, model, node, onnx, save

from nvdla_ir.dialects import nn
from nvdla_ir.frontends.onnx import importer
from nvdla_ir.ir.diagnostics import DiagnosticCollector, DiagnosticError, Severity
from nvdla_ir.ir.location import NameLoc
from nvdla_ir.ir.types import F32, TensorType
from nvdla_ir.resources import ResourceStore

X = {"x": (1, 3, 8, 8)}


def weights(*shape: int) -> Any:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


# -------------------------------------------------------------- operators and attributes


def test_everything_unsupported_is_told_at_once(tmp_path: Path) -> None:
    """Equal faults once, and what comes behind an unsupported node as well."""
    nodes = [
        node("Sin", ["x"], ["a"], name="sin1"),
        node("Sin", ["a"], ["b"], name="sin2"),
        node("MaxPool", ["b"], ["c"], name="pool", kernel_shape=[2, 2], dilations=[2, 2]),
        node("Log", ["c"], ["d"]),
        node("Upsample", ["x", "f"], ["e"], name="up", mode="cubic"),
        node("Special", ["e"], ["g"], domain="some.company", name="own"),
        node("LeakyRelu", ["x"], ["h"], name="leaky", strange=1),
        node("Sum", ["d", "g", "h"], ["y"]),
    ]
    constants = {"f": np.array([1, 1, 2, 2], np.float32)}
    found = messages(model(nodes, X, constants=constants, opset=9), tmp_path)
    assert found == [
        "Sin: is supported for constants only, but the network computes its input; "
        "found at 2 nodes ('sin1', 'sin2')",
        "MaxPool: attribute 'dilations = [2, 2]' is not supported; found at node 'pool'",
        "Log: is supported for constants only, but the network computes its input; "
        "found at node 'd'",
        "Upsample: attribute 'mode = cubic' is not supported, only nearest and linear; found at "
        "node 'up'",
        "some.company.Special: is not supported; found at node 'own'",
        "LeakyRelu: attribute 'strange' is not supported; found at node 'leaky'",
    ]


def test_faults_have_the_place_of_their_node(tmp_path: Path) -> None:
    proto = model([node("Sin", ["x"], ["y"], name="sin1")], X)
    with pytest.raises(DiagnosticError) as caught:
        Imported(proto, tmp_path)
    location = caught.value.diagnostics[0].location
    assert location == NameLoc("sin1", NameLoc(str(tmp_path / "model.onnx")))


def test_subgraphs(tmp_path: Path) -> None:
    branch = onnx.helper.make_graph(
        [node("Identity", ["x"], ["z"])],
        "branch",
        [],
        [onnx.helper.make_tensor_value_info("z", 1, None)],
    )
    choice = node("If", ["c"], ["y"], name="choice", then_branch=branch, else_branch=branch)
    proto = model([choice], X, constants={"c": np.array(True)})
    assert messages(proto, tmp_path) == [
        "If: has subgraphs, which are not supported; found at node 'choice'"
    ]


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([node("Conv", ["x", "x"], ["y"])], "weights must be constant"),
        ([node("Conv", ["x", "w", "b"], ["y"])], "the bias has 5 elements for 4 channels"),
        ([node("Conv", ["x", "w"], ["y"], group=2)], "groups"),
        ([node("Conv", ["x", "w"], ["y"], kernel_shape=[2, 2])], "'kernel_shape' is not that"),
        ([node("Conv", ["x", "w"], ["y"], auto_pad="BEST")], "'auto_pad = BEST' is not known"),
        ([node("Conv", ["x", "w"], ["y"], strides=[0, 1])], "'strides = [0, 1]' must be"),
        (
            [node("Conv", ["x", "w"], ["y"], pads=[1, 1])],
            "'pads = [1, 1]' must be 4 numbers for an image",
        ),
        ([node("Conv", ["x", "w"], ["y"], strides="no")], "'strides' must be a list"),
        ([node("MatMul", ["x", "x"], ["y"])], "two tensors that the network computes"),
        ([node("Transpose", ["x"], ["y"], perm=[0, 1])], "is no order of 4 axes"),
        ([node("Reshape", ["x", "s"], ["y"])], "cannot become [7, 7]"),
        ([node("Concat", ["x", "w"], ["y"], axis=9)], "axis 9 does not exist"),
        ([node("Cast", ["x"], ["y"], to=7)], "casts what the network computes"),
        ([node("ReduceMean", ["x"], ["y"], axes=[1, 2])], "reduces axes [1, 2]"),
        ([node("Pad", ["x", "p"], ["y"], mode="wrap")], "'mode = wrap' is not supported"),
        ([node("MaxPool", ["x"], ["y", "i"], kernel_shape=[2, 2])], "output 1 is not supported"),
        ([node("Gather", ["x", "p"], ["y"])], "is supported for constants only"),
        ([node("BatchNormalization", ["x", "w"], ["y"])], "(input 2) is missing"),
        ([node("Relu", [], ["y"])], "input 0 is missing"),
        ([node("Div", ["x", "zero"], ["y"])], "which has zeros"),
        (
            [node("InstanceNormalization", ["x", "b", "b"], ["y"])],
            "normalizes by what it measures on each image",
        ),
    ],
)
def test_attributes_and_operands(nodes: Any, message: str, tmp_path: Path) -> None:
    constants = {
        "w": weights(4, 3, 3, 3),
        "b": weights(5),
        "s": np.array([7, 7]),
        "p": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
        "zero": np.float32(0),
    }
    outputs = list(nodes[-1].output)
    found = messages(model(nodes, X, outputs, constants), tmp_path)
    assert len(found) == 1 and message in found[0], found


# -------------------------------------------------------------- shapes


def test_open_shapes_say_how_to_state_them(tmp_path: Path) -> None:
    nodes = [node("Relu", ["data"], ["y"])]
    (message,) = messages(model(nodes, {"data": ("N", 3, "height", None)}), tmp_path)
    assert message.endswith("state it with --shape data=1x3x<height>x<?>")
    (message,) = messages(model(nodes, {"data": None}), tmp_path)
    assert "--shape data=1x3x224x224" in message
    (message,) = messages(model(nodes, {"data": (1, 3, 0, 5)}), tmp_path)
    assert message.endswith("has the shape 1x3x0x5, but extents must be numbers from 1 on")
    (message,) = messages(model(nodes, {"data": [1] * 40}), tmp_path)
    assert "has 40 dimensions, but at most 32 are supported" in message


@pytest.mark.parametrize("batch", ["N", None, 0, -1])
def test_an_open_batch_is_one_image(batch: Any, tmp_path: Path) -> None:
    """Other batches can be stated; shapes that are computed from the batch follow."""
    nodes = [
        node("Shape", ["data"], ["shape"]),
        node("Gather", ["shape", "zero"], ["n"]),
        node("Concat", ["n", "rest"], ["target"], axis=0),
        node("Reshape", ["data", "target"], ["y"]),
    ]
    constants = {"zero": np.array([0]), "rest": np.array([-1])}
    proto = model(nodes, {"data": (batch, 3, 4, 5)}, constants=constants)
    if batch in (0, -1):
        proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = batch
    imported = Imported(proto, tmp_path)
    (remark,) = imported.diagnostics.diagnostics
    assert remark.severity is Severity.REMARK
    assert remark.message.startswith("input 'data' is taken one image at a time")
    assert imported.main.function_type.results[0] == TensorType((1, 60), F32)
    imported = Imported(proto, tmp_path, {"data": (2, 3, 4, 5)})
    assert not imported.diagnostics.diagnostics
    assert imported.main.function_type.results[0] == TensorType((2, 60), F32)


def test_stated_shapes_that_do_not_fit(tmp_path: Path) -> None:
    proto = model([node("Relu", ["data"], ["y"])], {"data": (1, 3, 4, 5)})
    (message,) = messages(proto, tmp_path, shapes={"dato": (1, 3, 4, 5)})
    assert message == "there is no input 'dato'; did you mean 'data'?"
    (message,) = messages(proto, tmp_path, shapes={"x_1": (1, 3, 4, 5)})
    assert message == "there is no input 'x_1'; the inputs are 'data'"
    (message,) = messages(proto, tmp_path, shapes={"data": (1, 3)})
    assert "has 4 dimensions" in message
    (message,) = messages(proto, tmp_path, shapes={"data": (1, 3, 0, 5)})
    assert "must be numbers from 1 on" in message
    imported = Imported(proto, tmp_path, {"data": (2, 3, 4, 5)})
    assert "is 1x3x4x5 in the model, 2x3x4x5 as stated" in (
        imported.diagnostics.diagnostics[0].message
    )


# -------------------------------------------------------------- the graph


def test_cycles(tmp_path: Path) -> None:
    nodes = [node("Add", ["x", "b"], ["a"], name="one"), node("Relu", ["a"], ["b"], name="two")]
    (message,) = messages(model(nodes, X, ["b"]), tmp_path)
    assert message == "these nodes depend on each other: 'two', 'one'"


def test_nodes_in_any_order_and_nodes_that_nobody_needs(tmp_path: Path) -> None:
    nodes = [
        node("Relu", ["b"], ["y"]),
        node("Erf", ["x"], ["unused"]),
        node("Tanh", ["a"], ["b"]),
        node("Sigmoid", ["x"], ["a"]),
    ]
    assert Imported(model(nodes, X), tmp_path).operations == ["nn.sigmoid", "nn.tanh", "nn.relu"]


def test_a_deep_network(tmp_path: Path) -> None:
    names = ["x", *(f"t{index}" for index in range(3000)), "y"]
    pairs = itertools.pairwise(names)
    nodes = [node("Tanh", [source], [target]) for source, target in pairs]
    assert len(Imported(model(nodes[::-1], X), tmp_path).operations) == 3001


def test_tensors_that_nothing_or_two_nodes_compute(tmp_path: Path) -> None:
    (message,) = messages(model([node("Relu", ["gone"], ["y"], name="r")], X), tmp_path)
    assert message == "nothing computes 'gone', which node 'r' reads"
    nodes = [node("Relu", ["x"], ["y"], name="r"), node("Tanh", ["x"], ["y"], name="t")]
    (message,) = messages(model(nodes, X), tmp_path)
    assert message == "node 't' computes 'y', which is there already"
    (message,) = messages(model([node("Relu", ["x"], ["y"])], X, ["z"]), tmp_path)
    assert message == "nothing computes 'z'"


def test_names_of_layers(tmp_path: Path) -> None:
    """Nodes' names; where one is missing or used twice, the output's. Each is used once."""
    nodes = [
        node("Relu", ["x"], ["a"], name="same"),
        node("Tanh", ["a"], ["b"], name="same"),
        node("Sigmoid", ["b"], ["c"]),
        node("Elu", ["c"], ["y"], name="x"),
    ]
    imported = Imported(model(nodes, X), tmp_path)
    found = [op.layers for op in imported.main.body.operations if isinstance(op, nn.ReluOp)]
    names = [getattr(op, "layers", None) for op in imported.main.body.operations]
    assert found == [("a",)]
    assert names[:4] == [("a",), ("b",), ("c",), ("x.1",)]
    assert "several nodes of the same name" in imported.diagnostics.diagnostics[0].message
    assert imported.main.argument_name(imported.main.body.arguments[0]) == "x"
    assert imported.main.result_name(0) == "y"


# -------------------------------------------------------------- weights


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_none(value: float, tmp_path: Path) -> None:
    array = weights(4, 3, 3, 3)
    array[1, 2, 0, 0] = array[0, 0, 0, 0] = value
    proto = model([node("Conv", ["x", "w"], ["y"], name="c")], X, constants={"w": array})
    assert messages(proto, tmp_path) == [
        "Conv: tensor 'w' has 2 NaN or infinite numbers among its 108; found at node 'c'"
    ]


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_weights_of_other_widths(dtype: str, tmp_path: Path) -> None:
    array = weights(4, 3, 3, 3).astype(dtype)
    proto = model([node("Conv", ["x", "w"], ["y"])], X, constants={"w": array})
    imported = Imported(proto, tmp_path)
    assert [d.message for d in imported.diagnostics.diagnostics] == [
        f"1 tensor of {dtype} became float32"
    ]
    (constant,) = [op for op in imported.main.body.operations if isinstance(op, nn.ConstantOp)]
    assert np.array_equal(imported.resources.array(constant.value), array.astype(np.float32))


def test_large_weights_stay_what_they_are(tmp_path: Path) -> None:
    """Those that protobuf does not see, in the order of the file."""
    arrays = {f"w{i}": weights(8, 8 if i else 3, 5, 5) * (i + 1) for i in range(3)}
    names = ["x", "a", "b", "y"]
    nodes = [node("Conv", [names[i], f"w{i}"], [names[i + 1]], pads=[2, 2, 2, 2]) for i in range(3)]
    imported = Imported(model(nodes, X, constants=arrays), tmp_path)
    for op in imported.main.body.operations:
        if isinstance(op, nn.ConstantOp):
            found = imported.resources.array(op.value)
            assert np.array_equal(found, arrays[str(op.output.name_hint)])
            assert found.flags.aligned


def external(tmp_path: Path, **changes: str) -> Any:
    array = weights(4, 3, 3, 3)
    (tmp_path / "weights.bin").write_bytes(bytes(16) + array.tobytes())
    proto = model([node("Conv", ["x", "w"], ["y"], name="c")], X, constants={"w": array})
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entries = {"location": "weights.bin", "offset": "16", "length": str(array.nbytes), **changes}
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)
    return proto, array


def test_external_data(tmp_path: Path) -> None:
    proto, array = external(tmp_path)
    imported = Imported(proto, tmp_path)
    (constant,) = [op for op in imported.main.body.operations if isinstance(op, nn.ConstantOp)]
    assert np.array_equal(imported.resources.array(constant.value), array)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"location": "gone.bin"}, "which does not exist"),
        ({"location": "x" * 5000}, f"'…{'x' * 200}', which does not exist"),
        ({"location": "../weights.bin"}, "must lie in the model's folder"),
        ({"location": str(Path("weights.bin").resolve())}, "must lie in the model's folder"),
        ({"offset": "20"}, "which ends before that"),
        ({"offset": "x"}, "is no number"),
        ({"length": "7"}, "but its shape needs 432"),
    ],
)
def test_external_data_that_is_not_there(changes: Any, message: str, tmp_path: Path) -> None:
    proto, _ = external(tmp_path, **changes)
    (found,) = messages(proto, tmp_path)
    assert message in found and "tensor 'w'" in found and "'c'" in found


def test_data_of_the_wrong_size(tmp_path: Path) -> None:
    proto = model([node("Conv", ["x", "w"], ["y"])], X, constants={"w": weights(40, 3, 3, 3)})
    proto.graph.initializer[0].raw_data += b"1234"
    (found,) = messages(proto, tmp_path)
    assert "has 4324 bytes, but its shape [40, 3, 3, 3] of float32 needs 4320" in found


# -------------------------------------------------------------- files


def good() -> Any:
    constants = {"w": weights(40, 3, 5, 5)}
    return model([node("Conv", ["x", "w"], ["y"], name="c")], X, constants=constants)


def test_files_that_are_cut_off(tmp_path: Path) -> None:
    data = good().SerializeToString()
    for length in range(0, len(data) - 1, 97):
        (found,) = messages(data[:length], tmp_path)
        assert "is no ONNX model" in found or found in (
            "is empty",
            "has no graph: it is no ONNX model",
        )


def test_files_that_are_no_models(tmp_path: Path) -> None:
    (found,) = messages(b"module {\n}\n", tmp_path)
    assert "is no ONNX model" in found
    from nvdla_ir.frontends.onnx import import_onnx

    for path, message in ((tmp_path / "gone.onnx", "No such file"), (tmp_path, "directory")):
        with pytest.raises(DiagnosticError, match=message):
            import_onnx(path, ResourceStore(), shapes={}, diagnostics=DiagnosticCollector())


def test_operator_sets(tmp_path: Path) -> None:
    proto = good()
    proto.opset_import[0].version = 6
    assert "uses operator set 6, but 7 and newer are read" in messages(proto, tmp_path)[0]
    proto.opset_import[0].version = 99
    imported = Imported(proto, tmp_path)
    assert imported.diagnostics.diagnostics[0].severity is Severity.WARNING
    del proto.opset_import[:]
    assert messages(proto, tmp_path) == ["does not state its operator set"]


def test_without_the_onnx_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    path = save(b"x", tmp_path)
    from nvdla_ir.frontends.onnx import import_onnx

    with pytest.raises(DiagnosticError, match=r"install 'nvdla-ir\[onnx\]'"):
        import_onnx(path, ResourceStore(), shapes={}, diagnostics=DiagnosticCollector())


def test_functions_of_the_model_are_put_in(tmp_path: Path) -> None:
    helper = onnx.helper
    function = helper.make_function(
        "own",
        "Twice",
        ["a"],
        ["b"],
        [node("Relu", ["a"], ["r"]), node("Tanh", ["r"], ["b"])],
        [helper.make_opsetid("", 13)],
    )
    proto = model([node("Twice", ["x"], ["y"], domain="own")], X)
    proto.functions.append(function)
    proto.opset_import.append(helper.make_opsetid("own", 1))
    assert Imported(proto, tmp_path).operations == ["nn.relu", "nn.tanh"]


def function(name: str, called: Any, count: int = 1) -> Any:
    """A function of one tensor that calls another ``count`` times."""
    names = ["a", *(f"t{i}" for i in range(count - 1)), "b"]
    nodes = [
        node(called, [source], [target], domain="own" if called[0] == "F" else "")
        for source, target in itertools.pairwise(names)
    ]
    imports = [onnx.helper.make_opsetid("", 13), onnx.helper.make_opsetid("own", 1)]
    return onnx.helper.make_function("own", name, ["a"], ["b"], nodes, imports)


@pytest.mark.parametrize(
    ("functions", "message"),
    [
        ([("F0", "F0", 1)], "has functions that call themselves: 'own.F0'"),
        ([("F0", "F1", 1), ("F1", "F0", 2)], "call themselves: 'own.F0', 'own.F1'"),
        (
            [*((f"F{i}", f"F{i + 1}", 10) for i in range(30)), ("F30", "Relu", 1)],
            f"has {10**30} nodes when its functions are put in, but at most 1000000 are read",
        ),
    ],
)
def test_functions_that_never_end(functions: Any, message: str, tmp_path: Path) -> None:
    proto = model([node("F0", ["x"], ["y"], domain="own")], X)
    proto.functions.extend(function(*each) for each in functions)
    proto.opset_import.append(onnx.helper.make_opsetid("own", 1))
    (found,) = messages(proto, tmp_path)
    assert message in found


# -------------------------------------------------------------- models that ask for too much


def test_what_ends_the_native_inference(tmp_path: Path) -> None:
    """The onnx package's shape inference aborts the process on this Split; that of others goes
    on. What reads the outputs of a node at fault is looked at as well."""
    nodes = [
        node("Split", ["x"], ["a", "b", "c"], name="split", axis=1, num_outputs=2),
        node("Sum", ["a", "b", "c"], ["y"]),
    ]
    assert messages(model(nodes, X, opset=23), tmp_path) == [
        "Split: attribute 'num_outputs = 2' is not the number of its outputs, 3; found at node "
        "'split'"
    ]


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([node("Expand", ["one", "huge"], ["c"])], f"makes a constant of {2**80} elements"),
        ([node("ConstantOfShape", ["huge"], ["c"])], f"makes a constant of {2**80} elements"),
        ([node("Tile", ["one", "huge"], ["c"])], f"makes a constant of {2**80} elements"),
        ([node("Range", ["zero", "most", "step"], ["c"])], f"makes a constant of {2**62} elements"),
        ([node("Mul", ["row", "column"], ["c"])], f"makes a constant of {2**28} elements"),
        ([node("MatMul", ["column", "row"], ["c"])], f"makes a constant of {2**28} elements"),
        ([node("Reshape", ["one", "ones"], ["c"])], "makes a tensor of 40 dimensions"),
        ([node("Div", ["most", "zero"], ["c"])], "cannot be computed from its constants: divide"),
        ([node("Sqrt", ["one"], ["c"], strange=1)], "attribute 'strange' is not supported"),
        ([node("ArgMax", ["x"], ["i"]), node("Relu", ["i"], ["c"])], "is a tensor of integers"),
        ([node("Cast", ["one"], ["c"], to=8)], "which are not read"),
    ],
)
def test_constants_that_cannot_be_made(nodes: Any, message: str, tmp_path: Path) -> None:
    constants = {
        "one": np.ones((1, 1), np.float32),
        "huge": np.array([2**40, 2**40]),
        "zero": np.array(0),
        "most": np.array(2**62),
        "step": np.array(1),
        "row": np.ones((1, 2**14), np.float32),
        "column": np.ones((2**14, 1), np.float32),
        "ones": np.ones(40, np.int64),
    }
    found = messages(
        model([*nodes, node("Add", ["x", "c"], ["y"])], X, constants=constants), tmp_path
    )
    assert message in found[0], found
    if "elements" in message:
        assert "at most 67108864 are made on import: make it an input of the network" in found[0]


def test_more_dimensions_than_arrays_have(tmp_path: Path) -> None:
    proto = model([node("Add", ["x", "w"], ["y"])], X, constants={"w": np.float32([1])})
    proto.graph.initializer[0].dims[:] = [1] * 70
    (found,) = messages(proto, tmp_path)
    assert "tensor 'w' has 70 dimensions, but at most 32 are supported" in found


def test_tensors_without_elements(tmp_path: Path) -> None:
    empty = np.empty((0, 3, 8, 8), np.float32)
    (found,) = messages(
        model([node("Concat", ["x", "w"], ["y"], axis=0)], X, constants={"w": empty}), tmp_path
    )
    assert "tensor 'w' has the shape [0, 3, 8, 8]: without elements there is nothing" in found


# -------------------------------------------------------------- garbled models


def corpus() -> list[bytes]:
    constants = {
        "w": weights(40, 3, 5, 5),
        "b": weights(40),
        "s": np.array([1, -1]),
        "v": weights(7, 640),
        "scale": np.float32(0.1),
        "zero": np.uint8(128),
        "sizes": np.array([20, 20]),
        "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
    }
    nodes = [
        node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        node("DequantizeLinear", ["q", "scale", "zero"], ["d"]),
        node("Conv", ["d", "w", "b"], ["c"], name="c", pads=[2, 2, 2, 2], group=1),
        node("Clip", ["c"], ["r"]),
        node("Split", ["r", "sizes"], ["s1", "s2"], axis=1),
        node("Mul", ["s1", "s2"], ["m"]),
        node("Concat", ["m", "s1"], ["k"], axis=1),
        node("MaxPool", ["k"], ["p"], kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
        node("Shape", ["p"], ["shape"]),
        node("Pad", ["p", "pads"], ["pad"]),
        node("AveragePool", ["pad"], ["g"], kernel_shape=[3, 3]),
        node("Transpose", ["g"], ["t"], perm=[0, 2, 3, 1]),
        node("Reshape", ["t", "s"], ["f"]),
        node("Gemm", ["f", "v"], ["e"], transB=1),
        node("Softmax", ["e"], ["y"]),
    ]
    first = model(nodes, X, constants=constants)
    second = model(
        [
            node("ConvTranspose", ["x", "w2"], ["a"], strides=[2, 2], output_padding=[1, 1]),
            node("BatchNormalization", ["a", "g", "g", "g", "g"], ["b"]),
            node("Resize", ["b", "", "f"], ["u"], mode="nearest"),
            node("ReduceMean", ["u"], ["y"], axes=[2, 3], keepdims=0),
        ],
        X,
        constants={
            "w2": weights(3, 5, 3, 3),
            "g": np.abs(weights(5)),
            "f": np.array([1, 1, 2, 2], np.float32),
        },
    )
    return [first.SerializeToString(), second.SerializeToString()]


def test_garbled_models_are_imported_or_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """4,000 models with changed, missing and repeated bytes: nothing but diagnostics."""
    # A process for each model that is refused would take too long.
    monkeypatch.setattr(importer, "inferred_types", lambda proto, extents: {})
    rng = np.random.default_rng(0)
    models = corpus()
    outcomes = {"imported": 0, "refused": 0}
    for number in range(2000):
        data = bytearray(models[number % len(models)])
        for _ in range(int(rng.integers(1, 4))):
            # Behind the large weights, where the structure is.
            position = int(rng.integers(0, len(data)))
            if rng.integers(0, 2):
                position = int(rng.integers(0, min(len(data), 1800)))
            choice = rng.integers(0, 4)
            if choice == 0:
                data[position] = int(rng.integers(0, 256))
            elif choice == 1:
                data[position] ^= 1 << int(rng.integers(0, 8))
            elif choice == 2:
                del data[position : position + int(rng.integers(1, 9))]
            else:
                data[position:position] = data[position : position + int(rng.integers(1, 9))]
        try:
            Imported(bytes(data), tmp_path)
            outcomes["imported"] += 1
        except DiagnosticError as error:
            assert error.diagnostics
            outcomes["refused"] += 1
    assert min(outcomes.values()) > 300, outcomes
