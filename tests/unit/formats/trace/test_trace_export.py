"""Register programs as traces: what is written, what cannot be, and that it plays equal."""

from __future__ import annotations

import json
import re
import sys
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nvdla_ir.dialects import default_context
from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.formats.trace import export_trace
from nvdla_ir.interp.csb.run import executed_layers
from nvdla_ir.interp.machine import Machine, Mode
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.passes.base import Session
from nvdla_ir.passes.pipeline import Pipeline
from nvdla_ir.passes.registry import layers_to_registers
from nvdla_ir.resources import ResourceStore
from nvdla_ir.text.parser import parse
from nvdla_ir.text.printer import print_operation

ROOT = Path(__file__).resolve().parents[4]
SHARED = ROOT.parent / "shared"
sys.path.insert(0, str(ROOT / "examples" / "digits"))
sys.path.insert(0, str(ROOT / "tests" / "unit" / "formats" / "trace"))

import digits  # noqa: E402
from small_traces import copy_twice, enabled_in_order, interleaved  # noqa: E402
from trace_playing import Played, function_of, play, write_files  # noqa: E402

TARGETS = ("nv_small", "nv_medium_1024_full", "nv_large", "nv_full")
Q = "!quant.uniform<i8:f32, 0.5>"

RESIDUAL = f"""
module attributes {{nvdla.target = "TARGET"}} {{
  func.func @main(%x: tensor<1x13x8x6x{Q}>) -> (tensor<1x13x8x6x{Q}>, tensor<1x21x4x3x{Q}>) {{
    %a = nvdla.upload %x -> tensor<1x13x8x6x{Q}>
    %w1 = nvdla.constant value=dense_resource<w1> : tensor<13x13x3x3xi8>
    %t1 = nvdla.constant value=dense_resource<t1> : tensor<13x2xi16>
    %c1 = nvdla.conv %a, %w1 pads=[1, 1, 1, 1] layers=["c1"] -> !nvdla.stream<1x13x8x6xi32>
    %s1 = nvdla.sdp %c1 bs_operand=%t1 bs=#nvdla.x_stage<alu = "sum", mul, mul_shift = 20, relu>
      cvt_shift=3 -> tensor<1x13x8x6x{Q}>
    %s2 = nvdla.sdp %s1 bs_operand=%a bs=#nvdla.x_stage<alu = "sum", alu_shift = 2> cvt_offset=-9
      cvt_scale=19 cvt_shift=5 layers=["add"] -> tensor<1x13x8x6x{Q}>
    %w3 = nvdla.constant value=dense_resource<w3> : tensor<21x13x1x1xi8>
    %c3 = nvdla.conv %s2, %w3 strides=[2, 2] layers=["c3"] -> !nvdla.stream<1x21x4x3xi32>
    %s3 = nvdla.sdp %c3 cvt_offset=7 cvt_shift=5 -> tensor<1x21x4x3x{Q}>
    %y = nvdla.download %s2 -> tensor<1x13x8x6x{Q}>
    %z = nvdla.download %s3 -> tensor<1x21x4x3x{Q}>
    func.return %y, %z
  }}
}}
"""


def residual(target: str) -> tuple[ModuleOp, ResourceStore, dict[str, NDArray[Any]]]:
    """A program with two outputs, and a random input. Its offsets make unused lanes non-zero."""
    rng = np.random.default_rng(3)
    (module,) = parse(RESIDUAL.replace("TARGET", target), default_context()).operations
    assert isinstance(module, ModuleOp)
    resources = ResourceStore()
    resources.add("w1", rng.integers(-128, 128, (13, 13, 3, 3), np.int8))
    resources.add("t1", rng.integers(-3000, 3000, (13, 2), np.int16))
    resources.add("w3", rng.integers(-128, 128, (21, 13, 1, 1), np.int8))
    Pipeline(layers_to_registers()).run(module, Session(resources))
    return module, resources, {"x": rng.integers(-128, 128, (1, 13, 8, 6), np.int8)}


def played(folder: Path, files: Mapping[str, bytes | str], target: str) -> Played:
    result = play(write_files(folder, files), target)
    assert result.checks
    assert result.failures == []
    return result


