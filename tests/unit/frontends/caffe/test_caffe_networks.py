"""Networks as a whole: names, phases, inputs, and everything that is wrong at once."""

from __future__ import annotations

import random as python_random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from caffe_networks import (
    CaffeLayer,
    caffemodel,
    data_layer,
    errors_of,
    import_files,
    import_layers,
    prototxt,
    random,
)

from nvdla_ir.dialects.func import FuncOp
from nvdla_ir.dialects.layer import tensor_names
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.location import FileLineCol


def layer(
    name: str, type: str, bottom: str, top: str | None = None, *blobs: Any, **parameters: Any
) -> CaffeLayer:
    return CaffeLayer(name, type, (bottom,), (top or name,), parameters, blobs)


def conv(name: str, bottom: str, channels: int, outputs: int = 2) -> CaffeLayer:
    blobs = (random(1, outputs, channels, 1, 1), random(2, outputs))
    p = {"num_output": outputs, "kernel_size": 1}
    return layer(name, "Convolution", bottom, name, *blobs, convolution_param=p)


TINY = [
    data_layer(1, 3, 4, 4),
    conv("conv", "data", 3),
    layer("relu", "ReLU", "conv", "conv"),
    layer("prob", "Softmax", "conv"),
]


def names_of(func: FuncOp) -> tuple[list[str], list[str]]:
    return (
        [func.argument_name(argument) for argument in func.body.arguments],
        [func.result_name(i) for i in range(len(func.function_type.results))],
    )


def test_names_and_places(tmp_path: Path) -> None:
    imported = import_layers(tmp_path, TINY)
    assert imported.layers() == [
        ("nn.conv", ("conv",)),
        ("nn.relu", ("relu",)),
        ("nn.softmax", ("prob",)),
    ]
    func = imported.module.body.first_op
    assert isinstance(func, FuncOp)
    assert names_of(func) == (["data"], ["prob"])
    conv_op = next(op for op in imported.module.walk() if op.name == "nn.conv")
    assert conv_op.location.file_position() == FileLineCol(str(tmp_path / "net.prototxt"), 15, 1)
    relu = next(op for op in imported.module.walk() if op.name == "nn.relu")
    assert tensor_names(conv_op) == ()
    assert tensor_names(relu) == ("conv",)


def test_layers_that_do_nothing_leave_their_names(tmp_path: Path) -> None:
    layers = [*TINY[:3], layer("drop", "Dropout", "conv", "conv"), TINY[3]]
    assert ("nn.relu", ("drop", "relu")) in import_layers(tmp_path, layers).layers()


def test_all_unread_blobs_are_outputs_silence_excepted(tmp_path: Path) -> None:
    layers = [
        data_layer(1, 4, 2, 2),
        CaffeLayer("slice", "Slice", ("data",), ("a", "b", "c")),
        CaffeLayer("quiet", "Silence", ("b",), ()),
    ]
    layers[1] = CaffeLayer(
        "slice", "Slice", ("data",), ("a", "b", "c"), {"slice_param": {"slice_point": [1, 2]}}
    )
    imported = import_layers(tmp_path, layers)
    func = imported.module.body.first_op
    assert isinstance(func, FuncOp)
    assert names_of(func) == (["data"], ["a", "c"])
    assert [name for _, (name,) in imported.layers()] == ["slice.a", "slice.b", "slice.c"]


def test_training_layers_and_losses_are_left_out(tmp_path: Path) -> None:
    data = {"data_param": {"batch_size": 8}, "transform_param": {"crop_size": 4}}
    layers = [
        CaffeLayer("t", "Data", (), ("data", "label"), {**data, "include": {"phase": "TRAIN"}}),
        CaffeLayer("v", "Data", (), ("data", "label"), {**data, "include": {"phase": "TEST"}}),
        conv("conv", "data", 3),
        CaffeLayer("hot", "Power", ("conv",), ("conv",), {"exclude": {"phase": "TEST"}}),
        CaffeLayer("accuracy", "Accuracy", ("conv", "label"), ("accuracy",)),
        CaffeLayer("loss", "SoftmaxWithLoss", ("conv", "label"), ("loss",)),
    ]
    imported = import_layers(tmp_path, layers, shapes={"data": (1, 3, 4, 4)})
    assert imported.layers() == [("nn.conv", ("conv",)), ("nn.softmax", ("loss",))]
    assert "layer 'accuracy' of type 'Accuracy' is left out" in imported.remarks
    (message,) = errors_of(tmp_path, layers)
    assert message.startswith("input 'data' has no shape in the network")


