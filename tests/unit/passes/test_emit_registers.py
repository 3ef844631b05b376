"""The order of a register program, what it states, and what the hardware cannot run."""

from __future__ import annotations

import re

import pytest
from running import module_of, new_session

from nvdla_ir.dialects import csb
from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.func import entry_functions
from nvdla_ir.hw.configuration import load_configuration
from nvdla_ir.hw.formats.buffer import entries_per_slice
from nvdla_ir.interp.machine import executed_operations
from nvdla_ir.ir.attributes import DenseResourceAttr
from nvdla_ir.ir.diagnostics import DiagnosticError, render
from nvdla_ir.passes.allocate_memory import AllocateMemory
from nvdla_ir.passes.base import Session
from nvdla_ir.passes.emit_registers import EmitRegisters
from nvdla_ir.passes.outline_device_programs import OutlineDevicePrograms
from nvdla_ir.passes.pipeline import Pipeline
from nvdla_ir.passes.registry import layers_to_registers
from nvdla_ir.passes.schedule_layers import ScheduleLayers

CONSUMERS_FIRST = ("PDP", "SDP", "SDP_RDMA", "CACC", "CMAC_B", "CMAC_A", "CSC", "CDMA")


def module_for(target: str, function: str) -> ModuleOp:
    return module_of(f'module attributes {{nvdla.target = "{target}"}} {{\n{function}\n}}')


def emitted(target: str, function: str) -> ModuleOp:
    module = module_for(target, function)
    lowered(module)
    return module


def lowered(module: ModuleOp) -> Session:
    session = new_session()
    Pipeline(layers_to_registers()).run(module, session)
    return session


def steps_of(module: ModuleOp) -> list[str]:
    """The program without its fields: ``configure SDP 0``; that of the device in the place of its
    call."""
    (function,) = entry_functions(module)
    return [
        f"{op.name.removeprefix('csb.')} {op.unit} {op.group}"
        if isinstance(op, csb.ConfigureOp | csb.EnableOp | csb.WaitOp)
        else op.name.removeprefix("csb.")
        for op in executed_operations(function)
    ]


def fields_of(module: ModuleOp, unit: str, number: int = 0) -> dict[str, int | str]:
    """The fields of a unit's ``number``-th layer."""
    found = [op for op in module.walk() if isinstance(op, csb.ConfigureOp) and op.unit == unit]
    return found[number].field_values()


CUBE = "tensor<1x8x4x4xi8>"
TWO_LAYERS = f"""
func.func @main(%x: {CUBE}) -> {CUBE} {{
  %a = nvdla.upload %x -> {CUBE}
  %w = nvdla.constant value=dense<1> : tensor<8x8x1x1xi8>
  %t = nvdla.constant value=dense<3> : tensor<8xi16>
  %c = nvdla.conv %a, %w layers=["one"] -> !nvdla.stream<1x8x4x4xi32>
  %s = nvdla.sdp %c bs_operand=%t bs=#nvdla.x_stage<alu = "sum"> -> {CUBE}
  %d = nvdla.conv %s, %w layers=["two"] -> !nvdla.stream<1x8x4x4xi32>
  %r = nvdla.sdp %d -> !nvdla.stream<1x8x4x4xi8>
  %p = nvdla.pdp max %r kernel=[1, 1] layers=["pool"] -> {CUBE}
  %q = nvdla.sdp %p layers=["three"] -> {CUBE}
  %y = nvdla.download %q -> {CUBE}
  func.return %y
}}"""


def test_the_next_layer_is_programmed_while_one_runs() -> None:
    convolution = ("CDMA", "CSC", "CMAC_A", "CMAC_B", "CACC")
    assert steps_of(emitted("nv_small", TWO_LAYERS)) == [
        "load",
        "load",
        "upload",
        "func.call",
        "input",
        "configure GLB None",
        "poll",
        *(f"configure {unit} 0" for unit in (*convolution, "SDP_RDMA", "SDP")),
        *(f"enable {unit} 0" for unit in CONSUMERS_FIRST if unit != "PDP"),
        *(f"configure {unit} 1" for unit in (*convolution, "SDP")),
        "configure PDP 0",
        "wait SDP 0",
        "enable PDP 0",
        *(f"enable {unit} 1" for unit in CONSUMERS_FIRST if unit not in ("PDP", "SDP_RDMA")),
        # The RDMA took no part in the layer before.
        "configure SDP_RDMA 1",
        "configure SDP 0",
        "wait SDP 1",
        "wait PDP 0",
        "enable SDP 0",
        "enable SDP_RDMA 1",
        "wait SDP 0",
        "output",
        "func.return",
        "download",
        "func.return",
    ]


