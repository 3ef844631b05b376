"""Reals between a layer's quantized weights and QuantizeLinear: batch norms, additions, several
QuantizeLinear. They need no range, and are not rounded on the way on any level."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx_models import Imported, model, node, runtime_outputs
from quantized_levels import Network, outputs_of_levels

from nvdla_ir.ir.diagnostics import DiagnosticError

CHANNELS, STEP, EPSILON = 6, 0.05, 1e-5
WEIGHTS = np.int8(
    [
        [-128, 127, -128, 5],
        [-128, -128, -128, -128],
        [127, 127, -127, 127],
        [100, -90, 80, -70],
        [3, -2, 1, 0],
        [-128, 0, 127, 64],
    ]
)
SCALES = np.float32([0.01, 0.004, 0.02, 0.01, 0.03, 0.007])
BIAS = np.float32([1.0, -2.0, 0.3, 40.0, 0.0, -0.7])
GAMMA = np.float32([-1.0, 0.7, 0.0, 1e-9, -0.03, -2.0])
BETA = np.float32([0.5, -1.0, 2.0, -3.0, 0.25, 0.0])
MEAN = np.float32([0.4, 0.0, 3.0, -1.0, 0.2, 5.0])
VARIANCE = np.float32([1.0, 0.5, 2.0, 1.0, 0.01, 4.0])


def conv(network: Network, name: str, weights: Any = WEIGHTS) -> None:
    network.conv("x.d", name, weights, SCALES, bias=BIAS)


def of_conv(x: Any, weights: Any = WEIGHTS) -> Any:
    return (weights * SCALES.astype(float)[:, None]) @ x + BIAS[:, None]


def batch_norm(network: Network, source: str, name: str) -> None:
    constants = {"g": GAMMA, "b": BETA, "m": MEAN, "v": VARIANCE}
    network.constants |= {f"{name}.{key}": array for key, array in constants.items()}
    inputs = [source, *(f"{name}.{key}" for key in constants)]
    network.nodes.append(node("BatchNormalization", inputs, [name], epsilon=EPSILON))


def of_batch_norm(y: Any) -> Any:
    factors = GAMMA / np.sqrt(VARIANCE.astype(float) + EPSILON)
    return (y - MEAN[:, None]) * factors[:, None] + BETA[:, None]


def rounded(reals: Any, scale: float, zero_point: int = 0) -> Any:
    return (np.clip(np.rint(reals / scale) + zero_point, -128, 127) - zero_point) * scale


def columns() -> Any:
    """Full range, on the input's grid. Shape: 4xN."""
    rng = np.random.default_rng(0)
    codes = rng.integers(-128, 128, (4, 400))
    codes[:, :2] = [[-128, 127]] * 4
    return codes * STEP


def clear(x: Any, *steps: Any) -> Any:
    """Which columns lie away from halves in all of ``steps``, reals in units of codes."""
    good = np.ones(x.shape[1], bool)
    for reals in steps:
        good &= (np.abs(reals - np.floor(reals) - 0.5) > 0.06).all(axis=0)
    assert good.sum() > 50
    return good


def start() -> Network:
    network = Network()
    network.codes("x", STEP)
    return network


@pytest.mark.parametrize("rectified", [False, True])
def test_a_batch_norm_behind_integers(rectified: bool, tmp_path: Path) -> None:
    """Its factors, negative, zero and vanishing ones too, go into the multiplier; the weights' code
    -128 has no negative."""
    network, x, zero_point = start(), columns(), -128 if rectified else 3
    conv(network, "c")
    batch_norm(network, "c", "n")
    if rectified:
        network.nodes.append(node("Relu", ["n"], ["r"]))
    output = network.codes("r" if rectified else "n", 0.1, zero_point)
    reals = of_batch_norm(of_conv(x))
    good = clear(x, reals / 0.1)
    network.check(output, x[:, good], rounded(reals, 0.1, zero_point)[:, good], tmp_path)


