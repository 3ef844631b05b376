"""Every reader finds what was written: checked on a shadow of the memory, atom by atom."""

from __future__ import annotations

import re
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from running import module_of, new_session, run

from nvdla_ir.dialects import nvdla
from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.nvdla import StreamType, cube_shape
from nvdla_ir.hw.configuration import load_configuration
from nvdla_ir.ir.attributes import IntegerAttr
from nvdla_ir.ir.diagnostics import DiagnosticError, render
from nvdla_ir.ir.operation import Operation, Value
from nvdla_ir.passes.allocate_memory import AllocateMemory
from nvdla_ir.passes.base import Session
from nvdla_ir.passes.outline_device_programs import OutlineDevicePrograms
from nvdla_ir.passes.settings.networks import Network, networks
from nvdla_ir.text.printer import print_operation

BASE = 0x8000_0000
PLANE = (3, 2)
VIEWS = nvdla.SliceOp | nvdla.ConcatOp | nvdla.InterleaveOp


def module_for(target: str, function: str) -> ModuleOp:
    return module_of(f'module attributes {{nvdla.target = "{target}"}} {{\n{function}\n}}')


def allocate(module: ModuleOp, **options: Any) -> Session:
    """Outline the programs and give them memory."""
    session = run(OutlineDevicePrograms(), module)
    return run(AllocateMemory(**options), module, session)


def cube(channels: int, rows: int = PLANE[0]) -> str:
    return f"tensor<1x{channels}x{rows}x{PLANE[1]}xi8>"


def number(module: ModuleOp, name: str) -> int:
    attribute = module.attributes[name]
    assert isinstance(attribute, IntegerAttr)
    return attribute.value


# -------------------------------------------------------------- random programs


