"""Small networks that the digits do not cover: the same bytes as integers, as hardware layers and
as registers, on every configuration, for inputs at the ends of the range."""

# IR does not break well.
# ruff: noqa: E501

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from running import module_of, new_session

from nvdla_ir.dialects.func import FuncOp
from nvdla_ir.hw import configuration
from nvdla_ir.interp.machine import Machine, Mode
from nvdla_ir.ir.types import FloatType, TensorType
from nvdla_ir.passes.insert_converters import InsertConverters
from nvdla_ir.passes.legalize_to_nvdla import LegalizeToNvdla
from nvdla_ir.passes.pipeline import Pipeline
from nvdla_ir.passes.quantize_weights import QuantizeWeights
from nvdla_ir.passes.registry import layers_to_registers
from nvdla_ir.passes.set_target import SetTarget


def c(low: float, high: float) -> str:
    return f"!quant.calibrated<f32<{low}:{high}>>"


X, Y, Z = c(-1.0, 1.0), c(-3.0, 3.0), c(-0.5, 0.5)
ASYMMETRIC = c(-0.5, 2.05)

NETWORKS = {
    "odd channels, strides, pads, dilations": f"""
        func.func @main(%x: tensor<1x5x9x11x{X}>) -> tensor<1x11x4x6x{Y}> {{
          %w = nn.constant value=dense_resource<w> : tensor<11x5x3x2xf32>
          %b = nn.constant value=dense_resource<b> : tensor<11xf32>
          %y = nn.conv %x, %w, %b strides=[2, 2] pads=[1, 2, 0, 1] dilations=[1, 2] layers=["a"] -> tensor<1x11x4x6x{Y}>
          %r = nn.relu %y layers=["r"] -> tensor<1x11x4x6x{Y}>
          func.return %r
        }}""",
    "residual of another scale, zero points": f"""
        func.func @main(%x: tensor<1x7x5x5x{ASYMMETRIC}>) -> tensor<1x7x5x5x{ASYMMETRIC}> {{
          %w = nn.constant value=dense_resource<w> : tensor<7x7x3x3xf32>
          %b = nn.constant value=dense_resource<b> : tensor<7xf32>
          %y = nn.conv %x, %w, %b pads=[1, 1, 1, 1] layers=["a"] -> tensor<1x7x5x5x{Y}>
          %s = nn.add %y, %x layers=["s"] -> tensor<1x7x5x5x{ASYMMETRIC}>
          %r = nn.relu %s layers=["r"] -> tensor<1x7x5x5x{ASYMMETRIC}>
          func.return %r
        }}""",
    "two tensors in memory, pooled on the fly and from memory": f"""
        func.func @main(%x: tensor<1x6x7x7x{Y}>) -> (tensor<1x6x3x3x{c(-5.0, 5.0)}>, tensor<1x6x4x4x{Y}>) {{
          %r = nn.relu %x layers=["r"] -> tensor<1x6x7x7x{Y}>
          %s = nn.add %x, %r layers=["s"] -> tensor<1x6x7x7x{c(-5.0, 5.0)}>
          %p = nn.max_pool %s kernel=[3, 2] strides=[2, 2] layers=["p"] -> tensor<1x6x3x3x{c(-5.0, 5.0)}>
          %q = nn.max_pool %r kernel=[3, 3] strides=[2, 2] pads=[1, 1, 1, 1] layers=["q"] -> tensor<1x6x4x4x{Y}>
          func.return %p, %q
        }}""",
    "means, finer and coarser than their input": f"""
        func.func @main(%x: tensor<1x10x6x6x{X}>) -> (tensor<1x10x3x3x{Y}>, tensor<1x10x1x1x{Z}>) {{
          %p = nn.average_pool %x kernel=[2, 2] strides=[2, 2] layers=["p"] -> tensor<1x10x3x3x{Y}>
          %g = nn.global_average_pool %x layers=["g"] -> tensor<1x10x1x1x{Z}>
          func.return %p, %g
        }}""",
    "concatenation of scales, inside atoms": f"""
        func.func @main(%x: tensor<1x8x4x4x{X}>, %z: tensor<1x3x4x4x{Z}>) -> tensor<1x19x4x4x{X}> {{
          %y = nn.concat %x, %z, %x layers=["j"] -> tensor<1x19x4x4x{X}>
          func.return %y
        }}""",
    "groups": f"""
        func.func @main(%x: tensor<1x12x5x5x{X}>) -> tensor<1x24x5x5x{Y}> {{
          %w = nn.constant value=dense_resource<w> : tensor<24x3x3x3xf32>
          %b = nn.constant value=dense_resource<b> : tensor<24xf32>
          %y = nn.conv %x, %w, %b pads=[1, 1, 1, 1] groups=4 layers=["a"] -> tensor<1x24x5x5x{Y}>
          func.return %y
        }}""",
    "fully connected on a cube, a channel's scale": f"""
        func.func @main(%x: tensor<1x9x3x4x{X}>) -> tensor<1x5x{Y}> {{
          %g = nn.constant value=dense<[1.0, -0.5, 0.0, 2.0, 0.25, -1.0, 0.125, 1.5, 3.0]> : tensor<9xf32>
          %h = nn.constant value=dense<[0.0, 0.5, 0.25, -2.0, 0.0, 1.0, 0.0, 0.0, -1.0]> : tensor<9xf32>
          %s = nn.scale %x, %g, %h layers=["scale"] -> tensor<1x9x3x4x{Y}>
          %f = nn.flatten %s layers=["flat"] -> tensor<1x108x{Y}>
          %w = nn.constant value=dense_resource<w> : tensor<5x108xf32>
          %b = nn.constant value=dense_resource<b> : tensor<5xf32>
          %y = nn.fully_connected %f, %w, %b layers=["fc"] -> tensor<1x5x{Y}>
          func.return %y
        }}""",
    "slopes behind convolutions": f"""
        func.func @main(%x: tensor<1x5x6x6x{ASYMMETRIC}>) -> tensor<1x7x6x6x{ASYMMETRIC}> {{
          %w = nn.constant value=dense_resource<w> : tensor<7x5x3x3xf32>
          %b = nn.constant value=dense_resource<b> : tensor<7xf32>
          %k = nn.constant value=dense<[0.25, 0.0, -0.5, 1.0, 0.1, 2.0, 0.01]> : tensor<7xf32>
          %y = nn.conv %x, %w, %b pads=[1, 1, 1, 1] layers=["a"] -> tensor<1x7x6x6x{Y}>
          %p = nn.prelu %y, %k layers=["p"] -> tensor<1x7x6x6x{Y}>
          %v = nn.constant value=dense_resource<v> : tensor<7x7x1x1xf32>
          %z = nn.conv %p, %v layers=["c"] -> tensor<1x7x6x6x{Y}>
          %l = nn.leaky_relu %z alpha=0.1 layers=["l"] -> tensor<1x7x6x6x{ASYMMETRIC}>
          func.return %l
        }}""",
    "squeeze and excite": f"""
        func.func @main(%x: tensor<1x20x5x6x{ASYMMETRIC}>) -> tensor<1x20x5x6x{Z}> {{
          %g = nn.global_average_pool %x layers=["g"] -> tensor<1x20x1x1x{X}>
          %w = nn.constant value=dense_resource<w> : tensor<20x20x1x1xf32>
          %b = nn.constant value=dense_resource<b> : tensor<20xf32>
          %e = nn.conv %g, %w, %b layers=["e"] -> tensor<1x20x1x1x{Y}>
          %s = nn.sigmoid %e layers=["s"] -> tensor<1x20x1x1x{c(0.0, 1.0)}>
          %y = nn.mul %x, %s layers=["y"] -> tensor<1x20x5x6x{Z}>
          func.return %y
        }}""",
    "an image": f"""
        func.func @main(%x: tensor<1x1x9x10xui8>) -> tensor<1x6x9x10x{Y}> {{
          %n = nn.normalize %x mean=[100.0] scale=0.0125 layers=["data"] -> tensor<1x1x9x10x{c(-1.25, 1.95)}>
          %w = nn.constant value=dense_resource<w> : tensor<6x1x3x3xf32>
          %b = nn.constant value=dense_resource<b> : tensor<6xf32>
          %y = nn.conv %n, %w, %b pads=[1, 1, 1, 1] layers=["a"] -> tensor<1x6x9x10x{Y}>
          func.return %y
        }}""",
}


