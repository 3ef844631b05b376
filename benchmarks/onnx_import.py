"""What importing a large ONNX model costs: ResNet-50, 98 MB of weights."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from measure import Row

ZOO = Path(__file__).resolve().parent.parent / "examples" / "zoo"
RUNS = 3

# ru_maxrss of a process starts with that of the one it was forked from: VmHWM does not.
IMPORT = """
import json, sys, time
from pathlib import Path
from nvdla_ir.frontends.onnx import import_onnx
from nvdla_ir.ir.diagnostics import DiagnosticCollector
from nvdla_ir.ir.verifier import verify
from nvdla_ir.resources import ResourceStore

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024

start = time.process_time()
module = import_onnx(
    Path(sys.argv[1]), ResourceStore(), shapes={}, diagnostics=DiagnosticCollector()
)
verify(module)
print(json.dumps({"seconds": time.process_time() - start, "megabytes": peak()}))
"""


def rows() -> Iterator[Row]:
    if importlib.util.find_spec("onnx") is None:
        return
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "resnet50.onnx"
        zoo = [sys.executable, str(ZOO / "zoo.py"), "resnet50", str(model)]
        subprocess.run(zoo, check=True, stdout=subprocess.DEVNULL)
        weights = model.stat().st_size / 2**20
        command = [sys.executable, "-c", IMPORT, str(model)]
        found = [
            json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            for _ in range(RUNS)
        ]
    seconds = min(run["seconds"] for run in found)
    beyond = min(run["megabytes"] for run in found) - weights
    yield Row("ONNX", "import of ResNet-50, packages loaded on the way", seconds, "s", 3, "lower")
    yield Row("ONNX", "peak memory beyond its weights", beyond, "MB", 400, "lower")
