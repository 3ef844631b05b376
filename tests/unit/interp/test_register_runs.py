"""Running register programs: again and again, written by hand, and with faults."""

from __future__ import annotations

import re

import numpy as np
import pytest
from layer_reference import evaluate
from register_programs import (
    CONFIGURATIONS,
    CONVOLUTION,
    RESIDUAL,
    assert_same,
    compile_registers,
    function_of,
    module_for,
    random_inputs,
)

from nvdla_ir.dialects import csb
from nvdla_ir.hw.configuration import load_configuration
from nvdla_ir.interp.csb import device_of
from nvdla_ir.interp.machine import Machine, Mode
from nvdla_ir.ir.diagnostics import DiagnosticError, render


def test_the_same_program_on_many_images() -> None:
    """Each run starts anew: with an odd number of layers the groups would not match otherwise."""
    module, session = module_for("nv_small", CONVOLUTION)
    images = [random_inputs(module, seed) for seed in range(3)]
    expected = [evaluate(function_of(module), image, session.resources) for image in images]
    compile_registers(module, session)
    machine = Machine(session.resources, Mode.INTEGER)
    for image, outputs in zip(images, expected, strict=True):
        found = machine.run(function_of(module), image)
        np.testing.assert_array_equal(found["y"], outputs["y"])
        device = device_of(machine)
        assert device is not None and len(device.records) == 1
        assert not device.pending_interrupts()


def run_text(body: str, target: str = "nv_small") -> Machine:
    """Run a register program that is given as text."""
    module, session = module_for(target, body)
    machine = Machine(session.resources, Mode.INTEGER)
    machine.run(function_of(module), random_inputs(module))
    return machine


def faults_of(body: str) -> str:
    with pytest.raises(DiagnosticError) as caught:
        run_text(body)
    (diagnostic,) = caught.value.diagnostics
    return render(diagnostic)


IDENTITY = """
func.func @main() {
  csb.configure SDP_RDMA group=0 layers=["copy"] {
    WIDTH = 3, HEIGHT = 0, CHANNEL = 7, SRC_BASE_ADDR_LOW = 0x80000000, SRC_LINE_STRIDE = 32,
    SRC_SURFACE_STRIDE = 32, IN_PRECISION = "INT8", PROC_PRECISION = "INT8", SRC_RAM_TYPE = "MC"
  }
  csb.configure SDP group=0 layers=["copy"] {
    WIDTH = 3, HEIGHT = 0, CHANNEL = 7, DST_BASE_ADDR_LOW = 0x80000100, DST_LINE_STRIDE = 32,
    DST_SURFACE_STRIDE = 32, DST_RAM_TYPE = "MC", CVT_SCALE = 1
  }
  csb.enable SDP group=0
  csb.enable SDP_RDMA group=0
  csb.wait SDP group=0 layers=["copy"]
  func.return
}
"""


def test_a_program_written_by_hand() -> None:
    load = "  csb.load address=0x80000000 value=dense<-5> : tensor<32xi8>\n"
    machine = run_text(IDENTITY.replace("{\n", "{\n" + load, 1))
    device = device_of(machine)
    assert device is not None
    assert (device.primary.read(0x8000_0100, 32).view(np.int8) == -5).all()


@pytest.mark.parametrize(
    ("line", "replacement", "message"),
    [
        (
            "  csb.enable SDP_RDMA group=0\n",
            "",
            r":13:3: error: layer 'copy' never finishes: SDP: the interrupt of group 0 never "
            r"comes: SDP \(group 0\) waits for SDP_RDMA \(group 0\) to be enabled",
        ),
        (
            "csb.wait SDP group=0",
            "csb.wait SDP group=1",
            ":14:3: error: layer 'copy' never finishes: .* no unit is enabled",
        ),
        (
            "  csb.enable SDP group=0\n",
            "  csb.configure GLB {SDP_DONE_MASK0 = 1}\n  csb.enable SDP group=0\n",
            "error: layer 'copy' never finishes: .* masked in GLB.S_INTR_MASK",
        ),
        (
            "DST_BASE_ADDR_LOW = 0x80000100",
            "DST_BASE_ADDR_LOW = 0x80000104",
            ":13:3: error: layer 'copy' cannot run: SDP.D_DST_.*",
        ),
        (
            "SRC_RAM_TYPE",
            "EXTRA",
            "error: 'csb.configure' programs 'SDP_RDMA' wrongly: .*no field 'EXTRA'",
        ),
        (
            "CHANNEL = 7, SRC",
            "CHANNEL = 8, SRC",
            ":13:3: error: layer 'copy' cannot run: SDP_RDMA.*CHANNEL",
        ),
        (
            "DST_BASE_ADDR_LOW = 0x80000100",
            "DST_BASE_ADDR_LOW = 0xFFFFFFF8",
            ":13:3: error: layer 'copy' cannot run: .*outside the primary memory",
        ),
    ],
)
def test_faults_are_told_with_the_layer(line: str, replacement: str, message: str) -> None:
    body = IDENTITY.replace(line, replacement)
    assert body != IDENTITY
    assert re.search(message, faults_of(body)), faults_of(body)


@pytest.mark.parametrize("target", CONFIGURATIONS)
def test_the_program_states_its_own_size(target: str) -> None:
    """The number of single writes is what the device receives."""
    module, session = assert_same(target, RESIDUAL)
    machine = Machine(session.resources, Mode.INTEGER)
    machine.run(function_of(module), random_inputs(module))
    device = device_of(machine)
    assert device is not None and len(device.records) == 3
    waits = sum(isinstance(op, csb.WaitOp) for op in module.walk())
    written = sum(
        len(writes) for op, writes in machine.cache.items() if isinstance(op, csb.ConfigureOp)
    ) + sum(len(writes) for op, writes in machine.cache.items() if isinstance(op, csb.EnableOp))
    assert session.statistics["emit-registers"]["register writes"] == written + waits
    assert csb.count_register_writes(module) == written + waits
    assert written > 300
    high = [
        write
        for op in module.walk()
        if isinstance(op, csb.ConfigureOp)
        for write in op.fields
        if "ADDR_HIGH" in write
    ]
    assert bool(high) == (load_configuration(target).address_bits > 32)
