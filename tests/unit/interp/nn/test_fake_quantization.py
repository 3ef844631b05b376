"""Fake quantization: the grid of a type, and agreement with integers to one step."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from graphs import Graph
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from nvdla_ir.dialects import fixed, nn
from nvdla_ir.dialects.quant import CalibratedType, UniformPerAxisType, UniformType, uniform_i8
from nvdla_ir.interp.machine import Machine, Mode
from nvdla_ir.interp.quantization import dequantize, quantize, round_half_away, round_to_grid
from nvdla_ir.ir.operation import Value
from nvdla_ir.ir.types import F32, UI8, IntegerType, TensorType

Array = NDArray[Any]
I16, I32 = IntegerType(16), IntegerType(32)
seeds = st.integers(0, 2**32 - 1)


def test_rounding_is_to_nearest_half_away_from_zero() -> None:
    below_half = math.nextafter(0.5, 0)
    values = np.array([0.5, -0.5, 1.5, 2.5, -2.5, below_half, -below_half, 2.0**52 + 1, -3.0])
    expected = [1, -1, 2, 3, -3, 0, 0, 2.0**52 + 1, -3]
    assert round_half_away(values).tolist() == expected
    below_half = np.nextafter(np.float32(0.5), np.float32(0))
    assert round_half_away(np.array([below_half, 2**23 + 1], np.float32)).tolist() == [0, 2**23 + 1]


@given(st.integers(-128, 127), st.sampled_from((1e-3, 0.1, 7.0)), st.sampled_from((-128, 0, 9)))
def test_reals_of_codes_are_on_the_grid(code: int, scale: float, zero_point: int) -> None:
    type = uniform_i8(scale, zero_point)
    stored = np.array([[code]], np.int8)
    reals = dequantize(stored, type)
    assert reals.dtype == np.float32
    assert quantize(reals, type) == stored
    np.testing.assert_array_equal(round_to_grid(reals, type), reals)


def test_grid_of_a_symmetric_range_has_no_code_minus_128() -> None:
    grid = CalibratedType(F32, -127.0, 127.0)
    values = np.array([-500, -127.6, -0.5, 0.4, 3.2, 127.5, 500], np.float32)
    assert round_to_grid(values, grid).tolist() == [-127, -127, -1, 0, 3, 127, 127]


def test_grid_of_an_asymmetric_range_has_all_codes() -> None:
    grid = CalibratedType(F32, -55.0, 200.0)
    values = np.array([-500, -55, -0.4, 0, 200, 300], np.float32)
    assert round_to_grid(values, grid).tolist() == [-55, -55, 0, 0, 200, 200]


def test_calibrated_tensors_are_rounded_in_fake_quantized_mode_alone() -> None:
    graph = Graph()
    value = graph.input(np.array([[0.4, 1.6, 200.0]], np.float32), CalibratedType(F32, -127, 127))
    func = graph.function(graph.add(nn.AddOp, lhs=value, rhs=value))
    machines = [Machine(graph.resources, mode) for mode in (Mode.FLOAT, Mode.FAKE_QUANTIZED)]
    (plain,), (rounded,) = (machine.run(func, graph.inputs).values() for machine in machines)
    assert plain.tolist() == [[np.float32(0.8), np.float32(3.2), 400]]
    assert rounded.tolist() == [[0, 4, 127]]


def multiplier_of(factor: float, shift: int) -> int:
    return math.floor(factor * 2.0**shift + 0.5)


class Quantized(Graph):
    """Layers of int8 with scales of their own, expanded into the steps of the hardware."""

    def __init__(self, rng: np.random.Generator) -> None:
        super().__init__()
        self.rng = rng

    def convolution(self, value: Value, output: UniformType, kernels: int) -> Value:
        """A 3x3 convolution with bias and one multiplier a channel."""
        rng, shape, source = self.rng, nn.shape_of(value), nn.storage_of(value)
        assert isinstance(source, UniformType)
        w = rng.integers(-127, 128, (kernels, shape[1], 3, 3))
        scales = tuple(float(s) for s in rng.uniform(0.001, 0.004, kernels))
        sums = tuple(source.scale * s for s in scales)
        too_high = tuple(int(z) for z in source.zero_point * w.sum(axis=(1, 2, 3)))
        bias = rng.integers(-300, 300, kernels) - np.array(too_high)
        shift = max(0, math.ceil(math.log2(np.abs(bias).max() + 1)) - 15)
        stored = bias >> shift

        def pipeline(zero_points: tuple[int, ...], scales: tuple[float, ...] = sums) -> list[Any]:
            element = UniformPerAxisType(I32, F32, 1, scales, zero_points)
            return [TensorType((shape[0], kernels, *shape[2:]), element)]

        weight = UniformPerAxisType(IntegerType(8), F32, 0, scales)
        result = self.add(
            nn.ConvOp,
            input=value,
            weight=self.constant(w, weight),
            pads=(1, 1, 1, 1),
            result_types=pipeline(too_high),
        )
        coarse = UniformPerAxisType(I16, F32, 0, tuple(s * 2**shift for s in sums))
        result = self.add(
            fixed.ShiftAddOp,
            input=result,
            addend=self.constant(stored, coarse),
            shift=shift,
            result_types=pipeline((0,) * kernels),
        )
        # Per-channel factors bring every channel to one scale, fine enough not to matter.
        fine = output.scale / 256
        right = 14 - math.floor(math.log2(max(sums) / fine))
        factors = np.array([multiplier_of(s / fine, right) for s in sums])
        result = self.add(
            fixed.RescaleOp,
            input=result,
            multiplier=self.constant(factors, I16),
            shift=right,
            result_types=pipeline((0,) * kernels, (fine,) * kernels),
        )
        return self.convert(result, output)

    def convert(self, value: Value, output: UniformType, factor: float = 1 / 256) -> Value:
        shift = 22
        scale = multiplier_of(factor, shift)
        return self.add(
            fixed.OutputConverterOp,
            input=value,
            offset=-round(output.zero_point / factor),
            scale=scale,
            shift=shift,
            result_types=[TensorType(nn.shape_of(value), output)],
        )

    def residual(self, value: Value, other: Value, output: UniformType, shift: int) -> Value:
        """``value + other`` at the scale of ``other`` divided by 2^shift."""
        left, right = nn.storage_of(value), nn.storage_of(other)
        assert isinstance(left, UniformType)
        assert isinstance(right, UniformType)
        common = right.scale / 2**shift
        multiplier = multiplier_of(left.scale / common, 8)
        zero_point = round(left.zero_point * left.scale / common)

        def pipeline(zero_point: int) -> list[Any]:
            return [TensorType(nn.shape_of(value), UniformType(I32, F32, common, zero_point))]

        result = self.add(
            fixed.RescaleOp,
            input=value,
            value=multiplier,
            shift=8,
            result_types=pipeline(zero_point),
        )
        both = zero_point + (right.zero_point << shift)
        result = self.add(
            fixed.ShiftAddOp, input=result, addend=other, shift=shift, result_types=pipeline(both)
        )
        if abs(both) < 1 << 15:
            result = self.add(fixed.ShiftAddOp, input=result, value=-both, result_types=pipeline(0))
        return self.convert(result, output, common / output.scale)


def both_modes(graph: Graph, reals: Array, result: Value) -> tuple[Array, Array]:
    """Stored integers, and the codes of what fake quantization makes."""
    func = graph.function(result)
    type = nn.storage_of(result)
    (name,) = graph.inputs
    argument = nn.storage_of(func.body.arguments[0])
    machine = Machine(graph.resources, Mode.INTEGER)
    (stored,) = machine.run(func, {name: quantize(reals, argument)}).values()
    machine = Machine(graph.resources, Mode.FAKE_QUANTIZED)
    (faked,) = machine.run(func, {name: reals}).values()
    assert stored.dtype == np.int8
    codes = quantize(faked, type)
    np.testing.assert_allclose(dequantize(codes, type), faked, rtol=1e-5)
    return stored.astype(int), codes.astype(int)


@given(seeds, st.sampled_from((0, -30, 100)), st.sampled_from((0, -20, -128)))
def test_convolution_agrees_with_integers(seed: int, z_in: int, z_out: int) -> None:
    rng = np.random.default_rng(seed)
    graph = Quantized(rng)
    reals = rng.normal(size=(2, 3, 6, 6)).astype(np.float32)
    x = graph.input(reals, uniform_i8(0.02, z_in))
    stored, codes = both_modes(graph, reals, graph.convolution(x, uniform_i8(0.02, z_out), 4))
    assert np.abs(stored - codes).max() <= 1
    assert np.mean(stored != codes) < 0.05
    assert len(np.unique(stored)) > 20


@given(seeds, st.sampled_from((0, 10)), st.sampled_from((0, -20)))
def test_residual_block_agrees_with_integers(seed: int, z_other: int, z_out: int) -> None:
    rng = np.random.default_rng(seed)
    graph = Quantized(rng)
    reals = rng.normal(size=(1, 4, 5, 5)).astype(np.float32)
    x = graph.input(reals, uniform_i8(0.03, z_other))
    branch = graph.convolution(x, uniform_i8(0.05), 4)
    stored, codes = both_modes(graph, reals, graph.residual(branch, x, uniform_i8(0.07, z_out), 6))
    # The branch may differ by a step of 0.05, which the sum passes on as one of 0.07 at most.
    assert np.abs(stored - codes).max() <= 1
    assert len(np.unique(stored)) > 20


@pytest.mark.parametrize("zero_point", [0, -11])
def test_input_converter_and_pooling_agree_with_integers(zero_point: int) -> None:
    rng = np.random.default_rng(3)
    pixels = rng.integers(0, 256, (2, 2, 7, 7)).astype(np.uint8)
    type = uniform_i8(0.5, zero_point)
    graph = Graph()
    value = graph.add(
        fixed.InputConverterOp,
        input=graph.input(pixels, UI8),
        means=[120 - 2 * zero_point, 100 - 2 * zero_point],
        scale=1 << 13,
        truncate=14,
        result_types=[TensorType(pixels.shape, type)],
    )
    value = graph.add(nn.ReluOp, input=value)
    value = graph.add(nn.MaxPoolOp, input=value, kernel=(3, 3), pads=(1, 1, 1, 1))
    value = graph.add(
        fixed.AveragePoolOp,
        input=value,
        kernel=(3, 3),
        pads=(1, 0, 1, 0),
        reciprocals=(21845, 21845),
    )
    func = graph.function(value)
    (stored,) = Machine(graph.resources, Mode.INTEGER).run(func, graph.inputs).values()
    (faked,) = Machine(graph.resources, Mode.FAKE_QUANTIZED).run(func, graph.inputs).values()
    assert np.abs(stored.astype(int) - quantize(faked, type)).max() <= 1
    assert np.unique(stored).size > 10


@pytest.mark.parametrize("zero_point", [0, 40])
def test_factors_of_a_scale_layer_agree_with_integers(zero_point: int) -> None:
    """A multiplier on int8 from memory may be more than a ratio of scales."""
    rng = np.random.default_rng(1)
    reals = rng.uniform(-2, 2, (3, 4, 5, 5)).astype(np.float32)
    factors = np.array([-1.5, 0, 0.3, 2])
    source, fine = uniform_i8(0.03, zero_point), 0.06 / 256
    stored = np.array([multiplier_of(f * source.scale / fine, 5) for f in factors])
    zero_points = tuple(int(z) for z in np.round(stored * zero_point / 32))
    graph = Quantized(rng)
    x = graph.input(reals, source)
    value = graph.add(
        fixed.RescaleOp,
        input=x,
        multiplier=graph.constant(stored, I16),
        shift=5,
        result_types=[
            TensorType(reals.shape, UniformPerAxisType(I32, F32, 1, (fine,) * 4, zero_points))
        ],
    )
    value = graph.add(
        fixed.ShiftAddOp,
        input=value,
        addend=graph.constant(-np.array(zero_points), UniformType(I16, F32, fine)),
        result_types=[TensorType(reals.shape, UniformType(I32, F32, fine))],
    )
    integers, codes = both_modes(graph, reals, graph.convert(value, uniform_i8(0.06)))
    assert np.abs(integers - codes).max() <= 1
    expected = reals * factors[:, None, None]
    # Half a step of the input times the factor, and half a step of the output.
    assert np.abs(codes * 0.06 - expected).max() < 0.03 * 2 / 2 + 0.06 / 2 + 0.01
