"""What INT8 costs small networks, against numbers computed here, and the digits networks."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evaluation_networks import TWO_LAYERS, module_of, table, weights

from nvdla_ir.evaluation.batches import split
from nvdla_ir.evaluation.evaluation import (
    ACTIVATIONS,
    BIAS,
    FAKE_QUANTIZED,
    FLOAT,
    INTEGER,
    WEIGHTS,
    Evaluation,
    Evaluator,
)
from nvdla_ir.evaluation.network import QuantizedNetwork
from nvdla_ir.evaluation.results import EvaluationResult, result_of
from nvdla_ir.interp.machine import Machine, Mode
from nvdla_ir.ir.diagnostics import DiagnosticCollector, DiagnosticError

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "examples" / "digits"))

import digits

SCALES = {"data": 0.03, "conv": 0.2, "relu": 0.1, "view": 0.1, "fc": 0.5}

# A fully connected layer alone: what it does can be computed on paper.
ONE_LAYER = """
func.func @main(%x: tensor<1x4xf32> {nvdla_ir.name = "data"})
    -> (tensor<1x3xf32> {nvdla_ir.name = "scores"}) {
  %w = nn.constant value=dense_resource<w> : tensor<3x4xf32>
  %b = nn.constant value=dense_resource<b> : tensor<3xf32>
  %y = nn.fully_connected %x, %w, %b layers=["fc"] -> tensor<1x3xf32>
  func.return %y
}
"""


def network(
    path: Path, text: str, arrays: dict[str, Any], scales: dict[str, float], **more: Any
) -> QuantizedNetwork:
    module, resources = module_of(text, arrays)
    calibration = table(path / "c.json", scales, more.pop("offsets", {}))
    return QuantizedNetwork.make(module, resources, calibration=calibration, **more)


def evaluated(
    made: QuantizedNetwork, images: Any, labels: Any = None, size: int = 1000
) -> Evaluation:
    evaluator, found = Evaluator(made), Evaluation()
    start = 0
    for part in split(made.reals.func, {"data": images}, size):
        count = len(part["data"])
        own = None if labels is None else labels[start : start + count]
        found.merge(evaluator.evaluate(part, own, parts=True))
        start += count
    return found


def result(found: Evaluation) -> EvaluationResult:
    return result_of(found, network="n.ir", calibration="c.json", granularity="per-channel")


def images(count: int = 40) -> Any:
    return np.random.default_rng(9).normal(size=(count, 2, 4, 4)).astype(np.float32)


# -------------------------------------------------------------- the variants


def test_variants_are_what_the_machine_computes(tmp_path: Path) -> None:
    made = network(tmp_path, TWO_LAYERS, weights(), SCALES)
    found = evaluated(made, images())
    machine = {
        FLOAT: Machine(made.reals.resources, Mode.FLOAT),
        FAKE_QUANTIZED: Machine(made.integers.resources, Mode.FAKE_QUANTIZED),
        INTEGER: Machine(made.integers.resources, Mode.INTEGER),
    }
    scores = {
        name: m.run((made.reals if name == FLOAT else made.integers).func, {"data": images()})
        for name, m in machine.items()
    }
    for name in (FAKE_QUANTIZED, INTEGER):
        reference = scores[FLOAT]["scores"].astype(np.float64)
        noise = scores[name]["scores"].astype(np.float64) - reference
        wanted = 10 * np.log10((reference**2).sum() / (noise**2).sum())
        assert found.logits[name].errors.sqnr == pytest.approx(wanted, abs=1e-6)
    assert found.logits[FLOAT].errors.noise == 0


def test_parts_of_a_layer_on_paper(tmp_path: Path) -> None:
    generator = np.random.default_rng(4)
    w = generator.normal(size=(3, 4)).astype(np.float32)
    b = np.array([0.3, -0.2, 0.7], np.float32)
    x = generator.uniform(-3, 3, size=(500, 4)).astype(np.float32)
    scales = {"data": 0.025, "fc": 0.1}
    found = evaluated(network(tmp_path, ONE_LAYER, {"w": w, "b": b}, scales), x)

    def rounded(array: Any, scale: Any) -> Any:
        steps = array.astype(np.float64) / scale
        return np.clip(np.copysign(np.floor(np.abs(steps) + 0.5), steps), -128, 127) * scale

    exact = x.astype(np.float64) @ w.T.astype(np.float64) + b
    w8 = rounded(w, np.abs(w).max(1, keepdims=True).astype(np.float64) / 127)
    x8 = rounded(x, np.float64(np.float32(0.025)))
    wanted = {
        WEIGHTS: x @ w8.T + b - exact,
        ACTIVATIONS: rounded(x8 @ w.T + b, np.float64(np.float32(0.1))) - exact,
    }
    for part, noise in wanted.items():
        assert found.alone[part].errors.noise == pytest.approx((noise**2).sum(), rel=2e-3)
    # 16 bits hold the bias to a small part of the output's unit.
    assert found.alone[BIAS].errors.noise < 1e-3 * found.alone[WEIGHTS].errors.noise
    units = {name: sums.errors.noise for name, sums in found.sensitivity.items()}
    assert found.unit_layers == {"data": ("data",), "fc": ("fc",)}
    assert units["data"] == pytest.approx((((x8 - x) @ w.T) ** 2).sum(), rel=2e-3)
    both = rounded(x @ w8.T + b, np.float64(np.float32(0.1))) - exact
    assert units["fc"] == pytest.approx((both**2).sum(), rel=2e-3)


def test_only_weights_lose(tmp_path: Path) -> None:
    """Inputs and outputs are on their grids, the weights are not."""
    w = np.array([[1.0, 0.3, 0.0, 0.0], [0.7, 1.0, 0, 0], [0.1, 0.2, 1.0, 0]], np.float32)
    x = np.random.default_rng(1).integers(-100, 100, (200, 4)).astype(np.float32)
    arrays = {"w": w, "b": np.zeros(3, np.float32)}
    # Outputs are rounded so finely that only the weights' rounding is seen, without saturation
    # of the reals that the parts are computed on.
    found = result(evaluated(network(tmp_path, ONE_LAYER, arrays, {"data": 1.0, "fc": 2.0}), x))
    parts = {part["part"]: part for part in found["attribution"]}
    noise = {name: part["noise"] for name, part in parts.items()}
    assert noise[WEIGHTS] is not None
    assert noise[WEIGHTS] > 0
    units = {unit["name"]: unit for unit in found["sensitivity"]}
    assert units["data"]["noise"] == 0
    assert units["data"]["sqnr_db"] is None


def test_only_activations_lose(tmp_path: Path) -> None:
    """Weights that int8 holds exactly: 127, 63 and 0 of a scale of one."""
    w = np.array([[127, 63, 0, 0], [0, 127, 1, 0], [0, 0, 127, -127]], np.float32)
    x = np.random.default_rng(1).uniform(-3, 3, (200, 4)).astype(np.float32)
    arrays = {"w": w, "b": np.zeros(3, np.float32)}
    found = result(evaluated(network(tmp_path, ONE_LAYER, arrays, {"data": 0.025, "fc": 6.0}), x))
    parts = {part["part"]: part for part in found["attribution"]}
    assert parts[WEIGHTS]["noise"] == 0
    assert parts[BIAS]["noise"] == 0
    activations = parts[ACTIVATIONS]["noise"]
    assert activations is not None
    assert activations > 0
    assert (parts[ACTIVATIONS]["share"] or 0) > 90
    assert sum(part["share"] or 0 for part in found["attribution"]) == pytest.approx(100)
    # All but the activations is exact.
    assert parts[ACTIVATIONS]["without_db"] is None


# -------------------------------------------------------------- ranges and codes


@pytest.mark.parametrize("sign", [1, -1])
def test_one_signed_and_saturated(tmp_path: Path, sign: int) -> None:
    """Half the inputs are beyond the range; the other half use the codes of one sign."""
    x = sign * np.linspace(0, 20, 4000, dtype=np.float32).reshape(1000, 4)
    arrays = {"w": np.eye(3, 4, dtype=np.float32), "b": np.zeros(3, np.float32)}
    made = network(tmp_path, ONE_LAYER, arrays, {"data": 10 / 127, "fc": 20 / 127})
    found = result(evaluated(made, x))
    layers = {layer["name"]: layer for layer in found["layers"]}
    codes = layers["data"]["codes"]
    assert codes is not None
    assert codes["clipped"] == pytest.approx(50, abs=1)
    assert codes["used"] == (128 if sign > 0 else 129)
    assert (codes["code_low"], codes["code_high"]) == ((0, 127) if sign > 0 else (-128, 0))
    assert max(abs(codes["minimum"]), abs(codes["maximum"])) == 20
    histogram = codes["histogram"]
    assert sum(histogram["counts"]) + histogram["below"] + histogram["above"] == 4000
    assert layers["data"]["integer"]["max_error"] == pytest.approx(10, rel=0.01)
    unclipped = layers["fc"]["codes"]
    assert unclipped is not None
    assert unclipped["clipped"] == 0


def test_asymmetric_tensor(tmp_path: Path) -> None:
    """With a zero point of -128 all codes are above zero: none of the small ones is saturated."""
    x = np.linspace(0, 5.1, 400, dtype=np.float32).reshape(100, 4)
    arrays = {"w": np.eye(3, 4, dtype=np.float32), "b": np.zeros(3, np.float32)}
    made = network(tmp_path, ONE_LAYER, arrays, {"data": 0.02, "fc": 0.05}, offsets={"data": -128})
    layers = {layer["name"]: layer for layer in result(evaluated(made, x))["layers"]}
    codes = layers["data"]["codes"]
    assert codes is not None
    assert (codes["code_low"], codes["code_high"], codes["used"]) == (-128, 127, 256)
    assert codes["clipped"] == 0
    assert (codes["range_low"], codes["zero_point"]) == (0, -128)


# -------------------------------------------------------------- images, labels, data


def test_parts_of_the_images_merge(tmp_path: Path) -> None:
    made = network(tmp_path, TWO_LAYERS, weights(), SCALES)
    labels = np.arange(40) % 3
    whole, parts = (evaluated(made, images(), labels, size) for size in (40, 7))
    assert parts.images == parts.part_images == 40
    for one, other in (
        (whole.logits[INTEGER], parts.logits[INTEGER]),
        (whole.alone[WEIGHTS], parts.alone[WEIGHTS]),
        (whole.sensitivity["fc"], parts.sensitivity["fc"]),
    ):
        assert other.errors.noise == pytest.approx(one.errors.noise, rel=1e-3)
        assert other.hits.top1 == one.hits.top1
        assert other.hits.labelled == 40
    codes = [found.layers["relu"].codes for found in (whole, parts)]
    np.testing.assert_array_equal(codes[0].counts, codes[1].counts)  # type: ignore[union-attr]


def test_result_is_json(tmp_path: Path) -> None:
    made = network(tmp_path, TWO_LAYERS, weights(), SCALES)
    found = result(evaluated(made, images(5)))
    text = json.dumps(found, allow_nan=False)
    assert json.loads(text) == found
    assert found["schema"] == "nvdla-ir-evaluation/1"
    assert found["accuracy"][0]["logits"]["sqnr_db"] is None  # the floats themselves
    assert found["accuracy"][2]["top1"] is None  # no labels
    assert found["accuracy"][2]["agreement"] is not None
    noises = [unit["noise"] or 0 for unit in found["sensitivity"]]
    assert noises == sorted(noises, reverse=True)
    assert sum(unit["share"] or 0 for unit in found["sensitivity"]) == pytest.approx(100)


@pytest.mark.parametrize(("name", "size", "count"), [("lenet", 32, 500), ("resnet", 15, 150)])
def test_digits(name: str, size: int, count: int) -> None:
    stage = digits.stage_named("float", name, "nv_small")
    test, labels = digits.test_set(name)
    made = QuantizedNetwork.make(
        stage.module, stage.resources, calibration=digits.HERE / f"{name}.calib.json"
    )
    evaluator, found = Evaluator(made), Evaluation()
    for number, part in enumerate(
        split(made.reals.func, {"data": test[:count], "labels": labels}, size)
    ):
        if number * size < count:
            own = part.pop("labels")[: len(part["data"])]
            found.merge(evaluator.evaluate(part, own, parts=number == 0))
    assert found.images == count
    for variant in (FLOAT, FAKE_QUANTIZED, INTEGER):
        assert found.logits[variant].hits.percentages()["top1"] == pytest.approx(99.8, abs=0.7)
    for variant in (FAKE_QUANTIZED, INTEGER):
        assert found.logits[variant].errors.sqnr == pytest.approx(37.6, abs=0.7)
    figures = result(found)
    parts = {part["part"]: part["sqnr_db"] or 999 for part in figures["attribution"]}
    assert parts[ACTIVATIONS] < parts[WEIGHTS] < parts[BIAS]
    # Weights, activations and biases are nearly independent: their noise adds up.
    alone = sum(found.alone[part].errors.noise for part in (WEIGHTS, ACTIVATIONS, BIAS))
    assert alone == pytest.approx(found.base[FAKE_QUANTIZED].errors.noise, rel=0.25)
    assert figures["sensitivity"][0]["name"] == "fc"


def test_layers_that_are_made_of_others_or_left_to_the_host(tmp_path: Path) -> None:
    """A transposed convolution is what `decompose-layers` makes of it; a quotient is in floats."""
    text = """
