"""Inputs and outputs at given addresses, alone there; and what cannot be."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from running import module_of, new_session, run

from nvdla_ir.dialects import nvdla
from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.func import FuncOp
from nvdla_ir.interp.machine import Machine, Mode
from nvdla_ir.ir.diagnostics import DiagnosticError, render
from nvdla_ir.ir.operation import Operation
from nvdla_ir.passes.allocate_memory import AllocateMemory
from nvdla_ir.passes.bind_memory import BindMemory
from nvdla_ir.passes.emit_registers import EmitRegisters
from nvdla_ir.passes.fit_convolution_buffer import FitConvolutionBuffer
from nvdla_ir.passes.outline_device_programs import OutlineDevicePrograms
from nvdla_ir.passes.pipeline import Pipeline
from nvdla_ir.passes.schedule_layers import ScheduleLayers

CUBE = "tensor<1x16x4x4xi8>"
RESIDUAL = f"""
  %a = nvdla.upload %data -> {CUBE}
  %w = nvdla.constant value=dense<1> : tensor<16x16x1x1xi8>
  %c = nvdla.conv %a, %w -> !nvdla.stream<1x16x4x4xi32>
  %y = nvdla.sdp %c bs_operand=%a bs=#nvdla.x_stage<alu = "sum"> cvt_shift=3 -> {CUBE}
  %z = nvdla.sdp %y bs=#nvdla.x_stage<relu> -> {CUBE}"""


def module_for(body: str, results: str = "%d", target: str = "nv_small") -> ModuleOp:
    types = ", ".join([CUBE] * len(results.split(",")))
    return module_of(
        f'module attributes {{nvdla.target = "{target}"}} {{\n'
        f"func.func @main(%data: {CUBE}, %more: {CUBE}) -> ({types}) {{{body}\n"
        f"  func.return {results}\n}}\n}}"
    )


def allocate(module: ModuleOp, places: str, **options: Any) -> None:
    passes = [BindMemory(places), OutlineDevicePrograms(), FitConvolutionBuffer()]
    Pipeline([*passes, ScheduleLayers(), AllocateMemory(**options)]).run(module, new_session())


def address_of(module: ModuleOp, kind: type[Operation]) -> list[int | None]:
    return [
        op.address for op in module.walk() if type(op) is kind and isinstance(op, nvdla.MemoryOp)
    ]


@pytest.mark.parametrize("target", ["nv_small", "nv_large"])
def test_bound_tensors_lie_alone_where_they_are_bound(target: str) -> None:
    """%a would make room for %y, and %y for %z, in place."""
    text = RESIDUAL + f"\n  %d = nvdla.download %z -> {CUBE}"
    module = module_for(text, target=target)
    rng = np.random.default_rng(5)
    inputs = {name: rng.integers(-128, 128, (1, 16, 4, 4), np.int8) for name in ("data", "more")}
    session = new_session()
    main = next(op for op in module.walk() if isinstance(op, FuncOp))
    (expected,) = Machine(session.resources, Mode.INTEGER).run(main, inputs).values()
    allocate(module, "data:0x90000000, d:2415923200")
    assert address_of(module, nvdla.UploadOp) == [0x9000_0000]
    y, z = address_of(module, nvdla.SdpOp)
    assert z == 2415923200
    assert y is not None and 0x8000_0000 <= y < 0x8000_1000
    run(EmitRegisters(), module, session)
    machine = Machine(session.resources, Mode.INTEGER)
    (found,) = machine.run(main, inputs).values()
    assert np.array_equal(found, expected)


