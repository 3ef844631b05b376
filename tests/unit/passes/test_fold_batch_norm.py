"""Folding: the same function of the input, with everything named and placed as before."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from running import PROJECT, module_of, named, new_session, read_module, run

from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.nn import BatchNormOp, ConstantOp, ConvOp, ScaleOp
from nvdla_ir.ir.attributes import DenseResourceAttr
from nvdla_ir.ir.diagnostics import render
from nvdla_ir.ir.operation import Value
from nvdla_ir.passes.base import Session
from nvdla_ir.passes.fold_batch_norm import FoldBatchNorm
from nvdla_ir.text.printer import print_operation

FloatArray = NDArray[np.floating]


def lines_of(module: ModuleOp) -> list[str]:
    """The body of the only function, without its return."""
    return [line.strip() for line in print_operation(module).splitlines()[2:-3]]


def constant(value: Value | None, session: Session) -> FloatArray:
    assert value is not None
    definer = value.defining_operation
    assert isinstance(definer, ConstantOp)
    return session.resources.array(definer.value)


def function(body: str, result: str = "y", channels: int = 2) -> str:
    shape = f"tensor<1x{channels}x1x1xf32>"
    return (
        f'func.func @main(%x: {shape} {{nvdla_ir.name = "x"}}) -> {shape} {{\n'
        f"{body}\n  func.return %{result}\n}}"
    )


CONSTANTS = """
  %w = nn.constant value=dense<[[[[1.0]], [[2.0]]], [[[3.0]], [[4.0]]]]> : tensor<2x2x1x1xf32>
  %b = nn.constant value=dense<[10.0, 20.0]> : tensor<2xf32>
  %gamma = nn.constant value=dense<[2.0, 4.0]> : tensor<2xf32>
  %beta = nn.constant value=dense<[0.5, -0.5]> : tensor<2xf32>
  %mean = nn.constant value=dense<[1.0, 2.0]> : tensor<2xf32>
  %variance = nn.constant value=dense<[4.0, 16.0]> : tensor<2xf32>
"""
CONV = '  %c = nn.conv %x, %w, %b layers=["conv"] -> tensor<1x2x1x1xf32>\n'
NORM = (
    "  %y = nn.batch_norm %c, %gamma, %beta, %mean, %variance epsilon=0.0 "
    'layers=["bn"] -> tensor<1x2x1x1xf32>\n'
)


def test_batch_norm_goes_into_weights_and_bias() -> None:
    module = module_of(function(CONSTANTS + CONV + NORM))
    session = run(FoldBatchNorm(), module)
    # Factors 2/2 and 4/4; bias (10 - 1) * 1 + 0.5 and (20 - 2) * 1 - 0.5.
    assert lines_of(module) == [
        "%w = nn.constant value=dense<[[[[1.0]], [[2.0]]], [[[3.0]], [[4.0]]]]> : "
        "tensor<2x2x1x1xf32>",
        "%b = nn.constant value=dense<[9.5, 17.5]> : tensor<2xf32>",
        '%y = nn.conv %x, %w, %b layers=["conv", "bn"] -> tensor<1x2x1x1xf32>',
    ]
    assert session.statistics == {"fold-batch-norm": {"folded operations": 1}}


def test_locations_are_fused() -> None:
    module = module_of(function(CONSTANTS + CONV + NORM))
    run(FoldBatchNorm(), module)
    assert str(named(module, "y").location) == 'fused["test.ir":9:8, "test.ir":10:8]'


def test_a_chain_is_folded_in_one_go() -> None:
    chain = """
  %s = nn.constant value=dense<[2.0, -1.0]> : tensor<2xf32>
  %z = nn.scale %y, %s layers=["scale"] -> tensor<1x2x1x1xf32>
  %out = nn.bias_add %z, %gamma layers=["shift"] -> tensor<1x2x1x1x!quant.calibrated<f32<-9.0:9.0>>>
  %relu = nn.relu %out layers=["relu"] -> tensor<1x2x1x1xf32>
