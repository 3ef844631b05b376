"""Plug-ins that a command is given: what their operations need to be read and executed."""

from __future__ import annotations

from collections.abc import Sequence

from nvdla_ir.dialects import default_context
from nvdla_ir.ir.dialect import Context

from .command_line import Flag


def plugin_flag(group: str) -> Flag:
    """The flag of the commands that execute programs."""
    help = "make the operations and kernels of a Python file known"
    return Flag("load-pass-plugin", help, group, "FILE.py")


def context_with(plugin_files: Sequence[str]) -> Context:
    """The package's dialects and those of the plug-ins, whose kernels are registered then.

    Raises: DiagnosticError for a plug-in that fails.
    """
    context = default_context()
    for file in plugin_files:
        from nvdla_ir.passes.plugins import load_plugin

        for dialect in load_plugin(file).dialects:
            context.register(dialect)
    return context