def test_layers_keep_their_names() -> None:
    module = emitted("nv_small", TWO_LAYERS)
    waits = [op.layers for op in module.walk() if isinstance(op, csb.WaitOp)]
    assert waits == [("one",), ("two", "pool"), ("two", "pool"), ("three",)]
    configured = [op.layers for op in module.walk() if isinstance(op, csb.ConfigureOp)]
    assert configured[1:] == [("one",)] * 7 + [("two", "pool")] * 7 + [("three",)] * 2


def test_the_last_layer_is_waited_for_without_a_download() -> None:
    module = emitted(
        "nv_small",
        f"""
func.func @main(%x: {CUBE}) {{
  %a = nvdla.upload %x -> {CUBE}
  nvdla.sdp %a -> {CUBE}
  func.return
}}""",
    )
    assert steps_of(module)[-3:] == ["wait SDP 0", "func.return", "func.return"]


def test_constants_become_packed_bytes_once() -> None:
    module = module_for("nv_small", TWO_LAYERS)
    session = lowered(module)
    loads = [op for op in module.walk() if isinstance(op, csb.LoadOp)]
    arrays = [session.resources.array(op.value) for op in loads]
    assert [array.shape for array in arrays] == [(128,), (16,)]
    assert arrays[0].tolist() == [1] * 64 + [0] * 64
    assert arrays[1].tolist() == [3, 0] * 8
    values = [op.value for op in loads]
    assert [v.key for v in values if isinstance(v, DenseResourceAttr)] == ["w.packed", "t.packed"]
    assert session.statistics["emit-registers"]["bytes loaded"] == 144
    assert session.statistics["emit-registers"]["hardware layers"] == 3


WINDOW = """
func.func @main(%x: tensor<1x20xINPUTxi8>) {
  %a = nvdla.upload %x -> tensor<1x20xINPUTxi8>
  %w = nvdla.constant value=dense<1> : tensor<40x20x3x3xi8>
  %c = nvdla.conv %a, %w strides=[2, 2] pads=[PADS] -> !nvdla.stream<1x40xOUTPUTxi32>
  nvdla.sdp %c -> tensor<1x40xOUTPUTxi8>
  func.return
}"""


@pytest.mark.parametrize("target", ["nv_small", "nv_small_256", "nv_large", "nv_full"])
@pytest.mark.parametrize(
    ("size", "pads", "output", "read", "padding"),
    [
        ("8x8", "1, 1, 1, 1", "4x4", (8, 8), (1, 0, 1, 0)),
        ("9x7", "0, 0, 0, 0", "4x3", (9, 7), (0, 0, 0, 0)),
        ("10x8", "0, 0, 0, 0", "4x3", (9, 7), (0, 0, 0, 0)),
        ("7x6", "2, 0, 2, 2", "5x3", (7, 6), (2, 2, 0, 1)),
    ],
)
def test_windows_end_where_the_padded_input_ends(
    target: str,
    size: str,
    pads: str,
    output: str,
    read: tuple[int, int],
    padding: tuple[int, int, int, int],
) -> None:
    """Padding after the input is just what the last window needs; columns and rows that no window
    sees are not read, and the flags, entries and banks follow."""
    text = WINDOW.replace("INPUT", size).replace("PADS", pads).replace("OUTPUT", output)
    module = emitted(target, text)
    hw = load_configuration(target)
    cdma, csc = fields_of(module, "CDMA"), fields_of(module, "CSC")
    assert (cdma["DATAIN_HEIGHT"], cdma["DATAIN_WIDTH"]) == (read[0] - 1, read[1] - 1)
    sides = tuple(cdma[f"PAD_{side}"] for side in ("TOP", "BOTTOM", "LEFT", "RIGHT"))
    assert sides == padding
    for fields in (cdma, csc):
        assert fields["ENTRIES"] == entries_per_slice(hw, read[1], 20) - 1
    assert csc["RLS_SLICES"] == read[0] - 1
    whole = tuple(map(int, size.split("x")))
    assert (cdma["LINE_PACKED"] == "TRUE") == (read[1] == whole[1])
    assert (cdma["SURF_PACKED"] == "TRUE") == (read == whole)


