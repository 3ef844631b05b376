"""The part of a model between named tensors, and the list of its tensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx_models import model, node, runtime_outputs, save

from nvdla_ir.frontends.cuts import Cut
from nvdla_ir.frontends.onnx import import_onnx, list_tensors
from nvdla_ir.interp.machine import Machine
from nvdla_ir.ir.diagnostics import DiagnosticCollector, DiagnosticError
from nvdla_ir.resources import ResourceStore

X = {"x": (1, 3, 8, 8), "size": (1, 2)}


def detector() -> Any:
    """Two heads, and a decoding that is not supported."""
    rng = np.random.default_rng(0)
    nodes = [
        node("Conv", ["x", "w"], ["features"], name="backbone"),
        node("Relu", ["features"], ["r,1"], name="act"),
        node("Sigmoid", ["r,1"], ["scores"], name="head"),
        node("Exp", ["r,1"], ["e"], name="decode"),
        node("Gather", ["e", "size"], ["boxes"], name="pick"),
    ]
    constants = {"w": rng.normal(size=(4, 3, 3, 3)).astype(np.float32)}
    return model(nodes, X, ("scores", "boxes"), constants)


def cut(proto: Any, folder: Path, inputs: Any = (), outputs: Any = (), **shapes: Any) -> Any:
    """The function, what runs it, and the remarks."""
    resources, diagnostics = ResourceStore(), DiagnosticCollector()
    module = import_onnx(
        save(proto, folder),
        resources,
        shapes=shapes,
        diagnostics=diagnostics,
        cut=Cut(tuple(inputs), tuple(outputs)),
    )
    main: Any = module.body.first_op
    run = Machine(resources).run
    return main, run, [diagnostic.message for diagnostic in diagnostics.diagnostics]


@pytest.mark.parametrize("outputs", [["scores,features"], ["head", "features"], ["head,backbone"]])
def test_a_network_ends_at_named_tensors(outputs: Any, tmp_path: Path) -> None:
    """In the order given; a node's name means its first result."""
    proto = detector()
    x = np.random.default_rng(1).normal(size=(1, 3, 8, 8)).astype(np.float32)
    main, run, remarks = cut(proto, tmp_path, outputs=outputs)
    found = run(main, {"x": x})
    assert list(found) == ["scores", "features"]
    assert remarks == ["input 'size' is left out with the rest"]
    del proto.graph.output[1:]
    del proto.graph.input[1:]
    del proto.graph.node[3:]
    (expected,) = runtime_outputs(proto, {"x": x})
    np.testing.assert_allclose(found["scores"], expected, rtol=1e-5)


def test_a_network_begins_at_named_tensors(tmp_path: Path) -> None:
    """Their shapes are inferred; names may have commas."""
    main, run, remarks = cut(detector(), tmp_path, ["r,1"], ["scores"])
    x = np.random.default_rng(1).normal(size=(1, 4, 6, 6)).astype(np.float32)
    np.testing.assert_allclose(run(main, {"r,1": x})["scores"], 1 / (1 + np.exp(-x)), rtol=1e-5)
    assert [message for message in remarks if "is left out" in message] == [
        "input 'x' is left out with the rest",
        "input 'size' is left out with the rest",
    ]
    main, run, _ = cut(detector(), tmp_path, ["act"], ["head"], **{"r,1": (2, 4, 3, 3)})
    assert run(main, {"r,1": np.zeros((2, 4, 3, 3), np.float32)})["scores"].shape == (2, 4, 3, 3)


def test_inputs_that_the_outputs_still_need_stay(tmp_path: Path) -> None:
    nodes = [node("Relu", ["x"], ["r"]), node("Tanh", ["z"], ["t"]), node("Add", ["r", "t"], ["y"])]
    main, run, remarks = cut(model(nodes, {"x": (1, 2), "z": (1, 2)}), tmp_path, ["t"])
    x, t = np.float32([[-1, 2]]), np.float32([[5, 6]])
    np.testing.assert_array_equal(run(main, {"x": x, "t": t})["y"], [[5, 8]])
    assert "the outputs still need input 'x'" in remarks


@pytest.mark.parametrize(
    ("inputs", "outputs", "messages"),
    [
        (
            ["feature"],
            ["score", "zzz"],
            [
                "'feature'; did you mean 'features'?",
                "'score'; did you mean 'scores'?",
                "'zzz'; --list-tensors lists them",
            ],
        ),
        (["e"], ["scores"], ["nothing that the outputs need reads 'e'"]),
    ],
)
def test_names_that_are_none(inputs: Any, outputs: Any, messages: Any, tmp_path: Path) -> None:
    with pytest.raises(DiagnosticError) as caught:
        cut(detector(), tmp_path, inputs, outputs)
    found = [diagnostic.message for diagnostic in caught.value.diagnostics]
    assert len(found) == len(messages)
    assert all(part in message for part, message in zip(messages, found, strict=True)), found


def test_the_list_of_tensors(tmp_path: Path) -> None:
    path = save(detector(), tmp_path)
    found = list_tensors(path, shapes={}, diagnostics=DiagnosticCollector())
    assert [(each.name, each.shape, each.dtype, each.producer) for each in found[:4]] == [
        ("x", "1x3x8x8", "float32", "input"),
        ("size", "1x2", "float32", "input"),
        ("features", "1x4x6x6", "float32", "Conv 'backbone'"),
        ("r,1", "1x4x6x6", "float32", "Relu 'act'"),
    ]
    assert [each.name for each in found[4:]] == ["scores", "e", "boxes"]
