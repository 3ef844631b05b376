"""Layers that run beside each other: what they wait for, in which order, and the same bytes."""

from __future__ import annotations

import random
import re
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from running import module_of, new_session

from nvdla_ir.dialects import csb, nvdla
from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.func import FuncOp
from nvdla_ir.evaluation.estimate import estimate
from nvdla_ir.hardware.cost.base import MemoryTiming
from nvdla_ir.interp.machine import Machine, Mode, executed_operations
from nvdla_ir.ir.diagnostics import DiagnosticError, render
from nvdla_ir.passes.allocate_memory import AllocateMemory
from nvdla_ir.passes.base import Session
from nvdla_ir.passes.emit_registers import EmitRegisters
from nvdla_ir.passes.fit_convolution_buffer import FitConvolutionBuffer
from nvdla_ir.passes.outline_device_programs import OutlineDevicePrograms
from nvdla_ir.passes.pipeline import Pipeline
from nvdla_ir.passes.schedule_layers import ScheduleLayers
from nvdla_ir.passes.stream_to_pooling import StreamToPooling

SMALL = '"nv_small"'
TINY = '{name = "tiny", base = "nv_small", cbuf.banks = 8, cbuf.entries_per_bank = 64}'
"""So small a buffer that convolutions run in pieces, which keep data and weights for each other."""

CHANNELS, SIZE = 32, 6
CUBE = f"tensor<1x{CHANNELS}x{SIZE}x{SIZE}xi8>"


def main_of(module: ModuleOp) -> FuncOp:
    return next(op for op in module.walk() if isinstance(op, FuncOp))


def module_for(text: str, target: str = SMALL) -> ModuleOp:
    return module_of(f"module attributes {{nvdla.target = {target}}} {{\n{text}\n}}")


def random_network(seed: int) -> str:
    """Layers of all kinds that read each other's results, or parts of them."""
    draw = random.Random(seed)
    lines = [f"%a = nvdla.upload %x -> {CUBE}", f"%b = nvdla.upload %y -> {CUBE}"]
    values = ["%a", "%b"]
    for number in range(draw.randint(4, 14)):
        # the latest more often: chains, too
        source, other = (values[-1 - int(len(values) * draw.random() ** 2)] for _ in range(2))
        name = f"%v{number}"
        stream = f"!nvdla.stream<1x{CHANNELS}x{SIZE}x{SIZE}xi32>"
        taps = draw.choice([1, 3])
        convolution = [
            f"%w{number} = nvdla.constant value=dense_resource<w{draw.randint(0, 2)}_{taps}> : "
            f"tensor<{CHANNELS}x{CHANNELS}x{taps}x{taps}xi8>",
            f"%c{number} = nvdla.conv {source}, %w{number} pads={[taps // 2] * 4} -> {stream}",
        ]
        scale = f"cvt_scale=3 cvt_shift={draw.randint(5, 8)}"
        kind = draw.choice(["conv", "conv", "conv", "add", "sdp", "pool", "stream", "halves"])
        if kind == "conv":
            lines += [*convolution, f"{name} = nvdla.sdp %c{number} {scale} -> {CUBE}"]
        elif kind == "add":
            adds = f'bn_operand={other} bn=#nvdla.x_stage<alu = "sum", alu_shift = 4, relu>'
            lines += [*convolution, f"{name} = nvdla.sdp %c{number} {adds} {scale} -> {CUBE}"]
        elif kind == "sdp":
            adds = f'bs_operand={other} bs=#nvdla.x_stage<alu = "max">'
            lines.append(f"{name} = nvdla.sdp {source} {adds} -> {CUBE}")
        elif kind == "pool":
            window = "kernel=[3, 3] pads=[1, 1, 1, 1]"
            lines.append(f"{name} = nvdla.pdp max {source} {window} -> {CUBE}")
        elif kind == "stream":
            lines += [
                *(convolution if taps == 1 else []),
                f"%s{number} = nvdla.sdp {f'%c{number}' if taps == 1 else source} {scale} -> "
                f"{CUBE}",
                f"{name} = nvdla.pdp min %s{number} kernel=[2, 2] pads=[0, 0, 1, 1] -> {CUBE}",
            ]
        else:
            half = f"tensor<1x{CHANNELS // 2}x{SIZE}x{SIZE}xi8>"
            for part, value in enumerate((source, other)):
                piece = f"%h{number}_{part}"
                lines += [
                    f"{piece} = nvdla.slice {value} begin={16 * part} size=16 -> {half}",
                    f"%p{number}_{part} = nvdla.sdp {piece} bs=#nvdla.x_stage<relu> -> {half}"
                    if part
                    else f"%p{number}_{part} = nvdla.pdp max {piece} kernel=[1, 1] -> {half}",
                ]
            lines.append(f"{name} = nvdla.concat %p{number}_0, %p{number}_1 -> {CUBE}")
        values.append(name)
    results = [values[-1], draw.choice(values[2:])]
    lines += [f"%d{n} = nvdla.download {value} -> {CUBE}" for n, value in enumerate(results)]
    body = "\n  ".join([*lines, "func.return %d0, %d1"])
    return f"func.func @main(%x: {CUBE}, %y: {CUBE}) -> ({CUBE}, {CUBE}) {{\n  {body}\n}}"


