"""Quick local response normalization."""

from __future__ import annotations

import numpy as np

from nvdla_ir.arith import reference
from nvdla_ir.arith.errors import Int8Array, Int64Array
from nvdla_ir.arith.fast.look_up import tabulate
from nvdla_ir.arith.fast.rounding import round_shift
from nvdla_ir.arith.parameters import Normalization, NormalizationResult
from nvdla_ir.arith.reference.normalization import (
    check_normalization,
    classify,
    convert,
    count_classes,
)

EVERY_INT8 = np.arange(-128, 128).astype(np.int8)


def local_response_normalization(x: Int8Array, layer: Normalization) -> NormalizationResult:
    """See `reference.local_response_normalization`."""
    check_normalization(x)
    converted = convert(EVERY_INT8, layer)[x.astype(np.intp) + 128]
    seen = converted if layer.bypass_square_sum else _square_sum(converted, layer.size // 2)
    found = tabulate(seen, lambda inputs: classify(inputs, layer.table))
    output = found.values if layer.bypass_multiply else found.values * converted
    output = round_shift((output - layer.output_offset) * layer.output_scale, layer.output_shift)
    clipped = reference.saturate(output, 8)
    return NormalizationResult(
        values=clipped.astype(np.int8),
        counters=count_classes(x.size, found.underflow, found.overflow, found.le_hit, found.lo_hit),
        saturated=int(np.count_nonzero(clipped != output)),
    )


def _square_sum(converted: Int64Array, reach: int) -> Int64Array:
    """Sums of squares over the channels at most `reach` away."""
    squares = converted * converted
    total = np.array(squares)
    for distance in range(1, min(reach, squares.shape[-3] - 1) + 1):
        total[..., distance:, :, :] += squares[..., :-distance, :, :]
        total[..., :-distance, :, :] += squares[..., distance:, :, :]
    return total
