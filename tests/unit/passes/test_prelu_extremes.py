"""PReLU at the ends of 32 bits: behind an addition, whose sum has 33."""

from __future__ import annotations

import numpy as np
import pytest
from test_pointwise import ALL, OF_EACH_ATOM, levels

Q = "!quant.uniform<i8:f32, 0.5>"
P = "!quant.uniform<i32:f32, 0.5>"
MULTIPLIERS = (-32768, -1, 0, 1, 3, 32767)


def rounded(value: int, shift: int) -> int:
    """``value / 2^shift``, halves away from zero."""
    half = (1 << shift) >> 1
    return (abs(value) + half >> shift) * (1 if value >= 0 else -1)


def saturated(value: int, bits: int) -> int:
    return max(-(1 << bits - 1), min((1 << bits - 1) - 1, value))


@pytest.mark.parametrize("summand", [32767, -32768])
def test_sums_beyond_32_bits(summand: int) -> None:
    """A positive sum keeps its low 32 bits, a negative one is multiplied with all 33."""
    shape = f"1x{len(MULTIPLIERS)}x16x16x"
    text = f"""func.func @main(%x: tensor<{shape}{Q}>) -> tensor<{shape}{Q}> {{
  %m = nn.constant value=dense<{list(MULTIPLIERS)}> : tensor<{len(MULTIPLIERS)}xi16>
  %a = fixed.shift_add %x value={summand} shift=17 layers=["y"] -> tensor<{shape}{P}>
  %p = fixed.prelu %a, %m shift=2 layers=["y"] -> tensor<{shape}{P}>
  %y = fixed.output_converter %p scale=1 shift=24 layers=["y"] -> tensor<{shape}{Q}>
  func.return %y
}}"""
    x = np.broadcast_to(ALL.reshape(16, 16), (1, len(MULTIPLIERS), 16, 16)).astype(np.int8)
    found = levels(text, {"x": x}, targets=OF_EACH_ATOM)
    for channel, multiplier in enumerate(MULTIPLIERS):
        for code, result in zip(ALL.tolist(), found[0, channel].ravel().tolist(), strict=True):
            total = saturated(summand << 17, 32) + code
            if total >= 0:
                kept = (total + (1 << 31)) % (1 << 32) - (1 << 31)
            else:
                kept = saturated(rounded(total * multiplier, 2), 32)
            assert result == saturated(rounded(kept, 24), 8), (multiplier, code)
