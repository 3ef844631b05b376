"""insert-converters: what becomes of each layer, remarks, and what it refuses."""

# IR does not break well.
# ruff: noqa: E501

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from running import module_of, named, new_session, run

from nvdla_ir.dialects import fixed, nn
from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.func import FuncOp
from nvdla_ir.dialects.quant import CalibratedType, QuantizedType
from nvdla_ir.interp.machine import Machine, Mode
from nvdla_ir.ir.attributes import format_float
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.types import F32
from nvdla_ir.passes.base import Session
from nvdla_ir.passes.insert_converters import InsertConverters
from nvdla_ir.passes.pipeline import Pipeline
from nvdla_ir.passes.quantize_weights import QuantizeWeights
from nvdla_ir.text.printer import print_operation


def c(low: float, high: float) -> str:
    return str(CalibratedType(F32, low, high))


UNIT = c(-1.0, 1.0)


def function(body: str, arguments: str, results: str) -> str:
    return f"func.func @main({arguments}) -> {results} {{\n{body}\n}}"


def fully_connected(
    channels: int,
    inputs: int,
    low: float = -1.0,
    high: float = 1.0,
    *,
    x: str = UNIT,
    bias: bool = True,
) -> ModuleOp:
    """``y = fc(x)`` with resources ``w`` and ``b``."""
    type = f"tensor<1x{channels}x{c(low, high)}>"
    constant = f"%b = nn.constant value=dense_resource<b> : tensor<{channels}xf32>"
    return module_of(
        function(
            f"""%w = nn.constant value=dense_resource<w> : tensor<{channels}x{inputs}xf32>
            {constant if bias else ""}
            %y = nn.fully_connected %x, %w{", %b" if bias else ""} layers=["fc"] -> {type}
            func.return %y""",
            f"%x: tensor<1x{inputs}x{x}>",
            type,
        )
    )


def session_with(**resources: Any) -> Session:
    session = new_session()
    for key, values in resources.items():
        session.resources.add(key, np.array(values, np.float32))
    return session


def converted(module: ModuleOp, session: Session, granularity: str = "per-channel") -> Session:
    Pipeline([QuantizeWeights(granularity), InsertConverters()]).run(module, session)
    return session


def execute(
    module: ModuleOp, session: Session, inputs: Mapping[str, Any], mode: Mode = Mode.INTEGER
) -> Any:
    func = next(op for op in module.walk() if isinstance(op, FuncOp))
    (output,) = Machine(session.resources, mode).run(func, inputs).values()
    return output


def remarks(session: Session) -> list[str]:
    return [diagnostic.message for diagnostic in session.diagnostics.diagnostics]


def names(module: ModuleOp) -> list[str]:
    func = next(op for op in module.walk() if isinstance(op, FuncOp))
    return [op.name.partition(".")[2] for op in func.body.operations if op.name != "nn.constant"]


def codes(scale: float, inputs: int) -> Any:
    """All symmetric codes as reals, each image one."""
    column = np.arange(-127, 128, dtype=np.float32)[:, None]
    return np.repeat(column * np.float32(scale), inputs, axis=1)


# -------------------------------------------------------------- precision


def test_a_dead_channel_keeps_its_bias() -> None:
    for granularity in ("per-channel", "per-tensor"):
        session = session_with(w=[[0.0, 0.0], [0.5, -0.25], [1e-9, 0.0]], b=[0.75, 0.0, -0.6])
        module = fully_connected(3, 2)
        converted(module, session, granularity)
        output = execute(module, session, {"x": codes(1 / 127, 2)})
        np.testing.assert_allclose(output[:, 0], round(0.75 * 127) / 127, rtol=1e-6)
        np.testing.assert_allclose(output[:, 2], -round(0.6 * 127) / 127, rtol=1e-6)
        assert remarks(session) == []


@pytest.mark.parametrize("granularity", ["per-channel", "per-tensor"])
def test_weights_that_are_all_zero_leave_the_bias(granularity: str) -> None:
    session = session_with(w=np.zeros((3, 2)), b=[0.3, -0.7, 1e-4])
    module = fully_connected(3, 2, -0.8, 0.8)
    converted(module, session, granularity)
    output = execute(module, session, {"x": codes(1 / 127, 2)})
    expected = np.round(np.array([0.3, -0.7, 1e-4]) / 0.8 * 127) * 0.8 / 127
    np.testing.assert_allclose(output, np.broadcast_to(expected, output.shape), rtol=1e-6)


