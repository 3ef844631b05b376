"""Layers that ``decompose-layers`` makes others of: the same reals, the same bytes on the levels
behind."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from running import module_of, new_session
from test_levels import inputs_of, outputs, weights_of

from nvdla_ir.dialects import nn
from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.func import FuncOp
from nvdla_ir.interp.machine import Machine, Mode
from nvdla_ir.passes.base import Session
from nvdla_ir.passes.decompose_layers import DecomposeLayers
from nvdla_ir.passes.insert_converters import InsertConverters
from nvdla_ir.passes.legalize_to_nvdla import LegalizeToNvdla
from nvdla_ir.passes.pipeline import Pipeline
from nvdla_ir.passes.quantize_weights import QuantizeWeights
from nvdla_ir.passes.registry import layers_to_registers
from nvdla_ir.passes.set_target import SetTarget

X, Y = "!quant.calibrated<f32<-0.9:2.05>>", "!quant.calibrated<f32<-3.0:2.5>>"

# Name: shape of the input; the layer; shape of the result; shapes of the weights and the bias.
NETWORKS: dict[str, tuple[Any, ...]] = {
    "transposed, twice as large": (
        (9, 4, 5), "conv_transpose strides=[2, 2] pads=[1, 1, 1, 1]", (5, 8, 10), (9, 5, 4, 4)),
    "transposed, output padding, groups": (
        (6, 3, 4), "conv_transpose strides=[2, 3] pads=[1, 0, 1, 2] output_padding=[1, 2] groups=3",
        (12, 6, 12), (6, 4, 3, 3)),
    "transposed, dilated, asymmetric": (
        (5, 4, 4), "conv_transpose strides=[3, 2] pads=[0, 1, 2, 0] dilations=[2, 2]",
        (7, 12, 10), (5, 7, 3, 3)),
    "transposed, fewer taps than strides": (
        (8, 3, 3), "conv_transpose strides=[3, 2]", (6, 7, 5), (8, 6, 1, 1)),
    "transposed, no tap for some rows": (
        (8, 3, 3),
        "conv_transpose strides=[3, 1]",
        (6, 7, 5),
        (8, 6, 1, 3),
    ),
    "transposed, no element for some rows": (
        (6, 1, 2), "conv_transpose strides=[3, 4] pads=[1, 5, 0, 0]", (5, 2, 2), (6, 5, 3, 3)),
    "transposed, cut far": (
        (8, 5, 5), "conv_transpose strides=[2, 2] pads=[3, 4, 2, 3]", (6, 6, 4), (8, 6, 3, 3)),
    "transposed, not larger": (
        (8, 5, 5), "conv_transpose pads=[1, 1, 0, 2]", (6, 6, 3), (8, 6, 3, 2)),
    "bilinear, half a pixel": ((9, 4, 5), "interpolate scales=[2, 2]", (9, 8, 10)),
    "bilinear, asymmetric": (
        (3, 4, 5), 'interpolate scales=[4, 3] coordinates="asymmetric"', (3, 16, 15)),
    "bilinear, columns": ((33, 3, 4), "interpolate scales=[1, 2]", (33, 3, 8)),
    "means without padding": (
        (9, 7, 6), "average_pool kernel=[3, 3] pads=[1, 1, 1, 1] count_include_pad=false",
        (9, 7, 6)),
    "means without padding, strides": (
        (9, 8, 9), "average_pool kernel=[3, 4] strides=[2, 3] pads=[1, 2, 0, 1] "
        "count_include_pad=false", (9, 4, 3)),
    "means with padding, windows behind": (
        (9, 7, 6), "average_pool kernel=[3, 2] strides=[2, 2] pads=[1, 1, 1, 0] "
        "ceil_extension=[0, 1]", (9, 4, 4)),
    "maximum, nothing in the rows behind": (
        (9, 5, 6), "max_pool kernel=[3, 2] strides=[2, 2] pads=[0, 0, 2, 0] ceil_extension=[1, 1]",
        (9, 3, 3)),
    "kernels far apart": (
        (3, 40, 9), "conv pads=[33, 0, 0, 2] dilations=[33, 2]", (4, 40, 7), (4, 3, 2, 3)),
    "groups far apart": ((4, 36, 5), "conv dilations=[33, 1] groups=2", (2, 3, 4), (2, 2, 2, 2)),
    "large maximum": ((9, 15, 14), "max_pool kernel=[13, 5] pads=[6, 2, 6, 2]", (9, 15, 14)),
    "large maximum, strides": (
        (9, 30, 22), "max_pool kernel=[17, 9] strides=[3, 2] pads=[8, 4, 7, 4]", (9, 10, 11)),
    "global maximum": ((9, 70, 9), "global_max_pool", (9, 1, 1)),
    "mean of 14x12": ((9, 14, 12), "global_average_pool", (9, 1, 1)),
    "mean of 40x36": ((5, 40, 36), "global_average_pool", (5, 1, 1)),
    "large strides": (
        (9, 30, 50), "conv strides=[12, 18] pads=[1, 0, 0, 1]", (4, 3, 3), (4, 9, 3, 2)),
    "mean, large strides": ((9, 40, 50), "average_pool kernel=[9, 4] strides=[10, 20]", (9, 4, 3)),
    "fully connected, large plane": (
        (3, 35, 6),
        "fully_connected",
        (8,),
        (8, 630),
    ),
    "grouped, large kernel": (
        (6, 20, 36), "conv strides=[2, 1] pads=[1, 17, 1, 17] groups=3", (3, 10, 36),
        (3, 2, 3, 35)),
    "mean of 40, padding and strides": (
        (3, 44, 7), "average_pool kernel=[40, 3] strides=[2, 1] pads=[5, 1, 5, 1]", (3, 8, 7)),
    "mean of 41x35, many channels": ((24, 41, 35), "global_average_pool", (24, 1, 1)),
    "bilinear, aligned corners": (
        (5, 3, 4), 'interpolate scales=[2, 3] coordinates="align_corners"', (5, 6, 12)),
    "bilinear, aligned, one row": (
        (5, 1, 4), 'interpolate scales=[2, 2] coordinates="align_corners"', (5, 2, 8)),
    "wide padding": ((2, 3, 4), "pad pads=[40, 1, 0, 33] value=0.5", (2, 43, 38)),
    "large kernel": (
        (3, 40, 6), "conv strides=[2, 1] pads=[3, 1, 2, 1]", (4, 4, 6), (4, 3, 39, 3)),
    "large kernel both ways, dilated": (
        (2, 36, 80), "conv pads=[2, 0, 1, 3] dilations=[1, 2]", (3, 6, 15), (3, 2, 34, 35)),
}  # fmt: skip


def text_of(name: str) -> str:
    """A network of the layer alone."""
    shape, layer, result, *weights = NETWORKS[name]

    def type_of(of: tuple[int, ...], element: str) -> str:
        return f"tensor<1x{'x'.join(map(str, of))}x{element}>"

    op, _, fields = layer.partition(" ")
    constants, operands = "", "%a"
    for kernel in weights:
        constants = f"""
          %w = nn.constant value=dense_resource<w> : tensor<{"x".join(map(str, kernel))}xf32>
          %b = nn.constant value=dense_resource<b> : tensor<{result[0]}xf32>"""
        operands = "%a, %w, %b"
    rectified = op == "conv_transpose" and shape[0] % 2
    end = (
        f'%r = nn.relu %y layers=["r"] -> {type_of(result, Y)}\nfunc.return %r'
        if rectified
        else "func.return %y"
    )
    return f"""func.func @main(%x: {type_of(shape, X)}) -> {type_of(result, Y)} {{
          %a = nn.max_pool %x kernel=[1, 1] layers=["a"] -> {type_of(shape, X)}{constants}
          %y = nn.{op} {operands} {fields} layers=["y"] -> {type_of(result, Y)}
          {end}
        }}"""


def prepared(text: str, session: Session) -> ModuleOp:
    rng = np.random.default_rng(5)
    for key, shape in weights_of(text):
        session.resources.add(key, rng.normal(0, 0.2, shape).astype(np.float32))
    return module_of(text)


def quantize(module: ModuleOp, session: Session, text: str) -> None:
    """With weights, as integers."""
    rng = np.random.default_rng(5)
    for key, shape in weights_of(text):
        session.resources.add(key, rng.normal(0, 0.2, shape).astype(np.float32))
    passes = [DecomposeLayers(), QuantizeWeights("per-channel"), InsertConverters()]
    Pipeline(passes).run(module, session)


def reals(module: ModuleOp, session: Session, inputs: dict[str, Any]) -> Any:
    func = next(op for op in module.walk() if isinstance(op, FuncOp))
    inputs = {name: array.astype(np.float64) for name, array in inputs.items()}
    return next(iter(Machine(session.resources, Mode.FLOAT).run(func, inputs).values()))


@pytest.mark.parametrize("name", NETWORKS)
def test_what_takes_a_layers_place_computes_the_same(name: str) -> None:
    text = text_of(name)
    session = new_session()
    module = prepared(text, session)
    func = next(op for op in module.walk() if isinstance(op, FuncOp))
    inputs = inputs_of(func, np.random.default_rng(3))
    before = reals(module, session, inputs)
    Pipeline([DecomposeLayers()]).run(module, session)
    replaced = NETWORKS[name][1].partition(" ")[0]
    if replaced not in (
        "conv",
        "fully_connected",
        "average_pool",
        "max_pool",
        "global_average_pool",
        "pad",
    ):
        assert not any(op.name == f"nn.{replaced}" for op in module.walk())
    after = reals(module, session, inputs)
    # Sums of float32 in another order.
    np.testing.assert_allclose(after, before, rtol=0, atol=2e-6 * np.abs(before).max())


@pytest.mark.parametrize("name", NETWORKS)
def test_every_level_gives_the_same_bytes(name: str) -> None:
    text = text_of(name)
    for target in ("nv_small", "nv_medium_512", "nv_full"):  # atoms of 8, 16 and 32 bytes
        session = new_session()
        module = module_of(text)
        quantize(module, session, text)
        func = next(op for op in module.walk() if isinstance(op, FuncOp))
        inputs = inputs_of(func, np.random.default_rng(3))
        (expected,) = outputs(func, session.resources, inputs)
        assert len(np.unique(expected)) > 3 or name == "global maximum"
        for passes in ([SetTarget(target), LegalizeToNvdla()], layers_to_registers()):
            Pipeline(passes).run(module, session)
            (actual,) = outputs(func, session.resources, inputs)
            np.testing.assert_array_equal(actual, expected, f"{target}, {passes[-1].name}")
        assert not any(isinstance(op, nn.InterleaveOp) for op in module.walk())
