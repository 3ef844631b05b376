"""Every layer type against ONNX Runtime or numpy definitions, on random shapes and attributes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from caffe_networks import CaffeLayer, import_layers, random, run

SEEDS = range(12)
SHAPE = (2, 6, 5, 7)


def close(actual: Any, expected: Any) -> None:
    expected = np.asarray(expected)
    assert actual.shape == expected.shape
    scale = max(1e-6, float(np.abs(expected).max()))
    assert float(np.abs(actual - expected).max()) <= 1e-4 * scale


def one(type: str, parameters: dict[str, Any] | None = None, *blobs: Any, bottoms: int = 1) -> Any:
    names = ("data", *(f"data{i}" for i in range(1, bottoms)))
    return CaffeLayer("layer", type, names, ("out",), parameters or {}, blobs)


def pick(rng: Any, *values: Any) -> Any:
    return values[int(rng.integers(len(values)))]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("type", ["Convolution", "Deconvolution", "ConvolutionDepthwise"])
def test_convolutions(tmp_path: Path, onnx_node: Any, type: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups = pick(rng, 1, 2, 3)
    x = random(seed, 2, 6, int(rng.integers(5, 10)), int(rng.integers(5, 10)))
    if type == "ConvolutionDepthwise":
        groups, outputs = 6, 6 * int(rng.integers(1, 3))
    else:
        outputs = groups * int(rng.integers(1, 4))
    kernel, stride, pad = (
        [int(n) for n in rng.integers(low, high, 2)] for low, high in ((1, 4), (1, 3), (0, 2))
    )
    dilation, has_bias = [int(rng.integers(1, 3))] * 2, bool(rng.integers(2))
    p: dict[str, Any] = {"num_output": outputs, "bias_term": has_bias, "dilation": dilation[:1]}
    if type != "ConvolutionDepthwise":
        p["group"] = groups
    if rng.integers(2):
        p |= {"kernel_size": kernel, "stride": stride, "pad": pad}
    else:
        for name, values in (("kernel", kernel), ("stride", stride), ("pad", pad)):
            p |= {f"{name}_h": values[0], f"{name}_w": values[1]}
    if type == "Deconvolution":
        weight = random(seed + 1, 6, outputs // groups, *kernel)
    else:
        weight = random(seed + 1, outputs, 6 // groups, *kernel)
    bias = random(seed + 2, outputs)
    blobs = (weight, bias) if has_bias else (weight,)
    (y,) = run(tmp_path, [one(type, {"convolution_param": p}, *blobs)], x)
    expected = onnx_node(
        "ConvTranspose" if type == "Deconvolution" else "Conv",
        x,
        weight,
        bias if has_bias else None,
        strides=stride,
        pads=pad * 2,
        dilations=dilation,
        group=groups,
    )
    close(y, expected)


def caffe_pool(x: Any, method: str, kernel: Any, stride: Any, pad: Any, ceil: bool = True) -> Any:
    """Window by window, as Caffe's layer goes about it."""
    sizes = x.shape[2:]
    counts = []
    for size, k, s, p in zip(sizes, kernel, stride, pad, strict=True):
        rounded = math.ceil if ceil else math.floor
        count = rounded((size + 2 * p - k) / s) + 1
        if any(pad) and (count - 1) * s >= size + p:
            count -= 1
        counts.append(count)
    y = np.zeros((*x.shape[:2], *counts), np.float64)
    for row in range(counts[0]):
        for column in range(counts[1]):
            top, left = row * stride[0] - pad[0], column * stride[1] - pad[1]
            bottom = min(top + kernel[0], sizes[0] + pad[0])
            right = min(left + kernel[1], sizes[1] + pad[1])
            area = (bottom - top) * (right - left)
            window = x[
                :, :, max(top, 0) : min(bottom, sizes[0]), max(left, 0) : min(right, sizes[1])
            ]
            if method == "MAX":
                y[:, :, row, column] = window.max((2, 3))
            else:
                y[:, :, row, column] = window.sum((2, 3)) / area
    return y


