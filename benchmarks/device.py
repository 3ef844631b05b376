"""What the register-level device costs: its start, a large convolution, the replay of traces."""

from __future__ import annotations

import json
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from measure import Row, best_seconds, child_cpu_seconds

from nvdla_ir.dialects import default_context
from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.func import FuncOp
from nvdla_ir.interp.csb import checks_of, executed_layers
from nvdla_ir.interp.machine import Machine, Mode
from nvdla_ir.passes.base import Session
from nvdla_ir.passes.pipeline import Pipeline
from nvdla_ir.passes.registry import layers_to_registers
from nvdla_ir.resources import ResourceStore
from nvdla_ir.text.parser import parse

ROOT = Path(__file__).resolve().parent.parent
VENDOR_TRACES = ROOT.parent / "shared" / "nvidia"

START = """
from nvdla_ir.hw.configuration import load_configuration
from nvdla_ir.interp.device.device import Device

Device(load_configuration("nv_full")).write("SDP", "D_CVT_SCALE", 1)
"""

CONVOLUTION = """
module attributes {nvdla.target = "TARGET"} {
  func.func @main(%x: tensor<1x256x28x28xi8>) -> tensor<1x256x28x28xi8> {
    %a = nvdla.upload %x -> tensor<1x256x28x28xi8>
    %w = nvdla.constant value=dense_resource<w> : tensor<256x256x3x3xi8>
    %c = nvdla.conv %a, %w pads=[1, 1, 1, 1] layers=["conv"] -> !nvdla.stream<1x256x28x28xi32>
    %s = nvdla.sdp %c cvt_scale=77 cvt_shift=20 -> tensor<1x256x28x28xi8>
    %y = nvdla.download %s -> tensor<1x256x28x28xi8>
    func.return %y
  }
}
"""


def rows() -> Iterator[Row]:
    whole = child_cpu_seconds([sys.executable, "-c", START])
    yield Row("device", "a process with a device", whole, "s CPU", 0.3, "lower")
    for name in ("nv_small", "nv_large", "nv_full"):
        yield _convolution(name)
    if (VENDOR_TRACES / "traces.json").is_file():
        yield _vendor_traces("nv_small")


def _convolution(name: str) -> Row:
    """A 3x3 convolution as a register program, the host's copies of input and output included."""
    module = parse(CONVOLUTION.replace("TARGET", name), default_context(), "bench.ir").operations[0]
    assert isinstance(module, ModuleOp)
    session = Session(ResourceStore())
    rng = np.random.default_rng(5)
    session.resources.add("w", rng.integers(-128, 128, (256, 256, 3, 3), np.int8))
    Pipeline(layers_to_registers()).run(module, session)
    function = module.body.first_op
    assert isinstance(function, FuncOp)
    machine = Machine(session.resources, Mode.INTEGER)
    inputs = {"x": rng.integers(-128, 128, (1, 256, 28, 28), np.int8)}
    seconds = best_seconds(lambda: machine.run(function, inputs), time.process_time, 5)
    multiplications = sum(layer.record.multiplications for layer in executed_layers(machine))
    speed = multiplications / seconds / 1e9
    return Row("device", f"28x28x256→256 3x3, {name}", speed, "GMAC/s", 10)


def _vendor_traces(name: str) -> Row:
    """All replayable traces of a configuration, reading their files included."""
    from nvdla_ir.formats.trace import import_trace

    traces = json.loads((VENDOR_TRACES / "traces.json").read_text())[name]["traces"]
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(VENDOR_TRACES / f"traces-{name}.tar.xz") as archive:
            archive.extractall(folder, filter="data")

        def replay() -> None:
            for trace in traces:
                resources = ResourceStore()
                module = import_trace(Path(folder, name, trace), name, resources)
                function = module.body.first_op
                assert isinstance(function, FuncOp)
                machine = Machine(resources, Mode.INTEGER, lenient=True)
                machine.run(function, {})
                if not all(check.passed for check in checks_of(machine)):
                    raise RuntimeError(f"{trace} fails")

        seconds = best_seconds(replay, time.process_time, 1)
    return Row("device", f"{len(traces)} traces, {name}", seconds, "s", 20, "lower")