class Program:
    """Text of a function that grows step by step."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.shapes: dict[str, tuple[int, int]] = {}
        """Channels and rows of each cube."""
        self.on_host = {"%x": (20, PLANE[0])}
        # Values that lie in another one, or are slices: they cannot be joined.
        self.joined: set[str] = set()

    def add(self, text: str, shape: tuple[int, int], kind: str = "v") -> str:
        name = f"%{kind}{len(self.lines)}"
        self.lines.append(f"  {name} = {text} -> {cube(*shape)}")
        self.shapes[name] = shape
        return name

    def join(self, operation: str, parts: list[str], shape: tuple[int, int]) -> None:
        self.add(f"nvdla.{operation} {', '.join(parts)}", shape)
        self.joined.update(parts)

    def text(self) -> str:
        body = "\n".join(self.lines)
        return f"func.func @main(%x: {cube(20)}) {{\n{body}\n  func.return\n}}"


@st.composite
def programs(draw: st.DrawFn, atom: int) -> str:
    program = Program()
    program.add("nvdla.upload %x", (20, PLANE[0]))
    kinds = ["upload", "sdp", "add", "conv", "pool", "join", "turns", "cut", "rows", "get"]
    for step in range(draw(st.integers(1, 14))):
        kind = draw(st.sampled_from(kinds))
        name = draw(st.sampled_from(sorted(program.shapes)))
        shape = channels, rows = program.shapes[name]
        same = sorted(other for other, found in program.shapes.items() if found == shape)
        if kind == "upload":
            source = draw(st.sampled_from(sorted(program.on_host)))
            program.add(f"nvdla.upload {source}", program.on_host[source])
        elif kind == "sdp":
            program.add(f"nvdla.sdp {name}", shape)
        elif kind == "add":
            other = draw(st.sampled_from(same))
            stage = '#nvdla.x_stage<alu = "sum">'
            program.add(f"nvdla.sdp {name} bs_operand={other} bs={stage}", shape)
        elif kind == "conv":
            kernels = draw(st.sampled_from([1, 8, 33, 64]))
            weights = f"tensor<{kernels}x{channels}x1x1xi8>"
            stream = f"!nvdla.stream<1x{kernels}x{rows}x{PLANE[1]}x"
            value = draw(st.integers(0, 2))
            program.lines += [
                f"  %w{step} = nvdla.constant value=dense<{value}> : {weights}",
                f"  %c{step} = nvdla.conv {name}, %w{step} -> {stream}i32>",
            ]
            if draw(st.booleans()):
                program.lines.append(f"  %s{step} = nvdla.sdp %c{step} -> {stream}i8>")
                program.add(f"nvdla.pdp max %s{step} kernel=[1, 1]", (kernels, rows))
            else:
                program.add(f"nvdla.sdp %c{step}", (kernels, rows))
        elif kind == "pool":
            program.add(f"nvdla.pdp max {name} kernel=[3, 3] pads=[1, 1, 1, 1]", shape)
        elif kind == "cut":
            begin = draw(st.integers(0, (channels - 1) // atom)) * atom
            size = draw(st.integers(1, channels - begin))
            text = f"nvdla.slice {name} begin={begin} size={size}"
            program.joined.add(program.add(text, (size, rows)))
        elif kind == "rows":
            begin, apart = draw(st.integers(0, rows - 1)), draw(st.integers(1, 3))
            size = draw(st.integers(1, (rows - 1 - begin) // apart + 1))
            text = f"nvdla.slice {name} axis=2 begin={begin} size={size} step={apart}"
            program.joined.add(program.add(text, (channels, size)))
        elif kind == "turns":
            free = sorted(set(same) - program.joined)
            parts = draw(st.lists(st.sampled_from(free), unique=True, max_size=3)) if free else []
            if parts:
                program.join("interleave", parts, (channels, rows * len(parts)))
        elif kind == "join":
            alike = {other for other, found in program.shapes.items() if found[1] == rows}
            free = sorted(alike - program.joined)
            parts = draw(st.lists(st.sampled_from(free), unique=True, max_size=4)) if free else []
            whole = [part for part in parts if program.shapes[part][0] % atom == 0]
            ragged = [part for part in parts if part not in whole]
            parts = whole + ragged[:1]
            if parts:
                total = sum(program.shapes[part][0] for part in parts)
                program.join("concat", parts, (total, rows))
        else:
            text = program.add(f"nvdla.download {name}", shape, "d")
            program.on_host[text] = program.shapes.pop(text)
    return program.text()


# -------------------------------------------------------------- the shadow memory


class Shadow:
    """Which atom of which writer lies at each address."""

    def __init__(self, network: Network, atom: int) -> None:
        self.network = network
        self.atom = atom
        self.atoms: dict[int, object] = {}
        self.tags: dict[Value, NDArray[np.object_]] = {}

    def addresses(self, value: Value) -> NDArray[np.int64]:
        """The address of each atom of a cube: by surface, row and column."""
        op = self.network.source(value).defining_operation
        assert isinstance(op, nvdla.MemoryOp) and op.address is not None
        assert op.line_stride is not None and op.surface_stride is not None
        s, y, x = np.indices(self.shape(value))
        column_stride = op.column_stride or self.atom
        return op.address + s * op.surface_stride + y * op.line_stride + x * column_stride

    def shape(self, value: Value) -> tuple[int, int, int]:
        _, channels, height, width = cube_shape(value.type)
        return -(-channels // self.atom), height, width

    def writers(self, value: Value) -> NDArray[np.object_]:
        """Who wrote each atom of a cube, as which of its atoms."""
        value = self.network.source(value)
        if value not in self.tags:
            op = value.defining_operation
            shape = self.shape(value)
            if isinstance(op, nvdla.SliceOp):
                found = self.writers(op.input)
                if op.axis == nvdla.CHANNELS:
                    found = found[op.begin // self.atom :][: shape[0]]
                elif op.axis == nvdla.ROWS:
                    found = found[:, op.begin :: op.step][:, : shape[1]]
                else:
                    found = found[:, :, op.begin :: op.step][:, :, : shape[2]]
            elif isinstance(op, nvdla.ConcatOp):
                found = np.concatenate([self.writers(part) for part in op.inputs])
            elif isinstance(op, nvdla.InterleaveOp):
                found = np.empty(shape, object)
                for index, part in enumerate(op.inputs):
                    turns = slice(index, None, len(op.inputs))
                    where = (slice(None), turns) if op.axis == nvdla.ROWS else (..., turns)
                    found[where] = self.writers(part)
            else:
                found = np.empty(shape, object)
                for s, y, x in product(*map(range, shape)):
                    found[s, y, x] = (op, s, y, x)
            self.tags[value] = found
        return self.tags[value]

    def write(self, value: Value) -> None:
        addresses = self.addresses(value).ravel().tolist()
        self.atoms.update(zip(addresses, self.writers(value).ravel(), strict=True))

    def check(self, value: Value) -> None:
        for address, wanted in zip(
            self.addresses(value).ravel().tolist(), self.writers(value).ravel(), strict=True
        ):
            assert self.atoms.get(address) == wanted

    def fill(self, address: int, size: int, tag: object) -> None:
        for offset in range(0, size, self.atom):
            self.atoms[address + offset] = (tag, offset)

    def check_fill(self, address: int, size: int, tag: object) -> None:
        for offset in range(0, size, self.atom):
            assert self.atoms.get(address + offset) == (tag, offset)


def inputs_of_layer(op: Operation) -> list[Value]:
    """What is read when the layer that ends with ``op`` runs."""
    found: list[Value] = []
    for value in op.operands:
        definer = value.defining_operation
        if isinstance(value.type, StreamType):
            assert definer is not None
            found += inputs_of_layer(definer)
        else:
            found.append(value)
    return found


def check_bound_buffers(network: Network) -> None:
    """What programs say of their arguments and results is what the makers of these say."""
    for program in network.programs:
        for value in (*program.body.arguments, *program.return_op.operands):
            op = network.source(value).defining_operation
            assert isinstance(op, nvdla.MemoryOp)
            expected = nvdla.Buffer(
                "feature", op.address, op.column_stride, op.line_stride, op.surface_stride
            )
            bound = nvdla.bound_buffer(value)
            assert bound in (None, expected)  # None: made in this program
    for op in network.host.body.operations:
        for result in op.results if nvdla.called_program(op) is not None else ():
            made = network.source(result).defining_operation
            assert isinstance(made, nvdla.MemoryOp)
            bound = nvdla.bound_buffer(result)
            assert bound is not None and bound.address == made.address


def check_by_shadow(module: ModuleOp, atom: int) -> int:
    """Returns how often a layer wrote its result in place of what it reads."""
    (network,) = networks(module)
    shadow = Shadow(network, atom)
    sizes: dict[nvdla.ConstantOp, int] = {}
    replaced = 0
    for op in network.operations():
        if isinstance(op, nvdla.ConstantOp):
            assert op.address is not None and op.address % 64 == 0
            sizes[op] = -(-op.value.type.element_count // 128) * 128
            shadow.fill(op.address, sizes[op], op.address)
    check_bound_buffers(network)
    for op in network.operations():
        streams = any(isinstance(result.type, StreamType) for result in op.results)
        if streams or isinstance(op, VIEWS | nvdla.ConstantOp):
            continue
        reads = [] if isinstance(op, nvdla.UploadOp) else inputs_of_layer(op)
        for value in reads:
            definer = value.defining_operation
            if not isinstance(definer, nvdla.ConstantOp):
                shadow.check(value)
        if op.results and isinstance(op, nvdla.MemoryOp):
            shadow.write(op.results[0])
            # What is read and written in one layer must be apart, so it is still there; or it is
            # read by the SDP, at the place of the same element.
            in_step = op.operands if isinstance(op, nvdla.SdpOp) else ()
            for value in reads:
                if isinstance(value.defining_operation, nvdla.ConstantOp):
                    continue
                alike = value in in_step and np.array_equal(
                    shadow.addresses(value), shadow.addresses(op.results[0])
                )
                if alike:
                    replaced += 1
                else:
                    shadow.check(value)
    for constant, size in sizes.items():
        assert constant.address is not None
        shadow.check_fill(constant.address, size, constant.address)
    low = number(module, "nvdla.memory_base")
    high = low + number(module, "nvdla.memory_bytes")
    assert all(low <= address <= high - atom for address in shadow.atoms)
    return replaced


@pytest.mark.parametrize("target", ["nv_small", "nv_medium_512", "nv_full"])
@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_readers_find_what_was_written(target: str, data: st.DataObject) -> None:
    atom = load_configuration(target).memory_atom
    text = data.draw(programs(atom))
    module = module_for(target, text)
    allocate(module)
    check_by_shadow(module, atom)
    again = module_for(target, text)
    allocate(again)
    assert print_operation(again) == print_operation(module)


# -------------------------------------------------------------- places


def places(module: ModuleOp) -> dict[str, tuple[int | None, int | None, int | None]]:
    """Offset from the base, line stride and surface stride by name."""
    found: dict[str, tuple[int | None, int | None, int | None]] = {}
    for op in module.walk():
        if isinstance(op, nvdla.MemoryOp) and op.address is not None:
            name = op.results[0].name_hint
            assert name is not None
            found[name] = (op.address - BASE, op.line_stride, op.surface_stride)
    return found


def test_strides_and_padding_lanes() -> None:
    """9 channels take two surfaces of 8; a 1x1 cube's surface is one atom."""
    module = module_for(
        "nv_small",
        """
func.func @main(%x: tensor<1x9x5x3xi8>, %y: tensor<1x20x1x1xi8>) {
  %a = nvdla.upload %x -> tensor<1x9x5x3xi8>
  %b = nvdla.upload %y -> tensor<1x20x1x1xi8>
  %d = nvdla.download %a -> tensor<1x9x5x3xi8>
  %e = nvdla.download %b -> tensor<1x20x1x1xi8>
  func.return
}""",
    )
    session = allocate(module)
    assert places(module) == {"a": (0, 24, 120), "b": (256, 8, 8)}
    assert number(module, "nvdla.memory_bytes") == 256 + 64
    assert session.statistics["allocate-memory"] == {
        "bytes of constants": 0,
        "bytes of activations": 320,
        "bytes of activations needed at once": 264,
        "bytes needed at once if none were in place": 264,
        "activations": 2,
        "activations in place of others": 0,
    }
    (remark,) = session.diagnostics.diagnostics
    assert remark.message == (
        "'@main' takes 320 bytes of memory: 0 for constants, 320 for 2 activations of 264 bytes "
        "in all, of which at most 264 are needed at once"
    )