@pytest.mark.parametrize("target", TARGETS)
def test_every_output_of_a_program_is_checked(target: str, tmp_path: Path) -> None:
    module, resources, inputs = residual(target)
    files = export_trace(module, resources, inputs, "residual")
    result = played(tmp_path / "a", files, target)
    assert len(result.checks) == 2
    # The same layers on the same bytes as the program itself.
    machine = Machine(resources, Mode.INTEGER)
    outputs = machine.run(function_of(module), inputs)
    assert len(executed_layers(machine)) == len(result.device.records) == 3
    assert len(outputs) == 2
    # One changed byte of the input changes an output.
    other = {"x": inputs["x"].copy()}
    other["x"][0, 5, 4, 3] ^= 0x40
    name = next(name for name in files if name.endswith("_x.dat"))
    changed = export_trace(module, resources, other, "residual")[name]
    assert changed != files[name]
    assert play(write_files(tmp_path / "b", {**files, name: changed}), target).failures


@pytest.mark.parametrize("target", TARGETS)
def test_the_streams_of_blocks_may_run_in_any_order(target: str, tmp_path: Path) -> None:
    files = export_trace(*residual(target), "residual")
    text = files["residual.cfg"].decode()
    for seed in range(12):
        mixed = {**files, "residual.cfg": interleaved(text, seed)}
        assert len(played(tmp_path / str(seed), mixed, target).checks) == 2


def test_the_text_is_for_people_and_players(tmp_path: Path) -> None:
    files = export_trace(*residual("nv_small"), "residual")
    lines = files["residual.cfg"].decode().splitlines()
    assert lines[0] == "// residual: a register program for nv_small"
    assert [line for line in lines if line.startswith("// layer")] == [
        "// layer c1",
        "// layer add",
        "// layer c3",
    ]
    assert sum(line.startswith("poll_reg_equal(NVDLA_CDMA.S_CBUF_FLUSH") for line in lines) == 1
    names = [re.split(r"[(.]", line)[0] for line in lines if not line.startswith("//")]
    memory = [name in ("mem_init", "mem_load") for name in names]
    assert memory == sorted(memory, reverse=True)
    assert lines.index("intr_notify(SDP_0, sync_id_0);") < lines.index(
        "sync_wait(NVDLA_SDP, sync_id_0);"
    )
    # What no check is about is consumed.
    checked = {line[10:].partition(",")[0] for line in lines if line.startswith("check_crc")}
    consumed = {line[14:-2] for line in lines if line.startswith("check_nothing")}
    assert checked | consumed == {"sync_id_0", "sync_id_1", "sync_id_2"}
    assert not checked & consumed
    assert all(name.startswith("residual") for name in files)


@pytest.mark.parametrize("network", ["lenet", "resnet"])
@pytest.mark.parametrize("target", ["nv_small", "nv_large", "nv_full"])
def test_digits_networks_play_equal(network: str, target: str, tmp_path: Path) -> None:
    stage = digits.compiled(network, target)
    images, _ = digits.test_set(network)
    files = export_trace(stage.module, stage.resources, {"data": images[:1]}, network)
    result = played(tmp_path, files, target)
    assert len(result.checks) == 1
    machine = Machine(stage.resources, Mode.INTEGER)
    machine.run(stage.func, {"data": images[:1]})
    assert [(layer.record.name, layer.record.shape) for layer in executed_layers(machine)] == [
        (record.name, record.shape) for record in result.device.records
    ]


# ---------------------------------------------------------------- imported programs


def test_an_imported_trace_is_exported_and_plays_equal(tmp_path: Path) -> None:
    first = played(tmp_path / "a", copy_twice(), "nv_small")
    files = export_trace(first.module, first.resources, {}, "again")
    second = played(tmp_path / "b", files, "nv_small")
    assert len(second.checks) == 2
    again = export_trace(second.module, second.resources, {}, "again")
    assert again["again.cfg"] == files["again.cfg"]


CONFIGURATIONS = (
    *("nv_small", "nv_small_256", "nv_small_256_full", "nv_medium_512", "nv_medium_1024_full"),
    *("nv_large", "nv_large_b", "nv_full"),
)


