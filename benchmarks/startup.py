"""What it costs to start a tool, in CPU time of a process."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from measure import Row, child_cpu_seconds

ROOT = Path(__file__).resolve().parent.parent
DIGITS = ROOT / "examples" / "digits"
OPT = str(Path(sys.executable).with_name("nvdla-opt"))


def ten_operations() -> str:
    """A function of ten operations."""
    lines = ["func.func @main(%v0: tensor<1x8x8x8xf32>) -> tensor<1x8x8x8xf32> {"]
    for index in range(9):
        lines.append(
            f'  %v{index + 1} = nn.relu %v{index} layers=["relu{index}"] -> tensor<1x8x8x8xf32>'
        )
    return "\n".join([*lines, "  func.return %v9", "}"]) + "\n"


def rows() -> Iterator[Row]:
    yield Row("start-up", "python -c pass", _milliseconds([sys.executable, "-c", "pass"]), "ms CPU")
    yield Row(
        "start-up", "nvdla-opt --version", _milliseconds([OPT, "--version"]), "ms CPU", 60, "lower"
    )
    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder) / "ten.ir"
        small.write_text(ten_operations(), encoding="utf-8")
        yield Row(
            "start-up",
            "nvdla-opt, ten ops",
            _milliseconds([OPT, str(small)]),
            "ms CPU",
            180,
            "lower",
        )
        command = [
            OPT,
            f"--import-calib={DIGITS / 'resnet.calib.json'}",
            "--quantize",
            "--compile=nv_small",
            str(DIGITS / "resnet.ir"),
            "-o",
            str(Path(folder) / "resnet.csb.ir"),
        ]
        named = child_cpu_seconds(command, 5)
        yield Row("start-up", "nvdla-opt, resnet to registers", named, "s CPU", 1.0, "lower")
        target = Path(folder) / "mine.toml"
        target.write_text('base = "nv_small"\n', encoding="utf-8")
        command[command.index("--compile=nv_small")] = f"--compile={target}"
        yield Row(
            "start-up",
            "the same for a target's file, over a name",
            child_cpu_seconds(command, 5) / named,
            "x",
            1.05,
            "lower",
        )


def _milliseconds(command: list[str]) -> float:
    return child_cpu_seconds(command) * 1e3
