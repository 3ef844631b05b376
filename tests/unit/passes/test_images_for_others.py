"""Pixels that something else than a plain convolution reads: a convolution with ones makes a cube
of them, with the same bytes on every level."""

from __future__ import annotations

import numpy as np
import pytest
from running import module_of, new_session
from test_pointwise import main_of

from nvdla_ir.dialects import nvdla
from nvdla_ir.interp.machine import Machine, Mode
from nvdla_ir.passes.insert_converters import InsertConverters
from nvdla_ir.passes.legalize_to_nvdla import LegalizeToNvdla
from nvdla_ir.passes.pipeline import Pipeline
from nvdla_ir.passes.quantize_weights import QuantizeWeights
from nvdla_ir.passes.registry import layers_to_registers
from nvdla_ir.passes.set_target import SetTarget


def c(low: float, high: float) -> str:
    return f"!quant.calibrated<f32<{low}:{high}>>"


PIXELS, SUMS = c(-1.25, 1.95), c(-8.0, 8.0)
READERS = {
    "dilated": (
        ["%y = nn.conv %n, %w dilations=[2, 2] layers=['a'] -> tensor<1x4x6x7xSUMS>"],
        "4x3x2x2",
        "1x4x6x7xSUMS",
    ),
    "in groups": (
        ["%y = nn.conv %n, %w groups=3 layers=['a'] -> tensor<1x3x7x8xSUMS>"],
        "3x1x2x2",
        "1x3x7x8xSUMS",
    ),
    "pooled": (
        ["%y = nn.max_pool %n kernel=[2, 2] strides=[2, 2] layers=['a'] -> tensor<1x3x4x4xPIXELS>"],
        None,
        "1x3x4x4xPIXELS",
    ),
    "pooled beside a convolution": (
        [
            "%p = nn.max_pool %n kernel=[2, 2] layers=['p'] -> tensor<1x3x7x8xPIXELS>",
            "%q = nn.conv %n, %w layers=['q'] -> tensor<1x3x7x8xSUMS>",
            "%y = nn.add %p, %q layers=['a'] -> tensor<1x3x7x8xSUMS>",
        ],
        "3x3x2x2",
        "1x3x7x8xSUMS",
    ),
}


@pytest.mark.parametrize("means", ["[100.0]", "[0.0, 100.0, 127.5]"], ids=["mean", "means"])
@pytest.mark.parametrize("target", ["nv_small", "nv_full"])
@pytest.mark.parametrize("reader", READERS)
def test_levels(reader: str, target: str, means: str) -> None:
    lines, weights, output = READERS[reader]
    if weights is not None:
        constant = f"%w = nn.constant value=dense_resource<w> : tensor<{weights}xf32>"
        lines = [constant, *lines]
    text = "\n".join(
        [
            f"func.func @main(%x: tensor<1x3x8x9xui8>) -> tensor<{output}> {{",
            f"%n = nn.normalize %x mean={means} scale=0.0125 layers=['n'] "
            "-> tensor<1x3x8x9xPIXELS>",
            *lines,
            "func.return %y",
            "}",
        ]
    )
    text = text.replace("PIXELS", PIXELS).replace("SUMS", SUMS).replace("'", '"')
    module, session = module_of(text), new_session()
    rng = np.random.default_rng(1)
    if weights is not None:
        shape = tuple(map(int, weights.split("x")))
        session.resources.add("w", rng.normal(0, 1, shape).astype(np.float32))
    images = [
        rng.integers(0, 256, (1, 3, 8, 9)).astype(np.uint8),
        np.full((1, 3, 8, 9), 255, np.uint8),
    ]
    SetTarget(target).run(module, session)
    Pipeline([QuantizeWeights("per-channel"), InsertConverters()]).run(module, session)

    def outputs() -> list[np.ndarray]:
        machine = Machine(session.resources, Mode.INTEGER)
        return [next(iter(machine.run(main_of(module), {"x": x}).values())) for x in images]

    expected = outputs()
    assert expected[0].std() > 0.1
    Pipeline([LegalizeToNvdla()]).run(module, session)
    uploads = [op for op in module.walk() if isinstance(op, nvdla.UploadOp)]
    assert [upload.format != "feature" for upload in uploads] == [True]
    for found, wanted in zip(outputs(), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)
    Pipeline(layers_to_registers()).run(module, session)
    for found, wanted in zip(outputs(), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)