def test_levels_and_stages(tmp_path: Path) -> None:
    def rule(**fields: Any) -> dict[str, Any]:
        return {"include": {k: f'"{v}"' if isinstance(v, str) else v for k, v in fields.items()}}

    layers = [
        data_layer(1, 1, 2, 2),
        layer("a", "ReLU", "data", **rule(min_level=2)),
        layer("b", "ReLU", "data", **rule(min_level=1, max_level=1)),
        layer("c", "ReLU", "data", **rule(stage="deploy")),
        layer("d", "ReLU", "data", **rule(not_stage="deploy")),
    ]
    text = prototxt("net", layers) + 'state { level: 1 stage: "deploy" }\n'
    imported = import_files(tmp_path, text, caffemodel("net", TINY))
    assert imported.layers() == [("nn.relu", ("b",)), ("nn.relu", ("c",))]


def test_pixels_of_data_layers_are_normalized(tmp_path: Path) -> None:
    transform = {"mean_value": [10, 20, 30], "scale": 0.5}
    data = {"image_data_param": {"new_height": 4, "new_width": 4}, "transform_param": transform}
    layers = [CaffeLayer("data", "ImageData", (), ("data", "label"), data), TINY[1]]
    imported = import_layers(tmp_path, layers)
    pixels = np.arange(48, dtype=np.uint8).reshape(1, 3, 4, 4)
    means = np.array([10, 20, 30], np.float32).reshape(1, 3, 1, 1)
    plain = import_layers(tmp_path, TINY[:2]).run(data=(pixels - means) * np.float32(0.5))
    np.testing.assert_allclose(imported.run(data=pixels)["conv"], plain["conv"], rtol=1e-5)


def test_inputs_in_the_head_of_the_text(tmp_path: Path) -> None:
    body = prototxt("net", TINY[1:])
    weights = caffemodel("net", TINY)
    for head in (
        'input: "data" input_dim: 10 input_dim: 3 input_dim: 4 input_dim: 4\n',
        'input: "data" input_shape { dim: 10 dim: 3 dim: 4 dim: 4 }\n',
    ):
        imported = import_files(tmp_path, head + body, weights)
        assert imported.remarks == [
            "input 'data' is taken one image at a time; the network says 10: --shape data=10x3x4x4"
        ]
        y = imported.run(data=random(1, 1, 3, 4, 4))["prob"]
        assert y.shape == (1, 2, 4, 4)
    head = 'input: "data" input: "other" input_dim: 10\n'
    with pytest.raises(DiagnosticError, match="has 1 numbers 'input_dim'"):
        import_files(tmp_path, head + body, weights)


def test_unknown_fields_are_told_unless_they_do_not_matter(tmp_path: Path) -> None:
    text = prototxt("net", TINY).replace(
        "num_output: 2", 'num_output: 2 weight_filler { type: "xavier" } quantize_param { bits: 8 }'
    )
    imported = import_files(tmp_path, text, caffemodel("net", TINY))
    assert imported.remarks == [
        "'quantize_param' in 'convolution_param' is not known here and is passed over"
    ]