@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("rectified", [False, True])
@pytest.mark.parametrize("swapped", [False, True])
def test_an_addition_behind_integers(
    swapped: bool, rectified: bool, normalized: bool, tmp_path: Path
) -> None:
    """In one pass, wherever the other operand is computed."""
    network, x, zero_point = start(), columns(), -128 if rectified else 7
    other = WEIGHTS[::-1]
    conv(network, "c")
    conv(network, "p", other)
    reals, side = of_conv(x), of_conv(x, other)
    if normalized:
        batch_norm(network, "c", "n")
        reals = of_batch_norm(reals)
    operands = ["n" if normalized else "c", network.codes("p", 0.2)]
    network.nodes.append(node("Add", operands[:: -1 if swapped else 1], ["s"]))
    if rectified:
        network.nodes.append(node("Relu", ["s"], ["r"]))
    output = network.codes("r" if rectified else "s", 0.25, zero_point)
    reals = reals + rounded(side, 0.2)
    good = clear(x, side / 0.2, reals / 0.25)
    network.check(output, x[:, good], rounded(reals, 0.25, zero_point)[:, good], tmp_path)


def test_an_addition_of_two_that_are_not_quantized(tmp_path: Path) -> None:
    """One of them must be in memory, and has no codes."""
    network = start()
    conv(network, "c")
    conv(network, "p", WEIGHTS[::-1])
    network.nodes.append(node("Add", ["c", "p"], ["s"]))
    proto = model(network.nodes, {"x": (1, 4, 1, 8)}, [network.codes("s", 0.2)], network.constants)
    with pytest.raises(DiagnosticError) as caught:
        dict(outputs_of_levels(Imported(proto, tmp_path), {"x": np.zeros((1, 4, 1, 8), "f")}))
    messages = [diagnostic.message for diagnostic in caught.value.diagnostics]
    assert any("'c' has no calibrated range" in message for message in messages)


@pytest.mark.parametrize("normalized", [False, True])
def test_two_grids_of_one_tensor(normalized: bool, tmp_path: Path) -> None:
    """Each is rounded from the reals: from the codes of one those of the other do not follow."""
    network, x = start(), columns()
    conv(network, "c")
    reals, source = of_conv(x), "c"
    if normalized:
        batch_norm(network, "c", "n")
        reals, source = of_batch_norm(reals), "n"
    grids = {"coarse": (0.3, 0), "fine": (0.07, -100)}
    for name, (scale, zero_point) in grids.items():
        network.constants |= {f"{name}.s": np.float32(scale), f"{name}.z": np.int8(zero_point)}
        parameters = [f"{name}.s", f"{name}.z"]
        network.nodes += [
            node("QuantizeLinear", [source, *parameters], [f"{name}.q"]),
            node("DequantizeLinear", [f"{name}.q", *parameters], [name]),
        ]
    good = clear(x, *(reals / scale for scale, _ in grids.values()))
    pixels = x[None, :, None, good].astype(np.float32)
    proto = model(network.nodes, {"x": pixels.shape}, list(grids), network.constants)
    wanted = [rounded(reals, *grid)[:, good] for grid in grids.values()]
    for found, expected in zip(runtime_outputs(proto, {"x": pixels}), wanted, strict=True):
        assert np.allclose(found[0, :, 0], expected, atol=1e-5)
    for level, outputs in outputs_of_levels(Imported(proto, tmp_path), {"x": pixels}):
        for found, expected in zip(outputs, wanted, strict=True):
            assert np.allclose(found[0, :, 0], expected, atol=1e-5), level


def test_an_addition_that_takes_a_pass_of_its_own(tmp_path: Path) -> None:
    """The residual's zero point goes ahead of factors that are far apart, in 16 bits."""
    network = start()
    conv(network, "c")
    batch_norm(network, "c", "n")
    network.constants["n.g"] = np.float32([1, 1, 1, 1, 0.0001, 1])
    conv(network, "p", WEIGHTS[::-1])
    network.nodes.append(node("Add", ["n", network.codes("p", 0.2, 90)], ["s"]))
    network.nodes.append(node("Relu", ["s"], ["r"]))
    proto = model(network.nodes, {"x": (1, 4, 1, 8)}, [network.codes("r", 0.2)], network.constants)
    with pytest.raises(DiagnosticError) as caught:
        dict(outputs_of_levels(Imported(proto, tmp_path), {"x": np.zeros((1, 4, 1, 8), "f")}))
    (message,) = (diagnostic.message for diagnostic in caught.value.diagnostics)
    assert "cannot add in the same pass, since 16 bits hold the bias" in message