def test_images_have_aligned_rows_and_two_planes() -> None:
    module = module_for(
        "nv_full",
        """
func.func @main(%x: tensor<1x3x5x13xi8>) {
  %a = nvdla.upload %x format="T_Y8___V8U8_N444" -> tensor<1x3x5x13xi8>
  %w = nvdla.constant value=dense<1> : tensor<4x3x5x5xi8>
  %c = nvdla.conv %a, %w pixel_format="T_Y8___V8U8_N444" -> !nvdla.stream<1x4x1x9xi32>
  %s = nvdla.sdp %c -> tensor<1x4x1x9xi8>
  func.return
}""",
    )
    allocate(module)
    # 300 bytes of weights take 384; rows of 13 bytes take 32, and five of them end at 160.
    assert places(module) == {"w": (0, None, None), "a": (384, 32, 192), "s": (768, 288, 288)}


def test_constants_are_shared_and_sized_as_packed() -> None:
    module = module_for(
        "nv_small",
        """
func.func @main(%x: tensor<1x8x2x2xi8>) {
  %a = nvdla.upload %x -> tensor<1x8x2x2xi8>
  %w = nvdla.constant value=dense<1> : tensor<9x8x1x1xi8> layers=["one"]
  %v = nvdla.constant value=dense<1> : tensor<9x8x1x1xi8> layers=["two"]
  %t = nvdla.constant value=dense<1> : tensor<9x2xi16>
  %c = nvdla.conv %a, %w -> !nvdla.stream<1x9x2x2xi32>
  %s = nvdla.sdp %c bs_operand=%t bs=#nvdla.x_stage<alu = "sum", mul> -> tensor<1x9x2x2xi8>
  %d = nvdla.conv %a, %v -> !nvdla.stream<1x9x2x2xi32>
  %r = nvdla.sdp %d bs_operand=%t bs=#nvdla.x_stage<alu = "sum", mul> -> tensor<1x9x2x2xi8>
  func.return
}""",
    )
    allocate(module)
    (kept,) = [
        op for op in module.walk() if isinstance(op, nvdla.ConstantOp) and op.layers is not None
    ]
    assert kept.layers == ("one", "two")
    found = places(module)
    assert found["w"][0] == 0 and found["t"][0] == 128
    # Two groups of 8 channels, 2 operands of 2 bytes each: 64 bytes.
    assert min(found[name][0] or 0 for name in "asr") == 192