def test_an_image_and_a_tensor_that_is_returned_twice() -> None:
    image = "tensor<1x1x4x4xi8>"
    module = module_of(f"""module attributes {{nvdla.target = "nv_small"}} {{
func.func @main(%data: {image}) -> ({image}, {image}) {{
  %a = nvdla.upload %data format="T_R8" -> {image}
  %w = nvdla.constant value=dense<1> : tensor<1x1x1x1xi8>
  %c = nvdla.conv %a, %w pixel_format="T_R8" -> !nvdla.stream<1x1x4x4xi32>
  %y = nvdla.sdp %c -> {image}
  %d = nvdla.download %y -> {image}
  %e = nvdla.download %y -> {image}
  func.return %d, %e
}}
}}""")
    allocate(module, "data:0x1000,d:0x2000,e:0x2000")
    assert address_of(module, nvdla.UploadOp) == [0x1000]
    assert address_of(module, nvdla.SdpOp) == [0x2000]


HALF = "tensor<1x8x4x4xi8>"


@pytest.mark.parametrize(
    ("places", "options", "message"),
    [
        ("data:0x90000004", {}, r"2:17: error: input 'data' .* 0x90000004, .* memory atom, 8"),
        (
            "d:0xffffff80",
            {},
            r"error: output 'd' is bound to \[0xffffff80, 0x100000080\), but addresses of nv_small "
            "go from 0 to 0xffffffff",
        ),
        ("d:-64", {}, r"error: output 'd' is bound to \[-0x40, .* go from 0"),
        (
            "data:0x80000000",
            {},
            r"error: input 'data' is bound to \[0x80000000, 0x80000100\), but constants and "
            r"activations take \[0x80000000, 0x80000\w+\): bind it elsewhere, or give",
        ),
        ("data:0x1000", {"base": 0x10C0 - 0x80}, r"constants and activations take \[0x1040,"),
        (
            "data:0x1000,d:0x10f8",
            {},
            r"output 'd' is bound to \[0x10f8, 0x11f8\), which overlaps input 'data'\n"
            r"test.ir:2:17: note: input 'data' is bound to \[0x1000, 0x1100\) here",
        ),
        ("d:0x1000,same:0x2000", {}, "'same' .*, but output 'd' is the same tensor in memory"),
        ("part:0x1000", {}, "output 'part' cannot be bound: it is a part of another tensor"),
        ("more:0x1000", {}, "input 'more' cannot be bound: the host alone works with it"),
        ("dat:0x1000", {}, "there is no input or output 'dat'; did you mean 'data'"),
        ("data", {}, "option 'places' of 'bind-memory' is NAME:ADDRESS, .* not 'data'"),
        ("data:here", {}, "not 'data:here'"),
    ],
)
def test_faults(places: str, options: dict[str, Any], message: str) -> None:
    body = f"""{RESIDUAL}
  %p = nvdla.slice %z begin=8 size=8 -> {HALF}
  %d = nvdla.download %z -> {CUBE}
  %same = nvdla.download %z -> {CUBE}
  %part = nvdla.download %p -> {HALF}"""
    module = module_of(
        f'module attributes {{nvdla.target = "nv_small"}} {{\n'
        f"func.func @main(%data: {CUBE}, %more: {CUBE}) -> ({CUBE}, {CUBE}, {HALF}) {{{body}\n"
        "  func.return %d, %same, %part\n}\n}"
    )
    with pytest.raises(DiagnosticError) as caught:
        allocate(module, places, **options)
    found = "\n".join(render(diagnostic) for diagnostic in caught.value.diagnostics)
    assert re.search(message, found), found


def test_a_tensor_that_is_uploaded_twice() -> None:
    body = f"""
  %a = nvdla.upload %data -> {CUBE}
  %b = nvdla.upload %data -> {CUBE}
  %y = nvdla.sdp %a bs_operand=%b bs=#nvdla.x_stage<alu = "sum"> -> {CUBE}
  %d = nvdla.download %y -> {CUBE}"""
    with pytest.raises(DiagnosticError, match="it is 2 tensors in the memory of the hardware"):
        allocate(module_for(body), "data:0x1000")


def test_all_faults_are_told() -> None:
    with pytest.raises(DiagnosticError) as caught:
        module = module_for(RESIDUAL + f"\n  %d = nvdla.download %z -> {CUBE}")
        allocate(module, "data:0x1004,more:0x100,d:3")
    assert len(caught.value.diagnostics) == 3
