from __future__ import annotations

import math
import random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from nvdla_ir.arith.float32 import float32
from nvdla_ir.calibration.entry import offset_of_range, range_of_scale, scale_of_range
from nvdla_ir.calibration.table import CalibrationEntry

positive = st.floats(2.0**-100, 2.0**100, width=32)


class TestArithmetic:
    @given(scale=positive)
    def test_symmetric_range_goes_back_to_the_scale(self, scale: float) -> None:
        minimum, maximum = range_of_scale(scale)
        assert minimum == -maximum == -float32(127 * scale)
        # The vendor's round trip may change the last bit, no more.
        assert abs(scale_of_range(minimum, maximum) - scale) <= scale * 2.0**-23

    def test_round_trip_changes_few_scales(self) -> None:
        generator = random.Random(1)
        scales = [float32(generator.uniform(0.001, 1)) for _ in range(20_000)]
        changed = sum(scale_of_range(*range_of_scale(scale)) != scale for scale in scales)
        assert 0.005 < changed / len(scales) < 0.011

    @pytest.mark.parametrize(
        ("minimum", "maximum", "offset", "scale"),
        [
            (-254.0, 127.0, 0, 2.0),
            (0.0, 127.0, 0, 1.0),
            (-63.5, -1.0, 0, 0.5),
            (0.0, 255.0, -128, 1.0),
            (-255.0, 0.0, 127, 1.0),
            (-51.0, 204.0, -77, 1.0),
            (51.0, 127.5, -128, 0.5),
            (0.0, 0.0, 0, 0.0),
        ],
    )
    def test_scale_of_range(
        self, minimum: float, maximum: float, offset: int, scale: float
    ) -> None:
        assert scale_of_range(minimum, maximum, offset) == scale

    @given(minimum=st.floats(-1e6, 1e6, width=32), maximum=st.floats(-1e6, 1e6, width=32))
    def test_asymmetric_codes_reach_both_ends(self, minimum: float, maximum: float) -> None:
        minimum, maximum = min(minimum, maximum), max(minimum, maximum)
        assume(scale_of_range(minimum, maximum, 1) > 1e-37)  # not subnormal: full precision
        offset = offset_of_range(minimum, maximum)
        assert -128 <= offset <= 127
        if offset == 0:  # a table that says 0 says symmetric
            return
        entry = CalibrationEntry.from_range("x", minimum, maximum, offset)
        low, high = entry.representable_range()
        assert abs(low - min(minimum, 0)) <= 0.5001 * entry.scale
        assert abs(high - max(maximum, 0)) <= 0.5001 * entry.scale

    @pytest.mark.parametrize(
        ("value", "expected"),
        [(0.1, 0.10000000149011612), (1e39, math.inf), (-1e39, -math.inf), (1e-60, 0.0)],
    )
    def test_float32(self, value: float, expected: float) -> None:
        assert float32(value) == expected


class TestEntries:
    def test_from_scale_is_float32(self) -> None:
        entry = CalibrationEntry.from_scale("x", 0.1)
        assert entry.scale == 0.10000000149011612
        assert entry.maximum == -entry.minimum == float32(127 * entry.scale)

    def test_asymmetric_from_scale(self) -> None:
        entry = CalibrationEntry.from_scale("x", 0.5, offset=-128)
        assert (entry.minimum, entry.maximum) == (0.0, 127.5)

    @pytest.mark.parametrize("scale", [0.0, -1.0, math.nan, math.inf])
    def test_bad_scales(self, scale: float) -> None:
        with pytest.raises(ValueError, match="the scale of 'x' must be positive"):
            CalibrationEntry("x", -1.0, 1.0, scale)

    @pytest.mark.parametrize("ends", [(1.0, -1.0), (math.nan, 1.0), (-1.0, math.inf)])
    def test_bad_ranges(self, ends: tuple[float, float]) -> None:
        with pytest.raises(ValueError, match="the range of 'x' is not one"):
            CalibrationEntry("x", *ends, 1.0)

    def test_bad_offset(self) -> None:
        with pytest.raises(ValueError, match="the offset of 'x' must be int8, it is 128"):
            CalibrationEntry.from_scale("x", 1.0, 128)

    def test_no_negative_zero(self) -> None:
        entry = CalibrationEntry.from_range("x", -0.0, 1.0)
        assert math.copysign(1, entry.minimum) == 1

    def test_range_too_small_for_float32(self) -> None:
        for offset in (0, -128):
            with pytest.raises(ValueError, match=r"the scale of 'x' must be positive, it is 0\.0"):
                CalibrationEntry.from_range("x", 0.0, 1e-45, offset)

    def test_offset_that_does_not_fit_the_range(self) -> None:
        with pytest.raises(ValueError, match=r"offset 5 of 'x' does not fit .* point is -128"):
            CalibrationEntry.from_range("x", 0.0, 6.0, 5)
