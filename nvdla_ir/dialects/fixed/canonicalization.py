"""Canonicalization of the fixed dialect."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nvdla_ir.dialects.fixed.operations import AveragePoolOp
from nvdla_ir.dialects.nn.canonicalization import DropIdentity, has_windows_of_one
from nvdla_ir.ir.rewriter import RewritePattern

# The hardware's dividers that divide by one: 2^16 in units of 2^-16.
_UNIT = (65536, 65536)


class DropAveragePoolOfOne(DropIdentity[AveragePoolOp]):
    """Windows of one element at each element, divided by one."""

    root = AveragePoolOp

    def is_identity(self, op: AveragePoolOp) -> bool:
        return has_windows_of_one(op) and op.reciprocals == _UNIT


PATTERNS: Sequence[RewritePattern[Any]] = (DropAveragePoolOfOne(),)