def test_v1_writes_both_halves_of_an_address() -> None:
    module = module_for("nv_full", TWO_LAYERS)
    allocation = AllocateMemory(base=0x12_8000_0000)
    passes = [allocation if p.name == allocation.name else p for p in layers_to_registers()]
    Pipeline(passes).run(module, new_session())
    cdma, sdp = fields_of(module, "CDMA"), fields_of(module, "SDP")
    assert (cdma["WEIGHT_ADDR_HIGH"], cdma["WEIGHT_ADDR_LOW"]) == (0x12, 0x8000_0000)
    assert sdp["DST_BASE_ADDR_HIGH"] == 0x12


# -------------------------------------------------------------- faults


def fault(function: str, target: str = "nv_small") -> str:
    """What is said of layers; where they have addresses, emission alone says it."""
    module = module_for(target, function)
    with pytest.raises(DiagnosticError) as caught:
        if "address" in function:
            passes = [OutlineDevicePrograms(), ScheduleLayers(overlap="in-order"), EmitRegisters()]
            Pipeline(passes).run(module, new_session())
        else:
            lowered(module)
    return "\n".join(render(diagnostic) for diagnostic in caught.value.diagnostics)


def convolution(
    *,
    input: str = "1x8x4x4",
    weights: str = "8x8x1x1",
    output: str = "1x8x4x4",
    options: str = "",
    upload: str = "",
) -> str:
    return f"""func.func @main(%x: tensor<{input}xi8>) {{
  %a = nvdla.upload %x {upload} -> tensor<{input}xi8>
  %w = nvdla.constant value=dense<1> : tensor<{weights}xi8>
  %c = nvdla.conv %a, %w {options} layers=["conv"] -> !nvdla.stream<{output}xi32>
  nvdla.sdp %c -> tensor<{output}xi8>
  func.return
}}"""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            convolution(weights="8x8x33x1", input="1x8x36x4", output="1x8x4x4"),
            r"5:8: error: layer 'conv' cannot run on nv_small: it has a kernel height of 33; .*"
            r"\(CSC.WEIGHT_HEIGHT_EXT\)",
        ),
        (
            convolution(options="data_banks=30 weight_banks=3"),
            "5:8: error: layer 'conv' cannot run on nv_small: it has 30 banks for data and 3 for "
            "weights, but nv_small has 32",
        ),
        (
            convolution(options="cvt_offset=3"),
            "5:8: error: layer 'conv' has no 'cvt_scale', without which the input converter",
        ),
        (
            convolution(options="clip_truncate=40"),
            "it has a shift of the sums of 40; the hardware takes up to 16: shift in the SDP",
        ),
        (
            convolution(options='pixel_format="T_R8"', input="1x1x4x4", weights="8x1x1x1"),
            "5:8: error: layer 'conv' reads an image of format 'T_R8', but its input is a feature "
            "cube",
        ),
        (
            convolution(upload='format="T_R8"', input="1x1x4x4", weights="8x1x1x1"),
            "5:8: error: layer 'conv' reads a feature cube, but its input was uploaded as an image",
        ),
        (
            convolution(
                options='pixel_format="T_R8" dilations=[1, 2]',
                upload='format="T_R8"',
                input="1x1x4x5",
                weights="8x1x1x2",
                output="1x8x4x3",
            ),
            "5:8: error: layer 'conv' cannot run on nv_small: it has a dilated window on an image",
        ),
        (
            convolution(input="2x8x4x4", output="2x8x4x4"),
            "3:8: error: argument '%a' has shape 2x8x4x4, but a hardware layer works on 1xCxHxW",
        ),
    ],
)
def test_convolutions_that_cannot_run(text: str, message: str) -> None:
    found = fault(text)
    assert re.search(message, found), found


