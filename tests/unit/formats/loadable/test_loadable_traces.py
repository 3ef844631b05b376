"""Loadables with tasks of the host as traces: one for each stretch of hardware layers."""

# Modules of other folders are found at run time.
# pyright: reportMissingImports=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
from loadable_building import INPUT, OUTPUT, Loadable, cube, sdp
from loadable_running import full_range, function_of, imported
from test_host_tasks import classifier, softmax, surface

from nvdla_ir.formats.trace import export_trace
from nvdla_ir.interp.csb.run import executed_layers
from nvdla_ir.interp.machine import Machine, Mode

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "trace"))

from trace_playing import play, write_files

SHAPE = (20, 1, 1)


def adding(value: int) -> dict[str, Any]:
    return {"enable": 1, "type": 2, "alu_type": 2, "alu_operand": value}


def power(source: dict[str, Any], destination: dict[str, Any]) -> dict[str, Any]:
    op = {"op_type": 0, "input_scale": 0.5, "output_scale": 2.0, "power": 2.0, "scale": 0.5}
    return {"op": op, "source": source, "destination": destination}


def network() -> Loadable:
    """Hardware, host, two layers of which one reads what the first part made, host."""
    net = Loadable()
    x, y = net.bound("x", INPUT, SHAPE, 8), net.bound("y", OUTPUT, SHAPE, 8)
    first, powers, sums, logits = (net.memory(96) for _ in range(4))
    net.hardware_task([sdp(cube(x, SHAPE, 8), cube(first, SHAPE, 8), x1_op=adding(9))])
    net.host_task(power(surface(first, SHAPE, 8), surface(powers, SHAPE, 8)))
    net.hardware_task(
        [sdp(cube(powers, SHAPE, 8), cube(sums, SHAPE, 8), x1_op=adding(-7))],
        [sdp(cube(first, SHAPE, 8), cube(logits, SHAPE, 8), x1_op=adding(3))],
    )
    net.host_task(softmax(surface(logits, SHAPE, 8), surface(y, SHAPE, 8)))
    return net


def check(net: Loadable, folders: list[str], tmp_path: Path) -> None:
    """Each trace plays, and fails on other data; together they run the layers of the loadable."""
    module, resources = imported(net)
    inputs = {"x": full_range(5, 1, *SHAPE)}
    files = export_trace(module, resources, inputs, "net")
    machine = Machine(resources, Mode.INTEGER)
    machine.run(function_of(module), inputs)
    ran: list[tuple[str, object]] = []
    for folder in folders:
        own = {Path(f).name: d for f, d in files.items() if str(Path(f).parent) == folder}
        result = play(write_files(tmp_path / folder, own), "nv_small")
        assert result.failures == [] and result.checks
        ran += [(record.name, record.shape) for record in result.device.records]
        data = next(name for name in own if name.endswith(".dat"))
        other = {**own, data: re.sub(rb"0x[0-9a-f]{2}\b", b"0x11", own[data])}
        assert play(write_files(tmp_path / "other" / folder, other), "nv_small").failures
    assert sorted({str(Path(file).parent) for file in files}) == folders
    layers = executed_layers(machine)
    assert ran == [(layer.record.name, layer.record.shape) for layer in layers]


def test_a_task_of_the_host_in_the_middle(tmp_path: Path) -> None:
    check(network(), ["net_0", "net_1"], tmp_path)


def test_a_task_of_the_host_at_the_end(tmp_path: Path) -> None:
    check(classifier(), ["."], tmp_path)


def test_what_a_trace_loads_and_checks() -> None:
    """The second loads what the host and the first made of what its layers read, and checks what
    the host reads of it."""
    module, resources = imported(network())
    inputs = {"x": np.zeros((1, *SHAPE), np.int8)}
    files = export_trace(module, resources, inputs, "net")
    text = files["net_1/net_1.cfg"].decode()
    loads = re.findall(r"mem_load\(pri_mem, (0x[0-9a-f]+)", text)
    checks = re.findall(r"check_crc\(\w+, pri_mem, (0x[0-9a-f]+), (0x[0-9a-f]+)", text)
    writes = re.findall(r"DST_BASE_ADDR_LOW_0, (0x[0-9a-f]+)", text)
    sources = re.findall(r"SRC_BASE_ADDR_LOW_0, (0x[0-9a-f]+)", text)
    assert loads == sorted(sources)
    assert checks == [(writes[1], "0x18")]