@pytest.mark.skipif(
    not (SHARED / "conformance" / "index.json").is_file(),
    reason="no conformance suite beside the project: ../shared",
)
@pytest.mark.parametrize("target", CONFIGURATIONS)
def test_conformance_programs_survive_import_and_export(target: str, tmp_path: Path) -> None:
    """Two programs of each class: played with mixed streams, as text and back, exported, played
    and mixed again."""
    index = json.loads((SHARED / "conformance" / "index.json").read_text())
    classes: dict[str, list[str]] = {}
    for name, case in index.items():
        if case["config"] == target:
            classes.setdefault(case["class"], []).append(name.partition("/")[2])
    with tarfile.open(SHARED / "conformance" / f"{target}.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    for names in classes.values():
        for seed, name in enumerate(names[:: max(1, len(names) // 2)][:2]):
            folder = tmp_path / target / name
            text = (folder / f"{name}.cfg").read_text()
            first = played(
                folder, {f"{name}.cfg": interleaved(enabled_in_order(text), seed)}, target
            )
            if seed == 0:
                printed = print_operation(first.module)
                (parsed,) = parse(printed, default_context()).operations
                assert print_operation(parsed) == printed
            files = export_trace(first.module, first.resources, {}, "t")
            second = played(tmp_path / "out" / name, files, target)
            assert len(second.checks) == len(first.checks)
            mixed = {"t.cfg": interleaved(files["t.cfg"].decode(), seed + 100)}
            played(tmp_path / "out" / name, mixed, target)


# ---------------------------------------------------------------- what is written for an operation


def exported(body: str, target: str = "nv_small", **inputs: NDArray[Any]) -> dict[str, bytes]:
    """The trace of a function ``@main`` with ``body``, beside inputs ``%x`` and ``%y``."""
    arguments = ", ".join(
        f"%{name}: tensor<{'x'.join(map(str, array.shape))}xi8>" for name, array in inputs.items()
    )
    text = f'module attributes {{nvdla.target = "{target}"}} {{\n'
    text += f"func.func @main({arguments}) {{\n{body}\nfunc.return\n}}\n}}\n"
    (module,) = parse(text, default_context()).operations
    assert isinstance(module, ModuleOp)
    return export_trace(module, ResourceStore(), inputs, "t")


def layer_text(source: int = 0x8000_0000, destination: int = 0x8000_1000, group: int = 0) -> str:
    """An SDP copy of an 8x8x8 cube, without its wait."""
    return f"""
csb.configure SDP_RDMA group={group} {{WIDTH = 7, HEIGHT = 7, CHANNEL = 7,
  SRC_BASE_ADDR_LOW = {source}, SRC_LINE_STRIDE = 64, SRC_SURFACE_STRIDE = 512,
  BRDMA_DISABLE = "YES", NRDMA_DISABLE = "YES", ERDMA_DISABLE = "YES", FLYING_MODE = "OFF",
  IN_PRECISION = "INT8", PROC_PRECISION = "INT8", OUT_PRECISION = "INT8", SRC_RAM_TYPE = "MC"}}
csb.configure SDP group={group} {{WIDTH = 7, HEIGHT = 7, CHANNEL = 7,
  DST_BASE_ADDR_LOW = {destination}, DST_LINE_STRIDE = 64, DST_SURFACE_STRIDE = 512,
  BS_BYPASS = "YES", BN_BYPASS = "YES", EW_BYPASS = "YES", FLYING_MODE = "OFF",
  DST_RAM_TYPE = "MC", PROC_PRECISION = "INT8", OUT_PRECISION = "INT8", CVT_SCALE = 1}}
csb.enable SDP_RDMA group={group}
csb.enable SDP group={group}"""


WAIT = "csb.wait SDP group=0"
CUBE = np.arange(512, dtype=np.int32).astype(np.int8)


def commands(files: Mapping[str, bytes], *names: str) -> list[str]:
    return [
        line for line in files["t.cfg"].decode().splitlines() if line.partition("(")[0] in names
    ]


def test_bytes_and_checks(tmp_path: Path) -> None:
    crc = zlib.crc32(CUBE.tobytes())
    body = f"""
csb.fill address=0x80001000 size=512 pattern="ONES"
csb.upload %x address=0x80000000 format="bytes"
{layer_text()}
{WAIT}
csb.expect SDP group=1 register="S_STATUS" value=0x0
csb.check_bytes address=0x80001004 value=dense<[4, 5, 6, 7]> : tensor<4xi8> event="e"
csb.check_crc address=0x80001000 size=512 crc={crc}
%y = csb.download address=0x80001002 format="bytes" -> tensor<9xi8>
"""
    files = exported(body, x=CUBE)
    assert commands(files, "mem_init", "mem_load", "check_crc", "reg_read_check") == [
        "mem_init(pri_mem, 0x80001000, 0xc, ALL_ZERO);",
        "mem_init(pri_mem, 0x80001000, 0x200, ONES);",
        'mem_load(pri_mem, 0x80000000, "t_x.dat");',
        "reg_read_check(NVDLA_SDP.S_STATUS_0, 0x0);",
        f"check_crc(sync_id_0, pri_mem, 0x80001004, 0x4, {zlib.crc32(bytes(range(4, 8))):#010x});",
        f"check_crc(sync_id_0, pri_mem, 0x80001000, 0x200, {crc:#010x});",
        f"check_crc(sync_id_0, pri_mem, 0x80001000, 0xc, {zlib.crc32(bytes(range(12))):#010x});",
    ]
    assert len(played(tmp_path, files, "nv_small").checks) == 4


def test_a_poll_orders_what_comes_behind(tmp_path: Path) -> None:
    body = f"""
csb.load address=0x80000000 value=dense<1> : tensor<512xi8>
{layer_text()}
csb.poll SDP group=0 register="S_STATUS" value=0x0
csb.configure CDMA group=0 {{CVT_SCALE = 1}}
{WAIT}
csb.check_bytes address=0x80001000 value=dense<1> : tensor<512xi8>
"""
    files = exported(body)
    assert commands(files, "poll_reg_equal", "sync_notify", "sync_wait") == [
        "poll_reg_equal(NVDLA_SDP.S_STATUS_0, 0x0);",
        "sync_notify(NVDLA_SDP, sync_id_0);",
        "sync_wait(NVDLA_CDMA, sync_id_0);",
    ]
    played(tmp_path, files, "nv_small")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            f"{layer_text()}\n{WAIT}\n"
            'csb.upload %x address=0x80001100 format="bytes" layers=["late"]',
            r"layer 'late' stores to \[0x80001100, 0x80001300\) after the layer SDP has used that "
            "memory",
        ),
        (
            f"{layer_text()}\n{WAIT}\ncsb.fill address=0x800001fe size=2",
            "'csb.fill' stores to",
        ),
        ("csb.wait_any", "waits for any interrupt, but 'intr_notify' of a trace names one"),
        (
            'csb.expect SDP register="S_STATUS" value=0x0 mask=0x3',
            "looks at the bits 0x3, but traces read whole registers",
        ),
        (
            "csb.check_crc address=0x80000000 size=4 crc=0",
            "looks at memory before anything was waited for",
        ),
        (
            f"{layer_text()}\n{WAIT}\ncsb.check_crc address=0x80000002 size=4 crc=0",
            "the checks of traces are about whole words of 4 bytes",
        ),
        ("csb.wait SDP group=0", "never comes"),
    ],
)
def test_what_no_trace_can_say_is_refused(body: str, message: str) -> None:
    with pytest.raises(DiagnosticError, match=message):
        exported(body, x=CUBE)


def test_stores_between_layers_that_touch_nothing_are_done_first(tmp_path: Path) -> None:
    body = f"""
csb.upload %x address=0x80000000 format="bytes"
{layer_text()}
{WAIT}
csb.upload %z address=0x80004000 format="bytes"
{layer_text(0x8000_4000, 0x8000_5000, 1)}
csb.wait SDP group=1
%y = csb.download address=0x80005000 format="bytes" -> tensor<512xi8>
"""
    files = exported(body, x=CUBE, z=CUBE[::-1].copy())
    assert sorted(files) == ["t.cfg", "t_x.dat", "t_z.dat"]
    assert len(played(tmp_path, files, "nv_small").checks) == 1


def test_modules_without_a_program_and_bad_names_are_refused() -> None:
    (empty,) = parse("module { func.func @f() {\nfunc.return\n} }", default_context()).operations
    assert isinstance(empty, ModuleOp)
    with pytest.raises(DiagnosticError, match="there are no register operations"):
        export_trace(empty, ResourceStore(), {}, "t")
    for name in ("", "a/b", "..", "a b", ".hidden"):
        with pytest.raises(DiagnosticError, match="is no name for a trace"):
            export_trace(empty, ResourceStore(), {}, name)