@pytest.mark.parametrize("granularity", ["per-channel", "per-tensor"])
@pytest.mark.parametrize("weight", [1.0, 1e-3, 1e-6])
@pytest.mark.parametrize("peak", [1.0, 0.1, 0.01, 0.001])
def test_a_bias_that_the_sum_cancels_is_off_by_a_quarter_at_most(
    granularity: str, weight: float, peak: float
) -> None:
    """``w * x + w`` near zero: the bias is up to a thousand times the output's range."""
    session = session_with(w=[[weight], [-weight * 0.6]], b=[weight, weight * 0.3])
    high = weight * peak
    module = fully_connected(2, 1, -high, high)
    converted(module, session, granularity)
    x = codes(1 / 127, 1)
    output = execute(module, session, {"x": x})
    op = next(op for op in module.walk() if isinstance(op, nn.FullyConnectedOp))
    constant = op.weight.defining_operation
    assert isinstance(constant, nn.ConstantOp)
    element = nn.storage_of(op.weight)
    stored = session.resources.array(constant.value).astype(np.float64)
    scales = np.array(getattr(element, "scales", None) or [element.scale])  # type: ignore[attr-defined]
    weights = np.array([weight, np.float32(weight * 0.3)], np.float32).astype(np.float64)
    reals = x.astype(np.float64) * (stored[:, 0] * scales) + weights
    unit = float(np.float32(high / 127))
    inside = np.abs(reals) < high
    assert inside.any()
    error = np.abs(output - reals)[inside].max() / unit
    assert error <= 0.5 + 0.25 + 0.01
    assert not any("bias" in remark for remark in remarks(session))


def test_a_coarse_output_takes_the_bias_behind_the_factor() -> None:
    session = session_with(w=[[1.0]], b=[0.0004])
    module = fully_connected(1, 1, -0.001, 0.001)
    converted(module, session)
    assert names(module) == [
        "qcast",
        "fully_connected",
        "rescale",
        "shift_add",
        "output_converter",
        "dcast",
        "return",
    ]
    fine = execute(module, session, {"x": np.zeros((1, 1), np.float32)})
    assert fine[0, 0] == pytest.approx(51 * 0.001 / 127)


def test_a_bias_too_large_for_one_place_takes_two() -> None:
    session = session_with(w=[[1.0]], b=[0.98765])
    module = fully_connected(1, 1, -0.001, 0.001)
    converted(module, session)
    assert names(module)[2:6] == ["shift_add", "rescale", "shift_add", "output_converter"]


def test_a_bias_that_16_bits_cannot_hold_is_remarked() -> None:
    text = function(
        f"""%w = nn.constant value=dense_resource<w> : tensor<1x1x1x1xf32>
        %b = nn.constant value=dense_resource<b> : tensor<1xf32>
        %y = nn.conv %x, %w, %b layers=["conv"] -> tensor<1x1x1x1x{UNIT}>
        %s = nn.add %y, %r layers=["sum"] -> tensor<1x1x1x1x{c(-1e-3, 1e-3)}>
        func.return %s""",
        f"%x: tensor<1x1x1x1x{UNIT}>, %r: tensor<1x1x1x1x{UNIT}>",
        f"tensor<1x1x1x1x{c(-1e-3, 1e-3)}>",
    )
    session = session_with(w=[[[[1e-4]]]], b=[0.98765])
    converted(module_of(text), session)
    (remark,) = remarks(session)
    assert re.fullmatch(
        r"layer 'conv': 16 bits of bias are off by up to \d\.\d\d of the output's unit", remark
    )


def test_multipliers_of_few_bits_are_remarked() -> None:
    weights = np.ones((10, 4), np.float32)
    weights[1:] *= 0.008
    session = session_with(w=weights, b=np.zeros(10))
    converted(fully_connected(10, 4, -4.0, 4.0), session)
    assert remarks(session) == [
        "layer 'fc': 9 of 10 channels have a multiplier under 8 bits, beside much larger ones: "
        "1, 2, 3, 4, 5, 6, 7, 8 …"
    ]


# -------------------------------------------------------------- structure