def pooling(options: str, *, input: str = "1x8x8x8", output: str, flying: bool = False) -> str:
    lines = [f"  %a = nvdla.upload %x -> tensor<{input}xi8>"]
    if flying:
        lines.append(f"  %s = nvdla.sdp %a -> !nvdla.stream<{input}xi8>")
    source = "%s" if flying else "%a"
    lines.append(f'  nvdla.pdp max {source} {options} layers=["p"] -> tensor<{output}xi8>')
    body = "\n".join(lines)
    return f"func.func @main(%x: tensor<{input}xi8>) {{\n{body}\n  func.return\n}}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            pooling("kernel=[9, 2]", input="1x8x9x8", output="1x8x1x7"),
            "error: layer 'p' cannot run on nv_small: it has a window of 9x2; the pooling unit",
        ),
        (
            pooling("kernel=[2, 2] pads=[2, 0, 0, 0]", output="1x8x9x7"),
            "it has 2 padded rows for a kernel of 2: every window must meet the input",
        ),
        (
            pooling("kernel=[1, 1]", input="1x8x4x129", output="1x8x4x129", flying=True),
            "it has 129 columns of what streams in, but its line buffer holds 128",
        ),
        (
            pooling("kernel=[2, 2] strides=[17, 1]", output="1x8x1x7"),
            "it has a stride of 17; the hardware takes up to 16: use several layers",
        ),
        (
            """func.func @main(%x: tensor<1x64x49x47xi8>) {
  %a = nvdla.upload %x -> tensor<1x64x49x47xi8>
  %w = nvdla.constant value=dense<1> : tensor<8x64x1x1xi8>
  %c = nvdla.conv %a, %w layers=["c"] -> !nvdla.stream<1x8x49x47xi32>
  %s = nvdla.sdp %c -> !nvdla.stream<1x8x49x47xi8>
  nvdla.pdp max %s kernel=[1, 1] layers=["p"] -> tensor<1x8x49x47xi8>
  func.return
}""",
            r"error: layer 'c\+p' takes 2 pieces of rows to fit the convolution buffer of "
            "nv_small, so that the PDP cannot pool them on the fly",
        ),
        (
            f"""func.func @main(%x: {CUBE}) -> {CUBE} {{
  %a = nvdla.upload %x -> {CUBE}
  func.return %a
}}""",
            "error: 'func.return' reads 'nvdla.upload', which is in the memory of the hardware: "
            "'nvdla.download' must come between",
        ),
        (
            f"""func.func @main(%x: {CUBE}) {{
  %y = nvdla.sdp %x -> {CUBE}
  %z = nvdla.sdp %y -> {CUBE}
  func.return
}}""",
            "error: 'nvdla.sdp' reads a value that is not in the memory of the hardware",
        ),
        (
            f"""func.func @main(%x: {CUBE}, %b: tensor<8xi8>) {{
  %a = nvdla.upload %x -> {CUBE}
  %t = nvdla.upload %b -> tensor<8xi8>
  %y = nvdla.sdp %a bs_operand=%t bs=#nvdla.x_stage<alu = "sum"> -> {CUBE}
  func.return
}}""",
            "error: 'nvdla.upload' has shape 8, but a hardware layer works on 1xCxHxW",
        ),
        (
            f"""func.func @main(%x: {CUBE}) {{
  %a = nvdla.upload %x address=2147483652 line_stride=32 surface_stride=128 -> {CUBE}
  %y = nvdla.sdp %a address=2147483712 line_stride=32 surface_stride=128 layers=["s"] -> {CUBE}
  func.return
}}""",
            "error: layer 's' cannot run on nv_small: .*SRC_BASE_ADDR_LOW = 0x80000004: must be a "
            "multiple of the memory atom, 8 bytes",
        ),
        (
            f"""func.func @main(%x: {CUBE}) {{
  %a = nvdla.upload %x address=2147483648 -> {CUBE}
  %y = nvdla.sdp %a address=2147483712 line_stride=32 surface_stride=128 -> {CUBE}
  func.return
}}""",
            "error: 'nvdla.upload' has an 'address', but not all strides: 'allocate-memory' sets",
        ),
    ],
)
def test_layers_that_cannot_run(text: str, message: str) -> None:
    found = fault(text)
    assert re.search(message, found), found


def test_a_constant_of_one_address_and_two_layouts() -> None:
    found = fault(
        """func.func @main(%x: tensor<1x1x4x4xi8>) {
  %a = nvdla.upload %x address=0 line_stride=32 surface_stride=128 -> tensor<1x1x4x4xi8>
  %i = nvdla.upload %x format="T_R8" address=1024 line_stride=8 -> tensor<1x1x4x4xi8>
  %w = nvdla.constant value=dense<1> : tensor<8x1x2x2xi8> address=4096
  %c = nvdla.conv %a, %w data_banks=1 weight_banks=1 -> !nvdla.stream<1x8x3x3xi32>
  nvdla.sdp %c -> tensor<1x8x3x3xi8>
  %d = nvdla.conv %i, %w pixel_format="T_R8" -> !nvdla.stream<1x8x3x3xi32>
  nvdla.sdp %d -> tensor<1x8x3x3xi8>
  func.return
}"""
    )
    assert "5:8: error: 'nvdla.constant' is read in 2 different layouts, but has one" in found
