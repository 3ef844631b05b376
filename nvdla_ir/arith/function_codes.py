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
    saturated; infinite ones saturate, too. Codes whose value is no number (roots of what is
    negative) become what the nearest one that has a value does.

    Raises: OperandError where none has.
    """
    reals = _reals(source)
    values = _values(function, reals) / result.scale
    if np.any(missing := np.isnan(values)):
        if missing.all():
            raise OperandError(f"the function of {reals[0]:g} to {reals[-1]:g} is no number")
        places = np.flatnonzero(~missing)
        nearest = np.abs(np.arange(len(reals))[:, None] - places).argmin(axis=1)
        values = values[places[nearest]]
    floor = np.floor(np.abs(values))
    with np.errstate(invalid="ignore"):
        rounded = np.copysign(floor + (np.abs(values) - floor >= 0.5), values)
    return np.clip(rounded + result.zero_point, LOWEST, HIGHEST).astype(np.int8)


def without_value(
    function: Callable[[NDArray[np.float64]], NDArray[Any]], source: CodeScale
) -> tuple[float, float] | None:
    """The least and the largest number that a code stands for and of which ``function`` is none."""
    reals = _reals(source)
    missing = reals[np.isnan(_values(function, reals))]
    return (float(missing[0]), float(missing[-1])) if missing.size else None


def _reals(source: CodeScale) -> NDArray[np.float64]:
    codes = np.arange(LOWEST, HIGHEST + 1, dtype=np.float64)
    return source.scale * (codes - source.zero_point)


def _values(
    function: Callable[[NDArray[np.float64]], NDArray[Any]], reals: NDArray[np.float64]
) -> NDArray[np.float64]:
    with np.errstate(all="ignore"):
        return np.asarray(function(reals), np.float64)
