"""The rules of ``decompose-layers`` that plug-ins add to its patterns."""

from __future__ import annotations

from nvdla_ir.ir.conversion import RuleSet

decomposes = RuleSet("decompose-layers")
"""``@decomposes(MyOp)``: the decorated function makes simpler layers of such
operations. It takes the operation, a ``PatternRewriter``, and the hardware or None, and returns the
value that takes the result's place; None where the operation stays."""