def test_every_spelling_of_the_text_is_followed(tmp_path: Path) -> None:
    text = """name: "net" # layer { bogus: 1 }
        layer: < name: "data", type: 'Input'; top: "da" "ta"
          input_param: { shape { dim: [1, 2, 3] dim: 0x4 } } >
        layer { name: "p" type: "Power" bottom: "data" top: "p"
          power_param { scale: 1.5e-05 power: 1e+0 shift: -inf } bogus { a: [x, y] b < c: 1 > } }
        layer { name: "q" type: "Concat" bottom: ["data", "data"] top: "q" }
    """
    path = tmp_path / "net.prototxt"
    with pytest.raises(DiagnosticError) as caught:
        import_files(tmp_path, text, caffemodel("net", TINY))
    (error,) = caught.value.diagnostics
    assert error.message == "layer 'p' has 'shift: -inf', but it must be finite"
    assert error.location == FileLineCol(str(path), 4, 9)
    imported = import_files(tmp_path, text.replace("-inf", "-2"), caffemodel("net", TINY))
    assert imported.remarks[0] == "'bogus' in 'layer' is not known here and is passed over"
    assert [d for d in imported.remarks if "is not known" in d] == imported.remarks[:1]
    x = random(1, 1, 2, 3, 4)
    outputs = imported.run(data=x)
    np.testing.assert_allclose(outputs["p"], 1.5e-5 * x - 2, rtol=1e-5)
    np.testing.assert_array_equal(outputs["q"], np.concatenate([x, x], 1))


def test_weights_are_needed(tmp_path: Path) -> None:
    """In one message, and only where a layer has some."""
    with pytest.raises(DiagnosticError) as caught:
        import_files(tmp_path, prototxt("net", TINY), None)
    (error,) = caught.value.diagnostics
    assert "('conv'): give the .caffemodel file as well" in error.message
    layers = [data_layer(1, 2, 4, 4), layer("relu", "ReLU", "data")]
    for weights in (None, b""):
        imported = import_files(tmp_path, prototxt("net", layers), weights)
        assert imported.layers() == [("nn.relu", ("relu",))]


@pytest.mark.parametrize(
    ("cut", "message"),
    [
        (slice(0, -3), "is no caffemodel, or is cut off"),
        (slice(0, 0), "has no weights in the caffemodel"),
    ],
)
def test_weights_that_are_cut_off(tmp_path: Path, cut: slice, message: str) -> None:
    with pytest.raises(DiagnosticError, match=message):
        import_files(tmp_path, prototxt("net", TINY), caffemodel("net", TINY)[cut])


def test_weights_of_other_layers_are_told(tmp_path: Path) -> None:
    imported = import_files(
        tmp_path, prototxt("net", TINY), caffemodel("net", [*TINY, conv("other", "data", 3)])
    )
    assert imported.remarks == ["has weights for layers that the network has not: 'other'"]


def test_two_layers_of_one_name(tmp_path: Path) -> None:
    layers = [*TINY[:3], layer("relu", "TanH", "conv", "last")]
    imported = import_layers(tmp_path, layers)
    assert imported.layers()[1:] == [("nn.relu", ("relu",)), ("nn.tanh", ("relu.2",))]
    message, *_ = errors_of(tmp_path, [*TINY[:2], CaffeLayer("conv", "TanH", ("conv",), ("x",))])
    assert "is the second of this name, so that its weights are unclear" in message


def test_everything_that_is_not_known_is_told_at_once(tmp_path: Path) -> None:
    layers = [
        data_layer(1, 3, 8, 8),
        layer("a", "Embed", "data"),
        layer("b", "Convolutoin", "a"),
        layer("c", "Pooling", "b", pooling_param={"pool": "STOCHASTIC", "kernel_size": 2}),
        layer("d", "LRN", "c", lrn_param={"norm_region": "WITHIN_CHANNEL"}),
        layer("e", "ReLU", "d"),
        layer("f", "Eltwise", "e"),
    ]
    messages = errors_of(tmp_path, layers)
    assert [message.split(" ", 2)[1] for message in messages] == ["'a'", "'b'", "'c'", "'d'", "'f'"]
    assert (
        "is of type 'Convolutoin', which is not supported; did you mean 'Convolution'"
        in (messages[1])
    )
    assert messages[3] == ("layer 'd' has 'norm_region: WITHIN_CHANNEL'; ACROSS_CHANNELS is known")