def inputs_of(func: FuncOp, rng: np.random.Generator) -> dict[str, Any]:
    """Random numbers over the whole range, at its ends, and of one sign: four images."""
    inputs: dict[str, Any] = {}
    for argument in func.body.arguments:
        type = argument.type
        assert isinstance(type, TensorType)
        shape = (4, *type.static_shape[1:])
        if isinstance(type.element, FloatType):
            values = rng.uniform(-1.2, 2.2, shape).astype(np.float32)
            values[1] = rng.choice(np.array([-9, 9], np.float32), shape[1:])
            values[2] = -9
            values[3] = 9
        else:
            values = rng.integers(0, 256, shape, np.uint8)
            values[1] = rng.choice(np.array([0, 255], np.uint8), shape[1:])
            values[2] = 0
            values[3] = 255
        inputs[func.argument_name(argument)] = values
    return inputs


def outputs(func: FuncOp, resources: Any, inputs: dict[str, Any]) -> list[Any]:
    machine = Machine(resources, Mode.INTEGER)
    if machine.takes_any_batch(func):
        return list(machine.run(func, inputs).values())
    runs = [
        machine.run(func, {name: array[i : i + 1] for name, array in inputs.items()})
        for i in range(4)
    ]
    return [np.concatenate([run[name] for run in runs]) for name in runs[0]]


@pytest.mark.parametrize("granularity", ["per-channel", "per-tensor"])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_level_gives_the_same_bytes(name: str, granularity: str) -> None:
    for target in configuration.names():
        rng = np.random.default_rng(3)
        session = new_session()
        module = module_of(NETWORKS[name])
        for key, shape in weights_of(NETWORKS[name]):
            session.resources.add(key, rng.normal(0, 0.3, shape).astype(np.float32))
        func = next(op for op in module.walk() if isinstance(op, FuncOp))
        quantize = Pipeline([QuantizeWeights(granularity), InsertConverters()])
        quantize.run(module, session)
        inputs = inputs_of(func, rng)
        expected = outputs(func, session.resources, inputs)
        assert all(len(np.unique(output)) > 3 for output in expected)
        for passes in ([SetTarget(target), LegalizeToNvdla()], layers_to_registers()):
            Pipeline(passes).run(module, session)
            for actual, wanted in zip(
                outputs(func, session.resources, inputs), expected, strict=True
            ):
                np.testing.assert_array_equal(actual, wanted, f"{target}, {passes[-1].name}")


def weights_of(text: str) -> list[tuple[str, tuple[int, ...]]]:
    """The resources that ``text`` refers to, with their shapes."""
    found: list[tuple[str, tuple[int, ...]]] = []
    for part in text.split("dense_resource<")[1:]:
        key, _, rest = part.partition("> : tensor<")
        found.append((key, tuple(map(int, rest.partition("xf32")[0].split("x")))))
    return found