@pytest.mark.parametrize("seed", range(40))
def test_pooling(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = random(seed, 2, 3, int(rng.integers(4, 12)), int(rng.integers(4, 12)))
    kernel = [int(n) for n in rng.integers(2, 5, 2)]
    stride = [int(rng.integers(1, k + 1)) for k in kernel]
    pad = [int(rng.integers(0, k)) if seed % 2 else 0 for k in kernel]
    method, floor = pick(rng, "MAX", "AVE"), seed % 5 == 0
    p: dict[str, Any] = {"pool": method, "kernel_h": kernel[0], "kernel_w": kernel[1]}
    p |= {"stride_h": stride[0], "stride_w": stride[1], "pad_h": pad[0], "pad_w": pad[1]}
    if floor:
        p["round_mode"] = "FLOOR"
    (y,) = run(tmp_path, [one("Pooling", {"pooling_param": p})], x)
    close(y, caffe_pool(x, method, kernel, stride, pad, ceil=not floor))


@pytest.mark.parametrize(("method", "name"), [("MAX", "max"), ("AVE", "mean")])
def test_global_pooling(tmp_path: Path, method: str, name: str) -> None:
    x = random(1, *SHAPE)
    p = {"pooling_param": {"pool": method, "global_pooling": True}}
    (y,) = run(tmp_path, [one("Pooling", p)], x)
    close(y, getattr(x, name)((2, 3), keepdims=True))


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("shape", [(2, 7), (1, 3, 4, 5)])
def test_inner_product(tmp_path: Path, shape: tuple[int, ...], transpose: bool) -> None:
    x, features = random(0, *shape), math.prod(shape[1:])
    weight, bias = random(1, 4, features), random(2, 4)
    p = {"inner_product_param": {"num_output": 4, "transpose": transpose}}
    stored = weight.T if transpose else weight
    (y,) = run(tmp_path, [one("InnerProduct", p, stored, bias)], x)
    close(y, x.reshape(len(x), -1) @ weight.T + bias)


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


X = random(5, *SHAPE) * np.float32(3)


@pytest.mark.parametrize(
    ("type", "parameters", "expected"),
    [
        ("ReLU", {}, np.maximum(X, 0)),
        ("ReLU", {"relu_param": {"negative_slope": 0.1}}, np.where(X > 0, X, 0.1 * X)),
        ("ReLU6", {}, np.clip(X, 0, 6)),
        ("AbsVal", {}, np.abs(X)),
        ("BNLL", {}, np.log1p(np.exp(X))),
        ("Exp", {}, np.exp(X)),
        ("Exp", {"exp_param": {"base": 2.0, "scale": 0.5, "shift": 1.0}}, 2 ** (1 + X / 2)),
        ("Swish", {}, X / (1 + np.exp(-X))),
        ("Mish", {}, X * np.tanh(np.log1p(np.exp(X)))),
        (
            "ShuffleChannel",
            {"shuffle_channel_param": {"group": 2}},
            X.reshape(2, 2, 3, 5, 7).swapaxes(1, 2).reshape(SHAPE),
        ),
        (
            "Interp",
            {"interp_param": {"height": 5, "width": 14}},
            np.apply_along_axis(
                lambda row: np.interp(np.arange(14) * 6 / 13, np.arange(7), row), 3, X
            ),
        ),
        ("Clip", {"clip_param": {"min": -1.5, "max": 2}}, np.clip(X, -1.5, 2)),
        ("ELU", {"elu_param": {"alpha": 0.7}}, np.where(X > 0, X, 0.7 * np.expm1(X))),
        ("Sigmoid", {}, sigmoid(X)),
        ("TanH", {}, np.tanh(X)),
        ("Power", {"power_param": {"scale": -0.5, "shift": 2}}, 2 - 0.5 * X),
        ("Power", {"power_param": {"power": 2, "scale": 3, "shift": 1}}, (1 + 3 * X) ** 2),
        ("Dropout", {"dropout_param": {"dropout_ratio": 0.3, "scale_train": False}}, X * 0.7),
        ("Flatten", {}, X.reshape(2, -1)),
        ("Flatten", {"flatten_param": {"axis": 1, "end_axis": 2}}, X.reshape(2, 30, 7)),
        ("Flatten", {"flatten_param": {"axis": -2}}, X.reshape(2, 6, 35)),
        ("Reshape", {"reshape_param": {"shape": {"dim": [0, -1, 7]}}}, X.reshape(2, 30, 7)),
        (
            "Reshape",
            {"reshape_param": {"shape": {"dim": [3, -1]}, "axis": 1, "num_axes": 1}},
            X.reshape(2, 3, 2, 5, 7),
        ),
        (
            "Reshape",
            {"reshape_param": {"shape": {"dim": [1]}, "axis": -1, "num_axes": 0}},
            X.reshape(2, 6, 5, 7, 1),
        ),
        ("Permute", {"permute_param": {"order": [0, 2, 3, 1]}}, X.transpose(0, 2, 3, 1)),
        ("Permute", {"permute_param": {"order": [0, 3]}}, X.transpose(0, 3, 1, 2)),
        ("Upsample", {"upsample_param": {"scale": 2}}, X.repeat(2, 2).repeat(2, 3)),
        ("ArgMax", {"argmax_param": {"axis": 1}}, X.argmax(1)[:, None]),
        ("ArgMax", {}, X.reshape(2, -1).argmax(1).reshape(2, 1, 1)),
        ("Softmax", {}, np.exp(X) / np.exp(X).sum(1, keepdims=True)),
        (
            "Softmax",
            {"softmax_param": {"axis": -1}},
            np.exp(X) / np.exp(X).sum(3, keepdims=True),
        ),
    ],
)
def test_one_input(tmp_path: Path, type: str, parameters: dict[str, Any], expected: Any) -> None:
    (y,) = run(tmp_path, [one(type, parameters)], X)
    close(y, expected)


@pytest.mark.parametrize("size", [3, 5])
def test_lrn_across_channels(tmp_path: Path, onnx_node: Any, size: int) -> None:
    p = {"lrn_param": {"local_size": size, "alpha": 0.5, "beta": 0.75, "k": 2}}
    (y,) = run(tmp_path, [one("LRN", p)], X)
    close(y, onnx_node("LRN", X, size=size, alpha=0.5, beta=0.75, bias=2.0))


@pytest.mark.parametrize("factor", [1.0, 999.98, 0.0])
def test_batch_norm_divides_by_its_factor(tmp_path: Path, factor: float) -> None:
    mean, variance = random(1, 6), np.abs(random(2, 6)) + np.float32(0.1)
    blobs = (mean, variance, np.array([factor], np.float32))
    p = {"batch_norm_param": {"eps": 0.001}}
    (y,) = run(tmp_path, [one("BatchNorm", p, *blobs)], X)
    by = 0 if factor == 0 else 1 / factor
    m, v = (by * n.reshape(1, 6, 1, 1) for n in (mean, variance))
    close(y, (X - m) / np.sqrt(v + 0.001))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    ("axis", "num_axes", "shape"),
    [(1, 1, (6,)), (-3, 1, (6,)), (1, 0, ()), (1, -1, (6, 5, 7)), (2, 1, (5,)), (3, 1, (7,))],
)
def test_scale(
    tmp_path: Path, axis: int, num_axes: int, shape: tuple[int, ...], bias: bool
) -> None:
    factors, terms = random(1, *shape), random(2, *shape)
    p = {"scale_param": {"axis": axis, "num_axes": num_axes, "bias_term": bias}}
    blobs = (factors, terms) if bias else (factors,)
    (y,) = run(tmp_path, [one("Scale", p, *blobs)], X)
    full = (*shape, *(1,) * (4 - axis % 4 - len(shape))) if shape else ()
    close(y, X * factors.reshape(full) + (terms.reshape(full) if bias else 0))
    p = {"bias_param": {"axis": axis, "num_axes": num_axes}}
    (y,) = run(tmp_path, [one("Bias", p, terms)], X)
    close(y, X + terms.reshape(full))


