"""The rules of ``insert-converters``."""

from __future__ import annotations

from nvdla_ir.ir.conversion import RuleSet

converts = RuleSet("insert-converters")
"""``@converts(nn.SigmoidOp)``: the decorated function makes integers of such operations. It takes
the operation and a ``FunctionConversion``, and returns the int8 value of the result."""
