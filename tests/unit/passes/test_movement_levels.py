"""Layers that only move elements: the same bytes as integers, as hardware layers and as
registers."""

from __future__ import annotations

import numpy as np
import pytest
from running import module_of, new_session
from test_levels import inputs_of, outputs

from nvdla_ir.dialects import nn
from nvdla_ir.dialects.func import FuncOp
from nvdla_ir.passes.insert_converters import InsertConverters
from nvdla_ir.passes.legalize_to_nvdla import LegalizeToNvdla
from nvdla_ir.passes.pipeline import Pipeline
from nvdla_ir.passes.registry import layers_to_registers
from nvdla_ir.passes.set_target import SetTarget

ELEMENT = "!quant.calibrated<f32<-0.9:2.05>>"

# Name: channels, height, width; the layers; channels, height, width of the result %y.
# Shapes in the layers are in braces, their elements are added.
MOVEMENTS = {
    "upsampling": ((5, 4, 3), "%y = nn.upsample %a scales=[2, 2]", (5, 8, 6)),
    "upsampling rows": ((9, 4, 3), "%y = nn.upsample %a scales=[3, 1]", (9, 12, 3)),
    "upsampling one pixel": ((64, 1, 1), "%y = nn.upsample %a scales=[3, 2]", (64, 3, 2)),
    "upsampling columns": ((40, 3, 5), "%y = nn.upsample %a scales=[1, 4]", (40, 3, 20)),
    "aligned channels": ((128, 2, 3), "%y = nn.slice %a axis=1 start=32 size=64", (64, 2, 3)),
    "channels inside atoms": ((40, 2, 3), "%y = nn.slice %a axis=1 start=3 size=30", (30, 2, 3)),
    "every third channel": ((40, 2, 3), "%y = nn.slice %a axis=1 start=2 size=9 step=3", (9, 2, 3)),
    "rows": ((12, 9, 4), "%y = nn.slice %a axis=2 start=2 size=5", (12, 5, 4)),
    "columns": ((12, 4, 9), "%y = nn.slice %a axis=3 start=2 size=5", (12, 4, 5)),
    "every second row": ((12, 9, 4), "%y = nn.slice %a axis=2 start=1 size=4 step=2", (12, 4, 4)),
    "every third column": (
        (36, 4, 9), "%y = nn.slice %a axis=3 start=0 size=3 step=3", (36, 4, 3)),
    "every twentieth row": (
        (12, 61, 2), "%y = nn.slice %a axis=2 start=20 size=3 step=20", (12, 3, 2)),
    "shuffle": ((30, 3, 3), "%y = nn.channel_shuffle %a groups=3", (30, 3, 3)),
    "depth to space": ((36, 3, 4), "%y = nn.depth_to_space %a block_size=2", (9, 6, 8)),
    "pixel shuffle": (
        (36, 3, 4), '%y = nn.depth_to_space %a block_size=3 mode="CRD"', (4, 9, 12)),
    "aligned depth to space": (
        (128, 3, 2), "%y = nn.depth_to_space %a block_size=2", (32, 6, 4)),
    "space to depth": ((5, 6, 4), "%y = nn.space_to_depth %a block_size=2", (20, 3, 2)),
    "space to depth, other order": (
        (5, 6, 4), '%y = nn.space_to_depth %a block_size=2 mode="CRD"', (20, 3, 2)),
    "aligned space to depth": ((32, 6, 4), "%y = nn.space_to_depth %a block_size=2", (128, 3, 2)),
    "zeros around": ((9, 3, 4), "%y = nn.pad %a pads=[1, 0, 2, 3]", (9, 6, 7)),
    "a number around": ((40, 3, 4), "%y = nn.pad %a pads=[1, 2, 0, 3] value=-0.4", (40, 4, 9)),
    "edges": ((9, 3, 4), '%y = nn.pad %a pads=[2, 1, 1, 2] mode="edge"', (9, 6, 7)),
    "reflection": ((9, 3, 4), '%y = nn.pad %a pads=[2, 1, 1, 2] mode="reflect"', (9, 6, 7)),
    "rows joined": ((9, 3, 4), "%b = nn.slice %a axis=2 start=1 size=2 {9x2x4}\n"
                    "%y = nn.concat %a, %b, %a axis=2", (9, 8, 4)),
    "columns joined": ((9, 3, 4), "%b = nn.upsample %a scales=[1, 2] {9x3x8}\n"
                       "%y = nn.concat %b, %a axis=3", (9, 3, 12)),
    "channels joined": ((32, 3, 4), "%b = nn.upsample %a scales=[1, 2] {32x3x8}\n"
                        "%d = nn.slice %b axis=3 start=1 size=4 step=2 {32x3x4}\n"
                        "%y = nn.concat %d, %a, %d axis=1", (96, 3, 4)),
    "rows by turns": ((9, 3, 4), "%b = nn.max_pool %a kernel=[1, 1] {9x3x4}\n"
                      "%y = nn.interleave %a, %b, %a axis=2", (9, 9, 4)),
    "columns by turns": ((9, 3, 4), "%b = nn.max_pool %a kernel=[1, 1] {9x3x4}\n"
                         "%c = nn.interleave %a, %b axis=3 {9x3x8}\n"
                         "%y = nn.interleave %c, %c axis=2", (9, 6, 8)),
    "rows in groups": ((3, 100, 90), "%y = nn.upsample %a scales=[1, 2]", (3, 100, 180)),
    "moved and computed": (
        (24, 3, 4), "%b = nn.upsample %a scales=[2, 2] {24x6x8}\n"
        "%c = nn.slice %b axis=1 start=8 size=10 {10x6x8}\n"
        "%y = nn.max_pool %c kernel=[2, 3] strides=[2, 2] pads=[0, 1, 0, 1]", (10, 3, 4)),
}  # fmt: skip


