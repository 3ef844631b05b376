"""`fast` offers what `reference` offers, and neither touches what it is given."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

from nvdla_ir.arith import fast, reference
from nvdla_ir.arith.parameters import (
    AluAlgorithm,
    LookUpTable,
    Normalization,
    OutputConverter,
    XUnit,
    YUnit,
)


def test_the_same_names() -> None:
    assert fast.__all__ == reference.__all__ == sorted(reference.__all__)


@pytest.mark.parametrize("name", reference.__all__)
def test_the_same_signature(name: str) -> None:
    assert inspect.signature(getattr(fast, name)) == inspect.signature(getattr(reference, name))
    assert getattr(reference, name).__doc__
    assert getattr(fast, name).__doc__


@pytest.mark.parametrize("module", [reference, fast])
def test_arrays_that_may_not_be_written(module: Any) -> None:
    """Weights and constants are mapped from files read-only."""

    def locked(array: Any) -> Any:
        array = np.asarray(array)
        array.setflags(write=False)
        return array

    x = locked(np.arange(2 * 4 * 4).reshape(2, 4, 4).astype(np.int8))
    w = locked(np.ones((3, 2, 1, 1), np.int8))
    acc = module.convolve(
        x, w, stride=(1, 1), dilation=(1, 1), pad_top=0, pad_left=0, output_size=(4, 4), pad_value=0
    )
    acc = locked(acc)
    assert module.truncate_accumulator(acc, 0).tolist() == acc.tolist()
    channel = locked(np.array([1, 2, 3]).reshape(3, 1, 1))
    x_unit = XUnit(alu=AluAlgorithm.SUM, alu_operand=channel, mul_operand=channel, relu=True)
    y_unit = YUnit(alu=AluAlgorithm.SUM, alu_operand=channel, mul_operand=channel, prelu=True)
    table = LookUpTable(le_table=[0] * 65, lo_table=locked(np.arange(257)))
    layer = module.sdp_layer(
        acc, x_units=(x_unit,), y_unit=y_unit, look_up_table=table, output=OutputConverter()
    )
    assert layer.values.shape == (3, 4, 4)
    pooled = module.pool_average(
        x,
        kernel=(2, 2),
        stride=(2, 2),
        pad=(0, 0),
        output_size=(2, 2),
        reciprocals=(0x8000, 0x8000),
        pad_values=[0] * 7,
    )
    assert pooled.shape == (2, 2, 2)
    normalized = module.local_response_normalization(x, Normalization(size=3, table=table))
    assert normalized.values.shape == x.shape