func.func @main(%x: tensor<1x1x3x3xf32> {nvdla_ir.name = "data"})
    -> (tensor<1x1x6x6xf32> {nvdla_ir.name = "y"}) {
  %w = nn.constant value=dense<[[[[0.5, 1.0], [0.25, -0.5]]]]> : tensor<1x1x2x2xf32>
  %c = nn.conv_transpose %x, %w strides=[2, 2] layers=["up"] -> tensor<1x1x6x6xf32>
  %e = nn.exp %c layers=["e"] -> tensor<1x1x6x6xf32>
  %y = nn.div %c, %e layers=["y"] -> tensor<1x1x6x6xf32>
  func.return %y
}
"""
    scales = {"data": 0.02, "up": 0.02, "e": 0.06, "y": 0.05}
    told = DiagnosticCollector()
    made = network(tmp_path, text, {}, scales, diagnostics=told)
    given = np.linspace(-1.5, 1.5, 18, dtype=np.float32).reshape(2, 1, 3, 3)
    found = result(evaluated(made, given))
    assert [layer["name"] for layer in found["layers"]] == ["data", "up", "e", "y"]
    assert found["part_sqnr_db"] is not None and found["part_sqnr_db"] > 20
    assert any("the host computes layer 'y' in floats" in d.message for d in told.diagnostics)


# -------------------------------------------------------------- faults


def test_networks_that_cannot_be_evaluated(tmp_path: Path) -> None:
    module, resources = module_of(TWO_LAYERS, weights())
    with pytest.raises(DiagnosticError, match="has no calibrated ranges: give a table"):
        QuantizedNetwork.make(module, resources)
    made = network(tmp_path, TWO_LAYERS, weights(), SCALES)
    int8 = made.integers.func.parent_op
    with pytest.raises(DiagnosticError, match="is quantized already"):
        QuantizedNetwork.make(int8, resources)  # type: ignore[arg-type]
    with pytest.raises(DiagnosticError, match="no entry for 'fc'"):
        network(tmp_path, TWO_LAYERS, weights(), {k: v for k, v in SCALES.items() if k != "fc"})


def test_labels_and_inputs_that_do_not_fit(tmp_path: Path) -> None:
    evaluator = Evaluator(network(tmp_path, TWO_LAYERS, weights(), SCALES))
    with pytest.raises(DiagnosticError, match="labels span 0 to 3, but there are 3 classes"):
        evaluator.evaluate({"data": images(2)}, np.array([0, 3]), parts=False)
    with pytest.raises(DiagnosticError, match="has shape 2x2x4, but must have 1x2x4x4"):
        evaluator.evaluate({"data": images(2)[:, :, 0]}, None, parts=False)
    flat = TWO_LAYERS.replace("func.return %f", "func.return %c").replace(
        "-> (tensor<1x3xf32>", "-> (tensor<1x4x4x4xf32>"
    )
    maps = Evaluator(network(tmp_path, flat, weights(), SCALES))
    assert maps.evaluate({"data": images(2)}, None, parts=False).logits[INTEGER].hits.images == 0
    with pytest.raises(DiagnosticError, match="labels mean classes"):
        maps.evaluate({"data": images(2)}, np.array([0, 1]), parts=False)


def test_the_logits_are_before_softmax_and_argmax(tmp_path: Path) -> None:
    text = TWO_LAYERS.replace(
        "  func.return %f",
        '  %p = nn.softmax %f axis=1 layers=["prob"] -> tensor<1x3xf32>\n'
        '  %a = nn.argmax %p axis=1 layers=["class"] -> tensor<1x1xi64>\n'
        "  func.return %a",
    ).replace("-> (tensor<1x3xf32>", "-> (tensor<1x1xi64>")
    with_argmax = evaluated(network(tmp_path, text, weights(), SCALES), images())
    without = evaluated(network(tmp_path, TWO_LAYERS, weights(), SCALES), images())
    errors = (with_argmax.logits[INTEGER].errors, without.logits[INTEGER].errors)
    assert errors[0].noise == pytest.approx(errors[1].noise)
    assert with_argmax.logits[INTEGER].hits.images == 40


def test_an_output_that_no_layer_computes(tmp_path: Path) -> None:
    text = TWO_LAYERS.replace("func.return %f", "func.return %x").replace(
        "-> (tensor<1x3xf32>", "-> (tensor<1x2x4x4xf32>"
    )
    with pytest.raises(DiagnosticError, match="there is nothing to evaluate"):
        Evaluator(network(tmp_path, text, weights(), SCALES))
