"""Modules of hardware layers for the tests of register programs: text in, outputs out."""

from __future__ import annotations

from typing import Any

import numpy as np
from layer_reference import evaluate
from numpy.typing import NDArray

from nvdla_ir.dialects import default_context
from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.func import FuncOp
from nvdla_ir.dialects.nvdla import ConstantOp
from nvdla_ir.interp.machine import Machine, Mode
from nvdla_ir.interp.quantization import dtype_of, element_of
from nvdla_ir.ir.attributes import DenseResourceAttr
from nvdla_ir.ir.types import TensorType
from nvdla_ir.ir.verifier import verify
from nvdla_ir.passes.base import Session
from nvdla_ir.passes.registry import layers_to_registers
from nvdla_ir.resources import ResourceStore
from nvdla_ir.text.parser import parse

Array = NDArray[Any]

CONFIGURATIONS = (
    "nv_small",
    "nv_small_256",
    "nv_small_256_full",
    "nv_medium_512",
    "nv_medium_1024_full",
    "nv_large",
    "nv_large_b",
    "nv_full",
)


Q = "!quant.uniform<i8:f32, 0.5>"

CONVOLUTION = f"""
func.func @main(%x: tensor<1x5x9x7x{Q}>) -> tensor<1x11x4x3x{Q}> {{
  %a = nvdla.upload %x -> tensor<1x5x9x7x{Q}>
  %w = nvdla.constant value=dense_resource<w> : tensor<11x5x3x3xi8>
  %t = nvdla.constant value=dense_resource<t> : tensor<11x2xi16>
  %c = nvdla.conv %a, %w strides=[2, 2] pads=[0, 1, 1, 0] pad_value=-3 clip_truncate=2
    layers=["conv"] -> !nvdla.stream<1x11x4x3xi32>
  %s = nvdla.sdp %c bs_operand=%t bs=#nvdla.x_stage<alu = "sum", alu_shift = 3, mul, mul_shift = 18>
    cvt_offset=-9 cvt_scale=77 cvt_shift=6 -> tensor<1x11x4x3x{Q}>
  %y = nvdla.download %s -> tensor<1x11x4x3x{Q}>
  func.return %y
}}
"""


RESIDUAL = f"""
func.func @main(%x: tensor<1x13x8x6x{Q}>) -> (tensor<1x13x8x6x{Q}>, tensor<1x21x4x3x{Q}>) {{
  %a = nvdla.upload %x -> tensor<1x13x8x6x{Q}>
  %w1 = nvdla.constant value=dense_resource<w1> : tensor<13x13x3x3xi8>
  %t1 = nvdla.constant value=dense_resource<t1> : tensor<13x2xi16>
  %c1 = nvdla.conv %a, %w1 pads=[1, 1, 1, 1] layers=["c1"] -> !nvdla.stream<1x13x8x6xi32>
  %s1 = nvdla.sdp %c1 bs_operand=%t1 bs=#nvdla.x_stage<alu = "sum", mul, mul_shift = 20, relu>
    cvt_shift=3 -> tensor<1x13x8x6x{Q}>
  %w2 = nvdla.constant value=dense_resource<w2> : tensor<13x13x3x3xi8>
  %t2 = nvdla.constant value=dense_resource<t2> : tensor<13xi16>
  %c2 = nvdla.conv %s1, %w2 pads=[1, 1, 1, 1] layers=["c2"] -> !nvdla.stream<1x13x8x6xi32>
  %s2 = nvdla.sdp %c2 bs_operand=%t2 bn_operand=%a bs=#nvdla.x_stage<mul, mul_shift = 20>
    bn=#nvdla.x_stage<alu = "sum", alu_shift = 4, relu> cvt_scale=19 cvt_shift=7
    layers=["add"] -> tensor<1x13x8x6x{Q}>
  %w3 = nvdla.constant value=dense_resource<w3> : tensor<21x13x1x1xi8>
  %c3 = nvdla.conv %s2, %w3 strides=[2, 2] layers=["c3"] -> !nvdla.stream<1x21x4x3xi32>
  %s3 = nvdla.sdp %c3
    bs=#nvdla.x_stage<alu = "max", alu_value = -500, mul, mul_value = 33, mul_shift = 6>
    cvt_shift=5 -> tensor<1x21x4x3x{Q}>
  %y = nvdla.download %s2 -> tensor<1x13x8x6x{Q}>
  %z = nvdla.download %s3 -> tensor<1x21x4x3x{Q}>
  func.return %y, %z
}}
"""


def module_for(target: str, body: str, seed: int = 0) -> tuple[ModuleOp, Session]:
    """The module with ``body`` for ``target``; its resources are random over the full range."""
    text = f'module attributes {{nvdla.target = "{target}"}} {{\n{body}\n}}'
    module = parse(text, default_context(), "test.ir").operations[0]
    assert isinstance(module, ModuleOp)
    verify(module)
    session = Session(ResourceStore())
    rng = np.random.default_rng(seed)
    for op in module.walk():
        if not isinstance(op, ConstantOp) or not isinstance(op.value, DenseResourceAttr):
            continue
        if op.value.key not in session.resources.keys:
            session.resources.add(op.value.key, random_array(rng, op.value.type))
    return module, session


def random_array(rng: np.random.Generator, type: TensorType) -> Array:
    """Full-range random integers."""
    element = element_of(type)
    assert element is not None
    dtype = dtype_of(element)
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, type.static_shape, dtype, endpoint=True)


def function_of(module: ModuleOp) -> FuncOp:
    function = module.body.first_op
    assert isinstance(function, FuncOp)
    return function


def random_inputs(module: ModuleOp, seed: int = 0) -> dict[str, Array]:
    function = function_of(module)
    rng = np.random.default_rng(seed + 1)
    inputs: dict[str, Array] = {}
    for argument in function.body.arguments:
        assert isinstance(argument.type, TensorType)
        inputs[function.argument_name(argument)] = random_array(rng, argument.type)
    return inputs


def compile_registers(module: ModuleOp, session: Session) -> None:
    """Turn hardware layers into a register program."""
    for pass_ in layers_to_registers():
        pass_.run(module, session)
        verify(module)


def run_integers(module: ModuleOp, session: Session, inputs: dict[str, Array]) -> dict[str, Array]:
    """The outputs of the module's function as it is: hardware layers, or a register program."""
    return Machine(session.resources, Mode.INTEGER).run(function_of(module), inputs)


def assert_same(target: str, body: str, seed: int = 0) -> tuple[ModuleOp, Session]:
    """Compile and run ``body``: outputs are the reference arithmetic's, and those of the level of
    hardware layers."""
    module, session = module_for(target, body, seed)
    inputs = random_inputs(module, seed)
    expected = evaluate(function_of(module), inputs, session.resources)
    layers = run_integers(module, session, inputs)
    compile_registers(module, session)
    found = run_integers(module, session, inputs)
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert array.std() > 1, "the outputs must tell something"
        np.testing.assert_array_equal(found[name], array)
        np.testing.assert_array_equal(layers[name], array)
    return module, session
