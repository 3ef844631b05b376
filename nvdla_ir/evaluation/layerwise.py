"""Whether each layer of a function computes what it did, of what the layers ahead of it give now.

A difference that a pass may make in one layer can become anything in later ones: sums cancel, a
mean of many elements has a much finer step than they, and what is computed together is no longer
rounded between. So a function is run as it was, with what each layer has become in place of its
results.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from attrs import define, field, frozen
from numpy.typing import NDArray

from nvdla_ir.dialects.func import FuncOp
from nvdla_ir.dialects.quant import CalibratedType, QuantizedType
from nvdla_ir.evaluation.recording import LayerOutput, Recording, output_name
from nvdla_ir.interp.machine import Machine, Mode
from nvdla_ir.interp.quantization import dequantize, element_of, round_to_grid
from nvdla_ir.ir.operation import Operation
from nvdla_ir.ir.types import TensorType, Type
from nvdla_ir.resources import ResourceStore

Array = NDArray[Any]
_INT8_WIDTH = 8


@frozen(eq=False)
class LayerPair:
    """What one layer computed of the same numbers: as it was, and as it is.

    expected:  reals, as far as the codes of ``found`` reach
    magnitude: the largest of its calibrated range; 0 where it has none
    """

    name: str
    operation: str
    expected: LayerOutput
    found: LayerOutput
    magnitude: float = 0.0


@define(eq=False)
class AsItWas:
    """A function as it was ahead of a pass, made ready to run: the pass may change the original and
    let go of its tensors.

    Raises: DiagnosticError for operations without a kernel.
    """

    func: FuncOp
    resources: ResourceStore
    _machine: Machine = field(init=False)
    _operations: dict[tuple[str, int], list[Operation]] = field(
        factory=dict[tuple[str, int], "list[Operation]"], init=False
    )
    _now: dict[Operation, tuple[str, LayerOutput]] = field(
        factory=dict[Operation, "tuple[str, LayerOutput]"], init=False
    )
    _pairs: list[LayerPair] = field(factory=list[LayerPair], init=False)
    _as_integers: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        copy = self.func.clone()
        assert isinstance(copy, FuncOp)
        self.func = copy
        self._machine = Machine(self.resources, Mode.FLOAT, replace=self._replace)
        self._machine.takes_any_batch(copy)  # makes it ready
        for op in copy.body.operations:
            name = output_name(op, copy)
            if name is not None and len(op.results) == 1:
                type = op.results[0].type
                if isinstance(type, TensorType) and type.has_static_shape:
                    key = name, _image_size(type.static_shape)
                    self._operations.setdefault(key, []).append(op)

    def compared(
        self, inputs: Mapping[str, Array], now: Recording, *, as_integers: bool
    ) -> list[LayerPair]:
        """Each layer that there is in both, in order; ``as_integers``: whether ``now`` is of
        integers. Raises: DiagnosticError"""
        self._pairs, self._as_integers = [], as_integers
        self._now = {}
        for (name, size), operations in self._operations.items():
            outputs = list(filter(_is_in_memory, now.every.get((name, size), ())))
            # Of several with a name, as many as there were: else only the last are the layer's.
            if len(outputs) != len(operations):
                operations, outputs = operations[-1:], outputs[-1:]
            for op, output in zip(operations, outputs, strict=False):
                self._now[op] = name, output
        given = dict(inputs)
        for name, array in inputs.items():
            output = now.layers.get(name, {}).get(_image_size(array.shape))
            reals = output.reals() if output is not None and _is_in_memory(output) else None
            if reals is not None and reals.shape == array.shape:
                given[name] = reals
        self._machine.run(self.func, given)
        return self._pairs

    def _replace(self, op: Operation, computed: Array) -> Array:
        if op not in self._now:
            return computed
        name, output = self._now[op]
        reals = output.reals()
        if reals is None or reals.shape != computed.shape:
            return computed
        element, handed_on = element_of(op.results[0].type), reals
        if self._as_integers and not output.stored and isinstance(element, CalibratedType):
            # The host's own layers do not round; what reads integers of it gets them saturated.
            reals = round_to_grid(reals, element)
            computed = round_to_grid(computed, element)
            output = LayerOutput(reals, None, stored=False, operation=output.operation)
            if not all(map(self._is_on_host, op.results[0].users)):
                handed_on = reals
        expected = LayerOutput(_saturated(computed, output), None, stored=False, operation=op.name)
        magnitude = _magnitude(op.results[0].type)
        self._pairs.append(LayerPair(name, op.name, expected, output, magnitude))
        return handed_on.astype(computed.dtype, copy=False)

    def _is_on_host(self, op: Operation) -> bool:
        """Whether reals are now computed by what was ``op``."""
        found = self._now.get(op)
        return found is not None and not found[1].stored


def _image_size(shape: tuple[int, ...]) -> int:
    return math.prod(shape[1:])


def _magnitude(type: Type) -> float:
    element = element_of(type)
    if not isinstance(element, CalibratedType):
        return 0.0
    return max(abs(element.minimum), abs(element.maximum))


def _is_in_memory(output: LayerOutput) -> bool:
    """Whether it is what a layer hands to the next, and no sum on the way."""
    element = output.element
    return not output.stored or (
        isinstance(element, QuantizedType) and element.storage.width == _INT8_WIDTH
    )


def _saturated(reals: Array, output: LayerOutput) -> Array:
    """``reals`` as far as the codes of ``output`` reach."""
    if output.element is None:
        return reals
    limits = np.iinfo(output.array.dtype)
    ends = np.array([limits.min, limits.max], output.array.dtype)
    low, high = dequantize(ends, output.element)
    return np.clip(reals, low, high)