"""
    module = module_of(function(CONSTANTS + CONV + NORM + chain, "relu"))
    run(FoldBatchNorm(), module)
    assert lines_of(module) == [
        "%w = nn.constant value=dense<[[[[2.0]], [[4.0]]], [[[-3.0]], [[-4.0]]]]> : "
        "tensor<2x2x1x1xf32>",
        "%b = nn.constant value=dense<[21.0, -13.5]> : tensor<2xf32>",
        '%out = nn.conv %x, %w, %b layers=["conv", "bn", "scale", "shift"] -> '
        "tensor<1x2x1x1x!quant.calibrated<f32<-9.0:9.0>>>",
        '%relu = nn.relu %out layers=["relu"] -> tensor<1x2x1x1xf32>',
    ]


def test_a_bias_leaves_the_weights_as_they_are() -> None:
    body = """
  %w = nn.constant value=dense_resource<w> : tensor<2x2x1x1xf32>
  %b = nn.constant value=dense<[1.0, 2.0]> : tensor<2xf32>
  %c = nn.conv %x, %w layers=["conv"] -> tensor<1x2x1x1xf32>
  %y = nn.bias_add %c, %b layers=["bias"] -> tensor<1x2x1x1xf32>
"""
    module = module_of(function(body))
    session = run(FoldBatchNorm(), module)
    assert lines_of(module) == [
        "%w = nn.constant value=dense_resource<w> : tensor<2x2x1x1xf32>",
        "%c_bias = nn.constant value=dense_resource<conv.bias.folded> : tensor<2xf32>",
        '%y = nn.conv %x, %w, %c_bias layers=["conv", "bias"] -> tensor<1x2x1x1xf32>',
    ]
    assert session.resources.keys == ["conv.bias.folded"]


def test_attributes_of_the_convolution_stay() -> None:
    body = """
  %w = nn.constant value=dense<1.0> : tensor<2x1x3x3xf32>
  %s = nn.constant value=dense<[2.0, 3.0]> : tensor<2xf32>
  %c = nn.conv %x, %w strides=[2, 2] pads=[1, 1, 1, 1] groups=2 layers=["conv"] \
attributes {note = "kept"} -> tensor<1x2x1x1xf32>
  %y = nn.scale %c, %s layers=["s"] -> tensor<1x2x1x1xf32>
"""
    module = module_of(function(body))
    run(FoldBatchNorm(), module)
    assert lines_of(module)[-1] == (
        "%y = nn.conv %x, %w, %c_bias strides=[2, 2] pads=[1, 1, 1, 1] groups=2 "
        'layers=["conv", "s"] attributes {note = "kept"} -> tensor<1x2x1x1xf32>'
    )


def test_shared_constants_are_not_changed_for_others() -> None:
    other = '  %d = nn.conv %y, %w, %b layers=["other"] -> tensor<1x2x1x1xf32>\n'
    module = module_of(function(CONSTANTS + CONV + NORM + other, "d"))
    session = run(FoldBatchNorm(), module)
    untouched = named(module, "d")
    assert isinstance(untouched, ConvOp)
    assert constant(untouched.bias, session).tolist() == [10.0, 20.0]
    folded = named(module, "y")
    assert isinstance(folded, ConvOp)
    assert constant(folded.bias, session).tolist() == [9.5, 17.5]


@pytest.mark.parametrize("weighted", ["conv", "argument"])
def test_what_cannot_be_folded_becomes_a_scale(weighted: str) -> None:
    if weighted == "conv":  # its output is used twice
        body = CONSTANTS + CONV + NORM + "  %r = nn.add %c, %y -> tensor<1x2x1x1xf32>\n"
        module = module_of(function(body, "r"))
    else:
        module = module_of(function(CONSTANTS + NORM.replace("%c", "%x")))
    session = run(FoldBatchNorm(), module)
    scale = named(module, "y")
    assert isinstance(scale, ScaleOp)
    assert scale.layers == ("bn",)
    assert constant(scale.scale, session).tolist() == [1.0, 1.0]
    assert constant(scale.bias, session).tolist() == [-0.5, -2.5]
    assert (scale.scale.name_hint, scale.bias and scale.bias.name_hint) == ("y_scale", "y_bias")
    assert not any(isinstance(op, BatchNormOp) for op in module.walk())


def test_a_lone_scale_or_bias_is_left_alone() -> None:
    body = """
  %s = nn.constant value=dense<[2.0, 3.0]> : tensor<2xf32>
  %a = nn.scale %x, %s layers=["s"] -> tensor<1x2x1x1xf32>
  %r = nn.relu %a layers=["r"] -> tensor<1x2x1x1xf32>
  %y = nn.bias_add %r, %s layers=["b"] -> tensor<1x2x1x1xf32>
