"""Functions of each element, and ways to write them, against ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx_models import check_against_runtime, model, node

from nvdla_ir.dialects import nn
from nvdla_ir.frontends.onnx.layer import HANDLERS

# The first operator set that has it; those before 7 are not read.
OPSETS = {"Gelu": 20, "HardSwish": 14, "Mish": 18, "Swish": 24, "ThresholdedRelu": 10, "Celu": 12}
ATTRIBUTES: dict[str, list[dict[str, Any]]] = {
    "LeakyRelu": [{"alpha": 0.3}],
    "ThresholdedRelu": [{"alpha": 0.25}],
    "Elu": [{"alpha": 0.7}],
    "Celu": [{"alpha": 0.7}],
    "Selu": [{"alpha": 1.25, "gamma": 2.0}],
    "HardSigmoid": [{"alpha": 0.3, "beta": 0.1}],
    "Gelu": [{"approximate": "tanh"}, {"approximate": "none"}],
    "Swish": [{"alpha": 1.702}],
}
NAMED = [op_class for op_class in nn.UNARY_OPS if op_class.onnx_name is not None]


def adversarial(*shape: int, largest: float = 30.0) -> Any:
    """Zeros of both signs, tiny and large numbers, one-signed and dense ones around 0."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=shape).astype(np.float32) * 3
    flat = x.reshape(-1)
    flat[:10] = [0, -0.0, 1e-30, -1e-30, 3, -3, largest, -largest, 0.5, -0.5]
    flat[10:20] = -np.abs(flat[10:20])
    return x


@pytest.mark.parametrize("op_class", NAMED)
def test_functions(op_class: type[nn.UnaryOp], tmp_path: Path) -> None:
    name = op_class.onnx_name or ""
    first = OPSETS.get(name, 13)
    x = adversarial(1, 3, 5, 6)
    for attributes in [{}, *ATTRIBUTES.get(name, [])]:
        proto = model([node(name, ["x"], ["y"], **attributes)], {"x": x.shape}, ["y"], {}, first)
        if name == "Swish":
            # ONNX Runtime knows it not yet: by its definition.
            alpha = np.float32(attributes.get("alpha", 1.0))
            nodes = [
                node("Mul", ["x", "alpha"], ["a"]),
                node("Sigmoid", ["a"], ["s"]),
                node("Mul", ["x", "s"], ["y"]),
            ]
            proto = model(nodes, {"x": x.shape}, ["y"], {"alpha": np.asarray(alpha)}, 13)
        imported = check_against_runtime(proto, {"x": x}, tmp_path, tolerance=1e-6)
        assert imported.operations[-1] == op_class.name


def test_every_function_has_a_handler() -> None:
    for op_class in NAMED:
        assert ("", op_class.onnx_name) in HANDLERS


@pytest.mark.parametrize(("op_type", "kind"), [("Gelu", "nn.gelu"), ("QuickGelu", "nn.swish")])
def test_contributed_functions(op_type: str, kind: str, tmp_path: Path) -> None:
    x = adversarial(1, 3, 5, 6)
    proto = model([node(op_type, ["x"], ["y"], domain="com.microsoft")], {"x": x.shape}, ["y"])
    imported = check_against_runtime(proto, {"x": x}, tmp_path, tolerance=1e-6)
    assert imported.operations == [kind]


@pytest.mark.parametrize(("op_type", "exponent"), [("Pow", 2.0), ("Pow", 3.0), ("Sqrt", None)])
def test_powers(op_type: str, exponent: float | None, tmp_path: Path) -> None:
    x = np.abs(adversarial(1, 3, 5, 6)) + np.float32(0.1)
    constants = {} if exponent is None else {"e": np.float32(exponent)}
    proto = model([node(op_type, ["x", *constants], ["y"])], {"x": x.shape}, ["y"], constants)
    assert check_against_runtime(proto, {"x": x}, tmp_path).operations == ["nn.power"]


@pytest.mark.parametrize(
    ("nodes", "kind"),
    [
        (
            # What PyTorch's exporters write before operator set 20.
            [
                node("Div", ["x", "root"], ["d"]),
                node("Erf", ["d"], ["e"]),
                node("Add", ["e", "one"], ["p"]),
                node("Mul", ["x", "p"], ["m"]),
                node("Mul", ["m", "half"], ["y"]),
            ],
            "nn.gelu",
        ),
        (
            [
                node("Pow", ["x", "three"], ["c"]),
                node("Mul", ["c", "cubic"], ["s"]),
                node("Add", ["x", "s"], ["a"]),
                node("Mul", ["a", "slope"], ["i"]),
                node("Tanh", ["i"], ["t"]),
                node("Add", ["t", "one"], ["p"]),
                node("Mul", ["x", "half"], ["m"]),
                node("Mul", ["m", "p"], ["y"]),
            ],
            "nn.gelu",
        ),
        (
            [
                node("Softplus", ["x"], ["s"]),
                node("Tanh", ["s"], ["t"]),
                node("Mul", ["x", "t"], ["y"]),
            ],
            "nn.mish",
        ),
        (
            [node("Max", ["x", "zero"], ["l"]), node("Min", ["l", "six"], ["y"])],
            "nn.clip",
        ),
        (
            [node("Min", ["x", "six"], ["l"]), node("Max", ["zero", "l"], ["y"])],
            "nn.clip",
        ),
    ],
)
def test_functions_as_several_nodes(nodes: Any, kind: str, tmp_path: Path) -> None:
    numbers = {"root": np.sqrt(2), "one": 1, "half": 0.5, "three": 3, "cubic": 0.044715}
    numbers |= {"slope": np.sqrt(2 / np.pi), "zero": 0, "six": 6}
    constants = {name: np.float32(number) for name, number in numbers.items()}
    x = adversarial(1, 3, 5, 6)
    proto = model(nodes, {"x": x.shape}, ["y"], constants)
    imported = check_against_runtime(proto, {"x": x}, tmp_path, tolerance=1e-6)
    assert imported.operations == [kind]
