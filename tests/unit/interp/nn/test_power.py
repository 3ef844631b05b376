"""nn.power against its definition, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import run_op
from hypothesis import given
from hypothesis import strategies as st

from nvdla_ir.dialects import nn
from nvdla_ir.ir.diagnostics import DiagnosticError


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from((1.0, 2.0, 0.5, -1.0)),
    st.floats(0.01, 3),
    st.floats(0.01, 3),
)
def test_power(seed: int, exponent: float, scale: float, shift: float) -> None:
    x = np.abs(np.random.default_rng(seed).normal(size=(1, 3, 4))).astype(np.float32)
    attributes = {"power": exponent, "scale": scale, "shift": shift}
    result = run_op(nn.PowerOp, {"input": x}, attributes)
    expected = [(shift + scale * value) ** exponent for value in x.ravel().tolist()]
    assert result.shape == x.shape
    np.testing.assert_allclose(result.ravel(), expected, rtol=2e-5)


@pytest.mark.parametrize(("exponent", "shift"), [(0.5, -1.0), (-1.0, 0.0), (400.0, 300.0)])
def test_power_refuses_what_is_not_finite(exponent: float, shift: float) -> None:
    x = np.zeros((1, 2), np.float32)
    with pytest.raises(DiagnosticError, match="is not finite"):
        run_op(nn.PowerOp, {"input": x}, {"power": exponent, "scale": 1.0, "shift": shift})