def random_session(seed: int) -> tuple[Session, dict[str, NDArray[Any]]]:
    session, rng = new_session(), np.random.default_rng(seed)
    for taps in (1, 3):
        for number in range(3):
            shape = (CHANNELS, CHANNELS, taps, taps)
            session.resources.add(f"w{number}_{taps}", rng.integers(-128, 128, shape, np.int8))
    shape = (1, CHANNELS, SIZE, SIZE)
    return session, {name: rng.integers(-128, 128, shape, np.int8) for name in "xy"}


def results_of(
    module: ModuleOp, session: Session, inputs: dict[str, NDArray[Any]]
) -> list[NDArray[Any]]:
    machine = Machine(session.resources, Mode.INTEGER)
    return list(machine.run(main_of(module), inputs).values())


FITTED = (OutlineDevicePrograms(), FitConvolutionBuffer(), StreamToPooling())


@pytest.mark.parametrize("target", [SMALL, TINY, '"nv_medium_512"'])
@pytest.mark.parametrize("seed", range(8))
def test_random_networks_give_the_same_bytes_on_the_device(seed: int, target: str) -> None:
    """The device is strict: it refuses what reads, overwrites or programs what is in flight."""
    texts = []
    for overlap in ("on", "in-order", "off"):
        module = module_for(random_network(seed), target)
        session, inputs = random_session(seed)
        expected = results_of(module, session, inputs)
        Pipeline([*FITTED, ScheduleLayers(overlap=overlap)]).run(module, session)
        layers = sum(isinstance(op, nvdla.SdpOp | nvdla.PdpOp) for op in module.walk()) - sum(
            isinstance(op.results[0].type, nvdla.StreamType)
            for op in module.walk()
            if isinstance(op, nvdla.SdpOp)
        )
        assert sum(isinstance(op, nvdla.WaitOp) for op in module.walk()) == layers
        Pipeline([AllocateMemory(), EmitRegisters()]).run(module, session)
        for found, right in zip(results_of(module, session, inputs), expected, strict=True):
            assert np.array_equal(found, right), (seed, target, overlap)
        texts.append([op.name for op in module.walk()])
    assert texts[1] != texts[2]


@pytest.mark.parametrize("seed", range(4))
def test_a_wait_that_comes_too_late_is_told_or_harmless(seed: int) -> None:
    """Each wait in turn goes to the end of the program."""
    count, told = 1, 0
    number = 0
    while number < count:
        module = module_for(random_network(seed), TINY)
        session, inputs = random_session(seed)
        expected = results_of(module, session, inputs)
        Pipeline([*FITTED, ScheduleLayers(), AllocateMemory()]).run(module, session)
        waits = [op for op in module.walk() if isinstance(op, nvdla.WaitOp)]
        count = len(waits)
        block = waits[number].parent
        assert block is not None and block.last_op is not None
        block.insert_before(waits[number], block.last_op)
        try:
            EmitRegisters().run(module, session)
        except DiagnosticError as error:
            assert "'nvdla.wait' must come between" in str(error)
            told += 1
        else:
            found = results_of(module, session, inputs)
            assert all(map(np.array_equal, found, expected))
        number += 1
    assert told >= count / 3


# -------------------------------------------------------------- what is waited for