"""
    module = module_of(function(body))
    before = print_operation(module)
    run(FoldBatchNorm(), module)
    assert print_operation(module) == before


def test_folding_twice_changes_nothing_more() -> None:
    session = new_session()
    module = read_module(PROJECT / "examples" / "digits" / "resnet.ir", session)
    run(FoldBatchNorm(), module, session)
    once = print_operation(module)
    run(FoldBatchNorm(), module, session)
    assert print_operation(module) == once


def test_the_residual_digits_network() -> None:
    session = new_session()
    module = read_module(PROJECT / "examples" / "digits" / "resnet.ir", session)
    norms = sum(isinstance(op, BatchNormOp) for op in module.walk())
    run(FoldBatchNorm(), module, session)
    assert session.statistics == {"fold-batch-norm": {"folded operations": norms}} and norms == 21
    conv = named(module, "res2a_bn1")
    assert isinstance(conv, ConvOp)
    assert conv.layers == ("res2a_conv1", "res2a_bn1")
    weight = conv.weight.defining_operation
    assert isinstance(weight, ConstantOp) and isinstance(weight.value, DenseResourceAttr)
    assert weight.value.key == "res2a_conv1.weight.folded"
    assert weight.output.name_hint == "res2a_conv1_weight"
    assert conv.bias is not None and conv.bias.name_hint == "res2a_conv1_bias"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "dense<[4.0, 16.0]>",
            "dense<[4.0, -0.5]>",
            "test.ir:10:8: error: the variance of layer 'bn' is -0.5 in channel 1; with epsilon 0 "
            "it must not be negative",
        ),
        (
            "dense<[4.0, 16.0]>",
            "dense<0.0>",
            "test.ir:10:8: error: the variance of layer 'bn' is 0 in channel 0 (and 1 more); with "
            "epsilon 0 it must be positive",
        ),
        (
            "dense<[1.0, 2.0]>",
            "dense_resource<missing>",
            "test.ir:7:11: error: there is no resource 'missing': the module names no weights "
            "file ('nvdla_ir.weights')",
        ),
        (
            "dense<[2.0, 4.0]>",
            "dense<[2.0, 3.0e+38]>",
            "test.ir:9:8: error: the folded weight of layer 'conv' is 7.5e+38 at element 3; it "
            "must be a finite float32",
        ),
    ],
)
def test_faulty_parameters_are_located_errors(old: str, new: str, message: str) -> None:
    constants = CONSTANTS.replace(old, new).replace(
        "[3.0]], [[4.0]", "[1.0]], [[10.0]" if "e+38" in new else "[3.0]], [[4.0]"
    )
    session = run(FoldBatchNorm(), module_of(function(constants + CONV + NORM)))
    assert [render(d) for d in session.diagnostics.diagnostics] == [message]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_parameters_that_are_not_numbers_are_located_errors(value: float) -> None:
    body = CONSTANTS.replace("dense<[4.0, 16.0]>", "dense_resource<v>") + CONV + NORM
    session = new_session()
    session.resources.add("v", np.array([1.0, value], np.float32))
    run(FoldBatchNorm(), module_of(function(body)), session)
    assert [d.message for d in session.diagnostics.diagnostics] == [
        f"the variance of layer 'bn' is {value} in channel 1; it must be finite"
    ]


def test_all_faulty_layers_are_reported() -> None:
    faulty = CONSTANTS.replace("dense<[4.0, 16.0]>", "dense<-1.0>")
    second = NORM.replace("%y =", "%z =").replace("%c,", "%x,").replace('"bn"', '"second"')
    module = module_of(
        function(faulty + CONV + NORM + second + "  %r = nn.add %y, %z -> tensor<1x2x1x1xf32>", "r")
    )
    session = run(FoldBatchNorm(), module)
    assert [d.message.split(" is ")[0] for d in session.diagnostics.errors] == [
        "the variance of layer 'bn'",
        "the variance of layer 'second'",
    ]


def test_parameters_must_be_constants() -> None:
    text = """
