"""Users' arrays at the edge of a function."""

from __future__ import annotations

import numpy as np
import pytest

from nvdla_ir.dialects.quant import CalibratedType
from nvdla_ir.interp.boundary import input_array
from nvdla_ir.interp.machine import Mode
from nvdla_ir.ir.types import F32, IntegerType, TensorType


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.bool_, np.float16])
@pytest.mark.parametrize("element", [F32, CalibratedType(F32, -1.0, 1.0)])
def test_numbers_of_any_kind_become_float32(dtype: type, element: object) -> None:
    array = np.array([[0, 1]], dtype)
    taken = input_array(array, TensorType((1, 2), element), Mode.FLOAT)
    assert taken.dtype == np.float32 and np.array_equal(taken, [[0.0, 1.0]])


def test_pixels_stay_integers_where_the_network_takes_them() -> None:
    array = np.array([[0, 255]], np.uint8)
    assert input_array(array, TensorType((1, 2), IntegerType(8, "u")), Mode.FLOAT) is array
