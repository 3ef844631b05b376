"""The rules of ``legalize-to-nvdla``."""

from __future__ import annotations

from nvdla_ir.ir.conversion import RuleSet

legalizes = RuleSet("legalize-to-nvdla")
"""``@legalizes(nn.MaxPoolOp)``: the decorated function makes hardware layers of such operations,
where their results are int8. It takes the operation and a ``FunctionLegalization``, and returns the
cube of the result."""
