"""Integer kernels against the reference arithmetic, on full-range and one-signed data."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from graphs import Graph
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from nvdla_ir.arith import reference
from nvdla_ir.dialects import fixed, nn
from nvdla_ir.dialects.nn.shapes import window_shape
from nvdla_ir.dialects.quant import QuantizeCastOp, UniformPerAxisType, UniformType, uniform_i8
from nvdla_ir.interp.machine import Mode
from nvdla_ir.interp.nn import integers as integer_kernels
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.operation import Value
from nvdla_ir.ir.types import F32, UI8, IntegerType, TensorType, Type

Array = NDArray[Any]
I16 = IntegerType(16)
I32 = IntegerType(32)
seeds = st.integers(0, 2**32 - 1)
zero_points = st.sampled_from((-128, -3, 0, 5, 127))
shifts = st.integers(0, 34) | st.integers(0, 63)
ACCUMULATOR = UniformType(I32, F32, 0.25)


def integers(seed: int, bits: int, *shape: int) -> Array:
    """Signed integers: mostly full range, sometimes of one sign or all extreme."""
    rng = np.random.default_rng(seed)
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    kind = rng.integers(5)
    if kind == 0:
        values = np.full(shape, low)
    elif kind == 1:
        values = rng.integers(0, high + 1, shape)
    elif kind == 2:
        values = rng.choice([low, high], shape)
    else:
        values = rng.integers(low, high + 1, shape)
    return values.astype(f"int{bits}")


def run(graph: Graph, value: Value) -> Array:
    (result,) = graph.run(value, mode=Mode.INTEGER)
    return result


def result_type(shape: tuple[int, ...], element: Type) -> list[Type]:
    return [TensorType(shape, element)]


@given(
    seed=seeds,
    groups=st.integers(1, 6),
    channels=st.integers(1, 3),
    kernels=st.integers(1, 2),
    dense_channels=st.sampled_from((1, 4, 16)),
    taps=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    pads=st.tuples(*(st.integers(0, 2),) * 4),
    strides=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    zero_point=zero_points,
)
def test_convolution(
    seed: int,
    groups: int,
    channels: int,
    kernels: int,
    dense_channels: int,
    taps: tuple[int, int],
    pads: tuple[int, ...],
    strides: tuple[int, int],
    zero_point: int,
) -> None:
    x = integers(seed, 8, 3, groups * channels, 5, 6)
    w = integers(seed + 1, 8, groups * kernels, channels, *taps)
    size = window_shape((*x.shape,), taps, strides, pads)
    graph = Graph()
    value = graph.add(
        nn.ConvOp,
        input=graph.input(x, uniform_i8(0.5, zero_point), batch=1),
        weight=graph.constant(w, uniform_i8(0.5)),
        strides=strides,
        pads=pads,
        groups=groups,
        result_types=result_type((1, groups * kernels, *size), ACCUMULATOR),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(integer_kernels, "_DENSE_CHANNELS", dense_channels)
        result = run(graph, value)
    assert result.dtype == np.int32
    top, left, bottom, right = pads
    widths = ((0, 0), (0, 0), (top, bottom), (left, right))
    padded = np.pad(x.astype(np.int64), widths, constant_values=zero_point)
    for n, k, y, z in np.ndindex(*result.shape):
        first = k // kernels * channels
        rows = slice(y * strides[0], y * strides[0] + taps[0])
        columns = slice(z * strides[1], z * strides[1] + taps[1])
        window = padded[n, first : first + channels, rows, columns]
        assert result[n, k, y, z] == (window * w[k]).sum()


@given(seeds, st.sampled_from(((7,), (7, 1, 1), (1, 1, 7))))
def test_fully_connected(seed: int, features: tuple[int, ...]) -> None:
    x, w = integers(seed, 8, 4, *features), integers(seed + 1, 8, 3, 7)
    graph = Graph()
    value = graph.add(
        nn.FullyConnectedOp,
        input=graph.input(x, uniform_i8(0.5, -7), batch=1),
        weight=graph.constant(w, uniform_i8(0.5)),
        result_types=result_type((1, 3), ACCUMULATOR),
    )
    expected = x.reshape(4, 7).astype(np.int64) @ w.T.astype(np.int64)
    assert np.array_equal(run(graph, value), expected)


def test_long_one_signed_sums_are_exact() -> None:
    """Sums that float32 would round."""
    x = np.full((1, 4608), 127, np.int8)
    x[0, 0] = 126
    w = np.full((1, 4608), -127, np.int8)
    graph = Graph()
    value = graph.add(
        nn.FullyConnectedOp,
        input=graph.input(x, uniform_i8(0.5)),
        weight=graph.constant(w, uniform_i8(0.5)),
        result_types=result_type((1, 1), ACCUMULATOR),
    )
    assert run(graph, value).tolist() == [[-127 * (127 * 4607 + 126)]]


# One image, one number a channel, one an element, one for all.
OPERAND_SHAPES = ((3,), (1, 3, 2, 2), ())


@st.composite
def steps(draw: st.DrawFn, bits: int) -> tuple[Array, Array, int]:
    """Data of the pipeline, an operand of ``bits`` bits (a number where it has no shape), shift."""
    seed = draw(seeds)
    x = integers(seed, draw(st.sampled_from((8, 32))), 2, 3, 2, 2)
    shape = draw(st.sampled_from(OPERAND_SHAPES))
    return x, integers(seed + 1, bits, *shape), draw(shifts)


def storage_type(array: Array) -> UniformType:
    return UniformType(IntegerType(array.dtype.itemsize * 8), F32, 0.5)


def shift_add(graph: Graph, value: Value, operand: Array, shift: int) -> Value:
    return graph.add(
        fixed.ShiftAddOp,
        input=value,
        addend=graph.constant(operand, storage_type(operand)) if operand.ndim else None,
        value=None if operand.ndim else int(operand),
        shift=shift,
        result_types=result_type(nn.shape_of(value), ACCUMULATOR),
    )


def rescale(graph: Graph, value: Value, operand: Array, shift: int) -> Value:
    return graph.add(
        fixed.RescaleOp,
        input=value,
        multiplier=graph.constant(operand, I16) if operand.ndim else None,
        value=None if operand.ndim else int(operand),
        shift=shift,
        result_types=result_type(nn.shape_of(value), ACCUMULATOR),
    )


def output_converter(graph: Graph, value: Value, offset: int, scale: int, shift: int) -> Value:
    return graph.add(
        fixed.OutputConverterOp,
        input=value,
        offset=offset,
        scale=scale,
        shift=shift,
        result_types=result_type(nn.shape_of(value), uniform_i8(1.0)),
    )


def broadcast(operand: Array) -> Array:
    return operand.reshape(3, 1, 1) if operand.ndim == 1 else operand


def exact(value: Array) -> Array:
    """Python integers, which never overflow."""
    return value.astype(object)


def rounded(value: Array, shift: int) -> Array:
    half = (1 << shift) >> 1
    shifted = (abs(value) + half) >> shift
    return np.where(value < 0, -shifted, shifted)


def clipped(value: Array, bits: int) -> Array:
    return np.clip(value, -(1 << (bits - 1)), (1 << (bits - 1)) - 1)


@given(steps(16), steps(16), seeds)
def test_bias_multiplier_and_relu(
    add: tuple[Array, Array, int], multiply: tuple[Array, Array, int], seed: int
) -> None:
    x, addend, left = add
    _, multiplier, right = multiply
    graph = Graph()
    value = graph.input(x, storage_type(x), batch=1)
    value = rescale(graph, shift_add(graph, value, addend, left), multiplier, right)
    value = graph.add(nn.ReluOp, input=value)
    total = exact(x) + clipped(exact(broadcast(addend)) << left, 32)
    expected = clipped(rounded(total * exact(broadcast(multiplier)), right), 32)
    assert np.array_equal(run(graph, value), np.maximum(expected, 0))


@given(steps(8), steps(16), st.integers(-(1 << 31), (1 << 31) - 1), seeds, shifts)
def test_two_sums_and_the_output_converter(
    first: tuple[Array, Array, int],
    second: tuple[Array, Array, int],
    offset: int,
    seed: int,
    shift: int,
) -> None:
    """The 33 bits of a sum are saturated where the next step is no multiplier."""
    x, addend, left = first
    _, other, again = second
    scale = int(integers(seed, 16))
    graph = Graph()
    value = graph.input(x, storage_type(x), batch=1)
    value = shift_add(graph, shift_add(graph, value, addend, left), other, again)
    result = run(graph, output_converter(graph, value, offset, scale, shift))
    total = clipped(exact(x) + clipped(exact(broadcast(addend)) << left, 32), 32)
    total = clipped(total + clipped(exact(broadcast(other)) << again, 32), 32)
    expected = clipped(rounded((total - offset) * scale, shift), 8)
    assert result.dtype == np.int8
    assert np.array_equal(result, expected)


@given(seeds, st.booleans(), shifts)
def test_input_converter(seed: int, per_channel: bool, truncate: int) -> None:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (2, 3, 2, 2)).astype(np.uint8)
    means = integers(seed, 16, 3 if per_channel else 1)
    scale = int(integers(seed + 1, 16))
    graph = Graph()
    value = graph.add(
        fixed.InputConverterOp,
        input=graph.input(pixels, UI8, batch=1),
        means=means.tolist(),
        scale=scale,
        truncate=truncate,
        result_types=result_type((1, 3, 2, 2), uniform_i8(0.5)),
    )
    centred = exact(pixels) - exact(means.reshape(-1, 1, 1))
    assert np.array_equal(run(graph, value), clipped(rounded(centred * scale, truncate), 8))


@given(seeds, zero_points)
def test_relu_is_the_maximum_with_the_zero_point(seed: int, zero_point: int) -> None:
    x = integers(seed, 8, 2, 3, 2, 2)
    graph = Graph()
    value = graph.add(nn.ReluOp, input=graph.input(x, uniform_i8(0.5, zero_point)))
    result = run(graph, value)
    assert result.dtype == np.int8
    assert np.array_equal(result, np.maximum(x, zero_point))


def test_relu_takes_int8_into_the_pipeline() -> None:
    x = integers(1, 8, 1, 3, 2, 2)
    graph = Graph()
    value = graph.add(
        nn.ReluOp,
        input=graph.input(x, uniform_i8(0.25)),
        result_types=result_type(x.shape, ACCUMULATOR),
    )
    result = run(graph, value)
    assert result.dtype == np.int32
    assert np.array_equal(result, np.maximum(x, 0))


def test_relu_with_a_zero_point_a_channel() -> None:
    type = UniformPerAxisType(IntegerType(32), F32, 1, (0.5, 0.5), (-1000, 7))
    x = np.array([[-2000, 3], [-999, 8]], np.int32)
    graph = Graph()
    value = graph.add(nn.ReluOp, input=graph.input(x, type))
    assert run(graph, value).tolist() == [[-1000, 7], [-999, 8]]


@st.composite
def pools(draw: st.DrawFn) -> tuple[Array, dict[str, Any]]:
    kernel = (draw(st.integers(1, 4)), draw(st.integers(1, 4)))
    pads = tuple(draw(st.integers(0, kernel[axis % 2] - 1)) for axis in range(4))
    size = [max(1, kernel[axis] - pads[axis] - pads[axis + 2]) + draw(st.integers(0, 4))
            for axis in (0, 1)]  # fmt: skip
    x = integers(draw(seeds), 8, 2, 3, *size)
    strides = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    return x, {"kernel": kernel, "pads": pads, "strides": strides}


@given(pools(), zero_points)
def test_max_pool(case: tuple[Array, dict[str, Any]], zero_point: int) -> None:
    x, attributes = case
    graph = Graph()
    value = graph.input(x, uniform_i8(0.5, zero_point), batch=1)
    result = run(graph, graph.add(nn.MaxPoolOp, input=value, **attributes))
    expected = reference.pool_maximum(
        x,
        kernel=attributes["kernel"],
        stride=attributes["strides"],
        pad=attributes["pads"][:2],
        output_size=result.shape[2:],
    )
    assert np.array_equal(result, expected)


@given(pools(), zero_points, st.integers(0, 2))
def test_average_pool(case: tuple[Array, dict[str, Any]], zero_point: int, extra: int) -> None:
    x, attributes = case
    reciprocals = [65536 // taps + extra for taps in attributes["kernel"]]
    graph = Graph()
    value = graph.add(
        fixed.AveragePoolOp,
        input=graph.input(x, uniform_i8(0.5, zero_point), batch=1),
        reciprocals=reciprocals,
        **attributes,
    )
    result = run(graph, value)
    (top, left, bottom, right), (rows, columns) = attributes["pads"], attributes["kernel"]
    widths = ((0, 0), (0, 0), (top, bottom), (left, right))
    padded = np.pad(exact(x), widths, constant_values=zero_point)
    for n, c, y, z in np.ndindex(*result.shape):
        row, column = y * attributes["strides"][0], z * attributes["strides"][1]
        total = padded[n, c, row : row + rows, column : column + columns].sum()
        across = rounded(np.array(total * reciprocals[1]), 16)
        expected = int(rounded(across * reciprocals[0], 16))
        assert result[n, c, y, z] == (expected + 128) % 256 - 128


def test_concat_joins_stored_integers() -> None:
    parts = [integers(i, 8, 2, i + 1, 2, 2) for i in range(3)]
    graph = Graph()
    values = [graph.input(part, uniform_i8(0.5), batch=1) for part in parts]
    result = run(graph, graph.add(nn.ConcatOp, inputs=values))
    assert np.array_equal(result, np.concatenate(parts, axis=1))


@given(
    st.lists(st.integers(-600, 600), min_size=1, max_size=8),
    st.sampled_from((-0.5, -0.49, 0.0, 0.49, 0.5)),
    st.sampled_from((0.25, 1.0, 3.0)),
    zero_points,
)
def test_quantize_cast_rounds_to_nearest_half_away(
    whole: list[int], fraction: float, scale: float, zero_point: int
) -> None:
    steps = np.array([number + fraction for number in whole])
    graph = Graph()
    value = graph.add(
        QuantizeCastOp,
        input=graph.input((steps * scale).astype(np.float32)[None]),
        result_types=result_type((1, len(whole)), uniform_i8(scale, zero_point)),
    )
    nearest = np.where(steps < 0, np.ceil(steps - 0.5), np.floor(steps + 0.5))
    result = run(graph, value)
    assert result.dtype == np.int8
    assert np.array_equal(result, np.clip(nearest + zero_point, -128, 127)[None])


def test_host_layers_read_the_reals() -> None:
    """A layer with a float result dequantizes what it reads."""
    x = np.array([[5, 3, 3]], np.int8)
    graph = Graph()
    value = graph.input(x, uniform_i8(0.5, 3))
    softmax = graph.add(nn.SoftmaxOp, input=value, result_types=result_type((1, 3), F32))
    e = np.exp(1.0)
    np.testing.assert_allclose(run(graph, softmax), [[e / (e + 2), 1 / (e + 2), 1 / (e + 2)]])


@pytest.mark.parametrize(
    ("op_class", "attributes", "message"),
    [
        (
            nn.AveragePoolOp,
            {"kernel": (2, 2)},
            "cannot run in integer mode: it has no integer arithmetic: 'insert-converters'",
        ),
        (nn.MaxPoolOp, {"kernel": (9, 9)}, "vertical kernel must be in [1, 8], not 9"),
        (
            nn.ReluOp,
            {"result_types": result_type((1, 1, 9, 9), uniform_i8(0.25))},
            "'nn.relu' does not rescale, but makes '!quant.uniform<i8:f32, 0.25>'",
        ),
        (
            nn.GlobalAveragePoolOp,
            {},
            "cannot run in integer mode: it has no integer arithmetic: 'insert-converters'",
        ),
    ],
)
def test_what_integers_cannot_do(op_class: Any, attributes: dict[str, Any], message: str) -> None:
    graph = Graph()
    value = graph.input(np.zeros((1, 1, 9, 9), np.int8), uniform_i8(0.5))
    with pytest.raises(DiagnosticError) as error:
        run(graph, graph.add(op_class, input=value, **attributes))
    assert message in str(error.value)
