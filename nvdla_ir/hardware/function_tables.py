"""What the CDP's tables hold, so that it computes a function of one int8 number, or local response
normalization.

Sources: cdp.md sections 2, 3 and 5.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from nvdla_ir.arith.errors import OperandError
from nvdla_ir.arith.fixed_point import fixed_point, round_half_away
from nvdla_ir.arith.function_codes import HIGHEST, LOWEST, CodeScale
from nvdla_ir.dialects.nvdla import arithmetic_table
from nvdla_ir.hardware.cdp import CdpConverter
from nvdla_ir.hw.look_up_tables import (
    ENTRIES,
    LE_ENTRIES,
    LO_ENTRIES,
    Function,
    LookUpTable,
    LookUpTables,
    TableName,
)

_LE_STEPS, _LO_STEPS = LE_ENTRIES - 1, LO_ENTRIES - 1
_LARGEST_OUTPUT_OFFSET = (1 << 24) - 1
_LARGEST_OCTAVE = 36
"""What the registers of an end hold; no sum of squares comes near."""
_DENSE_SUMS = 1 << 12
_SPREAD_SUMS = 1 << 12


def code_tables(codes: Sequence[int]) -> LookUpTables:
    """Tables that give ``codes[x + 128]`` for the int8 number ``x``: exact, as every number has an
    entry. -128, where both tables start, is below both, and gets the first entry."""
    if len(codes) != 1 << 8:
        raise OperandError(f"there are {len(codes)} codes, but int8 has 256 numbers")
    values = tuple(map(int, codes))
    lo = (*values, values[-1])
    return LookUpTables(
        le=LookUpTable(lo[:LE_ENTRIES], LOWEST, LOWEST + _LE_STEPS, 0),
        lo=LookUpTable(lo, LOWEST, LOWEST + _LO_STEPS, 0),
        underflow_priority="LO",
        overflow_priority="LO",
        hybrid_priority="LO",
    )


# -------------------------------------------------------------- normalization


@frozen
class Normalization:
    """``y = x * (k + alpha / window * sum x^2) ^ -beta`` over ``window`` channels."""

    window: int
    alpha: float
    beta: float
    k: float

    def gain(self, sums: NDArray[Any], scale: float) -> NDArray[np.float64]:
        """The factor where squares of codes add up to ``sums``. Raises: OperandError where it is
        no finite number."""
        base = self.k + self.alpha * scale**2 / self.window * sums.astype(np.float64)
        with np.errstate(all="ignore"):
            gains = base**-self.beta
        if not np.all(np.isfinite(gains)):
            raise OperandError(
                f"alpha {self.alpha:g}, beta {self.beta:g} and k {self.k:g} give no finite factor "
                "for some sums of squares"
            )
        return gains


@frozen
class NormalizationFit:
    """What the CDP is told: ``error`` is that of the tables alone, at most, in codes."""

    tables: LookUpTables
    input_converter: CdpConverter
    output_converter: CdpConverter
    error: float


def normalization_fit(
    layer: Normalization, source: CodeScale, result: CodeScale
) -> NormalizationFit:
    """The tables and converters for ``layer`` from codes of ``source`` to codes of ``result``.

    One table reaches over all sums of squares. The other is finer and reaches as far as is best:
    small sums belong to small elements, but there the factor changes most.

    Raises: OperandError where the factor is not finite, or too large for the output converter.
    """
    largest = max(HIGHEST - source.zero_point, source.zero_point - LOWEST)
    last = layer.window * largest**2
    select = max(0, (last // _LO_STEPS).bit_length())
    sums = _sums(last)
    gains = layer.gain(sums, source.scale)
    fraction = _fraction_bits(float(np.abs(gains).max()), source, result)
    factor = source.scale / result.scale * math.ldexp(1.0, -fraction)
    weights = np.minimum(np.sqrt(sums), largest) * factor

    def entries(places: NDArray[np.int64]) -> tuple[int, ...]:
        scaled = layer.gain(np.minimum(places, last), source.scale) * math.ldexp(1.0, fraction)
        values = np.clip([round_half_away(float(value)) for value in scaled], *ENTRIES)
        return tuple(values.tolist())

    def linear(steps: int, distance: int) -> LookUpTable:
        places = np.arange(steps + 1, dtype=np.int64) << distance
        return LookUpTable(entries(places), 0, steps << distance, distance)

    from nvdla_ir.arith.reference.normalization import classify

    def error(tables: LookUpTables) -> float:
        found = classify(sums, arithmetic_table(tables)).values
        return float(np.max(np.abs(found - gains * math.ldexp(1.0, fraction)) * weights))

    lo = linear(_LO_STEPS, select)
    octaves = 1 << np.minimum(np.arange(LE_ENTRIES, dtype=np.int64), _LARGEST_OCTAVE)

    def tables(
        le: LookUpTable, lo: LookUpTable, hybrid: TableName, function: Function = "LINEAR"
    ) -> LookUpTables:
        return LookUpTables(le, lo, function, "LO", "LO", hybrid)

    by_octaves = LookUpTable(entries(octaves), 0, 1 << _LARGEST_OCTAVE, 0)
    choices = [
        tables(linear(_LE_STEPS, 0), lo, "LO"),
        *(tables(linear(_LE_STEPS, distance), lo, "LE") for distance in range(select)),
        tables(by_octaves, lo, "LE", "EXPONENT"),
        *(
            tables(by_octaves, linear(_LO_STEPS, distance), "LO", "EXPONENT")
            for distance in range(select)
        ),
    ]
    errors = [error(choice) for choice in choices]
    best = errors.index(min(errors))
    output = fixed_point(factor)
    offset = -round_half_away(math.ldexp(result.zero_point, output.shift) / output.multiplier)
    return NormalizationFit(
        choices[best],
        CdpConverter(offset=source.zero_point),
        CdpConverter(offset, output.multiplier, output.shift),
        errors[best],
    )


def _sums(last: int) -> NDArray[np.int64]:
    """Sums of squares on which choices are weighed: all small ones, and others spread to
    ``last``."""
    dense = np.arange(1, min(last, _DENSE_SUMS), dtype=np.int64)
    spread = np.arange(last, 0, -max(1, last // _SPREAD_SUMS), dtype=np.int64)
    return np.unique(np.concatenate((dense, spread)))


def _fraction_bits(gain: float, source: CodeScale, result: CodeScale) -> int:
    """How far the factors are scaled up: as the entries' 16 bits allow, and the output converter,
    which subtracts the zero point ahead of its multiplier."""
    fraction = math.floor(math.log2(ENTRIES[1] / gain)) if gain else 0
    ratio = source.scale / result.scale
    while abs(result.zero_point) / ratio * math.ldexp(1.0, fraction) > _LARGEST_OUTPUT_OFFSET:
        fraction -= 1
    return fraction
