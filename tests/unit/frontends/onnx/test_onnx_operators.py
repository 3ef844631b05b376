"""Every operator and its attributes against ONNX Runtime, with random shapes and numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx_models import check_against_runtime, model, node, onnx, runtime_version

CASES = 8
OPSETS = (7, 9, 11, 13, 17, 21, 23)
Rng = np.random.Generator


def reals(rng: Rng, *shape: int) -> Any:
    return rng.normal(size=shape).astype(np.float32) * 2


def image_shape(rng: Rng, channels: int | None = None, least: int = 4) -> tuple[int, ...]:
    height, width = (int(n) for n in rng.integers(least, 12, 2))
    return int(rng.integers(1, 3)), channels or int(rng.integers(1, 7)), height, width


def check(
    tmp_path: Path,
    nodes: Any,
    x: Any,
    constants: Any = None,
    opset: int = 13,
    outputs: Any = ("y",),
    output_element: int = 1,
    **more: Any,
) -> Any:
    arrays = {"x": x, **more}
    proto = model(
        nodes,
        {name: array.shape for name, array in arrays.items()},
        outputs,
        constants,
        opset,
        output_element=output_element,
    )
    return check_against_runtime(proto, arrays, tmp_path)


def pads_or_auto(rng: Rng, kernel: Any) -> dict[str, Any]:
    choice = rng.integers(0, 4)
    if choice == 0:
        return {"auto_pad": str(rng.choice(["SAME_UPPER", "SAME_LOWER", "VALID"]))}
    if choice == 1:
        return {}
    return {"pads": [int(rng.integers(0, kernel[axis % 2])) for axis in range(4)]}


# -------------------------------------------------------------- weights


@pytest.mark.parametrize("seed", range(3 * CASES))
def test_conv(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    groups = int(rng.integers(1, 4))
    inside, outside = (int(n) for n in rng.integers(1, 4, 2))
    kernel = [int(n) for n in rng.integers(1, 4, 2)]
    shape = image_shape(rng, groups * inside, least=8)
    constants = {"w": reals(rng, groups * outside, inside, *kernel)}
    if rng.integers(0, 2):
        constants["b"] = reals(rng, groups * outside)
    attributes = pads_or_auto(rng, kernel)
    attributes["strides"] = [int(n) for n in rng.integers(1, 4, 2)]
    if "auto_pad" not in attributes or attributes["auto_pad"] == "VALID":
        attributes["dilations"] = [int(n) for n in rng.integers(1, 3, 2)]
    nodes = [node("Conv", ["x", *constants], ["y"], group=groups, **attributes)]
    check(tmp_path, nodes, reals(rng, *shape), constants, int(rng.choice(OPSETS)))


@pytest.mark.parametrize("seed", range(3 * CASES))
def test_conv_transpose(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    groups = int(rng.integers(1, 4))
    inside, outside = (int(n) for n in rng.integers(1, 4, 2))
    kernel = [int(n) for n in rng.integers(2, 5, 2)]
    strides = [int(n) for n in rng.integers(1, 4, 2)]
    shape = image_shape(rng, groups * inside)
    constants = {"w": reals(rng, groups * inside, outside, *kernel)}
    if rng.integers(0, 2):
        constants["b"] = reals(rng, groups * outside)
    attributes: dict[str, Any] = {"strides": strides, "group": groups}
    choice = seed % 4
    if choice == 0:
        attributes["pads"] = [int(rng.integers(0, kernel[axis % 2])) for axis in range(4)]
        attributes["output_padding"] = [int(rng.integers(0, stride)) for stride in strides]
    elif choice == 1:
        attributes["output_shape"] = [
            (shape[2 + axis] - 1) * strides[axis] + kernel[axis] - int(rng.integers(0, 3))
            for axis in range(2)
        ]
        attributes["auto_pad"] = str(rng.choice(["SAME_UPPER", "SAME_LOWER", "NOTSET"]))
    elif choice == 2:
        attributes["dilations"] = [int(n) for n in rng.integers(1, 3, 2)]
    else:
        kernel = [max(k, s) for k, s in zip(kernel, strides, strict=True)]
        constants["w"] = reals(rng, groups * inside, outside, *kernel)
        attributes["auto_pad"] = str(rng.choice(["SAME_UPPER", "SAME_LOWER", "VALID"]))
    nodes = [node("ConvTranspose", ["x", *constants], ["y"], **attributes)]
    check(tmp_path, nodes, reals(rng, *shape), constants, int(rng.choice(OPSETS)))


@pytest.mark.parametrize("seed", range(2 * CASES))
def test_gemm(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    rows, inside, outside = (int(n) for n in rng.integers(1, 9, 3))
    transposed = seed % 2
    constants = {"w": reals(rng, *((outside, inside) if transposed else (inside, outside)))}
    bias = [None, (outside,), (1,), (1, outside), ()][seed % 5]
    if bias is not None:
        constants["b"] = reals(rng, *bias)
    factors = {"alpha": 0.5, "beta": 1.5} if seed % 3 == 0 else {}
    opset = 11 if bias is None else int(rng.choice(OPSETS))
    nodes = [node("Gemm", ["x", *constants], ["y"], transB=transposed, **factors)]
    check(tmp_path, nodes, reals(rng, rows, inside), constants, opset)


@pytest.mark.parametrize("rank", [2, 3, 4])
def test_matmul(rank: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(rank)
    shape = (2, 3, 4, 5)[4 - rank :]
    nodes = [node("MatMul", ["x", "w"], ["m"]), node("Add", ["m", "b"], ["y"])]
    bias = {2: (7,), 3: (1,), 4: (1,)}[rank]
    constants = {"w": reals(rng, 5, 7), "b": reals(rng, *bias)}
    check(tmp_path, nodes, reals(rng, *shape), constants)


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("rank", [2, 4])
def test_batch_normalization(opset: int, rank: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(opset)
    x = reals(rng, *image_shape(rng, 3)[:rank])
    constants = {name: reals(rng, 3) for name in ("scale", "bias", "mean")}
    constants["variance"] = np.abs(reals(rng, 3)) + np.float32(0.1)
    nodes = [node("BatchNormalization", ["x", *constants], ["y"], epsilon=1e-3, momentum=0.8)]
    check(tmp_path, nodes, x, constants, opset)


def test_instance_normalization_of_a_constant(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    constants = {"c": reals(rng, 1, 3, 4, 5), "s": reals(rng, 3), "b": reals(rng, 3)}
    nodes = [
        node("InstanceNormalization", ["c", "s", "b"], ["n"], epsilon=1e-3),
        node("Add", ["x", "n"], ["y"]),
    ]
    check(tmp_path, nodes, reals(rng, 1, 3, 4, 5), constants)


@pytest.mark.parametrize("seed", range(CASES))
def test_lrn(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    attributes = {"size": int(rng.choice([1, 3, 5]))}
    more = {"alpha": 0.01, "beta": 0.6, "bias": 1.5} if seed % 2 else {}
    nodes = [node("LRN", ["x"], ["y"], **attributes, **more)]
    check(tmp_path, nodes, reals(rng, *image_shape(rng, 7)))


# -------------------------------------------------------------- functions of each element


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize(
    ("op_type", "attributes"),
    [
        ("Relu", {}),
        ("LeakyRelu", {}),
        ("LeakyRelu", {"alpha": 0.3}),
        ("Sigmoid", {}),
        ("HardSigmoid", {}),
        ("HardSigmoid", {"alpha": 0.3, "beta": 0.1}),
        ("Tanh", {}),
        ("Elu", {}),
        ("Elu", {"alpha": 0.7}),
        ("Neg", {}),
        ("Identity", {}),
        ("GlobalAveragePool", {}),
        ("GlobalMaxPool", {}),
    ],
)
def test_functions_of_one_tensor(op_type: str, attributes: Any, opset: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(opset)
    check(tmp_path, [node(op_type, ["x"], ["y"], **attributes)], reals(rng, 1, 3, 5, 6), {}, opset)


def test_hard_swish(tmp_path: Path) -> None:
    x = reals(np.random.default_rng(0), 1, 3, 5, 6) * 3
    check(tmp_path, [node("HardSwish", ["x"], ["y"])], x, {}, 14)


@pytest.mark.parametrize("opset", [7, 11, 21])
@pytest.mark.parametrize("form", range(5))
def test_hard_swish_as_several_nodes(form: int, opset: int, tmp_path: Path) -> None:
    x = reals(np.random.default_rng(form), 1, 3, 5, 6) * 3
    constants = {
        name: np.array(value, np.float32)
        for name, value in {"three": 3, "zero": 0, "six": 6, "sixth": 1 / 6}.items()
    }
    limits: Any = {"min": 0.0, "max": 6.0} if opset < 11 else {}
    clip = node("Clip", ["a"] if limits else ["a", "zero", "six"], ["c"], **limits)
    shifted = [node("Add", ["x", "three"] if form % 2 else ["three", "x"], ["a"]), clip]
    nodes = [
        [
            node("HardSigmoid", ["x"], ["h"], alpha=1 / 6, beta=0.5),
            node("Mul", ["x", "h"], ["y"]),
        ],
        [*shifted, node("Div", ["c", "six"], ["d"]), node("Mul", ["x", "d"], ["y"])],
        [*shifted, node("Mul", ["c", "sixth"], ["d"]), node("Mul", ["d", "x"], ["y"])],
        [*shifted, node("Mul", ["x", "c"], ["d"]), node("Div", ["d", "six"], ["y"])],
        [*shifted, node("Mul", ["c", "x"], ["d"]), node("Mul", ["d", "sixth"], ["y"])],
    ][form]
    imported = check(tmp_path, nodes, x, constants, opset)
    assert imported.operations == ["nn.hard_swish"]


def test_a_product_that_is_almost_hard_swish(tmp_path: Path) -> None:
    x = reals(np.random.default_rng(0), 1, 3, 5, 6) * 3
    nodes = [node("HardSigmoid", ["x"], ["h"], alpha=0.2), node("Mul", ["x", "h"], ["y"])]
    assert "nn.hard_swish" not in check(tmp_path, nodes, x).operations


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize(
    "limits", [(0.0, 6.0), (-1.0, None), (None, 1.5), (None, None), (0.0, None)]
)
def test_clip(opset: int, limits: Any, tmp_path: Path) -> None:
    x = reals(np.random.default_rng(opset), 1, 3, 5, 6) * 3
    low, high = limits
    if opset < 11:
        attributes = {k: v for k, v in (("min", low), ("max", high)) if v is not None}
        check(tmp_path, [node("Clip", ["x"], ["y"], **attributes)], x, {}, opset)
        return
    constants = {k: np.float32(v) for k, v in (("low", low), ("high", high)) if v is not None}
    inputs = ["x", "low" if low is not None else "", "high" if high is not None else ""]
    check(tmp_path, [node("Clip", inputs, ["y"])], x, constants, opset)


@pytest.mark.parametrize("shape", [(1,), (3, 1, 1), (1, 3, 1, 1)])
def test_prelu(shape: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    nodes = [node("PRelu", ["x", "s"], ["y"])]
    check(tmp_path, nodes, reals(rng, 2, 3, 4, 5), {"s": reals(rng, *shape)})


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("axis", [None, 1, -1, 2])
def test_softmax(opset: int, axis: int | None, tmp_path: Path) -> None:
    x = reals(np.random.default_rng(opset), 2, 3, 4, 5)
    attributes = {} if axis is None else {"axis": axis}
    if opset < 11 and axis == -1:
        attributes = {"axis": 3}
    check(tmp_path, [node("Softmax", ["x"], ["y"], **attributes)], x, {}, opset)


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("keep", [0, 1])
def test_argmax(axis: int, keep: int, tmp_path: Path) -> None:
    x = reals(np.random.default_rng(axis + 3), 2, 3, 4, 5)
    nodes = [node("ArgMax", ["x"], ["y"], axis=axis, keepdims=keep)]
    check(tmp_path, nodes, x, output_element=7)


# -------------------------------------------------------------- arithmetic

SHAPES = [(), (1,), (1, 1, 1), (3, 1, 1), (1, 3, 1, 1), (2, 3, 4, 5), (3, 4, 5), (4, 5), (5,)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("op_type", ["Add", "Sub", "Mul", "Div"])
@pytest.mark.parametrize("first", [True, False])
def test_arithmetic_with_constants(op_type: str, shape: Any, first: bool, tmp_path: Path) -> None:
    rng = np.random.default_rng(len(shape))
    x, constant = reals(rng, 2, 3, 4, 5), reals(rng, *shape)
    if op_type == "Div":
        x, constant = (np.sign(a) * (np.abs(a) + np.float32(0.5)) for a in (x, constant))
    nodes = [node(op_type, ["x", "c"] if first else ["c", "x"], ["y"])]
    check(tmp_path, nodes, x, {"c": np.asarray(constant, np.float32)})


@pytest.mark.parametrize("op_type", ["Add", "Sub", "Mul", "Max", "Min", "Div"])
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (1, 3, 1, 1), (2, 3, 1, 1), (3, 1, 1), (1,)])
@pytest.mark.parametrize("first", [True, False])
def test_arithmetic_of_tensors(op_type: str, shape: Any, first: bool, tmp_path: Path) -> None:
    rng = np.random.default_rng(len(shape))
    x, z = reals(rng, 2, 3, 4, 5), reals(rng, *shape)
    if op_type == "Div":
        if not first and shape != x.shape:
            pytest.skip("a quotient whose divisor is larger is not supported")
        x, z = (np.sign(a) * (np.abs(a) + np.float32(0.5)) for a in (x, z))
    check(tmp_path, [node(op_type, ["x", "z"] if first else ["z", "x"], ["y"])], x, z=z)


@pytest.mark.parametrize("op_type", ["Max", "Min", "Sum"])
@pytest.mark.parametrize("constants", [(), ((),), ((1,), (3, 1, 1)), ((2, 3, 4, 5),)])
@pytest.mark.parametrize("computed", [1, 2, 3])
def test_functions_of_many(op_type: str, constants: Any, computed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(computed)
    arrays = {f"c{i}": np.asarray(reals(rng, *shape)) for i, shape in enumerate(constants)}
    names = [f"x{i}" for i in range(1, computed)]
    more = {name: reals(rng, 2, 3, 4, 5) for name in names}
    nodes = [node(op_type, [*arrays, "x", *names], ["y"])]
    check(tmp_path, nodes, reals(rng, 2, 3, 4, 5), arrays, **more)


# -------------------------------------------------------------- pooling


@pytest.mark.parametrize("seed", range(4 * CASES))
@pytest.mark.parametrize("op_type", ["MaxPool", "AveragePool"])
def test_pooling(op_type: str, seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    kernel = [int(n) for n in rng.integers(1, 4, 2)]
    attributes = pads_or_auto(rng, kernel)
    attributes["strides"] = [int(n) for n in rng.integers(1, 4, 2)]
    opset = int(rng.choice([n for n in OPSETS if n >= 11]))
    if "auto_pad" in attributes:
        # ONNX Runtime refuses windows that leave gaps there.
        pairs = zip(attributes["strides"], kernel, strict=True)
        attributes["strides"] = [min(pair) for pair in pairs]
    elif seed % 2:
        attributes["ceil_mode"] = 1
    if op_type == "AveragePool":
        if runtime_version() < (1, 24) and attributes.keys() & {"auto_pad", "ceil_mode"}:
            pytest.skip("this ONNX Runtime divides such windows otherwise than ONNX says")
        attributes["count_include_pad"] = int(rng.integers(0, 2))
    nodes = [node(op_type, ["x"], ["y"], kernel_shape=kernel, **attributes)]
    check(tmp_path, nodes, reals(rng, *image_shape(rng, least=5)), {}, opset)


@pytest.mark.parametrize("opset", [7, 9, 13, 18, 21])
@pytest.mark.parametrize("op_type", ["ReduceMean", "ReduceMax"])
@pytest.mark.parametrize("keep", [0, 1])
@pytest.mark.parametrize("axes", [(2, 3), (-1, -2)])
def test_reductions(op_type: str, opset: int, keep: int, axes: Any, tmp_path: Path) -> None:
    if opset < 11 and min(axes) < 0:
        pytest.skip("negative axes come with operator set 11")
    x = reals(np.random.default_rng(opset), 2, 3, 4, 5)
    if opset < 18:
        nodes = [node(op_type, ["x"], ["y"], axes=axes, keepdims=keep)]
        check(tmp_path, nodes, x, {}, opset)
    else:
        # PyTorch's exporter writes the default of noop_with_empty_axes, too.
        nodes = [node(op_type, ["x", "axes"], ["y"], keepdims=keep, noop_with_empty_axes=0)]
        check(tmp_path, nodes, x, {"axes": np.array(axes)}, opset)


@pytest.mark.parametrize("keep", [0, 1])
@pytest.mark.parametrize(
    ("op_type", "axes"),
    [
        ("ReduceMean", (1,)),
        ("ReduceMean", (2,)),
        ("ReduceMax", (-1,)),
        ("ReduceSum", (1,)),
        ("ReduceSum", (3,)),
        ("ReduceSum", (2, 3)),
    ],
)
def test_reductions_of_rows_columns_or_channels(
    op_type: str, axes: Any, keep: int, tmp_path: Path
) -> None:
    nodes = [node(op_type, ["x", "axes"], ["y"], keepdims=keep)]
    x = reals(np.random.default_rng(1), 2, 3, 4, 5)
    check(tmp_path, nodes, x, {"axes": np.array(axes)}, 18)


# -------------------------------------------------------------- structure


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_concat(axis: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    shape = (2, 3, 4, 5)
    nodes = [node("Concat", ["x", "c", "z"], ["y"], axis=axis)]
    check(tmp_path, nodes, reals(rng, *shape), {"c": reals(rng, *shape)}, z=reals(rng, *shape))


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("sizes", [(1, 2, 3), None])
def test_split(opset: int, sizes: Any, tmp_path: Path) -> None:
    x = reals(np.random.default_rng(0), 1, 6, 4, 5)
    outputs = ["a", "b", "c"]
    constants, inputs, attributes = {}, ["x"], {}
    if sizes and opset < 13:
        attributes = {"split": sizes}
    elif sizes:
        constants, inputs = {"sizes": np.array(sizes)}, ["x", "sizes"]
    elif opset >= 18:
        attributes = {"num_outputs": 3}
    nodes = [node("Split", inputs, outputs, axis=1, **attributes)]
    check(tmp_path, nodes, x, constants, opset, outputs)


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize(
    ("starts", "ends", "axes"),
    [
        ((1,), (3,), (1,)),
        ((0, -3), (2, 1 << 40), (1, 3)),
        ((1, 2), (-1, 4), (1, 2)),
        ((0,), (9,), (1,)),
    ],
)
def test_slice(opset: int, starts: Any, ends: Any, axes: Any, tmp_path: Path) -> None:
    x = reals(np.random.default_rng(0), 1, 6, 4, 5)
    if opset < 10:
        nodes = [node("Slice", ["x"], ["y"], starts=starts, ends=ends, axes=axes)]
        check(tmp_path, nodes, x, {}, opset)
        return
    arrays = {"starts": starts, "ends": ends, "axes": axes}
    constants = {name: np.array(values, np.int64) for name, values in arrays.items()}
    check(tmp_path, [node("Slice", ["x", *constants], ["y"])], x, constants, opset)


@pytest.mark.parametrize("shape", [(0, -1), (2, 60), (2, 3, 20), (-1, 5), (2, 3, 4, 5)])
def test_reshape(shape: Any, tmp_path: Path) -> None:
    x = reals(np.random.default_rng(0), 2, 3, 4, 5)
    nodes = [node("Reshape", ["x", "s"], ["y"])]
    check(tmp_path, nodes, x, {"s": np.array(shape, np.int64)})


@pytest.mark.parametrize("axis", [0, 1, 2, 4, -1])
def test_flatten(axis: int, tmp_path: Path) -> None:
    x = reals(np.random.default_rng(0), 2, 3, 4, 5)
    check(tmp_path, [node("Flatten", ["x"], ["y"], axis=axis)], x)


@pytest.mark.parametrize("opset", OPSETS)
def test_squeeze_and_unsqueeze(opset: int, tmp_path: Path) -> None:
    x = reals(np.random.default_rng(0), 2, 3, 1, 1)
    if opset < 13:
        nodes = [
            node("Squeeze", ["x"], ["s"], axes=[2, 3]),
            node("Unsqueeze", ["s"], ["y"], axes=[1, 3]),
        ]
        check(tmp_path, nodes, x, {}, opset)
        return
    constants = {"a": np.array([2, -1]), "b": np.array([1, 3])}
    nodes = [node("Squeeze", ["x", "a"], ["s"]), node("Unsqueeze", ["s", "b"], ["y"])]
    check(tmp_path, nodes, x, constants, opset)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (0, 2, 1, 3), (1, 0, 2, 3), (0, 2, 3, 1), None])
def test_transpose(order: Any, tmp_path: Path) -> None:
    x = reals(np.random.default_rng(0), 1, 3, 4, 5)
    attributes = {} if order is None else {"perm": order}
    imported = check(tmp_path, [node("Transpose", ["x"], ["y"], **attributes)], x)
    if order == (1, 0, 2, 3):
        assert imported.operations == ["nn.reshape"]


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("scales", [(1, 1), (2, 2), (3, 2)])
def test_upsample_and_resize(opset: int, scales: Any, tmp_path: Path) -> None:
    x = reals(np.random.default_rng(0), 2, 3, 4, 5)
    factors = np.array([1, 1, *scales], np.float32)
    if opset < 9:
        nodes = [node("Upsample", ["x"], ["y"], mode="nearest", scales=factors.tolist())]
        check(tmp_path, nodes, x, {}, opset)
    elif opset < 10:
        nodes = [node("Upsample", ["x", "f"], ["y"], mode="nearest")]
        check(tmp_path, nodes, x, {"f": factors}, opset)
    else:
        nodes = [
            node("Resize", ["x", "", "f"], ["z"], mode="nearest"),
            node("Resize", ["z", "", "", "s"], ["y"], mode="nearest"),
        ]
        sizes = np.array([2, 3, 8 * scales[0], 5 * scales[1]], np.int64)
        if opset >= 13:
            check(tmp_path, nodes, x, {"f": factors, "s": sizes}, opset)
        else:
            empty = np.array([], np.float32)
            nodes[0] = node("Resize", ["x", "e", "f"], ["z"], mode="nearest")
            nodes[1] = node("Resize", ["z", "e", "e", "s"], ["y"], mode="nearest")
            check(tmp_path, nodes, x, {"f": factors, "s": sizes, "e": empty}, opset)


@pytest.mark.parametrize("coordinates", ["asymmetric", "half_pixel", "pytorch_half_pixel"])
@pytest.mark.parametrize("rounding", ["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"])
@pytest.mark.parametrize("scale", [2, 3])
def test_ways_to_resize(coordinates: str, rounding: str, scale: int, tmp_path: Path) -> None:
    """Those that repeat each element are imported, and are right; the others are told."""
    from nvdla_ir.ir.diagnostics import DiagnosticError

    x = reals(np.random.default_rng(0), 1, 2, 4, 5)
    nodes = [
        node(
            "Resize",
            ["x", "", "f"],
            ["y"],
            mode="nearest",
            coordinate_transformation_mode=coordinates,
            nearest_mode=rounding,
        )
    ]
    factors = np.array([1, 1, scale, scale], np.float32)
    repeats = (coordinates, rounding) == ("asymmetric", "floor") or (
        coordinates != "asymmetric" and rounding.startswith("round")
    )
    repeats |= (coordinates, rounding, scale) == ("asymmetric", "round_prefer_floor", 2)
    if repeats:
        check(tmp_path, nodes, x, {"f": factors})
    else:
        with pytest.raises(DiagnosticError, match="do not repeat each element"):
            check(tmp_path, nodes, x, {"f": factors})


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("value", [None, 1.5])
def test_pad(opset: int, value: float | None, tmp_path: Path) -> None:
    x = reals(np.random.default_rng(0), 1, 3, 4, 5)
    pads = [0, 0, 1, 2, 0, 0, 3, 0]
    if opset < 11:
        attributes = {} if value is None else {"value": value}
        check(tmp_path, [node("Pad", ["x"], ["y"], pads=pads, **attributes)], x, {}, opset)
        return
    constants: dict[str, Any] = {"pads": np.array(pads)}
    if value is not None:
        constants["value"] = np.float32(value)
    inputs = ["x", *constants]
    if opset >= 18:
        constants["pads"] = np.array([1, 2, 3, 0])
        constants["axes"] = np.array([2, -1])
        inputs = ["x", "pads", "value" if value is not None else "", "axes"]
    check(tmp_path, [node("Pad", inputs, ["y"])], x, constants, opset)


@pytest.mark.parametrize("opset", OPSETS)
def test_dropout(opset: int, tmp_path: Path) -> None:
    x = reals(np.random.default_rng(0), 1, 3, 4, 5)
    nodes = [node("Dropout", ["x"], ["d"]), node("Relu", ["d"], ["y"])]
    assert check(tmp_path, nodes, x, {}, opset).operations == ["nn.relu"]


# -------------------------------------------------------------- constants


def test_shapes_computed_from_shapes(tmp_path: Path) -> None:
    """What exporters write for ``x.view(x.size(0), -1)``, with a cast in between."""
    x = reals(np.random.default_rng(0), 2, 3, 4, 5)
    one = onnx.numpy_helper.from_array(np.array(0))
    rest = onnx.numpy_helper.from_array(np.array([-1]))
    nodes = [
        node("Shape", ["x"], ["shape"]),
        node("Constant", [], ["zero"], value=one),
        node("Gather", ["shape", "zero"], ["batch"], axis=0),
        node("Cast", ["batch"], ["narrow"], to=6),
        node("Cast", ["narrow"], ["wide"], to=7),
        node("Constant", [], ["axes"], value_ints=[0]),
        node("Unsqueeze", ["wide", "axes"], ["row"]),
        node("Constant", [], ["rest"], value=rest),
        node("Concat", ["row", "rest"], ["target"], axis=0),
        node("Reshape", ["x", "target"], ["flat"]),
        node("Cast", ["flat"], ["y"], to=1),
    ]
    assert check(tmp_path, nodes, x).operations == ["nn.reshape"]


@pytest.mark.parametrize("op_type", ["Neg", "Sigmoid", "HardSwish", "Tanh", "Relu", "Elu", "Clip"])
def test_scalars(op_type: str, tmp_path: Path) -> None:
    """Tensors without dimensions."""
    x = np.array(0.5, np.float32)
    nodes = [node(op_type, ["x"], ["a"]), node("Mul", ["a", "c"], ["y"])]
    check(tmp_path, nodes, x, {"c": np.array(3, np.float32)}, 14)


@pytest.mark.parametrize("opset", [13, 18, 21])
@pytest.mark.parametrize("op_type", ["ReduceSum", "ReduceMean", "ReduceMax", "ReduceProd"])
@pytest.mark.parametrize("noop", [0, 1])
@pytest.mark.parametrize("axes", [(), (1,), None])
def test_reductions_of_constants(
    op_type: str, noop: int, axes: Any, opset: int, tmp_path: Path
) -> None:
    """Without axes all are reduced, or none where 'noop_with_empty_axes' says so."""
    if op_type != "ReduceSum" and opset < 18:
        pytest.skip("axes become an input with operator set 18")
    rng = np.random.default_rng(0)
    constants = {"c": reals(rng, 1, 3, 4, 5)}
    if axes is not None:
        constants["axes"] = np.array(axes, np.int64)
    reduced = node(op_type, [*constants], ["r"], noop_with_empty_axes=noop, keepdims=1)
    check(
        tmp_path,
        [reduced, node("Add", ["x", "r"], ["y"])],
        reals(rng, 1, 3, 4, 5),
        constants,
        opset,
    )


def test_integers_computed_from_integers(tmp_path: Path) -> None:
    """Quotients are rounded towards zero, remainders have the divisor's sign."""
    constants = {"a": np.array([-7, 7, -7, 7]), "b": np.array([2, -2, -2, 2])}
    nodes = [
        node("Div", ["a", "b"], ["q"]),
        node("Mod", ["a", "b"], ["m"]),
        node("Cast", ["q"], ["qf"], to=1),
        node("Cast", ["m"], ["mf"], to=1),
        node("Add", ["x", "qf"], ["s"]),
        node("Mul", ["s", "mf"], ["y"]),
    ]
    check(tmp_path, nodes, np.ones((1, 4), np.float32), constants)


def test_constants_computed_from_constants(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    nodes = [
        node("Sqrt", ["v"], ["root"]),
        node("Div", ["w", "root"], ["scaled"]),
        node("Transpose", ["scaled"], ["turned"], perm=[1, 0, 2, 3]),
        node("Expand", ["b", "shape"], ["spread"]),
        node("Slice", ["spread", "from", "to"], ["bias"]),
        node("Conv", ["x", "turned", "bias"], ["y"]),
    ]
    constants = {
        "v": np.abs(reals(rng, 1)) + 1,
        "w": reals(rng, 3, 4, 2, 2),
        "b": reals(rng, 1),
        "shape": np.array([9]),
        "from": np.array([2]),
        "to": np.array([6]),
    }
    assert check(tmp_path, nodes, reals(rng, 1, 3, 5, 5), constants).operations == ["nn.conv"]