def test_all_weights_that_do_not_fit_are_told_at_once(tmp_path: Path) -> None:
    layers = [
        data_layer(1, 3, 4, 4),
        conv("a", "data", 3),
        conv("b", "a", 5),
        CaffeLayer("c", "Convolution", ("b",), ("c",), conv("c", "b", 2).parameters),
        layer("d", "ReLU", "c", "d", random(1, 3)),
        layer("e", "Scale", "d", "e", random(1, 2), random(2, 2)),
    ]
    assert errors_of(tmp_path, layers) == [
        "layer 'b' has weights of 2x5x1x1 in the caffemodel, but 2x2x1x1 is needed",
        "layer 'c' has no weights in the caffemodel: 2x2x1x1 is needed",
        "layer 'c' has no biases in the caffemodel: 2 is needed",
        "layer 'd' has 1 blobs in the caffemodel, but takes none",
        "layer 'e' has 2 blobs in the caffemodel, but takes 1",
    ]


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_weights_that_are_no_numbers(tmp_path: Path, number: float) -> None:
    bad = conv("conv", "data", 3)
    bad.blobs[0][1, 2, 0, 0] = number
    (message,) = errors_of(tmp_path, [TINY[0], bad])
    assert message == ("blob 0 of layer 'conv' has 1 of 6 numbers that are NaN or infinite")


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ([layer("a", "ReLU", "b"), layer("b", "ReLU", "a")], "makes behind it"),
        ([layer("a", "ReLU", "a")], "which it makes itself"),
        ([layer("a", "ReLU", "dada")], "which no layer makes; did you mean 'data'"),
        ([layer("a", "ReLU", "data", "x"), layer("b", "ReLU", "data", "x")], "makes already"),
        ([layer("a", "ReLU", "data", "data"), layer("b", "TanH", "a")], "which no layer makes"),
        (
            [
                layer(
                    "a",
                    "Convolution",
                    "data",
                    convolution_param={"num_output": 2**40, "kernel_size": 1},
                )
            ],
            "more than the 268435456 numbers",
        ),
        (
            [layer("a", "Upsample", "data", upsample_param={"scale": 2**40})],
            "more than the 268435456 that are taken",
        ),
        (
            [layer("a", "Pooling", "data", pooling_param={"kernel_size": 2**60})],
            "must be from 1 to 1048576",
        ),
        ([layer("a", "Pooling", "data", pooling_param={"kernel_size": 9})], "larger than"),
        ([layer("a", "Pooling", "data", pooling_param={"kernel_size": 2, "pad": 2})], "smaller"),
        ([layer("a", "Pooling", "data")], "has no 'kernel_size'"),
        ([layer("a", "Concat", "data", concat_param={"axis": 7})], "has 'axis: 7'"),
        ([layer("a", "Permute", "data", permute_param={"order": [0, 0]})], "for 4 axes"),
        ([layer("a", "Reshape", "data", reshape_param={"shape": {"dim": [5, -1]}})], "makes 5x-1"),
        ([layer("a", "LRN", "data", lrn_param={"local_size": 4})], "must be odd"),
        ([layer("a", "Power", "data", power_param={"scale": "nan"})], "must be finite"),
        ([layer("a", "Clip", "data", clip_param={"min": 1})], "has no 'min' or no 'max'"),
        ([layer("a", "ArgMax", "data"), layer("b", "ReLU", "a")], "layer 'b' cannot be made"),
        ([layer("a", "Input", "data", "x")], "has no shape in the network"),
    ],
)
def test_bad_layers(tmp_path: Path, layers: list[CaffeLayer], expected: str) -> None:
    messages = errors_of(tmp_path, [data_layer(1, 3, 4, 4), *layers])
    assert any(expected in message for message in messages), messages


