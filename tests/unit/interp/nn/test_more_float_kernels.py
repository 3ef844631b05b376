"""Kernels of activations, two operands, selections and ceil mode against their definitions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from graphs import Graph, naive, run_op
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from nvdla_ir.dialects import nn
from nvdla_ir.dialects.quant import CalibratedType, uniform_i8
from nvdla_ir.interp.machine import Mode
from nvdla_ir.interp.quantization import dequantize
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.types import F32

Array = NDArray[Any]
seeds = st.integers(0, 2**32 - 1)
small = st.integers(1, 4)


def floats(seed: int, *shape: int, spread: float = 1.0) -> Array:
    return (np.random.default_rng(seed).normal(size=shape) * spread).astype(np.float32)


def assert_close(result: Array, expected: Array) -> None:
    assert result.shape == expected.shape
    np.testing.assert_allclose(result, expected, rtol=2e-5, atol=2e-6)


ACTIVATIONS: list[tuple[Any, dict[str, Any], Callable[[float], float]]] = [
    (nn.LeakyReluOp, {"alpha": 0.2}, lambda x: x if x >= 0 else 0.2 * x),
    (nn.LeakyReluOp, {"alpha": 1.5}, lambda x: x if x >= 0 else 1.5 * x),
    (nn.ClipOp, {"minimum": 0.0, "maximum": 6.0}, lambda x: min(max(x, 0), 6)),
    (nn.ClipOp, {"minimum": -0.5}, lambda x: max(x, -0.5)),
    (nn.ClipOp, {"maximum": 0.25}, lambda x: min(x, 0.25)),
    (nn.ClipOp, {}, lambda x: x),
    (nn.SigmoidOp, {}, lambda x: sigmoid(x)),
    (nn.HardSigmoidOp, {}, lambda x: min(max(0.2 * x + 0.5, 0), 1)),
    (nn.HardSigmoidOp, {"alpha": 1 / 6, "beta": 0.4}, lambda x: min(max(x / 6 + 0.4, 0), 1)),
    (nn.TanhOp, {}, math.tanh),
    (nn.EluOp, {"alpha": 0.7}, lambda x: x if x >= 0 else 0.7 * (math.exp(x) - 1)),
    (nn.HardSwishOp, {}, lambda x: x * min(max(x + 3, 0), 6) / 6),
    (nn.SwishOp, {}, lambda x: x * sigmoid(x)),
    (nn.SwishOp, {"alpha": 1.702}, lambda x: x * sigmoid(1.702 * x)),
    (nn.GeluOp, {}, lambda x: x / 2 * math.erfc(-x / math.sqrt(2))),
    (
        nn.GeluOp,
        {"approximate": "tanh"},
        lambda x: x / 2 * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    ),
    (nn.MishOp, {}, lambda x: x * math.tanh(softplus(x))),
    (nn.SoftplusOp, {}, lambda x: softplus(x)),
    (nn.SoftsignOp, {}, lambda x: x / (1 + abs(x))),
    (nn.ErfOp, {}, math.erf),
    (nn.AbsOp, {}, abs),
    (nn.ReluOp, {}, lambda x: max(x, 0)),
    (nn.ThresholdedReluOp, {"alpha": 0.5}, lambda x: x if x > 0.5 else 0),
    (nn.CeluOp, {"alpha": 2.0}, lambda x: max(x, 0) + min(2 * math.expm1(min(x, 0) / 2), 0)),
    (nn.SeluOp, {}, lambda x: 1.05070099 * (x if x >= 0 else 1.67326324 * math.expm1(x))),
    (nn.SeluOp, {"alpha": 2.0, "gamma": 3.0}, lambda x: 3 * (x if x > 0 else 2 * math.expm1(x))),
]


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0


def softplus(x: float) -> float:
    return max(x, 0) + math.log1p(math.exp(-abs(x)))


@pytest.mark.parametrize(("op_class", "attributes", "function"), ACTIVATIONS)
@pytest.mark.parametrize("spread", [1.0, 300.0])
def test_activations(
    op_class: Any, attributes: dict[str, Any], function: Callable[[float], float], spread: float
) -> None:
    x = floats(1, 2, 3, 4, 5, spread=spread)
    x[0, 0, 0, 0] = 0
    result = run_op(op_class, {"input": x}, attributes)
    assert_close(result, naive(x.shape, lambda *i: function(float(x[i]))))


@pytest.mark.parametrize("op_class", nn.UNARY_OPS)
@pytest.mark.parametrize("extreme", [False, True])
def test_kernels_and_functions_are_the_same(op_class: Any, extreme: bool) -> None:
    """In float32 the kernel, in float64 what tables are made from."""
    attributes = {"minimum": -0.5, "maximum": 0.75} if op_class is nn.ClipOp else {}
    x = floats(1, 2, 3, 4, 5, spread=3.0)
    if extreme and op_class is not nn.ExpOp:
        x.ravel()[:6] = [0.0, -0.0, 1e-38, 3e38, -3e38, 88.8]
    graph = Graph()
    op = graph.add(op_class, input=graph.input(x), **attributes).defining_operation
    assert isinstance(op, nn.UnaryOp)
    result = run_op(op_class, {"input": x}, attributes)
    assert result.dtype == np.float32
    assert np.isfinite(result).all()
    wide = op.function(x.astype(np.float64))
    assert wide.dtype == np.float64
    np.testing.assert_allclose(result, wide, rtol=3e-5, atol=1e-6)


def test_an_exponential_that_is_too_large_is_refused() -> None:
    with pytest.raises(DiagnosticError, match=r"exp\(x\) is too large for its type: x is up to 99"):
        run_op(nn.ExpOp, {"input": np.array([1.0, 99.0], np.float32)}, {})


@pytest.mark.parametrize("slopes", [1, 3])
def test_prelu(slopes: int) -> None:
    x, slope = floats(2, 2, 3, 4, 2), floats(3, slopes)

    def output(n: int, c: int, *rest: int) -> float:
        value = float(x[(n, c, *rest)])
        return value if value >= 0 else value * float(slope[c % slopes])

    result = run_op(nn.PReluOp, {"input": x, "slope": slope})
    assert_close(result, naive(x.shape, output))


BINARY: list[tuple[Any, Callable[[float, float], float]]] = [
    (nn.AddOp, lambda a, b: a + b),
    (nn.SubOp, lambda a, b: a - b),
    (nn.MulOp, lambda a, b: a * b),
    (nn.DivOp, lambda a, b: a / b),
    (nn.MaxOp, max),
    (nn.MinOp, min),
]


@pytest.mark.parametrize(("op_class", "function"), BINARY)
@pytest.mark.parametrize(
    "shape",
    [
        (2, 3, 4, 2),
        (1, 3, 1, 1),
        (2, 3, 1, 1),
        (1, 1, 1, 1),
        (1,),
        (1, 1),
        (2, 1, 4, 2),
        (1, 1, 4, 1),
    ],
)
def test_two_operands(
    op_class: Any, function: Callable[[float, float], float], shape: tuple[int, ...]
) -> None:
    x, y = floats(4, 2, 3, 4, 2), np.asarray(floats(5, *shape), np.float32)

    def output(*index: int) -> float:
        places = index[len(index) - y.ndim :]
        chosen = tuple(i if extent > 1 else 0 for i, extent in zip(places, y.shape, strict=True))
        return function(float(x[index]), float(y[chosen]))

    result = run_op(op_class, {"lhs": x, "rhs": y})
    np.testing.assert_allclose(result, naive(x.shape, output), rtol=1e-5, atol=1e-6)


def test_a_division_by_zero_is_refused() -> None:
    with pytest.raises(DiagnosticError, match="divides by 0"):
        run_op(nn.DivOp, {"lhs": floats(1, 1, 2), "rhs": np.zeros((1, 2), np.float32)})


def test_images_meet_their_own_factors() -> None:
    x, y = floats(6, 3, 2, 2, 2), floats(7, 3, 2, 1, 1)
    graph = Graph()
    a, b = graph.input(x, batch=1), graph.input(y, batch=1)
    (result,) = graph.run(graph.add(nn.MulOp, lhs=a, rhs=b))
    np.testing.assert_array_equal(result, x * y)


@given(seeds, st.integers(1, 7), st.sampled_from((1e-4, 1.0)), st.sampled_from((1.0, 2.0)))
def test_lrn(seed: int, size: int, alpha: float, k: float) -> None:
    x = floats(seed, 1, 5, 2, 2, spread=3)

    def output(n: int, c: int, y: int, z: int) -> float:
        first, last = max(0, c - (size - 1) // 2), min(4, c + size // 2)
        squares = math.fsum(float(x[n, d, y, z]) ** 2 for d in range(first, last + 1))
        return float(x[n, c, y, z]) / (k + alpha / size * squares) ** 0.75

    result = run_op(nn.LrnOp, {"input": x}, {"size": size, "alpha": alpha, "beta": 0.75, "k": k})
    assert_close(result, naive(x.shape, output))


@given(
    seed=seeds,
    shape=st.tuples(st.integers(1, 2), small, small),
    groups=st.integers(1, 2),
    channels=st.integers(1, 2),
    kernels=st.integers(1, 2),
    taps=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    strides=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    dilations=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    extra=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    pads=st.tuples(*(st.integers(0, 1),) * 4),
    biased=st.booleans(),
)
def test_transposed_convolution(
    seed: int,
    shape: tuple[int, int, int],
    groups: int,
    channels: int,
    kernels: int,
    taps: tuple[int, int],
    strides: tuple[int, int],
    dilations: tuple[int, int],
    extra: tuple[int, int],
    pads: tuple[int, int, int, int],
    biased: bool,
) -> None:
    n, height, width = shape
    padding = tuple(
        min(e, max(s, d) - 1) for e, s, d in zip(extra, strides, dilations, strict=True)
    )
    reach = [
        stride * (size - 1) + (tap - 1) * dilation + 1
        for size, tap, stride, dilation in zip(
            (height, width), taps, strides, dilations, strict=True
        )
    ]
    if reach[0] + padding[0] <= pads[0] + pads[2] or reach[1] + padding[1] <= pads[1] + pads[3]:
        pads = (0, 0, 0, 0)
    x = floats(seed, n, groups * channels, height, width)
    w = floats(seed + 1, groups * channels, kernels, *taps)
    bias = floats(seed + 2, groups * kernels) if biased else np.zeros(groups * kernels)
    full = np.zeros((n, groups * kernels, reach[0] + padding[0], reach[1] + padding[1]))
    for i, c, y, z, k, r, s in np.ndindex(*x.shape, kernels, *taps):
        row, column = y * strides[0] + r * dilations[0], z * strides[1] + s * dilations[1]
        product = float(x[i, c, y, z]) * float(w[c, k, r, s])
        full[i, c // channels * kernels + k, row, column] += product
    bottom, right = full.shape[2] - pads[2], full.shape[3] - pads[3]
    expected = full[:, :, pads[0] : bottom, pads[1] : right] + bias[:, None, None]
    result = run_op(
        nn.ConvTransposeOp,
        {"input": x, "weight": w, **({"bias": bias} if biased else {})},
        {
            "strides": strides,
            "pads": pads,
            "dilations": dilations,
            "groups": groups,
            "output_padding": padding,
        },
    )
    np.testing.assert_allclose(result, expected, rtol=2e-5, atol=2e-5)


def test_transposed_convolution_agrees_with_onnx_runtime(onnx_node: Any) -> None:
    x, w, bias = floats(1, 2, 4, 5, 6), floats(2, 4, 3, 3, 2), floats(3, 6)
    expected = onnx_node(
        "ConvTranspose",
        x,
        w,
        bias,
        strides=[2, 3],
        pads=[1, 1, 1, 1],
        output_padding=[1, 1],
        group=2,
        dilations=[2, 1],
    )
    result = run_op(
        nn.ConvTransposeOp,
        {"input": x, "weight": w, "bias": bias},
        {
            "strides": (2, 3),
            "pads": (1, 1, 1, 1),
            "output_padding": (1, 1),
            "groups": 2,
            "dilations": (2, 1),
        },
    )
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-5)


def ceil_extension(size: int, kernel: int, stride: int, pad: int) -> int:
    """What lets a last, incomplete window in, as long as it begins inside the input or the
    padding before it."""
    windows = -(-(size + 2 * pad - kernel) // stride) + 1
    if (windows - 1) * stride >= size + pad:
        windows -= 1
    return max(0, (windows - 1) * stride + kernel - size - 2 * pad)


@pytest.mark.parametrize("count_include_pad", [False, True])
@pytest.mark.parametrize(
    ("size", "kernel", "stride", "pad"),
    [(6, 3, 2, 0), (7, 2, 2, 0), (7, 3, 2, 1), (8, 3, 2, 1), (9, 4, 3, 2), (5, 1, 3, 0)],
)
def test_ceil_mode(
    onnx_node: Any, size: int, kernel: int, stride: int, pad: int, count_include_pad: bool
) -> None:
    x = floats(size, 2, 3, size, size)
    extension = ceil_extension(size, kernel, stride, pad)
    attributes: dict[str, Any] = {
        "kernel": (kernel, kernel),
        "strides": (stride, stride),
        "pads": (pad,) * 4,
        "ceil_extension": (extension, extension),
    }
    window = {
        "kernel_shape": [kernel] * 2,
        "strides": [stride] * 2,
        "pads": [pad] * 4,
        "ceil_mode": 1,
    }
    assert_close(run_op(nn.MaxPoolOp, {"input": x}, attributes), onnx_node("MaxPool", x, **window))
    version = pytest.importorskip("onnxruntime").__version__.split(".")
    if [int(part) for part in version[:2]] < [1, 24]:
        pytest.skip("this ONNX Runtime divides incomplete windows otherwise than ONNX says")
    expected = onnx_node("AveragePool", x, count_include_pad=int(count_include_pad), **window)
    attributes["count_include_pad"] = count_include_pad
    assert_close(run_op(nn.AveragePoolOp, {"input": x}, attributes), expected)


def test_extension_counts_in_no_mean() -> None:
    x = np.arange(9, dtype=np.float32).reshape(1, 1, 3, 3)
    attributes = {"kernel": (2, 2), "strides": (2, 2), "ceil_extension": (1, 1)}
    result = run_op(nn.AveragePoolOp, {"input": x}, attributes)
    assert result[0, 0].tolist() == [[2, 3.5], [6.5, 8]]
    result = run_op(nn.MaxPoolOp, {"input": x - 10}, attributes)
    assert result[0, 0].tolist() == [[-6, -5], [-3, -2]]


SELECTIONS: list[tuple[Any, dict[str, Any], Callable[[Array], Array]]] = [
    (nn.SliceOp, {"axis": 1, "start": 1, "size": 2}, lambda x: x[:, 1:3]),
    (nn.SliceOp, {"axis": 3, "size": 1}, lambda x: x[..., :1]),
    (nn.SliceOp, {"axis": 2, "start": 1, "size": 2, "step": 2}, lambda x: x[:, :, 1::2]),
    (nn.PadOp, {"pads": (1, 0, 2, 3)}, lambda x: np.pad(x, ((0, 0), (0, 0), (1, 2), (0, 3)))),
    (nn.TransposeOp, {"permutation": (0, 2, 3, 1)}, lambda x: np.moveaxis(x, 1, -1)),
    (nn.UpsampleOp, {"scales": (2, 3)}, lambda x: x.repeat(2, 2).repeat(3, 3)),
    (nn.GlobalMaxPoolOp, {}, lambda x: x.max((2, 3), keepdims=True)),
    (
        nn.PadOp,
        {"pads": (1, 0, 2, 3), "mode": "edge"},
        lambda x: np.pad(x, ((0, 0), (0, 0), (1, 2), (0, 3)), "edge"),
    ),
    (
        nn.PadOp,
        {"pads": (3, 1, 0, 4), "mode": "reflect"},
        lambda x: np.pad(x, ((0, 0), (0, 0), (3, 0), (1, 4)), "reflect"),
    ),
    (nn.ChannelShuffleOp, {"groups": 3}, lambda x: x),
]

REARRANGEMENTS: list[tuple[Any, dict[str, Any], tuple[int, ...], tuple[int, ...], Any]] = [
    # what, the input's axes in parts, and which part of the result each is
    (nn.ChannelShuffleOp, {"groups": 2}, (2, 2, 3, 4, 5), (0, 2, 1, 3, 4), (2, 6, 4, 5)),
    (nn.ChannelShuffleOp, {"groups": 3}, (2, 3, 2, 4, 5), (0, 2, 1, 3, 4), (2, 6, 4, 5)),
    (
        nn.DepthToSpaceOp,
        {"block_size": 2},
        (2, 2, 2, 3, 4, 5),
        (0, 3, 4, 1, 5, 2),
        (2, 3, 8, 10),
    ),
    (
        nn.DepthToSpaceOp,
        {"block_size": 2, "mode": "CRD"},
        (2, 3, 2, 2, 4, 5),
        (0, 1, 4, 2, 5, 3),
        (2, 3, 8, 10),
    ),
]


@pytest.mark.parametrize(("op_class", "attributes", "parts", "order", "shape"), REARRANGEMENTS)
def test_rearrangements(
    op_class: Any, attributes: dict[str, Any], parts: Any, order: Any, shape: Any
) -> None:
    numbers = np.arange(np.prod(parts), dtype=np.float32).reshape(parts)
    x = numbers.reshape(2, -1, 4, 5)
    result = run_op(op_class, {"input": x}, attributes)
    np.testing.assert_array_equal(result, numbers.transpose(order).reshape(shape))
    if op_class is nn.DepthToSpaceOp:
        back = run_op(nn.SpaceToDepthOp, {"input": result}, attributes)
        np.testing.assert_array_equal(back, x)


@pytest.mark.parametrize("coordinates", ["half_pixel", "asymmetric", "align_corners"])
@pytest.mark.parametrize("size", [1, 2, 5])
@pytest.mark.parametrize("scale", [1, 2, 3])
def test_interpolation(coordinates: str, size: int, scale: int) -> None:
    x = floats(8, 1, 1, size, 1)
    attributes = {"scales": (scale, 1), "coordinates": coordinates}
    place = np.arange(size * scale, dtype=np.float64)
    if coordinates == "half_pixel":
        place = (place + 0.5) / scale - 0.5
    elif coordinates == "asymmetric":
        place = place / scale
    elif size * scale > 1:
        place = place * (size - 1) / (size * scale - 1)
    expected = np.interp(place, np.arange(size), x.ravel())
    assert_close(run_op(nn.InterpolateOp, {"input": x}, attributes).ravel(), expected)


@pytest.mark.parametrize(("op_class", "attributes", "expected"), SELECTIONS)
def test_selections_of_reals_and_of_stored_integers(
    op_class: Any, attributes: dict[str, Any], expected: Callable[[Array], Array]
) -> None:
    x = floats(8, 2, 3, 4, 5)
    np.testing.assert_array_equal(run_op(op_class, {"input": x}, attributes), expected(x))
    stored = np.random.default_rng(8).integers(-128, 128, (2, 3, 4, 5)).astype(np.int8)
    for mode in (Mode.INTEGER, Mode.FAKE_QUANTIZED):
        graph = Graph()
        element = uniform_i8(0.5)
        numbers = stored if mode is Mode.INTEGER else dequantize(stored, element)
        value = graph.add(op_class, input=graph.input(numbers, element), **attributes)
        (result,) = graph.run(value, mode=mode)
        assert result.dtype == numbers.dtype
        np.testing.assert_array_equal(result, expected(numbers))


@pytest.mark.parametrize(("value", "code"), [(0.0, 5), (1.0, 7), (-99.0, -128)])
def test_padding_of_stored_integers_is_the_number_that_stands_for_the_value(
    value: float, code: int
) -> None:
    graph = Graph()
    x = graph.input(np.full((1, 1, 1, 1), 3, np.int8), uniform_i8(0.5, 5))
    padded = graph.add(nn.PadOp, input=x, pads=(0, 1, 0, 0), value=value)
    (result,) = graph.run(padded, mode=Mode.INTEGER)
    assert result.ravel().tolist() == [code, 3]


@pytest.mark.parametrize("keep_dims", [True, False])
def test_argmax(keep_dims: bool) -> None:
    x = np.array([[[1, 5, 2], [7, 7, 0]]], np.float32)
    graph = Graph()
    value = graph.add(nn.ArgmaxOp, input=graph.input(x), axis=2, keep_dims=keep_dims)
    (result,) = graph.run(value)
    assert result.dtype == np.int64
    assert result.tolist() == ([[[1], [0]]] if keep_dims else [[1, 0]])


@pytest.mark.parametrize("op_class", [nn.SigmoidOp, nn.HardSwishOp, nn.TanhOp])
def test_results_are_rounded_to_their_grid_where_quantization_is_simulated(op_class: Any) -> None:
    x, grid = floats(9, 1, 2, 3, 3), CalibratedType(F32, -12.7, 12.7)
    graph = Graph()
    value = graph.add(op_class, input=graph.input(x))
    value.type = nn.tensor_type(value).with_element(grid)
    (result,) = graph.run(value, mode=Mode.FAKE_QUANTIZED)
    np.testing.assert_allclose(result, np.round(result * 10) / 10, atol=1e-6)
    np.testing.assert_allclose(result, run_op(op_class, {"input": x}), atol=0.0501)
