"""Tables about passes: ``--mlir-timing``, ``--mlir-pass-statistics``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TextIO

from rich.console import Console
from rich.table import Table

from nvdla_ir.passes.instrumentation import Timing


def print_timing(timing: Timing, stream: TextIO) -> None:
    """How long phases and passes took."""
    total = sum(seconds for _, seconds in timing.seconds)
    table = Table(title="Execution time report", title_justify="left")
    table.add_column("phase or pass")
    table.add_column("wall time", justify="right")
    table.add_column("share", justify="right")
    for name, seconds in (*timing.seconds, ("total", total)):
        share = 100 * seconds / total if total else 0.0
        table.add_row(name, f"{seconds * 1000:.1f} ms", f"{share:.1f} %")
    _print_table(table, stream)


def print_statistics(statistics: Mapping[str, Mapping[str, int]], stream: TextIO) -> None:
    """What passes have counted, by pass and name."""
    table = Table(title="Pass statistics report", title_justify="left")
    table.add_column("pass")
    table.add_column("count", justify="right")
    table.add_column("of what")
    for pass_name, counts in statistics.items():
        for what, amount in counts.items():
            table.add_row(pass_name, str(amount), what)
    _print_table(table, stream)


def _print_table(table: Table, stream: TextIO) -> None:
    # Away from a terminal a table is as wide as it needs to be.
    width = None if stream.isatty() else 200
    Console(file=stream, width=width).print(table)