@pytest.mark.parametrize("shape", [(1, 3, 0, 4), (1, 3, -2, 4), (1, 3, 2**40, 4), ()])
def test_bad_inputs(tmp_path: Path, shape: tuple[int, ...]) -> None:
    messages = errors_of(tmp_path, [data_layer(*shape), layer("a", "ReLU", "data")])
    assert messages[0].startswith("input 'data' has "), messages


def test_a_shape_for_what_is_no_input(tmp_path: Path) -> None:
    (message,) = errors_of(tmp_path, TINY, shapes={"dat": (1, 3, 4, 4)})
    assert message == "a shape is given for 'dat', which is no input; did you mean 'data'?"


def test_garbled_text_has_line_and_column(tmp_path: Path) -> None:
    text = prototxt("net", TINY).replace("dim: 4", "dim: four", 1)
    with pytest.raises(DiagnosticError, match="no text of a Caffe network") as caught:
        import_files(tmp_path, text, caffemodel("net", TINY))
    assert caught.value.diagnostics[0].location == FileLineCol(
        str(tmp_path / "net.prototxt"), 10, 12
    )


def _mutated(data: bytes, source: python_random.Random) -> bytes:
    mutable = bytearray(data)
    kind = source.randrange(4)
    if kind == 0:
        return bytes(mutable[: source.randrange(len(mutable))])
    start = source.randrange(len(mutable))
    if kind == 1:
        for _ in range(source.randrange(1, 8)):
            mutable[source.randrange(len(mutable))] = source.randrange(256)
    elif kind == 2:
        del mutable[start : start + source.randrange(1, 40)]
    else:
        piece = mutable[start : start + source.randrange(1, 60)]
        place = source.randrange(len(mutable))
        mutable[place:place] = piece
    return bytes(mutable)


FUZZED = [
    data_layer(1, 4, 6, 6),
    conv("conv", "data", 4, 4),
    layer("bn", "BatchNorm", "conv", "conv", *([np.ones(4, np.float32)] * 2), random(1, 1)),
    layer("scale", "Scale", "conv", "conv", random(1, 4), scale_param={"axis": 1}),
    layer("relu", "ReLU", "conv", "conv", relu_param={"negative_slope": 0.1}),
    layer("pool", "Pooling", "conv", pooling_param={"kernel_size": 3, "stride": 2, "pad": 1}),
    CaffeLayer("slice", "Slice", ("pool",), ("a", "b"), {"slice_param": {"slice_point": 2}}),
    CaffeLayer("sum", "Eltwise", ("a", "b"), ("sum",), {"eltwise_param": {"coeff": [1, -1]}}),
    layer("view", "Reshape", "sum", reshape_param={"shape": {"dim": [0, -1]}}),
    layer("power", "Power", "view", power_param={"power": 2, "shift": 1}),
    layer("up", "Deconvolution", "conv", "up", random(1, 4, 1, 2, 2),
          convolution_param={"num_output": 4, "group": 4, "kernel_size": 2, "bias_term": False}),
]  # fmt: skip


@pytest.mark.parametrize("what", ["text", "weights", "old text"])
def test_garbled_files_end_in_diagnostics(tmp_path: Path, what: str) -> None:
    layers = [
        x for x in FUZZED if what != "old text" or x.type in ("Convolution", "ReLU", "Pooling")
    ]
    text, weights = prototxt("net", layers).encode(), caffemodel("net", layers)
    if what == "old text":
        head = b'input: "data" input_dim: 1 input_dim: 4 input_dim: 6 input_dim: 6\n'
        text = head + prototxt("net", layers, old=True).encode()
        weights = caffemodel("net", layers, old=True)
    import_files(tmp_path, text, weights)
    source = python_random.Random(7)
    refused = 0
    for _ in range(1200):
        garbled_text, garbled_weights = text, weights
        if what == "weights":
            garbled_weights = _mutated(weights, source)
        else:
            garbled_text = _mutated(text, source)
        try:
            import_files(tmp_path, garbled_text, garbled_weights)
        except DiagnosticError as error:
            assert error.diagnostics
            refused += 1
    assert refused > 300