def test_types_say_where_zero_is_at_each_step() -> None:
    """A residual operand with a zero point ahead of a ReLU: it goes with the bias."""
    text = function(
        f"""%w = nn.constant value=dense_resource<w> : tensor<2x1x1x1xf32>
        %y = nn.conv %x, %w layers=["conv"] -> tensor<1x2x2x2x{UNIT}>
        %s = nn.add %y, %r layers=["sum"] -> tensor<1x2x2x2x{UNIT}>
        %z = nn.relu %s layers=["relu"] -> tensor<1x2x2x2x{UNIT}>
        func.return %z""",
        f"%x: tensor<1x1x2x2x{c(-0.5, 2.05)}>, %r: tensor<1x2x2x2x{c(-0.5, 2.05)}>",
        f"tensor<1x2x2x2x{UNIT}>",
    )
    module, session = module_of(text), session_with(w=[[[[1.0]]], [[[-0.5]]]])
    converted(module, session)
    assert names(module) == [
        "qcast",
        "qcast",
        "conv",
        "shift_add",
        "rescale",
        "shift_add",
        "relu",
        "output_converter",
        "dcast",
        "return",
    ]
    func = next(op for op in module.walk() if isinstance(op, FuncOp))
    elements = {
        op.name: nn.storage_of(op.results[0])
        for op in func.body.operations
        if op.name.startswith("nn.") and op.name != "nn.constant"
    }
    rescale = next(op for op in module.walk() if isinstance(op, fixed.RescaleOp))
    add = rescale.output.users[0]
    assert isinstance(add, fixed.ShiftAddOp)
    assert nn.storage_of(rescale.output).zero_point == 78 << add.shift  # type: ignore[attr-defined]
    assert nn.storage_of(add.output).zero_point == 0  # type: ignore[attr-defined]
    assert elements["nn.conv"].zero_points == (-78 * 127, 78 * 127)  # type: ignore[attr-defined]


def test_saturation_is_a_relu_where_the_lowest_code_is_zero() -> None:
    positive = c(0.0, 2.55)
    text = function(
        f"""%s = nn.add %a, %b layers=["sum"] -> tensor<1x2x2x2x{UNIT}>
        %z = nn.relu %s layers=["relu"] -> tensor<1x2x2x2x{positive}>
        func.return %z""",
        f"%a: tensor<1x2x2x2x{UNIT}>, %b: tensor<1x2x2x2x{UNIT}>",
        f"tensor<1x2x2x2x{positive}>",
    )
    module = module_of(text)
    converted(module, new_session())
    assert "relu" not in names(module)
    assert named(module, "z").layers == ("relu",)  # type: ignore[attr-defined]


def test_a_convolution_used_twice_is_int8_between() -> None:
    text = function(
        f"""%w = nn.constant value=dense_resource<w> : tensor<2x2x1x1xf32>
        %y = nn.conv %x, %w layers=["conv"] -> tensor<1x2x2x2x{UNIT}>
        %r = nn.relu %y layers=["relu"] -> tensor<1x2x2x2x{UNIT}>
        %s = nn.add %y, %r layers=["sum"] -> tensor<1x2x2x2x{UNIT}>
        func.return %s""",
        f"%x: tensor<1x2x2x2x{UNIT}>",
        f"tensor<1x2x2x2x{UNIT}>",
    )
    module = module_of(text)
    converted(module, session_with(w=np.ones((2, 2, 1, 1))), "per-tensor")
    assert names(module).count("output_converter") == 3
    assert named(module, "y").name == "fixed.output_converter"
    assert named(module, "y").results[0].use_count == 2


def test_int8_results_leave_as_floats() -> None:
    module = fully_connected(1, 1)
    converted(module, session_with(w=[[1.0]], b=[0.0]))
    func = next(op for op in module.walk() if isinstance(op, FuncOp))
    assert "(%x: tensor<1x1xf32>) -> tensor<1x1xf32>" in print_operation(func)
    assert not any(
        isinstance(nn.tensor_type(value).element, QuantizedType)
        for value in (*func.body.arguments, *func.return_op.operands)
    )


def test_the_host_reads_reals() -> None:
    text = function(
        f"""%r = nn.relu %x layers=["relu"] -> tensor<1x4x{UNIT}>
        %p = nn.softmax %r layers=["prob"] -> tensor<1x4xf32>
        %f = nn.flatten %p layers=["flat"] -> tensor<1x4xf32>
        func.return %f, %r""",
        f"%x: tensor<1x4x{UNIT}>",
        f"(tensor<1x4xf32>, tensor<1x4x{UNIT}>)",
    )
    module = module_of(text)
    run(InsertConverters(), module)
    assert names(module) == [
        "qcast",
        "relu",
        "output_converter",
        "dcast",
        "softmax",
        "flatten",
        "dcast",
        "return",
    ]