def scheduled(body: str, target: str = SMALL, overlap: str = "on") -> ModuleOp:
    text = f"func.func @main(%x: {CUBE}) -> {CUBE} {{\n  %a = nvdla.upload %x -> {CUBE}\n{body}\n}}"
    module = module_for(text, target)
    Pipeline([*FITTED, ScheduleLayers(overlap=overlap)]).run(module, random_session(0)[0])
    return module


def steps_of(module: ModuleOp) -> list[str]:
    """Layers by the names of their results, and waits as ``wait %y``."""
    return [
        f"wait {op.input.name_hint}"
        if isinstance(op, nvdla.WaitOp)
        else str(op.results[0].name_hint)
        for op in executed_operations(main_of(module))
        if isinstance(op, nvdla.SdpOp | nvdla.PdpOp | nvdla.WaitOp | nvdla.DownloadOp)
    ]


def test_a_layer_waits_for_what_it_reads_and_for_its_registers() -> None:
    module = scheduled(
        f"""
  %p = nvdla.pdp max %a kernel=[1, 1] -> {CUBE}
  %q = nvdla.sdp %a -> {CUBE}
  %r = nvdla.sdp %a -> {CUBE}
  %s = nvdla.sdp %a -> {CUBE}
  %t = nvdla.sdp %p bs=#nvdla.x_stage<relu> -> {CUBE}
  %d = nvdla.download %t -> {CUBE}
  func.return %d""",
        overlap="in-order",
    )
    assert steps_of(module) == [
        *("p", "q", "r", "wait q", "s", "wait p", "wait r", "t", "wait s", "wait t", "d")
    ]


def test_without_overlap_each_layer_waits_for_the_one_before() -> None:
    body = f"""
  %p = nvdla.pdp max %a kernel=[1, 1] -> {CUBE}
  %q = nvdla.sdp %a -> {CUBE}
  %d = nvdla.download %p -> {CUBE}
  func.return %d"""
    assert steps_of(scheduled(body, overlap="off")) == ["p", "wait p", "q", "wait q", "d"]
    assert steps_of(scheduled(body)) == ["p", "q", "wait p", "wait q", "d"]


def test_a_layer_waits_for_the_pieces_that_make_what_it_reads() -> None:
    module = scheduled(
        f"""
  %w = nvdla.constant value=dense_resource<w0_1> : tensor<{CHANNELS}x{CHANNELS}x1x1xi8>
  %p = nvdla.pdp max %a kernel=[1, 1] -> {CUBE}
  %0 = nvdla.slice %p axis=2 begin=0 size=3 -> tensor<1x32x3x6xi8>
  %1 = nvdla.slice %p axis=2 begin=3 size=3 -> tensor<1x32x3x6xi8>
  %u = nvdla.sdp %0 -> tensor<1x32x3x6xi8>
  %v = nvdla.sdp %1 -> tensor<1x32x3x6xi8>
  %uv = nvdla.concat %u, %v axis=2 -> {CUBE}
  %2 = nvdla.slice %uv axis=2 begin=0 size=3 -> tensor<1x32x3x6xi8>
  %y = nvdla.pdp max %2 kernel=[1, 1] -> tensor<1x32x3x6xi8>
  %z = nvdla.pdp max %uv kernel=[1, 1] -> {CUBE}
  %d = nvdla.download %z -> {CUBE}
  func.return %d"""
    )
    assert steps_of(module) == [
        *("p", "wait p", "u", "v", "wait u", "y", "wait v", "z", "wait y", "wait z", "d")
    ]


def test_scheduling_twice_is_scheduling_once() -> None:
    module, (session, _) = module_for(random_network(3), TINY), random_session(3)
    Pipeline([*FITTED, ScheduleLayers()]).run(module, session)
    once = [op.name for op in module.walk()]
    ScheduleLayers().run(module, session)
    assert [op.name for op in module.walk()] == once


# -------------------------------------------------------------- order


