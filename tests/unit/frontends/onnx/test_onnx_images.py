"""Lines, padding, resizing and rearranging, against ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx_models import check_against_runtime, messages, model, node

Rng = np.random.Generator


def reals(rng: Rng, *shape: int) -> Any:
    return rng.normal(size=shape).astype(np.float32) * 2


def check(tmp_path: Path, nodes: Any, x: Any, constants: Any = None, opset: int = 13) -> list[str]:
    proto = model(nodes, {"x": x.shape}, ["y"], constants, opset)
    return check_against_runtime(proto, {"x": x}, tmp_path).operations


# -------------------------------------------------------------- lines


@pytest.mark.parametrize("seed", range(12))
def test_convolutions_of_lines(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    groups, taps = int(rng.integers(1, 3)), int(rng.integers(1, 6))
    constants = {"w": reals(rng, groups * 3, 2, taps)}
    if seed % 2:
        constants["b"] = reals(rng, groups * 3)
    attributes: dict[str, Any] = {"strides": [int(rng.integers(1, 3))], "group": groups}
    if seed % 3 == 0:
        attributes["auto_pad"] = "SAME_LOWER"
    else:
        attributes |= {"pads": [taps - 1, 1], "dilations": [int(rng.integers(1, 3))]}
    nodes = [node("Conv", ["x", *constants], ["y"], **attributes)]
    operations = check(tmp_path, nodes, reals(rng, 2, groups * 2, 13), constants)
    assert operations == ["nn.reshape", "nn.conv", "nn.reshape"]


@pytest.mark.parametrize("seed", range(8))
def test_transposed_convolutions_of_lines(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    groups, taps, stride = (int(n) for n in rng.integers(1, 4, 3))
    constants = {"w": reals(rng, groups * 2, 3, taps)}
    attributes: dict[str, Any] = {"strides": [stride], "group": groups}
    if seed % 3 == 0:
        attributes["output_padding"] = [stride - 1]
        attributes["pads"] = [0, 1]
    elif seed % 3 == 1 and taps >= stride:
        attributes["output_shape"] = [7 * stride]
    nodes = [node("ConvTranspose", ["x", "w"], ["y"], **attributes)]
    check(tmp_path, nodes, reals(rng, 1, groups * 2, 7), constants)


@pytest.mark.parametrize("op_type", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize("ceil", [0, 1])
def test_pooling_of_lines(op_type: str, ceil: int, tmp_path: Path) -> None:
    attributes = {"kernel_shape": [3], "strides": [2], "pads": [1, 0], "ceil_mode": ceil}
    nodes = [node(op_type, ["x"], ["y"], **attributes)]
    check(tmp_path, nodes, reals(np.random.default_rng(0), 2, 3, 10), {}, 19)


@pytest.mark.parametrize(
    ("op_type", "attributes"),
    [
        ("GlobalAveragePool", {}),
        ("GlobalMaxPool", {}),
        ("ReduceMean", {"axes": [2]}),
        ("ReduceMean", {"axes": [-1], "keepdims": 0}),
        ("ReduceMax", {"axes": [2], "keepdims": 0}),
    ],
)
def test_whole_lines(op_type: str, attributes: Any, tmp_path: Path) -> None:
    nodes = [node(op_type, ["x"], ["y"], **attributes)]
    check(tmp_path, nodes, reals(np.random.default_rng(0), 2, 3, 10))


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"strides": [1, 1]}, "attribute 'strides = [1, 1]' must be 1 numbers for a line"),
        ({"pads": [1]}, "attribute 'pads = [1]' must be 2 numbers for a line"),
        ({"dilations": [0]}, "attribute 'dilations = [0]' must be at least 1 each"),
    ],
)
def test_attributes_of_lines(attributes: Any, message: str, tmp_path: Path) -> None:
    constants = {"w": np.ones((2, 3, 3), np.float32)}
    nodes = [node("Conv", ["x", "w"], ["y"], **attributes)]
    (found,) = messages(model(nodes, {"x": (1, 3, 8)}, ["y"], constants), tmp_path)
    assert message in found


# -------------------------------------------------------------- slices


@pytest.mark.parametrize(
    ("starts", "ends", "axes", "steps"),
    [
        ([0], [1 << 40], [2], [2]),
        ([1, 0], [9, 9], [-1, 2], [2, 3]),
        ([1], [2], [1], [7]),
        ([-3], [-1], [1], [2]),
    ],
)
def test_slices_with_steps(starts: Any, ends: Any, axes: Any, steps: Any, tmp_path: Path) -> None:
    arrays = {"starts": starts, "ends": ends, "axes": axes, "steps": steps}
    constants = {name: np.array(values, np.int64) for name, values in arrays.items()}
    nodes = [node("Slice", ["x", *constants], ["y"])]
    check(tmp_path, nodes, reals(np.random.default_rng(0), 1, 6, 7, 8), constants)


def test_slices_backwards_are_told(tmp_path: Path) -> None:
    arrays = {"starts": [-1], "ends": [-9], "axes": [1], "steps": [-1]}
    constants = {name: np.array(values, np.int64) for name, values in arrays.items()}
    nodes = [node("Slice", ["x", *constants], ["y"])]
    (found,) = messages(model(nodes, {"x": (1, 6, 7, 8)}, ["y"], constants), tmp_path)
    assert "steps of [-1] are not supported, only forward ones" in found


# -------------------------------------------------------------- padding


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect"])
@pytest.mark.parametrize(
    "pads",
    [
        [0, 0, 1, 2, 0, 0, 3, 0],
        [0, 0, 1, -2, 0, 0, -3, 1],
        [0, 0, 0, 0, 0, 0, -1, -4],
        [0, 2, 0, 0, 0, 1, 0, 0],
        [0, 1, 1, 0, 0, 0, 0, -1],
    ],
)
def test_padding(mode: str, pads: Any, tmp_path: Path) -> None:
    constants = {"p": np.array(pads), "v": np.float32(0.5)}
    inputs = ["x", *(["p", "v"] if mode == "constant" else ["p"])]
    nodes = [node("Pad", inputs, ["y"], mode=mode)]
    constants = {name: constants[name] for name in inputs[1:]}
    x = reals(np.random.default_rng(0), 1, 3, 5, 6)
    if mode != "constant" and (pads[1] > 0 or pads[5] > 0):
        (found,) = messages(model(nodes, {"x": x.shape}, ["y"], constants), tmp_path)
        assert f"pads axis 1 of 4 dimensions with mode '{mode}'; only rows and columns" in found
        return
    check(tmp_path, nodes, x, constants)


def test_padding_of_a_line(tmp_path: Path) -> None:
    nodes = [node("Pad", ["x", "p"], ["y"])]
    x = reals(np.random.default_rng(0), 1, 3, 5)
    check(tmp_path, nodes, x, {"p": np.array([0, 0, 2, 0, 0, 1])})


@pytest.mark.parametrize("mode", ["constant", "edge"])
def test_padding_and_cropping_of_a_line(mode: str, tmp_path: Path) -> None:
    x = reals(np.random.default_rng(0), 1, 3, 9)
    nodes = [node("Pad", ["x", "pads"], ["y"], mode=mode)]
    check(tmp_path, nodes, x, {"pads": np.array([0, 0, 3, 0, 0, -2])}, 13)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_resizing_of_a_line(mode: str, tmp_path: Path) -> None:
    x = reals(np.random.default_rng(0), 1, 3, 9)
    nodes = [node("Resize", ["x", "", "scales"], ["y"], mode=mode)]
    check(tmp_path, nodes, x, {"scales": np.array([1, 1, 3], np.float32)}, 13)


# -------------------------------------------------------------- resizing and rearranging


@pytest.mark.parametrize(
    "coordinates", ["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"]
)
@pytest.mark.parametrize("scales", [(2, 2), (1, 3), (4, 2)])
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (1, 2, 1, 3)])
def test_interpolation(coordinates: str, scales: Any, shape: Any, tmp_path: Path) -> None:
    nodes = [
        node(
            "Resize",
            ["x", "", "f"],
            ["y"],
            mode="linear",
            coordinate_transformation_mode=coordinates,
        )
    ]
    constants = {"f": np.array([1, 1, *scales], np.float32)}
    x = reals(np.random.default_rng(0), *shape)
    assert check(tmp_path, nodes, x, constants) == ["nn.interpolate"]


def test_upsampling_by_interpolation(tmp_path: Path) -> None:
    nodes = [node("Upsample", ["x", "f"], ["y"], mode="linear")]
    constants = {"f": np.array([1, 1, 2, 3], np.float32)}
    x = reals(np.random.default_rng(0), 1, 2, 4, 5)
    assert check(tmp_path, nodes, x, constants, 9) == ["nn.interpolate"]


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
@pytest.mark.parametrize("block", [1, 2, 3])
def test_depth_to_space(mode: str, block: int, tmp_path: Path) -> None:
    nodes = [node("DepthToSpace", ["x"], ["y"], blocksize=block, mode=mode)]
    check(tmp_path, nodes, reals(np.random.default_rng(0), 2, 3 * block * block, 4, 5))


@pytest.mark.parametrize("block", [1, 2, 3])
def test_space_to_depth(block: int, tmp_path: Path) -> None:
    nodes = [node("SpaceToDepth", ["x"], ["y"], blocksize=block)]
    check(tmp_path, nodes, reals(np.random.default_rng(0), 2, 3, 6, 12))


# -------------------------------------------------------------- broadcasts


@pytest.mark.parametrize("op_type", ["Add", "Sub", "Mul", "Div", "Max", "Min"])
@pytest.mark.parametrize("shape", [(2, 1, 4, 5), (1, 1, 4, 5), (4, 5), (5,), (4, 1), (2, 1, 1, 1)])
def test_maps(op_type: str, shape: Any, tmp_path: Path) -> None:
    """One number a pixel, a row, a column or an image: computed, and known."""
    rng = np.random.default_rng(len(shape))
    x, z = reals(rng, 2, 3, 4, 5), reals(rng, *shape)
    z = np.asarray(np.sign(z) * (np.abs(z) + np.float32(0.5)), np.float32)
    check(tmp_path, [node(op_type, ["x", "z"], ["y"])], x, {"z": z})
    proto = model([node(op_type, ["x", "z"], ["y"])], {"x": x.shape, "z": z.shape}, ["y"])
    check_against_runtime(proto, {"x": x, "z": z}, tmp_path)
