"""Device programs as traces: each stands for itself."""

# Modules of other folders are found at run time.
# pyright: reportMissingImports=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest
from island_networks import BY_TURNS, NETWORKS, inputs_of, network, outputs_of
from running import module_of

from nvdla_ir.dialects import csb
from nvdla_ir.dialects.func import FuncOp
from nvdla_ir.dialects.nvdla import is_program
from nvdla_ir.formats.trace import export_trace
from nvdla_ir.interp.csb.run import executed_layers
from nvdla_ir.interp.machine import Machine, Mode
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.passes.pipeline import Pipeline
from nvdla_ir.passes.registry import layers_to_registers
from nvdla_ir.resources import ResourceStore
from nvdla_ir.text.printer import print_operation

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "formats" / "trace"))

from trace_playing import play, write_files

TARGETS = ("nv_small", "nv_medium_1024_full", "nv_large", "nv_full")


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", NETWORKS)
def test_each_device_program_is_a_trace_of_its_own(name: str, target: str, tmp_path: Path) -> None:
    check_traces(NETWORKS[name], target, tmp_path)


def test_what_programs_share_may_have_columns_apart(tmp_path: Path) -> None:
    """One program's output and a later one's input are every second column of a cube."""
    module, func, session = network(BY_TURNS, "nv_small")
    inputs = inputs_of(func)
    expected = [outputs_of(func, session, each) for each in inputs]
    Pipeline(layers_to_registers()).run(module, session)
    apart = [
        (type(op), op.label)
        for op in module.walk()
        if isinstance(op, csb.InputOp | csb.OutputOp) and op.column_stride == 16
    ]
    assert apart == [(csb.OutputOp, "early"), (csb.InputOp, "early")]
    for each, wanted in zip(inputs, expected, strict=True):
        found = outputs_of(func, session, each)
        np.testing.assert_array_equal(found["y"], wanted["y"])
    assert print_operation(module_of(print_operation(module))) == print_operation(module)
    check_traces(BY_TURNS, "nv_small", tmp_path)


def check_traces(text: str, target: str, tmp_path: Path) -> None:
    """Each plays from a reset, on what the host and earlier programs hand to it, and checks all
    that later ones read; together they run the layers of the network."""
    module, func, session = network(text, target)
    Pipeline(layers_to_registers()).run(module, session)
    inputs = inputs_of(func)[0]
    files = export_trace(module, session.resources, inputs, "net")
    machine = Machine(session.resources, Mode.INTEGER)
    machine.run(func, inputs)
    programs = [op for op in module.walk() if isinstance(op, FuncOp) and is_program(op)]
    folders = sorted({file.partition("/")[0] for file in files if "/" in file})
    if len(programs) == 1:
        assert folders == []
        folders, files = ["."], {f"./{file}": data for file, data in files.items()}
    else:
        assert folders == [f"net_{number}" for number in range(len(programs))]
    ran: list[tuple[str, object]] = []
    for folder, program in zip(folders, programs, strict=True):
        own = {file[len(folder) + 1 :]: d for file, d in files.items() if file.startswith(folder)}
        result = play(write_files(tmp_path / folder, own), target)
        assert result.failures == []
        outputs = [op for op in program.body.operations if isinstance(op, csb.OutputOp)]
        assert len(result.checks) == len(outputs)
        ran += [(record.name, record.shape) for record in result.device.records]
        # what it loads matters: with other bytes it fails
        data = next(name for name in own if name.endswith(".dat") and "_w" not in name)
        zeros = {**own, data: re.sub(rb"0x[0-9a-f]{2}\b", b"0x11", own[data])}
        assert play(write_files(tmp_path / "x" / folder, zeros), target).failures
    assert ran == [(layer.record.name, layer.record.shape) for layer in executed_layers(machine)]


def test_register_operations_beside_programs_have_no_trace() -> None:
    text = """module attributes {nvdla.target = "nv_small"} {
  func.func @main() {
    func.call @p
    csb.wait SDP group=0
    func.return
  }
  func.func private @p() attributes {nvdla.program} {
    csb.configure SDP group=0 {CVT_SCALE = 1}
    func.return
  }
}"""
    module = module_of(text)
    with pytest.raises(DiagnosticError, match=r"'csb\.wait' stands outside of the device programs"):
        export_trace(module, ResourceStore(), {}, "t")
