"""Cubes between memory and logical arrays ``[channel, row, column]``, padding lanes included."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvdla_ir.arith.errors import Int8Array
from nvdla_ir.hw.formats.feature import from_atoms, to_atoms
from nvdla_ir.hw.formats.operands import OperandLayout
from nvdla_ir.interp.device.environment import Surface
from nvdla_ir.interp.device.memory import Memory


def read_cube(
    surface: Surface, surfaces: int, height: int, width: int, first_column: int = 0
) -> Int8Array:
    """A copy of a feature cube with all lanes of its last atom.

    Returns int8 ``[surfaces * atom, height, width]``.
    """
    atoms = surface.read(surfaces, height, width, first_column).view(np.int8)
    cube = from_atoms(atoms, surfaces * surface.element_bytes)
    # Where nothing had to be reordered this is still the memory itself.
    return cube if cube.flags.writeable else np.array(cube)


def write_cube(surface: Surface, cube: Int8Array, first_column: int = 0) -> None:
    """Store int8 ``[surfaces * atom, height, width]``."""
    surface.write(to_atoms(cube, surface.element_bytes).view(np.uint8), first_column)


def read_operands(
    memory: Memory, base: int, layout: OperandLayout
) -> Mapping[str, NDArray[np.integer[Any]]]:
    """The parts "ALU" and "MUL" that an operand tensor has, each ``[lane, row, column]``."""
    lanes: NDArray[Any] = layout.lanes(memory.view(base, layout.size_bytes))
    channel_first = np.transpose(lanes, (4, 0, 3, 1, 2))
    parts = ("ALU", "MUL") if layout.use == "BOTH" else (layout.use,)
    height, width = layout.positions
    return {
        part: channel_first[component].reshape(-1, height, width)
        for component, part in enumerate(parts)
    }
