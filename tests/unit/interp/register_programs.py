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
from nvdla_ir.passes.allocate_memory import AllocateMemory
from nvdla_ir.passes.base import Session
from nvdla_ir.passes.emit_registers import EmitRegisters
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
    "nv_full",
)


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
    for pass_ in (AllocateMemory(), EmitRegisters()):
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
