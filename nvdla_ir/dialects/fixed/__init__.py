"""The fixed dialect: what the hardware computes on stored integers between memory and memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nvdla_ir.dialects.fixed.operations import (
    AveragePoolOp,
    InputConverterOp,
    LrnOp,
    OutputConverterOp,
    PReluOp,
    RescaleOp,
    ShiftAddOp,
)
from nvdla_ir.ir.dialect import Dialect
from nvdla_ir.ir.rewriter import RewritePattern

__all__ = [
    "FIXED",
    "AveragePoolOp",
    "InputConverterOp",
    "LrnOp",
    "OutputConverterOp",
    "PReluOp",
    "RescaleOp",
    "ShiftAddOp",
]


def _canonicalization() -> Sequence[RewritePattern[Any]]:
    from nvdla_ir.dialects.fixed.canonicalization import PATTERNS

    return PATTERNS


FIXED = Dialect.of(
    "fixed",
    "fixed-point arithmetic on stored integers",
    [InputConverterOp, ShiftAddOp, RescaleOp, PReluOp, OutputConverterOp, AveragePoolOp, LrnOp],
    canonicalization=_canonicalization,
)
