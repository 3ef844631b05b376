"""The dialects that come with the package; each is imported when a name of it is met."""

from __future__ import annotations

from nvdla_ir.ir.dialect import Context

DIALECTS = {
    "builtin": "nvdla_ir.dialects.builtin:BUILTIN",
    "csb": "nvdla_ir.dialects.csb:CSB",
    "func": "nvdla_ir.dialects.func:FUNC",
    "nn": "nvdla_ir.dialects.nn:NN",
    "nvdla": "nvdla_ir.dialects.nvdla:NVDLA",
    "quant": "nvdla_ir.dialects.quant:QUANT",
}


def default_context(*, allow_unregistered: bool = False) -> Context:
    """A new context that knows the package's dialects."""
    return Context(dict(DIALECTS), allow_unregistered)
