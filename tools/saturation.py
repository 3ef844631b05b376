"""Warnings of inputs that lie beyond what a program was calibrated for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from nvdla_ir.ir.diagnostics import Diagnostic

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nvdla_ir.dialects.func import FuncOp

MUCH_SATURATED = 0.05
"""Above this share of an input's elements a warning is due."""


def saturation_warnings(func: FuncOp, inputs: Mapping[str, NDArray[Any]]) -> Iterator[Diagnostic]:
    """Of ``inputs``, by name as users have them, those of which many elements saturate: a sign of
    pixels in another range than those that ``func`` was calibrated with. Integers given for an
    input of integers are its codes."""
    import numpy as np

    from nvdla_ir.dialects.nn import is_fake_quantized
    from nvdla_ir.dialects.quant import GridType, UniformType
    from nvdla_ir.interp.quantization import element_of

    for argument in func.body.arguments:
        name, element = func.argument_name(argument), element_of(argument.type)
        array = inputs.get(name)
        if isinstance(element, UniformType):
            stored, takes_codes = element, True
        elif isinstance(element, GridType) and not is_fake_quantized(argument.type):
            stored, takes_codes = element.quantized(), False
        else:
            continue
        if array is None or not array.size or (takes_codes and array.dtype.kind != "f"):
            continue
        first, last = stored.storage_range
        low, high = ((code - stored.zero_point) * stored.scale for code in (first, last))
        half = stored.scale / 2
        outside = int(np.count_nonzero((array < low - half) | (array > high + half)))
        share = outside / array.size
        if share > MUCH_SATURATED:
            yield Diagnostic.warning(
                func.location,
                f"{100 * share:.0f} % of the elements of the input '{name}' saturate: they span "
                f"{float(array.min()):.4g} to {float(array.max()):.4g}, its range is {low:.4g} to "
                f"{high:.4g}; are they prepared as those that the program was calibrated with?",
            )
