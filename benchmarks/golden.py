"""What a golden test costs in the process."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from measure import Row

from nvdla_ir.testing.runner import Runner
from nvdla_ir.testing.script import Script, parse_script

ROOT = Path(__file__).resolve().parent.parent


def rows() -> Iterator[Row]:
    scripts = [(file, _script(file)) for file in sorted((ROOT / "tests" / "lit").rglob("*.ir"))]
    lines = 0
    times: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        for repetition in range(2):  # the first time imports and builds tables
            for file, script in scripts:
                runner = Runner(file, file.name, Path(folder) / "t")
                start = time.process_time()
                for run_line in script.run_lines:
                    runner.run(run_line)
                if repetition and script.run_lines:
                    lines += len(script.run_lines)
                    times.append(time.process_time() - start)
    yield Row("golden tests", "files", len(times), "")
    yield Row("golden tests", "median of a file", statistics.median(times) * 1e3, "ms", 10, "lower")
    yield Row("golden tests", "mean of a RUN line", sum(times) / lines * 1e3, "ms", 10, "lower")
    yield Row("golden tests", "slowest file", max(times) * 1e3, "ms")


def _script(file: Path) -> Script:
    return parse_script(file.read_text(encoding="utf-8"), str(file))