def test_a_second_run_changes_nothing() -> None:
    module = fully_connected(2, 2)
    session = converted(module, session_with(w=np.ones((2, 2)), b=[0.1, 0.2]))
    before = print_operation(module)
    run(InsertConverters(), module, session)
    assert print_operation(module) == before


def test_the_coarser_operand_is_the_one_that_is_shifted() -> None:
    for order in ("%a, %b", "%b, %a"):
        text = function(
            f"""%s = nn.add {order} layers=["sum"] -> tensor<1x2x2x2x{c(-1000.0, 1000.0)}>
            func.return %s""",
            f"%a: tensor<1x2x2x2x{UNIT}>, %b: tensor<1x2x2x2x{c(-1000.0, 1000.0)}>",
            f"tensor<1x2x2x2x{c(-1000.0, 1000.0)}>",
        )
        module = module_of(text)
        run(InsertConverters(), module)
        rescale = next(op for op in module.walk() if isinstance(op, fixed.RescaleOp))
        assert rescale.input.name_hint == "a_int8"


def test_equal_scales_are_joined_as_they_are() -> None:
    text = function(
        f"""%s = nn.concat %a, %b, %a layers=["cat"] -> tensor<1x6x2x2x{UNIT}>
        func.return %s""",
        f"%a: tensor<1x2x2x2x{c(-2.0, 2.0)}>, %b: tensor<1x2x2x2x{UNIT}>",
        f"tensor<1x6x2x2x{UNIT}>",
    )
    module = module_of(text)
    run(InsertConverters(), module)
    assert names(module) == ["qcast", "qcast", "output_converter", "concat", "dcast", "return"]


def test_a_mean_in_the_same_scale_stays_in_the_pooling_unit() -> None:
    asymmetric = c(-0.5, 2.05)
    for output, expected in ((asymmetric, "average_pool"), (UNIT, "conv")):
        text = function(
            f"""%p = nn.average_pool %x kernel=[2, 2] layers=["pool"] -> tensor<1x2x1x1x{output}>
            func.return %p""",
            f"%x: tensor<1x2x2x2x{asymmetric}>",
            f"tensor<1x2x1x1x{output}>",
        )
        module = module_of(text)
        run(InsertConverters(), module)
        assert names(module)[1] == expected


def test_whole_means_need_no_remark() -> None:
    for mean, expected in (
        (100.0, []),
        (
            100.25,
            [
                "layer 'data': the input converter subtracts whole numbers, [100] for [100.25], off by up "
                "to 0.25 of the output's unit"
            ],
        ),
    ):
        text = function(
            f"""%n = nn.normalize %x mean=[{mean}] scale=1.0 layers=["data"] -> tensor<1x1x2x2x{c(-127.0, 127.0)}>
            func.return %n""",
            "%x: tensor<1x1x2x2xui8>",
            f"tensor<1x1x2x2x{c(-127.0, 127.0)}>",
        )
        assert remarks(run(InsertConverters(), module_of(text))) == expected


# -------------------------------------------------------------- refused


def faults(module: ModuleOp, session: Session | None = None) -> list[str]:
    session = session or new_session()
    InsertConverters().run(module, session)
    hint = ". With 'fallback=host' of 'insert-converters' the host computes it"
    return [diagnostic.message.removesuffix(hint) for diagnostic in session.diagnostics.errors]


@pytest.mark.parametrize(
    "scale, message",
    [
        (
            1e-7,
            "layer 'fc': the factor 78740.2 is above 32767, the largest multiplier; check the "
            "calibrated ranges of its input and output",
        ),
        (
            1e20,
            "layer 'fc': the factor 7.87402e-23 is too small: with a shift of 63, the largest, it "
            "becomes 0; check the calibrated ranges of its input and output",
        ),
    ],
)
def test_factors_out_of_range(scale: float, message: str) -> None:
    for granularity in ("per-channel", "per-tensor"):
        module = fully_connected(1, 1, -scale, scale)
        session = session_with(w=[[1.0]], b=[0.0])
        run(QuantizeWeights(granularity), module, session)
        assert faults(module, session) == [message]


def test_what_the_scales_of_an_addition_cannot_be() -> None:
    wide = c(-10.0, 1e12)
    text = function(
        f"""%s = nn.add %a, %a layers=["sum"] -> tensor<1x2x2x2x{wide}>
        func.return %s""",
        f"%a: tensor<1x2x2x2x{UNIT}>",
        f"tensor<1x2x2x2x{wide}>",
    )
    assert faults(module_of(text)) == [
        "layer 'sum': the scales 0.00787402 and 0.00787402 of its operands are too far from "
        "3.92157e+09, that of its output; check the calibrated ranges"
    ]