func.func @main(%x: tensor<1x2x1x1xf32>, %p: tensor<2xf32>) -> tensor<1x2x1x1xf32> {
  %y = nn.batch_norm %x, %p, %p, %p, %p layers=["bn"] -> tensor<1x2x1x1xf32>
  func.return %y
}"""
    session = run(FoldBatchNorm(), module_of(text))
    assert [render(d) for d in session.diagnostics.diagnostics] == [
        "test.ir:3:8: error: layer 'bn' needs parameters that are constants of floats"
    ]


floats = st.floats(-4, 4, width=32)
positive = st.floats(0.015625, 16, width=32)


@settings(max_examples=60)
@given(
    st.integers(1, 5).flatmap(
        lambda channels: st.tuples(
            arrays.arrays(np.float32, (channels, 3), elements=floats),
            arrays.arrays(np.float32, (4, channels), elements=floats),
            arrays.arrays(np.float32, channels, elements=positive),
            st.booleans(),
        )
    )
)
def test_the_function_stays_the_same(
    parameters: tuple[FloatArray, FloatArray, FloatArray, bool],
) -> None:
    """A fully connected layer, batch norm and scale, against the formulas in float64."""
    weight, per_channel, variance, with_bias = parameters
    channels = len(weight)
    bias, gamma, beta, mean = per_channel
    session = new_session()
    for key, value in (
        ("w", weight),
        ("bias", bias),
        ("gamma", gamma),
        ("beta", beta),
        ("mean", mean),
        ("variance", variance),
    ):
        session.resources.add(key, value)
    type_ = f"tensor<{channels}xf32>"
    keys = ("bias", "gamma", "beta", "mean", "variance")
    text = "\n".join(
        [
            f"func.func @main(%x: tensor<1x3xf32>) -> tensor<1x{channels}xf32> {{",
            f"  %w = nn.constant value=dense_resource<w> : tensor<{channels}x3xf32>",
            *(f"  %{key} = nn.constant value=dense_resource<{key}> : {type_}" for key in keys),
            f"  %fc = nn.fully_connected %x, %w{', %bias' if with_bias else ''} "
            f'layers=["fc"] -> tensor<1x{channels}xf32>',
            "  %bn = nn.batch_norm %fc, %gamma, %beta, %mean, %variance epsilon=0.0009765625 "
            f'layers=["bn"] -> tensor<1x{channels}xf32>',
            f'  %y = nn.scale %bn, %beta, %gamma layers=["s"] -> tensor<1x{channels}xf32>',
            "  func.return %y",
            "}",
        ]
    )
    module = module_of(text)
    run(FoldBatchNorm(), module, session)
    folded = named(module, "y")
    assert folded.name == "nn.fully_connected" and len(lines_of(module)) == 4 - with_bias
    x = np.array([1.0, -2.0, 0.5])
    weight64 = weight.astype(np.float64)
    expected = weight64 @ x + (bias if with_bias else 0.0)
    expected = gamma * (expected - mean) / np.sqrt(variance + 0.0009765625) + beta
    expected = expected * beta + gamma
    found = constant(folded.operands[1], session).astype(np.float64) @ x
    found += constant(folded.operands[2], session)
    scale = np.abs(weight64) @ np.abs(x) + np.abs(bias) + np.abs(mean) + 1
    bound = scale * (np.abs(gamma) / np.sqrt(variance) * np.abs(beta) + 1) * 32
    assert np.all(np.abs(found - expected) <= bound * 2.0**-24)


def test_keys_are_identifiers_whatever_the_layer_is_called() -> None:
    body = (CONSTANTS + CONV + NORM).replace("dense<[10.0, 20.0]>", "dense_resource<b>")
    module = module_of(function(body.replace('"conv"', '"1/conv:0 é"')))
    session = new_session()
    session.resources.add("b", np.zeros(2, np.float32))
    run(FoldBatchNorm(), module, session)
    assert [key for key in session.resources.keys if "folded" in key] == [
        "_1_conv_0__.weight.folded",
        "_1_conv_0__.bias.folded",
    ]
    assert '"1/conv:0 é"' in print_operation(module)


def test_an_element_that_is_repeated_too_often_is_told() -> None:
    module = module_of(
        "func.func @main(%x: tensor<1x1xf32>) -> tensor<1x1000000000xf32> {\n"
        "  %w = nn.constant value=dense<0.5> : tensor<1000000000x1xf32>\n"
        "  %b = nn.constant value=dense<0.5> : tensor<1000000000xf32>\n"
        "  %z = nn.fully_connected %x, %w -> tensor<1x1000000000xf32>\n"
        "  %y = nn.bias_add %z, %b -> tensor<1x1000000000xf32>\n"
        "  func.return %y\n}"
    )
    session = new_session()
    FoldBatchNorm().run(module, session)
    (fault,) = session.diagnostics.errors
    assert "repeats one element 1000000000 times" in fault.message