@pytest.mark.parametrize(("axis", "shape"), [(0, SHAPE), (0, (2, 6)), (1, (6,)), (0, (2, 6, 1, 1))])
def test_scale_and_bias_by_a_second_input(
    tmp_path: Path, axis: int, shape: tuple[int, ...]
) -> None:
    second = random(3, *shape)
    full = second.reshape((*(1,) * axis, *shape, *(1,) * (4 - axis - len(shape))))
    layer = one("Scale", {"scale_param": {"axis": axis}}, bottoms=2)
    if shape == (2, 6, 1, 1):
        # Caffe's rule: the extents must be the same.
        with pytest.raises(Exception, match="do not meet"):
            run(tmp_path, [layer], X, second)
        return
    close(run(tmp_path, [layer], X, second)[0], X * full)
    layer = one("Bias", {"bias_param": {"axis": axis}}, bottoms=2)
    close(run(tmp_path, [layer], X, second)[0], X + full)


@pytest.mark.parametrize("shared", [False, True])
def test_prelu(tmp_path: Path, shared: bool) -> None:
    slope = random(1, *(() if shared else (6,)))
    layer = one("PReLU", {"prelu_param": {"channel_shared": shared}}, slope.reshape(-1))
    (y,) = run(tmp_path, [layer], X)
    close(y, np.where(X > 0, X, X * slope.reshape(() if shared else (1, 6, 1, 1))))


