"""The base of the nn dialect's layers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from nvdla_ir.dialects.layer import LayerOp
from nvdla_ir.ir.rewriter import RewritePattern


class NNOp(LayerOp):
    """A layer. Its canonicalization patterns stand in ``canonicalization.py``."""

    verified_by_signature = True

    @classmethod
    def canonicalization_patterns(cls) -> Iterable[RewritePattern[Any]]:
        from nvdla_ir.dialects.nn.canonicalization import PATTERNS

        return [
            pattern
            for pattern in PATTERNS
            if pattern.root is not None and issubclass(cls, pattern.root)
        ]
