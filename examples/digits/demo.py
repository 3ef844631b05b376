"""``make demo``: the residual digits network from float text to registers, and what it costs."""

from __future__ import annotations

import os
import sys
import time

# Registers are run image by image: more threads would only wait for each other.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from digits import compile_stages, run, sqnr, test_set
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn
from rich.table import Table

from nvdla_ir.dialects.csb import count_register_writes
from nvdla_ir.interp.machine import Mode
from nvdla_ir.ir.diagnostics import DiagnosticError, render

NETWORK = "resnet"
TARGET = "nv_small"


def main() -> int:
    console = Console()
    images, labels = test_set(NETWORK)
    console.print(
        f"[bold]{NETWORK}[/bold]: a residual network on handwritten digits, for "
        f"[bold]{TARGET}[/bold], one scale a channel\n"
    )
    stages = Table(title="From float text to registers", title_justify="left")
    for column in ("stage", "operations", "ms"):
        stages.add_column(column, justify="right" if column == "ms" else "left")
    start = time.perf_counter()
    floats = None
    stage = None
    for stage in compile_stages(NETWORK, TARGET):
        elapsed = time.perf_counter() - start
        counts = ", ".join(f"{count} {name}" for name, count in stage.operation_counts().items())
        stages.add_row(stage.name, counts, f"{elapsed * 1e3:.0f}")
        if floats is None:
            floats = run(stage, images, Mode.FLOAT)
        start = time.perf_counter()
    assert stage is not None and floats is not None
    console.print(stages)

    writes = count_register_writes(stage.module)
    layers = stage.operation_counts()
    console.print(
        f"\nThe register program: [bold]{writes:,}[/bold] register writes in "
        f"{layers['csb']:,} operations.\n"
    )
    with Progress(
        "Running registers on the device",
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    ) as progress:
        task = progress.add_task("", total=len(images))
        start = time.perf_counter()
        integers = run(stage, images, Mode.INTEGER, lambda count: progress.advance(task, count))
        seconds = time.perf_counter() - start

    result = Table(title=f"{len(images)} test images", title_justify="left")
    for column in ("", "float", "INT8 registers"):
        result.add_column(column, justify="right" if column else "left")
    result.add_row("top-1", f"{floats.top1(labels):.1f} %", f"{integers.top1(labels):.1f} %")
    noise = sqnr(floats.logits, integers.logits)
    result.add_row("SQNR of the logits", "", f"{noise:.1f} dB")
    result.add_row("images/s on one core", "", f"{len(images) / seconds:.1f}")
    console.print(result)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except DiagnosticError as error:
        for diagnostic in error.diagnostics:
            print(render(diagnostic), file=sys.stderr)
        sys.exit(1)
