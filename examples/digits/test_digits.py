"""The committed files of the digits networks belong together: text, weights, table, images."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

HERE = Path(__file__).resolve().parent
NETWORKS = ("lenet", "resnet")
INPUT_TYPES = {"lenet": "f32", "resnet": "ui8"}
MEGABYTE = 1_000_000

CONSTANT = re.compile(r"nn\.constant value=dense_resource<([\w.]+)> : tensor<([\dx]+)xf32>")
LAYER = re.compile(r' = nn\.(\w+) .*layers=\["(\w+)"\] -> tensor<([\dx]+)xf32>')


def dimensions(text: str) -> tuple[int, ...]:
    return tuple(int(size) for size in text.split("x"))


def read_text(network: str) -> str:
    return (HERE / f"{network}.ir").read_text(encoding="utf-8")


@pytest.mark.parametrize("network", NETWORKS)
def test_every_constant_is_in_the_weights_file_with_its_shape(network: str) -> None:
    text = read_text(network)
    assert f'nvdla_ir.weights = "{network}.safetensors"' in text
    declared = {key: dimensions(shape) for key, shape in CONSTANT.findall(text)}
    assert len(declared) == text.count("nn.constant"), "a key occurs twice or is not understood"
    weights = load_file(HERE / f"{network}.safetensors")
    assert {key: value.shape for key, value in weights.items()} == declared
    for key, value in weights.items():
        assert value.dtype == np.float32, key
        assert np.isfinite(value).all(), key


@pytest.mark.parametrize("network", NETWORKS)
def test_weights_file_is_at_most_a_megabyte(network: str) -> None:
    assert (HERE / f"{network}.safetensors").stat().st_size <= MEGABYTE


@pytest.mark.parametrize("network", NETWORKS)
def test_table_names_the_input_and_every_computing_layer(network: str) -> None:
    text = read_text(network)
    table: dict[str, dict[str, Any]] = json.loads(
        (HERE / f"{network}.calib.json").read_text(encoding="utf-8")
    )
    computing = {name for op, name, _ in LAYER.findall(text) if op not in ("flatten", "softmax")}
    assert set(table) == computing | {"data"}
    for name, entry in table.items():
        assert set(entry) == {"scale", "min", "max", "offset"}, name
        assert 0.0 < entry["scale"] < 1.0, name
        assert entry["min"] == entry["max"] == entry["offset"] == 0, name


def test_relu_never_widens_a_range() -> None:
    """A table whose entries were shifted by one layer would fail here."""
    table = json.loads((HERE / "resnet.calib.json").read_text(encoding="utf-8"))
    pairs = re.findall(r'%(\w+) = nn\.relu %(\w+) layers=\["\w+"\]', read_text("resnet"))
    assert len(pairs) == 19
    for relu, operand in pairs:
        assert table[relu]["scale"] <= table[operand]["scale"], relu


@pytest.mark.parametrize("network", NETWORKS)
def test_images_fit_the_network(network: str) -> None:
    with np.load(HERE / "test_images.npz") as file:
        images, labels = file["images"], file["labels"]
    assert images.dtype == np.uint8
    assert images.shape == (500, 1, 32, 32)
    assert labels.dtype == np.int64
    assert labels.shape == (500,)
    assert (np.bincount(labels, minlength=10) >= 40).all()
    assert f"%data: tensor<1x1x32x32x{INPUT_TYPES[network]}>" in read_text(network)


def test_resnet_has_the_shape_of_resnet_20() -> None:
    layers = LAYER.findall(read_text("resnet"))
    ops = [op for op, _, _ in layers]
    assert ops.count("add") == 9
    assert ops.count("conv") == ops.count("batch_norm") == 1 + 9 * 2 + 2
    assert ops.count("relu") == 1 + 9 * 2
    assert ops[0] == "normalize"
    assert ops[-4:] == ["global_average_pool", "flatten", "fully_connected", "softmax"]
    assert {dimensions(shape)[1] for op, _, shape in layers if op == "add"} == {16, 32, 56}