@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize("seed", range(4))
def test_eltwise(tmp_path: Path, count: int, seed: int) -> None:
    inputs = [random(seed * 10 + i, *SHAPE) for i in range(count)]
    rng = np.random.default_rng(seed)
    coefficients = [float(pick(rng, 1, -1, 0.5, -2)) for _ in range(count)]
    for parameters, expected in (
        ({}, sum(inputs)),
        ({"operation": "PROD"}, math.prod(inputs)),
        ({"operation": "MAX"}, np.max(inputs, 0)),
        (
            {"operation": "SUM", "coeff": coefficients},
            sum(c * x for c, x in zip(coefficients, inputs, strict=True)),
        ),
    ):
        layer = one("Eltwise", {"eltwise_param": parameters}, bottoms=count)
        close(run(tmp_path, [layer], *inputs)[0], expected)


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_concat(tmp_path: Path, axis: int) -> None:
    shapes = [list(SHAPE) for _ in range(3)]
    for i, shape in enumerate(shapes):
        shape[axis] = i + 1
    inputs = [random(i, *shape) for i, shape in enumerate(shapes)]
    layer = one("Concat", {"concat_param": {"axis": axis}}, bottoms=3)
    close(run(tmp_path, [layer], *inputs)[0], np.concatenate(inputs, axis))


@pytest.mark.parametrize(("axis", "points"), [(1, [1, 4]), (1, []), (-1, [2, 3]), (2, [1, 2])])
def test_slice(tmp_path: Path, axis: int, points: list[int]) -> None:
    p = {"slice_param": {"axis": axis, "slice_point": points}}
    layer = CaffeLayer("slice", "Slice", ("data",), ("a", "b", "c"), p)
    parts = np.split(X, points or 3, axis)
    for y, expected in zip(run(tmp_path, [layer], X), parts, strict=True):
        close(y, expected)


def test_split_and_crop(tmp_path: Path) -> None:
    split = CaffeLayer("split", "Split", ("data",), ("a", "b"))
    p = {"crop_param": {"axis": 2, "offset": [1, 2]}}
    crop = CaffeLayer("crop", "Crop", ("a", "data1"), ("cropped",), p)
    relu = CaffeLayer("relu", "ReLU", ("b",), ("positive",))
    cropped, positive = run(tmp_path, [split, crop, relu], X, random(1, 1, 1, 3, 4))
    close(cropped, X[:, :, 1:4, 2:6])
    close(positive, np.maximum(X, 0))


def test_old_messages_with_shapes_of_four_dimensions(tmp_path: Path, onnx_node: Any) -> None:
    weight, bias = random(1, 4, 6, 3, 3), random(2, 4)
    matrix, terms = random(3, 5, 4 * 3 * 5), random(4, 5)
    layers = [
        CaffeLayer(
            "conv",
            "Convolution",
            ("data",),
            ("conv",),
            {"convolution_param": {"num_output": 4, "kernel_size": 3}, "blobs_lr": [1, 2]},
            (weight, bias),
        ),
        CaffeLayer("relu", "ReLU", ("conv",), ("conv",)),
        CaffeLayer(
            "fc",
            "InnerProduct",
            ("conv",),
            ("fc",),
            {"inner_product_param": {"num_output": 5}},
            (matrix, terms),
        ),
    ]
    head = CaffeLayer(
        "data",
        "MemoryData",
        (),
        ("data", "label"),
        {"memory_data_param": {"batch_size": 1, "channels": 6, "height": 5, "width": 7}},
    )
    imported = import_layers(tmp_path, [head, *layers], old=True, legacy_shapes=True)
    x = X[:1]
    conv = np.maximum(onnx_node("Conv", x, weight, bias), 0)
    close(imported.run(data=x)["fc"], conv.reshape(1, -1) @ matrix.T + terms)