def test_missing_passes_are_named() -> None:
    plain = fully_connected(1, 1)
    assert faults(plain, session_with(w=[[1.0]], b=[0.0])) == [
        "the weights of layer 'fc' are not quantized; run 'quantize-weights' first"
    ]
    text = function(
        f"""%r = nn.relu %x layers=["relu"] -> tensor<1x2xf32>
        %s = nn.add %r, %r layers=["sum"] -> tensor<1x2x{UNIT}>
        func.return %s""",
        "%x: tensor<1x2xf32>",
        f"tensor<1x2x{UNIT}>",
    )
    with pytest.raises(DiagnosticError) as raised:
        Pipeline([InsertConverters()]).run(module_of(text), new_session())
    assert [d.message.partition(": ")[2] for d in raised.value.diagnostics] == [
        "argument 'x' has no calibrated range; run 'import-calibration' first ("
        "'--import-calib=TABLE' before '--quantize')",
        "layer 'relu' has no calibrated range; run 'import-calibration' first ("
        "'--import-calib=TABLE' before '--quantize')",
    ]
    assert faults(module_of(text)) == [
        "layer 'relu' reads 'tensor<1x2xf32>', which is not calibrated; run 'import-calibration' "
        "first",
        "layer 'sum' reads 'tensor<1x2xf32>', which is not calibrated; run 'import-calibration' "
        "first",
    ]


def test_batch_normalization_must_be_folded() -> None:
    text = function(
        f"""%g = nn.constant value=dense<1.0> : tensor<2xf32>
        %y = nn.batch_norm %x, %g, %g, %g, %g layers=["bn"] -> tensor<1x2x4x4x{UNIT}>
        func.return %y""",
        f"%x: tensor<1x2x4x4x{UNIT}>",
        f"tensor<1x2x4x4x{UNIT}>",
    )
    assert faults(module_of(text)) == [
        "layer 'bn' is not of the hardware's layers; run 'fold-batch-norm' first, which makes a scale of it"
    ]


def test_what_the_hardware_cannot_do_is_told_all_at_once() -> None:
    text = function(
        f"""%h = nn.constant value=dense_resource<h> : tensor<2xf32>
        %b = nn.bias_add %x, %h layers=["bias"] -> tensor<1x2x4x4x{UNIT}>
        %p = nn.average_pool %b kernel=[2, 2] pads=[1, 1, 1, 1] count_include_pad=false layers=["pool"] -> tensor<1x2x5x5x{UNIT}>
        %c = nn.concat %p, %p axis=2 layers=["cat"] -> tensor<1x2x10x5x{UNIT}>
        %k = nn.constant value=dense<1.0> : tensor<1x2x10x5xf32>
        %s = nn.add %k, %c layers=["sum"] -> tensor<1x2x10x5x{UNIT}>
        func.return %s""",
        f"%x: tensor<1x2x4x4x{UNIT}>",
        f"tensor<1x2x10x5x{UNIT}>",
    )
    assert faults(module_of(text), session_with(h=[np.nan, 1.0])) == [
        "the bias of layer 'bias' contains NaN or infinite numbers",
        "layer 'pool' divides by less at the borders, but the hardware divides by the whole window; "
        "run 'decompose-layers' first, which gives the borders pools of their own",
        "layer 'sum' reads 'tensor<1x2x10x5xf32>', a constant, where it takes a calibrated tensor",
    ]


def test_an_image_that_cannot_be_converted() -> None:
    def image(scale: float, low: float, high: float) -> ModuleOp:
        type = f"tensor<1x1x2x2x{c(low, high)}>"
        return module_of(
            function(
                f"""%n = nn.normalize %x mean=[0.0] scale={format_float(scale)} layers=["data"] -> {type}
                func.return %n""",
                "%x: tensor<1x1x2x2xui8>",
                type,
            )
        )

    assert faults(image(0.0, -1.0, 1.0)) == ["layer 'data' multiplies the image by 0"]
    assert faults(image(1e-5, -100.0, 155.0)) == [
        "layer 'data': the input converter subtracts -32768 to 32767, not 2.79998e+06 (the mean, "
        "and zero point -28 of the output); check its calibrated range"
    ]