def test_an_independent_layer_fills_the_time_of_a_dependence() -> None:
    weights = f"tensor<{CHANNELS}x{CHANNELS}x3x3xi8>"
    stream = f"!nvdla.stream<1x{CHANNELS}x{SIZE}x{SIZE}xi32>"
    module = scheduled(
        f"""
  %w = nvdla.constant value=dense_resource<w0_3> : {weights}
  %0 = nvdla.conv %a, %w pads=[1, 1, 1, 1] -> {stream}
  %b = nvdla.sdp %0 -> {CUBE}
  %1 = nvdla.conv %b, %w pads=[1, 1, 1, 1] -> {stream}
  %c = nvdla.sdp %1 -> {CUBE}
  %2 = nvdla.conv %a, %w pads=[1, 1, 1, 1] -> {stream}
  %s = nvdla.sdp %2 -> {CUBE}
  %y = nvdla.sdp %c bs_operand=%s bs=#nvdla.x_stage<alu = "sum"> -> {CUBE}
  %d = nvdla.download %y -> {CUBE}
  func.return %d"""
    )
    assert [step for step in steps_of(module) if "wait" not in step] == ["b", "s", "c", "y", "d"]


def test_pieces_that_keep_the_buffer_for_each_other_stay_together() -> None:
    for seed in range(8):
        module, (session, _) = module_for(random_network(seed), TINY), random_session(seed)
        Pipeline([*FITTED, ScheduleLayers()]).run(module, session)
        kept = False
        for op in module.walk():
            if isinstance(op, nvdla.ConvOp):
                assert not (op.reuse_data or op.reuse_weights) or kept
                kept = op.keep_data or op.keep_weights


def convolutions(count: int, channels: int, banks: str = "") -> str:
    """Convolutions of one cube, which is as large as several banks of the buffer."""
    cube, made = f"tensor<1x{channels}x32x32xi8>", "tensor<1x8x32x32xi8>"
    lines = [
        f"func.func @main(%x: {cube}) -> {made} {{",
        f"  %a = nvdla.upload %x -> {cube}",
        f"  %w = nvdla.constant value=dense<1> : tensor<8x{channels}x1x1xi8>",
    ]
    for number in range(count):
        lines += [
            f"  %c{number} = nvdla.conv %a, %w {banks} -> !nvdla.stream<1x8x32x32xi32>",
            f"  %s{number} = nvdla.sdp %c{number} -> {made}",
        ]
    return "\n".join(
        [*lines, f"  %d = nvdla.download %s{count - 1} -> {made}", "  func.return %d", "}"]
    )


