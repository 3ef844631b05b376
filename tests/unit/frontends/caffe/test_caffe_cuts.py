"""The part of a Caffe network between named blobs, and the list of its blobs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from caffe_networks import CaffeLayer, prototxt

from nvdla_ir.frontends.caffe import import_caffe, list_blobs
from nvdla_ir.frontends.cuts import Cut
from nvdla_ir.interp.machine import Machine
from nvdla_ir.ir.diagnostics import DiagnosticCollector, DiagnosticError
from nvdla_ir.resources import ResourceStore


def power(name: str, bottom: str, top: str, scale: float) -> CaffeLayer:
    return CaffeLayer(name, "Power", (bottom,), (top,), {"power_param": {"scale": scale}})


LAYERS = [
    CaffeLayer("data", "Input", (), ("data",), {"input_param": {"shape": {"dim": [1, 4, 2, 2]}}}),
    power("first", "data", "blob", 2),
    power("in_place", "blob", "blob", 3),
    power("last_in_place", "blob", "blob", 5),
    CaffeLayer("split", "Slice", ("blob",), ("a", "b")),
    CaffeLayer("head", "TanH", ("a",), ("y",)),
]


def cut(folder: Path, inputs: Any = (), outputs: Any = (), **shapes: Any) -> Any:
    """The function, and what runs it."""
    path = folder / "net.prototxt"
    path.write_text(prototxt("net", LAYERS))
    resources = ResourceStore()
    module = import_caffe(
        path,
        None,
        resources,
        shapes=shapes,
        diagnostics=DiagnosticCollector(),
        cut=Cut(tuple(inputs), tuple(outputs)),
    )
    main: Any = module.body.first_op
    return main, Machine(resources).run


@pytest.mark.parametrize(
    ("outputs", "factors"),
    [
        (["blob"], {"blob": 30}),
        (["first"], {"first": 2}),
        (["in_place,blob"], {"in_place": 6, "blob": 30}),
        (["last_in_place"], {"blob": 30}),
    ],
)
def test_a_network_ends_at_named_blobs(outputs: Any, factors: Any, tmp_path: Path) -> None:
    """A blob's name means what its last layer made of it, a layer's what that layer made."""
    main, run = cut(tmp_path, outputs=outputs)
    x = np.arange(16, dtype=np.float32).reshape(1, 4, 2, 2)
    found = run(main, {"data": x})
    assert list(found) == list(factors)
    for name, factor in factors.items():
        np.testing.assert_array_equal(found[name], factor * x)


def test_a_network_begins_at_named_blobs(tmp_path: Path) -> None:
    x = np.arange(16, dtype=np.float32).reshape(1, 4, 2, 2)
    main, run = cut(tmp_path, ["in_place"], ["blob"])
    np.testing.assert_array_equal(run(main, {"in_place": x})["blob"], 5 * x)
    main, run = cut(tmp_path, ["a"])
    found = run(main, {"a": x[:, :2], "data": x})
    assert list(found) == ["b", "y"]
    np.testing.assert_allclose(found["y"], np.tanh(x[:, :2]), rtol=1e-6)
    np.testing.assert_array_equal(found["b"], 30 * x[:, 2:])


def test_names_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(DiagnosticError, match="no tensor or node 'blub'; did you mean 'blob'"):
        cut(tmp_path, outputs=["blub"])
    with pytest.raises(DiagnosticError, match="nothing that the outputs need reads 'b'"):
        cut(tmp_path, ["b"], ["y"])


def test_the_list_of_blobs(tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text(prototxt("net", LAYERS))
    found = list_blobs(path, shapes={}, diagnostics=DiagnosticCollector())
    assert [(each.name, each.shape, each.producer) for each in found] == [
        ("data", "1x4x2x2", "input"),
        ("first", "1x4x2x2", "Power 'first'"),
        ("in_place", "1x4x2x2", "Power 'in_place'"),
        ("blob", "1x4x2x2", "Power 'last_in_place'"),
        ("a", "1x2x2x2", "Slice 'split'"),
        ("b", "1x2x2x2", "Slice 'split'"),
        ("y", "1x2x2x2", "TanH 'head'"),
    ]