def test_tables_leave_no_gaps_between_weights() -> None:
    """Tables of 32 bytes, of layers whose weights start at bursts."""
    result = "tensor<1x8x2x2xi8>"
    layers = "\n".join(
        f"""
  %w{n} = nvdla.constant value=dense<{n}> : tensor<8x8x1x1xi8>
  %t{n} = nvdla.constant value=dense<{n}> : tensor<8x2xi16>
  %c{n} = nvdla.conv %a, %w{n} -> !nvdla.stream<1x8x2x2xi32>
  %s{n} = nvdla.sdp %c{n} bs_operand=%t{n} bs=#nvdla.x_stage<alu = "sum", mul> -> {result}"""
        for n in range(5)
    )
    module = module_for(
        "nv_small",
        f"""
func.func @main(%x: tensor<1x8x2x2xi8>) {{
  %a = nvdla.upload %x -> tensor<1x8x2x2xi8>
  {layers}
  func.return
}}""",
    )
    session = allocate(module)
    found = places(module)
    assert [found[f"w{n}"][0] for n in range(5)] == [128 * n for n in range(5)]
    assert [found[f"t{n}"][0] for n in range(5)] == [5 * 128 + 32 * n for n in range(5)]
    # Activations start at the next burst.
    assert session.statistics["allocate-memory"]["bytes of constants"] == 5 * 128 + 5 * 32 + 32


