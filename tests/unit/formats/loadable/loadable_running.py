"""Importing and running loadables in tests."""

from __future__ import annotations

from typing import Any

import numpy as np
from loadable_building import Loadable
from numpy.typing import NDArray

from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.csb import ConfigureOp
from nvdla_ir.dialects.func import FuncOp
from nvdla_ir.formats.loadable import import_loadable
from nvdla_ir.interp.machine import Machine, Mode
from nvdla_ir.ir.verifier import verify
from nvdla_ir.resources import ResourceStore

Array = NDArray[Any]


def imported(loadable: Loadable | bytes, **options: Any) -> tuple[ModuleOp, ResourceStore]:
    data = loadable if isinstance(loadable, bytes) else loadable.data()
    resources = ResourceStore()
    module = import_loadable(data, "net.nvdla", resources, **options)
    verify(module)
    return module, resources


def function_of(module: ModuleOp) -> FuncOp:
    function = module.body.first_op
    assert isinstance(function, FuncOp)
    return function


def run(loadable: Loadable | bytes, inputs: dict[str, Array], **options: Any) -> dict[str, Array]:
    module, resources = imported(loadable, **options)
    return Machine(resources, Mode.INTEGER).run(function_of(module), inputs)


def fields(module: ModuleOp, unit: str, layer: int = 0) -> dict[str, int | str]:
    """The fields that a layer programs into a unit's register group."""
    configured = [
        op
        for op in function_of(module).body.operations
        if isinstance(op, ConfigureOp) and op.unit == unit and op.group is not None
    ]
    return configured[layer].field_values()


def full_range(seed: int, *shape: int) -> NDArray[np.int8]:
    return np.random.default_rng(seed).integers(-128, 128, shape, np.int8)


def atoms(cube: Array, atom: int) -> Array:
    """``[1, C, H, W]`` as the bytes of a feature cube without gaps; lanes beyond C are 0."""
    _, channels, height, width = cube.shape
    surfaces = -(-channels // atom)
    padded = np.zeros((surfaces * atom, height, width), cube.dtype)
    padded[:channels] = cube[0]
    return padded.reshape(surfaces, atom, height, width).transpose(0, 2, 3, 1).ravel()
