"""Weights as int8: their scales, dead channels, shared constants, and what cannot be quantized."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from running import module_of, new_session, run

from nvdla_ir.dialects import nn
from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.quant import QuantizedType, UniformPerAxisType, UniformType
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.passes.base import Session
from nvdla_ir.passes.pipeline import Pipeline
from nvdla_ir.passes.quantize_weights import QuantizeWeights, quantize
from nvdla_ir.text.printer import print_operation

WEIGHTS = arrays(
    np.float32,
    (3, 2, 1, 2),
    elements=st.floats(-8, 8, width=32) | st.sampled_from([0.0, 8.0, -8.0, 1e-4, 0.5, -0.5]),
)


def stored(module: ModuleOp, session: Session) -> list[tuple[Any, QuantizedType]]:
    """The weights of the layers: integers and type."""
    found: list[tuple[Any, QuantizedType]] = []
    for op in module.walk():
        if isinstance(op, nn.ConvOp | nn.FullyConnectedOp):
            constant = op.weight.defining_operation
            assert isinstance(constant, nn.ConstantOp)
            element = nn.storage_of(op.weight)
            found.append((session.resources.array(constant.value), element))
    return found


@given(WEIGHTS, st.booleans())
def test_each_weight_is_within_half_a_step(weights: Any, per_channel: bool) -> None:
    integers, element = quantize(weights, per_channel)
    scales = np.array(
        element.scales if isinstance(element, UniformPerAxisType) else [element.scale]
    ).reshape(-1, 1, 1, 1)
    assert integers.dtype == np.int8
    assert integers.min() >= -127
    errors = np.abs(integers * scales - weights.astype(np.float64))
    assert np.all(errors <= scales * (0.5 + 1e-9))


def squared_error(weights: Any, integers: Any, element: QuantizedType) -> float:
    scales = np.array(
        element.scales if isinstance(element, UniformPerAxisType) else [element.scale]
    ).reshape(-1, 1, 1, 1)
    return float(((integers * scales - weights.astype(np.float64)) ** 2).sum())


@given(WEIGHTS, st.booleans())
def test_least_squares_never_leave_more_error_than_the_largest_weight(
    weights: Any, per_channel: bool
) -> None:
    covered = quantize(weights, per_channel)
    clipped = quantize(weights, per_channel, least_squares=True)
    small = np.abs(weights).max(axis=(1, 2, 3)) < np.abs(weights).max() / 32
    if per_channel and small.any():
        return  # the scales of small channels follow that of the largest
    assert squared_error(weights, *clipped) <= squared_error(weights, *covered) * 1.0001 + 1e-12


def test_least_squares_saturate_outliers() -> None:
    weights = np.random.default_rng(0).uniform(-1, 1, (4, 4096, 3, 3)).astype(np.float32)
    weights[:, 0, 0, 0] = 1.1
    weights[2] = 0.0
    weights[3] = 1.0
    covered, clipped = (
        quantize(weights, per_channel=True, least_squares=least) for least in (False, True)
    )
    assert squared_error(weights, *clipped) < 0.9 * squared_error(weights, *covered)
    assert isinstance(clipped[1], UniformPerAxisType)
    # What has no outlier keeps its range.
    assert clipped[1].scales[3] == pytest.approx(1.0 / 127)
    assert not clipped[0][2].any()


@given(WEIGHTS)
def test_the_largest_weight_of_each_channel_takes_127(weights: Any) -> None:
    integers, element = quantize(weights, per_channel=True)
    assert isinstance(element, UniformPerAxisType)
    peaks = np.abs(weights.astype(np.float64)).max(axis=(1, 2, 3))
    for channel, peak in enumerate(peaks):
        if peak > peaks.max() / 128:  # others have coarser steps
            assert np.abs(integers[channel]).max() == 127
            assert element.scales[channel] == peak / 127


def test_ties_round_away_from_zero() -> None:
    weights = np.array([[127.0, 0.5, -0.5, 2.5, -2.5, 0.25]], np.float32)
    integers, element = quantize(weights, per_channel=False)
    assert element == UniformType(element.storage, element.expressed, 1.0)
    assert integers.tolist() == [[127, 1, -1, 3, -3, 0]]


def test_a_dead_channel_gets_a_scale_in_proportion() -> None:
    weights = np.array([[0.0, 0.0], [127.0, 1.0], [1e-9, -1e-9]], np.float32)
    integers, element = quantize(weights, per_channel=True)
    assert isinstance(element, UniformPerAxisType)
    assert element.scales == (2.0**-7, 1.0, 2.0**-7)
    assert integers.tolist() == [[0, 0], [127, 1], [0, 0]]


@pytest.mark.parametrize("per_channel", [True, False])
def test_weights_that_are_all_zero(per_channel: bool) -> None:
    integers, element = quantize(np.zeros((2, 3), np.float32), per_channel)
    assert not integers.any()
    scales = element.scales if isinstance(element, UniformPerAxisType) else (element.scale,)
    assert all(scale > 0 for scale in scales)


TWO_LAYERS = """
  func.func @main(%x: tensor<1x2x4x4xf32>) -> (tensor<1x2x4x4xf32>, tensor<1x2x4x4xf32>) {
    %w = nn.constant value=dense<[[[[1.0]], [[-0.5]]], [[[0.25]], [[2.0]]]]> : tensor<2x2x1x1xf32>
    %a = nn.conv %x, %w layers=["a"] -> tensor<1x2x4x4xf32>
    %b = nn.conv %a, %w layers=["b"] -> tensor<1x2x4x4xf32>
    func.return %a, %b
  }
