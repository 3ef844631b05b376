"""Programs on different levels compared, against numbers computed here."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from evaluation_networks import TWO_LAYERS, executable, table, weights

from nvdla_ir.evaluation.comparison import compare
from nvdla_ir.evaluation.recording import IN_MEMORY, Executable
from nvdla_ir.interp.machine import Mode
from nvdla_ir.ir.diagnostics import DiagnosticError

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "examples" / "digits"))

import digits

SCALES = {"data": 0.03, "conv": 0.2, "relu": 0.1, "view": 0.1, "fc": 0.5}
QUANTIZE = "quantize-weights,insert-converters"


def images(count: int = 10, seed: int = 9) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 2, 4, 4)).astype(np.float32)


def stage(name: str, network: str = "lenet") -> Executable:
    found = digits.stage_named(name, network, "nv_small")
    mode = Mode.FLOAT if name == "float" else Mode.INTEGER
    return Executable(found.func, found.resources, mode)


def test_figures_of_a_layer_whose_weights_differ() -> None:
    arrays, changed = weights(), weights()
    changed["w2"] = changed["w2"] * np.float32(1.125)  # exact: the scores are 9/8 of the others
    result = compare(
        executable(TWO_LAYERS, arrays),
        executable(TWO_LAYERS, changed),
        {"data": images()},
        batch=3,
    )
    assert result.images == 10
    layers = {layer.name: layer for layer in result.layers}
    assert list(layers) == ["data", "conv", "relu", "view", "fc", "scores"][: len(layers)]
    assert layers["relu"].errors.is_equal
    assert layers["relu"].errors.elements == 10 * 64
    assert layers["fc"].errors.sqnr == pytest.approx(20 * np.log10(8), abs=1e-4)
    assert layers["fc"].errors.cosine == pytest.approx(1)
    assert layers["fc"].errors.differing == 30
    assert result.first_difference is layers["fc"]
    assert result.bit_exact is False


def test_floats_against_integers(tmp_path: Path) -> None:
    calibration = f'import-calibration{{file="{table(tmp_path / "c.json", SCALES)}"}}'
    integers = executable(TWO_LAYERS, weights(), f"{calibration},{QUANTIZE}", Mode.INTEGER)
    data = images()
    result = compare(executable(TWO_LAYERS, weights()), integers, {"data": data})
    layers = {layer.name: layer for layer in result.layers}
    codes = np.clip(np.sign(data) * np.floor(np.abs(data / np.float32(0.03)) + 0.5), -128, 127)
    noise = (codes * 0.03 - data).astype(np.float64)
    wanted = 10 * np.log10((data.astype(np.float64) ** 2).sum() / (noise**2).sum())
    assert layers["data"].errors.sqnr == pytest.approx(wanted, abs=1e-3)
    assert layers["fc"].errors.sqnr > 25
    # Integers and floats are never bit-exact, nor asked to be.
    assert result.bit_exact is None
    assert result.first_difference is None
    assert layers["conv"].operations == ("nn.conv", "fixed.rescale")


def test_fake_quantized_is_nearer_to_integers_than_floats(tmp_path: Path) -> None:
    calibration = f'import-calibration{{file="{table(tmp_path / "c.json", SCALES)}"}}'
    quantized = executable(TWO_LAYERS, weights(), f"{calibration},{QUANTIZE}", Mode.INTEGER)
    fake = Executable(quantized.func, quantized.resources, Mode.FAKE_QUANTIZED)
    found = {
        mode: {layer.name: layer.errors.sqnr for layer in result.layers}
        for mode, result in {
            "fake": compare(fake, quantized, {"data": images()}),
            "float": compare(executable(TWO_LAYERS, weights()), quantized, {"data": images()}),
        }.items()
    }
    assert found["fake"]["data"] > 100
    assert found["fake"]["fc"] > found["float"]["fc"]


@pytest.mark.parametrize("network", ["lenet", "resnet"])
@pytest.mark.parametrize("level", ["hardware layers", "register program"])
def test_integers_are_the_same_on_every_level(network: str, level: str) -> None:
    test, _ = digits.test_set(network)
    result = compare(
        stage("int8 with converters", network), stage(level, network), {"data": test[:3]}
    )
    assert result.bit_exact is True
    names = {layer.name: layer.operations[1] for layer in result.layers}
    assert names["prob"] == "nn.softmax"
    assert names["fc"] == (IN_MEMORY if level == "register program" else "nvdla.sdp")
    assert len(names) >= 6
    assert all(layer.errors.elements % 3 == 0 for layer in result.layers)


def test_the_first_wrong_layer_of_a_register_program() -> None:
    """A bias in memory is changed: its layer is the first that differs, and no earlier one."""
    from nvdla_ir.dialects import csb

    program = stage("register program")
    loads = [op for op in program.func.body.operations if isinstance(op, csb.LoadOp)]
    load = next(op for op in loads if "fc1.bias" in getattr(op.value, "key", ""))
    stored = program.resources.array(load.value).copy()
    stored[:64] += 3
    load.value = program.resources.attribute_for("changed", stored, load.value.type.element)
    test, _ = digits.test_set("lenet")
    result = compare(stage("int8 with converters"), program, {"data": test[:4]})
    assert result.first_difference is not None
    assert result.first_difference.name == "relu3"
    equal = {layer.name: layer.errors.is_equal for layer in result.layers}
    assert equal["pool1"]
    assert equal["pool2"]
    assert not equal["fc"]


def test_batches_do_not_change_the_figures() -> None:
    test, _ = digits.test_set("lenet")
    results = [
        compare(stage("float"), stage("int8 with converters"), {"data": test[:20]}, batch=batch)
        for batch in (1, 7, 32)
    ]
    for one, *others in zip(*(result.layers for result in results), strict=True):
        for other in others:
            assert other.errors.sqnr == pytest.approx(one.errors.sqnr, abs=0.01)
            assert other.errors.elements == one.errors.elements


def test_a_single_image_without_its_axis() -> None:
    program = executable(TWO_LAYERS, weights())
    result = compare(program, program, {"data": images()[0]})
    assert result.images == 1
    assert result.bit_exact is True


# -------------------------------------------------------------- faults


def fault(first: Executable, second: Executable, inputs: dict[str, np.ndarray]) -> str:
    with pytest.raises(DiagnosticError) as caught:
        compare(first, second, inputs)
    assert all(d.location.file_position() for d in caught.value.diagnostics)
    return str(caught.value)


def test_programs_without_a_common_layer() -> None:
    text = TWO_LAYERS
    for name in ("conv", "relu", "view", "fc", "scores"):
        text = text.replace(f'"{name}"', f'"other_{name}"')
    program = executable(TWO_LAYERS, weights())
    other = executable(text, weights())
    message = fault(program, other, {"data": images()})
    assert "no layer and no output in common" in message
    assert "'conv'" in message
    assert "'other_conv'" in message


def test_different_inputs_and_batches() -> None:
    program = executable(TWO_LAYERS, weights())
    other = executable(TWO_LAYERS.replace('"data"', '"image"'), weights())
    assert "takes 'image', but the first 'data'" in fault(program, other, {"data": images()})
    pairs = executable(
        'func.func @main(%x: tensor<2x3xf32> {nvdla_ir.name = "data"}) -> tensor<2x3xf32> {\n'
        '  %y = nn.softmax %x axis=0 layers=["fc"] -> tensor<2x3xf32>\n  func.return %y\n}',
        {},
    )
    assert "takes batches of 2 images, but the first 1" in fault(program, pairs, {})


def test_unfitting_arrays() -> None:
    program = executable(TWO_LAYERS, weights())
    assert "has shape 10x2x4" in fault(program, program, {"data": images()[..., 0]})
    assert "is missing" in fault(program, program, {})
    assert "has no input 'x'" in fault(program, program, {"data": images(), "x": images()})
    nan = images()
    nan[3, 0, 1, 2] = np.nan
    assert "the first at [3, 0, 1, 2]" in fault(program, program, {"data": nan})
