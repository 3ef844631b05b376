"""``make bench``: every benchmark, as a table and as JSON (benchmarks/results/latest.json).

python benchmarks/run.py [text device calibration …]
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import sys
from pathlib import Path

# One BLAS thread, before numpy is imported: figures are for one core.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import attrs
from measure import Row
from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).resolve().parent / "results" / "latest.json"
MODULES = (
    "startup",
    "text",
    "chain",
    "compilation",
    "golden",
    "device",
    "estimates",
    "schedule",
    "float_models",
    "onnx_import",
    "calibration",
    "accuracy",
)


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in MODULES]
    if unknown:
        print(f"unknown benchmark {', '.join(unknown)}; there are {', '.join(MODULES)}")
        return 2
    console = Console(width=None if sys.stdout.isatty() else 110)
    rows: list[Row] = []
    for name in names or MODULES:
        with console.status(f"measuring {name} …"):
            rows += importlib.import_module(name).rows()
    console.print(_table(rows))
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(
        json.dumps(
            {
                "python": platform.python_version(),
                "machine": platform.machine(),
                "rows": [{**attrs.asdict(row), "met": row.met} for row in rows],
            },
            indent=2,
        )
        + "\n",
        encoding="utf-8",
    )
    missed = [row for row in rows if row.met is False]
    console.print(f"{len(missed)} of {sum(row.target is not None for row in rows)} targets missed")
    return 0


def _table(rows: list[Row]) -> Table:
    table = Table()
    for column in ("", "what", "measured", "target", ""):
        table.add_column(column, justify="right" if column in ("measured", "target") else "left")
    previous = ""
    for row in sorted(rows, key=lambda row: [r.group for r in rows].index(row.group)):
        relation = "≥" if row.better == "higher" else "≤"
        table.add_row(
            row.group if row.group != previous else "",
            row.name,
            f"{_number(row.value)} {row.unit}",
            "" if row.target is None else f"{relation} {_number(row.target)} {row.unit}",
            {None: "", True: "[green]met[/green]", False: "[red]missed[/red]"}[row.met],
        )
        previous = row.group
    return table


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:.3g}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