@pytest.mark.parametrize("channels", [32, 64, 96])
def test_convolutions_that_overlap_share_out_all_banks_alike(channels: int) -> None:
    """Input for two, where there is room; at least as much as each needs alone."""
    module = module_for(convolutions(3, channels))
    Pipeline([*FITTED, ScheduleLayers()]).run(module, new_session())
    banks = {
        (op.data_banks, op.weight_banks) for op in module.walk() if isinstance(op, nvdla.ConvOp)
    }
    (((data, weights)),) = banks
    assert data is not None and weights is not None and data + weights == 32
    assert data >= min(2 * channels // 4, 31)


def test_more_room_is_worth_cycles_by_estimate() -> None:
    cycles: list[float] = []
    for overlap in ("off", "in-order", "on"):
        module = module_for(convolutions(4, 32))
        Pipeline([*FITTED, ScheduleLayers(overlap=overlap)]).run(module, new_session())
        found = estimate(module, MemoryTiming())
        cycles.append(found.cycles)
        assert found.sequential == pytest.approx(cycles[0])
    assert cycles[2] < 0.8 * cycles[1] < 0.8 * cycles[0]


# -------------------------------------------------------------- faults


def placed(offsets: dict[str, int]) -> dict[str, str]:
    return {
        name: f"address={0x8000_0000 + offset} line_stride=48 surface_stride=288"
        for name, offset in offsets.items()
    }


def fault(lines: str, offsets: dict[str, int]) -> str:
    """What ``emit-registers`` says of a program that was written by hand."""
    text = re.sub(r"@(\w)", lambda match: placed(offsets)[match[1]], lines)
    module = module_for(f"func.func @main(%x: {CUBE}) {{\n{text}\n  func.return\n}}")
    with pytest.raises(DiagnosticError) as caught:
        Pipeline([OutlineDevicePrograms(), EmitRegisters()]).run(module, new_session())
    return "\n".join(render(diagnostic) for diagnostic in caught.value.diagnostics)


APART = {"a": 0, "b": 0x1000, "c": 0x2000, "d": 0x3000}


@pytest.mark.parametrize(
    ("lines", "offsets", "message"),
    [
        (
            f"""%a = nvdla.upload %x @a -> {CUBE}
  %b = nvdla.sdp %a @b layers=["one"] -> {CUBE}
  %c = nvdla.pdp max %b kernel=[1, 1] @c layers=["two"] -> {CUBE}
  nvdla.wait %b
  nvdla.wait %c""",
            APART,
            "layer 'two' reads the result of layer 'one', which may still run: 'nvdla.wait' must",
        ),
        (
            f"""%a = nvdla.upload %x @a -> {CUBE}
  %b = nvdla.sdp %a @b layers=["one"] -> {CUBE}
  %c = nvdla.sdp %a @c layers=["two"] -> {CUBE}
  %d = nvdla.sdp %a @d layers=["three"] -> {CUBE}
  nvdla.wait %b
  nvdla.wait %c
  nvdla.wait %d""",
            APART,
            "layer 'three' takes a register group of the SDP of layer 'one', which may still run",
        ),
        (
            f"""%a = nvdla.upload %x @a -> {CUBE}
  %b = nvdla.pdp max %a kernel=[1, 1] @b layers=["one"] -> {CUBE}
  %c = nvdla.sdp %a @c layers=["two"] -> {CUBE}
  nvdla.wait %b
  nvdla.wait %c""",
            {**APART, "c": 0x1010},
            "layer 'two' overwrites memory of layer 'one', which may still run",
        ),
        (
            f"""%a = nvdla.upload %x @a -> {CUBE}
  %b = nvdla.pdp max %a kernel=[1, 1] @b layers=["one"] -> {CUBE}
  %c = nvdla.sdp %a @c layers=["two"] -> {CUBE}
  nvdla.wait %b
  nvdla.wait %c""",
            {**APART, "c": 0},
            "layer 'two' overwrites memory of layer 'one', which may still run",
        ),
        (
            f"""%a = nvdla.upload %x @a -> {CUBE}
  %b = nvdla.sdp %a @b layers=["one"] -> {CUBE}
  %c = nvdla.sdp %a @c layers=["two"] -> {CUBE}
  nvdla.wait %b""",
            APART,
            "nothing waits for layer 'two': 'nvdla.wait' must come before the program ends",
        ),
        (
            f"""%a = nvdla.upload %x @a -> {CUBE}
  %b = nvdla.sdp %a @b layers=["one"] -> {CUBE}""",
            APART,
            "nothing waits for layer 'one': run 'schedule-layers' first",
        ),
    ],
)
def test_waits_that_are_missing(lines: str, offsets: dict[str, int], message: str) -> None:
    found = fault(lines, offsets)
    assert re.search(rf"test.ir:\d+:\d+: error: {message}", found), found


def test_all_missing_waits_are_told() -> None:
    found = fault(
        f"""%a = nvdla.upload %x @a -> {CUBE}
  %b = nvdla.sdp %a @b layers=["one"] -> {CUBE}
  %c = nvdla.pdp max %b kernel=[1, 1] @c layers=["two"] -> {CUBE}
  %d = nvdla.sdp %c @d layers=["three"] -> {CUBE}
  nvdla.wait %d""",
        APART,
    )
    assert found.count("error:") == 2
    assert found.count("note: it is enabled here") == 2


@pytest.mark.parametrize(
    ("target", "pieces"), [(SMALL, 1), (TINY.replace("64", "16"), 2), ('"nv_medium_512"', 1)]
)
def test_pieces_in_place_of_what_they_add(target: str, pieces: int) -> None:
    """Pieces run beside those before, which read and write the same cube elsewhere."""
    stream = f"!nvdla.stream<1x{CHANNELS}x{SIZE}x{SIZE}xi32>"
    adds = 'bs=#nvdla.x_stage<alu = "sum", alu_shift = 9>'
    module = module_for(
        f"""func.func @main(%x: {CUBE}, %y: {CUBE}) -> {CUBE} {{
  %a = nvdla.upload %x -> {CUBE}
  %b = nvdla.upload %y -> {CUBE}
  %w = nvdla.constant value=dense_resource<w0_1> : tensor<{CHANNELS}x{CHANNELS}x1x1xi8>
  %c = nvdla.conv %b, %w -> {stream}
  %r = nvdla.sdp %c bs_operand=%a {adds} cvt_shift=9 -> {CUBE}
  %s = nvdla.sdp %r bs=#nvdla.x_stage<relu> -> {CUBE}
  %0 = nvdla.download %s -> {CUBE}
  func.return %0
}}""",
        target,
    )
    session, inputs = random_session(3)
    expected = results_of(module, session, inputs)
    Pipeline([*FITTED, ScheduleLayers(), AllocateMemory()]).run(module, session)
    assert sum(isinstance(op, nvdla.ConvOp) for op in module.walk()) == pieces
    assert session.statistics["allocate-memory"]["activations in place of others"] == 2
    EmitRegisters().run(module, session)
    (found,) = results_of(module, session, inputs)
    assert np.array_equal(found, expected[0])
    assert found.std() > 10


def test_what_a_piece_keeps_is_for_the_next_convolution() -> None:
    """Operands of pieces of one kernel are copied by convolutions, which come ahead of them all."""
    half = f"tensor<1x8x{SIZE}x{SIZE}xi8>"
    module = module_for(
        f"""func.func @main(%x: {CUBE}, %y: {half}) -> {half} {{
  %a = nvdla.upload %x -> {CUBE}
  %b = nvdla.upload %y -> {half}
  %w = nvdla.constant value=dense<1> : tensor<8x{CHANNELS}x3x3xi8>
  %c = nvdla.conv %a, %w pads=[1, 1, 1, 1] -> !nvdla.stream<1x8x{SIZE}x{SIZE}xi32>
  %r = nvdla.sdp %c bs_operand=%b bs=#nvdla.x_stage<alu = "sum"> cvt_shift=3 -> {half}
  %0 = nvdla.download %r -> {half}
  func.return %0
}}""",
        TINY.replace("64", "16"),
    )
    Pipeline(FITTED).run(module, new_session())
    convolutions = [op for op in module.walk() if isinstance(op, nvdla.ConvOp)]
    reusing = 0
    for before, conv in pairwise(convolutions):
        if conv.reuse_data:
            reusing += 1
            assert before.keep_data
            assert before.input is conv.input
    assert reusing > 4


def test_layers_of_one_unit_may_follow_in_the_same_memory() -> None:
    """What the SDP writes comes after all that its layer before has read and written."""
    text = re.sub(
        r"@([abc])\b",
        lambda match: placed({**APART, "c": 0})[match[1]],
        f"""func.func @main(%x: {CUBE}) -> {CUBE} {{
  %a = nvdla.upload %x @a -> {CUBE}
  %b = nvdla.sdp %a @b -> {CUBE}
  %c = nvdla.sdp %a bs=#nvdla.x_stage<relu> @c -> {CUBE}
  nvdla.wait %b
  nvdla.wait %c
  %0 = nvdla.download %c -> {CUBE}
  func.return %0
}}""",
    )
    module, (session, inputs) = module_for(text), random_session(1)
    Pipeline([OutlineDevicePrograms(), EmitRegisters()]).run(module, session)
    (found,) = results_of(module, session, {"x": inputs["x"]})
    assert np.array_equal(found, np.maximum(inputs["x"], 0))


def test_registers_are_written_before_the_waits_that_do_not_free_them() -> None:
    module = scheduled(
        f"""
  %q = nvdla.sdp %a -> {CUBE}
  %r = nvdla.sdp %q -> {CUBE}
  %s = nvdla.sdp %r -> {CUBE}
  %d = nvdla.download %s -> {CUBE}
  func.return %d"""
    )
    Pipeline([AllocateMemory(), EmitRegisters()]).run(module, random_session(0)[0])
    steps = [
        f"{op.name.removeprefix('csb.')} {op.group}"
        for op in executed_operations(main_of(module))
        if isinstance(op, csb.ConfigureOp | csb.EnableOp | csb.WaitOp) and op.unit == "SDP"
    ]
    assert steps == [
        *("configure 0", "enable 0", "configure 1", "wait 0", "enable 1"),
        *("configure 0", "wait 1", "enable 0", "wait 0"),
    ]


def test_waits_are_for_layers_once() -> None:
    text = f"""func.func @main(%x: {CUBE}) {{
  %a = nvdla.upload %x -> {CUBE}
  %b = nvdla.sdp %a -> {CUBE}
  WAITS
  func.return
}}"""
    for waits, message in (
        ("nvdla.wait %a", "waits for a value that no hardware layer writes"),
        ("nvdla.wait %b\n  nvdla.wait %b", "is one of several waits for the same layer"),
    ):
        with pytest.raises(DiagnosticError, match=message):
            module_for(text.replace("WAITS", waits))