def test_a_constant_read_in_two_layouts_is_there_twice() -> None:
    module = module_for(
        "nv_small",
        """
func.func @main(%x: tensor<1x1x4x4xi8>) {
  %a = nvdla.upload %x -> tensor<1x1x4x4xi8>
  %i = nvdla.upload %x format="T_R8" -> tensor<1x1x4x4xi8>
  %w = nvdla.constant value=dense<1> : tensor<8x1x2x2xi8>
  %c = nvdla.conv %a, %w -> !nvdla.stream<1x8x3x3xi32>
  %s = nvdla.sdp %c -> tensor<1x8x3x3xi8>
  %d = nvdla.conv %i, %w pixel_format="T_R8" -> !nvdla.stream<1x8x3x3xi32>
  %r = nvdla.sdp %d -> tensor<1x8x3x3xi8>
  func.return
}""",
    )
    allocate(module)
    constants = [op for op in module.walk() if isinstance(op, nvdla.ConstantOp)]
    assert sorted(op.address or 0 for op in constants) == [BASE, BASE + 128]


def test_the_base_is_an_option() -> None:
    text = f"""
func.func @main(%x: {cube(8)}) {{
  %a = nvdla.upload %x -> {cube(8)}
  %d = nvdla.download %a -> {cube(8)}
  func.return
}}"""
    module = module_for("nv_small", text)
    allocate(module, base=0x1000)
    assert number(module, "nvdla.memory_base") == 0x1000
    assert [op.address for op in module.walk() if isinstance(op, nvdla.MemoryOp)] == [0x1000]


# -------------------------------------------------------------- faults


def fault(function: str, target: str = "nv_small", **options: Any) -> str:
    module = module_for(target, function)
    with pytest.raises(DiagnosticError) as caught:
        allocate(module, **options)
    return "\n".join(render(diagnostic) for diagnostic in caught.value.diagnostics)


def main(*lines: str) -> str:
    body = "\n".join(f"  {line}" for line in lines)
    return f"func.func @main(%x: {cube(16)}) {{\n{body}\n  func.return\n}}"


UPLOAD = f"%a = nvdla.upload %x -> {cube(16)}"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            (
                UPLOAD,
                f"%p = nvdla.slice %a begin=4 size=8 -> {cube(8)}",
                f"%d = nvdla.download %p -> {cube(8)}",
            ),
            r"4:8: error: 'nvdla.slice' starts at channel 4, but views start at multiples of the "
            r"memory atom, which is 8 channels on nv_small",
        ),
        (
            (
                UPLOAD,
                f"%p = nvdla.slice %a axis=0 begin=0 size=1 -> {cube(16)}",
                f"%s = nvdla.sdp %p -> {cube(16)}",
            ),
            "4:8: error: 'nvdla.slice' slices axis 0 of a cube, but cubes come one at a time",
        ),
        (
            (
                f"%c = nvdla.constant value=dense<1> : {cube(16)}",
                f"%p = nvdla.slice %c begin=8 size=8 -> {cube(8)}",
                f"%s = nvdla.sdp %p -> {cube(8)}",
            ),
            "5:8: error: 'nvdla.sdp' reads a constant where it must read a cube: 'nvdla.upload'",
        ),
        (
            (
                UPLOAD,
                f"%p = nvdla.slice %a begin=8 size=8 -> {cube(8)}",
                f"%q = nvdla.concat %p, %a -> {cube(24)}",
            ),
            "5:8: error: 'nvdla.concat' joins 'nvdla.slice', which is a slice of another cube",
        ),
        (
            (UPLOAD, f"%q = nvdla.concat %a, %a -> {cube(32)}"),
            "4:8: error: .* joins 'nvdla.upload', which is a part of another cube already",
        ),
        (
            (f'%a = nvdla.upload %x format="T_R9" -> {cube(16)}', f"nvdla.sdp %a -> {cube(16)}"),
            "3:8: error: 'nvdla.upload' has the unknown pixel format 'T_R9'; did you mean 'T_R8'",
        ),
        (
            (f'%a = nvdla.upload %x format="T_R16" -> {cube(16)}', f"nvdla.sdp %a -> {cube(16)}"),
            "3:8: error: .* pixel format 'T_R16', which nv_small does not read; it reads T_R8,",
        ),
        (
            (f'%a = nvdla.upload %x format="T_R8" -> {cube(16)}', f"nvdla.sdp %a -> {cube(16)}"),
            "3:8: error: .* has 16 channels, but pixels of format 'T_R8' have 1",
        ),
    ],
)
def test_faults(lines: tuple[str, ...], message: str) -> None:
    found = fault(main(*lines))
    assert re.search(message, found), found


