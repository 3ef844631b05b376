"""Functions of one number on int8 codes, which stand for reals: ``scale * (code - zero point)``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from nvdla_ir.arith.errors import Int8Array, OperandError

LOWEST, HIGHEST = -128, 127


@frozen
class CodeScale:
    """What int8 codes stand for."""

    scale: float
    zero_point: int = 0


def function_codes(
    function: Callable[[NDArray[np.float64]], NDArray[Any]], source: CodeScale, result: CodeScale
) -> Int8Array:
    """The code of ``function``'s value for each of the 256 codes, from -128 on.

    Values are computed in 64 bits, rounded to the nearest code, halves away from zero, and
    saturated; infinite ones saturate, too.

    Raises: OperandError where a value is no number, naming what it is of.
    """
    reals = source.scale * (np.arange(LOWEST, HIGHEST + 1, dtype=np.float64) - source.zero_point)
    with np.errstate(all="ignore"):
        values = np.asarray(function(reals), np.float64) / result.scale
    if np.any(missing := np.isnan(values)):
        raise OperandError(f"the function of {reals[missing][0]:g} is no number")
    floor = np.floor(np.abs(values))
    with np.errstate(invalid="ignore"):
        rounded = np.copysign(floor + (np.abs(values) - floor >= 0.5), values)
    return np.clip(rounded + result.zero_point, LOWEST, HIGHEST).astype(np.int8)
