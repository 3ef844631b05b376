"""Quantized types: ranges, faults, spelling."""

from __future__ import annotations

import pytest

from nvdla_ir.dialects import default_context
from nvdla_ir.dialects.quant import (
    CalibratedType,
    UniformPerAxisType,
    UniformType,
    full_range,
    is_quantized,
    per_axis_faults,
    scales_of,
    uniform_i8,
)
from nvdla_ir.ir.types import F32, I8, IntegerType, TensorType
from nvdla_ir.text.parser import parser_for

UI8 = IntegerType(8, "u")


@pytest.mark.parametrize(
    ("storage", "low", "high"),
    [
        (I8, -128, 127),
        (UI8, 0, 255),
        (IntegerType(16), -32768, 32767),
        (IntegerType(32), -(1 << 31), (1 << 31) - 1),
        (IntegerType(1), -1, 0),
    ],
)
def test_storage_ranges(storage: IntegerType, low: int, high: int) -> None:
    assert full_range(storage) == (low, high)
    assert UniformType(storage, F32, 1.0).storage_range == (low, high)


@pytest.mark.parametrize(
    ("type_", "text"),
    [
        (uniform_i8(0.025), "!quant.uniform<i8:f32, 0.025>"),
        (uniform_i8(0.025, -3), "!quant.uniform<i8:f32, 0.025:-3>"),
        (UniformType(UI8, F32, 1e-5, 255), "!quant.uniform<u8:f32, 1.0e-05:255>"),
        (
            UniformPerAxisType(I8, F32, 1, (0.5, 0.25), (0, 7)),
            "!quant.uniform<i8:f32:1, {0.5, 0.25:7}>",
        ),
        (CalibratedType(F32, -3.2, 3.2), "!quant.calibrated<f32<-3.2:3.2>>"),
    ],
)
def test_spelling(type_: object, text: str) -> None:
    assert str(type_) == text
    assert parser_for(default_context()).parse_type(text) == type_


def test_zero_points_are_zero_unless_given() -> None:
    assert UniformPerAxisType(I8, F32, 0, (0.5, 0.25)).zero_points == (0, 0)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("inf"), float("nan")])
def test_scales_are_positive_and_finite(scale: float) -> None:
    for make in (uniform_i8, lambda s: UniformPerAxisType(I8, F32, 0, (1.0, s))):
        with pytest.raises(ValueError, match="must be positive and finite"):
            make(scale)


def test_kinds_and_scales() -> None:
    per_axis = UniformPerAxisType(I8, F32, 1, (0.5, 0.25))
    assert scales_of(uniform_i8(0.5)) == (0.5,) and scales_of(per_axis) == (0.5, 0.25)
    assert is_quantized(per_axis)
    assert not is_quantized(CalibratedType(F32, -1.0, 1.0)) and not is_quantized(F32)


def test_per_axis_types_fit_their_tensors() -> None:
    element = UniformPerAxisType(I8, F32, 1, (0.5, 0.25))
    assert list(per_axis_faults(TensorType((4, 2), element))) == []
    assert list(per_axis_faults(TensorType((4, 2), I8))) == []
    (message,) = per_axis_faults(TensorType((4, 3), element))
    assert message.endswith("with 2 scales for an extent of 3")
    (message,) = per_axis_faults(TensorType((4,), element))
    assert message.endswith("whose axis 1 does not exist")


def test_a_calibrated_type_leads_to_its_quantized_type() -> None:
    assert CalibratedType(F32, -127.0, 127.0).quantized() == uniform_i8(1.0)
    assert CalibratedType(F32, -100.0, 155.0).quantized() == uniform_i8(1.0, -28)


@pytest.mark.parametrize("zero_point", [-129, 128])
def test_no_range_has_a_zero_point_that_is_no_code(zero_point: int) -> None:
    with pytest.raises(ValueError, match="must contain zero"):
        CalibratedType.of_scale(1.0, zero_point)
