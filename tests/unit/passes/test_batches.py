"""Batches: each image gives what it gives alone, on every level, with the same weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from running import module_of, new_session
from test_pointwise import main_of

from nvdla_ir.dialects import nn
from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.interp.machine import Machine, Mode
from nvdla_ir.passes.base import Session
from nvdla_ir.passes.decompose_layers import DecomposeLayers
from nvdla_ir.passes.insert_converters import InsertConverters
from nvdla_ir.passes.legalize_to_nvdla import LegalizeToNvdla
from nvdla_ir.passes.pipeline import Pipeline
from nvdla_ir.passes.quantize_weights import QuantizeWeights
from nvdla_ir.passes.registry import layers_to_registers
from nvdla_ir.passes.set_target import SetTarget

C = "!quant.calibrated<f32<-2.0:2.0>>"


def network(batch: int) -> tuple[ModuleOp, Session]:
    n = batch
    module = module_of(f"""
        func.func @main(%x: tensor<{n}x3x5x6x{C}>) -> (tensor<{n}x7x{C}>, tensor<{n}x4x5x6x{C}>) {{
          %w = nn.constant value=dense_resource<w> : tensor<4x3x3x3xf32>
          %v = nn.constant value=dense_resource<v> : tensor<7x120xf32>
          %k = nn.constant value=dense_resource<k> : tensor<1x4x1x1xf32>
          %a = nn.conv %x, %w pads=[1, 1, 1, 1] layers=["a"] -> tensor<{n}x4x5x6x{C}>
          %b = nn.add %a, %k layers=["b"] -> tensor<{n}x4x5x6x{C}>
          %c = nn.flatten %b layers=["c"] -> tensor<{n}x120x{C}>
          %d = nn.fully_connected %c, %v layers=["d"] -> tensor<{n}x7x{C}>
          func.return %d, %b
        }}""")
    session, rng = new_session(), np.random.default_rng(1)
    for key, shape in (("w", (4, 3, 3, 3)), ("v", (7, 120)), ("k", (1, 4, 1, 1))):
        session.resources.add(key, rng.normal(0, 0.3, shape).astype(np.float32))
    return module, session


def results(module: ModuleOp, session: Session, x: Any) -> list[Any]:
    return list(Machine(session.resources, Mode.INTEGER).run(main_of(module), {"x": x}).values())


def test_images_one_after_the_other() -> None:
    passes = [DecomposeLayers(), QuantizeWeights("per-channel"), InsertConverters()]
    module, session = network(3)
    alone, its_session = network(1)
    for each, of_each in ((module, session), (alone, its_session)):
        SetTarget("nv_small").run(each, of_each)
        Pipeline(passes).run(each, of_each)
    x = np.random.default_rng(2).uniform(-2, 2, (3, 3, 5, 6)).astype(np.float32)
    parts = [results(alone, its_session, image[None]) for image in x]
    expected = [np.concatenate(images) for images in zip(*parts, strict=True)]
    for more in ([], [LegalizeToNvdla()], layers_to_registers()):
        Pipeline(more).run(module, session)
        for found, wanted in zip(results(module, session, x), expected, strict=True):
            np.testing.assert_array_equal(found, wanted)
    for passes in ([LegalizeToNvdla()], layers_to_registers()):
        Pipeline(passes).run(alone, its_session)
    constants = [
        one.statistics["allocate-memory"]["bytes of constants"] for one in (session, its_session)
    ]
    assert constants[0] == constants[1]


@pytest.mark.parametrize("axis", [0, 1])
def test_layers_that_mix_images_stay(axis: int) -> None:
    shape = "6x4" if axis == 0 else "3x8"
    module = module_of(f"""
        func.func @main(%x: tensor<3x4xf32>) -> tensor<{shape}xf32> {{
          %y = nn.concat %x, %x axis={axis} layers=["y"] -> tensor<{shape}xf32>
          func.return %y
        }}""")
    DecomposeLayers().run(module, new_session())
    assert any(isinstance(op, nn.SliceOp) for op in module.walk()) == (axis == 1)