def network(channels: tuple[int, ...], layers: str, result: tuple[int, ...]) -> str:
    """A pool ahead and behind, so that the integers are in the hardware's memory."""

    def type_of(shape: tuple[int, ...]) -> str:
        return f"tensor<1x{'x'.join(map(str, shape))}x{ELEMENT}>"

    lines = [f"{line} layers=[\"l{i}\"] -> {type_of(result)}" if "{" not in line else
             f"{line[:line.index('{')]} layers=[\"l{i}\"] -> "
             f"tensor<1x{line[line.index('{') + 1 : -1]}x{ELEMENT}>"
             for i, line in enumerate(layers.splitlines())]  # fmt: skip
    body = "\n".join(lines)
    return f"""func.func @main(%x: {type_of(channels)}) -> {type_of(result)} {{
      %a = nn.max_pool %x kernel=[1, 1] layers=["a"] -> {type_of(channels)}
      {body}
      %z = nn.max_pool %y kernel=[1, 1] layers=["z"] -> {type_of(result)}
      func.return %z
    }}"""


@pytest.mark.parametrize("name", MOVEMENTS)
def test_elements_are_moved_alike_on_every_level(name: str) -> None:
    text = network(*MOVEMENTS[name])
    for target in ("nv_small", "nv_medium_512", "nv_full"):  # atoms of 8, 32 and 32 bytes
        session, module = new_session(), module_of(text)
        func = next(op for op in module.walk() if isinstance(op, FuncOp))
        Pipeline([InsertConverters()]).run(module, session)
        inputs = inputs_of(func, np.random.default_rng(3))
        (expected,) = outputs(func, session.resources, inputs)
        assert len(np.unique(expected)) > 3
        for passes in ([SetTarget(target), LegalizeToNvdla()], layers_to_registers()):
            Pipeline(passes).run(module, session)
            (actual,) = outputs(func, session.resources, inputs)
            np.testing.assert_array_equal(actual, expected, f"{target}, {passes[-1].name}")
        host = [op.name for op in module.walk() if isinstance(op, nn.RearrangementOp | nn.SliceOp)]
        assert not host
