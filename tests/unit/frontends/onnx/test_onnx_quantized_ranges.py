"""What a QuantizeLinear does to reals is part of the network on every level: rounding to even, the
code -128, and the saturation to which quantizers leave ReLUs and clips."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx_models import node
from quantized_levels import Network


def test_the_lowest_code(tmp_path: Path) -> None:
    network = Network()
    network.conv(network.codes("x", 0.1), "c", np.int8([[10]]), 0.1)
    x, y = [-12.8, -6.4, 12.7], [-6.4, -6.4, 6.35]
    network.check(network.codes("c", 0.05), x, y, tmp_path)


def test_halves_go_to_even(tmp_path: Path) -> None:
    network = Network()
    x, y = [0.25, 0.75, 1.25, -0.25, -0.75, -1.25], [0.0, 1.0, 1.0, 0.0, -1.0, -1.0]
    network.check(network.codes("x", 0.5), x, y, tmp_path)


@pytest.mark.parametrize("swapped", [False, True])
def test_a_relu_in_an_operand_of_an_addition(swapped: bool, tmp_path: Path) -> None:
    """The zero point -128 is the ReLU, and the other end of the range is a clamp."""
    network = Network()
    x = network.codes("x", 0.05)
    network.conv(x, "a", np.int8([[100]]), 0.01)
    network.conv(x, "b", np.int8([[100]]), 0.01)
    operands = [network.codes("a", 0.05), network.codes("b", 0.02, -128)]
    network.nodes.append(node("Add", operands[::-1] if swapped else operands, ["s"]))
    y = [-4.0, -1.0, 2.0, 10.0, 11.4]
    network.check(network.codes("s", 0.1), [-4.0, -1.0, 1.0, 5.0, 6.3], y, tmp_path)


def test_a_relu_before_a_scale(tmp_path: Path) -> None:
    """``fold-batch-norm`` leaves it between the convolution and the product."""
    network = Network()
    network.conv(network.codes("x", 0.05), "c", np.uint8([[220]]), 0.01, 120)
    network.constants["k"] = np.full((1, 1, 1), -2.0, np.float32)
    network.nodes.append(node("Mul", [network.codes("c", 0.03, 0, np.uint8), "k"], ["s"]))
    y = [0.0, 0.0, -2.0, -10.0, -12.6]
    network.check(network.codes("s", 0.1), [-4.0, -1.0, 1.0, 5.0, 6.3], y, tmp_path)


def test_a_relu_of_other_codes(tmp_path: Path) -> None:
    """The first codes end at 2.54, the second ones at 6.35: both ends hold."""
    network = Network()
    network.nodes.append(node("Relu", [network.codes("x", 0.02)], ["r"]))
    x, y = [-3.0, -0.02, 1.2, 3.0], [0.0, 0.0, 1.2, 2.55]
    network.check(network.codes("r", 0.05), x, y, tmp_path)


def test_a_clip_of_sums_that_are_no_codes(tmp_path: Path) -> None:
    """Quantized is what comes out of the clip; its codes end at its limit."""
    network = Network()
    network.conv(network.codes("x", 0.1), "c", np.int8([[10]]), 0.1)
    network.constants |= {"low": np.float32(0), "high": np.float32(5.1)}
    network.nodes.append(node("Clip", ["c", "low", "high"], ["k"]))
    x, y = [-12.8, -0.1, 0.1, 4.9, 5.1, 12.7], [0.0, 0.0, 0.1, 4.9, 5.1, 5.1]
    network.check(network.codes("k", 0.02, -128), x, y, tmp_path)


@pytest.mark.parametrize("operator", ["MaxPool", "Reshape"])
def test_what_moves_codes_to_other_codes(operator: str, tmp_path: Path) -> None:
    network = Network()
    x = network.codes("x", 0.05)
    if operator == "MaxPool":
        network.nodes.append(node("MaxPool", [x], ["m"], kernel_shape=[1, 1]))
    else:
        network.constants["shape"] = np.array([1, 1, 1, 4])
        network.nodes.append(node("Reshape", [x, "shape"], ["m"]))
    y = [0.0, 0.0, 1.2, 5.1]
    network.check(network.codes("m", 0.02, -128), [-3.0, 0.0, 1.2, 6.0], y, tmp_path)


@pytest.mark.parametrize("weight", [220, 255])
def test_weights_with_zero_points(weight: int, tmp_path: Path) -> None:
    """Of 220 - 120 the hardware takes every number as it is; 255 - 20 needs a coarser step, which
    is told."""
    zero_point = 120 if weight == 220 else 20
    network = Network()
    x = network.codes("x", 0.02, 128, np.uint8)
    network.conv(x, "c", np.uint8([[weight]]), 0.01, zero_point)
    factor = (weight - zero_point) * 0.01
    reals = np.array([-2.0, -0.5, 0.4, 2.5])
    y = np.clip(np.rint(reals * factor / 0.01), 0, 255) * 0.01
    network.check(network.codes("c", 0.01, 0, np.uint8), reals, y, tmp_path)


def test_weights_that_no_int8_holds_are_told(tmp_path: Path) -> None:
    network = Network()
    weights = np.uint8([[0, 255], [100, 140]])
    network.conv(network.codes("x", 0.1), "c", weights, 0.01, 120)
    x = [[1.0, -2.0, 0.0, 3.0], [2.0, 1.2, -3.1, 0.0]]
    y = (weights.astype(float) - 120) * 0.01 @ np.array(x)
    network.check(network.codes("c", 0.1), x, np.rint(y * 10) / 10, tmp_path)
    remarks = [d.message for d in network.session.diagnostics.diagnostics]
    expected = "layer 'c': weights that have zero points are quantized again, which changes 1 of 4"
    assert expected in remarks


@pytest.mark.parametrize("scale", [0.0, 1e-41, 1e-10])
@pytest.mark.parametrize("code", [0, 100])
def test_a_dead_channel_is_its_bias(scale: float, code: int, tmp_path: Path) -> None:
    network = Network()
    weights, scales = np.int8([[100], [code], [-50]]), [0.01, scale, 0.008]
    network.conv(network.codes("x", 0.05), "c", weights, scales, bias=[0.0, -1.3, 0.2])
    x = np.array([-4.0, 0.0, 1.0, 5.0])
    y = [x, np.full(4, -1.3), np.rint((x * -0.4 + 0.2) * 10) / 10]
    network.check(network.codes("c", 0.1), x, y, tmp_path)
