"""Runs these tests under LLVM's lit, with a process for every command: ``lit tests/lit``.

pytest runs the same files in its own process; see ``nvdla_ir/testing/plugin.py``.
"""

# ``config`` is a variable that lit gives to this file.
# ruff: noqa: F821

import sys
from pathlib import Path

import lit.formats

here = Path(__file__).resolve().parent

config.name = "nvdla-ir"
config.test_format = lit.formats.ShTest(execute_external=False)
config.suffixes = [".ir"]
config.excludes = ["Inputs", "Output"]
config.test_source_root = str(here)
# What the tests write stays out of the sources.
config.test_exec_root = str(here.parents[1] / "build" / "lit")


def add_command(name: str, module: str) -> None:
    """``name`` in RUN lines is ``module``, run as a program by the Python that lit runs in."""
    config.substitutions.append(
        (rf"(?<![\w./-]){name}(?![\w./-])", f"'{sys.executable}' -m {module}")
    )


for tool in ("opt", "run", "translate", "calibrate"):
    add_command(f"nvdla-{tool}", f"nvdla_ir.tools.nvdla_{tool}")
add_command("(filecheck|FileCheck)", "filecheck")
