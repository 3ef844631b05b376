"""Tables with which the CDP computes functions: exact for functions of one number, within one code
for normalization."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal, getcontext
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nvdla_ir.arith import parameters, reference
from nvdla_ir.arith.errors import OperandError
from nvdla_ir.arith.function_codes import CodeScale, function_codes, without_value
from nvdla_ir.dialects.nvdla import arithmetic_table
from nvdla_ir.hardware.function_tables import Normalization, code_tables, normalization_fit
from nvdla_ir.hardware.look_up_tables import table_faults
from nvdla_ir.hw.configuration import load_configuration, names

ALL = np.arange(-128, 128)
Exact = Callable[[Fraction], Fraction]

getcontext().prec = 60


def _rounded(value: Fraction) -> int:
    floor = int(abs(value) + Fraction(1, 2))
    return floor if value >= 0 else -floor


def _exponential(x: Fraction) -> Fraction:
    return Fraction((Decimal(x.numerator) / Decimal(x.denominator)).exp())


def _sigmoid(x: Fraction) -> Fraction:
    return 1 / (1 + _exponential(-x))


FUNCTIONS: dict[str, tuple[Callable[[NDArray[Any]], NDArray[Any]], Exact]] = {
    "identity": (lambda x: x, lambda x: x),
    "sigmoid": (lambda x: 1 / (1 + np.exp(-x)), _sigmoid),
    "tanh": (np.tanh, lambda x: 2 * _sigmoid(2 * x) - 1),
    "exp": (np.exp, _exponential),
    "silu": (lambda x: x / (1 + np.exp(-x)), lambda x: x * _sigmoid(x)),
    "square": (np.square, lambda x: x * x),
    "hard sigmoid": (
        lambda x: np.clip(x / 4 + 0.5, 0, 1),
        lambda x: min(max(x / 4 + Fraction(1, 2), Fraction(0)), Fraction(1)),
    ),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize(
    ("source", "result"),
    [
        # ratios of powers of two: halves are exact, and go away from zero
        (CodeScale(0.0625), CodeScale(0.125)),
        (CodeScale(0.0625, -128), CodeScale(0.0078125, -128)),
        (CodeScale(0.031, 17), CodeScale(0.0117, -90)),
        (CodeScale(1.7, 127), CodeScale(0.0003, 3)),
    ],
)
def test_codes_of_functions(name: str, source: CodeScale, result: CodeScale) -> None:
    function, exact = FUNCTIONS[name]
    codes = function_codes(function, source, result)
    for code, found in zip(ALL.tolist(), codes.tolist(), strict=True):
        value = exact(Fraction(source.scale) * (code - source.zero_point))
        wanted = _rounded(value / Fraction(result.scale)) + result.zero_point
        assert found == min(max(wanted, -128), 127), code


def test_codes_of_what_is_no_number() -> None:
    assert function_codes(np.reciprocal, CodeScale(1.0), CodeScale(0.5)).tolist()[128] == 127
    roots = function_codes(np.sqrt, CodeScale(0.25), CodeScale(0.5)).tolist()
    assert roots[:129] == [0] * 129
    assert roots[132] == 2
    assert without_value(np.sqrt, CodeScale(0.25)) == (-32.0, -0.25)
    assert without_value(np.abs, CodeScale(0.25)) is None
    with pytest.raises(OperandError, match=r"the function of -64 to 63\.5 is no number"):
        function_codes(lambda x: x * np.nan, CodeScale(0.5), CodeScale(0.5))


@pytest.mark.parametrize(
    "codes",
    [
        ALL,
        ALL[::-1],
        np.where(ALL % 2, 127, -128),
        np.where(ALL == -128, 127, -128),
        np.random.default_rng(3).permutation(ALL),
    ],
    ids=["identity", "negated", "alternating", "first", "permuted"],
)
def test_tables_hold_any_function_of_a_code(codes: NDArray[np.int64]) -> None:
    tables = code_tables(codes.tolist())
    for name in names():
        assert table_faults(tables, load_configuration(name), "CDP") == []
    layer = parameters.Normalization(
        size=3,
        table=arithmetic_table(tables),
        bypass_square_sum=True,
        bypass_multiply=True,
    )
    x = ALL.astype(np.int8).reshape(8, 4, 8)
    found = reference.local_response_normalization(x, layer)
    np.testing.assert_array_equal(found.values.reshape(-1), codes)
    assert found.saturated == 0


def test_there_are_256_codes() -> None:
    with pytest.raises(OperandError, match="there are 255 codes"):
        code_tables([0] * 255)


# ---------------------------------------------------------------- normalization

SETS = [
    (Normalization(5, 1e-4, 0.75, 1.0), CodeScale(0.5), CodeScale(0.5)),
    (Normalization(5, 5e-5, 0.75, 2.0), CodeScale(1.3), CodeScale(0.8)),
    (Normalization(3, 1.0, 0.75, 1.0), CodeScale(0.02), CodeScale(0.01)),
    (Normalization(9, 1.0, 0.5, 1.0), CodeScale(0.1), CodeScale(0.02)),
    (Normalization(9, 0.05, 0.75, 1.0), CodeScale(0.1, -30), CodeScale(0.1, 17)),
    (Normalization(7, 1e-3, 0.75, 1.0), CodeScale(1.0, 127), CodeScale(1.0, 110)),
    (Normalization(5, 2e-2, 0.75, 1.0), CodeScale(1.0), CodeScale(0.2)),
    (Normalization(3, 1e-4, 0.5, 1.0), CodeScale(0.01, 5), CodeScale(0.5, 120)),
]


def _data(rng: np.random.Generator) -> NDArray[np.int8]:
    """Random codes, lone large ones, small ones, one sign, the ends."""
    shape = (24, 12, 12)
    parts = [
        rng.integers(-128, 128, shape),
        rng.integers(-128, 128, shape) * (rng.random(shape) < 0.1),
        rng.integers(-9, 10, shape),
        rng.integers(100, 128, shape),
        np.full(shape, -128),
        np.full(shape, 127),
    ]
    return np.concatenate(parts, axis=2).astype(np.int8)


@pytest.mark.parametrize(("layer", "source", "result"), SETS)
def test_normalization_is_within_one_code(
    layer: Normalization, source: CodeScale, result: CodeScale
) -> None:
    fit = normalization_fit(layer, source, result)
    assert fit.error < 0.5
    assert table_faults(fit.tables, load_configuration("nv_small"), "CDP") == []
    x = _data(np.random.default_rng(1))
    found = reference.local_response_normalization(
        x,
        parameters.Normalization(
            size=layer.window,
            table=arithmetic_table(fit.tables),
            input_offset=fit.input_converter.offset,
            output_offset=fit.output_converter.offset,
            output_scale=fit.output_converter.scale,
            output_shift=fit.output_converter.shift,
        ),
    ).values
    reals = source.scale * (x.astype(np.float64) - source.zero_point)
    sums = np.zeros_like(reals)
    reach = layer.window // 2
    for channel in range(len(x)):
        sums[channel] = np.square(reals[max(0, channel - reach) : channel + reach + 1]).sum(axis=0)
    values = reals * (layer.k + layer.alpha / layer.window * sums) ** -layer.beta / result.scale
    wanted = np.copysign(np.floor(np.abs(values) + 0.5), values) + result.zero_point
    wanted = np.clip(wanted, -128, 127)
    differences = np.abs(found - wanted)
    assert differences.max() <= 1
    assert np.mean(differences > 0) < 0.05
    assert wanted.std() > 0.1


def test_a_normalization_that_tables_cannot_hold_says_its_error() -> None:
    steep = Normalization(5, 1.0, 1.0, 1.0)
    assert normalization_fit(steep, CodeScale(1.0), CodeScale(0.01)).error > 1
    # Where the factor falls at once, the table of more entries is the finer one.
    wide = Normalization(5, 0.1, 0.75, 1.0)
    assert normalization_fit(wide, CodeScale(1.9), CodeScale(0.024)).error < 7
    with pytest.raises(OperandError, match="give no finite factor"):
        normalization_fit(Normalization(5, 1.0, 0.75, -1.0), CodeScale(1.0), CodeScale(1.0))
