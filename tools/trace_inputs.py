"""What an exported trace is fed with: the user's arrays, or random ones, the same each time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from nvdla_ir.interp.boundary import input_array
from nvdla_ir.interp.quantization import dtype_of
from nvdla_ir.ir.diagnostics import Diagnostic, DiagnosticCollector
from nvdla_ir.ir.types import TensorType, Type

from .array_files import read_array
from .command_line import UsageError, split_named
from .loaded_program import Program

_SEED = 2019


def trace_inputs(
    program: Program, given: Sequence[str], stdin: TextIO
) -> tuple[dict[str, NDArray[Any]], list[Diagnostic]]:
    """The inputs of ``program`` by name, from ``NAME=FILE`` texts, and remarks about others.

    Raises: UsageError, DiagnosticError for arrays that do not fit.
    """
    func = program.func
    types = {func.argument_name(argument): argument.type for argument in func.body.arguments}
    inputs: dict[str, NDArray[Any]] = {}
    faults = DiagnosticCollector()
    for text in given:
        name, file = split_named(text, types)
        if not (name and file):
            raise UsageError(f"'--input' takes NAME=FILE, not '{text}'")
        if name not in types:
            known = ", ".join(f"'{other}'" for other in types) or "none"
            faults.error(func.location, f"there is no input '{name}'; there is {known}")
            continue
        try:
            array = input_array(read_array(file, name, stdin), types[name], program.mode)
        except ValueError as error:
            faults.error(func.location, f"the input '{name}' in '{file}' {error}")
            continue
        inputs[name] = array
    faults.raise_if_errors()
    random = np.random.default_rng(_SEED)
    for name, type in types.items():
        if name not in inputs:
            inputs[name] = _random(type, random)
            faults.remark(func.location, f"the input '{name}' is random: --input {name}=FILE")
    return inputs, faults.diagnostics


def _random(type: Type, random: np.random.Generator) -> NDArray[Any]:
    """Elements over the whole range of ``type``; reals between -1 and 1."""
    assert isinstance(type, TensorType)
    dtype = dtype_of(type.element)
    if dtype.kind == "f":
        return random.uniform(-1, 1, type.static_shape).astype(dtype)
    limits = np.iinfo(dtype)
    return random.integers(limits.min, limits.max, type.static_shape, dtype, endpoint=True)
