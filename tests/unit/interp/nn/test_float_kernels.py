"""Each float kernel against its definition, written as loops in double precision."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from graphs import Graph, naive, run_op
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from nvdla_ir.dialects import nn
from nvdla_ir.interp.nn import windows
from nvdla_ir.ir.types import UI8

Array = NDArray[Any]
seeds = st.integers(0, 2**32 - 1)
small = st.integers(1, 4)


def floats(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def assert_close(result: Array, expected: Array) -> None:
    assert result.shape == expected.shape
    np.testing.assert_allclose(result, expected, rtol=2e-5, atol=2e-5)


@st.composite
def window_attributes(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "strides": (draw(st.integers(1, 3)), draw(st.integers(1, 3))),
        "pads": tuple(draw(st.integers(0, 2)) for _ in range(4)),
        "dilations": (draw(st.integers(1, 2)), draw(st.integers(1, 3))),
    }


@given(
    seed=seeds,
    batch=st.integers(1, 3),
    groups=st.integers(1, 3),
    channels=st.integers(1, 3),
    kernels=st.integers(1, 3),
    taps=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    extra=st.tuples(st.integers(0, 5), st.integers(0, 5)),
    attributes=window_attributes(),
    biased=st.booleans(),
    column_bytes=st.sampled_from((1, 1000, windows.COLUMN_BYTES)),
)
def test_convolution(
    seed: int,
    batch: int,
    groups: int,
    channels: int,
    kernels: int,
    taps: tuple[int, int],
    extra: tuple[int, int],
    attributes: dict[str, Any],
    biased: bool,
    column_bytes: int,
) -> None:
    (top, left, bottom, right), dilations = attributes["pads"], attributes["dilations"]
    height = max(1, (taps[0] - 1) * dilations[0] + 1 + extra[0] - top - bottom)
    width = max(1, (taps[1] - 1) * dilations[1] + 1 + extra[1] - left - right)
    x = floats(seed, batch, groups * channels, height, width)
    w = floats(seed + 1, groups * kernels, channels, *taps)
    bias = floats(seed + 2, groups * kernels) if biased else np.zeros(groups * kernels)
    operands = {"input": x, "weight": w, **({"bias": bias} if biased else {})}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(windows, "COLUMN_BYTES", column_bytes)
        result = run_op(nn.ConvOp, operands, {**attributes, "groups": groups})

    def output(n: int, k: int, y: int, z: int) -> float:
        total = float(bias[k])
        for c, r, s in np.ndindex(channels, *taps):
            row = y * attributes["strides"][0] + r * dilations[0] - top
            column = z * attributes["strides"][1] + s * dilations[1] - left
            if 0 <= row < height and 0 <= column < width:
                channel = k // kernels * channels + c
                total += float(x[n, channel, row, column]) * float(w[k, c, r, s])
        return total

    assert_close(result, naive(result.shape, output))
    assert result.shape[2] == (
        (height + top + bottom - (taps[0] - 1) * dilations[0] - 1) // attributes["strides"][0] + 1
    )


@st.composite
def pools(draw: st.DrawFn) -> tuple[Array, dict[str, Any]]:
    kernel = (draw(small), draw(small))
    pads = tuple(draw(st.integers(0, kernel[axis % 2] - 1)) for axis in range(4))
    size = [
        max(1, kernel[axis] - pads[axis] - pads[axis + 2] + draw(st.integers(0, 5)))
        for axis in (0, 1)
    ]
    x = floats(draw(seeds), draw(small), draw(small), *size)
    strides = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    return x, {"kernel": kernel, "pads": pads, "strides": strides}


def seen(x: Array, attributes: dict[str, Any], n: int, c: int, y: int, z: int) -> list[float]:
    """The elements inside the input that a window sees."""
    top, left = attributes["pads"][:2]
    found: list[float] = []
    for r, s in np.ndindex(*attributes["kernel"]):
        row = y * attributes["strides"][0] + r - top
        column = z * attributes["strides"][1] + s - left
        if 0 <= row < x.shape[2] and 0 <= column < x.shape[3]:
            found.append(float(x[n, c, row, column]))
    return found


@given(pools())
def test_max_pool(case: tuple[Array, dict[str, Any]]) -> None:
    x, attributes = case
    result = run_op(nn.MaxPoolOp, {"input": x}, attributes)
    assert_close(result, naive(result.shape, lambda *i: max(seen(x, attributes, *i))))


def test_padding_never_wins_a_maximum() -> None:
    x = np.full((1, 1, 2, 2), -5, np.float32)
    result = run_op(
        nn.MaxPoolOp, {"input": x}, {"kernel": (3, 3), "pads": (1, 1, 1, 1), "strides": (1, 1)}
    )
    assert (result == -5).all()


@given(pools(), st.booleans())
def test_average_pool(case: tuple[Array, dict[str, Any]], count_include_pad: bool) -> None:
    x, attributes = case
    result = run_op(
        nn.AveragePoolOp, {"input": x}, {**attributes, "count_include_pad": count_include_pad}
    )

    def output(*index: int) -> float:
        elements = seen(x, attributes, *index)
        whole = math.prod(attributes["kernel"])
        return sum(elements) / (whole if count_include_pad else len(elements))

    assert_close(result, naive(result.shape, output))


@given(seeds, small, small, small, small)
def test_global_average_pool(seed: int, n: int, c: int, h: int, w: int) -> None:
    x = floats(seed, n, c, h, w)
    result = run_op(nn.GlobalAveragePoolOp, {"input": x})
    expected = naive((n, c, 1, 1), lambda i, j, *_: float(x[i, j].astype(np.float64).sum() / h / w))
    assert_close(result, expected)


@given(seeds, small, st.sampled_from(((6,), (2, 1, 3))), small, st.booleans())
def test_fully_connected(
    seed: int, n: int, features: tuple[int, ...], outputs: int, biased: bool
) -> None:
    x, w = floats(seed, n, *features), floats(seed + 1, outputs, 6)
    bias = floats(seed + 2, outputs)
    operands = {"input": x, "weight": w, **({"bias": bias} if biased else {})}
    result = run_op(nn.FullyConnectedOp, operands)

    def output(i: int, k: int) -> float:
        products = (float(a) * float(b) for a, b in zip(x[i].ravel(), w[k], strict=True))
        return math.fsum(products) + (float(bias[k]) if biased else 0.0)

    assert_close(result, naive((n, outputs), output))


channel_shapes = st.sampled_from(((2, 3, 4, 2), (3, 3), (1, 3, 5)))


@given(seeds, channel_shapes, st.sampled_from((0.0, 1e-5, 0.5)))
def test_batch_norm(seed: int, shape: tuple[int, ...], epsilon: float) -> None:
    x, gamma, beta, mean = floats(seed, *shape), *floats(seed + 1, 3, 3)
    variance = np.abs(floats(seed + 2, 3)) + np.float32(0.1)
    operands = {"input": x, "gamma": gamma, "beta": beta, "mean": mean, "variance": variance}
    result = run_op(nn.BatchNormOp, operands, {"epsilon": epsilon})

    def output(*index: int) -> float:
        c = index[1]
        deviation = math.sqrt(float(variance[c]) + epsilon)
        return float(gamma[c]) * (float(x[index]) - float(mean[c])) / deviation + float(beta[c])

    assert_close(result, naive(shape, output))


@given(seeds, channel_shapes, st.booleans())
def test_scale_and_bias_add(seed: int, shape: tuple[int, ...], biased: bool) -> None:
    x, factor, bias = floats(seed, *shape), *floats(seed + 1, 2, 3)
    operands = {"input": x, "scale": factor, **({"bias": bias} if biased else {})}
    summand = bias if biased else np.zeros(3)
    assert_close(
        run_op(nn.ScaleOp, operands),
        naive(shape, lambda *i: float(x[i]) * float(factor[i[1]]) + float(summand[i[1]])),
    )
    assert_close(
        run_op(nn.BiasAddOp, {"input": x, "bias": bias}),
        naive(shape, lambda *i: float(x[i]) + float(bias[i[1]])),
    )


@given(seeds, channel_shapes)
def test_relu_and_add(seed: int, shape: tuple[int, ...]) -> None:
    x, y = floats(seed, *shape), floats(seed + 1, *shape)
    assert_close(run_op(nn.ReluOp, {"input": x}), naive(shape, lambda *i: max(0.0, float(x[i]))))
    expected = naive(shape, lambda *i: float(x[i]) + float(y[i]))
    assert_close(run_op(nn.AddOp, {"lhs": x, "rhs": y}), expected)


@given(seeds, st.integers(0, 2), st.lists(small, min_size=1, max_size=3))
def test_concat(seed: int, axis: int, extents: list[int]) -> None:
    shapes = [[extent if i == axis else 2 for i in range(3)] for extent in extents]
    parts = [floats(seed + i, *shape) for i, shape in enumerate(shapes)]
    result = run_op(nn.ConcatOp, {"inputs": parts}, {"axis": axis})
    owners = [(part, i) for part in parts for i in range(part.shape[axis])]

    def output(*index: int) -> float:
        part, place = owners[index[axis]]
        return float(part[tuple(place if i == axis else at for i, at in enumerate(index))])

    shape = [sum(extents) if i == axis else 2 for i in range(3)]
    assert_close(result, naive(shape, output))


def test_reshape_and_flatten_keep_the_order_of_elements() -> None:
    x = floats(1, 2, 3, 4)
    expected = list(x.ravel())
    assert list(run_op(nn.ReshapeOp, {"input": x}, shape=(4, 6)).ravel()) == expected
    for axis, shape in ((0, (24,)), (1, (2, 12)), (2, (2, 3, 4))):
        result = run_op(nn.FlattenOp, {"input": x}, {"axis": axis})
        assert result.shape == shape
        assert list(result.ravel()) == expected


@given(seeds, st.integers(0, 2), st.sampled_from((1.0, 300.0)))
def test_softmax(seed: int, axis: int, spread: float) -> None:
    x = floats(seed, 2, 3, 4) * np.float32(spread)
    result = run_op(nn.SoftmaxOp, {"input": x}, {"axis": axis})

    def output(*index: int) -> float:
        line = np.moveaxis(x.astype(np.float64), axis, -1)
        line = line[tuple(at for i, at in enumerate(index) if i != axis)]
        return 1 / math.fsum(math.exp(min(float(v - x[index]), 700)) for v in line)

    assert_close(result, naive(x.shape, output))


@given(seeds, st.booleans())
def test_normalize(seed: int, per_channel: bool) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (2, 3, 4, 5)).astype(np.uint8)
    means = [103.9, 116.8, 123.7] if per_channel else [78.0]
    graph = Graph()
    type = nn.tensor_type(graph.input(floats(0, *pixels.shape)))
    graph = Graph()
    value = graph.add(
        nn.NormalizeOp,
        input=graph.input(pixels, UI8),
        mean=means,
        scale=0.0121,
        result_types=[type],
    )
    (result,) = graph.run(value)
    assert result.dtype == np.float32
    expected = naive(
        pixels.shape,
        lambda *i: (int(pixels[i]) - means[i[1] if per_channel else 0]) * 0.0121,
    )
    assert_close(result, expected)
