"""The images of a data set, some at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvdla_ir.dialects.func import FuncOp
from nvdla_ir.interp.boundary import input_array
from nvdla_ir.interp.machine import Mode
from nvdla_ir.ir.diagnostics import DiagnosticCollector, DiagnosticError
from nvdla_ir.ir.types import TensorType

Array = NDArray[Any]
Arrays = dict[str, Array]

LARGEST_BATCH = 32
"""How many images are computed at a time, at most."""
LARGEST_RECORDING = 1 << 24
"""About how many elements of all tensors together are kept at a time."""


def machine_inputs(func: FuncOp, mode: Mode, inputs: Mapping[str, Array]) -> Arrays:
    """``inputs``, by name, as a machine in ``mode`` takes them for ``func``.

    Raises: DiagnosticError with all faults: missing and unknown inputs, other shapes, NaN and
    infinite numbers.
    """
    faults = DiagnosticCollector()
    types = {func.argument_name(argument): argument.type for argument in func.body.arguments}
    known = ", ".join(f"'{name}'" for name in types) or "none"
    for name in inputs:
        if name not in types:
            faults.error(
                func.location, f"'@{func.sym_name}' has no input '{name}'; it takes {known}"
            )
    taken: Arrays = {}
    for name, type in types.items():
        if name not in inputs:
            faults.error(func.location, f"input '{name}' is missing; it is '{type}'")
            continue
        try:
            taken[name] = input_array(inputs[name], type, mode)
        except ValueError as error:
            faults.error(func.location, f"the input '{name}' {error}")
    faults.raise_if_errors()
    return taken


def image_count(func: FuncOp, inputs: Mapping[str, Array]) -> int:
    """How many images ``inputs`` hold along their leading axes.

    Raises: DiagnosticError where there are none, where the inputs disagree, or do not fill the
    function's batches.
    """
    rows = _rows_of_image(func)
    lengths = {name: len(array) // rows[name] for name, array in inputs.items() if array.ndim}
    count = next(iter(lengths.values()), 1)
    for name, length in lengths.items():
        if length != count:
            raise DiagnosticError.at(
                func.location,
                f"input '{name}' has {length} images, but '{next(iter(lengths))}' has {count}",
            )
    batch = batch_of(func)
    if not count or count % batch:
        raise DiagnosticError.at(
            func.location,
            f"there are {count} images, but '@{func.sym_name}' takes batches of {batch}",
        )
    return count


def batch_of(func: FuncOp) -> int:
    """How many images the function takes at once: the leading extent of its inputs; 1 where they
    have one dimension, since then all of an input is one image."""
    for argument in func.body.arguments:
        if isinstance(argument.type, TensorType) and len(argument.type.shape) > 1:
            return argument.type.shape[0] or 1
    return 1


def _rows_of_image(func: FuncOp) -> dict[str, int]:
    """How long one image is along the leading axis of each input."""
    batch = batch_of(func)
    return {
        func.argument_name(argument): max((argument.type.shape[0] or 1) // batch, 1)
        for argument in func.body.arguments
        if isinstance(argument.type, TensorType) and argument.type.shape
    }


def split(func: FuncOp, inputs: Mapping[str, Array], size: int) -> Iterator[Arrays]:
    """``inputs`` of ``func``, and what else there is one of an image, ``size`` images at a time.
    A scalar is the same for all."""
    rows = {name: _rows_of_image(func).get(name, 1) for name in inputs}
    lengths = [len(array) // rows[name] for name, array in inputs.items() if array.ndim]
    for start in range(0, max(lengths, default=1), size):
        yield {
            name: array[start * rows[name] : (start + size) * rows[name]] if array.ndim else array
            for name, array in inputs.items()
        }


def images_at_a_time(funcs: Sequence[FuncOp], largest: int = LARGEST_BATCH) -> int:
    """How many images of functions that take any batch are computed at a time, when all that one
    of them computes is kept."""
    elements = max(map(_elements, funcs), default=1)
    return max(1, min(largest, LARGEST_RECORDING // max(elements, 1)))


def _elements(func: FuncOp) -> int:
    """Of all tensors that depend on the input."""
    return sum(
        int(np.prod(result.type.static_shape))
        for op in func.body.operations
        if op.operands
        for result in op.results
        if isinstance(result.type, TensorType) and result.type.has_static_shape
    )