def test_beyond_the_last_address() -> None:
    pool = f"nvdla.pdp max %a kernel=[1, 1] -> {cube(16)}"
    found = fault(main(UPLOAD, pool), base=0xFFFF_FF80)
    assert (
        "'@main' needs memory from 0xffffff80 to 0x10000007f, but addresses of nv_small end at "
        "0xffffffff: choose a lower 'base', or a smaller network" in found
    )
    assert "note: the largest activation is 'nvdla.upload', of 96 bytes" in found
    module = module_for("nv_large", main(UPLOAD, pool))
    allocate(module, base=0xFFFF_FF80)  # 64 bits


@pytest.mark.parametrize("base", [-64, 32])
def test_a_misaligned_base(base: int) -> None:
    found = fault(main(UPLOAD), base=base)
    assert "option 'base' of 'allocate-memory'" in found and "multiple of 64" in found


def test_no_target() -> None:
    module = module_of(main(UPLOAD))
    with pytest.raises(DiagnosticError, match=r"no 'nvdla\.target': run 'set-target"):
        AllocateMemory().run(module, new_session())


@pytest.mark.parametrize("target", ["nv_small", "nv_full"])
def test_columns_by_turns_inside_rows_by_turns(target: str) -> None:
    """Views of views of columns and rows, joined along channels; parts of them are read."""
    text = """
func.func @main(%x: tensor<1x40x4x6xi8>) {
  %a = nvdla.upload %x -> tensor<1x40x4x6xi8>
  %e = nvdla.slice %a axis=3 begin=1 size=2 step=3 -> tensor<1x40x4x2xi8>
  %f = nvdla.slice %e axis=2 begin=1 size=2 step=2 -> tensor<1x40x2x2xi8>
  %p = nvdla.sdp %f -> tensor<1x40x2x2xi8>
  %q = nvdla.sdp %f bs=#nvdla.x_stage<relu> -> tensor<1x40x2x2xi8>
  %c = nvdla.interleave %p, %q axis=3 -> tensor<1x40x2x4xi8>
  %d = nvdla.sdp %c -> tensor<1x40x2x4xi8>
  %r = nvdla.interleave %c, %d -> tensor<1x40x4x4xi8>
  %u = nvdla.sdp %r -> tensor<1x40x4x4xi8>
  %w = nvdla.interleave %r, %u axis=3 -> tensor<1x40x4x8xi8>
  %back = nvdla.slice %w axis=3 begin=2 size=2 step=4 -> tensor<1x40x4x2xi8>
  %last = nvdla.slice %back axis=3 begin=1 size=1 -> tensor<1x40x4x1xi8>
  %s = nvdla.sdp %last -> tensor<1x40x4x1xi8>
  %t = nvdla.sdp %p -> tensor<1x40x2x2xi8>
  func.return
}
"""
    atom = load_configuration(target).memory_atom
    module = module_for(target, text)
    allocate(module)
    check_by_shadow(module, atom)
    strides = {
        op.results[0].name_hint: op.column_stride
        for op in module.walk()
        if isinstance(op, nvdla.MemoryOp)
    }
    # %p lies in %c, every second column of %r, which is every second one of %w.
    assert (strides["p"], strides["c"], strides["w"]) == (4 * atom, 2 * atom, None)
    assert (strides["e"], strides["f"], strides["back"], strides["last"]) == (
        3 * atom,
        3 * atom,
        4 * atom,
        4 * atom,
    )