"""


def test_a_shared_constant_is_quantized_once() -> None:
    module = module_of(TWO_LAYERS)
    session = run(QuantizeWeights(), module)
    constants = [op for op in module.walk() if isinstance(op, nn.ConstantOp)]
    assert len(constants) == 1
    assert constants[0].output.use_count == 2
    assert constants[0].output.name_hint == "w"
    assert session.statistics["quantize-weights"] == {"weights": 4}
    (integers, element), _ = stored(module, session)
    assert integers.reshape(2, 2).tolist() == [[127, -64], [16, 127]]
    assert isinstance(element, UniformPerAxisType)
    np.testing.assert_allclose(element.scales, [1 / 127, 2 / 127])


def test_a_constant_that_others_read_stays() -> None:
    module = module_of(
        """
        func.func @main(%x: tensor<1x2xf32>) -> (tensor<1x2xf32>, tensor<2x2xf32>) {
          %w = nn.constant value=dense<[[1.0, -0.5], [0.25, 2.0]]> : tensor<2x2xf32>
          %y = nn.fully_connected %x, %w layers=["fc"] -> tensor<1x2xf32>
          func.return %y, %w
        }"""
    )
    run(QuantizeWeights("per-tensor"), module)
    assert sum(isinstance(op, nn.ConstantOp) for op in module.walk()) == 2


def test_a_second_run_changes_nothing() -> None:
    module = module_of(TWO_LAYERS)
    session = run(QuantizeWeights(), module)
    before = print_operation(module)
    run(QuantizeWeights("per-tensor"), module, session)
    assert print_operation(module) == before


def test_all_faults_are_told_at_once() -> None:
    module = module_of(
        """
        func.func @main(%x: tensor<1x2xf32>) -> tensor<1x2xf32> {
          %n = nn.constant value=dense_resource<n> : tensor<2x2xf32>
          %i = nn.constant value=dense_resource<i> : tensor<2x2xf32>
          %a = nn.fully_connected %x, %n layers=["nan"] -> tensor<1x2xf32>
          %c = nn.fully_connected %a, %i layers=["infinite"] -> tensor<1x2xf32>
          func.return %c
        }"""
    )
    session = new_session()
    for key, fault in (("n", np.nan), ("i", -np.inf)):
        session.resources.add(key, np.array([[1.0, fault], [0.25, 2.0]], np.float32))
    QuantizeWeights().run(module, session)
    assert [(d.message, d.location.line) for d in session.diagnostics.errors] == [  # type: ignore[attr-defined]
        ("the weights of layer 'nan' contain NaN or infinite numbers", 3),
        ("the weights of layer 'infinite' contain NaN or infinite numbers", 4),
    ]


def test_batch_normalization_must_be_folded_first() -> None:
    module = module_of(
        """
        func.func @main(%x: tensor<1x2x4x4xf32>) -> tensor<1x2x4x4xf32> {
          %g = nn.constant value=dense<1.0> : tensor<2xf32>
          %y = nn.batch_norm %x, %g, %g, %g, %g layers=["bn"] -> tensor<1x2x4x4xf32>
          func.return %y
        }"""
    )
    message = r"'nn\.batch_norm' of layer 'bn' must be gone; run 'fold-batch-norm' first"
    with pytest.raises(DiagnosticError, match=message):
        Pipeline([QuantizeWeights()]).run(module, new_session())
