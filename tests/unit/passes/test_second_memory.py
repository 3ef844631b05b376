"""Activations in the second memory: the same bytes on the device, within what it may take."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from running import module_of, new_session
from test_schedule_layers import (
    CUBE,
    FITTED,
    main_of,
    module_for,
    random_network,
    random_session,
    results_of,
)

from nvdla_ir.interp.csb.run import executed_layers
from nvdla_ir.interp.machine import Machine, Mode
from nvdla_ir.ir.diagnostics import DiagnosticError, render
from nvdla_ir.passes.allocate_memory import AllocateMemory
from nvdla_ir.passes.emit_registers import EmitRegisters
from nvdla_ir.passes.outline_device_programs import OutlineDevicePrograms
from nvdla_ir.passes.pipeline import Pipeline
from nvdla_ir.passes.schedule_layers import ScheduleLayers

TARGET = '{name = "small", base = "nv_small", has_secondary_memory = true}'
IN_PIECES = TARGET[:-1] + ", cbuf.banks = 8, cbuf.entries_per_bank = 64}"
BASE = 0x5000_0000
CUBE_BYTES = 32 * 6 * 6


@pytest.mark.parametrize("target", [TARGET, IN_PIECES, '"nv_small_256_full"'])
@pytest.mark.parametrize("size", [CUBE_BYTES, 3 * CUBE_BYTES + 64, 1 << 20])
def test_random_networks_give_the_same_bytes_on_the_device(target: str, size: int) -> None:
    seed = size % 7
    module = module_for(random_network(seed), target)
    session, inputs = random_session(seed)
    expected = results_of(module, session, inputs)
    allocation = AllocateMemory(second_bytes=size)
    Pipeline([*FITTED, ScheduleLayers(), allocation, EmitRegisters()]).run(module, session)
    machine = Machine(session.resources, Mode.INTEGER)
    found = machine.run(main_of(module), inputs).values()
    for result, right in zip(found, expected, strict=True):
        assert np.array_equal(result, right)
    areas = [
        area
        for layer in executed_layers(machine)
        for area in (*layer.record.reads, *layer.record.writes)
        if area.memory == "secondary"
    ]
    assert areas
    assert all(area.base >= BASE and area.end <= BASE + size for area in areas)
    counts = session.statistics["allocate-memory"]
    moved = counts["bytes moved to and from the second memory"]
    assert 0 < moved < counts["bytes of activations moved in all"]


def test_what_is_moved_most_for_its_bytes_comes_first() -> None:
    """%b is read by two layers, %c by one, and there is room for one of them."""
    module = module_for(
        f"""func.func @main(%x: {CUBE}) -> {CUBE} {{
  %a = nvdla.upload %x -> {CUBE}
  %b = nvdla.pdp max %a kernel=[1, 1] layers=["b"] -> {CUBE}
  %c = nvdla.pdp max %b kernel=[1, 1] layers=["c"] -> {CUBE}
  %y = nvdla.sdp %c bs_operand=%b bs=#nvdla.x_stage<alu = "sum"> -> {CUBE}
  %0 = nvdla.download %y -> {CUBE}
  func.return %0
}}""",
        '"nv_large"',
    )
    passes = [OutlineDevicePrograms(), ScheduleLayers(), AllocateMemory(second_bytes=CUBE_BYTES)]
    session = new_session()
    Pipeline(passes).run(module, session)
    places = {
        op.attributes["layers"]: "memory" in op.attributes
        for op in module.walk()
        if "layers" in op.attributes
    }
    assert sorted(places.values()) == [False, True]
    (remark,) = session.diagnostics.diagnostics
    assert re.search(
        r"; 1 more in the second memory, to and from which go \d+ bytes of the 8064 that layers",
        remark.message,
    )


def fault(passes: list[Any], body: str, target: str = '"nv_large"') -> str:
    module = module_of(
        f"module attributes {{nvdla.target = {target}}} {{\n"
        f"func.func @main(%x: {CUBE}) -> {CUBE} {{\n{body}\n  func.return %0\n}}\n}}"
    )
    with pytest.raises(DiagnosticError) as caught:
        Pipeline([OutlineDevicePrograms(), *passes]).run(module, new_session())
    return "\n".join(render(diagnostic) for diagnostic in caught.value.diagnostics)


COPY = f"""  %a = nvdla.upload %x -> {CUBE}
  %y = nvdla.sdp %a -> {CUBE}
  %0 = nvdla.download %y -> {CUBE}"""


@pytest.mark.parametrize(
    ("options", "target", "message"),
    [
        (
            {"second_bytes": 64},
            '"nv_small"',
            "1:1: error: option 'second-bytes' .* but nv_small has no second memory",
        ),
        ({"second_bytes": -1}, '"nv_large"', "is -1, but it must be 0 or more"),
        ({"second_bytes": 64, "second_base": 32}, '"nv_large"', "0x20 .* multiple of 64"),
        (
            {"second_bytes": 128, "second_base": 0xFFFF_FFC0},
            TARGET,
            "from 0xffffffc0 on, but addresses of small go from 0 to 0xffffffff",
        ),
    ],
)
def test_faults_of_options(options: dict[str, int], target: str, message: str) -> None:
    found = fault([ScheduleLayers(), AllocateMemory(**options)], COPY, target)
    assert re.search(message, found), found


@pytest.mark.parametrize("place", ["%a = nvdla.upload %x", "%y = nvdla.sdp %a"])
def test_the_host_reaches_the_primary_memory_only(place: str) -> None:
    where = "address=4096 line_stride=192 surface_stride=1152"
    body = re.sub(r"(%[ay] = [^>]*?) ->", rf"\1 {where} ->", COPY)
    body = body.replace(f"{place} {where}", f'{place} {where} memory="secondary"')
    found = fault([ScheduleLayers(), EmitRegisters()], body)
    assert "is in the second memory, where only layers of one device program reach it" in found
